/*
 * What the store does when it has nothing else to do: it removes segments that nothing needs, copies together what lives of those
 * that are mostly dead, notes its whole state again when old events take too much room, and forgets old rows of the journal. One
 * small step at a time; mail and sessions go first. Part of the store role.
 *
 * A segment's file goes before its row, and the row only once that is on stable storage (segment_remove): a crash in between
 * leaves a row without a file, which the next start drops.
 */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/compact.h"
#include "store/snapshot.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
    LOOK_MS = 1000,
    BUSY_MS = 5,
    BUSY_TIMES = 20, /* then a step is taken all the same */
    FAILED_MS = 5000,
    RESTS = 3, /* a step is followed by a pause of so many times its length */
    GONE_MAX = 16,
    STUCK_MAX = 64,
    YOUNG_MAX = 256,
    YOUNG_MS = 3600000,
    TRIM_ROWS = 2000,
    TRIM_EVERY_MS = 3600000,
    SNAPSHOT_OCTETS = 128 << 10,
    ROOM_OCTETS = 4 << 20, /* beside what is copied */
    SHORT_PERCENT = 90     /* what is worth it when the disk is nearly full */
};

enum outcome { DID_NOTHING, DID_SOMETHING, DID_FAIL };

struct store_compact {
    struct compaction compaction;
    struct snapshot snapshot;
    bool snapping;
    uint64_t source_octets;
    int64_t gone[GONE_MAX]; /* files that have been removed, whose rows have not */
    size_t gone_count;
    uint64_t asked_ms; /* the supervisor, for the append-only flags of dead segments */
    int64_t stuck[STUCK_MAX];
    size_t stuck_count;
    /* Segments of imapd that were sealed of late: an APPEND under way may still come to name a record in one. */
    struct {
        int64_t id;
        uint64_t since_ms;
    } young[YOUNG_MAX];
    size_t young_next;
    uint64_t trim_ms;
    unsigned waited;
    struct loop_timer timer;
};

struct store_compact *store_compact_new(struct store *s)
{
    struct store_compact *c = mem_new(struct store_compact);
    if (c != NULL && compact_init(&c->compaction, s->index, &s->segments) != 0) {
        mem_free(c);
        c = NULL;
    }
    return c;
}

void store_compact_end(struct store *s)
{
    if (s->compact != NULL) {
        loop_timer_stop(&s->compact->timer);
        compact_free(&s->compact->compaction);
        mem_free(s->compact);
        s->compact = NULL;
    }
}

/* Which segments may be touched. */

void store_compact_sealed(struct store *s, int64_t segment, enum role_kind kind)
{
    struct store_compact *c = s->compact;
    if (kind == ROLE_IMAPD) {
        size_t at = c->young_next++ % YOUNG_MAX;
        c->young[at].id = segment;
        c->young[at].since_ms = clock_monotonic_ms();
    }
}

static bool is_young(const struct store_compact *c, int64_t segment)
{
    uint64_t now = clock_monotonic_ms();
    for (size_t i = 0; i < YOUNG_MAX; i++) {
        if (c->young[i].id == segment && now - c->young[i].since_ms < YOUNG_MS) {
            return true;
        }
    }
    return false;
}

static bool is_stuck(const struct store_compact *c, int64_t segment)
{
    for (size_t i = 0; i < c->stuck_count; i++) {
        if (c->stuck[i] == segment) {
            return true;
        }
    }
    return false;
}

static bool is_gone(const struct store_compact *c, int64_t segment)
{
    for (size_t i = 0; i < c->gone_count; i++) {
        if (c->gone[i] == segment) {
            return true;
        }
    }
    return false;
}

static bool is_free(struct store *s, int64_t segment)
{
    return !store_segments_is_open(s, segment) && !is_young(s->compact, segment) &&
           !store_change_names(s, segment);
}

static bool may_compact(void *context, int64_t segment)
{
    struct store *s = context;
    return is_free(s, segment) && !is_stuck(s->compact, segment);
}

static void leave_alone(struct store_compact *c, int64_t segment)
{
    if (c->stuck_count < STUCK_MAX) {
        c->stuck[c->stuck_count++] = segment;
    }
}

/* Removing. */

static void remove_file(struct store *s, int64_t segment)
{
    struct store_compact *c = s->compact;
    struct stat info = {.st_size = 0};
    int fd = segment_fd(&s->segments, segment);
    if (c->gone_count == GONE_MAX || is_gone(c, segment) || (fd >= 0 && fstat(fd, &info) != 0)) {
        return;
    }
    int result = segment_remove(&s->segments, segment);
    if (result == 0) {
        c->gone[c->gone_count++] = segment;
        if (info.st_size > 0) { /* spare ones that a restart leaves are nobody's business */
            log_info("segment %lld is not needed any more: %lld KiB of the disk come back",
                     (long long)segment, (long long)(info.st_size >> 10));
        }
    } else if (result < 0) {
        log_warning("segment %lld cannot be removed: %s", (long long)segment, strerror(errno));
    }
}

/* The supervisor has cleared the flag. What was true when it was asked may not be so any more. */
void store_compact_unmarked(struct store *s, int64_t segment)
{
    struct segment_info info;
    int64_t events_segment = 0;
    if (segment_get(s->index, segment, &info) == 0 &&
        compact_events_segment(s->index, &events_segment) == 0 && compact_is_dead(&info, events_segment) &&
        is_free(s, segment)) {
        remove_file(s, segment);
        loop_timer_start(s->role->loop, &s->compact->timer, 0, false, store_compact_due, s);
    }
}

/* The files of dead segments: first the supervisor has to clear the append-only flag. */
static void ask_for_dead(struct store *s)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    struct store_compact *c = s->compact;
    int64_t events_segment = 0;
    int asked = 0;
    int count = segment_list(s->index, infos, SEGMENT_ROWS_MAX);
    if (compact_events_segment(s->index, &events_segment) != 0) {
        return;
    }
    c->asked_ms = clock_monotonic_ms();
    for (int i = 0; i < count && asked < GONE_MAX; i++) {
        if (!compact_is_dead(&infos[i], events_segment) || !is_free(s, infos[i].id) ||
            is_gone(c, infos[i].id)) {
            continue;
        }
        int fd = segment_fd(&s->segments, infos[i].id);
        if (fd >= 0) {
            store_segments_ask_for_mark(s, infos[i].id, fd, false);
        } else {
            remove_file(s, infos[i].id); /* a crash came between the file and the row */
        }
        asked++;
    }
}

static enum outcome drop_rows(struct store *s)
{
    struct store_compact *c = s->compact;
    if (!store_begin(s)) {
        return DID_FAIL;
    }
    for (size_t i = 0; i < c->gone_count; i++) {
        if (segment_forget(s->index, c->gone[i]) != 0) {
            store_rollback(s);
            return DID_FAIL;
        }
    }
    if (!store_commit(s)) {
        return DID_FAIL;
    }
    c->gone_count = 0;
    return DID_SOMETHING;
}

/* Copying together. */

static void target_made(void *context, int64_t segment, int fd)
{
    struct store *s = context;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        log_warning("segment %lld cannot be locked: %s", (long long)segment, strerror(errno));
    }
    store_segments_ask_for_mark(s, segment, fd, true);
}

static enum outcome begin_compaction(struct store *s)
{
    struct store_compact *c = s->compact;
    struct compact_choice choice = {.percent = s->accepting ? s->config->store.compact_below : SHORT_PERCENT,
                                    .live_most = UINT64_MAX,
                                    .may = may_compact,
                                    .context = s};
    struct segment_info segment;
    if (s->config->store.compact_below == 0) {
        return DID_NOTHING;
    }
    if (s->free_octets >= 0) {
        choice.live_most = s->free_octets > ROOM_OCTETS ? (uint64_t)s->free_octets - ROOM_OCTETS : 0;
    }
    if (compact_choose(s->index, &choice, &segment) != 1) {
        return DID_NOTHING;
    }
    c->compaction.instance = s->role->instance;
    c->compaction.boot = role_boot(s->role);
    c->compaction.segment_size = s->config->store.segment_size;
    c->compaction.made = target_made;
    c->compaction.context = s;
    c->source_octets = (uint64_t)segment.applied;
    compact_begin(&c->compaction, &segment);
    return DID_SOMETHING;
}

static void tell_end(struct store *s, int64_t source)
{
    struct store_compact *c = s->compact;
    struct segment_info info;
    bool left = segment_get(s->index, source, &info) == 0 && info.live > 0;
    if (c->compaction.damaged) {
        log_error("segment %lld cannot be compacted: what is there at %lld cannot be read; `veredus verify` "
                  "says more",
                  (long long)source, (long long)c->compaction.position);
        leave_alone(c, source);
    } else if (left && c->compaction.records == 0) {
        log_error("segment %lld cannot be compacted: %lld octets of it should live, and are not found; "
                  "`veredus verify` "
                  "says more",
                  (long long)source, (long long)info.live);
        leave_alone(c, source);
    } else {
        log_info("segment %lld of %llu KiB was compacted: %llu records of %llu KiB were copied",
                 (long long)source, (unsigned long long)(c->source_octets >> 10),
                 (unsigned long long)c->compaction.records, (unsigned long long)(c->compaction.octets >> 10));
    }
}

static enum outcome step_compaction(struct store *s)
{
    struct store_compact *c = s->compact;
    int64_t source = c->compaction.source;
    bool done = false;
    if (!store_begin(s)) {
        return DID_FAIL;
    }
    if (compact_step(&c->compaction, &done) != 0) {
        store_rollback(s);
        compact_undo(&c->compaction);
        c->compaction.source = 0; /* there may be another one that there is room for */
        return DID_FAIL;
    }
    if (!store_commit(s)) {
        compact_undo(&c->compaction);
        c->compaction.source = 0;
        return DID_FAIL;
    }
    compact_committed(&c->compaction);
    if (done) {
        tell_end(s, source);
    }
    return DID_SOMETHING;
}

/* Noting everything again. */

/* What events take, and what the last snapshot took: about what of them lives. */
static bool wants_snapshot(struct store *s)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int64_t events_segment = 0;
    int64_t lives = 0;
    int64_t octets = 0;
    unsigned percent = s->config->store.compact_below;
    int64_t least =
        (int64_t)(s->accepting ? s->config->store.segment_size : s->config->store.segment_size / 8);
    int count = segment_list(s->index, infos, SEGMENT_ROWS_MAX);
    if (compact_events_segment(s->index, &events_segment) != 0 ||
        index_meta_get(s->index, "events_snapshot", 0, &lives) != 0) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        octets += compact_has_events(&infos[i], events_segment) ? infos[i].applied : 0;
    }
    return percent > 0 && octets >= least && (uint64_t)lives * 100 < (uint64_t)octets * percent;
}

static enum outcome begin_snapshot(struct store *s)
{
    struct store_compact *c = s->compact;
    store_segments_end_own(s);
    store_soon(s); /* seals it */
    if (snapshot_begin(&c->snapshot, s->index, 0) != 0) {
        return DID_FAIL;
    }
    c->snapping = true;
    return DID_SOMETHING;
}

static enum outcome step_snapshot(struct store *s)
{
    struct store_compact *c = s->compact;
    struct snapshot before = c->snapshot;
    bool done = false;
    if (!store_begin(s)) {
        return DID_FAIL;
    }
    if (snapshot_step(&c->snapshot, SNAPSHOT_OCTETS, &done) != 0) {
        store_rollback(s);
        c->snapshot = before;
        return DID_FAIL;
    }
    if (!store_commit(s)) {
        c->snapshot = before;
        return DID_FAIL;
    }
    if (done) {
        c->snapping = false;
        log_info("the state of the index was noted again in %llu KiB of events; older ones are not needed "
                 "any more",
                 (unsigned long long)(c->snapshot.octets >> 10));
    }
    return DID_SOMETHING;
}

/* The journal. */

static enum outcome trim_journal(struct store *s)
{
    uint64_t kept_ms = (uint64_t)s->config->store.journal_days * 86400000;
    uint64_t now = clock_wall_ms();
    if (now < kept_ms || !store_begin(s)) {
        return DID_FAIL;
    }
    int rows = journal_trim(s->index, now - kept_ms, TRIM_ROWS);
    if (rows < 0) {
        store_rollback(s);
        return DID_FAIL;
    }
    if (!store_commit(s)) {
        return DID_FAIL;
    }
    if (rows < TRIM_ROWS) {
        s->compact->trim_ms = clock_monotonic_ms() + TRIM_EVERY_MS;
    }
    return rows > 0 ? DID_SOMETHING : DID_NOTHING;
}

/* For the status command: what the log takes, and what of it is needed. */
void store_compact_figures(struct store *s, struct store_log_figures *figures)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int64_t events_segment = 0;
    int count = segment_list(s->index, infos, SEGMENT_ROWS_MAX);
    *figures = (struct store_log_figures){.segments = count < 0 ? 0 : (uint64_t)count};
    if (compact_events_segment(s->index, &events_segment) != 0) {
        return;
    }
    for (int i = 0; i < count; i++) {
        bool events = compact_has_events(&infos[i], events_segment);
        figures->octets += (uint64_t)infos[i].applied;
        figures->live_octets += (uint64_t)(events ? infos[i].applied : infos[i].live > 0 ? infos[i].live : 0);
    }
}

/* What there is to do, the most useful first. */

static enum outcome take_step(struct store *s)
{
    struct store_compact *c = s->compact;
    uint64_t now = clock_monotonic_ms();
    if (c->gone_count > 0) {
        return drop_rows(s);
    }
    if (now - c->asked_ms >= LOOK_MS) {
        ask_for_dead(s);
    }
    if (c->compaction.source != 0) {
        return step_compaction(s);
    }
    if (c->snapping) {
        return step_snapshot(s);
    }
    if (now >= c->trim_ms && trim_journal(s) == DID_SOMETHING) {
        return DID_SOMETHING;
    }
    enum outcome outcome = begin_compaction(s);
    return outcome == DID_NOTHING && wants_snapshot(s) ? begin_snapshot(s) : outcome;
}

static bool is_busy(struct store *s)
{
    struct store_compact *c = s->compact;
    if ((s->requests == NULL && !store_segments_pending(s)) || c->waited >= BUSY_TIMES) {
        c->waited = 0;
        return false;
    }
    c->waited++;
    return true;
}

void store_compact_due(void *context)
{
    struct store *s = context;
    struct loop *loop = s->role->loop;
    if (is_busy(s)) {
        loop_timer_start(loop, &s->compact->timer, BUSY_MS, false, store_compact_due, s);
        return;
    }
    uint64_t began = clock_monotonic_ms();
    enum outcome outcome = take_step(s);
    uint64_t took = clock_monotonic_ms() - began;
    uint64_t pause = outcome == DID_SOMETHING ? (s->accepting ? took * RESTS + 1 : 1)
                     : outcome == DID_FAIL    ? FAILED_MS
                                              : LOOK_MS;
    loop_timer_start(loop, &s->compact->timer, pause, false, store_compact_due, s);
}
