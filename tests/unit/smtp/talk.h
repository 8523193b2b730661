/*
 * What the tests of the SMTP server engine say: talk() sends a command line and compares the whole reply. Include after
 * cmocka.h's own requirements; only for test programs.
 */
#ifndef VEREDUS_TESTS_SMTP_TALK_H
#define VEREDUS_TESTS_SMTP_TALK_H

#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The engine's output so far is exactly `expected`; clears it. */
void expect_out_at(struct driver *d, struct str expected, const char *file, int line);
/* The trace of effects so far is exactly `expected`; clears it. */
void expect_trace_at(struct driver *d, struct str expected, const char *file, int line);
void expect_event_at(struct driver *d, const char *expected, const char *file, int line);

#define expect_out(d, literal)   expect_out_at((d), STR(literal), __FILE__, __LINE__)
#define expect_trace(d, literal) expect_trace_at((d), STR(literal), __FILE__, __LINE__)
#define expect_event(d, text)    expect_event_at((d), (text), __FILE__, __LINE__)
/* Sends a line (CRLF is added) and expects these replies (with their CRLFs). */
#define talk(d, literal, replies)                                                                            \
    do {                                                                                                     \
        driver_feed((d), STR(literal "\r\n"));                                                               \
        expect_out_at((d), STR(replies), __FILE__, __LINE__);                                                \
    } while (0)
/* Sends bytes as they are. */
#define send_raw(d, literal, replies)                                                                        \
    do {                                                                                                     \
        driver_feed((d), STR(literal));                                                                      \
        expect_out_at((d), STR(replies), __FILE__, __LINE__);                                                \
    } while (0)

/* EHLO, and forget what it said. */
void greet(struct driver *d);
/* A submission session in TLS, greeted and logged in as "user". */
void open_logged_in(struct driver *d);

#endif
