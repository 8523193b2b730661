/* Owned, growing byte buffers; see buf.h. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void buf_free(struct buf *b)
{
    mem_free(b->data);
    b->data = NULL;
    b->len = 0;
    b->cap = 0;
    b->failed = false;
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    buf_free(b);
}

char *buf_reserve(struct buf *b, size_t more)
{
    if (b->failed || b->len > b->limit || more > b->limit - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + more;
    if (need > b->cap || b->data == NULL) {
        size_t cap = b->cap < 64 ? 64 : b->cap * 2;
        if (cap < need) {
            cap = need;
        }
        if (cap > b->limit) {
            cap = b->limit;
        }
        char *data = mem_realloc(b->data, cap);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->len;
}

bool buf_append_growing(struct buf *b, const void *data, size_t len)
{
    if (len == 0) {
        return !b->failed;
    }
    char *room = buf_reserve(b, len);
    if (room == NULL) {
        return false;
    }
    memcpy(room, data, len);
    b->len += len;
    return true;
}

bool buf_append_u64(struct buf *b, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return buf_append(b, digits + at, sizeof(digits) - at);
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0) {
        b->failed = true;
        return false;
    }
    /* vsnprintf writes a NUL behind the text, which the buffer does not count. */
    char *room = buf_reserve(b, (size_t)need + 1);
    if (room == NULL) {
        return false;
    }
    va_start(args, format);
    (void)vsnprintf(room, (size_t)need + 1, format, args);
    va_end(args);
    b->len += (size_t)need;
    return true;
}

/* Length of the clean UTF-8 sequence at p, 0 where the byte must be escaped. */
static size_t clean_sequence(struct str s, size_t at)
{
    unsigned char c = (unsigned char)s.data[at];
    if (c >= 0x20 && c < 0x7f) {
        return 1;
    }
    if (c < 0xc2 || c > 0xf4) {
        return 0;
    }
    size_t need = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (s.len - at < need || !str_is_utf8(str_sub(s, at, at + need))) {
        return 0;
    }
    /* U+0080 to U+009F are control characters too. */
    bool control = c == 0xc2 && (unsigned char)s.data[at + 1] < 0xa0;
    return control ? 0 : need;
}

bool buf_append_escaped(struct buf *b, struct str s, size_t max)
{
    static const char hex[] = "0123456789abcdef";
    size_t added = 0;
    size_t cut = b->len; /* where the mark of what is left out has room behind it */
    for (size_t at = 0; at < s.len;) {
        char escape[4];
        const char *piece = s.data + at;
        size_t step = clean_sequence(s, at);
        size_t len = step;
        if (step == 0) {
            unsigned char c = (unsigned char)s.data[at];
            escape[0] = '\\';
            escape[1] = 'x';
            escape[2] = hex[c >> 4];
            escape[3] = hex[c & 15];
            piece = escape;
            len = 4;
            step = 1;
        } else if (s.data[at] == '\\') {
            piece = "\\\\";
            len = 2;
        }
        if (added + len > max) {
            buf_truncate(b, cut);
            return max >= 3 ? buf_append_lit(b, "...") : !b->failed;
        }
        if (!buf_append(b, piece, len)) {
            return false;
        }
        added += len;
        at += step;
        cut = added + 3 <= max ? b->len : cut;
    }
    return !b->failed;
}

void buf_consume(struct buf *b, size_t len)
{
    if (len >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

static bool append_le(struct buf *b, uint64_t value, size_t width)
{
    unsigned char bytes[8];
    write_le64(bytes, value);
    return buf_append(b, bytes, width);
}

bool buf_append_le16(struct buf *b, uint16_t value)
{
    return append_le(b, value, 2);
}

bool buf_append_le32(struct buf *b, uint32_t value)
{
    return append_le(b, value, 4);
}

bool buf_append_le64(struct buf *b, uint64_t value)
{
    return append_le(b, value, 8);
}
