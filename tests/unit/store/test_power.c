/*
 * Power loss (goal G2): a run of the log and the index is recorded with all its writes and flushes, cut off at many points,
 * with any part of what was not flushed lost, torn or out of order; after the restart every message that was answered 250
 * is there once, what was expunged or delivered does not come back, nothing is there twice, and verify finds log and index
 * in order; every other time the index is taken away first and made anew from the log. Then the test of the test: with
 * each kind of flush left out in turn the same check must fail.
 *
 * VEREDUS_POWER_CUTS sets the number of cuts, VEREDUS_POWER_SEED the seed.
 */
#include "disk.h"
#include "fixture.h"
#include "janitor.h"
#include "store/index_file.h"
#include "store/move.h"
#include "store/reindex.h"
#include "store/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAGS_MAX = 4096, STEPS = 150, CUTS_A_RUN = 50, WRITERS = 3, SETTLED_AT_ONCE = 4, BODY_MAX = 6000 };

/* What was promised about one message, and when: the number of events at that moment. */
struct promise {
    bool queued;     /* for another host; else for a mailbox */
    size_t accepted; /* 0: never */
    size_t settled;  /* expunged or delivered, and answered; 0: never */
    size_t settling; /* the same begun */
    int copies;
};

struct writer {
    int fd;
    int64_t segment;
    int64_t end;
};

struct run {
    struct fixture f;
    struct janitor janitor;
    uint64_t random;
    struct promise promises[TAGS_MAX];
    int tags;
    int64_t alice;
    int64_t carol;
    struct writer writers[WRITERS];
    char bodies[8][BODY_MAX + 128];
    struct buf scratch;
    struct batch *batch;
};

static const int origins[WRITERS] = {ROLE_SMTPD_MX, ROLE_SMTPD_MX, ROLE_SMTPD_MSA};

static void add_letter(struct run *r, int slot, bool outside, const unsigned char *grant)
{
    static char addresses[8][64];
    int tag = r->tags++;
    size_t len = 100 + disk_random(&r->random) % BODY_MAX;
    int n = snprintf(r->bodies[slot], sizeof(r->bodies[0]), "Subject: T%06d;\r\n\r\n", tag);
    memset(r->bodies[slot] + n, 'a' + tag % 26, len - (size_t)n);
    struct letter letter = {.sender = "bob@remote.example", .body = str_make(r->bodies[slot], len)};
    r->promises[tag] = (struct promise){.queued = outside, .copies = outside || tag % 3 != 0 ? 1 : 2};
    snprintf(addresses[slot], sizeof(addresses[0]), "t%06d@elsewhere.example", tag);
    letter.recipients[0] = outside        ? addresses[slot]
                           : tag % 2 == 0 ? "alice@example.org"
                                          : "carol@example.org";
    letter.recipients[1] = outside || tag % 3 != 0 ? NULL
                           : tag % 2 == 0          ? "carol@example.org"
                                                   : "alice@example.org";
    letter.grant = outside ? str_make(grant, GRANT_SIZE) : STR_EMPTY;
    fixture_add(&r->f, r->batch, &letter, &r->scratch);
}

static void new_segment(struct run *r, int w)
{
    r->writers[w].fd = fixture_segment(&r->f, origins[w], &r->writers[w].segment);
    r->writers[w].end = 0;
}

/* Some messages are written, flushed and answered. */
static void accept_some(struct run *r)
{
    unsigned char grant[GRANT_SIZE];
    int w = (int)(disk_random(&r->random) % WRITERS);
    int count = 1 + (int)(disk_random(&r->random) % 4);
    int first = r->tags;
    if (r->tags + count >= TAGS_MAX) {
        return;
    }
    fixture_grant(&r->f, ROLE_SMTPD_MSA, FIXTURE_INSTANCE, FIXTURE_BOOT, grant);
    batch_clear(r->batch);
    for (int i = 0; i < count; i++) {
        add_letter(r, i, origins[w] == ROLE_SMTPD_MSA && i % 2 == 0, grant);
    }
    batch_write(r->batch, r->f.io, r->writers[w].fd);
    assert_int_equal(r->batch->result, BATCH_STORED);
    r->writers[w].end += (int64_t)r->batch->octets;
    for (int tag = first; tag < r->tags; tag++) {
        r->promises[tag].accepted = disk_events();
    }
}

static void apply_all(struct run *r)
{
    struct fixture *f = &r->f;
    bool more;
    bool torn;
    assert_int_equal(index_begin(f->index), 0);
    for (int w = 0; w < WRITERS; w++) {
        assert_int_equal(apply_segment(f->applier, r->writers[w].segment, r->writers[w].end, UINT64_MAX,
                                       f->now_ms, &more, &torn, &f->counts),
                         0);
        assert_false(torn);
    }
    assert_int_equal(apply_finish(f->applier), 0);
    assert_int_equal(fixture_commit(f), 0);
}

static int tag_of(struct str text, const char *before)
{
    size_t at = str_find_str(text, str_of(before));
    uint64_t tag;
    if (at == SIZE_MAX || !str_to_u64(str_sub(text, at + str_of(before).len, at + str_of(before).len + 6),
                                      TAGS_MAX - 1, &tag)) {
        return -1;
    }
    return (int)tag;
}

static void expunge_one(struct run *r)
{
    struct fixture *f = &r->f;
    struct mailbox mailbox;
    struct mailbox_entry entries[200];
    struct message_place place;
    struct buf text = buf_make(1 << 16);
    int64_t account = disk_random(&r->random) % 2 == 0 ? r->alice : r->carol;
    assert_int_equal(mailbox_find(f->index, account, MAILBOX_INBOX, &mailbox), 1);
    int count = mailbox_entries(f->index, &mailbox, 1, entries, 200);
    if (count > 0) {
        uint32_t uid = entries[disk_random(&r->random) % (uint64_t)count].uid;
        assert_int_equal(message_find(f->index, &mailbox, uid, &place), 1);
        assert_true(message_read(&f->segments, &place, 0, 500, &text));
        int tag = tag_of(buf_str(&text), "Subject: T");
        assert_true(tag >= 0);
        if (r->promises[tag].copies == 1) {
            r->promises[tag].settling = disk_events();
            assert_int_equal(index_begin(f->index), 0);
            assert_int_equal(message_remove(f->index, &mailbox, uid), 1);
            assert_int_equal(mailbox_set(f->index, &mailbox), 0);
            assert_int_equal(fixture_commit(f), 0);
            r->promises[tag].settled = disk_events();
        }
    }
    buf_free(&text);
}

static void deliver_one(struct run *r)
{
    struct fixture *f = &r->f;
    static struct entry entries[50];
    int count = entry_due(f->index, f->now_ms, entries, 50);
    if (count <= 0) {
        return;
    }
    const struct entry *e = &entries[disk_random(&r->random) % (uint64_t)count];
    int tag = tag_of(ENTRY_TEXT(e, address), "t");
    r->promises[tag].settling = disk_events();
    assert_int_equal(index_begin(f->index), 0);
    assert_int_equal(entry_remove(f->index, e), 0);
    assert_int_equal(fixture_commit(f), 0);
    r->promises[tag].settled = disk_events();
}

static void roll(struct run *r)
{
    int w = (int)(disk_random(&r->random) % WRITERS);
    apply_all(r);
    r->f.io->close(r->writers[w].fd);
    assert_int_equal(index_begin(r->f.index), 0);
    assert_int_equal(segment_seal(r->f.index, r->writers[w].segment), 0);
    assert_int_equal(fixture_commit(&r->f), 0);
    new_segment(r, w);
}

static void run_start(struct run *r, uint64_t seed, enum disk_flush without)
{
    memset(r, 0, sizeof(*r));
    r->random = seed;
    r->scratch = buf_make(1 << 20);
    r->batch = batch_new();
    fixture_prepare(&r->f, NULL);
    r->f.io = &disk_io;
    r->f.noting = true;
    disk_start(without);
    index_file_watch(&disk_io);
    fixture_open_here(&r->f);
    r->alice = fixture_account(&r->f, "alice@example.org", -1);
    r->carol = fixture_account(&r->f, "carol@example.org", -1);
    for (int w = 0; w < WRITERS; w++) {
        new_segment(r, w);
    }
    janitor_begin(&r->janitor, &r->f, seed);
    for (int step = 0; step < STEPS; step++) {
        switch (disk_random(&r->random) % 12) {
        case 0:
        case 1:
        case 2:
        case 3: accept_some(r); break;
        case 4:
        case 5: apply_all(r); break;
        case 6:
        case 7:
            for (int i = 0; i < SETTLED_AT_ONCE; i++) {
                expunge_one(r);
                deliver_one(r);
            }
            break;
        case 8: index_checkpoint(r->f.index); break;
        case 9: roll(r); break;
        default: janitor_step(&r->janitor); break;
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        r->f.io->close(r->writers[w].fd);
    }
    assert_int_equal(r->janitor.failures, 0);
    janitor_end(&r->janitor);
    fixture_close_here(&r->f);
    index_file_watch(NULL);
}

static void run_end(struct run *r)
{
    disk_stop();
    buf_free(&r->scratch);
    batch_free(r->batch);
    batch_free(r->f.batch);
    config_unref(r->f.config);
    assert_int_equal(chdir("/"), 0);
    fixture_remove(r->f.dir);
}

/* Counts what is there. False if something cannot be read. */
static bool count_messages(struct fixture *f, int64_t account, int *seen)
{
    struct mailbox mailbox;
    static struct mailbox_entry entries[TAGS_MAX];
    if (mailbox_find(f->index, account, MAILBOX_INBOX, &mailbox) != 1) {
        return true; /* the cut was before the account; or else its mail is missed */
    }
    int count = mailbox_entries(f->index, &mailbox, 1, entries, TAGS_MAX);
    for (int i = 0; i < count; i++) {
        struct buf text = buf_make(1 << 16);
        bool fine = fixture_read(f, account, entries[i].uid, &text);
        int tag = fine ? tag_of(buf_str(&text), "Subject: T") : -1;
        buf_free(&text);
        if (tag < 0) {
            return false;
        }
        seen[tag]++;
    }
    return count >= 0;
}

static bool count_entries(struct fixture *f, int *seen)
{
    static struct entry entries[TAGS_MAX];
    int count = entry_list(f->index, 0, entries, TAGS_MAX);
    for (int i = 0; i < count; i++) {
        int tag = tag_of(ENTRY_TEXT(&entries[i], address), "t");
        if (tag < 0) {
            return false;
        }
        seen[tag]++;
    }
    return count >= 0;
}

static bool check_promises(const struct run *r, const int *seen, size_t cut)
{
    for (int tag = 0; tag < r->tags; tag++) {
        const struct promise *p = &r->promises[tag];
        bool accepted = p->accepted != 0 && p->accepted <= cut;
        bool settling = p->settling != 0 && p->settling < cut;
        bool settled = p->settled != 0 && p->settled <= cut;
        int least = accepted && !settling ? p->copies : 0;
        int most = settled ? 0 : p->copies;
        if (seen[tag] < least || seen[tag] > most) {
            return false;
        }
    }
    return true;
}

static void say_line(void *context, struct str text)
{
    if (context != NULL) {
        print_error("%.*s\n", STR_ARGS(text));
    }
}

static bool log_and_index_agree(struct fixture *f, bool loud)
{
    struct verify_counts counts;
    return verify_store(f->index, &f->segments, say_line, loud ? f : NULL, &counts) == 0 &&
           counts.problems == 0;
}

static bool make_index_anew(void)
{
    struct reindex_counts counts;
    unlink("index.db");
    unlink("index.db-wal");
    return !reindex_is_needed() || reindex_directory(&io_system, say_line, NULL, &counts) == 0;
}

/* Everything after a restart. False: a promise is broken. */
static bool check_restart(struct run *r, size_t cut, bool loud)
{
    static int seen[TAGS_MAX];
    struct buf errors = buf_make(4096);
    struct fixture f = {
        .io = &io_system, .now_ms = r->f.now_ms, .noting = true, .own_fd = -1, .config = r->f.config};
    memset(seen, 0, sizeof(seen));
    memcpy(f.key, r->f.key, sizeof(f.key));
    f.batch = batch_new();
    f.index = index_open("index.db", true, &errors);
    bool fine = f.index != NULL && segments_init(&f.segments, f.io, true) == 0;
    if (!fine && errors.len > 0) {
        print_error("%.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    if (!fine) {
        index_close(f.index);
        batch_free(f.batch);
        return false;
    }
    f.applier = applier_new(f.index, &f.segments, f.key);
    applier_set_config(f.applier, f.config);
    index_note_events(f.index, true);
    /* Twice: the second restart finds nothing to do. */
    fine = reindex_is_older(f.index, &f.segments) == 0 && fixture_restart(&f) == 0 &&
           fixture_restart(&f) == 0 && count_messages(&f, 1, seen) && count_messages(&f, 2, seen) &&
           count_entries(&f, seen) && check_promises(r, seen, cut) && log_and_index_agree(&f, loud);
    fixture_close_here(&f);
    batch_free(f.batch);
    return fine;
}

static bool check_cut(struct run *r, size_t cut, uint64_t seed, bool loud)
{
    char dir[80];
    snprintf(dir, sizeof(dir), "%s/cut", r->f.dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(chdir(dir), 0);
    disk_replay(cut, seed);
    bool fine = (seed % 2 == 0 || make_index_anew()) && check_restart(r, cut, loud);
    assert_int_equal(chdir(r->f.dir), 0);
    fixture_remove(dir);
    return fine;
}

static uint64_t setting(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    uint64_t value;
    return text != NULL && str_to_u64(str_of(text), UINT64_MAX, &value) ? value : standard;
}

/* Cuts of many runs; returns the number of broken promises. Stops at the first if `stop`. */
static int cut_many(uint64_t cuts, uint64_t seed, enum disk_flush without, bool stop)
{
    static struct run r;
    int broken = 0;
    for (uint64_t done = 0; done < cuts && !(stop && broken > 0); seed++) {
        run_start(&r, seed, without);
        uint64_t random = seed ^ 0x5eed;
        for (int i = 0; i < CUTS_A_RUN && done < cuts && !(stop && broken > 0); i++, done++) {
            size_t cut = 1 + disk_random(&random) % disk_events();
            uint64_t choice = disk_random(&random);
            if (!check_cut(&r, cut, choice, without == FLUSH_NONE)) {
                broken++;
                if (without == FLUSH_NONE) {
                    print_error("seed %llu: broken after %zu of %zu events (choice %llu)\n",
                                (unsigned long long)seed, cut, disk_events(), (unsigned long long)choice);
                }
            }
        }
        run_end(&r);
    }
    return broken;
}

static void test_cuts(void **state)
{
    (void)state;
    assert_int_equal(
        cut_many(setting("VEREDUS_POWER_CUTS", 500), setting("VEREDUS_POWER_SEED", 1), FLUSH_NONE, false), 0);
}

static void test_mutations(void **state)
{
    (void)state;
    for (enum disk_flush without = FLUSH_LOG; without < FLUSH_KINDS; without++) {
        int broken =
            cut_many(setting("VEREDUS_POWER_CUTS", 500), setting("VEREDUS_POWER_SEED", 1), without, true);
        if (broken == 0) {
            print_error("without flush %d nothing is lost: either it is needless or this test is blind\n",
                        (int)without);
        }
        assert_true(broken > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
