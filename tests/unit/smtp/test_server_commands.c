/*
 * Every command in every state of every kind of listener, with its exact reply (RFC 5321, section 4.3.2; RFC 2033, 3207,
 * 4954). A row is a command, a column a state; the states are reached by the scripts below.
 */
#include "base/mem.h"
#include "talk.h"

#define NEED_EHLO   "503 5.5.1 Begin with EHLO or HELO\r\n"
#define NEED_LHLO   "503 5.5.1 Begin with LHLO\r\n"
#define SENDER_OK   "250 2.1.0 Sender OK\r\n"
#define RCPT_OK     "250 2.1.5 Recipient OK\r\n"
#define UNDER_WAY   "503 5.5.1 A transaction is under way; RSET ends it\r\n"
#define MAIL_FIRST  "503 5.5.1 MAIL comes before RCPT\r\n"
#define RCPT_LATE   "503 5.5.1 RCPT comes before BDAT\r\n"
#define DATA_FIRST  "503 5.5.1 MAIL and RCPT come before the data\r\n"
#define NOBODY      "554 5.5.1 No valid recipients\r\n"
#define NOBODY_LMTP "503 5.5.1 No valid recipients\r\n"
#define GO_ON       "354 End data with <CRLF>.<CRLF>\r\n"
#define DATA_BDAT   "503 5.5.1 BDAT and DATA do not go together\r\n"
#define CHUNK_OK    "250 2.0.0 Chunk OK\r\n"
#define STORED      "250 2.0.0 Stored as 0000000000000000test\r\n"
#define RESET       "250 2.0.0 Reset: sender and recipients are forgotten\r\n"
#define OK          "250 2.0.0 OK\r\n"
#define VRFY_WHAT   "501 5.5.4 VRFY takes an address\r\n"
#define VRFY_REPLY  "252 2.5.0 Addresses are checked at RCPT, not by VRFY; send the message to find out\r\n"
#define EXPN_REPLY  "502 5.5.1 EXPN is not offered\r\n"
#define HELP_REPLY                                                                                           \
    "214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT; `veredus explain CODE` "     \
    "explains "                                                                                              \
    "replies\r\n"
#define BYE       "221 2.0.0 Bye\r\n"
#define BEGIN_TLS "220 2.0.0 Begin TLS\r\n"
#define IN_TLS    "503 5.5.1 TLS is in use already\r\n"
#define NOT_SMTP  "500 5.5.1 This is SMTP, not LMTP: begin with EHLO\r\n"
#define NOT_LMTP  "500 5.5.1 This is LMTP: begin with LHLO\r\n"
#define UNKNOWN   "500 5.5.2 Command unknown; HELP lists those that are known\r\n"
#define HELLO     "250 mx.here.example\r\n"
#define NO_NAME   "501 5.5.4 Give the name of your host: EHLO host.example.org, or EHLO [192.0.2.1]\r\n"
#define DOORS     "port 587 with STARTTLS or port 465 with TLS from the first byte\r\n"
#define NO_LOGIN                                                                                             \
    "503 5.5.1 No login on this port, which is for mail between servers. Mail programs log in at " DOORS
#define WEB "421 4.7.0 This is a mail server, not a web server. Mail programs submit at " DOORS
#define NOT_POP3                                                                                             \
    "500 5.5.1 This port speaks SMTP, and POP3 was spoken; that is at port 995 with TLS from the first "     \
    "byte\r\n"
#define TLS_FIRST                                                                                            \
    "538 5.7.11 Begin TLS first: STARTTLS, then EHLO, then AUTH; no password travels in clear\r\n"
#define LOGIN_FIRST_TLS                                                                                      \
    "530 5.7.0 Begin TLS and log in first: STARTTLS, EHLO, AUTH, then MAIL. Mail between servers goes to "   \
    "port 25\r\n"
#define LOGIN_FIRST "530 5.7.0 Log in first: AUTH, then MAIL. Mail between servers goes to port 25\r\n"
#define LOGGED_IN   "503 5.5.1 You are logged in already\r\n"
#define AUTH_EHLO   "503 5.5.1 AUTH needs EHLO, not HELO\r\n"
#define AUTH_WHAT   "501 5.5.4 AUTH takes the name of a mechanism; EHLO lists those that are offered\r\n"
#define AUTH_OTHER  "504 5.5.4 This AUTH mechanism is not offered; EHLO lists those that are\r\n"
#define RSET_ALONE  "501 5.5.4 RSET takes no parameters\r\n"
#define DATA_ALONE  "501 5.5.4 DATA takes no parameters\r\n"
#define QUIT_ALONE  "501 5.5.4 QUIT takes no parameters\r\n"
#define TLS_ALONE   "501 5.5.4 STARTTLS takes no parameters\r\n"
#define MAIL_FORM   "501 5.5.2 Write MAIL FROM:<user@example.org>\r\n"
#define RCPT_FORM   "501 5.5.2 Write RCPT TO:<user@example.org>\r\n"
#define BDAT_FORM   "501 5.5.4 BDAT takes a number of octets and perhaps LAST\r\n"
#define CAPABILITIES                                                                                         \
    "250-mx.here.example\r\n250-PIPELINING\r\n250-SIZE "                                                     \
    "100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"                                             \
    "250-BINARYMIME\r\n250-DSN\r\n"
#define LIMITS "250-LIMITS RCPTMAX=5 MAILMAX=10\r\n250 ENHANCEDSTATUSCODES\r\n"

enum { STATES_MAX = 7 };

struct state {
    const char *name;
    const char *script; /* from a new session */
};

struct row {
    const char *line;
    const char *replies[STATES_MAX];
};

#define SAME(reply)                                                                                          \
    {                                                                                                        \
        reply, reply, reply, reply, reply, reply, reply                                                      \
    }

static void run_table(enum smtp_server_kind kind, bool tls, const struct state *states, size_t state_count,
                      const struct row *rows, size_t row_count)
{
    for (size_t r = 0; r < row_count; r++) {
        for (size_t i = 0; i < state_count; i++) {
            int64_t live = mem_live();
            struct driver d;
            char where[300];
            driver_open(&d, kind, tls);
            driver_feed(&d, str_of(states[i].script));
            buf_clear(&d.out);
            assert_false(d.closed);
            driver_feed(&d, str_of(rows[r].line));
            driver_feed(&d, STR("\r\n"));
            (void)snprintf(where, sizeof(where), "%s in state %s", rows[r].line, states[i].name);
            expect_out_at(&d, str_of(rows[r].replies[i]), where, 0);
            driver_close(&d);
            assert_int_equal(live, mem_live());
            assert_int_equal(0, d.budget.used);
        }
    }
}

#define RUN(kind, tls, states, rows)                                                                         \
    run_table((kind), (tls), (states), sizeof(states) / sizeof((states)[0]), (rows),                         \
              sizeof(rows) / sizeof((rows)[0]))

#define TO_MAIL  "MAIL FROM:<a@away.example>\r\n"
#define TO_RCPT  TO_MAIL "RCPT TO:<b@here.example>\r\n"
#define TO_CHUNK TO_RCPT "BDAT 8\r\nA: b\r\n\r\n"

static void test_mx(void **state)
{
    (void)state;
    static const struct state states[] = {
        {"new", ""},
        {"helo", "HELO c\r\n"},
        {"ehlo", "EHLO c\r\n"},
        {"mail", "EHLO c\r\n" TO_MAIL},
        {"rcpt", "EHLO c\r\n" TO_RCPT},
        {"chunk", "EHLO c\r\n" TO_CHUNK},
    };
    static const struct row rows[] = {
        {"EHLO c", SAME(CAPABILITIES "250-STARTTLS\r\n" LIMITS)},
        {"ehlo [192.0.2.1]", SAME(CAPABILITIES "250-STARTTLS\r\n" LIMITS)},
        {"HELO c", SAME(HELLO)},
        {"HeLo c d", SAME(HELLO)},
        {"EHLO", SAME(NO_NAME)},
        {"HELO ", SAME(NO_NAME)},
        {"LHLO c", SAME(NOT_SMTP)},
        {"MAIL FROM:<a@away.example>", {NEED_EHLO, SENDER_OK, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"mail from: <a@away.example> ", {NEED_EHLO, SENDER_OK, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL FROM:<>", {NEED_EHLO, SENDER_OK, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL", {NEED_EHLO, MAIL_FORM, MAIL_FORM, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"RCPT TO:<b@here.example>", {NEED_EHLO, MAIL_FIRST, MAIL_FIRST, RCPT_OK, RCPT_OK, RCPT_LATE}},
        {"RCPT TO:<Postmaster>", {NEED_EHLO, MAIL_FIRST, MAIL_FIRST, RCPT_OK, RCPT_OK, RCPT_LATE}},
        {"RCPT", {NEED_EHLO, MAIL_FIRST, MAIL_FIRST, RCPT_FORM, RCPT_FORM, RCPT_LATE}},
        {"DATA", {NEED_EHLO, DATA_FIRST, DATA_FIRST, NOBODY, GO_ON, DATA_BDAT}},
        {"DATA x", {NEED_EHLO, DATA_ALONE, DATA_ALONE, DATA_ALONE, DATA_ALONE, DATA_ALONE}},
        {"BDAT 0", {NEED_EHLO, DATA_FIRST, DATA_FIRST, NOBODY, CHUNK_OK, CHUNK_OK}},
        {"BDAT 0 LAST", {NEED_EHLO, DATA_FIRST, DATA_FIRST, NOBODY, STORED, STORED}},
        {"bdat 0 last", {NEED_EHLO, DATA_FIRST, DATA_FIRST, NOBODY, STORED, STORED}},
        {"BDAT", SAME(BDAT_FORM)},
        {"BDAT x", SAME(BDAT_FORM)},
        {"BDAT 1 FIRST", SAME(BDAT_FORM)},
        {"BDAT -1", SAME(BDAT_FORM)},
        {"BDAT 99999999999999999999", SAME(BDAT_FORM)},
        {"BDAT 200001",
         SAME("552 5.3.4 Message too large for this server; EHLO tells the limit as SIZE\r\n")},
        {"RSET", SAME(RESET)},
        {"RSET x", SAME(RSET_ALONE)},
        {"NOOP", SAME(OK)},
        {"NOOP anything at all", SAME(OK)},
        {"VRFY b", SAME(VRFY_REPLY)},
        {"VRFY unknown@here.example", SAME(VRFY_REPLY)},
        {"VRFY", SAME(VRFY_WHAT)},
        {"EXPN list", SAME(EXPN_REPLY)},
        {"HELP", SAME(HELP_REPLY)},
        {"HELP MAIL", SAME(HELP_REPLY)},
        {"QUIT", SAME(BYE)},
        {"QUIT now", SAME(QUIT_ALONE)},
        {"STARTTLS", {NEED_EHLO, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS}},
        {"STARTTLS x", {NEED_EHLO, TLS_ALONE, TLS_ALONE, TLS_ALONE, TLS_ALONE, TLS_ALONE}},
        {"AUTH", {NEED_EHLO, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN}},
        {"AUTH PLAIN AHVzZXIAc2VjcmV0", {NEED_EHLO, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN}},
        {"GET / HTTP/1.1", SAME(WEB)},
        {"POST /x HTTP/1.0", SAME(WEB)},
        {"PRI * HTTP/2.0", SAME(WEB)},
        {"CONNECT x:25 HTTP/1.1", SAME(WEB)},
        {"USER bob", SAME(NOT_POP3)},
        {"CAPA", SAME(NOT_POP3)},
        {"XYZZY", SAME(UNKNOWN)},
        {"", SAME(UNKNOWN)},
        {" ", SAME(UNKNOWN)},
        {" NOOP", SAME(UNKNOWN)},
        {"NOOP\t", SAME(UNKNOWN)},
        {"MAILFROM:<a@away.example>", SAME(UNKNOWN)},
        {"DATA.", SAME(UNKNOWN)},
        {".", SAME(UNKNOWN)},
        {"\xff\xfe", SAME(UNKNOWN)},
    };
    RUN(SMTP_KIND_MX, false, states, rows);
}

static void test_mx_tls(void **state)
{
    (void)state;
    static const struct state states[] = {
        {"new", ""}, {"ehlo", "EHLO c\r\n"}, {"rcpt", "EHLO c\r\n" TO_RCPT}};
    static const struct row rows[] = {
        {"EHLO c", SAME(CAPABILITIES LIMITS)},
        {"STARTTLS", {NEED_EHLO, IN_TLS, IN_TLS}},
        {"AUTH PLAIN", {NEED_EHLO, NO_LOGIN, NO_LOGIN}},
    };
    RUN(SMTP_KIND_MX, true, states, rows);
}

static void test_lmtp(void **state)
{
    (void)state;
    static const struct state states[] = {
        {"new", ""},
        {"lhlo", "LHLO c\r\n"},
        {"mail", "LHLO c\r\n" TO_MAIL},
        {"rcpt", "LHLO c\r\n" TO_RCPT},
        {"chunk", "LHLO c\r\n" TO_CHUNK},
        {"two", "LHLO c\r\n" TO_RCPT "RCPT TO:<c@here.example>\r\nRCPT TO:<unknown@here.example>\r\n"},
    };
    static const struct row rows[] = {
        {"LHLO c", SAME(CAPABILITIES "250-STARTTLS\r\n" LIMITS)},
        {"LHLO", SAME(NO_NAME)},
        {"EHLO c", SAME(NOT_LMTP)},
        {"HELO c", SAME(NOT_LMTP)},
        {"MAIL FROM:<a@away.example>", {NEED_LHLO, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"RCPT TO:<b@here.example>", {NEED_LHLO, MAIL_FIRST, RCPT_OK, RCPT_OK, RCPT_LATE, RCPT_OK}},
        {"DATA", {NEED_LHLO, DATA_FIRST, NOBODY_LMTP, GO_ON, DATA_BDAT, GO_ON}},
        {"BDAT 0", {NEED_LHLO, DATA_FIRST, NOBODY_LMTP, CHUNK_OK, CHUNK_OK, CHUNK_OK}},
        {"BDAT 0 LAST", {NEED_LHLO, DATA_FIRST, NOBODY_LMTP, STORED, STORED, STORED STORED}},
        {"RSET", SAME(RESET)},
        {"NOOP", SAME(OK)},
        {"VRFY b", SAME(VRFY_REPLY)},
        {"HELP", SAME(HELP_REPLY)},
        {"QUIT", SAME(BYE)},
        {"AUTH PLAIN", {NEED_LHLO, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN, NO_LOGIN}},
        {"STARTTLS", {NEED_LHLO, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS, BEGIN_TLS}},
        {"XYZZY", SAME(UNKNOWN)},
    };
    RUN(SMTP_KIND_LMTP, false, states, rows);
}

static void test_submission_in_clear(void **state)
{
    (void)state;
    static const struct state states[] = {{"new", ""}, {"helo", "HELO c\r\n"}, {"ehlo", "EHLO c\r\n"}};
    static const struct row rows[] = {
        {"EHLO c", SAME(CAPABILITIES "250-STARTTLS\r\n" LIMITS)}, /* no AUTH: never in clear */
        {"MAIL FROM:<user@here.example>", {NEED_EHLO, LOGIN_FIRST_TLS, LOGIN_FIRST_TLS}},
        {"MAIL FROM:<>", {NEED_EHLO, LOGIN_FIRST_TLS, LOGIN_FIRST_TLS}},
        {"RCPT TO:<b@here.example>", {NEED_EHLO, MAIL_FIRST, MAIL_FIRST}},
        {"DATA", {NEED_EHLO, DATA_FIRST, DATA_FIRST}},
        {"BDAT 0 LAST", {NEED_EHLO, DATA_FIRST, DATA_FIRST}},
        {"AUTH PLAIN AHVzZXIAc2VjcmV0", {NEED_EHLO, TLS_FIRST, TLS_FIRST}},
        {"AUTH LOGIN", {NEED_EHLO, TLS_FIRST, TLS_FIRST}},
        {"AUTH XYZZY", {NEED_EHLO, TLS_FIRST, TLS_FIRST}},
        {"STARTTLS", {NEED_EHLO, BEGIN_TLS, BEGIN_TLS}},
        {"GET / HTTP/1.1", SAME(WEB)},
        {"VRFY b", SAME(VRFY_REPLY)},
        {"QUIT", SAME(BYE)},
    };
    RUN(SMTP_KIND_SUBMISSION, false, states, rows);
}

static void test_submission_in_tls(void **state)
{
    (void)state;
#define LOGIN "EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n"
#define FROM  "MAIL FROM:<user@here.example>\r\n"
    static const struct state states[] = {
        {"new", ""},
        {"helo", "HELO c\r\n"},
        {"ehlo", "EHLO c\r\n"},
        {"login", LOGIN},
        {"mail", LOGIN FROM},
        {"rcpt", LOGIN FROM "RCPT TO:<z@away.example>\r\n"},
        {"chunk", LOGIN FROM "RCPT TO:<z@away.example>\r\nBDAT 27\r\nFrom: user@here.example\r\n\r\n"},
    };
    static const struct row rows[] = {
        {"EHLO c", SAME(CAPABILITIES "250-AUTH PLAIN LOGIN\r\n" LIMITS)},
        {"HELO c", SAME(HELLO)},
        {"MAIL FROM:<user@here.example>",
         {NEED_EHLO, LOGIN_FIRST, LOGIN_FIRST, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL FROM:<alias@HERE.example>",
         {NEED_EHLO, LOGIN_FIRST, LOGIN_FIRST, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL FROM:<>", {NEED_EHLO, LOGIN_FIRST, LOGIN_FIRST, SENDER_OK, UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL FROM:<boss@here.example>",
         {NEED_EHLO, LOGIN_FIRST, LOGIN_FIRST,
          "550 5.7.1 This sender address does not belong to your login; use one of your own addresses\r\n",
          UNDER_WAY, UNDER_WAY, UNDER_WAY}},
        {"MAIL FROM:<fail@here.example>",
         {NEED_EHLO, LOGIN_FIRST, LOGIN_FIRST,
          "451 4.3.0 Sender addresses cannot be checked now; try again later\r\n", UNDER_WAY, UNDER_WAY,
          UNDER_WAY}},
        {"RCPT TO:<x@away.example>",
         {NEED_EHLO, MAIL_FIRST, MAIL_FIRST, MAIL_FIRST, RCPT_OK, RCPT_OK, RCPT_LATE}},
        {"DATA", {NEED_EHLO, DATA_FIRST, DATA_FIRST, DATA_FIRST, NOBODY, GO_ON, DATA_BDAT}},
        {"BDAT 0 LAST",
         {NEED_EHLO, DATA_FIRST, DATA_FIRST, DATA_FIRST, NOBODY,
          "550 5.6.0 The message has no From field with an address\r\n", STORED}},
        {"AUTH", {NEED_EHLO, AUTH_EHLO, AUTH_WHAT, LOGGED_IN, LOGGED_IN, LOGGED_IN, LOGGED_IN}},
        {"AUTH XYZZY", {NEED_EHLO, AUTH_EHLO, AUTH_OTHER, LOGGED_IN, LOGGED_IN, LOGGED_IN, LOGGED_IN}},
        {"AUTH PLAIN", {NEED_EHLO, AUTH_EHLO, "334 \r\n", LOGGED_IN, LOGGED_IN, LOGGED_IN, LOGGED_IN}},
        {"auth login",
         {NEED_EHLO, AUTH_EHLO, "334 VXNlcm5hbWU6\r\n", LOGGED_IN, LOGGED_IN, LOGGED_IN, LOGGED_IN}},
        {"STARTTLS", {NEED_EHLO, IN_TLS, IN_TLS, IN_TLS, IN_TLS, IN_TLS, IN_TLS}},
        {"RSET", SAME(RESET)},
        {"NOOP", SAME(OK)},
        {"HELP", SAME(HELP_REPLY)},
        {"QUIT", SAME(BYE)},
    };
    RUN(SMTP_KIND_SUBMISSION, true, states, rows);
}

/* Without a certificate, and without submission ports to name. */
static void test_bare_server(void **state)
{
    (void)state;
    struct driver d;
    driver_defaults(&d, SMTP_KIND_MX);
    d.settings.tls_offered = false;
    d.settings.doors.submission = 0;
    d.settings.doors.submissions = 0;
    driver_begin(&d, false);
    talk(&d, "EHLO c", CAPABILITIES LIMITS);
    talk(&d, "STARTTLS", "502 5.5.1 STARTTLS is not offered here: this server has no certificate\r\n");
    talk(&d, "AUTH PLAIN",
         "503 5.5.1 No login on this port, which is for mail between servers. Mail programs log in at the "
         "submission port "
         "of your provider\r\n");
    d.settings.doors.submissions = 465;
    talk(&d, "AUTH PLAIN",
         "503 5.5.1 No login on this port, which is for mail between servers. Mail programs log in at port "
         "465 with TLS "
         "from the first byte\r\n");
    driver_close(&d);
}

static void start_with(struct str early, const char *expected, const char *reason, const char *event)
{
    static const enum smtp_server_kind kinds[] = {SMTP_KIND_MX, SMTP_KIND_SUBMISSION, SMTP_KIND_LMTP};
    for (size_t i = 0; i < 3; i++) {
        struct driver d;
        driver_open(&d, kinds[i], false); /* for the event's context */
        assert_int_equal(SMTP_CLOSE, smtp_server_start(&d.server, early, &d.out));
        expect_out_at(&d, str_of(expected), __FILE__, __LINE__);
        assert_string_equal(reason, d.server.close_reason);
        expect_event(&d, event);
        driver_close(&d);
    }
}

/* Somebody who speaks before the greeting, or another protocol; the refusal and the event name the right door. */
static void test_wrong_doors_at_the_start(void **state)
{
    (void)state;
#define TLS_TEXT                                                                                             \
    "TLS was begun on a port that speaks SMTP in clear first; use port 587 with STARTTLS or port 465 with "  \
    "TLS "                                                                                                   \
    "from the first byte"
    start_with(STR("\x16\x03\x01\x02\x00\x01\x00\x01"), "554 5.5.1 " TLS_TEXT "\r\n",
               "TLS spoken to a plain port", "554 5.5.1 from=<> to=<>: " TLS_TEXT);
    start_with(STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), WEB, "HTTP spoken to SMTP",
               "421 4.7.0 from=<> to=<>: This is a mail server, not a web server. Mail programs submit at "
               "port 587 with "
               "STARTTLS or port 465 with TLS from the first byte");
#define EARLY_TEXT "You spoke before the greeting; wait for it (RFC 5321, section 4.3.1)"
    start_with(STR("EHLO spammer\r\nMAIL FROM:<x@y>\r\n"), "554 5.5.1 " EARLY_TEXT "\r\n", "early talker",
               "554 5.5.1 from=<> to=<>: " EARLY_TEXT);
    start_with(STR("\r"), "554 5.5.1 " EARLY_TEXT "\r\n", "early talker",
               "554 5.5.1 from=<> to=<>: " EARLY_TEXT);
}

/* The same a little later, in pieces of every size. */
static void test_wrong_doors_later(void **state)
{
    (void)state;
    const struct str hello = STR("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x0a\x0a\r\n\r\nrandom");
    const struct str web = STR("GET /admin HTTP/1.1\r\nHost: mx.here.example\r\n\r\n");
    for (size_t step = 1; step < 12; step++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_SUBMISSION, false);
        driver_feed_by(&d, hello, step);
        expect_out(&d, "554 5.5.1 " TLS_TEXT "\r\n");
        assert_true(d.closed);
        driver_close(&d);
        driver_open(&d, SMTP_KIND_SUBMISSION, false);
        driver_feed_by(&d, web, step);
        expect_out(&d, WEB);
        assert_true(d.closed);
        driver_close(&d);
    }
}

/* Refusals are told with who and why, for the journal. */
static void test_events(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    driver_feed(&d, STR("MAIL FROM:<a@away.example>\r\n"));
    assert_int_equal(0, d.events);
    driver_feed(&d, STR("RCPT TO:<unknown@here.example>\r\n"));
    expect_event(
        &d,
        "550 5.1.1 from=<a@away.example> to=<unknown@here.example>: No such user here; check the spelling of "
        "the address");
    driver_feed(&d, STR("RCPT TO:<x@else.example>\r\n"));
    expect_event(
        &d,
        "550 5.7.1 from=<a@away.example> to=<x@else.example>: Relay denied: this recipient is not here, and "
        "this port takes mail for local recipients only. To send elsewhere log in at port 587 with STARTTLS "
        "or port 465 with TLS from the first byte");
    assert_int_equal(2, d.events);
    driver_feed(&d, STR("AUTH PLAIN\r\n"));
    expect_event(&d, "503 5.5.1 from=<a@away.example> to=<>: No login on this port, which is for mail "
                     "between servers. Mail "
                     "programs log in at port 587 with STARTTLS or port 465 with TLS from the first byte");
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_mx_tls),
        cmocka_unit_test(test_lmtp),
        cmocka_unit_test(test_submission_in_clear),
        cmocka_unit_test(test_submission_in_tls),
        cmocka_unit_test(test_bare_server),
        cmocka_unit_test(test_wrong_doors_at_the_start),
        cmocka_unit_test(test_wrong_doors_later),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
