/* Parameters of MIME fields; see parameter.h. */
#include "message/parameter.h"

#include "message/charset.h"
#include "message/encoded_word.h"
#include "message/token.h"

static bool ends_name(char c)
{
    return c == '=' || c == ';' || token_is_blank(c);
}

/* Parts "name*12*" into its name, section and mark. */
static void read_name(struct str name, struct parameter *parameter)
{
    parameter->section = -1;
    parameter->extended = false;
    parameter->name = name;
    size_t star = str_find(name, 0, '*');
    if (star == SIZE_MAX || star == 0) {
        return;
    }
    struct str rest = str_from(name, star + 1);
    uint64_t section;
    if (rest.len == 0) {
        parameter->extended = true;
        parameter->name = str_sub(name, 0, star);
        return;
    }
    bool extended = rest.data[rest.len - 1] == '*';
    if (str_to_u64(str_sub(rest, 0, rest.len - extended), PARAMETER_SECTION_MAX, &section)) {
        parameter->section = (int)section;
        parameter->extended = extended;
        parameter->name = str_sub(name, 0, star);
    }
}

/* True if "word =" stands at `at`: a semicolon is missing before it. */
static bool begins_parameter(struct str text, size_t at)
{
    size_t start = at;
    while (at < text.len && !ends_name(text.data[at])) {
        at++;
    }
    if (at == start) {
        return false;
    }
    at = token_skip_blank(text, at);
    return at < text.len && text.data[at] == '=';
}

/* An unquoted value ends at a semicolon, a comment, or where the next parameter begins without one. */
static size_t read_unquoted(struct str text, size_t at, struct str *value)
{
    size_t start = at;
    size_t end = at;
    while (at < text.len && text.data[at] != ';') {
        while (at < text.len && text.data[at] != ';' && !token_is_blank(text.data[at])) {
            at++;
        }
        end = at;
        while (at < text.len && token_is_blank(text.data[at])) {
            at++;
        }
        if (at < text.len && (text.data[at] == '(' || begins_parameter(text, at))) {
            break;
        }
    }
    *value = str_sub(text, start, end);
    return at;
}

static size_t read_value(struct str text, size_t at, struct parameter *parameter)
{
    at = token_skip_blank(text, at);
    parameter->quoted = at < text.len && text.data[at] == '"';
    if (!parameter->quoted) {
        return read_unquoted(text, at, &parameter->value);
    }
    size_t end = token_skip_quoted(text, at);
    bool closed = end > at + 1 && text.data[end - 1] == '"';
    parameter->value = str_sub(text, at + 1, closed ? end - 1 : end);
    return end;
}

bool parameter_next(struct str text, size_t *at, struct parameter *parameter)
{
    size_t i = *at;
    while (i < text.len) {
        i = token_skip_blank(text, i);
        size_t start = i;
        while (i < text.len && !ends_name(text.data[i])) {
            i++;
        }
        struct str name = str_sub(text, start, i);
        i = token_skip_blank(text, i);
        if (i < text.len && text.data[i] == '=') {
            i = read_value(text, i + 1, parameter);
            if (name.len > 0 && (parameter->value.len > 0 || parameter->quoted)) {
                read_name(name, parameter);
                *at = i;
                return true;
            }
        } else if (i < text.len && text.data[i] == ';') {
            i++;
        }
    }
    *at = text.len;
    return false;
}

bool parameter_append_value(const struct parameter *parameter, struct buf *out)
{
    return token_append_unquoted(parameter->value, out);
}

void parameter_list_parse(struct str text, struct parameter_list *list)
{
    size_t at = 0;
    list->count = 0;
    list->at = 0;
    while (list->count < PARAMETER_MAX && parameter_next(text, &at, &list->items[list->count])) {
        list->taken[list->count] = false;
        list->count++;
    }
}

/* The section of the value that `first` belongs to; NULL if there is none. */
static const struct parameter *find_section(struct parameter_list *list, const struct parameter *first,
                                            int section)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct parameter *item = &list->items[i];
        if (!list->taken[i] && item->section == section && str_equal_nocase(item->name, first->name)) {
            list->taken[i] = true;
            return item;
        }
    }
    return NULL;
}

/* A section without percent-encoding inside a value that has some (RFC 2231, section 4.1). */
static void append_percent(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c > ' ' && c < 0x7f && c != '%' && c != '*' && c != '\'' && c != '"' && c != '\\') {
            buf_append_char(out, (char)c);
        } else {
            static const char hex[] = "0123456789ABCDEF";
            buf_append(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
    }
}

static bool has_extended_section(const struct parameter_list *list, struct str name)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (list->items[i].section >= 0 && list->items[i].extended &&
            str_equal_nocase(list->items[i].name, name)) {
            return true;
        }
    }
    return false;
}

static bool join_sections(struct parameter_list *list, unsigned first, struct buf *name, struct buf *value)
{
    const struct parameter *head = &list->items[first];
    bool extended = has_extended_section(list, head->name);
    const struct parameter *item = find_section(list, head, 0);
    bool begun = false;
    if (item == NULL) { /* section 0 is missing: what there is from the first on */
        item = find_section(list, head, head->section);
    }
    buf_append_str(name, head->name);
    if (extended) {
        buf_append_char(name, '*');
    }
    for (int section = item->section + 1; item != NULL; item = find_section(list, head, section++)) {
        if (!extended || item->extended) {
            parameter_append_value(item, value);
        } else {
            if (!begun) {
                buf_append_lit(value, "''");
            }
            size_t before = value->len;
            parameter_append_value(item, value);
            struct buf plain = buf_make(value->limit);
            buf_append_str(&plain, str_from(buf_str(value), before));
            buf_truncate(value, before);
            append_percent(buf_str(&plain), value);
            value->failed = value->failed || plain.failed;
            buf_free(&plain);
        }
        begun = true;
    }
    return buf_ok(name) && buf_ok(value);
}

bool parameter_list_next(struct parameter_list *list, struct buf *name, struct buf *value)
{
    while (list->at < list->count && list->taken[list->at]) {
        list->at++;
    }
    if (list->at >= list->count) {
        return false;
    }
    list->head = list->at++;
    const struct parameter *item = &list->items[list->head];
    if (item->section >= 0) {
        return join_sections(list, list->head, name, value);
    }
    buf_append_str(name, item->name);
    if (item->extended) {
        buf_append_char(name, '*');
    }
    return parameter_append_value(item, value) && buf_ok(name);
}

/* "charset'language'percent-encoded" as UTF-8. */
static bool append_extended(struct str value, struct buf *out)
{
    struct str charset = STR("utf-8");
    size_t first = str_find(value, 0, '\'');
    size_t second = first == SIZE_MAX ? SIZE_MAX : str_find(value, first + 1, '\'');
    if (second != SIZE_MAX) {
        charset = first == 0 ? charset : str_sub(value, 0, first);
        value = str_from(value, second + 1);
    }
    struct buf bytes = buf_make(value.len);
    for (size_t i = 0; i < value.len; i++) {
        int high = value.data[i] == '%' && value.len - i > 2 ? ascii_hex_value(value.data[i + 1]) : -1;
        int low = high >= 0 ? ascii_hex_value(value.data[i + 2]) : -1;
        if (low >= 0) {
            buf_append_char(&bytes, (char)(high << 4 | low));
            i += 2;
        } else {
            buf_append_char(&bytes, value.data[i]);
        }
    }
    bool ok = buf_ok(&bytes) && charset_append_utf8(charset, buf_str(&bytes), out);
    buf_free(&bytes);
    return ok;
}

bool parameter_append_decoded(struct str text, struct str name, struct buf *out)
{
    struct parameter_list list;
    parameter_list_parse(text, &list);
    struct buf found = buf_make(PARAMETER_MAX + text.len);
    struct buf value = buf_make(text.len * 3 + 2);
    struct buf best = buf_make(text.len * 3 + 2);
    bool any = false;
    bool extended = false;
    while (parameter_list_next(&list, &found, &value)) {
        struct str base = buf_str(&found);
        bool is_extended = base.len > 0 && base.data[base.len - 1] == '*';
        base.len -= is_extended;
        /* RFC 6266, section 4.3: of both forms the extended one. */
        if (str_equal_nocase(base, name) && (!any || (is_extended && !extended))) {
            buf_clear(&best);
            buf_append_str(&best, buf_str(&value));
            any = true;
            extended = is_extended;
        }
        buf_clear(&found);
        buf_clear(&value);
    }
    bool ok = any && buf_ok(&best) && buf_ok(&found) && buf_ok(&value) &&
              (extended ? append_extended(buf_str(&best), out) : encoded_word_append(buf_str(&best), out));
    buf_free(&found);
    buf_free(&value);
    buf_free(&best);
    return ok;
}
