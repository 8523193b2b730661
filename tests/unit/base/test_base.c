/* The ground everything stands on: slices, buffers, arenas, base64, ids, the event loop, and how each of them fails. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/codec.h"
#include "base/ident.h"
#include "base/loop.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_slices(void **state)
{
    (void)state;
    struct str s = STR("Subject: a:b");
    assert_int_equal(str_find(s, 0, ':'), 7);
    assert_int_equal(str_find(s, 8, ':'), 10);
    assert_int_equal(str_find(s, 99, ':'), SIZE_MAX);
    assert_int_equal(str_find_last(s, ':'), 10);
    assert_int_equal(str_find_str(s, STR("a:b")), 9);
    assert_int_equal(str_find_str(s, STR("zz")), SIZE_MAX);
    assert_true(str_starts_nocase(s, STR("SUBJECT:")) && !str_starts(s, STR("SUBJECT:")));
    assert_true(str_ends_nocase(s, STR("A:B")) && !str_ends(s, STR("A:B")));
    assert_true(str_equal(str_trim(STR(" \t x y\t ")), STR("x y")));
    assert_int_equal(str_trim(STR(" \t ")).len, 0);
    assert_true(str_equal(str_sub(s, 9, 1000), STR("a:b")));
    assert_int_equal(str_sub(s, 5, 2).len, 0);
    assert_true(str_compare(STR("a"), STR("ab")) < 0 && str_compare(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_compare(STR_EMPTY, STR_EMPTY), 0);
    assert_true(str_equal_secret(STR("same"), STR("same")) && !str_equal_secret(STR("same"), STR("samE")));
    assert_false(str_equal_secret(STR("same"), STR("sam")));
}

static void test_counting(void **state)
{
    (void)state;
    static char text[10000];
    assert_int_equal(str_count(STR_EMPTY, '\n'), 0);
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = '\n';
        assert_int_equal(str_count(str_make(text, i + 1), '\n'), i + 1);
        assert_int_equal(str_count(str_make(text, sizeof(text)), '\n'), i + 1);
        assert_int_equal(str_count(str_make(text, sizeof(text)), '\0'), sizeof(text) - i - 1);
    }
}

static void test_splitting(void **state)
{
    (void)state;
    static const char *const parts[] = {"a", "", "b", ""};
    struct str rest = STR("a,,b,");
    struct str part;
    size_t n = 0;
    while (str_split(&rest, ',', &part)) {
        assert_true(n < 4 && str_equal(part, str_of(parts[n])));
        n++;
    }
    assert_int_equal(n, 4);
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &value) && value == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &value));
    assert_true(str_to_u64(STR("000255"), 255, &value) && value == 255);
    assert_false(str_to_u64(STR("256"), 255, &value));
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1e3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(str_to_u64(str_of(bad[i]), UINT64_MAX, &value));
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "a\xff"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(str_is_utf8(str_of(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(str_is_utf8(str_of(bad[i])));
    }
}

static void test_a_full_buffer_is_whole_or_known_to_be_bad(void **state)
{
    (void)state;
    struct buf b = buf_make(8);
    assert_true(buf_append_lit(&b, "12345"));
    assert_false(buf_append_lit(&b, "6789"));
    assert_false(buf_ok(&b));
    assert_true(str_equal(buf_str(&b), STR("12345"))); /* as it was */
    assert_false(buf_append_char(&b, '6'));            /* and later appends do nothing */
    buf_clear(&b);
    assert_true(buf_append_lit(&b, "12345678"));
    buf_consume(&b, 3);
    assert_true(str_equal(buf_str(&b), STR("45678")));
    buf_consume(&b, 99);
    assert_int_equal(b.len, 0);
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_free(&b);
    mem_fail_at(1, 1);
    assert_false(buf_append_lit(&b, "x"));
    mem_fail_at(0, 0);
    assert_false(buf_ok(&b));
    buf_free(&b);
}

static void test_escaping(void **state)
{
    (void)state;
    const struct {
        struct str text;
        size_t max;
        const char *want;
    } rows[] = {
        {STR("plain"), 100, "plain"},
        {STR("a\r\nb\0\x7f"), 100, "a\\x0d\\x0ab\\x00\\x7f"},
        {STR("\\"), 100, "\\\\"},
        {STR("\xc3\xa4\xff\xc2\x85"), 100, "\xc3\xa4\\xff\\xc2\\x85"},
        {STR("0123456789"), 10, "0123456789"},
        {STR("0123456789a"), 10, "0123456..."},
        {STR("\1\1\1"), 10, "\\x01..."},
        {STR("abc"), 2, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf b = buf_make(1000);
        assert_true(buf_append_escaped(&b, rows[i].text, rows[i].max));
        assert_true(str_equal(buf_str(&b), str_of(rows[i].want)));
        buf_free(&b);
    }
}

static void test_numbers_into_buffers(void **state)
{
    (void)state;
    struct buf b = buf_make(1000);
    buf_append_u64(&b, 0);
    buf_append_char(&b, ' ');
    buf_append_u64(&b, UINT64_MAX);
    buf_printf(&b, " %s %d", "x", -1);
    assert_true(str_equal(buf_str(&b), STR("0 18446744073709551615 x -1")));
    buf_clear(&b);
    buf_append_le16(&b, 0x0102);
    buf_append_le32(&b, 0x03040506);
    buf_append_le64(&b, 0x0708090a0b0c0d0eULL);
    assert_true(str_equal(buf_str(&b), STR("\2\1\6\5\4\3\x0e\x0d\x0c\x0b\x0a\x09\x08\x07")));
    buf_free(&b);
}

static void test_arena(void **state)
{
    (void)state;
    int64_t before = mem_live();
    struct arena a = arena_make(4096);
    size_t total = 0;
    char *piece;
    while ((piece = arena_alloc(&a, 100)) != NULL) {
        assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
        assert_int_equal(piece[0] | piece[99], 0);
        memset(piece, 0xff, 100);
        total += 100;
    }
    assert_true(total >= 2000 && total <= 4096);
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_free(&a);
    assert_true(str_equal(arena_copy(&a, STR("again")), STR("again")));
    arena_free(&a);
    mem_fail_at(1, 1);
    assert_null(arena_alloc(&a, 1));
    mem_fail_at(0, 0);
    arena_free(&a);
    assert_int_equal(mem_live(), before);
}

/* RFC 4648, section 10, and what must not be taken. */
static void test_base64(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg= =", "Zh==", "Zm9=", "=", "====", "Zg==Zg==", "Zm9v\n", "Zm 9v", "Zm-_"};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf b = buf_make(100);
        assert_true(base64_encode(str_of(pairs[i][0]), &b));
        assert_true(str_equal(buf_str(&b), str_of(pairs[i][1])));
        buf_clear(&b);
        assert_true(base64_decode(str_of(pairs[i][1]), &b));
        assert_true(str_equal(buf_str(&b), str_of(pairs[i][0])));
        buf_free(&b);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = buf_make(100);
        assert_false(base64_decode(str_of(bad[i]), &b));
        assert_int_equal(b.len, 0);
        buf_free(&b);
    }
    struct buf small = buf_make(2);
    assert_false(base64_decode(STR("Zm9v"), &small));
    buf_free(&small);
}

static void test_ids(void **state)
{
    (void)state;
    struct ident id = ident_make(1700000000123ULL, 0x123456789abcULL);
    struct ident later = ident_make(1700000000124ULL, 0);
    struct ident back;
    char text[IDENT_TEXT];
    char next[IDENT_TEXT];
    ident_format(&id, text);
    ident_format(&later, next);
    assert_true(str_compare(str_make(text, IDENT_TEXT), str_make(next, IDENT_TEXT)) <
                0); /* they sort by time */
    assert_true(ident_parse(str_make(text, IDENT_TEXT), &back));
    assert_memory_equal(&back, &id, sizeof(id));
    assert_int_equal(ident_wall_ms(&back), 1700000000123ULL);
    assert_false(ident_parse(str_make(text, IDENT_TEXT - 1), &back));
    assert_false(ident_parse(STR("20000000000000000000"), &back)); /* more than 96 bits */
    assert_false(ident_parse(STR("0000000000000000000u"), &back));
    assert_false(ident_parse(STR("0000000000000000000\0"), &back));
}

struct counter {
    unsigned runs;
};

static void count(void *context)
{
    struct counter *c = context;
    c->runs++;
}

static void test_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    assert_non_null(loop);
    struct loop_task tasks[3] = {{0}};
    struct counter a = {0};
    struct counter b = {0};
    loop_defer(loop, &tasks[0], count, &a);
    loop_defer(loop, &tasks[0], count, &a); /* twice is once */
    loop_defer(loop, &tasks[1], count, &b);
    loop_defer(loop, &tasks[2], count, &a);
    loop_undefer(loop, &tasks[2]); /* the last */
    loop_undefer(loop, &tasks[2]);
    loop_pass(loop, false);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs, 1);
    loop_defer(loop, &tasks[2], count, &a);
    loop_pass(loop, false);
    assert_int_equal(a.runs, 2);
    struct loop_timer timer = {0};
    loop_timer_stop(&timer);
    assert_int_equal(loop_timer_start(loop, &timer, 1, false, count, &b), 0);
    while (b.runs < 2) {
        loop_pass(loop, true);
    }
    assert_null(timer.loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_splitting),
        cmocka_unit_test(test_counting),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_a_full_buffer_is_whole_or_known_to_be_bad),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_numbers_into_buffers),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
