/* Accounts and aliases in the index. All addresses are in lookup form (address_lookup_form). */
#ifndef VEREDUS_STORE_ACCOUNT_H
#define VEREDUS_STORE_ACCOUNT_H

#include "store/index.h"

enum { ACCOUNT_ADDRESS_MAX = 400, ACCOUNT_VERIFIER_MAX = 512, MAILBOX_INBOX = 1 };
enum account_state { ACCOUNT_ACTIVE, ACCOUNT_DISABLED };

struct account {
    int64_t id;
    enum account_state state;
    int64_t quota; /* octets; -1: as configured; 0: none */
    int64_t used_octets;
    int64_t used_messages;
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
int account_first(struct index *index, struct account *account);
/* Within a transaction: the account and its INBOX. -1 also if the address is taken. */
int account_add(struct index *index, struct str address, struct str verifier, int64_t quota, uint64_t wall_ms,
                struct account *account);
int account_set_verifier(struct index *index, int64_t id, struct str verifier);
int account_set_quota(struct index *index, int64_t id, int64_t quota);
int account_set_state(struct index *index, int64_t id, enum account_state state);
int account_add_used(struct index *index, int64_t id, int64_t octets, int64_t messages);
/* Removes the row, its mailboxes and the aliases that lead to it; its messages must have been removed before. */
int account_remove(struct index *index, const struct account *account);
/* Calls `each` until it returns false. */
int account_list(struct index *index, bool (*each)(void *context, const struct account *account), void *context);

int alias_add(struct index *index, struct str address, struct str target);
/* All targets if `target` is empty. */
int alias_remove(struct index *index, struct str address, struct str target);
int alias_list(struct index *index, bool (*each)(void *context, struct str address, struct str target), void *context);
/* 1 if the alias row is there. */
int alias_points_to(struct index *index, struct str address, struct str target);

#endif
