/* Guessing is slowed down, and nobody is locked out by what happens at another address (goal G21). */
#include "base/buf.h"
#include "base/mem.h"
#include "roles/throttle.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ANN   STR("ann@example.org")
#define BOB   STR("bob@example.org")
#define HOME  STR("192.0.2.1")
#define OTHER STR("192.0.2.2")

static struct throttle *make(void)
{
    static const unsigned char key[THROTTLE_KEY_SIZE] = {1, 2, 3};
    struct throttle *t = throttle_new(key);
    assert_non_null(t);
    return t;
}

static void fail_times(struct throttle *t, struct str client, struct str login, uint64_t now_ms, int times)
{
    for (int i = 0; i < times; i++) {
        throttle_failed(t, client, login, now_ms);
    }
}

static void test_a_client_with_a_login(void **state)
{
    (void)state;
    struct throttle *t = make();
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000), THROTTLE_NEW);
    fail_times(t, HOME, ANN, 1000, 1);
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000), THROTTLE_SUSPECT);
    assert_int_equal(throttle_ask(t, HOME, STR("ANN@Example.org"), 1000), THROTTLE_SUSPECT);
    assert_int_equal(throttle_ask(t, HOME, BOB, 1000), THROTTLE_NEW);
    assert_int_equal(throttle_ask(t, OTHER, ANN, 1000), THROTTLE_NEW);
    fail_times(t, HOME, ANN, 1000, THROTTLE_PAIR_MAX - 1);
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000), THROTTLE_REFUSE);
    assert_int_equal(throttle_ask(t, HOME, ANN, 60999), THROTTLE_REFUSE);
    assert_int_equal(throttle_ask(t, HOME, ANN, 61000), THROTTLE_NEW);
    throttle_free(t);
}

static void test_a_client(void **state)
{
    (void)state;
    struct throttle *t = make();
    for (int i = 0; i < THROTTLE_CLIENT_MAX; i++) {
        char name[] = {'u', (char)('a' + i % 26), (char)('a' + i / 26)};
        throttle_failed(t, HOME, str_make(name, 3), 1000);
    }
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000), THROTTLE_REFUSE);
    assert_int_equal(throttle_ask(t, OTHER, ANN, 1000), THROTTLE_NEW);
    throttle_free(t);
}

/* IPv6 clients have a network of addresses each. */
static void test_ipv6(void **state)
{
    (void)state;
    struct throttle *t = make();
    fail_times(t, STR("2001:db8:1:2::1"), ANN, 1000, THROTTLE_CLIENT_MAX);
    assert_int_equal(throttle_ask(t, STR("2001:db8:1:2:ffff::9"), BOB, 1000), THROTTLE_REFUSE);
    assert_int_equal(throttle_ask(t, STR("2001:db8:1:3::1"), BOB, 1000), THROTTLE_NEW);
    throttle_free(t);
}

static void test_the_loopback_is_no_client(void **state)
{
    (void)state;
    struct throttle *t = make();
    fail_times(t, STR("127.0.0.1"), ANN, 1000, 1000);
    fail_times(t, STR("::1"), ANN, 1000, 1000);
    assert_int_equal(throttle_ask(t, STR("127.0.0.1"), BOB, 1000), THROTTLE_NEW);
    assert_int_equal(throttle_ask(t, STR("::1"), BOB, 1000), THROTTLE_NEW);
    assert_int_equal(throttle_ask(t, STR("127.0.0.1"), ANN, 1000), THROTTLE_REFUSE);
    throttle_free(t);
}

/* 100,000 guesses from 10,000 addresses: the user waits behind no more than there is, and is never refused. */
static void test_nobody_is_locked_out(void **state)
{
    (void)state;
    struct throttle *t = make();
    throttle_succeeded(t, HOME, ANN, 500);
    for (int i = 0; i < 100000; i++) {
        char address[32];
        struct buf text = {.data = address, .cap = sizeof(address), .limit = sizeof(address)};
        buf_append_lit(&text, "198.18.");
        buf_append_u64(&text, (uint64_t)(i % 10000 / 250));
        buf_append_char(&text, '.');
        buf_append_u64(&text, (uint64_t)(i % 250));
        throttle_failed(t, buf_str(&text), i % 2 == 0 ? ANN : BOB, 1000);
    }
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000), THROTTLE_KNOWN);
    assert_int_equal(throttle_ask(t, OTHER, ANN, 1000), THROTTLE_SUSPECT);
    assert_int_equal(throttle_ask(t, OTHER, STR("carol@example.org"), 1000), THROTTLE_NEW);
    throttle_free(t);
}

/* Who has logged in before is not refused for the guesses of others behind the same address, but for their own. */
static void test_known_clients(void **state)
{
    (void)state;
    struct throttle *t = make();
    throttle_succeeded(t, HOME, ANN, 1000);
    fail_times(t, HOME, BOB, 2000, THROTTLE_CLIENT_MAX * 2);
    assert_int_equal(throttle_ask(t, HOME, ANN, 2000), THROTTLE_KNOWN);
    assert_int_equal(throttle_ask(t, HOME, STR("carol@example.org"), 2000), THROTTLE_REFUSE);
    fail_times(t, HOME, ANN, 2000, 4);
    assert_int_equal(throttle_ask(t, HOME, ANN, 2000), THROTTLE_SUSPECT);
    fail_times(t, HOME, ANN, 2000, THROTTLE_PAIR_MAX);
    assert_int_equal(throttle_ask(t, HOME, ANN, 2000), THROTTLE_REFUSE);
    assert_int_equal(throttle_ask(t, HOME, ANN, 63000), THROTTLE_KNOWN);
    assert_int_equal(throttle_ask(t, HOME, ANN, 1000 + 15ULL * 86400000), THROTTLE_NEW);
    throttle_free(t);
}

static void test_odd_names(void **state)
{
    (void)state;
    struct throttle *t = make();
    char text[2000];
    memset(text, 'x', sizeof(text));
    struct str long_name = str_make(text, sizeof(text));
    fail_times(t, long_name, long_name, 1000, THROTTLE_PAIR_MAX);
    assert_int_equal(throttle_ask(t, long_name, long_name, 1000), THROTTLE_REFUSE);
    fail_times(t, STR_EMPTY, STR_EMPTY, 1000, THROTTLE_PAIR_MAX);
    assert_int_equal(throttle_ask(t, STR_EMPTY, STR_EMPTY, 1000), THROTTLE_REFUSE);
    /* Where client and login meet cannot be moved. */
    fail_times(t, STR("ab"), STR("c"), 1000, THROTTLE_PAIR_MAX);
    assert_int_equal(throttle_ask(t, STR("a"), STR("bc"), 1000), THROTTLE_NEW);
    throttle_free(t);
}

static void test_without_memory(void **state)
{
    (void)state;
    static const unsigned char key[THROTTLE_KEY_SIZE];
    mem_fail_at(1, 1);
    assert_null(throttle_new(key));
    mem_fail_at(0, 0);
    throttle_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_with_a_login),
        cmocka_unit_test(test_a_client),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_the_loopback_is_no_client),
        cmocka_unit_test(test_nobody_is_locked_out),
        cmocka_unit_test(test_known_clients),
        cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
