/*
 * A page of flags as a row of the index has it: runs of neighbouring messages that have the same flags, so that what a delivery or
 * a STORE made alike is a few octets, however many messages it is.
 *
 * A run is four numbers, each as LEB128 (seven bits an octet, the lowest first, the high bit set on all but the last):
 *   2 * the number of messages, plus 1 if their modification sequences rise by one from each to the next (else all have one)
 *   UIDs left out between the run before and this one (the first: its UID)
 *   flags
 *   the modification sequence of its first message less that of the last one of the run before, n as 2n, -n as 2n-1
 */
#ifndef VEREDUS_STORE_PAGE_H
#define VEREDUS_STORE_PAGE_H

#include "base/buf.h"

enum {
    PAGE_MESSAGES = 200, /* in one page at most */
    PAGE_RUN_OCTETS = 2 + 5 + 10 + 10,
    PAGE_OCTETS = PAGE_MESSAGES * PAGE_RUN_OCTETS
};

/* Messages with UIDs uid to uid + count - 1. */
struct flags_run {
    uint32_t uid;
    uint32_t count;
    uint64_t flags;
    uint64_t modseq; /* of the first */
    bool rising;     /* each has one more than the one before it; otherwise all have the same */
};

static inline uint64_t flags_run_modseq(const struct flags_run *run, uint32_t at)
{
    return run->modseq + (run->rising ? at : 0);
}

/* Makes the run longer by one that follows it. False: it is another. */
bool flags_run_join(struct flags_run *run, const struct flags_run *next);
/* Leaves the messages of a run from UID `from` on whose modification sequence is above `since`. False if there are none. */
bool flags_run_cut(struct flags_run *run, uint32_t from, uint64_t since);

/* Takes the next run from the front; *run is the one before it, at first all zero. False at the end, or if it is malformed. */
bool page_next_run(struct str *page, struct flags_run *run);
/* Writes a run behind `before` (at first all zero) and returns its length, PAGE_RUN_OCTETS at most. */
size_t page_put_run(unsigned char *out, const struct flags_run *before, const struct flags_run *run);

#endif
