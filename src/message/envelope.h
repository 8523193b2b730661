/* The ENVELOPE of a message as IMAP sends it (RFC 3501, section 7.4.2; RFC 9051, section 7.5.2). */
#ifndef VEREDUS_MESSAGE_ENVELOPE_H
#define VEREDUS_MESSAGE_ENVELOPE_H

#include "base/buf.h"

/* The fields of a header that an envelope, a search or a thread needs; what is missing has a NULL pointer as value. */
struct envelope {
    struct str date;
    struct str subject;
    struct str from;
    struct str sender;
    struct str reply_to;
    struct str to;
    struct str cc;
    struct str bcc;
    struct str in_reply_to;
    struct str message_id;
    struct str references;
};

/* Finds them in a header, of several with one name the first; one pass. */
void envelope_read(struct str header, struct envelope *envelope);
/* Takes one field of a header, for callers who go over it anyway. */
void envelope_take(struct envelope *envelope, struct str name, struct str value);
/* Appends "(date subject from sender reply-to to cc bcc in-reply-to message-id)". */
bool envelope_append(const struct envelope *envelope, struct buf *out);
/* Appends one address list, "((name route mailbox host) ...)" or NIL. */
bool envelope_append_addresses(struct str value, struct buf *out);

#endif
