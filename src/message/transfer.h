/*
 * Content transfer encodings (RFC 2045, section 6), decoded from a body that is in memory as a whole. Tolerant: what is no
 * base64 is skipped, "=" without two hexadecimal digits stays. Linear; no allocation but the caller's buffer.
 */
#ifndef VEREDUS_MESSAGE_TRANSFER_H
#define VEREDUS_MESSAGE_TRANSFER_H

#include "base/buf.h"

enum transfer_encoding {
    TRANSFER_7BIT,
    TRANSFER_8BIT,
    TRANSFER_BINARY,
    TRANSFER_QUOTED_PRINTABLE,
    TRANSFER_BASE64,
    TRANSFER_UNKNOWN /* RFC 3516: UNKNOWN-CTE */
};

/* Of a field's value without blanks; empty is 7bit. */
enum transfer_encoding transfer_encoding_of(struct str name);
/* "7bit", "base64", ...; empty for TRANSFER_UNKNOWN. */
struct str transfer_encoding_name(enum transfer_encoding encoding);
/* True if the decoded bytes are the bytes of the body. */
static inline bool transfer_is_identity(enum transfer_encoding encoding)
{
    return encoding != TRANSFER_QUOTED_PRINTABLE && encoding != TRANSFER_BASE64;
}

/* A place in an encoded body. */
struct transfer {
    struct str body;
    size_t at;
    size_t plain_to; /* quoted-printable: bytes before it stand for themselves */
    enum transfer_encoding encoding;
    uint32_t bits; /* base64: of an unfinished group */
    unsigned bit_count;
};

enum { TRANSFER_ROOM_MIN = 4 };

static inline struct transfer transfer_begin(enum transfer_encoding encoding, struct str body)
{
    return (struct transfer){.body = body, .encoding = encoding};
}
/* Decodes into at most `room` (at least TRANSFER_ROOM_MIN) bytes and gives their number; 0 is the end. */
size_t transfer_next(struct transfer *transfer, char *out, size_t room);
/* Appends the decoded body; an unknown encoding is taken as it is. */
bool transfer_append(enum transfer_encoding encoding, struct str body, struct buf *out);
/* The exact size of the decoded body (RFC 3516, BINARY.SIZE). */
uint64_t transfer_size(enum transfer_encoding encoding, struct str body);

#endif
