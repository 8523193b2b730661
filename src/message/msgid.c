/* Message ids; see msgid.h. */
#include "message/msgid.h"

#include "message/token.h"

/* The ">" that ends the id that begins behind `at`; SIZE_MAX if another "<", or nothing, comes first. */
static size_t find_end(struct str text, size_t at)
{
    while (at < text.len && text.data[at] != '>' && text.data[at] != '<') {
        at = text.data[at] == '"' ? token_skip_quoted(text, at) : at + 1;
    }
    return at < text.len && text.data[at] == '>' ? at : SIZE_MAX;
}

/* Where a "<" stands next, comments skipped; SIZE_MAX if there is none. */
static size_t find_begin(struct str text, size_t at)
{
    while (at < text.len && text.data[at] != '<') {
        at = text.data[at] == '(' ? token_skip_comment(text, at) : at + 1;
    }
    return at < text.len ? at : SIZE_MAX;
}

bool msgid_next(struct msgid_list *list, struct str *id)
{
    struct str text = list->text;
    while (list->count < MSGID_MAX) {
        size_t begin = find_begin(text, list->at);
        if (begin == SIZE_MAX) {
            break;
        }
        list->at = begin + 1;
        size_t end = find_end(text, begin + 1);
        if (end == SIZE_MAX) {
            continue;
        }
        *id = token_trim(str_sub(text, begin + 1, end));
        list->at = end + 1;
        if (id->len > 0) {
            list->count++;
            return true;
        }
    }
    list->at = text.len;
    return false;
}

bool msgid_single(struct str value, struct str *id)
{
    struct msgid_list list = {.text = value};
    if (msgid_next(&list, id)) {
        return true;
    }
    size_t at = token_skip_blank(value, 0);
    size_t start = at;
    while (at < value.len && !token_is_blank(value.data[at]) && value.data[at] != '<' &&
           value.data[at] != '>') {
        at++;
    }
    *id = str_sub(value, start, at);
    return id->len > 0;
}

bool msgid_append_normal(struct str id, struct buf *out)
{
    for (size_t i = 0; i < id.len;) {
        char c = id.data[i];
        if (c == '(') {
            i = token_skip_comment(id, i);
        } else if (c == '"') {
            size_t end = token_skip_quoted(id, i);
            bool closed = end > i + 1 && id.data[end - 1] == '"';
            token_append_unquoted(str_sub(id, i + 1, closed ? end - 1 : end), out);
            i = end;
        } else {
            if (!token_is_blank(c) && c != '\0') {
                buf_append_char(out, c);
            }
            i++;
        }
    }
    return buf_ok(out);
}
