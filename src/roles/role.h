/*
 * What all roles but the supervisor have in common: a loop, the control channel, the configuration,
 * channels to other roles, the way into the sandbox, and a decent end.
 *
 * A role is a struct role_module: a set of callbacks, all called from the loop, never re-entered. Life:
 *
 *   secret(), listener() may come before prepare() is called (keep what they bring)
 *   prepare()    still with the rights of the start: open files, load what is loaded lazily
 *   (uid dropped, Landlock, seccomp)
 *   peer_up()    of those that are there already; nothing of what they say is read before start()
 *   start()      inside the sandbox: threads, timers; then READY goes to the supervisor
 *   ...          peer_up/peer_message/peer_down, listener, secret, configured, control
 *   drain()      finish what is under way; call role_drained when nothing is left (the runtime calls it
 *                when the grace time is over)
 *   ended()      the loop has ended, and with it whatever was deferred: close what is open; the process then exits
 */
#ifndef VEREDUS_ROLES_ROLE_H
#define VEREDUS_ROLES_ROLE_H

#include "base/loop.h"
#include "base/str.h"
#include "ipc/channel.h"
#include "ipc/peer.h"
#include "ipc/proto_control.h"

struct config;
struct role;
struct waiting_peer;

/* A channel to one instance of another role. Gone after peer_down returns. */
struct role_peer {
    struct role_peer *next;
    struct role *role;
    enum role_kind kind;
    uint32_t instance;
    struct channel *channel;
    void *data; /* the role's own */
};

/* What a role receives from one kind of peer. */
struct role_protocol {
    enum role_kind peer;
    const struct ipc_receives *receives;
};

struct fronts;

struct role_module {
    enum role_kind kind;
    const struct role_protocol *protocols;
    size_t protocol_count;
    /* Of a role with listeners (front.h): NULL without memory. What follows may come before prepare. */
    struct fronts *(*fronts)(struct role *role);
    /*
     * 0, or -1 after logging why. The supervisor then tries again later, unless role->exit_code says that this would be of no
     * use: EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_CANTCREAT or EX_CONFIG.
     */
    int (*prepare)(struct role *role);
    int (*start)(struct role *role);
    /* Those below may be NULL. Each takes over `fd`. */
    void (*peer_up)(struct role *role, struct role_peer *peer);
    void (*peer_message)(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd);
    void (*peer_down)(struct role *role, struct role_peer *peer);
    void (*peer_writable)(struct role *role, struct role_peer *peer);
    /* One end of the blocking socket for signatures (proto_sign.h): at keys and at those that speak TLS. */
    void (*signing)(struct role *role, enum role_kind kind, uint32_t instance, int fd);
    void (*listener)(struct role *role, uint32_t id, struct str name, int fd);
    void (*unlisten)(struct role *role, uint32_t id);
    void (*secret)(struct role *role, enum secret_kind kind, struct str name, int fd);
    /* role->config is a new generation; sessions keep the one they began with (config_ref). */
    void (*configured)(struct role *role);
    /* Any other message of the supervisor. */
    void (*control)(struct role *role, const struct ipc_type *type, const void *message, int fd);
    void (*drain)(struct role *role);
    void (*ended)(struct role *role);
};

struct role {
    const struct role_module *module;
    struct loop *loop;
    enum role_kind kind;
    uint32_t instance;
    bool dev;
    bool draining;
    struct config *config; /* the newest; never NULL after the first CONFIG */
    uint32_t generation;
    char *data_dir;
    char boot_id[33];
    struct channel *control;
    struct role_peer *peers;
    void *data;    /* the role's own */
    int exit_code; /* of sysexits.h, set before prepare or start fail; 0: EX_TEMPFAIL */
    /* private to role.c */
    struct waiting_peer *waiting;
    struct loop_task successor;
    struct loop_timer grace;
    uint32_t uid;
    uint32_t gid;
    bool sandboxed;
    bool fence;
    bool begun;
};

/* Any live peer of this kind, the same one as long as it lives; NULL if there is none. */
struct role_peer *role_peer_of(struct role *role, enum role_kind kind);
/* The peer of this kind and instance, or NULL. */
struct role_peer *role_peer_find(struct role *role, enum role_kind kind, uint32_t instance);
/* channel_send to the peer; false also if `peer` is NULL. */
bool role_send(struct role_peer *peer, const struct ipc_type *type, const void *message);
/* The supervisor's run as a number, for grants and segments. */
uint64_t role_boot(const struct role *role);
/*
 * In prepare, while still root: act as the role's own user for as long as files are opened that it must be able to use
 * later, and back. False if the user cannot be changed. Does nothing where the server was not started by root.
 */
bool role_become_user(const struct role *role);
bool role_become_starter(const struct role *role);
/*
 * Makes the store's directory the working directory. It may lie below one that only the starter can pass through, and be one
 * that only the store's user can enter. False with errno.
 */
bool role_enter_data_dir(const struct role *role);
/* Nothing is left to finish: tells the supervisor and ends the loop. `cut`: sessions that were ended by force. */
void role_drained(struct role *role, uint32_t cut);
/* Reads all of a descriptor (file or memfd) of at most `limit` bytes and closes it. False on error or over the limit. */
bool role_read_fd(int fd, size_t limit, struct buf *out);

/* `veredus role NAME`, with the control channel as descriptor 3. Returns the exit code. */
int role_main(int argc, char **argv);

/* The modules, one a file. */
extern const struct role_module role_smtpd_mx;
extern const struct role_module role_smtpd_msa;
extern const struct role_module role_imapd;
extern const struct role_module role_store;
extern const struct role_module role_reader;
extern const struct role_module role_relay;
extern const struct role_module role_resolver;
extern const struct role_module role_keys;
extern const struct role_module role_indexer;

#endif
