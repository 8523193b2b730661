/* The SMTP client engine: what it says, in which order, and what it makes of the answers (RFC 5321 and its extensions). */
#include "base/mem.h"
#include "client_peer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BODY STR("Subject: x\r\n\r\n.dot\r\nend\r\n")

static void expect_all(const struct talk *t, enum smtp_client_outcome outcome, unsigned code,
                       const char *enhanced)
{
    for (size_t i = 0; i < t->count; i++) {
        assert_int_equal(t->told[i].count, 1);
        assert_int_equal(t->told[i].outcome, outcome);
        assert_int_equal(t->told[i].code, code);
        assert_string_equal(t->told[i].enhanced, enhanced);
        assert_int_equal(t->recipients[i].state, SMTP_CLIENT_DECIDED);
    }
}

static void expect_undecided(const struct talk *t)
{
    for (size_t i = 0; i < t->count; i++) {
        assert_int_equal(t->told[i].count, 0);
        assert_int_equal(t->recipients[i].state, SMTP_CLIENT_WAITING);
    }
}

static void test_a_plain_server_gets_one_command_at_a_time(void **state)
{
    (void)state;
    for (size_t split = 0; split < 40; split++) {
        struct talk t;
        talk_init(&t, BODY, 2);
        t.peer.split = split;
        talk_run(&t);
        assert_string_equal(talk_transcript(&t),
                            "EHLO me.example\nMAIL FROM:<a@b.example>\nRCPT TO:<r0@c.example>\n"
                            "RCPT TO:<r1@c.example>\nDATA\nQUIT\n");
        assert_true(str_equal(buf_str(&t.peer.body), BODY));
        expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        assert_string_equal(t.told[0].text, "queued");
        assert_int_equal(t.told[0].stage, SMTP_STAGE_FINAL);
        assert_int_equal(t.done, 1);
        assert_int_equal(t.peer.messages, 1);
        talk_free(&t);
    }
}

static void test_a_modern_server_gets_it_pipelined_with_bdat(void **state)
{
    (void)state;
    for (size_t split = 0; split < 40; split++) {
        struct talk t;
        talk_init(&t, BODY, 2);
        t.peer.split = split;
        t.peer.extensions[0] = "PIPELINING";
        t.peer.extensions[1] = "SIZE 1000";
        t.peer.extensions[2] = "8BITMIME";
        t.peer.extensions[3] = "CHUNKING";
        t.message.body = SMTP_CLIENT_8BITMIME;
        talk_run(&t);
        assert_string_equal(
            talk_transcript(&t),
            "EHLO me.example\nMAIL FROM:<a@b.example> SIZE=25 BODY=8BITMIME\nRCPT TO:<r0@c.example>\n"
            "RCPT TO:<r1@c.example>\nBDAT 25 LAST\nQUIT\n");
        assert_true(str_equal(buf_str(&t.peer.body), BODY));
        expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        talk_free(&t);
    }
}

static void test_helo_is_tried_when_ehlo_is_refused(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.reply[STEP_EHLO] = "502 5.5.1 no such command";
    t.message.ret = 1;
    t.recipients[0].notify = 2;
    talk_run(&t);
    assert_string_equal(talk_transcript(&t), "EHLO me.example\nHELO me.example\nMAIL FROM:<a@b.example>\n"
                                             "RCPT TO:<r0@c.example>\nDATA\nQUIT\n");
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    assert_false(t.told[0].dsn_passed);
    talk_free(&t);
}

static void test_dsn_parameters_are_passed_on(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 3);
    t.peer.extensions[0] = "DSN";
    t.message.ret = 2;
    t.message.envid = STR("id+2B1");
    t.recipients[0].notify = 1;
    t.recipients[1].notify = 2 | 4 | 8;
    t.recipients[1].orcpt = STR("rfc822;x+2By@c.example");
    t.recipients[2].orcpt = STR("rfc822;bad xtext\r\nRSET");
    talk_run(&t);
    assert_string_equal(talk_transcript(&t),
                        "EHLO me.example\nMAIL FROM:<a@b.example> RET=HDRS ENVID=id+2B1\n"
                        "RCPT TO:<r0@c.example> NOTIFY=NEVER\n"
                        "RCPT TO:<r1@c.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x+2By@c.example\n"
                        "RCPT TO:<r2@c.example>\nDATA\nQUIT\n");
    assert_true(t.told[0].dsn_passed);
    talk_free(&t);
}

static void test_utf8_orcpt_is_encoded_for_a_server_without_smtputf8(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.extensions[0] = "DSN";
    t.recipients[0].orcpt = STR("utf-8;\xce\xb4@c.example");
    talk_run(&t);
    assert_non_null(strstr(talk_transcript(&t), "ORCPT=utf-8;\\x{3B4}@c.example\n"));
    talk_free(&t);
}

static void test_each_recipient_has_its_own_result(void **state)
{
    (void)state;
    static const char *const offers[] = {NULL, "PIPELINING", "CHUNKING"};
    for (size_t i = 0; i < 3; i++) {
        struct talk t;
        talk_init(&t, BODY, 4);
        t.peer.extensions[0] = offers[i];
        t.peer.rcpt[0] = "550-5.1.1 No such\r\n550 5.1.1 user";
        t.peer.rcpt[2] = "450 4.2.1 busy";
        talk_run(&t);
        assert_int_equal(t.told[0].outcome, SMTP_CLIENT_FAILED);
        assert_int_equal(t.told[0].code, 550);
        assert_string_equal(t.told[0].enhanced, "5.1.1");
        assert_string_equal(t.told[0].text, "No such user");
        assert_int_equal(t.told[0].stage, SMTP_STAGE_RCPT);
        assert_int_equal(t.told[1].outcome, SMTP_CLIENT_DELIVERED);
        assert_int_equal(t.told[2].outcome, SMTP_CLIENT_DEFERRED);
        assert_int_equal(t.told[2].code, 450);
        assert_int_equal(t.told[3].outcome, SMTP_CLIENT_DELIVERED);
        for (size_t k = 0; k < 4; k++) {
            assert_int_equal(t.told[k].count, 1);
        }
        assert_int_equal(t.peer.messages, 1);
        talk_free(&t);
    }
}

static void test_data_taken_for_nobody_is_ended_with_a_dot(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 2);
    t.peer.extensions[0] = "PIPELINING";
    t.peer.reply[STEP_RCPT] = "550 5.1.1 no";
    t.peer.reply[STEP_DATA] = "354 whatever";
    talk_run(&t);
    expect_all(&t, SMTP_CLIENT_FAILED, 550, "5.1.1");
    assert_int_equal(t.peer.body.len, 0);
    assert_non_null(strstr(talk_transcript(&t), "DATA\nQUIT\n"));
    talk_free(&t);
}

static void test_a_refused_sender_decides_for_all(void **state)
{
    (void)state;
    static const char *const offers[] = {NULL, "PIPELINING", "CHUNKING"};
    for (size_t i = 0; i < 3; i++) {
        struct talk t;
        talk_init(&t, BODY, 2);
        t.peer.extensions[0] = offers[i];
        t.peer.reply[STEP_MAIL] = "550 5.7.1 not you";
        t.peer.reply[STEP_RCPT] = "503 5.5.1 MAIL first";
        talk_run(&t);
        expect_all(&t, SMTP_CLIENT_FAILED, 550, "5.7.1");
        assert_int_equal(t.told[0].stage, SMTP_STAGE_MAIL);
        assert_int_equal(t.peer.messages, 0);
        talk_free(&t);
    }
}

static void test_limits_and_too_many_recipients_make_several_transactions(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 5);
    t.peer.extensions[0] = "PIPELINING";
    t.peer.extensions[1] = "LIMITS RCPTMAX=2 MAILMAX=20";
    talk_run(&t);
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    assert_int_equal(t.peer.messages, 3);
    assert_int_equal(t.done, 3);
    talk_free(&t);

    talk_init(&t, BODY, 3);
    t.peer.rcpt[1] = "452 4.5.3 too many";
    t.peer.rcpt[2] = "452 4.5.3 too many";
    talk_run(&t);
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    assert_int_equal(t.peer.messages, 2);
    talk_free(&t);

    talk_init(&t, BODY, 3);
    t.peer.extensions[0] = "LIMITS RCPTMAX=1 MAILMAX=2";
    talk_run(&t);
    assert_int_equal(t.peer.messages, 2);
    assert_int_equal(t.recipients[2].state, SMTP_CLIENT_WAITING);
    assert_false(smtp_client_reusable(&t.client));
    talk_free(&t);
}

static void test_lmtp_has_a_reply_for_each_recipient(void **state)
{
    (void)state;
    for (size_t split = 0; split < 30; split++) {
        struct talk t;
        talk_init(&t, BODY, 4);
        t.settings.lmtp = true;
        t.peer.lmtp = true;
        t.peer.split = split;
        t.peer.extensions[0] = split % 2 == 0 ? "PIPELINING" : "CHUNKING";
        t.peer.rcpt[1] = "550 5.1.1 unknown";
        t.peer.final[1] = "452 4.2.2 full";
        talk_run(&t);
        assert_memory_equal(talk_transcript(&t), "LHLO ", 5);
        assert_int_equal(t.told[0].outcome, SMTP_CLIENT_DELIVERED);
        assert_int_equal(t.told[1].outcome, SMTP_CLIENT_FAILED);
        assert_int_equal(t.told[2].outcome, SMTP_CLIENT_DEFERRED);
        assert_string_equal(t.told[2].enhanced, "4.2.2");
        assert_int_equal(t.told[3].outcome, SMTP_CLIENT_DELIVERED);
        assert_int_equal(t.peer.messages, 2);
        talk_free(&t);
    }
}

static void test_lmtp_cut_between_the_replies_leaves_the_rest_uncertain(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 3);
    t.settings.lmtp = true;
    t.peer.lmtp = true;
    t.peer.final[1] = "";
    talk_run(&t);
    assert_int_equal(t.told[0].outcome, SMTP_CLIENT_DELIVERED);
    assert_int_equal(t.told[1].outcome, SMTP_CLIENT_UNCERTAIN);
    assert_int_equal(t.told[2].outcome, SMTP_CLIENT_UNCERTAIN);
    talk_free(&t);
}

static void test_starttls_begins_a_new_hello(void **state)
{
    (void)state;
    for (size_t split = 0; split < 30; split++) {
        struct talk t;
        talk_init(&t, BODY, 1);
        t.settings.tls = SMTP_CLIENT_TLS_OPPORTUNISTIC;
        t.peer.split = split;
        t.peer.extensions[0] = "STARTTLS";
        talk_run(&t);
        assert_string_equal(talk_transcript(&t),
                            "EHLO me.example\nSTARTTLS\nEHLO me.example\nMAIL FROM:<a@b.example>\n"
                            "RCPT TO:<r0@c.example>\nDATA\nQUIT\n");
        assert_true(t.client.tls);
        expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        talk_free(&t);
    }
}

static void test_clear_text_behind_starttls_ends_the_session(void **state)
{
    (void)state;
    static const char *const injected[] = {"220 go\r\n250 x", "220 go\r\n2", "220 go\r\n\r\n",
                                           "220 go\r\n\x16\x03\x01"};
    for (size_t i = 0; i < 4; i++) {
        struct talk t;
        talk_init(&t, BODY, 1);
        t.settings.tls = SMTP_CLIENT_TLS_OPPORTUNISTIC;
        t.peer.extensions[0] = "STARTTLS";
        t.peer.reply[STEP_STARTTLS] = injected[i];
        talk_run(&t);
        assert_string_equal(talk_transcript(&t), "EHLO me.example\nSTARTTLS\n");
        assert_string_equal(t.failure.enhanced, "4.7.5");
        expect_undecided(&t);
        talk_free(&t);
    }
}

static void test_tls_policy_is_kept(void **state)
{
    (void)state;
    struct talk t;
    /* Required and not offered. */
    talk_init(&t, BODY, 1);
    t.settings.tls = SMTP_CLIENT_TLS_REQUIRED;
    talk_run(&t);
    assert_string_equal(talk_transcript(&t), "EHLO me.example\n");
    assert_string_equal(t.failure.enhanced, "4.7.4");
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_DEFERRED);
    expect_undecided(&t);
    talk_free(&t);
    /* Required and refused, for good: still the mail waits. */
    talk_init(&t, BODY, 1);
    t.settings.tls = SMTP_CLIENT_TLS_REQUIRED;
    t.peer.extensions[0] = "STARTTLS";
    t.peer.reply[STEP_STARTTLS] = "502 5.5.1 no";
    talk_run(&t);
    assert_string_equal(talk_transcript(&t), "EHLO me.example\nSTARTTLS\n");
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_DEFERRED);
    talk_free(&t);
    /* Opportunistic and refused: in clear. */
    talk_init(&t, BODY, 1);
    t.settings.tls = SMTP_CLIENT_TLS_OPPORTUNISTIC;
    t.peer.extensions[0] = "STARTTLS";
    t.peer.reply[STEP_STARTTLS] = "454 4.7.0 not now";
    talk_run(&t);
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    assert_false(t.client.tls);
    talk_free(&t);
    /* A handshake that fails ends this connection. */
    talk_init(&t, BODY, 1);
    t.settings.tls = SMTP_CLIENT_TLS_OPPORTUNISTIC;
    t.peer.extensions[0] = "STARTTLS";
    t.peer.tls_fails = true;
    talk_run(&t);
    assert_string_equal(t.failure.enhanced, "4.7.5");
    assert_non_null(strstr(t.failure.text, "bad certificate"));
    expect_undecided(&t);
    talk_free(&t);
    /* Not wanted. */
    talk_init(&t, BODY, 1);
    t.peer.extensions[0] = "STARTTLS";
    talk_run(&t);
    assert_null(strstr(talk_transcript(&t), "STARTTLS"));
    talk_free(&t);
}

static void test_implicit_tls_comes_before_the_greeting(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct talk t;
        talk_init(&t, BODY, 1);
        t.settings.tls = SMTP_CLIENT_TLS_REQUIRED;
        t.settings.implicit_tls = true;
        t.peer.extensions[0] = "STARTTLS";
        t.peer.tls_fails = fails != 0;
        t.peer.reply[STEP_GREETING] = "220 peer.example";
        talk_run(&t);
        if (fails != 0) {
            assert_string_equal(t.failure.enhanced, "4.7.5");
            assert_int_equal(t.failure.stage, SMTP_STAGE_TLS);
            expect_undecided(&t);
        } else {
            assert_memory_equal(talk_transcript(&t), "EHLO me.example\nMAIL", 20);
            assert_true(t.client.tls);
            expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        }
        talk_free(&t);
    }
}

static void login_settings(struct talk *t, const char *mechanisms)
{
    talk_init(t, BODY, 1);
    t->settings.tls = SMTP_CLIENT_TLS_REQUIRED;
    t->settings.login = STR("user");
    t->settings.password = STR("secret");
    t->peer.extensions[0] = "STARTTLS";
    t->peer.extensions[1] = mechanisms;
}

static void test_login_by_plain_and_by_login(void **state)
{
    (void)state;
    struct talk t;
    login_settings(&t, "AUTH LOGIN PLAIN CRAM-MD5");
    talk_run(&t);
    assert_string_equal(talk_transcript(&t),
                        "EHLO me.example\nSTARTTLS\nEHLO me.example\nAUTH PLAIN AHVzZXIAc2VjcmV0\n"
                        "MAIL FROM:<a@b.example>\nRCPT TO:<r0@c.example>\nDATA\nQUIT\n");
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    talk_free(&t);
    login_settings(&t, "AUTH=LOGIN");
    talk_run(&t);
    assert_non_null(strstr(talk_transcript(&t), "AUTH LOGIN\ndXNlcg==\nc2VjcmV0\nMAIL"));
    expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
    talk_free(&t);
}

static void test_a_refused_login_defers_and_none_is_sent_in_clear(void **state)
{
    (void)state;
    struct talk t;
    login_settings(&t, "AUTH PLAIN");
    t.peer.reply[STEP_AUTH] = "535 5.7.8 wrong";
    talk_run(&t);
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_DEFERRED);
    assert_int_equal(t.failure.code, 535);
    assert_int_equal(t.failure.stage, SMTP_STAGE_AUTH);
    expect_undecided(&t);
    talk_free(&t);

    login_settings(&t, "AUTH CRAM-MD5");
    talk_run(&t);
    assert_string_equal(t.failure.enhanced, "4.7.0");
    talk_free(&t);

    static const enum smtp_client_tls policies[] = {SMTP_CLIENT_TLS_NONE, SMTP_CLIENT_TLS_OPPORTUNISTIC};
    for (size_t i = 0; i < 2; i++) {
        login_settings(&t, "AUTH PLAIN LOGIN");
        t.settings.tls = policies[i];
        t.peer.reply[STEP_STARTTLS] = "454 4.7.0 not now";
        talk_run(&t);
        assert_null(strstr(talk_transcript(&t), "AUTH"));
        assert_string_equal(t.failure.enhanced, "4.7.11");
        talk_free(&t);
    }
}

static void test_what_a_peer_lacks_fails_with_the_right_code(void **state)
{
    (void)state;
    static const struct {
        const char *extension;
        const char *body;
        const char *enhanced; /* NULL: delivered */
        const char *sender;
        const char *recipient;
        enum smtp_client_body kind;
        bool smtputf8;
    } cases[] = {
        {"SIZE 10", "Subject: x\r\n\r\nmore than ten\r\n", "5.3.4", NULL, NULL, SMTP_CLIENT_7BIT, false},
        {"SIZE 0", "Subject: x\r\n\r\nmore than ten\r\n", NULL, NULL, NULL, SMTP_CLIENT_7BIT, false},
        {"SIZE", "a: b\r\n\r\nx\r\n", NULL, NULL, NULL, SMTP_CLIENT_7BIT, false},
        {NULL, "a: b\r\n\r\n\xc3\xa4\r\n", "5.6.3", NULL, NULL, SMTP_CLIENT_8BITMIME, false},
        {NULL, "a: b\r\n\r\nx\r\n", NULL, NULL, NULL, SMTP_CLIENT_8BITMIME, false},
        {"8BITMIME", "a: b\r\n\r\n\xc3\xa4\r\n", NULL, NULL, NULL, SMTP_CLIENT_8BITMIME, false},
        {"CHUNKING", "a: b\r\n\r\nx\ny", "5.6.3", NULL, NULL, SMTP_CLIENT_BINARYMIME, false},
        {"8BITMIME", "a: b\r\n\r\nx\r\n", NULL, NULL, NULL, SMTP_CLIENT_BINARYMIME, false},
        {"8BITMIME", "a: b\r\n\r\nx\r\n", "5.6.7", "\xce\xb4@b.example", NULL, SMTP_CLIENT_8BITMIME, true},
        {"8BITMIME", "a: b\r\n\r\nx\r\n", "5.6.7", NULL, "\xce\xb4@c.example", SMTP_CLIENT_8BITMIME, true},
        {"8BITMIME", "a: \xce\xb4\r\n\r\nx\r\n", "5.6.9", NULL, NULL, SMTP_CLIENT_8BITMIME, true},
        {"8BITMIME", "a: b\r\n\r\n\xce\xb4\r\n", NULL, NULL, NULL, SMTP_CLIENT_8BITMIME, true},
        {"SMTPUTF8", "a: \xce\xb4\r\n\r\nx\r\n", NULL, "\xce\xb4@b.example", "\xce\xb4@c.example",
         SMTP_CLIENT_7BIT, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct talk t;
        talk_init(&t, str_of(cases[i].body), 1);
        t.peer.extensions[0] = cases[i].extension;
        t.message.body = cases[i].kind;
        t.message.smtputf8 = cases[i].smtputf8;
        if (cases[i].sender != NULL) {
            t.message.sender = str_of(cases[i].sender);
        }
        if (cases[i].recipient != NULL) {
            t.recipients[0].address = str_of(cases[i].recipient);
        }
        talk_run(&t);
        if (cases[i].enhanced == NULL) {
            expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        } else {
            expect_all(&t, SMTP_CLIENT_FAILED, 0, cases[i].enhanced);
            assert_int_equal(t.peer.messages, 0);
            assert_null(strstr(talk_transcript(&t), "MAIL"));
        }
        talk_free(&t);
    }
}

static void test_binary_goes_through_bdat_as_it_is(void **state)
{
    (void)state;
    static const char binary[] = "a: b\r\n\r\n\0\n\r.\r\n.";
    for (size_t split = 0; split < 20; split++) {
        struct talk t;
        talk_init(&t, str_make(binary, sizeof(binary) - 1), 1);
        t.peer.split = split;
        t.peer.extensions[0] = "CHUNKING";
        t.peer.extensions[1] = "BINARYMIME";
        t.message.body = SMTP_CLIENT_BINARYMIME;
        talk_run(&t);
        assert_non_null(strstr(talk_transcript(&t), "BODY=BINARYMIME\n"));
        assert_true(str_equal(buf_str(&t.peer.body), t.body));
        expect_all(&t, SMTP_CLIENT_DELIVERED, 250, "2.0.0");
        talk_free(&t);
    }
}

static void test_our_own_name_is_a_loop(void **state)
{
    (void)state;
    static const char *const greetings[] = {"220 me.example ready", "220 other"};
    static const char *const hellos[] = {NULL, "250 ME.example at your service"};
    for (size_t i = 0; i < 2; i++) {
        struct talk t;
        talk_init(&t, BODY, 1);
        t.settings.own_name = STR("me.example");
        t.peer.reply[STEP_GREETING] = greetings[i];
        t.peer.reply[STEP_EHLO] = hellos[i];
        talk_run(&t);
        assert_int_equal(t.failure.outcome, SMTP_CLIENT_FAILED);
        assert_string_equal(t.failure.enhanced, "5.4.6");
        expect_undecided(&t);
        talk_free(&t);
    }
}

static void test_a_second_message_uses_the_same_connection(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.rcpt[0] = "550 5.1.1 no";
    smtp_client_start(&t.client, &t.settings, NULL, NULL);
    talk_run(&t);
    expect_all(&t, SMTP_CLIENT_FAILED, 550, "5.1.1");
    talk_free(&t);

    /* The first transaction was cut short, so the next one begins with RSET. */
    talk_init(&t, BODY, 3);
    t.peer.extensions[0] = "LIMITS RCPTMAX=1";
    t.peer.rcpt[0] = "550 5.1.1 no";
    talk_run(&t);
    assert_string_equal(talk_transcript(&t),
                        "EHLO me.example\nMAIL FROM:<a@b.example>\nRCPT TO:<r0@c.example>\nRSET\n"
                        "MAIL FROM:<a@b.example>\nRCPT TO:<r1@c.example>\nDATA\n"
                        "MAIL FROM:<a@b.example>\nRCPT TO:<r2@c.example>\nDATA\nQUIT\n");
    assert_int_equal(t.peer.messages, 2);
    talk_free(&t);
}

static void test_addresses_cannot_bring_commands_in(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 2);
    t.recipients[0].address = STR("x@c.example>\r\nRSET");
    talk_run(&t);
    assert_null(strstr(talk_transcript(&t), "RSET"));
    assert_string_equal(t.told[0].enhanced, "5.1.3");
    assert_int_equal(t.told[1].outcome, SMTP_CLIENT_DELIVERED);
    talk_free(&t);
    talk_init(&t, BODY, 1);
    t.message.sender = STR("x\n@c.example");
    talk_run(&t);
    assert_null(strstr(talk_transcript(&t), "MAIL"));
    assert_string_equal(t.told[0].enhanced, "5.1.7");
    talk_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_server_gets_one_command_at_a_time),
        cmocka_unit_test(test_a_modern_server_gets_it_pipelined_with_bdat),
        cmocka_unit_test(test_helo_is_tried_when_ehlo_is_refused),
        cmocka_unit_test(test_dsn_parameters_are_passed_on),
        cmocka_unit_test(test_utf8_orcpt_is_encoded_for_a_server_without_smtputf8),
        cmocka_unit_test(test_each_recipient_has_its_own_result),
        cmocka_unit_test(test_data_taken_for_nobody_is_ended_with_a_dot),
        cmocka_unit_test(test_a_refused_sender_decides_for_all),
        cmocka_unit_test(test_limits_and_too_many_recipients_make_several_transactions),
        cmocka_unit_test(test_lmtp_has_a_reply_for_each_recipient),
        cmocka_unit_test(test_lmtp_cut_between_the_replies_leaves_the_rest_uncertain),
        cmocka_unit_test(test_starttls_begins_a_new_hello),
        cmocka_unit_test(test_clear_text_behind_starttls_ends_the_session),
        cmocka_unit_test(test_tls_policy_is_kept),
        cmocka_unit_test(test_implicit_tls_comes_before_the_greeting),
        cmocka_unit_test(test_login_by_plain_and_by_login),
        cmocka_unit_test(test_a_refused_login_defers_and_none_is_sent_in_clear),
        cmocka_unit_test(test_what_a_peer_lacks_fails_with_the_right_code),
        cmocka_unit_test(test_binary_goes_through_bdat_as_it_is),
        cmocka_unit_test(test_our_own_name_is_a_loop),
        cmocka_unit_test(test_a_second_message_uses_the_same_connection),
        cmocka_unit_test(test_addresses_cannot_bring_commands_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
