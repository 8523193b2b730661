/*
 * Damage (goal G10): one bit of the log or of the index is turned round, anywhere. verify finds it, unless nothing that counts has
 * changed; no wrong octet is served; the index that is made anew has all that is not itself damaged.
 *
 * VEREDUS_FLIPS sets the number of bits, VEREDUS_FLIP_SEED which ones.
 */
#include "disk.h"
#include "store/flags.h"
#include "store/folder.h"
#include "store/reindex.h"
#include "store/verify.h"
#include "workload.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS = 150, FILES = 64, FLIPS = 120, REINDEX_EVERY = 4 };

static struct fixture f;
static struct workload w;

/* The store as it was, file by file. */
static struct {
    char name[64];
    char *octets;
    size_t len;
} files[FILES];
static size_t file_count;
static size_t octet_count;

static void keep_file(const char *name)
{
    struct stat info;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && file_count < FILES);
    assert_int_equal(fstat(fd, &info), 0);
    files[file_count].len = (size_t)info.st_size;
    files[file_count].octets = malloc((size_t)info.st_size + 1);
    assert_non_null(files[file_count].octets);
    assert_int_equal(read(fd, files[file_count].octets, (size_t)info.st_size), info.st_size);
    snprintf(files[file_count].name, sizeof(files[0].name), "%s", name);
    octet_count += files[file_count++].len;
    close(fd);
}

static void keep_files(void)
{
    DIR *list = opendir("segments");
    assert_non_null(list);
    file_count = 0;
    octet_count = 0;
    keep_file("index.db");
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        char name[300];
        snprintf(name, sizeof(name), "segments/%s", entry->d_name);
        if (entry->d_name[0] != '.') {
            keep_file(name);
        }
    }
    closedir(list);
}

static void put_back(void)
{
    unlink("index.db-wal");
    unlink("index.db-shm");
    for (size_t i = 0; i < file_count; i++) {
        int fd = open(files[i].name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && write(fd, files[i].octets, files[i].len) == (ssize_t)files[i].len);
        close(fd);
    }
}

static void flip(size_t file, size_t at, unsigned bit)
{
    unsigned char octet = (unsigned char)files[file].octets[at] ^ (unsigned char)(1U << bit);
    int fd = open(files[file].name, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, &octet, 1, (off_t)at) == 1);
    close(fd);
}

static void open_store(void)
{
    fixture_prepare(&f, NULL);
    f.noting = true;
    fixture_open_here(&f);
    workload_begin(&w, &f, 77);
    for (int i = 0; i < STEPS; i++) {
        workload_step(&w);
    }
    assert_int_equal(w.failures, 0);
    assert_true(workload_apply(&w));
    workload_end(&w);
    fixture_close_here(&f);
    keep_files();
}

static bool note_flags(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    return buf_printf(context, "%u:%llx@%llu ", (unsigned)uid, (unsigned long long)flags,
                      (unsigned long long)modseq);
}

static bool note_mailbox(void *context, const struct mailbox *m, struct str name, struct str keywords)
{
    buf_printf(context, "%lld %u %u %llu %u: ", (long long)m->id, (unsigned)m->uid_validity,
               (unsigned)m->uid_next, (unsigned long long)m->modseq, (unsigned)m->messages);
    buf_append_str(context, name);
    buf_append_str(context, keywords);
    return flags_each(f.index, m, 1, 0, note_flags, context) == 0;
}

/* Everything that somebody can be told, but the journal, of which there is no second copy. */
static bool picture(struct buf *out)
{
    static const char *const queries[] = {
        "SELECT account, address, verifier, state, quota, used_octets, used_messages, created_ms FROM "
        "account ORDER BY 1",
        "SELECT address, target FROM alias ORDER BY 1, 2",
        "SELECT account, mailbox, uid, hex(record), recipient, size, internal_ms, saved_ms FROM message "
        "ORDER BY 1, 2, 3",
        "SELECT hex(record), segment, place, octets FROM record WHERE refs > 0 ORDER BY 1",
        "SELECT segment, origin, applied, sealed FROM segment ORDER BY 1",
        "SELECT account, name FROM subscription ORDER BY 1, 2",
        "SELECT hex(record), recipient, address, domain, due_ms, attempts, first_ms, code, enhanced, reply "
        "FROM queue ORDER BY 1, 3"};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        sqlite3_stmt *q = NULL;
        int code = sqlite3_prepare_v2(f.index->db, queries[i], -1, &q, NULL);
        while (code == SQLITE_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(q); c++) {
                buf_append_str(out, sql_get_text(q, c));
                buf_append_char(out, '|');
            }
            buf_append_char(out, '\n');
            code = SQLITE_OK;
        }
        sqlite3_finalize(q);
        if (code != SQLITE_DONE) {
            return false;
        }
    }
    return folder_list(f.index, w.alice, note_mailbox, out) == 0 &&
           folder_list(f.index, w.carol, note_mailbox, out) == 0 && buf_ok(out);
}

static void say_nothing(void *context, struct str text)
{
    (void)context;
    (void)text;
}

struct tally {
    int found;
    int harmless;
    int unopened;
};

/* Opened, verified, read. */
static void look(bool in_index, const struct buf *before, struct tally *tally, const char *where)
{
    struct verify_counts counts;
    int missing;
    int appended;
    if (!fixture_try_open(&f)) {
        tally->unopened++;
        return;
    }
    bool found = verify_store(f.index, &f.segments, say_nothing, NULL, &counts) != 0 || counts.problems > 0;
    /* What the index itself says of a message, verify alone can hold against the log. */
    if (!workload_check_bytes(&w, &missing, &appended) && !(in_index && found)) {
        fail_msg("%s: wrong octets are served", where);
    }
    if (found) {
        tally->found++;
    } else {
        struct buf after = buf_make(64 << 20);
        bool same = picture(&after) && str_equal(buf_str(before), buf_str(&after));
        if (!same || missing + appended > 0) {
            fail_msg("%s: verify has not found it, and something has changed", where);
        }
        buf_free(&after);
        tally->harmless++;
    }
    fixture_close_here(&f);
}

static void check_reindexed(bool in_index, const struct buf *before, const char *where)
{
    struct reindex_counts counts;
    struct verify_counts verified;
    int missing;
    int appended;
    if (reindex_directory(&io_system, say_nothing, NULL, &counts) != 0) {
        fail_msg("%s: the index cannot be made anew", where);
    }
    fixture_open_here(&f);
    if (!in_index && fixture_restart(&f) != 0) {
        fail_msg("%s: the store does not start after reindex", where);
    }
    if (!workload_check_bytes(&w, &missing, &appended) || missing + appended > (in_index ? 0 : 1)) {
        fail_msg("%s: after reindex %d messages are missing, and %d that were appended", where, missing,
                 appended);
    }
    if (in_index) {
        struct buf after = buf_make(64 << 20);
        assert_true(picture(&after));
        if (!str_equal(buf_str(before), buf_str(&after)) ||
            verify_store(f.index, &f.segments, say_nothing, NULL, &verified) != 0 || verified.problems > 0) {
            fail_msg("%s: reindex has not made the index that was there", where);
        }
        buf_free(&after);
    }
    fixture_close_here(&f);
}

static uint64_t setting(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    uint64_t value;
    return text != NULL && str_to_u64(str_of(text), UINT64_MAX, &value) ? value : standard;
}

static void flip_many(bool in_index)
{
    uint64_t flips = setting("VEREDUS_FLIPS", FLIPS);
    uint64_t random = setting("VEREDUS_FLIP_SEED", 1);
    struct buf before = buf_make(64 << 20);
    struct tally tally = {0};
    open_store();
    fixture_open_here(&f);
    assert_true(picture(&before));
    fixture_close_here(&f);
    for (uint64_t i = 0; i < flips; i++) {
        char where[200];
        size_t file = in_index ? 0 : 1 + disk_random(&random) % (file_count - 1);
        if (files[file].len == 0) {
            continue;
        }
        size_t at = disk_random(&random) % files[file].len;
        unsigned bit = (unsigned)(disk_random(&random) % 8);
        put_back();
        flip(file, at, bit);
        snprintf(where, sizeof(where), "%s, octet %zu, bit %u", files[file].name, at, bit);
        look(in_index, &before, &tally, where);
        if (i % REINDEX_EVERY == 0) {
            put_back();
            flip(file, at, bit);
            check_reindexed(in_index, &before, where);
        }
    }
    print_message("%s: %d found by verify, %d cannot be opened, %d change nothing\n",
                  in_index ? "index" : "log", tally.found, tally.unopened, tally.harmless);
    put_back();
    fixture_open_here(&f);
    fixture_close(&f);
    buf_free(&before);
    for (size_t i = 0; i < file_count; i++) {
        free(files[i].octets);
    }
}

static void test_log(void **state)
{
    (void)state;
    flip_many(false);
}

static void test_index(void **state)
{
    (void)state;
    flip_many(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log), cmocka_unit_test(test_index)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
