/*
 * Owned, growing byte buffers with a limit.
 *
 * The failure flag is sticky: after an append that did not fit or had no memory, the
 * buffer stays as it was before that append, later appends do nothing, and one check of
 * buf_ok() at the end tells. So a composed text is either whole or known to be bad.
 */
#ifndef VEREDUS_BASE_BUF_H
#define VEREDUS_BASE_BUF_H

#include "base/str.h"

#include <endian.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t limit; /* bytes; appends beyond it fail */
    bool failed;
};

/* An empty buffer that may grow to `limit` bytes; allocates nothing yet. */
static inline struct buf buf_make(size_t limit)
{
    return (struct buf){.data = NULL, .len = 0, .cap = 0, .limit = limit, .failed = false};
}

/* Frees the memory; the buffer can be used again, empty, with the same limit. */
void buf_free(struct buf *b);
/* Overwrites the content before freeing it: for passwords. */
void buf_wipe(struct buf *b);
/* Empties it and clears the failure flag; keeps the memory. */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}
/* Keeps the first `len` bytes. */
static inline void buf_truncate(struct buf *b, size_t len)
{
    if (len < b->len) {
        b->len = len;
    }
}
static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}
static inline struct str buf_str(const struct buf *b)
{
    return str_make(b->data == NULL ? "" : b->data, b->len);
}

/* Room for `more` bytes behind len; NULL (and failed) if there is none. Add to len what was used. */
char *buf_reserve(struct buf *b, size_t more);
/* What buf_append does where the room is not there yet. */
bool buf_append_growing(struct buf *b, const void *data, size_t len);
static inline bool buf_append(struct buf *b, const void *data, size_t len)
{
    if (b->failed || len == 0 || len > b->cap - b->len || b->len + len > b->limit) {
        return buf_append_growing(b, data, len);
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return true;
}
static inline bool buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.data, s.len);
}
#define buf_append_lit(b, literal) buf_append((b), "" literal, sizeof(literal) - 1)
static inline bool buf_append_char(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}
bool buf_append_u64(struct buf *b, uint64_t value);
/* printf for our own text: never with a format that came from outside. */
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * Text from outside made safe for a log line, a reply or a bounce: control characters, DEL
 * and bytes that are not UTF-8 become "\xNN", a backslash is doubled; at most `max` bytes are added
 * (then it ends in "...").
 */
bool buf_append_escaped(struct buf *b, struct str s, size_t max);
/* Removes the first `len` bytes (moves the rest to the front). */
void buf_consume(struct buf *b, size_t len);

/* Little-endian fixed-width numbers, for records and messages. */
bool buf_append_le16(struct buf *b, uint16_t value);
bool buf_append_le32(struct buf *b, uint32_t value);
bool buf_append_le64(struct buf *b, uint64_t value);

/* The same back, of 2, 4 or 8 octets at any address. */
static inline uint16_t read_le16(const void *at)
{
    const unsigned char *u = at;
    return (uint16_t)(u[0] | u[1] << 8);
}

static inline uint32_t read_le32(const void *at)
{
    const unsigned char *u = at;
    return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static inline uint64_t read_le64(const void *at)
{
    return read_le32(at) | (uint64_t)read_le32((const unsigned char *)at + 4) << 32;
}

/* Writes 4 or 8 octets at any address. */
static inline void write_le32(void *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void write_le64(void *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

#endif
