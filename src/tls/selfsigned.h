/* A certificate authority and a server certificate of one's own, for `veredus dev`. */
#ifndef VEREDUS_TLS_SELFSIGNED_H
#define VEREDUS_TLS_SELFSIGNED_H

#include "base/buf.h"

/*
 * Makes an EC P-256 authority and a certificate for `hostname`, localhost and the loopback addresses, valid for ten years
 * from `wall_ms` on. Appends PEM: the authority's certificate, the server's certificate followed by the authority's, its
 * key. The authority's key is thrown away.
 */
bool selfsigned_make(struct str hostname, uint64_t wall_ms, struct buf *authority, struct buf *certificate,
                     struct buf *key);

#endif
