/* The POP3 engine before the login: greeting, CAPA, USER and PASS, AUTH, STLS, UTF8, wrong doors, limits. */
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HTTP_HERE                                                                                            \
    "-ERR This port speaks POP3, and HTTP was spoken; this is a mail server, not a web server\r\n"
#define IMAP_HERE                                                                                            \
    "-ERR This port speaks POP3, and IMAP was spoken; that is at port 143 with STARTTLS or port 993 with "   \
    "TLS from the first byte\r\n"

#define CAPA_START                                                                                           \
    "+OK What this server can do\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 "      \
    "USER\r\n"                                                                                               \
    "EXPIRE NEVER\r\n"
#define GREETING "+OK pop.example.org POP3 Veredus\r\n"
#define HELLO    "+OK 0 messages (0 octets)\r\n"
#define IN_CLEAR "-ERR [AUTH] Begin TLS first with STLS; no password travels in clear\r\n"
#define NOW      "+OK Now the password\r\n"
#define WRONG    "-ERR [AUTH] User name or password is wrong\r\n"
/* NUL user@example.org NUL secret, and with another's name before it */
#define PLAIN    "AHVzZXJAZXhhbXBsZS5vcmcAc2VjcmV0"
#define FOREIGN  "YW5uQGV4YW1wbGUub3JnAHVzZXJAZXhhbXBsZS5vcmcAc2VjcmV0"
#define BAD      "AHVzZXJAZXhhbXBsZS5vcmcAc2VjcmV1"

enum way { CLEAR, NO_TLS, TLS };

struct row {
    enum way door;
    const char *said;
    const char *reply; /* behind the greeting */
    bool closed;
};

static const struct row rows[] = {
    /* What each command does without TLS. */
    {CLEAR, "CAPA\r\n", CAPA_START "STLS\r\nIMPLEMENTATION Veredus\r\n.\r\n", false},
    {NO_TLS, "CAPA\r\n", CAPA_START "IMPLEMENTATION Veredus\r\n.\r\n", false},
    {CLEAR, "USER user@example.org\r\n", IN_CLEAR, false},
    {CLEAR, "PASS secret\r\n", IN_CLEAR, false},
    {CLEAR, "AUTH PLAIN " PLAIN "\r\n", IN_CLEAR, false},
    {CLEAR, "AUTH\r\n", IN_CLEAR, false},
    {NO_TLS, "USER user@example.org\r\n",
     "-ERR [AUTH] This port has no TLS, and no password travels in clear; use the port with TLS\r\n", false},
    {CLEAR, "STLS\r\n", "+OK Begin TLS\r\n", false},
    {CLEAR, "stls\n", "+OK Begin TLS\r\n", false},
    {NO_TLS, "STLS\r\n", "-ERR TLS cannot be had on this port\r\n", false},
    {TLS, "STLS\r\n", "-ERR TLS has begun already\r\n", false},
    {CLEAR, "STLS\r\nCAPA\r\nQUIT\r\n", "+OK Begin TLS\r\n", false}, /* injected commands are thrown away */
    {CLEAR, "QUIT\r\n", "+OK Bye\r\n", true},
    {CLEAR, "UTF8\r\n", "+OK Messages are sent as they are (RFC 6856)\r\n", false},
    /* And with it. */
    {TLS, "CAPA\r\n", CAPA_START "USER\r\nSASL PLAIN LOGIN\r\nIMPLEMENTATION Veredus\r\n.\r\n", false},
    {TLS, "NOOP\r\n", "-ERR Log in first\r\n", false},
    {TLS, "STAT\r\n", "-ERR Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is\r\n",
     false},
    {TLS, "RETR 1\r\nQUIT\r\n",
     "-ERR Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is\r\n+OK Bye\r\n", true},
    {TLS, "APOP user@example.org c4c9334bac560ecc979e58001b3e22fb\r\n",
     "-ERR Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is\r\n", false},
    {TLS, "LANG\r\n", "-ERR Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is\r\n",
     false},
    {TLS, "\r\n", "-ERR Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is\r\n",
     false},
    {TLS, "USER user@example.org\r\nPASS secret\r\n", NOW HELLO, false},
    {TLS, "user  USER@example.org \r\npass secret\r\n", NOW HELLO, false},
    {TLS, "USER user@example.org\r\nPASS  secret\r\n", NOW WRONG, false}, /* a blank may be part of it */
    {TLS, "USER user@example.org\r\nPASS wrong\r\nUSER user@example.org\r\nPASS secret\r\n",
     NOW WRONG NOW HELLO, false},
    {TLS, "USER user@example.org\r\nPASS wrong\r\nPASS secret\r\n",
     NOW WRONG "-ERR USER comes before PASS\r\n", false},
    {TLS, "PASS secret\r\n", "-ERR USER comes before PASS\r\n", false},
    {TLS, "USER\r\n", "-ERR USER takes the name of the mailbox, like user@example.org\r\n", false},
    {TLS, "USER \xff\xfe\r\n", "-ERR USER takes the name of the mailbox, like user@example.org\r\n", false},
    {TLS, "USER a\tb\r\n", "-ERR USER takes the name of the mailbox, like user@example.org\r\n", false},
    {TLS, "USER j\xc3\xb6rg@example.org\r\nPASS x\r\n", NOW WRONG, false},
    {TLS, "USER a\r\nPASS\r\n",
     NOW "-ERR [AUTH] PASS takes the password, in UTF-8 and of 1024 octets at most\r\n", false},
    {TLS, "USER a\r\nPASS \xe4\r\n",
     NOW "-ERR [AUTH] PASS takes the password, in UTF-8 and of 1024 octets at most\r\n", false},
    {TLS, "USER a\r\nPASS x\r\nUSER a\r\nPASS x\r\nUSER a\r\nPASS x\r\nUSER a\r\n",
     NOW WRONG NOW WRONG NOW WRONG, true},
    /* AUTH (RFC 5034). */
    {TLS, "AUTH\r\n", "+OK Mechanisms\r\nPLAIN\r\nLOGIN\r\n.\r\n", false},
    {TLS, "AUTH CRAM-MD5\r\n", "-ERR This mechanism is not offered; CAPA lists those that are\r\n", false},
    {TLS, "AUTH PLAIN " PLAIN "\r\n", HELLO, false},
    {TLS, "auth plain " PLAIN "\r\n", HELLO, false},
    {TLS, "AUTH PLAIN\r\n" PLAIN "\r\n", "+ \r\n" HELLO, false},
    {TLS, "AUTH PLAIN \r\n" PLAIN "\r\n", "+ \r\n" HELLO, false},
    {TLS, "AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n" PLAIN "\r\n", "+ \r\n-ERR Login cancelled\r\n+ \r\n" HELLO,
     false},
    {TLS, "AUTH PLAIN\r\nCAPA\r\nNOOP\r\n",
     "+ \r\n-ERR That is not a response of this mechanism\r\n-ERR Log in first\r\n", false},
    {TLS, "AUTH PLAIN\r\n%%\r\nNOOP\r\n",
     "+ \r\n-ERR That is not base64, or too much of it\r\n-ERR Log in first\r\n", false},
    {TLS, "AUTH PLAIN =\r\n", "-ERR That is not a response of this mechanism\r\n", false},
    {TLS, "AUTH PLAIN " PLAIN " x\r\n", "-ERR That is not base64, or too much of it\r\n", false},
    {TLS, "AUTH PLAIN " FOREIGN "\r\nNOOP\r\n",
     "-ERR [AUTH] Nobody may open the mailbox of somebody else\r\n-ERR Log in first\r\n", false},
    {TLS, "AUTH PLAIN " BAD "\r\nAUTH PLAIN " PLAIN "\r\n", WRONG HELLO, false},
    {TLS, "AUTH LOGIN\r\ndXNlckBleGFtcGxlLm9yZw==\r\nc2VjcmV0\r\n",
     "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n" HELLO, false},
    {TLS, "AUTH LOGIN dXNlckBleGFtcGxlLm9yZw==\r\nc2VjcmV0\r\n", "+ UGFzc3dvcmQ6\r\n" HELLO, false},
    /* After it there is no second one. */
    {TLS, "USER user@example.org\r\nPASS secret\r\nUSER x\r\nAUTH PLAIN\r\nUTF8\r\nSTLS\r\n",
     NOW HELLO
     "-ERR Unknown command; CAPA lists what there is\r\n-ERR Unknown command; CAPA lists what there is\r\n"
     "-ERR This belongs before the login\r\n-ERR This belongs before the login\r\n",
     false},
    /* Wrong doors. */
    {CLEAR, "\x16\x03\x01\x02",
     "-ERR TLS was begun on a port that speaks POP3 in clear first; use STLS here, or port 995 with TLS\r\n",
     true},
    {CLEAR, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_HERE, true},
    {TLS, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP_HERE, true},
    {CLEAR, "EHLO client.example.org\r\n",
     "-ERR This port speaks POP3, and SMTP was spoken; mail is submitted at port 587 with STARTTLS\r\n",
     true},
    {TLS, "a1 CAPABILITY\r\n", IMAP_HERE, true},
    {TLS, "a1 login user secret\r\n", IMAP_HERE, true},
    /* Malformed lines. */
    {TLS, "CA\rPA\r\n", "-ERR A command must not hold CR or NUL\r\n", false},
    {TLS, "NOOP\r\r\n", "-ERR A command must not hold CR or NUL\r\n", false},
};

static void open_door(struct driver *d, enum way door)
{
    driver_init(d, door == TLS, door == CLEAR);
    driver_start(d, STR_EMPTY);
}

static void expect(const struct driver *d, const char *reply)
{
    struct buf want = buf_make(1 << 20);
    buf_append_lit(&want, GREETING);
    buf_append_str(&want, str_of(reply));
    buf_append_char(&want, '\0');
    struct buf got = buf_make(1 << 20);
    buf_append_str(&got, buf_str(&d->said));
    buf_append_char(&got, '\0');
    assert_string_equal(got.data, want.data);
    buf_free(&want);
    buf_free(&got);
}

static void test_table_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str said = str_of(rows[i].said);
        for (size_t split = 0; split < said.len; split++) {
            struct driver d;
            open_door(&d, rows[i].door);
            driver_say(&d, said, split);
            expect(&d, rows[i].reply);
            assert_int_equal(d.closed, rows[i].closed);
            driver_free(&d);
        }
    }
}

static void test_answers_to_a_login(void **state)
{
    (void)state;
    static const struct {
        enum pop3_auth_answer auth;
        enum pop3_open_answer open;
        const char *reply;
        bool closed;
    } answers[] = {
        {POP3_AUTH_GOOD, POP3_IN_USE,
         NOW "-ERR [IN-USE] Another session has this mailbox open; try again when it is over\r\n", false},
        {POP3_AUTH_GOOD, POP3_OPEN_FAILED,
         NOW "-ERR [SYS/TEMP] The mailbox cannot be opened now; try again later\r\n", false},
        {POP3_AUTH_DISABLED, POP3_OPENED, NOW "-ERR [AUTH] This account is disabled; ask your postmaster\r\n",
         false},
        {POP3_AUTH_TEMPORARY, POP3_OPENED,
         NOW "-ERR [SYS/TEMP] Passwords cannot be checked now; try again later\r\n", false},
        {POP3_AUTH_THROTTLED, POP3_OPENED, NOW "-ERR [SYS/TEMP] Too many failed logins; try again later\r\n",
         true},
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct driver d;
        open_door(&d, TLS);
        d.auth = answers[i].auth;
        d.open = answers[i].open;
        driver_say(&d, STR("USER user@example.org\r\nPASS secret\r\n"), 0);
        expect(&d, answers[i].reply);
        assert_int_equal(d.closed, answers[i].closed);
        assert_int_equal(d.server.login_password.cap, 0); /* wiped */
        if (!d.closed) {                                  /* and once it is over, the same session gets in */
            d.auth = POP3_AUTH_GOOD;
            d.open = POP3_OPENED;
            buf_clear(&d.said);
            driver_say(&d, STR("USER user@example.org\r\nPASS secret\r\n"), 0);
            assert_true(str_equal(buf_str(&d.said), STR(NOW HELLO)));
        }
        driver_free(&d);
    }
}

static void test_tls_then_login(void **state)
{
    (void)state;
    struct driver d;
    open_door(&d, CLEAR);
    driver_say(&d, STR("STLS\r\n"), 0);
    assert_int_equal(d.tls_started, 1);
    driver_say(&d, STR("AUTH PLAIN " PLAIN "\r\n"), 0);
    expect(&d, "+OK Begin TLS\r\n" HELLO);
    driver_free(&d);
}

static void test_tls_before_the_greeting(void **state)
{
    (void)state;
    struct driver d;
    driver_init(&d, false, true);
    d.settings.doors.pop3s = 0;
    driver_start(&d, STR("\x16\x03\x01"));
    assert_true(d.closed);
    assert_true(
        str_equal(buf_str(&d.said),
                  STR("-ERR TLS was begun on a port that speaks POP3 in clear first; use STLS here\r\n")));
    driver_free(&d);
}

/* RFC 2449, section 4: lines of up to 255 octets must be taken; a response may be as long as RFC 4954 has it, 12288. */
static void test_long_lines(void **state)
{
    (void)state;
    static const struct {
        const char *begin;
        size_t len; /* with CRLF */
        bool closed;
    } lines[] = {{"NOOP ", 512, false},         {"NOOP ", 513, true},         {"NOOP ", 1000000, true},
                 {"AUTH PLAIN ", 12288, false}, {"AUTH PLAIN ", 12289, true}, {"PASS ", 1031, false},
                 {"PASS ", 12288, false},       {"PASS ", 12289, true}};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        static const size_t splits[] = {0, 1, 3, 511, 512, 513};
        for (size_t k = 0; k < sizeof(splits) / sizeof(splits[0]); k++) {
            struct driver d;
            struct buf line = buf_make(1 << 21);
            buf_append_str(&line, str_of(lines[i].begin));
            while (line.len < lines[i].len - 2) {
                buf_append_char(&line, 'x');
            }
            buf_append_lit(&line, "\r\n");
            open_door(&d, TLS);
            driver_say(&d, buf_str(&line), splits[k]);
            assert_int_equal(d.closed, lines[i].closed);
            assert_true(d.server.line.cap <= POP3_AUTH_LINE_MAX);
            assert_int_equal(lines[i].closed, str_ends(buf_str(&d.said), STR("-ERR Line too long\r\n")));
            driver_free(&d);
            buf_free(&line);
        }
    }
}

static void test_endless_line_without_end(void **state)
{
    (void)state;
    struct driver d;
    open_door(&d, TLS);
    for (int i = 0; i < 100000 && !d.closed; i++) {
        driver_say(&d, STR("xxxxxxxxxx"), 0);
    }
    assert_true(d.closed);
    driver_free(&d);
}

static void test_errors_are_counted(void **state)
{
    (void)state;
    struct driver d;
    open_door(&d, TLS);
    for (int i = 0; i < 19; i++) {
        driver_say(&d, STR("XYZZY\r\n"), 0);
    }
    assert_false(d.closed);
    driver_say(&d, STR("XYZZY\r\nNOOP\r\n"), 0);
    assert_true(d.closed);
    assert_string_equal(d.server.close_reason, "too many errors");
    driver_free(&d);
}

static void test_time(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 16);
    open_door(&d, TLS);
    assert_int_equal(pop3_server_deadline(&d.server), 1000 + 120000);
    d.now_ms = 60000;
    driver_say(&d, STR("NOO"), 0); /* half a line buys no time */
    assert_int_equal(pop3_server_deadline(&d.server), 1000 + 120000);
    driver_say(&d, STR("P\r\n"), 0);
    assert_int_equal(pop3_server_deadline(&d.server), 60000 + 120000);
    d.now_ms = 200000;
    driver_say(&d, STR("NOOP\r\n"), 0); /* nor does any number of commands without a login */
    assert_int_equal(pop3_server_deadline(&d.server), 1000 + 240000);
    driver_say(&d, STR("AUTH PLAIN " PLAIN "\r\n"), 0);
    assert_int_equal(pop3_server_deadline(&d.server), 200000 + 600000);
    pop3_server_expire(&d.server, &out);
    assert_true(str_equal(buf_str(&out),
                          STR("-ERR [SYS/TEMP] No command came in time; nothing has been removed\r\n")));
    struct str none = STR_EMPTY;
    assert_int_equal(pop3_server_run(&d.server, 900000, &none, &out), POP3_CLOSE);
    buf_free(&out);
    driver_free(&d);
}

static void test_shutdown(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 16);
    open_door(&d, TLS);
    assert_true(pop3_server_shutdown(&d.server, &out));
    assert_true(str_equal(buf_str(&out),
                          STR("-ERR [SYS/TEMP] The server is stopping; connect again in a moment\r\n")));
    assert_true(pop3_server_shutdown(&d.server, &out));
    buf_free(&out);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_at_every_split),
        cmocka_unit_test(test_answers_to_a_login),
        cmocka_unit_test(test_tls_then_login),
        cmocka_unit_test(test_tls_before_the_greeting),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_endless_line_without_end),
        cmocka_unit_test(test_errors_are_counted),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
