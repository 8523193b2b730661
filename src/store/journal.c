/* The journal; see journal.h. */
#include "store/journal.h"

#include "store/flags.h"
#include "store/mailbox.h"

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

int journal_add_each(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                     uint64_t wall_ms, enum journal_event event, struct str before, struct str after)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_ADD_EACH);
    if (q == NULL) {
        return -1;
    }
    sql_bind_range(q, mailbox, range);
    sql_int(q, 5, (int64_t)take_sequence(wall_ms, (uint64_t)range->last - range->first + 1));
    sql_int(q, 6, (int64_t)wall_ms);
    sql_int(q, 7, event);
    sql_text(q, 8, before);
    sql_text(q, 9, after);
    return sql_run(index, q);
}

static int each_row(struct index *index, sqlite3_stmt *q,
                    bool (*each)(void *context, const struct journal_row *row), void *context)
{
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct journal_row row = {.wall_ms = (uint64_t)sqlite3_column_int64(q, 2),
                                  .event = (enum journal_event)sqlite3_column_int64(q, 3),
                                  .text = sql_get_text(q, 4)};
        if (sql_get_ident(q, 0, &row.id) && !each(context, &row)) {
            sql_done(q);
            break;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int journal_of(struct index *index, const struct ident *id,
               bool (*each)(void *context, const struct journal_row *row), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_OF);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    return each_row(index, q, each, context);
}

int journal_search(struct index *index, struct str text, unsigned limit,
                   bool (*each)(void *context, const struct journal_row *row), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_SEARCH);
    if (q == NULL) {
        return -1;
    }
    sql_text(q, 1, text);
    sql_int(q, 2, limit);
    return each_row(index, q, each, context);
}

int journal_trim(struct index *index, uint64_t before_wall_ms, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_JOURNAL_TRIM);
    if (q == NULL) {
        return -1;
    }
    struct ident bound = ident_make(before_wall_ms, 0);
    sql_blob(q, 1, bound.bytes, IDENT_SIZE);
    sql_int(q, 2, max);
    return sql_run(index, q) == 0 ? sqlite3_changes(index->db) : -1;
}
