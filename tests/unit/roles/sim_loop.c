/* The simulation's events, by time, and the loop that roles know, on top of them; see sim.h. */
#include "sim_private.h"

#include "base/clock.h"
#include "roles/store_private.h"

#include <stdlib.h>
#include <string.h>

enum { IDLE_REPEATS = 2 };

static uint64_t now_us;
static uint64_t next_serial;

uint64_t sim_now(void)
{
    return now_us;
}

/* Events: a heap by time. */

static struct sim_event **heap;
static size_t heap_len;
static size_t heap_cap;

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at == b->at && a->serial < b->serial);
}

static void heap_add(struct sim_event *event)
{
    if (heap_len == heap_cap) {
        heap_cap = heap_cap == 0 ? 256 : heap_cap * 2;
        heap = realloc(heap, heap_cap * sizeof(struct sim_event *));
        if (heap == NULL) {
            abort();
        }
    }
    size_t at = heap_len++;
    while (at > 0 && before(event, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = event;
}

static struct sim_event *heap_take(void)
{
    struct sim_event *first = heap[0];
    struct sim_event *last = heap[--heap_len];
    size_t at = 0;
    while (at * 2 + 1 < heap_len) {
        size_t child = at * 2 + 1;
        if (child + 1 < heap_len && before(heap[child + 1], heap[child])) {
            child++;
        }
        if (!before(heap[child], last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    if (heap_len > 0) {
        heap[at] = last;
    }
    return first;
}

static struct sim_event *new_event(uint64_t us, struct sim_process *owner, void (*run)(void *context),
                                   void *context)
{
    struct sim_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
        abort();
    }
    *event =
        (struct sim_event){.at = us, .serial = ++next_serial, .owner = owner, .run = run, .context = context};
    return event;
}

struct sim_event *sim_at(uint64_t us, struct sim_process *owner, void (*run)(void *context), void *context)
{
    struct sim_event *event = new_event(us < now_us ? now_us : us, owner, run, context);
    heap_add(event);
    return event;
}

/* Timers that repeat sleep when nothing else happens; these are woken. */
static struct sim_event *sleepers[64];
static size_t sleeper_count;

void sim_wake(struct sim_process *process)
{
    if (process == NULL) {
        return;
    }
    process->idle = 0;
    for (size_t i = sleeper_count; i > 0; i--) {
        struct sim_event *event = sleepers[i - 1];
        if (event->owner == process && !event->cancelled) {
            sleepers[i - 1] = sleepers[--sleeper_count];
            event->at = now_us + event->repeat_us;
            event->serial = ++next_serial;
            event->sleeping = false;
            heap_add(event);
        }
    }
}

static void run_event(struct sim_event *event)
{
    struct sim_process *owner = event->owner;
    bool repeats = event->repeat_us > 0 && !event->once;
    if (repeats) {
        owner->idle++;
        if (owner->idle > IDLE_REPEATS * 2) {
            event->sleeping = true;
            sleepers[sleeper_count++] = event;
        } else {
            event->at = now_us + event->repeat_us;
            event->serial = ++next_serial;
            heap_add(event);
        }
    }
    if (owner != NULL) {
        sim_enter(owner);
        event->run(event->context);
        sim_leave();
    } else {
        event->run(event->context);
    }
    if (!repeats) {
        free(event);
    }
}

bool sim_step(uint64_t until)
{
    while (heap_len > 0 && heap[0]->cancelled) {
        free(heap_take());
    }
    if (heap_len == 0 || heap[0]->at > until) {
        now_us = until > now_us ? until : now_us;
        return false;
    }
    struct sim_event *event = heap_take();
    now_us = event->at > now_us ? event->at : now_us;
    run_event(event);
    return true;
}

void sim_forget_events(struct sim_process *process)
{
    for (size_t i = 0; i < heap_len; i++) {
        heap[i]->cancelled = heap[i]->cancelled || heap[i]->owner == process;
    }
    for (size_t i = sleeper_count; i > 0; i--) {
        if (sleepers[i - 1]->owner == process) {
            free(sleepers[i - 1]);
            sleepers[i - 1] = sleepers[--sleeper_count];
        }
    }
}
/* The loop, as roles know it. */

struct loop *loop_new(void)
{
    return NULL;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

uint64_t loop_now(const struct loop *loop)
{
    (void)loop;
    return clock_monotonic_ms();
}

int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned what,
               void (*ready)(void *context, unsigned what), void *context)
{
    watch->loop = loop;
    watch->ready = ready;
    watch->context = context;
    watch->event.ev_fd = fd;
    return sim_watch_fd(watch, fd, what);
}

int loop_rewatch(struct loop_watch *watch, unsigned what)
{
    return sim_watch_fd(watch, watch->event.ev_fd, what);
}

void loop_unwatch(struct loop_watch *watch)
{
    if (watch->loop != NULL) {
        sim_unwatch_fd(watch->event.ev_fd);
        watch->loop = NULL;
    }
}

static struct sim_event *timer_event(const struct loop_timer *timer)
{
    struct sim_event *event;
    memcpy(&event, &timer->event, sizeof(event));
    return event;
}

static void timer_due(void *context)
{
    struct loop_timer *timer = context;
    if (timer_event(timer)->repeat_us == 0 || timer_event(timer)->once) {
        timer->loop = NULL;
    }
    timer->expired(timer->context);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->loop == NULL) {
        return;
    }
    struct sim_event *event = timer_event(timer);
    if (event->sleeping) {
        for (size_t i = 0; i < sleeper_count; i++) {
            if (sleepers[i] == event) {
                sleepers[i] = sleepers[--sleeper_count];
                free(event);
                break;
            }
        }
    } else {
        event->cancelled = true;
    }
    timer->loop = NULL;
}

/* Compaction looks for work every second. */
static bool is_look(void (*expired)(void *context), uint64_t ms)
{
    return expired == store_compact_due && ms >= 1000;
}

int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms, bool repeat,
                     void (*expired)(void *context), void *context)
{
    loop_timer_stop(timer);
    timer->loop = loop;
    timer->expired = expired;
    timer->context = context;
    bool looks = is_look(expired, ms);
    if (looks && ++loop->process->idle > IDLE_REPEATS * 2) {
        struct sim_event *sleeper = new_event(now_us, loop->process, timer_due, timer);
        sleeper->repeat_us = ms * SIM_MS;
        sleeper->once = true;
        sleeper->sleeping = true;
        sleepers[sleeper_count++] = sleeper;
        memcpy(&timer->event, &sleeper, sizeof(sleeper));
        return 0;
    }
    struct sim_event *event = sim_at(now_us + ms * SIM_MS, loop->process, timer_due, timer);
    event->repeat_us = repeat || looks ? ms * SIM_MS : 0;
    event->once = looks;
    memcpy(&timer->event, &event, sizeof(event));
    return 0;
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *context), void *context)
{
    if (task->queued) {
        return;
    }
    *task = (struct loop_task){.run = run, .context = context, .queued = true};
    *loop->last = task;
    loop->last = &task->next;
}

void loop_undefer(struct loop *loop, struct loop_task *task)
{
    struct loop_task **link = &loop->first;
    if (!task->queued) {
        return;
    }
    while (*link != task) {
        link = &(*link)->next;
    }
    *link = task->next;
    if (loop->last == &task->next) {
        loop->last = link;
    }
    task->queued = false;
}

void sim_run_tasks(struct loop *loop)
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

struct sim_event *sim_take_event(void)
{
    return heap_len > 0 ? heap_take() : NULL;
}

void sim_loop_reset(void)
{
    now_us = 0;
    sleeper_count = 0;
}
