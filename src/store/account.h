/* Accounts and aliases in the index. All addresses are in lookup form (address_lookup_form). */
#ifndef VEREDUS_STORE_ACCOUNT_H
#define VEREDUS_STORE_ACCOUNT_H

#include "store/index.h"

enum { ACCOUNT_ADDRESS_MAX = 400, ACCOUNT_VERIFIER_MAX = 512, ALIAS_TARGETS_MAX = 200, MAILBOX_INBOX = 1 };
enum account_state { ACCOUNT_ACTIVE, ACCOUNT_DISABLED };

struct account {
    int64_t id;
    enum account_state state;
    int64_t quota; /* octets; -1: as configured; 0: none */
    int64_t used_octets;
    int64_t used_messages;
    uint64_t created_ms; /* wall clock */
    uint64_t modseq;     /* the last modification sequence given to a change of a mailbox */
    size_t address_len;
    size_t verifier_len;
    char address[ACCOUNT_ADDRESS_MAX];
    char verifier[ACCOUNT_VERIFIER_MAX];
};

static inline struct str account_address(const struct account *account)
{
    return str_make(account->address, account->address_len);
}

/*
 * Appends the form under which an address is looked up: the local part case-folded (Unicode, NFC), without quotes that it
 * does not need; the domain as A-labels in lower case. False if it is no valid address with a domain.
 */
bool address_lookup_form(struct str address, struct buf *out);

/* 1 if found, 0 if not, -1 on error. */
int account_find(struct index *index, struct str address, struct account *account);
int account_by_id(struct index *index, int64_t id, struct account *account);
/* The first that was made of those that are active. */
int account_first(struct index *index, struct account *account);
/* The one with the next number. */
int account_next(struct index *index, int64_t after, struct account *account);
/*
 * Within a transaction: the account and its INBOX. -1 also if the address is taken. Its number was never used before, so a
 * grant for an account that is gone leads nowhere.
 */
int account_add(struct index *index, struct str address, struct str verifier, int64_t quota, uint64_t wall_ms,
                struct account *account);
int account_set_verifier(struct index *index, int64_t id, struct str verifier);
int account_set_quota(struct index *index, int64_t id, int64_t quota);
int account_set_state(struct index *index, int64_t id, enum account_state state);
/* Adds to what the account holds and sets its modification sequence. */
int account_count(struct index *index, int64_t id, int64_t octets, int64_t messages, uint64_t modseq);
/* Removes the row, its mailboxes and the aliases that lead to it; its messages must have been removed before. */
int account_remove(struct index *index, const struct account *account);
/* Calls `each` until it returns false. */
int account_list(struct index *index, bool (*each)(void *context, const struct account *account),
                 void *context);

/* At most `max` of those behind the address `after` (empty: from the first), in order. */
int account_list_after(struct index *index, struct str after, int max,
                       bool (*each)(void *context, const struct account *account), void *context);

/* 0; 1 if the address has ALIAS_TARGETS_MAX targets already; -1 on error. */
int alias_add(struct index *index, struct str address, struct str target);
/* All targets if `target` is empty. */
int alias_remove(struct index *index, struct str address, struct str target);
int alias_list(struct index *index, bool (*each)(void *context, struct str address, struct str target),
               void *context);
/*
 * Looks for an account or alias in the same domain that people would take for this one (message/lookalike.h); appends its
 * address. 1 if there is one, 0 if not, -1 on error. Reads every address.
 */
int address_find_lookalike(struct index *index, struct str address, struct buf *found);

/* At most `max` of those behind this one, in order. */
int alias_list_after(struct index *index, struct str address, struct str target, int max,
                     bool (*each)(void *context, struct str address, struct str target), void *context);
/* 1 if the alias row is there. */
int alias_points_to(struct index *index, struct str address, struct str target);

#endif
