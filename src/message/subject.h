/* The base subject of RFC 5256, section 2.1, for SORT and THREAD. */
#ifndef VEREDUS_MESSAGE_SUBJECT_H
#define VEREDUS_MESSAGE_SUBJECT_H

#include "base/buf.h"

/* The base of a subject that is UTF-8 already; a slice of it. `is_reply` (may be NULL): a "re", "fwd" or the like was cut. */
struct str subject_base(struct str subject, bool *is_reply);
/* Appends the base of a Subject field's value, decoded, its blanks made single spaces. False if memory or `out` failed. */
bool subject_append_base(struct str value, bool *is_reply, struct buf *out);

#endif
