/* Where mail goes: MX, null MX, loops, implicit MX, routes, and answers that lie (RFC 5321, section 5.1; RFC 7505). */
#include "queue/plan.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct buf entries;

static struct resolve_mx_answer mx(enum resolve_status status)
{
    return (struct resolve_mx_answer){
        .status = (uint8_t)status, .hosts = buf_str(&entries), .cause = STR_EMPTY};
}

static void add_mx(uint16_t preference, const char *name)
{
    struct str text = str_of(name);
    buf_append_le16(&entries, preference);
    buf_append_char(&entries, (char)text.len);
    buf_append_str(&entries, text);
}

static void add_address(const void *bytes, size_t len)
{
    buf_append_char(&entries, (char)len);
    buf_append(&entries, bytes, len);
}

static int clear(void **state)
{
    (void)state;
    buf_free(&entries);
    entries = buf_make(RESOLVE_HOSTS_MAX * 258);
    return 0;
}

static int done(void **state)
{
    (void)state;
    buf_free(&entries);
    return 0;
}

static struct plan_self self = {.name = {"me.example", 10},
                                .address_count = 1,
                                .addresses = {{.len = 4, .bytes = {192, 0, 2, 1}}},
                                .port_count = 1,
                                .ports = {25}};

static void expect_hosts(const struct plan *plan, const char *const *names, size_t count)
{
    assert_int_equal(plan->verdict, PLAN_READY);
    assert_int_equal(plan->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(str_equal(str_make(plan->hosts[i].name, plan->hosts[i].name_len), str_of(names[i])));
    }
}

static void expect_reason(const struct plan *plan, enum plan_verdict verdict, unsigned code,
                          const char *enhanced)
{
    assert_int_equal(plan->verdict, verdict);
    assert_int_equal(plan->count, 0);
    assert_int_equal(plan->reason.code, code);
    assert_string_equal(plan->reason.enhanced, enhanced);
}

static void test_hosts_go_by_preference(void **state)
{
    (void)state;
    add_mx(300, "c.example");
    add_mx(10, "a.example");
    add_mx(20, "b.example");
    static const char *const names[] = {"a.example", "b.example", "c.example"};
    struct plan plan;
    for (uint64_t random = 0; random < 50; random++) {
        struct resolve_mx_answer answer = mx(RESOLVE_OK);
        plan_from_mx(&answer, STR("d.example"), &self, 25, random, &plan);
        expect_hosts(&plan, names, 3);
        assert_int_equal(plan.hosts[2].preference, 300);
        assert_false(plan.implicit);
    }
}

static void test_equal_hosts_are_shuffled_evenly(void **state)
{
    (void)state;
    add_mx(10, "a.example");
    add_mx(10, "b.example");
    add_mx(10, "c.example");
    add_mx(5, "first.example");
    unsigned first[3] = {0};
    for (uint64_t random = 0; random < 3000; random++) {
        struct plan plan;
        struct resolve_mx_answer answer = mx(RESOLVE_OK);
        plan_from_mx(&answer, STR("d.example"), &self, 25, random * 0x2545f4914f6cdd1dULL, &plan);
        assert_int_equal(plan.count, 4);
        assert_int_equal(plan.hosts[0].name[0], 'f');
        first[plan.hosts[1].name[0] - 'a']++;
    }
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(first[i], 850, 1150);
    }
}

static void test_null_mx_takes_no_mail(void **state)
{
    (void)state;
    struct plan plan;
    add_mx(0, "");
    struct resolve_mx_answer answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_FAILED, 556, "5.1.10");
    /* Beside others it means nothing. */
    add_mx(10, "a.example");
    answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    static const char *const names[] = {"a.example"};
    expect_hosts(&plan, names, 1);
}

static void test_without_mx_the_domain_itself_is_the_host(void **state)
{
    (void)state;
    struct plan plan;
    struct resolve_mx_answer answer = mx(RESOLVE_NO_DATA);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    static const char *const names[] = {"d.example"};
    expect_hosts(&plan, names, 1);
    assert_true(plan.implicit);
    plan_from_mx(&answer, STR("me.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_FAILED, 554, "5.4.6");
}

static void test_dns_failures_are_told_apart(void **state)
{
    (void)state;
    struct plan plan;
    struct resolve_mx_answer answer = mx(RESOLVE_NO_DOMAIN);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_FAILED, 550, "5.1.2");
    answer = mx(RESOLVE_TEMPORARY);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_DEFERRED, 451, "4.4.3");
    answer = mx(RESOLVE_BOGUS);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_DEFERRED, 451, "4.4.3");
    assert_non_null(strstr(plan.reason.text, "DNSSEC"));
}

static void test_our_own_name_cuts_the_list(void **state)
{
    (void)state;
    add_mx(10, "a.example");
    add_mx(20, "me.example");
    add_mx(20, "b.example");
    add_mx(30, "c.example");
    static const char *const names[] = {"a.example"};
    struct plan plan;
    for (uint64_t random = 0; random < 20; random++) {
        struct resolve_mx_answer answer = mx(RESOLVE_OK);
        plan_from_mx(&answer, STR("d.example"), &self, 25, random, &plan);
        expect_hosts(&plan, names, 1);
    }
    /* Another port is another server. */
    struct resolve_mx_answer answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 2525, 3, &plan);
    assert_int_equal(plan.count, 4);
    clear(NULL);
    add_mx(10, "me.example");
    add_mx(20, "a.example");
    answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 3, &plan);
    expect_reason(&plan, PLAN_FAILED, 554, "5.4.6");
}

static void test_a_lying_answer_does_no_harm(void **state)
{
    (void)state;
    struct plan plan;
    add_mx(10, "a.example");
    struct str whole = buf_str(&entries);
    for (size_t len = 1; len < whole.len; len++) {
        struct resolve_mx_answer answer = {.status = RESOLVE_OK, .hosts = str_sub(whole, 0, len)};
        plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
        expect_reason(&plan, PLAN_DEFERRED, 451, "4.4.3");
    }
    struct resolve_mx_answer none = {.status = RESOLVE_OK, .hosts = STR_EMPTY};
    plan_from_mx(&none, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_FAILED, 550, "5.4.4");
    clear(NULL);
    add_mx(1, "bad name");
    add_mx(2, "a..example");
    add_mx(3, ".example");
    add_mx(4, "x\r\nRSET");
    add_mx(5, "UPPER.example");
    struct resolve_mx_answer answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    expect_reason(&plan, PLAN_FAILED, 550, "5.4.4");
    for (int i = 0; i < 40; i++) {
        add_mx((uint16_t)i, "ok.example");
    }
    answer = mx(RESOLVE_OK);
    plan_from_mx(&answer, STR("d.example"), &self, 25, 1, &plan);
    assert_int_equal(plan.count, PLAN_HOSTS_MAX);
}

static void test_literals_and_routes(void **state)
{
    (void)state;
    struct plan plan;
    plan_from_literal(STR("[192.0.2.7]"), &self, 25, &plan);
    assert_int_equal(plan.verdict, PLAN_READY);
    assert_true(plan.hosts[0].literal);
    assert_int_equal(plan.hosts[0].address.len, 4);
    assert_int_equal(plan.hosts[0].address.bytes[3], 7);
    plan_from_literal(STR("[IPv6:2001:db8::1]"), &self, 25, &plan);
    assert_int_equal(plan.hosts[0].address.len, 16);
    plan_from_literal(STR("[192.0.2.1]"), &self, 25, &plan);
    expect_reason(&plan, PLAN_FAILED, 554, "5.4.6");
    plan_from_literal(STR("[192.0.2]"), &self, 25, &plan);
    expect_reason(&plan, PLAN_FAILED, 550, "5.1.2");

    static const struct {
        const char *host;
        const char *name;
        size_t address_len;
    } routes[] = {{"Smart.Example", "smart.example", 0},
                  {"192.0.2.9", "192.0.2.9", 4},
                  {"[192.0.2.9]", "[192.0.2.9]", 4},
                  {"2001:db8::9", "2001:db8::9", 16},
                  {"::1", "::1", 16}};
    for (size_t i = 0; i < 5; i++) {
        struct config_route route = {.host = str_of(routes[i].host), .port = 25};
        plan_from_route(&route, &plan);
        expect_hosts(&plan, &routes[i].name, 1);
        assert_int_equal(plan.hosts[0].literal, routes[i].address_len > 0);
        assert_int_equal(plan.hosts[0].address.len, routes[i].address_len);
    }
    struct config_route route = {.host = STR("no host!"), .port = 25};
    plan_from_route(&route, &plan);
    assert_int_equal(plan.verdict, PLAN_FAILED);
}

static struct plan_addresses addresses_of(enum resolve_status status, bool implicit,
                                          const struct plan_self *own)
{
    struct resolve_host_answer answer = {
        .status = (uint8_t)status, .addresses = buf_str(&entries), .cause = STR_EMPTY};
    struct plan_addresses addresses;
    plan_addresses_from(&answer, implicit, own, 25, 12345, &addresses);
    return addresses;
}

static void test_addresses_come_in_turns(void **state)
{
    (void)state;
    static const unsigned char v4[4][4] = {
        {192, 0, 2, 11}, {192, 0, 2, 12}, {192, 0, 2, 13}, {192, 0, 2, 14}};
    static const unsigned char v6[2][16] = {{0x20, 1, 0xd, 0xb8, [15] = 1}, {0x20, 1, 0xd, 0xb8, [15] = 2}};
    for (size_t i = 0; i < 4; i++) {
        add_address(v4[i], 4);
    }
    add_address(v6[0], 16);
    add_address(v6[1], 16);
    struct plan_addresses addresses = addresses_of(RESOLVE_OK, false, &self);
    assert_int_equal(addresses.verdict, PLAN_READY);
    assert_int_equal(addresses.count, 6);
    static const uint8_t lens[] = {16, 4, 16, 4, 4, 4};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(addresses.list[i].len, lens[i]);
    }
}

static void test_addresses_that_no_server_has_are_left_out(void **state)
{
    (void)state;
    static const unsigned char bad4[][4] = {{0, 0, 0, 0}, {0, 1, 2, 3}, {224, 0, 0, 1}, {255, 255, 255, 255}};
    static const unsigned char bad6[][16] = {{0}, {0xff, 2, [15] = 1}, {[10] = 0xff, 0xff, 192, 0, 2, 1}};
    for (size_t i = 0; i < 4; i++) {
        add_address(bad4[i], 4);
    }
    for (size_t i = 0; i < 3; i++) {
        add_address(bad6[i], 16);
    }
    struct plan_addresses addresses = addresses_of(RESOLVE_OK, false, &self);
    assert_int_equal(addresses.verdict, PLAN_FAILED);
    assert_string_equal(addresses.reason.enhanced, "5.4.4");
}

static void test_our_own_address_is_a_loop(void **state)
{
    (void)state;
    static const unsigned char own[4] = {192, 0, 2, 1};
    add_address(own, 4);
    struct plan_addresses addresses = addresses_of(RESOLVE_OK, false, &self);
    assert_true(addresses.self);
    assert_int_equal(addresses.verdict, PLAN_FAILED);
    assert_string_equal(addresses.reason.enhanced, "5.4.6");
    addresses = addresses_of(RESOLVE_OK, false, NULL);
    assert_int_equal(addresses.verdict, PLAN_READY);
    /* The list is cut there. */
    struct plan plan = {.count = 3,
                        .hosts = {{.preference = 10, .name_len = 1, .name = "a"},
                                  {.preference = 20, .name_len = 1, .name = "b"},
                                  {.preference = 20, .name_len = 1, .name = "c"}}};
    plan_cut_self(&plan, 2);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.verdict, PLAN_READY);
    plan_cut_self(&plan, 0);
    expect_reason(&plan, PLAN_FAILED, 554, "5.4.6");
}

static void test_address_failures_are_told_apart(void **state)
{
    (void)state;
    struct plan_addresses addresses = addresses_of(RESOLVE_NO_DOMAIN, false, &self);
    assert_int_equal(addresses.verdict, PLAN_FAILED);
    assert_string_equal(addresses.reason.enhanced, "5.4.4");
    addresses = addresses_of(RESOLVE_NO_DATA, true, &self);
    assert_int_equal(addresses.verdict, PLAN_FAILED);
    assert_non_null(strstr(addresses.reason.text, "neither mail servers nor addresses"));
    addresses = addresses_of(RESOLVE_TEMPORARY, false, &self);
    assert_int_equal(addresses.verdict, PLAN_DEFERRED);
    addresses = addresses_of(RESOLVE_BOGUS, false, &self);
    assert_int_equal(addresses.verdict, PLAN_DEFERRED);
    buf_append_lit(&entries, "\x04\x01");
    addresses = addresses_of(RESOLVE_OK, false, &self);
    assert_int_equal(addresses.verdict, PLAN_DEFERRED);
    clear(NULL);
    buf_append_lit(&entries, "\x05xxxxx");
    addresses = addresses_of(RESOLVE_OK, false, &self);
    assert_int_equal(addresses.verdict, PLAN_DEFERRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hosts_go_by_preference, clear, done),
        cmocka_unit_test_setup_teardown(test_equal_hosts_are_shuffled_evenly, clear, done),
        cmocka_unit_test_setup_teardown(test_null_mx_takes_no_mail, clear, done),
        cmocka_unit_test_setup_teardown(test_without_mx_the_domain_itself_is_the_host, clear, done),
        cmocka_unit_test_setup_teardown(test_dns_failures_are_told_apart, clear, done),
        cmocka_unit_test_setup_teardown(test_our_own_name_cuts_the_list, clear, done),
        cmocka_unit_test_setup_teardown(test_a_lying_answer_does_no_harm, clear, done),
        cmocka_unit_test_setup_teardown(test_literals_and_routes, clear, done),
        cmocka_unit_test_setup_teardown(test_addresses_come_in_turns, clear, done),
        cmocka_unit_test_setup_teardown(test_addresses_that_no_server_has_are_left_out, clear, done),
        cmocka_unit_test_setup_teardown(test_our_own_address_is_a_loop, clear, done),
        cmocka_unit_test_setup_teardown(test_address_failures_are_told_apart, clear, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
