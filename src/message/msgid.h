/* Message-ID, In-Reply-To and References (RFC 5322, section 3.6.4), as RFC 5256 wants them for THREAD. */
#ifndef VEREDUS_MESSAGE_MSGID_H
#define VEREDUS_MESSAGE_MSGID_H

#include "base/buf.h"

enum {
    MSGID_MAX = 1000
}; /* ids of one field that are looked at: the first and, of more, the last are what counts */

/* Zero it but for `text`. */
struct msgid_list {
    struct str text;
    size_t at;
    unsigned count;
};

/* The next id as written, without its angle brackets; text outside of brackets is skipped. False at the end. */
bool msgid_next(struct msgid_list *list, struct str *id);
/*
 * The one id of a Message-ID field, brackets or not; false if the field has none. For References use msgid_next: what
 * stands outside of brackets there is no id.
 */
bool msgid_single(struct str value, struct str *id);
/* Appends the id so that equal ids are equal bytes (RFC 5256, section 3): blanks, comments and needless quotes left out. */
bool msgid_append_normal(struct str id, struct buf *out);

/*
 * The id of a message's thread (RFC 8474, section 5.2): made of the id of the message that began it, which is the first of its
 * References, else that of In-Reply-To, else its own. It is the same wherever the message lies. False if the header has no id, or
 * without memory.
 */
enum { MSGID_THREAD_SIZE = 33 };
bool msgid_thread(struct str header, char thread[MSGID_THREAD_SIZE]);

#endif
