/*
 * store <-> indexer: the octets of messages one after the other, and the terms (message/terms.h) of each. The indexer sees what it
 * is given, remembers nothing, and has no way to ask for more; what it says is taken for terms of that message and nothing else.
 */
#ifndef VEREDUS_IPC_PROTO_FULLTEXT_H
#define VEREDUS_IPC_PROTO_FULLTEXT_H

#include "ipc/channel.h"

enum {
    FULLTEXT_PROTOCOL_VERSION = 1,
    FULLTEXT_MESSAGE_MAX = 32 << 20 /* octets of a message that is given */
};

/* store -> indexer */
#define FULLTEXT_OCTETS_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, last, 1)                                                                                        \
    F(M, STR, octets, IPC_CHUNK_MAX)
IPC_MESSAGE(fulltext_octets, 1, false, FULLTEXT_OCTETS_FIELDS);

/* indexer -> store: in the order of the messages. */
#define FULLTEXT_TERMS_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, last, 1)                                                                                        \
    F(M, U8, known, 1) /* with the last: 0, if there are too many or memory was short */                     \
    F(M, STR, terms, IPC_CHUNK_MAX)
IPC_MESSAGE(fulltext_terms, 1, false, FULLTEXT_TERMS_FIELDS);

static const struct ipc_type *const fulltext_to_indexer_types[] = {&fulltext_octets_type};
static const struct ipc_receives fulltext_to_indexer
    __attribute__((unused)) = {"store to indexer", FULLTEXT_PROTOCOL_VERSION, 1, fulltext_to_indexer_types};
static const struct ipc_type *const fulltext_to_store_types[] = {&fulltext_terms_type};
static const struct ipc_receives fulltext_to_store
    __attribute__((unused)) = {"indexer to store", FULLTEXT_PROTOCOL_VERSION, 1, fulltext_to_store_types};

#endif
