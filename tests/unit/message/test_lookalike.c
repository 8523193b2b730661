/* Names that people cannot tell apart, and those that they can. */
#include "message/lookalike.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool same(const char *a, const char *b)
{
    struct buf first = buf_make(4096);
    struct buf second = buf_make(4096);
    bool result = lookalike_skeleton(str_of(a), &first) && lookalike_skeleton(str_of(b), &second) &&
                  str_equal(buf_str(&first), buf_str(&second));
    buf_free(&first);
    buf_free(&second);
    return result;
}

static void test_alike(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"Ann", "ann"},
        {"\xd0\xb0nn", "ann"},                           /* Cyrillic a */
        {"\xd1\x81\xd0\xbe\xd1\x80\xd0\xb5", "cope"},    /* all Cyrillic */
        {"\xce\xbf\xce\xbd\xce\xbf", "ovo"},             /* Greek */
        {"\xef\xbd\x81\xef\xbd\x8e\xef\xbd\x8e", "ann"}, /* full-width forms */
        {"\xef\xbc\xa1nn", "ann"},                       /* a full-width capital */
        {"\xe2\x84\xaa"
         "im",
         "kim"}, /* the Kelvin sign */
        {"m\xc4\xb1"
         "ke",
         "mike"}, /* dotless i */
        {"\xc5\xbf"
         "am",
         "sam"},                         /* long s */
        {"a\xe2\x80\x8bnn", "ann"},      /* a blank of no width */
        {"\xef\xac\x81nn", "finn"},      /* the ligature fi */
        {"\xf0\x9d\x90\x9anna", "anna"}, /* a mathematical letter */
        {"jos\xc3\xa9", "jose\xcc\x81"}, /* NFC and NFD */
        {"JOS\xc3\x89", "jos\xc3\xa9"},
        {"p\xd0\xbestmaster", "postmaster"},
        {"a\xe2\x80\x90"
         "b",
         "a-b"}, /* a hyphen of its own */
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (!same(pairs[i][0], pairs[i][1])) {
            fail_msg("pair %zu is taken for different", i);
        }
    }
}

static void test_different(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"ann", "anne"},
        {"jose", "jos\xc3\xa9"},
        {"muller", "m\xc3\xbcller"},
        {"user1", "userl"},
        {"user0", "usero"},
        {"rn", "m"},
        {"\xe7\x94\xb0", "\xe7\x94\xb2"},
        {"\xd0\xb0\xd0\xb6", "\xd0\xb0\xd0\xb7"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (same(pairs[i][0], pairs[i][1])) {
            fail_msg("pair %zu is taken for the same", i);
        }
    }
}

static void test_faults(void **state)
{
    (void)state;
    static const char *const good[] = {"ann",
                                       "o'neill",
                                       "jos\xc3\xa9",
                                       "\xd0\xb0\xd0\xbd\xd0\xbd\xd0\xb0",
                                       "\xce\xb1\xce\xbd\xce\xbd\xce\xb1",
                                       "\xe7\x94\xb0\xe4\xb8\xad",
                                       "\xe7\x94\xb0taro",
                                       "\xe3\x82\xbf\xe3\x83\xad",
                                       "\"a b\"",
                                       "a.b+c",
                                       "\xd8\xb9\xd9\x84\xd9\x8a",
                                       "\xd0\xb0"
                                       "1"};
    static const char *const bad[] = {"\xd0\xb0nn",       /* Cyrillic and Latin */
                                      "\xce\xbd\xd0\xb0", /* Greek and Cyrillic */
                                      "\xd5\xbb"
                                      "a",               /* Armenian and Latin */
                                      "a\xe2\x80\x8bnn", /* no width */
                                      "a\xc2\xadnn",     /* a soft hyphen */
                                      "a\xe2\x80\xaenn", /* right to left */
                                      "a\xef\xb8\x8fnn", /* a variation selector */
                                      "a\xe3\x85\xa4nn", /* a Hangul filler */
                                      "\"a\xc2\xa0"
                                      "b\"",          /* a blank that does not break */
                                      "\xee\x80\x80", /* private use */
                                      "a\xff"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (lookalike_fault(str_of(good[i])) != NULL) {
            fail_msg("good name %zu: %s", i, lookalike_fault(str_of(good[i])));
        }
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (lookalike_fault(str_of(bad[i])) == NULL) {
            fail_msg("bad name %zu is taken", i);
        }
    }
}

/* The table is searched by halves. */
static void test_every_letter_of_latin_is_found(void **state)
{
    (void)state;
    assert_true(same("\xc4\xb1", "i"));
    assert_true(same("\xea\x9c\xb1", "s"));
    assert_true(same("\xea\xad\xb5", "i")); /* Cherokee */
    assert_true(same("\xd0\xbe", "o"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_different),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_every_letter_of_latin_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
