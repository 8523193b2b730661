/* DNS answers (RFC 1035, section 4): records, aliases, compression, and packets that lie. */
#include "base/mem.h"
#include "dns/answer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HEAD(count) "\x12\x34\x81\x80\0\1\0" count "\0\0\0\0"
#define QUESTION(t) "\7example\3org\0\0" t "\0\1" /* at octet 12 */
#define RECORD(t)   "\xc0\x0c\0" t "\0\1\0\0\0\x3c"
#define MX          "\x0f"

static void expect(struct str packet, uint16_t type, bool fine, size_t count)
{
    struct dns_answer answer;
    assert_int_equal(dns_answer_read(packet, type, &answer), fine);
    if (fine) {
        assert_int_equal(answer.count, count);
    }
}

static void test_records(void **state)
{
    (void)state;
    struct dns_answer a;
    assert_true(dns_answer_read(
        STR(HEAD("\2") QUESTION(MX) RECORD(MX) "\0\7\0\x0a\2MX\xc0\x0c" RECORD(MX) "\0\3\0\0\0"), DNS_TYPE_MX,
        &a));
    assert_int_equal(a.count, 2);
    assert_int_equal(a.records[0].preference, 10);
    assert_true(str_equal(str_make(a.records[0].name, a.records[0].name_len), STR("mx.example.org")));
    assert_int_equal(a.records[1].name_len, 0); /* null MX (RFC 7505) */
    assert_false(a.was_alias);
    assert_true(
        dns_answer_read(STR(HEAD("\1") QUESTION("\1") RECORD("\1") "\0\4\xc0\0\2\1"), DNS_TYPE_A, &a));
    assert_int_equal(a.records[0].address_len, 4);
    assert_memory_equal(a.records[0].address, "\xc0\0\2\1", 4);
}

static void test_aliases(void **state)
{
    (void)state;
    struct dns_answer a;
    struct str packet = STR(HEAD("\2") QUESTION("\1") RECORD("\5") "\0\4\1w\xc0\x0c"
                                                                   "\xc0\x29\0\1\0\1\0\0\0\1\0\4\1\2\3\4");
    assert_true(dns_answer_read(packet, DNS_TYPE_A, &a));
    assert_true(a.was_alias);
    assert_int_equal(a.count, 1);
    /* An alias of itself ends, and finds nothing. */
    expect(STR(HEAD("\1") QUESTION("\1") RECORD("\5") "\0\2\xc0\x0c"), DNS_TYPE_A, false, 0);
}

static void test_lies(void **state)
{
    (void)state;
    expect(STR(""), DNS_TYPE_A, false, 0);
    expect(STR("\x12\x34\x81\x80\0\0\0\0\0\0\0\0"), DNS_TYPE_A, false, 0); /* no question */
    expect(STR(HEAD("\1") "\xc0\x0c\0\1\0\1"), DNS_TYPE_A, false, 0);      /* points to itself */
    expect(STR(HEAD("\1") QUESTION("\1") RECORD("\1") "\0\5\1\2\3\4\5"), DNS_TYPE_A, false,
           0); /* five octets */
    expect(STR(HEAD("\1") QUESTION("\1") RECORD("\1") "\0\4\1\2\3"), DNS_TYPE_A, false,
           0); /* behind the end */
    expect(STR(HEAD("\2") QUESTION("\1") RECORD("\1") "\0\4\1\2\3\4"), DNS_TYPE_A, false,
           0); /* one too few */
    expect(STR(HEAD("\1") QUESTION(MX) RECORD(MX) "\0\7\0\1\2mx\0x"), DNS_TYPE_MX, false,
           0); /* name and length differ */
    expect(STR(HEAD("\1") QUESTION(MX) RECORD(MX) "\0\6\0\1\2m \0"), DNS_TYPE_MX, true,
           0); /* no host's name */
    expect(STR(HEAD("\1") QUESTION(MX) RECORD(MX) "\0\4\0\1\x80\0"), DNS_TYPE_MX, false,
           0); /* unknown label */
    expect(STR(HEAD("\1") QUESTION(MX) "\3foo\0\0" MX "\0\1\0\0\0\1\0\5\0\1\1a\0"), DNS_TYPE_MX, true,
           0); /* another's record */
}

/* Cut anywhere, and with any one octet changed: no more than a wrong answer. Memory is the sanitizer's to watch. */
static void test_cut_and_changed(void **state)
{
    (void)state;
    struct str whole =
        STR(HEAD("\2") QUESTION(MX) RECORD(MX) "\0\7\0\x0a\2mx\xc0\x0c" RECORD(MX) "\0\3\0\0\0");
    for (size_t len = 0; len < whole.len; len++) {
        char *copy = mem_alloc(len);
        assert_non_null(copy);
        memcpy(copy, whole.data, len);
        expect(str_make(copy, len), DNS_TYPE_MX, false, 0);
        mem_free(copy);
    }
    for (size_t at = 0; at < whole.len; at++) {
        char *copy = mem_alloc(whole.len);
        assert_non_null(copy);
        for (int value = 0; value < 256; value++) {
            struct dns_answer answer;
            memcpy(copy, whole.data, whole.len);
            copy[at] = (char)value;
            if (dns_answer_read(str_make(copy, whole.len), DNS_TYPE_MX, &answer)) {
                assert_true(answer.count <= 2);
            }
        }
        mem_free(copy);
    }
}

static void test_reverse_names(void **state)
{
    (void)state;
    char out[80];
    size_t len = dns_reverse_name(STR("\xc0\x00\x02\x7b"), out);
    assert_true(str_equal(str_make(out, len), STR("123.2.0.192.in-addr.arpa")));
    len = dns_reverse_name(STR("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x1f"), out);
    assert_true(str_equal(str_make(out, len),
                          STR("f.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),       cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_lies),          cmocka_unit_test(test_cut_and_changed),
        cmocka_unit_test(test_reverse_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
