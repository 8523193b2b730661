/*
 * Goal G9: the queue, the relay and its client engine live through a day (or five) of faults, a seed each. VEREDUS_SEEDS says
 * how many (1,000 if not given; fewer under sanitizers), VEREDUS_SEED runs one of them and shows what happens in it.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SEEDS = 60 };
#else
enum { SEEDS = 1000 };
#endif

/* On a busy machine it is enough when so many have run for so long. */
enum { SEEDS_LEAST = 50, SECONDS_MOST = 40 };

static bool is_enough(time_t begun, uint64_t done)
{
    return getenv("VEREDUS_SEEDS") == NULL && done >= SEEDS_LEAST && time(NULL) - begun >= SECONDS_MOST;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void test_days(void **state)
{
    (void)state;
    struct sim_totals totals = {0};
    uint64_t one = number_from("VEREDUS_SEED", 0);
    uint64_t first = one > 0 ? one : number_from("VEREDUS_SEED_FIRST", 1);
    uint64_t count = one > 0 ? 1 : number_from("VEREDUS_SEEDS", SEEDS);
    uint64_t failed = 0;
    uint64_t done = 0;
    time_t begun = time(NULL);
    sim_verbose = one > 0;
    for (uint64_t seed = first; seed < first + count && failed < 5 && !is_enough(begun, done);
         seed++, done++) {
        if (!sim_run(seed, &totals)) {
            fprintf(stderr, "again with what happens: VEREDUS_SEED=%llu test_simulation\n",
                    (unsigned long long)seed);
            failed++;
        }
    }
    printf("%llu seeds: %u messages for %u recipients, %u attempts, %u copies (%u recipients twice, %u "
           "connections lost), "
           "%u bounces, %u delay and %u success notices, %u restarts, %u times a full disk, %u commands\n",
           (unsigned long long)done, totals.messages, totals.recipients, totals.attempts, totals.copies,
           totals.doubles, totals.uncertain, totals.bounces, totals.delays, totals.successes, totals.restarts,
           totals.full, totals.commands);
    assert_int_equal(failed, 0);
    assert_true(one > 0 || totals.copies > done);
}

/* Scenarios: what the queue promises, sentence by sentence. */

static struct sim_outcome play(struct sim_scenario scenario)
{
    static struct sim_outcome outcome;
    scenario.recipients = scenario.recipients == 0 ? 1 : scenario.recipients;
    assert_true(sim_play(&scenario, &outcome));
    return outcome;
}

static void assert_between(uint64_t value, uint64_t least, uint64_t most)
{
    if (value < least || value > most) {
        fail_msg("%.0f s is not between %.0f s and %.0f s", (double)value / 1e6, (double)least / 1e6,
                 (double)most / 1e6);
    }
}

static void test_greylisting(void **state)
{
    (void)state;
    struct sim_outcome o = play((struct sim_scenario){.host = {.greylists = true}});
    assert_int_equal(o.copies, 1);
    assert_int_equal(o.failed + o.delayed, 0);
    assert_int_equal(o.attempts, 2);
    assert_between(o.copied_us, 5 * SIM_MINUTE, 6 * SIM_MINUTE);
}

/* Delivered once it is back, at the latest four hours and a tenth later; one delay notice, after four hours. */
static void test_down_for_three_days(void **state)
{
    (void)state;
    struct sim_outcome o = play((struct sim_scenario){.host = {.down_until = 3 * SIM_DAY}});
    assert_int_equal(o.copies, 1);
    assert_int_equal(o.failed, 0);
    assert_int_equal(o.delayed, 1);
    assert_between(o.copied_us, 3 * SIM_DAY, 3 * SIM_DAY + 4 * SIM_HOUR + 25 * SIM_MINUTE);
    assert_between(o.delayed_us, 4 * SIM_HOUR, 4 * SIM_HOUR + 2 * SIM_MINUTE);
}

/* One bounce when the five days are over, and not before; it says what happened, on whose side, and what to do. */
static void test_dead_for_good(void **state)
{
    (void)state;
    struct sim_outcome o = play((struct sim_scenario){.host = {.dead = true}});
    assert_int_equal(o.copies, 0);
    assert_int_equal(o.failed, 1);
    assert_int_equal(o.delayed, 1);
    assert_between(o.failed_us, 5 * SIM_DAY, 5 * SIM_DAY + 3 * SIM_MINUTE);
    assert_between(o.attempts, 30, 45);
    assert_non_null(strstr(o.notice, "Action: failed"));
    assert_non_null(strstr(o.notice, "Final-Recipient: rfc822; user0@far.example"));
    assert_non_null(strstr(o.notice, "multipart/report"));
    assert_non_null(strstr(o.notice, "X-Sim: 1"));
    assert_non_null(strstr(o.notice, "What"));
}

static void test_nobody_is_told(void **state)
{
    (void)state;
    struct sim_outcome o = play((struct sim_scenario){.host = {.dead = true}, .sender = ""});
    assert_int_equal(o.copies + o.failed + o.delayed, 0);
    o = play((struct sim_scenario){.host = {.dead = true}, .notify = 1});
    assert_int_equal(o.copies + o.failed + o.delayed, 0);
}

/* A temporary answer or a lost connection at any step, once: the next attempt delivers. */
static void test_every_step_fails_once(void **state)
{
    (void)state;
    static const enum sim_fate fates[] = {FATE_TEMPORARY, FATE_DROP, FATE_HANG};
    for (int step = 0; step < STEP_COUNT; step++) {
        for (size_t i = 0; i < 3; i++) {
            if (step == STEP_BODY && fates[i] != FATE_DROP) {
                continue;
            }
            struct sim_outcome o = play(
                (struct sim_scenario){.host = {.step = (enum sim_step)step, .fate = fates[i], .times = 1}});
            assert_int_equal(o.copies, 1);
            assert_int_equal(o.failed + o.delayed, 0);
            assert_int_equal(o.attempts, 2);
            assert_between(o.copied_us, 5 * SIM_MINUTE, 20 * SIM_MINUTE);
        }
    }
}

/* A permanent answer at any step: one bounce, at once. (A 5xx to EHLO leads to HELO first.) */
static void test_every_step_refuses(void **state)
{
    (void)state;
    for (int step = 0; step < STEP_COUNT; step++) {
        if (step != STEP_BODY) {
            struct sim_outcome o = play((struct sim_scenario){
                .host = {.step = (enum sim_step)step, .fate = FATE_PERMANENT, .times = 100}});
            assert_int_equal(o.copies, 0);
            assert_int_equal(o.failed, 1);
            assert_int_equal(o.attempts, 1);
            assert_between(o.failed_us, 0, 2 * SIM_MINUTE);
        }
    }
}

/* A full mailbox for a day: delivered when there is room. */
static void test_full_mailbox(void **state)
{
    (void)state;
    struct sim_outcome o =
        play((struct sim_scenario){.host = {.step = STEP_RCPT, .fate = FATE_TEMPORARY, .times = 14}});
    assert_int_equal(o.copies, 1);
    assert_int_equal(o.failed, 0);
    assert_int_equal(o.delayed, 1);
}

/* Lost behind the final dot: the one way to a second copy, and to no third. */
static void test_lost_behind_the_dot(void **state)
{
    (void)state;
    struct sim_outcome o =
        play((struct sim_scenario){.host = {.step = STEP_FINAL, .fate = FATE_TAKEN_AND_LOST, .times = 1}});
    assert_int_equal(o.uncertain, 1);
    assert_int_equal(o.copies, 2);
    assert_int_equal(o.failed, 0);
}

static void test_success_is_told(void **state)
{
    (void)state;
    struct sim_outcome o = play((struct sim_scenario){.notify = 2});
    assert_int_equal(o.relayed, 1);
    o = play((struct sim_scenario){.host = {.dsn = true}, .notify = 2});
    assert_int_equal(o.copies, 1);
    assert_int_equal(o.relayed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greylisting),           cmocka_unit_test(test_down_for_three_days),
        cmocka_unit_test(test_dead_for_good),         cmocka_unit_test(test_nobody_is_told),
        cmocka_unit_test(test_every_step_fails_once), cmocka_unit_test(test_every_step_refuses),
        cmocka_unit_test(test_full_mailbox),          cmocka_unit_test(test_lost_behind_the_dot),
        cmocka_unit_test(test_success_is_told),       cmocka_unit_test(test_days)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
