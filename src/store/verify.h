/*
 * Checking the log against the index and the index against the log. Reads only, and may run beside the store.
 *
 * - every record up to each segment's applied position has a good header, checksum and padding;
 * - every row points to a good record of its id and length, and the counts of references, octets alive, used and UIDs are right;
 * - every message of the log is in the index, or the journal says what became of it;
 * - accounts, aliases, mailboxes, messages and their flags, queue, places and positions are, row by row, what the log's events say.
 */
#ifndef VEREDUS_STORE_VERIFY_H
#define VEREDUS_STORE_VERIFY_H

#include "store/segment.h"

struct verify_counts {
    uint64_t segments;
    uint64_t records;
    uint64_t octets;
    uint64_t messages; /* rows of mailboxes */
    uint64_t entries;  /* rows of the queue */
    uint64_t problems;
    uint64_t damaged_summaries; /* of the problems: nothing of the messages is lost */
};

/*
 * Calls `problem` with a line of text, without a line break, for each thing that is wrong. `index` may be open read only. 0 if the
 * check came to its end (counts->problems says what it found), -1 if it could not be made: index->error says why.
 */
int verify_store(struct index *index, struct segments *segments,
                 void (*problem)(void *context, struct str text), void *context,
                 struct verify_counts *counts);

#endif
