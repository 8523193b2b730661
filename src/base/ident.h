/*
 * Our own id of a message: one id from connect to mailbox. 48 bits of wall-clock milliseconds, then 48 random bits, so ids
 * sort by time. As text: 20 characters of lower-case base32 (digits and letters without i, l, o, u).
 */
#ifndef VEREDUS_BASE_IDENT_H
#define VEREDUS_BASE_IDENT_H

#include "base/str.h"

enum { IDENT_SIZE = 12, IDENT_TEXT = 20 };

struct ident {
    unsigned char bytes[IDENT_SIZE];
};

/* `random`: 48 bits are used. */
struct ident ident_make(uint64_t wall_ms, uint64_t random);
uint64_t ident_wall_ms(const struct ident *ident);
/* Writes IDENT_TEXT characters, without a NUL. */
void ident_format(const struct ident *ident, char *text);
/* False if it is not the text of an id. */
bool ident_parse(struct str text, struct ident *ident);

#endif
