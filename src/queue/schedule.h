/*
 * When a recipient that could not be delivered to is tried again, when its sender is told that it is late, and when it is
 * given up. Pure: the store passes the times and the randomness and keeps what comes out. All times are
 * milliseconds of the wall clock, because they outlive the process.
 */
#ifndef VEREDUS_QUEUE_SCHEDULE_H
#define VEREDUS_QUEUE_SCHEDULE_H

#include "config/config.h"

/* What is known of one recipient in the queue after an attempt that did not deliver. */
struct schedule_entry {
    uint64_t first_ms; /* when the message was accepted */
    uint64_t now_ms;   /* of the attempt's end */
    uint32_t attempts; /* made so far, this one included: 1 after the first */
    bool null_sender;  /* a bounce: bounce_lifetime counts, and nobody is told of a delay */
    bool notified;     /* the sender has been told of the delay */
};

struct schedule_next {
    bool expired;        /* give up: a bounce, unless the reverse-path is null */
    bool delay_notice;   /* tell the sender now, once, if it wants to know (dsn_wanted) */
    uint64_t due_ms;     /* of the next attempt; 0 if expired */
    uint64_t give_up_ms; /* when the last attempt will be made (Will-Retry-Until) */
};

/*
 * The pause is that of the configured schedule for this attempt (the last one repeats), with a random tenth added. An attempt
 * is also made when the delay notice falls due and when the lifetime ends, so neither is told of by hearsay.
 */
struct schedule_next schedule_after(const struct config_relay *settings, const struct schedule_entry *entry,
                                    uint64_t random);

#endif
