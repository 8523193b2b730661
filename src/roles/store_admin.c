/* The store's end of the control socket: connections, requests and answers; see store_admin.h. */
#include "roles/store_admin_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void proceed(struct admin_connection *c);

static void close_connection(struct admin_connection *c)
{
    struct admin_connection **at = &c->admin->connections;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    c->admin->connection_count--;
    loop_unwatch(&c->watch);
    loop_timer_stop(&c->step_timer);
    loop_timer_stop(&c->idle_timer);
    close(c->fd);
    if (c->passed_fd >= 0) {
        close(c->passed_fd);
    }
    buf_wipe(&c->in);
    buf_free(&c->out);
    buf_free(&c->job.address);
    buf_free(&c->job.target);
    buf_free(&c->job.match);
    mem_free(c);
}

struct admin_connection *admin_find(struct store_admin *admin, uint64_t serial)
{
    struct admin_connection *c = admin->connections;
    while (c != NULL && c->serial != serial) {
        c = c->next;
    }
    return c;
}

/* Answers. */

static void append_object(struct admin_connection *c, json_t *object)
{
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text == NULL || !buf_append_str(&c->out, str_of(text)) || !buf_append_char(&c->out, '\n')) {
        c->out.failed = true; /* the connection is closed: half an answer would be a wrong one */
    }
    mem_free(text);
    json_decref(object);
}

void admin_row(struct admin_connection *c, json_t *row)
{
    append_object(c, json_pack("{s:o}", "row", row));
}

void admin_done(struct admin_connection *c, json_t *members)
{
    json_t *object = json_pack("{s:b}", "done", 1);
    if (members != NULL) {
        json_object_update(object, members);
        json_decref(members);
    }
    append_object(c, object);
    c->busy = false;
    c->waiting = false;
}

void admin_error(struct admin_connection *c, int code, const char *advice, const char *format, ...)
{
    char area[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(area, sizeof(area), format, args);
    va_end(args);
    struct str message = n < 0 ? STR("the command failed") : str_of(area);
    append_object(c, json_pack("{s:{s:i,s:o,s:s}}", "error", "code", code, "message", admin_text(message),
                               "advice", advice));
    c->busy = false;
    c->waiting = false;
}

void admin_index_error(struct admin_connection *c)
{
    log_error("a command failed in the index: %s", c->admin->store->index->error);
    admin_error(c, EX_IOERR, "the server's log lines tell more; try again when it has been seen to",
                "the index cannot be read or written");
}

json_t *admin_text(struct str text)
{
    json_t *value = json_stringn(text.data, text.len);
    if (value == NULL) {
        struct buf safe = buf_make(65536);
        buf_append_escaped(&safe, text, 16384);
        value = json_stringn(safe.data == NULL ? "" : safe.data, safe.len);
        buf_free(&safe);
    }
    return value;
}

struct str admin_argument(const json_t *arguments, const char *name)
{
    const json_t *value = json_object_get(arguments, name);
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value)) : STR_EMPTY;
}

/* Commands that concern the whole server. */

static const char *const state_names[] = {"starting", "running", "draining", "gone"};

static json_t *role_object(const struct admin_role *r)
{
    return json_pack("{s:s,s:I,s:I,s:s,s:I,s:I}", "role", role_kind_name((enum role_kind)r->kind), "instance",
                     (json_int_t)r->instance, "pid", (json_int_t)r->pid, "state", state_names[r->state & 3],
                     "restarts", (json_int_t)r->restarts, "generation", (json_int_t)r->generation);
}

static void run_status(struct admin_connection *c, const json_t *arguments)
{
    (void)arguments;
    struct store_admin *admin = c->admin;
    struct store *s = admin->store;
    store_tick(s);
    int64_t queued = entry_count(s->index);
    if (queued < 0) {
        admin_index_error(c);
        return;
    }
    for (size_t i = 0; i < admin->role_count; i++) {
        admin_row(c, role_object(&admin->roles[i]));
    }
    struct store_log_figures log;
    uint64_t indexed;
    bool idle;
    store_compact_figures(s, &log);
    store_fulltext_figures(s, &indexed, &idle);
    json_t *done = json_pack(
        "{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "hostname",
        admin_text(s->config->hostname), "configuration", admin_text(s->config->file_name), "generation",
        (json_int_t)s->role->generation, "store_up_ms",
        (json_int_t)(clock_monotonic_ms() - admin->started_ms), "queued", (json_int_t)queued, "next_due_ms",
        (json_int_t)entry_next_due(s->index), "records_applied", (json_int_t)s->totals.records, "filed",
        (json_int_t)s->totals.filed, "accepting", s->accepting, "free_octets", (json_int_t)s->free_octets,
        "reserve_octets", (json_int_t)s->config->store.reserve, "log_segments", (json_int_t)log.segments,
        "log_octets", (json_int_t)log.octets, "log_live_octets", (json_int_t)log.live_octets,
        "full_text_added", (json_int_t)indexed, "full_text_current", idle);
    admin_done(c, done);
}

static bool ask_supervisor(struct admin_connection *c, enum control_ask_what what)
{
    struct control_ask ask = {.what = (uint8_t)what};
    if (channel_send(c->admin->store->role->control, &control_ask_type, &ask)) {
        return true;
    }
    admin_error(c, EX_TEMPFAIL, "try again in a moment", "the supervisor does not take the request");
    return false;
}

static void run_reload(struct admin_connection *c, const json_t *arguments)
{
    (void)arguments;
    if (ask_supervisor(c, ASK_RELOAD)) {
        c->waiting = true;
        c->waits_for_reload = true;
    }
}

static void run_stop(struct admin_connection *c, const json_t *arguments)
{
    (void)arguments;
    if (ask_supervisor(c, ASK_STOP)) {
        admin_done(c, NULL);
    }
}

/* Requests. */

static const struct admin_command commands[] = {
    {"status", run_status},
    {"reload", run_reload},
    {"stop", run_stop},
    {"user add", admin_user_add},
    {"user passwd", admin_user_passwd},
    {"user list", admin_user_list},
    {"user quota", admin_user_quota},
    {"user disable", admin_user_disable},
    {"user enable", admin_user_enable},
    {"user remove", admin_user_remove},
    {"alias add", admin_alias_add},
    {"alias list", admin_alias_list},
    {"alias remove", admin_alias_remove},
    {"acl list", admin_acl_list},
    {"acl set", admin_acl_set},
    {"acl remove", admin_acl_remove},
    {"import mailbox", admin_import_mailbox},
    {"import messages", admin_import_messages},
    {"queue list", admin_queue_list},
    {"queue show", admin_queue_show},
    {"queue retry", admin_queue_retry},
    {"queue hold", admin_queue_hold},
    {"queue release", admin_queue_release},
    {"queue drop", admin_queue_drop},
    {"trace", admin_trace},
};

static void run_request(struct admin_connection *c, const json_t *request)
{
    struct str name = admin_argument(request, "command");
    const json_t *arguments = json_object_get(request, "arguments");
    if (arguments != NULL && !json_is_object(arguments)) {
        admin_error(c, EX_USAGE, "send {\"command\":\"...\",\"arguments\":{...}}",
                    "the arguments are no object");
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_equal(name, str_of(commands[i].name))) {
            commands[i].run(c, arguments);
            return;
        }
    }
    admin_error(c, EX_USAGE,
                "the command and the server may be of different versions; `veredus version` tells",
                "the server knows no command \"%.*s\"", (int)(name.len > 64 ? 64 : name.len), name.data);
}

/* Passwords do not stay in memory longer than they are needed. */
static void wipe_password(const json_t *request)
{
    const json_t *value = json_object_get(json_object_get(request, "arguments"), "password");
    if (json_is_string(value)) {
        explicit_bzero((char *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
}

static void reset_job(struct admin_job *job)
{
    struct admin_job fresh = {.address = job->address, .target = job->target, .match = job->match};
    buf_clear(&fresh.address);
    buf_clear(&fresh.target);
    buf_clear(&fresh.match);
    *job = fresh;
}

static void take_request(struct admin_connection *c, struct str line)
{
    json_error_t error;
    json_t *request = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, &error);
    reset_job(&c->job);
    c->busy = true;
    if (!json_is_object(request)) {
        admin_error(c, EX_USAGE, "send one JSON object a line", "the request is no JSON object");
    } else {
        run_request(c, request);
    }
    wipe_password(request);
    json_decref(request);
    if (c->passed_fd >= 0) {
        close(c->passed_fd);
        c->passed_fd = -1;
    }
}

static void step_due(void *context)
{
    struct admin_connection *c = context;
    if (c->step != NULL && !c->step(c)) {
        c->step = NULL;
    }
    proceed(c);
}

void admin_start_job(struct admin_connection *c, bool (*step)(struct admin_connection *c))
{
    c->step = step;
}

void admin_wake(struct admin_connection *c)
{
    loop_timer_start(c->admin->store->role->loop, &c->step_timer, 0, false, step_due, c);
}

/* Input and output. */

/* False: the connection is gone. */
static bool send_answers(struct admin_connection *c)
{
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (n <= 0) {
            close_connection(c);
            return false;
        }
        buf_consume(&c->out, (size_t)n);
    }
    if (c->out.failed) {
        log_warning("a command's answer did not fit: its connection is closed");
        close_connection(c);
        return false;
    }
    return true;
}

/* The next whole line of input, run. False: there is none. */
static bool next_request(struct admin_connection *c)
{
    size_t end = str_find(buf_str(&c->in), 0, '\n');
    if (end == SIZE_MAX) {
        if (c->in.len >= ADMIN_REQUEST_MAX && !c->ended) {
            admin_error(c, EX_USAGE, "send less at once", "the request is larger than %d octets",
                        ADMIN_REQUEST_MAX);
            c->ended = true;
            c->in.len = 0;
        }
        return false;
    }
    take_request(c, str_make(c->in.data, end));
    explicit_bzero(c->in.data, end);
    buf_consume(&c->in, end + 1);
    return true;
}

static void idle_expired(void *context)
{
    struct admin_connection *c = context;
    if (!c->busy) {
        close_connection(c);
    }
}

/* Does what can be done now, then waits for what is needed next. */
static void proceed(struct admin_connection *c)
{
    struct loop *loop = c->admin->store->role->loop;
    while (!c->busy && c->step == NULL && next_request(c)) {
        loop_timer_start(loop, &c->idle_timer, ADMIN_IDLE_MS, false, idle_expired, c);
    }
    if (!send_answers(c)) {
        return;
    }
    bool idle = !c->busy && c->step == NULL;
    if (idle && c->ended && c->out.len == 0) {
        close_connection(c);
        return;
    }
    if (c->step != NULL && c->out.len < ADMIN_ANSWER_HIGH) {
        loop_timer_start(loop, &c->step_timer, 0, false, step_due, c);
    }
    unsigned what = (c->out.len > 0 ? LOOP_WRITE : 0U) | (!c->ended && idle ? LOOP_READ : 0U);
    loop_rewatch(&c->watch, what);
}

/* Reads what has come, and keeps the descriptor that came with it: one a request. */
static ssize_t receive(struct admin_connection *c, char *room, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } area;
    struct iovec part = {room, len};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = area.bytes, .msg_controllen = sizeof(area)};
    ssize_t n = recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *first = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (first != NULL && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS &&
        first->cmsg_len == CMSG_LEN(sizeof(int))) {
        if (c->passed_fd >= 0) {
            close(c->passed_fd);
        }
        memcpy(&c->passed_fd, CMSG_DATA(first), sizeof(int));
    }
    return n;
}

static void ready(void *context, unsigned what)
{
    struct admin_connection *c = context;
    if ((what & LOOP_READ) != 0) {
        char *room = buf_reserve(&c->in, ADMIN_REQUEST_MAX - c->in.len);
        ssize_t n = room == NULL ? 0 : receive(c, room, ADMIN_REQUEST_MAX - c->in.len);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            close_connection(c);
            return;
        }
        c->in.len += n > 0 ? (size_t)n : 0;
        c->ended = n == 0;
    }
    proceed(c);
}

static void refuse_connection(int fd)
{
    static const char answer[] =
        "{\"error\":{\"code\":75,\"message\":\"the server is busy with other commands\","
        "\"advice\":\"try again in a moment\"}}\n";
    ssize_t n = send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
    close(fd);
}

static void open_connection(struct store_admin *admin, int fd)
{
    struct loop *loop = admin->store->role->loop;
    struct admin_connection *c =
        admin->connection_count < ADMIN_CONNECTIONS_MAX ? mem_new(struct admin_connection) : NULL;
    if (c == NULL) {
        refuse_connection(fd);
        return;
    }
    c->admin = admin;
    c->fd = fd;
    c->passed_fd = -1;
    c->serial = ++admin->next_serial;
    c->in = buf_make(ADMIN_REQUEST_MAX);
    c->out = buf_make(ADMIN_ANSWER_MAX);
    c->job.address = buf_make(ACCOUNT_ADDRESS_MAX);
    c->job.target = buf_make(1024);
    c->job.match = buf_make(1024);
    c->next = admin->connections;
    admin->connections = c;
    admin->connection_count++;
    if (loop_watch(loop, &c->watch, fd, LOOP_READ, ready, c) != 0 ||
        loop_timer_start(loop, &c->idle_timer, ADMIN_IDLE_MS, false, idle_expired, c) != 0) {
        close_connection(c);
    }
}

static void accept_ready(void *context, unsigned what)
{
    (void)what;
    struct store_admin *admin = context;
    for (int i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        int fd = accept4(admin->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        open_connection(admin, fd);
    }
}

struct store_admin *store_admin_open(struct store *s, int listen_fd)
{
    json_set_alloc_funcs(mem_alloc, mem_free);
    size_t seed = (size_t)random_u64();
    json_object_seed(seed == 0 ? 1 : seed); /* jansson itself would want to open /dev/urandom */
    struct store_admin *admin = mem_new(struct store_admin);
    if (admin == NULL ||
        loop_watch(s->role->loop, &admin->watch, listen_fd, LOOP_READ, accept_ready, admin) != 0) {
        log_error("the control socket cannot be served: out of memory");
        mem_free(admin);
        close(listen_fd);
        return NULL;
    }
    admin->store = s;
    admin->listen_fd = listen_fd;
    admin->references = 1;
    admin->started_ms = clock_monotonic_ms();
    struct control_ask ask = {.what = ASK_STATES};
    channel_send(s->role->control, &control_ask_type, &ask);
    return admin;
}

void admin_release(struct store_admin *admin)
{
    if (--admin->references == 0) {
        mem_free(admin);
    }
}

void store_admin_close(struct store_admin *admin)
{
    if (admin == NULL) {
        return;
    }
    while (admin->connections != NULL) {
        close_connection(admin->connections);
    }
    loop_unwatch(&admin->watch);
    close(admin->listen_fd);
    admin_release(admin);
}

/* The supervisor's messages. */

/* A role that is started again has a new instance number and takes the place of one that is gone. */
static struct admin_role *role_slot(struct store_admin *admin, const struct control_role_state *state)
{
    struct admin_role *gone = NULL;
    for (size_t i = 0; i < admin->role_count; i++) {
        struct admin_role *r = &admin->roles[i];
        if (r->kind == state->kind && r->instance == state->instance) {
            return r;
        }
        if (r->kind == state->kind && r->state == ROLE_GONE && gone == NULL) {
            gone = r;
        }
    }
    if (gone == NULL && admin->role_count < ADMIN_ROLES_MAX) {
        gone = &admin->roles[admin->role_count++];
    }
    return gone;
}

static void reloaded(struct store_admin *admin, const struct control_reloaded *answer)
{
    struct admin_connection *first = NULL;
    for (struct admin_connection *c = admin->connections; c != NULL; c = c->next) {
        if (c->waits_for_reload && (first == NULL || c->serial < first->serial)) {
            first = c;
        }
    }
    if (first == NULL) {
        return;
    }
    first->waits_for_reload = false;
    if (answer->errors.len == 0) {
        admin_done(first, json_pack("{s:I}", "generation", (json_int_t)answer->generation));
    } else {
        struct str errors = answer->errors;
        while (errors.len > 0 && errors.data[errors.len - 1] == '\n') {
            errors.len--;
        }
        append_object(first,
                      json_pack("{s:{s:i,s:o,s:s}}", "error", "code", EX_CONFIG, "message",
                                admin_text(errors), "advice",
                                "the server goes on with the configuration that it has; correct the file and "
                                "reload again"));
        first->busy = false;
        first->waiting = false;
    }
    proceed(first);
}

void store_admin_control(struct store_admin *admin, const struct ipc_type *type, const void *message)
{
    if (type == &control_role_state_type) {
        const struct control_role_state *state = message;
        struct admin_role *slot = role_slot(admin, state);
        if (slot != NULL) {
            *slot = (struct admin_role){.kind = state->kind,
                                        .state = state->state,
                                        .instance = state->instance,
                                        .pid = state->pid,
                                        .restarts = state->restarts,
                                        .generation = state->generation};
        }
    } else if (type == &control_reloaded_type) {
        reloaded(admin, message);
    }
}
