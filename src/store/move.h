/*
 * Messages between mailboxes: COPY, MOVE, EXPUNGE (RFC 9051, section 6.4). A copy is a row more for the same record. All of this
 * works within a transaction, changes the mailboxes' rows itself, and returns 0, or -1: roll back.
 */
#ifndef VEREDUS_STORE_MOVE_H
#define VEREDUS_STORE_MOVE_H

#include "store/flags.h"

struct move_result {
    uint64_t lost;           /* given: flags that a copy does not get */
    struct buf *source_uids; /* packed ranges, in order; may be NULL */
    struct buf *target_uids;
    uint64_t modseq; /* of the change */
};

/* What the journal says of messages that go: their UIDs stand between the two texts. */
struct expunge_note {
    uint64_t wall_ms;
    struct str before;
    struct str after;
};

/*
 * Copies those of the ranges that are there, with their flags and keywords but those that are to be lost, in the order of UIDs. The
 * mailboxes may belong to two accounts.
 */
int copy_messages(struct index *index, struct mailbox *from, struct mailbox *to,
                  const struct uid_range *ranges, size_t count, uint64_t wall_ms, struct move_result *result);
/* The same, and removes them from where they were; within one account, it holds as much as before. */
int move_messages(struct index *index, struct mailbox *from, struct mailbox *to,
                  const struct uid_range *ranges, size_t count, uint64_t wall_ms, struct move_result *result);
int move_all(struct index *index, struct mailbox *from, struct mailbox *to, uint64_t wall_ms);
/*
 * Removes those of the ranges that are there (with `deleted_only`, and have \Deleted), and notes their UIDs for QRESYNC.
 * With a note each gets a row in the journal.
 */
int expunge_messages(struct index *index, struct mailbox *mailbox, const struct uid_range *ranges,
                     size_t count, bool deleted_only, const struct expunge_note *note,
                     struct move_result *result);
int expunge_all(struct index *index, struct mailbox *mailbox);
/* One message; 1 if it was there. */
int message_remove(struct index *index, struct mailbox *mailbox, uint32_t uid);
/* Removes up to `max` messages of one mailbox of the account. How many; 0: the account has none left; -1. */
int account_remove_messages(struct index *index, int64_t account, int max);
/* Octets of the messages of the ranges: what a copy would add to the account. */
int message_octets(struct index *index, const struct mailbox *mailbox, const struct uid_range *ranges,
                   size_t count, uint64_t *octets);

#endif
