/*
 * Checking log and index; see verify.h. The index is read in one snapshot. While it runs it holds a shared lock on the directory of
 * the segments, without which the store removes none.
 */
#include "store/verify_private.h"

#include "ipc/peer.h"
#include "store/reindex.h"
#include "store/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>

enum { LINE_MAX = 512 };

void verify_problem(struct verify *v, const char *format, ...)
{
    char line[LINE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    v->counts->problems++;
    v->problem(v->context, str_make(line, len < 0 ? 0 : len < LINE_MAX ? (size_t)len : LINE_MAX - 1));
}

static int fail(struct verify *v, const char *what, const char *why)
{
    sqlite3_snprintf(sizeof(v->index->error), v->index->error, "%s: %s", what, why);
    return -1;
}

/* The log. */

static int add_found(struct verify *v, int64_t segment, const struct scan_item *item)
{
    sqlite3_stmt *q = sql_prepare(v->scratch, SQL_FOUND_ADD);
    v->counts->records++;
    v->counts->octets += (uint64_t)item->octets;
    if (!record_is_message(&item->header)) {
        return 0;
    }
    if (q == NULL) {
        return fail(v, "the check has no room", v->scratch->error);
    }
    sql_blob(q, 1, item->header.id.bytes, IDENT_SIZE);
    sql_int(q, 2, segment);
    sql_int(q, 3, item->offset);
    sql_int(q, 4, item->header.total);
    sql_int(q, 5, item->header.kind);
    return sql_run(v->scratch, q) == 0 ? 0 : fail(v, "the check has no room", v->scratch->error);
}

static bool has_row(struct index *index, enum statement which, const struct ident *id)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return true;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    index->error[0] = '\0';
    bool found = sql_row(index, q);
    sql_done(q);
    return found || index->error[0] != '\0';
}

/* Whether this index looks for the record at this very place. */
static bool lies_at(struct index *index, const struct ident *id, int64_t segment, int64_t place)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_RECORD_GET);
    if (q == NULL) {
        return true;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    index->error[0] = '\0';
    bool found = sql_row(index, q);
    bool here = found && sqlite3_column_int64(q, 0) == segment && sqlite3_column_int64(q, 1) == place;
    sql_done(q);
    return here || index->error[0] != '\0';
}

/*
 * A crash may leave a record that was never answered for: whole in length, and not in its bytes. It is passed over when it is
 * applied, and nothing speaks of it. Nor does it matter where compaction has copied a record from.
 */
static bool matters(struct verify *v, const struct record_header *header, int64_t segment, int64_t place)
{
    if (header->kind == RECORD_EVENTS) {
        return v->events_lost;
    }
    return lies_at(v->scratch, &header->id, segment, place) || lies_at(v->index, &header->id, segment, place);
}

static int check_item(struct verify *v, int64_t segment, enum scan_state state, const struct scan_item *item)
{
    char text[IDENT_TEXT];
    switch (state) {
    case SCAN_RECORD:
        if (item->summary_damaged) {
            v->counts->damaged_summaries++;
            ident_format(&item->header.id, text);
            verify_problem(v,
                           "segment %lld at %lld: the summary of %.*s is damaged; the message itself is not",
                           (long long)segment, (long long)item->offset, IDENT_TEXT, text);
        }
        return add_found(v, segment, item);
    case SCAN_DAMAGED:
        if (!matters(v, &item->header, segment, item->offset)) {
            break;
        }
        ident_format(&item->header.id, text);
        verify_problem(v, "segment %lld at %lld: the record %.*s is damaged", (long long)segment,
                       (long long)item->offset, IDENT_TEXT, text);
        break;
    case SCAN_LOST:
    case SCAN_TORN:
        verify_problem(v, "segment %lld at %lld: %lld octets are damaged", (long long)segment,
                       (long long)item->offset, (long long)item->octets);
        break;
    case SCAN_ERROR:
        verify_problem(v, "segment %lld at %lld: the file cannot be read", (long long)segment,
                       (long long)item->offset);
        break;
    case SCAN_END: break;
    }
    return 0;
}

static int check_segment(struct verify *v, const struct segment_info *info, struct buf *payload)
{
    struct scan scan;
    struct scan_item item;
    enum scan_state state;
    v->counts->segments++;
    if (!scan_begin(&scan, v->segments, info->id, info->applied, payload)) {
        /* A dead segment loses its file before its row. */
        if (!info->sealed || info->live > 0) {
            verify_problem(v, "segment %lld has no file that can be read", (long long)info->id);
        }
        return 0;
    }
    if (scan.end < info->applied) {
        verify_problem(v, "segment %lld ends at %lld, %lld octets of it were applied", (long long)info->id,
                       (long long)scan.end, (long long)info->applied);
    }
    do {
        state = scan_next(&scan, &item);
        if (check_item(v, info->id, state, &item) != 0) {
            return -1;
        }
    } while (state != SCAN_END && state != SCAN_ERROR);
    return 0;
}

static int check_log(struct verify *v)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    struct buf payload = buf_make(RECORD_TOTAL_MAX);
    int count = segment_list(v->index, infos, SEGMENT_ROWS_MAX);
    int result = 0;
    if (count < 0) {
        verify_problem(v, "table segment cannot be read: %s", v->index->error);
    }
    for (int i = 0; i < count && result == 0; i++) {
        result = check_segment(v, &infos[i], &payload);
    }
    buf_free(&payload);
    return result;
}

/* The index against what was found in the log, and the other way round. */

static int check_places(struct verify *v)
{
    sqlite3_stmt *rows = sql_prepare(v->index, SQL_CHECK_RECORD);
    sqlite3_stmt *at = sql_prepare(v->scratch, SQL_FOUND_AT);
    struct ident id;
    if (rows == NULL || at == NULL) {
        return -1;
    }
    v->index->error[0] = '\0';
    while (sql_row(v->index, rows)) {
        char text[IDENT_TEXT];
        if (!sql_get_ident(rows, 0, &id)) {
            verify_problem(v, "table record has a row whose id is no id");
            continue;
        }
        int64_t segment = sqlite3_column_int64(rows, 1);
        int64_t place = sqlite3_column_int64(rows, 2);
        sql_blob(at, 1, id.bytes, IDENT_SIZE);
        sql_int(at, 2, segment);
        sql_int(at, 3, place);
        bool there = sql_row(v->scratch, at);
        bool equal = there && sqlite3_column_int64(at, 0) == sqlite3_column_int64(rows, 3);
        sql_done(at);
        if (!equal) {
            ident_format(&id, text);
            verify_problem(v, "message %.*s is not where the index says, in segment %lld at %lld", IDENT_TEXT,
                           text, (long long)segment, (long long)place);
        }
    }
    if (v->index->error[0] != '\0') {
        verify_problem(v, "table record cannot be read: %s", v->index->error);
    }
    return 0;
}

/* The journal goes back to the oldest id in it. Without one there is nothing to hold against the log. */
static bool oldest_in_journal(struct verify *v, struct ident *id)
{
    sqlite3_stmt *q = sql_prepare(v->index, SQL_JOURNAL_OLDEST);
    bool found = q != NULL && sql_row(v->index, q) && sql_get_ident(q, 0, id);
    if (q != NULL) {
        sql_done(q);
    }
    return found;
}

static int check_accounted(struct verify *v)
{
    sqlite3_stmt *q = sql_prepare(v->scratch, SQL_FOUND_MESSAGES);
    struct ident oldest;
    struct ident id;
    if (q == NULL) {
        return fail(v, "the check has no room", v->scratch->error);
    }
    if (!oldest_in_journal(v, &oldest)) {
        return 0;
    }
    while (sql_row(v->scratch, q)) {
        char text[IDENT_TEXT];
        if (!sql_get_ident(q, 0, &id) || memcmp(id.bytes, oldest.bytes, IDENT_SIZE) < 0 ||
            has_row(v->index, SQL_RECORD_GET, &id) || has_row(v->scratch, SQL_RECORD_GET, &id) ||
            has_row(v->index, SQL_JOURNAL_OF, &id)) {
            continue;
        }
        ident_format(&id, text);
        verify_problem(v,
                       "message %.*s of segment %lld is not in the index, and the journal does not say why",
                       IDENT_TEXT, text, (long long)sqlite3_column_int64(q, 1));
    }
    return 0;
}

static int check_counters(struct verify *v)
{
    static const char *const names[] = {"next_account", "next_segment", "next_mailbox",
                                        "uid_validity", "log_high",     "log_low"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t ours = 0;
        int64_t logs = 0;
        if (index_meta_get(v->index, names[i], 1, &ours) != 0 ||
            index_meta_get(v->scratch, names[i], i < 4 ? 1 : ours, &logs) != 0) {
            verify_problem(v, "the counter %s cannot be read", names[i]);
        } else if (i < 4 ? ours < logs : ours != logs) {
            verify_problem(v, "the counter %s is %lld, by the log %lld", names[i], (long long)ours,
                           (long long)logs);
        }
    }
    return 0;
}

/* SQLite's own check of its file. */
static void check_file(struct verify *v)
{
    sqlite3_stmt *q = NULL;
    int code = sqlite3_prepare_v2(v->index->db, "PRAGMA integrity_check(100)", -1, &q, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        struct str line = sql_get_text(q, 0);
        if (!str_equal(line, STR("ok"))) {
            verify_problem(v, "the index: %.*s", STR_ARGS(str_sub(line, 0, 300)));
        }
        code = SQLITE_OK;
    }
    if (code != SQLITE_DONE) {
        verify_problem(v, "the index cannot be read: %s", sqlite3_errmsg(v->index->db));
    }
    sqlite3_finalize(q);
}

static int check_all(struct verify *v)
{
    struct reindex_counts replayed;
    int64_t last = 0;
    if (index_meta_get(v->index, "events", 0, &last) != 0) {
        verify_problem(v, "the index cannot be read: %s", v->index->error);
        return 0;
    }
    check_file(v);
    if (reindex_replay(v->scratch, v->segments, (uint64_t)last, NULL, NULL, &replayed) != 0) {
        return fail(v, "the log's events cannot be replayed", v->scratch->error);
    }
    v->events_lost = replayed.lost > 0;
    v->latest = replayed.latest;
    if (v->events_lost) {
        verify_problem(v, "the events of %llu transactions are lost", (unsigned long long)replayed.lost);
    }
    if (index_begin(v->scratch) != 0 || check_log(v) != 0 || check_places(v) != 0 ||
        check_accounted(v) != 0 || check_counters(v) != 0 || verify_rows(v) != 0 || verify_flags(v) != 0) {
        return -1;
    }
    return 0;
}

/*
 * An index that is older than the log: its write-ahead log was lost or damaged, or a copy was put back. A store that is at work may
 * have gone on meanwhile, so the index is asked again; one transaction more may be in the log, whose commit has failed.
 */
static void check_latest(struct verify *v)
{
    int64_t events = 0;
    if (index_meta_get(v->index, "events", 0, &events) == 0 && v->latest > (uint64_t)events + 1) {
        verify_problem(v, "the index lacks %llu transactions that the log has; run `veredus reindex`",
                       (unsigned long long)(v->latest - (uint64_t)events));
    }
}

int verify_store(struct index *index, struct segments *segments,
                 void (*problem)(void *context, struct str text), void *context, struct verify_counts *counts)
{
    struct buf errors = buf_make(4096);
    struct verify v = {
        .index = index, .segments = segments, .problem = problem, .context = context, .counts = counts};
    *counts = (struct verify_counts){.segments = 0};
    /* A nameless database: in memory, and in a temporary file once it is large. */
    v.scratch = index_open("", true, &errors);
    buf_free(&errors);
    if (v.scratch == NULL) {
        return fail(&v, "the check has no room", "out of memory");
    }
    flock(segments->dir, LOCK_SH);
    int result = sqlite3_exec(index->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK
                     ? check_all(&v)
                     : fail(&v, "the index cannot be read", sqlite3_errmsg(index->db));
    sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
    if (result == 0) {
        check_latest(&v);
    }
    flock(segments->dir, LOCK_UN);
    index_rollback(v.scratch);
    index_close(v.scratch);
    return result;
}
