/*
 * Limits of the SMTP server engine: length of lines, recipients, size as declared and as it comes, errors, messages a
 * session, memory of the process, and time in each state.
 */
#include "talk.h"

#define SENDER_OK "250 2.1.0 Sender OK\r\n"
#define RCPT_OK   "250 2.1.5 Recipient OK\r\n"
#define GO_ON     "354 End data with <CRLF>.<CRLF>\r\n"
#define STORED    "250 2.0.0 Stored as 0000000000000000test\r\n"
#define TOO_LONG  "500 5.5.2 Line too long: a command has at most 2048 octets\r\n"
#define TOO_LARGE "552 5.3.4 Message too large for this server; EHLO tells the limit as SIZE\r\n"
#define BUSY      "452 4.3.1 The server has too much mail under way for its memory; try again later\r\n"
#define OK        "250 2.0.0 OK\r\n"
#define BAD_LINE  "500 5.5.2 Commands must end in CRLF and have no other CR, LF or NUL in them; closing\r\n"

static void append_run(struct buf *b, char c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_char(b, c);
    }
}

/* A NOOP line of this many octets with its CRLF. */
static void feed_line(struct driver *d, size_t octets, size_t step, const char *end)
{
    struct buf line = buf_make(1 << 20);
    buf_append_lit(&line, "NOOP ");
    append_run(&line, 'x', octets - 5 - strlen(end));
    buf_append_str(&line, str_of(end));
    driver_feed_by(d, buf_str(&line), step);
    buf_free(&line);
}

static void test_line_length(void **state)
{
    (void)state;
    static const size_t steps[] = {0, 1, 2, 3, 1000, 2047, 2048, 2049, 12288};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        feed_line(&d, 2048, steps[i], "\r\n");
        expect_out(&d, OK);
        feed_line(&d, 2049, steps[i], "\r\n");
        expect_out(&d, TOO_LONG);
        feed_line(&d, 12288, steps[i], "\r\n");
        expect_out(&d, TOO_LONG);
        feed_line(&d, 12289, steps[i], "\r\n");
        expect_out(&d, TOO_LONG);
        feed_line(&d, 500000, steps[i] < 3 ? 7 : steps[i], "\r\n");
        expect_out(&d, TOO_LONG);
        assert_int_equal(0, d.server.line.cap);
        talk(&d, "NOOP", OK);
        feed_line(&d, 5000, steps[i], "\n"); /* where it ends is in doubt */
        expect_out(&d, BAD_LINE);
        assert_true(d.closed);
        driver_close(&d);
    }
}

static void test_bare_line_ends_in_commands(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool repair;
    } cases[] = {{"NOOP\n", 5, false},     {"NOOP\n", 5, true},      {"\n", 1, false},
                 {"NOOP\r\r\n", 7, false}, {"NO\rOP\r\n", 8, false}, {"NO\0OP\r\n", 8, false},
                 {"NOOP\0\r\n", 7, false}, {"\rNOOP\r\n", 7, true},  {"NOOP \r \r\n", 9, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 0; step < 4; step++) {
            struct driver d;
            driver_defaults(&d, SMTP_KIND_SUBMISSION);
            d.settings.repair_newlines = cases[i].repair;
            driver_begin(&d, true);
            driver_feed_by(&d, str_make(cases[i].bytes, cases[i].len), step);
            expect_out(&d, BAD_LINE);
            assert_true(d.closed);
            driver_close(&d);
        }
    }
}

static void test_recipients(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    talk(&d, "MAIL FROM:<>", SENDER_OK);
    talk(&d, "RCPT TO:<unknown@here.example>",
         "550 5.1.1 No such user here; check the spelling of the address\r\n");
    for (int i = 0; i < 5; i++) {
        talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
    }
    talk(&d, "RCPT TO:<b@here.example>",
         "452 4.5.3 Too many recipients in one transaction; send the rest in another\r\n");
    assert_int_equal(1, d.server.errors); /* a limit is nobody's error */
    talk(&d, "BDAT 0 LAST", STORED);
    driver_close(&d);
}

static void begin_message(struct driver *d)
{
    talk(d, "MAIL FROM:<>", SENDER_OK);
    talk(d, "RCPT TO:<b@here.example>", RCPT_OK);
}

/* A message of `octets`, in lines of 100. */
static void feed_data(struct driver *d, size_t octets)
{
    struct buf text = buf_make(1 << 22);
    while (text.len < octets) {
        size_t line = octets - text.len < 200 ? octets - text.len : 100;
        append_run(&text, 'x', line - 2);
        buf_append_lit(&text, "\r\n");
    }
    buf_append_lit(&text, ".\r\n");
    driver_feed_by(d, buf_str(&text), 4096);
    buf_free(&text);
}

static void test_size_by_data(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 100000);
    expect_out(&d, STORED);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 100001);
    expect_out(&d, TOO_LARGE);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 190000); /* read to its end, not kept */
    expect_out(&d, TOO_LARGE);
    assert_int_equal(0, d.budget.used);
    assert_null(d.server.transaction);
    begin_message(&d);
    talk(&d, "BDAT 100001", ""); /* the octets are awaited */
    struct buf chunk = buf_make(1 << 20);
    append_run(&chunk, 'x', 100001);
    driver_feed_by(&d, buf_str(&chunk), 999);
    expect_out(&d, TOO_LARGE);
    begin_message(&d);
    talk(&d, "BDAT 60000", "");
    driver_feed(&d, str_sub(buf_str(&chunk), 0, 60000));
    expect_out(&d, "250 2.0.0 Chunk OK\r\n");
    talk(&d, "BDAT 40001 LAST", "");
    driver_feed(&d, str_sub(buf_str(&chunk), 0, 40001));
    expect_out(&d, TOO_LARGE);
    buf_free(&chunk);
    talk(&d, "NOOP", OK);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 3000000); /* nobody reads without end what is thrown away */
    expect_out(&d, "421 4.3.4 Far more data than the size limit; closing\r\n");
    assert_true(d.closed);
    driver_close(&d);
}

/* All sessions of a process share a budget for bodies. */
static void test_body_budget(void **state)
{
    (void)state;
    struct driver d;
    driver_defaults(&d, SMTP_KIND_MX);
    d.budget.max = 20000;
    driver_begin(&d, false);
    greet(&d);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 50000);
    expect_out(&d, BUSY);
    assert_int_equal(0, d.budget.used);
    talk(&d, "MAIL FROM:<> SIZE=50000", SENDER_OK);
    talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
    talk(&d, "DATA", BUSY); /* known before the data */
    begin_message(&d);
    talk(&d, "BDAT 30000", "");
    struct buf chunk = buf_make(1 << 20);
    append_run(&chunk, 'x', 30000);
    driver_feed_by(&d, buf_str(&chunk), 999);
    expect_out(&d, BUSY);
    buf_free(&chunk);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    feed_data(&d, 5000);
    expect_out(&d, STORED);
    assert_int_equal(0, d.budget.used);
    driver_close(&d);
}

static void test_errors(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    for (int i = 0; i < 19; i++) {
        talk(&d, "XYZZY", "500 5.5.2 Command unknown; HELP lists those that are known\r\n");
    }
    talk(&d, "XYZZY",
         "500 5.5.2 Command unknown; HELP lists those that are known\r\n"
         "421 4.7.0 Too many errors in this session; closing. Correct the client and connect again\r\n");
    assert_true(d.closed);
    assert_string_equal("too many errors", d.server.close_reason);
    driver_close(&d);
    /* In one packet: nothing behind the 421. */
    driver_defaults(&d, SMTP_KIND_MX);
    d.settings.errors = 2;
    driver_begin(&d, false);
    driver_feed(&d, STR("X\r\nX\r\nX\r\nX\r\nEHLO c\r\n"));
    assert_true(str_ends(buf_str(&d.out), STR("connect again\r\n")));
    assert_int_equal(2, d.server.errors);
    driver_close(&d);
}

static void test_messages_a_session(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    for (int i = 0; i < 10; i++) {
        talk(&d, "MAIL FROM:<>", SENDER_OK);
        talk(&d, "RSET", "250 2.0.0 Reset: sender and recipients are forgotten\r\n");
    }
    talk(&d, "MAIL FROM:<>", "421 4.7.0 Too many messages in one session; connect again\r\n");
    assert_true(d.closed);
    driver_close(&d);
}

/* Time. The driver's clock starts at 1,000. */

static void expire(struct driver *d, uint64_t at, const char *text, const char *reason)
{
    assert_int_equal(at, smtp_server_deadline(&d->server));
    smtp_server_expire(&d->server, at, &d->out);
    expect_out_at(d, str_of(text), reason, 0);
    assert_string_equal(reason, d->server.close_reason);
    struct str input = STR("NOOP\r\n");
    assert_int_equal(SMTP_CLOSE, smtp_server_run(&d->server, at, &input, &d->out));
    expect_out(d, "");
    driver_close(d);
}

#define IDLE_TEXT "421 4.4.2 No command came in time; connect again\r\n"
#define SLOW_TEXT "421 4.4.2 The message data came too slowly or not at all; try again\r\n"

static void test_idle(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    expire(&d, 301000, IDLE_TEXT, "idle");
    driver_open(&d, SMTP_KIND_MX, false);
    d.now_ms = 200000;
    driver_feed(&d, STR("NOO")); /* half a command is none */
    expire(&d, 301000, "421 4.4.2 No command came in time; connect again\r\n", "idle");
    driver_open(&d, SMTP_KIND_MX, false);
    d.now_ms = 200000;
    talk(&d, "NOOP", OK);
    expire(&d, 500000, IDLE_TEXT, "idle");
    /* An endless line does not keep a session either. */
    driver_open(&d, SMTP_KIND_MX, false);
    for (d.now_ms = 2000; d.now_ms < 300000; d.now_ms += 10000) {
        driver_feed(&d, STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                            "xxxxxxxxxxxxxxx"));
        driver_feed(&d, STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                            "xxxxxxxxxxxxxxx"));
    }
    expire(&d, 301000, IDLE_TEXT, "idle");
    /* In an AUTH exchange. */
    driver_open(&d, SMTP_KIND_SUBMISSION, true);
    greet(&d);
    talk(&d, "AUTH PLAIN", "334 \r\n");
    expire(&d, 301000, IDLE_TEXT, "idle");
}

static void test_whole_session(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    for (d.now_ms = 1000; d.now_ms < 21600000; d.now_ms += 200000) {
        talk(&d, "NOOP", OK);
    }
    expire(&d, 21601000, "421 4.4.2 The session has lasted too long; connect again\r\n", "session too long");
}

static void test_whole_transaction(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    d.now_ms = 5000;
    talk(&d, "MAIL FROM:<>", SENDER_OK);
    for (; d.now_ms < 3600000; d.now_ms += 200000) {
        talk(&d, "NOOP", OK);
    }
    expire(&d, 3605000, "421 4.4.2 The transaction has lasted too long; connect again\r\n",
           "transaction too long");
}

static void test_slow_data(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    begin_message(&d);
    d.now_ms = 10000;
    talk(&d, "DATA", GO_ON);
    assert_int_equal(70000, smtp_server_deadline(&d.server)); /* a minute's grace */
    d.now_ms = 60000;
    driver_feed(&d, STR("x"));
    assert_int_equal(70000 + 15, smtp_server_deadline(&d.server)); /* 64 octets a second: 15 ms for one */
    expire(&d, 70015, SLOW_TEXT, "data too slow");
    /* Fast first, silent later: the time between two pieces counts too. */
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    begin_message(&d);
    talk(&d, "DATA", GO_ON);
    struct buf text = buf_make(100000);
    append_run(&text, 'x', 50000);
    driver_feed(&d, buf_str(&text));
    buf_free(&text);
    expire(&d, 181000, SLOW_TEXT, "data too slow");
}

/* A byte a minute holds no session in a chunk either, be it one that is kept or one that is skipped. */
static void test_slow_chunks(void **state)
{
    (void)state;
    static const char *const before[] = {"MAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\n", ""};
    for (size_t i = 0; i < 2; i++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, str_of(before[i]));
        driver_feed(&d, STR("BDAT 50000\r\n"));
        buf_clear(&d.out);
        uint64_t bytes = 0;
        while (d.now_ms < smtp_server_deadline(&d.server)) {
            driver_feed(&d, STR("x"));
            d.now_ms += 1000;
            bytes++;
        }
        assert_true(bytes < 100);
        smtp_server_expire(&d.server, d.now_ms, &d.out);
        expect_out(&d, SLOW_TEXT);
        driver_close(&d);
    }
}

/* While an answer is awaited the client is not to blame. */
static void test_no_deadline_while_asking(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    d.hold_commit = true;
    greet(&d);
    begin_message(&d);
    driver_feed(&d, STR("BDAT 4 LAST\r\nA:b\n"));
    expect_out(&d, "550 5.6.0 The message has an LF without a CR before it; lines must end in CRLF\r\n");
    begin_message(&d);
    driver_feed(&d, STR("BDAT 5 LAST\r\nA:b\r\nNOOP\r\n"));
    expect_out(&d, "");
    assert_true(smtp_server_deadline(&d.server) == UINT64_MAX);
    smtp_server_expire(&d.server, 100000000, &d.out); /* a message under way is never given up */
    expect_out(&d, "");
    driver_answer_commit(&d, SMTP_COMMIT_NO_SPACE);
    expect_out(&d, "452 4.3.1 The server's disk is full; try again later\r\n");
    assert_null(d.server.transaction);
    driver_close(&d);
}

static void test_commit_failures(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_LMTP, false);
    greet(&d);
    talk(&d, "MAIL FROM:<>", SENDER_OK);
    talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
    talk(&d, "RCPT TO:<c@here.example>", RCPT_OK);
    d.commit_answer = SMTP_COMMIT_FAILED;
#define NOT_STORED "451 4.3.0 The message could not be stored; try again later\r\n"
    talk(&d, "BDAT 0 LAST", NOT_STORED NOT_STORED);
    d.commit_answer = SMTP_COMMIT_NO_SPACE;
    begin_message(&d);
    talk(&d, "BDAT 0 LAST", "452 4.3.1 The server's disk is full; try again later\r\n");
    assert_int_equal(0, d.server.errors);
    driver_close(&d);
}

/* The server stops: who is in no transaction is sent away at once, the others at its end. */
static void test_shutdown(void **state)
{
    (void)state;
#define STOPS "421 4.3.2 The server is stopping; try again in a moment\r\n"
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    assert_true(smtp_server_shutdown(&d.server, &d.out));
    expect_out(&d, STOPS);
    driver_close(&d);
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    begin_message(&d);
    assert_false(smtp_server_shutdown(&d.server, &d.out));
    talk(&d, "DATA", GO_ON);
    driver_feed(&d, STR("A: b\r\n\r\n.\r\nNOOP\r\n"));
    expect_out(&d, STORED STOPS);
    assert_true(d.closed);
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_length),
        cmocka_unit_test(test_bare_line_ends_in_commands),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_size_by_data),
        cmocka_unit_test(test_body_budget),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_messages_a_session),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_whole_session),
        cmocka_unit_test(test_whole_transaction),
        cmocka_unit_test(test_slow_data),
        cmocka_unit_test(test_slow_chunks),
        cmocka_unit_test(test_no_deadline_while_asking),
        cmocka_unit_test(test_commit_failures),
        cmocka_unit_test(test_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
