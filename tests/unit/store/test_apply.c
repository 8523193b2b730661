/*
 * Applying the log: what records make of mailboxes and queue, once and only once, and what hostile records cannot do.
 */
#include "fixture.h"
#include "store/move.h"

#include "base/crc32c.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const struct letter to_alice = {.sender = "bob@remote.example",
                                       .recipients = {"alice@example.org"},
                                       .body = {"Subject: one\r\n\r\nfirst\r\n", 23}};

static void test_mailbox(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    struct ident id = fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_count(&f, alice), 0);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    struct buf text = buf_make(1 << 16);
    assert_true(fixture_read(&f, alice, 1, &text));
    static const char wanted[] = "Return-Path: <bob@remote.example>\r\nDelivered-To: alice@example.org\r\n"
                                 "Received: from test\r\nSubject: one\r\n\r\nfirst\r\n";
    assert_int_equal(text.len, sizeof(wanted) - 1);
    assert_memory_equal(text.data, wanted, sizeof(wanted) - 1);
    assert_true(fixture_journal(&f, &id, JOURNAL_ACCEPTED, "from=<bob@remote.example> recipients=1"));
    assert_true(fixture_journal(&f, &id, JOURNAL_FILED, "to=<alice@example.org> mailbox=INBOX uid=1"));
    struct account account;
    assert_int_equal(account_by_id(f.index, alice, &account), 1);
    assert_int_equal(account.used_messages, 1);
    assert_int_equal(account.used_octets, sizeof(wanted) - 1);
    /* Parts of it, over every border. */
    struct mailbox mailbox = {.account = alice, .id = MAILBOX_INBOX};
    struct message_place place;
    assert_int_equal(message_find(f.index, &mailbox, 1, &place), 1);
    for (size_t from = 0; from <= text.len; from++) {
        for (size_t len = 0; len <= text.len + 1; len += 7) {
            struct buf part = buf_make(1 << 16);
            assert_true(message_read(&f.segments, &place, from, len, &part));
            size_t expected = from + len > text.len ? text.len - from : len;
            assert_int_equal(part.len, expected);
            assert_memory_equal(part.len == 0 ? "" : part.data, wanted + from, expected);
            buf_free(&part);
        }
    }
    buf_free(&text);
    close(fd);
    fixture_close(&f);
}

/* Small ones are read many at a time, large ones by themselves: each arrives whole, whatever lies before it. */
static void test_records_of_all_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {50,  1000,   100000, 262144, 262088, 3, 700000,
                                   200, 131072, 131072, 10,     300000, 60};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    struct buf body = buf_make(1 << 20);
    for (size_t i = 0; i < SIZES; i++) {
        buf_clear(&body);
        for (size_t at = 0; at < sizes[i]; at++) {
            buf_append_char(&body, (char)('a' + i));
        }
        struct letter letter = to_alice;
        letter.body = buf_str(&body);
        fixture_write(&f, fd, &letter);
    }
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), SIZES);
    for (size_t i = 0; i < SIZES; i++) {
        struct buf text = buf_make(1 << 20);
        assert_true(fixture_read(&f, alice, (uint32_t)i + 1, &text));
        assert_true(text.len > sizes[i]);
        for (size_t at = text.len - sizes[i]; at < text.len; at++) {
            assert_int_equal(text.data[at], 'a' + i);
        }
        buf_free(&text);
    }
    buf_free(&body);
    close(fd);
    fixture_close(&f);
}

static void test_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(&f, fd, &to_alice);
    fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 2);
    /* The same records from the beginning, as after a lost position. */
    assert_int_equal(segment_set_applied(f.index, segment, 0), 0);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 2);
    assert_int_equal(fixture_sql(&f, "SELECT uid_next FROM mailbox"), 3);
    int64_t live = fixture_sql(&f, "SELECT live FROM segment");
    assert_int_equal(live, fixture_sql(&f, "SELECT SUM(octets) FROM record"));
    assert_int_equal(live, fixture_sql(&f, "SELECT applied FROM segment"));
    fixture_reopen(&f);
    fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 3);
    close(fd);
    fixture_close(&f);
}

static void test_twice_to_one_mailbox(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    fixture_alias(&f, "sales@example.org", "alice@example.org");
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(
        &f, fd,
        &(struct letter){.sender = "",
                         .recipients = {"alice@example.org", "sales@example.org", "alice+tag@example.org",
                                        "ALICE@example.org", "nobody@caught.example"},
                         .body = STR("x")});
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_int_equal(fixture_sql(&f, "SELECT refs FROM record"), 1);
    close(fd);
    fixture_close(&f);
}

static void test_removal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t carol = fixture_account(&f, "carol@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(
        &f, fd,
        &(struct letter){.sender = "bob@remote.example",
                         .recipients = {"alice@example.org", "carol@example.org", "x@relay.example"},
                         .body = STR("x")});
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_sql(&f, "SELECT refs FROM record"), 3);
    struct mailbox a;
    struct mailbox c;
    assert_int_equal(mailbox_find(f.index, alice, MAILBOX_INBOX, &a), 1);
    assert_int_equal(mailbox_find(f.index, carol, MAILBOX_INBOX, &c), 1);
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(message_remove(f.index, &a, 1), 1);
    assert_int_equal(message_remove(f.index, &a, 1), 0);
    assert_int_equal(message_remove(f.index, &c, 1), 1);
    assert_int_equal(index_commit(f.index), 0);
    assert_int_equal(fixture_sql(&f, "SELECT refs FROM record"), 1);
    assert_true(fixture_sql(&f, "SELECT live FROM segment") > 0);
    struct entry entries[2];
    assert_int_equal(entry_due(f.index, f.now_ms, entries, 2), 1);
    assert_int_equal(entry_remove(f.index, &entries[0]), 0);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM record"), 0);
    assert_int_equal(fixture_sql(&f, "SELECT live FROM segment"), 0);
    assert_int_equal(fixture_sql(&f, "SELECT SUM(used_octets) + SUM(used_messages) FROM account"), 0);
    close(fd);
    fixture_close(&f);
}

static void test_aliases(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t carol = fixture_account(&f, "carol@example.org", -1);
    fixture_alias(&f, "all@example.org", "alice@example.org");
    fixture_alias(&f, "all@example.org", "some@example.org");
    fixture_alias(&f, "all@example.org", "dave@elsewhere.example");
    fixture_alias(&f, "some@example.org", "carol@example.org");
    fixture_alias(&f, "some@example.org", "all@example.org"); /* a loop */
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    struct ident id = fixture_write(&f, fd,
                                    &(struct letter){.sender = "bob@remote.example",
                                                     .recipients = {"all@example.org"},
                                                     .body = STR("x")});
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_int_equal(fixture_count(&f, carol), 1);
    struct entry entry;
    assert_int_equal(entry_find(f.index, &id, STR("dave@elsewhere.example"), &entry), 1);
    assert_int_equal(entry_count(f.index), 1);
    assert_true(str_equal(ENTRY_TEXT(&entry, domain), STR("elsewhere.example")));
    assert_int_equal(fixture_sql(&f, "SELECT refs FROM record"), 3);
    close(fd);
    fixture_close(&f);
}

static void test_wide_alias(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_account(&f, "alice@example.org", -1);
    assert_int_equal(index_begin(f.index), 0);
    for (int i = 0; i < RESOLVE_TARGETS_MAX; i++) {
        char target[64];
        snprintf(target, sizeof(target), "p%d@elsewhere.example", i);
        assert_int_equal(alias_add(f.index, STR("list@example.org"), str_of(target)), 0);
    }
    /* More than one message may reach are not let in. */
    assert_int_equal(alias_add(f.index, STR("list@example.org"), STR("more@elsewhere.example")), 1);
    assert_int_equal(alias_add(f.index, STR("list@example.org"), STR("p1@elsewhere.example")), 0);
    assert_int_equal(alias_add(f.index, STR("both@example.org"), STR("list@example.org")), 0);
    assert_int_equal(alias_add(f.index, STR("both@example.org"), STR("q@elsewhere.example")), 0);
    assert_int_equal(alias_add(f.index, STR("both@example.org"), STR("r@elsewhere.example")), 0);
    assert_int_equal(index_commit(f.index), 0);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    struct ident id = fixture_write(&f, fd,
                                    &(struct letter){.sender = "bob@remote.example",
                                                     .recipients = {"both@example.org"},
                                                     .body = STR("x")});
    assert_int_equal(fixture_apply(&f, segment), 0);
    /* What nested aliases name beyond the limit (list@ counts too) does not go silently: the sender is told. */
    assert_int_equal(entry_count(f.index), RESOLVE_TARGETS_MAX - 1 + 1);
    struct entry entry;
    assert_int_equal(entry_find(f.index, &id, STR("both@example.org"), &entry), 1);
    assert_true(str_equal(ENTRY_TEXT(&entry, domain), ENTRY_TOO_MANY));
    close(fd);
    fixture_close(&f);
}

static void test_rights(void **state)
{
    (void)state;
    static const int origins[] = {ROLE_SMTPD_MX, ROLE_SMTPD_MSA, ROLE_STORE};
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    for (size_t o = 0; o < 3; o++) {
        int64_t segment;
        int fd = fixture_segment(&f, origins[o], &segment);
        unsigned char grants[5][GRANT_SIZE];
        fixture_grant(&f, ROLE_SMTPD_MSA, FIXTURE_INSTANCE, FIXTURE_BOOT, grants[0]);
        fixture_grant(&f, ROLE_SMTPD_MSA, FIXTURE_INSTANCE + 1, FIXTURE_BOOT, grants[1]);
        fixture_grant(&f, ROLE_SMTPD_MSA, FIXTURE_INSTANCE, FIXTURE_BOOT + 1, grants[2]);
        fixture_grant(&f, ROLE_IMAPD, FIXTURE_INSTANCE, FIXTURE_BOOT, grants[3]);
        memcpy(grants[4], grants[0], GRANT_SIZE);
        grants[4][GRANT_SIZE - 1] ^= 1;
        for (size_t g = 0; g < 6; g++) {
            int64_t before = entry_count(f.index);
            int64_t filed = fixture_count(&f, alice);
            struct letter letter = {
                .sender = "alice@example.org",
                .recipients = {"x@elsewhere.example", "alice@example.org", "y@relay.example"},
                .body = STR("x"),
                .grant = g == 5 ? STR_EMPTY : str_make(grants[g], GRANT_SIZE)};
            struct ident id = fixture_write(&f, fd, &letter);
            assert_int_equal(fixture_apply(&f, segment), 0);
            bool allowed = origins[o] == ROLE_STORE || (origins[o] == ROLE_SMTPD_MSA && g == 0);
            assert_int_equal(entry_count(f.index), before + (allowed ? 2 : 1));
            assert_int_equal(fixture_count(&f, alice), filed + 1);
            assert_int_equal(fixture_journal(&f, &id, JOURNAL_DROPPED, "no right to relay"), !allowed);
        }
        close(fd);
    }
    fixture_close(&f);
}

static void test_unknown_and_removed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    struct account account;
    struct mailbox mailbox;
    assert_int_equal(mailbox_find(f.index, alice, MAILBOX_INBOX, &mailbox), 1);
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(message_remove(f.index, &mailbox, 1), 1);
    assert_int_equal(account_by_id(f.index, alice, &account), 1);
    assert_int_equal(account_remove(f.index, &account), 0);
    assert_int_equal(index_commit(f.index), 0);
    /* What the applier remembers of the address must not lead to an account that is gone. */
    struct ident id = fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    struct entry entry;
    assert_int_equal(entry_find(f.index, &id, STR("alice@example.org"), &entry), 1);
    assert_int_equal(entry.domain_len, 0);
    /* The next account must not be taken for the one that is gone: an old grant names a number. */
    int64_t carol = fixture_account(&f, "carol@example.org", -1);
    assert_true(carol > alice);
    close(fd);
    fixture_close(&f);
}

static void test_quota(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", 1000);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    struct resolution r;
    resolve_recipient(f.index, f.config, STR("alice@example.org"), &r);
    assert_int_equal(r.verdict, RESOLVED_LOCAL);
    assert_int_equal(r.room, 1000);
    resolve_free(&r);
    assert_int_equal(account_count(f.index, alice, 1000, 1, 1), 0);
    resolve_recipient(f.index, f.config, STR("alice@example.org"), &r);
    assert_int_equal(r.room, 0);
    resolve_free(&r);
    /* What several sessions accepted at once before the mailbox was full is still filed. */
    fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    /* A process that ignores quotas does not fill the disk. */
    assert_int_equal(account_count(f.index, alice, 70 << 20, 1, 1), 0);
    struct ident id = fixture_write(&f, fd, &to_alice);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_true(fixture_journal(&f, &id, JOURNAL_QUEUED, "the mailbox is full"));
    struct entry entry;
    assert_int_equal(entry_find(f.index, &id, STR("alice@example.org"), &entry), 1);
    assert_true(str_equal(ENTRY_TEXT(&entry, domain), ENTRY_FULL));
    close(fd);
    fixture_close(&f);
}

/* Hostile records. */

static void test_torn_tail(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(&f, fd, &to_alice);
    off_t whole = lseek(fd, 0, SEEK_END);
    fixture_write(&f, fd, &to_alice);
    off_t end = lseek(fd, 0, SEEK_END);
    for (off_t cut = whole; cut < end; cut++) {
        assert_int_equal(ftruncate(fd, end - 1 - (cut - whole)), 0);
        bool more;
        bool torn;
        assert_int_equal(index_begin(f.index), 0);
        assert_int_equal(
            apply_segment(f.applier, segment, INT64_MAX, UINT64_MAX, f.now_ms, &more, &torn, &f.counts), 0);
        assert_int_equal(apply_finish(f.applier), 0);
        assert_int_equal(index_commit(f.index), 0);
        assert_int_equal(torn, end - 1 - (cut - whole) > whole);
        assert_int_equal(fixture_count(&f, alice), 1);
        assert_int_equal(fixture_sql(&f, "SELECT applied FROM segment"), whole);
    }
    /* Zeros behind the last record, as a file system may leave them. */
    assert_int_equal(ftruncate(fd, whole + 4096), 0);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_int_equal(segment_seal(f.index, segment), 0);
    struct segment_info info;
    assert_int_equal(segment_get(f.index, segment, &info), 0);
    assert_true(info.sealed);
    close(fd);
    fixture_close(&f);
}

static void flip(const char *path, off_t at, int bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (unsigned char)(byte ^ (1 << bit));
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void segment_path(int64_t segment, char *path, size_t size)
{
    snprintf(path, size, "segments/%016llx.log", (unsigned long long)segment);
}

static void test_damaged_payload(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    char path[64];
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    segment_path(segment, path, sizeof(path));
    struct ident bad = fixture_write(&f, fd, &to_alice);
    fixture_write(&f, fd, &to_alice);
    flip(path, RECORD_HEADER + 10, 3);
    assert_int_equal(fixture_apply(&f, segment), 0);
    /* One damaged message does not take those behind it along. */
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_true(fixture_journal(&f, &bad, JOURNAL_DROPPED, "damaged"));
    assert_int_equal(fixture_sql(&f, "SELECT applied FROM segment"), lseek(fd, 0, SEEK_END));
    close(fd);
    fixture_close(&f);
}

static void test_wrong_bytes_are_not_served(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    char path[64];
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    segment_path(segment, path, sizeof(path));
    static char large[300000];
    memset(large, 'a', sizeof(large));
    fixture_write(&f, fd, &to_alice);
    off_t second = lseek(fd, 0, SEEK_END);
    fixture_write(&f, fd,
                  &(struct letter){.sender = "bob@remote.example",
                                   .recipients = {"alice@example.org"},
                                   .body = str_make(large, sizeof(large))});
    assert_int_equal(fixture_apply(&f, segment), 0);
    struct buf text = buf_make(1 << 20);
    for (int bit = 0; bit < 8; bit++) {
        for (off_t at = RECORD_HEADER; at < second - 8; at += 5) {
            flip(path, at, bit);
            assert_false(fixture_read(&f, alice, 1, &text));
            buf_clear(&text);
            flip(path, at, bit);
        }
    }
    assert_true(fixture_read(&f, alice, 1, &text));
    buf_clear(&text);
    assert_true(fixture_read(&f, alice, 2, &text));
    /* A large message is read in pieces; what changes after the first of them is seen as well. */
    struct mailbox mailbox = {.account = alice, .id = MAILBOX_INBOX};
    struct message_place place;
    assert_int_equal(message_find(f.index, &mailbox, 2, &place), 1);
    struct buf part = buf_make(1 << 20);
    assert_true(message_read(&f.segments, &place, 0, 65536, &part));
    assert_memory_equal(part.data, text.data, part.len);
    flip(path, second + 250000, 0);
    buf_clear(&part);
    assert_false(message_read(&f.segments, &place, 248000, 4096, &part));
    flip(path, second + 250000, 0);
    buf_clear(&part);
    assert_true(message_read(&f.segments, &place, 248000, 4096, &part));
    assert_memory_equal(part.data, text.data + 248000, 4096);
    buf_free(&part);
    buf_free(&text);
    close(fd);
    fixture_close(&f);
}

static void test_lying_records(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    /* More recipients promised than there are; control characters; kinds of the store's own. */
    struct letter letter = to_alice;
    letter.lie_count = 9999;
    fixture_write(&f, fd, &letter);
    letter = to_alice;
    letter.sender = "bob@remote.example>\r\nX-Evil: yes";
    struct ident evil = fixture_write(&f, fd, &letter);
    letter = to_alice;
    letter.recipients[0] = "x@relay.example\r\nRCPT TO:<y@elsewhere.example>";
    struct ident split = fixture_write(&f, fd, &letter);
    letter = to_alice;
    letter.kind = RECORD_EVENTS;
    fixture_write(&f, fd, &letter);
    letter.kind = RECORD_COPY;
    fixture_write(&f, fd, &letter);
    letter.kind = 200;
    fixture_write(&f, fd, &letter);
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_count(&f, alice), 1);
    assert_int_equal(entry_count(f.index), 0);
    assert_true(fixture_journal(&f, &evil, JOURNAL_DROPPED, ""));
    assert_true(fixture_journal(&f, &split, JOURNAL_DROPPED, ""));
    assert_int_equal(fixture_sql(&f, "SELECT applied FROM segment"), lseek(fd, 0, SEEK_END));
    assert_int_equal(fixture_sql(&f, "SELECT refs FROM record"), 1);
    close(fd);
    fixture_close(&f);
}

static void test_lying_lengths(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    int64_t alice = fixture_account(&f, "alice@example.org", -1);
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(&f, fd, &to_alice);
    /* Headers with good checksums that claim what is not there, one of them four gigabytes. */
    static const uint32_t claims[] = {4096, 1 << 30, 0xfffffff8U};
    off_t end = lseek(fd, 0, SEEK_END);
    for (size_t i = 0; i < 3; i++) {
        struct record_header header = {.kind = RECORD_MESSAGE, .id = ident_make(1, 1)};
        unsigned char bytes[RECORD_HEADER];
        assert_true(record_encode_header(&header, STR_EMPTY, STR_EMPTY, STR_EMPTY, STR_EMPTY, bytes));
        uint32_t body = claims[i] - RECORD_HEADER;
        memcpy(bytes + 8, &claims[i], 4);
        memcpy(bytes + 20, &body, 4);
        uint32_t crc = crc32c(0, bytes, 52);
        memcpy(bytes + 52, &crc, 4);
        assert_int_equal(record_decode_header(bytes, &header), i == 2 ? RECORD_BAD : RECORD_GOOD);
        assert_int_equal(ftruncate(fd, end), 0);
        assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
        assert_int_equal(fixture_apply(&f, segment), 0);
        assert_int_equal(fixture_count(&f, alice), 1);
        assert_int_equal(fixture_sql(&f, "SELECT applied FROM segment"), end);
    }
    struct record_header header = {.kind = RECORD_MESSAGE};
    unsigned char bytes[RECORD_HEADER];
    assert_false(record_encode_header(&header, STR_EMPTY, STR_EMPTY, STR_EMPTY,
                                      str_make("", RECORD_TOTAL_MAX), bytes));
    close(fd);
    fixture_close(&f);
}

static void test_dev(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "catch_all_mail = true\n");
    int64_t segment;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
    fixture_write(
        &f, fd,
        &(struct letter){.sender = "",
                         .recipients = {"New+tag@Anywhere.example", "new@anywhere.example", "b@c.example"},
                         .body = STR("x")});
    assert_int_equal(fixture_apply(&f, segment), 0);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM account"), 3);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM message"), 3);
    assert_int_equal(f.counts.accounts_made, 3);
    close(fd);
    fixture_close(&f);
}

static void test_retire(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_account(&f, "alice@example.org", -1);
    int64_t mx;
    int64_t own;
    int fd = fixture_segment(&f, ROLE_SMTPD_MX, &mx);
    int own_fd = fixture_segment(&f, ROLE_STORE, &own);
    struct letter letter = {
        .sender = "bob@remote.example", .recipients = {"x@relay.example"}, .body = STR("x")};
    struct ident id = fixture_write(&f, fd, &letter);
    assert_int_equal(fixture_apply(&f, mx), 0);
    struct buf retires = buf_make(1000);
    buf_append(&retires, id.bytes, IDENT_SIZE);
    buf_append_le16(&retires, 15);
    buf_append_lit(&retires, "x@relay.example");
    struct letter bounce = {.sender = "",
                            .recipients = {"bob@remote.example"},
                            .body = STR("sorry"),
                            .retires = buf_str(&retires)};
    /* Only the store's own records settle queue rows. */
    fixture_write(&f, fd, &bounce);
    assert_int_equal(fixture_apply(&f, mx), 0);
    struct entry entry;
    assert_int_equal(entry_find(f.index, &id, STR("x@relay.example"), &entry), 1);
    fixture_write(&f, own_fd, &bounce);
    assert_int_equal(fixture_apply(&f, own), 0);
    assert_int_equal(entry_find(f.index, &id, STR("x@relay.example"), &entry), 0);
    assert_int_equal(entry_count(f.index), 1);
    buf_free(&retires);
    close(fd);
    close(own_fd);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox),
        cmocka_unit_test(test_records_of_all_sizes),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_twice_to_one_mailbox),
        cmocka_unit_test(test_removal),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_wide_alias),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_unknown_and_removed),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_torn_tail),
        cmocka_unit_test(test_damaged_payload),
        cmocka_unit_test(test_wrong_bytes_are_not_served),
        cmocka_unit_test(test_lying_records),
        cmocka_unit_test(test_lying_lengths),
        cmocka_unit_test(test_dev),
        cmocka_unit_test(test_retire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
