/* Codes in text and their words (RFC 5321, 3463, 5248). */
#include "base/mem.h"
#include "message/codes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_the_table_is_whole(void **state)
{
    (void)state;
    size_t count = 0;
    const struct codes_words *rows = codes_table(&count);
    assert_true(count > 90);
    for (size_t i = 0; i < count; i++) {
        assert_true(str_of(rows[i].title).len > 0);
        assert_true(str_ends(str_of(rows[i].what), STR(".")));
        assert_true(str_ends(str_of(rows[i].action), STR(".")));
        assert_true(str_of(rows[i].standard).len > 0);
        if (rows[i].reply != 0) {
            assert_in_range(rows[i].reply, 200, 599);
            assert_ptr_equal(codes_reply(rows[i].reply), &rows[i]); /* none stands twice */
        } else {
            assert_ptr_equal(codes_enhanced(rows[i].subject, rows[i].detail), &rows[i]);
        }
    }
    assert_null(codes_reply(0));
    assert_null(codes_reply(599));
    assert_null(codes_enhanced(9, 9));
}

/* Every enhanced code of the registry up to RFC 8689. */
static void test_the_registry_is_covered(void **state)
{
    (void)state;
    static const unsigned highest[] = {0, 10, 4, 6, 7, 6, 10, 30};
    for (unsigned subject = 1; subject <= 7; subject++) {
        for (unsigned detail = 0; detail <= highest[subject]; detail++) {
            assert_non_null(codes_enhanced(subject, detail));
        }
    }
    static const unsigned replies[] = {211, 214, 220, 221, 235, 250, 251, 252, 334, 354, 421, 432,
                                       450, 451, 452, 454, 455, 500, 501, 502, 503, 504, 521, 530,
                                       534, 535, 538, 550, 551, 552, 553, 554, 555, 556};
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        assert_non_null(codes_reply(replies[i]));
    }
}

static void test_codes_are_found_in_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned reply;
        const char *enhanced; /* "" : none */
    } cases[] = {
        {"550", 550, ""},
        {"5.1.1", 0, "5.1.1"},
        {"550 5.1.1 No such user", 550, "5.1.1"},
        {"550-5.1.1 No such\r\n550 5.1.1 user", 550, "5.1.1"},
        {"550 #5.1.1 x", 550, "5.1.1"},
        {"550 (5.7.26) x", 550, "5.7.26"},
        {"host mx.example[192.0.2.1] said: 451 4.7.1 Greylisting in action (in reply to RCPT TO command)",
         451, "4.7.1"},
        {"Status: 5.2.2\r\nDiagnostic-Code: smtp; 552 mailbox is full", 552, "5.2.2"},
        {"remote server 192.0.2.4 answered 554 denied", 554, ""},
        {"dsn=4.4.1, status=deferred (connect to 10.0.5.1:25: timed out)", 0, "4.4.1"},
        {"SMTP error: 535", 535, ""},
        {"499", 499, ""},
        {"see RFC 5321", 0, NULL},
        {"ticket 550123", 0, NULL},
        {"version 5.1.1.2", 0, NULL},
        {"version 5.1.1rc1", 0, NULL},
        {"3.1.1", 0, NULL},
        {"5.1000.1", 0, NULL},
        {"user550@example.org", 0, NULL},
        {"192.0.2.250", 0, NULL},
        {"", 0, NULL},
        {"no code at all", 0, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct codes_found found;
        bool any = codes_find(str_of(cases[i].text), &found);
        assert_int_equal(any, cases[i].enhanced != NULL);
        assert_int_equal(found.reply, cases[i].reply);
        char area[32];
        struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (found.has_enhanced) {
            buf_printf(&text, "%u.%u.%u", found.class, found.subject, found.detail);
        }
        assert_true(
            str_equal(buf_str(&text), cases[i].enhanced == NULL ? STR_EMPTY : str_of(cases[i].enhanced)));
    }
}

static void test_the_code_that_says_most_is_explained(void **state)
{
    (void)state;
    struct codes_found found;
    assert_true(codes_make(550, STR("5.1.1"), &found));
    assert_ptr_equal(codes_best(&found), codes_enhanced(1, 1));
    assert_true(codes_make(552, STR("5.0.0"), &found));
    assert_ptr_equal(codes_best(&found), codes_reply(552));
    assert_true(codes_make(552, STR("nonsense"), &found));
    assert_ptr_equal(codes_best(&found), codes_reply(552));
    assert_true(codes_make(0, STR("4.9.9"), &found));
    assert_null(codes_best(&found));
    assert_false(codes_make(0, STR_EMPTY, &found));
}

static void expect_words(unsigned reply, const char *enhanced, const char *words)
{
    struct codes_found found;
    struct buf out = buf_make(4096);
    assert_true(codes_make(reply, str_of(enhanced), &found));
    assert_true(codes_append_words(&found, &out));
    buf_append_char(&out, '\0');
    assert_string_equal(out.data, words);
    buf_free(&out);
}

static void test_words_say_what_on_whose_side_and_what_to_do(void **state)
{
    (void)state;
    expect_words(550, "5.1.1",
                 "There is no such mailbox at that domain. The cause lies on the recipient's side. Check the "
                 "spelling in "
                 "front of the @; if it is right, ask the recipient for the present address in another way.");
    expect_words(0, "4.2.2",
                 "The recipient's mailbox is full. The cause lies on the recipient's side. It is temporary: "
                 "the sending "
                 "server tries again by itself, nothing need be done now.");
    expect_words(0, "5.9.9",
                 "This code is not in the table; its first digit says how it went. It is permanent: trying "
                 "again does not help.");
    expect_words(250, "2.1.5", "The address is good. It worked.");
}

static void test_failing_allocations_are_told(void **state)
{
    (void)state;
    int64_t live = mem_live();
    for (uint64_t k = 1; k < 20; k++) {
        struct codes_found found;
        struct buf out = buf_make(4096);
        codes_make(550, STR("5.1.1"), &found);
        mem_fail_at(k, 0);
        bool fine = codes_append_words(&found, &out);
        bool reached = mem_count() >= k;
        mem_fail_at(0, 0);
        assert_int_equal(fine, !reached);
        buf_free(&out);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_is_whole),
        cmocka_unit_test(test_the_registry_is_covered),
        cmocka_unit_test(test_codes_are_found_in_text),
        cmocka_unit_test(test_the_code_that_says_most_is_explained),
        cmocka_unit_test(test_words_say_what_on_whose_side_and_what_to_do),
        cmocka_unit_test(test_failing_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
