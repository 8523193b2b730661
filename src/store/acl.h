/*
 * Access control lists (RFC 4314): what others may do in an account's mailboxes, and where names lead that an account uses. An
 * entry names an account by its number, which is never used again, or anyone: every account in the owner's domain. Negative
 * entries take rights away from what others give. The owner has all rights always, and no entry.
 *
 * Rights are bits of enum right (message/rights.h). Functions return 0, or -1 on error, unless it says otherwise.
 */
#ifndef VEREDUS_STORE_ACL_H
#define VEREDUS_STORE_ACL_H

#include "message/rights.h"
#include "store/account.h"
#include "store/mailbox.h"

enum { ACL_ANYONE = 0, ACL_ENTRIES_MAX = 200 /* of one mailbox */, ACL_NAME_MAX = 1000 };

struct acl_entry {
    int64_t grantee; /* an account, or ACL_ANYONE */
    bool negative;
    uint32_t rights;
};

/* What `account` may do there. */
int acl_rights(struct index *index, int64_t account, const struct mailbox *mailbox, uint32_t *rights);
/* Whether it may read there, or the mailbox is its own, which may be gone. 1, 0, or -1. */
int acl_reads(struct index *index, int64_t account, int64_t owner, int64_t mailbox);

/* Where a name leads. */
struct acl_place {
    int64_t owner;
    struct str name; /* within the owner's account; points into `area`, or is the name that was parsed */
    char area[ACL_NAME_MAX];
};
/*
 * The account and the name within it that `account` means by a name. 1; 0: the name lies in the namespace of others, and there is
 * no such account, or it is its own; -1. What has no address there is taken for an own name, that none is given any more.
 */
int acl_place(struct index *index, int64_t account, struct str name, struct acl_place *place);
/* The mailbox that `account` means by a name, and what it may do there: perhaps nothing. 1, 0, or -1. */
int acl_find(struct index *index, int64_t account, struct str name, struct mailbox *mailbox,
             uint32_t *rights);
/* Appends the name with the address in lookup form, as acl_shared has it; any other name as it is. */
void acl_canonical(struct str name, struct buf *out);

/*
 * Calls `each` for the mailboxes of others that `account` may do something with, in the octets' order of their names as it sees
 * them, until it returns false.
 */
int acl_shared(struct index *index, int64_t account,
               bool (*each)(void *context, const struct mailbox *mailbox, struct str name, uint32_t rights),
               void *context);

/* The entries of a mailbox; -1, or how many. */
int acl_entries(struct index *index, int64_t owner, int64_t mailbox,
                struct acl_entry entries[ACL_ENTRIES_MAX]);
/* Calls `each` for at most `max` entries of an account, behind this one of this mailbox, in order. */
int acl_list_after(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *after,
                   int max, bool (*each)(void *context, int64_t mailbox, const struct acl_entry *entry),
                   void *context);
/*
 * Reads "name@domain", "anyone", or one of them behind "-". 1; 0: there is no such account; -1. The owner is an account like
 * any other here.
 */
int acl_identifier(struct index *index, struct str text, struct acl_entry *entry);
/* Appends the entry's identifier; nothing if the account is gone. 1, 0, or -1. */
int acl_write_identifier(struct index *index, const struct acl_entry *entry, struct buf *out);

/* Those below work within a transaction. */

/* Makes the entry what it is now; without rights there is none. 1; 0: there are ACL_ENTRIES_MAX already; -1. */
int acl_set(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *entry);
/* A new mailbox gets what the one above it has (RFC 4314, section 4). */
int acl_copy(struct index *index, int64_t owner, int64_t from, int64_t to);
/* All of a mailbox that goes away. That it does is the event. */
int acl_forget(struct index *index, int64_t owner, int64_t mailbox);
/* All of an account that goes away, in its mailboxes and in those of others. */
int acl_forget_account(struct index *index, int64_t account);

#endif
