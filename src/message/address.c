/* Address lists of header fields; see address.h. */
#include "message/address.h"

#include "message/path.h"
#include "message/token.h"

struct address_iterator address_iterate(struct str value)
{
    return (struct address_iterator){.text = value};
}

/* At most four of them: quicker than a call for each character of the text. */
static inline bool is_among(char c, struct str stops)
{
    bool found = false;
    for (size_t i = 0; i < stops.len; i++) {
        found = found || stops.data[i] == c;
    }
    return found;
}

/* Moves over quoted strings, comments and domain literals to the first unquoted character out of `stops`. */
static size_t find_stop(struct str text, size_t at, struct str stops)
{
    while (at < text.len) {
        char c = text.data[at];
        if (is_among(c, stops)) {
            return at;
        }
        if (c == '"') {
            at = token_skip_quoted(text, at);
        } else if (c == '(') {
            at = token_skip_comment(text, at);
        } else if (c == '[') {
            size_t end = str_find(text, at, ']');
            at = end == SIZE_MAX ? text.len : end + 1;
        } else {
            at++;
        }
    }
    return text.len;
}

static struct str trim(struct str s)
{
    size_t from = token_skip_blank(s, 0);
    size_t to = s.len;
    while (to > from && token_is_blank(s.data[to - 1])) {
        to--;
    }
    return str_sub(s, from, to);
}

/* Splits "local@domain" at the @ outside quotes. */
static bool split(struct str spec, struct address_mailbox *mailbox)
{
    size_t at = find_stop(spec, 0, STR("@"));
    if (at >= spec.len) {
        return false;
    }
    mailbox->local = trim(str_sub(spec, 0, at));
    mailbox->domain = trim(str_from(spec, at + 1));
    return mailbox->local.len > 0 && mailbox->domain.len > 0;
}

/* Inside angle brackets an obsolete route may stand before the address: "@a,@b:user@domain". */
static struct str without_route(struct str spec)
{
    spec = trim(spec);
    if (spec.len == 0 || spec.data[0] != '@') {
        return spec;
    }
    size_t colon = find_stop(spec, 0, STR(":"));
    return colon < spec.len ? str_from(spec, colon + 1) : spec;
}

static enum address_step bracketed(struct address_iterator *i, size_t start, size_t open,
                                   struct address_mailbox *mailbox)
{
    size_t close = find_stop(i->text, open + 1, STR(">"));
    if (close >= i->text.len) {
        return ADDRESS_BAD;
    }
    mailbox->display = trim(str_sub(i->text, start, open));
    size_t after = token_skip_blank(i->text, close + 1);
    i->at = after;
    if (after < i->text.len && i->text.data[after] != ',' && i->text.data[after] != ';') {
        return ADDRESS_BAD;
    }
    return split(without_route(str_sub(i->text, open + 1, close)), mailbox) ? ADDRESS_MAILBOX : ADDRESS_BAD;
}

enum address_step address_next(struct address_iterator *i, struct address_mailbox *mailbox)
{
    while (i->count < ADDRESS_MAX) {
        i->at = token_skip_blank(i->text, i->at);
        if (i->at >= i->text.len) {
            return i->in_group ? ADDRESS_BAD : ADDRESS_END;
        }
        char c = i->text.data[i->at];
        if (c == ',' || (c == ';' && i->in_group)) {
            i->in_group = i->in_group && c == ',';
            i->at++;
            continue;
        }
        size_t start = i->at;
        size_t stop = find_stop(i->text, start, STR(",;:<"));
        char found = stop < i->text.len ? i->text.data[stop] : ',';
        i->count++;
        if (found == ':') {
            if (i->in_group) {
                return ADDRESS_BAD;
            }
            i->in_group = true;
            i->at = stop + 1;
            continue;
        }
        if (found == '<') {
            return bracketed(i, start, stop, mailbox);
        }
        i->at = stop;
        mailbox->display = STR_EMPTY;
        return split(trim(str_sub(i->text, start, stop)), mailbox) ? ADDRESS_MAILBOX : ADDRESS_BAD;
    }
    return ADDRESS_BAD;
}

/*
 * Comments and blanks around the atoms of an address do not belong to it. They may stand at its ends and beside dots (RFC
 * 5322, section 4.4); false where they part what without them would be one word.
 */
static bool append_clean(struct str s, struct buf *out)
{
    size_t at = token_skip_blank(s, 0);
    bool gap = false;
    char last = '.';
    while (at < s.len) {
        size_t end = at;
        while (end < s.len && !token_is_blank(s.data[end]) && s.data[end] != '(') {
            end = s.data[end] == '"' ? token_skip_quoted(s, end) : end + 1;
        }
        bool joins = gap && s.data[at] != '.' && last != '.';
        if (joins || !buf_append_str(out, str_sub(s, at, end))) {
            return false;
        }
        last = s.data[end - 1];
        at = token_skip_blank(s, end);
        gap = at > end;
    }
    return true;
}

bool address_append_normal(const struct address_mailbox *mailbox, struct buf *out)
{
    char area[1024];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    bool fine = append_clean(mailbox->local, &text) && buf_append_char(&text, '@') &&
                append_clean(mailbox->domain, &text);
    return fine && buf_ok(&text) && address_normalize(buf_str(&text), out) == PATH_OK;
}
