/* Dates of header fields (RFC 5322, section 3.3). */
#ifndef VEREDUS_MESSAGE_DATE_H
#define VEREDUS_MESSAGE_DATE_H

#include "base/buf.h"

/* Appends "Tue, 24 Nov 2026 11:40:53 +0000" for a wall-clock time in milliseconds since 1970, in UTC. */
bool date_append(uint64_t wall_ms, struct buf *out);

/* Appends "24-Nov-2026 11:40:53 +0000", as IMAP's date-time has it (RFC 9051, section 9), the day in two columns. */
bool date_append_imap(uint64_t wall_ms, struct buf *out);

struct date_parsed {
    int64_t seconds;  /* since 1970, UTC */
    int zone_minutes; /* east of Greenwich: seconds + zone_minutes * 60 is what the sender's clock showed */
};

/*
 * Reads a date as mail has it: RFC 5322 with the obsolete forms (section 4.3), month and day in either order, comments, a
 * missing weekday, zone (then UTC) or time (then 00:00:00, RFC 5256, section 2.2). False if there is no day, month and year.
 */
bool date_parse(struct str value, struct date_parsed *parsed);

#endif
