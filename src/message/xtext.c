/* xtext and the forms of UTF-8 addresses; see xtext.h. */
#include "message/xtext.h"

static int hex_value(char c)
{
    return ascii_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_printable(char c)
{
    return c > ' ' && c < 0x7f;
}

/* The octet at *at, which moves behind it; -1 where the text is not xtext. */
static int next_octet(struct str s, size_t *at)
{
    char c = s.data[*at];
    if (c != '+') {
        *at += 1;
        return is_printable(c) && c != '=' ? c : -1;
    }
    if (s.len - *at < 3) {
        return -1;
    }
    int high = hex_value(s.data[*at + 1]);
    int low = hex_value(s.data[*at + 2]);
    *at += 3;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool xtext_valid(struct str s)
{
    for (size_t at = 0; at < s.len;) {
        if (next_octet(s, &at) < 0) {
            return false;
        }
    }
    return true;
}

bool xtext_decode(struct str s, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < s.len;) {
        int octet = next_octet(s, &at);
        if (octet < 0) {
            buf_truncate(out, before);
            return false;
        }
        buf_append_char(out, (char)octet);
    }
    return buf_ok(out);
}

bool xtext_encode(struct str s, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (is_printable(c) && c != '+' && c != '=') {
            buf_append_char(out, c);
        } else {
            char code[3] = {'+', digits[(unsigned char)c >> 4], digits[(unsigned char)c & 15]};
            buf_append(out, code, sizeof(code));
        }
    }
    return buf_ok(out);
}

bool xtext_orcpt(struct str s, struct str *type, struct str *address)
{
    size_t semicolon = str_find(s, 0, ';');
    if (semicolon == SIZE_MAX || semicolon == 0) {
        return false;
    }
    *type = str_sub(s, 0, semicolon);
    *address = str_from(s, semicolon + 1);
    for (size_t i = 0; i < type->len; i++) {
        if (!ascii_is_alnum(type->data[i]) && type->data[i] != '-') {
            return false;
        }
    }
    if (address->len == 0 || xtext_valid(*address)) {
        return address->len > 0;
    }
    /* RFC 6533 allows UTF-8 as it is where SMTPUTF8 was given. */
    for (size_t i = 0; i < address->len; i++) {
        if ((unsigned char)address->data[i] <= ' ' || address->data[i] == 0x7f) {
            return false;
        }
    }
    return str_equal_nocase(*type, STR("utf-8")) && str_is_utf8(*address);
}

/* The length of the UTF-8 character at the beginning of s, which is known to be well formed, and its number. */
static size_t character(struct str s, uint32_t *number)
{
    unsigned char first = (unsigned char)s.data[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *number = len == 1 ? first : first & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        *number = *number << 6 | ((unsigned char)s.data[i] & 0x3fU);
    }
    return len;
}

static bool append_character(uint32_t number, struct buf *out)
{
    char bytes[4];
    size_t len = number < 0x80 ? 1 : number < 0x800 ? 2 : number < 0x10000 ? 3 : 4;
    uint32_t rest = number;
    for (size_t i = len - 1; i > 0; i--) {
        bytes[i] = (char)(0x80U | (rest & 0x3fU));
        rest >>= 6;
    }
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (char)(lead[len] | rest);
    return buf_append(out, bytes, len);
}

bool xtext_utf8_encode(struct str address, struct buf *out)
{
    if (!str_is_utf8(address)) {
        return false;
    }
    for (size_t at = 0; at < address.len;) {
        uint32_t number = 0;
        at += character(str_from(address, at), &number);
        if (number < 0x80 && is_printable((char)number) && number != '+' && number != '=' && number != '\\') {
            buf_append_char(out, (char)number);
        } else {
            buf_printf(out, "\\x{%02X}", number);
        }
    }
    return buf_ok(out);
}

/* Reads "\x{HEX}" at *at; false if it is none or names no character. */
static bool next_escape(struct str s, size_t *at, uint32_t *number)
{
    enum { DIGITS_MAX = 6 };
    if (!str_starts(str_from(s, *at), STR("\\x{"))) {
        return false;
    }
    size_t i = *at + 3;
    size_t end = i + DIGITS_MAX;
    *number = 0;
    while (i < s.len && i < end && hex_value(s.data[i]) >= 0) {
        *number = *number * 16 + (uint32_t)hex_value(s.data[i]);
        i++;
    }
    bool some = i > *at + 3 && i < s.len && s.data[i] == '}';
    *at = i + 1;
    return some && *number <= 0x10ffff && (*number < 0xd800 || *number > 0xdfff);
}

bool xtext_utf8_decode(struct str s, struct buf *out)
{
    size_t before = out->len;
    bool fine = str_is_utf8(s);
    for (size_t at = 0; fine && at < s.len;) {
        uint32_t number = 0;
        if (s.data[at] == '\\') {
            fine = next_escape(s, &at, &number) && append_character(number, out);
        } else {
            fine = (unsigned char)s.data[at] > ' ' && s.data[at] != 0x7f;
            buf_append_char(out, s.data[at]);
            at++;
        }
    }
    if (!fine) {
        buf_truncate(out, before);
    }
    return fine && buf_ok(out);
}
