/*
 * Who a recipient is: domains from the configuration, accounts and aliases from the index. Used by the reader for the reply
 * at RCPT, and by the store, whose answer counts, when a record is applied.
 */
#ifndef VEREDUS_STORE_RESOLVE_H
#define VEREDUS_STORE_RESOLVE_H

#include "config/config.h"
#include "store/account.h"

enum { RESOLVE_TARGETS_MAX = ALIAS_TARGETS_MAX, RESOLVE_DEPTH_MAX = 10 };

enum resolve_verdict {
    RESOLVED_LOCAL,        /* `targets` says where it goes */
    RESOLVED_REMOTE,       /* not a domain of ours */
    RESOLVED_RELAY_DOMAIN, /* a domain that we relay for */
    RESOLVED_UNKNOWN,      /* our domain, but nobody of that name */
    RESOLVED_NEW,          /* catch_all_mail: nobody of that name yet; `address` is the account to be made */
    RESOLVED_ERROR         /* the index cannot be read, or there is no memory */
};

struct resolve_target {
    int64_t account; /* 0: an outside address */
    struct str address;
};

struct resolution {
    enum resolve_verdict verdict;
    int64_t room;  /* octets until the emptiest mailbox that it leads to is full; INT64_MAX: no limit */
    bool disabled; /* it leads to accounts that are disabled, and nowhere else */
    bool by_alias;
    bool nobody_yet;    /* it is postmaster's, and there is no active account at all */
    bool truncated;     /* aliases lead to more than `targets` holds */
    struct str address; /* in lookup form, without a subaddress tag */
    size_t count;
    struct resolve_target targets[RESOLVE_TARGETS_MAX];
    struct arena arena; /* holds the addresses */
};

/* `address` as an envelope has it (path_normalize). Free the result with resolve_free in every case. */
void resolve_recipient(struct index *index, const struct config *config, struct str address,
                       struct resolution *out);
void resolve_free(struct resolution *resolution);

/* Whether an account may use this address as its sender: its own, with a tag too, or an alias that leads to it. */
enum resolve_verdict resolve_sender(struct index *index, const struct config *config, int64_t account,
                                    struct str address, bool *allowed);

/* The octets that the account may hold; 0: no limit. */
int64_t resolve_quota(const struct config *config, const struct account *account);

#endif
