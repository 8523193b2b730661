/* BODY and BODYSTRUCTURE of a message as IMAP sends them (RFC 3501, section 7.4.2; RFC 9051, section 7.5.2). */
#ifndef VEREDUS_MESSAGE_BODYSTRUCTURE_H
#define VEREDUS_MESSAGE_BODYSTRUCTURE_H

#include "message/mime.h"

/* Appends the structure; `extended` with the extension data, which makes it BODYSTRUCTURE. Iterative. */
bool bodystructure_append(const struct mime *mime, bool extended, struct buf *out);

#endif
