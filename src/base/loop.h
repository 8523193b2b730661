/*
 * The event loop of a role: one thread, descriptors, timers, and work deferred to the end of
 * a pass. A thin layer over libevent; nothing else of ours knows libevent but the resolver,
 * which hands the loop to libunbound.
 *
 * A pass is: wait, run the callbacks of what is ready, then run deferred tasks until none is left.
 * Deferring is how replies, messages to peers and log records of one pass are batched.
 */
#ifndef VEREDUS_BASE_LOOP_H
#define VEREDUS_BASE_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOOP_READ = EV_READ, LOOP_WRITE = EV_WRITE };

struct loop;

/* A watched descriptor; lives inside the structure of whoever watches. */
struct loop_watch {
    struct event event;
    struct loop *loop;
    void (*ready)(void *context, unsigned what);
    void *context;
};

/* A timer, once or repeating; lives inside the structure of its owner. */
struct loop_timer {
    struct event event;
    struct loop *loop;
    void (*expired)(void *context);
    void *context;
};

/* Work for the end of this pass; must be zeroed before its first use. */
struct loop_task {
    void (*run)(void *context);
    void *context;
    struct loop_task *next;
    bool queued;
};

/* NULL if the system gives no loop. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);
/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* One pass; waits for an event if `wait` and no task is deferred. */
void loop_pass(struct loop *loop, bool wait);
void loop_stop(struct loop *loop);
/* The monotonic time, milliseconds, as of the beginning of this pass. */
uint64_t loop_now(const struct loop *loop);
struct event_base *loop_base(struct loop *loop);

/* Watches `fd` for `what` (LOOP_READ | LOOP_WRITE) until loop_unwatch. 0, or -1 without memory. */
int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned what,
               void (*ready)(void *context, unsigned what), void *context);
/* Changes what is watched for; 0 for `what` pauses. */
int loop_rewatch(struct loop_watch *watch, unsigned what);
/* Harmless on a zeroed or unwatched one. */
void loop_unwatch(struct loop_watch *watch);

/* Calls `expired` after `ms` milliseconds, again and again if `repeat`. 0, or -1 without memory. */
int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms, bool repeat,
                     void (*expired)(void *context), void *context);
/* Harmless on a zeroed or stopped one. */
void loop_timer_stop(struct loop_timer *timer);

void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context);
/*
 * For work that is the cheaper the more has come together: once nothing else is ready, or after a few passes. It cannot be
 * taken back.
 */
void loop_defer_late(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context);
/* Takes a task back that has not run; its memory may then go. */
void loop_undefer(struct loop *loop, struct loop_task *task);

#endif
