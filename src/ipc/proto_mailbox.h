/*
 * imapd <-> reader: mailboxes, their flags, messages and bytes. What changes them goes to the store (proto_change.h).
 *
 * imapd names accounts only by the grant that keys gave it. OPEN at the reader checks the grant, and the account's right to read
 * where the name is that of a mailbox of another (store/acl.h), and answers with a handle, valid on this channel alone until CLOSE;
 * the right is checked again with each use. What is long comes in parts: imapd asks for the next one, from where the last
 * ended, when it has use for it, so no answer fills a queue.
 */
#ifndef VEREDUS_IPC_PROTO_MAILBOX_H
#define VEREDUS_IPC_PROTO_MAILBOX_H

#include "ipc/channel.h"

enum {
    MAILBOX_VERSION = 7,
    MAILBOX_ENTRY_SIZE = 24,
    MAILBOX_RUN_SIZE = 24,
    MAILBOX_RUNS_AT_A_TIME = 2500,
    MAILBOX_RUN_MESSAGES_MAX = 65536,
    MAILBOX_RANGES_MAX = 60000, /* octets of packed ranges of UIDs: 32 bits first, 32 bits last each */
    MAILBOX_KEYWORDS_MAX = 4096,
    MAILBOX_NAME_OCTETS = 1024,
    MAILBOX_WINDOW_MAX = 2 << 20, /* octets of messages that one FETCH may bring */
    MAILBOX_PACKED_MAX = 61440,   /* octets of one MAILBOX_MESSAGES */
    MAILBOX_PACKED_HEAD = 48,
    MAILBOX_QUESTION_MAX = 4096
};

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

#define MAILBOX_CLOSE_FIELDS(F, M) F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_close, 4, false, MAILBOX_CLOSE_FIELDS);

/* All mailboxes and subscriptions of the grant's account, and what others share with it: MAILBOX_ROW each, then MAILBOX_END. */
#define MAILBOX_ROWS_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, deleted_octets, 1) /* are wanted: they have to be added up */
IPC_MESSAGE(mailbox_rows, 5, false, MAILBOX_ROWS_FIELDS);

/*
 * Flags of messages from `uid` on whose modification sequence is above `since`: one MAILBOX_FLAGS, whose `next` is not 0 if there
 * are more; with the last part, what has been expunged since then.
 */
#define MAILBOX_ASK_FLAGS_FIELDS(F, M)                                                                       \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U32, uid, 0)                                                                                        \
    F(M, U64, since, 0)
IPC_MESSAGE(mailbox_ask_flags, 6, false, MAILBOX_ASK_FLAGS_FIELDS);

/*
 * Messages of the ranges, in the order of UIDs: small ones many at a time in MAILBOX_MESSAGES, others in a MAILBOX_MESSAGE each
 * with MAILBOX_PIECE for what does not fit into it; then MAILBOX_END, whose `next` and `next_offset` say where the next FETCH goes
 * on if the window was too small for all.
 */
#define MAILBOX_FETCH_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U32, want, 7)   /* enum mailbox_want */                                                             \
    F(M, U32, texts, 63) /* of a summary: 1 << enum summary_text */                                          \
    F(M, U64, offset, 0) /* of the octets wanted of each message */                                          \
    F(M, U64, length, 0)                                                                                     \
    F(M, U32, uid, 0)  /* where to go on; 0 at first */                                                      \
    F(M, U64, from, 0) /* of that message: octets that have come */                                          \
    F(M, U32, window, MAILBOX_WINDOW_MAX)                                                                    \
    F(M, STR, ranges, MAILBOX_RANGES_MAX)
IPC_MESSAGE(mailbox_fetch, 7, false, MAILBOX_FETCH_FIELDS);
/* Annotations of a mailbox (an empty name: of the account), or of all: MAILBOX_ANNOTATION each, then MAILBOX_END. */
#define MAILBOX_METADATA_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, all, 1)                                                                                         \
    F(M, STR, name, MAILBOX_NAME_OCTETS)
IPC_MESSAGE(mailbox_metadata, 8, false, MAILBOX_METADATA_FIELDS);
/* MAILBOX_RIGHTS each, then MAILBOX_END: the entries of a list, what an identifier may be given, or what the account may do. */
enum mailbox_acl_question { MAILBOX_ACL_ENTRIES, MAILBOX_ACL_POSSIBLE, MAILBOX_ACL_OWN };
#define MAILBOX_ACL_FIELDS(F, M)                                                                             \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, question, MAILBOX_ACL_OWN)                                                                      \
    F(M, STR, name, MAILBOX_NAME_OCTETS)                                                                     \
    F(M, STR, identifier, MAILBOX_NAME_OCTETS)
IPC_MESSAGE(mailbox_acl, 9, false, MAILBOX_ACL_FIELDS);
/*
 * Which messages may have certain texts, for the account's full-text index (store/fulltext.h has the form of the question):
 * MAILBOX_CANDIDATES, then MAILBOX_END, whose result is MAILBOX_MISSING where no index knows anything.
 */
#define MAILBOX_NARROW_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, STR, question, MAILBOX_QUESTION_MAX)
IPC_MESSAGE(mailbox_narrow, 10, false, MAILBOX_NARROW_FIELDS);
/* Without a summary that has all of `texts`, well-formed, the octets come as with MAILBOX_WANT_BODY, and no summary. */
enum mailbox_want { MAILBOX_WANT_META = 1, MAILBOX_WANT_SUMMARY = 2, MAILBOX_WANT_BODY = 4 };

/* reader -> imapd */
#define MAILBOX_OPENED_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U64, owner, 0)   /* the account that it belongs to */                                               \
    F(M, U64, mailbox, 0) /* its number within the account */                                                \
    F(M, U32, rights, 0)  /* what the grant's account may do in it: enum right */                            \
    F(M, U32, uid_validity, 0)                                                                               \
    F(M, U32, uid_next, 0)                                                                                   \
    F(M, U64, modseq, 0)                                                                                     \
    F(M, U32, count, 0)                                                                                      \
    F(M, U32, recent, 0)                                                                                     \
    F(M, STR, id, 16)                                                                                        \
    F(M, STR, keywords, MAILBOX_KEYWORDS_MAX)
IPC_MESSAGE(mailbox_opened, 1, false, MAILBOX_OPENED_FIELDS);

/* Entries: uid as 32 bits, 32 bits of zero, size as 64 bits, internal date (ms) as 64 bits. */
#define MAILBOX_ENTRIES_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U8, more, 1)                                                                                        \
    F(M, STR, entries, 2000 * MAILBOX_ENTRY_SIZE)
IPC_MESSAGE(mailbox_entries, 2, false, MAILBOX_ENTRIES_FIELDS);

#define MAILBOX_ROW_FIELDS(F, M)                                                                             \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, exists, 1)                                                                                      \
    F(M, U8, subscribed, 1)                                                                                  \
    F(M, U32, rights, 0) /* without RIGHT_READ the numbers are 0 */                                          \
    F(M, U32, special_use, 0)                                                                                \
    F(M, U32, uid_validity, 0)                                                                               \
    F(M, U32, uid_next, 0)                                                                                   \
    F(M, U64, modseq, 0)                                                                                     \
    F(M, U32, messages, 0)                                                                                   \
    F(M, U32, unseen, 0)                                                                                     \
    F(M, U32, deleted, 0)                                                                                    \
    F(M, U32, recent, 0)                                                                                     \
    F(M, U64, octets, 0)                                                                                     \
    F(M, U64, deleted_octets, 0)                                                                             \
    F(M, STR, id, 16)                                                                                        \
    F(M, STR, name, MAILBOX_NAME_OCTETS)
IPC_MESSAGE(mailbox_row, 4, false, MAILBOX_ROW_FIELDS);

/*
 * A run is messages with consecutive UIDs and the same flags: the first UID, twice their number (plus 1 if their modification
 * sequences rise by one from each to the next) as 32 bits, flags and the first one's modification sequence as 64.
 */
#define MAILBOX_FLAGS_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U32, next, 0)   /* the UID to ask from; 0: that is all */                                           \
    F(M, U64, modseq, 0) /* of the mailbox */                                                                \
    F(M, U32, rights, 0)                                                                                     \
    F(M, STR, keywords, MAILBOX_KEYWORDS_MAX)                                                                \
    F(M, STR, runs, MAILBOX_RUNS_AT_A_TIME *MAILBOX_RUN_SIZE)
IPC_MESSAGE(mailbox_flags, 5, false, MAILBOX_FLAGS_FIELDS);

/* Before the last MAILBOX_FLAGS: packed ranges. */
#define MAILBOX_VANISHED_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, ranges, MAILBOX_RANGES_MAX)
IPC_MESSAGE(mailbox_vanished, 6, false, MAILBOX_VANISHED_FIELDS);

#define MAILBOX_MESSAGE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U32, uid, 0)                                                                                        \
    F(M, U64, size, 0)                                                                                       \
    F(M, U64, internal_ms, 0)                                                                                \
    F(M, U64, saved_ms, 0)                                                                                   \
    F(M, U8, whole, 1) /* no MAILBOX_PIECE follows */                                                        \
    F(M, STR, record, 12)                                                                                    \
    F(M, STR, summary, 32768)                                                                                \
    F(M, STR, bytes, 32768)
IPC_MESSAGE(mailbox_message, 7, false, MAILBOX_MESSAGE_FIELDS);

/*
 * As many whole messages as there are: uid (32 bits), size, internal date, saved date (64 bits each), record id (12 octets),
 * lengths of summary and octets (32 bits each), then these two. mailbox_pack and mailbox_unpack below.
 */
#define MAILBOX_MESSAGES_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, packed, MAILBOX_PACKED_MAX)
IPC_MESSAGE(mailbox_messages, 10, false, MAILBOX_MESSAGES_FIELDS);

/* Appends all of a message but its octets, which the caller appends; false if there is no room for it with so many of them. */
static inline bool mailbox_pack(const struct mailbox_message *m, size_t octets, struct buf *packed)
{
    return m->record.len == 12 &&
           packed->len + MAILBOX_PACKED_HEAD + m->summary.len + octets <= MAILBOX_PACKED_MAX &&
           buf_append_le32(packed, m->uid) && buf_append_le64(packed, m->size) &&
           buf_append_le64(packed, m->internal_ms) && buf_append_le64(packed, m->saved_ms) &&
           buf_append_str(packed, m->record) && buf_append_le32(packed, (uint32_t)m->summary.len) &&
           buf_append_le32(packed, (uint32_t)octets) && buf_append_str(packed, m->summary);
}

/* Takes the next one from *rest; false at the end, or if the rest is no message. */
static inline bool mailbox_unpack(struct str *rest, struct mailbox_message *m)
{
    if (rest->len < MAILBOX_PACKED_HEAD) {
        return false;
    }
    uint64_t summary = read_le32(rest->data + 40);
    uint64_t bytes = read_le32(rest->data + 44);
    if (summary + bytes > rest->len - MAILBOX_PACKED_HEAD) {
        return false;
    }
    *m = (struct mailbox_message){
        .uid = read_le32(rest->data),
        .size = read_le64(rest->data + 4),
        .internal_ms = read_le64(rest->data + 12),
        .saved_ms = read_le64(rest->data + 20),
        .whole = 1,
        .record = str_sub(*rest, 28, 40),
        .summary = str_sub(str_from(*rest, MAILBOX_PACKED_HEAD), 0, (size_t)summary),
        .bytes = str_sub(str_from(*rest, MAILBOX_PACKED_HEAD + (size_t)summary), 0, (size_t)bytes)};
    *rest = str_from(*rest, MAILBOX_PACKED_HEAD + (size_t)(summary + bytes));
    return true;
}

#define MAILBOX_PIECE_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, last, 1)                                                                                        \
    F(M, STR, bytes, IPC_CHUNK_MAX)
IPC_MESSAGE(mailbox_piece, 8, false, MAILBOX_PIECE_FIELDS);

#define MAILBOX_END_FIELDS(F, M)                                                                             \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U32, next, 0)                                                                                       \
    F(M, U64, next_offset, 0)                                                                                \
    F(M, U64, used_octets, 0)  /* of the account, after MAILBOX_ROWS */                                      \
    F(M, U64, quota_octets, 0) /* 0: no limit */
IPC_MESSAGE(mailbox_end, 9, false, MAILBOX_END_FIELDS);

#define MAILBOX_ANNOTATION_FIELDS(F, M)                                                                      \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, name, MAILBOX_NAME_OCTETS) /* of the mailbox, where all were asked for */                      \
    F(M, STR, entry, 256)                                                                                    \
    F(M, STR, value, 8192)
IPC_MESSAGE(mailbox_annotation, 11, false, MAILBOX_ANNOTATION_FIELDS);

/* `rights` are those that the identifier has; those that it cannot lose, for MAILBOX_ACL_POSSIBLE. */
#define MAILBOX_RIGHTS_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U32, rights, 0)                                                                                     \
    F(M, STR, identifier, MAILBOX_NAME_OCTETS)
IPC_MESSAGE(mailbox_rights, 12, false, MAILBOX_RIGHTS_FIELDS);

/* Packed ranges of UIDs, rising. */
#define MAILBOX_CANDIDATES_FIELDS(F, M)                                                                      \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, ranges, MAILBOX_RANGES_MAX)
IPC_MESSAGE(mailbox_candidates, 13, false, MAILBOX_CANDIDATES_FIELDS);

static const struct ipc_type *const mailbox_to_reader_types[] = {
    &mailbox_open_type,     &mailbox_list_type,      &mailbox_close_type,
    &mailbox_rows_type,     &mailbox_ask_flags_type, &mailbox_fetch_type,
    &mailbox_metadata_type, &mailbox_acl_type,       &mailbox_narrow_type};
static const struct ipc_receives mailbox_to_reader
    __attribute__((unused)) = {"imapd to reader", MAILBOX_VERSION, 9, mailbox_to_reader_types};
static const struct ipc_type *const mailbox_from_reader_types[] = {
    &mailbox_opened_type,   &mailbox_entries_type,    &mailbox_row_type,    &mailbox_flags_type,
    &mailbox_vanished_type, &mailbox_message_type,    &mailbox_piece_type,  &mailbox_end_type,
    &mailbox_messages_type, &mailbox_annotation_type, &mailbox_rights_type, &mailbox_candidates_type};
static const struct ipc_receives mailbox_from_reader
    __attribute__((unused)) = {"reader to imapd", MAILBOX_VERSION, 12, mailbox_from_reader_types};

#endif
