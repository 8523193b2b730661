/*
 * The runtime of a role: reads what the supervisor sends, opens channels to other roles, enters the sandbox
 * and runs the loop. Started by the supervisor as `veredus role NAME` with the control channel as descriptor 3.
 * It must never open anything after the sandbox; whatever a role needs comes over the control channel.
 */
#include "roles/role.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "roles/fence.h"
#include "roles/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

enum { CONTROL_FD = 3, CONFIG_TEXT_MAX = 4 << 20 };

static const struct role_module *const modules[] = {&role_smtpd_mx, &role_smtpd_msa, &role_imapd,
                                                    &role_store,    &role_reader,    &role_relay,
                                                    &role_resolver, &role_keys,      &role_indexer};

struct role_peer *role_peer_of(struct role *role, enum role_kind kind)
{
    for (struct role_peer *peer = role->peers; peer != NULL; peer = peer->next) {
        if (peer->kind == kind) {
            return peer;
        }
    }
    return NULL;
}

struct role_peer *role_peer_find(struct role *role, enum role_kind kind, uint32_t instance)
{
    for (struct role_peer *peer = role->peers; peer != NULL; peer = peer->next) {
        if (peer->kind == kind && peer->instance == instance) {
            return peer;
        }
    }
    return NULL;
}

bool role_send(struct role_peer *peer, const struct ipc_type *type, const void *message)
{
    return peer != NULL && channel_send(peer->channel, type, message);
}

bool role_read_fd(int fd, size_t limit, struct buf *out)
{
    bool fine = true;
    size_t at = 0;
    for (;;) {
        char chunk[4096];
        ssize_t n = pread(fd, chunk, sizeof(chunk), (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            fine = n == 0;
            break;
        }
        at += (size_t)n;
        if (at > limit || !buf_append(out, chunk, (size_t)n)) {
            fine = false;
            break;
        }
    }
    close(fd);
    return fine;
}

uint64_t role_boot(const struct role *role)
{
    uint64_t boot = 0;
    memcpy(&boot, role->boot_id, sizeof(boot));
    return boot;
}

bool role_become_user(const struct role *role)
{
    /* The real one too: SQLite asks with access() what it may do. */
    return role->uid == 0 || (setresgid(role->gid, role->gid, (gid_t)-1) == 0 &&
                              setresuid(role->uid, role->uid, (uid_t)-1) == 0);
}

bool role_become_starter(const struct role *role)
{
    uid_t now;
    uid_t uid;
    gid_t gid;
    return role->uid == 0 || (getresuid(&now, &now, &uid) == 0 && setresuid(uid, uid, uid) == 0 &&
                              getresgid(&now, &now, &gid) == 0 && setresgid(gid, gid, gid) == 0);
}

bool role_enter_data_dir(const struct role *role)
{
    return policy_enter_directory(role->uid, role->gid, role->data_dir);
}

void role_drained(struct role *role, uint32_t cut)
{
    struct control_drained drained = {.sessions_cut = cut};
    channel_send(role->control, &control_drained_type, &drained);
    channel_flush(role->control);
    loop_stop(role->loop);
}

/* Channels to other roles. */

static const struct ipc_receives *receives_from(const struct role_module *module, enum role_kind kind)
{
    for (size_t i = 0; i < module->protocol_count; i++) {
        if (module->protocols[i].peer == kind) {
            return module->protocols[i].receives;
        }
    }
    return NULL;
}

static void peer_message(void *context, struct channel *channel, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)channel;
    struct role_peer *peer = context;
    const struct role_module *module = peer->role->module;
    if (module->peer_message != NULL) {
        module->peer_message(peer->role, peer, type, message, fd);
    } else if (fd >= 0) {
        close(fd);
    }
}

static void peer_closed(void *context, struct channel *channel, const char *reason)
{
    (void)channel;
    struct role_peer *peer = context;
    struct role *role = peer->role;
    log_debug("channel to %s[%u] closed: %s", role_kind_name(peer->kind), peer->instance, reason);
    struct role_peer **link = &role->peers;
    while (*link != peer) {
        link = &(*link)->next;
    }
    *link = peer->next;
    if (role->module->peer_down != NULL) {
        role->module->peer_down(role, peer);
    }
    mem_free(peer);
}

static void peer_writable(void *context, struct channel *channel)
{
    (void)channel;
    struct role_peer *peer = context;
    if (peer->role->module->peer_writable != NULL) {
        peer->role->module->peer_writable(peer->role, peer);
    }
}

static const struct channel_handler peer_handler = {
    .message = peer_message, .closed = peer_closed, .writable = peer_writable};

static void add_peer(struct role *role, const struct control_peer *message, int fd)
{
    enum role_kind kind = message->kind;
    if (message->purpose == PEER_SIGNING) {
        if (role->module->signing != NULL) {
            role->module->signing(role, kind, message->instance, fd);
        } else {
            close(fd);
        }
        return;
    }
    const struct ipc_receives *receives = receives_from(role->module, kind);
    struct role_peer *peer = receives == NULL ? NULL : mem_new(struct role_peer);
    if (peer == NULL) {
        close(fd);
        log_error("cannot open the channel to %s[%u]", role_kind_name(kind), message->instance);
        return;
    }
    *peer = (struct role_peer){.role = role, .kind = kind, .instance = message->instance};
    peer->channel = channel_open(role->loop, fd, receives, &peer_handler, peer, role_kind_name(kind));
    if (peer->channel == NULL) {
        mem_free(peer);
        log_error("cannot open the channel to %s[%u]: out of memory", role_kind_name(kind),
                  message->instance);
        return;
    }
    /* At the end of the list: role_peer_of keeps giving the same peer as long as it lives. */
    struct role_peer **link = &role->peers;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = peer;
    if (role->module->peer_up != NULL) {
        role->module->peer_up(role, peer);
    }
}

/*
 * Channels that come before BEGIN wait, unread: a role that is not ready for what its peers say would have to drop it, and
 * some of it is said only once.
 */
struct waiting_peer {
    struct waiting_peer *next;
    struct control_peer message;
    int fd;
};

static void keep_peer(struct role *role, const struct control_peer *message, int fd)
{
    struct waiting_peer *waiting = mem_new(struct waiting_peer);
    if (waiting == NULL) {
        close(fd);
        log_error("cannot open the channel to %s[%u]: out of memory", role_kind_name(message->kind),
                  message->instance);
        return;
    }
    *waiting = (struct waiting_peer){.message = *message, .fd = fd};
    struct waiting_peer **link = &role->waiting;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = waiting;
}

static void add_waiting_peers(struct role *role)
{
    while (role->waiting != NULL) {
        struct waiting_peer *waiting = role->waiting;
        role->waiting = waiting->next;
        add_peer(role, &waiting->message, waiting->fd);
        mem_free(waiting);
    }
}

/*
 * There is one store at a time. When the next one is announced before the end of the last one has been seen, that end comes
 * first, with all that was said before it: what is said to "the store" must not go to the dead one. In a task, because the
 * message of the supervisor lies in the area that reading the other channel needs.
 */
static bool has_predecessor(struct role *role, enum role_kind kind)
{
    return kind == ROLE_STORE && role_peer_of(role, kind) != NULL;
}

static void add_successors(void *context)
{
    struct role *role = context;
    for (struct role_peer *old = role_peer_of(role, ROLE_STORE); old != NULL;
         old = role_peer_of(role, ROLE_STORE)) {
        uint32_t instance = old->instance;
        channel_drain(old->channel);
        if (role_peer_find(role, ROLE_STORE, instance) == old) {
            channel_close(old->channel);
            peer_closed(old, NULL, "its successor has come");
        }
    }
    add_waiting_peers(role);
}

/* What the supervisor sends. */

static int set_up(struct role *role, const struct control_setup *setup)
{
    role->instance = setup->instance;
    role->dev = setup->dev != 0;
    role->uid = setup->uid;
    role->gid = setup->gid;
    role->sandboxed = setup->sandbox != 0;
    role->fence = setup->fence != 0;
    memcpy(role->boot_id, setup->boot_id.data, setup->boot_id.len);
    role->data_dir = mem_zalloc(1, setup->data_dir.len + 1);
    if (role->data_dir == NULL) {
        return -1;
    }
    memcpy(role->data_dir, setup->data_dir.data, setup->data_dir.len);
    return 0;
}

static bool take_config(struct role *role, const struct control_config *message, int fd)
{
    struct buf text = buf_make(CONFIG_TEXT_MAX);
    struct buf errors = buf_make(65536);
    struct config *config = NULL;
    char file_name[512] = "";
    memcpy(file_name, message->file_name.data,
           message->file_name.len < sizeof(file_name) ? message->file_name.len : sizeof(file_name) - 1);
    bool fine = role_read_fd(fd, CONFIG_TEXT_MAX, &text) &&
                config_parse(buf_str(&text), file_name, &config, &errors) && config != NULL;
    if (fine) {
        struct config *old = role->config;
        role->config = config;
        role->generation = message->generation;
        log_setup(role_kind_name(role->kind), role->instance, (enum log_level)config->log_level,
                  config->log_json);
        if (old != NULL) {
            config_unref(old);
        }
    } else {
        log_error("the configuration that the supervisor sent cannot be read here: %.*s",
                  STR_ARGS(buf_str(&errors)));
    }
    buf_free(&text);
    buf_free(&errors);
    return fine;
}

/* From the rights of the start to the sandbox. Ends the process if that does not work: a role outside is none. */
static bool enter_sandbox(struct role *role)
{
    return policy_enter(role->kind, role->uid, role->gid, role->data_dir, role->sandboxed) == 0;
}

static void report_fence(void *context, const struct fence_result *result)
{
    struct role *role = context;
    struct control_fence message = {.refused = result->refused,
                                    .expected_refused = result->expected_refused,
                                    .act = str_of(result->act),
                                    .answer = str_of(result->answer)};
    channel_send(role->control, &control_fence_type, &message);
    channel_flush(role->control);
}

static void begin(struct role *role)
{
    if (role->config == NULL || role->begun) {
        loop_stop(role->loop);
        return;
    }
    if (role->module->prepare(role) != 0) {
        loop_stop(role->loop);
        return;
    }
    if (!enter_sandbox(role)) {
        loop_stop(role->loop);
        return;
    }
    if (role->fence) {
        fence_run(role->kind, role->data_dir, report_fence, role);
        role_drained(role, 0);
        return;
    }
    add_waiting_peers(role);
    if (role->module->start(role) != 0) {
        loop_stop(role->loop);
        return;
    }
    role->begun = true;
    struct control_ready ready = {.generation = role->generation};
    channel_send(role->control, &control_ready_type, &ready);
}

static void grace_over(void *context)
{
    struct role *role = context;
    log_warning("the time to finish is over: ending what is left");
    role_drained(role, 1);
}

static void drain(struct role *role, uint32_t grace_ms)
{
    if (role->draining) {
        return;
    }
    role->draining = true;
    if (role->module->drain == NULL || !role->begun) {
        role_drained(role, 0);
        return;
    }
    loop_timer_start(role->loop, &role->grace, grace_ms, false, grace_over, role);
    role->module->drain(role);
}

/* The messages that the runtime handles itself; false: it is the role's. */
static bool handle_control(struct role *role, const struct ipc_type *type, const void *message, int fd)
{
    const struct role_module *module = role->module;
    if (type == &control_setup_type) {
        if (set_up(role, message) != 0) {
            loop_stop(role->loop);
        }
    } else if (type == &control_config_type) {
        if (take_config(role, message, fd) && role->begun && module->configured != NULL) {
            module->configured(role);
        }
    } else if (type == &control_peer_type && !role->begun) {
        keep_peer(role, message, fd);
    } else if (type == &control_peer_type &&
               has_predecessor(role, ((const struct control_peer *)message)->kind)) {
        keep_peer(role, message, fd);
        loop_defer(role->loop, &role->successor, add_successors, role);
    } else if (type == &control_peer_type) {
        add_peer(role, message, fd);
    } else if (type == &control_begin_type) {
        begin(role);
    } else if (type == &control_drain_type) {
        drain(role, ((const struct control_drain *)message)->grace_ms);
    } else if (type == &control_secret_type && module->secret != NULL) {
        const struct control_secret *secret = message;
        module->secret(role, secret->kind, secret->name, fd);
    } else if (type == &control_listener_type && module->listener != NULL) {
        const struct control_listener *listener = message;
        module->listener(role, listener->id, listener->name, fd);
    } else if (type == &control_unlisten_type && module->unlisten != NULL) {
        module->unlisten(role, ((const struct control_unlisten *)message)->id);
    } else {
        return false;
    }
    return true;
}

static void control_message(void *context, struct channel *channel, const struct ipc_type *type,
                            const void *message, int fd)
{
    (void)channel;
    struct role *role = context;
    if (handle_control(role, type, message, fd)) {
        return;
    }
    if (role->module->control != NULL) {
        role->module->control(role, type, message, fd);
    } else if (fd >= 0) {
        close(fd);
    }
}

static void control_closed(void *context, struct channel *channel, const char *reason)
{
    (void)channel;
    struct role *role = context;
    /* Without its supervisor nobody would restart or reload this role: it ends, and a new supervisor starts anew. */
    log_warning("the supervisor is gone (%s): ending", reason);
    role->control = NULL;
    loop_stop(role->loop);
}

static const struct channel_handler control_handler = {.message = control_message, .closed = control_closed};

static const struct role_module *module_named(const char *name)
{
    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
        if (strcmp(role_kind_name(modules[i]->kind), name) == 0) {
            return modules[i];
        }
    }
    return NULL;
}

/* The supervisor ends roles by message; a terminal's Ctrl-C reaches all of them and must not cut sessions. */
static void leave_signals_to_the_supervisor(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int role_main(int argc, char **argv)
{
    const struct role_module *module = argc == 1 ? module_named(argv[0]) : NULL;
    if (module == NULL || fcntl(CONTROL_FD, F_GETFD) < 0) {
        log_error("`veredus role` is for the supervisor alone; start the server with `veredus serve` or "
                  "`veredus dev`");
        log_flush();
        return EX_USAGE;
    }
    log_setup(role_kind_name(module->kind), 0, LOG_LEVEL_INFO, false);
    leave_signals_to_the_supervisor();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);

    struct role role = {.module = module, .kind = module->kind};
    role.loop = loop_new();
    if (role.loop == NULL) {
        log_error("cannot make an event loop: out of memory or descriptors");
        return EX_OSERR;
    }
    role.control =
        channel_open(role.loop, CONTROL_FD, &control_to_role, &control_handler, &role, "supervisor");
    if (role.control == NULL) {
        log_error("cannot open the channel to the supervisor: out of memory");
        return EX_OSERR;
    }
    loop_run(role.loop);
    if (module->ended != NULL) {
        module->ended(&role);
    }
    log_flush();
    return role.draining ? EX_OK : role.exit_code != 0 ? role.exit_code : EX_TEMPFAIL;
}
