/* Sockets, the DNS and other people's mail servers of the simulation; see sim.h. */
#include "sim.h"

#include "base/mem.h"
#include "ipc/proto_resolve.h"
#include "tls/tls.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_FD = 100000, CONNS_MAX = 20000, DOMAINS_MAX = 16, HOSTS_MAX = 40, RCPTS = 100, GREY_MAX = 256 };

struct text {
    char *data;
    size_t len;
    size_t cap;
};

struct conn {
    int fd;
    struct sim_process *owner;
    struct sim_host *host;
    struct loop_watch *watch;
    unsigned what;
    bool poked;
    bool served;
    bool connecting;
    bool refused;
    bool ended;  /* by the server: what it sent can still be read */
    bool closed; /* by the client */
    bool hangs;
    struct text to_client;
    struct text in;
    /* The server's session. */
    bool has_sender;
    bool in_data;
    bool chunking;
    bool chunk_last;
    size_t chunk_left;
    char sender[300];
    char rcpts[RCPTS][300];
    size_t rcpt_count;
    struct text message;
};

struct sim_domain sim_domains[DOMAINS_MAX];
size_t sim_domain_count;
bool sim_faults;

static struct sim_host hosts[HOSTS_MAX];
static size_t host_count;
static struct conn *conns[CONNS_MAX];
static size_t conn_count;
static uint64_t transactions;

static struct {
    const struct sim_host *host;
    char rcpt[300];
    uint64_t first_us;
} greys[GREY_MAX];
static size_t grey_count;

/* Text. */

static void text_add(struct text *t, const char *data, size_t len)
{
    if (t->len + len + 1 > t->cap) {
        t->cap = (t->len + len + 1) * 2;
        t->data = realloc(t->data, t->cap);
        if (t->data == NULL) {
            abort();
        }
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

static void text_cut(struct text *t, size_t len)
{
    memmove(t->data, t->data + len, t->len - len);
    t->len -= len;
}

/* The world's shape. */

struct sim_domain *sim_domain_add(const char *name)
{
    struct sim_domain *domain = &sim_domains[sim_domain_count++];
    *domain = (struct sim_domain){0};
    snprintf(domain->name, sizeof(domain->name), "%s", name);
    return domain;
}

struct sim_host *sim_host_add(struct sim_domain *domain)
{
    struct sim_host *host = &hosts[host_count++];
    *host = (struct sim_host){.esmtp = true, .pipelining = true, .permanent = 100};
    snprintf(host->name, sizeof(host->name), domain->dns == DNS_ADDRESS_ONLY ? "%.0d%.38s" : "mx%d.%.30s",
             (int)domain->host_count, domain->name);
    host->address[0] = 10;
    host->address[3] = (unsigned char)host_count;
    domain->hosts[domain->host_count++] = host;
    return host;
}

static struct sim_domain *domain_of(const struct sim_host *host)
{
    for (size_t i = 0; i < sim_domain_count; i++) {
        for (size_t k = 0; k < sim_domains[i].host_count; k++) {
            if (sim_domains[i].hosts[k] == host) {
                return &sim_domains[i];
            }
        }
    }
    abort();
}

/* The client's side. */

static bool is_ready(const struct conn *c, unsigned *what)
{
    *what = 0;
    if (c->closed || c->watch == NULL) {
        return false;
    }
    if ((c->what & LOOP_WRITE) != 0 && !c->connecting) {
        *what |= LOOP_WRITE;
    }
    if ((c->what & LOOP_READ) != 0 && !c->connecting && (c->to_client.len > 0 || c->ended)) {
        *what |= LOOP_READ;
    }
    return *what != 0;
}

static void look(void *context);

static void poke(struct conn *c)
{
    if (!c->poked) {
        c->poked = true;
        sim_at(sim_now() + 1000 + sim_below(20000), NULL, look, c);
    }
}

static void look(void *context)
{
    struct conn *c = context;
    unsigned what;
    c->poked = false;
    if (!sim_alive(c->owner) || !is_ready(c, &what)) {
        return;
    }
    sim_wake(c->owner);
    sim_enter(c->owner);
    c->watch->ready(c->watch->context, what);
    sim_leave();
    if (is_ready(c, &what)) {
        poke(c);
    }
}

static struct conn *conn_of(int fd)
{
    return fd >= FIRST_FD && (size_t)(fd - FIRST_FD) < conn_count ? conns[fd - FIRST_FD] : NULL;
}

int sim_watch_fd(struct loop_watch *watch, int fd, unsigned what)
{
    struct conn *c = conn_of(fd);
    if (c != NULL) {
        c->watch = watch;
        c->what = what;
        poke(c);
    }
    return 0;
}

void sim_unwatch_fd(int fd)
{
    struct conn *c = conn_of(fd);
    if (c != NULL) {
        c->watch = NULL;
    }
}

/* The server's side. */

static enum sim_fate draw(struct sim_host *host, enum sim_step step)
{
    if (host->times > 0 && host->step == step) {
        host->times--;
        return host->fate;
    }
    if (!sim_faults || !sim_chance(host->fault)) {
        return FATE_GOOD;
    }
    if (sim_chance(host->permanent)) {
        return FATE_PERMANENT;
    }
    uint32_t n = sim_below(100);
    return n < 50 ? FATE_TEMPORARY : n < 90 ? FATE_DROP : FATE_HANG;
}

static void say(struct conn *c, const char *line)
{
    text_add(&c->to_client, line, strlen(line));
    text_add(&c->to_client, "\r\n", 2);
    poke(c);
}

static void drop(struct conn *c)
{
    c->ended = true;
    c->in.len = 0;
    poke(c);
}

/* True if the command is to be done; otherwise it has been answered, or never will be. */
static bool meets_fate(struct conn *c, enum sim_step step, const char *temporary, const char *permanent)
{
    switch (draw(c->host, step)) {
    case FATE_GOOD: return true;
    case FATE_TEMPORARY: say(c, temporary); return false;
    case FATE_PERMANENT:
        domain_of(c->host)->permanent_seen = true;
        say(c, permanent);
        return false;
    case FATE_DROP: drop(c); return false;
    case FATE_TAKEN_AND_LOST:
    case FATE_HANG: c->hangs = true; return false;
    }
    return false;
}

static void forget_transaction(struct conn *c)
{
    c->has_sender = false;
    c->rcpt_count = 0;
    c->message.len = 0;
    c->in_data = false;
    c->chunking = false;
}

static void greet_client(struct conn *c)
{
    if (meets_fate(c, STEP_GREETING, "421 4.3.2 too busy", "554 5.7.1 go away")) {
        say(c, "220 mx.example ESMTP");
    } else if (!c->ended && !c->hangs) {
        drop(c);
    }
}

static void hello(struct conn *c, bool extended)
{
    if (extended && !c->host->esmtp) {
        say(c, "502 5.5.1 what");
    } else if (meets_fate(c, STEP_HELLO, "421 4.3.2 closing", "550 5.7.1 not you")) {
        if (extended && c->host->pipelining) {
            say(c, "250-PIPELINING");
        }
        if (extended && c->host->dsn) {
            say(c, "250-DSN");
        }
        if (extended && c->host->chunking) {
            say(c, "250-CHUNKING");
        }
        say(c, "250 SIZE 10000000");
    }
}

static void take_path(const char *line, char *out, size_t size)
{
    const char *from = strchr(line, '<');
    const char *to = from == NULL ? NULL : strchr(from, '>');
    size_t len = to == NULL ? 0 : (size_t)(to - from - 1);
    len = len < size ? len : size - 1;
    if (len > 0) {
        memcpy(out, from + 1, len);
    }
    out[len] = '\0';
}

static bool is_grey(const struct sim_host *host, const char *rcpt)
{
    if (!host->greylists || !sim_faults) {
        return false;
    }
    for (size_t i = 0; i < grey_count; i++) {
        if (greys[i].host == host && strcmp(greys[i].rcpt, rcpt) == 0) {
            return sim_now() < greys[i].first_us + 4 * SIM_MINUTE;
        }
    }
    if (grey_count < GREY_MAX) {
        greys[grey_count].host = host;
        greys[grey_count].first_us = sim_now();
        snprintf(greys[grey_count++].rcpt, sizeof(greys[0].rcpt), "%s", rcpt);
    }
    return true;
}

static void rcpt(struct conn *c, const char *line)
{
    char address[300];
    take_path(line, address, sizeof(address));
    if (!c->has_sender) {
        say(c, "503 5.5.1 MAIL first");
    } else if (c->rcpt_count >= RCPTS || (c->host->rcpt_limit > 0 && c->rcpt_count >= c->host->rcpt_limit)) {
        say(c, "452 4.5.3 too many recipients");
    } else if (strncmp(address, "nobody", 6) == 0) {
        domain_of(c->host)->permanent_seen = true;
        say(c, "550 5.1.1 no such user here");
    } else if (is_grey(c->host, address)) {
        say(c, "451 4.7.1 greylisted, come again");
    } else if (meets_fate(c, STEP_RCPT, "452 4.2.2 mailbox full", "550 5.2.1 mailbox closed")) {
        memcpy(c->rcpts[c->rcpt_count++], address, sizeof(address));
        say(c, "250 2.1.5 yes");
    }
}

static void bdat(struct conn *c, const char *line)
{
    c->chunking = true;
    c->chunk_left = strtoul(line + 4, NULL, 10);
    c->chunk_last = strcasestr(line, "LAST") != NULL;
}

static void command(struct conn *c, const char *line)
{
    if (strncasecmp(line, "EHLO", 4) == 0 || strncasecmp(line, "HELO", 4) == 0) {
        hello(c, line[0] == 'E' || line[0] == 'e');
    } else if (strncasecmp(line, "MAIL", 4) == 0) {
        if (meets_fate(c, STEP_MAIL, "451 4.3.0 later", "550 5.7.1 not from you")) {
            forget_transaction(c);
            take_path(line, c->sender, sizeof(c->sender));
            c->has_sender = true;
            say(c, "250 2.1.0 yes");
        }
    } else if (strncasecmp(line, "RCPT", 4) == 0) {
        rcpt(c, line);
    } else if (strncasecmp(line, "BDAT", 4) == 0) {
        bdat(c, line);
    } else if (strncasecmp(line, "DATA", 4) == 0) {
        if (c->rcpt_count == 0) {
            say(c, "503 5.5.1 RCPT first");
        } else if (meets_fate(c, STEP_DATA, "451 4.3.0 later", "554 5.6.0 no")) {
            c->in_data = true;
            say(c, "354 go on");
        }
    } else if (strncasecmp(line, "QUIT", 4) == 0) {
        say(c, "221 2.0.0 bye");
        drop(c);
    } else {
        if (strncasecmp(line, "RSET", 4) == 0) {
            forget_transaction(c);
        }
        say(c, "250 2.0.0 yes");
    }
}

/* The whole message is here. */
static void final(struct conn *c)
{
    const struct str message = str_make(c->message.data == NULL ? "" : c->message.data, c->message.len);
    enum sim_fate fate = draw(c->host, STEP_FINAL);
    bool lost = fate == FATE_TAKEN_AND_LOST || (sim_faults && sim_chance(c->host->late_drop));
    transactions++;
    if (c->rcpt_count == 0) {
        say(c, "503 5.5.1 RCPT first");
    } else if (fate == FATE_GOOD || lost) {
        for (size_t i = 0; i < c->rcpt_count; i++) {
            sim_world_taken(str_of(c->sender), str_of(c->rcpts[i]), message, transactions);
            if (lost) {
                sim_world_uncertain(str_of(c->rcpts[i]), message);
            }
        }
        if (!lost) {
            say(c, "250 2.0.0 taken");
        } else if (sim_chance(300)) {
            c->hangs = true;
        } else {
            drop(c);
        }
    } else if (fate == FATE_TEMPORARY) {
        say(c, "451 4.3.0 later");
    } else if (fate == FATE_PERMANENT) {
        domain_of(c->host)->permanent_seen = true;
        say(c, "554 5.6.0 no");
    } else if (fate == FATE_DROP) {
        drop(c);
    } else {
        c->hangs = true;
    }
    forget_transaction(c);
}

static bool take_body(struct conn *c)
{
    text_add(&c->message, c->in.data, c->in.len);
    c->in.len = 0;
    bool scripted = c->host->step == STEP_BODY && draw(c->host, STEP_BODY) == FATE_DROP;
    if (scripted || (sim_faults && sim_chance(c->host->fault / 4))) {
        drop(c);
        return false;
    }
    const char *end = memmem(c->message.data, c->message.len, "\r\n.\r\n", 5);
    if (end == NULL) {
        return false;
    }
    size_t at = (size_t)(end - c->message.data);
    text_add(&c->in, end + 5, c->message.len - at - 5);
    c->message.len = at + 2;
    final(c);
    return true;
}

static bool take_chunk(struct conn *c)
{
    size_t n = c->in.len < c->chunk_left ? c->in.len : c->chunk_left;
    text_add(&c->message, c->in.data == NULL ? "" : c->in.data, n);
    if (n > 0) {
        text_cut(&c->in, n);
    }
    c->chunk_left -= n;
    if (c->chunk_left > 0) {
        return false;
    }
    c->chunking = false;
    if (c->chunk_last) {
        final(c);
    } else {
        say(c, c->rcpt_count == 0 ? "503 5.5.1 RCPT first" : "250 2.0.0 more");
    }
    return true;
}

static bool take_line(struct conn *c)
{
    char line[2048];
    const char *end = c->in.len == 0 ? NULL : memmem(c->in.data, c->in.len, "\r\n", 2);
    if (end == NULL) {
        return false;
    }
    size_t len = (size_t)(end - c->in.data);
    size_t kept = len < sizeof(line) ? len : sizeof(line) - 1;
    memcpy(line, c->in.data, kept);
    line[kept] = '\0';
    text_cut(&c->in, len + 2);
    if (sim_verbose) {
        fprintf(stderr, "%10.3f %s <- %s\n", (double)sim_now() / 1e6, c->host->name, line);
    }
    command(c, line);
    return true;
}

static void serve(void *context)
{
    struct conn *c = context;
    bool more = true;
    c->served = false;
    while (more && !c->ended && !c->hangs && !c->closed) {
        more = c->chunking ? take_chunk(c) : c->in_data ? c->in.len > 0 && take_body(c) : take_line(c);
    }
}

static void connected(void *context)
{
    struct conn *c = context;
    c->connecting = false;
    if (!c->refused) {
        greet_client(c);
    }
    poke(c);
}

static bool is_down(const struct sim_host *host)
{
    return host->dead || (sim_now() >= host->down_from && sim_now() < host->down_until);
}

/* The calls that the relay makes. */

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getifaddrs(struct ifaddrs **list);

int __wrap_getifaddrs(struct ifaddrs **list)
{
    *list = NULL;
    return -1;
}

int __wrap_socket(int domain, int type, int protocol)
{
    (void)domain;
    (void)type;
    (void)protocol;
    struct conn *c = conn_count < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL) {
        errno = EMFILE;
        return -1;
    }
    c->fd = FIRST_FD + (int)conn_count;
    c->owner = sim_current();
    conns[conn_count++] = c;
    return c->fd;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    (void)len;
    struct conn *c = conn_of(fd);
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const unsigned char *octets = (const unsigned char *)&v4->sin_addr;
    c->connecting = true;
    for (size_t i = 0; i < host_count; i++) {
        if (memcmp(hosts[i].address, octets, 4) == 0) {
            c->host = &hosts[i];
        }
    }
    errno = EINPROGRESS;
    if (c->host == NULL || (is_down(c->host) && sim_chance(300))) {
        return -1; /* no answer at all */
    }
    c->refused = is_down(c->host);
    sim_at(sim_now() + 10000 + sim_below(100000), NULL, connected, c);
    return -1;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    (void)flags;
    struct conn *c = conn_of(fd);
    if (c->ended) {
        errno = EPIPE;
        return -1;
    }
    text_add(&c->in, data, len);
    if (!c->served) {
        c->served = true;
        sim_at(sim_now() + 1000 + sim_below(20000), NULL, serve, c);
    }
    return (ssize_t)len;
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    (void)flags;
    struct conn *c = conn_of(fd);
    if (c->to_client.len == 0) {
        errno = EAGAIN;
        return c->ended ? 0 : -1;
    }
    size_t n = c->to_client.len < len ? c->to_client.len : len;
    n = n > 1 && sim_chance(100) ? 1 + sim_below((uint32_t)n - 1) : n;
    memcpy(data, c->to_client.data, n);
    text_cut(&c->to_client, n);
    return (ssize_t)n;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    (void)fd;
    (void)level;
    (void)name;
    (void)value;
    (void)len;
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    (void)level;
    (void)name;
    int error = conn_of(fd)->refused ? ECONNREFUSED : 0;
    memcpy(value, &error, sizeof(error));
    *len = sizeof(error);
    return 0;
}

int __wrap_close(int fd)
{
    struct conn *c = conn_of(fd);
    if (c == NULL) {
        return __real_close(fd);
    }
    c->closed = true;
    c->watch = NULL;
    return 0;
}

void sim_net_process_gone(struct sim_process *process)
{
    for (size_t i = 0; i < conn_count; i++) {
        if (conns[i]->owner == process) {
            conns[i]->closed = true;
            conns[i]->watch = NULL;
        }
    }
}

void sim_net_reset(void)
{
    sim_domain_count = 0;
    host_count = 0;
    grey_count = 0;
    sim_faults = true;
}

void sim_net_end(void)
{
    for (size_t i = 0; i < conn_count; i++) {
        free(conns[i]->to_client.data);
        free(conns[i]->in.data);
        free(conns[i]->message.data);
        free(conns[i]);
    }
    conn_count = 0;
}

/* The resolver. */

struct answer {
    struct channel *to;
    bool mx;
    struct resolve_mx_answer mx_answer;
    struct resolve_host_answer host_answer;
    char area[512];
};

static void answer_now(void *context)
{
    struct answer *a = context;
    if (a->mx) {
        channel_send(a->to, &resolve_mx_answer_type, &a->mx_answer);
    } else {
        channel_send(a->to, &resolve_host_answer_type, &a->host_answer);
    }
    free(a);
}

static struct sim_domain *domain_named(struct str name)
{
    for (size_t i = 0; i < sim_domain_count; i++) {
        if (str_equal(name, str_of(sim_domains[i].name))) {
            return &sim_domains[i];
        }
    }
    return NULL;
}

static enum resolve_status mx_status(struct sim_domain *domain)
{
    if (domain == NULL) {
        return RESOLVE_NO_DOMAIN;
    }
    switch (domain->dns) {
    case DNS_NONE: domain->permanent_seen = true; return RESOLVE_NO_DOMAIN;
    case DNS_NULL_MX: domain->permanent_seen = true; return RESOLVE_OK;
    case DNS_FAILS_AT_TIMES:
        if (sim_faults && sim_chance(400)) {
            return sim_chance(300) ? RESOLVE_BOGUS : RESOLVE_TEMPORARY;
        }
        return RESOLVE_OK;
    case DNS_ADDRESS_ONLY: return RESOLVE_NO_DATA;
    case DNS_MX: break;
    }
    return RESOLVE_OK;
}

static void answer_mx(struct answer *a, const struct resolve_mx *ask)
{
    struct sim_domain *domain = domain_named(ask->domain);
    size_t at = 0;
    a->mx = true;
    a->mx_answer = (struct resolve_mx_answer){.ticket = ask->ticket,
                                              .status = (uint8_t)mx_status(domain),
                                              .hosts = STR_EMPTY,
                                              .cause = STR("as simulated")};
    if (a->mx_answer.status != RESOLVE_OK) {
        return;
    }
    for (size_t i = 0; domain->dns != DNS_NULL_MX && i < domain->host_count; i++) {
        size_t len = strlen(domain->hosts[i]->name);
        a->area[at] = (char)(i == 2 ? 20 : 10);
        a->area[at + 1] = 0;
        a->area[at + 2] = (char)len;
        memcpy(a->area + at + 3, domain->hosts[i]->name, len);
        at += 3 + len;
    }
    a->mx_answer.hosts = str_make(a->area, domain->dns == DNS_NULL_MX ? 3 : at);
}

static void answer_host(struct answer *a, const struct resolve_host *ask)
{
    a->host_answer = (struct resolve_host_answer){.ticket = ask->ticket,
                                                  .status = RESOLVE_NO_DOMAIN,
                                                  .addresses = STR_EMPTY,
                                                  .cause = STR("as simulated")};
    for (size_t i = 0; i < host_count; i++) {
        if (str_equal(ask->host, str_of(hosts[i].name))) {
            a->area[0] = 4;
            memcpy(a->area + 1, hosts[i].address, 4);
            a->host_answer.status = RESOLVE_OK;
            a->host_answer.addresses = str_make(a->area, 5);
        }
    }
}

static void resolver_takes(struct sim_actor *actor, struct channel *from, const struct ipc_type *type,
                           const void *message, int fd)
{
    (void)actor;
    (void)fd;
    struct answer *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        abort();
    }
    a->to = from;
    if (type == &resolve_mx_type) {
        answer_mx(a, message);
    } else {
        answer_host(a, message);
    }
    if (sim_faults && sim_chance(5)) {
        free(a); /* never answered */
        return;
    }
    sim_at(sim_now() + 1000 + sim_below(200000), NULL, answer_now, a);
}

struct sim_actor sim_resolver = {.kind = ROLE_RESOLVER, .instance = 3, .take = resolver_takes};

/* TLS is switched off in the configuration: none of these is reached in a session. */

bool tls_setup(tls_sign sign, void *context)
{
    (void)sign;
    (void)context;
    return true;
}

struct tls_context *tls_client_context(struct str ca, struct buf *errors)
{
    (void)ca;
    (void)errors;
    static char nothing;
    return (struct tls_context *)(void *)&nothing;
}

void tls_context_free(struct tls_context *context)
{
    (void)context;
}

struct tls *tls_client(struct tls_context *context, int fd, struct str host, bool verify)
{
    (void)context;
    (void)fd;
    (void)host;
    (void)verify;
    return NULL;
}

void tls_free(struct tls *tls)
{
    (void)tls;
}

enum tls_result tls_handshake(struct tls *tls)
{
    (void)tls;
    return TLS_FAILED;
}

enum tls_result tls_read(struct tls *tls, void *data, size_t len, size_t *done)
{
    (void)tls;
    (void)data;
    (void)len;
    *done = 0;
    return TLS_FAILED;
}

enum tls_result tls_write(struct tls *tls, const void *data, size_t len, size_t *done)
{
    (void)tls;
    (void)data;
    (void)len;
    *done = 0;
    return TLS_FAILED;
}

void tls_shutdown(struct tls *tls)
{
    (void)tls;
}

const char *tls_version(const struct tls *tls)
{
    (void)tls;
    return "";
}

const char *tls_cipher(const struct tls *tls)
{
    (void)tls;
    return "";
}

const char *tls_error(void)
{
    return "";
}
