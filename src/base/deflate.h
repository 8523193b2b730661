/*
 * DEFLATE streams both ways (RFC 1951, raw: no zlib header), for connections that compress. A thin module around zlib, with memory
 * from base/mem.h and bounded: about 50 KiB for what goes out, 40 KiB for what comes in.
 */
#ifndef VEREDUS_BASE_DEFLATE_H
#define VEREDUS_BASE_DEFLATE_H

#include "base/buf.h"

#include <sys/types.h>

struct deflate;

/* NULL without memory. */
struct deflate *deflate_new(void);
void deflate_free(struct deflate *deflate);
/*
 * Appends the compressed form of `text`. With `flush` all of it, so that the other side can read it; otherwise some may be kept
 * back until the next call. False without memory or room: the stream is broken then.
 */
bool deflate_append(struct deflate *deflate, struct str text, bool flush, struct buf *out);
/*
 * Expands from the front of *input, which is moved on, into `area`: at most `room` octets. Returns how many; 0: more input is
 * needed; -1: that is not DEFLATE, or its end.
 */
ssize_t deflate_expand(struct deflate *deflate, struct str *input, char *area, size_t room);

#endif
