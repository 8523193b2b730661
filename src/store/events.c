/* Noting and reading events; see events.h. */
#include "store/events.h"

#include "base/log.h"
#include "base/random.h"
#include "store/account.h"
#include "store/acl.h"
#include "store/entry.h"
#include "store/mailbox.h"

enum { EVENTS_MAX = 1 << 30, NUMBERS_MAX = 10, TEXTS_MAX = 5, FLAGS_EVENT_RANGES = 4000 };

/*
 * How each kind is encoded: its letter, then numbers of so many octets each (little-endian), then the record's id if it has one,
 * then texts behind 16 bits of length.
 */
struct event_form {
    enum event_kind kind;
    uint8_t widths[NUMBERS_MAX + 1]; /* ends with 0 */
    bool record;
    uint8_t texts;
};

static const struct event_form forms[] = {
    {EVENT_ACCOUNT, {8, 1, 8, 8}, false, 2}, /* account, state, quota, created; address, verifier */
    {EVENT_ACCOUNT_GONE, {8}, false, 0},     /* account */
    {EVENT_ALIAS, {0}, false, 2},            /* address, target */
    {EVENT_ALIAS_GONE, {0}, false, 2},       /* address, target */
    /* account, mailbox, UIDVALIDITY, UIDNEXT, modseq, recent UID */
    {EVENT_MAILBOX, {8, 8, 4, 4, 8, 4}, false, 0},
    {EVENT_MAILBOX_NAME, {8, 8, 4}, false, 1}, /* account, mailbox, special use; name */
    {EVENT_MAILBOX_GONE, {8, 8}, false, 0},    /* account, mailbox */
    {EVENT_KEYWORDS, {8, 8}, false, 1},        /* account, mailbox; names */
    {EVENT_SUBSCRIPTION, {8, 1}, false, 1},    /* account, whether; name */
    {EVENT_ANNOTATION, {8, 8, 1}, false, 2},   /* account, mailbox, whether; entry, value */
    {EVENT_ACL, {8, 8, 8, 1, 4}, false, 0},    /* account, mailbox, grantee, negative, rights */
    /* account, mailbox, operation, flags, unchanged since, modseq; ranges */
    {EVENT_FLAGS, {8, 8, 1, 8, 8, 8}, false, 1},
    /* account, mailbox, UID, recipient, size, date, modseq, flags, saved */
    {EVENT_FILED, {8, 8, 4, 4, 8, 8, 8, 8, 8}, true, 0},
    {EVENT_EXPUNGED, {8, 8, 4}, false, 0}, /* account, mailbox, UID */
    {EVENT_ENTRY,
     {4, 1, 8, 4, 8, 1, 4},
     true,
     5},                                /* recipient, state, due, attempts, first, notified, code; address,
                                                        domain, enhanced, reply, host */
    {EVENT_ENTRY_GONE, {0}, true, 1},   /* address */
    {EVENT_RECORD, {8, 8, 4}, true, 0}, /* segment, place, octets */
    {EVENT_SEGMENT, {8, 4, 8, 8, 1}, false, 0}, /* segment, instance, boot, applied, sealed */
    {EVENT_SEGMENT_GONE, {8}, false, 0},        /* segment */
    {EVENT_COUNTER, {8}, false, 1},             /* value; name */
};

static const struct event_form *form_of(unsigned char kind)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if ((unsigned char)forms[i].kind == kind) {
            return &forms[i];
        }
    }
    return NULL;
}

static void put_number(struct buf *out, uint64_t value, unsigned width)
{
    char octets[8];
    write_le64(octets, value);
    buf_append(out, octets, width);
}

static void note(struct index *index, const struct index_event *event)
{
    if (!index->noting || index->events_taken) {
        return; /* what follows from writing the events themselves, replaying them finds out */
    }
    struct buf *out = &index->events;
    const struct event_form *form = form_of((unsigned char)event->kind);
    if (form == NULL) {
        return; /* the table has every kind */
    }
    if (out->len == 0) {
        put_number(out, 0, 8); /* room for the transaction's number */
    }
    buf_append_char(out, (char)form->kind);
    for (size_t i = 0; form->widths[i] != 0; i++) {
        put_number(out, event->numbers[i], form->widths[i]);
    }
    if (form->record) {
        buf_append(out, event->record.bytes, IDENT_SIZE);
    }
    for (size_t i = 0; i < form->texts; i++) {
        struct str text = str_sub(event->texts[i], 0, UINT16_MAX);
        put_number(out, text.len, 2);
        buf_append_str(out, text);
    }
}

bool events_pending(const struct index *index)
{
    return index->events.len > 0 || index->events.failed;
}

int events_log_id(struct index *index, struct ident *id)
{
    int64_t high = 0;
    int64_t low = 0;
    if (index_meta_get(index, "log_high", 0, &high) != 0 || index_meta_get(index, "log_low", 0, &low) != 0) {
        return -1;
    }
    if (high == 0) {
        high = (int64_t)(random_u64() >> 16 | 1);
        low = (int64_t)(random_u64() >> 16);
        if (index_meta_set(index, "log_high", high) != 0 || index_meta_set(index, "log_low", low) != 0) {
            return -1;
        }
    }
    *id = ident_make((uint64_t)high, (uint64_t)low);
    return 0;
}

int events_set_log_id(struct index *index, const struct ident *id)
{
    uint64_t high = 0;
    uint64_t low = 0;
    for (size_t i = 0; i < 6; i++) {
        high = high << 8 | id->bytes[i];
        low = low << 8 | id->bytes[i + 6];
    }
    return index_meta_set(index, "log_high", (int64_t)high) == 0 &&
                   index_meta_set(index, "log_low", (int64_t)low) == 0
               ? 0
               : -1;
}

int events_take(struct index *index, struct record_header *header, struct str *body)
{
    int64_t number = 0;
    if (!buf_ok(&index->events)) {
        sqlite3_snprintf(sizeof(index->error), index->error, "out of memory for the transaction's events");
        return -1;
    }
    if (events_log_id(index, &header->id) != 0 || index_meta_get(index, "events", 0, &number) != 0 ||
        index_meta_set(index, "events", number + 1) != 0) {
        return -1;
    }
    for (size_t i = 0; i < 8; i++) {
        index->events.data[i] = (char)(unsigned char)((uint64_t)(number + 1) >> (8 * i));
    }
    header->kind = RECORD_EVENTS;
    index->events_taken = true;
    *body = buf_str(&index->events);
    return 0;
}

void index_note_events(struct index *index, bool on)
{
    index->noting = on;
    index->events.limit = EVENTS_MAX;
    buf_clear(&index->events);
    /* Before there is any record of events: one of a transaction that failed must not bear another id than the rest. */
    struct ident id;
    if (on && events_log_id(index, &id) != 0) {
        log_warning("the log's id cannot be noted: %s; it is drawn with the first transaction", index->error);
    }
}

void events_account(struct index *index, const struct account *a)
{
    note(index,
         &(struct index_event){.kind = EVENT_ACCOUNT,
                               .numbers = {(uint64_t)a->id, a->state, (uint64_t)a->quota, a->created_ms},
                               .texts = {account_address(a), str_make(a->verifier, a->verifier_len)}});
}

void events_account_gone(struct index *index, int64_t account)
{
    note(index, &(struct index_event){.kind = EVENT_ACCOUNT_GONE, .numbers = {(uint64_t)account}});
}

void events_alias(struct index *index, struct str address, struct str target)
{
    note(index, &(struct index_event){.kind = EVENT_ALIAS, .texts = {address, target}});
}

void events_alias_gone(struct index *index, struct str address, struct str target)
{
    note(index, &(struct index_event){.kind = EVENT_ALIAS_GONE, .texts = {address, target}});
}

void events_mailbox(struct index *index, const struct mailbox *m)
{
    note(index, &(struct index_event){.kind = EVENT_MAILBOX,
                                      .numbers = {(uint64_t)m->account, (uint64_t)m->id, m->uid_validity,
                                                  m->uid_next, m->modseq, m->recent_uid}});
}

void events_mailbox_name(struct index *index, const struct mailbox *m, struct str name)
{
    note(index, &(struct index_event){.kind = EVENT_MAILBOX_NAME,
                                      .numbers = {(uint64_t)m->account, (uint64_t)m->id, m->special_use},
                                      .texts = {name}});
}

void events_mailbox_gone(struct index *index, int64_t account, int64_t mailbox)
{
    note(index, &(struct index_event){.kind = EVENT_MAILBOX_GONE,
                                      .numbers = {(uint64_t)account, (uint64_t)mailbox}});
}

void events_keywords(struct index *index, const struct mailbox *m, struct str keywords)
{
    note(index, &(struct index_event){.kind = EVENT_KEYWORDS,
                                      .numbers = {(uint64_t)m->account, (uint64_t)m->id},
                                      .texts = {keywords}});
}

void events_annotation(struct index *index, int64_t account, int64_t mailbox, struct str entry,
                       const struct str *value)
{
    note(index, &(struct index_event){.kind = EVENT_ANNOTATION,
                                      .numbers = {(uint64_t)account, (uint64_t)mailbox, value != NULL},
                                      .texts = {entry, value == NULL ? STR_EMPTY : *value}});
}

void events_acl(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *entry)
{
    note(index, &(struct index_event){.kind = EVENT_ACL,
                                      .numbers = {(uint64_t)owner, (uint64_t)mailbox,
                                                  (uint64_t)entry->grantee, entry->negative, entry->rights}});
}

void events_subscription(struct index *index, int64_t account, struct str name, bool subscribed)
{
    note(index, &(struct index_event){
                    .kind = EVENT_SUBSCRIPTION, .numbers = {(uint64_t)account, subscribed}, .texts = {name}});
}

void events_flags(struct index *index, const struct mailbox *m, const struct flags_change *change,
                  const struct uid_range *ranges, size_t count)
{
    char area[FLAGS_EVENT_RANGES * 8];
    for (size_t at = 0; index->noting && at < count; at += FLAGS_EVENT_RANGES) {
        struct buf packed = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        for (size_t i = at; i < count && i < at + FLAGS_EVENT_RANGES; i++) {
            buf_append_le32(&packed, ranges[i].first);
            buf_append_le32(&packed, ranges[i].last);
        }
        note(index,
             &(struct index_event){.kind = EVENT_FLAGS,
                                   .numbers = {(uint64_t)m->account, (uint64_t)m->id, change->operation,
                                               change->flags, change->unchanged_since, change->modseq},
                                   .texts = {buf_str(&packed)}});
    }
}

void events_filed(struct index *index, const struct filed_event *f)
{
    note(index, &(struct index_event){.kind = EVENT_FILED,
                                      .numbers = {(uint64_t)f->account, (uint64_t)f->mailbox, f->uid,
                                                  f->filing.recipient, f->filing.size, f->filing.internal_ms,
                                                  f->filing.modseq, f->filing.flags, f->filing.saved_ms},
                                      .record = f->filing.record});
}

void events_expunged(struct index *index, int64_t account, int64_t mailbox, uint32_t uid)
{
    note(index, &(struct index_event){.kind = EVENT_EXPUNGED,
                                      .numbers = {(uint64_t)account, (uint64_t)mailbox, uid}});
}

void events_entry(struct index *index, const struct entry *e)
{
    /* What a relay has at the moment is nobody's when the index is made anew. */
    uint64_t state = e->state == ENTRY_HELD ? ENTRY_HELD : ENTRY_WAITING;
    note(index,
         &(struct index_event){
             .kind = EVENT_ENTRY,
             .numbers = {e->recipient, state, e->due_ms, e->attempts, e->first_ms, e->notified, e->code},
             .record = e->record,
             .texts = {ENTRY_TEXT(e, address), ENTRY_TEXT(e, domain), ENTRY_TEXT(e, enhanced),
                       ENTRY_TEXT(e, reply), ENTRY_TEXT(e, host)}});
}

void events_entry_gone(struct index *index, const struct ident *record, struct str address)
{
    note(index, &(struct index_event){.kind = EVENT_ENTRY_GONE, .record = *record, .texts = {address}});
}

void events_record(struct index *index, const struct ident *record, int64_t segment, int64_t place,
                   uint32_t octets)
{
    note(index, &(struct index_event){.kind = EVENT_RECORD,
                                      .numbers = {(uint64_t)segment, (uint64_t)place, octets},
                                      .record = *record});
}

void events_segment(struct index *index, const struct segment_info *s)
{
    note(index, &(struct index_event){
                    .kind = EVENT_SEGMENT,
                    .numbers = {(uint64_t)s->id, s->instance, s->boot, (uint64_t)s->applied, s->sealed}});
}

void events_segment_gone(struct index *index, int64_t segment)
{
    note(index, &(struct index_event){.kind = EVENT_SEGMENT_GONE, .numbers = {(uint64_t)segment}});
}

void events_counter(struct index *index, const char *name, int64_t value)
{
    note(index,
         &(struct index_event){.kind = EVENT_COUNTER, .numbers = {(uint64_t)value}, .texts = {str_of(name)}});
}

/* Reading. */

static bool take_number(struct str *rest, unsigned width, uint64_t *number)
{
    if (rest->len < width) {
        return false;
    }
    *number = 0;
    for (unsigned i = 0; i < width; i++) {
        *number |= (uint64_t)(unsigned char)rest->data[i] << (8 * i);
    }
    *rest = str_from(*rest, width);
    return true;
}

static bool take_text(struct str *rest, struct str *text)
{
    uint64_t len;
    if (!take_number(rest, 2, &len) || rest->len < len) {
        return false;
    }
    *text = str_sub(*rest, 0, (size_t)len);
    *rest = str_from(*rest, (size_t)len);
    return true;
}

bool events_number(struct str *rest, uint64_t *number)
{
    return take_number(rest, 8, number);
}

bool events_next(struct str *rest, struct index_event *event)
{
    *event = (struct index_event){.kind = EVENT_ACCOUNT};
    const struct event_form *form = rest->len == 0 ? NULL : form_of((unsigned char)rest->data[0]);
    if (form == NULL) {
        return false;
    }
    struct str at = str_from(*rest, 1);
    event->kind = form->kind;
    for (size_t i = 0; form->widths[i] != 0; i++) {
        if (!take_number(&at, form->widths[i], &event->numbers[i])) {
            return false;
        }
    }
    if (form->record) {
        if (at.len < IDENT_SIZE) {
            return false;
        }
        memcpy(event->record.bytes, at.data, IDENT_SIZE);
        at = str_from(at, IDENT_SIZE);
    }
    for (size_t i = 0; i < form->texts; i++) {
        if (!take_text(&at, &event->texts[i])) {
            return false;
        }
    }
    *rest = at;
    return true;
}
