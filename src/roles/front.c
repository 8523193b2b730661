/* Listeners, accepting and shared settings; see front.h. */
#include "roles/front.h"

#include "base/log.h"
#include "base/mem.h"
#include "roles/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

enum {
    ACCEPTS_A_PASS = 1,
    PAUSE_MS = 500,
    BUCKETS = 4096,
    CERTIFICATES_MAX = 64,
    PEM_MAX = 1 << 20,
    TICKET_KEY = 80
};

struct front {
    struct front *next;
    struct fronts *fronts;
    uint32_t id;
    int fd;
    struct loop_watch watch;
    struct front_settings *settings; /* NULL: it could not be made; nothing is accepted */
    size_t name_len;
    char name[256];
};

/* How many sessions a client's address has. */
struct address_count {
    struct address_count *next;
    size_t len;
    unsigned char prefix[16];
    unsigned count;
};

struct certificate {
    size_t name_len;
    char name[256];
    struct buf pem;
};

struct fronts {
    struct role *role;
    const struct front_events *events;
    void *context;
    struct front *list;
    bool started;
    bool stopped;
    size_t sessions;
    struct loop_timer pause;
    struct certificate certificates[CERTIFICATES_MAX];
    size_t certificate_count;
    unsigned char ticket_key[TICKET_KEY];
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    struct address_count *counts[BUCKETS];
    struct remote_key_client keys;
};

struct fronts *fronts_new(struct role *role, const struct front_events *events, void *context)
{
    struct fronts *f = mem_new(struct fronts);
    if (f != NULL) {
        f->role = role;
        f->events = events;
        f->context = context;
        f->keys.fd = -1;
        crypto_shorthash_keygen(f->hash_key);
        randombytes_buf(f->ticket_key, sizeof(f->ticket_key));
    }
    return f;
}

/* Settings. */

struct front_settings *front_settings_ref(struct front_settings *settings)
{
    settings->references++;
    return settings;
}

void front_settings_unref(struct front_settings *settings)
{
    if (settings == NULL || --settings->references > 0) {
        return;
    }
    if (settings->data != NULL) {
        settings->unmake(settings->data);
    }
    tls_context_free(settings->tls);
    config_unref(settings->config);
    mem_free(settings);
}

static struct certificate *find_certificate(struct fronts *f, struct str name)
{
    for (size_t i = 0; i < f->certificate_count; i++) {
        if (str_equal(str_make(f->certificates[i].name, f->certificates[i].name_len), name)) {
            return &f->certificates[i];
        }
    }
    return NULL;
}

/* The protocol's name in ALPN (RFC 7301): a client that sends others has come to the wrong door. */
static struct str alpn_of(enum listener_kind kind)
{
    switch (kind) {
    case LISTENER_IMAP: return STR("imap");
    case LISTENER_POP3: return STR("pop3");
    default: return STR("smtp");
    }
}

static struct tls_context *make_tls(struct fronts *f, const struct front_settings *settings)
{
    struct str name = settings->listener->tls_name;
    if (name.len == 0 && settings->config->tls_count > 0) {
        name = settings->config->tls[0].name;
    }
    const struct certificate *certificate = find_certificate(f, name);
    if (settings->listener->tls == LISTENER_TLS_NONE || certificate == NULL) {
        return NULL;
    }
    struct buf errors = buf_make(1024);
    struct tls_context *tls = tls_server_context(buf_str(&certificate->pem), name,
                                                 alpn_of(settings->listener->kind), f->ticket_key, &errors);
    if (tls == NULL) {
        log_error("listener %.*s: certificate %.*s cannot be used: %.*s", STR_ARGS(settings->listener->name),
                  STR_ARGS(name), STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return tls;
}

static struct front_settings *make_settings(struct fronts *f, const struct front *front)
{
    const struct config_listener *listener =
        config_find_listener(f->role->config, str_make(front->name, front->name_len));
    struct front_settings *settings = listener == NULL ? NULL : mem_new(struct front_settings);
    if (settings == NULL) {
        return NULL;
    }
    settings->references = 1;
    settings->config = config_ref(f->role->config);
    settings->listener = listener;
    settings->tls = make_tls(f, settings);
    settings->unmake = f->events->unmake;
    bool needs_tls = listener->tls == LISTENER_TLS_IMPLICIT;
    settings->data = needs_tls && settings->tls == NULL ? NULL : f->events->make(f->context, settings);
    if (settings->data == NULL) {
        log_error("listener %.*s cannot be served", front->name_len > 0 ? (int)front->name_len : 0,
                  front->name);
        front_settings_unref(settings);
        return NULL;
    }
    return settings;
}

/* Limits. */

static struct address_count **bucket_of(struct fronts *f, const unsigned char *prefix, size_t len)
{
    uint64_t hash = 0;
    crypto_shorthash((unsigned char *)&hash, prefix, len, f->hash_key);
    return &f->counts[hash % BUCKETS];
}

static struct address_count *find_count(struct address_count *list, const unsigned char *prefix, size_t len)
{
    while (list != NULL && (list->len != len || memcmp(list->prefix, prefix, len) != 0)) {
        list = list->next;
    }
    return list;
}

/* Counts a session in; false if the address has too many already. */
static bool count_in(struct fronts *f, const struct sockaddr_storage *peer, unsigned max)
{
    unsigned char prefix[16];
    if (address_is_loopback(peer)) {
        return true;
    }
    size_t len = address_prefix(peer, prefix);
    struct address_count **bucket = bucket_of(f, prefix, len);
    struct address_count *entry = find_count(*bucket, prefix, len);
    if (entry == NULL) {
        entry = mem_new(struct address_count);
        if (entry == NULL) {
            return false;
        }
        entry->len = len;
        memcpy(entry->prefix, prefix, len);
        entry->next = *bucket;
        *bucket = entry;
    }
    if (entry->count >= max) {
        return false;
    }
    entry->count++;
    return true;
}

static void count_out(struct fronts *f, const struct sockaddr_storage *peer)
{
    unsigned char prefix[16];
    if (address_is_loopback(peer)) {
        return;
    }
    size_t len = address_prefix(peer, prefix);
    struct address_count **link = bucket_of(f, prefix, len);
    while (*link != NULL && ((*link)->len != len || memcmp((*link)->prefix, prefix, len) != 0)) {
        link = &(*link)->next;
    }
    struct address_count *entry = *link;
    if (entry != NULL && --entry->count == 0) {
        *link = entry->next;
        mem_free(entry);
    }
}

void fronts_ended(struct fronts *f, const struct sockaddr_storage *peer)
{
    f->sessions--;
    count_out(f, peer);
}

size_t fronts_sessions(const struct fronts *f)
{
    return f->sessions;
}

/* Accepting. */

static void refuse(struct fronts *f, const struct front_settings *settings, int fd, enum front_refusal why)
{
    struct str reply = f->events->refusal(f->context, settings, why);
    if (reply.len > 0) {
        /* The socket's own buffer takes a reply of one line at once, or the client does without. */
        ssize_t n = send(fd, reply.data, reply.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
    }
    close(fd);
}

static void take_connection(struct front *front, int fd, const struct sockaddr_storage *peer)
{
    struct fronts *f = front->fronts;
    const struct config_limits *limits = &front->settings->config->limits;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (f->sessions >= limits->sessions) {
        refuse(f, front->settings, fd, FRONT_TOO_MANY);
        return;
    }
    if (!count_in(f, peer, limits->sessions_per_address)) {
        refuse(f, front->settings, fd, FRONT_TOO_MANY_FROM_ADDRESS);
        return;
    }
    f->sessions++;
    if (!f->events->accepted(f->context, front->settings, fd, peer)) {
        fronts_ended(f, peer);
    }
}

static void watch_all(struct fronts *f, bool on)
{
    for (struct front *front = f->list; front != NULL; front = front->next) {
        if (front->watch.loop != NULL) {
            loop_rewatch(&front->watch, on && front->settings != NULL ? LOOP_READ : 0);
        }
    }
}

static void pause_over(void *context)
{
    watch_all(context, true);
}

/* Out of descriptors or memory: running sessions go on, and their end makes room. */
static void pause_accepting(struct fronts *f)
{
    log_warning(
        "no connections can be accepted for now: %s; raise the limit on open files or lower limits.sessions",
        strerror(errno));
    watch_all(f, false);
    loop_timer_start(f->role->loop, &f->pause, PAUSE_MS, false, pause_over, f);
}

static void connection_waits(void *context, unsigned what)
{
    (void)what;
    struct front *front = context;
    for (int i = 0; i < ACCEPTS_A_PASS; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        memset(&peer, 0, sizeof(peer));
        int fd = accept4(front->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                pause_accepting(front->fronts);
            }
            return;
        }
        take_connection(front, fd, &peer);
    }
}

/* What the supervisor sends. */

void front_listener(struct role *role, uint32_t id, struct str name, int fd)
{
    struct fronts *f = role->module->fronts(role);
    struct front *front =
        f == NULL || f->stopped || name.len >= sizeof(front->name) ? NULL : mem_new(struct front);
    if (front == NULL) {
        close(fd);
        return;
    }
    front->fronts = f;
    front->id = id;
    front->fd = fd;
    front->name_len = name.len;
    memcpy(front->name, name.data, name.len);
    front->next = f->list;
    f->list = front;
    /* Its settings come with the configuration that follows, or with fronts_start. */
    if (loop_watch(f->role->loop, &front->watch, fd, 0, connection_waits, front) != 0) {
        log_error("listener %.*s cannot be watched: out of memory", STR_ARGS(name));
    }
}

static void front_free(struct front *front)
{
    loop_unwatch(&front->watch);
    close(front->fd);
    front_settings_unref(front->settings);
    mem_free(front);
}

void front_unlisten(struct role *role, uint32_t id)
{
    struct fronts *f = role->module->fronts(role);
    for (struct front **link = f == NULL ? NULL : &f->list; link != NULL && *link != NULL;
         link = &(*link)->next) {
        if ((*link)->id == id) {
            struct front *front = *link;
            *link = front->next;
            front_free(front);
            return;
        }
    }
}

void front_secret(struct role *role, enum secret_kind kind, struct str name, int fd)
{
    struct fronts *f = role->module->fronts(role);
    struct buf content = buf_make(PEM_MAX);
    if (!role_read_fd(fd, PEM_MAX, &content)) {
        log_error("a certificate or key that the supervisor sent cannot be read");
    } else if (f == NULL) {
        log_error("no memory for a certificate or key that the supervisor sent");
    } else if (kind == SECRET_TICKET_KEY && content.len == TICKET_KEY) {
        memcpy(f->ticket_key, content.data, TICKET_KEY);
    } else if (kind == SECRET_TLS_CERTIFICATE && name.len < sizeof(f->certificates[0].name)) {
        struct certificate *certificate = find_certificate(f, name);
        if (certificate == NULL && f->certificate_count < CERTIFICATES_MAX) {
            certificate = &f->certificates[f->certificate_count++];
            certificate->name_len = name.len;
            memcpy(certificate->name, name.data, name.len);
            certificate->pem = buf_make(PEM_MAX);
        }
        if (certificate != NULL) {
            buf_clear(&certificate->pem);
            buf_append_str(&certificate->pem, buf_str(&content));
        }
    }
    buf_wipe(&content);
}

void front_signing(struct role *role, enum role_kind kind, uint32_t instance, int fd)
{
    struct fronts *f = role->module->fronts(role);
    (void)kind;
    (void)instance;
    if (f == NULL) {
        close(fd);
        return;
    }
    if (f->keys.fd >= 0) {
        close(f->keys.fd);
    }
    f->keys.fd = fd;
}

struct remote_key_client *fronts_keys(struct fronts *f)
{
    return &f->keys;
}

void fronts_configured(struct fronts *f)
{
    for (struct front *front = f->list; front != NULL; front = front->next) {
        struct front_settings *settings = make_settings(f, front);
        if (settings != NULL) {
            front_settings_unref(front->settings);
            front->settings = settings;
        }
    }
    if (f->started && !f->stopped) {
        watch_all(f, true);
    }
}

int fronts_start(struct fronts *f)
{
    f->started = true;
    fronts_configured(f);
    return 0;
}

void fronts_stop(struct fronts *f)
{
    f->stopped = true;
    loop_timer_stop(&f->pause);
    while (f->list != NULL) {
        struct front *front = f->list;
        f->list = front->next;
        front_free(front);
    }
}
