/*
 * Sections of a message as IMAP names them (RFC 3501, section 6.4.5; RFC 3516 for BINARY): "1.2.MIME", "HEADER.FIELDS (...)"
 * without the list. Pure; what is found is a slice of the message.
 */
#ifndef VEREDUS_MESSAGE_SECTION_H
#define VEREDUS_MESSAGE_SECTION_H

#include "message/mime.h"

enum section_text {
    SECTION_ALL, /* the whole message, or the body of a part */
    SECTION_HEADER,
    SECTION_HEADER_FIELDS,
    SECTION_HEADER_FIELDS_NOT,
    SECTION_BODY_TEXT, /* "TEXT" */
    SECTION_MIME
};

struct section {
    uint32_t path[MIME_DEPTH_MAX];
    unsigned depth;
    enum section_text text;
};

/*
 * Reads "", "1.2", "1.2.TEXT" and so on; for HEADER.FIELDS only the words before the list. False if it is no section, or a
 * path deeper than any message that is parsed.
 */
bool section_parse(struct str text, struct section *section);
/* The part that the numbers name; MIME_NONE if there is none. Without numbers the message itself. */
uint32_t section_find_part(const struct mime *mime, const struct section *section);
/* The bytes (for HEADER.FIELDS all of the header, to be selected from); false if there is no such section. */
bool section_find(const struct mime *mime, const struct section *section, struct str *found);

/* Appends the fields whose name is (or, `inverted`, is not) among `names`, and an empty line. */
bool section_append_fields(struct str header, const struct str *names, size_t count, bool inverted,
                           struct buf *out);

/*
 * For BINARY and BINARY.SIZE: the encoded body of a part and its encoding; false if there is no such part.
 * TRANSFER_UNKNOWN is answered with NO [UNKNOWN-CTE]. Multiparts and the whole message are not decoded.
 */
bool section_find_binary(const struct mime *mime, const struct section *section, struct str *body,
                         enum transfer_encoding *encoding);

#endif
