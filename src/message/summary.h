/*
 * What IMAP wants to know of a message, made once at delivery and stored beside it: ENVELOPE, BODY and BODYSTRUCTURE ready to
 * send, where the parts are, the header fields that clients ask for, base subject, sent date, preview. So a mailbox is
 * listed, sorted and threaded without its messages being read.
 *
 * The stored form is little-endian, begins with its version, and is at most SUMMARY_MAX bytes. What does not fit is left
 * out and marked: whoever needs it parses the message. Who reads one believes nothing: the role that made it is no more
 * trusted than the message. summary_text checks that a text for a client cannot break the reply that it stands in.
 */
#ifndef VEREDUS_MESSAGE_SUMMARY_H
#define VEREDUS_MESSAGE_SUMMARY_H

#include "message/mime.h"

enum {
    SUMMARY_VERSION = 1,
    SUMMARY_MAX = 65536,
    SUMMARY_PARTS_MAX = 256 /* of a message with more none is listed */
};

enum summary_text {
    SUMMARY_ENVELOPE,
    SUMMARY_BODY,
    SUMMARY_BODYSTRUCTURE,
    SUMMARY_BASE_SUBJECT, /* UTF-8 */
    SUMMARY_PREVIEW,      /* UTF-8 */
    SUMMARY_FIELDS, /* the fields that summary_has_field names, as in the message, without the empty line */
    SUMMARY_TEXT_COUNT
};

struct summary_part {
    enum mime_kind kind;
    enum transfer_encoding encoding;
    uint32_t parent; /* its index is lower; MIME_NONE for the message itself */
    uint32_t number;
    uint64_t header_at; /* offsets in the message */
    uint64_t header_len;
    uint64_t body_at;
    uint64_t body_len;
};

/* Slices of the encoded form. */
struct summary {
    uint64_t size; /* of the message */
    bool has_date;
    int64_t date_seconds; /* of the Date field, UTC, since 1970 */
    int zone_minutes;
    bool is_reply; /* the subject was one of a reply or a forward (RFC 5256) */
    bool has[SUMMARY_TEXT_COUNT];
    struct str texts[SUMMARY_TEXT_COUNT]; /* unchecked: use summary_text */
    uint32_t part_count;                  /* 0: not listed */
    struct str parts;
};

/*
 * Appends the summary of a parsed message in the form of SUMMARY_VERSION. `before` are header fields that stand in front of it and
 * are no part of what was parsed: trace fields, and what submission adds; none of them is of MIME. False without memory, if `out`
 * has no room for SUMMARY_MAX bytes, or if the message begins with a blank, which would continue the last field of `before`.
 */
bool summary_encode(const struct mime *mime, struct str before, struct buf *out);
/*
 * Appends the summary again with only those texts whose bits (1 << enum summary_text) are in `wanted`, and without parts. False
 * without memory.
 */
bool summary_encode_chosen(const struct summary *summary, unsigned wanted, struct buf *out);
/* Reads an encoded summary; false if it is not one, or of another version: parse the message. */
bool summary_decode(struct str encoded, struct summary *summary);
/*
 * A text, checked: ENVELOPE, BODY and BODYSTRUCTURE are one parenthesised list of strings, numbers, NIL and lists; base
 * subject and preview are UTF-8 without control characters. False if it is not there or not right: parse the message.
 */
bool summary_text(const struct summary *summary, enum summary_text which, struct str *text);
/* Part `index` < part_count; its slices are inside the message's size. */
void summary_part(const struct summary *summary, uint32_t index, struct summary_part *part);

/* True if the fields of this name are in SUMMARY_FIELDS whenever that is there: if none is, the message has none. */
bool summary_has_field(struct str name);

#endif
