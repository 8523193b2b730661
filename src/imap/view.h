/*
 * What a session knows of its selected mailbox: UIDs, flags and modification sequences, in the order of UIDs, so that a message
 * sequence number is an index. The mailbox moves on by deliveries and other sessions; the view moves on only where the protocol
 * allows it to be told (RFC 9051, section 7.5.1; RFC 7162): changes are merged in by view_merge and announced by the caller,
 * expunged messages stay in it as gone until view_expunge takes them out.
 */
#ifndef VEREDUS_IMAP_VIEW_H
#define VEREDUS_IMAP_VIEW_H

#include "imap/set.h"

/* System flags are the low bits; bit IMAP_KEYWORD_FIRST + n is the mailbox's keyword number n. */
enum imap_flag {
    IMAP_ANSWERED = 1 << 0,
    IMAP_FLAGGED = 1 << 1,
    IMAP_DELETED = 1 << 2,
    IMAP_SEEN = 1 << 3,
    IMAP_DRAFT = 1 << 4,
    IMAP_SYSTEM_FLAGS = 31
};
enum { IMAP_KEYWORD_FIRST = 8, IMAP_KEYWORDS_MAX = 56 };

struct imap_entry {
    uint32_t uid;
    bool changed; /* its flags have not been told yet */
    bool gone;    /* expunged, and not told yet */
    bool recent;  /* \Recent, for RFC 3501 */
    uint64_t flags;
    uint64_t modseq;
};

struct imap_view {
    struct imap_entry *entries;
    size_t count; /* with those that are gone */
    size_t room;
    size_t told;    /* what the client was last told as EXISTS, less expunges told since */
    size_t changed; /* entries with `changed` */
    size_t gone;
    size_t next;     /* index behind the entry that was found last: most work goes from one to the next */
    uint64_t modseq; /* of the mailbox when the view was last brought up to date */
};

void imap_view_free(struct imap_view *view);
/* Room for so many; without it, or without memory, it grows as messages come. */
void imap_view_reserve(struct imap_view *view, size_t count);
/* Messages with UIDs uid to uid + count - 1, the same flags, and the same modification sequence or ones that rise by one. */
struct imap_run {
    uint32_t uid;
    uint32_t count;
    uint64_t flags;
    uint64_t modseq;
    bool rising;
};
/*
 * Messages as the store has them now: new at the end, or known. True; false without memory. A new one below the last UID is
 * ignored, and so is what would be beyond the last possible UID: the store never gives such.
 */
enum imap_announce { IMAP_ANNOUNCE_NONE, IMAP_ANNOUNCE_FLAGS /* where flags differ */, IMAP_ANNOUNCE_ALL };
bool imap_view_merge(struct imap_view *view, const struct imap_run *run, enum imap_announce announce);
/* This entry's flags are to be told. */
void imap_view_announce(struct imap_view *view, struct imap_entry *entry);
/* Messages that are no longer there. Those unknown are ignored. */
void imap_view_vanish(struct imap_view *view, const struct imap_range *range);
/* The index of the first entry with a UID >= uid; view->count if there is none. */
size_t imap_view_find(const struct imap_view *view, uint32_t uid);
/* The entry with this UID, or NULL. */
struct imap_entry *imap_view_entry(struct imap_view *view, uint32_t uid);
/* The largest UID; 0 if it is empty. */
uint32_t imap_view_last_uid(const struct imap_view *view);
/* A set of sequence numbers as UIDs of messages that are there. False without memory. */
bool imap_view_to_uids(const struct imap_view *view, const struct imap_set *numbers, struct imap_set *uids);
/* UIDs of the set that are there. */
bool imap_view_existing(const struct imap_view *view, const struct imap_set *uids, struct imap_set *existing);
/*
 * Takes out all that are gone; `each` is called with sequence number (as of that moment) and UID, from the lowest up, as EXPUNGE
 * wants it. NULL: nobody is told.
 */
void imap_view_expunge(struct imap_view *view, void (*each)(void *context, uint32_t number, uint32_t uid),
                       void *context);

#endif
