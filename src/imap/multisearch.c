/*
 * ESEARCH: one search in several mailboxes (RFC 7377). Each of them takes the place of the selected one while it is searched, so
 * that SEARCH's own functions serve; the keys are read anew for each, as keywords and "*" are a mailbox's own.
 */
#include "imap/filter_private.h"
#include "imap/search_private.h"

#include "base/mem.h"

enum { SOURCES_MAX = 200, NAMES_MAX = 16 << 20 };

struct multisearch {
    struct imap_filter sources[SOURCES_MAX];
    size_t source_count;
    struct str keys;
    struct buf names;   /* to be searched, each ended by NUL */
    struct str left;    /* of them */
    struct str name;    /* the one under way */
    struct arena arena; /* of its program */
    bool selected;      /* it is the selected one */
};

static void free_multisearch(void *more)
{
    struct multisearch *m = more;
    buf_free(&m->names);
    arena_free(&m->arena);
    mem_free(m);
}

/* Sources. */

static bool scan_source(struct imap_server *s, struct imap_scan *scan, struct multisearch *m)
{
    if (m->source_count == SOURCES_MAX) {
        scan->why = "fewer mailboxes";
        return false;
    }
    return imap_filter_scan(s, scan, FILTER_SELECTED_DELAYED, &m->sources[m->source_count++]);
}

/* " IN (mailboxes "a" subtree ("b" "c"))", or nothing, which is the selected mailbox. */
static bool scan_sources(struct imap_server *s, struct imap_scan *scan, struct multisearch *m)
{
    struct imap_scan before = *scan;
    if (!imap_scan_space(scan) || !imap_scan_word(scan, STR("IN"))) {
        *scan = before;
        m->sources[m->source_count++] = (struct imap_filter){.kind = FILTER_SELECTED};
        return true;
    }
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    do {
        if (!scan_source(s, scan, m)) {
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_char(scan, ')');
}

static bool has_source(const struct multisearch *m, bool selected)
{
    for (size_t i = 0; i < m->source_count; i++) {
        if ((m->sources[i].kind == FILTER_SELECTED) == selected) {
            return true;
        }
    }
    return false;
}

/* Searching. */

static enum imap_request search_next(struct imap_server *s, struct buf *out);

static enum imap_request found(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    if (search->hit_count > 0) {
        search_write_extended(s, out, search->hits, search->hit_count);
    }
    imap_leave_aside(s);
    if (out->len > IMAP_CHUNK) {
        s->proceed = search_next;
        return IMAP_DRAIN;
    }
    return search_next(s, out);
}

/* In the mailbox that stands in the place of the selected one. */
static enum imap_request search_here(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct multisearch *m = search->more;
    search_program_free(&search->program);
    search->program = (struct search_program){.nodes = NULL};
    search->hit_count = 0;
    search->score_count = 0;
    imap_set_clear(&search->unknown);
    arena_free(&m->arena);
    struct arena command = s->arena;
    s->arena = m->arena;
    struct imap_scan scan = imap_scan_make(m->keys, &s->arena, true);
    bool fine = search_parse(s, &scan, s->wall_ms, &search->program);
    m->arena = s->arena;
    s->arena = command;
    if (!fine) {
        imap_leave_aside(s);
        return imap_no_answer(s, out, IMAP_LIMIT, false); /* it could be read before */
    }
    return search_run(s, out, found);
}

static enum imap_request entries_came(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    uint32_t recent = s->row_count > 0 ? s->rows[0].row.recent : 0;
    if (s->answer != IMAP_DONE) {
        enum imap_answer answer = s->answer;
        imap_leave_aside(s);
        return answer == IMAP_NONEXISTENT ? search_next(s, out) : imap_no_answer(s, out, answer, false);
    }
    for (size_t i = view->count - (recent < view->count ? recent : view->count); i < view->count; i++) {
        view->entries[i].recent = true;
    }
    return search_here(s, out);
}

static enum imap_request opened(struct imap_server *s, struct buf *out)
{
    if (s->answer == IMAP_NONEXISTENT || s->answer == IMAP_NO_PERMISSION) {
        return search_next(s, out); /* removed, or withdrawn, meanwhile */
    }
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    const struct imap_row *row = &s->rows[0].row;
    imap_enter_aside(s);
    s->selected.uid_validity = row->uid_validity;
    s->selected.rights = row->rights;
    if (!buf_append_str(&s->selected.name, row->name) ||
        !buf_append_str(&s->selected.keywords, row->keywords)) {
        imap_leave_aside(s);
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    s->ask.modseq = 0;
    return imap_ask(s, IMAP_ENTRIES, entries_came);
}

static enum imap_request search_next(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct multisearch *m = search->more;
    if (m->left.len == 0) {
        return imap_ok(s, out, "", "Searched");
    }
    s->progress_done++;
    str_split(&m->left, '\0', &m->name);
    s->ask.aside = !imap_is_selected(s, m->name);
    if (!s->ask.aside) {
        return search_here(s, out);
    }
    s->ask.name = m->name;
    s->ask.read_only = true;
    return imap_ask(s, IMAP_OPEN, opened);
}

static enum imap_request listed(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct multisearch *m = search->more;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    for (size_t r = 0; r < s->row_count; r++) {
        const struct imap_row *row = &s->rows[r].row;
        bool wanted = false;
        bool readable = row->exists && (row->rights & RIGHT_READ) != 0;
        for (size_t i = 0; i < m->source_count && readable && !wanted; i++) {
            wanted = imap_filter_matches(s, &m->sources[i], row->name, row->subscribed);
        }
        if (wanted && !(buf_append_str(&m->names, row->name) && buf_append_char(&m->names, '\0'))) {
            return imap_no_answer(s, out, IMAP_LIMIT, false);
        }
        s->progress_goal += wanted;
    }
    m->left = buf_str(&m->names);
    return search_next(s, out);
}

static enum imap_request searched_selected(struct imap_server *s, struct buf *out)
{
    const struct search_command *search = s->data;
    return search_reply_extended(s, out, search->hits, search->hit_count);
}

static enum imap_request run(struct imap_server *s, struct search_command *search, struct buf *out)
{
    struct multisearch *m = search->more;
    bool others = has_source(m, false);
    if (s->state != IMAP_SELECTED && (has_source(m, true) || (search->give & SEARCH_RETURN_UPDATE) != 0)) {
        return imap_bad(s, out, NULL, "Select a mailbox first, or name those to search with IN");
    }
    if (others && (search->give & SEARCH_RETURN_SAVE) != 0) {
        return imap_bad(s, out, NULL, "SAVE is for the selected mailbox alone");
    }
    if (!others) {
        return search_run(s, out, searched_selected);
    }
    if ((search->give & SEARCH_RETURN_UPDATE) != 0) {
        search->give &= ~(unsigned)SEARCH_RETURN_UPDATE;
        imap_context_add(s, STR_EMPTY, STR_EMPTY, NULL, 0,
                         out); /* of several mailboxes nothing is kept up to date */
    }
    search->own_progress = true;
    return imap_ask(s, IMAP_LIST, listed);
}

enum imap_request imap_command_esearch(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    static const char words[] = "ESEARCH takes mailboxes to search, what to return, and search keys";
    struct search_command *search = search_begin(s);
    struct multisearch *m = mem_new(struct multisearch);
    enum imap_request request;
    if (search == NULL || m == NULL) {
        mem_free(m);
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    m->names = buf_make(NAMES_MAX);
    m->arena = arena_make(1 << 20);
    search->more = m;
    search->free_more = free_multisearch;
    s->by_uid = true; /* whatever is searched, UIDs are told */
    if (!scan_sources(s, scan, m)) {
        return imap_bad(s, out, scan, words);
    }
    if (!search_scan_keys(s, scan, out, words, &request)) {
        return request;
    }
    m->keys = search->keys;
    search->correlate = true;
    search->give |= search->extended ? 0 : SEARCH_RETURN_ALL;
    return run(s, search, out);
}
