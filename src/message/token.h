/*
 * The lexical pieces that structured header fields share (RFC 5322, section 3.2; RFC 2045, section 5.1): blanks, comments,
 * quoted strings. Offsets into a slice; what is not closed reaches to its end. No recursion, linear.
 */
#ifndef VEREDUS_MESSAGE_TOKEN_H
#define VEREDUS_MESSAGE_TOKEN_H

#include "base/buf.h"

/* Space, tab, or a line break of a folded field. */
static inline bool token_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The offset behind the comment, or quoted string, that begins at `at`. */
size_t token_skip_comment(struct str text, size_t at);
size_t token_skip_quoted(struct str text, size_t at);
/* The offset behind blanks and comments at `at`. */
size_t token_skip_blank(struct str text, size_t at);
/* Without blanks at both ends, line breaks being blanks. */
struct str token_trim(struct str text);
/* Appends the inside of a quoted string or comment: quoting backslashes, line breaks and NULs left out. */
bool token_append_unquoted(struct str inside, struct buf *out);

#endif
