/* Reading FETCH's items (RFC 9051, section 6.4.5; RFC 3516, 7162, 8474, 8514, 8970). */
#include "imap/fetch_private.h"

static const struct {
    struct str name;
    enum fetch_kind kind;
} plain_items[] = {{{"UID", 3}, FETCH_UID},           {{"FLAGS", 5}, FETCH_FLAGS},
                   {{"MODSEQ", 6}, FETCH_MODSEQ},     {{"INTERNALDATE", 12}, FETCH_INTERNALDATE},
                   {{"RFC822.SIZE", 11}, FETCH_SIZE}, {{"SAVEDATE", 8}, FETCH_SAVEDATE},
                   {{"EMAILID", 7}, FETCH_EMAILID},   {{"THREADID", 8}, FETCH_THREADID},
                   {{"ENVELOPE", 8}, FETCH_ENVELOPE}, {{"BODYSTRUCTURE", 13}, FETCH_BODYSTRUCTURE},
                   {{"PREVIEW", 7}, FETCH_PREVIEW}};

static struct fetch_item *add_item(struct imap_scan *scan, struct fetch *fetch, enum fetch_kind kind,
                                   struct str name)
{
    if (fetch->item_count == FETCH_ITEMS_MAX) {
        scan->why = "fewer items";
        return NULL;
    }
    struct fetch_item *item = &fetch->items[fetch->item_count++];
    *item = (struct fetch_item){.kind = kind, .name = name, .peek = true};
    return item;
}

/* "(From To)" */
static bool scan_fields(struct imap_server *s, struct imap_scan *scan, struct fetch_item *item)
{
    struct str names[FETCH_FIELDS_MAX];
    size_t count = 0;
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    do {
        if (count == FETCH_FIELDS_MAX || !imap_scan_astring(scan, &names[count])) {
            scan->why = "names of header fields";
            return false;
        }
        count++;
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    struct str *kept = arena_alloc(&s->arena, count * sizeof(*kept));
    if (kept == NULL) {
        scan->why = "fewer names";
        return false;
    }
    memcpy(kept, names, count * sizeof(*kept));
    item->fields = kept;
    item->field_count = count;
    return imap_scan_char(scan, ')');
}

/* "[1.2.HEADER.FIELDS (From)]" */
static bool scan_section(struct imap_server *s, struct imap_scan *scan, struct fetch_item *item)
{
    size_t len = 0;
    if (!imap_scan_char(scan, '[')) {
        scan->why = "a section in square brackets";
        return false;
    }
    while (len < scan->rest.len && scan->rest.data[len] != ']' && scan->rest.data[len] != ' ') {
        len++;
    }
    if (!section_parse(str_sub(scan->rest, 0, len), &item->section)) {
        scan->why = "a section";
        return false;
    }
    scan->rest = str_from(scan->rest, len);
    bool listed =
        item->section.text == SECTION_HEADER_FIELDS || item->section.text == SECTION_HEADER_FIELDS_NOT;
    return (!listed || scan_fields(s, scan, item)) && imap_scan_char(scan, ']');
}

bool fetch_section_of_url(struct imap_server *s, struct str text, struct fetch_item *item)
{
    char *room = arena_alloc(&s->arena, text.len + 2);
    if (room == NULL) {
        return false;
    }
    room[0] = '[';
    memcpy(room + 1, text.data, text.len);
    room[text.len + 1] = ']';
    struct imap_scan scan = imap_scan_make(str_make(room, text.len + 2), &s->arena, true);
    return scan_section(s, &scan, item) && imap_scan_end(&scan);
}

/* "<0.1024>" */
static bool scan_partial(struct imap_scan *scan, struct fetch_item *item)
{
    if (imap_scan_peek(scan) != '<') {
        return true;
    }
    item->partial = true;
    return imap_scan_char(scan, '<') && imap_scan_number(scan, UINT32_MAX, &item->offset) &&
           imap_scan_char(scan, '.') && imap_scan_number(scan, UINT32_MAX, &item->length) &&
           item->length > 0 && imap_scan_char(scan, '>');
}

/* Sections are answered under the name that the client wrote, less ".PEEK" and the length of a part. */
static bool name_section(struct imap_server *s, struct imap_scan *scan, struct fetch_item *item,
                         struct str word, struct str section)
{
    struct buf name = buf_make(IMAP_LINE_MAX);
    buf_append_str(&name, word);
    buf_append_str(&name, section);
    if (item->partial && item->kind != FETCH_BINARY_SIZE) {
        buf_append_char(&name, '<');
        buf_append_u64(&name, item->offset);
        buf_append_char(&name, '>');
    }
    item->name = buf_ok(&name) ? arena_copy(&s->arena, buf_str(&name)) : (struct str){NULL, 0};
    buf_free(&name);
    scan->why = "a shorter section";
    return item->name.data != NULL;
}

static bool scan_sectioned(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch,
                           enum fetch_kind kind, bool peek, struct str word)
{
    struct fetch_item *item = add_item(scan, fetch, kind, word);
    if (item == NULL) {
        return false;
    }
    item->peek = peek;
    struct str before = scan->rest;
    if (!scan_section(s, scan, item)) {
        return false;
    }
    struct str section = str_sub(before, 0, before.len - scan->rest.len);
    if (kind != FETCH_SECTION && item->section.text != SECTION_ALL) {
        scan->why = "the number of a part";
        return false;
    }
    return (kind == FETCH_BINARY_SIZE || scan_partial(scan, item)) &&
           name_section(s, scan, item, word, section);
}

/* RFC822 and its two parts: sections under older names. */
static bool add_old(struct imap_scan *scan, struct fetch *fetch, struct str name, enum section_text text,
                    bool peek)
{
    struct fetch_item *item = add_item(scan, fetch, FETCH_SECTION, name);
    if (item != NULL) {
        item->peek = peek;
        item->section.text = text;
    }
    return item != NULL;
}

/* An item without a section; PREVIEW may have " (LAZY)" behind it (RFC 8970, section 4.1). */
static bool add_simple(struct imap_scan *scan, struct fetch *fetch, enum fetch_kind kind, struct str name)
{
    struct fetch_item *item = add_item(scan, fetch, kind, name);
    if (item != NULL && kind == FETCH_PREVIEW && str_starts_nocase(scan->rest, STR(" (LAZY)"))) {
        item->lazy = true;
        scan->rest = str_from(scan->rest, 7);
    }
    return item != NULL;
}

static bool scan_item(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch)
{
    static const struct {
        struct str word;
        struct str name;
        enum fetch_kind kind;
        bool peek;
    } sectioned[] = {{{"BODY.PEEK", 9}, {"BODY", 4}, FETCH_SECTION, true},
                     {{"BINARY.PEEK", 11}, {"BINARY", 6}, FETCH_BINARY, true},
                     {{"BINARY.SIZE", 11}, {"BINARY.SIZE", 11}, FETCH_BINARY_SIZE, true},
                     {{"BINARY", 6}, {"BINARY", 6}, FETCH_BINARY, false}};
    for (size_t i = 0; i < sizeof(plain_items) / sizeof(plain_items[0]); i++) {
        if (imap_scan_word(scan, plain_items[i].name)) {
            if (plain_items[i].kind == FETCH_MODSEQ) {
                imap_enable_condstore(s);
            }
            return add_simple(scan, fetch, plain_items[i].kind, plain_items[i].name);
        }
    }
    for (size_t i = 0; i < sizeof(sectioned) / sizeof(sectioned[0]); i++) {
        if (imap_scan_word(scan, sectioned[i].word)) {
            return scan_sectioned(s, scan, fetch, sectioned[i].kind, sectioned[i].peek, sectioned[i].name);
        }
    }
    if (imap_scan_word(scan, STR("BODY"))) {
        return imap_scan_peek(scan) == '[' ? scan_sectioned(s, scan, fetch, FETCH_SECTION, false, STR("BODY"))
                                           : add_item(scan, fetch, FETCH_BODY, STR("BODY")) != NULL;
    }
    if (imap_scan_word(scan, STR("RFC822.HEADER"))) {
        return add_old(scan, fetch, STR("RFC822.HEADER"), SECTION_HEADER, true);
    }
    if (imap_scan_word(scan, STR("RFC822.TEXT"))) {
        return add_old(scan, fetch, STR("RFC822.TEXT"), SECTION_BODY_TEXT, false);
    }
    if (imap_scan_word(scan, STR("RFC822"))) {
        return add_old(scan, fetch, STR("RFC822"), SECTION_ALL, false);
    }
    scan->why = "an item that FETCH knows";
    return false;
}

static bool add_plain(struct imap_scan *scan, struct fetch *fetch, const enum fetch_kind *kinds, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        struct str name = STR("BODY");
        for (size_t i = 0; i < sizeof(plain_items) / sizeof(plain_items[0]); i++) {
            name = plain_items[i].kind == kinds[k] ? plain_items[i].name : name;
        }
        if (add_item(scan, fetch, kinds[k], name) == NULL) {
            return false;
        }
    }
    return true;
}

/* ALL, FAST and FULL stand alone. */
static bool scan_macro(struct imap_scan *scan, struct fetch *fetch, bool *found)
{
    static const enum fetch_kind kinds[] = {FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE,
                                            FETCH_BODY};
    size_t count = imap_scan_word(scan, STR("ALL"))    ? 4
                   : imap_scan_word(scan, STR("FAST")) ? 3
                   : imap_scan_word(scan, STR("FULL")) ? 5
                                                       : 0;
    *found = count > 0;
    return add_plain(scan, fetch, kinds, count);
}

static bool scan_items(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch)
{
    bool macro;
    if (imap_scan_peek(scan) != '(') {
        return scan_macro(scan, fetch, &macro) && (macro || scan_item(s, scan, fetch));
    }
    imap_scan_char(scan, '(');
    do {
        if (!scan_item(s, scan, fetch)) {
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    return imap_scan_char(scan, ')');
}

/* " (CHANGEDSINCE 12 VANISHED)" */
static bool scan_modifiers(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch)
{
    if (!imap_scan_space(scan) || !imap_scan_char(scan, '(')) {
        return false;
    }
    do {
        if (imap_scan_word(scan, STR("CHANGEDSINCE"))) {
            fetch->has_since = true;
            imap_enable_condstore(s);
            if (!imap_scan_space(scan) || !imap_scan_number(scan, INT64_MAX, &fetch->since)) {
                return false;
            }
        } else if (imap_scan_word(scan, STR("VANISHED"))) {
            fetch->vanished = true;
        } else if (s->by_uid && imap_scan_word(scan, STR("PARTIAL"))) {
            fetch->partial = true;
            if (!imap_scan_partial(scan, &fetch->from_end, &fetch->partial_first, &fetch->partial_last)) {
                return false;
            }
        } else {
            scan->why = s->by_uid ? "CHANGEDSINCE, VANISHED or PARTIAL" : "CHANGEDSINCE";
            return false;
        }
    } while (imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    bool allowed =
        !fetch->vanished || (s->by_uid && fetch->has_since && imap_is_enabled(s, IMAP_ENABLED_QRESYNC));
    scan->why = allowed ? scan->why : "VANISHED with UID FETCH, CHANGEDSINCE and QRESYNC enabled only";
    return allowed && imap_scan_char(scan, ')');
}

static bool has_item(const struct fetch *fetch, enum fetch_kind kind)
{
    for (size_t i = 0; i < fetch->item_count; i++) {
        if (fetch->items[i].kind == kind) {
            return true;
        }
    }
    return false;
}

bool fetch_parse_items(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch)
{
    if (imap_scan_peek(scan) != '(') {
        scan->why = "items in brackets";
        return false;
    }
    return scan_items(s, scan, fetch);
}

bool fetch_parse(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch)
{
    static const enum fetch_kind uid = FETCH_UID;
    static const enum fetch_kind modseq = FETCH_MODSEQ;
    if (!imap_scan_space(scan) || !scan_items(s, scan, fetch) ||
        (!imap_scan_end(scan) && !scan_modifiers(s, scan, fetch)) || !imap_scan_end(scan)) {
        return false;
    }
    if (s->by_uid && !has_item(fetch, FETCH_UID) && !add_plain(scan, fetch, &uid, 1)) {
        return false;
    }
    return !fetch->has_since || has_item(fetch, FETCH_MODSEQ) || add_plain(scan, fetch, &modseq, 1);
}

/* What it takes. */

/* The text of a summary that gives an item; 0: none does. */
static unsigned text_for(const struct fetch_item *item)
{
    switch (item->kind) {
    case FETCH_ENVELOPE: return 1U << SUMMARY_ENVELOPE;
    case FETCH_BODY: return 1U << SUMMARY_BODY;
    case FETCH_BODYSTRUCTURE: return 1U << SUMMARY_BODYSTRUCTURE;
    case FETCH_PREVIEW: return 1U << SUMMARY_PREVIEW;
    case FETCH_THREADID: return 1U << SUMMARY_FIELDS;
    case FETCH_SECTION: break;
    default: return 0;
    }
    if (item->section.depth > 0 || item->section.text != SECTION_HEADER_FIELDS) {
        return 0;
    }
    for (size_t i = 0; i < item->field_count; i++) {
        if (!summary_has_field(item->fields[i])) {
            return 0;
        }
    }
    return 1U << SUMMARY_FIELDS;
}

unsigned fetch_want(const struct fetch *fetch, unsigned *texts, bool *octets)
{
    unsigned want = 0;
    *texts = 0;
    *octets = false;
    for (size_t i = 0; i < fetch->item_count; i++) {
        const struct fetch_item *item = &fetch->items[i];
        unsigned text = text_for(item);
        *texts |= text;
        *octets = *octets || (item->kind >= FETCH_ENVELOPE && !item->lazy);
        if (text != 0) {
            want |= IMAP_WANT_META | IMAP_WANT_SUMMARY;
        } else if (item->kind >= FETCH_ENVELOPE) {
            want |= IMAP_WANT_META | IMAP_WANT_BODY;
        } else if (item->kind >= FETCH_INTERNALDATE) {
            want |= IMAP_WANT_META;
        }
    }
    return (want & IMAP_WANT_BODY) != 0 ? want & ~(unsigned)IMAP_WANT_SUMMARY : want;
}

bool fetch_is_streamed(const struct fetch *fetch)
{
    size_t needing = 0;
    bool whole = false;
    for (size_t i = 0; i < fetch->item_count; i++) {
        const struct fetch_item *item = &fetch->items[i];
        needing += item->kind >= FETCH_ENVELOPE;
        whole = whole || (item->kind == FETCH_SECTION && item->section.text == SECTION_ALL &&
                          item->section.depth == 0);
    }
    return needing == 1 && whole;
}

bool fetch_sets_seen(const struct fetch *fetch)
{
    for (size_t i = 0; i < fetch->item_count; i++) {
        if (!fetch->items[i].peek) {
            return true;
        }
    }
    return false;
}
