/*
 * STARTTLS (RFC 3207; goal G16): what came in clear before the handshake has no effect behind it, in whatever pieces it
 * comes, and the state begins anew. Each case is told apart by the commands that are injected, where the input is cut,
 * and whether the role around the engine forgets to throw input away.
 */
#include "talk.h"

#define NEED_EHLO "503 5.5.1 Begin with EHLO or HELO\r\n"
#define BEGIN_TLS "220 2.0.0 Begin TLS\r\n"

static const char *const injected[] = {
    "",
    "EHLO attacker\r\n",
    "NOOP\r\n",
    "RSET\r\n",
    "QUIT\r\n",
    "MAIL FROM:<evil@away.example>\r\n",
    "EHLO attacker\r\nMAIL FROM:<evil@away.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n",
    "EHLO attacker\r\nMAIL FROM:<evil@away.example>\r\nRCPT TO:<b@here.example>\r\nBDAT 5 LAST\r\nx: y\n",
    "EHLO attacker\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n",
    "AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\n",
    "EHLO attacker\r\nAUTH LOGIN\r\n",
    "STARTTLS\r\n",
    "BDAT 1000\r\n",
    "MAIL FROM:<evil@away.ex", /* cut off in a command */
    "\r\n",
    "\n",
    "\r",
    "NOOP\n",
    "HELP\r\nHELP\r\nHELP\r\n",
    "LHLO attacker\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "XYZZY\r\n",
    "\0",
};

enum { INJECTED = sizeof(injected) / sizeof(injected[0]) };

/* After the handshake a new session: nothing of what came in clear is left. */
static void check_anew(struct driver *d, const char *what)
{
    expect_out_at(d, STR(BEGIN_TLS), what, __LINE__);
    expect_trace_at(d, STR("TLS\n"), what, __LINE__);
    assert_true(d->server.tls);
    assert_false(d->server.esmtp);
    assert_false(d->server.authenticated);
    assert_null(d->server.transaction);
    assert_int_equal(0, d->server.helo.len);
    assert_int_equal(0, d->server.line.len);
    assert_int_equal(0, d->budget.used);
    talk(d, "MAIL FROM:<a@away.example>", NEED_EHLO);
    talk(d, "RCPT TO:<b@here.example>", NEED_EHLO);
    talk(d, "DATA", NEED_EHLO);
    talk(d, "AUTH PLAIN AHVzZXIAc2VjcmV0", NEED_EHLO);
    talk(d, "STARTTLS", NEED_EHLO);
    driver_feed(d, STR("EHLO c\r\n"));
    assert_true(str_find_str(buf_str(&d->out), STR("STARTTLS")) == SIZE_MAX);
    buf_clear(&d->out);
    talk(d, "STARTTLS", "503 5.5.1 TLS is in use already\r\n");
}

static unsigned inject(enum smtp_server_kind kind, const char *text, size_t split, bool keep_input,
                       bool with_mail)
{
    struct driver d;
    char area[512];
    struct buf input = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    driver_open(&d, kind, false);
    d.keep_input_after_tls = keep_input;
    greet(&d);
    if (with_mail) {
        driver_feed(&d, STR("MAIL FROM:<first@away.example>\r\nRCPT TO:<b@here.example>\r\nBDAT 3\r\nabc"));
        buf_clear(&d.out);
        buf_clear(&d.trace);
    }
    buf_append_lit(&input, "STARTTLS\r\n");
    size_t line = input.len;
    buf_append(&input, text, strlen(text) == 0 && text == injected[INJECTED - 1] ? 1 : strlen(text));
    /* In the packet of STARTTLS; what comes in a later one is the handshake's and no business of the engine's. */
    driver_feed(&d, str_sub(buf_str(&input), 0, split));
    driver_feed(&d, str_from(buf_str(&input), split));
    assert_true(split <= line);
    check_anew(&d, text);
    driver_close(&d);
    return 1;
}

static void test_injection(void **state)
{
    (void)state;
    unsigned cases = 0;
    for (size_t i = 0; i < INJECTED; i++) {
        for (size_t split = 0; split <= 9; split++) {
            cases += inject(SMTP_KIND_MX, injected[i], split, false, false);
            cases += inject(SMTP_KIND_MX, injected[i], split, true, false);
            cases += inject(SMTP_KIND_MX, injected[i], split, false, true);
            cases += inject(SMTP_KIND_SUBMISSION, injected[i], split, true, false);
        }
    }
    assert_true(cases >= 100);
}

/* STARTTLS is not the last command of the first packet: everything before it is answered, nothing behind it is. */
static void test_pipelined_around(void **state)
{
    (void)state;
    const struct str before = STR("MAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\nNOOP\r\n");
    const struct str all =
        STR("MAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\nNOOP\r\nSTARTTLS\r\n"
            "EHLO x\r\nMAIL FROM:<evil@away.example>\r\n");
    for (size_t split = 0; split < before.len + 10; split++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed_at(&d, all, split);
        expect_out(&d, "250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n250 2.0.0 OK\r\n" BEGIN_TLS);
        expect_trace(&d, "RCPT b@here.example\nTLS\n");
        talk(&d, "RCPT TO:<c@here.example>", NEED_EHLO);
        driver_close(&d);
    }
}

static void test_refused_starttls_changes_nothing(void **state)
{
    (void)state;
    static const char *const arguments[] = {"x", "TLS1.3", "<>", "STARTTLS", "\x16\x03\x01"};
    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        talk(&d, "MAIL FROM:<a@away.example>", "250 2.1.0 Sender OK\r\n");
        driver_feed(&d, STR("STARTTLS "));
        driver_feed(&d, str_of(arguments[i]));
        driver_feed(&d, STR("\r\n"));
        expect_out(&d, "501 5.5.4 STARTTLS takes no parameters\r\n");
        assert_false(d.server.tls);
        talk(&d, "RCPT TO:<b@here.example>", "250 2.1.5 Recipient OK\r\n");
        driver_close(&d);
    }
}

static void test_twice(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    send_raw(&d, "STARTTLS\r\nSTARTTLS\r\n", BEGIN_TLS);
    greet(&d);
    talk(&d, "STARTTLS", "503 5.5.1 TLS is in use already\r\n");
    expect_trace(&d, "TLS\n");
    driver_close(&d);
}

/* The role shakes hands before anything else: what it has left over is not the engine's. */
static void test_waits_for_the_handshake(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    struct str input = STR("STARTTLS\r\nNOOP\r\n");
    assert_int_equal(SMTP_START_TLS, smtp_server_run(&d.server, 5, &input, &d.out));
    assert_int_equal(0, input.len);
    input = STR("NOOP\r\n");
    assert_int_equal(SMTP_START_TLS, smtp_server_run(&d.server, 5, &input, &d.out));
    assert_int_equal(6, input.len); /* untouched */
    expect_out(&d, BEGIN_TLS);
    smtp_server_tls_started(&d.server, 6);
    assert_int_equal(SMTP_INPUT, smtp_server_run(&d.server, 6, &input, &d.out));
    expect_out(&d, "250 2.0.0 OK\r\n");
    driver_close(&d);
}

/* A login or a SASL exchange cannot be under way in clear; but errors and failed logins of the session still count. */
static void test_counts_stay(void **state)
{
    (void)state;
    struct driver d;
    driver_defaults(&d, SMTP_KIND_SUBMISSION);
    d.settings.errors = 3;
    driver_begin(&d, false);
    greet(&d);
    driver_feed(&d, STR("X\r\nY\r\nSTARTTLS\r\n"));
    buf_clear(&d.out);
    driver_feed(&d, STR("Z\r\n"));
    assert_true(d.closed);
    assert_true(str_find_str(buf_str(&d.out), STR("421 4.7.0 Too many errors")) != SIZE_MAX);
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_pipelined_around),
        cmocka_unit_test(test_refused_starttls_changes_nothing),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_waits_for_the_handshake),
        cmocka_unit_test(test_counts_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
