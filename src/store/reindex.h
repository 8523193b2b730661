/*
 * Rebuilding the index from the log: the events (events.h) are replayed, in order, into an empty index. Accounts, passwords,
 * aliases, mailboxes, UIDs, queue rows and positions come back as they were at the last transaction; the journal does
 * not, but for what can still be read of the old one. Records behind a segment's applied position are left to the
 * store's next start, which applies them as after any crash.
 *
 * Where events themselves are damaged, messages that they may have been about and that nothing else mentions are applied anew
 * at the next start, also those that compaction has moved: mail that had been removed may come back. Lost is only what mail
 * programs have appended, whose records do not say whose they are; and, once there was a snapshot or a compaction, one
 * mailbox's part of a message that another mailbox still has.
 */
#ifndef VEREDUS_STORE_REINDEX_H
#define VEREDUS_STORE_REINDEX_H

#include "store/segment.h"

struct reindex_counts {
    uint64_t segments;
    uint64_t accounts;
    uint64_t messages;
    uint64_t entries;
    uint64_t transactions; /* records of events that were replayed */
    uint64_t lost;         /* transactions whose events are missing */
    uint64_t damaged;      /* records that could not be read, and those transactions */
    uint64_t latest;       /* the highest number of a transaction in the log, replayed or not */
};

/*
 * True if there is a log but no index, or if it cannot be told whether there is a log: the store must not begin with an empty one.
 * In the current directory.
 */
bool reindex_is_needed(void);
/*
 * At the start of the store, before it applies anything: 1 if the index is older than the log (its write-ahead log was lost, or a
 * copy was put back), so that it must be made anew: otherwise mail would be missing, and what was expunged or delivered would come
 * back. 0 if not, -1 if it cannot be told: index->error.
 */
int reindex_is_older(struct index *index, struct segments *segments);
/*
 * In the store's directory, which nobody else must be using (the store's lock): builds "index.db.new", then puts it in the place
 * of "index.db", which is kept as "index.db.old". Calls `report` with lines of text. 0, or -1: everything is as it was.
 */
int reindex_directory(const struct io *io, void (*report)(void *context, struct str text), void *context,
                      struct reindex_counts *counts);

/* For verify: replays into `scratch`, an empty index, up to transaction `last`. */
int reindex_replay(struct index *scratch, struct segments *segments, uint64_t last,
                   void (*report)(void *context, struct str text), void *context,
                   struct reindex_counts *counts);

#endif
