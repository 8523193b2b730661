/* What the files of the imapd role share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_IMAPD_PRIVATE_H
#define VEREDUS_ROLES_IMAPD_PRIVATE_H

#include "imap/server.h"
#include "pop3/server.h"
#include "roles/connection.h"
#include "roles/front.h"
#include "roles/log_writer.h"

struct imapd;

/* Gives a session its number in messages to other roles. */
struct imapd_slot {
    uint32_t number;
    uint32_t generation; /* an answer to an earlier session of this number is not for this one */
};

struct pop3_session {
    struct connection connection;
    struct pop3_server server;
    struct imapd *imapd;
    struct front_settings *settings;
    struct pop3_session *next;
    struct pop3_session *previous;
    struct loop_task end_task;
    struct imapd_slot slot;
    bool closed;
    bool draining;     /* the engine waits until the output has been taken */
    uint64_t asked_ms; /* since when an answer of another role is awaited; 0: none is */
    uint64_t lock;     /* the store's handle; 0: none */
    uint32_t store;    /* instance of the store that gave it */
    uint64_t handle;   /* the reader's */
    bool has_handle;
    uint32_t reader; /* instance of the reader that gave it */
    uint32_t uid_validity;
    size_t expunge_at; /* how far the deletions have been sent */
    /* Beginnings of messages, by rising UIDs: UID and length of 32 bits each, then the octets. Most clients read all in order. */
    struct buf ahead;
    size_t ahead_at;
    size_t ahead_last; /* where the last one begins */
    uint32_t read_last;
    uint64_t ahead_ms; /* when it was filled */
    struct sockaddr_storage peer;
};

/* A mailbox that a command looks into beside the selected one. */
struct imap_aside {
    bool open;
    uint64_t handle; /* the reader's */
    uint32_t reader; /* instance of the reader that gave it */
};

struct imap_session {
    struct connection connection;
    struct imap_server *server;
    struct imapd *imapd;
    struct front_settings *settings;
    struct imap_session *next;
    struct imap_session *previous;
    struct loop_task end_task;
    struct imapd_slot slot;
    bool closed;
    bool committing;  /* what was appended is on its way to the log; its memory must stay */
    bool draining;    /* the engine waits until the output has been taken */
    bool compressing; /* and DEFLATE begins then */
    bool holding;     /* so does the next part of the messages */
    bool has_handle;
    bool unwatched; /* the store cannot tell news of the mailbox: they are looked for from time to time */
    bool watches_account; /* the store tells what changes in it */
    bool more_ranges;     /* of UIDs than one question holds */
    bool failed_messages; /* one of them could not be had */
    bool lost_part;       /* likewise a row */
    uint64_t asked_ms;    /* since when an answer of another role is awaited; 0: none is */
    uint64_t looked_ms;   /* when news were last looked for, unwatched */
    uint64_t handle;      /* the reader's, of the selected mailbox */
    uint64_t owner;       /* the account that it belongs to */
    uint64_t mailbox;     /* its number within the account */
    uint32_t reader;      /* instance of the reader that gave the handle */
    uint32_t next_uid;
    uint32_t hold_uid;
    uint64_t hold_from;
    uint64_t first_modseq; /* of the first part of the entries under way */
    struct buf ranges;
    struct buf source_uids;
    struct buf target_uids;
    struct imap_aside aside;
    struct sockaddr_storage peer;
};

/* Whose slot it is: one of them, or none. */
struct imapd_owner {
    struct pop3_session *pop3;
    struct imap_session *imap;
};

struct imapd {
    struct role *role;
    struct fronts *fronts;
    struct log_writer *writer;
    struct pop3_session *sessions;
    struct imap_session *imap_sessions;
    struct imapd_owner *slots;
    uint32_t *generations;
    uint32_t slot_count;
    uint32_t *free_slots;
    uint32_t free_count;
    unsigned doors_left; /* wrong doors that may still be told this second */
    struct loop_timer sweep;
};

/* imapd.c */

/* Logs what a client was told that should be at another port. */
void imapd_note_door(struct imapd *imapd, const struct sockaddr_storage *peer, struct str text);
/* Text in clear came where TLS was to begin: says so in the protocol of this door, and ends the connection. */
void imapd_refuse_clear(struct imapd *imapd, struct connection *connection,
                        const struct front_settings *settings, const struct sockaddr_storage *peer,
                        enum door door);
/* For one of the two. False: there are too many sessions. */
bool imapd_take_slot(struct imapd *imapd, struct imapd_slot *slot, struct pop3_session *pop3,
                     struct imap_session *imap);
void imapd_free_slot(struct imapd *imapd, const struct imapd_slot *slot);
void imapd_check_drained(struct imapd *imapd);

/* imapd_pop3.c */

bool pop3_session_accepted(struct imapd *imapd, struct front_settings *settings, int fd,
                           const struct sockaddr_storage *peer);
void pop3_session_sweep(struct pop3_session *session, uint64_t now_ms);
void pop3_session_shut_down(struct pop3_session *session);
/* An answer of another role whose ticket names this session. */
void pop3_session_answer(struct pop3_session *session, struct role_peer *peer, const struct ipc_type *type,
                         const void *message);
void pop3_session_peer_lost(struct pop3_session *session, enum role_kind kind, uint32_t instance);

/* imapd_imap.c */

bool imap_session_accepted(struct imapd *imapd, struct front_settings *settings, int fd,
                           const struct sockaddr_storage *peer);
void imap_session_sweep(struct imap_session *session, uint64_t now_ms);
void imap_session_shut_down(struct imap_session *session);
/* An answer of another role whose ticket names this session. */
void imap_session_answer(struct imap_session *session, struct role_peer *peer, const struct ipc_type *type,
                         const void *message);
void imap_session_peer_lost(struct imap_session *session, enum role_kind kind, uint32_t instance);
/* What it appended is in the log at this place, or is not. */
void imap_session_logged(struct imap_session *session, enum batch_result result, int64_t segment,
                         int64_t offset);

#endif
