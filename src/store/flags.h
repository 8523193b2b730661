/*
 * Flags and modification sequences of messages, packed: a page is one row of the index for up to PAGE_MESSAGES neighbouring
 * messages, so that reading or changing the flags of a whole mailbox touches few rows. New messages get into pages later, many
 * at once (flags_fold): until then their own rows say what they were filed with.
 */
#ifndef VEREDUS_STORE_FLAGS_H
#define VEREDUS_STORE_FLAGS_H

#include "store/mailbox.h"
#include "store/page.h"

enum {
    FLAGS_FOLD_AT = 1000, /* so many messages outside of pages are folded at the next delivery */
    FLAGS_KEYWORD_FIRST = 8,
    FLAGS_KEYWORDS_MAX = 56,
    FLAGS_KEYWORDS_OCTETS = 4096 /* of their names, with a space behind each */
};

/* System flags; bit FLAGS_KEYWORD_FIRST + n is the mailbox's keyword number n. */
enum mailbox_flag { FLAG_ANSWERED = 1, FLAG_FLAGGED = 2, FLAG_DELETED = 4, FLAG_SEEN = 8, FLAG_DRAFT = 16 };

struct uid_range {
    uint32_t first;
    uint32_t last; /* inclusive */
};

enum flags_operation { FLAGS_REPLACE, FLAGS_ADD, FLAGS_REMOVE };

/*
 * Calls `each` for every message from UID `from` on whose modification sequence is above `since`, in order, until it returns
 * false. 0, or -1.
 */
int flags_each(struct index *index, const struct mailbox *mailbox, uint32_t from, uint64_t since,
               bool (*each)(void *context, uint32_t uid, uint64_t flags, uint64_t modseq), void *context);
/* The same in runs. Neighbouring ones may be alike. */
int flags_runs(struct index *index, const struct mailbox *mailbox, uint32_t from, uint64_t since,
               bool (*each)(void *context, const struct flags_run *run), void *context);

/* Those below work within a transaction, change *mailbox, and leave mailbox_set to the caller. 0, or -1. */

/* Moves what is outside of pages into them. */
int flags_fold(struct index *index, struct mailbox *mailbox);
/*
 * Changes flags of all messages of the ranges (sorted, apart) whose modification sequence is at most `unchanged_since`; they get
 * `modseq`. Others are appended to `refused` as packed ranges. Sets *changed to the number of messages that were changed.
 */
struct flags_change {
    enum flags_operation operation;
    uint64_t flags;
    uint64_t unchanged_since;
    uint64_t modseq;
};
int flags_store(struct index *index, struct mailbox *mailbox, const struct flags_change *change,
                const struct uid_range *ranges, size_t count, struct buf *refused, uint64_t *changed);
/*
 * Takes the entries of the ranges out of the pages; with `deleted_only` only those that have \Deleted. `each` is called for what
 * was taken out.
 */
int flags_take(struct index *index, struct mailbox *mailbox, const struct uid_range *ranges, size_t count,
               bool deleted_only, int (*each)(void *context, uint32_t uid, uint64_t flags), void *context);
/* All pages of a mailbox; of an account with `mailbox` 0. */
int flags_forget(struct index *index, int64_t account, int64_t mailbox);

/*
 * The bits of keywords (names, each ended by a space) of this mailbox; new names are added to it, as long as there is room.
 * Appends the mailbox's keywords to `all`. *full: some found no room.
 */
int flags_keywords(struct index *index, const struct mailbox *mailbox, struct str names, uint64_t *bits,
                   struct buf *all, bool *full);

/* The bits of those names that are among the keywords. */
uint64_t flags_known_keywords(struct str all, struct str names);

/* Packed ranges: first and last as 32 bits each. */
bool uid_ranges_append(struct buf *out, uint32_t uid);
/* Takes one range from the front; false at the end, or if it is none. */
bool uid_ranges_next(struct str *packed, struct uid_range *range);

#endif
