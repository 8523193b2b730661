/*
 * The supervisor's children: starting a role's process, connecting it to the others, restarting it with growing
 * pauses when it dies. Called by supervisor.c only.
 */
#include "roles/supervisor_private.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/random.h"
#include "roles/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <linux/fs.h>

/*
 * The last pause is short: who can make a role die again and again shall not thereby keep the others' mail out, and a start
 * every other second costs nothing. A role that does not even get ready is a matter of this machine, not of its clients: its
 * pauses grow further.
 */
enum {
    BACKOFF_FIRST_MS = 50,
    BACKOFF_LAST_MS = 2000,
    BACKOFF_UNREADY_MS = 10000,
    STABLE_AFTER_MS = 5000,
    CONTROL_FD = 3
};

/*
 * So many starts in a row may fail before the server gives up: where the cause will not go by itself, and where it may, but the
 * server has never been ready. A server that was ready goes on trying as long as the cause may go (a full disk).
 */
enum { TRIES_FIRST_LASTING = 1, TRIES_LASTING = 5, TRIES_FIRST = 8 };

/* Which roles talk to each other, and which of them also need the blocking socket for signatures. */
static const struct wire {
    enum role_kind from;
    enum role_kind to;
    bool signing;
} wires[] = {
    {ROLE_SMTPD_MX, ROLE_STORE, false},  {ROLE_SMTPD_MX, ROLE_READER, false},
    {ROLE_SMTPD_MX, ROLE_KEYS, true},    {ROLE_SMTPD_MX, ROLE_RESOLVER, false},
    {ROLE_SMTPD_MSA, ROLE_STORE, false}, {ROLE_SMTPD_MSA, ROLE_READER, false},
    {ROLE_SMTPD_MSA, ROLE_KEYS, true},   {ROLE_IMAPD, ROLE_STORE, false},
    {ROLE_IMAPD, ROLE_READER, false},    {ROLE_IMAPD, ROLE_KEYS, true},
    {ROLE_KEYS, ROLE_STORE, false},      {ROLE_RELAY, ROLE_STORE, false},
    {ROLE_RELAY, ROLE_READER, false},    {ROLE_RELAY, ROLE_RESOLVER, false},
    {ROLE_RELAY, ROLE_KEYS, false},      {ROLE_INDEXER, ROLE_STORE, false},
};

static void start_child(struct child *child);

uint32_t supervisor_uid(const struct supervisor *s, enum role_kind kind)
{
    return s->gives_users ? s->config->uid_base + (uint32_t)kind : 0;
}

uint32_t supervisor_gid(const struct supervisor *s, enum role_kind kind)
{
    /* The reader reads the store's files as a member of its group and can write none of them. */
    return supervisor_uid(s, kind == ROLE_READER ? ROLE_STORE : kind);
}

struct child *supervisor_store(struct supervisor *s)
{
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].kind == ROLE_STORE) {
            return &s->children[i];
        }
    }
    return NULL;
}

static bool is_running(const struct child *child)
{
    return child->pid != 0 && child->control != NULL;
}

bool supervisor_any_running(const struct supervisor *s)
{
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].pid != 0) {
            return true;
        }
    }
    return false;
}

/* Connections between children. */

static void send_peer(struct child *to, const struct child *other, enum peer_purpose purpose, int fd)
{
    struct control_peer message = {
        .kind = (uint8_t)other->kind, .instance = other->instance, .purpose = (uint8_t)purpose};
    channel_send_fd(to->control, &control_peer_type, &message, fd);
}

static void connect_pair(struct child *a, struct child *b, enum peer_purpose purpose)
{
    int fds[2];
    if (channel_pair(fds) != 0) {
        log_error("cannot connect %s to %s: %s; raise the limit on open files", role_kind_name(a->kind),
                  role_kind_name(b->kind), strerror(errno));
        return;
    }
    send_peer(a, b, purpose, fds[0]);
    send_peer(b, a, purpose, fds[1]);
}

static void connect_child(struct child *child)
{
    struct supervisor *s = child->supervisor;
    for (size_t w = 0; w < sizeof(wires) / sizeof(wires[0]); w++) {
        if (wires[w].from != child->kind && wires[w].to != child->kind) {
            continue;
        }
        enum role_kind other_kind = wires[w].from == child->kind ? wires[w].to : wires[w].from;
        for (size_t i = 0; i < s->child_count; i++) {
            struct child *other = &s->children[i];
            if (other->kind != other_kind || other == child || !is_running(other)) {
                continue;
            }
            connect_pair(child, other, PEER_MESSAGES);
            if (wires[w].signing) {
                connect_pair(child, other, PEER_SIGNING);
            }
        }
    }
}

/* What a child is given. */

static int config_memfd(const struct supervisor *s)
{
    int fd = memfd_create("configuration", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -1;
    }
    if (!io_write_all(fd, buf_str(&s->config_text))) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return fd;
}

static void send_listeners(struct supervisor *s, struct child *child, bool first)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct bound_listener *listener = &s->listeners[i];
        if (listener->role != child->kind || !(first || listener->is_new)) {
            continue;
        }
        int copy = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            log_error("cannot pass on listener %s: %s", listener->name, strerror(errno));
            continue;
        }
        struct control_listener message = {.id = listener->id, .name = str_of(listener->name)};
        channel_send_fd(child->control, &control_listener_type, &message, copy);
    }
}

static void send_config(struct supervisor *s, struct child *child)
{
    int fd = config_memfd(s);
    if (fd < 0) {
        log_error("cannot pass on the configuration: %s", strerror(errno));
        return;
    }
    struct control_config message = {.generation = s->generation, .file_name = str_of(s->config_file)};
    channel_send_fd(child->control, &control_config_type, &message, fd);
}

static void configure_child(struct supervisor *s, struct child *child, bool first)
{
    if (!is_running(child)) {
        return;
    }
    struct buf errors = buf_make(8192);
    /* At a change CONFIG comes last and puts the rest into force; at the start a role needs it first of all. */
    if (first) {
        send_config(s, child);
    }
    if (!supervisor_send_secrets(s, child, &errors)) {
        log_error("%.*s", STR_ARGS(buf_str(&errors)));
    }
    send_listeners(s, child, first);
    if (!first) {
        send_config(s, child);
    }
    buf_free(&errors);
}

void supervisor_configure_children(struct supervisor *s)
{
    for (size_t i = 0; i < s->child_count; i++) {
        struct child *child = &s->children[i];
        if (child->kind == ROLE_KEYS && is_running(child)) {
            configure_child(s, child, false);
            channel_push(child->control);
        }
    }
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].kind != ROLE_KEYS) {
            configure_child(s, &s->children[i], false);
        }
    }
}

static void send_admin(struct supervisor *s, struct child *child)
{
    int copy = s->admin_fd < 0 ? -1 : fcntl(s->admin_fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) {
        struct control_admin message = {.owner_uid = (uint32_t)geteuid()};
        channel_send_fd(child->control, &control_admin_type, &message, copy);
    }
}

static void introduce(struct child *child)
{
    struct supervisor *s = child->supervisor;
    bool has_files = child->kind == ROLE_STORE || child->kind == ROLE_READER;
    struct control_setup setup = {.kind = (uint8_t)child->kind,
                                  .instance = child->instance,
                                  .uid = supervisor_uid(s, child->kind),
                                  .gid = supervisor_gid(s, child->kind),
                                  .dev = s->options->dev,
                                  .sandbox = s->options->sandbox,
                                  .fence = s->options->fence,
                                  .boot_id = str_of(s->boot_id),
                                  .data_dir = str_of(has_files ? s->store_dir : "")};
    channel_send(child->control, &control_setup_type, &setup);
    configure_child(s, child, true);
    if (!s->options->fence) {
        connect_child(child);
        if (child->kind == ROLE_STORE) {
            send_admin(s, child);
        }
    }
    struct control_begin begin = {.generation = s->generation};
    channel_send(child->control, &control_begin_type, &begin);
}

static void take_back_user(const struct supervisor *s)
{
    if (s->gives_users && !policy_act_as_starter()) {
        log_error("the supervisor cannot take back its user id: %s", strerror(errno));
    }
}

/* Without CAP_KILL this process reaches its own user's alone: those that are another user's already, as that user. */
void supervisor_kill(const struct child *child)
{
    uint32_t uid = supervisor_uid(child->supervisor, child->kind);
    if (kill(child->pid, SIGKILL) != 0 && errno == EPERM && uid != 0 && policy_act_as(uid, uid)) {
        kill(child->pid, SIGKILL);
    }
    take_back_user(child->supervisor);
}

/* What a child says. */

static bool set_append_only(int fd, bool append_only)
{
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) {
        return false;
    }
    flags = append_only ? flags | FS_APPEND_FL : flags & ~FS_APPEND_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

static void mark_segment(struct child *child, const struct control_mark_segment *ask, int fd)
{
    struct control_segment_marked answer = {.segment = ask->segment, .append_only = ask->append_only};
    if (child->kind == ROLE_STORE) {
        uint32_t uid = supervisor_uid(child->supervisor, ROLE_STORE);
        answer.done = set_append_only(fd, ask->append_only);
        if (answer.done == 0 && errno == EPERM && uid != 0 && policy_act_as(uid, uid)) {
            answer.done =
                set_append_only(fd, ask->append_only); /* the file's owner needs no right over all files */
        }
        take_back_user(child->supervisor);
    }
    close(fd);
    channel_send(child->control, &control_segment_marked_type, &answer);
}

static void answer_ask(struct child *child, uint8_t what)
{
    struct supervisor *s = child->supervisor;
    if (child->kind != ROLE_STORE) {
        return;
    }
    if (what == ASK_STATES) {
        supervisor_tell_states(s);
        return;
    }
    if (what == ASK_STOP) {
        supervisor_stop(s);
        return;
    }
    struct buf errors = buf_make(32768);
    supervisor_reload(s, &errors);
    struct control_reloaded answer = {.generation = s->generation, .errors = buf_str(&errors)};
    if (child->control != NULL) {
        channel_send(child->control, &control_reloaded_type, &answer);
    }
    buf_free(&errors);
}

static void note_fence(struct supervisor *s, const struct child *child, const struct control_fence *result)
{
    bool as_expected = result->refused == result->expected_refused;
    s->fence_acts++;
    s->fence_failures += !as_expected;
    struct str act = result->act;
    struct str answer = result->answer;
    const char *what = result->refused ? "refused" : "allowed";
    if (s->options->json) {
        printf("{\"role\":\"%s\",\"act\":\"%.*s\",\"refused\":%s,\"as_expected\":%s,\"answer\":\"%.*s\"}\n",
               role_kind_name(child->kind), STR_ARGS(act), result->refused ? "true" : "false",
               as_expected ? "true" : "false", STR_ARGS(answer));
    } else {
        printf("%-10s %-9s %s  %.*s (%.*s)\n", role_kind_name(child->kind), what, as_expected ? "ok " : "BAD",
               STR_ARGS(act), STR_ARGS(answer));
    }
}

static void child_message(void *context, struct channel *channel, const struct ipc_type *type,
                          const void *message, int fd)
{
    (void)channel;
    struct child *child = context;
    struct supervisor *s = child->supervisor;
    if (type == &control_ready_type) {
        supervisor_child_ready(s, child);
    } else if (type == &control_mark_segment_type) {
        mark_segment(child, message, fd);
    } else if (type == &control_ask_type) {
        answer_ask(child, ((const struct control_ask *)message)->what);
    } else if (type == &control_fence_type && s->options->fence) {
        note_fence(s, child, message);
    } else if (type == &control_dev_user_made_type && child->kind == ROLE_STORE) {
        s->dev_users_made++;
        supervisor_child_ready(s, child);
    }
}

static void child_hung_up(void *context, struct channel *channel, const char *reason)
{
    (void)channel;
    struct child *child = context;
    child->control = NULL;
    log_debug("%s[%u] closed its control channel: %s", role_kind_name(child->kind), child->instance, reason);
    if (child->pid != 0 && child->state != ROLE_DRAINING) {
        /* A role without a control channel cannot be steered any more: it is started anew. */
        supervisor_kill(child);
    }
}

static const struct channel_handler child_handler = {.message = child_message, .closed = child_hung_up};

/* Starting and ending. */

static void exec_role(enum role_kind kind, int control_fd)
{
    if (control_fd != CONTROL_FD) {
        dup2(control_fd, CONTROL_FD);
    } else {
        fcntl(CONTROL_FD, F_SETFD, 0);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    char program[] = "veredus";
    char command[] = "role";
    char name[32] = "";
    const char *kind_name = role_kind_name(kind);
    memcpy(name, kind_name, strlen(kind_name));
    char *argv[] = {program, command, name, NULL};
    execv("/proc/self/exe", argv);
    _exit(EX_OSERR);
}

static bool fork_role(struct child *child, int *control_fd)
{
    int fds[2];
    if (channel_pair(fds) != 0) {
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        exec_role(child->kind, fds[1]);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return false;
    }
    child->pid = pid;
    *control_fd = fds[0];
    return true;
}

static void restart_due(void *context)
{
    struct child *child = context;
    if (child->pid == 0 && !child->supervisor->stopping && !child->retired) {
        start_child(child);
    }
}

static void plan_restart(struct child *child)
{
    struct supervisor *s = child->supervisor;
    uint64_t lived = clock_monotonic_ms() - child->started_at;
    if (child->backoff_ms == 0 || lived > STABLE_AFTER_MS) {
        child->backoff_ms = BACKOFF_FIRST_MS;
    } else {
        uint64_t last = child->failed_starts > 0 ? BACKOFF_UNREADY_MS : BACKOFF_LAST_MS;
        child->backoff_ms = child->backoff_ms * 2 < last ? child->backoff_ms * 2 : last;
    }
    child->restarts++;
    loop_timer_start(s->loop, &child->restart_timer, child->backoff_ms, false, restart_due, child);
}

static void start_child(struct child *child)
{
    struct supervisor *s = child->supervisor;
    int control_fd = -1;
    child->instance = ++s->next_instance;
    child->started_at = clock_monotonic_ms();
    child->state = ROLE_STARTING;
    if (!fork_role(child, &control_fd)) {
        log_error("cannot start %s: %s; trying again", role_kind_name(child->kind), strerror(errno));
        plan_restart(child);
        return;
    }
    child->control =
        channel_open(s->loop, control_fd, &control_to_supervisor, &child_handler, child, "child");
    if (child->control == NULL) {
        supervisor_kill(child);
        return;
    }
    introduce(child);
    supervisor_tell_states(s);
}

/* Ended by its own fault: nobody else sends these. */
static bool crashed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM;
}

/* What an exit code of a role that did not get ready means: what is wrong, what to do. Only causes that last. */
static const struct cause {
    int code;
    const char *what;
    const char *advice;
} causes[] = {
    {EX_DATAERR, "its data is damaged, incomplete or of another version",
     "run `veredus verify`, then `veredus reindex`, which makes the index anew from the log, and start the "
     "server again"},
    {EX_NOPERM, "it may not use its files",
     "give data_dir and all in it to the user that the line above speaks of, or mount its file system for "
     "writing, and start the "
     "server again"},
    {EX_NOINPUT, "a file or folder that it needs is missing",
     "restore it, or correct data_dir, and start the server again"},
    {EX_CANTCREAT, "it cannot make a file that it needs",
     "look at data_dir and its file system, and start the server again"},
    {EX_CONFIG, "its configuration is not right", "run `veredus config check` and start the server again"},
};

static const struct cause *lasting_cause(int status)
{
    for (size_t i = 0; WIFEXITED(status) && i < sizeof(causes) / sizeof(causes[0]); i++) {
        if (causes[i].code == WEXITSTATUS(status)) {
            return &causes[i];
        }
    }
    return NULL;
}

/* A role that ended before it was ready. True: there is no use in going on, and the server stops. */
static bool give_up(struct child *child, int status)
{
    struct supervisor *s = child->supervisor;
    const struct cause *cause = lasting_cause(status);
    uint32_t tries = !s->announced   ? (cause != NULL ? TRIES_FIRST_LASTING : TRIES_FIRST)
                     : cause != NULL ? TRIES_LASTING
                                     : UINT32_MAX;
    if (child->failed_starts < tries) {
        return false;
    }
    if (cause != NULL) {
        log_error("%s cannot start: %s. The server stops. What to do: %s", role_kind_name(child->kind),
                  cause->what, cause->advice);
    } else {
        log_error(
            "%s did not get ready in %u starts; the lines above say why. The server stops. What to do: "
            "remove the cause "
            "(a full or failing disk, too little memory, a limit on processes or files) and start it again",
            role_kind_name(child->kind), child->failed_starts);
    }
    s->exit_code = cause != NULL ? cause->code : EX_UNAVAILABLE;
    supervisor_stop(s);
    return true;
}

static void log_end(const struct child *child, int status, bool again)
{
    const char *next = again ? "; starting it again" : "";
    if (WIFSIGNALED(status)) {
        log_error("%s[%u] was killed by signal %d%s", role_kind_name(child->kind), child->instance,
                  WTERMSIG(status), next);
    } else {
        log_error("%s[%u] ended with exit code %d%s", role_kind_name(child->kind), child->instance,
                  WEXITSTATUS(status), next);
    }
}

void supervisor_child_ended(struct supervisor *s, pid_t pid, int status)
{
    for (size_t i = 0; i < s->child_count; i++) {
        struct child *child = &s->children[i];
        if (child->pid != pid) {
            continue;
        }
        bool expected = child->state == ROLE_DRAINING;
        bool unready = child->state == ROLE_STARTING;
        child->pid = 0;
        if (s->options->fence && child->control != NULL) {
            channel_drain(child->control); /* its last results may be there still */
        }
        child->state = ROLE_GONE;
        channel_close(child->control);
        child->control = NULL;
        bool gives_up = false;
        if (!expected && !s->stopping && !s->options->fence) {
            child->failed_starts += unready;
            gives_up = unready && !child->retired && give_up(child, status);
            log_end(child, status, !gives_up && !child->retired);
        }
        if ((expected || s->stopping) && crashed(status)) {
            log_error("%s[%u] was killed by signal %d while it was ending", role_kind_name(child->kind),
                      child->instance, WTERMSIG(status));
        }
        if (!s->stopping && !child->retired && !s->options->fence) {
            plan_restart(child);
        }
        supervisor_tell_states(s);
        return;
    }
}

void supervisor_tell_states(struct supervisor *s)
{
    struct child *store = supervisor_store(s);
    if (store == NULL || !is_running(store) || s->options->fence) {
        return;
    }
    for (size_t i = 0; i < s->child_count; i++) {
        const struct child *child = &s->children[i];
        struct control_role_state state = {.kind = (uint8_t)child->kind,
                                           .instance = child->instance,
                                           .pid = (uint32_t)child->pid,
                                           .restarts = child->restarts,
                                           .generation = s->generation,
                                           .state = (uint8_t)child->state};
        channel_send(store->control, &control_role_state_type, &state);
    }
}

static unsigned wanted_count(const struct supervisor *s, enum role_kind kind)
{
    if (s->options->fence) {
        return 1;
    }
    switch (kind) {
    case ROLE_SMTPD_MX: return s->config->processes.smtpd_mx;
    case ROLE_SMTPD_MSA: return s->config->processes.smtpd_msa;
    case ROLE_IMAPD: return s->config->processes.imapd;
    case ROLE_READER: return s->config->processes.reader;
    case ROLE_RELAY: return s->config->processes.relay;
    default: return 1;
    }
}

static struct child *add_slot(struct supervisor *s, enum role_kind kind)
{
    if (s->child_count == CHILDREN_MAX) {
        log_error("too many processes are configured: at most %d", CHILDREN_MAX);
        return NULL;
    }
    struct child *child = &s->children[s->child_count++];
    *child = (struct child){.supervisor = s, .kind = kind, .state = ROLE_GONE};
    return child;
}

static void start_kind(struct supervisor *s, enum role_kind kind)
{
    unsigned want = wanted_count(s, kind);
    unsigned have = 0;
    for (size_t i = 0; i < s->child_count; i++) {
        struct child *child = &s->children[i];
        if (child->kind != kind) {
            continue;
        }
        have++;
        if (have > want && !child->retired) {
            child->retired = true;
            struct control_drain drain = {.grace_ms = s->config->grace_ms};
            if (child->control != NULL) {
                child->state = ROLE_DRAINING;
                channel_send(child->control, &control_drain_type, &drain);
            }
        } else if (have <= want && child->retired) {
            child->retired = false;
            if (child->pid == 0) {
                start_child(child);
            }
        }
    }
    for (; have < want; have++) {
        struct child *child = add_slot(s, kind);
        if (child != NULL) {
            start_child(child);
        }
    }
}

void supervisor_start_children(struct supervisor *s)
{
    /* The store first and alone: it makes the index that the readers open. */
    start_kind(s, ROLE_STORE);
    if (supervisor_store(s)->state != ROLE_RUNNING && !s->options->fence) {
        return;
    }
    static const enum role_kind others[] = {ROLE_KEYS,  ROLE_RESOLVER,  ROLE_READER,   ROLE_IMAPD,
                                            ROLE_RELAY, ROLE_SMTPD_MSA, ROLE_SMTPD_MX, ROLE_INDEXER};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        start_kind(s, others[i]);
    }
}

void supervisor_drain(struct supervisor *s, enum role_kind kind, uint32_t grace_ms)
{
    struct control_drain drain = {.grace_ms = grace_ms};
    for (size_t i = 0; i < s->child_count; i++) {
        struct child *child = &s->children[i];
        if ((kind == ROLE_KINDS || child->kind == kind) && child->control != NULL &&
            child->state != ROLE_DRAINING) {
            child->state = ROLE_DRAINING;
            channel_send(child->control, &control_drain_type, &drain);
        }
    }
}
