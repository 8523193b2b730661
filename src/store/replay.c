/*
 * Replaying the events of the log into an empty index; see reindex.h. Two passes over the store's own segments: the first finds
 * the records of events and chooses those that count, the second makes rows of them; then what follows from the rows is
 * worked out. The log is believed as far as its checksums go, and no length or number in it further than that.
 */
#include "ipc/peer.h"
#include "store/account.h"
#include "store/acl.h"
#include "store/entry.h"
#include "store/mailbox.h"
#include "store/reindex.h"
#include "store/replay_private.h"
#include "store/scan.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

enum { PLACES_MAX = 1 << 30, LINE_MAX = 512, COMMIT_EVERY = 2000 };

/* Where a record of events lies. */
struct events_place {
    uint64_t number;
    uint64_t order; /* in which they were found: of two with one number the later counts */
    uint64_t floor; /* what it says of events_floor (snapshot.h); 0: nothing */
    int64_t segment;
    int64_t offset;
    uint32_t octets;
};

struct replay {
    struct index *index; /* the new one */
    struct segments *segments;
    uint64_t last;
    uint64_t floor; /* of the records that count the highest one */
    /* There is a snapshot, or a record was moved: events that are lost may be about any record of the log. */
    bool noted_again;
    uint64_t highest; /* that was replayed */
    bool lost;        /* events are missing */
    bool unreadable;  /* and there may have been more of them than their numbers tell */
    bool has_log_id;
    struct ident log_id;
    struct buf places; /* of struct events_place */
    struct buf payload;
    int64_t last_own; /* the last own segment with events that count */
    int64_t next_segment;
    void (*report)(void *context, struct str text);
    void *context;
    struct reindex_counts *counts;
};

static void report(struct replay *r, const char *what, int64_t segment, int64_t at)
{
    char area[LINE_MAX];
    struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (r->report == NULL) {
        return;
    }
    buf_printf(&line, "segment %lld at %lld: ", (long long)segment, (long long)at);
    buf_append_str(&line, str_of(what));
    r->report(r->context, buf_str(&line));
}

static int execute(struct index *index, const char *sql)
{
    if (sqlite3_exec(index->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        sqlite3_snprintf(sizeof(index->error), index->error, "%s", sqlite3_errmsg(index->db));
        return -1;
    }
    return 0;
}

static int no_memory(struct replay *r)
{
    sqlite3_snprintf(sizeof(r->index->error), r->index->error, "out of memory");
    return -1;
}

static size_t place_count(const struct replay *r)
{
    return r->places.len / sizeof(struct events_place);
}

static struct events_place *place_at(struct replay *r, size_t i)
{
    return &((struct events_place *)(void *)r->places.data)[i];
}

/* The first pass. */

static bool is_counter(const struct index_event *event, const char *name)
{
    return event->kind == EVENT_COUNTER && str_equal(event->texts[0], str_of(name));
}

/* Whether this is a record of events of this log, and not an imitation of one within a damaged report. */
static bool is_genuine(struct replay *r, const struct scan_item *item)
{
    if (!r->has_log_id && item->certain) {
        r->log_id = item->header.id;
        r->has_log_id = true;
    }
    return item->certain || (r->has_log_id && memcmp(&r->log_id, &item->header.id, IDENT_SIZE) == 0);
}

static int take_place(struct replay *r, int64_t segment, const struct scan_item *item)
{
    struct str rest =
        str_from(buf_str(&r->payload), item->header.envelope_len + (size_t)item->header.trace_len);
    struct events_place place = {
        .order = place_count(r), .segment = segment, .offset = item->offset, .octets = item->header.total};
    struct index_event event;
    if (!events_number(&rest, &place.number)) {
        r->counts->damaged++;
        report(r, "a record of events is too short", segment, item->offset);
        return 0;
    }
    if (place.number > r->counts->latest) {
        r->counts->latest = place.number;
    }
    while (events_next(&rest, &event)) {
        if (is_counter(&event, "events_floor")) {
            place.floor = event.numbers[0];
        }
    }
    return buf_append(&r->places, &place, sizeof(place)) ? 0 : no_memory(r);
}

/* A bad disk has lost what is there; anything else that keeps us from reading will pass, and nothing must be built without it. */
static int unreadable(struct replay *r, int64_t segment, int64_t at)
{
    if (errno != EIO) {
        sqlite3_snprintf(sizeof(r->index->error), r->index->error, "segment %lld cannot be read at %lld: %s",
                         (long long)segment, (long long)at, strerror(errno));
        return -1;
    }
    r->counts->damaged++;
    r->unreadable = true;
    report(r, "the rest cannot be read", segment, at);
    return 0;
}

static int scan_own(void *context, int64_t segment)
{
    struct replay *r = context;
    struct scan scan;
    struct scan_item item;
    r->counts->segments++;
    if (segment >> 4 >= r->next_segment) {
        r->next_segment = (segment >> 4) + 1;
    }
    r->noted_again = r->noted_again || segment_origin(segment) == SEGMENT_COPIES;
    if (segment_origin(segment) != ROLE_STORE) {
        return 0;
    }
    if (!scan_begin(&scan, r->segments, segment, INT64_MAX, &r->payload)) {
        return unreadable(r, segment, 0);
    }
    for (;;) {
        switch (scan_next(&scan, &item)) {
        case SCAN_RECORD:
            if (item.header.kind == RECORD_EVENTS && is_genuine(r, &item) &&
                take_place(r, segment, &item) != 0) {
                return -1;
            }
            break;
        case SCAN_DAMAGED:
            r->counts->damaged++;
            report(r, "a record is damaged", segment, item.offset);
            break;
        case SCAN_LOST:
            r->counts->damaged++;
            report(r, "records are damaged up to the next one that can be read", segment, item.offset);
            break;
        case SCAN_TORN: /* as a crash leaves it */
        case SCAN_END: return 0;
        case SCAN_ERROR: return unreadable(r, segment, item.offset);
        }
    }
}

static int by_number(const void *left, const void *right)
{
    const struct events_place *a = left;
    const struct events_place *b = right;
    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    return a->order < b->order ? -1 : 1;
}

/* The second pass. */

static int run(struct replay *r, enum statement which, const uint64_t *numbers, size_t count,
               const struct ident *record, const struct str *texts, size_t text_count)
{
    sqlite3_stmt *q = sql_prepare(r->index, which);
    int at = 1;
    if (q == NULL) {
        return -1;
    }
    if (record != NULL) {
        sql_blob(q, at++, record->bytes, IDENT_SIZE);
    }
    for (size_t i = 0; i < text_count; i++) {
        sql_text(q, at++, texts[i]);
    }
    for (size_t i = 0; i < count; i++) {
        sql_int(q, at++, (int64_t)numbers[i]);
    }
    return sql_run(r->index, q);
}

static int replay_account(struct replay *r, const struct index_event *e)
{
    if (e->texts[0].len > ACCOUNT_ADDRESS_MAX || e->texts[1].len > ACCOUNT_VERIFIER_MAX) {
        return 0;
    }
    if (run(r, SQL_REPLAY_ACCOUNT_OTHER, e->numbers, 1, NULL, e->texts, 1) != 0) {
        return -1;
    }
    sqlite3_stmt *q = sql_prepare(r->index, SQL_REPLAY_ACCOUNT);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, (int64_t)e->numbers[0]);
    sql_text(q, 2, e->texts[0]);
    sql_text(q, 3, e->texts[1]);
    sql_int(q, 4, (int64_t)e->numbers[1]);
    sql_int(q, 5, (int64_t)e->numbers[2]);
    sql_int(q, 6, (int64_t)e->numbers[3]);
    return sql_run(r->index, q);
}

/* Its own row may not have been noted again yet, while those of its mailboxes have. */
static int replay_account_gone(struct replay *r, const struct index_event *e)
{
    struct account account;
    int found = account_by_id(r->index, (int64_t)e->numbers[0], &account);
    if (found != 0) {
        return found == 1 ? account_remove(r->index, &account) : -1;
    }
    return acl_forget_account(r->index, (int64_t)e->numbers[0]) == 0 &&
                   run(r, SQL_MAILBOX_REMOVE_ALL, e->numbers, 1, NULL, NULL, 0) == 0 &&
                   run(r, SQL_ANNOTATION_FORGET_ALL, e->numbers, 1, NULL, NULL, 0) == 0
               ? run(r, SQL_SUBSCRIPTION_REMOVE_ALL, e->numbers, 1, NULL, NULL, 0)
               : -1;
}

static int replay_filed(struct replay *r, const struct index_event *e)
{
    sqlite3_stmt *q = sql_prepare(r->index, SQL_REPLAY_MESSAGE);
    if (q == NULL) {
        return -1;
    }
    for (int i = 0; i < 3; i++) {
        sql_int(q, i + 1, (int64_t)e->numbers[i]);
    }
    sql_blob(q, 4, e->record.bytes, IDENT_SIZE);
    for (int i = 3; i < 9; i++) {
        sql_int(q, i + 2, (int64_t)e->numbers[i]);
    }
    return sql_run(r->index, q);
}

static int replay_entry(struct replay *r, const struct index_event *e)
{
    sqlite3_stmt *q = sql_prepare(r->index, SQL_REPLAY_ENTRY);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, e->record.bytes, IDENT_SIZE);
    sql_int(q, 2, (int64_t)e->numbers[0]);
    sql_text(q, 3, e->texts[0]);
    sql_text(q, 4, e->texts[1]);
    for (int i = 1; i < 7; i++) {
        sql_int(q, i + 4, (int64_t)e->numbers[i]);
    }
    for (int i = 2; i < 5; i++) {
        sql_text(q, i + 9, e->texts[i]);
    }
    return sql_run(r->index, q);
}

static int replay_segment(struct replay *r, const struct index_event *e)
{
    int64_t id = (int64_t)e->numbers[0];
    struct segment_info info;
    /* Made in a transaction that is lost: nothing of it is known to have been applied. */
    r->index->error[0] = '\0';
    if (r->lost && segment_get(r->index, id, &info) != 0 &&
        (r->index->error[0] != '\0' ||
         run(r, SQL_REPLAY_AGAIN, (const uint64_t[]){e->numbers[0], 0}, 2, NULL, NULL, 0) != 0)) {
        return -1;
    }
    return run(r, SQL_REPLAY_SEGMENT,
               (const uint64_t[]){e->numbers[0], (uint64_t)segment_origin(id), e->numbers[1], e->numbers[2],
                                  e->numbers[3], e->numbers[4] != 0},
               6, NULL, NULL, 0);
}

static int replay_counter(struct replay *r, const struct index_event *e)
{
    static const char *const names[] = {"next_account", "next_mailbox",   "uid_validity",   "next_segment",
                                        "events_floor", "events_segment", "events_snapshot"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_counter(e, names[i])) {
            return index_meta_set(r->index, names[i], (int64_t)e->numbers[0]);
        }
    }
    return 0;
}

static int replay_event(struct replay *r, const struct index_event *e)
{
    switch (e->kind) {
    case EVENT_ACCOUNT: return replay_account(r, e);
    case EVENT_ACCOUNT_GONE: return replay_account_gone(r, e);
    case EVENT_ALIAS: return run(r, SQL_ALIAS_ADD, NULL, 0, NULL, e->texts, 2);
    case EVENT_ALIAS_GONE: return run(r, SQL_ALIAS_REMOVE, NULL, 0, NULL, e->texts, 2);
    case EVENT_MAILBOX:
    case EVENT_MAILBOX_NAME:
    case EVENT_MAILBOX_GONE:
    case EVENT_KEYWORDS:
    case EVENT_SUBSCRIPTION:
    case EVENT_ANNOTATION:
    case EVENT_ACL:
    case EVENT_FLAGS:
    case EVENT_EXPUNGED: return replay_mailbox_event(r->index, e);
    case EVENT_FILED: return replay_filed(r, e);
    case EVENT_ENTRY: return replay_entry(r, e);
    case EVENT_ENTRY_GONE: return run(r, SQL_REPLAY_ENTRY_GONE, NULL, 0, &e->record, e->texts, 1);
    case EVENT_RECORD: return run(r, SQL_REPLAY_RECORD, e->numbers, 3, &e->record, NULL, 0);
    case EVENT_SEGMENT: return replay_segment(r, e);
    case EVENT_SEGMENT_GONE: return run(r, SQL_SEGMENT_REMOVE, e->numbers, 1, NULL, NULL, 0);
    case EVENT_COUNTER: return replay_counter(r, e);
    }
    return 0;
}

/* An own segment may have no event of its own: then its file, and what has been read from it, say all. */
static int set_own_applied(struct replay *r, int64_t segment, int64_t applied)
{
    struct segment_info info = {.id = segment};
    r->index->error[0] = '\0';
    if (segment_get(r->index, segment, &info) != 0 && r->index->error[0] != '\0') {
        return -1;
    }
    if (info.applied < applied) {
        info.applied = applied;
    }
    return run(r, SQL_REPLAY_SEGMENT,
               (const uint64_t[]){(uint64_t)segment, ROLE_STORE, info.instance, info.boot,
                                  (uint64_t)info.applied, info.sealed},
               6, NULL, NULL, 0);
}

static int note_hole(struct replay *r, uint64_t from, uint64_t to)
{
    char area[LINE_MAX];
    struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_printf(&line, "the events of transactions %llu to %llu are lost", (unsigned long long)from,
               (unsigned long long)to);
    if (r->report != NULL) {
        r->report(r->context, buf_str(&line));
    }
    r->counts->damaged++;
    r->counts->lost += to - from + 1;
    r->lost = true;
    return run(r, SQL_REPLAY_AGAIN_ALL, NULL, 0, NULL, NULL, 0);
}

static int replay_place(struct replay *r, const struct events_place *place)
{
    struct record_header header;
    struct index_event event;
    uint64_t number;
    if (place->number > r->highest + 1 && note_hole(r, r->highest + 1, place->number - 1) != 0) {
        return -1;
    }
    if (segment_read_record(r->segments, place->segment, place->offset, &header, &r->payload) !=
        SEGMENT_RECORD) {
        sqlite3_snprintf(sizeof(r->index->error), r->index->error, "segment %lld cannot be read at %lld",
                         (long long)place->segment, (long long)place->offset);
        return -1;
    }
    struct str rest = str_from(buf_str(&r->payload), header.envelope_len + (size_t)header.trace_len);
    events_number(&rest, &number);
    r->index->error[0] = '\0';
    while (events_next(&rest, &event)) {
        if (replay_event(r, &event) != 0) {
            return -1;
        }
    }
    if (rest.len > 0) {
        r->counts->damaged++;
        report(r, "a record of events has some that cannot be read", place->segment, place->offset);
    }
    r->counts->transactions++;
    r->highest = place->number;
    r->last_own = place->segment;
    return set_own_applied(r, place->segment, place->offset + place->octets);
}

/* Now and then, so that no journal of the new index grows as large as itself. */
static int breathe(struct replay *r)
{
    if (index_commit(r->index) != 0) {
        return -1;
    }
    index_checkpoint(r->index);
    return index_begin(r->index);
}

/* Of two records with one number, the first belongs to a transaction that failed. */
static bool counts(struct replay *r, size_t i)
{
    const struct events_place *place = place_at(r, i);
    bool superseded = i + 1 < place_count(r) && place_at(r, i + 1)->number == place->number;
    return place->number <= r->last && !superseded;
}

static void find_floor(struct replay *r)
{
    for (size_t i = 0; i < place_count(r); i++) {
        if (counts(r, i) && place_at(r, i)->floor > r->floor) {
            r->floor = place_at(r, i)->floor;
            r->noted_again = true;
        }
    }
}

static int replay_all(struct replay *r)
{
    size_t count = place_count(r);
    if (count > 0) {
        qsort(r->places.data, count, sizeof(struct events_place), by_number);
    }
    find_floor(r);
    r->highest = r->floor;
    for (size_t i = 0; i < count; i++) {
        const struct events_place *place = place_at(r, i);
        if (place->number <= r->floor || !counts(r, i)) {
            continue;
        }
        if (replay_place(r, place) != 0 || (i % COMMIT_EVERY == COMMIT_EVERY - 1 && breathe(r) != 0)) {
            return -1;
        }
    }
    if (r->last != UINT64_MAX && r->highest < r->last) {
        return note_hole(r, r->highest + 1, r->last);
    }
    return r->unreadable && !r->lost ? note_hole(r, r->highest + 1, r->highest + 1) : 0;
}

/* What follows from the rows. */

/* A file that no event speaks of. */
static int add_row(void *context, int64_t segment)
{
    struct replay *r = context;
    struct segment_info info;
    r->index->error[0] = '\0';
    if (segment_get(r->index, segment, &info) == 0) {
        return 0;
    }
    if (r->index->error[0] != '\0') {
        return -1;
    }
    if (segment_origin(segment) == ROLE_STORE) {
        return set_own_applied(r, segment, 0);
    }
    return run(r, SQL_REPLAY_SEGMENT,
               (const uint64_t[]){(uint64_t)segment, (uint64_t)segment_origin(segment), 0, 0, 0, 0}, 6, NULL,
               NULL, 0);
}

static int add_if_missing(struct replay *r, int64_t segment, const struct scan_item *item)
{
    sqlite3_stmt *q = sql_prepare(r->index, SQL_REPLAY_MISSING);
    if (q == NULL || !record_is_message(&item->header)) {
        return q == NULL ? -1 : 0;
    }
    sql_blob(q, 1, item->header.id.bytes, IDENT_SIZE);
    r->index->error[0] = '\0';
    if (!sql_row(r->index, q)) {
        return r->index->error[0] == '\0' ? 0 : -1;
    }
    sql_done(q);
    return run(r, SQL_REPLAY_RECORD,
               (const uint64_t[]){(uint64_t)segment, (uint64_t)item->offset, item->header.total}, 3,
               &item->header.id, NULL, 0);
}

/* Where events are lost, a row may need a record of which nobody says any more where it lies. */
static int find_missing(void *context, int64_t segment)
{
    struct replay *r = context;
    struct scan scan;
    struct scan_item item;
    if (!scan_begin(&scan, r->segments, segment, INT64_MAX, &r->payload)) {
        return errno == EIO ? 0 : unreadable(r, segment, 0);
    }
    for (;;) {
        switch (scan_next(&scan, &item)) {
        case SCAN_RECORD:
            if (add_if_missing(r, segment, &item) != 0) {
                return -1;
            }
            break;
        case SCAN_DAMAGED:
        case SCAN_LOST: break;
        case SCAN_TORN:
        case SCAN_END: return 0;
        case SCAN_ERROR: return errno == EIO ? 0 : unreadable(r, segment, item.offset);
        }
    }
}

/*
 * A segment that was removed in a transaction whose events are lost: nothing can be applied from it, and it would stop the
 * store's start. Its row goes at that start, as that of any dead segment; one that should be alive is left to verify.
 */
static int leave_missing(struct replay *r)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int count = segment_list(r->index, infos, SEGMENT_ROWS_MAX);
    for (int i = 0; i < count; i++) {
        if (!infos[i].sealed && segment_fd(r->segments, infos[i].id) < 0 && errno == ENOENT &&
            segment_seal(r->index, infos[i].id) != 0) {
            return -1;
        }
    }
    return count < 0 ? -1 : 0;
}

static int set_counters(struct replay *r)
{
    int64_t next = 1;
    if (index_meta_get(r->index, "next_segment", 1, &next) != 0 ||
        (r->last == UINT64_MAX && next < r->next_segment &&
         index_meta_set(r->index, "next_segment", r->next_segment) != 0) ||
        index_meta_set(r->index, "events", (int64_t)r->highest) != 0) {
        return -1;
    }
    if (r->lost && index_meta_set(r->index, "copies_again", 1) != 0) {
        return -1;
    }
    return r->has_log_id ? events_set_log_id(r->index, &r->log_id) : 0;
}

/* A record that nothing needs by what is left of the events may be one that is needed by what is lost. */
static int apply_all_again(struct replay *r)
{
    return run(r, SQL_REPLAY_FORGET_DEAD, NULL, 0, NULL, NULL, 0) == 0
               ? run(r, SQL_REPLAY_AGAIN_WHOLE, NULL, 0, NULL, NULL, 0)
               : -1;
}

static int finish(struct replay *r)
{
    /* Up to a certain transaction, a file that is not spoken of is one that came later, or that a crash left. */
    if ((r->last == UINT64_MAX && scan_files(r->segments, add_row, r) != 0) ||
        (r->lost && scan_files(r->segments, find_missing, r) != 0) ||
        execute(r->index, schema_replay_finish) != 0 || replay_count_mailboxes(r->index) != 0 ||
        (r->lost && r->noted_again && apply_all_again(r) != 0) ||
        (r->lost && run(r, SQL_REPLAY_APPLY_AGAIN, (const uint64_t[]){ROLE_STORE}, 1, NULL, NULL, 0) != 0) ||
        (r->last == UINT64_MAX && leave_missing(r) != 0)) {
        return -1;
    }
    return set_counters(r);
}

int reindex_replay(struct index *scratch, struct segments *segments, uint64_t last,
                   void (*report_line)(void *context, struct str text), void *context,
                   struct reindex_counts *counts)
{
    struct replay r = {.index = scratch,
                       .segments = segments,
                       .last = last,
                       .places = buf_make(PLACES_MAX),
                       .payload = buf_make(RECORD_TOTAL_MAX),
                       .report = report_line,
                       .context = context,
                       .counts = counts};
    *counts = (struct reindex_counts){.segments = 0};
    int result = execute(scratch, schema_replay_begin);
    if (result == 0) {
        result = index_begin(scratch);
    }
    if (result == 0 && (scan_files(segments, scan_own, &r) != 0 || replay_all(&r) != 0 || finish(&r) != 0)) {
        result = -1;
    }
    if (result == 0) {
        result = index_commit(scratch);
    }
    if (result != 0) {
        index_rollback(scratch);
    }
    buf_free(&r.places);
    buf_free(&r.payload);
    return result;
}
