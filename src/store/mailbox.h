/* Mailboxes in the index: their counters, what is in them, and the bytes of their messages. */
#ifndef VEREDUS_STORE_MAILBOX_H
#define VEREDUS_STORE_MAILBOX_H

#include "store/segment.h"

struct mailbox {
    int64_t account;
    int64_t id;
    uint32_t uid_validity;
    uint32_t uid_next;
    uint64_t modseq; /* of its last change, from the account's counter */
    uint32_t messages;
    uint32_t unseen;
    uint32_t deleted; /* with \Deleted */
    uint64_t octets;
    uint32_t recent_uid; /* below it no message is \Recent (RFC 3501) */
    uint32_t paged_uid;  /* below it flags stand in pages (flags.h) */
    uint32_t special_use;
};

struct mailbox_entry {
    uint32_t uid;
    uint64_t size; /* octets as a client sees the message */
    uint64_t internal_ms;
};

/* 1 if found, 0 if not, -1 on error. */
int mailbox_find(struct index *index, int64_t account, int64_t id, struct mailbox *mailbox);
/* A row of one of the SQL_MAILBOX_ statements that begin with the columns of a mailbox. */
void mailbox_read_row(sqlite3_stmt *q, struct mailbox *mailbox);
/* Writes what changes with messages: UIDNEXT, modseq, counters. */
int mailbox_set(struct index *index, const struct mailbox *mailbox);
/* Up to `max` entries from `uid` on. The number, or -1. */
int mailbox_entries(struct index *index, const struct mailbox *mailbox, uint32_t uid,
                    struct mailbox_entry *entries, int max);
int64_t mailbox_count(struct index *index, const struct mailbox *mailbox);

/* Where one message lies. */
struct message_place {
    struct ident id;
    int64_t segment;
    int64_t offset;
    uint32_t octets;
    uint32_t recipient;
    uint64_t size;
};

/* A message that gets the mailbox's next UID and, where it needs one, its next modification sequence. */
struct filing {
    struct ident record;
    uint32_t recipient;
    uint64_t size;
    uint64_t internal_ms;
    uint64_t saved_ms;
    uint64_t flags;
    uint64_t modseq;
};

/*
 * Within a transaction: adds the row and counts it in *mailbox, which the caller writes with mailbox_set. The record's references
 * and the account's quota are the caller's.
 */
int message_file(struct index *index, struct mailbox *mailbox, const struct filing *filing, uint32_t *uid);
/*
 * The same for `count` messages that are in `from` already, with UIDs one after the other from first_uid on, and get the same
 * flags, modification sequence and time of saving. They get UIDs one after the other as well.
 */
int messages_file_alike(struct index *index, const struct mailbox *from, uint32_t first_uid,
                        struct mailbox *mailbox, const struct filing *filings, size_t count);
int message_find(struct index *index, const struct mailbox *mailbox, uint32_t uid,
                 struct message_place *place);
/* The recipient number of a message that was appended by its owner: it has no envelope. */
#define MESSAGE_APPENDED UINT32_MAX

/*
 * What stands before the trace header in a mailbox: Return-Path and Delivered-To; nothing for MESSAGE_APPENDED. Its length
 * is part of the size, so it must be the same at delivery and at every reading.
 */
bool message_prefix(struct str envelope, uint32_t recipient, struct buf *out);
/*
 * Appends octets [offset, offset + length) of the message as a client sees it; less at its end. False if the log cannot be
 * read or the record is not what the index says.
 */
bool message_read(struct segments *segments, const struct message_place *place, uint64_t offset,
                  size_t length, struct buf *out);

/*
 * Within a transaction: the row that says where a record lies, with so many references, and its octets counted as alive. 0,
 * or -1; a record that is there already is an error.
 */
struct record_header;
int record_keep(struct index *index, const struct record_header *header, int64_t segment, int64_t offset,
                int64_t refs);
/* One reference of a record less; with the last one its octets are dead. Within a transaction. */
int record_release(struct index *index, const struct ident *id);

/* Messages of a mailbox, by their UIDs. */

struct uid_range;
/* Binds account, mailbox, first and last UID as the first four parameters. */
void sql_bind_range(sqlite3_stmt *q, const struct mailbox *mailbox, const struct uid_range *range);
/*
 * Within a transaction, for the records of the messages of a range: one reference more; one less, of those that have more than one;
 * the end of those that have one, whose octets the caller takes from their segments. A record that several of the messages have
 * counts once. *records: how many there were. 0, or -1.
 */
int records_keep(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                 size_t *records);
int records_release(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                    size_t *records);
int records_end(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                size_t *records);

#endif
