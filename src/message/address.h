/*
 * Address lists of header fields (RFC 5322, section 3.4; RFC 6532): mailboxes one by one, groups opened, comments skipped.
 * No recursion; linear in the length; nothing is allocated.
 */
#ifndef VEREDUS_MESSAGE_ADDRESS_H
#define VEREDUS_MESSAGE_ADDRESS_H

#include "base/buf.h"

struct address_mailbox {
    struct str display; /* as written; may be empty */
    struct str local;   /* as written, with quotes and comments if it has any */
    struct str domain;
};

enum address_step { ADDRESS_MAILBOX, ADDRESS_END, ADDRESS_BAD };

struct address_iterator {
    struct str text;
    size_t at;
    bool in_group;
    unsigned count; /* so far; at most ADDRESS_MAX */
};

enum { ADDRESS_MAX = 10000 };

struct address_iterator address_iterate(struct str value);
enum address_step address_next(struct address_iterator *iterator, struct address_mailbox *mailbox);
/* Appends local@domain normalised as an envelope's would be; false if it is no valid address. */
bool address_append_normal(const struct address_mailbox *mailbox, struct buf *out);

#endif
