/* Which mailboxes a client means: the filters of ESEARCH and NOTIFY (filter.c). Nobody else includes this. */
#ifndef VEREDUS_IMAP_FILTER_PRIVATE_H
#define VEREDUS_IMAP_FILTER_PRIVATE_H

#include "imap/server_private.h"

enum imap_filter_kind {
    FILTER_SELECTED,
    FILTER_SELECTED_DELAYED, /* RFC 5465, section 6.1.2 */
    FILTER_INBOXES,
    FILTER_PERSONAL,
    FILTER_SUBSCRIBED,
    FILTER_SUBTREE,
    FILTER_SUBTREE_ONE, /* RFC 7377: of one level */
    FILTER_MAILBOXES
};

struct imap_filter {
    enum imap_filter_kind kind;
    struct str *names; /* of SUBTREE, SUBTREE_ONE and MAILBOXES: sorted, in the arena */
    size_t name_count;
};

/*
 * Reads `personal`, `subtree "a"`, `mailboxes (a b)`; any kind but `never` (RFC 5465, section 6; RFC 7377, section 2.2). False:
 * scan->why.
 */
bool imap_filter_scan(struct imap_server *s, struct imap_scan *scan, enum imap_filter_kind never,
                      struct imap_filter *filter);
bool imap_filter_matches(const struct imap_server *s, const struct imap_filter *filter, struct str name,
                         bool subscribed);

#endif
