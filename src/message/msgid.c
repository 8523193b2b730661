/* Message ids; see msgid.h. */
#include "message/msgid.h"

#include "message/header.h"
#include "message/token.h"

#include <stdio.h>

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

static bool first_id(struct str header, struct str name, struct str *id)
{
    struct header_field field;
    if (!header_find(header, name, &field)) {
        return false;
    }
    struct msgid_list list = {.text = field.value};
    return msgid_next(&list, id);
}

/* FNV-1a: whoever wants to stand in another's thread just names it in References. */
static uint64_t hash_of(struct str text, uint64_t hash)
{
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3ULL;
    }
    return hash;
}

bool msgid_thread(struct str header, char thread[MSGID_THREAD_SIZE])
{
    struct header_field field;
    struct str id;
    struct buf normal = buf_make(1 << 20);
    bool found = first_id(header, STR("References"), &id) || first_id(header, STR("In-Reply-To"), &id) ||
                 (header_find(header, STR("Message-ID"), &field) && msgid_single(field.value, &id));
    found = found && msgid_append_normal(id, &normal);
    if (found) {
        snprintf(thread, MSGID_THREAD_SIZE, "%016llx%016llx",
                 (unsigned long long)hash_of(buf_str(&normal), 0xcbf29ce484222325ULL),
                 (unsigned long long)hash_of(buf_str(&normal), 0x84222325cbf29ce4ULL));
    }
    buf_free(&normal);
    return found;
}
