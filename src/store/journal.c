/* The journal; see journal.h. */
#include "store/journal.h"

#include <string.h>

const char *journal_event_name(enum journal_event event)
{
    static const char *const names[JOURNAL_EVENTS] = {
        [JOURNAL_ACCEPTED] = "accepted",   [JOURNAL_REFUSED] = "refused",     [JOURNAL_FILED] = "filed",
        [JOURNAL_QUEUED] = "queued",       [JOURNAL_DELIVERED] = "delivered", [JOURNAL_DEFERRED] = "deferred",
        [JOURNAL_UNCERTAIN] = "uncertain", [JOURNAL_FAILED] = "failed",       [JOURNAL_BOUNCED] = "bounced",
        [JOURNAL_NOTICED] = "noticed",     [JOURNAL_DROPPED] = "dropped",     [JOURNAL_EXPUNGED] = "expunged",
        [JOURNAL_HELD] = "held",
    };
    return (unsigned)event < JOURNAL_EVENTS ? names[event] : "unknown";
}

/*
 * The first of `count` sequence numbers in a row. Only the one writer adds rows, so a counter that never repeats within a
 * millisecond keeps their order.
 */
static uint64_t take_sequence(uint64_t wall_ms, uint64_t count)
{
    static uint64_t last;
    uint64_t first = wall_ms << 12;
    first = first > last ? first : last + 1;
    last = first + count - 1;
    return first;
}

int journal_add(struct index *index, const struct ident *id, uint64_t wall_ms, enum journal_event event,
                struct str text)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    sql_int(q, 2, (int64_t)take_sequence(wall_ms, 1));
    sql_int(q, 3, (int64_t)wall_ms);
    sql_int(q, 4, event);
    sql_text(q, 5, text);
    return sql_run(index, q);
}

/*
 * What happened to many messages at once is one row of journal_many: a row for each, spread over all the pages that have their
 * other rows, takes longer than all else that removing them takes. Its `messages` are ids, each with its UID behind it.
 */
enum { MANY = 16, PACKED = IDENT_SIZE + 4, TEXT_MAX = 4096 };

bool journal_pack(struct buf *messages, const struct ident *id, uint32_t uid)
{
    return buf_append(messages, id->bytes, IDENT_SIZE) && buf_append_le32(messages, uid);
}

static struct ident packed_id(struct str messages, size_t at)
{
    struct ident id;
    memcpy(id.bytes, messages.data + at * PACKED, IDENT_SIZE);
    return id;
}

/* The text for the message at this place of `messages`. */
static void make_text(struct str messages, size_t at, struct str before, struct str after, struct buf *text)
{
    buf_clear(text);
    buf_append_str(text, before);
    buf_append_u64(text, read_le32(messages.data + at * PACKED + IDENT_SIZE));
    buf_append_str(text, after);
}

static int add_one_by_one(struct index *index, struct str messages, uint64_t wall_ms,
                          enum journal_event event, struct str before, struct str after)
{
    struct buf text = buf_make(TEXT_MAX);
    int result = 0;
    for (size_t i = 0; result == 0 && i < messages.len / PACKED; i++) {
        struct ident id = packed_id(messages, i);
        make_text(messages, i, before, after, &text);
        result = journal_add(index, &id, wall_ms, event, buf_str(&text));
    }
    buf_free(&text);
    return result;
}

int journal_add_each(struct index *index, struct str messages, uint64_t wall_ms, enum journal_event event,
                     struct str before, struct str after)
{
    size_t count = messages.len / PACKED;
    if (count < MANY) {
        return add_one_by_one(index, messages, wall_ms, event, before, after);
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_ADD_MANY);
    if (q == NULL) {
        return -1;
    }
    struct ident first = packed_id(messages, 0);
    struct ident last = first;
    for (size_t i = 1; i < count; i++) {
        struct ident id = packed_id(messages, i);
        first = memcmp(id.bytes, first.bytes, IDENT_SIZE) < 0 ? id : first;
        last = memcmp(id.bytes, last.bytes, IDENT_SIZE) > 0 ? id : last;
    }
    sql_blob(q, 1, first.bytes, IDENT_SIZE);
    sql_blob(q, 2, last.bytes, IDENT_SIZE);
    sql_int(q, 3, (int64_t)take_sequence(wall_ms, count));
    sql_int(q, 4, (int64_t)wall_ms);
    sql_int(q, 5, event);
    sql_text(q, 6, before);
    sql_text(q, 7, after);
    sql_blob(q, 8, messages.data, messages.len);
    return sql_run(index, q);
}

/* Reading a row of journal_many, message by message. */
struct many {
    struct index *index;
    sqlite3_stmt *q;
    struct str messages;
    size_t count;
    uint64_t sequence; /* of the first message */
    struct journal_row row;
    struct buf text; /* of `row` */
};

static bool next_row_of_many(struct many *m)
{
    if (!sql_row(m->index, m->q)) {
        return false;
    }
    m->sequence = (uint64_t)sqlite3_column_int64(m->q, 0);
    m->row.wall_ms = (uint64_t)sqlite3_column_int64(m->q, 1);
    m->row.event = (enum journal_event)sqlite3_column_int64(m->q, 2);
    m->messages = sql_get_text(m->q, 5);
    m->count = m->messages.len / PACKED;
    return true;
}

static void take_message(struct many *m, size_t at)
{
    m->row.id = packed_id(m->messages, at);
    make_text(m->messages, at, sql_get_text(m->q, 3), sql_get_text(m->q, 4), &m->text);
    m->row.text = buf_str(&m->text);
}

/* A row of the journal itself. False: its id is damaged. */
static bool take_single(sqlite3_stmt *q, struct journal_row *row)
{
    *row = (struct journal_row){.wall_ms = (uint64_t)sqlite3_column_int64(q, 2),
                                .event = (enum journal_event)sqlite3_column_int64(q, 3),
                                .text = sql_get_text(q, 4)};
    return sql_get_ident(q, 0, &row->id);
}

/* The next message of many that is this one, from place *at on. */
static bool find_in_many(struct many *m, const struct ident *id, size_t *at)
{
    do {
        for (; *at < m->count; (*at)++) {
            if (memcmp(m->messages.data + *at * PACKED, id->bytes, IDENT_SIZE) == 0) {
                take_message(m, *at);
                return true;
            }
        }
        *at = 0;
    } while (next_row_of_many(m));
    m->count = 0;
    return false;
}

int journal_of(struct index *index, const struct ident *id,
               bool (*each)(void *context, const struct journal_row *row), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_OF);
    struct many m = {
        .index = index, .q = sql_prepare(index, SQL_JOURNAL_MANY_OF), .text = buf_make(TEXT_MAX)};
    if (q == NULL || m.q == NULL) {
        return -1;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    sql_blob(m.q, 1, id->bytes, IDENT_SIZE);
    index->error[0] = '\0';
    size_t at = 0;
    bool single = sql_row(index, q);
    bool many = find_in_many(&m, id, &at);
    bool more = true;
    while (more && (single || many)) {
        if (single && (!many || (uint64_t)sqlite3_column_int64(q, 1) < m.sequence + at)) {
            struct journal_row row;
            more = !take_single(q, &row) || each(context, &row);
            single = more && sql_row(index, q);
        } else {
            more = each(context, &m.row);
            at++;
            many = more && find_in_many(&m, id, &at);
        }
    }
    sql_done(q);
    sql_done(m.q);
    buf_free(&m.text);
    return index->error[0] == '\0' ? 0 : -1;
}

int journal_search(struct index *index, struct str text, unsigned limit,
                   bool (*each)(void *context, const struct journal_row *row), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_SEARCH);
    struct many m = {
        .index = index, .q = sql_prepare(index, SQL_JOURNAL_MANY_SEARCH), .text = buf_make(TEXT_MAX)};
    unsigned found = 0;
    bool more = true;
    if (q == NULL || m.q == NULL) {
        return -1;
    }
    sql_text(q, 1, text);
    sql_int(q, 2, limit);
    sql_text(m.q, 1, text);
    sql_int(m.q, 2, limit);
    index->error[0] = '\0';
    for (; more && sql_row(index, q); found++) {
        struct journal_row row;
        more = !take_single(q, &row) || each(context, &row);
    }
    while (more && found < limit && next_row_of_many(&m)) {
        for (size_t i = m.count; more && found < limit && i > 0; i--, found++) {
            take_message(&m, i - 1);
            more = each(context, &m.row);
        }
    }
    sql_done(q);
    sql_done(m.q);
    buf_free(&m.text);
    return index->error[0] == '\0' ? 0 : -1;
}

int journal_trim(struct index *index, uint64_t before_wall_ms, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_TRIM);
    sqlite3_stmt *many = sql_prepare(index, SQL_JOURNAL_MANY_TRIM);
    if (q == NULL || many == NULL) {
        return -1;
    }
    struct ident bound = ident_make(before_wall_ms, 0);
    sql_blob(q, 1, bound.bytes, IDENT_SIZE);
    sql_int(q, 2, max);
    sql_blob(many, 1, bound.bytes, IDENT_SIZE);
    if (sql_run(index, q) != 0) {
        return -1;
    }
    int rows = sqlite3_changes(index->db);
    return sql_run(index, many) == 0 ? rows : -1;
}
