/* The tables of the index beside those that the log's events make, row by row; see verify.h. */
#include "store/verify_private.h"

enum { COLUMNS_MAX = 16, ROW_TEXT = 400 };

struct table {
    const char *name;
    enum statement select; /* ordered by its first `keys` columns */
    int keys;
    const char *columns[COLUMNS_MAX];
};

static const struct table tables[] = {
    {"account",
     SQL_CHECK_ACCOUNT,
     1,
     {"account", "address", "password", "state", "quota", "created", "used octets", "used messages"}},
    {"alias", SQL_CHECK_ALIAS, 2, {"address", "target"}},
    {"mailbox",
     SQL_CHECK_MAILBOX,
     2,
     {"account", "mailbox", "name", "UIDVALIDITY", "UIDNEXT", "modseq", "messages", "unseen", "deleted",
      "octets", "recent UID", "special use", "keywords"}},
    {"subscription", SQL_CHECK_SUBSCRIPTION, 2, {"account", "name"}},
    {"annotation", SQL_CHECK_ANNOTATION, 3, {"account", "mailbox", "entry", "value"}},
    {"acl", SQL_CHECK_ACL, 4, {"account", "mailbox", "grantee", "negative", "rights"}},
    {"message",
     SQL_CHECK_MESSAGE,
     3,
     {"account", "mailbox", "uid", "record", "recipient", "size", "date", "saved"}},
    {"record", SQL_CHECK_RECORD, 1, {"record", "segment", "place", "octets", "references"}},
    {"segment",
     SQL_CHECK_SEGMENT,
     1,
     {"segment", "origin", "instance", "boot", "applied", "sealed", "live octets"}},
    {"queue",
     SQL_CHECK_QUEUE,
     2,
     {"record", "address", "recipient", "domain", "state", "due", "attempts", "first", "notified", "code",
      "enhanced", "reply", "host"}},
};

/* Type, then value: the order of SQLite's own comparison, so that both sides can be merged. */
static int compare_value(sqlite3_stmt *a, sqlite3_stmt *b, int column)
{
    int type = sqlite3_column_type(a, column);
    int other = sqlite3_column_type(b, column);
    if (type != other) {
        return type < other ? -1 : 1;
    }
    if (type == SQLITE_INTEGER) {
        int64_t x = sqlite3_column_int64(a, column);
        int64_t y = sqlite3_column_int64(b, column);
        return x < y ? -1 : x > y;
    }
    const void *x = sqlite3_column_blob(a, column);
    const void *y = sqlite3_column_blob(b, column);
    return str_compare(x == NULL ? STR_EMPTY : str_make(x, (size_t)sqlite3_column_bytes(a, column)),
                       y == NULL ? STR_EMPTY : str_make(y, (size_t)sqlite3_column_bytes(b, column)));
}

static void put_value(sqlite3_stmt *q, int column, struct buf *out)
{
    if (sqlite3_column_type(q, column) == SQLITE_INTEGER) {
        buf_printf(out, "%lld", (long long)sqlite3_column_int64(q, column));
        return;
    }
    struct ident id;
    char text[IDENT_TEXT];
    if (sqlite3_column_type(q, column) == SQLITE_BLOB && sql_get_ident(q, column, &id)) {
        ident_format(&id, text);
        buf_append(out, text, sizeof(text));
        return;
    }
    buf_append_char(out, '"');
    buf_append_escaped(out, sql_get_text(q, column), 100);
    buf_append_char(out, '"');
}

static void put_key(const struct table *t, sqlite3_stmt *q, struct buf *out)
{
    buf_printf(out, "table %s, row", t->name);
    for (int i = 0; i < t->keys; i++) {
        buf_append_char(out, ' ');
        put_value(q, i, out);
    }
}

static void say(struct verify *v, const struct buf *line)
{
    v->counts->problems++;
    v->problem(v->context, buf_str(line));
}

static void say_one_sided(struct verify *v, const struct table *t, sqlite3_stmt *q, const char *what)
{
    char area[ROW_TEXT];
    struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    put_key(t, q, &line);
    buf_append_str(&line, str_of(what));
    say(v, &line);
}

/*
 * A file that a crash left before its row was committed, or mail was put into it. `reindex` has made a row of it, as it cannot
 * know which; so far nothing of it has been applied.
 */
static bool is_left_over(const struct table *t, sqlite3_stmt *q)
{
    enum { APPLIED = 4, SEALED = 5, LIVE = 6 };
    return t->select == SQL_CHECK_SEGMENT && sqlite3_column_int64(q, APPLIED) == 0 &&
           sqlite3_column_int64(q, SEALED) == 0 && sqlite3_column_int64(q, LIVE) == 0;
}

static void compare_rest(struct verify *v, const struct table *t, sqlite3_stmt *ours, sqlite3_stmt *logs)
{
    for (int i = t->keys; i < sqlite3_column_count(ours); i++) {
        char area[ROW_TEXT];
        struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (compare_value(ours, logs, i) == 0) {
            continue;
        }
        put_key(t, ours, &line);
        buf_printf(&line, ": %s ", t->columns[i]);
        if (strcmp(t->columns[i], "password") == 0) {
            buf_append_lit(&line, "is not what the log says");
        } else {
            buf_append_lit(&line, "is ");
            put_value(ours, i, &line);
            buf_append_lit(&line, ", by the log ");
            put_value(logs, i, &line);
        }
        say(v, &line);
    }
}

static int compare_keys(const struct table *t, sqlite3_stmt *ours, sqlite3_stmt *logs)
{
    int order = 0;
    for (int i = 0; i < t->keys && order == 0; i++) {
        order = compare_value(ours, logs, i);
    }
    return order;
}

static void count(struct verify *v, const struct table *t)
{
    if (t->select == SQL_CHECK_MESSAGE) {
        v->counts->messages++;
    } else if (t->select == SQL_CHECK_QUEUE) {
        v->counts->entries++;
    }
}

/* A table that cannot be read to its end is a problem of the index, not one of the check. */
static int compare_table(struct verify *v, const struct table *t)
{
    sqlite3_stmt *ours = sql_prepare(v->index, t->select);
    sqlite3_stmt *logs = sql_prepare(v->scratch, t->select);
    if (ours == NULL || logs == NULL) {
        return -1;
    }
    v->index->error[0] = '\0';
    v->scratch->error[0] = '\0';
    bool has_ours = sql_row(v->index, ours);
    bool has_logs = sql_row(v->scratch, logs);
    while (has_ours || has_logs) {
        int order = !has_ours ? 1 : !has_logs ? -1 : compare_keys(t, ours, logs);
        if (order < 0) {
            if (!is_left_over(t, ours)) {
                say_one_sided(v, t, ours, " is in the index; by the log it should not be");
            }
        } else if (order > 0) {
            say_one_sided(v, t, logs, " is not in the index; by the log it should be");
        } else {
            compare_rest(v, t, ours, logs);
        }
        if (order <= 0) {
            count(v, t);
            has_ours = sql_row(v->index, ours);
        }
        if (order >= 0) {
            has_logs = sql_row(v->scratch, logs);
        }
    }
    if (v->index->error[0] != '\0') {
        verify_problem(v, "table %s cannot be read: %s", t->name, v->index->error);
    }
    return v->scratch->error[0] == '\0' ? 0 : -1;
}

int verify_rows(struct verify *v)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (compare_table(v, &tables[i]) != 0) {
            return -1;
        }
    }
    return 0;
}
