/*
 * keys <-> store: verifiers of passwords. keys asks for the verifier of a login; the store asks keys to make a
 * verifier of a new password, which only keys can, since it alone has the pepper.
 */
#ifndef VEREDUS_IPC_PROTO_CREDENTIAL_H
#define VEREDUS_IPC_PROTO_CREDENTIAL_H

#include "ipc/channel.h"

enum { CREDENTIAL_VERSION = 1 };

enum credential_state {
    CREDENTIAL_FOUND,
    CREDENTIAL_UNKNOWN,
    CREDENTIAL_DISABLED,
    CREDENTIAL_UNAVAILABLE,
    CREDENTIAL_ANY_PASSWORD /* `veredus dev`: a mailbox made for an address */
};

/* keys -> store */
#define CREDENTIAL_QUERY_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, login, 512)
IPC_MESSAGE(credential_query, 1, false, CREDENTIAL_QUERY_FIELDS);

#define CREDENTIAL_MADE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, made, 1)                                                                                        \
    F(M, STR, verifier, 512)
IPC_MESSAGE(credential_made, 2, false, CREDENTIAL_MADE_FIELDS);

/* store -> keys */
#define CREDENTIAL_ANSWER_FIELDS(F, M)                                                                       \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, state, CREDENTIAL_ANY_PASSWORD)                                                                 \
    F(M, U64, account, 0)                                                                                    \
    F(M, STR, login, 512) /* canonical address */                                                            \
    F(M, STR, verifier, 512)
IPC_MESSAGE(credential_answer, 1, false, CREDENTIAL_ANSWER_FIELDS);

#define CREDENTIAL_MAKE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, password, 1024)
IPC_MESSAGE(credential_make, 2, false, CREDENTIAL_MAKE_FIELDS);

/* A password or account changed: forget what was remembered of verified passwords (0: of all). */
#define CREDENTIAL_FORGET_FIELDS(F, M) F(M, U64, account, 0)
IPC_MESSAGE(credential_forget, 3, false, CREDENTIAL_FORGET_FIELDS);

static const struct ipc_type *const credential_to_store_types[] = {&credential_query_type,
                                                                   &credential_made_type};
static const struct ipc_receives credential_to_store
    __attribute__((unused)) = {"keys to store", CREDENTIAL_VERSION, 2, credential_to_store_types};
static const struct ipc_type *const credential_to_keys_types[] = {
    &credential_answer_type, &credential_make_type, &credential_forget_type};
static const struct ipc_receives credential_to_keys
    __attribute__((unused)) = {"store to keys", CREDENTIAL_VERSION, 3, credential_to_keys_types};

#endif
