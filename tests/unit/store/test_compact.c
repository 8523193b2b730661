/*
 * Compaction and snapshots beside a store at work: nothing is lost or doubled, log and index agree at every moment, the index made
 * anew from the log is the same row by row, and the room of what is dead comes back.
 */
#include "disk.h"
#include "janitor.h"
#include "store/acl.h"
#include "store/annotation.h"
#include "store/events.h"
#include "store/folder.h"
#include "store/move.h"
#include "store/reindex.h"
#include "store/verify.h"
#include "workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { STEPS = 300, BOXES = 4, LINES = 65536 };

static struct fixture f;
static struct workload w;
static struct janitor j;
static bool no_copies; /* of alice's messages: a record that dave has still is not applied anew */
static int64_t dave;   /* whose mailboxes the workload knows nothing of */
static char lines[LINES];
static size_t lines_len;

static void take_line(void *context, struct str text)
{
    (void)context;
    if (lines_len + text.len + 2 < LINES) {
        memcpy(lines + lines_len, text.data, text.len);
        lines_len += text.len;
        lines[lines_len++] = '\n';
        lines[lines_len] = '\0';
    }
}

static void expect_well(void)
{
    struct verify_counts counts;
    lines_len = 0;
    lines[0] = '\0';
    if (verify_store(f.index, &f.segments, take_line, NULL, &counts) != 0 || counts.problems != 0) {
        fail_msg("%s%s", f.index->error, lines);
    }
}

static void open_store(uint64_t seed)
{
    fixture_prepare(&f, NULL);
    f.noting = true;
    fixture_open_here(&f);
    workload_begin(&w, &f, seed);
    dave = fixture_account(&f, "dave@example.org", -1);
    janitor_begin(&j, &f, seed);
}

static void close_store(void)
{
    workload_end(&w);
    janitor_end(&j);
    fixture_close(&f);
}

/* What IMAP does: mailboxes that come, go and change their names, messages that are copied and moved, flags, keywords. */

static void random_name(char *name, size_t size)
{
    snprintf(name, size, "Mailbox %d", (int)(disk_random(&w.random) % BOXES) + 2);
}

static bool find_random(struct mailbox *mailbox)
{
    char name[40];
    random_name(name, sizeof(name));
    return folder_find(f.index, dave, str_of(name), mailbox) == 1;
}

static bool change_flags(struct mailbox *mailbox)
{
    struct account account;
    struct uid_range range = {1 + (uint32_t)(disk_random(&w.random) % 20), 0};
    struct buf refused = buf_make(1 << 16);
    struct buf all = buf_make(FLAGS_KEYWORDS_OCTETS);
    uint64_t changed;
    uint64_t bits = 0;
    bool full;
    range.last = range.first + (uint32_t)(disk_random(&w.random) % 30);
    bool fine =
        account_by_id(f.index, dave, &account) == 1 &&
        flags_keywords(f.index, mailbox, disk_random(&w.random) % 4 == 0 ? STR("$Junk ") : STR("$Label1 "),
                       &bits, &all, &full) == 0;
    struct flags_change change = {.operation = (enum flags_operation)(disk_random(&w.random) % 3),
                                  .flags = bits | disk_random(&w.random) % 32,
                                  .unchanged_since =
                                      disk_random(&w.random) % 2 == 0 ? UINT64_MAX : account.modseq - 3,
                                  .modseq = account.modseq + 1};
    fine = fine && flags_store(f.index, mailbox, &change, &range, 1, &refused, &changed) == 0 &&
           account_count(f.index, dave, 0, 0, change.modseq) == 0 && mailbox_set(f.index, mailbox) == 0;
    buf_free(&refused);
    buf_free(&all);
    return fine;
}

/* Between these mailboxes, or copies of alice's. */
static bool copy_some(struct mailbox *to)
{
    struct mailbox from;
    struct uid_range range = {1, 1 + (uint32_t)(disk_random(&w.random) % 20)};
    struct move_result result = {.source_uids = NULL};
    bool copy = disk_random(&w.random) % 3 != 0;
    if (copy && no_copies) {
        return true;
    }
    if (copy && mailbox_find(f.index, w.alice, MAILBOX_INBOX, &from) == 1) {
        range.first += from.uid_next / 2;
        range.last += from.uid_next / 2;
        return copy_messages(f.index, &from, to, &range, 1, f.now_ms, &result) == 0;
    }
    return !find_random(&from) || from.id == to->id ||
           move_messages(f.index, &from, to, &range, 1, f.now_ms, &result) == 0;
}

/* Sets or removes an annotation: of a mailbox, or of the account. */
static bool annotate(const struct mailbox *mailbox)
{
    char entry[40];
    char text[40];
    snprintf(entry, sizeof(entry), "/private/n%u", (unsigned)(disk_random(&w.random) % 30));
    struct str value = str_make(
        text, (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)disk_random(&w.random)));
    return annotation_set(f.index, mailbox->account, disk_random(&w.random) % 4 == 0 ? 0 : mailbox->id,
                          str_of(entry), disk_random(&w.random) % 3 == 0 ? NULL : &value) == 0;
}

/* Rights for some account, or for anyone, or none any more. */
static bool share(const struct mailbox *mailbox)
{
    struct acl_entry entry = {.grantee = (int64_t)(disk_random(&w.random) % 4),
                              .negative = disk_random(&w.random) % 4 == 0,
                              .rights = (uint32_t)disk_random(&w.random) & RIGHTS_ALL};
    entry.rights = disk_random(&w.random) % 3 == 0 ? 0 : entry.rights;
    return acl_set(f.index, mailbox->account, mailbox->id, &entry) == 1;
}

static bool change_mailboxes(void)
{
    char name[40];
    char other[40];
    struct mailbox mailbox;
    random_name(name, sizeof(name));
    random_name(other, sizeof(other));
    switch (disk_random(&w.random) % 6) {
    case 0:
    case 1: return folder_create(f.index, dave, str_of(name), 0, f.now_ms, &mailbox) != FOLDER_ERROR;
    case 2: return folder_rename(f.index, dave, str_of(name), str_of(other), f.now_ms) != FOLDER_ERROR;
    case 4: return !find_random(&mailbox) || (annotate(&mailbox) && share(&mailbox));
    case 3: return folder_subscribe(f.index, dave, str_of(name), disk_random(&w.random) % 2 == 0) == 0;
    default: return folder_delete(f.index, dave, str_of(name)) != FOLDER_ERROR;
    }
}

static void imap_step(void)
{
    struct mailbox mailbox;
    assert_int_equal(index_begin(f.index), 0);
    bool fine = true;
    switch (disk_random(&w.random) % 3) {
    case 0: fine = change_mailboxes(); break;
    case 1: fine = !find_random(&mailbox) || change_flags(&mailbox); break;
    default: fine = !find_random(&mailbox) || copy_some(&mailbox); break;
    }
    if (!fine) {
        fail_msg("%s", f.index->error);
    }
    assert_int_equal(fixture_commit(&f), 0);
}

static void work(int steps)
{
    for (int i = 0; i < steps; i++) {
        workload_step(&w);
        imap_step();
        janitor_step(&j);
    }
    assert_int_equal(w.failures, 0);
    assert_int_equal(j.failures, 0);
    assert_true(workload_apply(&w));
}

static void reopen(void)
{
    workload_end(&w);
    janitor_end(&j);
    fixture_close_here(&f);
}

static void open_again(uint64_t seed)
{
    fixture_open_here(&f);
    assert_int_equal(fixture_restart(&f), 0);
    unsigned compacted = j.compacted;
    unsigned snapshots = j.snapshots;
    unsigned dropped = j.dropped;
    janitor_begin(&j, &f, seed);
    j.compacted = compacted;
    j.snapshots = snapshots;
    j.dropped = dropped;
}

static void expect_same_index(uint64_t seed)
{
    struct reindex_counts counts;
    struct buf before = buf_make(64 << 20);
    struct buf after = buf_make(64 << 20);
    fixture_picture(&f, NULL, &before);
    reopen();
    lines_len = 0;
    if (reindex_directory(&io_system, take_line, NULL, &counts) != 0 || counts.damaged != 0) {
        fail_msg("%s", lines);
    }
    fixture_open_here(&f);
    fixture_picture(&f, NULL, &after);
    if (!str_equal(buf_str(&before), buf_str(&after))) {
        fail_msg("seed %d before:\n%.*s\nafter:\n%.*s", (int)seed, STR_ARGS(buf_str(&before)),
                 STR_ARGS(buf_str(&after)));
    }
    fixture_close_here(&f);
    open_again(seed);
    buf_free(&before);
    buf_free(&after);
}

static void test_beside_work(void **state)
{
    (void)state;
    unsigned compacted = 0;
    unsigned snapshots = 0;
    unsigned dropped = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        open_store(seed);
        for (int part = 0; part < 4; part++) {
            work(STEPS / 2);
            expect_well();
            assert_true(workload_check(&w));
            expect_same_index(seed);
            expect_well();
            assert_true(workload_check(&w));
        }
        compacted += j.compacted;
        snapshots += j.snapshots;
        dropped += j.dropped;
        close_store();
    }
    print_message("%u segments compacted, %u snapshots, %u segments removed\n", compacted, snapshots,
                  dropped);
    assert_true(compacted > 10 && snapshots > 20 && dropped > 40);
}

/* A record that is larger than a step is copied in several; if it is removed meanwhile, what has been copied is dead. */
static void test_large(void **state)
{
    (void)state;
    static const size_t sizes[] = {COMPACT_STEP - 400, COMPACT_STEP, 5 * COMPACT_STEP / 2};
    for (int removed = 0; removed < 2; removed++) {
        struct mailbox inbox;
        struct buf body = buf_make(4 * COMPACT_STEP);
        struct buf text = buf_make(4 * COMPACT_STEP);
        int64_t segment;
        open_store(70);
        int fd = fixture_segment(&f, ROLE_SMTPD_MX, &segment);
        for (uint32_t uid = 1; uid <= 6; uid++) {
            buf_clear(&body);
            memset(buf_reserve(&body, sizes[uid / 2 % 3]), 'a' + (int)uid, sizes[uid / 2 % 3]);
            body.len = sizes[uid / 2 % 3];
            struct letter letter = {
                .sender = "x@remote.example", .recipients = {"dave@example.org"}, .body = buf_str(&body)};
            fixture_write(&f, fd, &letter);
        }
        assert_int_equal(fixture_apply(&f, segment), 0);
        assert_int_equal(index_begin(f.index), 0);
        for (uint32_t uid = 1; uid <= 6; uid += 2) {
            assert_int_equal(mailbox_find(f.index, dave, MAILBOX_INBOX, &inbox), 1);
            assert_int_equal(message_remove(f.index, &inbox, uid), 1);
        }
        assert_int_equal(segment_seal(f.index, segment), 0);
        assert_int_equal(fixture_commit(&f), 0);
        for (int i = 0; i < 4; i++) {
            janitor_step(&j);
        }
        if (removed == 1) {
            assert_int_equal(index_begin(f.index), 0);
            assert_int_equal(mailbox_find(f.index, dave, MAILBOX_INBOX, &inbox), 1);
            assert_int_equal(message_remove(f.index, &inbox, 4), 1);
            assert_int_equal(fixture_commit(&f), 0);
        }
        janitor_finish(&j);
        assert_int_equal(j.failures, 0);
        assert_true(j.compacted > 0 && segment_fd(&f.segments, segment) < 0);
        for (uint32_t uid = 2; uid <= 6; uid += 2) {
            buf_clear(&text);
            assert_int_equal(fixture_read(&f, dave, uid, &text), removed == 0 || uid != 4);
            assert_true(text.len == 0 || text.data[text.len - 1] == 'a' + (int)uid);
        }
        expect_well();
        expect_same_index(70);
        f.io->close(fd);
        buf_free(&body);
        buf_free(&text);
        close_store();
    }
}

/*
 * Events are damaged, also those of a snapshot: no mail is lost, even if some of it comes back, and if its record has been moved.
 * What a mail program appended is filed by events alone.
 */
static void test_damaged_events(void **state)
{
    (void)state;
    unsigned compacted = 0;
    unsigned tried = 0;
    no_copies = true;
    for (uint64_t seed = 30; seed < 50; seed++) {
        struct reindex_counts counts;
        int missing = 0;
        int appended = 0;
        open_store(seed);
        work(STEPS / 2);
        janitor_finish(&j);
        compacted += j.compacted;
        reopen();
        fixture_open_here(&f);
        int64_t own = fixture_sql(
            &f, "SELECT MIN(segment) FROM segment WHERE origin = 4 AND applied > 0 AND segment >= "
                "COALESCE((SELECT value FROM meta WHERE name = 'events_segment'), 0)");
        uint64_t random = seed;
        struct segment_info info;
        assert_int_equal(segment_get(f.index, own, &info), 0);
        for (int i = 0; i < 3; i++) {
            fixture_damage(own, (int64_t)(disk_random(&random) % (uint64_t)info.applied));
        }
        fixture_close_here(&f);
        lines_len = 0;
        if (reindex_directory(&io_system, take_line, NULL, &counts) != 0) {
            fail_msg("%s", lines);
        }
        assert_true(counts.damaged > 0);
        fixture_open_here(&f);
        struct account account;
        if (account_by_id(f.index, w.alice, &account) != 1 ||
            account_by_id(f.index, w.carol, &account) != 1) {
            /* Without the account there is nobody to have the mail. */
            janitor_begin(&j, &f, seed);
            close_store();
            continue;
        }
        tried++;
        assert_int_equal(fixture_restart(&f), 0);
        assert_true(workload_check_bytes(&w, &missing, &appended));
        if (missing != 0) {
            fail_msg("%d messages are missing (seed %d)\n%s", missing, (int)seed, lines);
        }
        janitor_begin(&j, &f, seed);
        janitor_finish(&j);
        assert_int_equal(j.failures, 0);
        assert_true(workload_check_bytes(&w, &missing, &appended));
        assert_int_equal(missing, 0);
        close_store();
    }
    print_message("%u segments compacted, %u stores tried\n", compacted, tried);
    assert_true(compacted > 0 && tried > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_beside_work), cmocka_unit_test(test_large),
                                       cmocka_unit_test(test_damaged_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
