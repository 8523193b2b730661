/* Metadata as GETMETADATA and LIST tell it (metadata.c). Nobody else includes this. */
#ifndef VEREDUS_IMAP_METADATA_PRIVATE_H
#define VEREDUS_IMAP_METADATA_PRIVATE_H

#include "imap/server_private.h"

enum { METADATA_WANTED_MAX = 64, METADATA_ENTRY_MAX = 256, METADATA_VALUE_MAX = 8192 };

struct metadata_wanted {
    struct str entries[METADATA_WANTED_MAX]; /* in lower case, in the arena */
    bool found[METADATA_WANTED_MAX];
    size_t count;
    unsigned depth; /* of entries below; 2: any */
    uint64_t max_size;
    uint64_t longest; /* of the values that were longer; 0: none */
};

/* "entry" or "(entry entry)". False: scan->why. */
bool metadata_scan_entries(struct imap_server *s, struct imap_scan *scan, struct metadata_wanted *wanted);
/* Adds an entry to the list, "entry value", if it is wanted. */
void metadata_take(const struct imap_server *s, struct metadata_wanted *wanted, struct str entry,
                   struct str value, struct buf *list);
/* Writes the response with the list, and begins anew. */
void metadata_write(const struct imap_server *s, struct metadata_wanted *wanted, struct str mailbox,
                    struct buf *list, struct buf *out);

#endif
