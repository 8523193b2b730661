/*
 * A role for the IMAP engine, without network or store: a small account in memory answers what the engine asks. What the
 * engine says is kept whole, so that runs can be compared.
 */
#ifndef VEREDUS_TESTS_IMAP_DRIVER_H
#define VEREDUS_TESTS_IMAP_DRIVER_H

#include "imap/server.h"

enum {
    DRIVER_BOXES = 6,
    DRIVER_MESSAGES = 40,
    DRIVER_NAME = 64,
    DRIVER_CHANGES_MAX = 10000,
    DRIVER_ANNOTATIONS = 12
};

struct driver_message {
    uint32_t uid;
    uint64_t flags;
    uint64_t modseq;
    uint64_t internal_ms;
    struct str text;
};

struct driver_box {
    bool exists;
    bool subscribed;
    uint32_t rights;
    char name[DRIVER_NAME];
    size_t name_len;
    uint32_t uid_validity;
    uint32_t uid_next;
    uint64_t modseq;
    unsigned char id; /* its last octet */
    struct driver_message messages[DRIVER_MESSAGES];
    size_t count;
    struct imap_range gone[DRIVER_CHANGES_MAX]; /* one UID each */
    uint64_t gone_modseq[DRIVER_CHANGES_MAX];
    size_t gone_count;
    char keywords[512];
    size_t keywords_len;
};

struct driver_annotation {
    char mailbox[DRIVER_NAME];
    size_t mailbox_len;
    char entry[DRIVER_NAME];
    size_t entry_len;
    char value[DRIVER_NAME];
    size_t value_len;
};

struct driver {
    struct imap_settings settings;
    struct driver_annotation annotations[DRIVER_ANNOTATIONS];
    size_t annotation_count;
    struct imap_server *server;
    struct buf said; /* by the engine */
    struct driver_box boxes[DRIVER_BOXES];
    struct driver_box *open;
    struct driver_box *aside; /* that is open beside it */
    uint64_t modseq;
    uint64_t now_ms;
    uint64_t quota_octets;
    bool closed;
    bool fail_answers;  /* every question is answered with IMAP_UNAVAILABLE */
    bool fail_messages; /* those for messages are */
    bool narrows;       /* there is a full-text index */
    bool no_watch;      /* of the account can be had */
    bool busy;          /* with every change of the client's another client changes something */
    unsigned watched;   /* enum imap_news */
    unsigned char last_id;
    unsigned narrowed; /* questions that it answered */
    unsigned bodies;   /* messages of which octets were given */
    unsigned verified;
    unsigned logged_in;
    unsigned questions_before_login;
    unsigned changes;
    size_t most; /* octets that waited for the client at once */
    char appended[DRIVER_MESSAGES][512];
    size_t appended_count;
    struct buf appended_uids; /* of an APPEND whose messages have not all come */
};

/* INBOX with three messages, a mailbox "Work" with one. False without memory. */
bool driver_init(struct driver *driver, bool tls);
void driver_free(struct driver *driver);
void driver_start(struct driver *driver);
/* The client says this, in pieces of `split` octets (0: at once). */
void driver_say(struct driver *driver, struct str text, size_t split);
/* Something comes into a mailbox from elsewhere. */
void driver_deliver(struct driver *driver, size_t box, struct str text);
/* Another client has done this already: bits of enum imap_news. */
void driver_news(struct driver *driver, unsigned news);
/* Another client makes a mailbox. */
struct driver_box *driver_make(struct driver *driver, struct str name);
void driver_rename(struct driver_box *box, struct str name);

#endif
