/* Compaction and snapshots in the tests; see janitor.h. */
#include "janitor.h"

#include "disk.h"
#include "store/events.h"

enum { SNAPSHOT_STEP = 2000 };

void janitor_begin(struct janitor *j, struct fixture *f, uint64_t seed)
{
    *j = (struct janitor){.f = f, .random = seed, .percent = 70};
    assert_int_equal(compact_init(&j->compaction, f->index, &f->segments), 0);
    j->compaction.boot = FIXTURE_BOOT;
    j->compaction.segment_size = JANITOR_SEGMENT;
}

void janitor_end(struct janitor *j)
{
    compact_free(&j->compaction);
}

static bool settle(struct janitor *j, bool fine)
{
    if (fine && fixture_commit(j->f) == 0) {
        return true;
    }
    index_rollback(j->f->index);
    apply_abort(j->f->applier);
    j->failures++;
    return false;
}

bool janitor_roll_own(struct janitor *j)
{
    int64_t own = j->f->own;
    if (own == 0) {
        return true;
    }
    /* The seal's own event goes to the next one. */
    fixture_drop_own(j->f);
    return settle(j, index_begin(j->f->index) == 0 && segment_seal(j->f->index, own) == 0);
}

static void step_compaction(struct janitor *j)
{
    bool done = false;
    int64_t source = j->compaction.source;
    if (settle(j, index_begin(j->f->index) == 0 && compact_step(&j->compaction, &done) == 0)) {
        compact_committed(&j->compaction);
        j->compacted += done && source != 0;
    } else {
        compact_undo(&j->compaction);
    }
}

static void step_snapshot(struct janitor *j)
{
    bool done = false;
    struct snapshot before = j->snapshot;
    if (settle(j, index_begin(j->f->index) == 0 && snapshot_step(&j->snapshot, SNAPSHOT_STEP, &done) == 0)) {
        j->snapping = !done;
        j->snapshots += done;
    } else {
        j->snapshot = before;
    }
}

static bool was_removed(const struct janitor *j, int64_t id)
{
    for (size_t i = 0; i < j->removed_count; i++) {
        if (j->removed[i] == id) {
            return true;
        }
    }
    return false;
}

/* The files of dead segments. Whether there was one. */
static bool remove_files(struct janitor *j)
{
    static struct segment_info infos[1000];
    int64_t events_segment = 0;
    int count = segment_list(j->f->index, infos, 1000);
    bool any = false;
    if (count < 0 || compact_events_segment(j->f->index, &events_segment) != 0) {
        return false;
    }
    for (int i = 0; i < count && j->removed_count < JANITOR_REMOVED_MAX; i++) {
        if (compact_is_dead(&infos[i], events_segment) && !was_removed(j, infos[i].id)) {
            any = true;
            if (segment_remove(&j->f->segments, infos[i].id) == 0) {
                j->removed[j->removed_count++] = infos[i].id;
            } else {
                j->failures++;
            }
        }
    }
    return any;
}

static bool drop_rows(struct janitor *j)
{
    bool fine = index_begin(j->f->index) == 0;
    for (size_t i = 0; fine && i < j->removed_count; i++) {
        fine = segment_forget(j->f->index, j->removed[i]) == 0;
    }
    if (settle(j, fine)) {
        j->dropped += (unsigned)j->removed_count;
        j->removed_count = 0;
    }
    return true;
}

static bool any_segment(void *context, int64_t segment)
{
    (void)context;
    (void)segment;
    return true;
}

static bool begin_compaction(struct janitor *j)
{
    struct compact_choice choice = {.percent = j->percent, .live_most = UINT64_MAX, .may = any_segment};
    struct segment_info segment;
    if (compact_choose(j->f->index, &choice, &segment) != 1) {
        return false;
    }
    compact_begin(&j->compaction, &segment);
    return true;
}

/* False: there was nothing to do. */
static bool step(struct janitor *j)
{
    if (j->compaction.source != 0) {
        step_compaction(j);
        return true;
    }
    if (j->removed_count > 0) {
        return drop_rows(j);
    }
    if (j->snapping) {
        step_snapshot(j);
        return true;
    }
    return remove_files(j) || begin_compaction(j);
}

void janitor_step(struct janitor *j)
{
    if (!step(j) && disk_random(&j->random) % 3 == 0 && janitor_roll_own(j) &&
        snapshot_begin(&j->snapshot, j->f->index, j->f->own) == 0) {
        j->snapping = true;
    }
}

void janitor_finish(struct janitor *j)
{
    for (int i = 0; i < 10000 && step(j); i++) {
    }
}
