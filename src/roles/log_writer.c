/* The writers' side of the log; see log_writer.h. */
#include "roles/log_writer.h"

#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_log.h"
#include "message/summary.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    SEGMENTS_MAX = 8,
    SEALED_MAX = 8,
    WAIT_FOR_SEGMENT_MS = 10000,
    TELL_MS = 10, /* the store applies every 50 ms or so: it need not wake for each flush */
    PARTS_KEPT = 64,
    GATHER_SHARE = 4, /* of the time that a flush takes, for others to come along */
    GATHER_LEAST_US = 50,
    GATHER_MOST_US = 2000,
    GATHER_PAUSE = 64 /* flushes without waiting after a wait for which nobody came */
};

struct open_segment {
    uint64_t id;
    uint64_t offset;
    uint64_t size_limit;
    int fd;
};

/*
 * Waiting for more before a flush. Those who were answered with the last flush send their next message a moment later; written at
 * once, the others would go alone, and each half would wait for the flush of the other as well as for its own.
 */
struct gathering {
    struct loop_watch watch;
    int timer_fd;
    bool waiting;
    bool over;         /* the wait for the present batch is */
    size_t expected;   /* records that may come together */
    size_t begun_with; /* records when the wait began */
    unsigned pause;    /* flushes until it is worth another try */
    uint64_t flush_us; /* how long a flush takes of late */
};

struct log_writer {
    struct role *role;
    void (*done)(void *owner, enum batch_result result, const struct log_place *place);
    struct batch *filling;
    struct batch *writing; /* NULL: the thread is idle */
    struct batch *spare;
    struct open_segment segments[SEGMENTS_MAX]; /* the first is the one in use */
    size_t segment_count;
    struct log_sealed sealed[SEALED_MAX]; /* told to the store, which has not applied all of them yet */
    size_t sealed_count;
    bool accepting;
    bool started;
    struct loop_task task;
    struct loop_watch watch;
    struct loop_timer timer; /* runs while records wait for a segment */
    struct loop_timer tell;  /* runs for TELL_MS after the store was told */
    uint32_t untold;         /* records flushed since */
    int event_fd;
    struct gathering gathering;
    struct mime mime;   /* of the message under way */
    struct buf summary; /* likewise, as a section of its record */
    struct buf encoded;
    pthread_t thread;
    sem_t work; /* hands `writing` and `job_fd` to the thread; event_fd hands them back */
    int job_fd;
};

static void *thread_main(void *context)
{
    struct log_writer *w = context;
    for (;;) {
        if (sem_wait(&w->work) != 0) {
            continue; /* a signal came */
        }
        batch_write(w->writing, &io_system, w->job_fd);
        uint64_t one = 1;
        if (write(w->event_fd, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
            log_error("the log's helper thread cannot wake the loop");
        }
    }
    return NULL;
}

static void tell_flushed(struct log_writer *w, const struct open_segment *segment, uint32_t records)
{
    struct log_flushed message = {.segment = segment->id, .offset = segment->offset, .records = records};
    role_send(role_peer_of(w->role, ROLE_STORE), &log_flushed_type, &message);
}

static void tell_again(void *context)
{
    struct log_writer *w = context;
    if (w->untold > 0 && w->segment_count > 0) {
        tell_flushed(w, &w->segments[0], w->untold);
        w->untold = 0;
        loop_timer_start(w->role->loop, &w->tell, TELL_MS, false, tell_again, w);
    }
}

/* At once after a pause, under load once in TELL_MS. */
static void note_flushed(struct log_writer *w, uint32_t records)
{
    w->untold += records;
    if (w->tell.loop == NULL) {
        tell_again(w);
    }
}

static void drop_first_segment(struct log_writer *w, bool failed)
{
    struct log_sealed message = {
        .segment = w->segments[0].id, .offset = w->segments[0].offset, .failed = failed};
    role_send(role_peer_of(w->role, ROLE_STORE), &log_sealed_type, &message);
    w->untold = 0; /* its end has been told now */
    if (w->sealed_count == SEALED_MAX) {
        /* A store that comes up without being told finds the end of the oldest by itself. */
        memmove(&w->sealed[0], &w->sealed[1], --w->sealed_count * sizeof(w->sealed[0]));
    }
    w->sealed[w->sealed_count++] = message;
    close(w->segments[0].fd);
    w->segment_count--;
    memmove(&w->segments[0], &w->segments[1], w->segment_count * sizeof(w->segments[0]));
}

/* `begin`: where the batch lies, if it was stored. */
static void answer_all(struct log_writer *w, struct batch *batch, enum batch_result result,
                       struct log_place begin)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct log_place place = {.segment = begin.segment, .offset = begin.offset + batch->items[i].at};
        w->done(batch->items[i].owner, result, &place);
    }
    batch_clear(batch);
}

static void no_segment_came(void *context)
{
    struct log_writer *w = context;
    if (w->segment_count == 0 && w->filling->count > 0) {
        log_warning("no log segment came from the store in time: %zu messages are deferred",
                    w->filling->count);
        answer_all(w, w->filling, BATCH_FAILED, (struct log_place){.segment = 0});
    }
}

static void set_timer(const struct gathering *g, uint64_t us)
{
    struct itimerspec in = {.it_value = {.tv_nsec = (long)(us * 1000)}};
    timerfd_settime(g->timer_fd, 0, &in, NULL);
}

/* Whether more records may come soon enough to be worth the wait. */
static bool gather(struct log_writer *w)
{
    struct gathering *g = &w->gathering;
    if (g->over || g->pause > 0 || w->filling->count >= g->expected) {
        return false;
    }
    uint64_t us = g->flush_us / GATHER_SHARE;
    if (!g->waiting && us >= GATHER_LEAST_US) {
        g->waiting = true;
        g->begun_with = w->filling->count;
        set_timer(g, us < GATHER_MOST_US ? us : GATHER_MOST_US);
    }
    return g->waiting;
}

static void start_writing(void *context)
{
    struct log_writer *w = context;
    if (w->writing != NULL || w->filling->count == 0 || !w->started || gather(w)) {
        return;
    }
    if (w->gathering.waiting) {
        w->gathering.waiting = false;
        set_timer(&w->gathering, 0);
    }
    while (w->segment_count > 0 && w->segments[0].offset > 0 &&
           w->segments[0].offset + w->filling->octets > w->segments[0].size_limit) {
        drop_first_segment(w, false);
    }
    if (w->segment_count == 0) {
        if (w->timer.loop == NULL) {
            loop_timer_start(w->role->loop, &w->timer, WAIT_FOR_SEGMENT_MS, false, no_segment_came, w);
        }
        return;
    }
    loop_timer_stop(&w->timer);
    w->writing = w->filling;
    w->filling = w->spare;
    w->spare = NULL;
    w->job_fd = w->segments[0].fd;
    sem_post(&w->work);
}

static void gathered(void *context, unsigned what)
{
    (void)what;
    struct log_writer *w = context;
    struct gathering *g = &w->gathering;
    uint64_t count;
    if (read(g->timer_fd, &count, sizeof(count)) != (ssize_t)sizeof(count) || !g->waiting) {
        return;
    }
    g->waiting = false;
    g->over = true;
    if (w->filling->count == g->begun_with) {
        g->pause = GATHER_PAUSE;
    }
    start_writing(w);
}

/* After a flush. */
static void learn(struct log_writer *w, const struct batch *batch)
{
    struct gathering *g = &w->gathering;
    g->flush_us = (3 * g->flush_us + batch->flush_us) / 4;
    g->expected = batch->count + w->filling->count;
    g->over = false;
    g->pause -= g->pause > 0;
}

static void written(void *context, unsigned what)
{
    (void)what;
    struct log_writer *w = context;
    uint64_t count;
    if (read(w->event_fd, &count, sizeof(count)) != (ssize_t)sizeof(count) || w->writing == NULL) {
        return;
    }
    struct batch *batch = w->writing;
    w->writing = NULL;
    w->spare = batch;
    learn(w, batch);
    struct log_place begin = {.segment = w->segments[0].id, .offset = w->segments[0].offset};
    if (batch->result == BATCH_STORED) {
        w->segments[0].offset += batch->octets;
        note_flushed(w, (uint32_t)batch->count);
    } else {
        log_error(
            "the log cannot be written: %s; %zu messages are deferred, and this segment is not used again",
            strerror(batch->error), batch->count);
        drop_first_segment(w, true);
    }
    answer_all(w, batch, batch->result, begin);
    start_writing(w);
}

struct log_writer *log_writer_new(struct role *role, void (*done)(void *owner, enum batch_result result,
                                                                  const struct log_place *place))
{
    struct log_writer *w = mem_new(struct log_writer);
    if (w == NULL) {
        return NULL;
    }
    w->role = role;
    w->done = done;
    w->accepting = true;
    w->encoded = buf_make(SUMMARY_MAX);
    w->summary = buf_make(RECORD_SUMMARY_MAX);
    w->filling = batch_new();
    w->spare = batch_new();
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->gathering.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (sem_init(&w->work, 0, 0) != 0 || w->filling == NULL || w->spare == NULL || w->event_fd < 0 ||
        w->gathering.timer_fd < 0 ||
        loop_watch(role->loop, &w->watch, w->event_fd, LOOP_READ, written, w) != 0 ||
        loop_watch(role->loop, &w->gathering.watch, w->gathering.timer_fd, LOOP_READ, gathered, w) != 0) {
        batch_free(w->filling);
        batch_free(w->spare);
        mem_free(w);
        return NULL;
    }
    return w;
}

int log_writer_start(struct log_writer *w)
{
    if (pthread_create(&w->thread, NULL, thread_main, w) != 0) {
        log_error("the log's helper thread cannot be started");
        return -1;
    }
    w->started = true;
    return 0;
}

bool log_writer_accepts(const struct log_writer *w)
{
    return w->accepting;
}

/* What mail programs ask for is found here, once, where the message is in memory anyway. Empty: they parse the message. */
static struct str summary_of(struct log_writer *w, struct str trace, struct str body)
{
    buf_clear(&w->encoded);
    buf_clear(&w->summary);
    bool fine = mime_parse(&w->mime, body) && summary_encode(&w->mime, trace, &w->encoded) &&
                record_encode_summary(buf_str(&w->encoded), &w->summary);
    if (w->mime.capacity > PARTS_KEPT) {
        mime_free(&w->mime);
    }
    return fine ? buf_str(&w->summary) : STR_EMPTY;
}

bool log_writer_add(struct log_writer *w, struct record_header *header, struct str envelope, struct str trace,
                    struct str body, void *owner)
{
    if (!batch_add(w->filling, header, summary_of(w, trace, body), envelope, trace, body, owner)) {
        return false;
    }
    loop_defer_late(w->role->loop, &w->task, start_writing, w);
    return true;
}

static void take_segment(struct log_writer *w, const struct log_segment *message, int fd)
{
    if (w->segment_count == SEGMENTS_MAX) {
        close(fd);
        return;
    }
    w->segments[w->segment_count++] = (struct open_segment){
        .id = message->segment, .offset = message->offset, .size_limit = message->size_limit, .fd = fd};
    loop_defer(w->role->loop, &w->task, start_writing, w);
}

static void forget_sealed(struct log_writer *w, const struct log_applied *applied)
{
    for (size_t i = 0; i < w->sealed_count; i++) {
        if (w->sealed[i].segment == applied->segment && applied->offset >= w->sealed[i].offset) {
            w->sealed[i] = w->sealed[--w->sealed_count];
            return;
        }
    }
}

bool log_writer_message(struct log_writer *w, const struct ipc_type *type, const void *message, int fd)
{
    if (type == &log_segment_type) {
        take_segment(w, message, fd);
    } else if (type == &log_space_type) {
        const struct log_space *space = message;
        if (w->accepting != (space->accepting != 0)) {
            log_warning("mail is %s: %llu MiB of the disk are free, %llu MiB are kept in reserve",
                        space->accepting ? "accepted again" : "deferred with 452 4.3.1",
                        (unsigned long long)(space->free_bytes >> 20),
                        (unsigned long long)(space->reserve_bytes >> 20));
        }
        w->accepting = space->accepting != 0;
    } else if (type == &log_applied_type) {
        forget_sealed(w, message);
    } else {
        return false;
    }
    return true;
}

void log_writer_store_up(struct log_writer *w)
{
    for (size_t i = 0; i < w->segment_count; i++) {
        tell_flushed(w, &w->segments[i], 0);
    }
    for (size_t i = 0; i < w->sealed_count; i++) {
        role_send(role_peer_of(w->role, ROLE_STORE), &log_sealed_type, &w->sealed[i]);
    }
}

bool log_writer_busy(const struct log_writer *w)
{
    return w->writing != NULL || w->filling->count > 0;
}
