/*
 * The structure of a message (RFC 2045, 2046): one pass over a message that is in memory as a whole (an mmap or a buffer)
 * gives a flat array of parts, whose header and body are slices of the message. Pure; no recursion; linear; line ends are
 * CRLF or a bare LF.
 *
 * Beyond the bounds a part is opaque: a leaf of type application/octet-stream. A multipart without a boundary, or in which
 * no boundary line stands, is text/plain, as RFC 2045, section 5.2, has it for a Content-Type that means nothing.
 */
#ifndef VEREDUS_MESSAGE_MIME_H
#define VEREDUS_MESSAGE_MIME_H

#include "base/buf.h"
#include "message/transfer.h"

enum {
    MIME_DEPTH_MAX = 100,
    MIME_PARTS_MAX = 10000,
    MIME_BOUNDARY_MAX = 998,
    MIME_FIELD_MAX = 65536 /* bytes of a field that are looked at */
};

#define MIME_NONE UINT32_MAX

enum mime_kind {
    MIME_LEAF,
    MIME_TEXT,
    MIME_MULTIPART, /* has children */
    MIME_MESSAGE    /* message/rfc822 or message/global: its one child is the root of that message */
};

struct mime_part {
    enum mime_kind kind;
    enum transfer_encoding encoding;
    uint32_t parent; /* indexes of the array; MIME_NONE if there is none */
    uint32_t first_child;
    uint32_t last_child;
    uint32_t next;   /* sibling */
    uint32_t number; /* among the siblings, from 1 */
    uint32_t depth;
    struct str header;   /* with the empty line behind it, if there is one */
    struct str body;     /* without the line break before the boundary line that ends it */
    uint64_t body_lines; /* line ends in the body */
    struct str type;     /* never empty */
    struct str subtype;
    struct str parameters;    /* of Content-Type, as written; see parameter.h */
    struct str encoding_name; /* as written */
    struct str id;            /* the values of Content-ID and so on, as written, without blanks around them */
    struct str description;
    struct str disposition;
    struct str language;
    struct str location;
    struct str md5;
};

struct mime {
    struct str message;
    struct mime_part *parts; /* the first is the message itself */
    uint32_t count;
    uint32_t capacity;
    bool cut; /* a bound was reached: some part is opaque */
};

/*
 * Parses `message`, which must outlive the result. `mime` is zeroed, or holds an earlier result whose memory is used again.
 * False without memory.
 */
bool mime_parse(struct mime *mime, struct str message);
void mime_free(struct mime *mime);

/* The charset parameter as written, without quotes; "us-ascii" if there is none. */
struct str mime_charset(const struct mime_part *part);
/* The first field of this name in the part's header, its value trimmed; false if there is none. */
bool mime_field(const struct mime_part *part, struct str name, struct str *value);

#endif
