/*
 * Modified UTF-7, in which names of mailboxes are written where UTF-8 is not agreed on: by IMAP clients (RFC 3501, section
 * 5.1.3) and in the directories of a Maildir++.
 */
#ifndef VEREDUS_MESSAGE_MUTF7_H
#define VEREDUS_MESSAGE_MUTF7_H

#include "base/buf.h"

/* Appends the text as UTF-8. False, with `out` to be thrown away, if it is no modified UTF-7 in its one right form. */
bool mutf7_decode(struct str text, struct buf *out);
/* Appends valid UTF-8 as modified UTF-7; at most 8 octets for one. */
void mutf7_encode(struct str name, struct buf *out);

#endif
