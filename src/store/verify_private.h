/* What the files of verify share. Nobody else includes this. */
#ifndef VEREDUS_STORE_VERIFY_PRIVATE_H
#define VEREDUS_STORE_VERIFY_PRIVATE_H

#include "store/verify.h"

struct verify {
    struct index *index;   /* that is checked, within one snapshot */
    struct index *scratch; /* what the log's events say */
    struct segments *segments;
    void (*problem)(void *context, struct str text);
    void *context;
    struct verify_counts *counts;
    bool events_lost;
    uint64_t latest; /* number of a transaction in the log */
};

/* For our own text: never with a format that came from outside. */
void verify_problem(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* verify_rows.c: compares the tables, row by row. 0, or -1. */
int verify_rows(struct verify *v);
/* verify_flags.c: compares flags and modification sequences. 0, or -1. */
int verify_flags(struct verify *v);

#endif
