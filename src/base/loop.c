/* The event loop of a role; see loop.h. */
#include "base/loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <sys/time.h>

struct loop {
    struct event_base *base;
    struct loop_task *first;
    struct loop_task **last;
    struct loop_task *late;
    unsigned late_passes;
    bool busy; /* something was ready in this pass */
    uint64_t now;
    bool stopped;
};

/* After so many passes late tasks run even if there is always something ready. */
enum { LATE_PASSES_MAX = 8 };

struct loop *loop_new(void)
{
    struct loop *loop = mem_new(struct loop);
    if (loop == NULL) {
        return NULL;
    }
    struct event_config *settings = event_config_new();
    if (settings != NULL) {
        /* One thread uses the loop, so it needs no locks. */
        event_config_set_flag(settings, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(settings);
        event_config_free(settings);
    }
    if (loop->base == NULL) {
        mem_free(loop);
        return NULL;
    }
    loop->last = &loop->first;
    loop->now = clock_monotonic_ms();
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop != NULL) {
        event_base_free(loop->base);
        mem_free(loop);
    }
}

static void run_deferred(struct loop *loop)
{
    while (loop->first != NULL) {
        struct loop_task *task = loop->first;
        loop->first = task->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
        task->queued = false;
        task->run(task->context);
    }
}

static void run_late(struct loop *loop)
{
    struct loop_task *task = loop->late;
    loop->late = NULL;
    loop->late_passes = 0;
    while (task != NULL) {
        struct loop_task *next = task->next;
        task->queued = false;
        task->run(task->context);
        task = next;
    }
    run_deferred(loop);
}

void loop_pass(struct loop *loop, bool wait)
{
    run_deferred(loop);
    log_flush();
    loop->busy = false;
    event_base_loop(loop->base,
                    EVLOOP_ONCE | (wait && !loop->stopped && loop->late == NULL ? 0 : EVLOOP_NONBLOCK));
    loop->now = clock_monotonic_ms();
    run_deferred(loop);
    if (loop->late != NULL && (!loop->busy || ++loop->late_passes == LATE_PASSES_MAX)) {
        run_late(loop);
    }
}

void loop_run(struct loop *loop)
{
    loop->stopped = false;
    while (!loop->stopped) {
        loop_pass(loop, true);
    }
    log_flush();
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
    event_base_loopbreak(loop->base);
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

static void note_time(struct loop *loop)
{
    loop->now = clock_monotonic_ms();
}

static void watch_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct loop_watch *watch = context;
    note_time(watch->loop);
    watch->loop->busy = true;
    watch->ready(watch->context, (unsigned)what & (EV_READ | EV_WRITE));
}

int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned what,
               void (*ready)(void *context, unsigned what), void *context)
{
    watch->loop = loop;
    watch->ready = ready;
    watch->context = context;
    if (event_assign(&watch->event, loop->base, fd, (short)(what | EV_PERSIST), watch_event, watch) != 0) {
        watch->loop = NULL;
        return -1;
    }
    if (what != 0 && event_add(&watch->event, NULL) != 0) {
        watch->loop = NULL;
        return -1;
    }
    return 0;
}

int loop_rewatch(struct loop_watch *watch, unsigned what)
{
    if (((unsigned)event_get_events(&watch->event) & (EV_READ | EV_WRITE)) == what && what != 0 &&
        event_pending(&watch->event, EV_READ | EV_WRITE, NULL)) {
        return 0;
    }
    event_del(&watch->event);
    if (what == 0) {
        return 0;
    }
    int fd = event_get_fd(&watch->event);
    if (event_assign(&watch->event, watch->loop->base, fd, (short)(what | EV_PERSIST), watch_event, watch) !=
        0) {
        return -1;
    }
    return event_add(&watch->event, NULL);
}

void loop_unwatch(struct loop_watch *watch)
{
    if (watch->loop != NULL) {
        event_del(&watch->event);
        watch->loop = NULL;
    }
}

static void timer_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct loop_timer *timer = context;
    note_time(timer->loop);
    if ((event_get_events(&timer->event) & EV_PERSIST) == 0) {
        timer->loop = NULL; /* it is not running any more, and may be started anew by what follows */
    }
    timer->expired(timer->context);
}

int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms, bool repeat,
                     void (*expired)(void *context), void *context)
{
    loop_timer_stop(timer);
    timer->loop = loop;
    timer->expired = expired;
    timer->context = context;
    struct timeval after = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    if (event_assign(&timer->event, loop->base, -1, repeat ? EV_PERSIST : 0, timer_event, timer) != 0 ||
        event_add(&timer->event, &after) != 0) {
        timer->loop = NULL;
        return -1;
    }
    return 0;
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->loop != NULL) {
        event_del(&timer->event);
        timer->loop = NULL;
    }
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context)
{
    if (task->queued) {
        return;
    }
    task->run = run;
    task->context = context;
    task->next = NULL;
    task->queued = true;
    *loop->last = task;
    loop->last = &task->next;
}

void loop_defer_late(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context)
{
    if (task->queued) {
        return;
    }
    *task = (struct loop_task){.run = run, .context = context, .next = loop->late, .queued = true};
    loop->late = task;
}

void loop_undefer(struct loop *loop, struct loop_task *task)
{
    if (!task->queued) {
        return;
    }
    struct loop_task **link = &loop->first;
    while (*link != task) {
        link = &(*link)->next;
    }
    *link = task->next;
    if (loop->last == &task->next) {
        loop->last = link;
    }
    task->queued = false;
}
