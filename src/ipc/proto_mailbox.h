/*
 * imapd <-> reader: what is in a mailbox and the bytes of its messages; imapd <-> store: changes to it.
 *
 * imapd names accounts only by the grant that keys gave it. OPEN at the reader checks the grant and answers with a
 * handle, valid on this channel alone until CLOSE. The list comes as packed entries of 24 bytes.
 */
#ifndef VEREDUS_IPC_PROTO_MAILBOX_H
#define VEREDUS_IPC_PROTO_MAILBOX_H

#include "ipc/channel.h"

enum { MAILBOX_VERSION = 1, MAILBOX_ENTRY_SIZE = 24 };

enum mailbox_result { MAILBOX_OK, MAILBOX_IN_USE, MAILBOX_REFUSED, MAILBOX_MISSING, MAILBOX_TEMPORARY };

/* imapd -> reader */
#define MAILBOX_OPEN_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, STR, mailbox, 1024) /* name; "INBOX" for POP3 */
IPC_MESSAGE(mailbox_open, 1, false, MAILBOX_OPEN_FIELDS);

/* Asks for entries from `uid` on; as many as fit in one answer. */
#define MAILBOX_LIST_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U32, uid, 0)
IPC_MESSAGE(mailbox_list, 2, false, MAILBOX_LIST_FIELDS);

/* Bytes [offset, offset + length) of a message as a client sees it. */
#define MAILBOX_READ_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U32, uid, 0)                                                                                        \
    F(M, U64, offset, 0)                                                                                     \
    F(M, U32, length, IPC_CHUNK_MAX)
IPC_MESSAGE(mailbox_read, 3, false, MAILBOX_READ_FIELDS);

#define MAILBOX_CLOSE_FIELDS(F, M) F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_close, 4, false, MAILBOX_CLOSE_FIELDS);

/* reader -> imapd */
#define MAILBOX_OPENED_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U32, uid_validity, 0)                                                                               \
    F(M, U32, uid_next, 0)                                                                                   \
    F(M, U32, count, 0)
IPC_MESSAGE(mailbox_opened, 1, false, MAILBOX_OPENED_FIELDS);

/* Entries: uid as 32 bits, 32 bits of zero, size as 64 bits, internal date (ms) as 64 bits. */
#define MAILBOX_ENTRIES_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U8, more, 1)                                                                                        \
    F(M, STR, entries, 2000 * MAILBOX_ENTRY_SIZE)
IPC_MESSAGE(mailbox_entries, 2, false, MAILBOX_ENTRIES_FIELDS);

#define MAILBOX_BYTES_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, STR, bytes, IPC_CHUNK_MAX)
IPC_MESSAGE(mailbox_bytes, 3, false, MAILBOX_BYTES_FIELDS);

static const struct ipc_type *const mailbox_to_reader_types[] = {&mailbox_open_type, &mailbox_list_type,
                                                                 &mailbox_read_type, &mailbox_close_type};
static const struct ipc_receives mailbox_to_reader
    __attribute__((unused)) = {"imapd to reader", MAILBOX_VERSION, 4, mailbox_to_reader_types};
static const struct ipc_type *const mailbox_from_reader_types[] = {
    &mailbox_opened_type, &mailbox_entries_type, &mailbox_bytes_type};
static const struct ipc_receives mailbox_from_reader
    __attribute__((unused)) = {"reader to imapd", MAILBOX_VERSION, 3, mailbox_from_reader_types};

/*
 * imapd -> store. LOCK is POP3's exclusive lock on the INBOX of the grant's account; the store applies what the log has
 * pending before it answers, so that the session sees all mail. UNLOCK or the end of the channel frees it.
 */
#define MAILBOX_LOCK_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)
IPC_MESSAGE(mailbox_lock, 1, false, MAILBOX_LOCK_FIELDS);

#define MAILBOX_UNLOCK_FIELDS(F, M) F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_unlock, 2, false, MAILBOX_UNLOCK_FIELDS);

/* `uids`: 32 bits each. Answered when it has been committed. `last`: the final part of this expunge. */
#define MAILBOX_EXPUNGE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U8, last, 1)                                                                                        \
    F(M, STR, uids, IPC_CHUNK_MAX)
IPC_MESSAGE(mailbox_expunge, 3, false, MAILBOX_EXPUNGE_FIELDS);

/* store -> imapd */
#define MAILBOX_LOCKED_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_locked, 1, false, MAILBOX_LOCKED_FIELDS);

#define MAILBOX_EXPUNGED_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)
IPC_MESSAGE(mailbox_expunged, 2, false, MAILBOX_EXPUNGED_FIELDS);

static const struct ipc_type *const mailbox_to_store_types[] = {&mailbox_lock_type, &mailbox_unlock_type,
                                                                &mailbox_expunge_type};
static const struct ipc_receives mailbox_to_store
    __attribute__((unused)) = {"imapd to store", MAILBOX_VERSION, 3, mailbox_to_store_types};
static const struct ipc_type *const mailbox_from_store_types[] = {&mailbox_locked_type,
                                                                  &mailbox_expunged_type};
static const struct ipc_receives mailbox_from_store
    __attribute__((unused)) = {"store to imapd", MAILBOX_VERSION, 2, mailbox_from_store_types};

#endif
