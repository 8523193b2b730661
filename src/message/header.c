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
    return line.len == 0 || line.data[0] == '\n' ||
           (line.len >= 2 && line.data[0] == '\r' && line.data[1] == '\n');
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

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Reads "Name:" with blanks around the name; returns the offset of the colon, or 0 if this is no field. */
static size_t read_name(struct str text, struct str *name)
{
    size_t start = 0;
    while (start < text.len && is_blank(text.data[start])) {
        start++;
    }
    size_t end = start;
    while (end < text.len && (unsigned char)text.data[end] > ' ' && text.data[end] != 0x7f &&
           text.data[end] != ':') {
        end++;
    }
    size_t colon = end;
    while (colon < text.len && is_blank(text.data[colon])) {
        colon++;
    }
    bool fine = end > start && colon < text.len && text.data[colon] == ':';
    *name = fine ? str_sub(text, start, end) : STR_EMPTY;
    return fine ? colon : 0;
}

bool header_next(struct header_iterator *iterator, struct header_field *field)
{
    struct str rest = str_from(iterator->message, iterator->at);
    if (is_empty_line(rest)) {
        return false;
    }
    size_t end = line_end(rest, 0);
    while (end < rest.len && is_blank(rest.data[end])) {
        end = line_end(rest, end);
    }
    iterator->at += end;
    field->whole = str_sub(rest, 0, end);
    struct str text = without_newline(field->whole);
    size_t colon = read_name(text, &field->name);
    field->value = colon == 0 ? text : str_from(text, colon + 1);
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
