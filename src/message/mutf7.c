/* Modified UTF-7; see mutf7.h. */
#include "message/mutf7.h"

#include <utf8proc.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (ascii_is_digit(c)) {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == ',' ? 63 : -1;
}

static bool append_utf8(uint32_t code, struct buf *out)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t len = utf8proc_encode_char((utf8proc_int32_t)code, bytes);
    return len > 0 && buf_append(out, bytes, (size_t)len);
}

/* UTF-16 units that come one by one. */
struct utf16 {
    uint32_t high; /* the first half of a surrogate pair; 0: none */
    uint32_t last; /* the character that was completed last */
};

static bool take_unit(struct utf16 *u, uint32_t unit, struct buf *out)
{
    bool low = unit >= 0xdc00 && unit <= 0xdfff;
    if (low != (u->high != 0)) {
        return false;
    }
    if (unit >= 0xd800 && unit <= 0xdbff) {
        u->high = unit;
        return true;
    }
    u->last = low ? 0x10000 + ((u->high - 0xd800) << 10) + (unit - 0xdc00) : unit;
    u->high = 0;
    /* What can be written plainly must be (RFC 3501): a name has one form only. */
    return (u->last < 0x20 || u->last > 0x7e) && u->last != 0 && append_utf8(u->last, out);
}

/* Base64 between "&" and "-". */
static bool decode_shifted(struct str text, struct buf *out)
{
    struct utf16 units = {0, 0};
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count >= 16) {
            count -= 16;
            if (!take_unit(&units, bits >> count & 0xffff, out)) {
                return false;
            }
            bits &= (1U << count) - 1;
        }
    }
    return units.high == 0 && count < 6 && bits == 0 && text.len > 0;
}

bool mutf7_decode(struct str text, struct buf *out)
{
    size_t at = 0;
    while (at < text.len) {
        char c = text.data[at];
        if (c < 0x20 || c > 0x7e) {
            return false;
        }
        if (c != '&') {
            buf_append_char(out, c);
            at++;
            continue;
        }
        size_t end = str_find(text, at, '-');
        if (end == SIZE_MAX) {
            return false;
        }
        if (end == at + 1) {
            buf_append_char(out, '&');
        } else if (!decode_shifted(str_sub(text, at + 1, end), out)) {
            return false;
        }
        at = end + 1;
    }
    return buf_ok(out);
}

/* Writing. */

/* What is put behind "&": UTF-16 in base64. */
struct shift {
    struct buf *out;
    uint32_t bits;
    unsigned count;
    bool open;
};

static void put_unit(struct shift *shift, uint32_t unit)
{
    if (!shift->open) {
        buf_append_char(shift->out, '&');
        shift->open = true;
    }
    shift->bits = shift->bits << 16 | unit;
    shift->count += 16;
    while (shift->count >= 6) {
        shift->count -= 6;
        buf_append_char(shift->out, alphabet[shift->bits >> shift->count & 63]);
    }
    shift->bits &= (1U << shift->count) - 1;
}

static void end_shift(struct shift *shift)
{
    if (shift->open && shift->count > 0) {
        buf_append_char(shift->out, alphabet[shift->bits << (6 - shift->count) & 63]);
    }
    if (shift->open) {
        buf_append_char(shift->out, '-');
    }
    *shift = (struct shift){.out = shift->out};
}

void mutf7_encode(struct str name, struct buf *out)
{
    struct shift shift = {.out = out};
    size_t at = 0;
    while (at < name.len) {
        utf8proc_int32_t code;
        utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)name.data + at,
                                                (utf8proc_ssize_t)(name.len - at), &code);
        if (len <= 0) {
            break; /* the store keeps valid UTF-8 only */
        }
        if (code >= 0x20 && code <= 0x7e) {
            end_shift(&shift);
            buf_append_str(out, code == '&' ? STR("&-") : str_make(name.data + at, 1));
        } else if (code >= 0x10000) {
            put_unit(&shift, 0xd800 + (((uint32_t)code - 0x10000) >> 10));
            put_unit(&shift, 0xdc00 + (((uint32_t)code - 0x10000) & 0x3ff));
        } else {
            put_unit(&shift, (uint32_t)code);
        }
        at += (size_t)len;
    }
    end_shift(&shift);
}
