/*
 * The index: SQLite in WAL mode, synchronous=FULL. Exactly one connection in the store role writes; all others read only
 * (RELIABILITY, section 0, finding 1). It points into the log and can be rebuilt from it.
 *
 * Functions return 0, or -1 after noting SQLite's reason in index->error; a failed write transaction is rolled back by its
 * caller, and nothing of it is acknowledged.
 */
#ifndef VEREDUS_STORE_INDEX_H
#define VEREDUS_STORE_INDEX_H

#include "base/buf.h"
#include "base/ident.h"
#include "store/schema.h"

#include <sqlite3.h>

struct index {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_STATEMENTS];
    bool writer;
    bool unmended; /* half a change has been waited for in vain: not again before it is over */
    bool in_transaction;
    bool noting;        /* see index_note_events */
    bool events_taken;  /* in this transaction */
    bool tracking;      /* see index_touch */
    struct buf touched; /* struct touched */
    struct buf events;
    char error[256];
};

/*
 * Opens `file` (relative to the current directory, which is the store's). The writer makes the tables if they are
 * missing. NULL on failure, with the reason in `errors`.
 */
struct index *index_open(const char *file, bool writer, struct buf *errors);
/* The same; on failure `code` has SQLite's result code, and errno what the system said, if it said anything. */
struct index *index_open_coded(const char *file, bool writer, struct buf *errors, int *code);
void index_close(struct index *index);

/*
 * Whether changes are noted as events (events.h), to be written to the log with each transaction. The store role has this on;
 * without it the index cannot be rebuilt.
 */
void index_note_events(struct index *index, bool on);
/*
 * With index->tracking, what the transaction under way, or the last one, has changed: an array of struct touched in
 * index->touched, emptied by the next index_begin and by a rollback. Without memory it is incomplete: touched.failed.
 */
enum touch {
    TOUCH_MESSAGES = 1, /* messages, flags, counts */
    TOUCH_NAMES = 2,    /* names, subscriptions, rights */
    TOUCH_METADATA = 4, /* annotations */
    TOUCH_ANY = 7
};
struct touched {
    int64_t account; /* 0: any may be concerned */
    int64_t mailbox; /* 0: what the account has or sees beside its own mailboxes */
    uint32_t what;   /* enum touch */
};
void index_touch(struct index *index, int64_t account, int64_t mailbox, enum touch what);
int index_begin(struct index *index);
int index_commit(struct index *index);
void index_rollback(struct index *index);
/* Moves what the write-ahead log holds into the database; after commits, when there is time. */
void index_checkpoint(struct index *index);

/*
 * For the store's other files: a statement ready for its parameters; NULL (error noted) if it cannot be prepared. Bind with
 * sql_*, run with sql_run (no rows wanted) or sql_row (true for each row; sql_done when the caller stops before the end).
 */
sqlite3_stmt *sql_prepare(struct index *index, enum statement which);
void sql_int(sqlite3_stmt *statement, int at, int64_t value);
void sql_text(sqlite3_stmt *statement, int at, struct str value);
void sql_blob(sqlite3_stmt *statement, int at, const void *data, size_t len);
int sql_run(struct index *index, sqlite3_stmt *statement);
bool sql_row(struct index *index, sqlite3_stmt *statement);
void sql_done(sqlite3_stmt *statement);
struct str sql_get_text(sqlite3_stmt *statement, int column);
bool sql_get_ident(sqlite3_stmt *statement, int column, struct ident *ident);

int index_meta_get(struct index *index, const char *name, int64_t standard, int64_t *value);
int index_meta_set(struct index *index, const char *name, int64_t value);

#endif
