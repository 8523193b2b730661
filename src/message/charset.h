/*
 * Charsets of mail to UTF-8, through iconv for a list of allowed ones. What cannot be converted becomes U+FFFD; of an unknown
 * charset the ASCII characters are kept.
 *
 * iconv loads its modules from files, so charset_preload opens every charset before a role closes its sandbox; the
 * descriptors are the process's own and stay open. US-ASCII, UTF-8, ISO-8859-1 and windows-1252 need no preload.
 */
#ifndef VEREDUS_MESSAGE_CHARSET_H
#define VEREDUS_MESSAGE_CHARSET_H

#include "base/buf.h"

/* Opens what is allowed and gives how many charsets could not be opened (0 with Debian's libc). */
unsigned charset_preload(void);
/* Closes them again: for tests that look for leaks. */
void charset_unload(void);

enum { CHARSET_UNKNOWN = -1, CHARSET_CARRY_MAX = 16 };

/* A number for a charset's name or alias; CHARSET_UNKNOWN if it is not allowed or not open. */
int charset_find(struct str name);

/* Text that comes in pieces. Zero it and set `charset`; of one charset one stream at a time. */
struct charset_stream {
    int charset;
    bool begun;
    size_t carry_len; /* of a character that the last piece did not end */
    unsigned char carry[CHARSET_CARRY_MAX];
};

/* Appends the piece as UTF-8. False only if `out` failed. */
bool charset_stream_append(struct charset_stream *stream, struct str bytes, struct buf *out);
/* Appends what an unfinished character leaves: U+FFFD, or nothing. */
bool charset_stream_end(struct charset_stream *stream, struct buf *out);

/* A whole text. */
bool charset_append_utf8(struct str name, struct str bytes, struct buf *out);
/* Text of a header that names no charset: UTF-8 if it is well-formed, else windows-1252. */
bool charset_append_guess(struct str bytes, struct buf *out);
/* Appends one character; above U+10FFFF, and for surrogates, U+FFFD. */
bool charset_append_char(uint32_t character, struct buf *out);

#endif
