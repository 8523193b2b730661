/* Blanks, comments and quoted strings of header fields; see token.h. */
#include "message/token.h"

size_t token_skip_comment(struct str text, size_t at)
{
    unsigned depth = 0;
    for (; at < text.len; at++) {
        char c = text.data[at];
        if (c == '\\') {
            at++;
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && --depth == 0) {
            return at + 1;
        }
    }
    return text.len;
}

size_t token_skip_quoted(struct str text, size_t at)
{
    for (at++; at < text.len; at++) {
        if (text.data[at] == '\\') {
            at++;
        } else if (text.data[at] == '"') {
            return at + 1;
        }
    }
    return text.len;
}

size_t token_skip_blank(struct str text, size_t at)
{
    while (at < text.len) {
        if (token_is_blank(text.data[at])) {
            at++;
        } else if (text.data[at] == '(') {
            at = token_skip_comment(text, at);
        } else {
            break;
        }
    }
    return at < text.len ? at : text.len;
}

struct str token_trim(struct str text)
{
    size_t from = 0;
    size_t to = text.len;
    while (from < to && token_is_blank(text.data[from])) {
        from++;
    }
    while (to > from && token_is_blank(text.data[to - 1])) {
        to--;
    }
    return str_sub(text, from, to);
}

bool token_append_unquoted(struct str inside, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < inside.len; i++) {
        char c = inside.data[i];
        if (c != '\\' && c != '\r' && c != '\n' && c != '\0') {
            continue;
        }
        buf_append_str(out, str_sub(inside, from, i));
        from = i + 1;
        if (c == '\\' && i + 1 < inside.len) {
            char quoted = inside.data[++i];
            from = quoted == '\r' || quoted == '\n' || quoted == '\0' ? i + 1 : i;
        }
    }
    return buf_append_str(out, str_from(inside, from));
}
