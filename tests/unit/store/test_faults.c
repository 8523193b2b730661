/*
 * Faults (goals G3 and G4): a store at work, while its first, second, ... k-th call that opens, reads, writes, flushes, renames or
 * removes fails, alone or with all that follow; the same for its allocations and for those of SQLite. Whatever fails, nothing
 * that was answered is lost, nothing comes twice, no memory is lost, the store goes on as soon as the fault is over, and log and
 * index agree. The same at the start, at the making of the index anew, and at verify.
 *
 * VEREDUS_FAULTS sets how many k of each kind are tried, spread over all that there are; 0: all of them.
 */
#include "base/mem.h"
#include "disk.h"
#include "janitor.h"
#include "store/index_file.h"
#include "store/reindex.h"
#include "store/verify.h"
#include "workload.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    STEPS_BEFORE = 20,
    STEPS = 24,
    STEPS_AFTER = 8,
    SAMPLE = 10,
    JANITOR_STEPS = 40,
    REMOVED_PERCENT = 70
};

/* SQLite's allocator. */

static sqlite3_mem_methods sqlite_memory;
static struct {
    uint64_t at;
    uint64_t made;
    bool all;
} sqlite_fault;

static bool sqlite_must_fail(void)
{
    uint64_t n = ++sqlite_fault.made;
    return sqlite_fault.at != 0 && (sqlite_fault.all ? n >= sqlite_fault.at : n == sqlite_fault.at);
}

static void *failing_malloc(int size)
{
    return sqlite_must_fail() ? NULL : sqlite_memory.xMalloc(size);
}

static void *failing_realloc(void *old, int size)
{
    return sqlite_must_fail() ? NULL : sqlite_memory.xRealloc(old, size);
}

static int set_up_sqlite(void **state)
{
    (void)state;
    sqlite3_mem_methods ours;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) != SQLITE_OK) {
        return -1;
    }
    ours = sqlite_memory;
    ours.xMalloc = failing_malloc;
    ours.xRealloc = failing_realloc;
    /* Without its own small pools every allocation is one that can fail. */
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK &&
                   sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK
               ? 0
               : -1;
}

/* Kinds of faults. */

struct fault {
    const char *name;
    void (*begin)(uint64_t k, bool all);
    uint64_t (*count)(void); /* since the last begin */
    bool all;
};

static int disk_error;

static void begin_disk(uint64_t k, bool all)
{
    disk_fail_at(k, disk_error, all);
}

static void begin_sqlite(uint64_t k, bool all)
{
    sqlite_fault.made = 0;
    sqlite_fault.at = k;
    sqlite_fault.all = all;
}

static uint64_t count_sqlite(void)
{
    return sqlite_fault.made;
}

static struct {
    uint64_t at;
    uint64_t made; /* until the last pause */
    bool all;
} memory_fault;

static void go_on_with_memory(void)
{
    uint64_t at = memory_fault.at;
    uint64_t made = memory_fault.made;
    /* Counting needs a k: one that is never reached. */
    mem_fail_at(at > made ? at - made : at != 0 && memory_fault.all ? 1 : UINT64_MAX, !memory_fault.all);
}

static void begin_memory(uint64_t k, bool all)
{
    memory_fault.at = k;
    memory_fault.made = 0;
    memory_fault.all = all;
    go_on_with_memory();
}

static uint64_t count_memory(void)
{
    return memory_fault.made + mem_count();
}

/* The writers of the tests are no part of what is tested. */
static void pause_memory(bool begin)
{
    if (begin) {
        memory_fault.made += mem_count();
        mem_fail_at(0, 0);
    } else {
        go_on_with_memory();
    }
}

static struct fixture f;
static struct workload w;

static void say(void *context, struct str text)
{
    if (context != NULL) {
        print_error("%.*s\n", STR_ARGS(text));
    }
}

static bool agrees(void)
{
    struct verify_counts counts;
    int result = verify_store(f.index, &f.segments, say, &f, &counts);
    if (result != 0) {
        print_error("%s\n", f.index->error);
    }
    return result == 0 && counts.problems == 0;
}

static void open_store(uint64_t seed, const struct fault *fault)
{
    fixture_prepare(&f, NULL);
    f.io = &disk_io;
    f.noting = true;
    disk_start(FLUSH_NONE);
    disk_stop(); /* only its faults are wanted */
    index_file_watch(&disk_io);
    fixture_open_here(&f);
    workload_begin(&w, &f, seed);
    w.pause = fault->begin == begin_memory ? pause_memory : NULL;
    for (int i = 0; i < STEPS_BEFORE; i++) {
        workload_step(&w);
    }
    assert_int_equal(w.failures, 0);
}

static void close_store(void)
{
    workload_end(&w);
    fixture_close(&f);
    index_file_watch(NULL);
}

static bool is_well(void)
{
    if (!workload_apply(&w) || !workload_check(&w) || !agrees()) {
        return false;
    }
    unsigned before = w.failures;
    for (int i = 0; i < STEPS_AFTER; i++) {
        workload_step(&w);
    }
    return w.failures == before && reindex_is_older(f.index, &f.segments) == 0 && workload_restart(&w) &&
           workload_check(&w) && agrees();
}

/* Returns the number of calls that could have failed. */
static uint64_t work_with(const struct fault *fault, uint64_t k, uint64_t seed)
{
    open_store(seed, fault);
    fault->begin(k, fault->all);
    for (int i = 0; i < STEPS; i++) {
        workload_step(&w);
    }
    uint64_t calls = fault->count();
    fault->begin(0, false);
    if (k != 0 && w.failures == 0 && fault->all && k < calls / 2) {
        fail_msg("%s from call %llu on: nothing has failed, so this test is blind", fault->name,
                 (unsigned long long)k);
    }
    if (!is_well()) {
        fail_msg("%s, k %llu, seed %llu%s", fault->name, (unsigned long long)k, (unsigned long long)seed,
                 fault->all ? ", and all that follow" : "");
    }
    close_store();
    return calls;
}

static uint64_t sample(void)
{
    const char *text = getenv("VEREDUS_FAULTS");
    uint64_t value;
    return text != NULL && str_to_u64(str_of(text), UINT64_MAX, &value) ? value : SAMPLE;
}

/* Calls `attempt` for k = 1, 2, ... up to the last call that there is; returns how often. */
static void sweep(const struct fault *fault,
                  uint64_t (*attempt)(const struct fault *fault, uint64_t k, uint64_t seed))
{
    uint64_t total = attempt(fault, 0, 1);
    uint64_t tries = sample() == 0 || sample() > total ? total : sample();
    int64_t live = mem_live();
    sqlite3_int64 used = sqlite3_memory_used();
    assert_true(total > 0);
    for (uint64_t i = 0; i < tries; i++) {
        attempt(fault, 1 + i * total / tries, 1);
        if (mem_live() != live || sqlite3_memory_used() != used) {
            fail_msg("%s, k %llu: memory is lost", fault->name, (unsigned long long)(1 + i * total / tries));
        }
    }
    print_message("%s%s: %llu of %llu\n", fault->name, fault->all ? ", and all that follow" : "",
                  (unsigned long long)tries, (unsigned long long)total);
}

static const struct {
    const char *name;
    int error;
} errors[] = {{"no space", ENOSPC}, {"over quota", EDQUOT}, {"input/output error", EIO}, {"short write", 0}};

static void sweep_disk(uint64_t (*attempt)(const struct fault *fault, uint64_t k, uint64_t seed))
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        disk_error = errors[i].error;
        for (int all = 0; all < (errors[i].error == 0 ? 1 : 2); all++) {
            struct fault fault = {errors[i].name, begin_disk, disk_calls, all == 1};
            sweep(&fault, attempt);
        }
    }
}

static void sweep_memory(uint64_t (*attempt)(const struct fault *fault, uint64_t k, uint64_t seed))
{
    for (int all = 0; all < 2; all++) {
        struct fault ours = {"our allocations", begin_memory, count_memory, all == 1};
        struct fault sqlite = {"SQLite's allocations", begin_sqlite, count_sqlite, all == 1};
        sweep(&ours, attempt);
        sweep(&sqlite, attempt);
    }
}

static void test_work_on_disk(void **state)
{
    (void)state;
    sweep_disk(work_with);
}

static void test_work_in_memory(void **state)
{
    (void)state;
    sweep_memory(work_with);
}

/* As the store starts: what the log has is applied. */
static uint64_t start_with(const struct fault *fault, uint64_t k, uint64_t seed)
{
    open_store(seed, fault);
    workload_end(&w);
    fixture_close_here(&f);
    fault->begin(k, fault->all);
    bool open = fixture_try_open(&f);
    bool fine = open && fixture_restart(&f) == 0;
    uint64_t calls = fault->count();
    fault->begin(0, false);
    if (open) {
        fixture_close_here(&f);
    }
    fixture_open_here(&f);
    if (fixture_restart(&f) != 0 || !is_well()) {
        fail_msg("%s at the start, k %llu, which %s", fault->name, (unsigned long long)k,
                 fine ? "did not matter" : "failed");
    }
    close_store();
    return calls;
}

static void test_start(void **state)
{
    (void)state;
    sweep_disk(start_with);
    sweep_memory(start_with);
}

/* The index made anew: it is there or can be made again. */
static uint64_t reindex_with(const struct fault *fault, uint64_t k, uint64_t seed)
{
    struct reindex_counts counts;
    open_store(seed, fault);
    workload_end(&w);
    fixture_close_here(&f);
    fault->begin(k, fault->all);
    bool fine = reindex_directory(&disk_io, say, NULL, &counts) == 0;
    uint64_t calls = fault->count();
    fault->begin(0, false);
    bool bad_disk = fault->begin == begin_disk && disk_error == EIO;
    if (fine && counts.damaged + counts.lost > 0 && !bad_disk) {
        fail_msg("%s at reindex, k %llu: what could not be read is taken for damaged", fault->name,
                 (unsigned long long)k);
    }
    if (reindex_is_needed() || (fine && counts.damaged > 0)) {
        assert_int_equal(reindex_directory(&disk_io, say, &f, &counts), 0);
    }
    fixture_open_here(&f);
    if (fixture_restart(&f) != 0 || !is_well()) {
        fail_msg("%s at reindex, k %llu, which %s", fault->name, (unsigned long long)k,
                 fine ? "did not matter" : "failed");
    }
    close_store();
    return calls;
}

static void test_reindex(void **state)
{
    (void)state;
    sweep_disk(reindex_with);
    sweep_memory(reindex_with);
}

/* verify either says that it could not be made, or finds nothing: a fault is not damage. */
static uint64_t verify_with(const struct fault *fault, uint64_t k, uint64_t seed)
{
    struct verify_counts counts;
    open_store(seed, fault);
    fault->begin(k, fault->all);
    verify_store(f.index, &f.segments, say, NULL, &counts);
    uint64_t calls = fault->count();
    fault->begin(0, false);
    if (!is_well()) {
        fail_msg("%s at verify, k %llu", fault->name, (unsigned long long)k);
    }
    close_store();
    return calls;
}

static void test_verify(void **state)
{
    (void)state;
    sweep_memory(verify_with);
}

/* Compaction, snapshots and the removal of segments, beside some work. */
static uint64_t compact_with(const struct fault *fault, uint64_t k, uint64_t seed)
{
    static struct janitor j;
    open_store(seed, fault);
    for (int i = 0; i < STEPS; i++) {
        workload_step(&w);
    }
    assert_true(workload_apply(&w));
    workload_remove(&w, REMOVED_PERCENT);
    assert_true(workload_restart(&w));
    assert_int_equal(w.failures, 0);
    janitor_begin(&j, &f, seed);
    fault->begin(k, fault->all);
    for (int i = 0; i < JANITOR_STEPS; i++) {
        janitor_step(&j);
        if (i % 8 == 7) {
            workload_step(&w);
        }
    }
    uint64_t calls = fault->count();
    fault->begin(0, false);
    unsigned failures = j.failures;
    janitor_finish(&j);
    if (j.failures != failures || (k == 0 && (j.dropped == 0 || j.compacted == 0 || j.snapshots == 0))) {
        fail_msg("%s at compaction, k %llu: it does not go on: %u segments compacted, %u removed, %u "
                 "snapshots: %s",
                 fault->name, (unsigned long long)k, j.compacted, j.dropped, j.snapshots, f.index->error);
    }
    janitor_end(&j);
    if (!is_well()) {
        fail_msg("%s at compaction, k %llu, seed %llu%s", fault->name, (unsigned long long)k,
                 (unsigned long long)seed, fault->all ? ", and all that follow" : "");
    }
    close_store();
    return calls;
}

static void test_compact(void **state)
{
    (void)state;
    sweep_disk(compact_with);
    sweep_memory(compact_with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_on_disk), cmocka_unit_test(test_work_in_memory),
        cmocka_unit_test(test_start),        cmocka_unit_test(test_reindex),
        cmocka_unit_test(test_verify),       cmocka_unit_test(test_compact)};
    return cmocka_run_group_tests(tests, set_up_sqlite, NULL);
}
