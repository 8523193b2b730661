/*
 * Annotations of mailboxes, and of an account as a whole under the mailbox number 0 (RFC 5464): named values that clients keep
 * here. Who may call this has checked that entries are well formed and in lower case. Functions return 0, or -1: roll back.
 */
#ifndef VEREDUS_STORE_ANNOTATION_H
#define VEREDUS_STORE_ANNOTATION_H

#include "store/index.h"

enum {
    ANNOTATION_ENTRY_MAX = 256,
    ANNOTATION_VALUE_MAX = 8192,
    ANNOTATIONS_MAX = 50,          /* of one mailbox */
    ANNOTATIONS_ACCOUNT_MAX = 1000 /* of all mailboxes of an account */
};

/* Within a transaction: sets the value, or with NULL removes the entry. */
int annotation_set(struct index *index, int64_t account, int64_t mailbox, struct str entry,
                   const struct str *value);
/* 1 if there is such an entry, 0 if not, -1. */
int annotation_exists(struct index *index, int64_t account, int64_t mailbox, struct str entry);
int annotation_count(struct index *index, int64_t account, int64_t mailbox, int64_t *of_mailbox,
                     int64_t *of_account);
/* Calls `each` for the entries of one mailbox, in order, until it returns false. */
int annotation_each(struct index *index, int64_t account, int64_t mailbox,
                    bool (*each)(void *context, struct str mailbox, struct str entry, struct str value),
                    void *context);
/* The same for all mailboxes of the account, with their names; empty: the account's own. */
int annotation_each_of_account(struct index *index, int64_t account,
                               bool (*each)(void *context, struct str mailbox, struct str entry,
                                            struct str value),
                               void *context);
/* Within a transaction: all of a mailbox that goes away. That it does is the event. */
int annotation_forget(struct index *index, int64_t account, int64_t mailbox);
/* Within a transaction: gives a mailbox those of another one. */
int annotation_copy(struct index *index, int64_t account, int64_t from, int64_t to);

#endif
