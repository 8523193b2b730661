/*
 * A store at work, for the tests: mail comes in and is filed, queued, expunged and delivered, mail programs set flags, copy, move,
 * append, make and remove mailboxes, accounts and aliases come and go, segments are changed, all by a seed. It knows what was
 * promised and when, and can say whether the store has kept it. Nothing here fails the test by itself, so faults can be put
 * beneath it.
 */
#ifndef VEREDUS_TESTS_STORE_WORKLOAD_H
#define VEREDUS_TESTS_STORE_WORKLOAD_H

#include "fixture.h"

enum { WORKLOAD_MESSAGES = 4096, WORKLOAD_WRITERS = 3, WORKLOAD_BODY = 5000 };

struct workload {
    struct fixture *f;
    uint64_t random;
    int64_t alice;
    int64_t carol;
    struct {
        int fd; /* -1: none */
        int64_t segment;
        int64_t end;
    } writers[WORKLOAD_WRITERS];
    int count;
    unsigned failures; /* steps that did not succeed */
    /*
     * How often each message is there: at least what has been answered and not taken away again since, at most what has been asked
     * for. Between them is what was asked for while something failed.
     */
    int least[WORKLOAD_MESSAGES];
    int most[WORKLOAD_MESSAGES];
    /* Called before and after what is smtpd's or imapd's part, where no fault is wanted; may be NULL. */
    void (*pause)(bool begin);
    bool appended[WORKLOAD_MESSAGES]; /* by a mail program, so that only events say where */
    char bodies[4][WORKLOAD_BODY + 64];
};

/* The fixture must be open; makes two accounts. */
void workload_begin(struct workload *w, struct fixture *f, uint64_t seed);
void workload_step(struct workload *w);
/* Applies what has been written. False if that fails. */
bool workload_apply(struct workload *w);
/* Expunges and delivers about this many of a hundred messages. */
void workload_remove(struct workload *w, unsigned percent);
/* Ends the writers' segments. */
void workload_end(struct workload *w);
/* As after a crash: the index is opened again, what the log has is applied. False if that cannot be done. */
bool workload_restart(struct workload *w);
/* Whether all is there that was promised, once, with its bytes, and nothing else. Says what is not. */
bool workload_check(struct workload *w);
/*
 * The same where records are damaged: messages may be missing or unreadable, but what can be read is right. Counts those of which
 * nothing is left: that came by mail, and that mail programs appended.
 */
bool workload_check_bytes(struct workload *w, int *missing, int *missing_appended);

#endif
