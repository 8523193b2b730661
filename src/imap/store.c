/* STORE, EXPUNGE, COPY, MOVE (RFC 9051, section 6.4; RFC 4315, 6851, 7162). */
#include "imap/server_private.h"

struct store_command {
    enum imap_store_operation operation;
    bool silent;
    uint64_t flags;
    struct str keywords;
};

static bool refuse_read_only(struct imap_server *s, struct buf *out, enum imap_request *request)
{
    if (s->selected.read_only) {
        *request = imap_no(s, out, "[READ-ONLY] ",
                           (s->selected.rights & RIGHTS_TO_CHANGE) == 0
                               ? "You have no right to change something here"
                               : "The mailbox was opened with EXAMINE; SELECT it to change something");
    }
    return s->selected.read_only;
}

/* STORE. */

/* New keywords have got their numbers with this change. */
static void take_keywords(struct imap_server *s, struct buf *out)
{
    if (s->changed.keywords.len > 0 && !str_equal(s->changed.keywords, buf_str(&s->selected.keywords))) {
        buf_clear(&s->selected.keywords);
        buf_append_str(&s->selected.keywords, s->changed.keywords);
        imap_tell_keywords(s, out);
    }
}

static uint64_t wanted_bits(const struct imap_server *s, const struct store_command *store)
{
    struct str rest = store->keywords;
    struct str word;
    uint64_t bits = store->flags;
    while (rest.len > 0 && str_split(&rest, ' ', &word)) {
        bits |= word.len > 0 ? imap_flag_bit(s, word) : 0;
    }
    return bits;
}

/*
 * The view gets what the change has made of the flags, so that what differs from it in the next entries is the work of others; and
 * without .SILENT all of it is told.
 */
static void apply_to_view(struct imap_server *s, const struct store_command *store,
                          const struct imap_set *failed)
{
    struct imap_view *view = &s->selected.view;
    bool keywords;
    uint64_t own = imap_own_flags(s, &keywords);
    own |= keywords ? ~(uint64_t)0 << IMAP_KEYWORD_FIRST : 0;
    uint64_t bits = wanted_bits(s, store) & own;
    for (size_t r = 0; r < s->uids.count; r++) {
        size_t i = imap_view_find(view, s->uids.ranges[r].first);
        for (; i < view->count && view->entries[i].uid <= s->uids.ranges[r].last; i++) {
            struct imap_entry *entry = &view->entries[i];
            if (imap_set_contains(failed, entry->uid)) {
                continue;
            }
            entry->flags = store->operation == IMAP_STORE_REPLACE ? (entry->flags & ~own) | bits
                           : store->operation == IMAP_STORE_ADD   ? entry->flags | bits
                                                                  : entry->flags & ~bits;
            if (!store->silent) {
                imap_view_announce(view, entry);
            }
        }
    }
}

/* UIDs as this command counts messages. */
static void write_numbers(struct imap_server *s, const struct imap_set *uids, struct buf *out)
{
    struct imap_set numbers = imap_set_make();
    if (s->by_uid) {
        imap_set_write(uids, out);
        return;
    }
    for (size_t i = 0; i < s->selected.view.count; i++) {
        if (imap_set_contains(uids, s->selected.view.entries[i].uid)) {
            imap_set_append(&numbers, (uint32_t)(i + 1), (uint32_t)(i + 1));
        }
    }
    imap_set_write(&numbers, out);
    imap_set_free(&numbers);
}

static enum imap_request stored(struct imap_server *s, struct buf *out)
{
    struct imap_set failed = imap_set_make();
    struct str packed = s->changed.source_uids;
    struct imap_range range;
    s->news = true;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    while (imap_next_packed(&packed, &range)) {
        imap_set_append(&failed, range.first, range.last);
    }
    take_keywords(s, out);
    apply_to_view(s, s->data, &failed);
    if (failed.count == 0) {
        return imap_ok(s, out, "", "Stored");
    }
    struct buf *reply = imap_reply_begin(s, "OK");
    buf_append_lit(reply, "[MODIFIED ");
    write_numbers(s, &failed, reply);
    buf_append_lit(reply, "] Some have been changed by others meanwhile");
    imap_set_free(&failed);
    return imap_reply_end(s, out);
}

/* " (UNCHANGEDSINCE 12)" */
static bool scan_modifier(struct imap_server *s, struct imap_scan *scan, uint64_t *modseq)
{
    *modseq = UINT64_MAX;
    if (imap_scan_peek(scan) != '(') {
        return true;
    }
    imap_enable_condstore(s);
    return imap_scan_char(scan, '(') && imap_scan_word(scan, STR("UNCHANGEDSINCE")) &&
           imap_scan_space(scan) && imap_scan_number(scan, INT64_MAX, modseq) && imap_scan_char(scan, ')') &&
           imap_scan_space(scan);
}

static bool scan_item(struct imap_scan *scan, struct store_command *store)
{
    store->operation = IMAP_STORE_REPLACE;
    if (imap_scan_char(scan, '+')) {
        store->operation = IMAP_STORE_ADD;
    } else if (imap_scan_char(scan, '-')) {
        store->operation = IMAP_STORE_REMOVE;
    }
    store->silent = imap_scan_word(scan, STR("FLAGS.SILENT"));
    if (!store->silent && !imap_scan_word(scan, STR("FLAGS"))) {
        scan->why = "FLAGS, +FLAGS or -FLAGS, perhaps with .SILENT";
        return false;
    }
    return imap_scan_space(scan);
}

enum imap_request imap_command_store(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    enum imap_request request;
    uint64_t modseq;
    struct store_command *store = imap_command_data(s, sizeof(*store), NULL);
    if (store == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!imap_take_set(s, scan, out, &request)) {
        return request;
    }
    if (!imap_scan_space(scan) || !scan_modifier(s, scan, &modseq) || !scan_item(scan, store) ||
        !imap_scan_flags(s, scan, true, &store->flags, &store->keywords) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "STORE takes messages, FLAGS and a list of flags");
    }
    if (refuse_read_only(s, out, &request)) {
        return request;
    }
    if (s->uids.count == 0) {
        return imap_ok(s, out, "", "No such messages");
    }
    if (!imap_limit_set(s, &s->uids)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    s->ask.change = (struct imap_change){.kind = IMAP_CHANGE_FLAGS,
                                         .name = buf_str(&s->selected.name),
                                         .uids = &s->uids,
                                         .operation = store->operation,
                                         .flags = store->flags,
                                         .keywords = store->keywords,
                                         .modseq = modseq};
    return imap_ask(s, IMAP_CHANGE, stored);
}

/* EXPUNGE. */

bool imap_take_deleted(struct imap_server *s, bool of_uids)
{
    struct imap_set deleted = imap_set_make();
    const struct imap_view *view = &s->selected.view;
    for (size_t i = 0; i < view->count; i++) {
        const struct imap_entry *entry = &view->entries[i];
        if (!entry->gone && (entry->flags & IMAP_DELETED) != 0 &&
            (!of_uids || imap_set_contains(&s->uids, entry->uid)) &&
            !imap_set_append(&deleted, entry->uid, entry->uid)) {
            break; /* the rest next time */
        }
    }
    imap_set_free(&s->uids);
    s->uids = deleted;
    s->ask.change = (struct imap_change){.kind = IMAP_CHANGE_EXPUNGE,
                                         .name = buf_str(&s->selected.name),
                                         .uids = &s->uids,
                                         .keywords = STR_EMPTY};
    return deleted.count > 0;
}

static enum imap_request expunged(struct imap_server *s, struct buf *out)
{
    s->news = true;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (!imap_is_enabled(s, IMAP_ENABLED_CONDSTORE)) {
        return imap_ok(s, out, "", "Expunged");
    }
    struct buf *reply = imap_reply_begin(s, "OK");
    buf_append_lit(reply, "[HIGHESTMODSEQ ");
    buf_append_u64(reply, s->changed.modseq);
    buf_append_lit(reply, "] Expunged");
    return imap_reply_end(s, out);
}

enum imap_request imap_command_expunge(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    enum imap_request request;
    if (s->by_uid && !imap_take_set(s, scan, out, &request)) {
        return request;
    }
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL,
                        s->by_uid ? "UID EXPUNGE takes a set of UIDs" : "EXPUNGE takes no argument");
    }
    if (refuse_read_only(s, out, &request)) {
        return request;
    }
    if ((s->selected.rights & RIGHT_EXPUNGE) == 0) {
        return imap_no_answer(s, out, IMAP_NO_PERMISSION, false);
    }
    if (!imap_take_deleted(s, s->by_uid)) {
        return imap_ok(s, out, "", "Nothing to expunge");
    }
    if (s->by_uid && !imap_limit_set(s, &s->uids)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    return imap_ask(s, IMAP_CHANGE, expunged);
}

/* COPY and MOVE. */

static void write_copy_uid(const struct imap_server *s, struct buf *out)
{
    buf_append_lit(out, "[COPYUID ");
    buf_append_u64(out, s->changed.uid_validity);
    buf_append_char(out, ' ');
    imap_write_packed(s->changed.source_uids, out);
    buf_append_char(out, ' ');
    imap_write_packed(s->changed.target_uids, out);
    buf_append_lit(out, "] ");
}

static enum imap_request copied(struct imap_server *s, struct buf *out)
{
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, true);
    }
    s->news = true; /* the destination may be this mailbox */
    if (s->changed.source_uids.len == 0) {
        return imap_ok(s, out, "", "None of them is there any more");
    }
    if (s->ask.change.kind == IMAP_CHANGE_MOVE) {
        buf_append_lit(out, "* OK ");
        write_copy_uid(s, out);
        buf_append_lit(out, "Moved\r\n");
        return imap_ok(s, out, "", "Moved");
    }
    struct buf *reply = imap_reply_begin(s, "OK");
    write_copy_uid(s, reply);
    buf_append_lit(reply, "Copied");
    return imap_reply_end(s, out);
}

static enum imap_request run_copy(struct imap_server *s, struct imap_scan *scan, enum imap_change_kind kind,
                                  struct buf *out)
{
    enum imap_request request;
    struct str name;
    if (!imap_take_set(s, scan, out, &request)) {
        return request;
    }
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &name) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "This command takes messages and the name of a mailbox");
    }
    if (kind == IMAP_CHANGE_MOVE && refuse_read_only(s, out, &request)) {
        return request;
    }
    if (s->uids.count == 0) {
        return imap_ok(s, out, "", "No such messages");
    }
    /* A copy is whole or there is none; of what is moved some may stay (RFC 9738). */
    if (kind == IMAP_CHANGE_COPY && imap_is_over_limit(s, imap_set_size(&s->uids))) {
        return imap_no_limit(s, out);
    }
    if (!imap_limit_set(s, &s->uids)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    /* The source is the selected mailbox. */
    s->ask.change = (struct imap_change){.kind = kind, .name = name, .uids = &s->uids, .keywords = STR_EMPTY};
    return imap_ask(s, IMAP_CHANGE, copied);
}

enum imap_request imap_command_copy(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_copy(s, scan, IMAP_CHANGE_COPY, out);
}

enum imap_request imap_command_move(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_copy(s, scan, IMAP_CHANGE_MOVE, out);
}
