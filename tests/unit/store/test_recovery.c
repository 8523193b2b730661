/*
 * verify and reindex: a store at work is found in order; the index that is made anew from its log is the same, row by row; damage
 * of either is found and named, and everything else comes back.
 */
#include "disk.h"
#include "store/events.h"
#include "store/folder.h"
#include "store/reindex.h"
#include "store/verify.h"
#include "workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS = 400, LINES = 65536 };

struct lines {
    char text[LINES];
    size_t len;
    int count;
};

static void take_line(void *context, struct str text)
{
    struct lines *lines = context;
    lines->count++;
    if (lines->len + text.len + 2 < LINES) {
        memcpy(lines->text + lines->len, text.data, text.len);
        lines->len += text.len;
        lines->text[lines->len++] = '\n';
        lines->text[lines->len] = '\0';
    }
}

static struct fixture f;
static struct workload w;
static struct lines lines;

static void open_store(uint64_t seed)
{
    fixture_prepare(&f, NULL);
    f.noting = true;
    fixture_open_here(&f);
    workload_begin(&w, &f, seed);
    for (int i = 0; i < STEPS; i++) {
        workload_step(&w);
    }
    assert_int_equal(w.failures, 0);
    assert_true(workload_apply(&w));
}

static void close_store(void)
{
    workload_end(&w);
    fixture_close(&f);
}

static uint64_t verify(void)
{
    struct verify_counts counts;
    lines = (struct lines){.count = 0};
    int result = verify_store(f.index, &f.segments, take_line, &lines, &counts);
    if (result != 0) {
        fail_msg("%s", f.index->error);
    }
    assert_int_equal(lines.count, counts.problems);
    return counts.problems;
}

static void expect_well(void)
{
    if (verify() != 0) {
        fail_msg("%s", lines.text);
    }
}

/* The journal is copied as a whole. */
static const char journal[] =
    "SELECT COUNT(*), SUM(wall_ms), MAX(text) FROM journal UNION ALL"
    " SELECT COUNT(*), SUM(sequence + wall_ms + event), MIN(text_before || hex(first) || hex(messages) ||"
    " hex(last) || text_after) FROM journal_many";

static void note_many(void)
{
    struct buf messages = buf_make(4096);
    for (uint32_t i = 1; i <= 40; i++) {
        struct ident id = ident_make(1000, i);
        assert_true(journal_pack(&messages, &id, i));
    }
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(
        journal_add_each(f.index, buf_str(&messages), 1500, JOURNAL_EXPUNGED, STR("uid="), STR(" by=test")),
        0);
    assert_int_equal(fixture_commit(&f), 0);
    assert_int_equal(fixture_sql(&f, "SELECT COUNT(*) FROM journal_many WHERE text_after = ' by=test'"), 1);
    buf_free(&messages);
}

static void reindex(struct reindex_counts *counts)
{
    lines = (struct lines){.count = 0};
    fixture_close_here(&f);
    if (reindex_directory(&io_system, take_line, &lines, counts) != 0) {
        fail_msg("%s", lines.text);
    }
    fixture_open_here(&f);
}

static void test_same(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct reindex_counts counts;
        struct buf before = buf_make(64 << 20);
        struct buf after = buf_make(64 << 20);
        open_store(seed);
        expect_well();
        workload_end(&w);
        note_many();
        fixture_picture(&f, journal, &before);
        reindex(&counts);
        fixture_picture(&f, journal, &after);
        assert_int_equal(counts.damaged, 0);
        if (!str_equal(buf_str(&before), buf_str(&after))) {
            fail_msg("before:\n%.*s\nafter:\n%.*s", STR_ARGS(buf_str(&before)), STR_ARGS(buf_str(&after)));
        }
        assert_true(workload_check(&w));
        expect_well();
        /* The store goes on with it. */
        assert_true(workload_restart(&w));
        for (int i = 0; i < STEPS; i++) {
            workload_step(&w);
        }
        assert_true(workload_apply(&w));
        expect_well();
        assert_true(workload_check(&w));
        buf_free(&before);
        buf_free(&after);
        close_store();
    }
}

/* A crash between a segment's file and the commit of its row leaves a file that nothing speaks of. */
static void test_left_over_file(void **state)
{
    (void)state;
    struct reindex_counts counts;
    open_store(3);
    for (int origin = 1; origin <= SEGMENT_COPIES; origin += SEGMENT_COPIES - 1) {
        char name[64];
        snprintf(name, sizeof(name), "segments/%016llx.log", 99999ULL << 4 | (unsigned)origin);
        int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0640);
        assert_true(fd >= 0);
        close(fd);
    }
    expect_well();
    workload_end(&w);
    reindex(&counts);
    expect_well();
    assert_true(workload_check(&w));
    close_store();
}

/* Without its index, as the command finds it. */
static void test_no_index(void **state)
{
    (void)state;
    struct reindex_counts counts;
    open_store(99);
    workload_end(&w);
    assert_false(reindex_is_needed());
    fixture_close_here(&f);
    assert_int_equal(unlink("index.db"), 0);
    unlink("index.db-wal");
    unlink("index.db-shm");
    assert_true(reindex_is_needed());
    lines = (struct lines){.count = 0};
    assert_int_equal(reindex_directory(&io_system, take_line, &lines, &counts), 0);
    assert_false(reindex_is_needed());
    fixture_open_here(&f);
    assert_true(workload_check(&w));
    expect_well();
    close_store();
}

static void expect_problem(const char *wanted)
{
    assert_true(verify() > 0);
    if (strstr(lines.text, wanted) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", wanted, lines.text);
    }
}

/* A row that is not what the log says, of each table. */
static void test_rows(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        const char *wanted;
    } changes[] = {
        {"UPDATE account SET verifier = 'x' WHERE account = 1",
         "table account, row 1: password is not what the log says"},
        {"UPDATE account SET used_octets = used_octets + 1 WHERE account = 1",
         "table account, row 1: used octets is "},
        {"DELETE FROM alias", "is not in the index; by the log it should be"},
        {"INSERT INTO alias VALUES ('a@example.org', 'b@example.org')",
         "table alias, row \"a@example.org\" \"b@example.org\" is in the index; by the log it should not be"},
        {"UPDATE mailbox SET uid_next = 1 WHERE account = 1",
         "table mailbox, row 1 1: UIDNEXT is 1, by the log "},
        {"DELETE FROM message WHERE account = 1", "is not in the index; by the log it should be"},
        {"UPDATE message SET account = 2, uid = uid + 1000 WHERE account = 1", "by the log it should not be"},
        {"UPDATE record SET place = place + 8", "is not where the index says"},
        {"UPDATE record SET refs = refs + 1", "references is "},
        {"UPDATE segment SET applied = applied - 8 WHERE applied > 0", "applied is "},
        {"UPDATE segment SET live = live + 1", "live octets is "},
        {"UPDATE queue SET attempts = 77", "attempts is 77, by the log "},
        {"DELETE FROM queue", "by the log it should be"},
        {"UPDATE page SET entries = CAST(substr(entries, 1, 4) || x'20' || substr(entries, 6) AS BLOB)",
         " are not what the log says"},
        {"DELETE FROM page", " are not in the index; by the log they should be"},
        {"UPDATE meta SET value = 1 WHERE name = 'next_segment'",
         "the counter next_segment is 1, by the log "},
    };
    struct reindex_counts counts;
    open_store(5);
    workload_end(&w);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        assert_int_equal(sqlite3_exec(f.index->db, changes[i].sql, NULL, NULL, NULL), SQLITE_OK);
        assert_true(sqlite3_changes(f.index->db) > 0);
        expect_problem(changes[i].wanted);
        reindex(&counts);
        expect_well();
        assert_true(workload_check(&w));
    }
    close_store();
}

/* A record's header is damaged: it is named, what lies behind it is found, and reindex brings back all else. */
static void test_damaged_record(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 26; seed++) {
        struct reindex_counts counts;
        int missing = 0;
        int appended = 0;
        char wanted[80];
        open_store(seed);
        workload_end(&w);
        int64_t segment =
            fixture_sql(&f, "SELECT segment FROM record WHERE segment % 16 <> 4 ORDER BY record LIMIT 1");
        int64_t place =
            fixture_sql(&f, "SELECT place FROM record WHERE segment % 16 <> 4 ORDER BY record LIMIT 1");
        fixture_damage(segment, place + (seed % 2 == 0 ? 10 : 70));
        snprintf(wanted, sizeof(wanted), "segment %lld at %lld: ", (long long)segment, (long long)place);
        expect_problem(wanted);
        assert_true(workload_check_bytes(&w, &missing, &appended));
        assert_true(missing + appended <= 1);
        reindex(&counts);
        assert_true(workload_check_bytes(&w, &missing, &appended));
        assert_true(missing + appended <= 1);
        close_store();
    }
}

/*
 * Events are damaged: mail is not lost, even if some of it comes back. What a mail program appended is filed by events alone, as
 * its record does not say whose it is: at most one message for each that is damaged.
 */
static void test_damaged_events(void **state)
{
    (void)state;
    for (uint64_t seed = 40; seed < 50; seed++) {
        struct reindex_counts counts;
        int missing = 0;
        int appended = 0;
        open_store(seed);
        workload_end(&w);
        int64_t own = fixture_sql(&f, "SELECT MIN(segment) FROM segment WHERE origin = 4");
        int64_t applied =
            fixture_sql(&f, "SELECT applied FROM segment WHERE origin = 4 ORDER BY segment LIMIT 1");
        uint64_t random = seed;
        for (int i = 0; i < 3; i++) {
            fixture_damage(own, (int64_t)(disk_random(&random) % (uint64_t)applied));
        }
        expect_problem("segment ");
        reindex(&counts);
        assert_true(counts.damaged > 0);
        assert_true(workload_restart(&w));
        assert_true(workload_check_bytes(&w, &missing, &appended));
        if (missing != 0 || appended > 3) {
            fail_msg("%d messages are missing (seed %d)\n%s", missing, (int)seed, lines.text);
        }
        close_store();
    }
}

/* A summary is damaged: it is named, the message is whole, and reindex has nothing to bring back. */
static void test_damaged_summary(void **state)
{
    (void)state;
    struct reindex_counts counts;
    int64_t damaged = 0;
    open_store(30);
    workload_end(&w);
    int64_t count = fixture_sql(&f, "SELECT COUNT(*) FROM record");
    for (int64_t i = 0; i < count && damaged == 0; i++) {
        char sql[96];
        unsigned char bytes[RECORD_HEADER];
        struct record_header header;
        snprintf(sql, sizeof(sql), "SELECT segment FROM record ORDER BY record LIMIT 1 OFFSET %d", (int)i);
        int64_t segment = fixture_sql(&f, sql);
        snprintf(sql, sizeof(sql), "SELECT place FROM record ORDER BY record LIMIT 1 OFFSET %d", (int)i);
        int64_t place = fixture_sql(&f, sql);
        assert_true(segment_read_at(&f.segments, segment, place, bytes, sizeof(bytes)));
        assert_int_equal(record_decode_header(bytes, &header), RECORD_GOOD);
        if (header.summary_len > 0) {
            fixture_damage(segment, place + RECORD_HEADER + header.summary_len / 2);
            damaged++;
        }
    }
    assert_int_equal(damaged, 1);
    expect_problem("the summary of ");
    assert_true(workload_check(&w));
    reindex(&counts);
    assert_int_equal(counts.damaged, 0);
    assert_true(workload_check(&w));
    close_store();
}

/* Text that looks like a record of events, in a report behind a damaged header, is not believed. */
static void test_imitation(void **state)
{
    (void)state;
    struct reindex_counts counts;
    struct buf fake = buf_make(1 << 16);
    struct str events;
    struct record_header header = {.kind = RECORD_EVENTS, .id = ident_make(1, 2)};
    unsigned char bytes[RECORD_HEADER];
    open_store(60);
    /* The imitation: an account's password. */
    assert_int_equal(index_begin(f.index), 0);
    assert_int_equal(account_set_verifier(f.index, w.alice, STR("stolen")), 0);
    assert_int_equal(events_take(f.index, &header, &events), 0);
    header.id = ident_make(1, 2);
    memset(events.data == NULL ? NULL : (char *)(uintptr_t)events.data, 0x7f, 4);
    assert_true(record_encode_header(&header, STR_EMPTY, STR_EMPTY, STR_EMPTY, events, bytes));
    buf_append(&fake, "1234567", 7);
    while ((RECORD_HEADER + 0 + fake.len) % 8 != 0) {
        buf_append_char(&fake, ' ');
    }
    buf_append(&fake, bytes, sizeof(bytes));
    buf_append_str(&fake, events);
    while (fake.len % 8 != 0) {
        buf_append_char(&fake, '\0');
    }
    index_rollback(f.index);
    /* A report with it, in the store's own segment. */
    struct batch *batch = batch_new();
    struct record_header report = {.kind = RECORD_COPY, .id = ident_make(5, 6)};
    int64_t segment;
    int64_t offset;
    assert_int_equal(index_begin(f.index), 0);
    assert_true(batch_add(batch, &report, STR_EMPTY, STR_EMPTY, STR_EMPTY, buf_str(&fake), NULL));
    assert_true(fixture_append(&f, batch, &segment, &offset));
    assert_int_equal(fixture_commit(&f), 0);
    assert_true(workload_apply(&w));
    workload_end(&w);
    fixture_damage(segment, offset + 8);
    reindex(&counts);
    struct account account;
    assert_int_equal(account_by_id(f.index, w.alice, &account), 1);
    assert_true(str_equal(str_make(account.verifier, account.verifier_len), STR("v")));
    batch_free(batch);
    buf_free(&fake);
    close_store();
}

static void copy_file(const char *from, const char *to)
{
    static char octets[8 << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = read(in, octets, sizeof(octets));
    assert_true(in >= 0 && out >= 0 && n > 0 && n < (ssize_t)sizeof(octets) &&
                write(out, octets, (size_t)n) == n);
    close(in);
    close(out);
}

/* An index of yesterday beside the log of today: neither verify nor the store takes it for the whole. */
static void test_older_index(void **state)
{
    (void)state;
    struct reindex_counts counts;
    open_store(70);
    workload_end(&w);
    fixture_close_here(&f);
    copy_file("index.db", "index.old");
    fixture_open_here(&f);
    assert_int_equal(fixture_restart(&f), 0);
    for (int i = 0; i < STEPS; i++) {
        workload_step(&w);
    }
    workload_end(&w);
    fixture_close_here(&f);
    copy_file("index.old", "index.db");
    fixture_open_here(&f);
    expect_problem("transactions that the log has");
    assert_int_equal(reindex_is_older(f.index, &f.segments), 1);
    reindex(&counts);
    assert_int_equal(reindex_is_older(f.index, &f.segments), 0);
    assert_int_equal(fixture_restart(&f), 0);
    /* A dead segment whose row has gone before its file. */
    assert_int_equal(sqlite3_exec(f.index->db,
                                  "DELETE FROM segment WHERE segment = (SELECT MIN(segment) FROM segment)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(reindex_is_older(f.index, &f.segments), 0);
    reindex(&counts);
    assert_true(workload_check(&w));
    expect_well();
    close_store();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),           cmocka_unit_test(test_left_over_file),
        cmocka_unit_test(test_no_index),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_damaged_record), cmocka_unit_test(test_damaged_events),
        cmocka_unit_test(test_imitation),      cmocka_unit_test(test_damaged_summary),
        cmocka_unit_test(test_older_index)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
