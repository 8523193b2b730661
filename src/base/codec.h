/* Base64 (RFC 4648), hexadecimal and the base32 of message ids. */
#ifndef VEREDUS_BASE_CODEC_H
#define VEREDUS_BASE_CODEC_H

#include "base/buf.h"

/* Appends the padded base64 form of `s`, on one line. */
bool base64_encode(struct str s, struct buf *out);
/* Strict: whole groups, right padding, no spaces, no bits left over. False on bad input or a full buffer. */
bool base64_decode(struct str s, struct buf *out);
/* Lower-case hexadecimal. */
bool hex_encode(struct str s, struct buf *out);

#endif
