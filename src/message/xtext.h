/* xtext (RFC 3461, section 4) and the address forms of RFC 6533, section 3, as ORCPT and ENVID carry them. */
#ifndef VEREDUS_MESSAGE_XTEXT_H
#define VEREDUS_MESSAGE_XTEXT_H

#include "base/buf.h"

/* True for well-formed xtext: "+" only before two upper-case hexadecimal digits, no "=", nothing but printable ASCII. */
bool xtext_valid(struct str s);
/* Appends the decoded octets, whatever they are. False if it is not well formed or there is no room. */
bool xtext_decode(struct str s, struct buf *out);
/* Appends the encoded form. */
bool xtext_encode(struct str s, struct buf *out);

/* Parts an ORCPT value "type;xtext" (RFC 3461, section 4.2). False if it is not one, or the xtext is malformed. */
bool xtext_orcpt(struct str s, struct str *type, struct str *address);
/* Appends an address in UTF-8 as utf-8-addr-xtext: "\x{HEX}" for what is not printable ASCII (RFC 6533, section 3). */
bool xtext_utf8_encode(struct str address, struct buf *out);
/* The other way round; takes utf-8-addr-unitext too. False if it is malformed or not UTF-8. */
bool xtext_utf8_decode(struct str s, struct buf *out);

#endif
