/*
 * NOTIFY (RFC 5465): a client says what it wants to hear of which mailboxes, and hears it at once, while no command is under way.
 *
 * What happens in the selected mailbox is told as ever (sync.c), only sooner, or not at all. Of the others the engine keeps the
 * rows that the client knows. The role says when something has changed in the account or in what others share with it; the engine
 * then asks for all rows and tells how they differ (notify_rows.c).
 */
#include "imap/notify_private.h"

#include "imap/rows_private.h"

#include "base/mem.h"

enum { ARENA_MAX = 512 << 10, OWN_MAX = 1 << 20 };

static const struct {
    struct str name;
    unsigned event;
} events[] = {{{"MailboxName", 11}, NOTIFY_NAMES},
              {{"SubscriptionChange", 18}, NOTIFY_SUBSCRIPTIONS},
              {{"MailboxMetadataChange", 21}, NOTIFY_METADATA},
              {{"ServerMetadataChange", 20}, NOTIFY_SERVER_METADATA},
              {{"FlagChange", 10}, NOTIFY_FLAGS}};

static void clear(struct imap_notify *n)
{
    mem_free(n->fetch);
    mem_free(n->rows);
    buf_free(&n->names);
    buf_free(&n->annotations);
    buf_free(&n->fresh);
    buf_free(&n->own);
    imap_set_free(&n->own_uids);
    arena_free(&n->arena);
}

static void free_notify(void *data)
{
    clear(data);
}

void imap_notify_free(struct imap_server *s)
{
    if (s->notify != NULL) {
        clear(s->notify);
        mem_free(s->notify);
        s->notify = NULL;
    }
}

/* Which mailboxes. */

unsigned notify_events(const struct imap_server *s, const struct imap_notify *n, struct str name,
                       bool subscribed)
{
    unsigned found = 0;
    for (size_t i = 0; i < n->group_count; i++) {
        bool matches = imap_filter_matches(s, &n->groups[i].filter, name, subscribed);
        found |= matches ? n->groups[i].events : 0;
    }
    return found;
}

/* Own changes. */

bool notify_is_own(const struct imap_notify *n, struct str mailbox, struct str entry)
{
    const struct buf *own = &n->own;
    for (size_t at = 0; at + 4 <= own->len;) {
        struct str name = str_make(own->data + at + 4, read_le16(own->data + at));
        struct str other = str_make(name.data + name.len, read_le16(own->data + at + 2));
        if (str_equal(name, mailbox) && str_equal(other, entry)) {
            return true;
        }
        at += 4 + name.len + other.len;
    }
    return false;
}

static void note(struct imap_notify *n, struct str mailbox, struct str entry)
{
    buf_append_le16(&n->own, (uint16_t)mailbox.len);
    buf_append_le16(&n->own, (uint16_t)entry.len);
    buf_append_str(&n->own, mailbox);
    buf_append_str(&n->own, entry);
}

/* Those above it are made with it. */
static void note_with_parents(struct imap_notify *n, struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '/') {
            note(n, str_sub(name, 0, i), STR_EMPTY);
        }
    }
    note(n, name, STR_EMPTY);
}

static void note_annotations(struct imap_notify *n, const struct imap_change *change)
{
    struct str rest = change->data;
    while (rest.len >= 6) {
        size_t entry = read_le16(rest.data);
        uint32_t value = read_le32(rest.data + 2);
        note(n, change->name, str_sub(rest, 6, 6 + entry));
        rest = str_from(rest, 6 + entry + (value == UINT32_MAX ? 0 : value));
    }
}

/* What the client has put into a mailbox is what it knows of it; anything beyond that is news. */
static void expect_messages(struct imap_server *s, const struct imap_changed *changed)
{
    struct imap_notify *n = s->notify;
    struct str name = s->ask.change.name;
    struct str packed = changed->target_uids;
    struct imap_range range;
    size_t at = imap_find_row(n->rows, n->row_count, name);
    struct imap_row *row =
        at < n->row_count && str_equal(n->rows[at].row.name, name) ? &n->rows[at].row : NULL;
    bool selected = imap_is_selected(s, name);
    while (imap_next_packed(&packed, &range)) {
        if (row != NULL) {
            row->messages += range.last - range.first + 1;
            row->uid_next = range.last + 1;
            row->modseq = changed->modseq;
        }
        if (selected && n->fetch != NULL) {
            imap_set_append(&n->own_uids, range.first, range.last);
        }
    }
}

void imap_notify_own(struct imap_server *s, const struct imap_changed *changed)
{
    const struct imap_change *change = &s->ask.change;
    struct imap_notify *n = s->notify;
    if (changed->answer != IMAP_DONE) {
        return;
    }
    /* The UIDs are those of the selected mailbox; COPY leaves it as it is, unless it is the destination. */
    s->own_change = s->own_change || (change->uids != NULL && change->kind != IMAP_CHANGE_COPY) ||
                    imap_is_selected(s, change->name);
    if (n != NULL && changed->target_uids.len > 0) {
        expect_messages(s, changed);
    }
    if (n == NULL || n->news == 0) {
        return;
    }
    switch (change->kind) {
    case IMAP_CHANGE_CREATE: note_with_parents(n, change->name); break;
    case IMAP_CHANGE_RENAME:
        note_with_parents(n, change->other_name);
        note(n, change->name, STR_EMPTY);
        break;
    case IMAP_CHANGE_DELETE:
    case IMAP_CHANGE_SUBSCRIBE:
    case IMAP_CHANGE_UNSUBSCRIBE:
    case IMAP_CHANGE_ACL: note(n, change->name, STR_EMPTY); break;
    case IMAP_CHANGE_METADATA: note_annotations(n, change); break;
    default: return;
    }
    /* So that a change of another that is like it is not taken for it. */
    s->account_news |=
        n->news & (change->kind == IMAP_CHANGE_METADATA ? IMAP_NEWS_METADATA : IMAP_NEWS_NAMES);
}

/* What is told of the selected mailbox. */

bool imap_notify_ignores(const struct imap_server *s)
{
    return s->notify != NULL && s->notify->selected == 0 && !s->own_change;
}

bool imap_notify_delays(const struct imap_server *s)
{
    return s->notify != NULL && s->notify->delayed && s->command == NULL;
}

bool imap_notify_tells_flags(const struct imap_server *s, uint32_t uid)
{
    return s->notify == NULL || (s->notify->selected & NOTIFY_FLAGS) != 0 || s->all_flags ||
           (s->own_change && imap_set_contains(&s->uids, uid));
}

/* The client hears no more than after NOTIFY NONE, and is told so (RFC 5465, section 5.8). */
static enum imap_request overflow(struct imap_server *s, struct buf *out,
                                  enum imap_request (*then)(struct imap_server *s, struct buf *out))
{
    struct imap_notify *n = s->notify;
    bool watched = n->news != 0;
    clear(n);
    *n = (struct imap_notify){.arena = arena_make(ARENA_MAX)};
    s->account_news = 0;
    buf_append_lit(out,
                   "* OK [NOTIFICATIONOVERFLOW] Notifications have ended; they may be asked for again\r\n");
    s->ask.news = 0;
    return watched ? imap_ask(s, IMAP_WATCH, then) : then(s, out);
}

static enum imap_request news_fetched(struct imap_server *s, struct buf *out)
{
    bool failed = s->answer != IMAP_DONE;
    imap_forget_work(s);
    return failed ? overflow(s, out, imap_contexts_fetch) : imap_contexts_fetch(s, out);
}

enum imap_request imap_notify_fetch(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->notify;
    const struct imap_view *view = &s->selected.view;
    struct imap_set uids = imap_set_make();
    size_t from = s->new_from;
    bool fine = true;
    s->new_from = SIZE_MAX;
    if (n == NULL || n->fetch == NULL || (n->selected & NOTIFY_MESSAGES) == 0 || from >= view->count) {
        return imap_contexts_fetch(s, out);
    }
    for (size_t i = from; i < view->count && fine; i++) {
        uint32_t uid = view->entries[i].uid;
        fine =
            view->entries[i].gone || imap_set_contains(&n->own_uids, uid) || imap_set_append(&uids, uid, uid);
    }
    imap_set_free(&n->own_uids);
    if (fine && uids.count == 0) {
        return imap_contexts_fetch(s, out);
    }
    imap_forget_work(s);
    s->uids = uids;
    return fine ? imap_fetch_news(s, n->fetch, news_fetched, out) : overflow(s, out, imap_contexts_fetch);
}

/* Telling, while no command is under way. */

static enum imap_request rest(struct imap_server *s, struct buf *out)
{
    (void)out;
    imap_forget_work(s);
    return IMAP_INPUT;
}

/* The rows that have come are what the client knows now. */
static void keep_rows(struct imap_server *s, struct imap_notify *n)
{
    mem_free(n->rows);
    buf_free(&n->names);
    n->rows = s->rows;
    n->row_count = s->row_count;
    n->names = s->names;
    s->rows = NULL;
    s->row_count = 0;
    s->row_room = 0;
    s->names = buf_make(n->names.limit);
}

static bool take_rows(struct imap_server *s)
{
    imap_hide_rows(s);
    imap_sort_rows(s);
    return s->answer == IMAP_DONE && s->row_count <= NOTIFY_ROWS_MAX;
}

static enum imap_request ask_annotations(struct imap_server *s, struct imap_notify *n,
                                         enum imap_request (*proceed)(struct imap_server *s, struct buf *out))
{
    buf_clear(&n->fresh);
    s->annotation = notify_annotation_came;
    s->ask.name = STR_EMPTY;
    s->ask.all = true;
    return imap_ask(s, IMAP_METADATA, proceed);
}

static void keep_annotations(struct imap_notify *n)
{
    buf_free(&n->annotations);
    n->annotations = n->fresh;
    n->fresh = buf_make(NOTIFY_ANNOTATIONS_MAX);
}

static enum imap_request looked(struct imap_server *s, struct buf *out)
{
    keep_rows(s, s->notify);
    buf_clear(&s->notify->own);
    return rest(s, out);
}

static enum imap_request annotations_came(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->notify;
    if (s->answer != IMAP_DONE) {
        return overflow(s, out, rest);
    }
    notify_tell_annotations(s, n, out);
    keep_annotations(n);
    return looked(s, out);
}

static enum imap_request rows_came(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->notify;
    if (!take_rows(s) || !buf_ok(&n->own) || !notify_tell_rows(s, n, out)) {
        return overflow(s, out, rest);
    }
    return (n->due & n->news & IMAP_NEWS_METADATA) != 0 ? ask_annotations(s, n, annotations_came)
                                                        : looked(s, out);
}

static bool selected_is_due(const struct imap_server *s)
{
    return s->news && s->state == IMAP_SELECTED && s->notify->selected != 0;
}

bool imap_notify_is_due(const struct imap_server *s)
{
    if (s->notify == NULL) {
        return s->idling && s->news;
    }
    return (s->idling || imap_is_at_rest(s)) &&
           (selected_is_due(s) || (s->account_news & s->notify->news) != 0);
}

enum imap_request imap_notify_tell(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->notify;
    if (n == NULL || selected_is_due(s)) {
        return imap_sync(s, out, rest);
    }
    n->due = s->account_news;
    s->account_news = 0;
    return imap_ask(s, IMAP_LIST, rows_came);
}

void imap_server_account_news(struct imap_server *s, unsigned news)
{
    s->account_news |= news;
}

/* The command. */

static enum imap_request installed(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->data;
    if (n->news != 0) {
        keep_rows(s, n);
    }
    imap_notify_free(s);
    s->notify = n;
    s->data = NULL;
    s->free_data = NULL;
    /* What has gathered is told now, even if nothing is from here on. */
    s->own_change = true;
    s->all_flags = true;
    s->news = s->state == IMAP_SELECTED;
    return imap_ok(s, out, "", "You will be notified");
}

static enum imap_request cannot(struct imap_server *s, struct buf *out)
{
    return imap_no(s, out, "[NOTIFICATIONOVERFLOW] ", "The server cannot watch that for you; ask for less");
}

static enum imap_request first_annotations_came(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->data;
    if (s->answer != IMAP_DONE) {
        return cannot(s, out);
    }
    keep_annotations(n);
    return installed(s, out);
}

static enum imap_request first_rows_came(struct imap_server *s, struct buf *out)
{
    struct imap_notify *n = s->data;
    if (!take_rows(s)) {
        return cannot(s, out);
    }
    notify_tell_first(s, n, out);
    return (n->news & IMAP_NEWS_METADATA) != 0 ? ask_annotations(s, n, first_annotations_came)
                                               : installed(s, out);
}

static enum imap_request watched(struct imap_server *s, struct buf *out)
{
    const struct imap_notify *n = s->data;
    if (s->answer != IMAP_DONE) {
        return cannot(s, out);
    }
    if (n->news == 0) {
        return installed(s, out);
    }
    s->account_news = 0; /* what has happened by now is in the rows that come */
    return imap_ask(s, IMAP_LIST, first_rows_came);
}

/* Parsing. */

/* What is wrong with a command that can be read. */
struct wrong {
    bool unsupported; /* an event that the server does not know */
    const char *text;
};

static bool scan_items(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n)
{
    n->fetch = mem_new(struct fetch);
    return n->fetch != NULL && imap_scan_space(scan) && fetch_parse_items(s, scan, n->fetch);
}

/* One event; `seen`: bits of those whose partner is looked for. */
enum { SEEN_NEW = 1, SEEN_EXPUNGE = 2 };
static bool scan_event(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n,
                       struct notify_group *group, unsigned *seen, struct wrong *wrong)
{
    struct str word;
    if (!imap_scan_atom(scan, &word)) {
        return false;
    }
    if (str_equal_nocase(word, STR("MessageNew"))) {
        struct imap_scan ahead = *scan;
        *seen |= SEEN_NEW;
        if (!imap_scan_space(&ahead) || imap_scan_peek(&ahead) != '(') {
            return true;
        }
        if (group->filter.kind > FILTER_SELECTED_DELAYED || n->fetch != NULL) {
            scan->why = "no items: they go with the selected mailbox alone";
            return false;
        }
        return scan_items(s, scan, n);
    }
    if (str_equal_nocase(word, STR("MessageExpunge"))) {
        *seen |= SEEN_EXPUNGE;
        return true;
    }
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (str_equal_nocase(word, events[i].name)) {
            group->events |= events[i].event;
            return true;
        }
    }
    wrong->unsupported = true;
    return true;
}

/* "(event event)", "NONE"; or, as the examples of RFC 5465 have it, events without brackets. */
static bool scan_events(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n,
                        struct notify_group *group, struct wrong *wrong)
{
    unsigned seen = 0;
    bool brackets = imap_scan_peek(scan) == '(';
    if (imap_scan_word(scan, STR("NONE"))) {
        return true;
    }
    if (brackets) {
        imap_scan_char(scan, '(');
    }
    do {
        if (!scan_event(s, scan, n, group, &seen, wrong)) {
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    if (seen == (SEEN_NEW | SEEN_EXPUNGE)) {
        group->events |= NOTIFY_MESSAGES;
    } else if (seen != 0 || (group->events & NOTIFY_FLAGS) != 0) {
        wrong->text = "MessageNew and MessageExpunge go together, and FlagChange with both of them";
    }
    if (group->filter.kind <= FILTER_SELECTED_DELAYED &&
        (group->events & ~(unsigned)(NOTIFY_MESSAGES | NOTIFY_FLAGS)) != 0) {
        wrong->text = "Only events of messages can be had of the selected mailbox";
    }
    return !brackets || imap_scan_char(scan, ')');
}

static bool scan_group(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n,
                       struct wrong *wrong)
{
    struct notify_group group = {.events = 0};
    if (!imap_scan_char(scan, '(') || !imap_filter_scan(s, scan, FILTER_SUBTREE_ONE, &group.filter) ||
        !imap_scan_space(scan) || !scan_events(s, scan, n, &group, wrong) || !imap_scan_char(scan, ')')) {
        return false;
    }
    if (group.filter.kind > FILTER_SELECTED_DELAYED) {
        if (n->group_count == NOTIFY_GROUPS_MAX) {
            scan->why = "fewer groups of events";
            return false;
        }
        n->groups[n->group_count++] = group;
        return true;
    }
    if (n->has_selected) {
        wrong->text = "SELECTED or SELECTED-DELAYED can be there once";
    }
    n->has_selected = true;
    n->delayed = group.filter.kind == FILTER_SELECTED_DELAYED;
    n->selected = group.events;
    return true;
}

static bool scan_set(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n,
                     struct wrong *wrong)
{
    if (imap_scan_word(scan, STR("STATUS"))) {
        n->tell_status = true;
        if (!imap_scan_space(scan)) {
            return false;
        }
    }
    do {
        if (!scan_group(s, scan, n, wrong)) {
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_end(scan);
}

/* The text is copied first, into memory that stays: what is read of it points there. */
static bool parse(struct imap_server *s, struct imap_scan *scan, struct imap_notify *n, struct wrong *wrong)
{
    struct str copy = arena_copy(&n->arena, scan->rest);
    if (copy.data == NULL) {
        scan->why = "a shorter command";
        return false;
    }
    struct arena command = s->arena;
    s->arena = n->arena;
    scan->rest = copy;
    bool fine = imap_scan_space(scan);
    if (fine && !imap_scan_word(scan, STR("NONE"))) {
        fine = imap_scan_word(scan, STR("SET")) && imap_scan_space(scan) && scan_set(s, scan, n, wrong);
    }
    n->arena = s->arena;
    s->arena = command;
    return fine && imap_scan_end(scan);
}

static unsigned news_of(const struct imap_notify *n)
{
    unsigned news = 0;
    for (size_t i = 0; i < n->group_count; i++) {
        unsigned wanted = n->groups[i].events;
        news |= wanted != 0 ? (unsigned)IMAP_NEWS_NAMES
                            : 0; /* rights and subscriptions decide what else is heard */
        news |= (wanted & (NOTIFY_MESSAGES | NOTIFY_FLAGS)) != 0 ? (unsigned)IMAP_NEWS_MESSAGES : 0;
        news |= (wanted & (NOTIFY_METADATA | NOTIFY_SERVER_METADATA)) != 0 ? (unsigned)IMAP_NEWS_METADATA : 0;
    }
    return news;
}

enum imap_request imap_command_notify(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct wrong wrong = {.text = NULL};
    struct imap_notify *n = imap_command_data(s, sizeof(*n), free_notify);
    if (n == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    n->arena = arena_make(ARENA_MAX);
    n->names = buf_make(0);
    n->annotations = buf_make(0);
    n->fresh = buf_make(NOTIFY_ANNOTATIONS_MAX);
    n->own = buf_make(OWN_MAX);
    n->own_uids = imap_set_make();
    if (!parse(s, scan, n, &wrong)) {
        return imap_bad(s, out, scan, "NOTIFY takes NONE, or SET and groups of events in brackets");
    }
    if (wrong.text != NULL) {
        return imap_bad(s, out, NULL, wrong.text);
    }
    if (wrong.unsupported) {
        return imap_no(s, out,
                       "[BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange "
                       "MailboxMetadataChange ServerMetadataChange)] ",
                       "One of these events cannot be had");
    }
    n->news = news_of(n);
    unsigned before = s->notify == NULL ? 0 : s->notify->news;
    /* Until the new wishes hold, the old ones do; if they have to stay, a little too much is heard of. */
    s->ask.news = n->news == 0 ? 0 : n->news | before;
    s->answer = IMAP_DONE;
    return s->ask.news == before ? watched(s, out) : imap_ask(s, IMAP_WATCH, watched);
}
