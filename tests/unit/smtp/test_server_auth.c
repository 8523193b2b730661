/*
 * AUTH in the SMTP server engine (RFC 4954): PLAIN (4616) and LOGIN, with and without initial response, cancelled, malformed,
 * too long; and what follows from a login or from failing to log in.
 */
#include "base/codec.h"
#include "base/mem.h"
#include "talk.h"

#define GOOD      "235 2.7.0 Logged in\r\n"
#define WRONG     "535 5.7.8 User name or password is wrong\r\n"
#define MALFORMED "501 5.5.2 That is not a response of this AUTH mechanism\r\n"
#define NO_BASE64 "501 5.5.2 That is not base64\r\n"
#define CANCELLED "501 5.7.0 Login cancelled\r\n"
#define TOO_LONG  "500 5.5.6 This AUTH response is too long\r\n"
#define USERNAME  "334 VXNlcm5hbWU6\r\n"
#define PASSWORD  "334 UGFzc3dvcmQ6\r\n"
#define FLOOD     "421 4.7.0 Too many failed logins; try again later\r\n"
#define THREE     "421 4.7.0 Too many failed logins in this session\r\n"

/* Base64: \0user\0secret AHVzZXIAc2VjcmV0, user dXNlcg==, secret c2VjcmV0 */
struct exchange {
    const char *name;
    const char *lines; /* behind EHLO */
    const char *replies;
    const char *effects;
    bool logged_in;
};

static const struct exchange exchanges[] = {
    {"PLAIN at once", "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", GOOD, "LOGIN user\n", true},
    {"PLAIN at once, more blanks", "AUTH  PLAIN  AHVzZXIAc2VjcmV0 \r\n", GOOD, "LOGIN user\n", true},
    {"plain in small letters", "auth plain AHVzZXIAc2VjcmV0\r\n", GOOD, "LOGIN user\n", true},
    {"PLAIN in two steps", "AUTH PLAIN\r\nAHVzZXIAc2VjcmV0\r\n", "334 \r\n" GOOD, "LOGIN user\n", true},
    {"PLAIN with an authorization id", "AUTH PLAIN dXNlcgB1c2VyAHNlY3JldA==\r\n", GOOD, "LOGIN user\n", true},
    {"PLAIN empty", "AUTH PLAIN =\r\n", MALFORMED, "", false},
    {"PLAIN empty in two steps", "AUTH PLAIN\r\n\r\n", "334 \r\n" MALFORMED, "", false},
    {"PLAIN without NUL", "AUTH PLAIN dXNlcg==\r\n", MALFORMED, "", false},
    {"PLAIN with one NUL", "AUTH PLAIN dXNlcgBzZWNyZXQ=\r\n", MALFORMED, "", false},
    {"PLAIN with three NULs", "AUTH PLAIN AHVzZXIAc2VjcmV0AHg=\r\n", MALFORMED, "", false},
    {"PLAIN without a name", "AUTH PLAIN AABzZWNyZXQ=\r\n", MALFORMED, "", false},
    {"PLAIN without a password", "AUTH PLAIN AHVzZXIA\r\n", MALFORMED, "", false},
    {"PLAIN with a name that is no UTF-8", "AUTH PLAIN AP8Ac2VjcmV0\r\n", MALFORMED, "", false},
    {"PLAIN with a control character", "AUTH PLAIN AHVzCmVyAHNlY3JldA==\r\n", MALFORMED, "", false},
    {"PLAIN with bad base64", "AUTH PLAIN !!!!\r\n", NO_BASE64, "", false},
    {"PLAIN with half a group", "AUTH PLAIN AHVzZXIAc2VjcmV\r\n", NO_BASE64, "", false},
    {"PLAIN with bits left over", "AUTH PLAIN dXNlch==\r\n", NO_BASE64, "", false},
    {"PLAIN with padding inside", "AUTH PLAIN AHVz=XIAc2VjcmV0\r\n", NO_BASE64, "", false},
    {"PLAIN with a blank inside", "AUTH PLAIN AHVzZXIA c2VjcmV0\r\n", NO_BASE64, "", false},
    {"PLAIN, wrong password", "AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n", WRONG, "LOGIN user\n", false},
    {"PLAIN cancelled", "AUTH PLAIN\r\n*\r\n", "334 \r\n" CANCELLED, "", false},
    {"PLAIN, a star that is no response", "AUTH PLAIN\r\n**\r\n", "334 \r\n" NO_BASE64, "", false},
    {"LOGIN", "AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\n", USERNAME PASSWORD GOOD, "LOGIN user\n", true},
    {"LOGIN with the name at once", "AUTH LOGIN dXNlcg==\r\nc2VjcmV0\r\n", PASSWORD GOOD, "LOGIN user\n",
     true},
    {"LOGIN, empty name at once", "AUTH LOGIN =\r\n", MALFORMED, "", false},
    {"LOGIN, empty name", "AUTH LOGIN\r\n\r\n", USERNAME MALFORMED, "", false},
    {"LOGIN, empty password", "AUTH LOGIN dXNlcg==\r\n\r\n", PASSWORD MALFORMED, "", false},
    {"LOGIN cancelled at the name", "AUTH LOGIN\r\n*\r\n", USERNAME CANCELLED, "", false},
    {"LOGIN cancelled at the password", "AUTH LOGIN\r\ndXNlcg==\r\n*\r\n", USERNAME PASSWORD CANCELLED, "",
     false},
    {"LOGIN with bad base64", "AUTH LOGIN\r\ndXNlcg\r\n", USERNAME NO_BASE64, "", false},
    {"LOGIN, wrong password", "AUTH LOGIN dXNlcg==\r\nd3Jvbmc=\r\n", PASSWORD WRONG, "LOGIN user\n", false},
    {"after a cancelled one", "AUTH LOGIN\r\n*\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n", USERNAME CANCELLED GOOD,
     "LOGIN user\n", true},
    {"after a wrong one", "AUTH PLAIN AHVzZXIAd3Jvbmc=\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n", WRONG GOOD,
     "LOGIN user\nLOGIN user\n", true},
    {"a command is no response", "AUTH PLAIN\r\nQUIT\r\n", "334 \r\n" MALFORMED, "",
     false}, /* it is base64, though */
    {"checks fail for now", "AUTH PLAIN AGJ1c3kAc2VjcmV0\r\n",
     "454 4.7.0 Passwords cannot be checked now; try again later\r\n", "LOGIN busy\n", false},
    {"disabled", "AUTH PLAIN AGdvbmUAc2VjcmV0\r\n",
     "525 5.7.13 This account is disabled; ask your postmaster\r\n", "LOGIN gone\n", false},
    {"throttled", "AUTH PLAIN AGZsb29kAHNlY3JldA==\r\n", FLOOD, "LOGIN flood\n", false},
};

static void test_exchanges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
        const struct exchange *e = &exchanges[i];
        struct str lines = str_of(e->lines);
        for (size_t step = 0; step < 12; step++) {
            int64_t live = mem_live();
            struct driver d;
            driver_open(&d, SMTP_KIND_SUBMISSION, true);
            greet(&d);
            driver_feed_by(&d, lines, step);
            expect_out_at(&d, str_of(e->replies), e->name, (int)step);
            expect_trace_at(&d, str_of(e->effects), e->name, (int)step);
            assert_true(d.server.authenticated == e->logged_in);
            assert_null(d.server.sasl);
            assert_int_equal(0, d.server.line.cap); /* it held a password */
            driver_close(&d);
            assert_int_equal(live, mem_live());
        }
    }
}

static void append_response(struct buf *out, size_t octets)
{
    char area[20000];
    memset(area, 'x', sizeof(area));
    base64_encode(str_make(area, octets), out);
    buf_append_lit(out, "\r\n");
}

/* RFC 4954, section 4: lines of up to 12,288 octets; what is decoded may have 4,096. */
static void test_long_responses(void **state)
{
    (void)state;
    static const size_t lengths[] = {4095, 4099, 9000, 9210, 9219, 15000};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (int at_once = 0; at_once < 2; at_once++) {
            for (size_t step = 0; step <= 3000; step += 1000) {
                struct driver d;
                struct buf text = buf_make(30000);
                driver_open(&d, SMTP_KIND_SUBMISSION, true);
                greet(&d);
                buf_append_str(&text, at_once ? STR("AUTH PLAIN ") : STR("AUTH PLAIN\r\n"));
                append_response(&text, lengths[i]);
                size_t line = text.len - (at_once ? 0 : 12);
                driver_feed_by(&d, buf_str(&text), step);
                if (!at_once) {
                    assert_true(str_starts(buf_str(&d.out), STR("334 \r\n")));
                    buf_consume(&d.out, 6);
                }
                if (lengths[i] < 4096) {
                    expect_out(&d, MALFORMED);
                } else if (at_once && line > 12288) {
                    expect_out(&d, "500 5.5.2 Line too long: a command has at most 2048 octets\r\n");
                } else {
                    expect_out(&d, TOO_LONG);
                }
                talk(&d, "AUTH PLAIN AHVzZXIAc2VjcmV0", GOOD);
                buf_free(&text);
                driver_close(&d);
            }
        }
    }
}

static void test_three_failures_end_the_session(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_SUBMISSION, true);
    greet(&d);
    talk(&d, "AUTH PLAIN AHVzZXIAd3Jvbmc=", WRONG);
    talk(&d, "AUTH PLAIN AHVzZXIAd3Jvbmc=", WRONG);
    talk(&d, "AUTH PLAIN AHVzZXIAd3Jvbmc=", WRONG THREE);
    assert_true(d.closed);
    assert_string_equal("too many failed logins", d.server.close_reason);
    driver_close(&d);
    /* A server that cannot check now is not the client's fault. */
    driver_open(&d, SMTP_KIND_SUBMISSION, true);
    greet(&d);
    for (int i = 0; i < 10; i++) {
        talk(&d, "AUTH PLAIN AGJ1c3kAc2VjcmV0",
             "454 4.7.0 Passwords cannot be checked now; try again later\r\n");
    }
    assert_false(d.closed);
    driver_close(&d);
}

/* A login outlives transactions, RSET and EHLO. */
static void test_login_stays(void **state)
{
    (void)state;
    struct driver d;
    open_logged_in(&d);
    talk(&d, "RSET", "250 2.0.0 Reset: sender and recipients are forgotten\r\n");
    greet(&d);
    assert_true(d.server.authenticated);
    assert_true(str_equal(buf_str(&d.server.login), STR("user@here.example")));
    assert_true(str_equal(buf_str(&d.server.grant), STR("grant")));
    talk(&d, "MAIL FROM:<user@here.example>", "250 2.1.0 Sender OK\r\n");
    talk(&d, "RCPT TO:<z@away.example>", "250 2.1.5 Recipient OK\r\n");
    driver_close(&d);
}

static void test_answers_that_nobody_asked_for(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_SUBMISSION, true);
    greet(&d);
    smtp_server_verified(&d.server, SMTP_AUTH_GOOD, STR("user"), STR("grant"), &d.out);
    smtp_server_sender(&d.server, SMTP_SENDER_ALLOWED, &d.out);
    smtp_server_recipient(&d.server, SMTP_RECIPIENT_LOCAL, &d.out);
    smtp_server_committed(&d.server, SMTP_COMMITTED, STR("x"), &d.out);
    expect_out(&d, "");
    assert_false(d.server.authenticated);
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_long_responses),
        cmocka_unit_test(test_three_failures_end_the_session),
        cmocka_unit_test(test_login_stays),
        cmocka_unit_test(test_answers_that_nobody_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
