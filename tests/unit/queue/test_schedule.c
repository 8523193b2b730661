/* The retry schedule: pauses, jitter, the delay notice after four hours, the end after five days. */
#include "queue/schedule.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

static const uint32_t pauses[] = {5 * MINUTE, 10 * MINUTE, 1 * HOUR};
static const struct config_relay settings = {.schedule_s = pauses,
                                             .schedule_count = 3,
                                             .lifetime_s = 5 * DAY,
                                             .bounce_lifetime_s = 2 * DAY,
                                             .delay_notice_s = 4 * HOUR};

#define START_MS 1700000000000ULL

static void test_the_pauses_follow_the_schedule(void **state)
{
    (void)state;
    static const uint32_t expected[] = {5 * MINUTE, 5 * MINUTE, 10 * MINUTE, 1 * HOUR, 1 * HOUR, 1 * HOUR};
    for (uint32_t attempts = 0; attempts < 6; attempts++) {
        struct schedule_entry entry = {.first_ms = START_MS, .now_ms = START_MS + 1000, .attempts = attempts};
        struct schedule_next next = schedule_after(&settings, &entry, 0);
        assert_false(next.expired);
        assert_false(next.delay_notice);
        assert_int_equal(next.due_ms - entry.now_ms, expected[attempts] * 1000ULL);
        assert_int_equal(next.give_up_ms, START_MS + 5ULL * DAY * 1000);
    }
}

static void test_jitter_adds_up_to_a_tenth(void **state)
{
    (void)state;
    struct schedule_entry entry = {.first_ms = START_MS, .now_ms = START_MS, .attempts = 1};
    uint64_t lowest = UINT64_MAX;
    uint64_t highest = 0;
    for (uint64_t random = 0; random < 5000; random++) {
        uint64_t pause =
            schedule_after(&settings, &entry, random * 0x9e3779b97f4a7c15ULL).due_ms - entry.now_ms;
        lowest = pause < lowest ? pause : lowest;
        highest = pause > highest ? pause : highest;
    }
    assert_in_range(lowest, 300000, 300100);
    assert_in_range(highest, 329900, 330000);
    assert_in_range(schedule_after(&settings, &entry, UINT64_MAX).due_ms - entry.now_ms, 300000, 330000);
}

static void test_the_end_has_a_last_attempt(void **state)
{
    (void)state;
    struct schedule_entry entry = {.first_ms = START_MS, .attempts = 100, .notified = true};
    entry.now_ms = START_MS + 5ULL * DAY * 1000 - 60000;
    struct schedule_next next = schedule_after(&settings, &entry, 7);
    assert_false(next.expired);
    assert_int_equal(next.due_ms, START_MS + 5ULL * DAY * 1000);
    entry.now_ms = next.due_ms;
    next = schedule_after(&settings, &entry, 7);
    assert_true(next.expired);
    assert_int_equal(next.due_ms, 0);
    /* A bounce has its own lifetime, and nobody is told that it is late. */
    entry = (struct schedule_entry){.first_ms = START_MS, .attempts = 3, .null_sender = true};
    entry.now_ms = START_MS + 5ULL * HOUR * 1000;
    next = schedule_after(&settings, &entry, 0);
    assert_false(next.delay_notice);
    assert_int_equal(next.give_up_ms, START_MS + 2ULL * DAY * 1000);
    entry.now_ms = START_MS + 2ULL * DAY * 1000;
    assert_true(schedule_after(&settings, &entry, 0).expired);
}

static void test_the_delay_notice_comes_once_after_an_attempt_at_four_hours(void **state)
{
    (void)state;
    struct schedule_entry entry = {
        .first_ms = START_MS, .now_ms = START_MS + 4ULL * HOUR * 1000 - 60000, .attempts = 5};
    struct schedule_next next = schedule_after(&settings, &entry, 99);
    assert_false(next.delay_notice);
    assert_int_equal(next.due_ms, START_MS + 4ULL * HOUR * 1000);
    entry.now_ms = next.due_ms;
    next = schedule_after(&settings, &entry, 99);
    assert_true(next.delay_notice);
    assert_true(next.due_ms > entry.now_ms);
    entry.notified = true;
    assert_false(schedule_after(&settings, &entry, 99).delay_notice);
    struct config_relay never = settings;
    never.delay_notice_s = 0;
    entry.notified = false;
    assert_false(schedule_after(&never, &entry, 99).delay_notice);
}

/* Five days, simulated: a bounded number of attempts, one notice, one end. */
static void test_a_whole_life(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct schedule_entry entry = {.first_ms = START_MS, .now_ms = START_MS};
        unsigned notices = 0;
        struct schedule_next next;
        do {
            entry.attempts++;
            next = schedule_after(&settings, &entry, seed * 0x9e3779b97f4a7c15ULL + entry.attempts * 977);
            notices += next.delay_notice;
            entry.notified = entry.notified || next.delay_notice;
            if (!next.expired) {
                assert_true(next.due_ms > entry.now_ms);
                entry.now_ms = next.due_ms;
            }
            assert_true(entry.attempts < 200);
        } while (!next.expired);
        assert_int_equal(notices, 1);
        assert_int_equal(entry.now_ms, START_MS + 5ULL * DAY * 1000);
        assert_in_range(entry.attempts, 105, 130);
    }
}

static void test_a_clock_that_went_back_does_no_harm(void **state)
{
    (void)state;
    struct schedule_entry entry = {.first_ms = START_MS, .now_ms = START_MS - 1000000, .attempts = 1};
    struct schedule_next next = schedule_after(&settings, &entry, 0);
    assert_false(next.expired);
    assert_int_equal(next.due_ms, entry.now_ms + 300000);
    struct config_relay empty = settings;
    empty.schedule_count = 0;
    assert_int_equal(schedule_after(&empty, &entry, 0).due_ms, entry.now_ms + 1800000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_pauses_follow_the_schedule),
        cmocka_unit_test(test_jitter_adds_up_to_a_tenth),
        cmocka_unit_test(test_the_end_has_a_last_attempt),
        cmocka_unit_test(test_the_delay_notice_comes_once_after_an_attempt_at_four_hours),
        cmocka_unit_test(test_a_whole_life),
        cmocka_unit_test(test_a_clock_that_went_back_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
