/* Copying, moving and expunging messages; see move.h. */
#include "store/move.h"

#include "base/mem.h"
#include "store/account.h"
#include "store/events.h"
#include "store/expunged.h"
#include "store/folder.h"
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>

enum {
    COLLECTED_MAX = 10000, /* messages that are removed with one statement */
    FILED_MAX = 256,       /* and that are filed with one */
    MANY = 4 /* from so many messages of one range on, one statement for all is faster than one for each */
};

/* Messages that have been found, collected so that rows can be changed after the reading. */
struct found {
    uint32_t uid;
    uint32_t recipient;
    struct ident record;
    uint64_t size;
    uint64_t internal_ms;
    uint64_t flags;
    /* Of the record. */
    int64_t segment;
    uint32_t octets;
    uint32_t refs;
};

struct collection {
    struct found *items;
    size_t count;
    size_t room;
    size_t at; /* for what goes over it once more, in order */
};

static struct found *add_found(struct collection *c)
{
    if (c->count == c->room) {
        size_t room = c->room == 0 ? 64 : c->room * 2;
        struct found *items = mem_realloc(c->items, room * sizeof(*items));
        if (items == NULL) {
            return NULL;
        }
        c->items = items;
        c->room = room;
    }
    return &c->items[c->count++];
}

static int no_memory(struct index *index)
{
    sqlite3_snprintf(sizeof(index->error), index->error, "out of memory");
    return -1;
}

static int collect_range(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                         struct collection *c)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_READ);
    if (q == NULL) {
        return -1;
    }
    sql_bind_range(q, mailbox, range);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct found *f = add_found(c);
        if (f == NULL || !sql_get_ident(q, 1, &f->record)) {
            sql_done(q);
            return no_memory(index);
        }
        f->uid = (uint32_t)sqlite3_column_int64(q, 0);
        f->recipient = (uint32_t)sqlite3_column_int64(q, 2);
        f->size = (uint64_t)sqlite3_column_int64(q, 3);
        f->internal_ms = (uint64_t)sqlite3_column_int64(q, 4);
        f->flags = 0;
        f->segment = sqlite3_column_int64(q, 6);
        f->octets = (uint32_t)sqlite3_column_int64(q, 8);
        f->refs = (uint32_t)sqlite3_column_int64(q, 9);
    }
    return index->error[0] == '\0' ? 0 : -1;
}

static int collect(struct index *index, const struct mailbox *mailbox, const struct uid_range *ranges,
                   size_t count, struct collection *c)
{
    int result = 0;
    *c = (struct collection){.items = NULL};
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = collect_range(index, mailbox, &ranges[i], c);
    }
    if (result != 0) {
        mem_free(c->items);
    }
    return result;
}

static bool take_flags(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct collection *c = context;
    (void)modseq;
    while (c->at < c->count && c->items[c->at].uid < uid) {
        c->at++;
    }
    if (c->at < c->count && c->items[c->at].uid == uid) {
        c->items[c->at].flags = flags;
    }
    return c->at < c->count;
}

int message_octets(struct index *index, const struct mailbox *mailbox, const struct uid_range *ranges,
                   size_t count, uint64_t *octets)
{
    *octets = 0;
    for (size_t i = 0; i < count; i++) {
        sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_OCTETS);
        if (q == NULL) {
            return -1;
        }
        sql_bind_range(q, mailbox, &ranges[i]);
        if (!sql_row(index, q)) {
            return -1;
        }
        *octets += (uint64_t)sqlite3_column_int64(q, 0);
        sql_done(q);
    }
    return 0;
}

/* References. */

static int by_octets(const void *a, const void *b)
{
    return memcmp(a, b, IDENT_SIZE);
}

/* Calls `again` for each time that a record comes again among these. */
static int those_again(struct index *index, const struct found *items, size_t count,
                       int (*again)(struct index *index, const struct ident *record))
{
    struct ident *sorted = mem_zalloc(count, sizeof(*sorted));
    int result = sorted == NULL ? no_memory(index) : 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        sorted[i] = items[i].record;
    }
    if (result == 0) {
        qsort(sorted, count, sizeof(*sorted), by_octets);
    }
    for (size_t i = 1; result == 0 && i < count; i++) {
        if (by_octets(&sorted[i - 1], &sorted[i]) == 0) {
            result = again(index, &sorted[i]);
        }
    }
    mem_free(sorted);
    return result;
}

static int record_keep_once(struct index *index, const struct ident *record)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_RECORD_ADD_REFS);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, record->bytes, IDENT_SIZE);
    sql_int(q, 2, 1);
    return sql_run(index, q);
}

/* A reference more for each record of a range's messages, which are these; a mailbox may have a message twice. */
static int keep_records(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                        const struct found *items, size_t count)
{
    size_t records = 0;
    int result = 0;
    if (count >= MANY) {
        result = records_keep(index, mailbox, range, &records);
        return result != 0 || records == count ? result : those_again(index, items, count, record_keep_once);
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = record_keep_once(index, &items[i].record);
    }
    return result;
}

/* The octets of records that end are dead. */
static int count_ending(struct index *index, const struct found *items, size_t count, size_t *ending)
{
    int64_t octets = 0;
    *ending = 0;
    for (size_t i = 0; i < count; i++) {
        bool ends = items[i].refs == 1;
        *ending += ends;
        octets += ends ? items[i].octets : 0;
        bool next = i + 1 < count && items[i + 1].segment == items[i].segment;
        if (!next && octets > 0 && segment_add_live(index, items[i].segment, -octets) != 0) {
            return -1;
        }
        octets = next ? octets : 0;
    }
    return 0;
}

/* A reference less for each record of a range's messages, which are these. */
static int release_records(struct index *index, const struct mailbox *mailbox, const struct uid_range *range,
                           const struct found *items, size_t count)
{
    size_t ending = 0;
    size_t ended = 0;
    size_t released = 0;
    int result = 0;
    if (count >= MANY) {
        if (count_ending(index, items, count, &ending) != 0 ||
            (ending > 0 && records_end(index, mailbox, range, &ended) != 0) ||
            (ending < count && records_release(index, mailbox, range, &released) != 0)) {
            return -1;
        }
        return ended + released == count ? 0 : those_again(index, items, count, record_release);
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = record_release(index, &items[i].record);
    }
    return result;
}

/* A reference more for each that is to be copied: those of one range at a time. */
static int keep_collected(struct index *index, const struct mailbox *from, const struct uid_range *ranges,
                          size_t count, const struct collection *c)
{
    size_t at = 0;
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        size_t begin = at;
        while (at < c->count && c->items[at].uid <= ranges[i].last) {
            at++;
        }
        result = keep_records(index, from, &ranges[i], c->items + begin, at - begin);
    }
    return result;
}

/* Keywords are numbered in each mailbox by itself: how the bits of one read in another. */
struct keyword_map {
    uint64_t bits[FLAGS_KEYWORDS_MAX];
};

static int map_keywords(struct index *index, const struct mailbox *from, const struct mailbox *to,
                        uint64_t used, struct keyword_map *map)
{
    struct buf names = buf_make(FLAGS_KEYWORDS_OCTETS);
    struct buf all = buf_make(FLAGS_KEYWORDS_OCTETS);
    struct str name;
    uint64_t bits;
    bool full;
    int result = 0;
    *map = (struct keyword_map){.bits = {0}};
    if (used >> FLAGS_KEYWORD_FIRST != 0) {
        result = flags_keywords(index, from, STR_EMPTY, &bits, &names, &full);
    }
    struct str rest = buf_str(&names);
    for (unsigned i = 0;
         result == 0 && i < FLAGS_KEYWORDS_MAX && rest.len > 0 && str_split(&rest, ' ', &name); i++) {
        char area[FLAGS_KEYWORDS_OCTETS];
        struct buf one = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if ((used >> (FLAGS_KEYWORD_FIRST + i) & 1) != 0 && buf_append_str(&one, name) &&
            buf_append_char(&one, ' ')) {
            buf_clear(&all);
            result = flags_keywords(index, to, buf_str(&one), &map->bits[i], &all, &full);
        }
    }
    buf_free(&names);
    buf_free(&all);
    return result;
}

static uint64_t mapped(const struct keyword_map *map, uint64_t flags)
{
    uint64_t result = flags & ((1ULL << FLAGS_KEYWORD_FIRST) - 1);
    for (unsigned i = 0; flags >> FLAGS_KEYWORD_FIRST != 0 && i < FLAGS_KEYWORDS_MAX; i++) {
        result |= (flags >> (FLAGS_KEYWORD_FIRST + i) & 1) != 0 ? map->bits[i] : 0;
    }
    return result;
}

/* Filing what was collected into another mailbox. */

/* How many from this one on have UIDs one after the other and the same flags, FILED_MAX at most. */
static size_t count_alike(const struct found *items, size_t count)
{
    size_t alike = 1;
    while (alike < count && alike < FILED_MAX && items[alike].uid == items[0].uid + alike &&
           items[alike].flags == items[0].flags) {
        alike++;
    }
    return alike;
}

static int file_alike(struct index *index, const struct mailbox *from, struct mailbox *to,
                      const struct found *items, size_t count, const struct filing *like)
{
    struct filing filings[FILED_MAX];
    uint32_t uid;
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        filings[i] = *like;
        filings[i].record = items[i].record;
        filings[i].recipient = items[i].recipient;
        filings[i].size = items[i].size;
        filings[i].internal_ms = items[i].internal_ms;
    }
    if (count >= MANY) {
        return messages_file_alike(index, from, items[0].uid, to, filings, count);
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = message_file(index, to, &filings[i], &uid);
    }
    return result;
}

static int file_collected(struct index *index, const struct mailbox *from, struct mailbox *to,
                          struct collection *c, uint64_t wall_ms, struct move_result *result)
{
    struct keyword_map map;
    uint64_t used = 0;
    if (c->count > 0 && flags_each(index, from, c->items[0].uid, 0, take_flags, c) != 0) {
        return -1;
    }
    for (size_t i = 0; i < c->count; i++) {
        c->items[i].flags &= ~result->lost;
        used |= c->items[i].flags;
    }
    if (map_keywords(index, from, to, used, &map) != 0) {
        return -1;
    }
    uint32_t uid = to->uid_next;
    for (size_t i = 0, alike; i < c->count; i += alike) {
        alike = count_alike(&c->items[i], c->count - i);
        struct filing like = {
            .saved_ms = wall_ms, .flags = mapped(&map, c->items[i].flags), .modseq = result->modseq};
        if (file_alike(index, from, to, &c->items[i], alike, &like) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; result->target_uids != NULL && i < c->count; i++, uid++) {
        if (!uid_ranges_append(result->source_uids, c->items[i].uid) ||
            !uid_ranges_append(result->target_uids, uid)) {
            return no_memory(index);
        }
    }
    return to->uid_next - to->paged_uid >= FLAGS_FOLD_AT ? flags_fold(index, to) : 0;
}

/* The account's next modification sequence, and what it holds changed by so much. */
static int next_modseq(struct index *index, int64_t account, int64_t octets, int64_t messages,
                       uint64_t *modseq)
{
    struct account row;
    if (account_by_id(index, account, &row) != 1) {
        return -1;
    }
    *modseq = row.modseq + 1;
    return account_count(index, account, octets, messages, *modseq);
}

int copy_messages(struct index *index, struct mailbox *from, struct mailbox *to,
                  const struct uid_range *ranges, size_t count, uint64_t wall_ms, struct move_result *result)
{
    struct collection c;
    uint64_t octets = 0;
    if (collect(index, from, ranges, count, &c) != 0) {
        return -1;
    }
    for (size_t i = 0; i < c.count; i++) {
        octets += c.items[i].size;
    }
    int done = next_modseq(index, to->account, (int64_t)octets, (int64_t)c.count, &result->modseq);
    done = done == 0 ? keep_collected(index, from, ranges, count, &c) : done;
    if (done == 0) {
        done = file_collected(index, from, to, &c, wall_ms, result);
    }
    mem_free(c.items);
    return done == 0 ? mailbox_set(index, to) : -1;
}

/* Removing. */

struct removal {
    struct index *index;
    struct mailbox *mailbox;
    struct buf uids; /* packed ranges */
    uint64_t octets;
    int64_t messages;
    const struct expunge_note *note; /* may be NULL */
};

static int take_uid(void *context, uint32_t uid, uint64_t flags)
{
    struct removal *r = context;
    (void)flags;
    return uid_ranges_append(&r->uids, uid) ? 0 : no_memory(r->index);
}

static int note_removed(struct index *index, const struct expunge_note *note, const struct collection *c)
{
    struct buf messages = buf_make(SIZE_MAX / 2);
    for (size_t i = 0; i < c->count; i++) {
        journal_pack(&messages, &c->items[i].record, c->items[i].uid);
    }
    int result = buf_ok(&messages) ? journal_add_each(index, buf_str(&messages), note->wall_ms,
                                                      JOURNAL_EXPUNGED, note->before, note->after)
                                   : no_memory(index);
    buf_free(&messages);
    return result;
}

static int remove_collected(struct removal *r, const struct uid_range *range, const struct collection *c)
{
    for (size_t i = 0; i < c->count; i++) {
        events_expunged(r->index, r->mailbox->account, r->mailbox->id, c->items[i].uid);
        r->octets += c->items[i].size;
    }
    r->messages += (int64_t)c->count;
    if (release_records(r->index, r->mailbox, range, c->items, c->count) != 0 ||
        (r->note != NULL && note_removed(r->index, r->note, c) != 0)) {
        return -1;
    }
    sqlite3_stmt *q = sql_prepare(r->index, SQL_MESSAGE_REMOVE);
    if (q == NULL) {
        return -1;
    }
    sql_bind_range(q, r->mailbox, range);
    return sql_run(r->index, q);
}

/* All that the ranges of r->uids have, so many at a time that what is collected of them stays small. */
static int remove_taken(struct removal *r)
{
    struct str packed = buf_str(&r->uids);
    struct uid_range range;
    int result = 0;
    while (result == 0 && uid_ranges_next(&packed, &range)) {
        for (uint64_t first = range.first; result == 0 && first <= range.last; first += COLLECTED_MAX) {
            uint64_t last = first + COLLECTED_MAX - 1;
            struct uid_range part = {(uint32_t)first, last < range.last ? (uint32_t)last : range.last};
            struct collection c;
            result = collect(r->index, r->mailbox, &part, 1, &c);
            if (result == 0) {
                result = remove_collected(r, &part, &c);
                mem_free(c.items);
            }
        }
    }
    r->mailbox->octets -= r->octets;
    return result;
}

int expunge_messages(struct index *index, struct mailbox *mailbox, const struct uid_range *ranges,
                     size_t count, bool deleted_only, const struct expunge_note *note,
                     struct move_result *result)
{
    struct removal removal = {.index = index, .mailbox = mailbox, .uids = buf_make(64 << 20), .note = note};
    int done = flags_take(index, mailbox, ranges, count, deleted_only, take_uid, &removal);
    done = done == 0 ? remove_taken(&removal) : done;
    result->modseq = mailbox->modseq;
    if (done == 0 && removal.messages > 0) {
        done = next_modseq(index, mailbox->account, -(int64_t)removal.octets, -removal.messages,
                           &result->modseq);
        mailbox->modseq = done == 0 ? result->modseq : mailbox->modseq;
    }
    if (done == 0 && removal.messages > 0) {
        done = expunged_note(index, mailbox, result->modseq, buf_str(&removal.uids));
    }
    if (done == 0 && result->source_uids != NULL &&
        !buf_append_str(result->source_uids, buf_str(&removal.uids))) {
        done = no_memory(index);
    }
    buf_free(&removal.uids);
    return done == 0 ? mailbox_set(index, mailbox) : -1;
}

int expunge_all(struct index *index, struct mailbox *mailbox)
{
    struct uid_range all = {1, UINT32_MAX};
    struct move_result result = {.source_uids = NULL};
    return expunge_messages(index, mailbox, &all, 1, false, NULL, &result);
}

int message_remove(struct index *index, struct mailbox *mailbox, uint32_t uid)
{
    struct uid_range one = {uid, uid};
    struct move_result result = {.source_uids = NULL};
    uint32_t before = mailbox->messages;
    return expunge_messages(index, mailbox, &one, 1, false, NULL, &result) == 0 ? before != mailbox->messages
                                                                                : -1;
}

int account_remove_messages(struct index *index, int64_t account, int max)
{
    int count = 0;
    int64_t id = 0;
    uint32_t last = 0;
    struct mailbox mailbox;
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_OF_ACCOUNT);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, account);
    sql_int(q, 2, max);
    index->error[0] = '\0';
    /* In the order of mailboxes and UIDs: those of the first mailbox. */
    while (sql_row(index, q)) {
        if (count > 0 && sqlite3_column_int64(q, 0) != id) {
            sql_done(q);
            break;
        }
        id = sqlite3_column_int64(q, 0);
        last = (uint32_t)sqlite3_column_int64(q, 1);
        count++;
    }
    if (index->error[0] != '\0' || count == 0) {
        return index->error[0] != '\0' ? -1 : 0;
    }
    struct uid_range range = {1, last};
    struct move_result result = {.source_uids = NULL};
    if (mailbox_find(index, account, id, &mailbox) != 1 ||
        expunge_messages(index, &mailbox, &range, 1, false, NULL, &result) != 0) {
        return -1;
    }
    return count;
}

int move_messages(struct index *index, struct mailbox *from, struct mailbox *to,
                  const struct uid_range *ranges, size_t count, uint64_t wall_ms, struct move_result *result)
{
    struct move_result removed = {.source_uids = NULL};
    /* Copied first: the record is never without a reference. */
    return copy_messages(index, from, to, ranges, count, wall_ms, result) == 0 &&
                   expunge_messages(index, from, ranges, count, false, NULL, &removed) == 0
               ? 0
               : -1;
}

int move_all(struct index *index, struct mailbox *from, struct mailbox *to, uint64_t wall_ms)
{
    struct uid_range all = {1, UINT32_MAX};
    struct move_result result = {.source_uids = NULL};
    return move_messages(index, from, to, &all, 1, wall_ms, &result);
}
