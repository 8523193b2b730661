/*
 * smtpd, imapd <-> keys: is this password right, and whose session is it then.
 *
 * On success keys answers with a grant (store/grant.h): a token that store and reader check by themselves, bound
 * to the account and to the instance of the asking role. Private-key signatures have a socket of their own
 * (proto_sign.h), because a handshake waits for them.
 */
#ifndef VEREDUS_IPC_PROTO_AUTH_H
#define VEREDUS_IPC_PROTO_AUTH_H

#include "ipc/channel.h"

enum { AUTH_VERSION = 1 };

enum auth_verdict {
    AUTH_GOOD,
    AUTH_BAD,       /* 535 5.7.8, -ERR [AUTH] */
    AUTH_TEMPORARY, /* the store or keys cannot answer now: 454 4.7.0 */
    AUTH_THROTTLED, /* too many failures from this client: 421 4.7.0 */
    AUTH_DISABLED   /* the account is locked: 535 5.7.13 */
};

/* -> keys */
#define AUTH_VERIFY_FIELDS(F, M)                                                                             \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, mechanism, 32)                                                                                 \
    F(M, STR, authorization_id, 512) /* empty: the same as the next */                                       \
    F(M, STR, authentication_id, 512)                                                                        \
    F(M, STR, password, 1024)                                                                                \
    F(M, STR, client, 64) /* address text, for throttling */
IPC_MESSAGE(auth_verify, 1, false, AUTH_VERIFY_FIELDS);

/* keys -> */
#define AUTH_ANSWER_FIELDS(F, M)                                                                             \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, verdict, AUTH_DISABLED)                                                                         \
    F(M, STR, login, 512) /* the account's canonical address */                                              \
    F(M, STR, grant, 64)
IPC_MESSAGE(auth_answer, 1, false, AUTH_ANSWER_FIELDS);

static const struct ipc_type *const auth_to_keys_types[] = {&auth_verify_type};
static const struct ipc_receives auth_to_keys
    __attribute__((unused)) = {"session to keys", AUTH_VERSION, 1, auth_to_keys_types};
static const struct ipc_type *const auth_from_keys_types[] = {&auth_answer_type};
static const struct ipc_receives auth_from_keys
    __attribute__((unused)) = {"keys to session", AUTH_VERSION, 1, auth_from_keys_types};

#endif
