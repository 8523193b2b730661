/* Annotations; see annotation.h. */
#include "store/annotation.h"

#include "store/events.h"

static sqlite3_stmt *prepare(struct index *index, enum statement which, int64_t account, int64_t mailbox)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q != NULL) {
        sql_int(q, 1, account);
        sql_int(q, 2, mailbox);
    }
    return q;
}

int annotation_set(struct index *index, int64_t account, int64_t mailbox, struct str entry,
                   const struct str *value)
{
    sqlite3_stmt *q =
        prepare(index, value == NULL ? SQL_ANNOTATION_REMOVE : SQL_ANNOTATION_SET, account, mailbox);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 3, entry);
    if (value != NULL) {
        sql_blob(q, 4, value->data, value->len);
    }
    events_annotation(index, account, mailbox, entry, value);
    index_touch(index, account, mailbox, TOUCH_METADATA);
    return sql_run(index, q);
}

int annotation_exists(struct index *index, int64_t account, int64_t mailbox, struct str entry)
{
    sqlite3_stmt *q = prepare(index, SQL_ANNOTATION_FIND, account, mailbox);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 3, entry);
    index->error[0] = '\0';
    bool found = sql_row(index, q);
    if (found) {
        sql_done(q);
    }
    return index->error[0] != '\0' ? -1 : found;
}

int annotation_count(struct index *index, int64_t account, int64_t mailbox, int64_t *of_mailbox,
                     int64_t *of_account)
{
    sqlite3_stmt *q = prepare(index, SQL_ANNOTATION_COUNT, account, mailbox);
    if (q == NULL || !sql_row(index, q)) {
        return -1;
    }
    *of_account = sqlite3_column_int64(q, 0);
    *of_mailbox = sqlite3_column_int64(q, 1);
    sql_done(q);
    return 0;
}

static struct str value_of(sqlite3_stmt *q, int column)
{
    const void *data = sqlite3_column_blob(q, column);
    return data == NULL ? STR_EMPTY : str_make(data, (size_t)sqlite3_column_bytes(q, column));
}

int annotation_each(struct index *index, int64_t account, int64_t mailbox,
                    bool (*each)(void *context, struct str mailbox, struct str entry, struct str value),
                    void *context)
{
    sqlite3_stmt *q = prepare(index, SQL_ANNOTATION_LIST, account, mailbox);
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (!each(context, STR_EMPTY, sql_get_text(q, 0), value_of(q, 1))) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int annotation_each_of_account(struct index *index, int64_t account,
                               bool (*each)(void *context, struct str mailbox, struct str entry,
                                            struct str value),
                               void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_ANNOTATION_LIST_ALL);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (!each(context, sql_get_text(q, 0), sql_get_text(q, 1), value_of(q, 2))) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int annotation_forget(struct index *index, int64_t account, int64_t mailbox)
{
    sqlite3_stmt *q = prepare(index, SQL_ANNOTATION_FORGET, account, mailbox);
    return q == NULL ? -1 : sql_run(index, q);
}

/* Collected first: a statement that reads a table must not see what is written to it meanwhile. */
static bool collect(void *context, struct str mailbox, struct str entry, struct str value)
{
    struct buf *all = context;
    (void)mailbox;
    return buf_append_le16(all, (uint16_t)entry.len) && buf_append_le16(all, (uint16_t)value.len) &&
           buf_append_str(all, entry) && buf_append_str(all, value);
}

int annotation_copy(struct index *index, int64_t account, int64_t from, int64_t to)
{
    struct buf all = buf_make((size_t)ANNOTATIONS_MAX * (ANNOTATION_ENTRY_MAX + ANNOTATION_VALUE_MAX + 4));
    int result = annotation_each(index, account, from, collect, &all) == 0 && buf_ok(&all) ? 0 : -1;
    for (size_t at = 0; result == 0 && at + 4 <= all.len;) {
        struct str entry = str_make(all.data + at + 4, read_le16(all.data + at));
        struct str value = str_make(entry.data + entry.len, read_le16(all.data + at + 2));
        result = annotation_set(index, account, to, entry, &value);
        at += 4 + entry.len + value.len;
    }
    buf_free(&all);
    return result;
}
