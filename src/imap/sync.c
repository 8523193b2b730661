/*
 * What a client is told of its selected mailbox: new and expunged messages, changed flags (RFC 9051, section 7.5.1; RFC 7162). Own
 * changes and those of others come here on one way: the entries that are newer than what the view knows.
 */
#include "imap/server_private.h"

static const struct {
    struct str name;
    uint64_t bit;
} system_flags[] = {{{"\\Answered", 9}, IMAP_ANSWERED},
                    {{"\\Flagged", 8}, IMAP_FLAGGED},
                    {{"\\Deleted", 8}, IMAP_DELETED},
                    {{"\\Seen", 5}, IMAP_SEEN},
                    {{"\\Draft", 6}, IMAP_DRAFT}};
enum { SYSTEM_FLAGS = sizeof(system_flags) / sizeof(system_flags[0]) };

/* Flags. */

static uint64_t system_flag(struct str name)
{
    for (size_t i = 0; i < SYSTEM_FLAGS; i++) {
        if (str_equal_nocase(name, system_flags[i].name)) {
            return system_flags[i].bit;
        }
    }
    return 0;
}

uint64_t imap_flag_bit(const struct imap_server *s, struct str name)
{
    struct str rest = buf_str(&s->selected.keywords);
    struct str word;
    if (name.len > 0 && name.data[0] == '\\') {
        return system_flag(name);
    }
    for (unsigned i = 0; i < IMAP_KEYWORDS_MAX && rest.len > 0 && str_split(&rest, ' ', &word); i++) {
        if (word.len > 0 && str_equal_nocase(word, name)) {
            return 1ULL << (IMAP_KEYWORD_FIRST + i);
        }
    }
    return 0;
}

static void write_flag(struct str name, bool *first, struct buf *out)
{
    if (!*first) {
        buf_append_char(out, ' ');
    }
    *first = false;
    buf_append_str(out, name);
}

void imap_write_flags(const struct imap_server *s, uint64_t flags, bool recent, struct buf *out)
{
    struct str rest = buf_str(&s->selected.keywords);
    struct str word;
    bool first = true;
    buf_append_char(out, '(');
    for (size_t i = 0; i < SYSTEM_FLAGS; i++) {
        if ((flags & system_flags[i].bit) != 0) {
            write_flag(system_flags[i].name, &first, out);
        }
    }
    for (unsigned i = 0; flags >> IMAP_KEYWORD_FIRST != 0 && i < IMAP_KEYWORDS_MAX && rest.len > 0 &&
                         str_split(&rest, ' ', &word);
         i++) {
        if ((flags >> (IMAP_KEYWORD_FIRST + i) & 1) != 0 && word.len > 0) {
            write_flag(word, &first, out);
        }
    }
    if (recent && !imap_is_enabled(s, IMAP_ENABLED_REV2)) {
        write_flag(STR("\\Recent"), &first, out);
    }
    buf_append_char(out, ')');
}

/* One flag: a system flag's bit, or a keyword's name added to `names`. */
static bool scan_flag(struct imap_scan *scan, uint64_t *flags, struct buf *names)
{
    struct imap_scan before = *scan;
    bool system = imap_scan_char(scan, '\\');
    struct str word;
    if (!imap_scan_atom(scan, &word)) {
        scan->why = "a flag";
        return false;
    }
    if (!system) {
        return buf_append_str(names, word) && buf_append_char(names, ' ');
    }
    struct str whole = str_sub(before.rest, 0, word.len + 1);
    uint64_t bit = system_flag(whole);
    if (bit == 0 && !str_equal_nocase(whole, STR("\\Recent"))) {
        *scan = before;
        scan->why = "a flag that this server knows";
        return false;
    }
    *flags |= bit;
    return true;
}

bool imap_scan_flags(struct imap_server *s, struct imap_scan *scan, bool bare, uint64_t *flags,
                     struct str *keywords)
{
    struct buf names = buf_make(IMAP_LINE_MAX);
    bool brackets = imap_scan_peek(scan) == '(';
    bool fine = true;
    *flags = 0;
    *keywords = STR_EMPTY;
    if (!brackets && !bare) {
        scan->why = "flags in brackets";
        return false;
    }
    if (brackets) {
        imap_scan_char(scan, '(');
        while (fine && imap_scan_peek(scan) != ')') {
            fine = scan_flag(scan, flags, &names) && (imap_scan_peek(scan) == ')' || imap_scan_space(scan));
        }
        fine = fine && imap_scan_char(scan, ')');
    } else {
        do {
            fine = scan_flag(scan, flags, &names);
        } while (fine && imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    }
    if (fine && names.len > 0) {
        *keywords = arena_copy(&s->arena, buf_str(&names));
        fine = keywords->data != NULL;
    }
    buf_free(&names);
    return fine;
}

/* Packed ranges. */

bool imap_next_packed(struct str *packed, struct imap_range *range)
{
    if (packed->len < IMAP_SET_RANGE_SIZE) {
        return false;
    }
    range->first = read_le32(packed->data);
    range->last = read_le32(packed->data + 4);
    *packed = str_from(*packed, IMAP_SET_RANGE_SIZE);
    return true;
}

void imap_write_packed(struct str packed, struct buf *out)
{
    struct imap_range range;
    bool first = true;
    while (imap_next_packed(&packed, &range)) {
        if (!first) {
            buf_append_char(out, ',');
        }
        first = false;
        buf_append_u64(out, range.first);
        if (range.last != range.first) {
            buf_append_char(out, ':');
            buf_append_u64(out, range.last);
        }
    }
}

/* Telling. */

static void tell_expunge(void *context, uint32_t number, uint32_t uid)
{
    struct buf *out = context;
    (void)uid;
    buf_append_lit(out, "* ");
    buf_append_u64(out, number);
    buf_append_lit(out, " EXPUNGE\r\n");
}

static void tell_gone(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    if (!imap_is_enabled(s, IMAP_ENABLED_QRESYNC | IMAP_ENABLED_UIDONLY)) {
        imap_view_expunge(view, tell_expunge, out);
        return;
    }
    struct imap_set gone = imap_set_make();
    for (size_t i = 0; i < view->count && i < view->told; i++) {
        if (view->entries[i].gone) {
            imap_set_append(&gone, view->entries[i].uid, view->entries[i].uid);
        }
    }
    if (gone.count > 0) {
        buf_append_lit(out, "* VANISHED ");
        imap_set_write(&gone, out);
        buf_append_lit(out, "\r\n");
    }
    imap_set_free(&gone);
    imap_view_expunge(view, NULL, NULL);
}

/* RFC 3501, section 2.3.2: which of the sessions that see a message come gets it as \Recent is undefined; here all do. */
static void tell_recent(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    uint64_t recent = 0;
    for (size_t i = 0; i < view->count; i++) {
        view->entries[i].recent = view->entries[i].recent || i >= view->told;
        recent += view->entries[i].recent;
    }
    buf_append_lit(out, "* ");
    buf_append_u64(out, recent);
    buf_append_lit(out, " RECENT\r\n");
}

static void tell_count(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    buf_append_lit(out, "* ");
    buf_append_u64(out, view->count);
    buf_append_lit(out, " EXISTS\r\n");
    if (view->told < view->count && !imap_is_enabled(s, IMAP_ENABLED_REV2 | IMAP_ENABLED_UIDONLY)) {
        tell_recent(s, out);
    }
    s->new_from = view->told < view->count ? view->told : SIZE_MAX;
    view->told = view->count;
}

static void tell_flags(struct imap_server *s, size_t at, struct buf *out)
{
    const struct imap_entry *entry = &s->selected.view.entries[at];
    bool uid_only = imap_is_enabled(s, IMAP_ENABLED_UIDONLY);
    buf_append_lit(out, "* ");
    buf_append_u64(out, uid_only ? entry->uid : at + 1);
    buf_append_str(out, uid_only ? STR(" UIDFETCH (FLAGS ") : STR(" FETCH (FLAGS "));
    imap_write_flags(s, entry->flags, entry->recent, out);
    /* RFC 5465, section 5.1: who has used NOTIFY is told the UID. */
    if (!uid_only && (s->by_uid || s->notify != NULL || imap_is_enabled(s, IMAP_ENABLED_CONDSTORE))) {
        buf_append_lit(out, " UID ");
        buf_append_u64(out, entry->uid);
    }
    if (imap_is_enabled(s, IMAP_ENABLED_CONDSTORE)) {
        buf_append_lit(out, " MODSEQ (");
        buf_append_u64(out, entry->modseq);
        buf_append_char(out, ')');
    }
    buf_append_lit(out, ")\r\n");
}

/* Flags that have changed, as many as fit into one reply to the role. */
static enum imap_request tell_changes(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    for (; view->changed > 0 && s->sync_at < view->count; s->sync_at++) {
        struct imap_entry *entry = &view->entries[s->sync_at];
        if (entry->changed && !entry->gone && imap_notify_tells_flags(s, entry->uid)) {
            tell_flags(s, s->sync_at, out);
        }
        view->changed -= entry->changed;
        entry->changed = false;
        if (out->len > IMAP_CHUNK) {
            s->sync_at++;
            s->proceed = tell_changes;
            return IMAP_DRAIN;
        }
    }
    return s->selected.contexts == NULL ? imap_notify_fetch(s, out) : imap_contexts_update(s, out);
}

static enum imap_request tell(struct imap_server *s, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    bool by_number = s->command != NULL && (s->command->flags & IMAP_NO_EXPUNGE) != 0 && !s->by_uid;
    bool keep = s->before_command || by_number || imap_notify_delays(s);
    if (s->selected.tell_modseq) {
        s->selected.tell_modseq = false;
        buf_append_lit(out, "* OK [HIGHESTMODSEQ ");
        buf_append_u64(out, view->modseq);
        buf_append_lit(out, "] The highest modification sequence\r\n");
    }
    if (s->selected.new_keywords) {
        s->selected.new_keywords = false;
        imap_tell_keywords(s, out);
    }
    if (view->gone > 0 && !keep) {
        imap_contexts_expunge(s, out);
        tell_gone(s, out);
    }
    if (view->told != view->count) {
        tell_count(s, out);
    }
    s->sync_at = 0;
    return tell_changes(s, out);
}

static enum imap_request synced(struct imap_server *s, struct buf *out)
{
    if (s->answer == IMAP_NONEXISTENT) {
        return imap_bye(s, out, "The mailbox is not there any more, or no longer shared with you",
                        "mailbox deleted");
    }
    if (s->answer != IMAP_DONE) {
        s->news = true; /* next time */
    } else if (s->value > s->selected.view.modseq) {
        s->selected.view.modseq = s->value;
    }
    return tell(s, out);
}

enum imap_request imap_sync(struct imap_server *s, struct buf *out,
                            enum imap_request (*then)(struct imap_server *s, struct buf *out))
{
    s->after_sync = then;
    if (!s->news || imap_notify_ignores(s)) {
        return tell(s, out);
    }
    s->news = false;
    s->ask.modseq = s->selected.view.modseq;
    return imap_ask(s, IMAP_ENTRIES, synced);
}

static void clear_selected(struct imap_server *s)
{
    imap_contexts_free(s);
    imap_view_free(&s->selected.view);
    imap_set_free(&s->selected.saved);
    buf_free(&s->selected.name);
    buf_free(&s->selected.keywords);
    buf_free(&s->selected.vanished);
}

void imap_enter_aside(struct imap_server *s)
{
    s->aside = s->selected;
    s->has_aside = true;
    s->selected = (struct imap_selected){.read_only = true,
                                         .name = buf_make(IMAP_NAME_MAX),
                                         .keywords = buf_make(IMAP_LINE_MAX),
                                         .vanished = buf_make(0)};
}

void imap_leave_aside(struct imap_server *s)
{
    if (s->has_aside) {
        clear_selected(s);
        s->selected = s->aside;
        s->has_aside = false;
        s->ask.aside = false;
    }
}

void imap_deselect(struct imap_server *s)
{
    clear_selected(s);
    s->news = false;
    s->new_from = SIZE_MAX;
    if (s->state == IMAP_SELECTED) {
        s->state = IMAP_AUTHENTICATED;
    }
}
