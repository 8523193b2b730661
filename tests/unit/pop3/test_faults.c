/*
 * The POP3 engine without memory (goal G4): the k-th allocation of a whole session fails, for every k until none does. The
 * session may end early; it may not crash, leak, remove what was not to be removed, or end a message that is not whole.
 */
#include "base/mem.h"
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MESSAGE STR("Subject: a\r\n\r\none\r\n.two\r\nthree\r\n")
#define SESSION                                                                                              \
    STR("CAPA\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN AHVzZXJAZXhhbXBsZS5vcmcAd3Jvbmc=\r\nUSER "                    \
        "user@example.org\r\nPASS "                                                                          \
        "secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 2\r\nQUIT\r\n")

static void session(struct driver *d, size_t split)
{
    driver_init(d, true, false);
    driver_add(d, MESSAGE);
    driver_add(d, MESSAGE);
    driver_start(d, STR_EMPTY);
    driver_say(d, SESSION, split);
}

static void sweep(size_t split, int once)
{
    uint64_t k = 0;
    bool reached = true;
    while (reached) {
        struct driver d;
        int64_t before = mem_live();
        mem_fail_at(++k, once);
        session(&d, split);
        reached = mem_count() >= k;
        mem_fail_at(0, 0);
        assert_int_equal(d.messages[0].len, MESSAGE.len);
        assert_true(d.messages[1].len == MESSAGE.len || d.expunged == 1);
        if (!reached) {
            assert_int_equal(d.expunged, 1);
            assert_true(str_ends(buf_str(&d.said), STR("+OK Bye\r\n")));
        }
        driver_free(&d);
        assert_int_equal(mem_live(), before);
        assert_true(k < 10000);
    }
    assert_true(k > 10);
}

static void test_one_allocation_fails(void **state)
{
    (void)state;
    sweep(0, 1);
    sweep(1, 1);
}

static void test_all_allocations_fail_from_the_kth_on(void **state)
{
    (void)state;
    sweep(0, 0);
    sweep(1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_allocation_fails),
        cmocka_unit_test(test_all_allocations_fail_from_the_kth_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
