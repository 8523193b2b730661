/*
 * The journal: what happened to each message, one row a decision, with its cause. Log lines, `veredus trace` and bounces
 * speak from it.
 */
#ifndef VEREDUS_STORE_JOURNAL_H
#define VEREDUS_STORE_JOURNAL_H

#include "store/index.h"

enum journal_event {
    JOURNAL_ACCEPTED,  /* stored and answered 250 */
    JOURNAL_REFUSED,   /* not accepted in the session */
    JOURNAL_FILED,     /* in a mailbox */
    JOURNAL_QUEUED,    /* waits for delivery to another host */
    JOURNAL_DELIVERED, /* taken by another host */
    JOURNAL_DEFERRED,  /* will be tried again */
    JOURNAL_UNCERTAIN, /* the connection was lost after the last dot: perhaps delivered, will be tried again */
    JOURNAL_FAILED,    /* given up */
    JOURNAL_BOUNCED,   /* the sender was told */
    JOURNAL_NOTICED,   /* the sender was told of a delay */
    JOURNAL_DROPPED,   /* removed by command, or a report that could not be delivered */
    JOURNAL_EXPUNGED,
    JOURNAL_HELD,
    JOURNAL_EVENTS
};

/* "accepted" and so on. */
const char *journal_event_name(enum journal_event event);

/* Sequence numbers only order the rows of one message; the wall clock and a counter of the process make them. */
int journal_add(struct index *index, const struct ident *id, uint64_t wall_ms, enum journal_event event,
                struct str text);

/* Appends a message to those that journal_add_each is given. */
bool journal_pack(struct buf *messages, const struct ident *id, uint32_t uid);
/* Within a transaction, for each of the packed messages: its text has its UID between these two. 0, or -1. */
int journal_add_each(struct index *index, struct str messages, uint64_t wall_ms, enum journal_event event,
                     struct str before, struct str after);

struct journal_row {
    struct ident id;
    uint64_t wall_ms;
    enum journal_event event;
    struct str text; /* lives until the callback returns */
};

/* What happened to this message, in order. */
int journal_of(struct index *index, const struct ident *id,
               bool (*each)(void *context, const struct journal_row *row), void *context);
/*
 * The newest rows that contain this text (an address), newest message first; behind them those of what happened to many messages
 * at once.
 */
int journal_search(struct index *index, struct str text, unsigned limit,
                   bool (*each)(void *context, const struct journal_row *row), void *context);
/*
 * Within a transaction: forgets at most `max` rows of messages that are older, and what happened to many at once that all are.
 * How many rows, without those; or -1.
 */
int journal_trim(struct index *index, uint64_t before_wall_ms, int max);

#endif
