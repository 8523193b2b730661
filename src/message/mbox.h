/*
 * Mbox files: where a message begins ("From " lines), lines that were quoted so as not to look like one, and the fields in which
 * mail programs keep their marks in such files (Status, X-Status, X-Keywords, X-UID, X-IMAPbase; Thunderbird's X-Mozilla-Status).
 * Lines come one by one, with or without their ending.
 */
#ifndef VEREDUS_MESSAGE_MBOX_H
#define VEREDUS_MESSAGE_MBOX_H

#include "base/buf.h"

enum { MBOX_KEYWORDS_MAX = 4096 };

enum mbox_mark { MBOX_SEEN = 1, MBOX_ANSWERED = 2, MBOX_FLAGGED = 4, MBOX_DELETED = 8, MBOX_DRAFT = 16 };

/* What is known of a message besides its text. */
struct mbox_marks {
    unsigned marks;        /* enum mbox_mark */
    uint32_t uid;          /* 0: none */
    uint32_t uid_validity; /* of the file, from its first message; 0: none */
    uint32_t uid_last;     /* the highest UID ever given in the file */
    bool internal;         /* not a message: what some programs keep at the beginning of a file */
    int64_t seconds;       /* since 1970, from the "From " line; 0: none */
    struct buf keywords;   /* each ended by a space */
};

/*
 * A "From " line as it stands between messages: an address or some word, and a date like that of asctime (RFC 4155). Sets *seconds.
 * A line of a text that merely begins with "From " has no such date.
 */
bool mbox_is_from(struct str line, int64_t *seconds);
/* Without one ">" if it is one or more of these and then "From ". */
struct str mbox_unquote(struct str line);
/* Whether it is "From " with any number of ">" before it: to be written with one more. */
bool mbox_needs_quote(struct str line);
/*
 * A line of a header field, by whose name it is one of the fields above: then its value is kept and true returned, and it is
 * not part of the message. The caller gives whole fields: continuation lines belong to the one before.
 */
bool mbox_take_field(struct str line, struct mbox_marks *marks);
/* Appends "Thu Nov 26 09:05:01 2026", in UTC. */
void mbox_append_date(int64_t seconds, struct buf *out);

#endif
