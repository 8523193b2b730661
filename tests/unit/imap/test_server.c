/*
 * The IMAP engine in whole sessions: commands and their replies, the same at every split of the input, and with every allocation
 * failing in turn.
 */
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

/* Every command at least once. */
static const char session[] =
    "a1 CAPABILITY\r\na2 NOOP\r\na3 ID (\"name\" \"test\")\r\na4 LOGIN ann wrong\r\na5 LOGIN ann pw\r\n"
    "b1 ENABLE CONDSTORE\r\nb2 NAMESPACE\r\nb3 CREATE New/Box\r\nb4 LIST \"\" *\r\nb5 SUBSCRIBE Work\r\nb6 "
    "LSUB \"\" *\r\n"
    "b7 STATUS INBOX (MESSAGES UIDNEXT UNSEEN)\r\nb8 RENAME New/Box Other\r\nb9 DELETE Other\r\n"
    "c1 SELECT INBOX\r\nc2 FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE INTERNALDATE RFC822.SIZE)\r\n"
    "c3 FETCH 2 (BODY[1] BODY[2.TEXT] BINARY.PEEK[1] BODY.PEEK[HEADER.FIELDS (Subject)])\r\n"
    "c4 STORE 1 +FLAGS ($Work \\Answered)\r\nc5 UID STORE 1:3 (UNCHANGEDSINCE 3) -FLAGS.SILENT (\\Seen)\r\n"
    "c6 SEARCH OR SUBJECT hello BODY gr\r\nc7 UID SEARCH RETURN (MIN COUNT SAVE) ALL\r\nc8 SORT (SUBJECT) "
    "UTF-8 ALL\r\n"
    "c9 THREAD REFERENCES UTF-8 ALL\r\nd1 COPY 1 Work\r\nd2 APPEND INBOX (\\Draft) {10}\r\n0123456789\r\n"
    "d3 STORE 2 +FLAGS (\\Deleted)\r\nd4 EXPUNGE\r\nd5 UID MOVE 1 Work\r\nd6 CHECK\r\nd7 IDLE\r\nDONE\r\nd8 "
    "CLOSE\r\n"
    "g1 SETMETADATA Work (/private/comment {3}\r\nabc)\r\ng2 GETMETADATA (DEPTH 1) Work (/private)\r\n"
    "g3 LIST \"\" * RETURN (STATUS (SIZE) METADATA (/private/comment))\r\ng4 GETQUOTAROOT INBOX\r\n"
    "f1 COMPRESS DEFLATE\r\nf2 SELECT Work\r\nf3 FETCH 1 (PREVIEW)\r\nf4 UID REPLACE 1 Work CATENATE (TEXT "
    "{1}\r\nx URL "
    "/INBOX/;UID=3/;PARTIAL=0.3 URL \";UID=1/;SECTION=HEADER.FIELDS%20(Subject)\")\r\nf5 SEARCH RETURN "
    "(UPDATE COUNT) BODY f\r\nf6 STORE 1 FLAGS (\\Seen)\r\n"
    "f7 ESEARCH IN (personal) BODY i\r\nf8 APPEND Work {2}\r\nxf\r\nf9 CANCELUPDATE \"f5\"\r\nf10 "
    "UNSELECT\r\n"
    "e1 EXAMINE Work\r\ne2 FETCH 1 (BODY[])\r\ne3 STORE 1 FLAGS ()\r\ne4 UNSELECT\r\ne5 LOGOUT\r\n";

static struct driver d;

static struct str said(void)
{
    return buf_str(&d.said);
}

static void begin(bool tls)
{
    assert_true(driver_init(&d, tls));
    driver_start(&d);
}

static void log_in(void)
{
    begin(true);
    driver_say(&d, STR("l LOGIN ann pw\r\n"), 0);
    buf_clear(&d.said);
}

/* Says it and compares all that comes back. */
static void expect(const char *text, const char *reply)
{
    buf_clear(&d.said);
    driver_say(&d, str_of(text), 0);
    if (!str_equal(said(), str_of(reply))) {
        print_error("said:     %s\nreplied:  %.*s\nexpected: %s\n", text, STR_ARGS(said()), reply);
    }
    assert_true(str_equal(said(), str_of(reply)));
}

static void expect_some(const char *text, const char *part)
{
    buf_clear(&d.said);
    driver_say(&d, str_of(text), 0);
    if (str_find_str(said(), str_of(part)) == SIZE_MAX) {
        print_error("said:    %s\nreplied: %.*s\nlacks:   %s\n", text, STR_ARGS(said()), part);
    }
    assert_int_not_equal(str_find_str(said(), str_of(part)), SIZE_MAX);
}

static void test_every_split_is_the_same(void **state)
{
    (void)state;
    struct buf whole = buf_make(1 << 20);
    begin(true);
    driver_say(&d, str_of(session), 0);
    buf_append_str(&whole, said());
    assert_true(d.closed);
    driver_free(&d);
    for (size_t split = 1; split < 80; split++) {
        begin(true);
        driver_say(&d, str_of(session), split);
        assert_true(str_equal(said(), buf_str(&whole)));
        driver_free(&d);
    }
    /* Every command of the session is good but those that are meant not to be. */
    assert_int_equal(str_find_str(buf_str(&whole), STR(" BAD ")), SIZE_MAX);
    assert_int_not_equal(str_find_str(buf_str(&whole), STR("a4 NO [AUTHENTICATIONFAILED]")), SIZE_MAX);
    assert_int_not_equal(str_find_str(buf_str(&whole), STR("e3 NO [READ-ONLY]")), SIZE_MAX);
    assert_int_not_equal(str_find_str(buf_str(&whole), STR("e5 OK")), SIZE_MAX);
    buf_free(&whole);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t live = mem_live();
    uint64_t last = 1;
    for (uint64_t k = 1; k <= last; k++) {
        /* What the test itself needs must not fail: the engine's allocations are counted from here. */
        memset(&d, 0, sizeof(d));
        mem_fail_at(k, 1);
        if (driver_init(&d, true)) {
            driver_start(&d);
            driver_say(&d, str_of(session), 0);
        }
        last = mem_count() + (k == 1);
        mem_fail_at(0, 0);
        driver_free(&d);
        assert_int_equal(mem_live(), live);
    }
}

static void test_before_login(void **state)
{
    (void)state;
    begin(false);
    expect("a LOGIN ann pw\r\n",
           "a NO [PRIVACYREQUIRED] Begin TLS first with STARTTLS; no password travels in clear\r\n");
    expect("b SELECT INBOX\r\n", "b NO Log in first\r\n");
    expect("c FOO\r\n", "c BAD There is no such command\r\n");
    expect_some("d STARTTLS\r\n", "d OK Begin TLS\r\n");
    expect("e STARTTLS\r\n", "e BAD TLS has begun already\r\n");
    expect_some("f LOGIN ann {2}\r\npw\r\n", "+ Go on\r\nf OK [CAPABILITY ");
    expect("g LOGIN ann pw\r\n", "g BAD You are logged in already\r\n");
    expect("h FETCH 1 FLAGS\r\n", "h BAD Select a mailbox first\r\n");
    driver_free(&d);
}

static void test_authenticate(void **state)
{
    (void)state;
    begin(true);
    expect("a AUTHENTICATE FOO\r\n",
           "a NO [CANNOT] This mechanism is not offered; CAPABILITY lists those that are\r\n");
    expect("b AUTHENTICATE PLAIN\r\n", "+ \r\n");
    expect("*\r\n", "b BAD Login cancelled\r\n");
    expect("c AUTHENTICATE PLAIN !!\r\n", "c BAD That is not base64\r\n");
    expect_some("d AUTHENTICATE PLAIN AGFubgBwdw==\r\n", "d OK [CAPABILITY ");
    driver_free(&d);
}

static void test_wrong_doors(void **state)
{
    (void)state;
    begin(false);
    expect_some(
        "GET / HTTP/1.1\r\n",
        "* BYE This port speaks IMAP, and HTTP was spoken; this is a mail server, not a web server\r\n");
    assert_true(d.closed);
    driver_free(&d);
    begin(false);
    expect_some("EHLO client.example\r\n",
                "* BYE This port speaks IMAP, and SMTP was spoken; mail is submitted at port 587 "
                "with STARTTLS\r\n");
    assert_true(d.closed);
    driver_free(&d);
    begin(false);
    expect_some(
        "USER ann\r\n",
        "* BYE This port speaks IMAP, and POP3 was spoken; that is at port 995 with TLS from the first "
        "byte\r\n");
    assert_true(d.closed);
    driver_free(&d);
    begin(false);
    expect_some("USER NOOP\r\n", "USER OK "); /* a tag may be any word */
    driver_free(&d);
    begin(false);
    buf_clear(&d.said);
    driver_say(&d, STR("\x16\x03\x01\x02\x00\x01"), 0);
    assert_true(d.closed);
    assert_int_not_equal(str_find_str(said(), STR("use STARTTLS here, or port 993")), SIZE_MAX);
    driver_free(&d);
}

static void test_literals(void **state)
{
    (void)state;
    log_in();
    expect("a APPEND INBOX {401}\r\n", "a NO [TOOBIG] That is larger than this server takes\r\n");
    expect("b NOOP\r\n", "b OK Nothing done\r\n");
    /* A client that does not wait has sent it: it is read and thrown away. */
    buf_clear(&d.said);
    char much[700];
    memset(much, 'x', sizeof(much));
    driver_say(&d, STR("c APPEND INBOX {690+}\r\n"), 0);
    driver_say(&d, str_make(much, 690), 7);
    driver_say(&d, STR("\r\n"), 0);
    assert_true(str_equal(said(), STR("c NO [TOOBIG] That is larger than this server takes\r\n")));
    expect("d NOOP\r\n", "d OK Nothing done\r\n");
    expect("e CREATE {3+}\r\nBox\r\n", "e OK [MAILBOXID (00000000000000000000000000000000)] Created\r\n");
    expect("f APPEND Nowhere {1}\r\nx\r\n",
           "+ Go on\r\nf NO [TRYCREATE] There is no such mailbox; create it first\r\n");
    expect("g APPEND INBOX {0+}\r\n\r\n", "g NO An empty message is not filed\r\n");
    expect_some("h APPEND INBOX {2+}\r\nab {2+}\r\ncd\r\n", "h OK [APPENDUID 1000 4,5] Appended\r\n");
    driver_free(&d);
}

static void test_news(void **state)
{
    (void)state;
    log_in();
    driver_say(&d, STR("a SELECT INBOX\r\n"), 0);
    expect("b IDLE\r\n", "+ Idling; DONE ends it\r\n");
    buf_clear(&d.said);
    driver_deliver(&d, 0, STR("Subject: new\r\n\r\n"));
    assert_true(str_equal(said(), STR("* 4 EXISTS\r\n* 1 RECENT\r\n")));
    expect("DONE\r\n", "b OK Idle no more\r\n");
    expect("c IDLE\r\nx\r\n", "+ Idling; DONE ends it\r\nc BAD IDLE ends with DONE\r\n");
    driver_free(&d);
}

static void test_messages_are_named_right(void **state)
{
    (void)state;
    log_in();
    driver_say(&d, STR("a SELECT INBOX\r\n"), 0);
    expect("b FETCH 4 FLAGS\r\n", "b BAD There is no message of that number\r\n");
    expect("c UID FETCH 99 FLAGS\r\n", "c OK No such messages\r\n");
    expect("d FETCH 0 FLAGS\r\n", "d BAD That is not a set of message numbers\r\n");
    expect("e FETCH 3 (FLAGS)\r\n", "* 3 FETCH (FLAGS (\\Flagged))\r\ne OK Fetched\r\n");
    expect("f UID FETCH 3 FLAGS\r\n", "* 3 FETCH (FLAGS (\\Flagged) UID 3)\r\nf OK Fetched\r\n");
    expect("g FETCH 3 BODY.PEEK[]<3.6>\r\n", "* 3 FETCH (BODY[]<3> {6}\r\nheader)\r\ng OK Fetched\r\n");
    expect("h FETCH 3 BODY.PEEK[]<99.6>\r\n", "* 3 FETCH (BODY[]<99> {0}\r\n)\r\nh OK Fetched\r\n");
    expect("i FETCH 2 BINARY.PEEK[1]\r\n", "* 2 FETCH (BINARY[1] {7}\r\nGr\xc3\xbc\xc3\x9f"
                                           "e)\r\ni OK Fetched\r\n");
    expect("j FETCH 3 FOO\r\n",
           "j BAD FETCH takes messages and items; expected an item that FETCH knows before: FOO\r\n");
    driver_free(&d);
}

static void test_silent_stores_and_expunges(void **state)
{
    (void)state;
    log_in();
    driver_say(&d, STR("a SELECT INBOX\r\n"), 0);
    expect("b STORE 1:2 +FLAGS.SILENT (\\Deleted)\r\n", "b OK Stored\r\n");
    expect("c STORE 3 FLAGS (\\Seen)\r\n", "* 3 FETCH (FLAGS (\\Seen))\r\nc OK Stored\r\n");
    expect("d UID EXPUNGE 2\r\n", "* 2 EXPUNGE\r\nd OK Expunged\r\n");
    expect("e EXPUNGE\r\n", "* 1 EXPUNGE\r\ne OK Expunged\r\n");
    expect("f EXPUNGE\r\n", "f OK Nothing to expunge\r\n");
    driver_free(&d);
}

static void test_failing_answers(void **state)
{
    (void)state;
    log_in();
    driver_say(&d, STR("a SELECT INBOX\r\n"), 0);
    d.fail_answers = true;
    expect("b FETCH 1 BODY[]\r\n", "b NO [UNAVAILABLE] The server cannot do that now; try again later\r\n");
    expect("c CREATE X\r\n", "c NO [UNAVAILABLE] The server cannot do that now; try again later\r\n");
    expect("d LIST \"\" *\r\n", "d NO [UNAVAILABLE] The server cannot do that now; try again later\r\n");
    d.fail_answers = false;
    expect_some("e FETCH 1 FLAGS\r\n", "e OK Fetched\r\n");
    driver_free(&d);
}

static void test_times(void **state)
{
    (void)state;
    struct buf out = buf_make(1000);
    begin(true);
    assert_int_equal(imap_server_deadline(d.server), 60000);
    driver_free(&d);
    log_in();
    assert_int_equal(imap_server_deadline(d.server), 1800000);
    imap_server_expire(d.server, &out);
    assert_true(str_equal(buf_str(&out), STR("* BYE No command came in time\r\n")));
    buf_free(&out);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split_is_the_same),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_before_login),
        cmocka_unit_test(test_authenticate),
        cmocka_unit_test(test_wrong_doors),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_messages_are_named_right),
        cmocka_unit_test(test_silent_stores_and_expunges),
        cmocka_unit_test(test_failing_answers),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
