/* Ids of messages; see ident.h. */
#include "base/ident.h"

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct ident ident_make(uint64_t wall_ms, uint64_t random)
{
    struct ident ident;
    for (int i = 0; i < 6; i++) {
        ident.bytes[i] = (unsigned char)(wall_ms >> (40 - 8 * i));
        ident.bytes[6 + i] = (unsigned char)(random >> (40 - 8 * i));
    }
    return ident;
}

uint64_t ident_wall_ms(const struct ident *ident)
{
    uint64_t wall_ms = 0;
    for (int i = 0; i < 6; i++) {
        wall_ms = wall_ms << 8 | ident->bytes[i];
    }
    return wall_ms;
}

/* 96 bits are 19 digits and one bit: the first digit holds that bit alone. */
void ident_format(const struct ident *ident, char *text)
{
    unsigned bits = 0;
    unsigned value = 0;
    size_t n = 0;
    text[n++] = digits[ident->bytes[0] >> 7];
    value = ident->bytes[0] & 0x7f;
    bits = 7;
    for (size_t i = 1; i <= IDENT_SIZE; i++) {
        while (bits >= 5) {
            bits -= 5;
            text[n++] = digits[value >> bits & 31];
        }
        if (i < IDENT_SIZE) {
            value = (value << 8 | ident->bytes[i]) & 0xfff;
            bits += 8;
        }
    }
}

bool ident_parse(struct str text, struct ident *ident)
{
    if (text.len != IDENT_TEXT) {
        return false;
    }
    unsigned value = 0;
    unsigned bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < IDENT_TEXT; i++) {
        const char *at = memchr(digits, ascii_lower(text.data[i]), 32);
        if (at == NULL || text.data[i] == '\0' || (i == 0 && at - digits > 1)) {
            return false;
        }
        value = (value << 5 | (unsigned)(at - digits)) & 0xfff;
        bits += i == 0 ? 1 : 5;
        if (bits >= 8) {
            bits -= 8;
            ident->bytes[n++] = (unsigned char)(value >> bits);
        }
    }
    return n == IDENT_SIZE;
}
