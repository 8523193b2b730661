/*
 * Searches whose results are kept up to date (RFC 5267, section 4.3): each holds its program and the UIDs that match, and looks
 * again at every message that has changed since. For SEARCH alone: the order of a SORT is not kept, which NOUPDATE says.
 */
#include "imap/fetch_private.h"
#include "imap/search_private.h"

#include "base/mem.h"
#include "message/header.h"
#include "message/summary.h"

enum { CONTEXT_ARENA_MAX = 256 << 10 };

struct imap_context {
    struct imap_context *next;
    struct arena arena; /* of the tag, the keys and the program */
    struct str tag;
    bool by_uid;
    struct search_program program;
    struct imap_set members; /* UIDs */
    uint64_t modseq;         /* changes up to this one have been looked at */
    struct fetch *items;     /* that are told of new messages; NULL: none */
    struct imap_set fresh;   /* new messages in the result, of which they are still to be told */
    /* The update under way. */
    struct imap_set good;    /* changed, and match */
    struct imap_set unknown; /* have to be read */
    struct imap_set asked;   /* changed */
};

static void free_context(struct imap_context *c)
{
    search_program_free(&c->program);
    imap_set_free(&c->members);
    imap_set_free(&c->good);
    imap_set_free(&c->unknown);
    imap_set_free(&c->asked);
    imap_set_free(&c->fresh);
    mem_free(c->items);
    arena_free(&c->arena);
    mem_free(c);
}

void imap_contexts_free(struct imap_server *s)
{
    while (s->selected.contexts != NULL) {
        struct imap_context *c = s->selected.contexts;
        s->selected.contexts = c->next;
        free_context(c);
    }
    buf_free(&s->context_text);
    s->context = NULL;
}

static struct imap_context **find(struct imap_server *s, struct str tag)
{
    struct imap_context **link = &s->selected.contexts;
    while (*link != NULL && !str_equal((*link)->tag, tag)) {
        link = &(*link)->next;
    }
    return link;
}

bool imap_context_exists(struct imap_server *s, struct str tag)
{
    return *find(s, tag) != NULL;
}

bool imap_context_scan_items(struct imap_server *s, struct imap_scan *scan, struct str *items)
{
    struct imap_scan ahead = *scan;
    if (!imap_scan_space(&ahead) || imap_scan_peek(&ahead) != '(') {
        return true;
    }
    struct fetch *fetch = mem_new(struct fetch);
    struct str text = ahead.rest;
    *scan = ahead;
    bool fine = fetch != NULL && fetch_parse_items(s, scan, fetch);
    *items = str_sub(text, 0, text.len - scan->rest.len);
    mem_free(fetch);
    return fine;
}

static bool parse_items(struct imap_server *s, struct imap_context *c, struct str items)
{
    struct imap_scan scan = imap_scan_make(items, &s->arena, true);
    if (items.len == 0) {
        return true;
    }
    c->items = mem_new(struct fetch);
    return c->items != NULL && items.data != NULL && fetch_parse_items(s, &scan, c->items);
}

/* The program is read again, from a copy of its keys, into memory that stays. */
static bool parse(struct imap_server *s, struct imap_context *c, struct str keys, struct str items)
{
    struct str copy = arena_copy(&c->arena, keys);
    struct str charset = s->search_charset;
    c->tag = arena_copy(&c->arena, s->tag);
    items = arena_copy(&c->arena, items);
    if (copy.data == NULL || c->tag.data == NULL) {
        return false;
    }
    struct arena command = s->arena;
    s->arena = c->arena;
    struct imap_scan scan = imap_scan_make(copy, &s->arena, true);
    bool fine = search_parse(s, &scan, s->wall_ms, &c->program) && parse_items(s, c, items);
    c->arena = s->arena;
    s->arena = command;
    s->search_charset = charset;
    return fine;
}

static bool add(struct imap_server *s, struct str keys, struct str items, const uint32_t *uids, size_t count)
{
    size_t contexts = 0;
    for (const struct imap_context *c = s->selected.contexts; c != NULL; c = c->next) {
        contexts++;
    }
    struct imap_context *c = contexts < SEARCH_CONTEXTS_MAX ? mem_new(struct imap_context) : NULL;
    if (c == NULL) {
        return false;
    }
    c->arena = arena_make(CONTEXT_ARENA_MAX);
    c->by_uid = s->by_uid;
    c->modseq = s->selected.view.modseq;
    bool fine = parse(s, c, keys, items);
    for (size_t i = 0; i < count && fine; i++) {
        fine = imap_set_append(&c->members, uids[i], uids[i]);
    }
    if (!fine) {
        free_context(c);
        return false;
    }
    *find(s, STR_EMPTY) = c; /* at the end of the list: no tag is empty */
    return true;
}

void imap_context_add(struct imap_server *s, struct str keys, struct str items, const uint32_t *uids,
                      size_t count, struct buf *out)
{
    if (uids == NULL || !add(s, keys, items, uids, count)) {
        buf_append_lit(out, "* NO [NOUPDATE ");
        imap_string_write(s, s->tag, out);
        buf_append_lit(out, "] This result is not kept up to date\r\n");
    }
}

/* Updates. */

static bool tells_uids(const struct imap_server *s, const struct imap_context *c)
{
    return c->by_uid || imap_is_enabled(s, IMAP_ENABLED_UIDONLY); /* that may have been enabled since */
}

static void write_numbers(struct imap_server *s, const struct imap_context *c, const struct imap_set *uids,
                          struct buf *out)
{
    const struct imap_view *view = &s->selected.view;
    struct imap_set numbers = imap_set_make();
    if (tells_uids(s, c)) {
        imap_set_write(uids, out);
        return;
    }
    for (size_t i = 0; i < view->count; i++) {
        if (imap_set_contains(uids, view->entries[i].uid)) {
            out->failed = !imap_set_append(&numbers, (uint32_t)i + 1, (uint32_t)i + 1) || out->failed;
        }
    }
    imap_set_write(&numbers, out);
    imap_set_free(&numbers);
}

static void write_update(struct imap_server *s, const struct imap_context *c, const char *word,
                         const struct imap_set *uids, struct buf *out)
{
    if (uids->count == 0) {
        return;
    }
    buf_append_lit(out, "* ESEARCH (TAG ");
    imap_string_write(s, c->tag, out);
    buf_append_str(out, tells_uids(s, c) ? STR(") UID ") : STR(") "));
    buf_append_str(out, str_of(word));
    buf_append_lit(out, " (0 ");
    write_numbers(s, c, uids, out);
    buf_append_lit(out, ")\r\n");
}

/* Before they are told to be expunged: numbers are still those that the client knows. */
void imap_contexts_expunge(struct imap_server *s, struct buf *out)
{
    const struct imap_view *view = &s->selected.view;
    for (struct imap_context *c = s->selected.contexts; c != NULL; c = c->next) {
        struct imap_set gone = imap_set_make();
        struct imap_set kept = imap_set_make();
        bool fine = true;
        for (size_t i = 0; i < view->count && fine; i++) {
            uint32_t uid = view->entries[i].uid;
            if (imap_set_contains(&c->members, uid)) {
                fine = imap_set_append(view->entries[i].gone ? &gone : &kept, uid, uid);
            }
        }
        out->failed = out->failed || !fine;
        write_update(s, c, "REMOVEFROM", &gone, out);
        imap_set_free(&c->members);
        c->members = kept;
        imap_set_free(&gone);
    }
}

static void end_update(struct imap_context *c)
{
    imap_set_clear(&c->good);
    imap_set_clear(&c->asked);
    imap_set_clear(&c->unknown);
}

/* What the update has found out is told. */
static void settle(struct imap_server *s, struct imap_context *c, struct buf *out)
{
    const struct imap_view *view = &s->selected.view;
    c->modseq = view->modseq;
    if (c->asked.count == 0) {
        return;
    }
    struct imap_set added = imap_set_make();
    struct imap_set removed = imap_set_make();
    struct imap_set members = imap_set_make();
    bool fine = true;
    for (size_t i = 0; i < view->count && fine; i++) {
        uint32_t uid = view->entries[i].uid;
        bool was = imap_set_contains(&c->members, uid);
        bool is = imap_set_contains(&c->asked, uid) ? imap_set_contains(&c->good, uid) : was;
        fine = (!is || imap_set_append(&members, uid, uid)) &&
               (!is || was || imap_set_append(&added, uid, uid)) &&
               (!is || was || c->items == NULL || i < s->new_from || imap_set_append(&c->fresh, uid, uid)) &&
               (is || !was || imap_set_append(&removed, uid, uid));
    }
    out->failed = out->failed || !fine;
    write_update(s, c, "REMOVEFROM", &removed, out);
    write_update(s, c, "ADDTO", &added, out);
    imap_set_free(&c->members);
    c->members = members;
    imap_set_free(&added);
    imap_set_free(&removed);
    end_update(c);
}

/* Numbers of keywords may have been given since the search was read. */
static void refresh_keywords(const struct imap_server *s, struct search_program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        struct search_node *node = &program->nodes[i];
        if (node->field.len > 0 && (node->op == SEARCH_NOTHING || node->op == SEARCH_FLAGS)) {
            node->number = imap_flag_bit(s, node->field);
            node->op = node->number == 0 ? SEARCH_NOTHING : SEARCH_FLAGS;
        }
    }
}

/* False without memory. */
static bool look_at_changes(struct imap_server *s, struct imap_context *c)
{
    const struct imap_view *view = &s->selected.view;
    bool fine = true;
    refresh_keywords(s, &c->program);
    for (size_t i = 0; i < view->count && fine; i++) {
        const struct imap_entry *entry = &view->entries[i];
        if (entry->modseq <= c->modseq || entry->gone) {
            continue;
        }
        struct search_subject subject = {.entry = entry};
        enum search_value value = search_evaluate(&c->program, &subject);
        fine = imap_set_append(&c->asked, entry->uid, entry->uid) &&
               (value != SEARCH_TRUE || imap_set_append(&c->good, entry->uid, entry->uid)) &&
               (value != SEARCH_UNKNOWN || imap_set_append(&c->unknown, entry->uid, entry->uid));
    }
    return fine;
}

/* What had to be read: an update of its own, of which only what matches is needed. */
static void judge(struct imap_server *s, struct str text, bool has_body)
{
    struct imap_context *c = s->context;
    struct search_subject subject = {.entry = s->context_entry,
                                     .message = &s->context_message,
                                     .has_header = true,
                                     .has_body = has_body,
                                     .text = has_body ? text : str_sub(text, 0, header_end(text))};
    if (s->context_entry != NULL && search_evaluate(&c->program, &subject) == SEARCH_TRUE) {
        s->context_failed =
            !imap_set_append(&s->context_good, s->context_entry->uid, s->context_entry->uid) ||
            s->context_failed;
    }
}

static bool message_came(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    struct str fields = STR_EMPTY;
    (void)out;
    s->context_entry = imap_view_entry(&s->selected.view, message->uid);
    s->context_message = *message;
    buf_clear(&s->context_text);
    if (imap_message_has_octets(&s->ask, message)) {
        return true;
    }
    if (message->summary.len > 0 && !search_summary_fields(message, &fields)) {
        return false;
    }
    judge(s, fields, false);
    return !s->context_failed;
}

static bool bytes_came(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    (void)out;
    s->context_failed = !buf_append_str(&s->context_text, bytes) || s->context_failed;
    if (last) {
        judge(s, buf_str(&s->context_text), s->ask.length == UINT64_MAX);
    }
    return !s->context_failed;
}

static enum imap_request update_next(struct imap_server *s, struct buf *out);

/* Those that the view could decide, and those that were read, in the order of UIDs. */
static bool merge_good(struct imap_server *s, struct imap_context *c)
{
    struct imap_set all = imap_set_make();
    bool fine = !s->context_failed;
    for (size_t i = 0; i < s->selected.view.count && fine; i++) {
        uint32_t uid = s->selected.view.entries[i].uid;
        if (imap_set_contains(&c->good, uid) || imap_set_contains(&s->context_good, uid)) {
            fine = imap_set_append(&all, uid, uid);
        }
    }
    imap_set_free(&s->context_good);
    imap_set_free(&c->good);
    c->good = all;
    return fine;
}

static enum imap_request read_all(struct imap_server *s, struct buf *out)
{
    struct imap_context *c = s->context;
    buf_free(&s->context_text);
    s->message = NULL;
    s->bytes = NULL;
    if (s->answer == IMAP_DONE) {
        out->failed = !merge_good(s, c) || out->failed;
        settle(s, c, out);
    } else { /* looked at again next time */
        imap_set_free(&s->context_good);
        end_update(c);
    }
    s->context = c->next;
    return update_next(s, out);
}

static enum imap_request update_next(struct imap_server *s, struct buf *out)
{
    bool header_only;
    for (; s->context != NULL; s->context = s->context->next) {
        struct imap_context *c = s->context;
        out->failed = !look_at_changes(s, c) || out->failed;
        if (c->unknown.count == 0) {
            settle(s, c, out);
            continue;
        }
        s->message = message_came;
        s->bytes = bytes_came;
        s->context_failed = false;
        s->context_text = buf_make(s->settings->append_max + 2 * IMAP_LINE_MAX);
        s->ask.uids = &c->unknown;
        s->ask.want = search_want(&c->program, &header_only);
        s->ask.texts = 1U << SUMMARY_FIELDS;
        s->ask.offset = 0;
        s->ask.length = header_only ? SEARCH_HEADER_MAX : UINT64_MAX;
        return imap_ask(s, IMAP_MESSAGES, read_all);
    }
    return imap_notify_fetch(s, out);
}

enum imap_request imap_contexts_update(struct imap_server *s, struct buf *out)
{
    s->context = s->selected.contexts;
    return update_next(s, out);
}

static enum imap_request fresh_fetched(struct imap_server *s, struct buf *out)
{
    if (s->answer != IMAP_DONE) {
        buf_append_lit(out, "* NO [UNAVAILABLE] Not all of the new messages can be told now; fetch them\r\n");
    }
    imap_forget_work(s);
    return imap_contexts_fetch(s, out);
}

enum imap_request imap_contexts_fetch(struct imap_server *s, struct buf *out)
{
    for (struct imap_context *c = s->selected.contexts; c != NULL; c = c->next) {
        if (c->fresh.count > 0) {
            imap_forget_work(s);
            s->uids = c->fresh;
            c->fresh = imap_set_make();
            return imap_fetch_news(s, c->items, fresh_fetched, out);
        }
    }
    return s->after_sync(s, out);
}

enum imap_request imap_command_cancelupdate(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str tag;
    do {
        if (!imap_scan_space(scan) || !imap_scan_string(scan, &tag, NULL)) {
            return imap_bad(s, out, scan, "CANCELUPDATE takes tags of searches in quotes");
        }
        struct imap_context **link = find(s, tag);
        struct imap_context *c = *link;
        if (c != NULL) {
            *link = c->next;
            free_context(c);
        }
    } while (!imap_scan_end(scan));
    return imap_ok(s, out, "", "No further updates");
}
