/* What the files of `veredus export` share: the mailboxes of an account, read from the index and the log beside the server. */
#ifndef VEREDUS_CLI_EXPORT_H
#define VEREDUS_CLI_EXPORT_H

#include "cli/command.h"
#include "store/flags.h"

struct exporter;

struct export_message {
    uint32_t uid;
    uint64_t flags; /* with keywords, by their number in the mailbox */
    struct ident id;
    int64_t seconds; /* when it came */
    uint64_t size;   /* with CRLF */
    struct str text; /* empty where only the size was asked for */
};

/* A format: what is done with each mailbox and message. They return EX_OK, or a code after saying why. */
struct export_format {
    int (*begin)(struct exporter *exporter, const struct mailbox *mailbox, struct str name,
                 struct str keywords);
    /* Whether the message need not be read: it is there from an earlier run, and its flags are made right. May be NULL. */
    int (*find)(struct exporter *exporter, const struct export_message *message, bool *present);
    int (*message)(struct exporter *exporter, const struct export_message *message);
    int (*end)(struct exporter *exporter, const struct mailbox *mailbox, struct str name);
    /* After the last mailbox; the names of those that are subscribed. May be NULL. */
    int (*finish)(struct exporter *exporter, struct str subscriptions);
};

extern const struct export_format export_maildir;
extern const struct export_format export_mbox;

const struct cli_input *export_input(const struct exporter *exporter);
/* The directory that is written to. */
int export_directory(const struct exporter *exporter);
/* The format's own. */
void *export_data(const struct exporter *exporter);
void export_set_data(struct exporter *exporter, void *data);
/* Appends the text with its lines ending in LF. */
bool export_append_lines(struct str text, struct buf *out);
/* "cannot write NAME: reason"; a code. */
int export_failed(const struct exporter *exporter, const char *name);
/* Calls `each` for the keywords whose bits are set. */
void export_each_keyword(struct str keywords, uint64_t flags,
                         void (*each)(void *context, unsigned number, struct str keyword), void *context);

#endif
