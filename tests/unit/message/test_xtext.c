/* xtext (RFC 3461, section 4) and UTF-8 addresses in ORCPT (RFC 6533, section 3). */
#include "message/xtext.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void expect_decoded(struct str s, const char *decoded)
{
    struct buf out = buf_make(1024);
    assert_int_equal(xtext_valid(s), decoded != NULL);
    assert_int_equal(xtext_decode(s, &out), decoded != NULL);
    assert_true(str_equal(buf_str(&out), decoded == NULL ? STR_EMPTY : str_of(decoded)));
    buf_free(&out);
}

static void test_decoding_is_strict(void **state)
{
    (void)state;
    expect_decoded(STR("plain"), "plain");
    expect_decoded(STR("a+2Bb+3Dc+20d"), "a+b=c d");
    expect_decoded(STR(""), "");
    expect_decoded(STR("+0D+0A"), "\r\n");
    expect_decoded(STR("+2b"), NULL);
    expect_decoded(STR("+2"), NULL);
    expect_decoded(STR("+"), NULL);
    expect_decoded(STR("x+"), NULL);
    expect_decoded(STR("a=b"), NULL);
    expect_decoded(STR("a b"), NULL);
    expect_decoded(STR("a\r\n"), NULL);
    expect_decoded(STR("\xc3\xa4"), NULL);
    expect_decoded(str_make("a\0b", 3), NULL);
}

static void test_every_octet_goes_there_and_back(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    struct buf encoded = buf_make(2048);
    struct buf decoded = buf_make(2048);
    assert_true(xtext_encode(str_make(all, sizeof(all)), &encoded));
    assert_true(xtext_valid(buf_str(&encoded)));
    assert_true(xtext_decode(buf_str(&encoded), &decoded));
    assert_true(str_equal(buf_str(&decoded), str_make(all, sizeof(all))));
    buf_free(&encoded);
    buf_free(&decoded);
}

static void test_orcpt_is_parted(void **state)
{
    (void)state;
    struct str type;
    struct str address;
    assert_true(xtext_orcpt(STR("rfc822;a+2Bb@c.example"), &type, &address));
    assert_true(str_equal(type, STR("rfc822")));
    assert_true(str_equal(address, STR("a+2Bb@c.example")));
    assert_true(xtext_orcpt(STR("utf-8;\xce\xb4@c.example"), &type, &address));
    assert_true(xtext_orcpt(STR("UTF-8;\\x{3B4}@c.example"), &type, &address));
    static const struct str bad[] = {{"", 0},
                                     {";a@b", 4},
                                     {"rfc822", 6},
                                     {"rfc822;", 7},
                                     {"rfc822;a b", 10},
                                     {"rfc822;\xce\xb4", 9},
                                     {"rf c;a@b", 8},
                                     {"utf-8;\xce", 7},
                                     {"utf-8;\xce\xb4\r\n", 10},
                                     {"utf-8;\xce\xb4 x", 10},
                                     {"x\r\n;a@b", 7}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(xtext_orcpt(bad[i], &type, &address));
    }
}

static void expect_utf8(struct str encoded, const char *decoded)
{
    struct buf out = buf_make(1024);
    assert_int_equal(xtext_utf8_decode(encoded, &out), decoded != NULL);
    assert_true(str_equal(buf_str(&out), decoded == NULL ? STR_EMPTY : str_of(decoded)));
    buf_free(&out);
}

static void test_utf8_addresses(void **state)
{
    (void)state;
    struct buf out = buf_make(1024);
    assert_true(xtext_utf8_encode(STR("\xce\xb4+a\\=\xf0\x9f\x98\x80@x"), &out));
    assert_true(str_equal(buf_str(&out), STR("\\x{3B4}\\x{2B}a\\x{5C}\\x{3D}\\x{1F600}@x")));
    buf_free(&out);
    assert_false(xtext_utf8_encode(STR("\xff"), &out));
    expect_utf8(STR("\\x{3B4}\\x{2B}a\\x{5C}\\x{3D}\\x{1F600}@x"), "\xce\xb4+a\\=\xf0\x9f\x98\x80@x");
    expect_utf8(STR("\xce\xb4@x"), "\xce\xb4@x");
    expect_utf8(STR("\\x{20AC}"), "\xe2\x82\xac");
    expect_utf8(STR("\\x{D800}"), NULL);
    expect_utf8(STR("\\x{110000}"), NULL);
    expect_utf8(STR("\\x{}"), NULL);
    expect_utf8(STR("\\x{3b4}"), NULL);
    expect_utf8(STR("\\x{3B4"), NULL);
    expect_utf8(STR("\\x{0000003B4}"), NULL);
    expect_utf8(STR("\\y"), NULL);
    expect_utf8(STR("a b"), NULL);
    expect_utf8(STR("a\r"), NULL);
    expect_utf8(STR("\xce"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoding_is_strict),
        cmocka_unit_test(test_every_octet_goes_there_and_back),
        cmocka_unit_test(test_orcpt_is_parted),
        cmocka_unit_test(test_utf8_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
