/*
 * supervisor <-> every role: what a role is, what it is given, and how it ends.
 *
 * Order at the start: SETUP, then CONFIG, SECRET, LISTENER and PEER in any number and order, then
 * BEGIN; the role then prepares, enters its sandbox and answers READY. Afterwards CONFIG (a new generation),
 * LISTENER, PEER, SECRET may come again at any time; CONFIG is then the last of its set and puts it into force.
 */
#ifndef VEREDUS_IPC_PROTO_CONTROL_H
#define VEREDUS_IPC_PROTO_CONTROL_H

#include "ipc/channel.h"
#include "ipc/peer.h"

enum { CONTROL_VERSION = 1 };

/* What a secret or certificate that the supervisor opened is. */
enum secret_kind {
    SECRET_TLS_KEY,         /* to keys: PEM private key; `name` is that of the tls section */
    SECRET_TLS_CERTIFICATE, /* to smtpd, imapd and keys: PEM chain */
    SECRET_PEPPER,          /* to keys: 32 bytes */
    SECRET_GRANT_KEY,       /* to keys, store and reader: 32 bytes */
    SECRET_TICKET_KEY,      /* to one kind of TLS role: 80 bytes, that kind's own */
    SECRET_ROUTE_PASSWORD,  /* to keys: the password of a smarthost; `name` is that of the route */
    SECRET_CA_BUNDLE        /* to relay: PEM certificates */
};

/* supervisor -> role */
#define CONTROL_SETUP_FIELDS(F, M)                                                                           \
    F(M, U8, kind, ROLE_KINDS - 1)                                                                           \
    F(M, U32, instance, 0) /* never used twice while the supervisor lives */                                 \
    F(M, U32, uid, 0)      /* to drop to; 0: stay */                                                         \
    F(M, U32, gid, 0)                                                                                        \
    F(M, U8, dev, 1)       /* `veredus dev`: catch every message */                                          \
    F(M, U8, sandbox, 1)   /* 0 only for debugging */                                                        \
    F(M, U8, fence, 1)     /* try the forbidden acts, report FENCE and exit */                               \
    F(M, STR, boot_id, 32) /* of this run of the supervisor */                                               \
    F(M, STR, data_dir, 4000)
IPC_MESSAGE(control_setup, 1, false, CONTROL_SETUP_FIELDS);

/* The validated text of the configuration file, as a sealed memfd. */
#define CONTROL_CONFIG_FIELDS(F, M)                                                                          \
    F(M, U32, generation, 0)                                                                                 \
    F(M, STR, file_name, 4000)
IPC_MESSAGE(control_config, 2, true, CONTROL_CONFIG_FIELDS);

#define CONTROL_SECRET_FIELDS(F, M)                                                                          \
    F(M, U8, kind, SECRET_CA_BUNDLE)                                                                         \
    F(M, STR, name, 256)
IPC_MESSAGE(control_secret, 3, true, CONTROL_SECRET_FIELDS);

/* A bound, listening, non-blocking socket; `name` is that of the listener section. */
#define CONTROL_LISTENER_FIELDS(F, M)                                                                        \
    F(M, U32, id, 0)                                                                                         \
    F(M, STR, name, 256)
IPC_MESSAGE(control_listener, 4, true, CONTROL_LISTENER_FIELDS);

/* One end of a socket pair to another role. One to an instance that died has been closed by the kernel. */
#define CONTROL_PEER_FIELDS(F, M)                                                                            \
    F(M, U8, kind, ROLE_KINDS - 1)                                                                           \
    F(M, U32, instance, 0)                                                                                   \
    F(M, U8, purpose, 1) /* PEER_MESSAGES, or PEER_SIGNING for the blocking one to keys */
IPC_MESSAGE(control_peer, 5, true, CONTROL_PEER_FIELDS);
enum peer_purpose { PEER_MESSAGES, PEER_SIGNING };

#define CONTROL_BEGIN_FIELDS(F, M) F(M, U32, generation, 0)
IPC_MESSAGE(control_begin, 6, false, CONTROL_BEGIN_FIELDS);

/* Finish transactions under way within `grace_ms`, accept nothing new, answer DRAINED and exit. */
#define CONTROL_DRAIN_FIELDS(F, M) F(M, U32, grace_ms, 0)
IPC_MESSAGE(control_drain, 7, false, CONTROL_DRAIN_FIELDS);

/* A listener that the new configuration does not have: close it. */
#define CONTROL_UNLISTEN_FIELDS(F, M) F(M, U32, id, 0)
IPC_MESSAGE(control_unlisten, 8, false, CONTROL_UNLISTEN_FIELDS);

/* Answer to MARK_SEGMENT. */
#define CONTROL_SEGMENT_MARKED_FIELDS(F, M)                                                                  \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U8, append_only, 1)                                                                                 \
    F(M, U8, done, 1) /* 0: the file system or the lack of rights does not allow it */
IPC_MESSAGE(control_segment_marked, 9, false, CONTROL_SEGMENT_MARKED_FIELDS);

/* `veredus dev --user`: make this account with this password; to store only. */
#define CONTROL_DEV_USER_FIELDS(F, M)                                                                        \
    F(M, STR, address, 512)                                                                                  \
    F(M, STR, password, 1024)
IPC_MESSAGE(control_dev_user, 13, false, CONTROL_DEV_USER_FIELDS);

/* A listening Unix socket for the commands; to store only. */
#define CONTROL_ADMIN_FIELDS(F, M) F(M, U32, owner_uid, 0)
IPC_MESSAGE(control_admin, 10, true, CONTROL_ADMIN_FIELDS);

/* What other roles look like, for `veredus status`; to store only, when it changes. */
#define CONTROL_ROLE_STATE_FIELDS(F, M)                                                                      \
    F(M, U8, kind, ROLE_KINDS - 1)                                                                           \
    F(M, U32, instance, 0)                                                                                   \
    F(M, U32, pid, 0)                                                                                        \
    F(M, U32, restarts, 0)                                                                                   \
    F(M, U32, generation, 0)                                                                                 \
    F(M, U8, state, 3)
IPC_MESSAGE(control_role_state, 11, false, CONTROL_ROLE_STATE_FIELDS);
enum role_state { ROLE_STARTING, ROLE_RUNNING, ROLE_DRAINING, ROLE_GONE };

/* role -> supervisor */
#define CONTROL_READY_FIELDS(F, M) F(M, U32, generation, 0)
IPC_MESSAGE(control_ready, 1, false, CONTROL_READY_FIELDS);

#define CONTROL_DRAINED_FIELDS(F, M) F(M, U32, sessions_cut, 0)
IPC_MESSAGE(control_drained, 2, false, CONTROL_DRAINED_FIELDS);

/* From store: set or clear the append-only flag of this segment (needs root). */
#define CONTROL_MARK_SEGMENT_FIELDS(F, M)                                                                    \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U8, append_only, 1)
IPC_MESSAGE(control_mark_segment, 3, true, CONTROL_MARK_SEGMENT_FIELDS);

/* One forbidden act that the role tried on itself. */
#define CONTROL_FENCE_FIELDS(F, M)                                                                           \
    F(M, U8, refused, 1)                                                                                     \
    F(M, U8, expected_refused, 1)                                                                            \
    F(M, STR, act, 128)                                                                                      \
    F(M, STR, answer, 128)
IPC_MESSAGE(control_fence, 4, false, CONTROL_FENCE_FIELDS);

/* From store: the account of DEV_USER is there. */
#define CONTROL_DEV_USER_MADE_FIELDS(F, M) F(M, U8, made, 1)
IPC_MESSAGE(control_dev_user_made, 6, false, CONTROL_DEV_USER_MADE_FIELDS);

/* From store, for a command over the admin socket: reload or stop. The answer comes as RELOADED. */
#define CONTROL_ASK_FIELDS(F, M) F(M, U8, what, 2)
IPC_MESSAGE(control_ask, 5, false, CONTROL_ASK_FIELDS);
enum control_ask_what { ASK_RELOAD, ASK_STOP, ASK_STATES };

/* supervisor -> store: how a reload went; `errors` is empty if it did. */
#define CONTROL_RELOADED_FIELDS(F, M)                                                                        \
    F(M, U32, generation, 0)                                                                                 \
    F(M, STR, errors, 32768)
IPC_MESSAGE(control_reloaded, 12, false, CONTROL_RELOADED_FIELDS);

static const struct ipc_type *const control_to_role_types[] = {
    &control_setup_type,          &control_config_type, &control_secret_type,     &control_listener_type,
    &control_peer_type,           &control_begin_type,  &control_drain_type,      &control_unlisten_type,
    &control_segment_marked_type, &control_admin_type,  &control_role_state_type, &control_reloaded_type,
    &control_dev_user_type};
static const struct ipc_receives control_to_role __attribute__((unused)) = {
    "supervisor to role", CONTROL_VERSION, sizeof(control_to_role_types) / sizeof(control_to_role_types[0]),
    control_to_role_types};

static const struct ipc_type *const control_to_supervisor_types[] = {
    &control_ready_type, &control_drained_type, &control_mark_segment_type,
    &control_fence_type, &control_ask_type,     &control_dev_user_made_type};
static const struct ipc_receives control_to_supervisor
    __attribute__((unused)) = {"role to supervisor", CONTROL_VERSION,
                               sizeof(control_to_supervisor_types) / sizeof(control_to_supervisor_types[0]),
                               control_to_supervisor_types};

#endif
