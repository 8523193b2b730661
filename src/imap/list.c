/*
 * LIST with its extensions (RFC 9051, section 6.3.9; RFC 5258, 5819, 6154), LSUB (RFC 3501) and STATUS. All of them ask for the
 * account's mailboxes and choose from them here.
 */
#include "imap/metadata_private.h"
#include "imap/rows_private.h"

enum { PATTERNS_MAX = 32 };

enum list_select { SELECT_SUBSCRIBED = 1, SELECT_REMOTE = 2, SELECT_RECURSIVE = 4, SELECT_SPECIAL = 8 };
enum list_return {
    RETURN_SUBSCRIBED = 1,
    RETURN_CHILDREN = 2,
    RETURN_SPECIAL = 4,
    RETURN_STATUS = 8,
    RETURN_METADATA = 16,
    RETURN_MYRIGHTS = 32 /* RFC 8440 */
};

struct imap_list {
    bool extended; /* RFC 5258: LIST with options, or several patterns */
    bool lsub;
    unsigned select;
    unsigned give;
    unsigned items;
    struct str patterns[PATTERNS_MAX]; /* with the reference before them */
    size_t pattern_count;
    size_t at;       /* the row to be told next */
    struct str name; /* STATUS */
    struct metadata_wanted metadata;
    /* Of all mailboxes: 16 bits for the length of each, then mailbox, entry and value. */
    struct buf annotations;
    size_t annotations_at; /* where those of the next row begin */
    struct buf values;     /* of one mailbox, as they are told */
};

static void free_list(void *data)
{
    struct imap_list *list = data;
    buf_free(&list->annotations);
    buf_free(&list->values);
}

static bool has_subscribed_child(const struct imap_server *s, const struct imap_list *list, struct str name)
{
    for (size_t i = imap_first_below(s, name); i < s->row_count && imap_is_below(s->rows[i].row.name, name);
         i++) {
        bool matches = false;
        for (size_t p = 0; p < list->pattern_count; p++) {
            matches = matches || imap_name_matches(s->rows[i].row.name, list->patterns[p]);
        }
        if (s->rows[i].row.subscribed && !matches) {
            return true;
        }
    }
    return false;
}

/* LIST. */

static void write_attributes(const struct imap_server *s, const struct imap_list *list,
                             const struct imap_row *row, struct buf *out)
{
    unsigned attributes = list->lsub || !list->extended ? ATTRIBUTE_NOSELECT : ATTRIBUTE_NONEXISTENT;
    attributes |= (list->give & RETURN_CHILDREN) != 0 ? ATTRIBUTE_CHILDREN : 0U;
    attributes |= (list->give & RETURN_SUBSCRIBED) != 0 ? ATTRIBUTE_SUBSCRIBED : 0U;
    attributes |= (list->give & RETURN_SPECIAL) != 0 ? ATTRIBUTE_SPECIAL : 0U;
    imap_write_attributes(s, row, attributes, out);
}

/* RFC 9590: the metadata of a mailbox that is listed. */
static void write_metadata(const struct imap_server *s, struct imap_list *list, const struct imap_row *row,
                           struct buf *out)
{
    const struct buf *all = &list->annotations;
    size_t at = list->annotations_at; /* both come in the order of names */
    while (at + 6 <= all->len) {
        struct str mailbox = str_make(all->data + at + 6, read_le16(all->data + at));
        struct str entry = str_make(mailbox.data + mailbox.len, read_le16(all->data + at + 2));
        struct str value = str_make(entry.data + entry.len, read_le16(all->data + at + 4));
        int order = str_compare(mailbox, row->name);
        if (order > 0) {
            break;
        }
        if (order == 0) {
            metadata_take(s, &list->metadata, entry, value, &list->values);
        }
        at += 6 + mailbox.len + entry.len + value.len;
    }
    list->annotations_at = at;
    metadata_write(s, &list->metadata, row->name, &list->values, out);
}

static void write_list(const struct imap_server *s, struct imap_list *list, const struct imap_row *row,
                       bool childinfo, struct buf *out)
{
    buf_append_str(out, list->lsub ? STR("* LSUB ") : STR("* LIST "));
    write_attributes(s, list, row, out);
    buf_append_lit(out, " \"/\" ");
    imap_name_write(s, row->name, out);
    if (childinfo) {
        buf_append_lit(out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    buf_append_lit(out, "\r\n");
    if (row->exists && (list->give & RETURN_STATUS) != 0 && (row->rights & RIGHT_READ) != 0) {
        imap_write_status(s, row, list->items, out);
    }
    if (row->exists && (list->give & RETURN_MYRIGHTS) != 0) {
        imap_tell_my_rights(s, row->name, row->rights, out);
    }
    if (row->exists && (list->give & RETURN_METADATA) != 0) {
        write_metadata(s, list, row, out);
    }
}

static void tell_row(const struct imap_server *s, struct imap_list *list, const struct imap_row *row,
                     struct buf *out)
{
    bool matches = false;
    for (size_t p = 0; p < list->pattern_count && !matches; p++) {
        matches = imap_name_matches(row->name, list->patterns[p]);
    }
    if (!matches) {
        return;
    }
    /* What leads to mailboxes of others has to be found by those who look at one level after the other. */
    bool leads = !row->exists && is_other_users(row->name) && imap_has_children(s, row->name);
    bool selected = row->exists || leads;
    bool childinfo = false;
    if ((list->select & SELECT_SUBSCRIBED) != 0) {
        selected = row->subscribed;
        childinfo = (list->select & SELECT_RECURSIVE) != 0 && has_subscribed_child(s, list, row->name);
    }
    if ((list->select & SELECT_SPECIAL) != 0) {
        selected = selected && row->exists && row->special_use != 0;
    }
    if (selected || childinfo) {
        write_list(s, list, row, childinfo, out);
    }
}

/* LSUB "%" (RFC 3501): a name that is not subscribed, but whose children are, is told as \Noselect. */
static void tell_lsub_parents(const struct imap_server *s, struct imap_list *list, size_t at, struct buf *out)
{
    struct str name = s->rows[at].row.name;
    for (size_t i = 0; i < name.len; i++) {
        struct str parent = str_sub(name, 0, i);
        if (name.data[i] != '/' ||
            (at > 0 && imap_is_below(s->rows[at - 1].row.name, parent) && s->rows[at - 1].row.subscribed)) {
            continue;
        }
        size_t found = imap_find_row(s->rows, s->row_count, parent);
        bool known = found < s->row_count && str_equal(s->rows[found].row.name, parent) &&
                     s->rows[found].row.subscribed;
        struct imap_row row = {.name = parent};
        if (!known && imap_name_matches(parent, list->patterns[0]) &&
            !imap_name_matches(name, list->patterns[0])) {
            write_list(s, list, &row, false, out);
        }
    }
}

static enum imap_request tell_rows(struct imap_server *s, struct buf *out)
{
    struct imap_list *list = s->data;
    while (list->at < s->row_count) {
        const struct imap_row *row = &s->rows[list->at].row;
        if (list->lsub && row->subscribed) {
            tell_lsub_parents(s, list, list->at, out);
        }
        tell_row(s, list, row, out);
        list->at++;
        if (out->len > IMAP_CHUNK) {
            s->proceed = tell_rows;
            return IMAP_DRAIN;
        }
    }
    return imap_ok(s, out, "", "Listed");
}

static bool add_parent(struct imap_server *s, struct str name)
{
    char area[IMAP_NAME_MAX];
    memcpy(area, name.data, name.len); /* adding moves names */
    struct imap_row parent = {.name = str_make(area, name.len)};
    bool fine = imap_server_row(s, &parent);
    imap_settle_rows(s);
    return fine;
}

/* The names between that of the namespace and those of the mailboxes in it, as rows. */
static bool add_parents(struct imap_server *s)
{
    size_t count = s->row_count;
    size_t before = count; /* the last one whose parents are there */
    for (size_t at = 0; at < count; at++) {
        if (!s->rows[at].row.exists || !is_other_users(s->rows[at].row.name)) {
            continue;
        }
        for (size_t i = 0; i < s->rows[at].row.name.len; i++) {
            struct str parent = str_sub(s->rows[at].row.name, 0, i);
            if (s->rows[at].row.name.data[i] != '/') {
                continue;
            }
            size_t found = imap_find_row(s->rows, count, parent);
            bool known = (found < count && str_equal(s->rows[found].row.name, parent)) ||
                         (before < count && imap_is_below(s->rows[before].row.name, parent));
            if (!known && !add_parent(s, parent)) {
                return false;
            }
        }
        before = at;
    }
    return true;
}

static bool annotation_came(struct imap_server *s, struct str mailbox, struct str entry, struct str value)
{
    struct buf *all = &((struct imap_list *)s->data)->annotations;
    return value.len <= UINT16_MAX && buf_append_le16(all, (uint16_t)mailbox.len) &&
           buf_append_le16(all, (uint16_t)entry.len) && buf_append_le16(all, (uint16_t)value.len) &&
           buf_append_str(all, mailbox) && buf_append_str(all, entry) && buf_append_str(all, value);
}

static enum imap_request annotations_came(struct imap_server *s, struct buf *out)
{
    return s->answer == IMAP_DONE ? tell_rows(s, out) : imap_no_answer(s, out, s->answer, false);
}

static enum imap_request listed(struct imap_server *s, struct buf *out)
{
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    imap_hide_rows(s);
    imap_sort_rows(s);
    if (!add_parents(s)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    imap_sort_rows(s);
    if ((((const struct imap_list *)s->data)->give & RETURN_METADATA) == 0) {
        return tell_rows(s, out);
    }
    s->annotation = annotation_came;
    s->ask.name = STR_EMPTY;
    s->ask.all = true;
    return imap_ask(s, IMAP_METADATA, annotations_came);
}

/* Parsing. */

static bool scan_selection(struct imap_scan *scan, struct imap_list *list)
{
    struct str word;
    if (!imap_scan_char(scan, '(')) {
        return false;
    }
    while (imap_scan_peek(scan) != ')') {
        if (!imap_scan_atom(scan, &word)) {
            return false;
        }
        unsigned option = str_equal_nocase(word, STR("SUBSCRIBED"))       ? SELECT_SUBSCRIBED
                          : str_equal_nocase(word, STR("REMOTE"))         ? SELECT_REMOTE
                          : str_equal_nocase(word, STR("RECURSIVEMATCH")) ? SELECT_RECURSIVE
                          : str_equal_nocase(word, STR("SPECIAL-USE"))    ? SELECT_SPECIAL
                                                                          : 0;
        if (option == 0 || (imap_scan_peek(scan) != ')' && !imap_scan_space(scan))) {
            scan->why = "SUBSCRIBED, REMOTE, RECURSIVEMATCH or SPECIAL-USE";
            return false;
        }
        list->select |= option;
    }
    /* RFC 5258, section 3.1: by itself it means nothing. */
    if ((list->select & SELECT_RECURSIVE) != 0 && (list->select & SELECT_SUBSCRIBED) == 0) {
        scan->why = "SUBSCRIBED with RECURSIVEMATCH";
        return false;
    }
    return imap_scan_char(scan, ')') && imap_scan_space(scan);
}

static bool scan_return(struct imap_server *s, struct imap_scan *scan, struct imap_list *list)
{
    struct str word;
    if (!imap_scan_word(scan, STR("RETURN")) || !imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    while (imap_scan_peek(scan) != ')') {
        if (!imap_scan_atom(scan, &word)) {
            return false;
        }
        unsigned option = str_equal_nocase(word, STR("SUBSCRIBED"))    ? RETURN_SUBSCRIBED
                          : str_equal_nocase(word, STR("CHILDREN"))    ? RETURN_CHILDREN
                          : str_equal_nocase(word, STR("SPECIAL-USE")) ? RETURN_SPECIAL
                          : str_equal_nocase(word, STR("STATUS"))      ? RETURN_STATUS
                          : str_equal_nocase(word, STR("METADATA"))    ? RETURN_METADATA
                          : str_equal_nocase(word, STR("MYRIGHTS"))    ? RETURN_MYRIGHTS
                                                                       : 0;
        bool fine =
            option != RETURN_STATUS || (imap_scan_space(scan) && imap_scan_status_items(scan, &list->items));
        fine = fine && (option != RETURN_METADATA ||
                        (imap_scan_space(scan) && metadata_scan_entries(s, scan, &list->metadata)));
        if (option == 0 || !fine || (imap_scan_peek(scan) != ')' && !imap_scan_space(scan))) {
            scan->why =
                option == 0 ? "SUBSCRIBED, CHILDREN, SPECIAL-USE, STATUS, METADATA or MYRIGHTS" : scan->why;
            return false;
        }
        list->give |= option;
    }
    return imap_scan_char(scan, ')');
}

/* The reference and a pattern: a plain concatenation, as the hierarchy is one tree. */
static bool add_pattern(struct imap_server *s, struct imap_list *list, struct str reference,
                        struct str pattern)
{
    struct buf whole = buf_make(4 * (size_t)IMAP_NAME_MAX);
    bool fine =
        list->pattern_count < PATTERNS_MAX && buf_append_str(&whole, reference) &&
        buf_append_str(&whole, pattern) &&
        (whole.len == 0 || imap_name_decode(s, buf_str(&whole), &list->patterns[list->pattern_count]));
    if (fine && whole.len == 0) {
        list->patterns[list->pattern_count] = STR_EMPTY;
    }
    list->pattern_count += fine;
    buf_free(&whole);
    return fine;
}

static bool scan_patterns(struct imap_server *s, struct imap_scan *scan, struct imap_list *list,
                          struct str reference, bool *root)
{
    struct str pattern;
    bool several = imap_scan_peek(scan) == '(' && imap_scan_char(scan, '(');
    list->extended = list->extended || several;
    do {
        if (!imap_scan_pattern(scan, &pattern)) {
            return false;
        }
        *root = pattern.len == 0 && !list->extended;
        if (!add_pattern(s, list, reference, pattern)) {
            scan->why = "a pattern of valid names";
            return false;
        }
    } while (several && imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return !several || imap_scan_char(scan, ')');
}

/* LIST "" "": the hierarchy's delimiter (RFC 9051, section 6.3.9). */
static enum imap_request list_root(struct imap_server *s, struct buf *out)
{
    const struct imap_list *list = s->data;
    buf_append_str(out, list->lsub ? STR("* LSUB ") : STR("* LIST "));
    buf_append_lit(out, "(\\Noselect) \"/\" \"\"\r\n");
    return imap_ok(s, out, "", "Listed");
}

static enum imap_request run_list(struct imap_server *s, struct imap_scan *scan, bool lsub, struct buf *out)
{
    struct str reference;
    bool root = false;
    struct imap_list *list = imap_command_data(s, sizeof(*list), free_list);
    if (list == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    list->annotations = buf_make(64 << 20);
    list->values = buf_make(16 << 20);
    list->metadata.max_size = UINT64_MAX;
    list->lsub = lsub;
    bool fine = imap_scan_space(scan);
    if (fine && !lsub && imap_scan_peek(scan) == '(') {
        list->extended = true;
        fine = scan_selection(scan, list);
    }
    fine = fine && imap_scan_astring(scan, &reference) && imap_scan_space(scan) &&
           scan_patterns(s, scan, list, reference, &root);
    if (fine && !lsub && !imap_scan_end(scan)) {
        list->extended = true;
        fine = imap_scan_space(scan) && scan_return(s, scan, list);
    }
    if (!fine || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "LIST takes a reference and a pattern");
    }
    if (lsub) {
        list->select = SELECT_SUBSCRIBED;
    } else if (!list->extended || imap_is_enabled(s, IMAP_ENABLED_REV2)) {
        list->give |= RETURN_CHILDREN | RETURN_SPECIAL;
    }
    if ((list->select & SELECT_SUBSCRIBED) != 0 && !lsub) {
        list->give |= RETURN_SUBSCRIBED;
    }
    if ((list->select & SELECT_SPECIAL) != 0) {
        list->give |= RETURN_SPECIAL;
    }
    s->ask.deleted_octets = (list->items & STATUS_DELETED_STORAGE) != 0;
    return root ? list_root(s, out) : imap_ask(s, IMAP_LIST, listed);
}

enum imap_request imap_command_list(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_list(s, scan, false, out);
}

enum imap_request imap_command_lsub(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    return run_list(s, scan, true, out);
}

/* STATUS. */

static enum imap_request status_listed(struct imap_server *s, struct buf *out)
{
    const struct imap_list *list = s->data;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    for (size_t i = 0; i < s->row_count; i++) {
        if (!s->rows[i].row.exists || !str_equal(s->rows[i].row.name, list->name)) {
            continue;
        }
        if ((s->rows[i].row.rights & RIGHT_READ) == 0) {
            return imap_no_answer(s, out, IMAP_NO_PERMISSION, false);
        }
        imap_write_status(s, &s->rows[i].row, list->items, out);
        return imap_ok(s, out, "", "That is its status");
    }
    return imap_no_answer(s, out, IMAP_NONEXISTENT, false);
}

enum imap_request imap_command_status(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct imap_list *list = imap_command_data(s, sizeof(*list), NULL);
    if (list == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &list->name) || !imap_scan_space(scan) ||
        !imap_scan_status_items(scan, &list->items) || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan, "STATUS takes a mailbox and items in brackets");
    }
    if ((list->items & STATUS_HIGHESTMODSEQ) != 0) {
        imap_enable_condstore(s);
    }
    s->ask.deleted_octets = (list->items & STATUS_DELETED_STORAGE) != 0;
    return imap_ask(s, IMAP_LIST, status_listed);
}
