/*
 * How the cost of parsing grows with hostile input (goal G13). A case makes n octets of one kind and has them parsed; growth.c
 * counts instructions for n, 2n and 4n under callgrind, and tests/e2e/test_growth.py judges. Each protocol has a program of its
 * own, as the engines' drivers have names in common; which tables are in it says the file with its driver.
 */
#ifndef VEREDUS_TESTS_GROWTH_H
#define VEREDUS_TESTS_GROWTH_H

#include "base/buf.h"

struct growth_case {
    const char *name;    /* "smtp-noop": protocol, then what the input is made of */
    const char *before;  /* once, at the beginning */
    const char *pattern; /* again and again, up to n octets in all */
    const char *after;   /* once, at the end */
    void (*run)(struct str input);
};

struct growth_table {
    const struct growth_case *cases;
    size_t count;
};

extern const struct growth_table growth_message;
extern const struct growth_table growth_mime;

/* Makes what the cases run in, before anything is counted. May be NULL. */
extern void (*const growth_prepare)(void);
/* Those of this program. */
extern const struct growth_table *const growth_tables[];
extern const size_t growth_table_count;

#endif
