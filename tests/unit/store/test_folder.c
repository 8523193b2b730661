/*
 * Mailboxes by name: a rename is made whole or not at all, also where a name below it is taken or would be too long, because other
 * changes share its transaction and must not be rolled back for it.
 */
#include "fixture.h"
#include "store/acl.h"
#include "store/expunged.h"
#include "store/folder.h"
#include "store/move.h"

#include <stdio.h>
#include <unistd.h>

static struct fixture f;
static int64_t account;

static enum folder_result make(struct str name)
{
    struct mailbox mailbox;
    return folder_create(f.index, account, name, 0, f.now_ms, &mailbox);
}

static enum folder_result rename_to(struct str from, struct str to)
{
    return folder_rename(f.index, account, from, to, f.now_ms);
}

static bool add_name(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    (void)mailbox;
    (void)keywords;
    return buf_append_str(context, name) && buf_append_char(context, ' ');
}

static void expect_names(const char *wanted)
{
    struct buf names = buf_make(1 << 20);
    assert_int_equal(folder_list(f.index, account, add_name, &names), 0);
    if (!str_equal(buf_str(&names), str_of(wanted))) {
        fail_msg("there are: %.*s", STR_ARGS(buf_str(&names)));
    }
    buf_free(&names);
}

static void begin(void)
{
    fixture_open(&f, NULL);
    account = fixture_account(&f, "alice@example.org", -1);
    assert_int_equal(index_begin(f.index), 0);
}

static void end(void)
{
    assert_int_equal(fixture_commit(&f), 0);
    fixture_close(&f);
}

static void test_rename(void **state)
{
    (void)state;
    begin();
    assert_int_equal(make(STR("a/b/c")), FOLDER_DONE);
    expect_names("INBOX a a/b a/b/c ");
    assert_int_equal(rename_to(STR("a"), STR("x/y")), FOLDER_DONE);
    expect_names("INBOX x x/y x/y/b x/y/b/c ");
    assert_int_equal(rename_to(STR("x"), STR("x/z")), FOLDER_DONE); /* below itself */
    expect_names("INBOX x/z x/z/y x/z/y/b x/z/y/b/c ");
    assert_int_equal(rename_to(STR("none"), STR("other")), FOLDER_MISSING);
    assert_int_equal(rename_to(STR("x/z"), STR("INBOX")), FOLDER_EXISTS);
    assert_int_equal(rename_to(STR("INBOX"), STR("old")), FOLDER_DONE);
    expect_names("INBOX old x/z x/z/y x/z/y/b x/z/y/b/c ");
    end();
}

static void test_name_below_is_taken(void **state)
{
    (void)state;
    begin();
    assert_int_equal(make(STR("a/b")), FOLDER_DONE);
    assert_int_equal(make(STR("a/c")), FOLDER_DONE);
    assert_int_equal(make(STR("d/c")), FOLDER_DONE);
    assert_int_equal(folder_delete(f.index, account, STR("d")), FOLDER_DONE);
    assert_int_equal(rename_to(STR("a"), STR("d")), FOLDER_EXISTS);
    expect_names("INBOX a a/b a/c d/c ");
    assert_int_equal(f.index->error[0], '\0');
    end();
}

static void test_name_below_is_too_long(void **state)
{
    (void)state;
    static char longest[FOLDER_NAME_MAX];
    memset(longest, 'x', sizeof(longest));
    begin();
    assert_int_equal(make(STR("a/b")), FOLDER_DONE);
    assert_int_equal(make(STR("a/bb")), FOLDER_DONE);
    assert_int_equal(rename_to(STR("a"), str_make(longest, sizeof(longest) - 2)), FOLDER_CANNOT);
    expect_names("INBOX a a/b a/bb ");
    assert_int_equal(rename_to(STR("a"), str_make(longest, sizeof(longest) - 3)), FOLDER_DONE);
    end();
}

static void take_ranges(void *context, struct str ranges)
{
    assert_true(buf_append_str(context, ranges));
}

/* Five messages; 2 and 4 are expunged, one after the other. */
static void expunge_some(struct mailbox *mailbox)
{
    int64_t segment;
    fixture_open(&f, NULL);
    account = fixture_account(&f, "alice@example.org", -1);
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    for (int i = 0; i < 5; i++) {
        fixture_write(&f, fd,
                      &(struct letter){.sender = "x@far.example",
                                       .recipients = {"alice@example.org"},
                                       .body = STR("x\r\n")});
    }
    close(fd);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(mailbox_find(f.index, account, MAILBOX_INBOX, mailbox), 1);
    for (uint32_t uid = 2; uid <= 4; uid += 2) {
        struct uid_range range = {uid, uid};
        struct move_result result = {.source_uids = NULL};
        assert_int_equal(expunge_messages(f.index, mailbox, &range, 1, false, NULL, &result), 0);
    }
}

static void expect_expunged(const struct mailbox *mailbox, uint64_t since, const char *wanted)
{
    struct buf packed = buf_make(1 << 20);
    struct buf text = buf_make(1 << 20);
    struct uid_range range;
    assert_int_equal(expunged_since(f.index, mailbox, since, take_ranges, &packed), 0);
    struct str rest = buf_str(&packed);
    while (uid_ranges_next(&rest, &range)) {
        buf_printf(&text, "%u:%u ", range.first, range.last);
    }
    if (!str_equal(buf_str(&text), str_of(wanted))) {
        fail_msg("since %llu: %.*s", (unsigned long long)since, STR_ARGS(buf_str(&text)));
    }
    buf_free(&packed);
    buf_free(&text);
}

/* What is not remembered one by one is told as a whole, so that nobody keeps a message that is gone (RFC 7162, section 3.2.5.1). */
static void test_expunged_since(void **state)
{
    (void)state;
    struct mailbox mailbox;
    expunge_some(&mailbox);
    expect_expunged(&mailbox, mailbox.modseq, "");
    expect_expunged(&mailbox, mailbox.modseq - 1, "4:4 ");
    expect_expunged(&mailbox, 1, "2:2 4:4 ");
    mailbox.modseq += 1000000; /* so many changes ago is not kept */
    mailbox.uid_next = 20;
    expect_expunged(&mailbox, 1, "2:2 4:4 6:19 ");
    end();
}

static void test_expunged_forgotten(void **state)
{
    (void)state;
    struct mailbox mailbox;
    expunge_some(&mailbox);
    assert_int_equal(sqlite3_exec(f.index->db, "DELETE FROM expunged", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(expunged_forgotten(f.index, &mailbox), 0);
    expect_expunged(&mailbox, mailbox.modseq, "");
    expect_expunged(&mailbox, mailbox.modseq - 1, "2:2 4:4 ");
    end();
}

static void expunge_range(struct mailbox *mailbox, uint32_t first, uint32_t last)
{
    struct uid_range range = {first, last};
    struct move_result result = {.source_uids = NULL};
    struct expunge_note note = {.wall_ms = 1, .before = STR("uid="), .after = STR(" by=test")};
    assert_int_equal(expunge_messages(f.index, mailbox, &range, 1, false, &note, &result), 0);
}

/* Each message twice in one mailbox: a statement for many of them must not take the two for one. */
static void test_expunge_twice(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct uid_range all = {1, UINT32_MAX};
    struct move_result result = {.source_uids = NULL};
    expunge_some(&mailbox); /* leaves 1, 3 and 5 */
    expunge_range(&mailbox, 3, 3);
    assert_int_equal(copy_messages(f.index, &mailbox, &mailbox, &all, 1, 7, &result), 0); /* 6 and 7 */
    assert_int_equal(copy_messages(f.index, &mailbox, &mailbox, &all, 1, 7, &result), 0); /* 8 to 11 */
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) * 100 + SUM(refs) FROM record"), 208);
    int64_t octets = fixture_sql(&f, "SELECT SUM(octets) FROM record");
    assert_int_equal(fixture_sql(&f, "SELECT SUM(live) FROM segment"), octets);

    expunge_range(&mailbox, 6, 10);
    assert_int_equal(mailbox.messages, 3);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) * 100 + SUM(refs) FROM record"), 203);
    assert_int_equal(
        fixture_sql(&f, "SELECT COUNT(*) FROM journal WHERE event = 11 AND text LIKE 'uid=%% by=test'"), 6);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM journal WHERE text = 'uid=10 by=test'"), 1);

    /* More than are removed at a time. */
    while (mailbox.messages < 20000) {
        assert_int_equal(copy_messages(f.index, &mailbox, &mailbox, &all, 1, 7, &result), 0);
    }
    uint32_t messages = mailbox.messages;
    expunge_range(&mailbox, 1, UINT32_MAX);
    assert_int_equal(
        fixture_sql(&f,
                    "SELECT (SELECT COUNT(*) FROM journal WHERE text LIKE 'uid=%% by=test')"
                    " + (SELECT SUM(LENGTH(messages)) / 16 FROM journal_many WHERE text_after = ' by=test')"),
        6 + messages);
    assert_int_equal(mailbox.messages, 0);
    assert_int_equal(mailbox.octets, 0);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM record"), 0);
    assert_int_equal(fixture_sql(&f, "SELECT SUM(live) FROM segment"), 0);
    end();
}

/* Copies of messages with UIDs in a row and the same flags are made many at once: each is still that of its own message. */

static bool note_values(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    return buf_printf(context, "%u %llx@%llu,", uid, (unsigned long long)flags, (unsigned long long)modseq);
}

static void flag_range(struct mailbox *mailbox, uint32_t first, uint32_t last, uint64_t flags)
{
    struct flags_change change = {.operation = FLAGS_REPLACE,
                                  .flags = flags,
                                  .unchanged_since = UINT64_MAX,
                                  .modseq = mailbox->modseq + 1};
    struct buf refused = buf_make(100);
    uint64_t changed;
    assert_int_equal(
        flags_store(f.index, mailbox, &change, &(struct uid_range){first, last}, 1, &refused, &changed), 0);
    assert_int_equal(mailbox_set(f.index, mailbox), 0);
    assert_int_equal(refused.len, 0);
}

static void test_copy_alike(void **state)
{
    (void)state;
    struct mailbox mailbox;
    struct uid_range all = {1, UINT32_MAX};
    struct buf sources = buf_make(10000);
    struct buf targets = buf_make(10000);
    struct buf values = buf_make(1 << 20);
    struct move_result result = {.source_uids = NULL};
    expunge_some(&mailbox);
    while (mailbox.messages < 1000) {
        assert_int_equal(copy_messages(f.index, &mailbox, &mailbox, &all, 1, 7, &result), 0);
    }
    expunge_range(&mailbox, 20, 22);
    flag_range(&mailbox, 100, 150, FLAG_SEEN);
    flag_range(&mailbox, 200, 200, FLAG_DELETED);
    flag_range(&mailbox, 202, 203, FLAG_DELETED);
    uint32_t messages = mailbox.messages;
    uint32_t unseen = mailbox.unseen;
    uint64_t octets = mailbox.octets;
    uint32_t first = mailbox.uid_next;
    result = (struct move_result){.source_uids = &sources, .target_uids = &targets};
    assert_int_equal(copy_messages(f.index, &mailbox, &mailbox, &all, 1, 9, &result), 0);
    assert_int_equal(mailbox.messages, 2 * messages);
    assert_int_equal(mailbox.unseen, 2 * unseen);
    assert_int_equal(mailbox.deleted, 2 * 3);
    assert_int_equal(mailbox.octets, 2 * octets);
    assert_int_equal(mailbox.uid_next, first + messages);

    struct str from = buf_str(&sources);
    struct str to = buf_str(&targets);
    struct uid_range target;
    struct uid_range range;
    assert_true(uid_ranges_next(&to, &target));
    assert_int_equal(target.first, first);
    assert_int_equal(target.last, first + messages - 1);
    assert_int_equal(to.len, 0);
    uint32_t uid = first;
    while (uid_ranges_next(&from, &range)) {
        char query[512];
        snprintf(
            query, sizeof(query),
            "SELECT COUNT(*) FROM message a JOIN message b ON b.account = a.account AND b.mailbox = a.mailbox"
            " AND b.uid = a.uid - %u + %u AND b.record = a.record AND b.recipient = a.recipient AND b.size = "
            "a.size"
            " AND b.internal_ms = a.internal_ms AND b.saved_ms = 9 WHERE a.uid BETWEEN %u AND %u",
            range.first, uid, range.first, range.last);
        assert_int_equal(fixture_sql(&f, query), range.last - range.first + 1);
        uid += range.last - range.first + 1;
    }
    assert_int_equal(uid, first + messages);
    /* The copies have the flags of their messages, at both ends of each range of flags, and all one modification sequence. */
    static const struct {
        uint32_t uid; /* of the message; five UIDs before it are no longer there */
        unsigned flags;
    } expected[] = {
        {99, 0},  {100, FLAG_SEEN},    {150, FLAG_SEEN},    {151, 0}, {199, 0}, {200, FLAG_DELETED},
        {201, 0}, {202, FLAG_DELETED}, {203, FLAG_DELETED}, {204, 0}};
    assert_int_equal(flags_each(f.index, &mailbox, first, mailbox.modseq - 1, note_values, &values), 0);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), ",%u %x@%llu,", first + expected[i].uid - 6, expected[i].flags,
                 (unsigned long long)mailbox.modseq);
        assert_true(str_find_str(buf_str(&values), str_of(wanted)) != SIZE_MAX);
    }
    buf_free(&sources);
    buf_free(&targets);
    buf_free(&values);
    end();
}

/* Access control lists (RFC 4314). */

static void give(struct str name, int64_t grantee, bool negative, uint32_t rights)
{
    const struct acl_entry entry = {.grantee = grantee, .negative = negative, .rights = rights};
    struct mailbox mailbox;
    assert_int_equal(folder_find(f.index, account, name, &mailbox), 1);
    assert_int_equal(acl_set(f.index, account, mailbox.id, &entry), 1);
}

static void expect_rights(int64_t who, struct str name, int found, const char *wanted)
{
    struct mailbox mailbox;
    uint32_t rights;
    struct buf text = buf_make(RIGHTS_TEXT);
    assert_int_equal(acl_find(f.index, who, name, &mailbox, &rights), found);
    rights_write(rights, false, &text);
    if (!str_equal(buf_str(&text), str_of(wanted))) {
        fail_msg("%.*s: %.*s instead of %s", STR_ARGS(name), STR_ARGS(buf_str(&text)), wanted);
    }
    buf_free(&text);
}

static void test_rights(void **state)
{
    (void)state;
    const uint32_t lr = RIGHT_LOOKUP | RIGHT_READ;
    begin();
    int64_t bob = fixture_account(&f, "bob@example.org", -1);
    int64_t eve = fixture_account(&f, "eve@example.org", -1);
    int64_t zoe = fixture_account(&f, "zoe@other.example", -1);
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(make(STR("Team/Old")), FOLDER_DONE);
    give(STR("Team"), bob, false, lr | RIGHT_SEEN);
    give(STR("Team"), ACL_ANYONE, false, lr | RIGHT_INSERT);
    expect_rights(account, STR("Team"), 1, "lrswipkxtea");
    expect_rights(bob, STR("Other Users/alice@example.org/Team"), 1, "lrsi");
    expect_rights(eve, STR("Other Users/ALICE@Example.org/Team"), 1, "lri");
    expect_rights(zoe, STR("Other Users/alice@example.org/Team"), 1, ""); /* of another domain */
    expect_rights(bob, STR("Other Users/alice@example.org/Team/Old"), 1, "");
    /* What is made below inherits; what was there does not. */
    assert_int_equal(make(STR("Team/New/Deep")), FOLDER_DONE);
    expect_rights(bob, STR("Other Users/alice@example.org/Team/New/Deep"), 1, "lrsi");
    /* Rights that are taken away, from one and from anyone. */
    give(STR("Team"), bob, true, RIGHT_READ);
    give(STR("Team"), zoe, false, lr);
    expect_rights(bob, STR("Other Users/alice@example.org/Team"), 1, "lsi");
    give(STR("Team"), ACL_ANYONE, true, RIGHT_LOOKUP);
    expect_rights(bob, STR("Other Users/alice@example.org/Team"), 1, "si");
    expect_rights(zoe, STR("Other Users/alice@example.org/Team"), 1, "lr");
    give(STR("Team"), bob, false, 0);
    expect_rights(bob, STR("Other Users/alice@example.org/Team"), 1, "i");
    /* Where names lead nowhere. */
    static const char *const nowhere[] = {"Other Users",
                                          "Other Users/",
                                          "Other Users/alice@example.org",
                                          "Other Users/alice@example.org/",
                                          "Other Users/alice/Team",
                                          "Other Users//Team",
                                          "Other Users/nobody@example.org/INBOX",
                                          "Other Users/bob@example.org/INBOX"};
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        expect_rights(bob, str_of(nowhere[i]), 0, "");
    }
    expect_rights(bob, STR("Other Users/alice@example.org/inbox"), 1, "");
    assert_int_equal(make(STR("Other Users/x")), FOLDER_CANNOT);
    assert_int_equal(rename_to(STR("Team"), STR("Other Users")), FOLDER_CANNOT);
    assert_int_equal(make(STR("Other Users 2")), FOLDER_DONE);
    /* An own mailbox of this name, from before there was the namespace, can be reached and given another name. */
    assert_int_equal(sqlite3_exec(f.index->db,
                                  "UPDATE mailbox SET name = 'Other Users' WHERE name = 'Other Users 2'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    expect_rights(account, STR("Other Users"), 1, "lrswipkxtea");
    expect_rights(bob, STR("Other Users"), 0, "");
    assert_int_equal(rename_to(STR("Other Users"), STR("Old")), FOLDER_DONE);
    end();
}

/* A list has room for so many; an account that goes away takes its entries with it. */
static void test_entries(void **state)
{
    (void)state;
    struct acl_entry entries[ACL_ENTRIES_MAX];
    struct acl_entry one = {.grantee = 10000, .rights = RIGHT_LOOKUP};
    struct account bob;
    begin();
    int64_t id = fixture_account(&f, "bob@example.org", -1);
    assert_int_equal(index_begin(f.index), 0);
    give(STR("INBOX"), id, false, RIGHTS_ALL);
    give(STR("INBOX"), id, true, RIGHT_POST);
    for (int i = 2; i < ACL_ENTRIES_MAX; i++) {
        one.grantee++;
        assert_int_equal(acl_set(f.index, account, MAILBOX_INBOX, &one), 1);
    }
    one.rights = RIGHT_READ;
    assert_int_equal(acl_set(f.index, account, MAILBOX_INBOX, &one), 1); /* it is there already */
    one.grantee++;
    assert_int_equal(acl_set(f.index, account, MAILBOX_INBOX, &one), 0);
    assert_int_equal(acl_entries(f.index, account, MAILBOX_INBOX, entries), ACL_ENTRIES_MAX);
    assert_int_equal(account_by_id(f.index, id, &bob), 1);
    assert_int_equal(account_remove(f.index, &bob), 0);
    assert_int_equal(acl_entries(f.index, account, MAILBOX_INBOX, entries), ACL_ENTRIES_MAX - 2);
    assert_int_equal(account_by_id(f.index, account, &bob), 1);
    assert_int_equal(account_remove(f.index, &bob), 0);
    assert_int_equal(acl_entries(f.index, account, MAILBOX_INBOX, entries), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rename),
                                       cmocka_unit_test(test_name_below_is_taken),
                                       cmocka_unit_test(test_name_below_is_too_long),
                                       cmocka_unit_test(test_expunged_since),
                                       cmocka_unit_test(test_expunged_forgotten),
                                       cmocka_unit_test(test_expunge_twice),
                                       cmocka_unit_test(test_copy_alike),
                                       cmocka_unit_test(test_rights),
                                       cmocka_unit_test(test_entries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
