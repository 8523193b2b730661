/*
 * Terms of a full-text index that finds any part of a text, as a search of IMAP asks (RFC 9051, section 6.4.4: a substring): each
 * three neighbouring characters of the folded text (message/fold.h), and each two of scripts that are written without blanks.
 * A text can only contain a needle all of whose terms it has. The reverse does not hold: the terms narrow a search, no more.
 *
 * A term is a word of 2 to 15 letters and digits in ASCII.
 */
#ifndef VEREDUS_MESSAGE_TERMS_H
#define VEREDUS_MESSAGE_TERMS_H

#include "base/buf.h"

enum {
    TERMS_MAX = 60000, /* different ones of a message: a novel has a tenth of them */
    TERM_SIZE_MAX = 16 /* octets of a term with the blank behind it */
};

/*
 * Appends the different terms of a message, header and all text parts, each followed by a blank, in no order. False: it has more
 * than TERMS_MAX, or memory or `out` failed.
 */
bool terms_of_message(struct str message, struct buf *out);
/*
 * Appends the terms of a folded needle in the same form; nothing where it is too short to have any. No more than `most`, spread
 * over the needle. False if `out` failed.
 */
bool terms_of_needle(struct str folded, size_t most, struct buf *out);

#endif
