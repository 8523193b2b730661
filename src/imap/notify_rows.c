/*
 * How the mailboxes of an account differ from what a client knows of them, told as RFC 5465, section 5 wants it: LIST for names and
 * subscriptions, STATUS for messages and flags, METADATA for annotations.
 */
#include "imap/notify_private.h"

#include "imap/rows_private.h"

#include "base/mem.h"

#include <stdlib.h>

enum {
    TOLD = ATTRIBUTE_NONEXISTENT | ATTRIBUTE_NOACCESS | ATTRIBUTE_CHILDREN | ATTRIBUTE_SUBSCRIBED |
           ATTRIBUTE_SPECIAL,
    OF_MESSAGES = NOTIFY_MESSAGES | NOTIFY_FLAGS
};

/* A LIST response to come. */
struct telling {
    struct str name;
    struct str old_name; /* empty: it was not renamed */
};

/* Where a mailbox stands among rows that are sorted by names. */
struct place {
    unsigned char id[IMAP_MAILBOX_ID_SIZE];
    size_t at;
};

struct places {
    struct place *places; /* by rising ids */
    size_t count;
};

struct difference {
    const struct imap_server *s;
    const struct imap_notify *n;
    struct places before;
    struct places now;
    struct buf tellings;
};

/* Identities. */

static const unsigned char no_id[IMAP_MAILBOX_ID_SIZE];

/* Those that the client may not read have none that it knows. */
static bool has_id(const struct imap_row *row)
{
    return row != NULL && row->exists && memcmp(row->id, no_id, sizeof(no_id)) != 0;
}

static int compare_places(const void *a, const void *b)
{
    return memcmp(((const struct place *)a)->id, ((const struct place *)b)->id, IMAP_MAILBOX_ID_SIZE);
}

static bool find_places(const struct imap_kept_row *rows, size_t count, struct places *found)
{
    found->count = 0;
    found->places = mem_alloc((count + 1) * sizeof(*found->places));
    if (found->places == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (has_id(&rows[i].row)) {
            struct place *place = &found->places[found->count++];
            memcpy(place->id, rows[i].row.id, sizeof(place->id));
            place->at = i;
        }
    }
    qsort(found->places, found->count, sizeof(*found->places), compare_places);
    return true;
}

static const struct imap_row *row_of_id(const struct imap_kept_row *rows, const struct places *places,
                                        const unsigned char *id)
{
    struct place key = {.at = 0};
    memcpy(key.id, id, sizeof(key.id));
    const struct place *place = bsearch(&key, places->places, places->count, sizeof(key), compare_places);
    return place == NULL ? NULL : &rows[place->at].row;
}

/* What the client knows this mailbox as; NULL: nothing. */
static const struct imap_row *row_before(const struct difference *d, const struct imap_row *now)
{
    return has_id(now) ? row_of_id(d->n->rows, &d->before, now->id) : NULL;
}

static const struct imap_row *row_of_name(const struct imap_kept_row *rows, size_t count, struct str name)
{
    size_t at = imap_find_row(rows, count, name);
    return at < count && str_equal(rows[at].row.name, name) ? &rows[at].row : NULL;
}

/* Names. */

static void add_telling(struct difference *d, struct str name, struct str old_name)
{
    struct telling telling = {name, old_name};
    buf_append(&d->tellings, &telling, sizeof(telling));
}

static bool wants(const struct difference *d, struct str name, bool subscribed, unsigned events)
{
    return (notify_events(d->s, d->n, name, subscribed) & events) != 0;
}

/* RFC 5465, section 5.4: made or removed, a mailbox is told together with the one above it. */
static void note_made_or_removed(struct difference *d, struct str name, bool subscribed)
{
    size_t slash = str_find_last(name, '/');
    if (notify_is_own(d->n, name, STR_EMPTY)) {
        return;
    }
    if (wants(d, name, subscribed, NOTIFY_NAMES)) {
        add_telling(d, name, STR_EMPTY);
    }
    if (slash == SIZE_MAX || slash == 0) {
        return;
    }
    struct str parent = str_sub(name, 0, slash);
    const struct imap_row *row = row_of_name(d->s->rows, d->s->row_count, parent);
    if (wants(d, parent, row != NULL && row->subscribed, NOTIFY_NAMES)) {
        add_telling(d, parent, STR_EMPTY);
    }
}

/* Whether one above it was renamed, and it with that. */
static bool moved_with_parent(const struct difference *d, struct str from, struct str to)
{
    size_t from_slash = str_find_last(from, '/');
    size_t to_slash = str_find_last(to, '/');
    while (from_slash != SIZE_MAX && to_slash != SIZE_MAX &&
           str_equal(str_from(from, from_slash), str_from(to, to_slash))) {
        from = str_sub(from, 0, from_slash);
        to = str_sub(to, 0, to_slash);
        const struct imap_row *above = row_before(d, row_of_name(d->s->rows, d->s->row_count, to));
        if (above != NULL && str_equal(above->name, from) && !str_equal(from, to)) {
            return true;
        }
        from_slash = str_find_last(from, '/');
        to_slash = str_find_last(to, '/');
    }
    return false;
}

static void note_renamed(struct difference *d, const struct imap_row *before, const struct imap_row *now)
{
    bool wanted = wants(d, now->name, now->subscribed, NOTIFY_NAMES) ||
                  wants(d, before->name, before->subscribed, NOTIFY_NAMES);
    if (wanted && !notify_is_own(d->n, now->name, STR_EMPTY) &&
        !moved_with_parent(d, before->name, now->name)) {
        add_telling(d, now->name, before->name);
    }
}

/* One name: what it meant and what it means; each may be NULL. */
static void compare_name(struct difference *d, struct str name, const struct imap_row *before,
                         const struct imap_row *now)
{
    bool had = before != NULL && before->exists;
    bool has = now != NULL && now->exists;
    bool was_subscribed = before != NULL && before->subscribed;
    bool is_subscribed = now != NULL && now->subscribed;
    bool other =
        had && has && has_id(before) && has_id(now) && memcmp(before->id, now->id, sizeof(now->id)) != 0;
    const struct imap_row *source = !had || other ? row_before(d, now) : NULL;
    bool left = (!has || other) && has_id(before) && row_of_id(d->s->rows, &d->now, before->id) != NULL;
    if (source != NULL) {
        note_renamed(d, source, now);
    } else if ((has && (!had || other)) || (had && !has && !left)) {
        note_made_or_removed(d, name, is_subscribed || was_subscribed);
    } else if (had && has && ((before->rights ^ now->rights) & RIGHT_READ) != 0 &&
               wants(d, name, is_subscribed, OF_MESSAGES)) {
        add_telling(d, name, STR_EMPTY);
    }
    if (was_subscribed != is_subscribed && !notify_is_own(d->n, name, STR_EMPTY) &&
        wants(d, name, true, NOTIFY_SUBSCRIPTIONS)) {
        add_telling(d, name, STR_EMPTY);
    }
}

static void compare_names(struct difference *d)
{
    const struct imap_kept_row *before = d->n->rows;
    const struct imap_kept_row *now = d->s->rows;
    size_t b = 0;
    size_t i = 0;
    while (b < d->n->row_count || i < d->s->row_count) {
        int order = b == d->n->row_count   ? 1
                    : i == d->s->row_count ? -1
                                           : str_compare(before[b].row.name, now[i].row.name);
        compare_name(d, order <= 0 ? before[b].row.name : now[i].row.name, order <= 0 ? &before[b].row : NULL,
                     order >= 0 ? &now[i].row : NULL);
        b += order <= 0;
        i += order >= 0;
    }
}

static void write_list(const struct imap_server *s, const struct imap_row *row, struct str old_name,
                       struct buf *out)
{
    buf_append_lit(out, "* LIST ");
    imap_write_attributes(s, row, TOLD, out);
    buf_append_lit(out, " \"/\" ");
    imap_name_write(s, row->name, out);
    if (old_name.len > 0) {
        buf_append_lit(out, " (\"OLDNAME\" (");
        imap_name_write(s, old_name, out);
        buf_append_lit(out, "))");
    }
    buf_append_lit(out, "\r\n");
}

/* By names; of the same name that one first which has an old one. */
static int compare_tellings(const void *a, const void *b)
{
    const struct telling *x = a;
    const struct telling *y = b;
    int order = str_compare(x->name, y->name);
    return order != 0 ? order : (x->old_name.len == 0) - (y->old_name.len == 0);
}

static void write_lists(struct difference *d, struct buf *out)
{
    struct telling *tellings = (struct telling *)(void *)d->tellings.data;
    size_t count = d->tellings.len / sizeof(*tellings);
    if (count > 1) {
        qsort(tellings, count, sizeof(*tellings), compare_tellings);
    }
    for (size_t i = 0; i < count; i++) {
        const struct imap_row *row = row_of_name(d->s->rows, d->s->row_count, tellings[i].name);
        struct imap_row none = {.name = tellings[i].name};
        if (i == 0 || !str_equal(tellings[i].name, tellings[i - 1].name)) {
            write_list(d->s, row == NULL ? &none : row, tellings[i].old_name, out);
        }
    }
}

/* Messages. */

/* What of a mailbox has to be told; `before` may be NULL: the client knew nothing of it. */
static unsigned status_items(const struct imap_server *s, unsigned events, const struct imap_row *before,
                             const struct imap_row *now)
{
    static const struct imap_row empty = {.uid_next = 1};
    bool known = before != NULL && before->exists && (before->rights & RIGHT_READ) != 0;
    const struct imap_row *old = known ? before : &empty;
    bool replaced = known && old->uid_validity != now->uid_validity;
    bool counted = replaced || old->messages != now->messages || (known && old->uid_next != now->uid_next);
    bool flagged = replaced || (known ? old->modseq != now->modseq : counted);
    unsigned sequence = imap_is_enabled(s, IMAP_ENABLED_CONDSTORE) ? STATUS_HIGHESTMODSEQ : 0;
    unsigned items = 0;
    if ((events & NOTIFY_MESSAGES) != 0 && counted) {
        items |= (unsigned)(STATUS_MESSAGES | STATUS_UIDNEXT) | sequence |
                 (replaced ? (unsigned)STATUS_UIDVALIDITY : 0);
    }
    if ((events & NOTIFY_FLAGS) != 0 && flagged &&
        (sequence != 0 || replaced || old->unseen != now->unseen)) {
        items |= (unsigned)(STATUS_UIDVALIDITY | STATUS_UNSEEN) | sequence;
    }
    return items;
}

static void write_statuses(const struct difference *d, struct buf *out)
{
    const struct imap_server *s = d->s;
    for (size_t i = 0; i < s->row_count; i++) {
        const struct imap_row *now = &s->rows[i].row;
        if (!now->exists || (now->rights & RIGHT_READ) == 0 || imap_is_selected(s, now->name)) {
            continue;
        }
        unsigned events = notify_events(d->s, d->n, now->name, now->subscribed);
        const struct imap_row *before =
            (events & OF_MESSAGES) == 0 ? NULL : row_of_name(d->n->rows, d->n->row_count, now->name);
        const struct imap_row *moved = (events & OF_MESSAGES) == 0 ? NULL : row_before(d, now);
        unsigned items = status_items(s, events, moved != NULL ? moved : before, now);
        if (items != 0) {
            imap_write_status(s, now, items, out);
        }
    }
}

bool notify_tell_rows(const struct imap_server *s, const struct imap_notify *n, struct buf *out)
{
    struct difference d = {
        .s = s, .n = n, .tellings = buf_make(4 * (size_t)(2 * NOTIFY_ROWS_MAX) * sizeof(struct telling))};
    bool fine = find_places(n->rows, n->row_count, &d.before) && find_places(s->rows, s->row_count, &d.now);
    if (fine) {
        compare_names(&d);
        write_lists(&d, out);
        write_statuses(&d, out);
    }
    fine = fine && buf_ok(&d.tellings);
    buf_free(&d.tellings);
    mem_free(d.before.places);
    mem_free(d.now.places);
    return fine;
}

void notify_tell_first(const struct imap_server *s, const struct imap_notify *n, struct buf *out)
{
    for (size_t i = 0; i < s->row_count; i++) {
        const struct imap_row *row = &s->rows[i].row;
        unsigned events = notify_events(s, n, row->name, row->subscribed);
        if (!row->exists || events == 0) {
            continue;
        }
        if ((row->rights & RIGHT_READ) == 0) {
            write_list(s, row, STR_EMPTY, out);
        } else if (n->tell_status && (events & OF_MESSAGES) != 0 && !imap_is_selected(s, row->name)) {
            imap_write_status(s, row,
                              (unsigned)(STATUS_MESSAGES | STATUS_UIDNEXT | STATUS_UIDVALIDITY) |
                                  ((events & NOTIFY_FLAGS) != 0 ? (unsigned)STATUS_HIGHESTMODSEQ : 0),
                              out);
        }
    }
}

/* Annotations. */

enum { ANNOTATION_HEAD = 12 };

struct annotation {
    struct str mailbox;
    struct str entry;
    uint64_t value; /* hash */
};

/* FNV-1a: whether a value is another one. */
static uint64_t hash(struct str text)
{
    uint64_t sum = 0xcbf29ce484222325ULL ^ text.len;
    for (size_t i = 0; i < text.len; i++) {
        sum = (sum ^ (unsigned char)text.data[i]) * 0x100000001b3ULL;
    }
    return sum;
}

bool notify_annotation_came(struct imap_server *s, struct str mailbox, struct str entry, struct str value)
{
    struct imap_notify *n = s->command == NULL || s->idling ? s->notify : s->data;
    return buf_append_le16(&n->fresh, (uint16_t)mailbox.len) &&
           buf_append_le16(&n->fresh, (uint16_t)entry.len) && buf_append_le64(&n->fresh, hash(value)) &&
           buf_append_str(&n->fresh, mailbox) && buf_append_str(&n->fresh, entry);
}

static bool next_annotation(struct str *rest, struct annotation *a)
{
    if (rest->len < ANNOTATION_HEAD) {
        return false;
    }
    a->mailbox = str_make(rest->data + ANNOTATION_HEAD, read_le16(rest->data));
    a->entry = str_make(a->mailbox.data + a->mailbox.len, read_le16(rest->data + 2));
    a->value = read_le64(rest->data + 4);
    *rest = str_from(*rest, ANNOTATION_HEAD + a->mailbox.len + a->entry.len);
    return true;
}

static int compare_annotations(const struct annotation *a, const struct annotation *b)
{
    int order = str_compare(a->mailbox, b->mailbox);
    return order != 0 ? order : str_compare(a->entry, b->entry);
}

/* Of mailboxes that have come, gone or got another name annotations are not told: the client asks for what it needs. */
static bool tells_annotations(const struct imap_server *s, const struct imap_notify *n, struct str mailbox)
{
    if (mailbox.len == 0) {
        unsigned events = 0;
        for (size_t i = 0; i < n->group_count; i++) {
            events |= n->groups[i].events;
        }
        return (events & NOTIFY_SERVER_METADATA) != 0;
    }
    const struct imap_row *before = row_of_name(n->rows, n->row_count, mailbox);
    const struct imap_row *now = row_of_name(s->rows, s->row_count, mailbox);
    return before != NULL && now != NULL && before->exists && now->exists &&
           memcmp(before->id, now->id, sizeof(now->id)) == 0 &&
           (notify_events(s, n, mailbox, now->subscribed) & NOTIFY_METADATA) != 0;
}

/* "* METADATA name entry entry": the names of those that have another value, or none any more. */
void notify_tell_annotations(const struct imap_server *s, const struct imap_notify *n, struct buf *out)
{
    struct str old = buf_str(&n->annotations);
    struct str fresh = buf_str(&n->fresh);
    struct annotation a = {.value = 0};
    struct annotation b = {.value = 0};
    struct str under_way = {NULL, 0}; /* the mailbox whose line is open */
    bool has_old = next_annotation(&old, &a);
    bool has_fresh = next_annotation(&fresh, &b);
    while (has_old || has_fresh) {
        int order = !has_old ? 1 : !has_fresh ? -1 : compare_annotations(&a, &b);
        const struct annotation *one = order <= 0 ? &a : &b;
        if ((order != 0 || a.value != b.value) && tells_annotations(s, n, one->mailbox) &&
            !notify_is_own(n, one->mailbox, one->entry)) {
            if (under_way.data == NULL || !str_equal(under_way, one->mailbox)) {
                buf_append_str(out, under_way.data == NULL ? STR("* METADATA ") : STR("\r\n* METADATA "));
                imap_name_write(s, one->mailbox, out);
                under_way = one->mailbox;
            }
            buf_append_char(out, ' ');
            buf_append_str(out, one->entry);
        }
        has_old = order <= 0 ? next_annotation(&old, &a) : has_old;
        has_fresh = order >= 0 ? next_annotation(&fresh, &b) : has_fresh;
    }
    if (under_way.data != NULL) {
        buf_append_lit(out, "\r\n");
    }
}
