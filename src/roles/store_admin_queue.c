/*
 * The queue and the journal by command; part of the store's control socket. Called by store_admin.c. A command over many rows
 * goes through them a page a step, each in a transaction of its own, so that mail goes on meanwhile.
 */
#include "roles/store_admin_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "message/path.h"

enum {
    SEARCH_ROWS = 1000,
    SEARCH_STANDARD = 200,
    SEARCH_MS = 500,
    SEARCH_OPERATIONS = 10000,
    ENVELOPE_HEAD = 65536
};

static const char *const state_names[] = {"waiting", "held", "delivering"};

/* Which rows are meant. */

/* "all", a row's number, our message id, an address or a domain. False after an answer. */
static bool take_selection(struct admin_connection *c, const json_t *arguments)
{
    struct admin_job *job = &c->job;
    struct str what = admin_argument(arguments, "what");
    uint64_t number;
    if (json_is_true(json_object_get(arguments, "all"))) {
        job->all = true;
        return true;
    }
    if (what.len == 0) {
        admin_error(c, EX_USAGE,
                    "name a row's number, a message's id, an address or a domain, or ask for all of them",
                    "it is not said which rows are meant");
        return false;
    }
    if (what.len < IDENT_TEXT && str_to_u64(what, INT64_MAX, &number)) {
        job->only_entry = (int64_t)number;
        return true;
    }
    if (ident_parse(what, &job->record)) {
        job->has_record = true;
        return true;
    }
    bool address = str_find(what, 0, '@') != SIZE_MAX;
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    bool fine = address && address_lookup_form(what, &form) ? buf_append_str(&job->match, buf_str(&form))
                                                            : buf_append_str(&job->match, what);
    buf_free(&form);
    if (!fine) {
        admin_error(c, EX_DATAERR, "name a row's number, a message's id, an address or a domain",
                    "what is meant is too long");
    }
    return fine;
}

static bool is_meant(const struct admin_job *job, const struct entry *e)
{
    if (job->all) {
        return true;
    }
    if (job->has_record) {
        return memcmp(e->record.bytes, job->record.bytes, IDENT_SIZE) == 0;
    }
    struct str match = buf_str(&job->match);
    return match.len > 0 && (str_equal_nocase(ENTRY_TEXT(e, address), match) ||
                             str_equal_nocase(ENTRY_TEXT(e, domain), match));
}

/* Rows. */

static json_t *entry_object(const struct entry *e)
{
    char id[IDENT_TEXT];
    ident_format(&e->record, id);
    return json_pack("{s:I,s:s%,s:o,s:o,s:s,s:I,s:I,s:I,s:b,s:I,s:o,s:o,s:o}", "entry", (json_int_t)e->id,
                     "id", id, (size_t)IDENT_TEXT, "recipient", admin_text(ENTRY_TEXT(e, address)), "domain",
                     admin_text(ENTRY_TEXT(e, domain)), "state",
                     state_names[e->state <= ENTRY_GIVEN ? e->state : 0], "queued_ms",
                     (json_int_t)e->first_ms, "due_ms", (json_int_t)e->due_ms, "attempts",
                     (json_int_t)e->attempts, "delay_noticed", e->notified, "code", (json_int_t)e->code,
                     "enhanced", admin_text(ENTRY_TEXT(e, enhanced)), "reply",
                     admin_text(ENTRY_TEXT(e, reply)), "host", admin_text(ENTRY_TEXT(e, host)));
}

/* Adds what the record's envelope says: sender, size, client. What cannot be read is left out. */
static void add_envelope(struct store *s, const struct ident *id, json_t *object)
{
    unsigned char bytes[RECORD_HEADER];
    struct record_header header;
    sqlite3_stmt *q = sql_prepare(s->index, SQL_RECORD_GET);
    if (q == NULL) {
        return;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    if (!sql_row(s->index, q)) {
        return;
    }
    int64_t segment = sqlite3_column_int64(q, 0);
    int64_t offset = sqlite3_column_int64(q, 1);
    sql_done(q);
    if (!segment_read_at(&s->segments, segment, offset, bytes, RECORD_HEADER) ||
        record_decode_header(bytes, &header) != RECORD_GOOD) {
        return;
    }
    struct buf text = buf_make(RECORD_ENVELOPE_MAX);
    struct record_envelope envelope;
    char *room = buf_reserve(&text, header.envelope_len);
    if (room != NULL &&
        segment_read_at(&s->segments, segment, offset + record_payload_at(&header), room,
                        header.envelope_len) &&
        record_decode_envelope(str_make(room, header.envelope_len), &envelope)) {
        json_object_set_new(object, "sender", admin_text(envelope.sender));
        json_object_set_new(object, "login", admin_text(envelope.login));
        json_object_set_new(object, "client", admin_text(envelope.client));
        json_object_set_new(object, "octets", json_integer((json_int_t)header.trace_len + header.body_len));
        json_object_set_new(object, "received_ms", json_integer((json_int_t)header.wall_ms));
    }
    buf_free(&text);
}

static json_t *journal_object(const struct journal_row *row)
{
    char id[IDENT_TEXT];
    ident_format(&row->id, id);
    return json_pack("{s:s%,s:I,s:s,s:o}", "id", id, (size_t)IDENT_TEXT, "time_ms", (json_int_t)row->wall_ms,
                     "event", journal_event_name(row->event), "text", admin_text(row->text));
}

static bool changes(const struct admin_job *job)
{
    return job->action != QUEUE_LIST && job->action != QUEUE_SHOW;
}

/* One row's change. -1 on error; 0 if it was left alone. */

static int note(struct store *s, const struct entry *e, enum journal_event event, const char *words)
{
    struct buf text = buf_make(1024);
    buf_append_lit(&text, "<");
    buf_append_escaped(&text, ENTRY_TEXT(e, address), 512);
    buf_printf(&text, "> %s", words);
    int result = journal_add(s->index, &e->record, clock_wall_ms(), event, buf_str(&text));
    buf_free(&text);
    return result;
}

static int change_entry(struct admin_connection *c, const struct entry *e)
{
    struct store *s = c->admin->store;
    uint64_t now = clock_wall_ms();
    /* A row that was held while a relay had it is still under way: released, it must not go to a second one. */
    bool under_way = e->state == ENTRY_GIVEN || (e->state == ENTRY_HELD && store_queue_is_leased(s, e));
    if (under_way && changes(&c->job) && c->job.action != QUEUE_HOLD && c->job.action != QUEUE_RELEASE) {
        c->job.under_way++;
        return 0;
    }
    switch (c->job.action) {
    case QUEUE_RETRY:
        return e->state == ENTRY_HELD                                      ? 0
               : entry_set_state(s->index, e->id, ENTRY_WAITING, now) == 0 ? 1
                                                                           : -1;
    case QUEUE_HOLD:
        if (e->state == ENTRY_HELD) {
            return 0;
        }
        return entry_set_state(s->index, e->id, ENTRY_HELD, e->due_ms) == 0 &&
                       note(s, e, JOURNAL_HELD, "is held by command") == 0
                   ? 1
                   : -1;
    case QUEUE_RELEASE:
        if (e->state != ENTRY_HELD) {
            return 0;
        }
        return entry_set_state(s->index, e->id, under_way ? ENTRY_GIVEN : ENTRY_WAITING, now) == 0 &&
                       note(s, e, JOURNAL_QUEUED, "is released by command") == 0
                   ? 1
                   : -1;
    case QUEUE_DROP:
        return note(s, e, JOURNAL_DROPPED, "is dropped by command; the sender is not told") == 0 &&
                       entry_remove(s->index, e) == 0
                   ? 1
                   : -1;
    default: break;
    }
    json_t *object = entry_object(e);
    if (c->job.action == QUEUE_SHOW) {
        add_envelope(s, &e->record, object);
    }
    admin_row(c, object);
    return 1;
}

static void finish_queue(struct admin_connection *c)
{
    struct admin_job *job = &c->job;
    if (changes(job) && job->changed > 0) {
        store_queue_changed(c->admin->store);
    }
    if (job->matched == 0 && !job->all && job->action != QUEUE_LIST) {
        admin_error(c, EX_NOINPUT,
                    "`veredus queue list` shows what waits; `veredus trace` tells what became of the rest",
                    "nothing in the queue matches");
        return;
    }
    admin_done(c, json_pack("{s:I,s:I,s:I}", "matched", (json_int_t)job->matched, "changed",
                            (json_int_t)job->changed, "under_way", (json_int_t)job->under_way));
}

/* The next rows; their number, or -1. */
static int next_page(struct admin_connection *c, struct entry *entries)
{
    struct index *index = c->admin->store->index;
    struct admin_job *job = &c->job;
    if (job->only_entry == 0) {
        return entry_list(index, job->entry, entries, ADMIN_PAGE);
    }
    return job->entry == 0 ? entry_get(index, job->only_entry, entries) : 0;
}

static bool do_page(struct admin_connection *c, const struct entry *entries, int count)
{
    struct admin_job *job = &c->job;
    for (int i = 0; i < count; i++) {
        job->entry = entries[i].id;
        if (job->only_entry == 0 && !is_meant(job, &entries[i])) {
            continue;
        }
        int result = change_entry(c, &entries[i]);
        if (result < 0) {
            return false;
        }
        job->matched++;
        job->changed += (uint64_t)result;
    }
    return true;
}

static bool queue_step(struct admin_connection *c)
{
    struct store *s = c->admin->store;
    struct entry *entries = mem_zalloc(ADMIN_PAGE, sizeof(*entries));
    if (entries == NULL) {
        admin_error(c, EX_TEMPFAIL, "try again later", "the server has no memory");
        return false;
    }
    bool write = changes(&c->job);
    bool fine = !write || store_begin(s);
    int count = fine ? next_page(c, entries) : -1;
    fine = count >= 0 && do_page(c, entries, count);
    mem_free(entries);
    if (write && fine) {
        fine = store_commit(s);
    } else if (write && s->index->in_transaction) {
        store_rollback(s);
    }
    if (!fine) {
        admin_index_error(c);
        return false;
    }
    if (count == ADMIN_PAGE) {
        return true;
    }
    finish_queue(c);
    return false;
}

static void start_queue(struct admin_connection *c, const json_t *arguments, int action)
{
    store_tick(c->admin->store);
    if (action == QUEUE_LIST && admin_argument(arguments, "what").len == 0) {
        c->job.all = true;
    } else if (!take_selection(c, arguments)) {
        return;
    }
    c->job.action = action;
    admin_start_job(c, queue_step);
}

void admin_queue_list(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_LIST);
}

void admin_queue_show(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_SHOW);
}

void admin_queue_retry(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_RETRY);
}

void admin_queue_hold(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_HOLD);
}

void admin_queue_release(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_RELEASE);
}

void admin_queue_drop(struct admin_connection *c, const json_t *arguments)
{
    start_queue(c, arguments, QUEUE_DROP);
}

/* The journal. */

struct trace {
    struct admin_connection *c;
    uint64_t rows;
    uint64_t deadline_ms;
    bool late;
};

static bool add_journal_row(void *context, const struct journal_row *row)
{
    struct trace *trace = context;
    trace->rows++;
    admin_row(trace->c, journal_object(row));
    return trace->c->out.len < ADMIN_ANSWER_MAX / 2;
}

/* A search goes through the whole journal if need be: it is cut short before anybody waits for the store. */
static int search_goes_on(void *context)
{
    struct trace *trace = context;
    trace->late = clock_monotonic_ms() > trace->deadline_ms;
    return trace->late;
}

static int search(struct admin_connection *c, struct str what, unsigned limit, struct trace *trace)
{
    struct index *index = c->admin->store->index;
    /* The journal has the domain of an address as A-labels. */
    struct buf normal = buf_make(ACCOUNT_ADDRESS_MAX);
    if (address_normalize(what, &normal) == PATH_OK) {
        what = buf_str(&normal);
    }
    trace->deadline_ms = clock_monotonic_ms() + SEARCH_MS;
    sqlite3_progress_handler(index->db, SEARCH_OPERATIONS, search_goes_on, trace);
    int result = journal_search(index, what, limit, add_journal_row, trace);
    sqlite3_progress_handler(index->db, 0, NULL, NULL);
    buf_free(&normal);
    return trace->late ? 0 : result;
}

void admin_trace(struct admin_connection *c, const json_t *arguments)
{
    struct str what = admin_argument(arguments, "what");
    json_int_t limit = json_integer_value(json_object_get(arguments, "limit"));
    struct trace trace = {.c = c};
    struct ident id;
    store_tick(c->admin->store);
    if (limit <= 0 || limit > SEARCH_ROWS) {
        limit = SEARCH_STANDARD;
    }
    if (what.len < 3) {
        admin_error(c, EX_USAGE, "name a message's id or an address", "it is not said what to trace");
        return;
    }
    int result = ident_parse(what, &id) ? journal_of(c->admin->store->index, &id, add_journal_row, &trace)
                                        : search(c, what, (unsigned)limit, &trace);
    if (result != 0) {
        admin_index_error(c);
    } else if (trace.rows == 0 && !trace.late) {
        admin_error(
            c, EX_NOINPUT,
            "a message's id stands in the 250 reply, in its Received field and in the log; the journal keeps "
            "store.journal_days days",
            "the journal knows nothing of \"%.*s\"", (int)(what.len > 200 ? 200 : what.len), what.data);
    } else {
        admin_done(c, json_pack("{s:I,s:b}", "rows", (json_int_t)trace.rows, "cut_short", trace.late));
    }
}
