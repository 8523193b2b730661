/* What the files of NOTIFY share (RFC 5465). Nobody else includes this. */
#ifndef VEREDUS_IMAP_NOTIFY_PRIVATE_H
#define VEREDUS_IMAP_NOTIFY_PRIVATE_H

#include "imap/fetch_private.h"
#include "imap/filter_private.h"

enum {
    NOTIFY_GROUPS_MAX = 64,
    NOTIFY_ROWS_MAX = 5000,          /* mailboxes that an account may see, for any of them to be watched so */
    NOTIFY_ANNOTATIONS_MAX = 4 << 20 /* octets of their names */
};

enum notify_event {
    NOTIFY_MESSAGES = 1, /* MessageNew and MessageExpunge: one is never without the other */
    NOTIFY_FLAGS = 2,
    NOTIFY_NAMES = 4,
    NOTIFY_SUBSCRIPTIONS = 8,
    NOTIFY_METADATA = 16,
    NOTIFY_SERVER_METADATA = 32
};

/* Events of mailboxes other than the selected one. */
struct notify_group {
    struct imap_filter filter;
    unsigned events;
};

/* What one client wants to hear, and what it knows. */
struct imap_notify {
    struct arena arena; /* of the groups and of the items of `fetch` */
    struct notify_group groups[NOTIFY_GROUPS_MAX];
    size_t group_count;
    bool has_selected;
    bool delayed; /* SELECTED-DELAYED */
    unsigned selected;
    struct fetch *fetch; /* the items that are told of a new message; NULL: none */
    unsigned news;       /* enum imap_news that the groups need */
    bool tell_status;    /* NOTIFY SET STATUS */
    unsigned due;        /* enum imap_news that the look under way is about */
    /* The mailboxes as the client knows them: sorted, names in `names`. */
    struct imap_kept_row *rows;
    size_t row_count;
    struct buf names;
    /* Likewise the annotations, sorted: lengths of mailbox and entry (16 bits each), hash of the value, then both. */
    struct buf annotations;
    struct buf fresh; /* those that are coming */
    /* Own changes since the last look: lengths (16 bits) of a mailbox's name and of an entry, which may be empty, then both. */
    struct buf own;
    struct imap_set own_uids; /* messages that the client has put into the selected mailbox itself */
};

/* notify.c */

/* The events of the groups that are about this mailbox. */
unsigned notify_events(const struct imap_server *s, const struct imap_notify *notify, struct str name,
                       bool subscribed);
/* Whether the client has changed it itself: the name or subscription, or this annotation. */
bool notify_is_own(const struct imap_notify *notify, struct str mailbox, struct str entry);

/* notify_rows.c */

/* STATUS of those whose messages are watched, and which may not be read (RFC 5465, section 3.1). */
void notify_tell_first(const struct imap_server *s, const struct imap_notify *notify, struct buf *out);
/* How server->rows, sorted, differ from what the client knows. False without memory. */
bool notify_tell_rows(const struct imap_server *s, const struct imap_notify *notify, struct buf *out);
/* The same of annotations. */
void notify_tell_annotations(const struct imap_server *s, const struct imap_notify *notify, struct buf *out);
/* For server->annotation: adds one to `fresh`. */
bool notify_annotation_came(struct imap_server *s, struct str mailbox, struct str entry, struct str value);

#endif
