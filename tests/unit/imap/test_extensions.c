/* The IMAP engine's extensions, each by the sentences of its RFC. */
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct driver d;

static void log_in(void)
{
    assert_true(driver_init(&d, true));
    driver_start(&d);
    driver_say(&d, STR("l LOGIN ann pw\r\n"), 0);
    buf_clear(&d.said);
}

static void log_in_and_select(void)
{
    log_in();
    driver_say(&d, STR("s SELECT INBOX\r\n"), 0);
}

/* Says it and compares all that comes back. */
static void expect(const char *text, const char *reply)
{
    buf_clear(&d.said);
    driver_say(&d, str_of(text), 0);
    if (!str_equal(buf_str(&d.said), str_of(reply))) {
        print_error("said:     %s\nreplied:  %.*s\nexpected: %s\n", text, STR_ARGS(buf_str(&d.said)), reply);
    }
    assert_true(str_equal(buf_str(&d.said), str_of(reply)));
}

static void expect_some(const char *text, const char *part)
{
    buf_clear(&d.said);
    driver_say(&d, str_of(text), 0);
    if (str_find_str(buf_str(&d.said), str_of(part)) == SIZE_MAX) {
        print_error("said:    %s\nreplied: %.*s\nlacks:   %s\n", text, STR_ARGS(buf_str(&d.said)), part);
    }
    assert_int_not_equal(str_find_str(buf_str(&d.said), str_of(part)), SIZE_MAX);
}

static bool has_capability(const char *name)
{
    buf_clear(&d.said);
    driver_say(&d, STR("c CAPABILITY\r\n"), 0);
    return str_find_str(buf_str(&d.said), str_of(name)) != SIZE_MAX;
}

/* RFC 7888: what a refused literal and the rest of its line hold is never taken for commands. */
static void test_refused_literals_are_thrown_away(void **state)
{
    (void)state;
    char much[700];
    memset(much, 'x', sizeof(much));
    for (size_t split = 0; split < 50; split++) {
        log_in();
        driver_say(&d, STR("a APPEND INBOX {690+}\r\n"), split);
        driver_say(&d, str_make(much, 690), split);
        driver_say(&d, STR(" (\\Seen) {18+}\r\nx CREATE Sneaked\r\n {4+}\r\ny1\r\n {0+}\r\n\r\nb NOOP\r\n"),
                   split);
        assert_true(str_equal(buf_str(&d.said), STR("a NO [TOOBIG] That is larger than this server takes\r\n"
                                                    "b OK Nothing done\r\n")));
        driver_free(&d);
    }
    /* A line that is too long may announce one, too. */
    char *line = malloc(IMAP_LINE_MAX + 100);
    assert_non_null(line);
    memset(line, 'y', IMAP_LINE_MAX + 100);
    log_in();
    driver_say(&d, STR("a NOOP "), 0);
    driver_say(&d, str_make(line, IMAP_LINE_MAX + 100), 1000);
    driver_say(&d, STR(" {9+}\r\nx LOGOUT\r\n\r\nb NOOP\r\n"), 3);
    assert_true(str_equal(buf_str(&d.said), STR("a BAD That line is too long\r\nb OK Nothing done\r\n")));
    free(line);
    driver_free(&d);
}

static void test_what_is_thrown_away_is_bounded(void **state)
{
    (void)state;
    log_in();
    expect_some("a APPEND INBOX {99999999+}\r\n", "* BYE [TOOBIG] ");
    assert_true(d.closed);
    driver_free(&d);
    log_in(); /* also in sum */
    expect_some("a APPEND INBOX {60000000+}\r\n", "a NO [TOOBIG] ");
    char much[65536];
    memset(much, 'x', sizeof(much));
    for (size_t left = 60000000; left > 0;) {
        size_t part = left < sizeof(much) ? left : sizeof(much);
        driver_say(&d, str_make(much, part), 0);
        left -= part;
    }
    driver_say(&d, STR("\r\n"), 0);
    assert_false(d.closed);
    expect_some("b APPEND INBOX {9000000+}\r\n", "* BYE [TOOBIG] ");
    driver_free(&d);
    log_in(); /* a line without end, too */
    for (int i = 0; i < 2048 && !d.closed; i++) {
        driver_say(&d, str_make(much, sizeof(much)), 0);
    }
    assert_true(d.closed);
    assert_true(str_find_str(buf_str(&d.said), STR("* BYE [TOOBIG] ")) != SIZE_MAX);
    driver_free(&d);
}

/* RFC 4978 */
static void test_compress(void **state)
{
    (void)state;
    assert_true(driver_init(&d, true));
    driver_start(&d);
    expect("a COMPRESS DEFLATE\r\n", "a NO Log in first\r\n");
    driver_say(&d, STR("l LOGIN ann pw\r\n"), 0);
    assert_true(has_capability("COMPRESS=DEFLATE"));
    expect("b COMPRESS GZIP\r\n", "b BAD COMPRESS takes DEFLATE\r\n");
    expect("c COMPRESS deflate\r\n", "c OK DEFLATE is active\r\n");
    expect("d COMPRESS DEFLATE\r\n", "d BAD [COMPRESSIONACTIVE] DEFLATE is active already\r\n");
    assert_false(has_capability("COMPRESS"));
    driver_free(&d);
}

/* RFC 9586 */
static void test_uid_only(void **state)
{
    (void)state;
    log_in();
    assert_true(has_capability("UIDONLY"));
    expect("a ENABLE UIDONLY\r\n", "* ENABLED UIDONLY\r\na OK Enabled\r\n");
    buf_clear(&d.said);
    driver_say(&d, STR("b SELECT INBOX\r\n"), 0);
    assert_int_equal(str_find_str(buf_str(&d.said), STR("UNSEEN")), SIZE_MAX);
    static const char *const refused[] = {"FETCH 1 FLAGS",
                                          "STORE 1 FLAGS ()",
                                          "SEARCH ALL",
                                          "COPY 1 Work",
                                          "MOVE 1 Work",
                                          "SORT (SUBJECT) UTF-8 ALL",
                                          "UID SEARCH 1:*",
                                          "UID SEARCH NOT (OR UNSEEN 2)",
                                          "THREAD REFERENCES UTF-8 ALL"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        buf_clear(&d.said);
        driver_say(&d, STR("x "), 0);
        driver_say(&d, str_of(refused[i]), 0);
        driver_say(&d, STR("\r\n"), 0);
        assert_true(str_starts(buf_str(&d.said), STR("x BAD [UIDREQUIRED] ")));
    }
    expect("c UID FETCH 3 FLAGS\r\n", "* 3 UIDFETCH (FLAGS (\\Flagged))\r\nc OK Fetched\r\n");
    expect("d UID STORE 2 FLAGS (\\Deleted)\r\n", "* 2 UIDFETCH (FLAGS (\\Deleted))\r\nd OK Stored\r\n");
    expect("e EXPUNGE\r\n", "* VANISHED 2\r\ne OK Expunged\r\n");
    expect("f UID SEARCH UID 1:9\r\n", "* SEARCH 1 3\r\nf OK Searched\r\n");
    expect("g UID SEARCH RETURN (SAVE) ALL\r\n", "g OK Saved\r\n");
    expect("h UID SEARCH $\r\n", "* SEARCH 1 3\r\nh OK Searched\r\n");
    expect_some("i ENABLE QRESYNC\r\n", "i OK");
    expect("j SELECT INBOX (QRESYNC (1 2 1:3 (1:2 1:3)))\r\n",
           "j BAD [UIDREQUIRED] UIDONLY is enabled: no message numbers\r\n");
    driver_free(&d);
}

/* RFC 9585 */
static void test_progress(void **state)
{
    (void)state;
    struct buf out = buf_make(1000);
    struct str input = STR("a UID COPY 1 Work\r\n");
    log_in_and_select();
    assert_true(has_capability("INPROGRESS"));
    assert_int_equal(imap_server_run(d.server, 1000, 0, &input, &out), IMAP_CHANGE);
    assert_false(imap_server_progress(d.server, 10999, &out));
    assert_true(imap_server_progress(d.server, 11000, &out));
    assert_false(imap_server_progress(d.server, 20000, &out));
    assert_true(str_equal(buf_str(&out), STR("* OK [INPROGRESS (\"a\" NIL NIL)] Still at it\r\n")));
    struct imap_changed changed = {.answer = IMAP_UNAVAILABLE};
    imap_server_changed(d.server, &changed, &out);
    assert_false(imap_server_progress(d.server, 90000, &out));
    buf_clear(&out);
    input = STR("b SEARCH BODY x\r\n");
    assert_int_equal(imap_server_run(d.server, 100000, 0, &input, &out), IMAP_MESSAGES);
    struct imap_message message = {.uid = 1, .size = 4};
    assert_true(imap_server_message(d.server, &message, &out));
    assert_true(imap_server_bytes(d.server, STR("text"), true, &out));
    assert_true(imap_server_progress(d.server, 110000, &out));
    assert_true(str_equal(buf_str(&out), STR("* OK [INPROGRESS (\"b\" 1 3)] Still at it\r\n")));
    imap_server_answered(d.server, IMAP_DONE, 0, &out);
    /* Nothing may stand inside a literal. */
    buf_clear(&out);
    input = STR("c FETCH 1 BODY.PEEK[]\r\n");
    assert_int_equal(imap_server_run(d.server, 200000, 0, &input, &out), IMAP_MESSAGES);
    assert_false(imap_server_progress(d.server, 300000, &out));
    buf_free(&out);
    driver_free(&d);
}

/* RFC 8508 */
static void test_replace(void **state)
{
    (void)state;
    log_in_and_select();
    assert_true(has_capability("REPLACE"));
    expect("a REPLACE 2 INBOX (\\Draft) {3+}\r\nnew\r\n",
           "* OK [APPENDUID 1000 4] The replacement is filed\r\n"
           "* 2 EXPUNGE\r\n* 3 EXISTS\r\n* 1 RECENT\r\na OK Replaced\r\n");
    expect("b UID REPLACE 4 Work {3+}\r\nnew\r\n",
           "* OK [APPENDUID 1001 2] The replacement is filed\r\n* 3 EXPUNGE\r\nb OK Replaced\r\n");
    expect("c UID REPLACE 4 Work {3+}\r\nnew\r\n",
           "c NO [EXPUNGEISSUED] That message is not there any more\r\n");
    expect("d REPLACE 3 Work {3+}\r\nnew\r\n", "d BAD There is no message of that number\r\n");
    expect_some("e REPLACE 1:2 Work {3+}\r\nnew\r\n", "e BAD ");
    expect_some("f REPLACE 1 Work {3+}\r\nnew {3+}\r\nnew\r\n", "f BAD ");
    expect("g REPLACE 1 Nowhere {3+}\r\nnew\r\n",
           "g NO [TRYCREATE] There is no such mailbox; create it first\r\n");
    expect_some("h ENABLE CONDSTORE\r\n", "h OK");
    expect_some("i REPLACE 1 INBOX CATENATE (TEXT {3+}\r\nnew)\r\n", "i OK [HIGHESTMODSEQ ");
    expect_some("j EXAMINE INBOX\r\n", "j OK");
    expect_some("k REPLACE 1 INBOX {3+}\r\nnew\r\n", "k NO [READ-ONLY] ");
    driver_free(&d);
    log_in();
    expect("a REPLACE 1 INBOX {3+}\r\nnew\r\n", "a BAD Select a mailbox first\r\n");
    driver_free(&d);
}

static void expect_catenated(const char *parts, const char *text)
{
    struct buf reply = buf_make(2000);
    buf_clear(&d.said);
    driver_say(&d, STR("x APPEND Work CATENATE ("), 3);
    driver_say(&d, str_of(parts), 3);
    driver_say(&d, STR(")\r\n"), 3);
    if (!str_starts(buf_str(&d.said), STR("x OK [APPENDUID 1001 "))) {
        print_error("parts: %s\nsaid: %.*s\n", parts, STR_ARGS(buf_str(&d.said)));
    }
    assert_true(str_starts(buf_str(&d.said), STR("x OK [APPENDUID 1001 ")));
    buf_clear(&d.said);
    driver_say(&d, STR("y EXAMINE Work\r\ny FETCH * BODY[]\r\ny UNSELECT\r\n"), 0);
    buf_printf(&reply, "BODY[] {%zu}\r\n", strlen(text));
    buf_append_str(&reply, str_of(text));
    buf_append_lit(&reply, ")\r\n");
    if (str_find_str(buf_str(&d.said), buf_str(&reply)) == SIZE_MAX) {
        print_error("parts: %s\nsaid: %.*s\n", parts, STR_ARGS(buf_str(&d.said)));
    }
    assert_int_not_equal(str_find_str(buf_str(&d.said), buf_str(&reply)), SIZE_MAX);
    buf_free(&reply);
}

/* RFC 4469 */
static void test_catenate(void **state)
{
    (void)state;
    log_in();
    assert_true(has_capability("CATENATE"));
    expect_catenated("TEXT {3+}\r\nabc TEXT {0+}\r\n TEXT {2+}\r\nde", "abcde");
    expect_catenated("URL /INBOX/;UID=2/;SECTION=1 TEXT {1+}\r\n!", "R3LDvMOfZQ==!");
    expect_catenated("URL \"/inbox;uidvalidity=1000/;uid=2/;section=2.TEXT\"", "inside");
    expect_catenated("URL /INBOX/;UID=3", "no header here");
    expect_catenated("URL \"/%49NBOX/;UID=3/;PARTIAL=3.6\"", "header");
    expect_catenated("URL /INBOX/;UID=3/;PARTIAL=10", "here");
    expect_catenated("URL \"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject)\" TEXT {1+}\r\nx",
                     "Subject: Hello\r\n\r\nx");
    static const char *const bad[] = {"/INBOX;UIDVALIDITY=1/;UID=3",
                                      "/INBOX/;UID=9",
                                      "/Nowhere/;UID=1",
                                      "/INBOX/;UID=2/;SECTION=7",
                                      "/INBOX/;UID=2/;SECTION=x",
                                      "/INBOX",
                                      "/INBOX/;UID=0",
                                      "/INBOX/;UID=3;URLAUTH=anonymous",
                                      "imap://host.example/INBOX/;UID=3",
                                      "//host.example/INBOX/;UID=3",
                                      "/%zz/;UID=3",
                                      "/%00/;UID=3",
                                      ";UID=3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf line = buf_make(1000);
        unsigned long changes = d.changes;
        buf_printf(&line, "a APPEND Work CATENATE (TEXT {1+}\r\nx URL \"%s\")\r\n%c", bad[i], 0);
        expect_some(line.data, "a NO [BADURL ");
        assert_int_equal(d.changes, changes);
        buf_free(&line);
    }
    expect_some("b APPEND Nowhere CATENATE (URL /INBOX/;UID=9)\r\n", "b NO [TRYCREATE] ");
    expect_some("c APPEND Work CATENATE ()\r\n", "c BAD ");
    expect_some("d APPEND Work CATENATE (TEXT abc)\r\n", "d BAD ");
    expect("e APPEND Work CATENATE (TEXT {0+}\r\n)\r\n", "e NO An empty message is not filed\r\n");
    expect("f APPEND Work CATENATE (URL /INBOX/;UID=1 URL /INBOX/;UID=1 URL /INBOX/;UID=1)\r\n",
           "f NO [TOOBIG] That is larger than this server takes\r\n");
    /* Several: what waits in the store is forgotten where a later one fails. */
    expect_some("g APPEND Work {1+}\r\nx CATENATE (URL /INBOX/;UID=3 TEXT {1+}\r\ny)\r\n",
                "g OK [APPENDUID 1001 ");
    expect_some("h APPEND Work {1+}\r\nx CATENATE (URL /INBOX/;UID=9)\r\n", "h NO [BADURL /INBOX/;UID=9] ");
    /* The selected mailbox stays as it is; relative to it a URL may name nothing but a message. */
    driver_say(&d, STR("s SELECT INBOX\r\n"), 0);
    expect_some("i APPEND Work CATENATE (URL \";UID=3\" URL INBOX/;UID=3/;PARTIAL=0.2)\r\n",
                "i OK [APPENDUID 1001 ");
    expect("j FETCH 3 BODY.PEEK[]\r\n", "* 3 FETCH (BODY[] {14}\r\nno header here)\r\nj OK Fetched\r\n");
    driver_free(&d);
}

/* RFC 8970 */
static void test_preview(void **state)
{
    (void)state;
    log_in_and_select();
    assert_true(has_capability(" PREVIEW"));
    expect("a FETCH 1 PREVIEW\r\n", "* 1 FETCH (PREVIEW \"First\")\r\na OK Fetched\r\n");
    expect("b FETCH 2 (PREVIEW UID)\r\n", "* 2 FETCH (PREVIEW {7}\r\nGr\xc3\xbc\xc3\x9f"
                                          "e UID 2)\r\nb OK Fetched\r\n");
    expect("c FETCH 3 PREVIEW\r\n", "* 3 FETCH (PREVIEW \"\")\r\nc OK Fetched\r\n");
    expect("d FETCH 2 (UID PREVIEW (LAZY))\r\n", "* 2 FETCH (UID 2 PREVIEW NIL)\r\nd OK Fetched\r\n");
    expect("d FETCH 1 (UID PREVIEW (LAZY))\r\n", "* 1 FETCH (UID 1 PREVIEW \"First\")\r\nd OK Fetched\r\n");
    expect("e FETCH 1 (PREVIEW (LAZY) BODY.PEEK[TEXT])\r\n",
           "* 1 FETCH (PREVIEW \"First\" BODY[TEXT] {7}\r\nFirst\r\n)\r\ne OK Fetched\r\n");
    expect_some("f FETCH 1 (PREVIEW (FAST))\r\n", "f BAD ");
    driver_free(&d);
}

/* RFC 8474: a thread has the id of the message that began it, wherever its messages lie. */
static void test_thread_ids(void **state)
{
    (void)state;
    static const char *const texts[] = {"Message-ID: <a@x>\r\n\r\nfirst",
                                        "References: <a@x> <b@x>\r\nMessage-ID: <c@x>\r\n\r\nthird",
                                        "In-Reply-To: < a@x >\r\nMessage-ID: <b@x>\r\n\r\nsecond",
                                        "Message-ID: <z@x>\r\n\r\nother", "Subject: none\r\n\r\nno id"};
    log_in();
    driver_say(&d, STR("m CREATE Texts\r\n"), 0);
    for (size_t i = 0; i < 5; i++) {
        char command[256];
        snprintf(command, sizeof(command), "m APPEND Texts {%zu+}\r\n%s\r\n", strlen(texts[i]), texts[i]);
        driver_say(&d, str_of(command), 0);
    }
    driver_say(&d, STR("m SELECT Texts\r\n"), 0);
#define THREAD_A "e6acaf1904e02fd47c1f9bf741a5694f"
    expect("a FETCH 1:3 THREADID\r\n", "* 1 FETCH (THREADID (" THREAD_A "))\r\n* 2 FETCH (THREADID (" THREAD_A
                                       "))\r\n* 3 FETCH (THREADID (" THREAD_A "))\r\na OK Fetched\r\n");
    expect("b FETCH 5 (UID THREADID EMAILID)\r\n",
           "* 5 FETCH (UID 5 THREADID NIL EMAILID (abc))\r\nb OK Fetched\r\n");
    expect("c SEARCH THREADID " THREAD_A "\r\n", "* SEARCH 1 2 3\r\nc OK Searched\r\n");
    expect("d SEARCH NOT THREADID " THREAD_A " 2:5\r\n", "* SEARCH 4 5\r\nd OK Searched\r\n");
    expect("e SEARCH THREADID nothing\r\n", "* SEARCH\r\ne OK Searched\r\n");
    driver_free(&d);
}

/* The same answer, and no more messages read than these. */
static void expect_narrowed(const char *search, const char *reply, unsigned questions, unsigned bodies)
{
    d.narrows = false;
    expect(search, reply);
    d.narrows = true;
    d.narrowed = 0;
    d.bodies = 0;
    expect(search, reply);
    assert_int_equal(d.narrowed, questions);
    assert_int_equal(d.bodies, bodies);
}

static void fill_texts(void)
{
    static const char *const texts[] = {"Subject: The annual meeting\r\n\r\nWe shall meet in Berlin.\r\n",
                                        "Subject: Lunch\r\n\r\nThe meeting takes place in Hamburg.\r\n",
                                        "Subject: Dinner\r\n\r\nThe eleventh of May, in Berlin\r\n"};
    driver_say(&d, STR("m CREATE Texts\r\n"), 0);
    for (size_t i = 0; i < 3; i++) {
        char command[256];
        snprintf(command, sizeof(command), "m APPEND Texts {%zu+}\r\n%s\r\n", strlen(texts[i]), texts[i]);
        driver_say(&d, str_of(command), 0);
    }
    driver_say(&d, STR("m SELECT Texts\r\n"), 0);
}

/* RFC 6203 */
static void test_fuzzy_search(void **state)
{
    (void)state;
    log_in();
    fill_texts();
    assert_true(has_capability(" SEARCH=FUZZY"));
    expect("a SEARCH TEXT \"Berlin meeting\"\r\n", "* SEARCH\r\na OK Searched\r\n");
    expect("b SEARCH FUZZY TEXT \"Berlin meeting\"\r\n", "* SEARCH 1\r\nb OK Searched\r\n");
    expect("c SEARCH FUZZY SUBJECT meetings\r\n", "* SEARCH 1\r\nc OK Searched\r\n");
    expect("d SEARCH FUZZY (TEXT meetings NOT BODY \"Berlin shall\")\r\n", "* SEARCH 2\r\nd OK Searched\r\n");
    expect("e SEARCH FUZZY TEXT meetings BODY \"Berlin shall\"\r\n", "* SEARCH\r\ne OK Searched\r\n");
    expect("f SEARCH FUZZY OR BODY \"berlin may\" BODY places\r\n", "* SEARCH 2 3\r\nf OK Searched\r\n");
    expect("g SEARCH FUZZY SMALLER 10\r\n", "* SEARCH\r\ng OK Searched\r\n");
    expect("h SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"meeting takes\"\r\n",
           "* ESEARCH (TAG \"h\") ALL 2 RELEVANCY (100)\r\nh OK Searched\r\n");
    expect("i SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"the meetings\"\r\n",
           "* ESEARCH (TAG \"i\") ALL 1:2 RELEVANCY (50 50)\r\ni OK Searched\r\n");
    expect("j UID SORT RETURN (RELEVANCY ALL) (RELEVANCY) UTF-8 FUZZY BODY \"in berlin\"\r\n",
           "* ESEARCH (TAG \"j\") UID ALL 1,3 RELEVANCY (100 100)\r\nj OK Searched\r\n");
    expect("k UID SORT (REVERSE RELEVANCY) UTF-8 FUZZY OR BODY \"may in\" BODY \"in berlin\"\r\n",
           "* SORT 1 3\r\nk OK Sorted\r\n");
    expect("l UID SORT (RELEVANCY) UTF-8 FUZZY TEXT \"meeting the\"\r\n", "* SORT 1 2\r\nl OK Sorted\r\n");
    expect("m UID SORT (RELEVANCY) UTF-8 FUZZY TEXT \"meeting takes the\"\r\n",
           "* SORT 2\r\nm OK Sorted\r\n");
    expect("n SEARCH RETURN (RELEVANCY) FUZZY ALL\r\n",
           "* ESEARCH (TAG \"n\") RELEVANCY (100 100 100)\r\nn OK Searched\r\n");
    expect("o SEARCH RETURN (PARTIAL 1:1 RELEVANCY) FUZZY TEXT meetings\r\n",
           "* ESEARCH (TAG \"o\") PARTIAL (1:1 1) RELEVANCY (25)\r\no OK Searched\r\n");
    expect("p ESEARCH IN (personal) RETURN (RELEVANCY ALL) FUZZY TEXT \"dinner\"\r\n",
           "* ESEARCH (TAG \"p\" MAILBOX Texts UIDVALIDITY 1002) UID ALL 3 RELEVANCY (100)\r\np OK "
           "Searched\r\n");
    expect_some("q SEARCH RETURN (RELEVANCY) TEXT meetings\r\n", "q BAD ");
    expect_some("r SORT (RELEVANCY) UTF-8 TEXT meetings\r\n", "r BAD ");
    expect_some("s ESEARCH IN (personal) RETURN (RELEVANCY) TEXT meetings\r\n", "s BAD ");
    driver_free(&d);
}

/* A full-text index says which messages need not be read; what it cannot know is read. */
static void test_search_with_a_full_text_index(void **state)
{
    (void)state;
    log_in();
    fill_texts();
    expect_narrowed("a SEARCH BODY berlin\r\n", "* SEARCH 1 3\r\na OK Searched\r\n", 1, 2);
    expect_narrowed("b SEARCH TEXT MEETING\r\n", "* SEARCH 1 2\r\nb OK Searched\r\n", 1, 2);
    expect_narrowed("c SEARCH BODY meeting\r\n", "* SEARCH 2\r\nc OK Searched\r\n", 1, 2);
    expect_narrowed("d SEARCH BODY \"in Ber\" BODY may\r\n", "* SEARCH 3\r\nd OK Searched\r\n", 1, 1);
    expect_narrowed("e SEARCH OR BODY hamburg BODY eleventh\r\n", "* SEARCH 2 3\r\ne OK Searched\r\n", 1, 2);
    expect_narrowed("f SEARCH OR (BODY hamburg) (OR BODY nowhere BODY eleventh)\r\n",
                    "* SEARCH 2 3\r\nf OK Searched\r\n", 1, 2);
    expect_narrowed("g SEARCH NOT BODY berlin\r\n", "* SEARCH 2\r\ng OK Searched\r\n", 0, 3);
    expect_narrowed("h SEARCH OR BODY hamburg NOT BODY berlin\r\n", "* SEARCH 2\r\nh OK Searched\r\n", 0, 3);
    expect_narrowed("i SEARCH BODY in\r\n", "* SEARCH 1 2 3\r\ni OK Searched\r\n", 0, 3);
    expect_narrowed("j SEARCH SUBJECT \" lunch \"\r\n", "* SEARCH\r\nj OK Searched\r\n", 1, 1);
    expect_narrowed("k SEARCH BODY nothing\r\n", "* SEARCH\r\nk OK Searched\r\n", 1, 0);
    expect_narrowed("l SEARCH 2 BODY berlin\r\n", "* SEARCH\r\nl OK Searched\r\n", 1, 0);
    expect_narrowed("n UID SORT (SUBJECT) UTF-8 BODY berlin\r\n", "* SORT 3 1\r\nn OK Sorted\r\n", 1, 2);
    driver_free(&d);
}

/* RFC 7377 */
static void test_multisearch(void **state)
{
    (void)state;
    log_in();
    assert_true(has_capability("MULTISEARCH"));
    expect("a ESEARCH ALL\r\n", "a BAD Select a mailbox first, or name those to search with IN\r\n");
    expect("b ESEARCH IN (personal) ALL\r\n",
           "* ESEARCH (TAG \"b\" MAILBOX INBOX UIDVALIDITY 1000) UID ALL 1:3\r\n"
           "* ESEARCH (TAG \"b\" MAILBOX Work UIDVALIDITY 1001) UID ALL 1\r\n"
           "b OK Searched\r\n");
    expect("c ESEARCH IN (mailboxes Work mailboxes (\"Work\" Nowhere)) RETURN (COUNT MIN) BODY first\r\n",
           "* ESEARCH (TAG \"c\" MAILBOX Work UIDVALIDITY 1001) UID MIN 1 COUNT 1\r\nc OK Searched\r\n");
    expect("d ESEARCH IN (personal) RETURN (COUNT) BODY nothing\r\n", "d OK Searched\r\n");
    driver_say(&d, STR("s SELECT INBOX\r\ns STORE 2 +FLAGS (Word)\r\n"), 0);
    expect("e ESEARCH IN (inboxes selected) RETURN () KEYWORD Word 1:99\r\n",
           "* ESEARCH (TAG \"e\" MAILBOX INBOX UIDVALIDITY 1000) UID ALL 2\r\ne OK Searched\r\n");
    expect("f ESEARCH RETURN (PARTIAL 1:2) UID 2:*\r\n",
           "* ESEARCH (TAG \"f\" MAILBOX INBOX UIDVALIDITY 1000) UID PARTIAL (1:2 2:3)\r\nf OK Searched\r\n");
    expect("g ESEARCH IN (personal) RETURN (SAVE) ALL\r\n",
           "g BAD SAVE is for the selected mailbox alone\r\n");
    expect_some("h ESEARCH IN (everything) ALL\r\n", "h BAD ");
    expect_some("i ESEARCH IN (selected-delayed) ALL\r\n", "i BAD ");
    expect_some("j ESEARCH IN (subtree Work) RETURN (UPDATE COUNT) ALL\r\n", "* NO [NOUPDATE \"j\"] ");
    expect("k FETCH 2 UID\r\n",
           "* 2 FETCH (UID 2)\r\nk OK Fetched\r\n"); /* the selected mailbox is what it was */
    d.fail_answers = true;
    expect_some("l ESEARCH IN (personal) ALL\r\n", "l NO [UNAVAILABLE] ");
    driver_free(&d);
}

/* RFC 5267 */
static void test_contexts(void **state)
{
    (void)state;
    log_in_and_select();
    assert_true(has_capability("CONTEXT=SEARCH CONTEXT=SORT"));
    expect("a SEARCH RETURN (UPDATE COUNT) UNSEEN BODY i\r\n",
           "* ESEARCH (TAG \"a\") COUNT 1\r\na OK Searched\r\n");
    expect("a SEARCH RETURN (UPDATE) ALL\r\n", "a BAD A search of this tag is kept up to date already\r\n");
    expect("b STORE 2 FLAGS ()\r\n",
           "* 2 FETCH (FLAGS ())\r\n* ESEARCH (TAG \"a\") ADDTO (0 2)\r\nb OK Stored\r\n");
    expect("c UID STORE 1 FLAGS.SILENT (\\Seen)\r\n",
           "* ESEARCH (TAG \"a\") REMOVEFROM (0 1)\r\nc OK Stored\r\n");
    driver_deliver(&d, 0, STR("Subject: new\r\n\r\nthis\r\n"));
    expect("d NOOP\r\n",
           "* 4 EXISTS\r\n* 1 RECENT\r\n* ESEARCH (TAG \"a\") ADDTO (0 4)\r\nd OK Nothing done\r\n");
    expect("e UID SEARCH RETURN (UPDATE ALL) KEYWORD New\r\n",
           "* ESEARCH (TAG \"e\") UID\r\ne OK Searched\r\n");
    expect_some("f STORE 4 +FLAGS (New)\r\n",
                "* ESEARCH (TAG \"e\") UID ADDTO (0 4)\r\n"); /* a keyword that was not known */
    expect("g STORE 4 +FLAGS.SILENT (\\Deleted)\r\n", "g OK Stored\r\n");
    expect("h EXPUNGE\r\n",
           "* ESEARCH (TAG \"a\") REMOVEFROM (0 4)\r\n* ESEARCH (TAG \"e\") UID REMOVEFROM (0 4)\r\n"
           "* 4 EXPUNGE\r\nh OK Expunged\r\n");
    expect("i SORT RETURN (UPDATE COUNT) (SUBJECT) UTF-8 ALL\r\n",
           "* ESEARCH (TAG \"i\") COUNT 3\r\n* NO [NOUPDATE \"i\"] This result is not kept up to date\r\ni "
           "OK Searched\r\n");
    expect("j CANCELUPDATE \"a\" \"e\"\r\n", "j OK No further updates\r\n");
    expect("k STORE 2 FLAGS.SILENT (\\Seen)\r\n", "k OK Stored\r\n");
    expect_some("l SEARCH RETURN (CONTEXT PARTIAL 1:1 ALL) ALL\r\n", "l BAD ");
    for (int i = 0; i < 10; i++) {
        char line[60];
        snprintf(line, sizeof(line), "m%d SEARCH RETURN (UPDATE COUNT) ALL\r\n", i);
        buf_clear(&d.said);
        driver_say(&d, str_of(line), 0);
        assert_int_equal(str_find_str(buf_str(&d.said), STR("NOUPDATE")), SIZE_MAX);
    }
    expect_some("n SEARCH RETURN (UPDATE COUNT) ALL\r\n", "* NO [NOUPDATE \"n\"] ");
    expect_some("o SELECT Work\r\n", "o OK"); /* with the mailbox all of them go */
    expect_some("p SEARCH RETURN (UPDATE COUNT) ALL\r\n", "p OK Searched");
    driver_free(&d);
}

/* A result is not changed for what could not be read; it is looked at again the next time. */
static void test_context_unreadable(void **state)
{
    (void)state;
    log_in_and_select();
    expect("a SEARCH RETURN (UPDATE ALL) UNSEEN BODY i\r\n",
           "* ESEARCH (TAG \"a\") ALL 1\r\na OK Searched\r\n");
    d.fail_messages = true;
    expect("b STORE 1:2 FLAGS (\\Flagged)\r\n",
           "* 1 FETCH (FLAGS (\\Flagged))\r\n* 2 FETCH (FLAGS (\\Flagged))\r\nb OK Stored\r\n");
    d.fail_messages = false;
    expect("c NOOP\r\n", "* ESEARCH (TAG \"a\") ADDTO (0 2)\r\nc OK Nothing done\r\n");
    expect("d NOOP\r\n", "d OK Nothing done\r\n");
    driver_free(&d);
}

/* RFC 9586: from then on there are UIDs only, in the updates of a result that was given in numbers, too. */
static void test_context_uidonly(void **state)
{
    (void)state;
    log_in_and_select();
    expect_some("a UID STORE 2 +FLAGS (\\Deleted)\r\n", "a OK Stored\r\n");
    expect_some("b EXPUNGE\r\n", "b OK Expunged\r\n");
    expect("c SEARCH RETURN (UPDATE ALL) UNSEEN\r\n", "* ESEARCH (TAG \"c\") ALL 1:2\r\nc OK Searched\r\n");
    expect("d ENABLE UIDONLY\r\n", "* ENABLED UIDONLY\r\nd OK Enabled\r\n");
    expect_some("e UID STORE 3 +FLAGS (\\Seen)\r\n", "* ESEARCH (TAG \"c\") UID REMOVEFROM (0 3)\r\n");
    driver_free(&d);
}

/* RFC 9208 */
static void test_quota(void **state)
{
    (void)state;
    log_in();
    assert_true(has_capability("QUOTA QUOTA=RES-STORAGE"));
    expect("a GETQUOTA \"\"\r\n", "* QUOTA \"\" ()\r\na OK That is the quota\r\n");
    d.quota_octets = 20480;
    expect("b GETQUOTA \"\"\r\n", "* QUOTA \"\" (STORAGE 2 20)\r\nb OK That is the quota\r\n");
    expect("c GETQUOTAROOT inbox\r\n",
           "* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" (STORAGE 2 20)\r\nc OK That is the quota\r\n");
    expect_some("d GETQUOTA other\r\n", "d NO [NONEXISTENT] ");
    expect_some("e GETQUOTA\r\n", "e BAD ");
    expect_some("f SETQUOTA \"\" (STORAGE 1)\r\n", "f BAD "); /* QUOTASET is not offered */
    expect("g STATUS Work (DELETED-STORAGE)\r\n",
           "* STATUS Work (DELETED-STORAGE 0)\r\ng OK That is its status\r\n");
    driver_free(&d);
}

/* RFC 5464, RFC 9590 */
static void test_metadata(void **state)
{
    (void)state;
    static const char binary[] =
        "f SETMETADATA INBOX (/private/vendor/x/a/b ~{3+}\r\na\0b /private/comment NIL)\r\n";
    log_in();
    assert_true(has_capability("METADATA LIST-METADATA"));
    expect("a SETMETADATA INBOX (/private/comment \"mine\" /SHARED/Comment {4+}\r\na\r\nb)\r\n",
           "a OK Noted\r\n");
    expect("b GETMETADATA INBOX (/shared/comment /private/comment /private/none)\r\n",
           "* METADATA INBOX (/private/comment \"mine\" /shared/comment {4}\r\na\r\nb /private/none NIL)\r\n"
           "b OK That is the metadata\r\n");
    expect("c GETMETADATA (MAXSIZE 3) INBOX /private/comment\r\n",
           "c OK [METADATA LONGENTRIES 4] Some values are longer\r\n");
    expect("d GETMETADATA INBOX (MAXSIZE 4 DEPTH infinity) /private\r\n",
           "* METADATA INBOX (/private/comment \"mine\")\r\nd OK That is the metadata\r\n");
    driver_say(&d, str_make(binary, sizeof(binary) - 1), 0);
    expect("g GETMETADATA INBOX (DEPTH 1) (/private /private/vendor/x)\r\n", "g OK That is the metadata\r\n");
    buf_clear(&d.said);
    driver_say(&d, STR("h GETMETADATA INBOX (DEPTH infinity) /private/vendor\r\n"), 0);
    assert_true(str_equal(
        buf_str(&d.said),
        STR("* METADATA INBOX (/private/vendor/x/a/b ~{3}\r\na\0b)\r\nh OK That is the metadata\r\n")));
    expect(
        "i GETMETADATA \"\" /shared/admin\r\n",
        "* METADATA \"\" (/shared/admin \"mailto:postmaster@example.org\")\r\ni OK That is the metadata\r\n");
    static const char *const bad[] = {"/comment",          "/private/", "/private//a",     "/private/a/",
                                      "/private/vendor/x", "/private",  "\"/private/a*\"", "\"/private/%\"",
                                      "/privates/a",       "NIL"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[100];
        snprintf(line, sizeof(line), "x SETMETADATA INBOX (%s \"1\")\r\n", bad[i]);
        expect_some(line, "x BAD ");
    }
    expect_some("j SETMETADATA \"\" (/shared/comment \"1\")\r\n", "j NO [NOPERM] ");
    expect_some("k SETMETADATA Nowhere (/shared/comment \"1\")\r\n", "k NO [NONEXISTENT] ");
    expect("l SETMETADATA Work (/private/comment \"w\")\r\n", "l OK Noted\r\n");
    expect(
        "m LIST \"\" * RETURN (METADATA (/private/comment /shared/comment))\r\n",
        "* LIST () \"/\" INBOX\r\n* METADATA INBOX (/shared/comment {4}\r\na\r\nb /private/comment NIL)\r\n"
        "* LIST () \"/\" Work\r\n* METADATA Work (/private/comment \"w\" /shared/comment NIL)\r\nm OK "
        "Listed\r\n");
    struct buf line = buf_make(20000);
    buf_append_lit(&line, "n SETMETADATA INBOX (/private/comment {8193+}\r\n");
    for (int i = 0; i < 8193; i++) {
        buf_append_char(&line, 'x');
    }
    buf_append_lit(&line, ")\r\n");
    buf_clear(&d.said);
    driver_say(&d, buf_str(&line), 0);
    assert_true(str_starts(buf_str(&d.said), STR("n NO [METADATA MAXSIZE 8192] ")));
    buf_free(&line);
    for (int i = 0; i < DRIVER_ANNOTATIONS; i++) {
        char text[80];
        snprintf(text, sizeof(text), "o SETMETADATA Work (/private/n%d \"1\")\r\n", i);
        buf_clear(&d.said);
        driver_say(&d, str_of(text), 0);
    }
    assert_true(str_starts(buf_str(&d.said), STR("o NO [METADATA TOOMANY] ")));
    driver_free(&d);
}

/* RFC 4314, RFC 8440. The driver's only entry is the client's own, as "anyone". */
static void test_access_control(void **state)
{
    (void)state;
    log_in();
    assert_true(has_capability("ACL RIGHTS=kxte LIST-MYRIGHTS"));
    expect("a MYRIGHTS Work\r\n", "* MYRIGHTS Work lrswipkxteacd\r\na OK That is what you may do\r\n");
    expect("b SETACL Work anyone lrd\r\n", "b OK Done\r\n");
    expect("c GETACL Work\r\n", "* ACL Work \"anyone\" lrxted\r\nc OK That is the access control list\r\n");
    expect("d LISTRIGHTS Work anyone\r\n", "* LISTRIGHTS Work \"anyone\" \"\" l r s w i p k x t e a c d\r\n"
                                           "d OK Those are the rights that can be given\r\n");
    expect_some("e SELECT Work\r\n", "[PERMANENTFLAGS (\\Deleted)]");
    expect_some("f SETACL Work anyone +sw\r\n",
                "[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]");
    expect_some("g SETACL Work anyone -wte\r\n", "[PERMANENTFLAGS (\\Seen)]");
    expect_some("h EXPUNGE\r\n", "h NO [NOPERM] ");
    driver_say(&d, STR("i SETACL Work anyone -s\r\n"), 0);
    expect("j FETCH 1 BODY[TEXT]\r\n",
           "* 1 FETCH (BODY[TEXT] {7}\r\nFirst\r\n)\r\nj OK Fetched\r\n"); /* not seen */
    expect_some("k SELECT Work\r\n", "k OK [READ-ONLY] ");
    expect_some("l STORE 1 +FLAGS (\\Seen)\r\n", "l NO [READ-ONLY] ");
    expect("m LIST \"\" W* RETURN (MYRIGHTS)\r\n",
           "* LIST () \"/\" Work\r\n* MYRIGHTS Work lrxd\r\nm OK Listed\r\n");
    driver_say(&d, STR("n SETACL Work anyone -l\r\n"), 0);
    expect("o LIST \"\" W*\r\n", "o OK Listed\r\n");
    expect_some("p SETACL Work anyone lq\r\n", "p BAD ");
    expect_some("q SETACL Work anyone\r\n", "q BAD ");
    expect_some("r GETACL Nowhere\r\n", "r NO [NONEXISTENT] ");
    expect_some("s LISTRIGHTS Work\r\n", "s BAD ");
    expect_some("t DELETEACL Work anyone\r\n", "t OK Done\r\n");
    driver_free(&d);
}

/* RFC 9394 */
static void test_partial(void **state)
{
    (void)state;
    log_in_and_select();
    for (int i = 0; i < 7; i++) {
        driver_deliver(&d, 0, STR("Subject: z\r\n\r\nx\r\n"));
    }
    driver_say(&d, STR("a NOOP\r\nb STORE 4 FLAGS.SILENT (\\Deleted)\r\nc EXPUNGE\r\n"),
               0); /* left: 1:3,5:10 */
    expect("d UID FETCH 2:* (UID) (PARTIAL -1:-2)\r\n",
           "* 8 FETCH (UID 9)\r\n* 9 FETCH (UID 10)\r\nd OK Fetched\r\n");
    expect("e UID FETCH 2:* (UID) (PARTIAL 4:2)\r\n",
           "* 3 FETCH (UID 3)\r\n* 4 FETCH (UID 5)\r\n* 5 FETCH (UID 6)\r\ne OK Fetched\r\n");
    expect("f UID FETCH 2:* (UID) (PARTIAL 20:30)\r\n", "f OK No such messages\r\n");
    expect_some("g FETCH 2:3 (UID) (PARTIAL 1:2)\r\n", "g BAD ");
    expect_some("h UID FETCH 2:* (UID) (PARTIAL 0:2)\r\n", "h BAD ");
    expect_some("i UID FETCH 1:* (UID) (PARTIAL 1:2 CHANGEDSINCE 1)\r\n", "i OK Fetched");
    /* What "$" stands for. */
    static const struct {
        const char *give;
        const char *saved;
    } cases[] = {{"PARTIAL 2:3", "2:3"},
                 {"PARTIAL -1:-2", "9:10"},
                 {"PARTIAL 2:3 MIN", "1:3"},
                 {"PARTIAL 2:3 MAX", "2:3,10"},
                 {"PARTIAL 2:3 MIN MAX", "1:3,10"},
                 {"PARTIAL 2:3 COUNT", "1:3,5:10"},
                 {"MIN", "1"},
                 {"MAX", "10"},
                 {"MIN MAX", "1,10"},
                 {"ALL MIN", "1:3,5:10"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[200];
        char wanted[200];
        snprintf(line, sizeof(line), "j UID SEARCH RETURN (SAVE %s) ALL\r\nk UID SEARCH RETURN () $\r\n",
                 cases[i].give);
        snprintf(wanted, sizeof(wanted), "* ESEARCH (TAG \"k\") UID ALL %s\r\n", cases[i].saved);
        expect_some(line, wanted);
    }
    /* The order of a SORT is not that of a set. */
    expect_some("l UID SORT RETURN (SAVE) (REVERSE ARRIVAL) UTF-8 ALL\r\nm UID SEARCH RETURN () $\r\n",
                " UID ALL 1:3,5:10\r\n");
    expect_some("n UID SORT RETURN (SAVE PARTIAL 1:2) (SIZE) UTF-8 ALL\r\no UID SEARCH RETURN (COUNT) $\r\n",
                " COUNT 2\r\n");
    driver_free(&d);
}

/* RFC 9738: what one command works on is limited to the newest messages, and what works on all or none is refused. */
static void test_message_limit(void **state)
{
    (void)state;
    log_in();
    assert_false(has_capability("MESSAGELIMIT"));
    driver_free(&d);
    assert_true(driver_init(&d, true));
    d.settings.message_limit = 2;
    driver_start(&d);
    driver_say(&d, STR("l LOGIN ann pw\r\n"), 0);
    assert_true(has_capability("MESSAGELIMIT=2"));
    driver_say(&d, STR("s SELECT INBOX\r\n"), 0);
#define LEFT_OUT "[MESSAGELIMIT 2 2] The older messages were left out; name them in another command\r\n"
#define TOO_MUCH "NO [MESSAGELIMIT 2] That is too much for one command; name fewer messages\r\n"
    expect("a FETCH 1:* UID\r\n", "* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\na OK " LEFT_OUT);
    expect("a FETCH 1:2 UID\r\n", "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\na OK Fetched\r\n");
    expect("a UID FETCH 1:* UID (PARTIAL 1:2)\r\n",
           "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\na OK Fetched\r\n");
    expect("a UID FETCH 1:* UID (PARTIAL 1:3)\r\n", "a " TOO_MUCH);
    expect("a STORE 1:3 FLAGS.SILENT (\\Deleted)\r\n", "a OK " LEFT_OUT);
    expect("a STORE 1 FLAGS.SILENT (\\Deleted)\r\n", "a OK Stored\r\n");
    expect("a COPY 1:3 Work\r\n", "a " TOO_MUCH);
    expect("a SEARCH ALL\r\n", "* SEARCH 2 3\r\na OK " LEFT_OUT);
    expect("a SEARCH UIDBEFORE 2\r\n", "* SEARCH 1\r\na OK Searched\r\n");
    expect("a SEARCH UIDAFTER 1 DELETED\r\n", "* SEARCH 2 3\r\na OK Searched\r\n");
    expect("a SEARCH UIDBEFORE 1\r\n", "* SEARCH\r\na OK Searched\r\n");
    expect("a SEARCH UIDAFTER 4294967295\r\n", "* SEARCH\r\na OK Searched\r\n");
    expect("a SEARCH UIDAFTER x\r\n", "a BAD SEARCH takes search keys; expected a UID before: x\r\n");
    expect("a SEARCH 1:2 TEXT e\r\n", "* SEARCH 1 2\r\na OK Searched\r\n");
    expect("a SEARCH OR 1 2\r\n", "* SEARCH 2\r\na OK " LEFT_OUT); /* sets that do not narrow it */
    expect("a SEARCH NOT 3\r\n", "* SEARCH 2\r\na OK " LEFT_OUT);
    expect("a SEARCH RETURN (SAVE COUNT) ALL\r\n", "* ESEARCH (TAG \"a\") COUNT 2\r\na OK " LEFT_OUT);
    expect("a FETCH $ UID\r\n", "* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\na OK Fetched\r\n");
    expect("a SORT (ARRIVAL) UTF-8 ALL\r\n", "a " TOO_MUCH);
    expect("a SORT (ARRIVAL) UTF-8 1:2\r\n", "* SORT 1 2\r\na OK Sorted\r\n");
    expect("a THREAD REFERENCES UTF-8 ALL\r\n", "a " TOO_MUCH);
    expect("a APPEND Work {5+}\r\nA: b\n {5+}\r\nA: b\n {5+}\r\nA: b\n\r\n", "a " TOO_MUCH);
    expect_some("a APPEND Work {5+}\r\nA: b\n {5+}\r\nA: b\n\r\n", "a OK [APPENDUID");
    /* A reply with a code of its own comes behind the limit's. */
    expect("a STORE 1:3 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)\r\n",
           "* NO " LEFT_OUT "* OK [HIGHESTMODSEQ 8] The highest modification sequence\r\n"
           "a OK [MODIFIED 2:3] Some have been changed by others meanwhile\r\n");
    expect("a UID EXPUNGE 1:*\r\n",
           "* NO " LEFT_OUT "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\na OK [HIGHESTMODSEQ 12] Expunged\r\n");
    driver_free(&d);
    assert_true(driver_init(&d, true));
    d.settings.message_limit = 2;
    driver_start(&d);
    driver_say(&d, STR("l LOGIN ann pw\r\ns SELECT INBOX\r\n"), 0);
    expect("a MOVE 1:* Work\r\n",
           "* OK [COPYUID 1001 2,3 2,3] Moved\r\n* 2 EXPUNGE\r\n* 2 EXPUNGE\r\na OK " LEFT_OUT);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_limit),
        cmocka_unit_test(test_refused_literals_are_thrown_away),
        cmocka_unit_test(test_what_is_thrown_away_is_bounded),
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_uid_only),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_catenate),
        cmocka_unit_test(test_preview),
        cmocka_unit_test(test_thread_ids),
        cmocka_unit_test(test_fuzzy_search),
        cmocka_unit_test(test_search_with_a_full_text_index),
        cmocka_unit_test(test_multisearch),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_context_unreadable),
        cmocka_unit_test(test_context_uidonly),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_access_control),
        cmocka_unit_test(test_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
