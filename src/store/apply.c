/* Applying the log to the index; see apply.h. */
#include "store/apply.h"

#include "base/log.h"
#include "base/mem.h"
#include "ipc/peer.h"
#include "message/dsn.h"
#include "message/header.h"
#include "message/path.h"
#include "message/trace.h"
#include "store/entry.h"
#include "store/events.h"
#include "store/flags.h"
#include "store/journal.h"
#include "store/resolve.h"

#include <sodium.h>

enum { BOXES = 4096, ADDRESSES = 8192, CACHED_ADDRESS_MAX = 100, PROBES = 8, FILED_MIN = 64 };

/*
 * Sessions that ran at the same time may together fill a mailbox beyond its quota, and what they accepted is filed. Only a
 * mailbox that is both this much and twice over is closed: that is no accident.
 */
enum { QUOTA_SLACK = 64 << 20 };

const struct str apply_any_password = {"any", 3};

/* An INBOX whose counters have changed in this transaction, or may again. */
struct box {
    struct mailbox mailbox;
    uint64_t modseq;  /* the account's counter */
    int64_t octets;   /* added in this transaction */
    int64_t messages; /* likewise */
    int64_t used;     /* before this transaction */
    int64_t quota;    /* 0: none */
    bool known;
    bool dirty;
};

/* The accounts that have the record under way: a set of numbers, open addressing, emptied by a new generation. */
struct filed {
    struct filed_slot {
        int64_t account;
        uint64_t generation;
    } * slots;
    size_t capacity; /* a power of two */
    size_t count;
    uint64_t generation;
};

/* An address that leads to exactly one account. */
struct known_address {
    int64_t account; /* 0: the slot is free */
    uint8_t len;
    char text[CACHED_ADDRESS_MAX];
};

struct applier {
    struct index *index;
    struct segments *segments;
    const struct config *config;
    const unsigned char *grant_key;
    bool copies_again; /* the segment under way is one of copies, and events have been lost */
    struct segment_window window;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    struct resolution resolution;
    struct filed filed;
    struct box boxes[BOXES];
    struct known_address addresses[ADDRESSES];
};

/* One record on its way into the index. */
struct delivery {
    struct applier *applier;
    const struct segment_info *segment;
    const struct record_header *header;
    struct record_envelope envelope;
    struct str envelope_bytes;
    struct str message; /* trace header and body */
    bool may_relay;
    bool tell; /* the sender wants to hear that the present recipient got it */
    uint64_t now_ms;
    int64_t refs;
    struct apply_counts *counts;
};

struct applier *applier_new(struct index *index, struct segments *segments,
                            const unsigned char grant_key[GRANT_KEY_SIZE])
{
    struct applier *a = mem_new(struct applier);
    if (a != NULL) {
        a->index = index;
        a->segments = segments;
        a->grant_key = grant_key;
        segment_window_init(&a->window);
        crypto_shorthash_keygen(a->hash_key);
        a->filed.capacity = FILED_MIN;
        a->filed.slots = mem_zalloc(FILED_MIN, sizeof(*a->filed.slots));
        if (a->filed.slots == NULL) {
            mem_free(a);
            return NULL;
        }
    }
    return a;
}

void applier_free(struct applier *a)
{
    if (a != NULL) {
        segment_window_free(&a->window);
        mem_free(a->filed.slots);
        mem_free(a);
    }
}

void applier_forget(struct applier *a)
{
    memset(a->addresses, 0, sizeof(a->addresses));
}

void applier_set_config(struct applier *a, const struct config *config)
{
    a->config = config;
    applier_forget(a);
}

/* Mailbox counters. */

static int write_box(struct applier *a, struct box *box)
{
    if (!box->dirty) {
        return 0;
    }
    if (box->mailbox.uid_next - box->mailbox.paged_uid >= FLAGS_FOLD_AT &&
        flags_fold(a->index, &box->mailbox) != 0) {
        return -1;
    }
    if (mailbox_set(a->index, &box->mailbox) != 0 ||
        account_count(a->index, box->mailbox.account, box->octets, box->messages, box->modseq) != 0) {
        return -1;
    }
    box->dirty = false;
    box->octets = 0;
    box->messages = 0;
    return 0;
}

int apply_finish(struct applier *a)
{
    for (size_t i = 0; i < BOXES; i++) {
        if (write_box(a, &a->boxes[i]) != 0) {
            return -1;
        }
        /* Other code changes mailboxes between transactions: what is kept must not outlive one. */
        a->boxes[i].known = false;
    }
    return 0;
}

void apply_abort(struct applier *a)
{
    memset(a->boxes, 0, sizeof(a->boxes));
    applier_forget(a);
}

/* 1 if found, 0 if there is no such mailbox (any more), -1 on error. */
static int find_box(struct applier *a, int64_t account, struct box **found)
{
    struct box *box = &a->boxes[(uint64_t)account % BOXES];
    struct account row;
    *found = box;
    if (box->known && box->mailbox.account == account) {
        return 1;
    }
    if (write_box(a, box) != 0) {
        return -1;
    }
    *box = (struct box){.known = false};
    int result = mailbox_find(a->index, account, MAILBOX_INBOX, &box->mailbox);
    if (result == 1) {
        result = account_by_id(a->index, account, &row);
    }
    if (result == 1) {
        box->known = true;
        box->modseq = row.modseq;
        box->used = row.used_octets;
        box->quota = resolve_quota(a->config, &row);
    }
    return result;
}

static bool is_closed(const struct box *box)
{
    int64_t used = box->used + box->octets;
    return box->quota > 0 && used / 2 >= box->quota && used - box->quota >= QUOTA_SLACK;
}

static struct filed_slot *filed_slot(const struct filed *set, int64_t account)
{
    size_t at = (size_t)((uint64_t)account * 0x9e3779b97f4a7c15ULL >> 32) & (set->capacity - 1);
    while (set->slots[at].generation == set->generation && set->slots[at].account != account) {
        at = (at + 1) & (set->capacity - 1);
    }
    return &set->slots[at];
}

static int filed_grow(struct filed *set)
{
    struct filed larger = {.capacity = set->capacity * 2, .count = set->count, .generation = set->generation};
    larger.slots = mem_zalloc(larger.capacity, sizeof(*larger.slots));
    if (larger.slots == NULL) {
        return -1;
    }
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].generation == set->generation) {
            *filed_slot(&larger, set->slots[i].account) = set->slots[i];
        }
    }
    mem_free(set->slots);
    *set = larger;
    return 0;
}

/* 1: it was not in the set; 0: it was; -1: no memory. */
static int filed_add(struct filed *set, int64_t account)
{
    if (set->count * 2 >= set->capacity && filed_grow(set) != 0) {
        return -1;
    }
    struct filed_slot *slot = filed_slot(set, account);
    if (slot->generation == set->generation) {
        return 0;
    }
    *slot = (struct filed_slot){.account = account, .generation = set->generation};
    set->count++;
    return 1;
}

/* Known addresses. */

static struct known_address *address_slot(struct applier *a, struct str address)
{
    uint64_t hash = 0;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)address.data, address.len, a->hash_key);
    struct known_address *free_slot = NULL;
    for (size_t i = 0; i < PROBES; i++) {
        struct known_address *slot = &a->addresses[(hash + i) % ADDRESSES];
        if (slot->account != 0 && str_equal(str_make(slot->text, slot->len), address)) {
            return slot;
        }
        if (slot->account == 0 && free_slot == NULL) {
            free_slot = slot;
        }
    }
    return free_slot != NULL ? free_slot : &a->addresses[hash % ADDRESSES];
}

static int64_t known_account(struct applier *a, struct str address)
{
    if (address.len > CACHED_ADDRESS_MAX) {
        return 0;
    }
    const struct known_address *slot = address_slot(a, address);
    return slot->account != 0 && str_equal(str_make(slot->text, slot->len), address) ? slot->account : 0;
}

static void remember_account(struct applier *a, struct str address, int64_t account)
{
    if (address.len <= CACHED_ADDRESS_MAX) {
        struct known_address *slot = address_slot(a, address);
        slot->account = account;
        slot->len = (uint8_t)address.len;
        memcpy(slot->text, address.data, address.len);
    }
}

/* Filing and queueing. */

static int note(struct delivery *d, enum journal_event event, struct str text)
{
    return journal_add(d->applier->index, &d->header->id, d->now_ms, event, text);
}

static int file_in(struct delivery *d, struct box *box, uint32_t recipient, struct str address)
{
    struct applier *a = d->applier;
    char area[4096];
    struct buf prefix = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!message_prefix(d->envelope_bytes, recipient, &prefix)) {
        return note(d, JOURNAL_DROPPED, STR("its envelope in the log cannot be read"));
    }
    uint32_t uid;
    struct filing filing = {.record = d->header->id,
                            .recipient = recipient,
                            .size = prefix.len + d->message.len,
                            .internal_ms = d->header->wall_ms,
                            .saved_ms = d->now_ms,
                            .modseq = box->modseq + 1};
    if (message_file(a->index, &box->mailbox, &filing, &uid) != 0) {
        return -1;
    }
    box->modseq++;
    box->octets += (int64_t)filing.size;
    box->messages++;
    box->dirty = true;
    d->refs++;
    d->counts->filed++;
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "to=<");
    buf_append_escaped(&text, address, 1024);
    buf_append_lit(&text, "> mailbox=INBOX uid=");
    buf_append_u64(&text, uid);
    return note(d, JOURNAL_FILED, buf_str(&text));
}

/* `domain` is the next hop; empty: nobody may or can take it, and the sender is to be told. */
static int queue(struct delivery *d, uint32_t recipient, struct str address, struct str domain,
                 const char *why)
{
    char area[2048];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (entry_add(d->applier->index, &d->header->id, recipient, address, domain, d->now_ms) != 0) {
        return -1;
    }
    if (sqlite3_changes(d->applier->index->db) == 0) {
        return 0; /* this address stands in the queue for this message already */
    }
    d->refs++;
    d->counts->queued++;
    buf_append_lit(&text, "to=<");
    buf_append_escaped(&text, address, 1024);
    buf_append_lit(&text, "> ");
    buf_append_str(&text, str_of(why));
    return note(d, JOURNAL_QUEUED, buf_str(&text));
}

/* What a success notice is made of, by the queue; `how` is ENTRY_DELIVERED or ENTRY_EXPANDED (RFC 3461, section 5.2). */
static int tell_success(struct delivery *d, uint32_t recipient, struct str address, struct str how)
{
    return d->tell ? queue(d, recipient, address, how, "the sender wants to be told of this success") : 0;
}

/* An account gets a record once, by however many of its recipients it is reached. */
static int file(struct delivery *d, int64_t account, uint32_t recipient, struct str address)
{
    struct applier *a = d->applier;
    struct box *box;
    int found = find_box(a, account, &box);
    if (found < 0) {
        return -1;
    }
    if (found == 0) {
        applier_forget(a);
        return queue(d, recipient, address, ENTRY_NO_USER, "no such user any more");
    }
    if (is_closed(box)) {
        return queue(d, recipient, address, ENTRY_FULL, "the mailbox is full, far beyond its quota");
    }
    int fresh = filed_add(&a->filed, account);
    return fresh == 1 ? file_in(d, box, recipient, address) : fresh;
}

/* The only account that an address leads to: its sender may want to know. A row that tells of a failure goes first. */
static int file_alone(struct delivery *d, int64_t account, uint32_t recipient, struct str address)
{
    return file(d, account, recipient, address) == 0 ? tell_success(d, recipient, address, ENTRY_DELIVERED)
                                                     : -1;
}

static int queue_outside(struct delivery *d, uint32_t recipient, struct str address, const char *why)
{
    struct str local;
    struct str domain;
    if (!address_split(address, &local, &domain)) {
        return queue(d, recipient, address, ENTRY_NO_DOMAIN, "the address has no domain");
    }
    return queue(d, recipient, address, domain, why);
}

static int file_for_new(struct delivery *d, uint32_t recipient, struct str address)
{
    struct applier *a = d->applier;
    struct account account;
    if (account_add(a->index, address, apply_any_password, -1, d->now_ms, &account) != 0) {
        return -1;
    }
    d->counts->accounts_made++;
    return file_alone(d, account.id, recipient, address);
}

static int deliver_targets(struct delivery *d, uint32_t recipient, struct str address,
                           const struct resolution *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct resolve_target *target = &r->targets[i];
        int result;
        if (target->account != 0) {
            result = r->count == 1 ? file_alone(d, target->account, recipient, address)
                                   : file(d, target->account, recipient, address);
        } else if (trace_was_delivered_to(d->message, address)) {
            result = queue(d, recipient, address, ENTRY_LOOP,
                           "it has been forwarded from this address before: a loop");
        } else {
            result = queue_outside(d, recipient, target->address, "forwarded by an alias");
        }
        if (result != 0) {
            return -1;
        }
    }
    if (r->truncated) {
        return queue(d, recipient, address, ENTRY_TOO_MANY,
                     "its aliases lead to too many addresses: not all of them got it");
    }
    return r->count > 1 ? tell_success(d, recipient, address, ENTRY_EXPANDED) : 0;
}

static int deliver_to(struct delivery *d, uint32_t number, struct str address)
{
    struct applier *a = d->applier;
    int64_t known = known_account(a, address);
    if (!record_address_is_clean(address)) {
        return note(d, JOURNAL_DROPPED, STR("a recipient's address has control characters in it"));
    }
    if (known != 0) {
        return file_alone(d, known, number, address);
    }
    struct resolution *r = &a->resolution;
    resolve_recipient(a->index, a->config, address, r);
    int result = -1;
    switch (r->verdict) {
    case RESOLVED_LOCAL:
        if (r->disabled) {
            result = queue(d, number, address, ENTRY_DISABLED, "the account has been disabled");
            break;
        }
        if (r->count == 1 && r->targets[0].account != 0) {
            remember_account(a, address, r->targets[0].account);
        }
        result = deliver_targets(d, number, address, r);
        break;
    case RESOLVED_NEW: result = file_for_new(d, number, r->address); break;
    case RESOLVED_RELAY_DOMAIN: result = queue_outside(d, number, address, "relayed for its domain"); break;
    case RESOLVED_REMOTE:
        if (d->may_relay) {
            result = queue_outside(d, number, address, "relayed");
        } else {
            log_warning(
                "a record of a process without the right to relay names an outside recipient; it is dropped");
            result =
                note(d, JOURNAL_DROPPED,
                     STR("no right to relay: the segment is not one of submission, or its grant is bad"));
        }
        break;
    case RESOLVED_UNKNOWN: result = queue(d, number, address, ENTRY_NO_USER, "no such user any more"); break;
    case RESOLVED_ERROR: break;
    }
    resolve_free(r);
    return result;
}

/* The rows that a report settles. */
static int retire_one(struct index *index, const struct ident *id, struct str address, bool notified)
{
    struct entry entry;
    int found = entry_find(index, id, address, &entry);
    if (found <= 0) {
        return found;
    }
    return notified ? entry_set_notified(index, entry.id) : entry_remove(index, &entry);
}

static int retire(struct delivery *d)
{
    struct str rest = d->envelope.retires;
    while (rest.len > IDENT_SIZE + 2) {
        struct ident id;
        memcpy(id.bytes, rest.data, IDENT_SIZE);
        size_t len = (size_t)(unsigned char)rest.data[IDENT_SIZE] |
                     (size_t)(unsigned char)rest.data[IDENT_SIZE + 1] << 8;
        bool notified = (len & RECORD_RETIRE_NOTIFIED) != 0;
        len &= ~(size_t)RECORD_RETIRE_NOTIFIED;
        struct str address = str_sub(rest, IDENT_SIZE + 2, IDENT_SIZE + 2 + len);
        rest = str_from(rest, IDENT_SIZE + 2 + len);
        if (retire_one(d->applier->index, &id, address, notified) != 0) {
            return -1;
        }
    }
    return 0;
}

static int note_accepted(struct delivery *d)
{
    char area[4096];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    const struct record_envelope *e = &d->envelope;
    buf_append_lit(&text, "from=<");
    buf_append_escaped(&text, e->sender, 1024);
    buf_append_lit(&text, "> recipients=");
    buf_append_u64(&text, e->recipient_count);
    buf_append_lit(&text, " octets=");
    buf_append_u64(&text, d->message.len);
    buf_append_lit(&text, " client=");
    buf_append_escaped(&text, e->client, 128);
    buf_append_lit(&text, " helo=");
    buf_append_escaped(&text, e->helo, 256);
    if (e->login.len > 0) {
        buf_append_lit(&text, " login=");
        buf_append_escaped(&text, e->login, 256);
    }
    if (e->tls.len > 0) {
        buf_append_lit(&text, " tls=");
        buf_append_escaped(&text, e->tls, 128);
    }
    return note(d, JOURNAL_ACCEPTED, buf_str(&text));
}

static bool right_to_relay(const struct delivery *d)
{
    struct grant grant;
    if (d->segment->origin == ROLE_STORE) {
        return true;
    }
    if (d->segment->origin == SEGMENT_COPIES) {
        return (d->header->flags & RECORD_RELAYED) != 0;
    }
    return d->segment->origin == ROLE_SMTPD_MSA &&
           grant_check(d->envelope.grant, d->applier->grant_key, &grant) && grant.kind == ROLE_SMTPD_MSA &&
           grant.instance == d->segment->instance && grant.boot == d->segment->boot;
}

/* 1: it is new and its row is there; 0: it has been applied before. */
static int add_record(struct delivery *d, int64_t offset)
{
    sqlite3_stmt *q = sql_prepare(d->applier->index, SQL_RECORD_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, d->header->id.bytes, IDENT_SIZE);
    sql_int(q, 2, d->segment->id);
    sql_int(q, 3, offset);
    sql_int(q, 4, d->header->total);
    sql_int(q, 5, d->envelope.recipient_count);
    if (sql_run(d->applier->index, q) != 0) {
        return -1;
    }
    if (sqlite3_changes(d->applier->index->db) == 0) {
        return 0;
    }
    events_record(d->applier->index, &d->header->id, d->segment->id, offset, d->header->total);
    return 1;
}

/* The row was made for one reference a recipient, which is nearly always right. */
static int settle_refs(struct delivery *d, int64_t *live)
{
    struct index *index = d->applier->index;
    if (d->refs > 0) {
        *live += d->header->total;
    }
    if (d->refs == d->envelope.recipient_count) {
        return 0;
    }
    sqlite3_stmt *q = sql_prepare(index, d->refs > 0 ? SQL_RECORD_SET_REFS : SQL_RECORD_REMOVE);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, d->header->id.bytes, IDENT_SIZE);
    if (d->refs > 0) {
        sql_int(q, 2, d->refs);
    }
    return sql_run(index, q);
}

static int apply_message(struct delivery *d, int64_t offset, int64_t *live)
{
    int fresh = add_record(d, offset);
    if (fresh <= 0) {
        return fresh;
    }
    d->may_relay = right_to_relay(d);
    d->applier->filed.generation++;
    d->applier->filed.count = 0;
    if (note_accepted(d) != 0 || (d->segment->origin == ROLE_STORE && retire(d) != 0)) {
        return -1;
    }
    struct str rest = d->envelope.recipients;
    for (uint32_t i = 0; i < d->envelope.recipient_count; i++) {
        struct record_recipient r;
        if (!record_next_recipient(&rest, &r)) {
            break; /* fewer than promised: whoever wrote it lied */
        }
        d->tell = (r.notify & DSN_NOTIFY_SUCCESS) != 0 && d->envelope.sender.len > 0;
        if (deliver_to(d, i, r.address) != 0) {
            return -1;
        }
    }
    d->counts->records++;
    return settle_refs(d, live);
}

/*
 * An index that is older than the log, by more than the transaction whose commit may have failed, would give out UIDs again, and
 * bring back what was expunged or delivered.
 */
static int check_number(struct applier *a, struct str events)
{
    uint64_t number;
    int64_t have = 0;
    if (!events_number(&events, &number)) {
        return 0;
    }
    if (index_meta_get(a->index, "events", 0, &have) != 0) {
        return -1;
    }
    if (number > (uint64_t)have + 1) {
        sqlite3_snprintf(sizeof(a->index->error), a->index->error,
                         "the index lacks %lld transactions that the log has; run `veredus reindex`",
                         (long long)(number - (uint64_t)have));
        return -1;
    }
    return 0;
}

static int apply_record(struct applier *a, const struct segment_info *segment,
                        const struct record_header *header, struct str payload, int64_t offset,
                        uint64_t now_ms, int64_t *live, struct apply_counts *counts)
{
    struct delivery d = {.applier = a,
                         .segment = segment,
                         .header = header,
                         .envelope_bytes = str_sub(payload, 0, header->envelope_len),
                         .message = str_from(payload, header->envelope_len),
                         .now_ms = now_ms,
                         .counts = counts};
    if (header->kind == RECORD_EVENTS && segment->origin == ROLE_STORE) {
        return check_number(a, str_from(d.message, header->trace_len));
    }
    bool again = header->kind == RECORD_COPY && a->copies_again && header->envelope_len > 0;
    if (header->kind != RECORD_MESSAGE && !again) {
        return 0;
    }
    if (!record_decode_envelope(d.envelope_bytes, &d.envelope)) {
        log_error("segment %lld has a record at %lld whose envelope cannot be read; it is passed over",
                  (long long)segment->id, (long long)offset);
        return note(&d, JOURNAL_DROPPED, STR("its envelope in the log cannot be read"));
    }
    return apply_message(&d, offset, live);
}

/* One bad record must not take along what lies behind it. */
static int note_damaged(struct applier *a, const struct segment_info *segment,
                        const struct record_header *header, int64_t offset, uint64_t now_ms)
{
    log_error("segment %lld has a record at %lld that is incomplete or damaged; it is passed over",
              (long long)segment->id, (long long)offset);
    return header->kind == RECORD_MESSAGE
               ? journal_add(a->index, &header->id, now_ms, JOURNAL_DROPPED,
                             STR("its record in the log is incomplete or damaged: the checksum is wrong"))
               : 0;
}

int apply_segment(struct applier *a, int64_t id, int64_t limit, uint64_t budget, uint64_t now_ms, bool *more,
                  bool *torn, struct apply_counts *counts)
{
    struct segment_info segment;
    *more = false;
    *torn = false;
    if (segment_get(a->index, id, &segment) != 0) {
        return -1;
    }
    int64_t again = 0;
    if (segment.origin == SEGMENT_COPIES && index_meta_get(a->index, "copies_again", 0, &again) != 0) {
        return -1;
    }
    a->copies_again = again != 0;
    int64_t at = segment.applied;
    int64_t live = 0;
    segment_window_reset(&a->window);
    while (at < limit) {
        struct record_header header;
        struct str payload;
        enum segment_read state = segment_read_next(a->segments, &a->window, id, at, &header, &payload);
        if (state == SEGMENT_ERROR) {
            sqlite3_snprintf(sizeof(a->index->error), a->index->error, "segment %lld cannot be read at %lld",
                             (long long)id, (long long)at);
            return -1;
        }
        if (state == SEGMENT_DAMAGED) {
            if (note_damaged(a, &segment, &header, at, now_ms) != 0) {
                return -1;
            }
        } else if (state != SEGMENT_RECORD) {
            *torn = state == SEGMENT_TORN;
            break;
        } else if (apply_record(a, &segment, &header, payload, at, now_ms, &live, counts) != 0) {
            return -1;
        }
        at += header.total;
        if ((uint64_t)(at - segment.applied) >= budget || a->index->events.len >= EVENTS_ENOUGH) {
            *more = at < limit;
            break;
        }
    }
    segment_window_reset(&a->window);
    if (at == segment.applied) {
        return 0;
    }
    return segment_set_applied(a->index, id, at) == 0 &&
                   (live == 0 || segment_add_live(a->index, id, live) == 0)
               ? 0
               : -1;
}
