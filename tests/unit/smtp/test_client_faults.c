/*
 * The SMTP client engine against servers that fail: at every step, in every way, at every octet; and against messages that
 * try to end early (goals G8 and G15). Whatever happens, each recipient has at most one result, and DELIVERED is said only when
 * the server has taken the message.
 */
#include "base/mem.h"
#include "client_peer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BODY STR("Subject: x\r\n\r\n.dot\r\nend\r\n")

/* What must hold after any session. */
static void check(const struct talk *t)
{
    unsigned delivered = 0;
    unsigned uncertain = 0;
    for (size_t i = 0; i < t->count; i++) {
        assert_true(t->told[i].count <= 1);
        assert_int_equal(t->recipients[i].state,
                         t->told[i].count == 1 ? SMTP_CLIENT_DECIDED : SMTP_CLIENT_WAITING);
        delivered += t->told[i].count == 1 && t->told[i].outcome == SMTP_CLIENT_DELIVERED;
        uncertain += t->told[i].count == 1 && t->told[i].outcome == SMTP_CLIENT_UNCERTAIN;
        /* Whoever is left can be tried elsewhere: then the reason must be known, and nothing may have been taken. */
        if (t->told[i].count == 0) {
            assert_true(t->failure.count > 0);
        }
    }
    if (t->peer.messages == 0) {
        assert_int_equal(delivered, 0);
    }
    if (t->peer.messages > 0) {
        assert_true(delivered + uncertain > 0);
    }
}

static const char *const answers[] = {"421 4.3.2 closing",
                                      "450 4.2.1 later",
                                      "451 4.3.0 error",
                                      "452 4.5.3 too many",
                                      "500 5.5.1 what",
                                      "550 5.7.1 no",
                                      "552 too much",
                                      "554 5.0.0 never",
                                      "250 2.0.0 fine",
                                      "354 go",
                                      "220 hm",
                                      "334 ",
                                      "150 odd",
                                      "999 odd",
                                      "25 short",
                                      "hello",
                                      "",
                                      "250-one\r\n251 other",
                                      "250-one\r\n250-two\r\n250 three",
                                      "250x",
                                      "250"};
enum { ANSWERS = sizeof(answers) / sizeof(answers[0]) };

static void set_offer(struct talk *t, unsigned offer)
{
    size_t n = 0;
    if ((offer & 1) != 0) {
        t->peer.extensions[n++] = "PIPELINING";
    }
    if ((offer & 2) != 0) {
        t->peer.extensions[n++] = "CHUNKING";
    }
    if ((offer & 4) != 0) {
        t->peer.extensions[n++] = "STARTTLS";
        t->peer.extensions[n++] = "AUTH PLAIN";
        t->settings.tls = SMTP_CLIENT_TLS_REQUIRED;
        t->settings.login = STR("u");
        t->settings.password = STR("p");
    }
    t->peer.lmtp = t->settings.lmtp = (offer & 8) != 0;
}

static void test_any_answer_at_any_step(void **state)
{
    (void)state;
    static const size_t splits[] = {0, 1, 7};
    for (unsigned offer = 0; offer < 16; offer++) {
        for (unsigned step = 0; step < STEP_COUNT; step++) {
            for (size_t i = 0; i < ANSWERS; i++) {
                for (size_t k = 0; k < 3; k++) {
                    struct talk t;
                    talk_init(&t, BODY, 3);
                    set_offer(&t, offer);
                    t.peer.reply[step] = answers[i];
                    t.peer.split = splits[k];
                    talk_run(&t);
                    check(&t);
                    talk_free(&t);
                }
            }
        }
    }
}

static void test_the_same_at_every_split(void **state)
{
    (void)state;
    for (unsigned step = 0; step < STEP_COUNT; step++) {
        for (size_t i = 0; i < ANSWERS; i++) {
            struct talk whole;
            talk_init(&whole, BODY, 2);
            whole.peer.extensions[0] = "PIPELINING";
            whole.peer.reply[step] = answers[i];
            talk_run(&whole);
            for (size_t split = 1; split < 12; split++) {
                struct talk t;
                talk_init(&t, BODY, 2);
                t.peer.extensions[0] = "PIPELINING";
                t.peer.reply[step] = answers[i];
                t.peer.split = split;
                talk_run(&t);
                for (size_t r = 0; r < 2; r++) {
                    assert_int_equal(t.told[r].count, whole.told[r].count);
                    assert_int_equal(t.told[r].outcome, whole.told[r].outcome);
                    assert_int_equal(t.told[r].code, whole.told[r].code);
                    assert_string_equal(t.told[r].text, whole.told[r].text);
                }
                talk_free(&t);
            }
            talk_free(&whole);
        }
    }
}

static void test_permanent_and_temporary_end_as_they_should(void **state)
{
    (void)state;
    static const struct {
        enum peer_step step;
        enum smtp_client_stage stage;
    } cases[] = {{STEP_MAIL, SMTP_STAGE_MAIL},
                 {STEP_RCPT, SMTP_STAGE_RCPT},
                 {STEP_DATA, SMTP_STAGE_DATA},
                 {STEP_FINAL, SMTP_STAGE_FINAL}};
    for (size_t i = 0; i < 4; i++) {
        for (int permanent = 0; permanent < 2; permanent++) {
            struct talk t;
            talk_init(&t, BODY, 2);
            t.peer.reply[cases[i].step] = permanent ? "554 5.7.1 no" : "451 4.3.0 later";
            talk_run(&t);
            for (size_t r = 0; r < 2; r++) {
                assert_int_equal(t.told[r].count, 1);
                assert_int_equal(t.told[r].outcome, permanent ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED);
                assert_int_equal(t.told[r].stage, cases[i].stage);
                assert_int_equal(t.told[r].code, permanent ? 554 : 451);
            }
            assert_int_equal(t.peer.messages, 0);
            talk_free(&t);
        }
    }
}

static void test_greeting_and_hello_failures_leave_the_recipients_for_another_host(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.reply[STEP_GREETING] = "554 5.3.2 no mail here";
    talk_run(&t);
    assert_int_equal(t.told[0].count, 0);
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_FAILED);
    assert_int_equal(t.failure.stage, SMTP_STAGE_GREETING);
    assert_int_equal(t.failure.code, 554);
    talk_free(&t);
    talk_init(&t, BODY, 1);
    t.peer.reply[STEP_EHLO] = "451 4.7.1 greylisted";
    talk_run(&t);
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_DEFERRED);
    assert_int_equal(t.failure.stage, SMTP_STAGE_HELLO);
    assert_string_equal(talk_transcript(&t), "EHLO me.example\n");
    talk_free(&t);
}

/* Cut at each octet that the client sends: uncertain only when the end of the data has come to the server. */
static void test_a_cut_at_every_octet(void **state)
{
    (void)state;
    for (unsigned offer = 0; offer < 4; offer++) {
        struct talk whole;
        talk_init(&whole, BODY, 2);
        set_offer(&whole, offer);
        talk_run(&whole);
        for (size_t cut = 1; cut <= whole.received; cut++) {
            struct talk t;
            talk_init(&t, BODY, 2);
            set_offer(&t, offer);
            t.cut = cut;
            talk_run(&t);
            check(&t);
            for (size_t r = 0; r < 2; r++) {
                if (t.told[r].count == 1 && t.told[r].outcome == SMTP_CLIENT_UNCERTAIN) {
                    assert_int_equal(t.told[r].stage, SMTP_STAGE_FINAL);
                }
            }
            talk_free(&t);
        }
        talk_free(&whole);
    }
}

static void test_a_connection_lost_behind_the_dot_is_uncertain(void **state)
{
    (void)state;
    static const char *const lost[] = {"", "hello", "354 go on"};
    for (size_t i = 0; i < 3; i++) {
        struct talk t;
        talk_init(&t, BODY, 2);
        t.peer.reply[STEP_FINAL] = lost[i];
        talk_run(&t);
        for (size_t r = 0; r < 2; r++) {
            assert_int_equal(t.told[r].count, 1);
            assert_int_equal(t.told[r].outcome, SMTP_CLIENT_UNCERTAIN);
        }
        talk_free(&t);
    }
    /* Not sent whole: certain that it has not been delivered. */
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.drop_in_body = true;
    t.peer.split = 3;
    talk_run(&t);
    assert_int_equal(t.told[0].count, 0);
    assert_int_equal(t.failure.outcome, SMTP_CLIENT_DEFERRED);
    talk_free(&t);
}

/* Goal G15, outwards: no message becomes two, and nothing but whole lines leaves. */
static void test_no_message_ends_early(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', 'x', '\0'};
    unsigned sent = 0;
    for (unsigned n = 0; n < 15625; n++) {
        char text[6];
        unsigned rest = n;
        for (int i = 0; i < 6; i++) {
            text[i] = alphabet[rest % 5];
            rest /= 5;
        }
        for (size_t split = 0; split < 6; split++) {
            for (unsigned bdat = 0; bdat < 2; bdat++) {
                struct talk t;
                talk_init(&t, str_make(text, 6), 1);
                t.peer.split = split;
                t.peer.extensions[0] = bdat == 1 ? "CHUNKING" : NULL;
                talk_run(&t);
                assert_true(t.peer.messages <= 1);
                assert_int_equal(t.told[0].count, 1);
                if (t.peer.messages == 1) {
                    struct str body = buf_str(&t.peer.body);
                    assert_true(str_starts(body, t.body));
                    assert_true(body.len == 6 || (body.len == 8 && str_ends(body, STR("\r\n"))));
                    sent++;
                } else {
                    assert_int_equal(t.told[0].outcome, SMTP_CLIENT_FAILED);
                    assert_string_equal(t.told[0].enhanced, "5.6.0");
                }
                talk_free(&t);
            }
        }
    }
    /* Of 15,625 the 1 + 6 * ... that hold CR and LF only as pairs: counted by themselves below. */
    unsigned good = 0;
    for (unsigned n = 0; n < 15625; n++) {
        unsigned rest = n;
        char before = 'x';
        bool fine = true;
        for (int i = 0; i < 6; i++) {
            char c = alphabet[rest % 5];
            rest /= 5;
            fine = fine && c != '\0' && (before == '\r') == (c == '\n');
            before = c;
        }
        good += fine && before != '\r';
    }
    assert_int_equal(sent, good * 12);
}

static void test_replies_are_bounded(void **state)
{
    (void)state;
    static char line[SMTP_CLIENT_LINE_MAX + 100];
    static char lines[(SMTP_CLIENT_LINES_MAX + 2) * 8];
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "250 ", 4);
    for (size_t i = 0; i < SMTP_CLIENT_LINES_MAX + 1; i++) {
        memcpy(lines + i * 7, "250-a\r\n", 7);
    }
    memcpy(lines + (SMTP_CLIENT_LINES_MAX + 1) * 7, "250 a", 6);
    const char *const replies[] = {line, lines};
    for (size_t i = 0; i < 2; i++) {
        struct talk t;
        talk_init(&t, BODY, 1);
        t.peer.reply[STEP_MAIL] = replies[i];
        talk_run(&t);
        assert_string_equal(t.failure.enhanced, "4.5.0");
        assert_int_equal(t.told[0].count, 0);
        assert_int_equal(t.peer.messages, 0);
        talk_free(&t);
    }
    /* A long one that is still allowed; of its text only the beginning is kept. */
    line[4000] = '\0';
    struct talk t;
    talk_init(&t, BODY, 1);
    t.peer.reply[STEP_FINAL] = line;
    talk_run(&t);
    assert_int_equal(t.told[0].outcome, SMTP_CLIENT_DELIVERED);
    talk_free(&t);
}

static void ignore(void *context, size_t recipient, const struct smtp_client_result *result)
{
    (void)recipient;
    unsigned *count = context;
    *count += result->outcome == SMTP_CLIENT_FAILED;
}

/* An engine that has come to READY. */
static void ready(struct smtp_client *client, const struct smtp_client_settings *settings, unsigned *failed,
                  struct buf *out)
{
    smtp_client_start(client, settings, ignore, failed);
    struct str input = STR("220 x\r\n");
    assert_int_equal(smtp_client_run(client, &input, out), SMTP_CLIENT_INPUT);
    assert_int_equal(smtp_client_timeout_ms(client), 300000);
    input = STR("250 x\r\n");
    assert_int_equal(smtp_client_run(client, &input, out), SMTP_CLIENT_READY);
}

static const struct smtp_client_settings plain_settings = {.hello_name = {"me", 2},
                                                           .own_name = {"", 0},
                                                           .login = {"", 0},
                                                           .password = {"", 0},
                                                           .timeout_percent = 100};

static void test_time_outs_are_those_of_the_rfc(void **state)
{
    (void)state;
    struct smtp_client client;
    struct buf out = buf_make(1 << 16);
    unsigned failed = 0;
    ready(&client, &plain_settings, &failed, &out);
    struct smtp_client_recipient recipient = {.address = STR("r@x"), .orcpt = STR_EMPTY};
    struct smtp_client_message message = {.sender = STR("s@x"), .envid = STR_EMPTY, .size = 3};
    smtp_client_begin(&client, &message, &recipient, 1);
    struct str input = STR_EMPTY;
    smtp_client_run(&client, &input, &out);
    assert_int_equal(smtp_client_timeout_ms(&client), 300000); /* MAIL: 5 minutes */
    input = STR("250 x\r\n");
    smtp_client_run(&client, &input, &out);
    assert_int_equal(smtp_client_timeout_ms(&client), 300000); /* RCPT: 5 minutes */
    input = STR("250 x\r\n");
    smtp_client_run(&client, &input, &out);
    assert_int_equal(smtp_client_timeout_ms(&client), 120000); /* DATA: 2 minutes */
    input = STR("354 x\r\n");
    assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_BODY);
    assert_int_equal(smtp_client_timeout_ms(&client), 180000); /* a block: 3 minutes */
    smtp_client_body(&client, STR("a\r\n"), true, &out);
    assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_INPUT);
    assert_int_equal(smtp_client_timeout_ms(&client), 600000); /* the end: 10 minutes */
    buf_free(&out);
}

static void test_an_early_answer_in_the_data_is_believed(void **state)
{
    (void)state;
    struct smtp_client client;
    struct buf out = buf_make(1 << 16);
    unsigned failed = 0;
    ready(&client, &plain_settings, &failed, &out);
    struct smtp_client_recipient recipient = {.address = STR("r@x"), .orcpt = STR_EMPTY};
    struct smtp_client_message message = {.sender = STR("s@x"), .envid = STR_EMPTY, .size = 30};
    smtp_client_begin(&client, &message, &recipient, 1);
    struct str input = STR("250 x\r\n250 x\r\n354 x\r\n");
    struct str none = STR_EMPTY;
    smtp_client_run(&client, &none, &out);
    assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_BODY);
    smtp_client_body(&client, STR("a\r\n"), false, &out);
    input = STR("552 5.3.4 too la");
    assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_BODY);
    input = STR("rge\r\n");
    assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_CLOSE);
    assert_int_equal(failed, 1);
    assert_int_equal(recipient.state, SMTP_CLIENT_DECIDED);
    assert_null(memmem(out.data, out.len, "\r\n.\r\n", 5));
    buf_free(&out);
}

static void test_what_an_idle_connection_says_ends_it(void **state)
{
    (void)state;
    struct smtp_client client;
    struct buf out = buf_make(1 << 16);
    unsigned failed = 0;
    static const struct str said[] = {{"421 4.4.2 idle\r\n", 16}, {"4", 1}, {"250 x\r\n", 7}};
    for (size_t i = 0; i < 3; i++) {
        ready(&client, &plain_settings, &failed, &out);
        struct str input = said[i];
        assert_int_equal(smtp_client_run(&client, &input, &out), SMTP_CLIENT_CLOSE);
        assert_false(smtp_client_reusable(&client));
        assert_int_equal(client.failure.code, i == 0 ? 421 : 0);
    }
    buf_free(&out);
}

static void test_a_message_of_another_size_than_told_is_not_sent_whole(void **state)
{
    (void)state;
    for (int longer = 0; longer < 2; longer++) {
        for (int bdat = 0; bdat < 2; bdat++) {
            struct talk t;
            talk_init(&t, BODY, 1);
            t.message.size = BODY.len + (longer != 0 ? (uint64_t)5 : (uint64_t)-5);
            t.peer.extensions[0] = bdat != 0 ? "CHUNKING" : NULL;
            talk_run(&t);
            assert_int_equal(t.peer.messages, 0);
            assert_int_equal(t.told[0].count, 0);
            assert_string_equal(t.failure.enhanced, "4.3.0");
            talk_free(&t);
        }
    }
}

/* Goal G4: each allocation in turn fails; the session ends, nothing is said to be delivered that is not, nothing leaks. */
static void test_every_failing_allocation_is_survived(void **state)
{
    (void)state;
    int64_t live = mem_live();
    for (uint64_t k = 1;; k++) {
        struct talk t;
        talk_init(&t, BODY, 2);
        set_offer(&t, 4);
        /* The server's own buffers are made before, so that only the client's fail. */
        buf_reserve(&t.peer.sent, 60000);
        buf_reserve(&t.peer.line, 60000);
        buf_reserve(&t.peer.transcript, 60000);
        buf_reserve(&t.peer.body, 60000);
        mem_fail_at(k, 0);
        talk_run(&t);
        bool reached = mem_count() >= k;
        mem_fail_at(0, 0);
        check(&t);
        talk_free(&t);
        assert_int_equal(mem_live(), live);
        if (!reached) {
            break;
        }
        assert_true(k < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_answer_at_any_step),
        cmocka_unit_test(test_the_same_at_every_split),
        cmocka_unit_test(test_permanent_and_temporary_end_as_they_should),
        cmocka_unit_test(test_greeting_and_hello_failures_leave_the_recipients_for_another_host),
        cmocka_unit_test(test_a_cut_at_every_octet),
        cmocka_unit_test(test_a_connection_lost_behind_the_dot_is_uncertain),
        cmocka_unit_test(test_no_message_ends_early),
        cmocka_unit_test(test_replies_are_bounded),
        cmocka_unit_test(test_time_outs_are_those_of_the_rfc),
        cmocka_unit_test(test_an_early_answer_in_the_data_is_believed),
        cmocka_unit_test(test_what_an_idle_connection_says_ends_it),
        cmocka_unit_test(test_a_message_of_another_size_than_told_is_not_sent_whole),
        cmocka_unit_test(test_every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
