/*
 * A disk that remembers: records what is written to the log and the index and what is flushed, in order, and makes from it
 * what a power loss at any moment may leave: of all that was not flushed, each 512-octet sector is there, missing, of an
 * older write, or torn; names whose directory was not flushed may be missing. Also fails chosen calls.
 */
#ifndef VEREDUS_TESTS_STORE_DISK_H
#define VEREDUS_TESTS_STORE_DISK_H

#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can be left out (the mutation check). */
enum disk_flush {
    FLUSH_NONE,
    FLUSH_LOG,       /* fdatasync of a segment of smtpd */
    FLUSH_OWN,       /* of the store's own segment */
    FLUSH_COPIES,    /* of a segment that compaction writes */
    FLUSH_DIRECTORY, /* fsync of "segments" */
    FLUSH_REMOVAL,   /* the same when a file has been removed from it */
    FLUSH_ROOT,      /* fsync of the store's directory */
    FLUSH_WAL,       /* SQLite's, of the write-ahead log */
    FLUSH_INDEX,     /* SQLite's, of the database */
    FLUSH_KINDS
};

extern const struct io disk_io;

/* Forgets everything; from now on the current directory is recorded. `without`: this kind of flush is not believed. */
void disk_start(enum disk_flush without);
void disk_stop(void);
/* The number of events so far. */
size_t disk_events(void);
/* Makes the state after the first `events` events and a power loss, in the current directory. `seed` chooses what is left. */
void disk_replay(size_t events, uint64_t seed);

/*
 * From now on, call number k (1 is the next) of those that open, read, write, flush, rename or remove fails with `error`; `all`:
 * those after it too. A write that fails alone gets half of its first part there first. An error of 0: that half is all that
 * happens. k of 0: none fails.
 */
void disk_fail_at(uint64_t k, int error, bool all);
/* Calls counted since disk_fail_at. */
uint64_t disk_calls(void);

/* A small generator of the tests' own, so that a seed always gives the same run. */
uint64_t disk_random(uint64_t *state);

#endif
