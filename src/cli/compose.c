/* Making a message; see compose.h. */
#include "cli/compose.h"

#include "base/codec.h"
#include "message/date.h"

/* 45 octets make 60 characters of base64: with its frame an encoded word stays below 76 (RFC 2047, section 2). */
enum { WORD_OCTETS = 45 };

bool compose_line_ends(struct str text, struct buf *out)
{
    struct str rest = text;
    while (rest.len > 0) {
        size_t end = str_find(rest, 0, '\n');
        struct str line = str_sub(rest, 0, end);
        if (line.len > 0 && end != SIZE_MAX && line.data[line.len - 1] == '\r') {
            line.len--;
        }
        buf_append_str(out, line);
        buf_append_lit(out, "\r\n");
        rest = end == SIZE_MAX ? STR_EMPTY : str_from(rest, end + 1);
    }
    return buf_ok(out);
}

static bool has_control(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

bool compose_encode(struct str text, struct buf *out)
{
    if (str_is_ascii(text)) {
        return buf_append_str(out, text);
    }
    size_t from = 0;
    while (from < text.len) {
        size_t to = from + WORD_OCTETS < text.len ? from + WORD_OCTETS : text.len;
        while (to < text.len && to > from + 1 && ((unsigned char)text.data[to] & 0xc0) == 0x80) {
            to--; /* a character is never parted (RFC 2047, section 5) */
        }
        buf_append_str(out, from > 0 ? STR("\r\n =?utf-8?B?") : STR("=?utf-8?B?"));
        base64_encode(str_sub(text, from, to), out);
        buf_append_lit(out, "?=");
        from = to;
    }
    return buf_ok(out);
}

static void append_message_id(const struct compose_parts *parts, struct buf *out)
{
    size_t at = str_find_last(parts->from, '@');
    struct str domain = at == SIZE_MAX ? STR("localhost") : str_from(parts->from, at + 1);
    unsigned char octets[12];
    for (size_t i = 0; i < sizeof(octets); i++) {
        octets[i] = (unsigned char)(i < 8 ? parts->random >> (8 * i) : parts->wall_ms >> (8 * (i - 8)));
    }
    buf_append_lit(out, "Message-ID: <");
    hex_encode(str_make(octets, sizeof(octets)), out);
    buf_append_char(out, '@');
    buf_append_str(out, domain);
    buf_append_lit(out, ">\r\n");
}

bool compose_message(const struct compose_parts *parts, struct buf *out)
{
    if (has_control(parts->subject) || has_control(parts->from)) {
        return false;
    }
    buf_append_lit(out, "Date: ");
    date_append(parts->wall_ms, out);
    buf_append_lit(out, "\r\nFrom: ");
    buf_append_str(out, parts->from);
    buf_append_lit(out, "\r\nTo: ");
    for (size_t i = 0; i < parts->recipient_count; i++) {
        if (has_control(str_of(parts->recipients[i]))) {
            return false;
        }
        buf_append_str(out, i > 0 ? STR(",\r\n ") : STR(""));
        buf_append_str(out, str_of(parts->recipients[i]));
    }
    buf_append_lit(out, "\r\nSubject: ");
    compose_encode(parts->subject, out);
    buf_append_lit(out, "\r\n");
    append_message_id(parts, out);
    buf_append_lit(
        out, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ");
    buf_append_str(out, str_is_ascii(parts->body) ? STR("7bit\r\n\r\n") : STR("8bit\r\n\r\n"));
    return compose_line_ends(parts->body, out);
}
