/* Content transfer encodings; see transfer.h. */
#include "message/transfer.h"

static const struct {
    const char *name;
    enum transfer_encoding encoding;
} names[] = {
    {"7bit", TRANSFER_7BIT},     {"8bit", TRANSFER_8BIT},
    {"binary", TRANSFER_BINARY}, {"quoted-printable", TRANSFER_QUOTED_PRINTABLE},
    {"base64", TRANSFER_BASE64},
};

enum transfer_encoding transfer_encoding_of(struct str name)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_equal_nocase(name, str_of(names[i].name))) {
            return names[i].encoding;
        }
    }
    return name.len == 0 ? TRANSFER_7BIT : TRANSFER_UNKNOWN;
}

struct str transfer_encoding_name(enum transfer_encoding encoding)
{
    return encoding < TRANSFER_UNKNOWN ? str_of(names[encoding].name) : STR_EMPTY;
}

enum { NOT_BASE64 = 64, PADDING = 65 };

/* By byte: its value, 64 for what is none, 65 for the padding. */
/* clang-format off */
static const unsigned char base64_values[256] = {
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 65, 64, 64,
    64, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
    64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
};
/* clang-format on */

static size_t next_base64(struct transfer *t, char *out, size_t room)
{
    const unsigned char *data = (const unsigned char *)t->body.data;
    size_t len = 0;
    while (t->at < t->body.len && len + 3 <= room) {
        if (t->bit_count == 0 && t->body.len - t->at >= 4) {
            unsigned a = base64_values[data[t->at]];
            unsigned b = base64_values[data[t->at + 1]];
            unsigned c = base64_values[data[t->at + 2]];
            unsigned d = base64_values[data[t->at + 3]];
            if ((a | b | c | d) < NOT_BASE64) {
                out[len++] = (char)(a << 2 | b >> 4);
                out[len++] = (char)(b << 4 | c >> 2);
                out[len++] = (char)(c << 6 | d);
                t->at += 4;
                continue;
            }
        }
        unsigned value = base64_values[data[t->at++]];
        if (value == PADDING) { /* RFC 2045: the end of the data */
            t->at = t->body.len;
        } else if (value < NOT_BASE64) {
            t->bits = t->bits << 6 | value;
            t->bit_count += 6;
            if (t->bit_count >= 8) {
                t->bit_count -= 8;
                out[len++] = (char)(t->bits >> t->bit_count);
            }
        }
    }
    return len;
}

/* The offset of the line's end if from `at` on there are only blanks, the body's end too; else SIZE_MAX. */
static size_t blank_line_end(struct str body, size_t at, size_t *run_end)
{
    while (at < body.len && (body.data[at] == ' ' || body.data[at] == '\t')) {
        at++;
    }
    *run_end = at;
    if (at == body.len || body.data[at] == '\n' ||
        (body.data[at] == '\r' && at + 1 < body.len && body.data[at + 1] == '\n')) {
        return at;
    }
    return SIZE_MAX;
}

/* "=" at the place: a soft line break gives nothing, two digits a byte, else it stands for itself. */
static size_t quoted_escape(struct transfer *t, char *out)
{
    struct str body = t->body;
    size_t run_end;
    size_t line_end = blank_line_end(body, t->at + 1, &run_end);
    if (line_end != SIZE_MAX) {
        size_t newline = line_end < body.len && body.data[line_end] == '\r' ? 2 : 1;
        t->at = line_end + newline < body.len ? line_end + newline : body.len;
        return 0;
    }
    if (run_end == t->at + 1 && body.len - t->at >= 3) {
        int high = ascii_hex_value(body.data[t->at + 1]);
        int low = ascii_hex_value(body.data[t->at + 2]);
        if (high >= 0 && low >= 0) {
            *out = (char)(high << 4 | low);
            t->at += 3;
            return 1;
        }
    }
    t->plain_to = run_end;
    *out = '=';
    t->at++;
    return 1;
}

static size_t next_quoted(struct transfer *t, char *out, size_t room)
{
    struct str body = t->body;
    size_t len = 0;
    while (t->at < body.len && len < room) {
        char c = body.data[t->at];
        if (t->at < t->plain_to || (c != '=' && c != ' ' && c != '\t')) {
            out[len++] = c;
            t->at++;
        } else if (c == '=') {
            len += quoted_escape(t, out + len);
        } else {
            size_t run_end;
            size_t line_end = blank_line_end(body, t->at, &run_end);
            t->plain_to = run_end; /* blanks inside a line are read once, however long the run */
            if (line_end != SIZE_MAX) {
                t->at = line_end;
            }
        }
    }
    return len;
}

size_t transfer_next(struct transfer *t, char *out, size_t room)
{
    if (t->encoding == TRANSFER_BASE64) {
        return next_base64(t, out, room);
    }
    if (t->encoding == TRANSFER_QUOTED_PRINTABLE) {
        return next_quoted(t, out, room);
    }
    struct str part = str_sub(t->body, t->at, t->at + room);
    if (part.len > 0) {
        memcpy(out, part.data, part.len);
    }
    t->at += part.len;
    return part.len;
}

bool transfer_append(enum transfer_encoding encoding, struct str body, struct buf *out)
{
    if (transfer_is_identity(encoding)) {
        return buf_append_str(out, body);
    }
    struct transfer transfer = transfer_begin(encoding, body);
    char area[4096];
    size_t len;
    while ((len = transfer_next(&transfer, area, sizeof(area))) > 0) {
        if (!buf_append(out, area, len)) {
            return false;
        }
    }
    return buf_ok(out);
}

uint64_t transfer_size(enum transfer_encoding encoding, struct str body)
{
    if (transfer_is_identity(encoding)) {
        return body.len;
    }
    struct transfer transfer = transfer_begin(encoding, body);
    uint64_t size = 0;
    char area[4096];
    size_t len;
    while ((len = transfer_next(&transfer, area, sizeof(area))) > 0) {
        size += len;
    }
    return size;
}
