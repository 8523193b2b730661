/* Rows of mailboxes, as LIST, STATUS and NOTIFY tell them (rows.c). Nobody else includes this. */
#ifndef VEREDUS_IMAP_ROWS_PRIVATE_H
#define VEREDUS_IMAP_ROWS_PRIVATE_H

#include "imap/server_private.h"

enum status_item {
    STATUS_MESSAGES = 1,
    STATUS_UIDNEXT = 2,
    STATUS_UIDVALIDITY = 4,
    STATUS_UNSEEN = 8,
    STATUS_DELETED = 16,
    STATUS_SIZE = 32,
    STATUS_HIGHESTMODSEQ = 64,
    STATUS_RECENT = 128,
    STATUS_MAILBOXID = 256,
    STATUS_APPENDLIMIT = 512,
    STATUS_DELETED_STORAGE = 1024 /* RFC 9208 */
};

/* What is written of a row where it applies. */
enum row_attribute {
    ATTRIBUTE_NOSELECT = 1, /* \Noselect, or */
    ATTRIBUTE_NONEXISTENT = 2,
    ATTRIBUTE_NOACCESS = 4, /* RFC 5465, section 5.9 */
    ATTRIBUTE_CHILDREN = 8,
    ATTRIBUTE_SUBSCRIBED = 16,
    ATTRIBUTE_SPECIAL = 32
};

/* What the account may not see is not there. */
void imap_hide_rows(struct imap_server *s);
/* By the octets of their names; the other functions want them so. */
void imap_sort_rows(struct imap_server *s);
/* The index of the first of so many rows that does not sort before `name`. */
size_t imap_find_row(const struct imap_kept_row *rows, size_t count, struct str name);
/* The index of the first row below `name`, if there is one. */
size_t imap_first_below(const struct imap_server *s, struct str name);
bool imap_is_below(struct str name, struct str parent);
bool imap_has_children(const struct imap_server *s, struct str name);

/* "(\HasNoChildren \Sent)" */
void imap_write_attributes(const struct imap_server *s, const struct imap_row *row, unsigned attributes,
                           struct buf *out);
/* Reads "(MESSAGES UNSEEN)" as bits of enum status_item. False: scan->why. */
bool imap_scan_status_items(struct imap_scan *scan, unsigned *items);
/* "* STATUS name (MESSAGES 1 UNSEEN 0)" */
void imap_write_status(const struct imap_server *s, const struct imap_row *row, unsigned items,
                       struct buf *out);

#endif
