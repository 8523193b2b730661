/*
 * The bytes of records as they are given out, to mail programs by the mailbox and to other hosts by the relay: whatever the
 * disk has made of them since, wrong bytes are never served (goal G10).
 *
 * A small record is checked as a whole every time. A large one, which is asked for in pieces, is checked as a whole once; a
 * checksum of each piece is kept from then on, and every further piece is checked by that.
 */
#ifndef VEREDUS_STORE_PAYLOAD_H
#define VEREDUS_STORE_PAYLOAD_H

#include "store/segment.h"

struct payload_cache;

struct payload {
    struct segments *segments;
    int64_t segment;
    int64_t offset; /* of the record */
    struct record_header header;
    uint64_t len; /* envelope, trace and body together */
};

/*
 * Opens the record at this place, of this many octets, and checks it. Records that are opened one after the other, as they lie in
 * a segment, are read many at once. False if it cannot be read, is damaged, is another record than `id`, or without memory. Good
 * until another payload of the same segment table is opened.
 */
bool payload_open(struct segments *segments, int64_t segment, int64_t offset, size_t octets,
                  const struct ident *id, struct payload *payload);
/* Appends octets [from, from + len) of envelope, trace and body; less at the end. False if they cannot be read as they were. */
bool payload_read(const struct payload *payload, uint64_t from, size_t len, struct buf *out);
/* Harmless with NULL. */
void payload_cache_free(struct payload_cache *cache);

#endif
