/* What the files of IMAP's changes share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_STORE_CHANGE_PRIVATE_H
#define VEREDUS_ROLES_STORE_CHANGE_PRIVATE_H

#include "roles/store_private.h"
#include "store/acl.h"
#include "store/flags.h"
#include "store/folder.h"

struct appended {
    struct record_header header;
    int64_t segment;
    int64_t offset;
    uint64_t flags;
    uint64_t internal_ms;
    struct buf keywords;
};

struct store_change {
    struct store_change *next; /* while parts are missing */
    uint32_t instance;
    uint64_t ticket;
    enum change_kind kind;
    int64_t account; /* whose grant was shown: what it may do is looked up for each change */
    int64_t owner;   /* of the selected mailbox */
    int64_t mailbox;
    enum flags_operation operation;
    uint64_t flags;
    uint32_t acl_rights;
    uint64_t modseq;
    uint32_t special_use;
    struct buf name;
    struct buf other_name;
    struct buf keywords;
    struct buf ranges; /* packed */
    struct appended *appended;
    size_t appended_count;
    /* What has become of it. */
    enum change_result result;
    uint64_t new_modseq;
    uint32_t uid_validity;
    unsigned char id[MAILBOX_OBJECT_ID];
    struct buf all_keywords;
    struct buf source_uids;
    struct buf target_uids;
};

/* Sets the result of a change that is not made. 0. */
int change_refuse(struct store_change *c, enum change_result result);
/* The same for want of a right: a mailbox that the account may not even see is missing to it. */
int change_deny(struct store_change *c, uint32_t rights);
/*
 * The mailbox that the change names, for which the account has all of `needed`: 1; 0: it has not, or there is none, and the
 * result says so; -1.
 */
int change_find(struct store *s, struct store_change *c, struct str name, uint32_t needed,
                struct mailbox *mailbox, uint32_t *rights);

/* store_change_folder.c: changes of mailboxes as such. Within the tick's transaction. -1: roll back. */

int change_create(struct store *s, struct store_change *c);
int change_delete(struct store *s, struct store_change *c);
int change_rename(struct store *s, struct store_change *c);
int change_subscribe(struct store *s, struct store_change *c);
int change_metadata(struct store *s, struct store_change *c);
int change_acl(struct store *s, struct store_change *c);

#endif
