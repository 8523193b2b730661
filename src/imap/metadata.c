/*
 * GETMETADATA and SETMETADATA (RFC 5464), and what LIST tells of metadata (RFC 9590). Entries of mailboxes may be private or
 * shared, which here is the same; those of the server are private to the account, but for /shared/admin, which is made from the
 * login.
 */
#include "imap/metadata_private.h"

#include "base/codec.h"

enum { PACK_MAX = 1 << 20 };

/* Entries. */

/* Ends well, has no empty part, nothing that is no plain ASCII; `least` parts, four for a vendor's own. */
static bool is_entry(struct str name, size_t least)
{
    size_t parts = 0;
    if (name.len > METADATA_ENTRY_MAX || name.len < 2 || name.data[name.len - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c < 0x20 || c > 0x7e || c == '*' || c == '%' || (c == '/' && name.data[i + 1] == '/')) {
            return false;
        }
        parts += c == '/';
    }
    bool vendor = str_starts(name, STR("/private/vendor/")) || str_starts(name, STR("/shared/vendor/"));
    bool known = str_equal(name, STR("/private")) || str_equal(name, STR("/shared")) ||
                 str_starts(name, STR("/private/")) || str_starts(name, STR("/shared/"));
    return known && parts >= least && (!vendor || least < 2 || parts >= 4);
}

/* In lower case: names are the same in any (RFC 5464, section 3.2). */
static bool scan_entry(struct imap_server *s, struct imap_scan *scan, size_t least, struct str *entry)
{
    struct str text;
    char *room;
    if (!imap_scan_astring(scan, &text) || (room = arena_alloc(&s->arena, text.len + 1)) == NULL) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        room[i] = ascii_lower(text.data[i]);
    }
    *entry = str_make(room, text.len);
    scan->why = "the name of an entry, which begins with /private/ or /shared/";
    return is_entry(*entry, least);
}

bool metadata_scan_entries(struct imap_server *s, struct imap_scan *scan, struct metadata_wanted *wanted)
{
    bool several = imap_scan_char(scan, '(');
    do {
        if (wanted->count == METADATA_WANTED_MAX) {
            scan->why = "fewer entries";
            return false;
        }
        if (!scan_entry(s, scan, 1, &wanted->entries[wanted->count])) {
            return false;
        }
        wanted->found[wanted->count++] = false;
    } while (several && imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return !several || imap_scan_char(scan, ')');
}

/* Whether it is the entry, or lies below it within the depth. */
static bool is_wanted(struct str entry, struct str wanted, unsigned depth)
{
    if (str_equal(entry, wanted)) {
        return true;
    }
    if (depth == 0 || entry.len <= wanted.len || entry.data[wanted.len] != '/' ||
        !str_starts(entry, wanted)) {
        return false;
    }
    return depth > 1 || str_find(entry, wanted.len + 1, '/') == SIZE_MAX;
}

static void write_value(const struct imap_server *s, struct str value, struct buf *out)
{
    if (str_find(value, 0, '\0') != SIZE_MAX) {
        buf_append_char(out, '~'); /* a literal8 */
    }
    imap_string_write(s, value, out);
}

void metadata_take(const struct imap_server *s, struct metadata_wanted *wanted, struct str entry,
                   struct str value, struct buf *list)
{
    bool any = false;
    for (size_t i = 0; i < wanted->count; i++) {
        any = any || is_wanted(entry, wanted->entries[i], wanted->depth);
        wanted->found[i] = wanted->found[i] || str_equal(entry, wanted->entries[i]);
    }
    if (!any) {
        return;
    }
    if (value.len > wanted->max_size) {
        wanted->longest = value.len > wanted->longest ? value.len : wanted->longest;
        return;
    }
    buf_append_str(list, list->len == 0 ? STR_EMPTY : STR(" "));
    buf_append_str(list, entry);
    buf_append_char(list, ' ');
    write_value(s, value, list);
}

void metadata_write(const struct imap_server *s, struct metadata_wanted *wanted, struct str mailbox,
                    struct buf *list, struct buf *out)
{
    for (size_t i = 0; i < wanted->count; i++) {
        if (!wanted->found[i] && wanted->depth == 0) { /* that there is none is told, too */
            buf_append_str(list, list->len == 0 ? STR_EMPTY : STR(" "));
            buf_append_str(list, wanted->entries[i]);
            buf_append_lit(list, " NIL");
        }
        wanted->found[i] = false;
    }
    if (list->len > 0) {
        buf_append_lit(out, "* METADATA ");
        imap_name_write(s, mailbox, out);
        buf_append_lit(out, " (");
        buf_append_str(out, buf_str(list));
        buf_append_lit(out, ")\r\n");
    }
    out->failed = out->failed || list->failed;
    buf_clear(list);
}

/* GETMETADATA. */

struct get {
    struct metadata_wanted wanted;
    struct str mailbox;
    struct buf list;
};

static void free_get(void *data)
{
    struct get *get = data;
    buf_free(&get->list);
}

static bool annotation_came(struct imap_server *s, struct str mailbox, struct str entry, struct str value)
{
    struct get *get = s->data;
    (void)mailbox;
    metadata_take(s, &get->wanted, entry, value, &get->list);
    return buf_ok(&get->list);
}

/* Whom to ask (RFC 5464, section 6.2.2): the postmaster of the login's domain. */
static void take_admin(struct imap_server *s, struct get *get)
{
    struct buf text = buf_make(1024);
    struct str login = buf_str(&s->login);
    size_t at = str_find_last(login, '@');
    buf_append_lit(&text, "mailto:postmaster@");
    buf_append_str(&text, str_from(login, at == SIZE_MAX ? login.len : at + 1));
    if (buf_ok(&text) && at != SIZE_MAX) {
        metadata_take(s, &get->wanted, STR("/shared/admin"), buf_str(&text), &get->list);
    }
    buf_free(&text);
}

static enum imap_request got(struct imap_server *s, struct buf *out)
{
    struct get *get = s->data;
    if (s->answer != IMAP_DONE) {
        return imap_no_answer(s, out, s->answer, false);
    }
    if (get->mailbox.len == 0) {
        take_admin(s, get);
    }
    metadata_write(s, &get->wanted, get->mailbox, &get->list, out);
    if (get->wanted.longest == 0) {
        return imap_ok(s, out, "", "That is the metadata");
    }
    struct buf *reply = imap_reply_begin(s, "OK");
    buf_append_lit(reply, "[METADATA LONGENTRIES ");
    buf_append_u64(reply, get->wanted.longest);
    buf_append_lit(reply, "] Some values are longer");
    return imap_reply_end(s, out);
}

/* "(MAXSIZE 1024 DEPTH infinity) " */
static bool scan_options(struct imap_scan *scan, struct metadata_wanted *wanted)
{
    imap_scan_char(scan, '(');
    do {
        if (imap_scan_word(scan, STR("MAXSIZE"))) {
            if (!imap_scan_space(scan) || !imap_scan_number(scan, UINT32_MAX, &wanted->max_size)) {
                return false;
            }
        } else if (imap_scan_word(scan, STR("DEPTH")) && imap_scan_space(scan)) {
            wanted->depth = imap_scan_word(scan, STR("0"))          ? 0
                            : imap_scan_word(scan, STR("1"))        ? 1
                            : imap_scan_word(scan, STR("infinity")) ? 2
                                                                    : 3;
            if (wanted->depth == 3) {
                scan->why = "0, 1 or infinity";
                return false;
            }
        } else {
            scan->why = "MAXSIZE or DEPTH";
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_char(scan, ')') && imap_scan_space(scan);
}

static bool are_options(const struct imap_scan *scan)
{
    return str_starts_nocase(scan->rest, STR("(MAXSIZE ")) || str_starts_nocase(scan->rest, STR("(DEPTH "));
}

enum imap_request imap_command_getmetadata(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct get *get = imap_command_data(s, sizeof(*get), free_get);
    if (get == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    get->list = buf_make(16 << 20);
    get->wanted.max_size = UINT64_MAX;
    /* The grammar has the options before the mailbox, its examples behind. */
    bool fine = imap_scan_space(scan) && (!are_options(scan) || scan_options(scan, &get->wanted)) &&
                imap_scan_name(s, scan, &get->mailbox) && imap_scan_space(scan) &&
                (!are_options(scan) || scan_options(scan, &get->wanted)) &&
                metadata_scan_entries(s, scan, &get->wanted) && imap_scan_end(scan);
    if (!fine) {
        return imap_bad(s, out, scan, "GETMETADATA takes a mailbox, or \"\", and names of entries");
    }
    s->annotation = annotation_came;
    s->ask.name = get->mailbox;
    s->ask.all = false;
    return imap_ask(s, IMAP_METADATA, got);
}

/* SETMETADATA. */

struct set {
    struct buf packed; /* imap_change.data */
};

static void free_set(void *data)
{
    struct set *set = data;
    buf_free(&set->packed);
}

static enum imap_request changed(struct imap_server *s, struct buf *out)
{
    return s->answer == IMAP_LIMIT  ? imap_no(s, out, "[METADATA TOOMANY] ", "There are too many entries")
           : s->answer == IMAP_DONE ? imap_ok(s, out, "", "Noted")
                                    : imap_no_answer(s, out, s->answer, false);
}

/* "entry value" */
static bool scan_value(struct imap_server *s, struct imap_scan *scan, struct set *set, uint64_t *longest,
                       bool *shared)
{
    struct str entry;
    struct str value = STR_EMPTY;
    bool binary;
    if (!scan_entry(s, scan, 2, &entry) || !imap_scan_space(scan)) {
        return false;
    }
    bool is_nil = imap_scan_word(scan, STR("NIL"));
    if (!is_nil && !imap_scan_string(scan, &value, &binary)) {
        return false;
    }
    *longest = value.len > *longest ? value.len : *longest;
    *shared = *shared || str_starts(entry, STR("/shared/"));
    scan->why = "less at once";
    return buf_append_le16(&set->packed, (uint16_t)entry.len) &&
           buf_append_le32(&set->packed, is_nil ? UINT32_MAX : (uint32_t)value.len) &&
           buf_append_str(&set->packed, entry) && buf_append_str(&set->packed, value);
}

enum imap_request imap_command_setmetadata(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct set *set = imap_command_data(s, sizeof(*set), free_set);
    struct str mailbox;
    uint64_t longest = 0;
    bool shared = false;
    if (set == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    set->packed = buf_make(PACK_MAX);
    bool fine = imap_scan_space(scan) && imap_scan_name(s, scan, &mailbox) && imap_scan_space(scan) &&
                imap_scan_char(scan, '(');
    do {
        fine = fine && scan_value(s, scan, set, &longest, &shared);
    } while (fine && imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    if (!fine || !imap_scan_char(scan, ')') || !imap_scan_end(scan)) {
        return imap_bad(s, out, scan,
                        "SETMETADATA takes a mailbox, or \"\", and entries with values in brackets");
    }
    if (longest > METADATA_VALUE_MAX) {
        struct buf *reply = imap_reply_begin(s, "NO");
        buf_append_lit(reply, "[METADATA MAXSIZE ");
        buf_append_u64(reply, METADATA_VALUE_MAX);
        buf_append_lit(reply, "] That value is too long");
        return imap_reply_end(s, out);
    }
    if (mailbox.len == 0 && shared) {
        return imap_no(s, out, "[NOPERM] ",
                       "What all users of this server share is set by its administrator");
    }
    s->ask.change = (struct imap_change){
        .kind = IMAP_CHANGE_METADATA, .name = mailbox, .keywords = STR_EMPTY, .data = buf_str(&set->packed)};
    return imap_ask(s, IMAP_CHANGE, changed);
}
