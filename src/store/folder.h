/*
 * Mailboxes by name: making, renaming, removing, subscribing (RFC 9051, section 6.3). Names are valid UTF-8 without empty parts,
 * parts separated by "/"; INBOX stands in capitals. Who may call this has checked that.
 */
#ifndef VEREDUS_STORE_FOLDER_H
#define VEREDUS_STORE_FOLDER_H

#include "store/mailbox.h"

enum { FOLDER_NAME_MAX = 1000, FOLDERS_MAX = 10000, MAILBOX_OBJECT_ID = 16 };

enum folder_result { FOLDER_DONE, FOLDER_MISSING, FOLDER_EXISTS, FOLDER_CANNOT, FOLDER_LIMIT, FOLDER_ERROR };

/* 1 if found, 0 if not, -1 on error. */
int folder_find(struct index *index, int64_t account, struct str name, struct mailbox *mailbox);
/* Appends the name. 1, 0 or -1. */
int folder_name(struct index *index, const struct mailbox *mailbox, struct buf *name);
/* Calls `each` for every mailbox in the order of names, until it returns false. 0, or -1. */
int folder_list(struct index *index, int64_t account,
                bool (*each)(void *context, const struct mailbox *mailbox, struct str name,
                             struct str keywords),
                void *context);
int folder_subscriptions(struct index *index, int64_t account, bool (*each)(void *context, struct str name),
                         void *context);
/* The mailbox's identity for ever (RFC 8474): renamed, it keeps it. */
void folder_object_id(const struct mailbox *mailbox, unsigned char id[MAILBOX_OBJECT_ID]);

/* Those below work within a transaction. */

/* Makes it, and those above it that are missing. Each gets the access control list of the one above it. */
enum folder_result folder_create(struct index *index, int64_t account, struct str name, uint32_t special_use,
                                 uint64_t wall_ms, struct mailbox *mailbox);
/* Renames it and all below it; INBOX stays and its messages move into the new one. */
enum folder_result folder_rename(struct index *index, int64_t account, struct str from, struct str to,
                                 uint64_t wall_ms);
/* Removes it with its messages; not INBOX. Those below it stay. */
enum folder_result folder_delete(struct index *index, int64_t account, struct str name);
/* Removes a mailbox's row, pages and what stands about it; its messages must have been removed. */
int folder_remove(struct index *index, const struct mailbox *mailbox);
/*
 * A mailbox that never held a message takes over the UIDVALIDITY it had at another server. 1 if it has it now, 0 if it has held
 * messages under its own or the number is 0, -1 on error.
 */
int folder_adopt(struct index *index, struct mailbox *mailbox, uint32_t uid_validity);
int folder_subscribe(struct index *index, int64_t account, struct str name, bool subscribed);

#endif
