/* The header of a message; see header.h. */
#include "message/header.h"

/* The offset behind the line that begins at `at`. */
static size_t line_end(struct str message, size_t at)
{
    size_t newline = str_find(message, at, '\n');
    return newline == SIZE_MAX ? message.len : newline + 1;
}

static bool is_empty_line(struct str line)
{
    return line.len == 0 || line.data[0] == '\n' || (line.len >= 2 && line.data[0] == '\r' && line.data[1] == '\n');
}

static struct str without_newline(struct str line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\n') {
        line.len--;
        if (line.len > 0 && line.data[line.len - 1] == '\r') {
            line.len--;
        }
    }
    return line;
}

bool header_next(struct header_iterator *iterator, struct header_field *field)
{
    struct str message = iterator->message;
    size_t start = iterator->at;
    size_t end = line_end(message, start);
    if (start >= message.len || is_empty_line(str_sub(message, start, end))) {
        return false;
    }
    while (end < message.len && (message.data[end] == ' ' || message.data[end] == '\t')) {
        end = line_end(message, end);
    }
    iterator->at = end;
    field->whole = str_sub(message, start, end);
    struct str text = without_newline(field->whole);
    size_t colon = str_find(text, 0, ':');
    struct str name = colon == SIZE_MAX ? STR_EMPTY : str_trim(str_sub(text, 0, colon));
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] <= ' ' || name.data[i] == 0x7f) {
            name = STR_EMPTY;
        }
    }
    field->name = name;
    field->value = name.len == 0 ? text : str_from(text, colon + 1);
    return true;
}

size_t header_end(struct str message)
{
    size_t at = 0;
    while (at < message.len) {
        size_t end = line_end(message, at);
        if (is_empty_line(str_sub(message, at, end))) {
            return end;
        }
        at = end;
    }
    return message.len;
}

bool header_find(struct str message, struct str name, struct header_field *field)
{
    struct header_iterator iterator = {.message = message};
    while (header_next(&iterator, field)) {
        if (str_equal_nocase(field->name, name)) {
            return true;
        }
    }
    return false;
}

bool header_unfold(struct str value, struct buf *out)
{
    struct str text = str_trim(value);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\r' && text.data[i] != '\n' && !buf_append_char(out, text.data[i])) {
            return false;
        }
    }
    return buf_ok(out);
}
