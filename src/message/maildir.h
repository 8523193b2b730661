/*
 * How a Maildir says what it holds: names of files (flags behind ":2,"), Dovecot's dovecot-uidlist and dovecot-keywords, and the
 * directories of a Maildir++ (".Work.Reports"). Names and lines only; the files are the caller's.
 */
#ifndef VEREDUS_MESSAGE_MAILDIR_H
#define VEREDUS_MESSAGE_MAILDIR_H

#include "base/buf.h"

enum { MAILDIR_KEYWORDS = 26 /* the letters a to z */ };

/* The name of a message's file, in two parts that point into it. */
struct maildir_name {
    struct str unique; /* never changes */
    struct str flags;  /* letters, or empty */
};
struct maildir_name maildir_name_read(struct str file);
/* Seconds since 1970 with which such names begin; 0 if this one does not. */
uint64_t maildir_name_seconds(struct str unique);

/* The first line of a dovecot-uidlist: version 1, or version 3 with its fields. */
struct maildir_uidlist {
    unsigned version;
    uint32_t uid_validity;
    uint32_t uid_next;
};
/* False if it is none of these. */
bool maildir_uidlist_header(struct str line, struct maildir_uidlist *list);
/* A further line: a UID and the name of its file (flags may stand behind it). False if it is none. */
bool maildir_uidlist_entry(const struct maildir_uidlist *list, struct str line, uint32_t *uid,
                           struct str *file);

/* A line of dovecot-keywords, "0 Work": which letter (0 is "a") stands for which keyword. False if it is none. */
bool maildir_keyword(struct str line, unsigned *letter, struct str *name);

/*
 * The mailbox of a directory below a Maildir++, ".Work.Reports", as UTF-8 "Work/Reports". The other way a dot within a
 * part is written as "&AC4-", so that every name can be told from every other. False if it is no such name.
 */
bool maildir_folder_from(struct str directory, struct buf *name);
bool maildir_folder_to(struct str name, struct buf *directory);

#endif
