/*
 * Domain names as mail uses them: normalised for comparing and for DNS (RFC 5321, section 4.1.2; RFC 5890 to 5893).
 */
#ifndef VEREDUS_BASE_DOMAIN_H
#define VEREDUS_BASE_DOMAIN_H

#include "base/buf.h"

enum { DOMAIN_MAX = 253 };

/*
 * Appends the A-label form in lower case; an address literal ("[...]") in the one way to write its address. False if
 * it is no valid domain (empty or long labels, other characters) or there is no room.
 */
bool domain_normalize(struct str domain, struct buf *out);

/* True for a syntactically valid "[192.0.2.1]" or "[IPv6:...]". With `address` (16 bytes) and `len` also its value. */
bool domain_is_literal(struct str domain, unsigned char *address, size_t *len);

#endif
