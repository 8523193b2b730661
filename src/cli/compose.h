/* The message of `veredus send`: read from a file, or made from a subject and a text. */
#ifndef VEREDUS_CLI_COMPOSE_H
#define VEREDUS_CLI_COMPOSE_H

#include "base/buf.h"

enum { COMPOSE_MAX = 256 << 20 };

struct compose_parts {
    struct str from;
    const char *const *recipients;
    size_t recipient_count;
    struct str subject;
    struct str body;
    uint64_t wall_ms;
    uint64_t random; /* for the Message-ID */
};

/* Appends a whole message with CRLF line ends; false without room, or if the subject has a control character. */
bool compose_message(const struct compose_parts *parts, struct buf *out);
/* Appends text with every bare LF made CRLF. */
bool compose_line_ends(struct str text, struct buf *out);
/* Appends an unstructured header value, as encoded words (RFC 2047) where it is not ASCII. */
bool compose_encode(struct str text, struct buf *out);

#endif
