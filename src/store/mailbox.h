/* Mailboxes in the index: what is in them, the bytes of their messages, and removal. */
#ifndef VEREDUS_STORE_MAILBOX_H
#define VEREDUS_STORE_MAILBOX_H

#include "store/segment.h"

struct mailbox {
    int64_t account;
    int64_t id;
    uint32_t uid_validity;
    uint32_t uid_next;
    uint64_t modseq;
};

struct mailbox_entry {
    uint32_t uid;
    uint64_t size; /* octets as a client sees the message */
    uint64_t internal_ms;
};

/* 1 if found, 0 if not, -1 on error. */
int mailbox_find(struct index *index, int64_t account, int64_t id, struct mailbox *mailbox);
int mailbox_set(struct index *index, const struct mailbox *mailbox);
/* Up to `max` entries from `uid` on. The number, or -1. */
int mailbox_entries(struct index *index, const struct mailbox *mailbox, uint32_t uid, struct mailbox_entry *entries,
                    int max);
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

int message_find(struct index *index, const struct mailbox *mailbox, uint32_t uid, struct message_place *place);
/*
 * What stands before the trace header in a mailbox: Return-Path and Delivered-To. Its length is part of the size, so it must be
 * the same at delivery and at every reading.
 */
bool message_prefix(struct str envelope, uint32_t recipient, struct buf *out);
/*
 * Appends octets [offset, offset + length) of the message as a client sees it; less at its end. False if the log cannot be
 * read or the record is not what the index says.
 */
bool message_read(struct segments *segments, const struct message_place *place, uint64_t offset, size_t length,
                  struct buf *out);

/* One reference of a record less; with the last one its octets are dead. Within a transaction. */
int record_release(struct index *index, const struct ident *id);
/* Removes a message; 1 if it was there. Within a transaction. */
int message_remove(struct index *index, const struct mailbox *mailbox, uint32_t uid);

#endif
