/* Pages of flags: runs, and what they are in the index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/page.h"

static void test_runs_join(void **state)
{
    (void)state;
    struct flags_run run = {5, 1, 8, 20, false};
    assert_false(flags_run_join(&run, &(struct flags_run){7, 1, 8, 20, false})); /* another UID */
    assert_false(flags_run_join(&run, &(struct flags_run){6, 1, 9, 20, false})); /* other flags */
    assert_false(flags_run_join(&run, &(struct flags_run){6, 1, 8, 22, false}));
    assert_false(flags_run_join(&run, &(struct flags_run){6, 2, 8, 20, true}));
    assert_true(flags_run_join(&run, &(struct flags_run){6, 2, 8, 21, true}));
    assert_true(run.rising);
    assert_int_equal(run.count, 3);
    assert_false(flags_run_join(&run, &(struct flags_run){8, 2, 8, 23, false}));
    assert_true(flags_run_join(&run, &(struct flags_run){8, 1, 8, 23, false}));
    assert_int_equal(flags_run_modseq(&run, 3), 23);

    struct flags_run same = {5, 1, 8, 20, false};
    assert_true(flags_run_join(&same, &(struct flags_run){6, 1, 8, 20, false}));
    assert_false(same.rising);
    assert_false(flags_run_join(&same, &(struct flags_run){7, 1, 8, 21, false}));
    struct flags_run last = {UINT32_MAX, 1, 0, 1, false};
    assert_false(flags_run_join(&last, &(struct flags_run){0, 1, 0, 1, false}));
}

static void check_cut(struct flags_run run, uint32_t from, uint64_t since, uint32_t uid, uint32_t count,
                      uint64_t modseq)
{
    assert_int_equal(flags_run_cut(&run, from, since), count > 0);
    if (count > 0) {
        assert_int_equal(run.uid, uid);
        assert_int_equal(run.count, count);
        assert_int_equal(run.modseq, modseq);
    }
}

static void test_runs_are_cut(void **state)
{
    (void)state;
    struct flags_run rising = {10, 5, 0, 100, true};
    struct flags_run same = {10, 5, 0, 100, false};
    check_cut(rising, 0, 0, 10, 5, 100);
    check_cut(rising, 12, 0, 12, 3, 102);
    check_cut(rising, 12, 102, 13, 2, 103);
    check_cut(rising, 14, 101, 14, 1, 104);
    check_cut(rising, 15, 0, 0, 0, 0);
    check_cut(rising, 0, 104, 0, 0, 0);
    check_cut(rising, 0, UINT64_MAX, 0, 0, 0);
    rising.modseq = 0;
    check_cut(rising, 0, UINT64_MAX, 0, 0, 0);
    check_cut(same, 12, 99, 12, 3, 100);
    check_cut(same, 0, 100, 0, 0, 0);
}

static void test_runs_come_back(void **state)
{
    (void)state;
    static const struct flags_run runs[] = {{1, 1, 0, 1, false},
                                            {2, 200, 1, 70, true},
                                            {202, 3, UINT64_MAX, 5, false},
                                            {4000000000U, 2, 1ULL << 63, UINT64_MAX - 1, true},
                                            {UINT32_MAX, 1, 0, 0, false}};
    unsigned char octets[5 * PAGE_RUN_OCTETS];
    struct flags_run before = {.count = 0};
    size_t len = 0;
    for (size_t i = 0; i < 5; i++) {
        size_t added = page_put_run(octets + len, &before, &runs[i]);
        assert_in_range(added, 4, PAGE_RUN_OCTETS);
        len += added;
        before = runs[i];
    }
    struct str rest = str_make(octets, len);
    struct flags_run run = {.count = 0};
    for (size_t i = 0; i < 5; i++) {
        assert_true(page_next_run(&rest, &run));
        assert_int_equal(run.uid, runs[i].uid);
        assert_int_equal(run.count, runs[i].count);
        assert_true(run.flags == runs[i].flags && run.modseq == runs[i].modseq);
        assert_int_equal(run.rising, runs[i].rising);
    }
    assert_int_equal(rest.len, 0);
    assert_false(page_next_run(&rest, &run));
}

static void check_malformed(const char *octets, size_t len)
{
    struct str page = str_make(octets, len);
    struct flags_run run = {.count = 0};
    assert_false(page_next_run(&page, &run));
    assert_int_equal(page.len, len);
}

static void test_malformed_runs(void **state)
{
    (void)state;
    check_malformed("\x02\x01\x00", 3);                                          /* ends too soon */
    check_malformed("\x00\x01\x00\x00", 4);                                      /* of no message */
    check_malformed("\x92\x03\x01\x00\x00", 5);                                  /* of 201 */
    check_malformed("\x02\x00\x00\x00", 4);                                      /* UID 0 */
    check_malformed("\x04\xff\xff\xff\xff\x0f\x00\x00", 8);                      /* beyond the last UID */
    check_malformed("\x02\x80\x80\x80\x80\x10\x00\x00", 8);                      /* a UID of 33 bits */
    check_malformed("\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00", 13); /* flags of 65 bits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_join),
        cmocka_unit_test(test_runs_are_cut),
        cmocka_unit_test(test_runs_come_back),
        cmocka_unit_test(test_malformed_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
