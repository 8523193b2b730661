/* The POP3 engine after the login: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP, QUIT; and what survives which end. */
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LOGIN "USER user@example.org\r\nPASS secret\r\n"
#define FIRST STR("Subject: a\r\n\r\n.dot\r\n..two\r\n\r\nlast\r\n")
#define ODD   STR("Subject: b\r\n\r\nno end")
#define HEAD  STR("Subject: c\r\nX: .y\r\n")

struct row {
    const char *said;
    const char *reply;
    bool closed;
};

/* Three messages: of 35, 20 and 19 octets. */
static const struct row rows[] = {
    {"STAT\r\n", "+OK 3 74\r\n", false},
    {"LIST\r\n", "+OK 3 messages (74 octets)\r\n1 35\r\n2 20\r\n3 19\r\n.\r\n", false},
    {"LIST 2\r\n", "+OK 2 20\r\n", false},
    {"list  2 \r\n", "+OK 2 20\r\n", false},
    {"LIST 4\r\n", "-ERR There is no such message\r\n", false},
    {"LIST 0\r\n", "-ERR A message number is needed\r\n", false},
    {"LIST -1\r\n", "-ERR A message number is needed\r\n", false},
    {"LIST 99999999999999999999\r\n", "-ERR A message number is needed\r\n", false},
    {"LIST 1 2\r\n", "-ERR A message number is needed\r\n", false},
    {"UIDL\r\n",
     "+OK Unique ids follow\r\n1 abcdef0100000007\r\n2 abcdef0100000008\r\n3 abcdef0100000009\r\n.\r\n",
     false},
    {"UIDL 3\r\n", "+OK 3 abcdef0100000009\r\n", false},
    {"UIDL 4\r\n", "-ERR There is no such message\r\n", false},
    {"RETR 1\r\n", "+OK 35 octets\r\nSubject: a\r\n\r\n..dot\r\n...two\r\n\r\nlast\r\n.\r\n", false},
    {"RETR 2\r\n", "+OK 20 octets\r\nSubject: b\r\n\r\nno end\r\n.\r\n", false},
    {"RETR\r\n", "-ERR A message number is needed\r\n", false},
    {"RETR x\r\n", "-ERR A message number is needed\r\n", false},
    {"TOP 1 0\r\n", "+OK Top of the message follows\r\nSubject: a\r\n\r\n.\r\n", false},
    {"TOP 1 1\r\n", "+OK Top of the message follows\r\nSubject: a\r\n\r\n..dot\r\n.\r\n", false},
    {"TOP 1 3\r\n", "+OK Top of the message follows\r\nSubject: a\r\n\r\n..dot\r\n...two\r\n\r\n.\r\n",
     false},
    {"TOP 1 99\r\n",
     "+OK Top of the message follows\r\nSubject: a\r\n\r\n..dot\r\n...two\r\n\r\nlast\r\n.\r\n", false},
    {"TOP 2 1\r\n", "+OK Top of the message follows\r\nSubject: b\r\n\r\nno end\r\n.\r\n", false},
    {"TOP 3 1\r\n", "+OK Top of the message follows\r\nSubject: c\r\nX: .y\r\n.\r\n", false},
    {"TOP 1\r\n", "-ERR TOP takes a message number and a number of lines\r\n", false},
    {"TOP 1 -1\r\n", "-ERR TOP takes a message number and a number of lines\r\n", false},
    {"TOP 9 1\r\n", "-ERR There is no such message\r\n", false},
    {"DELE 2\r\nSTAT\r\nLIST\r\n",
     "+OK Deleted; it goes at QUIT\r\n+OK 2 54\r\n+OK 2 messages (54 octets)\r\n1 35\r\n3 19\r\n.\r\n",
     false},
    {"DELE 2\r\nDELE 2\r\nRETR 2\r\nTOP 2 0\r\nLIST 2\r\nUIDL 2\r\n",
     "+OK Deleted; it goes at QUIT\r\n-ERR This message has been deleted\r\n-ERR This message has been "
     "deleted\r\n"
     "-ERR This message has been deleted\r\n-ERR This message has been deleted\r\n-ERR This message has been "
     "deleted\r\n",
     false},
    {"DELE 2\r\nRSET\r\nLIST 2\r\n",
     "+OK Deleted; it goes at QUIT\r\n+OK 3 messages (74 octets)\r\n+OK 2 20\r\n", false},
    {"NOOP\r\n", "+OK Done\r\n", false},
    {"QUIT\r\nSTAT\r\n", "+OK Bye\r\n", true},
    {"DELE 1\r\nQUIT\r\n", "+OK Deleted; it goes at QUIT\r\n+OK Bye\r\n", true},
    {"EHLO x\r\n", "-ERR Unknown command; CAPA lists what there is\r\n", false},
};

static void open_mailbox(struct driver *d)
{
    driver_init(d, true, false);
    driver_add(d, FIRST);
    driver_add(d, ODD);
    driver_add(d, HEAD);
    driver_start(d, STR_EMPTY);
    driver_say(d, STR(LOGIN), 0);
    assert_true(str_ends(buf_str(&d->said), STR("+OK 3 messages (74 octets)\r\n")));
    buf_clear(&d->said);
}

static void expect(struct driver *d, const char *reply)
{
    buf_append_char(&d->said, '\0');
    assert_string_equal(d->said.data, reply);
    buf_clear(&d->said);
}

static void test_table_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str said = str_of(rows[i].said);
        for (size_t split = 0; split < said.len; split++) {
            struct driver d;
            open_mailbox(&d);
            driver_say(&d, said, split);
            expect(&d, rows[i].reply);
            assert_int_equal(d.closed, rows[i].closed);
            driver_free(&d);
        }
    }
}

/* Whatever pieces a message is read in, the client gets the same. */
static void test_pieces_of_a_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t piece = 1; piece < 40; piece++) {
            struct driver d;
            open_mailbox(&d);
            d.read_limit = piece;
            driver_say(&d, str_of(rows[i].said), 0);
            expect(&d, rows[i].reply);
            driver_free(&d);
        }
    }
}

static void test_removed_only_at_quit(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "RSET\r\nQUIT\r\n", "QUI"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct driver d;
        open_mailbox(&d);
        driver_say(&d, STR("DELE 1\r\nDELE 3\r\n"), 0);
        driver_say(&d, str_of(ends[i]), 0);
        assert_int_equal(d.expunged, 0);
        assert_int_equal(d.given_back, i == 1);
        assert_int_equal(d.messages[0].len, 35);
        driver_free(&d);
    }
    struct driver d;
    struct buf out = buf_make(1 << 16);
    open_mailbox(&d);
    driver_say(&d, STR("DELE 1\r\n"), 0);
    pop3_server_expire(&d.server, &out); /* RFC 1939, section 3: autologout does not enter UPDATE */
    assert_int_equal(d.expunged, 0);
    driver_free(&d);

    open_mailbox(&d);
    driver_say(&d, STR("DELE 1\r\nDELE 3\r\nQUIT\r\n"), 0);
    assert_int_equal(d.expunged, 1);
    assert_int_equal(d.messages[0].len, 0);
    assert_int_equal(d.messages[1].len, 20);
    assert_int_equal(d.messages[2].len, 0);
    driver_free(&d);
    buf_free(&out);
}

static void test_removal_fails(void **state)
{
    (void)state;
    struct driver d;
    open_mailbox(&d);
    d.expunge_fails = true;
    driver_say(&d, STR("DELE 1\r\nQUIT\r\n"), 0);
    expect(&d, "+OK Deleted; it goes at QUIT\r\n-ERR [SYS/TEMP] Some deleted messages were not removed; they "
               "show again next "
               "time\r\n");
    assert_true(d.closed);
    driver_free(&d);

    open_mailbox(&d);
    d.expunge_fails = true;
    driver_say(&d, STR("QUIT\r\n"), 0); /* nothing was to be removed */
    expect(&d, "+OK Bye\r\n");
    driver_free(&d);
}

/* While a removal is under way neither time nor the end of the server cut the answer off. */
static void test_removal_is_answered(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 16);
    struct str said = STR("DELE 1\r\nQUIT\r\n");
    open_mailbox(&d);
    assert_int_equal(pop3_server_run(&d.server, 2000, &said, &out), POP3_EXPUNGE);
    buf_clear(&out);
    pop3_server_expire(&d.server, &out);
    assert_false(pop3_server_shutdown(&d.server, &out));
    assert_int_equal(out.len, 0);
    pop3_server_expunged(&d.server, true, &out);
    assert_true(str_equal(buf_str(&out), STR("+OK Bye\r\n")));
    assert_int_equal(pop3_server_run(&d.server, 2000, &said, &out), POP3_CLOSE);
    driver_free(&d);
    buf_free(&out);
}

/* After "+OK" only the end of the connection tells that this is not the message. */
static void test_unreadable_message(void **state)
{
    (void)state;
    struct driver d;
    open_mailbox(&d);
    d.read_limit = 20;
    d.read_fails_at = 20;
    driver_say(&d, STR("RETR 1\r\nQUIT\r\n"), 0);
    assert_true(d.closed);
    assert_false(str_ends(buf_str(&d.said), STR("\r\n.\r\n")));
    assert_int_equal(d.expunged, 0);
    driver_free(&d);
}

static void test_time_while_sending(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 20);
    struct str said = STR("RETR 1\r\n");
    open_mailbox(&d);
    d.now_ms = 5000;
    assert_int_equal(pop3_server_run(&d.server, d.now_ms, &said, &out), POP3_READ);
    pop3_server_expire(&d.server, &out);
    assert_true(str_equal(buf_str(&out), STR("+OK 35 octets\r\n"))); /* no words in the middle of a message */
    assert_int_equal(d.server.state, 5);
    driver_free(&d);
    buf_free(&out);
}

/* Answers that nobody asked for change nothing. */
static void test_answers_out_of_turn(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 16);
    driver_init(&d, true, false);
    driver_start(&d, STR_EMPTY);
    pop3_server_verified(&d.server, POP3_AUTH_GOOD, STR("a"), STR("g"), &out);
    pop3_server_opened(&d.server, POP3_OPENED, 1, &out);
    pop3_server_bytes(&d.server, true, STR("x"), &out);
    pop3_server_expunged(&d.server, true, &out);
    assert_int_equal(out.len, 0);
    assert_false(d.server.opened);
    driver_say(&d, STR("STAT\r\n"), 0);
    assert_true(str_ends(buf_str(&d.said), STR("CAPA lists what there is\r\n")));
    driver_free(&d);
    buf_free(&out);
}

/* A message of many chunks, and a header whose empty line lies across two chunks. */
static void test_large_messages(void **state)
{
    (void)state;
    for (size_t header = POP3_CHUNK - 4; header <= POP3_CHUNK + 1; header++) {
        struct driver d;
        struct buf message = buf_make(1 << 24);
        driver_init(&d, true, false);
        while (message.len < header - 2) {
            buf_append_lit(&message, "h");
        }
        buf_append_lit(&message, "\r\n\r\nbody\r\n");
        size_t head_len = message.len - 6;
        while (message.len < 3 << 20) {
            buf_append_lit(&message, ".\r\n");
        }
        driver_add(&d, buf_str(&message));
        driver_start(&d, STR_EMPTY);
        driver_say(&d, STR(LOGIN), 0);
        buf_clear(&d.said);
        driver_say(&d, STR("TOP 1 1\r\n"), 0);
        struct str top = str_from(buf_str(&d.said), sizeof("+OK Top of the message follows\r\n") - 1);
        assert_true(str_equal(str_sub(top, 0, head_len + 6), str_sub(buf_str(&message), 0, head_len + 6)));
        assert_true(str_equal(str_from(top, head_len + 6), STR(".\r\n")));
        buf_clear(&d.said);
        driver_say(&d, STR("RETR 1\r\n"), 0);
        struct str last = STR("..\r\n..\r\n.\r\n");
        assert_true(str_ends(buf_str(&d.said), last));
        assert_true(d.most <= 2 * POP3_CHUNK + 512); /* what waits for a slow client is bounded */
        driver_free(&d);
        buf_free(&message);
    }
}

/* A client that pipelines and does not read: the engine stops until the output has been taken. */
static void test_pipelining_is_bounded(void **state)
{
    (void)state;
    struct driver d;
    struct buf said = buf_make(1 << 22);
    open_mailbox(&d);
    for (int i = 0; i < 20000; i++) {
        buf_append_str(&said, i % 2 == 0 ? STR("RETR 1\r\n") : STR("CAPA\r\n"));
    }
    driver_say(&d, buf_str(&said), 0);
    assert_false(d.closed);
    assert_true(d.most <= 2 * POP3_CHUNK);
    buf_free(&said);
    driver_free(&d);
}

static void test_many_messages(void **state)
{
    (void)state;
    struct driver d;
    struct buf out = buf_make(1 << 20);
    struct str said = STR(LOGIN);
    driver_init(&d, true, false);
    assert_int_equal(pop3_server_run(&d.server, 0, &said, &out), POP3_VERIFY);
    pop3_server_verified(&d.server, POP3_AUTH_GOOD, STR("a"), STR("g"), &out);
    assert_int_equal(pop3_server_run(&d.server, 0, &said, &out), POP3_OPEN);
    for (uint32_t i = 1; i <= POP3_MESSAGES_MAX + 10; i++) {
        assert_true(pop3_server_entry(&d.server, i, 1));
    }
    pop3_server_opened(&d.server, POP3_OPENED, 1, &out);
    assert_int_equal(d.server.message_count, POP3_MESSAGES_MAX);
    driver_say(&d, STR("LIST\r\n"), 0);
    assert_true(str_ends(buf_str(&d.said), STR("\r\n1000000 1\r\n.\r\n")));
    assert_true(d.most <= POP3_CHUNK + 512);
    buf_free(&out);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_at_every_split), cmocka_unit_test(test_pieces_of_a_message),
        cmocka_unit_test(test_removed_only_at_quit), cmocka_unit_test(test_removal_fails),
        cmocka_unit_test(test_removal_is_answered),  cmocka_unit_test(test_unreadable_message),
        cmocka_unit_test(test_time_while_sending),   cmocka_unit_test(test_answers_out_of_turn),
        cmocka_unit_test(test_large_messages),       cmocka_unit_test(test_pipelining_is_bounded),
        cmocka_unit_test(test_many_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
