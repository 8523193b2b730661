/* Delivery status notifications (RFC 3461, 3464, 6522, 6533): when, what, and that nothing from outside breaks their form. */
#include "base/mem.h"
#include "message/dsn.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ORIGINAL "Received: from x\r\nFrom: a@b.example\r\nSubject: hello\r\n\r\nbody\r\n"

static struct dsn_recipient failed_recipient(void)
{
    return (struct dsn_recipient){.address = STR("r@c.example"),
                                  .orcpt = STR("rfc822;R+2Btag@c.example"),
                                  .action = DSN_FAILED,
                                  .code = 550,
                                  .enhanced = STR("5.1.1"),
                                  .text = STR("No such user"),
                                  .host = STR("mx.c.example"),
                                  .host_address = STR("192.0.2.7"),
                                  .last_attempt_ms = 1700000100000};
}

static struct dsn_notice notice_of(const struct dsn_recipient *recipients, size_t count)
{
    return (struct dsn_notice){.hostname = STR("mail.b.example"),
                               .postmaster = STR("help@b.example"),
                               .sender = STR("a@b.example"),
                               .envid = STR("id+2B1"),
                               .message_id = STR("00d21rj6cepfx4zyqa8r"),
                               .notice_id = STR("00d21rj6cepfx4zyqa8s"),
                               .arrival_ms = 1700000000000,
                               .now_ms = 1700000200000,
                               .original = STR(ORIGINAL),
                               .original_size = sizeof(ORIGINAL) - 1,
                               .recipients = recipients,
                               .recipient_count = count,
                               .random = 0xabcdef};
}

static struct buf out;
static struct dsn_needs needs;

static const char *build(const struct dsn_notice *notice)
{
    buf_free(&out);
    out = buf_make(DSN_SIZE_MAX);
    assert_true(dsn_build(notice, &out, &needs));
    buf_append_char(&out, '\0');
    out.len--;
    return out.data;
}

/* Whatever is in it: lines ended by CRLF, no NUL, none too long, no 8-bit unless said so. */
static void check_form(void)
{
    size_t line = 0;
    for (size_t i = 0; i < out.len; i++) {
        char c = out.data[i];
        assert_int_not_equal(c, '\0');
        assert_true((unsigned char)c < 0x80 || needs.eight_bit);
        if (c == '\r') {
            assert_true(i + 1 < out.len && out.data[i + 1] == '\n');
            continue;
        }
        if (c == '\n') {
            assert_true(i > 0 && out.data[i - 1] == '\r');
            line = 0;
            continue;
        }
        assert_true(++line <= 998);
    }
    assert_true(str_ends(buf_str(&out), STR("\r\n")));
}

static int done(void **state)
{
    (void)state;
    buf_free(&out);
    return 0;
}

static void test_when_a_notice_is_due(void **state)
{
    (void)state;
    static const struct {
        uint8_t notify;
        bool failed;
        bool delayed;
        bool delivered;
    } cases[] = {{0, true, true, false},
                 {DSN_NOTIFY_NEVER, false, false, false},
                 {DSN_NOTIFY_SUCCESS, false, false, true},
                 {DSN_NOTIFY_FAILURE, true, false, false},
                 {DSN_NOTIFY_DELAY, false, true, false},
                 {DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY, true, true, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(dsn_wanted(DSN_FAILED, cases[i].notify, STR("a@b")), cases[i].failed);
        assert_int_equal(dsn_wanted(DSN_DELAYED, cases[i].notify, STR("a@b")), cases[i].delayed);
        assert_int_equal(dsn_wanted(DSN_DELIVERED, cases[i].notify, STR("a@b")), cases[i].delivered);
        assert_int_equal(dsn_wanted(DSN_RELAYED, cases[i].notify, STR("a@b")), cases[i].delivered);
        for (int action = DSN_FAILED; action <= DSN_EXPANDED; action++) {
            assert_false(dsn_wanted((enum dsn_action)action, cases[i].notify,
                                    STR_EMPTY)); /* never for the null path */
        }
    }
}

static void test_a_bounce_to_the_octet(void **state)
{
    (void)state;
    struct dsn_recipient recipient = failed_recipient();
    struct dsn_notice notice = notice_of(&recipient, 1);
    assert_string_equal(build(&notice),
                        "From: Mail delivery <help@b.example>\r\n"
                        "To: <a@b.example>\r\n"
                        "Subject: Your message could not be delivered\r\n"
                        "Date: Tue, 14 Nov 2023 22:16:40 +0000\r\n"
                        "Message-ID: <00d21rj6cepfx4zyqa8s@mail.b.example>\r\n"
                        "Auto-Submitted: auto-replied\r\n"
                        "MIME-Version: 1.0\r\n"
                        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                        " boundary=\"=_0000000000abcdef\"\r\n"
                        "\r\n"
                        "This is a delivery report in MIME format.\r\n"
                        "\r\n"
                        "--=_0000000000abcdef\r\n"
                        "Content-Type: text/plain; charset=us-ascii\r\n"
                        "\r\n"
                        "This is the mail server mail.b.example.\r\n"
                        "\r\n"
                        "It reports on the message that you sent on\r\n"
                        "Tue, 14 Nov 2023 22:13:20 +0000. What was sent is at the end.\r\n"
                        "\r\n"
                        "<r@c.example>:\r\n"
                        "  could not be delivered, and is not tried again.\r\n"
                        "  What happened: There is no such mailbox at that domain.\r\n"
                        "  On whose side: the recipient's side\r\n"
                        "  What to do:    Check the spelling in front of the @; if it is right, ask\r\n"
                        "                 the recipient for the present address in another way.\r\n"
                        "  The server mx.c.example [192.0.2.7] answered:\r\n"
                        "    550 5.1.1 No such user\r\n"
                        "\r\n"
                        "If you need help, ask help@b.example\r\n"
                        "and name the message by its number here: 00d21rj6cepfx4zyqa8r.\r\n"
                        "\r\n"
                        "--=_0000000000abcdef\r\n"
                        "Content-Type: message/delivery-status\r\n"
                        "\r\n"
                        "Original-Envelope-Id: id+1\r\n"
                        "Reporting-MTA: dns; mail.b.example\r\n"
                        "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
                        "X-Veredus-Id: 00d21rj6cepfx4zyqa8r\r\n"
                        "\r\n"
                        "Original-Recipient: rfc822; R+tag@c.example\r\n"
                        "Final-Recipient: rfc822; r@c.example\r\n"
                        "Action: failed\r\n"
                        "Status: 5.1.1\r\n"
                        "Remote-MTA: dns; mx.c.example\r\n"
                        "Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n"
                        "Last-Attempt-Date: Tue, 14 Nov 2023 22:15:00 +0000\r\n"
                        "\r\n"
                        "--=_0000000000abcdef\r\n"
                        "Content-Type: text/rfc822-headers\r\n"
                        "\r\n"
                        "Received: from x\r\n"
                        "From: a@b.example\r\n"
                        "Subject: hello\r\n"
                        "\r\n"
                        "--=_0000000000abcdef--\r\n");
    assert_false(needs.smtputf8);
    assert_false(needs.eight_bit);
    check_form();
}

static void test_ret_full_brings_the_message_back_if_it_is_small(void **state)
{
    (void)state;
    struct dsn_recipient recipient = failed_recipient();
    struct dsn_notice notice = notice_of(&recipient, 1);
    notice.ret = DSN_RET_FULL;
    assert_non_null(strstr(build(&notice), "Content-Type: message/rfc822\r\n\r\n" ORIGINAL "\r\n--=_"));
    /* Cut, larger than told, or not a failure: the header alone. */
    notice.original_size++;
    assert_non_null(strstr(build(&notice), "Content-Type: text/rfc822-headers\r\n"));
    notice.original_size--;
    recipient.action = DSN_DELAYED;
    assert_non_null(strstr(build(&notice), "Content-Type: text/rfc822-headers\r\n"));
    recipient.action = DSN_FAILED;
    notice.original = STR("Subject: x\r\n\r\nbare\nLF\r\n");
    notice.original_size = notice.original.len;
    assert_non_null(strstr(build(&notice), "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n\r\n--"));
    check_form();
}

static void test_what_is_beyond_ascii_is_encoded_or_declared(void **state)
{
    (void)state;
    struct dsn_recipient recipient = failed_recipient();
    struct dsn_notice notice = notice_of(&recipient, 1);
    notice.ret = DSN_RET_FULL;
    /* An 8-bit message that is no SMTPUTF8 one can only come back as 8bit. */
    notice.original = STR("Subject: x\r\n\r\n\xe4\r\n");
    notice.original_size = notice.original.len;
    assert_non_null(strstr(
        build(&notice),
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n\r\n\xe4\r\n"));
    assert_true(needs.eight_bit);
    assert_non_null(
        strstr(out.data, "boundary=\"=_0000000000abcdef\"\r\nContent-Transfer-Encoding: 8bit\r\n"));
    /* An SMTPUTF8 message to an ASCII sender is encoded. */
    notice.smtputf8 = true;
    notice.original = STR("Subject: \xce\xb4\r\n\r\n\xce\xb4\r\n");
    notice.original_size = notice.original.len;
    assert_non_null(strstr(
        build(&notice), "Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                        "Subject: =CE=B4\r\n\r\n=CE=B4\r\n"));
    assert_false(needs.eight_bit);
    check_form();
    notice.ret = DSN_RET_HDRS;
    assert_non_null(
        strstr(build(&notice),
               "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
               "Subject: =CE=B4\r\n"));
    check_form();
    /* The recipient too. */
    recipient.address = STR("\xce\xb4@c.example");
    recipient.orcpt = STR("utf-8;\\x{3B4}@c.example");
    recipient.text = STR("\xce\xb4 unknown");
    build(&notice);
    assert_non_null(strstr(
        out.data,
        "Original-Recipient: utf-8; \\x{3B4}@c.example\r\nFinal-Recipient: utf-8; \\x{3B4}@c.example\r\n"));
    assert_non_null(
        strstr(out.data,
               "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"));
    check_form();
    /* To a sender beyond ASCII everything is UTF-8. */
    notice.sender = STR("\xce\xb1@b.example");
    build(&notice);
    assert_true(needs.smtputf8);
    assert_true(needs.eight_bit);
    assert_non_null(strstr(out.data, "To: <\xce\xb1@b.example>\r\n"));
    assert_non_null(strstr(
        out.data, "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
    assert_non_null(strstr(
        out.data,
        "Original-Recipient: utf-8; \xce\xb4@c.example\r\nFinal-Recipient: utf-8; \xce\xb4@c.example\r\n"));
    assert_non_null(strstr(out.data, "Diagnostic-Code: smtp; 550 5.1.1 \xce\xb4 unknown\r\n"));
    check_form();
}

static void test_status_and_action_agree(void **state)
{
    (void)state;
    static const struct {
        enum dsn_action action;
        unsigned code;
        const char *enhanced;
        bool expired;
        const char *status;
    } cases[] = {
        {DSN_FAILED, 550, "5.1.1", false, "5.1.1"},  {DSN_FAILED, 550, "", false, "5.0.0"},
        {DSN_FAILED, 451, "4.7.1", true, "4.7.1"},   {DSN_FAILED, 0, "", true, "4.4.7"},
        {DSN_FAILED, 0, "5.4.6", false, "5.4.6"},    {DSN_DELAYED, 451, "4.7.1", false, "4.7.1"},
        {DSN_DELAYED, 535, "5.7.8", false, "4.0.0"}, {DSN_DELIVERED, 250, "2.1.5", false, "2.1.5"},
        {DSN_RELAYED, 250, "", false, "2.0.0"},      {DSN_EXPANDED, 250, "5.1.1", false, "2.0.0"},
        {DSN_FAILED, 550, "5.1.1x", false, "5.0.0"}, {DSN_FAILED, 550, "5.999.999", false, "5.999.999"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dsn_recipient recipient = {.action = cases[i].action,
                                          .code = cases[i].code,
                                          .enhanced = str_of(cases[i].enhanced),
                                          .expired = cases[i].expired};
        char area[16];
        assert_true(str_equal(dsn_status(&recipient, area), str_of(cases[i].status)));
    }
}

static void test_delay_success_and_several_recipients(void **state)
{
    (void)state;
    struct dsn_recipient recipients[3] = {failed_recipient(), failed_recipient(), failed_recipient()};
    recipients[0].action = DSN_DELAYED;
    recipients[0].code = 451;
    recipients[0].enhanced = STR("4.7.1");
    recipients[0].text = STR("greylisted");
    recipients[0].retry_until_ms = 1700432000000;
    struct dsn_notice notice = notice_of(recipients, 1);
    notice.now_ms = notice.arrival_ms + 4ULL * 3600000;
    build(&notice);
    assert_non_null(strstr(out.data, "Subject: Your message is delayed\r\n"));
    assert_non_null(strstr(out.data, "  not delivered yet, after 4 hours.\r\n"));
    assert_non_null(strstr(out.data, "Nothing now: this server tries again by itself."));
    assert_non_null(strstr(out.data, "Action: delayed\r\nStatus: 4.7.1\r\n"));
    assert_non_null(strstr(out.data, "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n"));
    recipients[1].action = DSN_RELAYED;
    recipients[1].code = 250;
    recipients[1].enhanced = STR("2.0.0");
    notice.recipient_count = 2;
    build(&notice);
    assert_non_null(strstr(out.data, "Subject: What became of your message\r\n"));
    assert_non_null(strstr(out.data, "which sends no confirmations.\r\n  That server is mx.c.example.\r\n"));
    assert_non_null(strstr(out.data, "Action: relayed\r\nStatus: 2.0.0\r\n"));
    recipients[2].action = DSN_DELIVERED;
    recipients[2].code = 0;
    recipients[2].enhanced = STR("2.1.5");
    recipients[2].text = STR_EMPTY;
    notice.recipients = &recipients[2];
    notice.recipient_count = 1;
    build(&notice);
    assert_non_null(strstr(out.data, "Subject: Your message was delivered\r\n"));
    assert_null(strstr(out.data, "Diagnostic-Code"));
    check_form();
}

static void test_what_our_own_side_found_is_said_so(void **state)
{
    (void)state;
    struct dsn_recipient recipient = {.address = STR("r@c.example"),
                                      .orcpt = STR_EMPTY,
                                      .action = DSN_FAILED,
                                      .enhanced = STR("4.4.1"),
                                      .text = STR("Cannot connect to the server: Connection refused"),
                                      .expired = true,
                                      .uncertain = true};
    struct dsn_notice notice = notice_of(&recipient, 1);
    notice.now_ms = notice.arrival_ms + 5ULL * 86400000;
    notice.envid = STR("bad xtext");
    build(&notice);
    assert_non_null(strstr(out.data, "  It was tried for 5 days without success. At the last attempt:\r\n"));
    assert_non_null(strstr(out.data, "  On whose side: the network between the servers\r\n"));
    assert_non_null(strstr(out.data, "so a\r\n  copy may have arrived all the same.\r\n"));
    assert_non_null(
        strstr(out.data, "Diagnostic-Code: x-veredus; Cannot connect to the server: Connection refused\r\n"));
    assert_non_null(strstr(out.data, "Status: 4.4.1\r\n"));
    assert_null(strstr(out.data, "Remote-MTA"));
    assert_null(strstr(out.data, "Original-Envelope-Id"));
    check_form();
}

static void test_a_server_without_a_name_and_without_an_extension(void **state)
{
    (void)state;
    struct dsn_recipient recipient = {.address = STR("r@c.example"),
                                      .orcpt = STR_EMPTY,
                                      .action = DSN_FAILED,
                                      .enhanced = STR("5.6.7"),
                                      .text = STR("The server does not have SMTPUTF8"),
                                      .host = STR("192.0.2.1"),
                                      .host_address = STR("192.0.2.1")};
    struct dsn_notice notice = notice_of(&recipient, 1);
    build(&notice);
    assert_non_null(strstr(out.data, "Remote-MTA: dns; [192.0.2.1]\r\n"));
    assert_non_null(strstr(out.data, "On whose side: the side of the recipient's mail server\r\n"));
    recipient.host = STR("2001:db8::1");
    recipient.enhanced = STR("4.3.5");
    recipient.expired = true;
    build(&notice);
    assert_non_null(strstr(out.data, "Remote-MTA: dns; [IPv6:2001:db8::1]\r\n"));
    assert_non_null(strstr(out.data, "On whose side: this server's side\r\n"));
    check_form();
}

static void test_nothing_from_outside_breaks_the_form(void **state)
{
    (void)state;
    static const char evil[] = "x\r\n\r\n--=_0000000000abcdef--\r\n.\r\nMAIL\0\x1b[31m\xff\xc3";
    struct str bad = str_make(evil, sizeof(evil) - 1);
    char long_text[5000];
    memset(long_text, 'w', sizeof(long_text));
    struct str all[] = {bad, str_make(long_text, sizeof(long_text)), STR("  "), STR_EMPTY};
    for (size_t i = 0; i < 4; i++) {
        struct dsn_recipient recipient = failed_recipient();
        recipient.address = all[i];
        recipient.orcpt = all[i];
        recipient.enhanced = all[i];
        recipient.text = all[i];
        recipient.host = all[i];
        recipient.host_address = all[i];
        struct dsn_notice notice = notice_of(&recipient, 1);
        notice.sender = STR("a@b.example");
        notice.postmaster = all[i];
        notice.envid = all[i];
        notice.message_id = all[i];
        notice.notice_id = all[i];
        for (unsigned k = 0; k < 4; k++) {
            notice.original = all[k];
            notice.original_size = all[k].len;
            notice.ret = k % 2 == 0 ? DSN_RET_FULL : DSN_RET_NONE;
            build(&notice);
            check_form();
            /* The boundary stands where we put it, and nowhere else. */
            unsigned boundaries = 0;
            for (const char *at = out.data; (at = strstr(at, "\r\n--=_0000000000abcdef")) != NULL; at++) {
                boundaries++;
            }
            assert_true(boundaries == 4 || (k == 0 && boundaries == 5));
        }
    }
    struct dsn_recipient recipient = failed_recipient();
    struct dsn_notice notice = notice_of(&recipient, 0);
    assert_false(dsn_build(&notice, &out, &needs));
    notice.recipient_count = 1;
    notice.sender = STR_EMPTY;
    assert_false(dsn_build(&notice, &out, &needs));
}

static void test_a_thousand_recipients_and_a_long_header_fit(void **state)
{
    (void)state;
    static struct dsn_recipient recipients[DSN_RECIPIENTS_MAX];
    static char original[DSN_ORIGINAL_WANTED];
    for (size_t i = 0; i < DSN_RECIPIENTS_MAX; i++) {
        recipients[i] = failed_recipient();
    }
    for (size_t i = 0; i + 10 <= sizeof(original); i += 10) {
        memcpy(original + i, "Field: x\r\n", 10);
    }
    struct dsn_notice notice = notice_of(recipients, DSN_RECIPIENTS_MAX);
    notice.original = str_make(original, sizeof(original));
    notice.original_size = 10000000;
    build(&notice);
    assert_true(out.len < 2000000);
    check_form();
}

static void test_every_failing_allocation_is_told(void **state)
{
    (void)state;
    struct dsn_recipient recipient = failed_recipient();
    struct dsn_notice notice = notice_of(&recipient, 1);
    buf_free(&out);
    int64_t live = mem_live();
    bool reached = true;
    for (uint64_t k = 1; reached; k++) {
        for (int once = 0; once < 2; once++) {
            struct buf text = buf_make(DSN_SIZE_MAX);
            mem_fail_at(k, once);
            bool fine = dsn_build(&notice, &text, &needs);
            reached = mem_count() >= k;
            mem_fail_at(0, 0);
            assert_int_equal(fine, !reached);
            buf_free(&text);
            assert_int_equal(mem_live(), live);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_when_a_notice_is_due, done),
        cmocka_unit_test_teardown(test_a_bounce_to_the_octet, done),
        cmocka_unit_test_teardown(test_ret_full_brings_the_message_back_if_it_is_small, done),
        cmocka_unit_test_teardown(test_what_is_beyond_ascii_is_encoded_or_declared, done),
        cmocka_unit_test_teardown(test_status_and_action_agree, done),
        cmocka_unit_test_teardown(test_delay_success_and_several_recipients, done),
        cmocka_unit_test_teardown(test_what_our_own_side_found_is_said_so, done),
        cmocka_unit_test_teardown(test_a_server_without_a_name_and_without_an_extension, done),
        cmocka_unit_test_teardown(test_nothing_from_outside_breaks_the_form, done),
        cmocka_unit_test_teardown(test_a_thousand_recipients_and_a_long_header_fit, done),
        cmocka_unit_test_teardown(test_every_failing_allocation_is_told, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
