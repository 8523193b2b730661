/*
 * Address lists of header fields as mail really has them (RFC 5322, sections 3.4 and 4.4; RFC 7103): groups, routes,
 * comments as names, missing hosts, stray characters. Whatever stands there gives entries; nothing is refused. For
 * decisions about senders use address.h, which refuses. No recursion, linear, no allocation but the caller's buffers.
 */
#ifndef VEREDUS_MESSAGE_ADDRESSLIST_H
#define VEREDUS_MESSAGE_ADDRESSLIST_H

#include "base/buf.h"

enum addresslist_kind { ADDRESSLIST_MAILBOX, ADDRESSLIST_GROUP_BEGIN, ADDRESSLIST_GROUP_END };

/* Slices of the field, as written; the functions below give them clean. */
struct addresslist_entry {
    enum addresslist_kind kind;
    struct str name;    /* the phrase before the address, or a group's name */
    struct str comment; /* inside the last comment, for those who put the name there */
    struct str route;   /* "@a,@b" */
    struct str local;   /* may be empty */
    struct str domain;  /* may be empty */
};

enum { ADDRESSLIST_MAX = 10000 };

/* Zero it but for `text`. */
struct addresslist {
    struct str text;
    size_t at;
    unsigned count;
    bool in_group;
};

/* The next entry; false at the end. After ADDRESSLIST_MAX entries the rest is left out; every group that begins ends. */
bool addresslist_next(struct addresslist *list, struct addresslist_entry *entry);

/* Appends the name for display: words joined by one space, quotes and comments gone, encoded words as they are. */
bool addresslist_append_name(const struct addresslist_entry *entry, struct buf *out);
/* Appends route, local part or domain without comments, blanks and quotes. */
bool addresslist_append_word(struct str word, struct buf *out);
/* Appends local@domain, for search and sort; nothing for the edges of a group. */
bool addresslist_append_address(const struct addresslist_entry *entry, struct buf *out);

#endif
