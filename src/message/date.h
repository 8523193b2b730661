/* Dates of header fields (RFC 5322, section 3.3). */
#ifndef VEREDUS_MESSAGE_DATE_H
#define VEREDUS_MESSAGE_DATE_H

#include "base/buf.h"

/* Appends "Tue, 24 Nov 2026 11:40:53 +0000" for a wall-clock time in milliseconds since 1970, in UTC. */
bool date_append(uint64_t wall_ms, struct buf *out);

#endif
