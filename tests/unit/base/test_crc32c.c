/* CRC-32C (RFC 3720, appendix B.4): the standard's examples, and every length against the definition, bit by bit. */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 5000 };

static unsigned char data[LONGEST];

static void fill(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof(data); i++) {
        x = x * 1664525U + 1013904223U;
        data[i] = (unsigned char)(x >> 24);
    }
}

/* One more octet, bit by bit. */
static uint32_t next_by_bits(uint32_t crc, unsigned char octet)
{
    crc = ~crc ^ octet;
    for (int bit = 0; bit < 8; bit++) {
        crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    }
    return ~crc;
}

static void test_examples_of_the_standard(void **state)
{
    (void)state;
    unsigned char octets[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283U);
    assert_int_equal(crc32c(0, "", 0), 0);
    memset(octets, 0, sizeof(octets));
    assert_int_equal(crc32c(0, octets, sizeof(octets)), 0x8a9136aaU);
    memset(octets, 0xff, sizeof(octets));
    assert_int_equal(crc32c(0, octets, sizeof(octets)), 0x62a8ab43U);
    for (size_t i = 0; i < sizeof(octets); i++) {
        octets[i] = (unsigned char)i;
    }
    assert_int_equal(crc32c(0, octets, sizeof(octets)), 0x46dd794eU);
}

static void test_every_length_as_defined(void **state)
{
    (void)state;
    uint32_t expected = 0;
    fill();
    for (size_t len = 0; len < sizeof(data); len++) {
        assert_int_equal(crc32c(0, data, len), expected);
        expected = next_by_bits(expected, data[len]);
    }
}

static void test_parts_make_the_whole(void **state)
{
    (void)state;
    fill();
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t at = 0; at <= sizeof(data); at += 7) {
        assert_int_equal(crc32c(crc32c(0, data, at), data + at, sizeof(data) - at), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_the_standard),
        cmocka_unit_test(test_every_length_as_defined),
        cmocka_unit_test(test_parts_make_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
