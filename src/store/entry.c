/* Rows of the queue; see entry.h. */
#include "store/entry.h"

#include "store/events.h"
#include "store/mailbox.h"

int entry_add(struct index *index, const struct ident *record, uint32_t recipient, struct str address,
              struct str domain, uint64_t due_ms)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, record->bytes, IDENT_SIZE);
    sql_int(q, 2, recipient);
    sql_text(q, 3, address);
    sql_text(q, 4, domain);
    sql_int(q, 5, (int64_t)due_ms);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    struct entry entry;
    bool noted = index->noting && sqlite3_changes(index->db) > 0;
    int found = noted ? entry_find(index, record, address, &entry) : 0;
    if (found == 1) {
        events_entry(index, &entry);
    }
    return found < 0 ? -1 : 0;
}

static bool take_text(sqlite3_stmt *q, int column, char *area, size_t size, size_t *len)
{
    struct str text = sql_get_text(q, column);
    *len = text.len < size ? text.len : size;
    memcpy(area, text.data, *len);
    return text.len <= size;
}

static bool read_entry(sqlite3_stmt *q, struct entry *e)
{
    e->id = sqlite3_column_int64(q, 0);
    e->recipient = (uint32_t)sqlite3_column_int64(q, 2);
    e->state = (enum entry_state)sqlite3_column_int64(q, 5);
    e->due_ms = (uint64_t)sqlite3_column_int64(q, 6);
    e->attempts = (uint32_t)sqlite3_column_int64(q, 7);
    e->first_ms = (uint64_t)sqlite3_column_int64(q, 8);
    e->notified = sqlite3_column_int64(q, 9) != 0;
    e->code = (uint32_t)sqlite3_column_int64(q, 10);
    take_text(q, 11, e->enhanced, sizeof(e->enhanced), &e->enhanced_len);
    take_text(q, 12, e->reply, sizeof(e->reply), &e->reply_len);
    take_text(q, 13, e->host, sizeof(e->host), &e->host_len);
    return sql_get_ident(q, 1, &e->record) &&
           take_text(q, 3, e->address, sizeof(e->address), &e->address_len) &&
           take_text(q, 4, e->domain, sizeof(e->domain), &e->domain_len);
}

static int read_entries(struct index *index, sqlite3_stmt *q, struct entry *entries, int max)
{
    int count = 0;
    index->error[0] = '\0';
    while (count < max && sql_row(index, q)) {
        count += read_entry(q, &entries[count]);
    }
    sql_done(q);
    return index->error[0] == '\0' ? count : -1;
}

int entry_get(struct index *index, int64_t id, struct entry *entry)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_GET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    return read_entries(index, q, entry, 1);
}

int entry_find(struct index *index, const struct ident *record, struct str address, struct entry *entry)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_FIND);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, record->bytes, IDENT_SIZE);
    sql_text(q, 2, address);
    return read_entries(index, q, entry, 1);
}

int entry_due(struct index *index, uint64_t now_ms, struct entry *entries, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_DUE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, (int64_t)now_ms);
    sql_int(q, 2, max);
    return read_entries(index, q, entries, max);
}

int entry_list(struct index *index, int64_t after, struct entry *entries, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_LIST);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, after);
    sql_int(q, 2, max);
    return read_entries(index, q, entries, max);
}

static int64_t one_number(struct index *index, enum statement which)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL || !sql_row(index, q)) {
        return -1;
    }
    int64_t value = sqlite3_column_int64(q, 0);
    sql_done(q);
    return value;
}

uint64_t entry_next_due(struct index *index)
{
    int64_t due = one_number(index, SQL_QUEUE_NEXT_DUE);
    return due > 0 ? (uint64_t)due : 0;
}

int64_t entry_count(struct index *index)
{
    return one_number(index, SQL_QUEUE_COUNT);
}

static int change(struct index *index, enum statement which, int64_t id)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    return sql_run(index, q);
}

int entry_lease(struct index *index, int64_t id)
{
    return change(index, SQL_QUEUE_LEASE, id);
}

int entry_unlease(struct index *index, int64_t id)
{
    return change(index, SQL_QUEUE_UNLEASE, id);
}

int entry_release_all(struct index *index)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_RELEASE_ALL);
    return q == NULL ? -1 : sql_run(index, q);
}

/* After a change of its row. */
static int note_entry(struct index *index, int64_t id)
{
    struct entry entry;
    int found = index->noting ? entry_get(index, id, &entry) : 0;
    if (found == 1) {
        events_entry(index, &entry);
    }
    return found < 0 ? -1 : 0;
}

int entry_defer(struct index *index, int64_t id, uint64_t due_ms, uint32_t code, struct str enhanced,
                struct str reply, struct str host)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_DEFER);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, (int64_t)due_ms);
    sql_int(q, 3, code);
    sql_text(q, 4, enhanced);
    sql_text(q, 5, reply);
    sql_text(q, 6, host);
    return sql_run(index, q) == 0 ? note_entry(index, id) : -1;
}

int entry_set_notified(struct index *index, int64_t id)
{
    return change(index, SQL_QUEUE_NOTICE, id) == 0 ? note_entry(index, id) : -1;
}

int entry_set_state(struct index *index, int64_t id, enum entry_state state, uint64_t due_ms)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_QUEUE_SET_STATE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    sql_int(q, 2, state);
    sql_int(q, 3, (int64_t)due_ms);
    return sql_run(index, q) == 0 ? note_entry(index, id) : -1;
}

int entry_remove(struct index *index, const struct entry *entry)
{
    events_entry_gone(index, &entry->record, ENTRY_TEXT(entry, address));
    return change(index, SQL_QUEUE_REMOVE, entry->id) == 0 ? record_release(index, &entry->record) : -1;
}
