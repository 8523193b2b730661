/*
 * Encoded words (RFC 2047) in the text of header fields. Tolerant as mail needs it: words without blanks around them, blanks
 * and line breaks inside, in quoted strings; a character may be split between neighbouring words of one charset.
 */
#ifndef VEREDUS_MESSAGE_ENCODED_WORD_H
#define VEREDUS_MESSAGE_ENCODED_WORD_H

#include "base/buf.h"

/*
 * Appends an unstructured value as UTF-8: unfolded (a line break goes, the blank behind it stays), words decoded, NULs and
 * line breaks left out, 8-bit text outside of words by charset_append_guess. Linear. False only if `out` failed or memory.
 */
bool encoded_word_append(struct str value, struct buf *out);

#endif
