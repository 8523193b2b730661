/* Which UIDs of a mailbox have been expunged, and since when (RFC 7162, section 3.2.5): what QRESYNC tells as VANISHED. */
#ifndef VEREDUS_STORE_EXPUNGED_H
#define VEREDUS_STORE_EXPUNGED_H

#include "store/flags.h"

/* Within a transaction: these packed ranges were expunged with this change of the mailbox. 0, or -1. */
int expunged_note(struct index *index, const struct mailbox *mailbox, uint64_t modseq, struct str ranges);
/*
 * Within a transaction: when each was expunged is not known any more (the index has been made anew), so all count as expunged
 * with the mailbox's last change: a client that asks since an earlier one hears of UIDs that it may know to be gone, but
 * misses none.
 */
int expunged_forgotten(struct index *index, const struct mailbox *mailbox);
/*
 * Calls `each` with the packed ranges that were expunged since this modification sequence; with all that are not there where
 * that is longer ago than is kept (RFC 7162, section 3.2.5.1). 0, or -1.
 */
int expunged_since(struct index *index, const struct mailbox *mailbox, uint64_t modseq,
                   void (*each)(void *context, struct str ranges), void *context);

#endif
