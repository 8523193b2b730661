/*
 * Borrowed slices of bytes.
 *
 * A struct str points into memory that somebody else owns; it is never NUL
 * terminated and NUL is a byte like any other. Everything that came from the
 * network is handled as a struct str, never with the C string functions.
 */
#ifndef VEREDUS_BASE_STR_H
#define VEREDUS_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data;
    size_t len;
};

/* A slice of a string literal. */
#define STR(literal) ((struct str){.data = ("" literal), .len = sizeof(literal) - 1})
#define STR_EMPTY    ((struct str){.data = "", .len = 0})
/* Arguments for printf's "%.*s"; only for text that is known to be clean. */
#define STR_ARGS(s)  (int)(s).len, (s).data

static inline struct str str_make(const void *data, size_t len)
{
    return (struct str){.data = data, .len = len};
}

/* Of a NUL-terminated string of our own (configuration, argv), never of network data. */
static inline struct str str_of(const char *text)
{
    return (struct str){.data = text, .len = strlen(text)};
}

/* Bytes from `from` (clamped) up to but not including `to` (clamped). */
static inline struct str str_sub(struct str s, size_t from, size_t to)
{
    if (to > s.len) {
        to = s.len;
    }
    if (from > to) {
        from = to;
    }
    /* Adding nothing to the NULL of a slice that is none would be undefined. */
    return (struct str){.data = from == 0 ? s.data : s.data + from, .len = to - from};
}

static inline struct str str_from(struct str s, size_t from)
{
    return str_sub(s, from, s.len);
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline char ascii_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
}

static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* -1: not a hexadecimal digit. */
static inline int ascii_hex_value(char c)
{
    char l = ascii_lower(c);
    return ascii_is_digit(c) ? c - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static inline bool ascii_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool ascii_is_alnum(char c)
{
    return ascii_is_digit(c) || ascii_is_alpha(c);
}

/* ASCII case-insensitive comparison; bytes above 127 compare as they are. */
bool str_equal_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_ends_nocase(struct str s, struct str suffix);

/* Order by bytes; <0, 0, >0 as memcmp. */
int str_compare(struct str a, struct str b);

/* Index of the first `c` at or after `from`; SIZE_MAX if there is none. */
size_t str_find(struct str s, size_t from, char c);
/* Index of the first occurrence of needle (linear time); SIZE_MAX if none. */
size_t str_find_str(struct str s, struct str needle);
/* Index of the last `c`; SIZE_MAX if there is none. */
size_t str_find_last(struct str s, char c);
/* How many `c` there are. */
size_t str_count(struct str s, char c);

/* Without spaces and tabs at both ends. */
struct str str_trim(struct str s);

/*
 * Takes the part of *rest before the first `separator` and moves *rest behind it.
 * Without a separator takes all of it. False when *rest has been used up (data NULL).
 */
bool str_split(struct str *rest, char separator, struct str *part);

/* Decimal number of digits only; false if empty, not digits, or above max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *value);

/* True if every byte is below 128. */
bool str_is_ascii(struct str s);

/* True if the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool str_is_utf8(struct str s);

/* Compares secrets in a time that depends on the lengths only. */
bool str_equal_secret(struct str a, struct str b);

#endif
