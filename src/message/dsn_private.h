/* What the files that build delivery status notifications share. Nobody else includes this. */
#ifndef VEREDUS_MESSAGE_DSN_PRIVATE_H
#define VEREDUS_MESSAGE_DSN_PRIVATE_H

#include "message/dsn.h"

enum { DSN_LINE = 76, DSN_TEXT_MAX = 900, DSN_ENHANCED_MAX = 16, DSN_HOST_MAX = 255 };

/*
 * Appends text from outside in one line: control characters and what is not UTF-8 become "?", and without `utf8` everything
 * beyond ASCII too. At most DSN_TEXT_MAX octets.
 */
void dsn_append_safe(struct str text, bool utf8, struct buf *out);
/* Appends clean text in lines of at most DSN_LINE columns, broken at spaces; each new line begins with `indent`. */
void dsn_append_folded(struct str text, size_t column, const char *indent, struct buf *out);
/* Quoted-printable for text (RFC 2045, section 6.7): CRLF stays a line break, everything else that is not plain is encoded. */
void dsn_append_quoted(struct str text, struct buf *out);

/* The text of the part in plain words, in UTF-8. */
void dsn_append_words(const struct dsn_notice *notice, struct buf *out);
/* The part with what was sent, its header fields included. Sets needs->eight_bit if it cannot be had in 7 bits. */
void dsn_append_original(const struct dsn_notice *notice, struct buf *out, struct dsn_needs *needs);

#endif
