/*
 * APPEND with several messages (RFC 9051, section 6.3.12; RFC 3502), made of parts of others (CATENATE, RFC 4469), and REPLACE
 * (RFC 8508): all of them are filed, or none.
 */
#include "imap/fetch_private.h"

enum refusal { REFUSED_BY_ANSWER, REFUSED_EMPTY, REFUSED_TOO_BIG, REFUSED_URL, REFUSED_SYNTAX };

struct append {
    struct str name;
    struct imap_scan scan; /* behind the message, or the part of it, under way */
    struct imap_change change;
    bool more;
    bool replaces;
    bool noted; /* messages before this one wait in the store */
    enum refusal refusal;
    enum imap_answer answer;
    /* CATENATE */
    struct buf body; /* as far as it has been put together */
    struct str url;  /* as written */
    struct imap_url place;
    struct buf text; /* the message that it names */
    bool found;
    uint32_t rights; /* in the mailbox that it goes to */
};

static const char words[] = "APPEND takes a mailbox, perhaps flags and a date, and a message";

static enum imap_request next_message(struct imap_server *s, struct buf *out);
static enum imap_request next_part(struct imap_server *s, struct buf *out);

static void free_append(void *data)
{
    struct append *append = data;
    buf_free(&append->body);
    buf_free(&append->text);
}

/* Refusals. */

/* What may not stand in a response code is written as the URL could have it. */
static void write_url(struct str url, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < url.len && i < IMAP_NAME_MAX; i++) {
        unsigned char c = (unsigned char)url.data[i];
        if (c > 0x20 && c < 0x7f && c != ']' && c != '"' && c != '\\') {
            buf_append_char(out, (char)c);
            continue;
        }
        buf_append_char(out, '%');
        buf_append_char(out, hex[c >> 4]);
        buf_append_char(out, hex[c & 15]);
    }
}

static enum imap_request tell_refusal(struct imap_server *s, struct buf *out)
{
    const struct append *append = s->data;
    struct buf *reply;
    switch (append->refusal) {
    case REFUSED_BY_ANSWER: break;
    case REFUSED_EMPTY: return imap_no(s, out, "", "An empty message is not filed");
    case REFUSED_TOO_BIG: return imap_no(s, out, "[TOOBIG] ", "That is larger than this server takes");
    case REFUSED_SYNTAX: return imap_bad(s, out, &append->scan, words);
    case REFUSED_URL:
        reply = imap_reply_begin(s, "NO");
        buf_append_lit(reply, "[BADURL ");
        write_url(append->url, reply);
        buf_append_lit(reply, "] This URL names no message of yours, nor a part of one");
        return imap_reply_end(s, out);
    }
    if (append->answer == IMAP_GONE) {
        s->news = true;
    }
    return imap_no_answer(s, out, append->answer, true);
}

/* Messages that wait in the store for the rest must not be filed with a later command. */
static enum imap_request refuse(struct imap_server *s, enum refusal refusal, struct buf *out)
{
    struct append *append = s->data;
    append->refusal = refusal;
    append->answer = s->answer;
    if (!append->noted) {
        return tell_refusal(s, out);
    }
    s->ask.change =
        (struct imap_change){.kind = IMAP_CHANGE_FORGET, .name = append->name, .keywords = STR_EMPTY};
    return imap_ask(s, IMAP_CHANGE, tell_refusal);
}

/* Filing. */

static void write_append_uid(const struct imap_server *s, struct buf *out)
{
    buf_append_lit(out, "[APPENDUID ");
    buf_append_u64(out, s->changed.uid_validity);
    buf_append_char(out, ' ');
    imap_write_packed(s->changed.target_uids, out);
    buf_append_lit(out, "] ");
}

/* The new message is told of before the old one goes (RFC 8508, section 4.3). */
static enum imap_request replaced(struct imap_server *s, struct buf *out)
{
    s->news = true;
    buf_append_lit(out, "* OK ");
    write_append_uid(s, out);
    buf_append_lit(out, "The replacement is filed\r\n");
    struct buf *reply = imap_reply_begin(s, "OK");
    if (imap_is_enabled(s, IMAP_ENABLED_CONDSTORE)) {
        buf_append_lit(reply, "[HIGHESTMODSEQ ");
        buf_append_u64(reply, s->changed.modseq);
        buf_append_lit(reply, "] ");
    }
    buf_append_lit(reply, "Replaced");
    return imap_reply_end(s, out);
}

static enum imap_request appended(struct imap_server *s, struct buf *out)
{
    struct append *append = s->data;
    if (s->answer != IMAP_DONE) {
        return refuse(s, REFUSED_BY_ANSWER, out);
    }
    if (append->more) {
        append->noted = true;
        return next_message(s, out);
    }
    if (append->replaces) {
        return replaced(s, out);
    }
    s->news = imap_is_selected(s, append->name);
    struct buf *reply = imap_reply_begin(s, "OK");
    write_append_uid(s, reply);
    buf_append_lit(reply, "Appended");
    return imap_reply_end(s, out);
}

static enum imap_request file(struct imap_server *s, struct str body, struct buf *out)
{
    struct append *append = s->data;
    if (body.len == 0) {
        return refuse(s, REFUSED_EMPTY, out);
    }
    append->more = !imap_scan_end(&append->scan);
    append->change.more = append->more;
    s->ask.change = append->change;
    s->ask.body = body;
    return imap_ask(s, IMAP_APPEND, appended);
}

/* CATENATE. */

/* The message or part that the URL names is added, as FETCH BODY would give it. */
static bool add_text(struct imap_server *s, struct append *append)
{
    struct mime mime = {.parts = NULL};
    struct fetch_item item = {.kind = FETCH_SECTION};
    struct str found = buf_str(&append->text);
    struct buf chosen = buf_make(found.len + 2);
    bool fine = true;
    if (append->place.section.len > 0) {
        fine = fetch_section_of_url(s, append->place.section, &item) && mime_parse(&mime, found) &&
               section_find(&mime, &item.section, &found);
    }
    if (fine && item.field_count > 0) {
        fine = section_append_fields(found, item.fields, item.field_count,
                                     item.section.text == SECTION_HEADER_FIELDS_NOT, &chosen);
        found = buf_str(&chosen);
    }
    if (fine && append->place.section.len == 0) { /* no more than was wanted has come */
        buf_append_str(&append->body, found);
    } else if (fine) {
        uint64_t offset = append->place.offset < found.len ? append->place.offset : found.len;
        found = str_from(found, (size_t)offset);
        buf_append_str(
            &append->body,
            str_sub(found, 0, append->place.length < found.len ? (size_t)append->place.length : found.len));
    }
    mime_free(&mime);
    buf_free(&chosen);
    return fine;
}

static enum imap_request url_read(struct imap_server *s, struct buf *out)
{
    struct append *append = s->data;
    if (s->answer != IMAP_DONE) {
        return refuse(s, REFUSED_BY_ANSWER, out);
    }
    if (!append->found || !add_text(s, append)) {
        return refuse(s, REFUSED_URL, out);
    }
    buf_free(&append->text);
    return next_part(s, out);
}

static bool message_came(struct imap_server *s, const struct imap_message *message, struct buf *out)
{
    struct append *append = s->data;
    (void)out;
    append->found = message->uid == append->place.uid;
    return true;
}

static bool bytes_came(struct imap_server *s, struct str bytes, bool last, struct buf *out)
{
    struct append *append = s->data;
    (void)last;
    (void)out;
    return buf_append_str(&append->text, bytes);
}

static enum imap_request url_opened(struct imap_server *s, struct buf *out)
{
    struct append *append = s->data;
    if (s->answer == IMAP_DONE && append->place.has_validity &&
        append->place.uid_validity != s->rows[0].row.uid_validity) {
        s->answer = IMAP_NONEXISTENT;
    }
    if (s->answer != IMAP_DONE) {
        return refuse(s, s->answer == IMAP_NONEXISTENT ? REFUSED_URL : REFUSED_BY_ANSWER, out);
    }
    imap_set_clear(&s->numbers);
    if (!imap_set_append(&s->numbers, append->place.uid, append->place.uid)) {
        s->answer = IMAP_UNAVAILABLE;
        return refuse(s, REFUSED_BY_ANSWER, out);
    }
    append->found = false;
    buf_clear(&append->text);
    s->message = message_came;
    s->bytes = bytes_came;
    s->ask.uids = &s->numbers;
    s->ask.want = IMAP_WANT_META | IMAP_WANT_BODY;
    bool part = append->place.section.len > 0; /* where it begins is not known yet */
    s->ask.offset = part ? 0 : append->place.offset;
    s->ask.length = part ? UINT64_MAX : append->place.length;
    return imap_ask(s, IMAP_MESSAGES, url_read);
}

/* "TEXT literal" or "URL astring". */
static bool scan_part(struct imap_scan *scan, struct str *text, bool *is_url)
{
    *is_url = imap_scan_word(scan, STR("URL"));
    if (*is_url) {
        return imap_scan_space(scan) && imap_scan_astring(scan, text);
    }
    return imap_scan_word(scan, STR("TEXT")) && imap_scan_space(scan) && imap_scan_peek(scan) == '{' &&
           imap_scan_string(scan, text, NULL);
}

static enum imap_request next_part(struct imap_server *s, struct buf *out)
{
    struct append *append = s->data;
    struct str text;
    bool is_url;
    for (;;) {
        if (append->body.len > s->settings->append_max || !buf_ok(&append->body)) {
            return refuse(s, REFUSED_TOO_BIG, out);
        }
        if (imap_scan_char(&append->scan, ')')) {
            return file(s, buf_str(&append->body), out);
        }
        imap_scan_space(&append->scan);
        if (!scan_part(&append->scan, &text, &is_url)) {
            return refuse(s, REFUSED_SYNTAX, out);
        }
        if (!is_url) {
            buf_append_str(&append->body, text);
            continue;
        }
        append->url = text;
        if (!imap_url_parse(s, text, &append->place)) {
            return refuse(s, REFUSED_URL, out);
        }
        s->ask.name = append->place.mailbox;
        s->ask.read_only = true;
        s->ask.aside = true;
        return imap_ask(s, IMAP_OPEN, url_opened);
    }
}

/* Messages. */

/* " [(flags)] [date-time] ", up to what the message is made of. */
static bool scan_head(struct imap_server *s, struct imap_scan *scan, struct imap_change *change)
{
    if (!imap_scan_space(scan)) {
        return false;
    }
    change->keywords = STR_EMPTY;
    if (imap_scan_peek(scan) == '(' &&
        (!imap_scan_flags(s, scan, false, &change->flags, &change->keywords) || !imap_scan_space(scan))) {
        return false;
    }
    return imap_scan_peek(scan) != '"' ||
           (imap_scan_date_time(scan, &change->internal_ms) && imap_scan_space(scan));
}

static bool scan_body(struct imap_scan *scan, struct str *body)
{
    bool binary = false;
    if (imap_scan_word(scan, STR("UTF8"))) { /* RFC 6855, section 4 */
        return imap_scan_space(scan) && imap_scan_char(scan, '(') && imap_scan_string(scan, body, &binary) &&
               imap_scan_char(scan, ')');
    }
    char c = imap_scan_peek(scan);
    return (c == '{' || c == '~') && imap_scan_string(scan, body, &binary) &&
           (binary || str_find(*body, 0, '\0') == SIZE_MAX);
}

static bool scan_catenate(struct imap_scan *scan)
{
    return imap_scan_word(scan, STR("CATENATE")) && imap_scan_space(scan) && imap_scan_char(scan, '(');
}

static enum imap_request next_message(struct imap_server *s, struct buf *out)
{
    struct append *append = s->data;
    struct str body;
    append->change = (struct imap_change){.kind = IMAP_CHANGE_APPEND, .name = append->name};
    append->change.uids = append->replaces ? &s->uids : NULL;
    if (!scan_head(s, &append->scan, &append->change)) {
        return refuse(s, REFUSED_SYNTAX, out);
    }
    if (scan_catenate(&append->scan)) {
        buf_clear(&append->body);
        return next_part(s, out);
    }
    return scan_body(&append->scan, &body) ? file(s, body, out) : refuse(s, REFUSED_SYNTAX, out);
}

/* Whether all that is there can be read, before the first of it is filed. */
static bool is_whole(struct imap_server *s, struct imap_scan *given, bool several, size_t *messages,
                     bool *catenate)
{
    struct imap_scan scan = *given;
    struct imap_change change = {.kind = IMAP_CHANGE_APPEND};
    struct str text;
    bool is_url;
    bool fine;
    *catenate = false;
    *messages = 0;
    do {
        ++*messages;
        fine = scan_head(s, &scan, &change);
        if (fine && scan_catenate(&scan)) {
            *catenate = true;
            do {
                fine = scan_part(&scan, &text, &is_url);
            } while (fine && imap_scan_peek(&scan) == ' ' && imap_scan_space(&scan));
            fine = fine && imap_scan_char(&scan, ')');
        } else {
            fine = fine && scan_body(&scan, &text);
        }
    } while (fine && several && !imap_scan_end(&scan));
    fine = fine && imap_scan_end(&scan);
    if (!fine) {
        *given = scan;
    }
    return fine;
}

static bool rights_came(struct imap_server *s, struct str identifier, uint32_t rights)
{
    (void)identifier;
    ((struct append *)s->data)->rights = rights;
    return true;
}

/* The mailbox is looked for before what goes into it: [TRYCREATE] comes before [BADURL]. */
static enum imap_request target_known(struct imap_server *s, struct buf *out)
{
    const struct append *append = s->data;
    s->rights = NULL;
    if (s->answer == IMAP_DONE && (append->rights & RIGHT_INSERT) == 0) {
        s->answer = (append->rights & RIGHT_LOOKUP) != 0 ? IMAP_NO_PERMISSION : IMAP_NONEXISTENT;
    }
    return s->answer == IMAP_DONE ? next_message(s, out) : refuse(s, REFUSED_BY_ANSWER, out);
}

static enum imap_request run_append(struct imap_server *s, struct append *append, struct imap_scan *scan,
                                    struct buf *out)
{
    bool catenate;
    size_t messages;
    append->body = buf_make(s->settings->append_max + IMAP_LINE_MAX);
    append->text = buf_make(s->settings->append_max + 2 * IMAP_LINE_MAX);
    if (!imap_scan_space(scan) || !imap_scan_name(s, scan, &append->name) ||
        !is_whole(s, scan, !append->replaces, &messages, &catenate)) {
        return imap_bad(s, out, scan, words);
    }
    if (imap_is_over_limit(s, messages)) {
        return imap_no_limit(s, out);
    }
    append->scan = *scan;
    if (!catenate) {
        return next_message(s, out);
    }
    s->rights = rights_came;
    s->ask.name = append->name;
    s->ask.acl = IMAP_ACL_OWN;
    return imap_ask(s, IMAP_ACL, target_known);
}

enum imap_request imap_command_append(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct append *append = imap_command_data(s, sizeof(*append), free_append);
    return append == NULL ? imap_no_answer(s, out, IMAP_UNAVAILABLE, false)
                          : run_append(s, append, scan, out);
}

enum imap_request imap_command_replace(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    uint64_t number;
    struct append *append = imap_command_data(s, sizeof(*append), free_append);
    const struct imap_view *view = &s->selected.view;
    if (append == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    append->replaces = true;
    if (!imap_scan_space(scan) || !imap_scan_number(scan, UINT32_MAX, &number) || number == 0) {
        return imap_bad(s, out, scan, "REPLACE takes one message, and then what APPEND takes");
    }
    if (!s->by_uid && number > view->count) {
        return imap_bad(s, out, NULL, "There is no message of that number");
    }
    size_t at = s->by_uid ? imap_view_find(view, (uint32_t)number) : (size_t)number - 1;
    bool there =
        at < view->count && !view->entries[at].gone && (!s->by_uid || view->entries[at].uid == number);
    if (s->selected.read_only) {
        return imap_no(s, out, "[READ-ONLY] ",
                       "The mailbox was opened with EXAMINE; SELECT it to change something");
    }
    if (!there) {
        return imap_no_answer(s, out, IMAP_GONE, false);
    }
    if (!imap_set_append(&s->uids, view->entries[at].uid, view->entries[at].uid)) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    return run_append(s, append, scan, out);
}
