/*
 * smtpd <-> store: segments of the log, and what has been flushed to them.
 *
 * The store gives each smtpd a segment and one spare. After a flush smtpd tells the good end of the segment,
 * one message a flush, and answers its clients without waiting. The store believes none of it but the
 * bytes of the records, and those only within the rights of the segment's origin (RELIABILITY, section 4, rule 1).
 */
#ifndef VEREDUS_IPC_PROTO_LOG_H
#define VEREDUS_IPC_PROTO_LOG_H

#include "ipc/channel.h"

enum { LOG_VERSION = 1 };

/* store -> smtpd: append here (write only, O_APPEND); used in the order in which they come. */
#define LOG_SEGMENT_FIELDS(F, M)                                                                             \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U64, size_limit, 0) /* bytes; seal it when the next batch would go beyond */                        \
    F(M, U64, offset, 0)     /* where it ends now */
IPC_MESSAGE(log_segment, 1, true, LOG_SEGMENT_FIELDS);

/* store -> smtpd: may mail be accepted; when it may not, why (452 4.3.1). */
#define LOG_SPACE_FIELDS(F, M)                                                                               \
    F(M, U8, accepting, 1)                                                                                   \
    F(M, U64, free_bytes, 0)                                                                                 \
    F(M, U64, reserve_bytes, 0)
IPC_MESSAGE(log_space, 2, false, LOG_SPACE_FIELDS);

/* store -> smtpd: accounts, addresses or quotas changed: forget cached answers about recipients. */
#define LOG_DIRECTORY_CHANGED_FIELDS(F, M) F(M, U64, generation, 0)
IPC_MESSAGE(log_directory_changed, 3, false, LOG_DIRECTORY_CHANGED_FIELDS);

/* store -> smtpd: the index has everything of this segment up to `offset`. */
#define LOG_APPLIED_FIELDS(F, M)                                                                             \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U64, offset, 0)
IPC_MESSAGE(log_applied, 4, false, LOG_APPLIED_FIELDS);

/* smtpd -> store: everything up to `offset` is on stable storage. */
#define LOG_FLUSHED_FIELDS(F, M)                                                                             \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U64, offset, 0)                                                                                     \
    F(M, U32, records, 0)
IPC_MESSAGE(log_flushed, 1, false, LOG_FLUSHED_FIELDS);

/* smtpd -> store: nothing more will be written to this segment; its last good record ends at `offset`. */
#define LOG_SEALED_FIELDS(F, M)                                                                              \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U64, offset, 0)                                                                                     \
    F(M, U8, failed, 1) /* after a failed write or flush, not because it was full */
IPC_MESSAGE(log_sealed, 2, false, LOG_SEALED_FIELDS);

/* smtpd -> store: a decision in a session that made no record (a refusal), for the journal. */
#define LOG_EVENT_FIELDS(F, M)                                                                               \
    F(M, U64, wall_ms, 0)                                                                                    \
    F(M, U16, code, 999)                                                                                     \
    F(M, STR, enhanced, 16)                                                                                  \
    F(M, STR, sender, 512)                                                                                   \
    F(M, STR, recipient, 512)                                                                                \
    F(M, STR, client, 128)                                                                                   \
    F(M, STR, cause, 512)
IPC_MESSAGE(log_event, 3, false, LOG_EVENT_FIELDS);

static const struct ipc_type *const log_to_smtpd_types[] = {&log_segment_type, &log_space_type,
                                                            &log_directory_changed_type, &log_applied_type};
static const struct ipc_receives log_to_smtpd __attribute__((unused)) = {
    "store to smtpd", LOG_VERSION, sizeof(log_to_smtpd_types) / sizeof(log_to_smtpd_types[0]),
    log_to_smtpd_types};

static const struct ipc_type *const log_to_store_types[] = {&log_flushed_type, &log_sealed_type,
                                                            &log_event_type};
static const struct ipc_receives log_to_store __attribute__((unused)) = {
    "smtpd to store", LOG_VERSION, sizeof(log_to_store_types) / sizeof(log_to_store_types[0]),
    log_to_store_types};

#endif
