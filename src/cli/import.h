/* What the files of `veredus import` share: messages are collected and sent to the server many at once. */
#ifndef VEREDUS_CLI_IMPORT_H
#define VEREDUS_CLI_IMPORT_H

#include "cli/control.h"

struct dirent;
struct importer;

/* A message to be imported. */
struct import_message {
    struct str text;       /* line endings of either kind */
    struct str source;     /* what tells it from all others of its mailbox, and is the same at the next run */
    uint32_t uid;          /* 0: none */
    uint64_t flags;        /* enum mailbox_flag */
    struct str keywords;   /* each ended by a space */
    int64_t seconds;       /* when it came, since 1970 */
    int64_t named_seconds; /* a time that is never another at the next run; 0: none is known */
};

/* These return EX_OK, or a code after saying why. */

/*
 * Messages that follow belong to this mailbox, which is made if it is missing. `validity` and `next`: its UIDVALIDITY and
 * UIDNEXT so far; 0: unknown.
 */
int import_mailbox(struct importer *importer, struct str name, uint32_t validity, uint32_t next,
                   bool subscribe);
/* `total`: how many messages the mailbox has, for the progress shown; 0: unknown. */
int import_add(struct importer *importer, const struct import_message *message, uint64_t total);
/* Sends what has been collected, and says what has become of the mailbox. */
int import_finish_mailbox(struct importer *importer);
/* A file that cannot be used is named on standard error and left out; the exit code will tell. */
void import_left_out(struct importer *importer, const char *file, const char *why);

const struct cli_input *import_input(const struct importer *importer);

/* Whether it has a "cur", and so is a folder of a Maildir; else errno says why not. */
bool import_is_maildir(const char *path);
/* What is in the directory, by name: as of scandir(3), to be freed so; with a failure `count` is -1 and there is nothing. */
int import_list(const struct importer *importer, const char *path, struct dirent ***entries, int *count);

/* The formats. `mailbox`: the name for what has none of its own, or NULL. */
int import_maildir(struct importer *importer, const char *path, const char *mailbox);
int import_mbox(struct importer *importer, const char *path, const char *mailbox);

#endif
