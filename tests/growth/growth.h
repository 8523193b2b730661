/*
 * How the cost of parsing grows with hostile input (goal G13). A case makes n octets of one kind and has them parsed; growth.c
 * counts instructions for n, 2n and 4n under callgrind, and tests/e2e/test_growth.py judges. To add a protocol: a file with a
 * table of cases, and its name in `tables` of growth.c.
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

extern const struct growth_table growth_smtp;
extern const struct growth_table growth_message;
extern const struct growth_table growth_mime;

#endif
