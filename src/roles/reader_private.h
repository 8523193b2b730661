/* What the files of the reader role share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_READER_PRIVATE_H
#define VEREDUS_ROLES_READER_PRIVATE_H

#include "ipc/proto_mailbox.h"
#include "roles/role.h"
#include "store/acl.h"
#include "store/flags.h"
#include "store/grant.h"
#include "store/resolve.h"

enum { READER_HANDLES_MAX = 65536, READER_LIST_AT_A_TIME = 2000 };

/* An open mailbox of one imapd. */
struct open_mailbox {
    bool used;
    uint32_t instance;
    uint32_t generation;
    int64_t reader;  /* the account whose grant was shown */
    int64_t account; /* that owns it */
    int64_t mailbox;
};

struct reader {
    struct role *role;
    uint64_t warned_ms; /* when it was last told that postmaster is nobody */
    struct index *index;
    struct segments segments;
    bool has_grant_key;
    unsigned char grant_key[GRANT_KEY_SIZE];
    struct resolution resolution;
    struct open_mailbox *handles;
    size_t next_slot; /* where the search for a free one begins */
    struct loop_timer close_timer;
    struct buf bytes;
    struct buf packed;    /* messages for one packet */
    struct buf section;   /* of a record: its summary */
    size_t section_guess; /* octets that such a section took of late */
    struct buf summary;   /* what of it was asked for */
    struct buf keywords;
    struct mailbox_entry entries[READER_LIST_AT_A_TIME];
};

/* reader.c */

/* Whether a grant is one that keys made for this very peer. */
bool reader_grant_of(struct reader *r, const struct role_peer *peer, struct str bytes, struct grant *grant);

/* reader_mailbox.c: open mailboxes, and what POP3 asks. */

bool reader_mailbox_prepare(struct reader *r);
/* True if it was one of the messages about mailboxes. */
bool reader_mailbox_message(struct reader *r, struct role_peer *peer, const struct ipc_type *type,
                            const void *message);
void reader_mailbox_peer_down(struct reader *r, uint32_t instance);
/* NULL if the peer has no such handle. */
struct open_mailbox *reader_find_handle(struct reader *r, const struct role_peer *peer, uint64_t handle);
/* The same for reading, with what the account may do there now. NULL: *result says why. */
struct open_mailbox *reader_use_handle(struct reader *r, const struct role_peer *peer, uint64_t handle,
                                       uint32_t *rights, enum mailbox_result *result);
/* For want of a right: a mailbox that the account may not even see is missing to it. */
enum mailbox_result reader_denied(uint32_t rights);
void reader_send_end(struct role_peer *peer, uint64_t ticket, enum mailbox_result result);

/* reader_rows.c: mailboxes by their names. */

void reader_answer_rows(struct reader *r, struct role_peer *peer, const struct mailbox_rows *ask);
void reader_answer_metadata(struct reader *r, struct role_peer *peer, const struct mailbox_metadata *ask);

/* reader_acl.c: access control lists. */

void reader_answer_acl(struct reader *r, struct role_peer *peer, const struct mailbox_acl *ask);

/* reader_fulltext.c: what a full-text index says. */

void reader_answer_narrow(struct reader *r, struct role_peer *peer, const struct mailbox_narrow *ask);

/* reader_imap.c: what IMAP asks. */

/* The mailbox's keywords into r->keywords. */
bool reader_keywords(struct reader *r, const struct mailbox *mailbox);
/* How many messages no session has been told of as \Recent. */
uint32_t reader_recent(struct reader *r, const struct mailbox *mailbox);
void reader_answer_flags(struct reader *r, struct role_peer *peer, const struct mailbox_ask_flags *ask);
void reader_answer_fetch(struct reader *r, struct role_peer *peer, const struct mailbox_fetch *ask);

#endif
