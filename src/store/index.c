/* Opening the index, transactions, and the few calls through which every statement goes; see index.h. */
#include "store/index.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/events.h"
#include "store/index_file.h"

#include <errno.h>
#include <string.h>

enum { TOUCHED_MAX = 64 << 20, BUSY_MS = 2000, RECOVERY_MS = 10000, RECOVERY_PAUSE_MS = 5 };

static void note_error(struct index *index, const char *what)
{
    const char *why = index->db == NULL ? "out of memory" : sqlite3_errmsg(index->db);
    /* The reason first: a statement may be longer than there is room for. */
    sqlite3_snprintf(sizeof(index->error), index->error, "%s: %s", why, what);
}

static int execute(struct index *index, const char *sql)
{
    if (sqlite3_exec(index->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        note_error(index, "the index cannot be set up");
        return -1;
    }
    return 0;
}

static int set_up(struct index *index)
{
    sqlite3_busy_timeout(index->db, BUSY_MS);
    if (!index->writer) {
        return execute(index,
                       "PRAGMA query_only = 1; PRAGMA cache_size = -16000; PRAGMA mmap_size = 268435456");
    }
    /* Checkpoints are made by index_checkpoint, between transactions, and never by a commit that somebody waits for. */
    if (execute(index,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                "PRAGMA cache_size = -64000; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF") != 0 ||
        execute(index, schema_create) != 0) {
        return -1;
    }
    int64_t version = 0;
    if (index_meta_get(index, "version", SCHEMA_VERSION, &version) != 0) {
        return -1;
    }
    if (version != SCHEMA_VERSION) {
        sqlite3_snprintf(sizeof(index->error), index->error,
                         "the index has version %d, this program knows %d; run the program that made it, or "
                         "`veredus reindex`",
                         (int)version, SCHEMA_VERSION);
        return -1;
    }
    return index_meta_set(index, "version", SCHEMA_VERSION);
}

struct index *index_open(const char *file, bool writer, struct buf *errors)
{
    int code;
    return index_open_coded(file, writer, errors, &code);
}

struct index *index_open_coded(const char *file, bool writer, struct buf *errors, int *code)
{
    struct index *index = mem_new(struct index);
    *code = SQLITE_NOMEM;
    if (index == NULL) {
        buf_append_lit(errors, "the index cannot be opened: out of memory\n");
        return NULL;
    }
    index->writer = writer;
    index->touched = buf_make(TOUCHED_MAX);
    int flags = writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    *code = sqlite3_open_v2(file, &index->db, flags | SQLITE_OPEN_NOMUTEX, index_file_layer());
    if (*code != SQLITE_OK) {
        note_error(index, "the index cannot be opened");
    } else if (set_up(index) == 0) {
        return index;
    } else {
        *code = sqlite3_errcode(index->db);
    }
    buf_printf(errors, "%s: %s\n", file, index->error);
    int error = index->db == NULL ? 0 : sqlite3_system_errno(index->db);
    index_close(index);
    errno = error;
    return NULL;
}

void index_close(struct index *index)
{
    if (index == NULL) {
        return;
    }
    for (size_t i = 0; i < SQL_STATEMENTS; i++) {
        sqlite3_finalize(index->statements[i]);
    }
    sqlite3_close(index->db);
    buf_free(&index->events);
    buf_free(&index->touched);
    mem_free(index);
}

sqlite3_stmt *sql_prepare(struct index *index, enum statement which)
{
    if (index->statements[which] == NULL &&
        sqlite3_prepare_v3(index->db, schema_statements[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &index->statements[which], NULL) != SQLITE_OK) {
        note_error(index, schema_statements[which]);
        return NULL;
    }
    return index->statements[which];
}

/* A failed bind leaves NULL, which no column takes: the step then fails and is reported. */
void sql_int(sqlite3_stmt *statement, int at, int64_t value)
{
    sqlite3_bind_int64(statement, at, value);
}

void sql_text(sqlite3_stmt *statement, int at, struct str value)
{
    sqlite3_bind_text(statement, at, value.len == 0 ? "" : value.data, (int)value.len, SQLITE_STATIC);
}

void sql_blob(sqlite3_stmt *statement, int at, const void *data, size_t len)
{
    sqlite3_bind_blob(statement, at, data, (int)len, SQLITE_STATIC);
}

void sql_done(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
}

/*
 * A statement that fails for want of memory or room may take the whole transaction with it. What follows would then be committed
 * by itself, so it must not run.
 */
static bool is_rolled_back(struct index *index)
{
    if (!index->in_transaction || sqlite3_get_autocommit(index->db) == 0) {
        return false;
    }
    if (index->error[0] == '\0') {
        sqlite3_snprintf(sizeof(index->error), index->error, "the transaction has been rolled back");
    }
    return true;
}

static bool is_unmended(struct index *index, int code)
{
    return code == SQLITE_READONLY && sqlite3_extended_errcode(index->db) == SQLITE_READONLY_RECOVERY;
}

/*
 * A writer that is killed while it changes the head of the -shm file leaves one that only a writer may mend. The next one does so
 * as soon as it has started, and a reader waits for that. SQLite's own busy handler does not: to it this is no lock but an error.
 */
static int step(struct index *index, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    for (int waited = 0; waited < RECOVERY_MS && is_unmended(index, code) && !index->unmended;
         waited += RECOVERY_PAUSE_MS) {
        sqlite3_reset(statement);
        sqlite3_sleep(RECOVERY_PAUSE_MS);
        code = sqlite3_step(statement);
    }
    index->unmended = is_unmended(index, code);
    return code;
}

int sql_run(struct index *index, sqlite3_stmt *statement)
{
    if (is_rolled_back(index)) {
        sqlite3_reset(statement);
        return -1;
    }
    int code = step(index, statement);
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        note_error(index, sqlite3_sql(statement));
    }
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : -1;
}

bool sql_row(struct index *index, sqlite3_stmt *statement)
{
    int code = step(index, statement);
    if (code == SQLITE_ROW) {
        return true;
    }
    if (code != SQLITE_DONE) {
        note_error(index, sqlite3_sql(statement));
    }
    sqlite3_reset(statement);
    return false;
}

struct str sql_get_text(sqlite3_stmt *statement, int column)
{
    /* As a blob: SQLite then needs no memory to put a zero behind it, and so cannot fail to. */
    const void *text = sqlite3_column_blob(statement, column);
    int len = sqlite3_column_bytes(statement, column);
    return text == NULL || len <= 0 ? STR_EMPTY : str_make(text, (size_t)len);
}

bool sql_get_ident(sqlite3_stmt *statement, int column, struct ident *ident)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    if (bytes == NULL || sqlite3_column_bytes(statement, column) != IDENT_SIZE) {
        return false;
    }
    memcpy(ident->bytes, bytes, IDENT_SIZE);
    return true;
}

static int simple(struct index *index, enum statement which)
{
    sqlite3_stmt *statement = sql_prepare(index, which);
    return statement == NULL ? -1 : sql_run(index, statement);
}

static void end_transaction(struct index *index)
{
    index->in_transaction = false;
    index->events_taken = false;
    if (index->events.cap > 1 << 20) {
        buf_free(&index->events);
    }
    buf_clear(&index->events);
}

void index_touch(struct index *index, int64_t account, int64_t mailbox, enum touch what)
{
    struct touched touched = {account, mailbox, what};
    if (index->tracking) {
        buf_append(&index->touched, &touched, sizeof(touched));
    }
}

/* Without memory even this may fail: then it is tried again before the next transaction. */
static void roll_back(struct index *index)
{
    if (sqlite3_get_autocommit(index->db) == 0) {
        simple(index, SQL_ROLLBACK);
    }
}

int index_begin(struct index *index)
{
    if (index->in_transaction) {
        return 0;
    }
    buf_clear(&index->touched);
    index->error[0] = '\0';
    roll_back(index);
    if (simple(index, SQL_BEGIN) != 0) {
        return -1;
    }
    index->in_transaction = true;
    return 0;
}

int index_commit(struct index *index)
{
    if (!index->in_transaction) {
        return 0;
    }
    if (index->noting && events_pending(index) && !index->events_taken) {
        sqlite3_snprintf(sizeof(index->error), index->error,
                         "the transaction's events have not been written to the log");
        return -1;
    }
    if (simple(index, SQL_COMMIT) != 0) {
        return -1;
    }
    end_transaction(index);
    return 0;
}

void index_rollback(struct index *index)
{
    if (index->in_transaction) {
        end_transaction(index);
        roll_back(index);
        buf_clear(&index->touched);
    }
}

void index_checkpoint(struct index *index)
{
    int frames = 0;
    int done = 0;
    /* PASSIVE never waits for readers; once all is copied the next commit begins the WAL anew. */
    if (sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done) != SQLITE_OK) {
        log_warning("the index cannot be checkpointed: %s", sqlite3_errmsg(index->db));
    }
}

int index_meta_get(struct index *index, const char *name, int64_t standard, int64_t *value)
{
    sqlite3_stmt *statement = sql_prepare(index, SQL_META_GET);
    if (statement == NULL) {
        return -1;
    }
    *value = standard;
    sql_text(statement, 1, str_of(name));
    index->error[0] = '\0';
    if (sql_row(index, statement)) {
        *value = sqlite3_column_int64(statement, 0);
        sql_done(statement);
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int index_meta_set(struct index *index, const char *name, int64_t value)
{
    sqlite3_stmt *statement = sql_prepare(index, SQL_META_SET);
    if (statement == NULL) {
        return -1;
    }
    sql_text(statement, 1, str_of(name));
    sql_int(statement, 2, value);
    return sql_run(index, statement);
}
