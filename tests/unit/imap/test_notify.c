/* NOTIFY (RFC 5465), by the sentences of its RFC. The driver's account has INBOX with three messages and "Work" with one. */
#include "driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct driver d;

static const char new_message[] = "From: eve@example.org\r\nSubject: news\r\n\r\nHello\r\n";

static void log_in(void)
{
    assert_true(driver_init(&d, true));
    driver_start(&d);
    driver_say(&d, STR("l LOGIN ann pw\r\n"), 0);
}

static void log_in_and_select(void)
{
    log_in();
    driver_say(&d, STR("s SELECT INBOX\r\n"), 0);
}

/* All that has been said since the last look. */
static void assert_said(const char *reply)
{
    if (!str_equal(buf_str(&d.said), str_of(reply))) {
        print_error("said:     %.*s\nexpected: %s\n", STR_ARGS(buf_str(&d.said)), reply);
    }
    assert_true(str_equal(buf_str(&d.said), str_of(reply)));
    buf_clear(&d.said);
}

static void expect(const char *text, const char *reply)
{
    buf_clear(&d.said);
    driver_say(&d, str_of(text), 0);
    assert_said(reply);
}

static void deliver(size_t box)
{
    buf_clear(&d.said);
    driver_deliver(&d, box, str_of(new_message));
}

static void names_changed(void)
{
    buf_clear(&d.said);
    driver_news(&d, IMAP_NEWS_NAMES);
}

static void store_elsewhere(size_t box, size_t message, uint64_t flags)
{
    buf_clear(&d.said);
    d.boxes[box].messages[message].flags = flags;
    d.boxes[box].messages[message].modseq = d.boxes[box].modseq = ++d.modseq;
    if (d.open == &d.boxes[box]) {
        imap_server_news(d.server);
    }
    driver_news(&d, IMAP_NEWS_MESSAGES);
}

static void expunge_elsewhere(size_t box, size_t message)
{
    struct driver_box *b = &d.boxes[box];
    buf_clear(&d.said);
    b->modseq = ++d.modseq;
    b->gone[b->gone_count] = (struct imap_range){b->messages[message].uid, b->messages[message].uid};
    b->gone_modseq[b->gone_count++] = b->modseq;
    memmove(&b->messages[message], &b->messages[message + 1],
            (b->count - message - 1) * sizeof(b->messages[0]));
    b->count--;
    if (d.open == b) {
        imap_server_news(d.server);
    }
    driver_news(&d, IMAP_NEWS_MESSAGES);
}

#define ALL "(MessageNew MessageExpunge FlagChange)"
#define OK  "n OK You will be notified\r\n"

/* Section 3: until it is used, nothing is said unasked; then at once. */
static void test_the_selected_mailbox_at_once(void **state)
{
    (void)state;
    log_in_and_select();
    deliver(0);
    assert_said("");
    expect("n NOTIFY SET (SELECTED " ALL ")\r\n", "* 4 EXISTS\r\n* 1 RECENT\r\n" OK);
    assert_int_equal(d.watched, 0);
    deliver(0);
    assert_said("* 5 EXISTS\r\n* 2 RECENT\r\n");
    store_elsewhere(0, 1, IMAP_FLAGGED);
    assert_said("* 2 FETCH (FLAGS (\\Flagged) UID 2)\r\n");
    expunge_elsewhere(0, 0);
    assert_said("* 1 EXPUNGE\r\n");
    deliver(1); /* of another mailbox nothing was asked */
    assert_said("");
    driver_free(&d);
}

/* Section 4: IDLE tells the same. */
static void test_idle_tells_the_same(void **state)
{
    (void)state;
    log_in_and_select();
    expect("n NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (MAILBOXES Work (MessageNew "
           "MessageExpunge))\r\n",
           OK);
    expect("i IDLE\r\n", "+ Idling; DONE ends it\r\n");
    store_elsewhere(0, 1, IMAP_FLAGGED);
    assert_said("");
    deliver(1);
    assert_said("* STATUS Work (MESSAGES 2 UIDNEXT 3)\r\n");
    deliver(0);
    assert_said("* 4 EXISTS\r\n* 1 RECENT\r\n");
    expect("DONE\r\n", "i OK Idle no more\r\n");
    expect("n NOTIFY NONE\r\n", OK);
    expect("i IDLE\r\n", "+ Idling; DONE ends it\r\n");
    deliver(0);
    deliver(1);
    assert_said("");
    expect("DONE\r\n", "i OK Idle no more\r\n");
    driver_free(&d);
}

/* Section 3.1: without SELECTED nothing of the selected mailbox is told, but with the answers to the client's own changes. */
static void test_what_is_not_wanted_is_not_told(void **state)
{
    (void)state;
    log_in_and_select();
    expect("n NOTIFY SET (PERSONAL (MailboxName))\r\n", OK);
    deliver(0);
    assert_said("");
    expect("a NOOP\r\n", "a OK Nothing done\r\n");
    expect("a UID FETCH 4 FLAGS\r\n", "a OK No such messages\r\n");
    expect("a STORE 1 +FLAGS (\\Seen)\r\n",
           "* 4 EXISTS\r\n* 1 RECENT\r\n* 1 FETCH (FLAGS (\\Seen) UID 1)\r\na OK Stored\r\n");
    /* Changes of flags alone are not wanted. */
    expect("n NOTIFY SET (SELECTED (MessageNew MessageExpunge))\r\n", OK);
    store_elsewhere(0, 1, IMAP_FLAGGED);
    assert_said("");
    expect("a STORE 1 -FLAGS (\\Seen)\r\n", "* 1 FETCH (FLAGS () UID 1)\r\na OK Stored\r\n");
    /* What has gathered is told with the command that changes what is wanted. */
    store_elsewhere(0, 2, IMAP_SEEN);
    deliver(0);
    assert_said("* 5 EXISTS\r\n* 2 RECENT\r\n");
    driver_free(&d);
}

/* Section 6.1.2: messages are gone only when a command allows it. */
static void test_selected_delayed(void **state)
{
    (void)state;
    log_in_and_select();
    expect("n NOTIFY SET (SELECTED-DELAYED " ALL ")\r\n", OK);
    expunge_elsewhere(0, 0);
    assert_said("");
    deliver(0);
    assert_said("* 4 EXISTS\r\n* 1 RECENT\r\n");
    expect("a FETCH 2 UID\r\n", "* 2 FETCH (UID 2)\r\na OK Fetched\r\n");
    expect("a NOOP\r\n", "* 1 EXPUNGE\r\na OK Nothing done\r\n");
    expunge_elsewhere(0, 0);
    assert_said("");
    expect("i IDLE\r\n", "+ Idling; DONE ends it\r\n* 1 EXPUNGE\r\n");
    driver_free(&d);
}

/* Section 5.2: what was asked for of a new message, but of one's own. */
static void test_new_messages_with_their_items(void **state)
{
    (void)state;
    log_in_and_select();
    expect("n NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)] FLAGS) "
           "MessageExpunge))\r\n",
           OK);
    deliver(0);
    assert_said("* 4 EXISTS\r\n* 1 RECENT\r\n* 4 FETCH (UID 4 BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: "
                "news\r\n\r\n"
                " FLAGS (\\Recent))\r\n");
    expect("a UID COPY 1 INBOX\r\n", "* 5 EXISTS\r\n* 2 RECENT\r\na OK [COPYUID 1000 1 5] Copied\r\n");
    expect("a APPEND INBOX {5+}\r\nA: b\n\r\n",
           "* 6 EXISTS\r\n* 3 RECENT\r\na OK [APPENDUID 1000 6] Appended\r\n");
    /* While a command is under way, and while one comes in. */
    expect("i IDLE\r\n", "+ Idling; DONE ends it\r\n");
    deliver(0);
    assert_said("* 7 EXISTS\r\n* 4 RECENT\r\n* 7 FETCH (UID 7 BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: "
                "news\r\n\r\n"
                " FLAGS (\\Recent))\r\n");
    deliver(0);
    assert_int_not_equal(d.said.len, 0);
    expect("DONE\r\n", "i OK Idle no more\r\n");
    expect("a NO", "");
    deliver(0);
    assert_said("");
    expect("OP\r\n", "* 9 EXISTS\r\n* 6 RECENT\r\n* 9 FETCH (UID 9 BODY[HEADER.FIELDS (Subject)] "
                     "{17}\r\nSubject: news\r\n\r\n"
                     " FLAGS (\\Recent))\r\na OK Nothing done\r\n");
    /* The examples of the RFC have no brackets around the events. */
    expect("n NOTIFY SET (selected MessageNew (UID) MessageExpunge)\r\n", OK);
    deliver(0);
    assert_said("* 10 EXISTS\r\n* 7 RECENT\r\n* 10 FETCH (UID 10)\r\n");
    d.fail_messages = true;
    expect("n NOTIFY SET (selected (MessageNew (ENVELOPE) MessageExpunge))\r\n", OK);
    deliver(0);
    assert_said("* 11 EXISTS\r\n* 8 RECENT\r\n"
                "* OK [NOTIFICATIONOVERFLOW] Notifications have ended; they may be asked for again\r\n");
    deliver(0);
    assert_said("");
    driver_free(&d);
}

/* Section 7: searches that are kept up to date tell of new messages, too; but not of those that were there. */
static void test_items_of_a_search(void **state)
{
    (void)state;
    log_in_and_select();
    expect("s UID SEARCH RETURN (COUNT UPDATE (UID BODY.PEEK[HEADER.FIELDS (Subject)])) OR SUBJECT news "
           "FLAGGED\r\n",
           "* ESEARCH (TAG \"s\") UID COUNT 1\r\ns OK Searched\r\n");
    expect("n NOTIFY SET (SELECTED (MessageNew (FLAGS) MessageExpunge FlagChange))\r\n", OK);
    deliver(0);
    assert_said("* 4 EXISTS\r\n* 1 RECENT\r\n* ESEARCH (TAG \"s\") UID ADDTO (0 4)\r\n* 4 FETCH (FLAGS "
                "(\\Recent))\r\n"
                "* 4 FETCH (UID 4 BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: news\r\n\r\n)\r\n");
    store_elsewhere(0, 0, IMAP_FLAGGED);
    assert_said("* 1 FETCH (FLAGS (\\Flagged) UID 1)\r\n* ESEARCH (TAG \"s\") UID ADDTO (0 1)\r\n");
    driver_deliver(&d, 0, STR("Subject: other\r\n\r\n"));
    assert_said("* 5 EXISTS\r\n* 2 RECENT\r\n* 5 FETCH (FLAGS (\\Recent))\r\n");
    /* What cannot be told is not passed over in silence. */
    expect("n NOTIFY SET (SELECTED (MessageNew MessageExpunge))\r\n", OK);
    expect("c CANCELUPDATE \"s\"\r\n", "c OK No further updates\r\n");
    driver_say(&d, STR("t SEARCH RETURN (UPDATE (ENVELOPE)) ALL\r\n"), 0);
    d.fail_messages = true;
    deliver(0);
    assert_said("* 6 EXISTS\r\n* 3 RECENT\r\n* ESEARCH (TAG \"t\") ADDTO (0 6)\r\n"
                "* NO [UNAVAILABLE] Not all of the new messages can be told now; fetch them\r\n");
    d.fail_messages = false;
    expect("s SEARCH RETURN (UPDATE (NOTHING)) ALL\r\n",
           "s BAD SEARCH takes search keys; expected an item that FETCH knows before: NOTHING)) ALL\r\n");
    driver_free(&d);
}

/* Sections 5.1 to 5.3, of mailboxes that are not selected. */
static void test_status_of_other_mailboxes(void **state)
{
    (void)state;
    log_in_and_select();
    expect("n NOTIFY SET STATUS (SELECTED NONE) (PERSONAL (MessageNew MessageExpunge))\r\n",
           "* STATUS Work (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1001)\r\n" OK);
    assert_int_equal(d.watched, IMAP_NEWS_MESSAGES | IMAP_NEWS_NAMES);
    deliver(1);
    assert_said("* STATUS Work (MESSAGES 2 UIDNEXT 3)\r\n");
    store_elsewhere(1, 0, IMAP_SEEN);
    assert_said("");
    expunge_elsewhere(1, 0);
    assert_said("* STATUS Work (MESSAGES 1 UIDNEXT 3)\r\n");
    deliver(0); /* that is selected */
    assert_said("");
    driver_news(&d, IMAP_NEWS_MESSAGES); /* and nothing has changed */
    assert_said("");
    /* Own copies are known already, others' that come with them are not. */
    expect("a UID COPY 1 Work\r\n", "a OK [COPYUID 1001 1 3] Copied\r\n");
    deliver(1);
    assert_said("* STATUS Work (MESSAGES 3 UIDNEXT 5)\r\n");
    expect("a APPEND Work {5+}\r\nA: b\n\r\n", "a OK [APPENDUID 1001 5] Appended\r\n");
    expect("a UNSELECT\r\n", "a OK The mailbox is closed\r\n");
    deliver(0);
    assert_said("* STATUS INBOX (MESSAGES 5 UIDNEXT 6)\r\n");
    /* Flags: without CONDSTORE if the number of unseen messages changes, with it always. */
    expect("n NOTIFY SET STATUS (MAILBOXES (Work Nowhere) " ALL ")\r\n",
           "* STATUS Work (MESSAGES 4 UIDNEXT 6 UIDVALIDITY 1001 HIGHESTMODSEQ 13)\r\n" OK);
    store_elsewhere(1, 0, IMAP_SEEN);
    assert_said("* STATUS Work (UIDVALIDITY 1001 UNSEEN 3)\r\n");
    store_elsewhere(1, 0, IMAP_SEEN | IMAP_FLAGGED);
    assert_said("");
    expect("e ENABLE CONDSTORE\r\n", "* ENABLED CONDSTORE\r\ne OK Enabled\r\n");
    store_elsewhere(1, 0, IMAP_SEEN);
    assert_said("* STATUS Work (UIDVALIDITY 1001 UNSEEN 3 HIGHESTMODSEQ 17)\r\n");
    deliver(1);
    assert_said("* STATUS Work (MESSAGES 5 UIDNEXT 7 UIDVALIDITY 1001 UNSEEN 4 HIGHESTMODSEQ 18)\r\n");
    d.boxes[1].uid_validity = 77;
    names_changed();
    assert_said("* STATUS Work (MESSAGES 5 UIDNEXT 7 UIDVALIDITY 77 UNSEEN 4 HIGHESTMODSEQ 18)\r\n");
    driver_free(&d);
}

/* Section 5.4 */
static void test_names(void **state)
{
    (void)state;
    log_in();
    expect("n NOTIFY SET (PERSONAL (MailboxName MessageNew MessageExpunge))\r\n", OK);
    struct driver_box *box = driver_make(&d, STR("Work/a"));
    names_changed();
    assert_said("* LIST (\\HasChildren) \"/\" Work\r\n* LIST (\\HasNoChildren) \"/\" Work/a\r\n");
    driver_rename(box, STR("b"));
    names_changed();
    assert_said("* LIST (\\HasNoChildren) \"/\" b (\"OLDNAME\" (Work/a))\r\n");
    deliver((size_t)(box - d.boxes));
    assert_said("* STATUS b (MESSAGES 1 UIDNEXT 2)\r\n");
    /* Renamed and delivered to at once. */
    driver_rename(box, STR("c"));
    deliver((size_t)(box - d.boxes));
    assert_said(
        "* LIST (\\HasNoChildren) \"/\" c (\"OLDNAME\" (b))\r\n* STATUS c (MESSAGES 2 UIDNEXT 3)\r\n");
    /* Children go with their parent. */
    struct driver_box *child = driver_make(&d, STR("c/d"));
    names_changed();
    buf_clear(&d.said);
    driver_rename(box, STR("e"));
    driver_rename(child, STR("e/d"));
    names_changed();
    assert_said("* LIST (\\HasChildren) \"/\" e (\"OLDNAME\" (c))\r\n");
    /* A child that got another name itself. */
    driver_rename(child, STR("e/f"));
    names_changed();
    assert_said("* LIST (\\HasNoChildren) \"/\" e/f (\"OLDNAME\" (e/d))\r\n");
    box->exists = false;
    names_changed();
    assert_said("* LIST (\\NonExistent \\HasChildren) \"/\" e\r\n");
    child->exists = false;
    names_changed();
    assert_said("* LIST (\\NonExistent \\HasNoChildren) \"/\" e\r\n* LIST (\\NonExistent \\HasNoChildren) "
                "\"/\" e/f\r\n");
    /* The lookup right is what makes it there, the right to read what makes it heard. */
    d.boxes[1].rights = RIGHTS_ALL & ~(unsigned)(RIGHT_LOOKUP | RIGHT_READ);
    names_changed();
    assert_said("* LIST (\\NonExistent \\HasNoChildren) \"/\" Work\r\n");
    deliver(1);
    assert_said("");
    d.boxes[1].rights = RIGHT_LOOKUP;
    names_changed();
    assert_said("* LIST (\\NoAccess \\HasNoChildren) \"/\" Work\r\n");
    deliver(1);
    assert_said("");
    d.boxes[1].rights = RIGHTS_ALL;
    names_changed();
    assert_said("* LIST (\\HasNoChildren) \"/\" Work\r\n* STATUS Work (MESSAGES 3 UIDNEXT 4)\r\n");
    driver_free(&d);
}

/* Section 5: what the client does itself is not told. */
static void test_own_changes(void **state)
{
    (void)state;
    log_in();
    expect("n NOTIFY SET (PERSONAL (MailboxName SubscriptionChange MailboxMetadataChange "
           "ServerMetadataChange))\r\n",
           OK);
    expect("a CREATE a/b\r\n", "a OK [MAILBOXID (00000000000000000000000000000000)] Created\r\n");
    expect("a SUBSCRIBE a/b\r\n", "a OK Done\r\n");
    expect("a RENAME a/b c\r\n", "a OK Done\r\n");
    expect("a SETMETADATA c (/private/comment \"x\")\r\n", "a OK Noted\r\n");
    expect("a SETMETADATA \"\" (/private/comment \"x\")\r\n", "a OK Noted\r\n");
    expect("a UNSUBSCRIBE c\r\n", "a OK Done\r\n");
    expect("a DELETE c\r\n", "a OK Done\r\n");
    /* The same by others is told. */
    struct driver_box *box = driver_make(&d, STR("c"));
    names_changed();
    assert_said("* LIST (\\HasNoChildren) \"/\" c\r\n");
    box->subscribed = true;
    names_changed();
    assert_said("* LIST (\\HasNoChildren \\Subscribed) \"/\" c\r\n");
    box->subscribed = false;
    names_changed();
    assert_said("* LIST (\\HasNoChildren) \"/\" c\r\n");
    driver_free(&d);
}

/* Sections 5.6 and 5.7 */
static void test_metadata(void **state)
{
    (void)state;
    log_in();
    struct driver_annotation first = {"INBOX", 5, "/shared/comment", 15, "x", 1};
    d.annotations[d.annotation_count++] = first;
    expect("n NOTIFY SET (PERSONAL (MailboxMetadataChange)) (MAILBOXES INBOX (ServerMetadataChange))\r\n",
           OK);
    struct driver_annotation second = {"", 0, "/private/vendor/v/a", 19, "x", 1};
    struct driver_annotation third = {"INBOX", 5, "/private/comment", 16, "x", 1};
    d.annotations[d.annotation_count++] = second;
    d.annotations[d.annotation_count++] = third;
    buf_clear(&d.said);
    driver_news(&d, IMAP_NEWS_METADATA);
    assert_said("* METADATA \"\" /private/vendor/v/a\r\n* METADATA INBOX /private/comment\r\n");
    driver_news(&d, IMAP_NEWS_METADATA);
    assert_said("");
    for (size_t i = 0; i < d.annotation_count; i++) { /* all of INBOX get another value */
        d.annotations[i].value[0] = d.annotations[i].mailbox_len > 0 ? 'y' : 'x';
    }
    driver_news(&d, IMAP_NEWS_METADATA);
    assert_said("* METADATA INBOX /private/comment /shared/comment\r\n");
    d.annotation_count = 0;
    driver_news(&d, IMAP_NEWS_METADATA);
    assert_said(
        "* METADATA \"\" /private/vendor/v/a\r\n* METADATA INBOX /private/comment /shared/comment\r\n");
    driver_free(&d);
}

/* Section 6 */
static void test_which_mailboxes(void **state)
{
    (void)state;
    log_in();
    struct driver_box *shared = driver_make(&d, STR("Other Users/bob@example.org/x"));
    struct driver_box *below = driver_make(&d, STR("Work/below"));
    struct driver_box *beside = driver_make(&d, STR("Work-2"));
    size_t boxes[] = {0, 1, (size_t)(shared - d.boxes), (size_t)(below - d.boxes),
                      (size_t)(beside - d.boxes)};
    static const struct {
        const char *filter;
        bool heard[5];
    } cases[] = {{"INBOXES", {true, false, false, false, false}},
                 {"PERSONAL", {true, true, false, true, true}},
                 {"SUBTREE Work", {false, true, false, true, false}},
                 {"SUBTREE (Work INBOX)", {true, true, false, true, false}},
                 {"MAILBOXES Work", {false, true, false, false, false}},
                 {"MAILBOXES (inbox \"Work-2\" \"W*\")", {true, false, false, false, true}},
                 {"SUBSCRIBED", {false, false, true, false, false}},
                 {"SUBTREE \"Other Users\"", {false, false, true, false, false}}};
    shared->subscribed = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char command[128];
        snprintf(command, sizeof(command), "n NOTIFY SET (%s " ALL ")\r\n", cases[i].filter);
        expect(command, OK);
        for (size_t b = 0; b < 5; b++) {
            deliver(boxes[b]);
            assert_int_equal(d.said.len > 0, cases[i].heard[b]);
        }
    }
    /* Subscriptions count as they are now. */
    expect("n NOTIFY SET (SUBSCRIBED " ALL ")\r\n", OK);
    below->subscribed = true;
    names_changed();
    assert_said("");
    deliver(boxes[3]);
    assert_int_not_equal(d.said.len, 0);
    driver_free(&d);
}

/* Section 3.1: who may not read there, or sees nothing. */
static void test_rights_at_first(void **state)
{
    (void)state;
    log_in();
    d.boxes[1].rights = RIGHT_LOOKUP;
    expect("n NOTIFY SET STATUS (MAILBOXES (Work INBOX Nowhere) " ALL ")\r\n",
           "* STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1000 HIGHESTMODSEQ 4)\r\n"
           "* LIST (\\NoAccess \\HasNoChildren) \"/\" Work\r\n" OK);
    d.boxes[1].rights = RIGHT_READ;
    expect("n NOTIFY SET STATUS (MAILBOXES Work " ALL ")\r\n", OK);
    driver_free(&d);
}

#define BAD "n BAD NOTIFY takes NONE, or SET and groups of events in brackets"
#define EVENTS                                                                                               \
    "n NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange "                   \
    "MailboxMetadataChange "                                                                                 \
    "ServerMetadataChange)] One of these events cannot be had\r\n"

static void test_refusals(void **state)
{
    (void)state;
    static const char together[] =
        "n BAD MessageNew and MessageExpunge go together, and FlagChange with both of them\r\n";
    log_in();
    expect("n NOTIFY SET (PERSONAL (MessageNew))\r\n", together);
    expect("n NOTIFY SET (PERSONAL (MessageExpunge))\r\n", together);
    expect("n NOTIFY SET (PERSONAL (FlagChange))\r\n", together);
    expect("n NOTIFY SET (SELECTED (MessageNew MessageExpunge MailboxName))\r\n",
           "n BAD Only events of messages can be had of the selected mailbox\r\n");
    expect("n NOTIFY SET (SELECTED " ALL ") (SELECTED-DELAYED " ALL ")\r\n",
           "n BAD SELECTED or SELECTED-DELAYED can be there once\r\n");
    expect("n NOTIFY SET (PERSONAL (MessageNew MessageExpunge AnnotationChange))\r\n", EVENTS);
    expect("n NOTIFY SET (PERSONAL (Sunrise))\r\n", EVENTS);
    expect(
        "n NOTIFY SET (PERSONAL (MessageNew (UID) MessageExpunge))\r\n", BAD
        "; expected no items: they go with the selected mailbox alone before:  (UID) MessageExpunge))\r\n");
    expect("n NOTIFY\r\n", BAD "; expected a space\r\n");
    driver_say(
        &d,
        STR("n NOTIFY SET\r\nn NOTIFY SET (PERSONAL)\r\nn NOTIFY SET (PERSONAL ())\r\nn NOTIFY NONE x\r\n"
            "n NOTIFY SET (MAILBOXES () NONE)\r\nn NOTIFY SET (PERSONAL NONE) \r\nn NOTIFY SET (EVERYWHERE "
            "NONE)\r\n"),
        0);
    d.no_watch = true;
    expect("n NOTIFY SET (PERSONAL " ALL ")\r\n",
           "n NO [NOTIFICATIONOVERFLOW] The server cannot watch that for you; ask for less\r\n");
    d.no_watch = false;
    /* What was refused leaves what was there before. */
    expect("n NOTIFY SET (MAILBOXES Work " ALL ")\r\n", OK);
    d.fail_answers = true;
    expect("n NOTIFY SET (PERSONAL (MailboxName))\r\n",
           "n NO [NOTIFICATIONOVERFLOW] The server cannot watch that for you; ask for less\r\n");
    d.fail_answers = false;
    deliver(1);
    assert_int_not_equal(d.said.len, 0);
    /* When the server cannot go on it says so, once. */
    d.fail_answers = true;
    deliver(1);
    assert_said("* OK [NOTIFICATIONOVERFLOW] Notifications have ended; they may be asked for again\r\n");
    d.fail_answers = false;
    deliver(1);
    assert_said("");
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_selected_mailbox_at_once),
                                       cmocka_unit_test(test_idle_tells_the_same),
                                       cmocka_unit_test(test_what_is_not_wanted_is_not_told),
                                       cmocka_unit_test(test_selected_delayed),
                                       cmocka_unit_test(test_new_messages_with_their_items),
                                       cmocka_unit_test(test_items_of_a_search),
                                       cmocka_unit_test(test_status_of_other_mailboxes),
                                       cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_own_changes),
                                       cmocka_unit_test(test_metadata),
                                       cmocka_unit_test(test_which_mailboxes),
                                       cmocka_unit_test(test_rights_at_first),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
