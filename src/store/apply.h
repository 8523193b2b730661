/*
 * Applying the log to the index: new records of a segment, in order, in one transaction with the position up to which that has
 * been done. After a crash the same is done again from the position that was committed.
 *
 * A record's rights come from its segment, never from the record: what smtpd-mx wrote reaches local users, their aliases
 * and configured relay domains; what smtpd-msa wrote reaches anybody if it carries a grant of that very process.
 */
#ifndef VEREDUS_STORE_APPLY_H
#define VEREDUS_STORE_APPLY_H

#include "config/config.h"
#include "store/account.h"
#include "store/grant.h"
#include "store/mailbox.h"

struct applier;

struct apply_counts {
    uint64_t records;
    uint64_t filed;
    uint64_t queued;
    uint64_t accounts_made;
};

/* Keeps the pointers. NULL without memory. */
struct applier *applier_new(struct index *index, struct segments *segments,
                            const unsigned char grant_key[GRANT_KEY_SIZE]);
void applier_free(struct applier *applier);
void applier_set_config(struct applier *applier, const struct config *config);
/* Accounts or aliases changed by other means than this: forget what is cached about addresses. */
void applier_forget(struct applier *applier);

/*
 * Within a transaction: applies the records of the segment from its committed position up to `limit` (an offset; INT64_MAX
 * for all there is). `budget` octets at most, then it returns with *more set. A record that cannot be understood is journalled
 * and passed over; a torn tail ends the segment. 0, or -1: roll back.
 */
int apply_segment(struct applier *applier, int64_t segment, int64_t limit, uint64_t budget,
                  uint64_t now_wall_ms, bool *more, bool *torn, struct apply_counts *counts);
/* Before the commit: writes counters that were collected. */
int apply_finish(struct applier *applier);
/* After a rollback: forgets them. */
void apply_abort(struct applier *applier);

/* The state text that marks an account of catch_all_mail, for which any password is right. */
extern const struct str apply_any_password;

#endif
