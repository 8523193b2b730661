/*
 * One whole session of each kind through the SMTP server engine: every extension once, in the order in which a client uses
 * them. The other tests go into the corners.
 */
#include "base/mem.h"
#include "talk.h"

#define MX_CAPABILITIES                                                                                      \
    "250-mx.here.example\r\n250-PIPELINING\r\n250-SIZE "                                                     \
    "100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"                                             \
    "250-BINARYMIME\r\n250-DSN\r\n"
#define LIMITS "250-LIMITS RCPTMAX=5 MAILMAX=10\r\n250 ENHANCEDSTATUSCODES\r\n"

static void test_greeting(void **state)
{
    (void)state;
    struct driver d;
    driver_defaults(&d, SMTP_KIND_MX);
    smtp_server_init(&d.server, &d.settings, &d.budget, false, d.now_ms);
    assert_int_equal(SMTP_INPUT, smtp_server_start(&d.server, STR_EMPTY, &d.out));
    expect_out(&d, "220 mx.here.example ESMTP Veredus\r\n");
    driver_close(&d);
    driver_defaults(&d, SMTP_KIND_LMTP);
    smtp_server_init(&d.server, &d.settings, &d.budget, false, d.now_ms);
    assert_int_equal(SMTP_INPUT, smtp_server_start(&d.server, STR_EMPTY, &d.out));
    expect_out(&d, "220 mx.here.example LMTP Veredus\r\n");
    driver_close(&d);
}

static void test_mx_session(void **state)
{
    (void)state;
    int64_t live = mem_live();
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    talk(&d, "EHLO client.example", MX_CAPABILITIES "250-STARTTLS\r\n" LIMITS);
    talk(&d, "STARTTLS", "220 2.0.0 Begin TLS\r\n");
    expect_trace(&d, "TLS\n");
    talk(&d, "MAIL FROM:<a@away.example>", "503 5.5.1 Begin with EHLO or HELO\r\n");
    talk(&d, "EHLO client.example", MX_CAPABILITIES LIMITS);
    talk(&d, "MAIL FROM:<a@away.example> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=abc",
         "250 2.1.0 Sender OK\r\n");
    talk(&d, "RCPT TO:<bob@here.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@here.example",
         "250 2.1.5 Recipient OK\r\n");
    talk(&d, "RCPT TO:<unknown@here.example>",
         "550 5.1.1 No such user here; check the spelling of the address\r\n");
    talk(&d, "DATA", "354 End data with <CRLF>.<CRLF>\r\n");
    send_raw(&d, "Subject: hello\r\n\r\n..dot\r\n.\r\n", "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(
        &d, "RCPT bob@here.example\nRCPT unknown@here.example\n"
            "COMMIT from=<a@away.example> body=8BITMIME ret=HDRS envid=abc to=<bob@here.example> notify=6 "
            "orcpt=rfc822;bob@here.example 24 octets\n"
            "Subject: hello\r\n\r\n.dot\r\n\nEND\n");
    talk(&d, "QUIT", "221 2.0.0 Bye\r\n");
    assert_true(d.closed);
    driver_close(&d);
    assert_int_equal(live, mem_live());
    assert_int_equal(0, d.budget.used);
}

/* RFC 2920: a whole transaction in one packet, in every way to cut it in two. */
static void test_pipelining(void **state)
{
    (void)state;
    const struct str session =
        STR("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@here.example>\r\nRCPT TO:<b@away.example>\r\n"
            "DATA\r\nA: b\r\n\r\nx\r\n.\r\nMAIL FROM:<x@y.example>\r\nRSET\r\nQUIT\r\n");
    const struct str tail =
        STR("250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n550 5.7.1 Relay denied: this recipient is not "
            "here, and this "
            "port takes mail for local recipients only. To send elsewhere log in at port 587 with STARTTLS "
            "or port 465 "
            "with TLS from the first byte\r\n354 End data with <CRLF>.<CRLF>\r\n250 2.0.0 Stored as "
            "0000000000000000test\r\n250 2.1.0 Sender OK\r\n250 2.0.0 Reset: sender and recipients are "
            "forgotten\r\n"
            "221 2.0.0 Bye\r\n");
    for (size_t split = 0; split <= session.len; split++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        driver_feed_at(&d, session, split);
        assert_true(str_ends(buf_str(&d.out), tail));
        expect_trace(&d, "RCPT a@here.example\nRCPT b@away.example\n"
                         "COMMIT from=<> to=<a@here.example> 11 octets\nA: b\r\n\r\nx\r\n\nEND\n");
        assert_true(d.closed);
        driver_close(&d);
    }
}

static void test_chunking(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    send_raw(
        &d,
        "MAIL FROM:<a@away.example> BODY=BINARYMIME\r\nRCPT TO:<bob@here.example>\r\nBDAT 9\r\nA: b\r\n\r\n."
        "BDAT 5\r\n\r\n\0\n\r"
        "BDAT 0 LAST\r\n",
        "250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n250 2.0.0 Chunk OK\r\n250 2.0.0 Chunk OK\r\n"
        "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(&d,
                 "RCPT bob@here.example\nCOMMIT from=<a@away.example> body=BINARYMIME to=<bob@here.example> "
                 "14 octets\nA: b\r\n\r\n.\r\n\0\n\r\nEND\n");
    driver_close(&d);
}

static void test_submission_session(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_SUBMISSION, false);
    greet(&d);
    talk(&d, "MAIL FROM:<user@here.example>",
         "530 5.7.0 Begin TLS and log in first: STARTTLS, EHLO, AUTH, then MAIL. Mail between servers goes "
         "to port 25\r\n");
    talk(&d, "STARTTLS", "220 2.0.0 Begin TLS\r\n");
    talk(&d, "EHLO client.example", MX_CAPABILITIES "250-AUTH PLAIN LOGIN\r\n" LIMITS);
    talk(&d, "AUTH LOGIN", "334 VXNlcm5hbWU6\r\n");
    talk(&d, "dXNlcg==", "334 UGFzc3dvcmQ6\r\n");
    talk(&d, "c2VjcmV0", "235 2.7.0 Logged in\r\n");
    expect_trace(&d, "TLS\nLOGIN user\n");
    talk(&d, "MAIL FROM:<user@here.example>", "250 2.1.0 Sender OK\r\n");
    talk(&d, "RCPT TO:<z@away.example>", "250 2.1.5 Recipient OK\r\n");
    talk(&d, "DATA", "354 End data with <CRLF>.<CRLF>\r\n");
    send_raw(&d, "From: Me <user@here.example>\r\nSender: alias@here.example\r\n\r\nx\r\n.\r\n",
             "250 2.0.0 Stored as 0000000000000000test\r\n");
    expect_trace(
        &d,
        "SENDER user@here.example\nRCPT z@away.example\nSENDER user@here.example\nSENDER alias@here.example\n"
        "COMMIT from=<user@here.example> to=<z@away.example> 63 octets\n"
        "From: Me <user@here.example>\r\nSender: alias@here.example\r\n\r\nx\r\n\nEND\n");
    talk(&d, "QUIT", "221 2.0.0 Bye\r\n");
    driver_close(&d);
}

/* RFC 2033, section 4.2: after the data one reply for each accepted recipient. */
static void test_lmtp_session(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_LMTP, false);
    talk(&d, "LHLO client.example", MX_CAPABILITIES "250-STARTTLS\r\n" LIMITS);
    talk(&d, "MAIL FROM:<a@away.example>", "250 2.1.0 Sender OK\r\n");
    talk(&d, "RCPT TO:<a@here.example>", "250 2.1.5 Recipient OK\r\n");
    talk(&d, "RCPT TO:<full@here.example>",
         "552 5.2.2 The recipient's mailbox is full, or too full for this message\r\n");
    talk(&d, "RCPT TO:<b@here.example>", "250 2.1.5 Recipient OK\r\n");
    talk(&d, "DATA", "354 End data with <CRLF>.<CRLF>\r\n");
    send_raw(&d, "x: y\r\n.\r\n",
             "250 2.0.0 Stored as 0000000000000000test\r\n250 2.0.0 Stored as 0000000000000000test\r\n");
    talk(&d, "QUIT", "221 2.0.0 Bye\r\n");
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),           cmocka_unit_test(test_mx_session),
        cmocka_unit_test(test_pipelining),         cmocka_unit_test(test_chunking),
        cmocka_unit_test(test_submission_session), cmocka_unit_test(test_lmtp_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
