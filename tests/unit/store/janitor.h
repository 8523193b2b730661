/*
 * What the store role does when it is idle, for the tests: compaction, snapshots, removing segments that are dead. One step at a
 * time; nothing here fails the test by itself.
 */
#ifndef VEREDUS_TESTS_STORE_JANITOR_H
#define VEREDUS_TESTS_STORE_JANITOR_H

#include "fixture.h"
#include "store/compact.h"
#include "store/snapshot.h"

enum { JANITOR_SEGMENT = 64 << 10, JANITOR_REMOVED_MAX = 64 };

struct janitor {
    struct fixture *f;
    struct compaction compaction;
    struct snapshot snapshot;
    bool snapping;
    unsigned percent;
    uint64_t random;
    int64_t removed[JANITOR_REMOVED_MAX]; /* files that are gone, whose rows are not */
    size_t removed_count;
    unsigned failures;
    unsigned compacted; /* segments */
    unsigned snapshots;
    unsigned dropped; /* segments removed with their rows */
};

/* The fixture must be open. */
void janitor_begin(struct janitor *j, struct fixture *f, uint64_t seed);
void janitor_end(struct janitor *j);
/* Something small. */
void janitor_step(struct janitor *j);
/* Until nothing is left to do. */
void janitor_finish(struct janitor *j);
/* Ends the store's own segment, as when it is full. False: not done. */
bool janitor_roll_own(struct janitor *j);

#endif
