/*
 * Names of mailboxes: inside always UTF-8 with "/" between the parts and INBOX in capitals; for clients that have not enabled
 * UTF-8, modified UTF-7 (RFC 3501, section 5.1.3).
 */
#include "imap/server_private.h"

#include "message/mutf7.h"

/* Control characters, and what some systems cannot show, make no good names. */
static bool is_sane(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return str_is_utf8(name) && name.len <= IMAP_NAME_MAX;
}

/* "inbox" and "inbox/..." in any case are INBOX (RFC 9051, section 5.1). */
static void capitals_for_inbox(char *name, size_t len)
{
    struct str s = str_make(name, len);
    if (str_equal_nocase(str_sub(s, 0, 5), STR("INBOX")) && (len == 5 || name[5] == '/')) {
        memcpy(name, "INBOX", 5);
    }
}

/* The address in the name of another's mailbox is the same in any case; so is its INBOX. */
static void normalize(char *name, size_t len)
{
    size_t i = sizeof(OTHER_USERS);
    capitals_for_inbox(name, len);
    if (!is_other_users(str_make(name, len))) {
        return;
    }
    for (; i < len && name[i] != '/'; i++) {
        name[i] = ascii_lower(name[i]);
    }
    if (i < len) {
        capitals_for_inbox(name + i + 1, len - i - 1);
    }
}

bool imap_name_decode(struct imap_server *s, struct str text, struct str *name)
{
    struct buf out = buf_make(2 * IMAP_NAME_MAX);
    bool utf8 = imap_is_enabled(s, IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2) || !str_is_ascii(text);
    bool fine = (utf8 ? buf_append_str(&out, text) : mutf7_decode(text, &out)) && is_sane(buf_str(&out));
    if (fine) {
        if (out.len > 0) {
            normalize(out.data, out.len);
        }
        *name = arena_copy(&s->arena, buf_str(&out));
        fine = name->data != NULL;
    }
    buf_free(&out);
    return fine;
}

bool imap_name_of_utf8(struct imap_server *s, struct str text, struct str *name)
{
    char *room = arena_alloc(&s->arena, text.len + 1);
    if (!is_sane(text) || room == NULL) {
        return false;
    }
    memcpy(room, text.data, text.len);
    normalize(room, text.len);
    *name = str_make(room, text.len);
    return true;
}

bool imap_scan_name(struct imap_server *s, struct imap_scan *scan, struct str *name)
{
    struct imap_scan before = *scan;
    struct str text;
    if (!imap_scan_astring(scan, &text)) {
        scan->why = "the name of a mailbox";
        return false;
    }
    if (!imap_name_decode(s, text, name)) {
        *scan = before;
        scan->why = "the name of a mailbox in modified UTF-7 (RFC 3501, section 5.1.3), at most 1000 octets";
        return false;
    }
    return true;
}

/* Writing. */

void imap_string_write(const struct imap_server *s, struct str text, struct buf *out)
{
    bool utf8 = imap_is_enabled(s, IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2);
    bool quotable = text.len < 4096 && (str_is_ascii(text) || (utf8 && str_is_utf8(text)));
    for (size_t i = 0; quotable && i < text.len; i++) {
        quotable = text.data[i] != '\r' && text.data[i] != '\n' && text.data[i] != '\0';
    }
    if (!quotable) {
        buf_append_char(out, '{');
        buf_append_u64(out, text.len);
        buf_append_lit(out, "}\r\n");
        buf_append_str(out, text);
        return;
    }
    buf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, text.data[i]);
    }
    buf_append_char(out, '"');
}

static bool is_plain_atom(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alnum(c) && c != '.' && c != '-' && c != '_' && c != '/' && c != '&' && c != '+' &&
            c != ',') {
            return false;
        }
    }
    return name.len > 0 && !str_equal_nocase(name, STR("NIL"));
}

void imap_name_write(const struct imap_server *s, struct str name, struct buf *out)
{
    if (imap_is_enabled(s, IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2) ||
        (str_is_ascii(name) && str_find(name, 0, '&') == SIZE_MAX)) {
        if (is_plain_atom(name)) {
            buf_append_str(out, name);
        } else {
            imap_string_write(s, name, out);
        }
        return;
    }
    struct buf encoded = buf_make(8 * (size_t)IMAP_NAME_MAX);
    mutf7_encode(name, &encoded);
    if (is_plain_atom(buf_str(&encoded))) {
        buf_append_str(out, buf_str(&encoded));
    } else {
        imap_string_write(s, buf_str(&encoded), out);
    }
    out->failed = out->failed || encoded.failed;
    buf_free(&encoded);
}

bool imap_name_matches(struct str name, struct str pattern)
{
    /* The last wildcard seen of each kind, where to go on when what follows it does not fit. "%" stops at "/"; then an earlier "*"
     * takes over. */
    size_t n = 0;
    size_t p = 0;
    size_t star_p = SIZE_MAX;
    size_t star_n = 0;
    size_t percent_p = SIZE_MAX;
    size_t percent_n = 0;
    while (n < name.len || p < pattern.len) {
        char c = p < pattern.len ? pattern.data[p] : '\0';
        if (c == '*') {
            star_p = ++p;
            star_n = n;
            percent_p = SIZE_MAX;
        } else if (c == '%') {
            percent_p = ++p;
            percent_n = n;
        } else if (p < pattern.len && n < name.len && name.data[n] == c) {
            p++;
            n++;
        } else if (percent_p != SIZE_MAX && percent_n < name.len && name.data[percent_n] != '/') {
            n = ++percent_n;
            p = percent_p;
        } else if (star_p != SIZE_MAX && star_n < name.len) {
            n = ++star_n;
            p = star_p;
            percent_p = SIZE_MAX;
        } else {
            return false;
        }
    }
    return true;
}
