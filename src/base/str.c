/* Borrowed slices of bytes; see str.h. */
#include "base/str.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

bool str_equal_nocase(struct str a, struct str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_equal(str_sub(s, 0, prefix.len), prefix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_equal_nocase(str_sub(s, 0, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_equal(str_from(s, s.len - suffix.len), suffix);
}

bool str_ends_nocase(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_equal_nocase(str_from(s, s.len - suffix.len), suffix);
}

int str_compare(struct str a, struct str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

size_t str_find(struct str s, size_t from, char c)
{
    if (from >= s.len) {
        return SIZE_MAX;
    }
    const char *hit = memchr(s.data + from, c, s.len - from);
    return hit == NULL ? SIZE_MAX : (size_t)(hit - s.data);
}

size_t str_find_str(struct str s, struct str needle)
{
    if (needle.len == 0) {
        return 0;
    }
    if (s.len < needle.len) {
        return SIZE_MAX;
    }
    const char *hit = memmem(s.data, s.len, needle.data, needle.len);
    return hit == NULL ? SIZE_MAX : (size_t)(hit - s.data);
}

size_t str_find_last(struct str s, char c)
{
    for (size_t i = s.len; i > 0; i--) {
        if (s.data[i - 1] == c) {
            return i - 1;
        }
    }
    return SIZE_MAX;
}

size_t str_count(struct str s, char c)
{
    size_t count = 0;
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8(c);
    while (s.len - i >= 16) {
        /* Each octet counts those at its place, up to 255. */
        __m128i sums = _mm_setzero_si128();
        for (unsigned blocks = 0; blocks < UINT8_MAX && s.len - i >= 16; blocks++, i += 16) {
            __m128i octets = _mm_loadu_si128((const __m128i *)(const void *)(s.data + i));
            sums = _mm_sub_epi8(sums, _mm_cmpeq_epi8(octets, wanted));
        }
        __m128i halves = _mm_sad_epu8(sums, _mm_setzero_si128());
        count += (size_t)_mm_cvtsi128_si64(halves) + (size_t)_mm_cvtsi128_si64(_mm_srli_si128(halves, 8));
    }
#endif
    for (; i < s.len; i++) {
        count += s.data[i] == c;
    }
    return count;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    size_t from = 0;
    size_t to = s.len;
    while (from < to && is_blank(s.data[from])) {
        from++;
    }
    while (to > from && is_blank(s.data[to - 1])) {
        to--;
    }
    return str_sub(s, from, to);
}

bool str_split(struct str *rest, char separator, struct str *part)
{
    if (rest->data == NULL) {
        return false;
    }
    size_t at = str_find(*rest, 0, separator);
    if (at == SIZE_MAX) {
        *part = *rest;
        *rest = (struct str){.data = NULL, .len = 0};
        return true;
    }
    *part = str_sub(*rest, 0, at);
    *rest = str_from(*rest, at + 1);
    return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *value)
{
    if (s.len == 0) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.data[i])) {
            return false;
        }
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (sum > max / 10 || digit > max - sum * 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

bool str_is_ascii(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Length of the well-formed sequence at p (at most `left` bytes); 0 if it is not one. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    size_t need = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < need) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f;
    bool beyond = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : need;
}

bool str_is_utf8(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.data;
    for (size_t i = 0; i < s.len;) {
        size_t step = utf8_sequence(p + i, s.len - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

bool str_equal_secret(struct str a, struct str b)
{
    unsigned char difference = a.len != b.len;
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        difference |= (unsigned char)(a.data[i] ^ b.data[i]);
    }
    return difference == 0;
}
