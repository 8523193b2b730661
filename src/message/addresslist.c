/* Tolerant address lists; see addresslist.h. */
#include "message/addresslist.h"

#include "message/token.h"

/* Where a mailbox or group in the text ends, and what was seen on the way. */
struct extent {
    size_t end;
    size_t angle;       /* of "<" outside of quotes; SIZE_MAX if there is none */
    size_t angle_close; /* of its ">", or where the entry ends */
    size_t at_sign;     /* the last "@" outside of quotes and angles */
    struct str comment;
    char stop; /* ',' or ';' or ':'; 0 at the end of the text */
};

static struct str comment_inside(struct str text, size_t at, size_t end)
{
    bool closed = end > at + 1 && text.data[end - 1] == ')';
    return str_sub(text, at + 1, closed ? end - 1 : end);
}

/* Behind "[...]" of a domain, whose colons begin no group; if it is not closed, where the list goes on. */
static size_t skip_literal(struct str text, size_t at)
{
    for (at++; at < text.len; at++) {
        char c = text.data[at];
        if (c == ']') {
            return at + 1;
        }
        if (c == ',' || c == ';' || c == '<' || c == '>' || c == '"' || c == '(') {
            break;
        }
    }
    return at;
}

/* The ">" for the "<" at `at`: a quoted local part may hold one. */
static size_t angle_end(struct str text, size_t at)
{
    for (at++; at < text.len;) {
        char c = text.data[at];
        if (c == '>') {
            return at;
        }
        at = c == '"' ? token_skip_quoted(text, at) : c == '(' ? token_skip_comment(text, at) : at + 1;
    }
    return text.len;
}

static void find_extent(const struct addresslist *list, struct extent *extent)
{
    struct str text = list->text;
    size_t i = list->at;
    *extent = (struct extent){.angle = SIZE_MAX, .at_sign = SIZE_MAX, .comment = STR_EMPTY};
    while (i < text.len) {
        char c = text.data[i];
        if (c == ',' ||
            (c == ';' && (list->in_group || extent->angle != SIZE_MAX || extent->at_sign != SIZE_MAX)) ||
            (c == ':' && !list->in_group && extent->angle == SIZE_MAX && extent->at_sign == SIZE_MAX)) {
            extent->stop = c;
            break;
        }
        if (c == '"') {
            i = token_skip_quoted(text, i);
        } else if (c == '(') {
            size_t end = token_skip_comment(text, i);
            extent->comment = comment_inside(text, i, end);
            i = end;
        } else if (c == '[') {
            i = skip_literal(text, i);
        } else if (c == '<' && extent->angle == SIZE_MAX) {
            extent->angle = i;
            extent->angle_close = angle_end(text, i);
            i = extent->angle_close < text.len ? extent->angle_close + 1 : text.len;
        } else {
            extent->at_sign = c == '@' && extent->angle == SIZE_MAX ? i : extent->at_sign;
            i++;
        }
    }
    extent->end = i < text.len ? i : text.len;
}

/* Parts "local@domain" at the last "@" outside of quotes and comments. */
static void split_address(struct str spec, struct addresslist_entry *entry)
{
    size_t sign = SIZE_MAX;
    spec = str_from(spec, token_skip_blank(spec, 0)); /* a comment alone is nobody */
    for (size_t i = 0; i < spec.len;) {
        char c = spec.data[i];
        sign = c == '@' ? i : sign;
        i = c == '"' ? token_skip_quoted(spec, i) : c == '(' ? token_skip_comment(spec, i) : i + 1;
    }
    entry->local = token_trim(str_sub(spec, 0, sign == SIZE_MAX ? spec.len : sign));
    entry->domain = sign == SIZE_MAX ? STR_EMPTY : token_trim(str_from(spec, sign + 1));
}

/* What stands in the angle brackets: perhaps a route (RFC 5322, section 4.4), then the address. */
static void read_angle(struct str spec, struct addresslist_entry *entry)
{
    spec = str_from(spec, token_skip_blank(spec, 0));
    if (spec.len > 0 && spec.data[0] == '@') {
        size_t colon = str_find(spec, 0, ':');
        if (colon != SIZE_MAX) {
            entry->route = token_trim(str_sub(spec, 0, colon));
            spec = str_from(spec, colon + 1);
        }
    }
    split_address(spec, entry);
}

static void read_mailbox(struct str text, size_t start, const struct extent *extent,
                         struct addresslist_entry *entry)
{
    entry->kind = ADDRESSLIST_MAILBOX;
    if (extent->angle == SIZE_MAX) {
        split_address(str_sub(text, start, extent->end), entry);
        return;
    }
    entry->name = token_trim(str_sub(text, start, extent->angle));
    read_angle(str_sub(text, extent->angle + 1, extent->angle_close), entry);
    if (entry->name.len == 0) { /* the name is behind the address */
        entry->name = token_trim(str_sub(text, extent->angle_close + 1, extent->end));
    }
}

bool addresslist_next(struct addresslist *list, struct addresslist_entry *entry)
{
    *entry = (struct addresslist_entry){
        .name = STR_EMPTY, .comment = STR_EMPTY, .route = STR_EMPTY, .local = STR_EMPTY, .domain = STR_EMPTY};
    struct str text = list->text;
    while (list->at < text.len && list->count < ADDRESSLIST_MAX) {
        char c = text.data[list->at];
        if (token_is_blank(c) || c == ',' || (c == ';' && !list->in_group)) {
            list->at++;
            continue;
        }
        if (c == ';') {
            list->at++;
            list->in_group = false;
            entry->kind = ADDRESSLIST_GROUP_END;
            return true;
        }
        struct extent extent;
        size_t start = list->at;
        find_extent(list, &extent);
        list->at = extent.stop == ':' ? extent.end + 1 : extent.end;
        list->count++;
        if (extent.stop == ':') {
            entry->kind = ADDRESSLIST_GROUP_BEGIN;
            entry->name = token_trim(str_sub(text, start, extent.end));
            entry->comment = extent.comment;
            list->in_group = true;
            return true;
        }
        entry->comment = extent.comment;
        read_mailbox(text, start, &extent, entry);
        if (entry->local.len > 0 || entry->domain.len > 0 || entry->name.len > 0) {
            return true;
        }
    }
    list->at = text.len;
    entry->kind = ADDRESSLIST_GROUP_END;
    bool open = list->in_group;
    list->in_group = false;
    return open;
}

/* Words of a phrase with one space between them. */
static bool append_phrase(struct str phrase, struct buf *out)
{
    bool blank = false;
    size_t begin = out->len;
    for (size_t i = 0; i < phrase.len;) {
        char c = phrase.data[i];
        if (token_is_blank(c) || c == '(') {
            blank = true;
            i = c == '(' ? token_skip_comment(phrase, i) : i + 1;
            continue;
        }
        if (blank && out->len > begin) {
            buf_append_char(out, ' ');
        }
        blank = false;
        if (c == '"') {
            size_t end = token_skip_quoted(phrase, i);
            bool closed = end > i + 1 && phrase.data[end - 1] == '"';
            token_append_unquoted(str_sub(phrase, i + 1, closed ? end - 1 : end), out);
            i = end;
            continue;
        }
        size_t start = i;
        while (i < phrase.len && !token_is_blank(phrase.data[i]) && phrase.data[i] != '(' &&
               phrase.data[i] != '"') {
            i++;
        }
        buf_append_str(out, str_sub(phrase, start, i));
    }
    return buf_ok(out);
}

bool addresslist_append_name(const struct addresslist_entry *entry, struct buf *out)
{
    size_t before = out->len;
    append_phrase(entry->name, out);
    if (out->len == before) {
        token_append_unquoted(token_trim(entry->comment), out);
    }
    return buf_ok(out);
}

bool addresslist_append_word(struct str word, struct buf *out)
{
    for (size_t i = 0; i < word.len;) {
        char c = word.data[i];
        if (c == '(') {
            i = token_skip_comment(word, i);
        } else if (c == '"') {
            size_t end = token_skip_quoted(word, i);
            bool closed = end > i + 1 && word.data[end - 1] == '"';
            token_append_unquoted(str_sub(word, i + 1, closed ? end - 1 : end), out);
            i = end;
        } else if (token_is_blank(c)) {
            i++;
        } else {
            size_t start = i;
            while (i < word.len && word.data[i] != '(' && word.data[i] != '"' &&
                   !token_is_blank(word.data[i])) {
                i++;
            }
            buf_append_str(out, str_sub(word, start, i));
        }
    }
    return buf_ok(out);
}

bool addresslist_append_address(const struct addresslist_entry *entry, struct buf *out)
{
    if (entry->kind != ADDRESSLIST_MAILBOX) {
        return buf_ok(out);
    }
    addresslist_append_word(entry->local, out);
    if (entry->domain.len > 0) {
        buf_append_char(out, '@');
        addresslist_append_word(entry->domain, out);
    }
    return buf_ok(out);
}
