/*
 * The new index in the old one's place; see reindex.h. At every moment there is either an index that is whole or none, so a
 * store that starts in between either goes on or says what is to be done.
 */
#include "store/reindex.h"

#include "ipc/peer.h"
#include "store/events.h"
#include "store/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char new_name[] = "index.db.new";
static const char old_name[] = "index.db.old";
static const char name[] = "index.db";

struct work {
    const struct io *io;
    void (*report)(void *context, struct str text);
    void *context;
};

static void say(const struct work *w, const char *what, const char *why)
{
    char area[512];
    struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_str(&line, str_of(what));
    buf_append_lit(&line, ": ");
    buf_append_str(&line, str_of(why));
    w->report(w->context, buf_str(&line));
}

static bool exists(const char *file)
{
    struct stat info;
    return stat(file, &info) == 0;
}

static int any_file(void *context, int64_t segment)
{
    (void)segment;
    *(bool *)context = true;
    return 0;
}

bool reindex_is_needed(void)
{
    struct segments segments;
    bool any = false;
    if (exists(name)) {
        return false;
    }
    if (segments_init(&segments, &io_system, false) != 0) {
        return errno != ENOENT;
    }
    bool failed = scan_files(&segments, any_file, &any) != 0;
    segments_close(&segments);
    return any || failed;
}

struct age {
    struct index *index;
    struct segments *segments;
    struct buf payload;
    int64_t events; /* transactions that the index has */
    int64_t next_segment;
    bool older;
};

/* A commit may have failed after its events were written: one more than the index has may be there. */
static int look_for_later_events(struct age *age, int64_t segment)
{
    struct scan scan;
    struct scan_item item;
    enum scan_state state;
    if (!scan_begin(&scan, age->segments, segment, INT64_MAX, &age->payload)) {
        return -1;
    }
    while ((state = scan_next(&scan, &item)) == SCAN_RECORD && !age->older) {
        struct str rest =
            str_from(buf_str(&age->payload), item.header.envelope_len + (size_t)item.header.trace_len);
        uint64_t number;
        age->older = item.header.kind == RECORD_EVENTS && events_number(&rest, &number) &&
                     number > (uint64_t)age->events + 1;
    }
    return state == SCAN_ERROR ? -1 : 0;
}

/*
 * A segment is handed out once its row is committed: one with a number that the index has not given yet is empty, but for the
 * store's own and for copies, which are written before and say nothing that is not elsewhere too. Earlier ones without a row are
 * dead, and only their files are left.
 */
static int look_at_file(void *context, int64_t segment)
{
    struct age *age = context;
    struct stat file;
    if (age->older || segment >> 4 < age->next_segment || segment_origin(segment) == SEGMENT_COPIES) {
        return 0;
    }
    if (segment_origin(segment) == ROLE_STORE) {
        return look_for_later_events(age, segment);
    }
    int fd = segment_fd(age->segments, segment);
    if (fd < 0 || fstat(fd, &file) != 0) {
        return -1;
    }
    age->older = file.st_size > 0;
    return 0;
}

int reindex_is_older(struct index *index, struct segments *segments)
{
    struct age age = {.index = index, .segments = segments, .payload = buf_make(RECORD_TOTAL_MAX)};
    int result = index_meta_get(index, "events", 0, &age.events) == 0
                     ? index_meta_get(index, "next_segment", 1, &age.next_segment)
                     : -1;
    if (result == 0 && scan_files(segments, look_at_file, &age) != 0) {
        if (index->error[0] == '\0') {
            sqlite3_snprintf(sizeof(index->error), index->error, "the log cannot be read: %s",
                             strerror(errno));
        }
        result = -1;
    }
    buf_free(&age.payload);
    return result != 0 ? -1 : age.older;
}

static void remove_parts(const struct work *w, const char *base)
{
    static const char *const parts[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s%s", base, parts[i]);
        w->io->unlinkat(AT_FDCWD, path, 0);
    }
}

static int flush_directory(const struct work *w)
{
    int fd = w->io->openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int result = fd < 0 ? -1 : w->io->fsync(fd);
    if (fd >= 0) {
        w->io->close(fd);
    }
    return result;
}

static int flush_file(const struct work *w, const char *file)
{
    int fd = w->io->openat(AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
    int result = fd < 0 ? -1 : w->io->fsync(fd);
    if (fd >= 0) {
        w->io->close(fd);
    }
    return result;
}

static int copy_row(struct index *index, sqlite3_stmt *from, enum statement insert)
{
    sqlite3_stmt *to = sql_prepare(index, insert);
    if (to == NULL) {
        return -1;
    }
    for (int i = 0; i < sqlite3_column_count(from); i++) {
        sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i));
    }
    return sql_run(index, to);
}

static void copy_rows(const struct work *w, struct index *old, enum statement list, struct index *index,
                      enum statement insert)
{
    sqlite3_stmt *q = sql_prepare(old, list);
    if (q == NULL) {
        say(w, "the old journal cannot be read", old->error);
        return;
    }
    old->error[0] = '\0';
    while (sql_row(old, q)) {
        if (copy_row(index, q, insert) != 0) {
            say(w, "a row of the old journal is left out", index->error);
        }
    }
    if (old->error[0] != '\0') {
        say(w, "the old journal cannot be read to its end", old->error);
    }
}

/* What can be read of the old journal. Nothing that is wrong with it must stop the rest. */
static int copy_journal(const struct work *w, struct index *index)
{
    struct buf errors = buf_make(4096);
    struct index *old = exists(name) ? index_open(name, false, &errors) : NULL;
    int result = index_begin(index);
    if (old == NULL) {
        say(w, "the old journal cannot be read", "the old index cannot be opened");
    } else if (result == 0) {
        copy_rows(w, old, SQL_JOURNAL_ALL, index, SQL_JOURNAL_COPY);
        /* An index of an earlier version has no such table. */
        if (sql_prepare(old, SQL_JOURNAL_MANY_ALL) != NULL) {
            copy_rows(w, old, SQL_JOURNAL_MANY_ALL, index, SQL_JOURNAL_MANY_COPY);
        }
    }
    if (result == 0) {
        result = index_commit(index);
    }
    index_rollback(index);
    index_close(old);
    buf_free(&errors);
    return result;
}

static int64_t count_rows(struct index *index, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t count = -1;
    if (sqlite3_prepare_v2(index->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
        count = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return count < 0 ? 0 : count;
}

static int drop_dead(struct index *index)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_REPLAY_DROP_DEAD);
    if (index_begin(index) != 0 || q == NULL || sql_run(index, q) != 0 || index_commit(index) != 0) {
        index_rollback(index);
        return -1;
    }
    return 0;
}

static int fill(const struct work *w, struct index *index, struct reindex_counts *counts)
{
    struct segments segments;
    if (segments_init(&segments, w->io, false) != 0) {
        sqlite3_snprintf(sizeof(index->error), index->error, "the log cannot be opened");
        return -1;
    }
    int result = reindex_replay(index, &segments, UINT64_MAX, w->report, w->context, counts);
    segments_close(&segments);
    if (result != 0 || drop_dead(index) != 0 || copy_journal(w, index) != 0) {
        return -1;
    }
    counts->accounts = (uint64_t)count_rows(index, "SELECT COUNT(*) FROM account");
    counts->messages = (uint64_t)count_rows(index, "SELECT COUNT(*) FROM message");
    counts->entries = (uint64_t)count_rows(index, "SELECT COUNT(*) FROM queue");
    if (sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK) {
        sqlite3_snprintf(sizeof(index->error), index->error, "%s", sqlite3_errmsg(index->db));
        return -1;
    }
    return 0;
}

static int make_new(const struct work *w, struct reindex_counts *counts)
{
    struct buf errors = buf_make(4096);
    remove_parts(w, new_name);
    struct index *index = index_open(new_name, true, &errors);
    if (index == NULL) {
        buf_append_char(&errors, '\0');
        say(w, "the new index cannot be made", buf_ok(&errors) ? errors.data : "out of memory");
        buf_free(&errors);
        return -1;
    }
    buf_free(&errors);
    int result = fill(w, index, counts);
    if (result != 0) {
        say(w, "the new index cannot be filled", index->error);
    }
    index_close(index);
    if (result == 0 && flush_file(w, new_name) != 0) {
        say(w, "the new index cannot be flushed", strerror(errno));
        result = -1;
    }
    if (result != 0) {
        remove_parts(w, new_name);
    }
    return result;
}

static int put_in_place(const struct work *w)
{
    bool kept = exists(name);
    if (kept) {
        remove_parts(w, old_name);
    }
    /* The write-ahead log goes with its database, and after it: a database without it would be an older state that looks whole. */
    if ((kept && w->io->rename(name, old_name) != 0) ||
        (exists("index.db-wal") && w->io->rename("index.db-wal", "index.db.old-wal") != 0)) {
        say(w, "the old index cannot be renamed", strerror(errno));
        return -1;
    }
    w->io->unlinkat(AT_FDCWD, "index.db-shm", 0);
    if (flush_directory(w) != 0 || w->io->rename(new_name, name) != 0 || flush_directory(w) != 0) {
        say(w, "the new index cannot be put in place; run the command again", strerror(errno));
        return -1;
    }
    return 0;
}

int reindex_directory(const struct io *io, void (*report)(void *context, struct str text), void *context,
                      struct reindex_counts *counts)
{
    struct work w = {.io = io, .report = report, .context = context};
    return make_new(&w, counts) == 0 && put_in_place(&w) == 0 ? 0 : -1;
}
