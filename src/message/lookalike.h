/*
 * Local parts that people cannot tell apart, in the manner of Unicode Technical Standard 39: "ann" in Latin letters and in
 * Cyrillic ones, full-width forms, a dotless i, invisible characters. Looked at when an account or alias is made; mail is
 * always matched byte for byte in its one canonical form. Pure.
 */
#ifndef VEREDUS_MESSAGE_LOOKALIKE_H
#define VEREDUS_MESSAGE_LOOKALIKE_H

#include "base/buf.h"

/* NULL, or why nobody should have this local part: invisible characters, or letters of scripts that are mistaken for each other. */
const char *lookalike_fault(struct str local);

/*
 * Appends what the eye sees of a local part: two of them look alike if this is the same. It is for comparing only, and so
 * that plain ASCII is no one's business, text of ASCII alone is only made lower case. False without room.
 */
bool lookalike_skeleton(struct str local, struct buf *out);

#endif
