/*
 * The supervisor's life: start, signals, reload, stop; see supervisor.h.
 *
 * The order of a stop: first those that talk to the network finish what is under way, then those that serve them, the store
 * last, so that nothing that was acknowledged waits for a process that is gone.
 */
#include "roles/supervisor_private.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/random.h"
#include "roles/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { CONFIG_TEXT_MAX = 4 << 20, ERRORS_MAX = 65536, KILL_AFTER_GRACE_MS = 3000, STOP_STAGES = 3 };

static void print_errors(const struct buf *errors)
{
    struct str left = buf_str(errors);
    while (left.len > 0) {
        size_t end = 0;
        while (end < left.len && left.data[end] != '\n') {
            end++;
        }
        log_error("%.*s", (int)end, left.data);
        left.data += end < left.len ? end + 1 : end;
        left.len -= end < left.len ? end + 1 : end;
    }
}

/* The configuration. */

static bool read_file(const char *path, struct buf *text, struct buf *errors)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        buf_printf(errors, "cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    for (;;) {
        char chunk[8192];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0) {
            break;
        }
        if (n < 0 || !buf_append(text, chunk, (size_t)n)) {
            buf_printf(errors, "cannot read %s: %s\n", path, n < 0 ? strerror(errno) : "it is too large");
            close(fd);
            return false;
        }
    }
    close(fd);
    return true;
}

static bool load_first_config(struct supervisor *s, struct buf *errors)
{
    s->config_text = buf_make(CONFIG_TEXT_MAX);
    if (s->options->dev) {
        if (!supervisor_dev_prepare(s, errors)) {
            return false;
        }
    } else {
        if (realpath(s->options->config_file, s->config_file) == NULL) {
            buf_printf(errors, "cannot open %s: %s; give the configuration file with -c FILE\n",
                       s->options->config_file, strerror(errno));
            return false;
        }
        if (!read_file(s->config_file, &s->config_text, errors)) {
            return false;
        }
    }
    s->generation = 1;
    return config_parse(buf_str(&s->config_text), s->config_file, &s->config, errors);
}

/* What cannot change while the server runs. */
static bool same_place(const struct config *old, const struct config *new, struct buf *errors)
{
    if (str_equal(old->data_dir, new->data_dir) && str_equal(old->runtime_dir, new->runtime_dir) &&
        old->uid_base == new->uid_base && old->dev == new->dev) {
        return true;
    }
    buf_append_lit(
        errors,
        "data_dir, runtime_dir, uid_base and catch_all_mail cannot change while the server runs: stop it and "
        "start it again\n");
    return false;
}

bool supervisor_reload(struct supervisor *s, struct buf *errors)
{
    struct buf text = buf_make(CONFIG_TEXT_MAX);
    struct config *config = NULL;
    bool fine = !s->stopping && read_file(s->config_file, &text, errors) &&
                config_parse(buf_str(&text), s->config_file, &config, errors) &&
                same_place(s->config, config, errors) && supervisor_check_secrets(s, config, errors) &&
                supervisor_bind(s, config, errors);
    if (!fine) {
        log_error("the configuration was not reloaded; the server goes on with the one that it has");
        print_errors(errors);
        config_unref(config);
        buf_free(&text);
        return false;
    }
    config_unref(s->config);
    s->config = config;
    buf_free(&s->config_text);
    s->config_text = text;
    s->generation++;
    log_setup("supervisor", 0, (enum log_level)config->log_level, config->log_json);
    supervisor_configure_children(s);
    supervisor_unbind_unwanted(s);
    supervisor_start_children(s);
    for (size_t i = 0; i < s->listener_count; i++) {
        s->listeners[i].is_new = false;
    }
    supervisor_tell_states(s);
    log_info("configuration %u of %s is in force", s->generation, s->config_file);
    return true;
}

/* Readiness. */

static bool all_running(const struct supervisor *s)
{
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].state != ROLE_RUNNING && !s->children[i].retired) {
            return false;
        }
    }
    return s->child_count > 1;
}

static void make_dev_users(struct supervisor *s)
{
    struct child *store = supervisor_store(s);
    for (size_t i = 0; i < s->options->dev_user_count && store->control != NULL; i++) {
        struct control_dev_user message = {.address = s->options->dev_users[i].address,
                                           .password = s->options->dev_users[i].password};
        channel_send(store->control, &control_dev_user_type, &message);
    }
}

void supervisor_child_ready(struct supervisor *s, struct child *child)
{
    if (s->stopping || child->state == ROLE_DRAINING) {
        return;
    }
    bool was_running = child->state == ROLE_RUNNING;
    child->state = ROLE_RUNNING;
    child->failed_starts = 0;
    if (child->kind == ROLE_STORE && !was_running) {
        supervisor_start_children(s);
    }
    supervisor_tell_states(s);
    if (s->announced || !all_running(s)) {
        return;
    }
    if (!was_running && s->dev_users_made == 0) {
        make_dev_users(s);
    }
    if (s->dev_users_made == s->options->dev_user_count) {
        s->announced = true;
        supervisor_announce(s);
    }
}

/* Stopping. */

static bool kind_running(const struct supervisor *s, enum role_kind kind)
{
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].kind == kind && s->children[i].pid != 0) {
            return true;
        }
    }
    return false;
}

static void advance_stop(struct supervisor *s)
{
    static const enum role_kind stages[STOP_STAGES][4] = {
        {ROLE_SMTPD_MX, ROLE_SMTPD_MSA, ROLE_IMAPD, ROLE_RELAY},
        {ROLE_READER, ROLE_RESOLVER, ROLE_KEYS, ROLE_INDEXER},
        {ROLE_STORE, ROLE_STORE, ROLE_STORE, ROLE_STORE}};
    while (s->stop_stage < STOP_STAGES) {
        bool running = false;
        for (size_t i = 0; i < 4; i++) {
            supervisor_drain(s, stages[s->stop_stage][i], s->config->grace_ms);
            running = running || kind_running(s, stages[s->stop_stage][i]);
        }
        if (running) {
            return;
        }
        s->stop_stage++;
    }
    if (!supervisor_any_running(s)) {
        loop_stop(s->loop);
    }
}

static void stop_overdue(void *context)
{
    struct supervisor *s = context;
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i].pid != 0) {
            log_error("%s[%u] does not end: killing it", role_kind_name(s->children[i].kind),
                      s->children[i].instance);
            supervisor_kill(&s->children[i]);
        }
    }
}

void supervisor_stop(struct supervisor *s)
{
    if (s->stopping) {
        return;
    }
    s->stopping = true;
    for (size_t i = 0; i < s->child_count; i++) {
        loop_timer_stop(&s->children[i].restart_timer);
    }
    loop_timer_start(s->loop, &s->stop_timer, (uint64_t)s->config->grace_ms + KILL_AFTER_GRACE_MS, true,
                     stop_overdue, s);
    advance_stop(s);
}

/* Signals. */

static void reap(struct supervisor *s)
{
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            break;
        }
        supervisor_child_ended(s, pid, status);
    }
    if (s->stopping) {
        advance_stop(s);
    } else if (s->options->fence && !supervisor_any_running(s)) {
        loop_stop(s->loop);
    }
}

static void signal_ready(void *context, unsigned what)
{
    (void)what;
    struct supervisor *s = context;
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
        } else if (info.ssi_signo == SIGHUP) {
            struct buf errors = buf_make(ERRORS_MAX);
            supervisor_reload(s, &errors);
            buf_free(&errors);
        } else {
            supervisor_stop(s);
        }
    }
}

static bool watch_signals(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->signal_fd >= 0 &&
           loop_watch(s->loop, &s->signal_watch, s->signal_fd, LOOP_READ, signal_ready, s) == 0;
}

/* The start. */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void write_pid(const struct supervisor *s)
{
    char path[PATH_MAX_BYTES];
    int n = snprintf(path, sizeof(path), "%s/veredus.pid", s->run_dir);
    FILE *file = n > 0 && (size_t)n < sizeof(path) ? fopen(path, "we") : NULL;
    if (file != NULL) {
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
}

static void remove_run_files(const struct supervisor *s)
{
    static const char *const names[] = {"veredus.pid", "control"};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX_BYTES];
        int n = snprintf(path, sizeof(path), "%s/%s", s->run_dir, names[i]);
        if (n > 0 && (size_t)n < sizeof(path)) {
            unlink(path);
        }
    }
}

/* EX_OK, or the exit code of what went wrong. */
static int prepare(struct supervisor *s, struct buf *errors)
{
    if (!load_first_config(s, errors)) {
        return EX_CONFIG;
    }
    log_setup("supervisor", 0, (enum log_level)s->config->log_level, s->config->log_json);
    if (!supervisor_check_secrets(s, s->config, errors)) {
        return EX_CONFIG;
    }
    if (!supervisor_prepare_data(s, errors)) {
        return EX_CANTCREAT;
    }
    if (!supervisor_bind(s, s->config, errors) || !supervisor_bind_admin(s, errors)) {
        return EX_UNAVAILABLE;
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        s->listeners[i].is_new = false;
    }
    write_pid(s);
    return EX_OK;
}

static void release(struct supervisor *s)
{
    for (size_t i = 0; i < s->child_count; i++) {
        loop_timer_stop(&s->children[i].restart_timer);
        channel_close(s->children[i].control);
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        close(s->listeners[i].fd);
    }
    loop_timer_stop(&s->stop_timer);
    loop_unwatch(&s->signal_watch);
    if (s->run_dir[0] != '\0' && s->lock_fd >= 0) {
        remove_run_files(s);
    }
    supervisor_dev_clean(s);
    config_unref(s->config);
    buf_free(&s->config_text);
    loop_free(s->loop);
}

int supervisor_run(const struct supervisor_options *options)
{
    static struct supervisor supervisor;
    struct supervisor *s = &supervisor;
    struct buf errors = buf_make(ERRORS_MAX);
    unsigned char boot[16];
    *s = (struct supervisor){.options = options, .admin_fd = -1, .lock_fd = -1, .signal_fd = -1};
    log_setup("supervisor", 0, LOG_LEVEL_INFO, false);
    s->gives_users = policy_gives_users();
    random_bytes(boot, sizeof(boot));
    struct buf boot_text = buf_make(2 * sizeof(boot));
    if (hex_encode(str_make(boot, sizeof(boot)), &boot_text)) {
        memcpy(s->boot_id, boot_text.data, boot_text.len);
    }
    buf_free(&boot_text);
    raise_descriptor_limit();
    s->loop = loop_new();
    if (s->loop == NULL || !watch_signals(s)) {
        log_error("cannot make an event loop: %s", strerror(errno));
        return EX_OSERR;
    }
    s->exit_code = prepare(s, &errors);
    if (s->exit_code == EX_OK) {
        supervisor_start_children(s);
        loop_run(s->loop);
    }
    print_errors(&errors);
    buf_free(&errors);
    if (options->fence && s->exit_code == EX_OK && (s->fence_failures > 0 || s->fence_acts == 0)) {
        s->exit_code = EX_SOFTWARE;
    }
    release(s);
    log_flush();
    return s->exit_code;
}
