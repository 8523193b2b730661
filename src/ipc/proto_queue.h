/*
 * relay <-> store: which recipients are due, and what became of them.
 *
 * The relay says how many jobs it has room for; the store sends a job (one message, recipients of one next-hop domain)
 * followed by its recipients, and leases them until RESULT for each has come or the channel ends. The store
 * decides what a result means: next attempt, delay notice, bounce; it commits before ACKNOWLEDGED.
 *
 * relay <-> reader: the bytes of the message, by a body grant that the store made.
 */
#ifndef VEREDUS_IPC_PROTO_QUEUE_H
#define VEREDUS_IPC_PROTO_QUEUE_H

#include "ipc/channel.h"

enum { QUEUE_VERSION = 2 };

/*
 * relay -> store: room for so many further jobs. The first one to a store, which may be of none, says that all that is HELD has
 * been told.
 */
#define QUEUE_ROOM_FIELDS(F, M) F(M, U32, jobs, 100000)
IPC_MESSAGE(queue_room, 1, false, QUEUE_ROOM_FIELDS);

enum queue_outcome {
    OUTCOME_DELIVERED,
    OUTCOME_DEFERRED,
    OUTCOME_FAILED,
    OUTCOME_UNCERTAIN,
    OUTCOME_RELEASED
};

/* relay -> store: the result for one recipient of one job. RELEASED: not tried, give it out again. */
#define QUEUE_RESULT_FIELDS(F, M)                                                                            \
    F(M, U64, job, 0)                                                                                        \
    F(M, U32, recipient, 0) /* number within the job */                                                      \
    F(M, U8, outcome, OUTCOME_RELEASED)                                                                      \
    F(M, U8, stage, 15)     /* enum smtp_client_stage */                                                     \
    F(M, U8, dsn_passed, 1) /* the next hop does DSN, so the success notice is its business */               \
    F(M, U16, code, 999)    /* of the remote reply; 0 if there was none */                                   \
    F(M, STR, enhanced, 16)                                                                                  \
    F(M, STR, text, 1024)  /* remote reply or our own words, already escaped */                              \
    F(M, STR, host, 256)   /* remote host name */                                                            \
    F(M, STR, address, 64) /* remote address text */                                                         \
    F(M, STR, tls, 128)    /* version and cipher; or "none: " and why; empty: not offered */
IPC_MESSAGE(queue_result, 2, false, QUEUE_RESULT_FIELDS);

/*
 * relay -> store, before the first ROOM: it has results of this message for this domain that an earlier store did not acknowledge,
 * or is still at it. A job for the rest of it must go to no other relay, which knows nothing of them.
 */
#define QUEUE_HELD_FIELDS(F, M)                                                                              \
    F(M, STR, message_id, 24)                                                                                \
    F(M, STR, domain, 256)
IPC_MESSAGE(queue_held, 3, false, QUEUE_HELD_FIELDS);

/* store -> relay: a message with `recipients` recipients, which follow. */
#define QUEUE_JOB_FIELDS(F, M)                                                                               \
    F(M, U64, job, 0)                                                                                        \
    F(M, STR, message_id, 24) /* our id, as text */                                                          \
    F(M, STR, sender, 512)    /* reverse-path; empty for null */                                             \
    F(M, STR, domain, 256)    /* next hop as A-labels, or an address literal */                              \
    F(M, U8, body, 3)         /* 0 7BIT, 1 8BITMIME, 2 BINARYMIME */                                         \
    F(M, U8, smtputf8, 1)                                                                                    \
    F(M, U8, ret, 2) /* 0 not given, 1 FULL, 2 HDRS */                                                       \
    F(M, STR, envid, 128)                                                                                    \
    F(M, U64, size, 0)         /* octets, trace header included */                                           \
    F(M, STR, body_grant, 128) /* for the reader */                                                          \
    F(M, U32, attempt, 0)      /* 1 for the first */                                                         \
    F(M, U32, recipients, 10000)
IPC_MESSAGE(queue_job, 1, false, QUEUE_JOB_FIELDS);

#define QUEUE_RECIPIENT_FIELDS(F, M)                                                                         \
    F(M, U64, job, 0)                                                                                        \
    F(M, U32, recipient, 0)                                                                                  \
    F(M, STR, address, 512)                                                                                  \
    F(M, U8, notify, 15) /* bits: 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0 not given */                     \
    F(M, STR, orcpt, 600)
IPC_MESSAGE(queue_recipient, 2, false, QUEUE_RECIPIENT_FIELDS);

/* store -> relay: the job's results are committed; forget it. */
#define QUEUE_ACKNOWLEDGED_FIELDS(F, M) F(M, U64, job, 0)
IPC_MESSAGE(queue_acknowledged, 3, false, QUEUE_ACKNOWLEDGED_FIELDS);

static const struct ipc_type *const queue_to_store_types[] = {&queue_room_type, &queue_result_type,
                                                              &queue_held_type};
static const struct ipc_receives queue_to_store
    __attribute__((unused)) = {"relay to store", QUEUE_VERSION, 3, queue_to_store_types};
static const struct ipc_type *const queue_to_relay_types[] = {&queue_job_type, &queue_recipient_type,
                                                              &queue_acknowledged_type};
static const struct ipc_receives queue_to_relay
    __attribute__((unused)) = {"store to relay", QUEUE_VERSION, 3, queue_to_relay_types};

/* relay -> reader */
#define BODY_READ_FIELDS(F, M)                                                                               \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, body_grant, 128)                                                                               \
    F(M, U64, offset, 0)                                                                                     \
    F(M, U32, length, IPC_CHUNK_MAX)
IPC_MESSAGE(body_read, 1, false, BODY_READ_FIELDS);

/* reader -> relay */
#define BODY_BYTES_FIELDS(F, M)                                                                              \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, found, 1) /* 0: the grant is not good or the bytes cannot be read */                            \
    F(M, STR, bytes, IPC_CHUNK_MAX)
IPC_MESSAGE(body_bytes, 1, false, BODY_BYTES_FIELDS);

static const struct ipc_type *const body_to_reader_types[] = {&body_read_type};
static const struct ipc_receives body_to_reader
    __attribute__((unused)) = {"relay to reader", QUEUE_VERSION, 1, body_to_reader_types};
static const struct ipc_type *const body_to_relay_types[] = {&body_bytes_type};
static const struct ipc_receives body_to_relay
    __attribute__((unused)) = {"reader to relay", QUEUE_VERSION, 1, body_to_relay_types};

/* relay -> keys: the password for a route with AUTH; keys -> relay: the answer. */
#define ROUTE_SECRET_QUERY_FIELDS(F, M)                                                                      \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, route, 256)
IPC_MESSAGE(route_secret_query, 1, false, ROUTE_SECRET_QUERY_FIELDS);
#define ROUTE_SECRET_ANSWER_FIELDS(F, M)                                                                     \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, found, 1)                                                                                       \
    F(M, STR, password, 1024)
IPC_MESSAGE(route_secret_answer, 1, false, ROUTE_SECRET_ANSWER_FIELDS);
static const struct ipc_type *const route_secret_to_keys_types[] = {&route_secret_query_type};
static const struct ipc_receives route_secret_to_keys
    __attribute__((unused)) = {"relay to keys", QUEUE_VERSION, 1, route_secret_to_keys_types};
static const struct ipc_type *const route_secret_to_relay_types[] = {&route_secret_answer_type};
static const struct ipc_receives route_secret_to_relay
    __attribute__((unused)) = {"keys to relay", QUEUE_VERSION, 1, route_secret_to_relay_types};

#endif
