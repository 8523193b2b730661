/* What the files of the supervisor share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_SUPERVISOR_PRIVATE_H
#define VEREDUS_ROLES_SUPERVISOR_PRIVATE_H

#include "base/buf.h"
#include "base/loop.h"
#include "config/config.h"
#include "ipc/channel.h"
#include "ipc/peer.h"
#include "ipc/proto_control.h"
#include "roles/supervisor.h"

#include <sys/types.h>

enum { CHILDREN_MAX = 64, LISTENERS_MAX = 128, PATH_MAX_BYTES = 4096 };

/*
 * A supervisor that was killed may have left a child that it was just starting: lock and ports are free when that has gone.
 * At the start they are tried for so long.
 */
enum { SUPERVISOR_TRIES = 40, SUPERVISOR_PAUSE_US = 25000 };

struct supervisor;

/* One process of one role. A slot keeps its place over restarts; the instance number changes. */
struct child {
    struct supervisor *supervisor;
    enum role_kind kind;
    uint32_t instance;
    pid_t pid;               /* 0: not running */
    struct channel *control; /* NULL: not running, or it has hung up */
    enum role_state state;
    bool retired; /* the configuration wants fewer: do not start again */
    uint32_t restarts;
    uint32_t failed_starts; /* in a row: it ended before it was ready */
    uint64_t started_at;    /* monotonic ms */
    uint64_t backoff_ms;
    struct loop_timer restart_timer;
};

/* A bound socket. It stays here over restarts of roles, so that no connection is refused meanwhile. */
struct bound_listener {
    uint32_t id;
    int fd;
    enum role_kind role;
    char name[128]; /* of the listener section */
    char address[64];
    unsigned port;
    bool wanted; /* by the configuration being put into force */
    bool is_new;
};

struct supervisor {
    const struct supervisor_options *options;
    struct loop *loop;
    struct config *config;
    struct buf config_text;
    char config_file[PATH_MAX_BYTES];
    uint32_t generation;
    bool gives_users; /* each role has a user id of its own */
    bool stopping;
    int stop_stage;
    bool announced; /* "ready" has been printed */
    bool temporary; /* dev_dir is removed at the end */
    int exit_code;
    char boot_id[33];
    uint32_t next_instance;
    uint32_t next_listener;
    struct child children[CHILDREN_MAX];
    size_t child_count;
    struct bound_listener listeners[LISTENERS_MAX];
    size_t listener_count;
    int admin_fd;
    int lock_fd;
    int signal_fd;
    char store_dir[PATH_MAX_BYTES];
    char keys_dir[PATH_MAX_BYTES];
    char run_dir[PATH_MAX_BYTES];
    char dev_dir[PATH_MAX_BYTES];
    unsigned char ticket_keys[ROLE_KINDS][80];
    struct loop_watch signal_watch;
    struct loop_timer stop_timer;
    size_t dev_users_made;
    size_t fence_failures;
    size_t fence_acts;
};

/* supervisor_children.c */

/* The uid of a role's processes when started by root; 0 when they stay what the supervisor is. */
uint32_t supervisor_uid(const struct supervisor *s, enum role_kind kind);
uint32_t supervisor_gid(const struct supervisor *s, enum role_kind kind);
/* Makes the slots that the configuration asks for and starts those that do not run. */
void supervisor_start_children(struct supervisor *s);
/* Gives a running child the current configuration (and what came or went with it). */
void supervisor_configure_children(struct supervisor *s);
/* Tells the children of this kind, or all with ROLE_KINDS, to finish within grace_ms. */
void supervisor_drain(struct supervisor *s, enum role_kind kind, uint32_t grace_ms);
/* A child process has ended (from waitpid). */
void supervisor_child_ended(struct supervisor *s, pid_t pid, int status);
bool supervisor_any_running(const struct supervisor *s);
/* Ends its process at once. */
void supervisor_kill(const struct child *child);
struct child *supervisor_store(struct supervisor *s);
void supervisor_tell_states(struct supervisor *s);

/* supervisor_listeners.c */

/* Binds what the configuration names and is not bound yet. On failure all new ones are closed again. */
bool supervisor_bind(struct supervisor *s, const struct config *config, struct buf *errors);
/* Closes those that the configuration no longer names, telling the roles. */
void supervisor_unbind_unwanted(struct supervisor *s);
bool supervisor_bind_admin(struct supervisor *s, struct buf *errors);

/* supervisor_secrets.c */

/* Makes data_dir and its parts with their owners and modes, takes the lock, makes pepper and grant key if missing. */
bool supervisor_prepare_data(struct supervisor *s, struct buf *errors);
/* Opens the secrets and certificates that this role is to have and sends them. False: one could not be opened. */
bool supervisor_send_secrets(struct supervisor *s, struct child *child, struct buf *errors);
/* Checks that every certificate and key file can be opened and that keys are not readable by others. */
bool supervisor_check_secrets(struct supervisor *s, const struct config *config, struct buf *errors);
/* The CA and certificate of `veredus dev`, made once for its directory. */
bool supervisor_dev_certificates(struct supervisor *s, struct buf *errors);

/* supervisor_dev.c: what `veredus dev` and `veredus fence` have instead of a configuration file. */

/* Makes or takes dev_dir and writes the configuration into config_text. */
bool supervisor_dev_prepare(struct supervisor *s, struct buf *errors);
/* Prints a line a listener, where they are and how to use them, and `ready`. */
void supervisor_announce(const struct supervisor *s);
/* Removes dev_dir if it was made for this run alone. */
void supervisor_dev_clean(struct supervisor *s);

/* supervisor.c */

void supervisor_child_ready(struct supervisor *s, struct child *child);
/* Reads the configuration file again and puts it into force. False: `errors` says why, and the old one stays. */
bool supervisor_reload(struct supervisor *s, struct buf *errors);
void supervisor_stop(struct supervisor *s);

#endif
