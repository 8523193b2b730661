/* DEFLATE both ways: what goes in comes out, in any pieces; what is no DEFLATE is refused; memory is bounded and may fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/deflate.h"
#include "base/mem.h"

enum { MUCH = 300000, AREA = 777 };

static char text[MUCH];
static char area[AREA];

/* Lines that compress, with noise that does not. */
static void fill(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < MUCH; i++) {
        state = state * 1664525 + 1013904223;
        text[i] = i % 3000 < 2000 ? "* 1 FETCH (FLAGS (\\Seen))\r\n"[i % 28 % 27] : (char)(state >> 24);
    }
}

static void expand_all(struct deflate *d, struct str packed, size_t piece, struct buf *out)
{
    while (packed.len > 0) {
        struct str part = str_sub(packed, 0, piece);
        packed = str_from(packed, part.len);
        ssize_t n = 1;
        while (n > 0) {
            n = deflate_expand(d, &part, area, AREA);
            assert_true(n >= 0);
            buf_append(out, area, (size_t)n);
        }
        assert_int_equal(part.len, 0);
    }
}

static void test_what_goes_in_comes_out(void **state)
{
    (void)state;
    int64_t live = mem_live();
    fill();
    for (size_t piece = 1; piece < 5000; piece = piece * 7 + 1) {
        struct deflate *from = deflate_new();
        struct deflate *to = deflate_new();
        struct buf packed = buf_make(1 << 20);
        struct buf back = buf_make(1 << 20);
        assert_true(deflate_append(from, str_make(text, 100), true, &packed));
        expand_all(to, buf_str(&packed), piece, &back);
        assert_int_equal(back.len, 100); /* a flush leaves nothing behind */
        buf_clear(&packed);
        assert_true(deflate_append(from, str_make(text + 100, 1000), false, &packed));
        assert_true(deflate_append(from, str_make(text + 1100, MUCH - 1100), true, &packed));
        assert_true(packed.len < MUCH * 2 / 3);
        expand_all(to, buf_str(&packed), piece, &back);
        assert_true(str_equal(buf_str(&back), str_make(text, MUCH)));
        buf_free(&packed);
        buf_free(&back);
        deflate_free(from);
        deflate_free(to);
    }
    assert_int_equal(mem_live(), live);
}

static void test_what_is_no_deflate_is_refused(void **state)
{
    (void)state;
    struct deflate *d = deflate_new();
    struct str wrong = STR("\xff\xff\xff\xff");
    assert_int_equal(deflate_expand(d, &wrong, area, AREA), -1);
    deflate_free(d);
    /* A stream that has ended: nothing may follow. */
    d = deflate_new();
    struct str ended = STR("\x03\x00more");
    assert_int_equal(deflate_expand(d, &ended, area, AREA), -1);
    deflate_free(d);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t live = mem_live();
    uint64_t last = 1;
    for (uint64_t k = 1; k <= last; k++) {
        struct buf packed = buf_make(1 << 20);
        mem_fail_at(k, 1);
        struct deflate *d = deflate_new();
        if (d != NULL && deflate_append(d, str_make(text, 70000), true, &packed)) {
            struct str rest = buf_str(&packed);
            ssize_t n = 1;
            while (n > 0) {
                n = deflate_expand(d, &rest, area, AREA);
            }
        }
        last = mem_count() + (k == 1);
        mem_fail_at(0, 0);
        deflate_free(d);
        buf_free(&packed);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out),
        cmocka_unit_test(test_what_is_no_deflate_is_refused),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
