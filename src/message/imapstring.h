/*
 * Strings of IMAP (RFC 3501 and 9051, section 4.3) that come from messages: quoted where they may be, else literals.
 * 8-bit text is a literal always: every client takes it, with UTF8=ACCEPT (RFC 6855) or without.
 */
#ifndef VEREDUS_MESSAGE_IMAPSTRING_H
#define VEREDUS_MESSAGE_IMAPSTRING_H

#include "base/buf.h"

/* Appends `text` as a string; NULs, which no string may hold, are left out. */
bool imapstring_append(struct str text, struct buf *out);
/* As UTF8=ACCEPT and IMAP4rev2 allow it: well-formed UTF-8 is quoted too. */
bool imapstring_append_utf8(struct str text, struct buf *out);
/* NIL if the text is empty. */
bool imapstring_append_nil(struct str text, struct buf *out);
/* A field's value: unfolded, blanks at both ends left out; NIL if `present` is false. */
bool imapstring_append_field(bool present, struct str value, struct buf *out);

#endif
