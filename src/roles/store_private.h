/* What the files of the store role share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_STORE_PRIVATE_H
#define VEREDUS_ROLES_STORE_PRIVATE_H

#include "config/config.h"
#include "ipc/proto_change.h"
#include "ipc/proto_fulltext.h"
#include "ipc/proto_queue.h"
#include "roles/role.h"
#include "store/apply.h"
#include "store/entry.h"
#include "store/journal.h"
#include "store/segment.h"

enum {
    STORE_SEGMENTS_MAX = 1024, /* that are not sealed */
    STORE_LOCKS_MAX = 100000,
    STORE_EVENTS_MAX = 2000, /* refusals noted in one transaction */
    STORE_APPLY_BUDGET = 64 << 20
};

/* A segment that is not sealed yet. */
struct open_segment {
    int64_t id;
    enum role_kind kind;
    uint32_t instance;   /* of its writer */
    int64_t limit;       /* flushed up to here, as its writer says; INT64_MAX once the writer is gone */
    int64_t applied;     /* and committed */
    int64_t new_applied; /* in the transaction under way */
    bool orphan;         /* its writer's channel has ended */
    bool finished;       /* sealed in the transaction under way */
    bool has_row;        /* its row in the index is committed */
    bool sealed;         /* its writer has said that nothing more will come */
    bool writer_gone;    /* its process has ended, or belongs to an earlier run */
    bool given;          /* handed to its writer */
    bool let_go;         /* nobody could write to it when last looked at, though its writer lives */
    bool waiting_mark;   /* the supervisor has been asked to set the append-only flag */
    int write_fd;        /* until it is handed out; the store's own keeps it */
};

struct store_event {
    struct ident id;
    uint64_t wall_ms;
    char text[768];
    size_t len;
};

struct mailbox_lock_entry {
    struct mailbox_lock_entry *next;
    int64_t account;
    uint64_t handle;
    uint32_t instance; /* of imapd */
};

/* A request that is answered when the transaction that it waits for has been committed. */
struct store_request {
    struct store_request *next;
    enum { REQUEST_LOCK, REQUEST_EXPUNGE, REQUEST_RESULT, REQUEST_CHANGE } kind;
    enum role_kind peer_kind;
    uint32_t peer_instance;
    uint64_t ticket;
    uint64_t handle;
    int64_t account;
    bool failed;
    bool last;         /* EXPUNGE: the lock is free afterwards */
    struct buf uids;   /* EXPUNGE */
    struct buf packet; /* RESULT: the encoded message */
    struct store_change *change;
};

struct store_queue;
struct store_admin;
struct store_accounts;
struct store_change;
struct store_watches;
struct store_compact;
struct store_fulltext;

struct store {
    struct role *role;
    struct index *index;
    struct segments segments;
    struct applier *applier;
    bool has_grant_key;
    unsigned char grant_key[GRANT_KEY_SIZE];
    struct config *config;
    struct open_segment open[STORE_SEGMENTS_MAX];
    size_t open_count;
    struct open_segment *own; /* the store's own segment, for reports; NULL until one is needed */
    struct batch *own_batch;
    bool accepting;
    uint64_t worked_ms; /* when mail was last filed or changed */
    int64_t free_octets;
    struct loop_timer apply_timer;
    struct loop_timer space_timer;
    struct loop_timer checkpoint_timer;
    struct loop_task task;
    bool tick_planned;
    struct store_event *events;
    size_t event_count;
    struct mailbox_lock_entry *locks[256];
    size_t lock_count;
    uint64_t next_handle;
    struct store_request *requests;
    struct store_request **last_request;
    uint64_t directory_generation;
    struct store_accounts *accounts;
    struct store_queue *queue;
    struct store_watches *watches;
    struct store_compact *compact;
    struct store_fulltext *fulltext;
    struct store_change *partial; /* changes of which not all parts have come */
    size_t partial_count;
    struct store_admin *admin;
    int admin_fd;
    uint64_t failures;     /* transactions in a row that could not be committed */
    uint64_t complaint_ms; /* when the next of them is told */
    char complaint[sizeof(((struct index *)NULL)->error)]; /* the last that was */
    struct apply_counts totals;
};

/* store.c */

/* Applies what has been flushed and does what waits, in one transaction, at the end of this pass. */
void store_soon(struct store *s);
/* The same now. False: it failed, was rolled back, and will be tried again. */
bool store_tick(struct store *s);
/* For one change outside a tick. A commit that fails has been rolled back. */
bool store_begin(struct store *s);
bool store_commit(struct store *s);
void store_rollback(struct store *s);
/* Accounts, aliases or quotas have changed: tells all who remember answers. */
void store_directory_changed(struct store *s);
/* Adds a request to the end of the list. NULL without memory. */
struct store_request *store_request_add(struct store *s, struct role_peer *peer, uint64_t ticket);

/* store_segments.c */

/* Whether such a role is given segments. */
bool store_segments_writes(enum role_kind kind);
/* At the start: takes over what earlier runs left. 0, or -1. */
int store_segments_load(struct store *s);
/* Gives this smtpd what it is to have: a segment and a spare. */
void store_segments_supply(struct store *s, struct role_peer *peer);
void store_segments_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                            const void *message);
void store_segments_writer_gone(struct store *s, enum role_kind kind, uint32_t instance);
void store_segments_marked(struct store *s, const struct control_segment_marked *marked);
/* Within a transaction: applies every segment up to its limit. 0, or -1. `more`: a further tick is wanted soon. */
int store_segments_apply(struct store *s, bool *more);
/* After the commit: tells the writers and forgets what is sealed. */
void store_segments_applied(struct store *s);
/* After a rollback. */
void store_segments_rolled_back(struct store *s);
/* From time to time: looks after the segments of writers that are gone. */
void store_segments_check_orphans(struct store *s);
/* Asks the supervisor to set or clear the append-only flag of the segment behind this descriptor. */
void store_segments_ask_for_mark(struct store *s, int64_t segment, int fd, bool append_only);
bool store_segments_is_open(struct store *s, int64_t segment);
/* Nothing more is written to the store's own segment: the next events go to a new one. */
void store_segments_end_own(struct store *s);
/* Whether anything waits to be applied. */
bool store_segments_pending(const struct store *s);
/* Within a transaction, before its commit: writes what it has changed to the log. False: roll back. */
bool store_segments_write_events(struct store *s);
/* Appends one record to the store's own segment and flushes it. Within a transaction. False: not written. */
bool store_segments_write_own(struct store *s, struct record_header *header, struct str envelope,
                              struct str trace, struct str body);

/*
 * Appends the records that the caller has put into own_batch, flushes them, and says where the first one lies. Within a
 * transaction. False: not written. The batch stays the caller's to clear.
 */
bool store_segments_write_batch(struct store *s, int64_t *segment, int64_t *offset);

/* store_compact.c: removing and copying together what is mostly dead, when there is nothing else to do */

/* NULL without memory. */
struct store_compact *store_compact_new(struct store *s);
/* Takes a step and plans the next one; the first call starts it. For a timer: outside of transactions. */
void store_compact_due(void *store);
void store_compact_end(struct store *s);
struct store_log_figures {
    uint64_t segments;
    uint64_t octets;
    uint64_t live_octets; /* events count as a whole until they are noted again */
};
void store_compact_figures(struct store *s, struct store_log_figures *figures);
/* A segment has just been sealed. */
void store_compact_sealed(struct store *s, int64_t segment, enum role_kind kind);
/* The supervisor has cleared the append-only flag of a segment that was dead. */
void store_compact_unmarked(struct store *s, int64_t segment);

/* store_fulltext.c: full-text indexes, built when there is nothing else to do */

/* NULL without memory, or if the index cannot be changed. */
struct store_fulltext *store_fulltext_new(struct store *s);
void store_fulltext_start(struct store *s);
void store_fulltext_end(struct store *s);
void store_fulltext_message(struct store *s, const struct fulltext_terms *terms);
/* The indexer is gone. */
void store_fulltext_peer_down(struct store *s);
/* For the status command: messages added since the start; whether the last look at all mailboxes found nothing to do. */
void store_fulltext_figures(const struct store *s, uint64_t *added, bool *idle);

/* store_mailbox.c */

void store_mailbox_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                           const void *message);
/* imapd is gone: its locks are too. */
void store_mailbox_peer_down(struct store *s, uint32_t instance);
/* Within the tick's transaction. -1: roll back. */
int store_mailbox_do(struct store *s, struct store_request *request);
/* After the commit. */
void store_mailbox_answer(struct store *s, const struct store_request *request, bool committed);

/* store_change.c: IMAP's changes */

void store_change_message(struct store *s, struct role_peer *peer, const struct mailbox_change *ask);
/* Within the tick's transaction. -1: roll back. */
int store_change_do(struct store *s, struct store_request *request);
/* After the commit. */
void store_change_answer(struct store *s, struct store_request *request, bool committed);
void store_change_free(struct store_change *change);
void store_change_peer_down(struct store *s, uint32_t instance);
/* Whether a change that has not been committed is about a record in this segment. */
bool store_change_names(const struct store *s, int64_t segment);

/* store_watch.c: who wants to hear of changes of a mailbox */

struct store_watches *store_watches_new(void);
void store_watch_message(struct store *s, struct role_peer *peer, const struct mailbox_watch *ask);
void store_watch_account(struct store *s, struct role_peer *peer, const struct account_watch *ask);
void store_watch_peer_down(struct store *s, uint32_t instance);
/* Whether a session that may change this mailbox has it open: it gets what comes as \Recent. */
bool store_watch_takes_recent(const struct store *s, int64_t account, int64_t mailbox);
/* After a commit: tells of the mailboxes that it changed. */
void store_watch_tell(struct store *s);

/* store_accounts.c */

struct store_accounts *store_accounts_new(struct store *s);
void store_accounts_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                            const void *message);
void store_accounts_dev_user(struct store *s, const struct control_dev_user *user);
/*
 * Makes an account, or gives an existing one this password, once keys has made the verifier; then calls `done` with an empty
 * error or what went wrong. `create`: the account is to be new, otherwise it must exist.
 */
void store_accounts_set_password(struct store *s, struct str address, struct str password, bool create,
                                 int64_t quota, void (*done)(void *context, struct str error), void *context);

/* store_queue.c */

struct store_queue *store_queue_new(struct store *s);
/* At the start, before anything is handed out: what the relays hold that were there before. */
void store_queue_await_relays(struct store *s);
void store_queue_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                         const void *message);
void store_queue_peer_down(struct store *s, uint32_t instance);
/* Within the tick's transaction. */
int store_queue_do(struct store *s, struct store_request *request);
void store_queue_answer(struct store *s, const struct store_request *request, bool committed);
/* Within the tick's transaction: bounces, delay notices. 0, or -1. */
int store_queue_reports(struct store *s);
/* After a commit: hands out what is due. */
void store_queue_run(struct store *s);
/* After a rollback: jobs and notices of that transaction are forgotten. */
void store_queue_rolled_back(struct store *s);
/* Whether a relay has this row: a command may have held it meanwhile. */
bool store_queue_is_leased(const struct store *s, const struct entry *entry);
/* A command has changed the queue. */
void store_queue_changed(struct store *s);

#endif
