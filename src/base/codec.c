/* Base64 and hexadecimal; see codec.h. */
#include "base/codec.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct str s, struct buf *out)
{
    if (s.len > SIZE_MAX / 2) {
        return false;
    }
    char *room = buf_reserve(out, (s.len + 2) / 3 * 4);
    if (room == NULL) {
        return !out->failed;
    }
    size_t n = 0;
    for (size_t i = 0; i < s.len; i += 3) {
        size_t have = s.len - i < 3 ? s.len - i : 3;
        uint32_t group = (uint32_t)(unsigned char)s.data[i] << 16;
        if (have > 1) {
            group |= (uint32_t)(unsigned char)s.data[i + 1] << 8;
        }
        if (have > 2) {
            group |= (unsigned char)s.data[i + 2];
        }
        room[n++] = base64_digits[group >> 18];
        room[n++] = base64_digits[group >> 12 & 63];
        room[n++] = have > 1 ? base64_digits[group >> 6 & 63] : '=';
        room[n++] = have > 2 ? base64_digits[group & 63] : '=';
    }
    out->len += n;
    return true;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str s, struct buf *out)
{
    if (s.len % 4 != 0) {
        return false;
    }
    size_t padding = 0;
    while (padding < 2 && padding < s.len && s.data[s.len - 1 - padding] == '=') {
        padding++;
    }
    char *room = buf_reserve(out, s.len / 4 * 3);
    if (room == NULL) {
        return !out->failed;
    }
    size_t n = 0;
    for (size_t i = 0; i < s.len; i += 4) {
        size_t digits = i + 4 == s.len ? 4 - padding : 4;
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < digits ? base64_value(s.data[i + k]) : 0;
            if (value < 0) {
                return false;
            }
            group = group << 6 | (uint32_t)value;
        }
        if ((digits == 2 && (group & 0xffff) != 0) || (digits == 3 && (group & 0xff) != 0)) {
            return false;
        }
        room[n++] = (char)(group >> 16);
        if (digits > 2) {
            room[n++] = (char)(group >> 8 & 0xff);
        }
        if (digits > 3) {
            room[n++] = (char)(group & 0xff);
        }
    }
    out->len += n;
    return true;
}

bool hex_encode(struct str s, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (!buf_append_char(out, digits[c >> 4]) || !buf_append_char(out, digits[c & 15])) {
            return false;
        }
    }
    return true;
}
