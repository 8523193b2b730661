/*
 * Drives the SMTP server engine without a network: feeds bytes in pieces of any size, answers its questions from fixed rules,
 * and writes down what the engine said and what it did. Used by the unit tests, the fuzz targets and the growth programs; it
 * must not depend on any of them.
 *
 * Who exists: LOCAL@here.example is local unless LOCAL is "unknown", "full" (552), "full-now" (452), "disabled" or
 * "fail" (451); relay.example is a relay domain; every other domain is remote. The login "user" with the password
 * "secret" owns user@here.example and alias@here.example; asking about fail@here.example as a sender fails. The names
 * "busy", "flood" and "gone" get the temporary, throttled and disabled answers.
 */
#ifndef VEREDUS_TESTS_SMTP_DRIVER_H
#define VEREDUS_TESTS_SMTP_DRIVER_H

#include "smtp/server.h"

struct driver {
    struct smtp_server_settings settings;
    struct smtp_body_budget budget;
    struct smtp_server server;
    uint64_t now_ms;
    enum smtp_commit_answer commit_answer;
    bool catch_all_recipients; /* every recipient is local */
    bool keep_input_after_tls; /* as a role would that forgot to throw it away */
    bool hold_commit;          /* leave SMTP_COMMIT unanswered */
    bool closed;
    unsigned commits;
    unsigned questions;
    unsigned events;
    unsigned last_code; /* of the last event */
    struct buf out;     /* replies, as the client sees them */
    struct buf trace;   /* effects, a line each: RCPT, SENDER, LOGIN, TLS, COMMIT with envelope and body */
    struct buf event_text;
};

/* A fresh session of this kind with the greeting in `out` cleared away. */
void driver_open(struct driver *d, enum smtp_server_kind kind, bool tls);
/* The same, but the caller changes d->settings in between: driver_defaults, change, driver_begin. */
void driver_defaults(struct driver *d, enum smtp_server_kind kind);
void driver_begin(struct driver *d, bool tls);
void driver_close(struct driver *d);
/* Feeds all of it at once, or `step` bytes at a time (0: all), or in two pieces parted at `split`. */
void driver_feed(struct driver *d, struct str bytes);
void driver_feed_by(struct driver *d, struct str bytes, size_t step);
void driver_feed_at(struct driver *d, struct str bytes, size_t split);
/* Answers a commit that was held and goes on with nothing. */
void driver_answer_commit(struct driver *d, enum smtp_commit_answer answer);

#endif
