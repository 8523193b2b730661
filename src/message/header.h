/*
 * The header of a message as a sequence of fields, read in place (RFC 5322, section 2.2). Tolerant: a line that is no
 * field is given as one with an empty name. Linear in the size of the header.
 */
#ifndef VEREDUS_MESSAGE_HEADER_H
#define VEREDUS_MESSAGE_HEADER_H

#include "base/buf.h"

struct header_field {
    struct str whole; /* with its continuation lines and the last CRLF */
    struct str name;  /* before the colon, without trailing blanks; empty if the line is no field */
    struct str value; /* behind the colon, folded as it came, without the last CRLF */
};

struct header_iterator {
    struct str message;
    size_t at;
};

/* The offset behind the empty line that ends the header; the whole length if there is none. */
size_t header_end(struct str message);
/* The next field; false at the end of the header. Zero the iterator but for `message` before the first call. */
bool header_next(struct header_iterator *iterator, struct header_field *field);
/* The first field of this name; false if there is none. */
bool header_find(struct str message, struct str name, struct header_field *field);
/* Appends the value on one line: line breaks left out, blanks at both ends too. */
bool header_unfold(struct str value, struct buf *out);

#endif
