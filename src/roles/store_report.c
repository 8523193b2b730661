/*
 * Bounces, delay notices and success notices: collected while results are taken, written as records of the store's own
 * segment. A notice's record names the queue rows that it settles: those that go, and with a delay notice those whose sender
 * knows now. So notice and rows change in one step, also after a crash and after a commit that failed behind the write. When
 * the record cannot be written everything is rolled back, and the results wait in memory. Part of the store role.
 */
#include "roles/store_queue_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "store/resolve.h"

#include <sodium.h>

enum { RETRY_LATER_MS = 300000 };

/* Records. */

bool queued_record_read(struct store *s, const struct ident *id, struct queued_record *r)
{
    unsigned char header[RECORD_HEADER];
    sqlite3_stmt *q = sql_prepare(s->index, SQL_RECORD_GET);
    if (q == NULL) {
        return false;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    if (!sql_row(s->index, q)) {
        return false;
    }
    r->segment = sqlite3_column_int64(q, 0);
    r->offset = sqlite3_column_int64(q, 1);
    sql_done(q);
    r->bytes = buf_make(RECORD_ENVELOPE_MAX);
    if (!segment_read_at(&s->segments, r->segment, r->offset, header, sizeof(header)) ||
        record_decode_header(header, &r->header) != RECORD_GOOD ||
        memcmp(r->header.id.bytes, id->bytes, IDENT_SIZE) != 0) {
        return false;
    }
    char *room = buf_reserve(&r->bytes, r->header.envelope_len);
    if (room == NULL || !segment_read_at(&s->segments, r->segment, r->offset + record_payload_at(&r->header),
                                         room, r->header.envelope_len)) {
        buf_free(&r->bytes);
        return false;
    }
    r->bytes.len = r->header.envelope_len;
    if (!record_decode_envelope(buf_str(&r->bytes), &r->envelope)) {
        buf_free(&r->bytes);
        return false;
    }
    return true;
}

void queued_record_free(struct queued_record *r)
{
    buf_free(&r->bytes);
}

bool queued_record_recipient(const struct queued_record *r, uint32_t number,
                             struct record_recipient *recipient)
{
    struct str rest = r->envelope.recipients;
    for (uint32_t i = 0; i <= number; i++) {
        if (!record_next_recipient(&rest, recipient)) {
            return false;
        }
    }
    return true;
}

uint8_t queued_notify(struct store *s, const struct record_recipient *recipient, const struct entry *entry)
{
    struct str address = ENTRY_TEXT(entry, address);
    if ((recipient->notify & DSN_NOTIFY_SUCCESS) == 0 || str_equal(recipient->address, address)) {
        return recipient->notify;
    }
    struct resolution *r = mem_new(struct resolution);
    if (r == NULL) {
        return recipient->notify;
    }
    resolve_recipient(s->index, s->config, recipient->address, r);
    uint8_t notify = recipient->notify;
    if (r->count > 1) {
        /* NEVER, where nothing else was asked for: with no word at all there would be notices of failure. */
        notify = (uint8_t)(notify & ~DSN_NOTIFY_SUCCESS);
        notify = notify == 0 ? DSN_NOTIFY_NEVER : notify;
    }
    resolve_free(r);
    mem_free(r);
    return notify;
}

bool report_null_sender(struct store *s, const struct ident *id, bool *null_sender)
{
    struct queued_record record;
    if (!queued_record_read(s, id, &record)) {
        *null_sender = true; /* nobody could be told anyway */
        return true;
    }
    *null_sender = record.envelope.sender.len == 0;
    queued_record_free(&record);
    return true;
}

/* The list. */

void report_list_init(struct report_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static size_t copy(char *area, size_t size, struct str text)
{
    size_t len = text.len < size ? text.len : size;
    memcpy(area, text.data, len);
    return len;
}

bool report_add(struct report_list *list, const struct entry *entry, const struct queue_result *r,
                enum dsn_action action, bool expired, uint64_t retry_until_ms)
{
    struct report *report = mem_new(struct report);
    if (report == NULL) {
        return false;
    }
    report->entry = *entry;
    report->action = action;
    report->expired = expired;
    report->uncertain = r->outcome == OUTCOME_UNCERTAIN;
    report->code = r->code;
    report->now_ms = clock_wall_ms();
    report->retry_until_ms = retry_until_ms;
    report->enhanced_len = copy(report->enhanced, sizeof(report->enhanced), r->enhanced);
    report->text_len = copy(report->text, sizeof(report->text), r->text);
    report->host_len = copy(report->host, sizeof(report->host), r->host);
    report->address_len = copy(report->address, sizeof(report->address), r->address);
    *list->last = report;
    list->last = &report->next;
    return true;
}

void reports_forget(struct report_list *list)
{
    while (list->first != NULL) {
        struct report *report = list->first;
        list->first = report->next;
        mem_free(report);
    }
    list->last = &list->first;
}

/* One notice. */

struct notice {
    struct store *store;
    struct queued_record record;
    struct dsn_recipient recipients[DSN_RECIPIENTS_MAX];
    struct report *reports[DSN_RECIPIENTS_MAX];
    size_t count;
    struct buf original;
    struct buf text;
    struct buf envelope;
    struct buf retires;
};

static bool same_notice(const struct report *a, const struct report *b)
{
    return a->action == b->action && memcmp(a->entry.record.bytes, b->entry.record.bytes, IDENT_SIZE) == 0;
}

static size_t retire_octets(const struct report *report)
{
    return IDENT_SIZE + 2 + report->entry.address_len;
}

/* Takes from the list all that belongs to the first of it, as much as a notice holds. */
static void collect(struct report_list *list, struct notice *n)
{
    struct report *first = list->first;
    struct report **link = &list->first;
    size_t octets = 0;
    n->count = 0;
    while (*link != NULL) {
        struct report *report = *link;
        if (n->count < DSN_RECIPIENTS_MAX && same_notice(first, report) &&
            octets + retire_octets(report) <= RECORD_RETIRES_MAX) {
            octets += retire_octets(report);
            *link = report->next;
            n->reports[n->count++] = report;
        } else {
            link = &report->next;
        }
    }
    list->last = link;
}

static int note(struct notice *n, const struct report *report, enum journal_event event, struct str words)
{
    char area[1024];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "to=<");
    buf_append_str(&text, ENTRY_TEXT(&report->entry, address));
    buf_append_lit(&text, "> ");
    buf_append_str(&text, words);
    return journal_add(n->store->index, &report->entry.record, report->now_ms, event, buf_str(&text));
}

/* Nobody is to be told: the rows change all the same. */
static int settle_silently(struct notice *n, const struct report *report)
{
    struct entry current;
    if (report->action == DSN_DELAYED) {
        return entry_set_notified(n->store->index, report->entry.id);
    }
    int found = entry_get(n->store->index, report->entry.id, &current);
    if (found <= 0) {
        return found;
    }
    if (report->action == DSN_FAILED &&
        note(n, report, JOURNAL_DROPPED,
             STR("no notice: the reverse-path is null, or the sender wanted none")) != 0) {
        return -1;
    }
    return entry_remove(n->store->index, &current);
}

/* Keeps those whose sender wants to know; settles the others. */
static int choose_wanted(struct notice *n, bool readable)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++) {
        struct report *report = n->reports[i];
        struct record_recipient recipient = {.address = STR_EMPTY, .original = STR_EMPTY};
        if (!readable || !queued_record_recipient(&n->record, report->entry.recipient, &recipient) ||
            !dsn_wanted(report->action, queued_notify(n->store, &recipient, &report->entry),
                        n->record.envelope.sender)) {
            int result = settle_silently(n, report);
            mem_free(report);
            if (result != 0) {
                for (i++; i < n->count; i++) {
                    mem_free(n->reports[i]);
                }
                n->count = kept;
                return -1;
            }
            continue;
        }
        n->recipients[kept] =
            (struct dsn_recipient){.address = ENTRY_TEXT(&report->entry, address),
                                   .orcpt = recipient.original,
                                   .action = report->action,
                                   .code = report->code,
                                   .enhanced = str_make(report->enhanced, report->enhanced_len),
                                   .text = str_make(report->text, report->text_len),
                                   .host = str_make(report->host, report->host_len),
                                   .host_address = str_make(report->address, report->address_len),
                                   .expired = report->expired,
                                   .uncertain = report->uncertain,
                                   .last_attempt_ms = report->now_ms,
                                   .retry_until_ms = report->retry_until_ms};
        n->reports[kept++] = report;
    }
    n->count = kept;
    return 0;
}

/* The same notice has the same id when it is made again after a failed transaction. */
static struct ident notice_id(const struct report *report)
{
    uint64_t hash = 0;
    unsigned char key[crypto_shorthash_KEYBYTES] = {0};
    struct {
        unsigned char record[IDENT_SIZE];
        uint32_t action;
        uint64_t entry;
        uint64_t attempts;
    } content = {
        .action = report->action, .entry = (uint64_t)report->entry.id, .attempts = report->entry.attempts};
    memcpy(content.record, report->entry.record.bytes, IDENT_SIZE);
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)&content, sizeof(content), key);
    return ident_make(report->entry.due_ms, hash);
}

/* What cannot be read is not told: a notice without the message is better than none. False without memory. */
static bool read_original(struct notice *n)
{
    const struct queued_record *r = &n->record;
    uint64_t size = (uint64_t)r->header.trace_len + r->header.body_len;
    size_t len = size < DSN_ORIGINAL_WANTED ? (size_t)size : DSN_ORIGINAL_WANTED;
    char *room = buf_reserve(&n->original, len);
    if (room == NULL) {
        return false;
    }
    if (segment_read_at(&n->store->segments, r->segment,
                        r->offset + record_payload_at(&r->header) + r->header.envelope_len, room, len)) {
        n->original.len = len;
    }
    return true;
}

static bool append_retires(struct notice *n)
{
    uint16_t kept = n->reports[0]->action == DSN_DELAYED ? RECORD_RETIRE_NOTIFIED : 0;
    for (size_t i = 0; i < n->count; i++) {
        const struct entry *e = &n->reports[i]->entry;
        buf_append(&n->retires, e->record.bytes, IDENT_SIZE);
        buf_append_le16(&n->retires, (uint16_t)(e->address_len | kept));
        buf_append_str(&n->retires, ENTRY_TEXT(e, address));
    }
    return buf_ok(&n->retires);
}

static bool compose(struct notice *n, const struct ident *id, struct dsn_needs *needs)
{
    struct store *s = n->store;
    const struct queued_record *r = &n->record;
    char message_id[IDENT_TEXT];
    char own_id[IDENT_TEXT];
    ident_format(&r->header.id, message_id);
    ident_format(id, own_id);
    struct dsn_notice notice = {.hostname = s->config->hostname,
                                .postmaster = s->config->postmaster,
                                .sender = r->envelope.sender,
                                .envid = r->envelope.envelope_id,
                                .message_id = str_make(message_id, sizeof(message_id)),
                                .notice_id = str_make(own_id, sizeof(own_id)),
                                .arrival_ms = r->header.wall_ms,
                                .now_ms = clock_wall_ms(),
                                .ret = (enum dsn_ret)r->envelope.ret,
                                .smtputf8 = (r->header.flags & RECORD_SMTPUTF8) != 0,
                                .original = buf_str(&n->original),
                                .original_size = (uint64_t)r->header.trace_len + r->header.body_len,
                                .recipients = n->recipients,
                                .recipient_count = n->count,
                                .random = random_u64()};
    return read_original(n) && (notice.original = buf_str(&n->original), true) &&
           dsn_build(&notice, &n->text, needs);
}

enum written { WRITTEN, NOT_COMPOSED, NOT_WRITTEN };

static enum written write_notice(struct notice *n)
{
    struct dsn_needs needs = {false, false};
    struct ident id = notice_id(n->reports[0]);
    if (!compose(n, &id, &needs) || !append_retires(n)) {
        return NOT_COMPOSED;
    }
    struct record_envelope envelope = {.sender = STR_EMPTY,
                                       .body_kind = needs.eight_bit ? 1 : 0,
                                       .envelope_id = STR_EMPTY,
                                       .grant = STR_EMPTY,
                                       .login = STR_EMPTY,
                                       .client = STR("127.0.0.1"),
                                       .helo = n->store->config->hostname,
                                       .tls = STR_EMPTY,
                                       .retires = buf_str(&n->retires),
                                       .recipient_count = 1};
    struct record_recipient recipient = {
        .address = n->record.envelope.sender, .original = STR_EMPTY, .notify = DSN_NOTIFY_NEVER};
    struct record_header header = {.kind = RECORD_MESSAGE,
                                   .flags =
                                       (uint16_t)(RECORD_REPORT | (needs.smtputf8 ? RECORD_SMTPUTF8 : 0)),
                                   .id = id,
                                   .wall_ms = clock_wall_ms()};
    if (!record_encode_envelope(&envelope, &n->envelope) ||
        !record_encode_recipient(&recipient, &n->envelope)) {
        return NOT_COMPOSED;
    }
    return store_segments_write_own(n->store, &header, buf_str(&n->envelope), STR_EMPTY, buf_str(&n->text))
               ? WRITTEN
               : NOT_WRITTEN;
}

/* No memory: a row that has failed waits, a delay is told after the next attempt, and of a success nobody hears. */
static int do_without(struct notice *n)
{
    uint64_t due = clock_wall_ms() + RETRY_LATER_MS;
    for (size_t i = 0; i < n->count; i++) {
        const struct report *report = n->reports[i];
        if (report->action == DSN_FAILED &&
            entry_set_state(n->store->index, report->entry.id, ENTRY_WAITING, due) != 0) {
            return -1;
        }
        if (report->action != DSN_FAILED && report->action != DSN_DELAYED &&
            settle_silently(n, report) != 0) {
            return -1;
        }
    }
    log_error("a notice to a sender cannot be made: out of memory");
    return 0;
}

static int journal_notice(struct notice *n)
{
    char id_text[IDENT_TEXT];
    char area[600];
    struct buf words = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct ident id = notice_id(n->reports[0]);
    ident_format(&id, id_text);
    buf_append_lit(&words, "notice=");
    buf_append(&words, id_text, sizeof(id_text));
    buf_append_lit(&words, " sender=<");
    buf_append_str(&words, n->record.envelope.sender);
    buf_append_char(&words, '>');
    for (size_t i = 0; i < n->count; i++) {
        enum journal_event event = n->reports[i]->action == DSN_FAILED ? JOURNAL_BOUNCED : JOURNAL_NOTICED;
        if (note(n, n->reports[i], event, buf_str(&words)) != 0) {
            return -1;
        }
    }
    return 0;
}

static int write_or_wait(struct notice *n)
{
    switch (write_notice(n)) {
    case WRITTEN: return journal_notice(n);
    case NOT_COMPOSED: return do_without(n);
    case NOT_WRITTEN: break;
    }
    return -1;
}

int reports_write(struct store *s, struct report_list *list)
{
    if (list->first == NULL) {
        return 0;
    }
    struct notice *n = mem_new(struct notice);
    int result = n == NULL ? -1 : 0;
    while (result == 0 && list->first != NULL) {
        n->store = s;
        n->original = buf_make(DSN_ORIGINAL_WANTED);
        n->text = buf_make(DSN_SIZE_MAX);
        n->envelope = buf_make(RECORD_ENVELOPE_MAX);
        n->retires = buf_make(RECORD_RETIRES_MAX);
        collect(list, n);
        bool readable = queued_record_read(s, &n->reports[0]->entry.record, &n->record);
        result = choose_wanted(n, readable);
        if (result == 0 && n->count > 0) {
            result = write_or_wait(n);
        }
        for (size_t i = 0; i < n->count; i++) {
            mem_free(n->reports[i]);
        }
        if (readable) {
            queued_record_free(&n->record);
        }
        buf_free(&n->original);
        buf_free(&n->text);
        buf_free(&n->envelope);
        buf_free(&n->retires);
    }
    reports_forget(list);
    mem_free(n);
    /* A notice to a user of ours is in a mailbox now, whose counters must not wait for other mail. */
    return result == 0 ? apply_finish(s->applier) : -1;
}
