/*
 * The queue: handing due recipients to relays, and what becomes of them. A relay has a lease on what it was given until it has
 * told the result, which counts once it is committed; then the relay may forget it. Part of the store role.
 *
 * A relay hears of a job only once the leases are committed, and a lease ends only in a transaction that has been committed: so
 * whatever the disk does, a recipient is never with two relays, and none is left with nobody.
 */
#include "roles/store_queue_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "queue/schedule.h"

#include <sodium.h>

enum {
    TOGETHER_MS = 250, /* what is due within this time is due at one time */
    DUE_AT_A_TIME = 256,
    JOBS_MAX = 100000,
    ROOM_MAX = 100000,
    WAIT_MAX_MS = 60000,
    NO_ROOM_MS = 1000,
    RETRY_MS = 500,      /* after a transaction that failed */
    HELD_WAIT_MS = 10000 /* for the relays' word on what they hold */
};

/* Recipients of one message and one next-hop domain, on lease to one relay. */
struct job {
    struct job *next;
    uint64_t id;
    struct ident record;
    uint32_t relay; /* instance */
    uint32_t count;
    uint32_t left; /* results that have not been committed */
    bool gone;     /* its relay is: what has no result waits again */
    bool kept;     /* what is left of the message is to go to the same relay */
    int64_t entries[JOB_RECIPIENTS_MAX];
    bool done[JOB_RECIPIENTS_MAX];
};

/* A job made in the transaction under way; its relay is told after the commit. */
struct fresh_job {
    struct job *job;
    struct relay_room *room;
    struct queued_record record;
    bool held;                        /* it went to that relay because of what it holds */
    bool kept;                        /* what is left of the message is to go there as well */
    uint16_t due[JOB_RECIPIENTS_MAX]; /* its recipients, as numbers in store_queue.due */
};

struct relay_room {
    uint32_t instance;
    uint32_t jobs;
};

struct store_queue {
    struct job *jobs;
    size_t job_count;
    uint64_t next_job;
    struct relay_room rooms[QUEUE_RELAYS_MAX];
    struct loop_timer timer;
    bool released; /* leases of an earlier run have been taken back */
    struct held_jobs held;
    bool noticed; /* notices were written in this turn: they are due themselves */
    struct entry due[DUE_AT_A_TIME];
    struct fresh_job fresh[DUE_AT_A_TIME];
    size_t fresh_count;
    struct report_list reports;
};

struct store_queue *store_queue_new(struct store *s)
{
    (void)s;
    struct store_queue *q = mem_new(struct store_queue);
    if (q != NULL) {
        report_list_init(&q->reports);
        random_bytes(&q->next_job, sizeof(q->next_job));
    }
    return q;
}

/*
 * A job's row: 1 if it is there, 0 if it is gone, -1 on error. The index gives the number of a row that is gone to a new one,
 * which may be another message's.
 */
static int job_entry(struct store *s, const struct job *job, uint32_t number, struct entry *entry)
{
    int found = entry_get(s->index, job->entries[number], entry);
    return found == 1 && memcmp(entry->record.bytes, job->record.bytes, IDENT_SIZE) != 0 ? 0 : found;
}

/* Results. */

static struct job *find_job(struct store_queue *q, uint64_t id, uint32_t relay)
{
    struct job *job = q->jobs;
    while (job != NULL && (job->id != id || job->relay != relay)) {
        job = job->next;
    }
    return job;
}

static void remove_job(struct store_queue *q, struct job *job)
{
    struct job **link = &q->jobs;
    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    q->job_count--;
    if (job->kept) {
        held_done(&q->held, &job->record, job->id);
    }
    mem_free(job);
}

static void describe(const struct entry *e, const struct queue_result *r, struct buf *text)
{
    buf_append_lit(text, "to=<");
    buf_append_str(text, ENTRY_TEXT(e, address));
    buf_append_char(text, '>');
    if (r->host.len > 0) {
        buf_append_lit(text, " host=");
        buf_append_escaped(text, r->host, 256);
    }
    if (r->address.len > 0) {
        buf_append_lit(text, " [");
        buf_append_escaped(text, r->address, 64);
        buf_append_char(text, ']');
    }
    if (r->tls.len > 0) {
        buf_append_lit(text, " tls=");
        buf_append_escaped(text, r->tls, 128);
    }
    buf_append_lit(text, " reply=");
    if (r->code > 0) {
        buf_append_u64(text, r->code);
        buf_append_char(text, ' ');
    }
    if (r->enhanced.len > 0) {
        buf_append_escaped(text, r->enhanced, 16);
        buf_append_char(text, ' ');
    }
    buf_append_escaped(text, r->text, 512);
}

static int note(struct store *s, const struct entry *e, enum journal_event event,
                const struct queue_result *r, uint64_t next_ms)
{
    char area[2048];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    describe(e, r, &text);
    if (next_ms > 0) {
        buf_append_lit(&text, " next=");
        buf_append_u64(&text, next_ms / 1000);
    }
    return journal_add(s->index, &e->record, clock_wall_ms(), event, buf_str(&text));
}

static int delivered(struct store *s, const struct entry *e, const struct queue_result *r)
{
    if (note(s, e, JOURNAL_DELIVERED, r, 0) != 0) {
        return -1;
    }
    /* With a success notice the row goes when the notice is written, in one step (store_report.c). */
    if (!r->dsn_passed) {
        return report_add(&s->queue->reports, e, r, DSN_RELAYED, false, 0) ? 0 : -1;
    }
    return entry_remove(s->index, e);
}

static int failed(struct store *s, const struct entry *e, const struct queue_result *r, bool expired)
{
    if (note(s, e, JOURNAL_FAILED, r, 0) != 0) {
        return -1;
    }
    return report_add(&s->queue->reports, e, r, DSN_FAILED, expired, 0) ? 0 : -1;
}

/* The same for all recipients of a message at one attempt, so that they are tried again together, in one transaction. */
static uint64_t chance_of(const struct entry *e)
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = {0};
    unsigned char content[IDENT_SIZE + 1];
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t chance;
    memcpy(content, e->record.bytes, IDENT_SIZE);
    content[IDENT_SIZE] = (unsigned char)e->attempts;
    crypto_shorthash(hash, content, sizeof(content), key);
    memcpy(&chance, hash, sizeof(chance));
    return chance;
}

static uint64_t rounded_up(uint64_t due_ms)
{
    return due_ms + TOGETHER_MS - 1 - (due_ms + TOGETHER_MS - 1) % TOGETHER_MS;
}

static int deferred(struct store *s, const struct entry *e, const struct queue_result *r)
{
    bool null_sender = false;
    if (!report_null_sender(s, &e->record, &null_sender)) {
        return -1;
    }
    struct schedule_entry schedule = {.first_ms = e->first_ms,
                                      .now_ms = clock_wall_ms(),
                                      .attempts = e->attempts + 1,
                                      .null_sender = null_sender,
                                      .notified = e->notified};
    struct schedule_next next = schedule_after(&s->config->relay, &schedule, chance_of(e));
    if (next.expired) {
        return failed(s, e, r, true);
    }
    next.due_ms = rounded_up(next.due_ms);
    if (note(s, e, r->outcome == OUTCOME_UNCERTAIN ? JOURNAL_UNCERTAIN : JOURNAL_DEFERRED, r, next.due_ms) !=
            0 ||
        entry_defer(s->index, e->id, next.due_ms, r->code, r->enhanced, r->text, r->host) != 0) {
        return -1;
    }
    return !next.delay_notice || report_add(&s->queue->reports, e, r, DSN_DELAYED, false, next.give_up_ms)
               ? 0
               : -1;
}

static int take_result(struct store *s, const struct job *job, const struct queue_result *r)
{
    struct entry entry;
    int found = job_entry(s, job, r->recipient, &entry);
    if (found <= 0) {
        return found; /* a notice has settled it, or a command has dropped it */
    }
    switch ((enum queue_outcome)r->outcome) {
    case OUTCOME_DELIVERED: return delivered(s, &entry, r);
    case OUTCOME_FAILED: return failed(s, &entry, r, false);
    case OUTCOME_DEFERRED:
    case OUTCOME_UNCERTAIN: return deferred(s, &entry, r);
    case OUTCOME_RELEASED: break;
    }
    return entry_unlease(s->index, entry.id);
}

static bool decode(const struct store_request *request, struct queue_result *result)
{
    return ipc_decode(&queue_result_type, buf_str(&request->packet), result);
}

int store_queue_do(struct store *s, struct store_request *request)
{
    struct queue_result result;
    if (!decode(request, &result)) {
        return 0;
    }
    struct job *job = find_job(s->queue, result.job, request->peer_instance);
    bool known = job != NULL && result.recipient < job->count && !job->done[result.recipient];
    return known ? take_result(s, job, &result) : 0;
}

void store_queue_answer(struct store *s, const struct store_request *request, bool committed)
{
    struct queue_result result;
    struct job *job =
        decode(request, &result) ? find_job(s->queue, result.job, request->peer_instance) : NULL;
    if (!committed || job == NULL || result.recipient >= job->count || job->done[result.recipient]) {
        return;
    }
    job->done[result.recipient] = true;
    if (--job->left == 0) {
        struct queue_acknowledged done = {.job = job->id};
        role_send(role_peer_find(s->role, ROLE_RELAY, job->relay), &queue_acknowledged_type, &done);
        remove_job(s->queue, job);
    }
}

int store_queue_reports(struct store *s)
{
    return reports_write(s, &s->queue->reports);
}

/* Handing out. */

static struct relay_room *room_of(struct store_queue *q, uint32_t instance)
{
    for (size_t i = 0; i < QUEUE_RELAYS_MAX; i++) {
        if (q->rooms[i].instance == instance) {
            return &q->rooms[i];
        }
    }
    for (size_t i = 0; i < QUEUE_RELAYS_MAX; i++) {
        if (q->rooms[i].instance == 0) {
            q->rooms[i] = (struct relay_room){.instance = instance};
            return &q->rooms[i];
        }
    }
    return NULL;
}

/* Mail for one domain goes to the same relay as long as it has room, because that one has the open connections. */
static struct relay_room *choose_relay(struct store_queue *q, struct str domain)
{
    uint32_t hash = 5381;
    for (size_t i = 0; i < domain.len; i++) {
        hash = hash * 33 + (unsigned char)domain.data[i];
    }
    for (size_t i = 0; i < QUEUE_RELAYS_MAX; i++) {
        struct relay_room *room = &q->rooms[(hash + i) % QUEUE_RELAYS_MAX];
        if (room->instance != 0 && room->jobs > 0) {
            return room;
        }
    }
    return NULL;
}

/* Where a job for this goes; NULL: there is no room. What a relay holds waits for room there. */
static struct relay_room *relay_for(struct store_queue *q, const struct entry *e)
{
    uint32_t holder = held_by(&q->held, &e->record, ENTRY_TEXT(e, domain));
    if (holder == 0) {
        return choose_relay(q, ENTRY_TEXT(e, domain));
    }
    struct relay_room *room = room_of(q, holder);
    return room != NULL && room->jobs > 0 ? room : NULL;
}

static void send_job(struct store *s, const struct fresh_job *fresh)
{
    const struct job *job = fresh->job;
    const struct queued_record *record = &fresh->record;
    const struct entry *first = &s->queue->due[fresh->due[0]];
    struct role_peer *peer = role_peer_find(s->role, ROLE_RELAY, job->relay);
    unsigned char grant[BODY_GRANT_SIZE];
    char id[IDENT_TEXT];
    struct body_grant body = {.segment = (uint64_t)record->segment,
                              .offset = (uint64_t)record->offset,
                              .instance = job->relay,
                              .total = record->header.total};
    memcpy(body.id, record->header.id.bytes, sizeof(body.id));
    body_grant_make(&body, s->grant_key, grant);
    ident_format(&record->header.id, id);
    struct queue_job message = {.job = job->id,
                                .message_id = str_make(id, sizeof(id)),
                                .sender = record->envelope.sender,
                                .domain = ENTRY_TEXT(first, domain),
                                .body = record->envelope.body_kind,
                                .smtputf8 = (record->header.flags & RECORD_SMTPUTF8) != 0,
                                .ret = record->envelope.ret,
                                .envid = record->envelope.envelope_id,
                                .size = (uint64_t)record->header.trace_len + record->header.body_len,
                                .body_grant = str_make(grant, sizeof(grant)),
                                .attempt = first->attempts + 1,
                                .recipients = job->count};
    role_send(peer, &queue_job_type, &message);
    for (uint32_t i = 0; i < job->count; i++) {
        const struct entry *e = &s->queue->due[fresh->due[i]];
        struct record_recipient recipient;
        struct queue_recipient part = {.job = job->id,
                                       .recipient = i,
                                       .address = ENTRY_TEXT(e, address),
                                       .notify = 0,
                                       .orcpt = STR_EMPTY};
        if (queued_record_recipient(record, e->recipient, &recipient)) {
            part.notify = queued_notify(s, &recipient, e);
            part.orcpt = recipient.original;
        }
        role_send(peer, &queue_recipient_type, &part);
    }
}

/* After the commit. */
static void send_fresh(struct store *s)
{
    struct store_queue *q = s->queue;
    for (size_t i = 0; i < q->fresh_count; i++) {
        struct fresh_job *fresh = &q->fresh[i];
        fresh->job->next = q->jobs;
        q->jobs = fresh->job;
        q->job_count++;
        struct str domain = ENTRY_TEXT(&q->due[fresh->due[0]], domain);
        if (fresh->held) {
            held_given(&q->held, &fresh->job->record, domain);
        }
        send_job(s, fresh);
        queued_record_free(&fresh->record);
    }
    q->fresh_count = 0;
}

static void drop_fresh(struct store_queue *q)
{
    for (size_t i = 0; i < q->fresh_count; i++) {
        struct fresh_job *fresh = &q->fresh[i];
        fresh->room->jobs++;
        if (fresh->job->kept) {
            held_done(&q->held, &fresh->job->record, fresh->job->id);
        }
        queued_record_free(&fresh->record);
        mem_free(fresh->job);
    }
    q->fresh_count = 0;
}

/* The log cannot be read there: as with a host that does not answer, it may be better later, and its time ends some day. */
static int put_off(struct store *s, const struct entry *e)
{
    struct queue_result why = {.outcome = OUTCOME_DEFERRED,
                               .enhanced = STR("4.3.0"),
                               .text =
                                   STR("The message cannot be read from the log; `veredus verify` says more"),
                               .host = STR_EMPTY,
                               .address = STR_EMPTY,
                               .tls = STR_EMPTY};
    log_error("a queued message cannot be read from the log; `veredus verify` says more");
    return deferred(s, e, &why);
}

static bool is_alike(const struct entry *a, const struct entry *b)
{
    return memcmp(a->record.bytes, b->record.bytes, IDENT_SIZE) == 0 &&
           str_equal(ENTRY_TEXT(a, domain), ENTRY_TEXT(b, domain));
}

/* Whether there may be more of the message for that domain than this job and these rows have. */
static bool may_go_on(const struct store_queue *q, const struct entry *model, const struct job *job,
                      int count)
{
    return job->count == JOB_RECIPIENTS_MAX ||
           (count == DUE_AT_A_TIME && is_alike(model, &q->due[DUE_AT_A_TIME - 1]));
}

/* Within a transaction: leases one job made of due[first] and what goes with it. -1: roll back. */
static int make_job(struct store *s, int first, int count, bool *taken, struct relay_room *room)
{
    struct store_queue *q = s->queue;
    struct fresh_job *fresh = &q->fresh[q->fresh_count];
    const struct entry *model = &q->due[first];
    if (!queued_record_read(s, &model->record, &fresh->record)) {
        taken[first] = true;
        return put_off(s, model);
    }
    struct job *job = mem_new(struct job);
    if (job == NULL) {
        queued_record_free(&fresh->record);
        return 0;
    }
    job->id = ++q->next_job;
    job->record = model->record;
    job->relay = room->instance;
    fresh->job = job;
    fresh->room = room;
    fresh->held = held_by(&q->held, &model->record, ENTRY_TEXT(model, domain)) != 0;
    room->jobs--;
    q->fresh_count++;
    for (int i = first; i < count && job->count < JOB_RECIPIENTS_MAX; i++) {
        const struct entry *e = &q->due[i];
        if (taken[i] || !is_alike(e, model)) {
            continue;
        }
        taken[i] = true;
        if (entry_lease(s->index, e->id) != 0) {
            return -1;
        }
        fresh->due[job->count] = (uint16_t)i;
        job->entries[job->count++] = e->id;
    }
    job->left = job->count;
    if (may_go_on(q, model, job, count)) {
        job->kept = held_keep(&q->held, &model->record, ENTRY_TEXT(model, domain), room->instance, job->id);
    }
    return 0;
}

/* What the words of store/entry.h mean to the sender. Nothing remote is named, for no other server was asked. */
static bool find_end(const struct entry *e, enum dsn_action *action, struct queue_result *why)
{
    const struct {
        struct str word;
        enum dsn_action action;
        struct str enhanced;
        struct str text;
    } ends[] = {
        {ENTRY_NO_USER, DSN_FAILED, STR("5.1.1"), STR("There is no such user here any more")},
        {ENTRY_DISABLED, DSN_FAILED, STR("5.2.1"), STR("The account has been disabled")},
        {ENTRY_FULL, DSN_FAILED, STR("5.2.2"), STR("The mailbox is full, far beyond its quota")},
        {ENTRY_LOOP, DSN_FAILED, STR("5.4.6"),
         STR("The message has been forwarded from this address before: aliases make a loop")},
        {ENTRY_TOO_MANY, DSN_FAILED, STR("5.5.3"),
         STR("The aliases of this address lead to too many addresses: not all of them got the message")},
        {ENTRY_NO_DOMAIN, DSN_FAILED, STR("5.1.3"), STR("The address has no domain")},
        {ENTRY_DELIVERED, DSN_DELIVERED, STR_EMPTY, STR_EMPTY},
        {ENTRY_EXPANDED, DSN_EXPANDED, STR_EMPTY, STR_EMPTY},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (str_equal(ENTRY_TEXT(e, domain), ends[i].word)) {
            *action = ends[i].action;
            *why =
                (struct queue_result){.outcome = *action == DSN_FAILED ? OUTCOME_FAILED : OUTCOME_DELIVERED,
                                      .enhanced = ends[i].enhanced,
                                      .text = ends[i].text,
                                      .host = STR_EMPTY,
                                      .address = STR_EMPTY,
                                      .tls = STR_EMPTY};
            return true;
        }
    }
    return false;
}

/* 1: it was a row that waits only for a notice; 0: it was not; -1: roll back. */
static int end_at_once(struct store *s, const struct entry *e)
{
    enum dsn_action action;
    struct queue_result why;
    if (e->domain_len > 0 && e->domain[0] != '(') {
        return 0;
    }
    if (!find_end(e, &action, &why)) {
        return 0;
    }
    if (action == DSN_FAILED) {
        return failed(s, e, &why, false) == 0 ? 1 : -1;
    }
    return report_add(&s->queue->reports, e, &why, action, false, 0) ? 1 : -1;
}

static int hand_out_due(struct store *s, int count)
{
    struct store_queue *q = s->queue;
    bool taken[DUE_AT_A_TIME] = {false};
    for (int i = 0; i < count; i++) {
        const struct entry *e = &q->due[i];
        if (taken[i]) {
            continue;
        }
        int ended = end_at_once(s, e);
        if (ended != 0) {
            if (ended < 0) {
                return -1;
            }
            taken[i] = true;
            continue;
        }
        struct relay_room *room = relay_for(q, e);
        if (room == NULL || q->job_count + q->fresh_count >= JOBS_MAX) {
            continue;
        }
        if (make_job(s, i, count, taken, room) != 0) {
            return -1;
        }
    }
    q->noticed = q->reports.first != NULL;
    return reports_write(s, &q->reports);
}

/* Leases of relays that are gone. */

static bool results_wait(const struct store *s)
{
    for (const struct store_request *r = s->requests; r != NULL; r = r->next) {
        if (r->kind == REQUEST_RESULT) {
            return true;
        }
    }
    return false;
}

/* What a relay has told before its end counts first: a result forgotten is a second copy sent. */
static bool may_release(const struct store *s)
{
    const struct job *job = s->queue->jobs;
    while (job != NULL && !job->gone) {
        job = job->next;
    }
    return job != NULL && !results_wait(s);
}

/* Within a transaction. 0, or -1. */
static int release_gone(struct store *s)
{
    struct entry entry;
    for (const struct job *job = s->queue->jobs; job != NULL; job = job->next) {
        for (uint32_t i = 0; job->gone && i < job->count; i++) {
            int found = job->done[i] ? 0 : job_entry(s, job, i, &entry);
            if (found < 0 || (found == 1 && entry_unlease(s->index, entry.id) != 0)) {
                return -1;
            }
        }
    }
    return 0;
}

/* After the commit. */
static void forget_gone(struct store_queue *q)
{
    struct job *next;
    for (struct job *job = q->jobs; job != NULL; job = next) {
        next = job->next;
        if (job->gone) {
            remove_job(q, job);
        }
    }
}

/* Turns. */

static void due_again(void *context)
{
    store_queue_run(context);
}

static void run_in(struct store *s, uint64_t ms)
{
    loop_timer_start(s->role->loop, &s->queue->timer, ms, false, due_again, s);
}

static void wait_for_next(struct store *s, bool more)
{
    uint64_t now = clock_wall_ms();
    uint64_t due = entry_next_due(s->index);
    if (due == 0) {
        loop_timer_stop(&s->queue->timer);
        return;
    }
    /* The wall clock may jump: it is looked at again after a minute at the latest (goal G7). */
    uint64_t wait = due > now ? due - now : more ? 1 : NO_ROOM_MS;
    run_in(s, wait > WAIT_MAX_MS ? WAIT_MAX_MS : wait);
}

static bool any_room(const struct store_queue *q)
{
    for (size_t i = 0; i < QUEUE_RELAYS_MAX; i++) {
        if (q->rooms[i].instance != 0 && q->rooms[i].jobs > 0) {
            return true;
        }
    }
    return false;
}

/* Within a transaction. The number of rows that were due, or -1. */
static int run_turn(struct store *s, bool release)
{
    struct store_queue *q = s->queue;
    if ((!q->released && entry_release_all(s->index) != 0) || (release && release_gone(s) != 0)) {
        return -1;
    }
    int count = entry_due(s->index, clock_wall_ms(), q->due, DUE_AT_A_TIME);
    return count < 0 || hand_out_due(s, count) != 0 ? -1 : count;
}

static void give_up_waiting(void *context)
{
    struct store *s = context;
    held_give_up(&s->queue->held);
    store_queue_run(s);
}

void store_queue_await_relays(struct store *s)
{
    for (const struct role_peer *p = s->role->peers; p != NULL; p = p->next) {
        if (p->kind == ROLE_RELAY && p->instance < s->role->instance) {
            held_await(&s->queue->held, p->instance);
        }
    }
    if (s->queue->held.awaited_count > 0) {
        loop_timer_start(s->role->loop, &s->queue->timer, HELD_WAIT_MS, false, give_up_waiting, s);
    }
}

void store_queue_run(struct store *s)
{
    struct store_queue *q = s->queue;
    if (s->index->in_transaction || s->role->draining || q->held.awaited_count > 0) {
        return;
    }
    bool release = may_release(s);
    uint64_t due = q->released && !release ? entry_next_due(s->index) : 0;
    /* Leases of an earlier run are no reason to wait: nothing else may be in the queue. */
    if (q->released && !release && (due == 0 || due > clock_wall_ms())) {
        wait_for_next(s, false);
        return;
    }
    if (!store_begin(s)) {
        run_in(s, RETRY_MS);
        return;
    }
    int count = run_turn(s, release);
    if (count < 0) {
        store_rollback(s);
    }
    if (count < 0 || !store_commit(s)) {
        run_in(s, RETRY_MS);
        return;
    }
    q->released = true;
    if (release) {
        forget_gone(q);
    }
    send_fresh(s);
    wait_for_next(s, (count == DUE_AT_A_TIME || q->noticed) && any_room(q));
}

void store_queue_rolled_back(struct store *s)
{
    if (s->queue != NULL) {
        drop_fresh(s->queue);
        reports_forget(&s->queue->reports);
    }
}

bool store_queue_is_leased(const struct store *s, const struct entry *entry)
{
    for (const struct job *job = s->queue->jobs; job != NULL; job = job->next) {
        bool same = memcmp(job->record.bytes, entry->record.bytes, IDENT_SIZE) == 0;
        for (uint32_t i = 0; same && i < job->count; i++) {
            if (job->entries[i] == entry->id && !job->done[i]) {
                return true;
            }
        }
    }
    return false;
}

void store_queue_changed(struct store *s)
{
    store_queue_run(s);
}

/* What relays say. */

/* Without memory nothing better is left than to let the rest of the job be tried again: it must not stay leased for ever. */
static void lose_result(struct store *s, const struct role_peer *peer, const struct queue_result *result)
{
    struct job *job = find_job(s->queue, result->job, peer->instance);
    log_error("out of memory: the result of a delivery is lost, and its recipients are tried again");
    if (job != NULL) {
        job->gone = true;
        run_in(s, RETRY_MS);
    }
}

void store_queue_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                         const void *message)
{
    if (type == &queue_held_type) {
        const struct queue_held *held = message;
        held_add(&s->queue->held, held->message_id, held->domain, peer->instance);
        return;
    }
    if (type == &queue_room_type) {
        held_told(&s->queue->held, peer->instance);
        struct relay_room *room = room_of(s->queue, peer->instance);
        if (room != NULL) {
            uint32_t jobs = ((const struct queue_room *)message)->jobs;
            room->jobs = jobs > ROOM_MAX - room->jobs ? ROOM_MAX : room->jobs + jobs;
            store_queue_run(s);
        }
        return;
    }
    struct store_request *request = store_request_add(s, peer, 0);
    if (request != NULL) {
        request->kind = REQUEST_RESULT;
    }
    if (request == NULL || !ipc_encode(&queue_result_type, message, &request->packet)) {
        lose_result(s, peer, message);
    }
}

void store_queue_peer_down(struct store *s, uint32_t instance)
{
    struct store_queue *q = s->queue;
    for (size_t i = 0; i < QUEUE_RELAYS_MAX; i++) {
        if (q->rooms[i].instance == instance) {
            q->rooms[i] = (struct relay_room){.instance = 0};
        }
    }
    for (struct job *job = q->jobs; job != NULL; job = job->next) {
        job->gone = job->gone || job->relay == instance;
    }
    held_relay_gone(&q->held, instance);
    store_queue_run(s);
}
