/* What the files of the smtpd roles share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_SMTPD_PRIVATE_H
#define VEREDUS_ROLES_SMTPD_PRIVATE_H

#include "roles/connection.h"
#include "roles/front.h"
#include "roles/log_writer.h"
#include "smtp/server.h"

enum { KNOWN_ADDRESSES = 4096, KNOWN_ADDRESS_MAX = 100 };

/* A recipient that was found to be local a moment ago. */
struct known_recipient {
    uint64_t until_ms;
    uint64_t room; /* octets until the mailbox is full, less those let through since; UINT64_MAX: no limit */
    uint8_t len;
    char address[KNOWN_ADDRESS_MAX];
};

struct smtpd;

struct session {
    struct connection connection;
    struct smtp_server server;
    struct smtpd *smtpd;
    struct front_settings *settings;
    struct session *next;
    struct session *previous;
    struct loop_task end_task;
    uint32_t slot;
    uint32_t generation; /* of the slot: an answer to an earlier session of it is not for this one */
    bool committing;     /* its record is on its way; its memory must stay */
    bool closed;
    uint64_t asked_ms; /* since when an answer of another role is awaited; 0: none is */
    struct ident id;   /* of the message being committed */
    struct sockaddr_storage peer;
};

struct smtpd {
    struct role *role;
    struct fronts *fronts;
    struct log_writer *writer;
    struct session *sessions;
    struct session **slots;
    uint32_t *generations;
    uint32_t slot_count;
    uint32_t *free_slots;
    uint32_t free_count;
    struct smtp_body_budget budget;
    struct known_recipient *known;
    unsigned char hash_key[16];
    struct loop_timer sweep;
    unsigned events_left; /* refusals that may still be told this second */
    uint64_t events_dropped;
};

/* smtpd_session.c */

/* A new connection; see front_events. */
bool session_accepted(void *context, struct front_settings *settings, int fd,
                      const struct sockaddr_storage *peer);
/* Once a second: the session's deadline, and answers that do not come. */
void session_sweep(struct session *session, uint64_t now_ms);
/* The server stops. */
void session_shut_down(struct session *session);
/* The session that an answer's ticket names, or NULL. */
struct session *session_of(struct smtpd *smtpd, uint64_t ticket);
/* `room`: octets until the recipient's mailbox is full. */
void session_recipient(struct session *session, uint8_t verdict, uint64_t room);
void session_sender(struct session *session, uint8_t verdict);
void session_verified(struct session *session, uint8_t verdict, struct str login, struct str grant);
/* A role that answers questions is gone: those that wait for it get a temporary failure. */
void session_peer_lost(struct session *session, enum role_kind kind);
/* The record of this session has been written, or not. */
void session_written(void *owner, enum batch_result result, const struct log_place *place);

/* smtpd_commit.c */

/* Makes the record of the session's transaction and gives it to the log. False: it could not. */
bool session_commit(struct session *session);

/* smtpd.c */

/* False: all slots are taken. */
bool smtpd_take_slot(struct smtpd *smtpd, struct session *session);
void smtpd_free_slot(struct smtpd *smtpd, const struct session *session);
/* The last session may have ended while the server stops. */
void smtpd_check_drained(struct smtpd *smtpd);
/*
 * The room in the mailbox of a recipient that was found to be local a moment ago, 0 if that is not known or not enough to be
 * sure that a message of this size (0: unknown) fits.
 */
uint64_t smtpd_known_room(struct smtpd *smtpd, struct str address, uint64_t size);
void smtpd_remember(struct smtpd *smtpd, struct str address, uint64_t room);
/* A refusal, for journal and log. */
void smtpd_event(void *session, const struct smtp_event *event);

#endif
