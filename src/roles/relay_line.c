/*
 * One connection of the relay: socket, TLS, and the SMTP client engine that it drives; see relay_private.h. It knows nothing of
 * routes and retries: when it fails, the job decides what comes next.
 */
#include "roles/relay_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 16384, READS_A_PASS = 4 };

static char read_area[READ_SIZE];

static void drive(struct relay_line *line, struct str input);
static void on_ready(void *context, unsigned what);

/* Life. */

static void free_line(void *context)
{
    struct relay_line *line = context;
    struct relay *relay = line->relay;
    *line->link = line->next;
    if (line->next != NULL) {
        line->next->link = line->link;
    }
    relay->line_count--;
    buf_wipe(&line->login);
    buf_wipe(&line->password);
    config_unref(line->config);
    mem_free(line);
    relay_schedule_soon(relay);
    relay_check_drained(relay);
}

/* Closes the socket now; the memory goes at the end of the pass, because callers may still be in here. */
static void close_line(struct relay_line *line)
{
    if (line->state == LINE_DEAD) {
        return;
    }
    line->state = LINE_DEAD;
    loop_unwatch(&line->watch);
    loop_timer_stop(&line->timer);
    if (line->tls != NULL) {
        tls_shutdown(line->tls);
        tls_free(line->tls);
        line->tls = NULL;
    }
    if (line->fd >= 0) {
        close(line->fd);
        line->fd = -1;
    }
    buf_wipe(&line->out);
    loop_defer(line->relay->role->loop, &line->end, free_line, line);
}

/* Whether it failed without a reply between STARTTLS and the hello that follows the handshake. */
static bool failed_in_tls(const struct relay_line *line)
{
    const struct smtp_client_result *failure = &line->client.failure;
    return failure->code == 0 &&
           (failure->stage == SMTP_STAGE_TLS || (failure->stage == SMTP_STAGE_HELLO && line->client.tls));
}

/*
 * Opportunistic TLS that does not work, in whatever way, is no reason not to deliver (RFC 7435, section 3): this address gets
 * the message once more, in clear.
 */
static void do_without_tls(struct relay_line *line)
{
    struct relay_job *job = line->job;
    if (line->settings.tls != SMTP_CLIENT_TLS_OPPORTUNISTIC || line->settings.implicit_tls || job == NULL) {
        return;
    }
    struct buf text = {.data = job->tls_failure, .cap = RELAY_TLS_TEXT, .limit = RELAY_TLS_TEXT - 1};
    buf_append_lit(&text, "none: ");
    buf_append_str(&text, str_sub(line->client.failure.text, 0, text.limit - text.len));
    job->tls_failure[text.len] = '\0';
    job->without_tls = true;
}

/* The engine has failed or is at its end: the job, if there is one, goes on without this line. */
static void line_over(struct relay_line *line)
{
    struct relay_job *job = line->job;
    if (failed_in_tls(line)) {
        do_without_tls(line);
    }
    close_line(line);
    if (job != NULL) {
        line->job = NULL;
        job->line = NULL;
        relay_job_line_failed(job, line);
    }
}

static void line_lost(struct relay_line *line, bool timed_out, struct str reason)
{
    if (line->state == LINE_CONNECTING) {
        smtp_client_unconnected(&line->client, reason);
    } else {
        smtp_client_lost(&line->client, timed_out, line->sent < line->out.len, reason);
    }
    line_over(line);
}

static void watch_for(struct relay_line *line, unsigned what)
{
    if (line->watched != what) {
        line->watched = what;
        loop_rewatch(&line->watch, what);
    }
}

/* Time. */

static void timed_out(void *context)
{
    struct relay_line *line = context;
    struct str input = STR_EMPTY;
    if (line->state == LINE_IDLE) {
        smtp_client_quit(&line->client, &line->out);
        line->state = LINE_TALKING;
        drive(line, input);
    } else if (line->reading) {
        line->reading = false;
        smtp_client_body_failed(&line->client);
        line_over(line);
    } else {
        line_lost(line, true, line->state == LINE_CONNECTING ? STR("it took too long") : STR("time-out"));
    }
}

static void set_timer(struct relay_line *line, uint64_t ms)
{
    loop_timer_start(line->relay->role->loop, &line->timer, ms, false, timed_out, line);
}

/* Time-outs count from the last sign of progress, not from the last octet (RFC 5321, section 4.5.3.2). */
static void keep_time(struct relay_line *line, bool wrote)
{
    if (line->progress != line->client.progress || wrote) {
        line->progress = line->client.progress;
        set_timer(line, smtp_client_timeout_ms(&line->client));
    }
}

/* Output. */

/* Octets taken, 0 if the kernel is full, -1 if the peer is gone. */
static ssize_t write_some(struct relay_line *line)
{
    const char *data = line->out.data + line->sent;
    size_t len = line->out.len - line->sent;
    if (line->tls == NULL) {
        ssize_t n = send(line->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    size_t done = 0;
    enum tls_result result = tls_write(line->tls, data, len, &done);
    return result == TLS_OK ? (ssize_t)done : result == TLS_WANT_WRITE || result == TLS_WANT_READ ? 0 : -1;
}

/* False if the line has come to its end. */
static bool flush(struct relay_line *line)
{
    bool wrote = false;
    while (line->sent < line->out.len) {
        ssize_t n = write_some(line);
        if (n < 0) {
            /* The peer may have said why before it closed: what it sent is read first. */
            watch_for(line, LOOP_READ);
            return true;
        }
        if (n == 0) {
            break;
        }
        line->sent += (size_t)n;
        wrote = true;
    }
    if (line->sent == line->out.len) {
        if (line->settings.login.len > 0) {
            buf_wipe(&line->out);
        } else {
            buf_free(&line->out);
        }
        line->sent = 0;
    } else if (line->sent >= RELAY_OUT_ENOUGH) {
        buf_consume(&line->out, line->sent);
        line->sent = 0;
    }
    keep_time(line, wrote);
    watch_for(line, line->sent < line->out.len ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    return true;
}

/* The message's octets. */

static void ask_bytes(struct relay_line *line)
{
    struct relay_job *job = line->job;
    uint64_t left = job->message.size - line->offset;
    struct body_read ask = {.ticket = line->ticket,
                            .body_grant = job->body_grant,
                            .offset = line->offset,
                            .length = left > IPC_CHUNK_MAX ? IPC_CHUNK_MAX : (uint32_t)left};
    role_send(role_peer_of(line->relay->role, ROLE_READER), &body_read_type, &ask);
}

static void want_bytes(struct relay_line *line, bool scanning)
{
    if (line->reading || line->out.len - line->sent > RELAY_OUT_ENOUGH) {
        return; /* flush calls again when there is room */
    }
    if (line->scanning != scanning) {
        line->scanning = scanning;
        line->offset = 0;
    }
    line->reading = true;
    line->ticket = ++line->relay->next_ticket;
    set_timer(line, RELAY_LOOKUP_MS);
    ask_bytes(line);
}

static void scanned(struct relay_line *line, const struct body_bytes *answer, bool last)
{
    smtp_client_scan_bytes(&line->scan, answer->bytes);
    if (last) {
        line->scanning = false;
        line->offset = 0;
        smtp_client_scanned(&line->client, &line->scan);
    }
}

void relay_line_body(struct relay *relay, const struct body_bytes *answer)
{
    struct relay_line *line = relay->lines;
    while (line != NULL && !(line->reading && line->ticket == answer->ticket)) {
        line = line->next;
    }
    if (line == NULL || line->state == LINE_DEAD || line->job == NULL) {
        return;
    }
    line->reading = false;
    uint64_t left = line->job->message.size - line->offset;
    bool good = answer->found != 0 && answer->bytes.len <= left && (answer->bytes.len > 0 || left == 0);
    if (!good) {
        smtp_client_body_failed(&line->client);
    } else {
        bool last = answer->bytes.len == left;
        line->offset += answer->bytes.len;
        if (line->scanning) {
            scanned(line, answer, last);
        } else {
            smtp_client_body(&line->client, answer->bytes, last, &line->out);
        }
    }
    drive(line, STR_EMPTY);
}

void relay_lines_ask_again(struct relay *relay)
{
    for (struct relay_line *line = relay->lines; line != NULL; line = line->next) {
        if (line->reading && line->state != LINE_DEAD && line->job != NULL) {
            ask_bytes(line);
        }
    }
}

/* TLS. */

static void begin_tls(struct relay_line *line)
{
    bool verify = line->policy == ROUTE_TLS_VERIFIED;
    bool is_name = line->host_len > 0 && line->host[0] != '[' &&
                   str_find(str_make(line->host, line->host_len), 0, ':') == SIZE_MAX &&
                   !ascii_is_digit(line->host[line->host_len - 1]);
    struct str name = is_name || verify ? str_make(line->host, line->host_len) : STR_EMPTY;
    if (verify && !line->relay->has_authorities) {
        log_error("tls = verified cannot be had: no certificates of authorities (relay.ca_file) can be read");
    } else if (line->relay->tls != NULL) {
        line->tls = tls_client(line->relay->tls, line->fd, name, verify);
    }
    line->state = LINE_HANDSHAKE;
    set_timer(line, smtp_client_timeout_ms(&line->client));
    if (line->tls == NULL) {
        line_lost(line, false, STR("TLS cannot be set up here"));
    } else {
        watch_for(line, LOOP_READ |
                            LOOP_WRITE); /* it can be written to: so the handshake begins in the next pass */
    }
}

static void note_tls(struct relay_line *line)
{
    struct buf text = {.data = line->tls_text, .cap = RELAY_TLS_TEXT, .limit = RELAY_TLS_TEXT - 1};
    buf_append_str(&text, str_sub(str_of(tls_version(line->tls)), 0, 40));
    buf_append_char(&text, ' ');
    buf_append_str(&text, str_sub(str_of(tls_cipher(line->tls)), 0, 50));
    line->tls_text[text.len] = '\0';
}

static void report(void *context, size_t recipient, const struct smtp_client_result *result)
{
    struct relay_line *line = context;
    struct relay_failure at = {0};
    relay_line_describe(line, &at);
    if (line->job != NULL) {
        relay_job_decide(line->job, recipient, result, &at);
    }
}

static void secured(struct relay_line *line, bool good, struct str reason)
{
    line->state = LINE_TALKING;
    smtp_client_tls_started(&line->client, good, reason);
    if (good) {
        note_tls(line);
    }
    drive(line, STR_EMPTY);
}

static void handshake(struct relay_line *line)
{
    switch (tls_handshake(line->tls)) {
    case TLS_OK: secured(line, true, STR_EMPTY); break;
    case TLS_WANT_READ: watch_for(line, LOOP_READ); break;
    case TLS_WANT_WRITE: watch_for(line, LOOP_WRITE); break;
    default: {
        struct str reason = str_of(tls_error());
        tls_free(line->tls);
        line->tls = NULL;
        secured(line, false, reason);
        break;
    }
    }
}

/* The engine. */

static void begin(struct relay_line *line)
{
    struct relay_job *job = line->job;
    line->offset = 0;
    line->reading = false;
    line->scanning = false;
    line->scan = (struct smtp_client_scan){0};
    smtp_client_begin(&line->client, &job->message, job->recipients, job->count);
}

static void become_idle(struct relay_line *line)
{
    const struct config *newest = line->relay->role->config;
    bool keep = smtp_client_reusable(&line->client) && !line->relay->role->draining &&
                line->config == newest &&
                line->client.transactions < line->config->relay.transactions_per_connection;
    if (keep) {
        line->state = LINE_IDLE;
        flush(line);
        set_timer(line, RELAY_IDLE_MS);
        return;
    }
    smtp_client_quit(&line->client, &line->out);
}

/* A transaction is over: recipients may be left for another one. */
static void transaction_done(struct relay_line *line)
{
    struct relay_job *job = line->job;
    if (job->decided < job->count && smtp_client_reusable(&line->client)) {
        begin(line);
        return;
    }
    line->job = NULL;
    job->line = NULL;
    become_idle(line);
    relay_job_line_done(job, line);
}

/* One request of the engine; false when nothing more can be done now. */
static bool serve(struct relay_line *line, enum smtp_client_request request)
{
    switch (request) {
    case SMTP_CLIENT_INPUT: return false;
    case SMTP_CLIENT_START_TLS:
        if (!flush(line) || line->state == LINE_DEAD) {
            return false;
        }
        begin_tls(line);
        return false;
    case SMTP_CLIENT_READY:
        if (line->job != NULL) {
            begin(line);
            return true;
        }
        if (line->state != LINE_IDLE) {
            become_idle(line);
            return line->state != LINE_IDLE;
        }
        return false;
    case SMTP_CLIENT_SCAN: want_bytes(line, true); return false;
    case SMTP_CLIENT_BODY: want_bytes(line, false); return false;
    case SMTP_CLIENT_DONE: transaction_done(line); return line->state != LINE_IDLE;
    case SMTP_CLIENT_CLOSE: line_over(line); return false;
    }
    return false;
}

static void drive(struct relay_line *line, struct str input)
{
    if (line->driving || line->state == LINE_DEAD) {
        return;
    }
    line->driving = true;
    bool more = true;
    while (more && line->state != LINE_DEAD) {
        more = serve(line, smtp_client_run(&line->client, &input, &line->out));
    }
    line->driving = false;
    if (line->state == LINE_TALKING) {
        flush(line);
    }
}

static void start_engine(struct relay_line *line)
{
    line->state = LINE_TALKING;
    line->progress = UINT64_MAX;
    drive(line, STR_EMPTY);
}

/* Input. */

/* Octets read, 0 if there are none now, -1 at the end. */
static ssize_t read_some(struct relay_line *line)
{
    if (line->tls == NULL) {
        ssize_t n = recv(line->fd, read_area, sizeof(read_area), MSG_DONTWAIT);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    size_t done = 0;
    enum tls_result result = tls_read(line->tls, read_area, sizeof(read_area), &done);
    return result == TLS_OK ? (ssize_t)done : result == TLS_WANT_READ || result == TLS_WANT_WRITE ? 0 : -1;
}

static void read_input(struct relay_line *line)
{
    bool more = true;
    for (int i = 0; more && (i < READS_A_PASS || line->tls != NULL); i++) {
        ssize_t n = read_some(line);
        if (n < 0) {
            line_lost(line, false, STR("the server closed the connection"));
            return;
        }
        if (n > 0) {
            drive(line, str_make(read_area, (size_t)n));
        }
        more = n > 0 && (line->state == LINE_TALKING || line->state == LINE_IDLE);
    }
}

static void connected(struct relay_line *line)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error != 0) {
        line_lost(line, false, str_of(strerror(error)));
        return;
    }
    watch_for(line, LOOP_READ);
    start_engine(line);
}

static void on_ready(void *context, unsigned what)
{
    struct relay_line *line = context;
    if (line->state == LINE_CONNECTING) {
        connected(line);
        return;
    }
    if (line->state == LINE_HANDSHAKE) {
        handshake(line);
        return;
    }
    if ((what & LOOP_READ) != 0) {
        read_input(line);
    }
    if ((what & LOOP_WRITE) != 0 && (line->state == LINE_TALKING || line->state == LINE_IDLE)) {
        flush(line);
        drive(line, STR_EMPTY); /* there may be room for more of the message */
    }
}

/* Opening. */

static void write_address(struct relay_line *line, const struct plan_address *address)
{
    inet_ntop(address->len == 4 ? AF_INET : AF_INET6, address->bytes, line->address_text, RELAY_ADDRESS_TEXT);
}

static socklen_t socket_address(const struct plan_address *address, unsigned port,
                                struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (address->len == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        memcpy(&v4->sin_addr, address->bytes, 4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    memcpy(&v6->sin6_addr, address->bytes, 16);
    return sizeof(*v6);
}

static bool dial(struct relay_line *line)
{
    struct sockaddr_storage to;
    socklen_t len = socket_address(&line->address, line->port, &to);
    int one = 1;
    line->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line->fd < 0) {
        return false;
    }
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(line->fd, (struct sockaddr *)(void *)&to, len) != 0 && errno != EINPROGRESS) {
        return false;
    }
    line->watched = LOOP_WRITE;
    return loop_watch(line->relay->role->loop, &line->watch, line->fd, LOOP_WRITE, on_ready, line) == 0;
}

static enum smtp_client_tls engine_tls(const struct relay_line *line, bool without)
{
    if (line->policy == ROUTE_TLS_REQUIRED || line->policy == ROUTE_TLS_VERIFIED) {
        return SMTP_CLIENT_TLS_REQUIRED;
    }
    return line->policy == ROUTE_TLS_OPPORTUNISTIC && !without ? SMTP_CLIENT_TLS_OPPORTUNISTIC
                                                               : SMTP_CLIENT_TLS_NONE;
}

static bool settle(struct relay_line *line, const struct relay_job *job)
{
    const struct config *config = job->config;
    const struct config_route *route = job->route;
    bool fine = true;
    line->login = buf_make(512);
    line->password = buf_make(1024);
    if (route != NULL && route->login.len > 0) {
        fine = buf_append_str(&line->login, route->login) && buf_append_str(&line->password, job->password);
    }
    line->settings = (struct smtp_client_settings){
        .hello_name = config->relay.hello_name.len > 0 ? config->relay.hello_name : config->hostname,
        .own_name = route == NULL ? config->hostname : STR_EMPTY,
        .tls = engine_tls(line, job->without_tls),
        .implicit_tls = route != NULL && route->implicit_tls,
        .lmtp = route != NULL && route->lmtp,
        .login = buf_str(&line->login),
        .password = buf_str(&line->password),
        .timeout_percent = config->relay.timeout_scale_percent};
    return fine;
}

/* A line that could not even be opened fails like one that was refused. */
static void refused(void *context)
{
    struct relay_line *line = context;
    line_lost(line, false, str_of(strerror(line->refusal)));
}

/* Idle connections give way to new ones at the limit. */
static void make_room(struct relay *relay)
{
    for (struct relay_line *line = relay->lines;
         line != NULL && relay->line_count >= relay->role->config->relay.connections; line = line->next) {
        if (line->state == LINE_IDLE) {
            timed_out(line);
            return;
        }
    }
}

bool relay_line_open(struct relay_job *job, const struct plan_host *host, const struct plan_address *address,
                     unsigned port)
{
    struct relay *relay = job->relay;
    make_room(relay);
    struct relay_line *line = mem_new(struct relay_line);
    if (line == NULL) {
        return false;
    }
    line->relay = relay;
    line->config = config_ref(job->config);
    line->route = job->route;
    line->policy = relay_job_policy(job);
    line->address = *address;
    line->port = port;
    line->host_len = host->name_len;
    memcpy(line->host, host->name, host->name_len);
    write_address(line, address);
    line->fd = -1;
    line->out = buf_make(RELAY_OUT_MAX);
    line->job = job;
    job->line = line;
    line->next = relay->lines;
    line->link = &relay->lines;
    if (line->next != NULL) {
        line->next->link = &line->next;
    }
    relay->lines = line;
    relay->line_count++;
    line->state = LINE_CONNECTING;
    /* The engine stands from the beginning, so that a failed connection is told in its words. */
    bool fine = settle(line, job);
    if (job->without_tls) {
        memcpy(line->tls_text, job->tls_failure, sizeof(line->tls_text));
    }
    smtp_client_start(&line->client, &line->settings, report, line);
    errno = 0;
    if (!fine || !dial(line)) {
        line->refusal = errno == 0 ? ENOMEM : errno;
        loop_defer(relay->role->loop, &line->end, refused, line);
        return true;
    }
    set_timer(line, (uint64_t)line->config->relay.connect_timeout_s * 1000);
    return true;
}

/* Idle lines. */

static bool same_kind(const struct relay_line *line, const struct relay_job *job, unsigned port)
{
    return line->state == LINE_IDLE && line->config == job->config && line->route == job->route &&
           line->policy == relay_job_policy(job) && line->port == port;
}

bool relay_line_waits_for(const struct relay_job *job, const struct plan_host *host, unsigned port)
{
    for (const struct relay_line *line = job->relay->lines; line != NULL; line = line->next) {
        if (same_kind(line, job, port) &&
            str_equal(str_make(line->host, line->host_len), str_make(host->name, host->name_len))) {
            return true;
        }
    }
    return false;
}

struct relay_line *relay_line_find(struct relay_job *job, const struct plan_host *host,
                                   const struct plan_address *address, unsigned port)
{
    for (struct relay_line *line = job->relay->lines; line != NULL; line = line->next) {
        bool same_address = line->address.len == address->len &&
                            memcmp(line->address.bytes, address->bytes, address->len) == 0;
        bool same_host =
            str_equal(str_make(line->host, line->host_len), str_make(host->name, host->name_len));
        /* A verified certificate was for one name: another name at the same address is another server. */
        if (same_kind(line, job, port) && same_address && same_host) {
            line->state = LINE_TALKING;
            line->reused = true;
            line->job = job;
            job->line = line;
            return line;
        }
    }
    return NULL;
}

void relay_line_reuse(struct relay_line *line)
{
    drive(line, STR_EMPTY);
}

void relay_lines_end_idle(struct relay *relay, bool old_only)
{
    struct relay_line *next;
    for (struct relay_line *line = relay->lines; line != NULL; line = next) {
        next = line->next;
        if (line->state == LINE_IDLE && !(old_only && line->config == relay->role->config)) {
            timed_out(line);
        }
    }
}

void relay_line_drop(struct relay_line *line)
{
    line->job = NULL;
    close_line(line);
}

bool relay_line_committed(const struct relay_line *line)
{
    enum smtp_client_stage stage = smtp_client_stage_now(&line->client);
    return line->state == LINE_TALKING && stage >= SMTP_STAGE_MAIL && stage <= SMTP_STAGE_FINAL;
}

void relay_line_describe(const struct relay_line *line, struct relay_failure *failure)
{
    memcpy(failure->host, line->host, sizeof(failure->host));
    memcpy(failure->address, line->address_text, sizeof(failure->address));
    memcpy(failure->tls, line->tls_text, sizeof(failure->tls));
    if (line->tls_text[0] == '\0' && line->client.refusal[0] != '\0') {
        struct buf text = {.data = failure->tls, .cap = RELAY_TLS_TEXT, .limit = RELAY_TLS_TEXT - 1};
        buf_append_lit(&text, "none: STARTTLS was refused: ");
        buf_append_str(&text, str_sub(str_of(line->client.refusal), 0, text.limit - text.len));
        failure->tls[text.len] = '\0';
    }
}
