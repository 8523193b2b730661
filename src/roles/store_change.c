/*
 * IMAP's changes: flags, copies, expunges, appended messages, and mailboxes made, renamed and removed. Each is one request of the
 * tick's transaction, answered when that has been committed. Part of the store role.
 */
#include "roles/store_change_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/move.h"
#include "store/resolve.h"

#include <string.h>

enum {
    PARTIAL_MAX = 10000,
    RANGES_OCTETS = 1 << 20,
    APPENDED_MAX = 1000,
    ANSWER_OCTETS = MAILBOX_RANGES_MAX / 2 / 8 * 8,
    BY_WHOM_MAX = ACCOUNT_ADDRESS_MAX + 64
};

/* Parts. */

void store_change_free(struct store_change *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->appended_count; i++) {
        buf_free(&c->appended[i].keywords);
    }
    mem_free(c->appended);
    buf_free(&c->name);
    buf_free(&c->other_name);
    buf_free(&c->keywords);
    buf_free(&c->ranges);
    buf_free(&c->all_keywords);
    buf_free(&c->source_uids);
    buf_free(&c->target_uids);
    mem_free(c);
}

static struct store_change *take_partial(struct store *s, uint32_t instance, uint64_t ticket)
{
    for (struct store_change **link = &s->partial; *link != NULL; link = &(*link)->next) {
        struct store_change *c = *link;
        if (c->instance == instance && c->ticket == ticket) {
            *link = c->next;
            s->partial_count--;
            return c;
        }
    }
    return NULL;
}

void store_change_peer_down(struct store *s, uint32_t instance)
{
    struct store_change **link = &s->partial;
    while (*link != NULL) {
        struct store_change *c = *link;
        if (c->instance == instance) {
            *link = c->next;
            s->partial_count--;
            store_change_free(c);
        } else {
            link = &c->next;
        }
    }
}

static struct store_change *new_change(const struct role_peer *peer, const struct mailbox_change *ask,
                                       int64_t account)
{
    struct store_change *c = mem_new(struct store_change);
    if (c == NULL) {
        return NULL;
    }
    c->instance = peer->instance;
    c->ticket = ask->ticket;
    c->kind = (enum change_kind)ask->kind;
    c->account = account;
    c->owner = ask->owner == 0 ? account : (int64_t)ask->owner;
    c->mailbox = (int64_t)ask->mailbox;
    c->operation = (enum flags_operation)ask->operation;
    c->flags = ask->flags & (FLAG_ANSWERED | FLAG_FLAGGED | FLAG_DELETED | FLAG_SEEN | FLAG_DRAFT);
    c->acl_rights = (uint32_t)(ask->flags & RIGHTS_ALL);
    c->modseq = ask->modseq;
    c->special_use = ask->special_use;
    c->name = buf_make(MAILBOX_NAME_OCTETS);
    c->other_name = buf_make(MAILBOX_NAME_OCTETS);
    c->keywords = buf_make(MAILBOX_KEYWORDS_MAX);
    c->ranges = buf_make(RANGES_OCTETS);
    c->all_keywords = buf_make(FLAGS_KEYWORDS_OCTETS);
    c->source_uids = buf_make(64 << 20);
    c->target_uids = buf_make(64 << 20);
    if (!buf_append_str(&c->name, ask->name) || !buf_append_str(&c->other_name, ask->other_name) ||
        !buf_append_str(&c->keywords, ask->keywords)) {
        store_change_free(c);
        return NULL;
    }
    return c;
}

static bool names(const struct store_change *c, int64_t segment)
{
    for (size_t i = 0; i < c->appended_count; i++) {
        if (c->appended[i].segment == segment) {
            return true;
        }
    }
    return false;
}

bool store_change_names(const struct store *s, int64_t segment)
{
    for (const struct store_change *c = s->partial; c != NULL; c = c->next) {
        if (names(c, segment)) {
            return true;
        }
    }
    for (const struct store_request *r = s->requests; r != NULL; r = r->next) {
        if (r->change != NULL && names(r->change, segment)) {
            return true;
        }
    }
    return false;
}

/* The record that an imapd has written; nothing is believed but its header. */
static bool take_appended(struct store *s, const struct role_peer *peer, struct store_change *c,
                          const struct mailbox_change *ask)
{
    unsigned char bytes[RECORD_HEADER];
    struct segment_info info;
    struct appended *appended = mem_realloc(c->appended, (c->appended_count + 1) * sizeof(*appended));
    if (appended == NULL) {
        return false;
    }
    c->appended = appended;
    struct appended *a = &appended[c->appended_count];
    *a = (struct appended){.segment = (int64_t)ask->segment,
                           .offset = (int64_t)ask->offset,
                           .flags = ask->flags &
                                    (FLAG_ANSWERED | FLAG_FLAGGED | FLAG_DELETED | FLAG_SEEN | FLAG_DRAFT),
                           .internal_ms = ask->internal_ms,
                           .keywords = buf_make(MAILBOX_KEYWORDS_MAX)};
    if (c->appended_count == APPENDED_MAX || segment_get(s->index, a->segment, &info) != 0 ||
        info.origin != ROLE_IMAPD || info.instance != peer->instance || info.boot != role_boot(s->role) ||
        !segment_read_at(&s->segments, a->segment, a->offset, bytes, RECORD_HEADER) ||
        record_decode_header(bytes, &a->header) != RECORD_GOOD || a->header.kind != RECORD_APPEND ||
        a->header.envelope_len != 0 || !buf_append_str(&a->keywords, ask->keywords)) {
        buf_free(&a->keywords);
        return false;
    }
    c->appended_count++;
    return true;
}

static void answer_now(struct role_peer *peer, uint64_t ticket, enum change_result result)
{
    struct mailbox_changed answer = {.ticket = ticket,
                                     .result = (uint8_t)result,
                                     .id = STR_EMPTY,
                                     .keywords = STR_EMPTY,
                                     .source_uids = STR_EMPTY,
                                     .target_uids = STR_EMPTY};
    role_send(peer, &mailbox_changed_type, &answer);
}

void store_change_message(struct store *s, struct role_peer *peer, const struct mailbox_change *ask)
{
    struct grant grant;
    struct store_change *c = take_partial(s, peer->instance, ask->ticket);
    if (ask->kind == CHANGE_KIND_FORGET) {
        store_change_free(c);
        answer_now(peer, ask->ticket, CHANGE_RESULT_DONE);
        return;
    }
    if (!grant_check(ask->grant, s->grant_key, &grant) || grant.kind != ROLE_IMAPD ||
        grant.instance != peer->instance || grant.boot != role_boot(s->role)) {
        store_change_free(c);
        answer_now(peer, ask->ticket, CHANGE_RESULT_REFUSED);
        return;
    }
    c = c != NULL ? c : new_change(peer, ask, (int64_t)grant.account);
    bool fine = c != NULL && c->account == (int64_t)grant.account && c->kind == (enum change_kind)ask->kind &&
                buf_append_str(&c->ranges, ask->ranges) &&
                (c->kind != CHANGE_KIND_APPEND || take_appended(s, peer, c, ask));
    if (fine && ask->more && s->partial_count < PARTIAL_MAX) {
        c->next = s->partial;
        s->partial = c;
        s->partial_count++;
        if (c->kind == CHANGE_KIND_APPEND) {
            answer_now(peer, ask->ticket,
                       CHANGE_RESULT_DONE); /* noted; the last one is answered when all are filed */
        }
        return;
    }
    struct store_request *r = fine && !ask->more ? store_request_add(s, peer, ask->ticket) : NULL;
    if (r == NULL) {
        store_change_free(c);
        answer_now(peer, ask->ticket, CHANGE_RESULT_TEMPORARY);
        return;
    }
    r->kind = REQUEST_CHANGE;
    r->change = c;
}

/* Doing. */

struct ranges {
    struct uid_range *items;
    size_t count;
};

/* Sorted and apart, or not believed. */
static bool unpack(struct store_change *c, struct ranges *ranges)
{
    struct str packed = buf_str(&c->ranges);
    struct uid_range range;
    uint32_t before = 0;
    *ranges = (struct ranges){.items = mem_zalloc(packed.len / 8 + 1, sizeof(*ranges->items))};
    while (ranges->items != NULL && uid_ranges_next(&packed, &range) && range.first > before) {
        ranges->items[ranges->count++] = range;
        before = range.last;
    }
    return ranges->items != NULL && packed.len == 0;
}

int change_refuse(struct store_change *c, enum change_result result)
{
    c->result = result;
    return 0;
}

int change_deny(struct store_change *c, uint32_t rights)
{
    return change_refuse(c, (rights & RIGHT_LOOKUP) != 0 ? CHANGE_RESULT_REFUSED : CHANGE_RESULT_MISSING);
}

int change_find(struct store *s, struct store_change *c, struct str name, uint32_t needed,
                struct mailbox *mailbox, uint32_t *rights)
{
    int found = acl_find(s->index, c->account, name, mailbox, rights);
    if (found <= 0) {
        return found < 0 ? -1 : change_refuse(c, CHANGE_RESULT_MISSING);
    }
    return (*rights & needed) == needed ? 1 : change_deny(c, *rights);
}

/* The flags that somebody with these rights may set and clear. */
static uint64_t flags_of(uint32_t rights)
{
    return ((rights & RIGHT_SEEN) != 0 ? FLAG_SEEN : 0) | ((rights & RIGHT_DELETED) != 0 ? FLAG_DELETED : 0) |
           ((rights & RIGHT_WRITE) != 0 ? ~(uint64_t)(FLAG_SEEN | FLAG_DELETED) : 0);
}

/* What is in `ranges` and not in `refused`, both in order. False without memory. */
static bool without(const struct ranges *ranges, struct str refused, struct ranges *rest)
{
    struct uid_range gone = {0, 0};
    bool more = uid_ranges_next(&refused, &gone);
    *rest = (struct ranges){.items = mem_zalloc(ranges->count + refused.len / 8 + 2, sizeof(*rest->items))};
    for (size_t i = 0; rest->items != NULL && i < ranges->count; i++) {
        uint64_t first = ranges->items[i].first;
        for (; more && gone.first <= ranges->items[i].last; more = uid_ranges_next(&refused, &gone)) {
            if (gone.first > first) {
                rest->items[rest->count++] = (struct uid_range){(uint32_t)first, gone.first - 1};
            }
            first = (uint64_t)gone.last + 1;
        }
        if (first <= ranges->items[i].last) {
            rest->items[rest->count++] = (struct uid_range){(uint32_t)first, ranges->items[i].last};
        }
    }
    return rest->items != NULL;
}

/*
 * Puts flags in the place of others, those alone that may be changed: the others are taken away first, from those messages that
 * have not changed since; then these are added to the same ones.
 */
static int replace_some(struct store *s, struct store_change *c, struct mailbox *mailbox,
                        const struct flags_change *change, uint64_t allowed, const struct ranges *ranges,
                        uint64_t *changed)
{
    struct flags_change part = *change;
    struct ranges rest = {.items = NULL};
    uint64_t more = 0;
    part.operation = FLAGS_REMOVE;
    part.flags = allowed & ~change->flags;
    int result =
        flags_store(s->index, mailbox, &part, ranges->items, ranges->count, &c->source_uids, changed);
    if (result == 0 && !without(ranges, buf_str(&c->source_uids), &rest)) {
        result = -1;
    }
    if (result == 0) {
        part.operation = FLAGS_ADD;
        part.flags = allowed & change->flags;
        part.unchanged_since = UINT64_MAX;
        result = flags_store(s->index, mailbox, &part, rest.items, rest.count, &c->source_uids, &more);
    }
    *changed += more;
    mem_free(rest.items);
    return result;
}

static int do_store(struct store *s, struct store_change *c, struct mailbox *mailbox, uint32_t rights,
                    const struct ranges *ranges)
{
    uint64_t allowed = flags_of(rights);
    bool keywords = (rights & RIGHT_WRITE) != 0;
    struct account account;
    uint64_t bits;
    uint64_t changed;
    bool full;
    bool replaces = c->operation == FLAGS_REPLACE;
    if ((c->flags & allowed) == 0 && !(keywords && c->keywords.len > 0) && (!replaces || allowed == 0) &&
        (c->flags != 0 || c->keywords.len > 0 || replaces)) {
        return change_refuse(c, CHANGE_RESULT_REFUSED);
    }
    if (account_by_id(s->index, mailbox->account, &account) != 1 ||
        flags_keywords(s->index, mailbox,
                       c->operation == FLAGS_REMOVE || !keywords ? STR_EMPTY : buf_str(&c->keywords), &bits,
                       &c->all_keywords, &full) != 0) {
        return -1;
    }
    if (c->operation == FLAGS_REMOVE && keywords) {
        bits = flags_known_keywords(buf_str(&c->all_keywords), buf_str(&c->keywords));
    }
    struct flags_change change = {.operation = c->operation,
                                  .flags = (c->flags & allowed) | bits,
                                  .unchanged_since = c->modseq,
                                  .modseq = account.modseq + 1};
    int stored = replaces && allowed != UINT64_MAX
                     ? replace_some(s, c, mailbox, &change, allowed, ranges, &changed)
                     : flags_store(s->index, mailbox, &change, ranges->items, ranges->count, &c->source_uids,
                                   &changed);
    if (stored != 0) {
        return -1;
    }
    c->new_modseq = mailbox->modseq;
    c->result = full ? CHANGE_RESULT_LIMIT : CHANGE_RESULT_DONE;
    if (changed > 0 && account_count(s->index, mailbox->account, 0, 0, change.modseq) != 0) {
        return -1;
    }
    return mailbox_set(s->index, mailbox);
}

/* " by=imap", and by whose login where the mailbox is another's. False: the reason is in the index. */
static bool by_whom(struct store *s, const char *how, int64_t actor, int64_t owner, struct buf *text)
{
    struct account account;
    buf_append_lit(text, " by=");
    buf_append_str(text, str_of(how));
    if (actor == owner) {
        return true;
    }
    if (account_by_id(s->index, actor, &account) != 1) {
        return false;
    }
    buf_append_lit(text, " login=");
    buf_append_str(text, account_address(&account));
    return true;
}

static int expunge(struct store *s, struct store_change *c, struct mailbox *mailbox,
                   const struct uid_range *ranges, size_t count, bool deleted_only,
                   struct move_result *result)
{
    char area[BY_WHOM_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!by_whom(s, "imap", c->account, mailbox->account, &text)) {
        return -1;
    }
    struct expunge_note note = {.wall_ms = clock_wall_ms(), .before = STR("uid="), .after = buf_str(&text)};
    return expunge_messages(s->index, mailbox, ranges, count, deleted_only, &note, result);
}

static int do_expunge(struct store *s, struct store_change *c, struct mailbox *mailbox,
                      const struct ranges *ranges)
{
    struct move_result result = {.source_uids = &c->source_uids};
    if (expunge(s, c, mailbox, ranges->items, ranges->count, true, &result) != 0) {
        return -1;
    }
    c->new_modseq = result.modseq;
    c->result = CHANGE_RESULT_DONE;
    return 0;
}

/* 1: the owner has room for so many octets more, when others are gone; 0: not, and c->result says so; -1. */
static int has_room(struct store *s, struct store_change *c, int64_t owner, uint64_t octets, uint64_t gone)
{
    struct account account;
    if (account_by_id(s->index, owner, &account) != 1) {
        return -1;
    }
    int64_t quota = resolve_quota(s->config, &account);
    if (quota > 0 && octets > gone && account.used_octets + (int64_t)(octets - gone) > quota) {
        c->result = CHANGE_RESULT_OVER_QUOTA;
        return 0;
    }
    return 1;
}

static int do_copy(struct store *s, struct store_change *c, struct mailbox *from, const struct ranges *ranges)
{
    struct mailbox other;
    struct mailbox *to = &other;
    uint64_t octets = 0;
    uint32_t rights;
    int found = change_find(s, c, buf_str(&c->name), RIGHT_INSERT, &other, &rights);
    if (found <= 0) {
        return found;
    }
    if (other.account == from->account && other.id == from->id) {
        to = from; /* one row has one copy in memory */
    }
    if (c->kind == CHANGE_KIND_COPY || to->account != from->account) {
        int room = message_octets(s->index, from, ranges->items, ranges->count, &octets) == 0
                       ? has_room(s, c, to->account, octets, 0)
                       : -1;
        if (room <= 0) {
            return room;
        }
    }
    struct move_result result = {
        .lost = ~flags_of(rights), .source_uids = &c->source_uids, .target_uids = &c->target_uids};
    int done =
        c->kind == CHANGE_KIND_COPY
            ? copy_messages(s->index, from, to, ranges->items, ranges->count, clock_wall_ms(), &result)
            : move_messages(s->index, from, to, ranges->items, ranges->count, clock_wall_ms(), &result);
    c->new_modseq = result.modseq;
    c->uid_validity = to->uid_validity;
    c->result = CHANGE_RESULT_DONE;
    return done;
}

/* The selected mailbox, as long as the account may read there: 1; 0: it is missing to it, and the result says so; -1. */
static int find_selected(struct store *s, struct store_change *c, struct mailbox *mailbox, uint32_t *rights)
{
    int found = mailbox_find(s->index, c->owner, c->mailbox, mailbox);
    if (found < 0 || (found == 1 && acl_rights(s->index, c->account, mailbox, rights) != 0)) {
        return -1;
    }
    return found == 1 && (*rights & RIGHT_READ) != 0 ? 1 : change_refuse(c, CHANGE_RESULT_MISSING);
}

/* What the selected mailbox is needed for. */
static int do_in_mailbox(struct store *s, struct store_change *c)
{
    struct mailbox mailbox;
    struct ranges ranges;
    uint32_t rights;
    int found = find_selected(s, c, &mailbox, &rights);
    if (found <= 0) {
        return found;
    }
    uint32_t needed = c->kind == CHANGE_KIND_EXPUNGE ? RIGHT_EXPUNGE
                      : c->kind == CHANGE_KIND_MOVE  ? RIGHT_EXPUNGE | RIGHT_DELETED
                                                     : 0;
    int result = -1;
    if (!unpack(c, &ranges) || (rights & needed) != needed) {
        c->result = CHANGE_RESULT_REFUSED;
        result = 0;
    } else if (c->kind == CHANGE_KIND_STORE) {
        result = do_store(s, c, &mailbox, rights, &ranges);
    } else if (c->kind == CHANGE_KIND_EXPUNGE) {
        result = do_expunge(s, c, &mailbox, &ranges);
    } else if (c->kind == CHANGE_KIND_SEEN_RECENT) {
        c->result = CHANGE_RESULT_DONE;
        result = 0;
        if ((rights & RIGHTS_TO_CHANGE) != 0) {
            mailbox.recent_uid = mailbox.uid_next;
            result = mailbox_set(s->index, &mailbox);
        }
    } else {
        result = do_copy(s, c, &mailbox, &ranges);
    }
    mem_free(ranges.items);
    return result;
}

static int file_appended(struct store *s, struct store_change *c, struct mailbox *mailbox, uint32_t rights,
                         const struct appended *a, uint64_t modseq)
{
    struct str keywords = (rights & RIGHT_WRITE) != 0 ? buf_str(&a->keywords) : STR_EMPTY;
    uint64_t bits;
    uint32_t uid;
    bool full;
    uint64_t now = clock_wall_ms();
    buf_clear(&c->all_keywords);
    if (record_keep(s->index, &a->header, a->segment, a->offset, 1) != 0 ||
        flags_keywords(s->index, mailbox, keywords, &bits, &c->all_keywords, &full) != 0) {
        return -1;
    }
    struct filing filing = {.record = a->header.id,
                            .recipient = MESSAGE_APPENDED,
                            .size = (uint64_t)a->header.trace_len + a->header.body_len,
                            .internal_ms = a->internal_ms == 0 ? now : a->internal_ms,
                            .saved_ms = now,
                            .flags = (a->flags & flags_of(rights)) | bits,
                            .modseq = modseq};
    if (message_file(s->index, mailbox, &filing, &uid) != 0 || !uid_ranges_append(&c->target_uids, uid)) {
        return -1;
    }
    char area[BY_WHOM_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "uid=");
    buf_append_u64(&text, uid);
    return by_whom(s, "append", c->account, mailbox->account, &text)
               ? journal_add(s->index, &a->header.id, clock_wall_ms(), JOURNAL_FILED, buf_str(&text))
               : -1;
}

/*
 * The message that is replaced: 1 and its octets; 0: it is not there, or may not be removed, and c->result says so; -1.
 */
static int find_replaced(struct store *s, struct store_change *c, const struct ranges *ranges,
                         struct mailbox *from, uint64_t *octets)
{
    struct message_place place;
    uint32_t rights;
    bool one = ranges->count == 1 && ranges->items[0].first == ranges->items[0].last;
    int found = one ? find_selected(s, c, from, &rights) : 0;
    if (found == 1 && ((rights & RIGHT_EXPUNGE) == 0 || (rights & RIGHT_DELETED) == 0)) {
        return change_refuse(c, CHANGE_RESULT_REFUSED);
    }
    found = found == 1 ? message_find(s->index, from, ranges->items[0].first, &place) : found;
    c->result = found == 0 ? CHANGE_RESULT_GONE : c->result;
    return found != 1 ? found : message_octets(s->index, from, ranges->items, 1, octets) == 0 ? 1 : -1;
}

static int append_messages(struct store *s, struct store_change *c, const struct ranges *ranges)
{
    struct mailbox mailbox;
    struct mailbox other;
    struct mailbox *from = &other;
    struct account account;
    uint64_t octets = 0;
    uint64_t gone = 0;
    uint32_t rights;
    int found = change_find(s, c, buf_str(&c->name), RIGHT_INSERT, &mailbox, &rights);
    if (found <= 0) {
        return found;
    }
    for (size_t i = 0; i < c->appended_count; i++) {
        octets += (uint64_t)c->appended[i].header.trace_len + c->appended[i].header.body_len;
    }
    int there = ranges->count == 0 ? 1 : find_replaced(s, c, ranges, &other, &gone);
    int room = there == 1 ? has_room(s, c, mailbox.account, octets,
                                     ranges->count > 0 && other.account == mailbox.account ? gone : 0)
                          : there;
    if (room <= 0) {
        return room;
    }
    if (account_by_id(s->index, mailbox.account, &account) != 1) {
        return -1;
    }
    for (size_t i = 0; i < c->appended_count; i++) {
        if (file_appended(s, c, &mailbox, rights, &c->appended[i], account.modseq + 1) != 0) {
            return -1;
        }
    }
    if (mailbox.uid_next - mailbox.paged_uid >= FLAGS_FOLD_AT && flags_fold(s->index, &mailbox) != 0) {
        return -1;
    }
    if (store_watch_takes_recent(s, mailbox.account, mailbox.id)) {
        mailbox.recent_uid = mailbox.uid_next;
    }
    c->new_modseq = account.modseq + 1;
    c->uid_validity = mailbox.uid_validity;
    c->result = CHANGE_RESULT_DONE;
    if (account_count(s->index, mailbox.account, (int64_t)octets, (int64_t)c->appended_count,
                      account.modseq + 1) != 0 ||
        mailbox_set(s->index, &mailbox) != 0) {
        return -1;
    }
    if (ranges->count == 0) {
        return 0;
    }
    if (other.account == mailbox.account && other.id == mailbox.id) {
        from = &mailbox; /* one row has one copy in memory */
    }
    struct move_result result = {.source_uids = NULL};
    int done = expunge(s, c, from, ranges->items, 1, false, &result);
    c->new_modseq = result.modseq;
    return done;
}

static int do_append(struct store *s, struct store_change *c)
{
    struct ranges ranges;
    int result = 0;
    if (unpack(c, &ranges)) {
        result = append_messages(s, c, &ranges);
    } else {
        c->result = CHANGE_RESULT_REFUSED;
    }
    mem_free(ranges.items);
    return result;
}

int store_change_do(struct store *s, struct store_request *r)
{
    struct store_change *c = r->change;
    /* It may be done again after a rollback. */
    buf_clear(&c->all_keywords);
    buf_clear(&c->source_uids);
    buf_clear(&c->target_uids);
    switch (c->kind) {
    case CHANGE_KIND_APPEND: return do_append(s, c);
    case CHANGE_KIND_CREATE: return change_create(s, c);
    case CHANGE_KIND_METADATA: return change_metadata(s, c);
    case CHANGE_KIND_ACL: return change_acl(s, c);
    case CHANGE_KIND_DELETE: return change_delete(s, c);
    case CHANGE_KIND_RENAME: return change_rename(s, c);
    case CHANGE_KIND_SUBSCRIBE:
    case CHANGE_KIND_UNSUBSCRIBE: return change_subscribe(s, c);
    default: return do_in_mailbox(s, c);
    }
}

/* Answering. */

void store_change_answer(struct store *s, struct store_request *r, bool committed)
{
    struct store_change *c = r->change;
    struct role_peer *peer = role_peer_find(s->role, r->peer_kind, r->peer_instance);
    struct str source = buf_str(&c->source_uids);
    struct str target = buf_str(&c->target_uids);
    r->change = NULL;
    if (!committed || !buf_ok(&c->source_uids) || !buf_ok(&c->target_uids)) {
        answer_now(peer, r->ticket, CHANGE_RESULT_TEMPORARY);
        store_change_free(c);
        return;
    }
    do {
        struct mailbox_changed answer = {.ticket = r->ticket,
                                         .result = (uint8_t)c->result,
                                         .modseq = c->new_modseq,
                                         .uid_validity = c->uid_validity,
                                         .id = str_make(c->id, sizeof(c->id)),
                                         .keywords = buf_str(&c->all_keywords),
                                         .source_uids = str_sub(source, 0, ANSWER_OCTETS),
                                         .target_uids = str_sub(target, 0, ANSWER_OCTETS)};
        source = str_from(source, ANSWER_OCTETS);
        target = str_from(target, ANSWER_OCTETS);
        answer.more = source.len > 0 || target.len > 0;
        role_send(peer, &mailbox_changed_type, &answer);
    } while (source.len > 0 || target.len > 0);
    store_change_free(c);
}
