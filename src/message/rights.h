/*
 * Rights that somebody has in a mailbox (RFC 4314, section 2.1), as letters and as bits, and the namespace in which the
 * mailboxes of others stand: "Other Users/name@domain/Folder".
 */
#ifndef VEREDUS_MESSAGE_RIGHTS_H
#define VEREDUS_MESSAGE_RIGHTS_H

#include "base/buf.h"

enum right {
    RIGHT_LOOKUP = 1,        /* l: LIST shows it */
    RIGHT_READ = 2,          /* r: SELECT, STATUS, FETCH */
    RIGHT_SEEN = 4,          /* s: sets and clears \Seen */
    RIGHT_WRITE = 8,         /* w: the other flags, but \Deleted; keywords; metadata */
    RIGHT_INSERT = 16,       /* i: APPEND, COPY into it */
    RIGHT_POST = 32,         /* p: kept, and without effect here */
    RIGHT_CREATE = 64,       /* k: makes mailboxes below it */
    RIGHT_REMOVE = 128,      /* x: removes and renames it */
    RIGHT_DELETED = 256,     /* t: sets and clears \Deleted */
    RIGHT_EXPUNGE = 512,     /* e */
    RIGHT_ADMINISTER = 1024, /* a: sees and changes who has which rights */
    RIGHTS_ALL = 2047
};
/* With any of these a mailbox can be changed once it is open. */
#define RIGHTS_TO_CHANGE (RIGHT_SEEN | RIGHT_WRITE | RIGHT_INSERT | RIGHT_DELETED | RIGHT_EXPUNGE)
enum { RIGHTS_TEXT = 16 }; /* octets that rights_write appends at most */

/* False: a letter that is none. The letters of RFC 2086 are read as RFC 4314, section 2.1.1, has them: c as k, d as x, t and e. */
bool rights_parse(struct str text, uint32_t *rights);
/* Appends the letters; with `old`, also c and d where one of those that they stand for is there, as older clients need. */
void rights_write(uint32_t rights, bool old, struct buf *out);

#define OTHER_USERS "Other Users"
/* Whether a name (UTF-8) is that of the namespace or lies in it: nobody's own mailbox can have it. */
bool is_other_users(struct str name);

#endif
