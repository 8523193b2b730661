/* Sets, the view, names and the scanner of IMAP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "imap/server_private.h"

static void check_set(const char *text, uint32_t star, const char *expected)
{
    struct imap_set set = imap_set_make();
    struct buf out = buf_make(1000);
    enum imap_set_result result = imap_set_parse(&set, str_of(text), star);
    if (expected == NULL) {
        assert_int_equal(result, IMAP_SET_MALFORMED);
    } else {
        assert_int_equal(result, IMAP_SET_GOOD);
        imap_set_write(&set, &out);
        assert_true(str_equal(buf_str(&out), str_of(expected)));
    }
    imap_set_free(&set);
    buf_free(&out);
}

static void test_sets(void **state)
{
    (void)state;
    check_set("1", 9, "1");
    check_set("5,1:3,4", 9, "1:5");
    check_set("7:3", 9, "3:7");
    check_set("*", 9, "9");
    check_set("*:8", 9, "8:9");
    check_set("20:*", 9, "9:20");
    check_set("1:*", 0, "");
    check_set("4294967295,1", 9, "1,4294967295");
    check_set("4294967295:4294967294,1:2", 9, "1:2,4294967294:4294967295");
    check_set("1,1,1:1", 9, "1");
    check_set("", 9, NULL);
    check_set("0", 9, NULL);
    check_set("01", 9, NULL);
    check_set("1:", 9, NULL);
    check_set(",1", 9, NULL);
    check_set("1,", 9, NULL);
    check_set("1:2:3", 9, NULL);
    check_set("4294967296", 9, NULL);
    check_set("a", 9, NULL);
}

static void test_set_members(void **state)
{
    (void)state;
    struct imap_set set = imap_set_make();
    assert_int_equal(imap_set_parse(&set, STR("2:4,8,10:12"), 0), IMAP_SET_GOOD);
    assert_int_equal(imap_set_size(&set), 7);
    assert_int_equal(imap_set_max(&set), 12);
    assert_int_equal(imap_set_next(&set, 1), 2);
    assert_int_equal(imap_set_next(&set, 5), 8);
    assert_int_equal(imap_set_next(&set, 13), 0);
    assert_true(imap_set_contains(&set, 11) && !imap_set_contains(&set, 9));
    imap_set_free(&set);
}

/* The view. */

struct told {
    uint32_t numbers[20];
    uint32_t uids[20];
    size_t count;
};

static void note(void *context, uint32_t number, uint32_t uid)
{
    struct told *told = context;
    told->numbers[told->count] = number;
    told->uids[told->count++] = uid;
}

static bool merge(struct imap_view *view, uint32_t uid, uint64_t flags, uint64_t modseq,
                  enum imap_announce announce)
{
    return imap_view_merge(view, &(struct imap_run){uid, 1, flags, modseq, false}, announce);
}

static void test_view_expunges_as_numbers_move(void **state)
{
    (void)state;
    struct imap_view view = {.entries = NULL};
    struct told told = {.count = 0};
    for (uint32_t uid = 10; uid <= 60; uid += 10) {
        assert_true(merge(&view, uid, 0, uid, IMAP_ANNOUNCE_FLAGS));
    }
    view.told = 5; /* the last one came meanwhile */
    imap_view_vanish(&view, &(struct imap_range){15, 35});
    imap_view_vanish(&view, &(struct imap_range){60, 60});
    imap_view_vanish(&view, &(struct imap_range){61, 99});
    imap_view_expunge(&view, note, &told);
    assert_int_equal(told.count, 2); /* what was never told of is not told to be gone */
    assert_int_equal(told.numbers[0], 2);
    assert_int_equal(told.uids[0], 20);
    assert_int_equal(told.numbers[1], 2);
    assert_int_equal(told.uids[1], 30);
    assert_int_equal(view.count, 3);
    assert_int_equal(view.told, 3);
    imap_view_free(&view);
}

static void test_view_announces_what_is_newer(void **state)
{
    (void)state;
    struct imap_view view = {.entries = NULL};
    assert_true(merge(&view, 1, IMAP_SEEN, 5, IMAP_ANNOUNCE_FLAGS));
    assert_int_equal(view.changed, 0);
    merge(&view, 1, 0, 4, IMAP_ANNOUNCE_ALL); /* older than what is known */
    assert_int_equal(view.entries[0].flags, IMAP_SEEN);
    merge(&view, 1, IMAP_SEEN, 6, IMAP_ANNOUNCE_FLAGS);
    assert_int_equal(view.changed, 0);
    merge(&view, 1, IMAP_FLAGGED, 7, IMAP_ANNOUNCE_FLAGS);
    assert_int_equal(view.changed, 1);
    imap_view_free(&view);
}

static void test_view_takes_runs(void **state)
{
    (void)state;
    struct imap_view view = {.entries = NULL};
    assert_true(imap_view_merge(&view, &(struct imap_run){3, 4, 0, 10, true}, IMAP_ANNOUNCE_FLAGS));
    assert_int_equal(view.count, 4);
    assert_int_equal(view.entries[3].uid, 6);
    assert_int_equal(view.entries[3].modseq, 13);
    /* Over known ones and new ones: only what is newer counts. UIDs below the last that are not known are none. */
    assert_true(imap_view_merge(&view, &(struct imap_run){1, 9, IMAP_SEEN, 12, false}, IMAP_ANNOUNCE_FLAGS));
    assert_int_equal(view.count, 7);
    assert_int_equal(view.entries[0].uid, 3);
    assert_int_equal(view.entries[1].flags, IMAP_SEEN);
    assert_int_equal(view.entries[2].flags, 0);
    assert_int_equal(view.entries[3].flags, 0);
    assert_int_equal(view.entries[6].uid, 9);
    assert_int_equal(view.entries[6].modseq, 12);
    assert_int_equal(view.changed, 2);
    assert_true(
        imap_view_merge(&view, &(struct imap_run){UINT32_MAX - 1, 9, 0, 20, true}, IMAP_ANNOUNCE_FLAGS));
    assert_int_equal(view.count, 9);
    assert_int_equal(imap_view_last_uid(&view), UINT32_MAX);
    imap_view_free(&view);
}

/* Names. */

static void check_name(const char *wire, const char *utf8)
{
    struct imap_server s = {.arena = arena_make(100000)};
    struct buf out = buf_make(1000);
    struct str name;
    bool fine = imap_name_decode(&s, str_of(wire), &name);
    if (utf8 == NULL) {
        assert_false(fine);
    } else {
        assert_true(fine);
        assert_true(str_equal(name, str_of(utf8)));
        imap_name_write(&s, name, &out);
        struct str shown = buf_str(&out);
        if (shown.len > 0 && shown.data[0] == '"') {
            shown = str_sub(shown, 1, shown.len - 1);
        }
        if (!str_starts_nocase(str_of(wire), STR("inbox"))) {
            assert_true(str_equal(shown, str_of(wire)));
        }
    }
    arena_free(&s.arena);
    buf_free(&out);
}

static void test_names(void **state)
{
    (void)state;
    check_name("Sent", "Sent");
    check_name("inBox", "INBOX");
    check_name("inbox/sub", "INBOX/sub");
    check_name("inboxes", "inboxes");
    check_name("A&-B", "A&B");
    check_name("&AOQ-", "\xc3\xa4");
    check_name("~peter/mail/&U,BTFw-/&ZeVnLIqe-",
               "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e");
    check_name("&2D3eAA-", "\xf0\x9f\x98\x80");
    check_name("&AOQ", NULL);  /* not ended */
    check_name("&!!!-", NULL); /* no base64 */
    check_name("&AGE-", NULL); /* "a" must be written plainly */
    check_name("&2D0-", NULL); /* half a pair */
    check_name("&3gA-", NULL); /* the other half */
    check_name("a\tb", NULL);
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *pattern;
        bool matches;
    } cases[] = {{"INBOX", "*", true},    {"a/b/c", "*", true},          {"a/b", "%", false},
                 {"a", "%", true},        {"a/b", "%/%", true},          {"a/b/c", "%/%", false},
                 {"a/b/c", "a/*c", true}, {"a/b/c", "a/%c", false},      {"foo/bar", "f%r", false},
                 {"foobar", "f%r", true}, {"aXbXc", "a*b*c", true},      {"abc", "abcd", false},
                 {"abcd", "abc", false},  {"a/b", "*/b", true},          {"", "", true},
                 {"a", "", false},        {"x/y/z/test", "*test", true}, {"a/b/ab", "%/*b", true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(imap_name_matches(str_of(cases[i].name), str_of(cases[i].pattern)),
                         cases[i].matches);
    }
}

/* The scanner. */

static void test_strings(void **state)
{
    (void)state;
    struct arena arena = arena_make(10000);
    struct imap_scan scan =
        imap_scan_make(STR("\"a\\\"b\" {3}\r\nx\ny at[om] NIL ~{2}\r\n\0z"), &arena, false);
    struct str text;
    bool nil;
    bool binary;
    assert_true(imap_scan_astring(&scan, &text) && str_equal(text, STR("a\"b")) && imap_scan_space(&scan));
    assert_true(imap_scan_astring(&scan, &text) && str_equal(text, STR("x\ny")) && imap_scan_space(&scan));
    assert_true(imap_scan_astring(&scan, &text) && str_equal(text, STR("at[om]")) && imap_scan_space(&scan));
    assert_true(imap_scan_nstring(&scan, &text, &nil) && nil && imap_scan_space(&scan));
    assert_true(imap_scan_string(&scan, &text, &binary) && binary && text.len == 2 && imap_scan_end(&scan));
    arena_free(&arena);
}

static void test_dates(void **state)
{
    (void)state;
    struct arena arena = arena_make(10000);
    uint64_t ms;
    int64_t days;
    struct imap_scan scan = imap_scan_make(STR("\" 1-Jan-1970 01:00:01 +0100\""), &arena, false);
    assert_true(imap_scan_date_time(&scan, &ms) && ms == 1000);
    scan = imap_scan_make(STR("29-Feb-2024"), &arena, false);
    assert_true(imap_scan_date(&scan, &days) && days == 19782);
    static const char *const bad[] = {"29-Feb-2023", "32-Jan-2020", "1-Foo-2020", "1-Jan-20", "",
                                      "Jan-1-2020"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        scan = imap_scan_make(str_of(bad[i]), &arena, false);
        assert_false(imap_scan_date(&scan, &days));
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_set_members),
        cmocka_unit_test(test_view_expunges_as_numbers_move),
        cmocka_unit_test(test_view_announces_what_is_newer),
        cmocka_unit_test(test_view_takes_runs),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
