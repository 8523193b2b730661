/* SELECT, EXAMINE with CONDSTORE and QRESYNC (RFC 9051, section 6.3.2; RFC 7162), UNSELECT, CLOSE, CHECK. */
#include "imap/server_private.h"

/* RFC 7162, section 3.2.5: what the client knew when it last had this mailbox open. */
struct select {
    struct str name;
    bool qresync;
    uint32_t uid_validity;
    uint64_t modseq;
    bool has_known;
    bool uid_required;
    struct imap_set known;
};

static void free_select(void *data)
{
    struct select *select = data;
    imap_set_free(&select->known);
}

/* What is told when a mailbox is opened. */

/* The keywords, each behind a space. */
static void tell_keyword_names(const struct imap_server *s, struct buf *out)
{
    struct str keywords = buf_str(&s->selected.keywords);
    struct str word;
    while (keywords.len > 0 && str_split(&keywords, ' ', &word)) {
        if (word.len > 0) {
            buf_append_char(out, ' ');
            buf_append_str(out, word);
        }
    }
}

void imap_tell_keywords(const struct imap_server *s, struct buf *out)
{
    bool with_keywords;
    uint64_t own = imap_own_flags(s, &with_keywords);
    buf_append_lit(out, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft");
    tell_keyword_names(s, out);
    buf_append_lit(out, ")\r\n* OK [PERMANENTFLAGS (");
    if (s->selected.read_only || own == 0) {
        buf_append_lit(out, ")] Nothing can be changed here\r\n");
        return;
    }
    struct str names = with_keywords ? STR("\\Answered \\Flagged") : STR_EMPTY;
    buf_append_str(out, names);
    if ((own & IMAP_DELETED) != 0) {
        buf_append_str(out, names.len > 0 ? STR(" \\Deleted") : STR("\\Deleted"));
    }
    if ((own & IMAP_SEEN) != 0) {
        buf_append_str(out, names.len > 0 || (own & IMAP_DELETED) != 0 ? STR(" \\Seen") : STR("\\Seen"));
    }
    if (with_keywords) {
        buf_append_lit(out, " \\Draft");
        tell_keyword_names(s, out);
        buf_append_lit(out, " \\*");
    }
    buf_append_lit(out, ")] These flags stay\r\n");
}

static void tell_number(const char *before, uint64_t number, const char *behind, struct buf *out)
{
    buf_append_str(out, str_of(before));
    buf_append_u64(out, number);
    buf_append_str(out, str_of(behind));
}

static void tell_unseen(const struct imap_view *view, struct buf *out)
{
    for (size_t i = 0; i < view->count; i++) {
        if ((view->entries[i].flags & IMAP_SEEN) == 0) {
            tell_number("* OK [UNSEEN ", i + 1, "] The first that is not seen\r\n", out);
            return;
        }
    }
}

static void tell_mailbox(const struct imap_server *s, const struct imap_row *row, struct buf *out)
{
    const struct imap_view *view = &s->selected.view;
    bool rev2 = imap_is_enabled(s, IMAP_ENABLED_REV2);
    imap_tell_keywords(s, out);
    tell_number("* ", view->count, " EXISTS\r\n", out);
    if (!rev2) {
        tell_number("* ", row->recent, " RECENT\r\n", out);
    }
    if (!rev2 && !imap_is_enabled(s, IMAP_ENABLED_UIDONLY)) {
        tell_unseen(view, out);
    }
    tell_number("* OK [UIDVALIDITY ", row->uid_validity, "] UIDs are valid\r\n", out);
    tell_number("* OK [UIDNEXT ", row->uid_next, "] The next UID\r\n", out);
    tell_number("* OK [HIGHESTMODSEQ ", view->modseq, "] The highest modification sequence\r\n", out);
    buf_append_lit(out, "* OK [MAILBOXID (");
    imap_write_id(row->id, out);
    buf_append_lit(out, ")] The mailbox's identity\r\n");
    if (rev2) {
        buf_append_lit(out, "* LIST () \"/\" ");
        imap_name_write(s, buf_str(&s->selected.name), out);
        buf_append_lit(out, "\r\n");
    }
}

/* The view says what is there; so this is right however long ago the client was here. */
void imap_tell_vanished(const struct imap_server *s, const struct imap_set *known, struct buf *out)
{
    const struct imap_view *view = &s->selected.view;
    struct imap_set gone = imap_set_make();
    for (size_t r = 0; r < known->count; r++) {
        uint64_t next = known->ranges[r].first;
        uint64_t last = known->ranges[r].last;
        last = last < s->selected.uid_next ? last : s->selected.uid_next - 1;
        for (size_t i = imap_view_find(view, (uint32_t)next); next <= last; i++) {
            uint64_t there = i < view->count ? view->entries[i].uid : last + 1;
            if (there > next) {
                imap_set_append(&gone, (uint32_t)next, (uint32_t)((there > last ? last + 1 : there) - 1));
            }
            next = there + 1;
        }
    }
    if (gone.count > 0) {
        buf_append_lit(out, "* VANISHED (EARLIER) ");
        imap_set_write(&gone, out);
        buf_append_lit(out, "\r\n");
    }
    imap_set_free(&gone);
}

static void tell_resync(struct imap_server *s, struct select *select, struct buf *out)
{
    struct imap_view *view = &s->selected.view;
    if (!select->qresync || select->uid_validity != s->selected.uid_validity) {
        return;
    }
    if (!select->has_known && s->selected.uid_next > 1) {
        imap_set_append(&select->known, 1, s->selected.uid_next - 1);
    }
    imap_tell_vanished(s, &select->known, out);
    for (size_t i = 0; i < view->count; i++) {
        if (view->entries[i].modseq > select->modseq &&
            (!select->has_known || imap_set_contains(&select->known, view->entries[i].uid))) {
            imap_view_announce(view, &view->entries[i]); /* told before the tagged reply */
        }
    }
}

/* Opening. */

static enum imap_request finish_select(struct imap_server *s, struct buf *out)
{
    return imap_ok(s, out, s->selected.read_only ? "[READ-ONLY] " : "[READ-WRITE] ", "The mailbox is open");
}

static enum imap_request entries_came(struct imap_server *s, struct buf *out)
{
    const struct imap_row *row = &s->rows[0].row;
    struct imap_view *view = &s->selected.view;
    if (s->answer != IMAP_DONE) {
        enum imap_answer answer = s->answer;
        imap_deselect(s);
        return imap_no_answer(s, out, answer, false);
    }
    view->modseq = s->value;
    view->told = view->count;
    for (size_t i = view->count - (row->recent < view->count ? row->recent : view->count); i < view->count;
         i++) {
        view->entries[i].recent = true;
    }
    tell_mailbox(s, row, out);
    tell_resync(s, s->data, out);
    if (row->recent == 0 || s->selected.read_only) {
        return finish_select(s, out);
    }
    s->ask.change = (struct imap_change){
        .kind = IMAP_CHANGE_SEEN_RECENT, .name = buf_str(&s->selected.name), .keywords = STR_EMPTY};
    return imap_ask(s, IMAP_CHANGE, finish_select);
}

static enum imap_request opened(struct imap_server *s, struct buf *out)
{
    struct imap_selected *selected = &s->selected;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    const struct imap_row *row = &s->rows[0].row;
    if (!buf_append_str(&selected->name, row->name) || !buf_append_str(&selected->keywords, row->keywords)) {
        imap_deselect(s);
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    imap_view_reserve(&selected->view, row->messages);
    selected->rights = row->rights;
    selected->read_only = s->ask.read_only || (row->rights & RIGHTS_TO_CHANGE) == 0;
    selected->uid_validity = row->uid_validity;
    selected->uid_next = row->uid_next;
    memcpy(selected->id, row->id, sizeof(selected->id));
    s->state = IMAP_SELECTED;
    s->ask.modseq = 0;
    return imap_ask(s, IMAP_ENTRIES, entries_came);
}

/* "(uidvalidity modseq [known-uids [(numbers uids)]])" */
static bool scan_qresync(const struct imap_server *s, struct imap_scan *scan, struct select *select)
{
    struct str text;
    uint64_t number;
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(') ||
        !imap_scan_number(scan, UINT32_MAX, &number) || !imap_scan_space(scan) ||
        !imap_scan_number(scan, INT64_MAX, &select->modseq)) {
        return false;
    }
    select->qresync = true;
    select->uid_validity = (uint32_t)number;
    if (imap_scan_char(scan, ')')) {
        return true;
    }
    if (!imap_scan_space(scan)) {
        return false;
    }
    if (imap_scan_peek(scan) != '(') {
        if (!imap_scan_set(scan, &text) || imap_set_parse(&select->known, text, 0) != IMAP_SET_GOOD) {
            scan->why = "a set of UIDs";
            return false;
        }
        select->has_known = true;
        if (imap_scan_char(scan, ')')) {
            return true;
        }
        if (!imap_scan_space(scan)) {
            return false;
        }
    }
    if (imap_is_enabled(s, IMAP_ENABLED_UIDONLY)) { /* RFC 9586, section 3.3 */
        select->uid_required = true;
        return false;
    }
    /* The sample of sequence numbers would only make the list of expunged UIDs shorter: read, and not used. */
    return imap_scan_char(scan, '(') && imap_scan_set(scan, &text) && imap_scan_space(scan) &&
           imap_scan_set(scan, &text) && imap_scan_char(scan, ')') && imap_scan_char(scan, ')');
}

static bool scan_parameters(struct imap_server *s, struct imap_scan *scan, struct select *select)
{
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    do {
        if (imap_scan_word(scan, STR("CONDSTORE"))) {
            s->enabled |= IMAP_ENABLED_CONDSTORE;
        } else if (!imap_scan_word(scan, STR("QRESYNC"))) {
            scan->why = "CONDSTORE or QRESYNC";
            return false;
        } else if (!imap_is_enabled(s, IMAP_ENABLED_QRESYNC)) {
            scan->why = "ENABLE QRESYNC first";
            return false;
        } else if (!scan_qresync(s, scan, select)) {
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_char(scan, ')');
}

static enum imap_request run_select(struct imap_server *s, struct imap_scan *scan, bool read_only,
                                    struct buf *out)
{
    struct select *select = imap_command_data(s, sizeof(*select), free_select);
    if (select == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &select->name) ||
        (!imap_scan_end(scan) && !scan_parameters(s, scan, select)) || !imap_scan_end(scan)) {
        return select->uid_required
                   ? imap_bad(s, out, NULL, "[UIDREQUIRED] UIDONLY is enabled: no message numbers")
                   : imap_bad(s, out, scan, "This command takes the name of a mailbox");
    }
    if (s->state == IMAP_SELECTED) {
        buf_append_lit(out, "* OK [CLOSED] The mailbox before is closed\r\n");
    }
    imap_deselect(s);
    s->all_flags = true;
    s->ask.name = select->name;
    s->ask.read_only = read_only;
    return imap_ask(s, IMAP_OPEN, opened);
}

enum imap_request imap_command_select(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_select(s, scan, false, out);
}

enum imap_request imap_command_examine(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_select(s, scan, true, out);
}

/* Closing. */

static enum imap_request shut(struct imap_server *s, struct buf *out)
{
    return imap_ok(s, out, "", "The mailbox is closed");
}

static enum imap_request leave(struct imap_server *s)
{
    imap_deselect(s);
    return imap_ask(s, IMAP_SHUT, shut);
}

static enum imap_request closed(struct imap_server *s, struct buf *out)
{
    (void)out;
    return leave(s);
}

enum imap_request imap_command_unselect(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return imap_scan_end(scan) ? leave(s) : imap_bad(s, out, NULL, "UNSELECT takes no argument");
}

enum imap_request imap_command_close(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "CLOSE takes no argument");
    }
    if (s->selected.read_only || (s->selected.rights & RIGHT_EXPUNGE) == 0 || !imap_take_deleted(s, false)) {
        return leave(s);
    }
    return imap_ask(s, IMAP_CHANGE, closed);
}

enum imap_request imap_command_check(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "CHECK takes no argument");
    }
    s->news = true;
    return imap_ok(s, out, "", "Everything is on stable storage always");
}
