/* Terms of a full-text index: what a message's and a needle's are, and that the one has all of the other. */
#include "base/mem.h"
#include "message/fold.h"
#include "message/terms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t count_terms(struct str terms)
{
    size_t count = 0;
    for (size_t i = 0; i < terms.len; i++) {
        count += terms.data[i] == ' ';
    }
    return count;
}

static bool has_all(struct str terms, struct str wanted)
{
    while (wanted.len > 0) {
        size_t end = str_find(wanted, 0, ' ') + 1;
        bool found = false;
        for (size_t at = 0; at < terms.len && !found; at = str_find(terms, at, ' ') + 1) {
            found = str_starts(str_from(terms, at), str_sub(wanted, 0, end));
        }
        if (!found) {
            return false;
        }
        wanted = str_from(wanted, end);
    }
    return true;
}

/* Whether the index lets a search for this text look at the message; false also where it has nothing to say. */
static bool finds(const char *message, const char *text)
{
    struct buf terms = buf_make(1 << 20);
    struct buf folded = buf_make(1 << 16);
    struct buf wanted = buf_make(1 << 16);
    assert_true(terms_of_message(str_of(message), &terms));
    assert_true(fold_text(str_of(text), &folded) && terms_of_needle(buf_str(&folded), 16, &wanted));
    bool found = wanted.len > 0 && has_all(buf_str(&terms), buf_str(&wanted));
    buf_free(&terms);
    buf_free(&folded);
    buf_free(&wanted);
    return found;
}

static void test_any_part_is_found(void **state)
{
    static const char message[] =
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from Berlin\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
        "VGhlIHF1YXJ0ZXJseSByZXBvcnQKw4lDT0xFIOadseS6rOmDveaWsOWuv+WMugo=\r\n";
    assert_true(finds(message, "uarterly rep"));
    assert_true(finds(message, "ECOLE"));
    assert_true(finds(message, "école"));
    assert_true(finds(message, "GRÜSSE from"));
    assert_true(finds(message, "rlin"));
    assert_true(finds(message, "東京"));
    assert_true(finds(message, "新宿区"));
    assert_true(finds(message, "ole 東"));
    assert_false(finds(message, "yearly"));
    assert_false(finds(message, "京東"));
    assert_false(finds(message, "reporting"));
    (void)state;
}

static void test_short_needles_have_none(void **state)
{
    struct buf terms = buf_make(1 << 16);
    assert_true(terms_of_needle(STR("ab"), 16, &terms));
    assert_true(terms_of_needle(STR("\xe4\xba\xac"), 16, &terms));
    assert_true(terms_of_needle(STR_EMPTY, 16, &terms));
    assert_int_equal(terms.len, 0);
    buf_free(&terms);
    (void)state;
}

static void test_long_needles_are_thinned(void **state)
{
    struct buf all = buf_make(1 << 16);
    struct buf some = buf_make(1 << 16);
    struct str needle = STR("the quick brown fox jumps over the lazy dog");
    assert_true(terms_of_needle(needle, 1000, &all) && terms_of_needle(needle, 7, &some));
    assert_int_equal(count_terms(buf_str(&all)), needle.len - 2);
    assert_int_equal(count_terms(buf_str(&some)), 7);
    assert_true(has_all(buf_str(&all), buf_str(&some)));
    buf_free(&all);
    buf_free(&some);
    (void)state;
}

static void test_terms_are_different_and_counted(void **state)
{
    struct buf terms = buf_make(8 << 20);
    struct buf message = buf_make(8 << 20);
    assert_true(terms_of_message(STR("\r\naaaa aaaa aaaa"), &terms));
    assert_int_equal(count_terms(buf_str(&terms)), 5); /* "aaa", "aa ", "a a", " aa", "aa\n" */
    buf_clear(&terms);
    assert_true(buf_append_str(&message, STR("Content-Type: text/plain; charset=utf-8\r\n\r\n")));
    for (unsigned i = 0; i < 70000; i++) { /* all different */
        char text[8];
        int len =
            snprintf(text, sizeof(text), "%c%c%c%c", 33 + i % 64, 33 + i / 64 % 64, 33 + i / 4096 % 64, ' ');
        assert_true(buf_append(&message, text, (size_t)len));
    }
    assert_false(terms_of_message(buf_str(&message), &terms));
    buf_free(&terms);
    buf_free(&message);
    (void)state;
}

static void test_every_allocation_may_fail(void **state)
{
    struct str message =
        STR("Subject: a subject that has its terms\r\n\r\nAnd a body with some more of them.\r\n");
    int64_t live = mem_live();
    for (uint64_t k = 1;; k++) {
        struct buf terms = buf_make(1 << 20);
        mem_fail_at(k, 1);
        bool fine = terms_of_message(message, &terms);
        bool reached = mem_count() >= k;
        mem_fail_at(0, 0);
        buf_free(&terms);
        assert_int_equal(mem_live(), live);
        if (!reached) {
            assert_true(fine);
            break;
        }
        assert_false(fine);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_part_is_found),
                                       cmocka_unit_test(test_short_needles_have_none),
                                       cmocka_unit_test(test_long_needles_are_thinned),
                                       cmocka_unit_test(test_terms_are_different_and_counted),
                                       cmocka_unit_test(test_every_allocation_may_fail)};
    return cmocka_run_group_tests_name("terms", tests, NULL, NULL);
}
