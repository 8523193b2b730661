/*
 * A snapshot of the index in the log: every row of it is noted as an event again (events.h), so that older events are needed no
 * more and the segments that hold them can go. It is taken in steps, each within a transaction, while everything else goes on:
 * a row that is changed between two steps is either noted later as it is then, or its change is an event behind the one that
 * noted it. So whoever replays the log from where the snapshot began comes to the same rows, in whatever order they came
 * in. The last step says from which transaction on events count, and from which segment on. A snapshot that is not
 * finished costs the room of its events and nothing else.
 *
 * Only the journal and what was expunged are not in it, as they are in no event.
 */
#ifndef VEREDUS_STORE_SNAPSHOT_H
#define VEREDUS_STORE_SNAPSHOT_H

#include "store/account.h"
#include "store/folder.h"

struct snapshot {
    struct index *index;
    uint64_t floor;  /* the last transaction before it */
    int64_t segment; /* segments of events with numbers below this one have none that count */
    unsigned stage;
    /* Up to where the table of this stage has been noted. */
    int64_t account;
    int64_t mailbox;
    uint32_t uid;
    int64_t grantee;
    bool negative;
    bool inside; /* in the messages of this mailbox */
    int64_t entry;
    struct ident record;
    size_t text_len;
    size_t other_len;
    char text[FOLDER_NAME_MAX]; /* the longest key */
    char other[FOLDER_NAME_MAX];
    uint64_t octets; /* of events, so far */
};

/*
 * Outside of a transaction. `own` is the segment that the next events go to, 0 if one is to be made for them: those before it
 * are what the snapshot makes needless, so it is best to begin with a new one. 0, or -1.
 */
int snapshot_begin(struct snapshot *snapshot, struct index *index, int64_t own);
/*
 * Within a transaction: notes about this many octets. After a rollback the caller puts the snapshot back as it was before the step.
 * 0, or -1: roll back.
 */
int snapshot_step(struct snapshot *snapshot, uint64_t octets, bool *done);

#endif
