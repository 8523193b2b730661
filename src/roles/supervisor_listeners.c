/*
 * The listening sockets. They belong to the supervisor and outlive the roles that accept on them, so that neither a crash nor
 * a reload refuses a connection. Called by supervisor.c only.
 */
#include "roles/supervisor_private.h"

#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static enum role_kind role_of(enum listener_kind kind)
{
    switch (kind) {
    case LISTENER_SUBMISSION: return ROLE_SMTPD_MSA;
    case LISTENER_POP3:
    case LISTENER_IMAP: return ROLE_IMAPD;
    case LISTENER_MX:
    case LISTENER_LMTP: break;
    }
    return ROLE_SMTPD_MX;
}

/* Copies a slice into a NUL-terminated field; false if it does not fit. */
static bool copy_text(char *field, size_t size, struct str text)
{
    if (text.len >= size) {
        return false;
    }
    memcpy(field, text.data, text.len);
    field[text.len] = '\0';
    return true;
}

static bool parse_address(const char *text, unsigned port, struct sockaddr_storage *address, socklen_t *len)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof(*v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *len = sizeof(*v6);
        return true;
    }
    return false;
}

static const char *bind_advice(int error)
{
    switch (error) {
    case EADDRINUSE: return "; another program has this port: stop it or choose another port";
    case EACCES: return "; ports below 1024 need root: start as root or choose another port";
    case EADDRNOTAVAIL: return "; this host has no such address";
    default: return "";
    }
}

/* The socket, or -1 with errno. */
static int open_listener(const struct sockaddr_storage *address, socklen_t len)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ss_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, (const struct sockaddr *)address, len) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* At the start: also while a predecessor's last process still holds the port. */
static int open_listener_patiently(const struct supervisor *s, const struct sockaddr_storage *address,
                                   socklen_t len)
{
    int fd = open_listener(address, len);
    for (int tries = 0; fd < 0 && errno == EADDRINUSE && s->child_count == 0 && tries < SUPERVISOR_TRIES;
         tries++) {
        usleep(SUPERVISOR_PAUSE_US);
        fd = open_listener(address, len);
    }
    return fd;
}

static struct bound_listener *find_bound(struct supervisor *s, const char *address, unsigned port)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        struct bound_listener *listener = &s->listeners[i];
        if (!listener->is_new && listener->port == port && strcmp(listener->address, address) == 0) {
            return listener;
        }
    }
    return NULL;
}

/* A host without IPv6 still serves IPv4, and the other way round, when the configuration names the wildcard or loopback. */
static bool may_be_missing(const char *address, int error)
{
    return (error == EAFNOSUPPORT || error == EADDRNOTAVAIL) &&
           (strcmp(address, "::") == 0 || strcmp(address, "::1") == 0);
}

static bool bind_one(struct supervisor *s, const struct config_listener *wanted, struct str address,
                     struct buf *errors)
{
    struct bound_listener fresh = {
        .port = wanted->port, .role = role_of(wanted->kind), .wanted = true, .is_new = true};
    struct sockaddr_storage socket_address;
    socklen_t len = 0;
    if (s->listener_count == LISTENERS_MAX || !copy_text(fresh.name, sizeof(fresh.name), wanted->name) ||
        !copy_text(fresh.address, sizeof(fresh.address), address) ||
        !parse_address(fresh.address, wanted->port, &socket_address, &len)) {
        buf_printf(errors,
                   "%.*s:%u: listener %.*s: \"%.*s\" is not an IP address, or there are too many listeners\n",
                   STR_ARGS(s->config->file_name), wanted->line, STR_ARGS(wanted->name), STR_ARGS(address));
        return false;
    }
    struct bound_listener *bound = find_bound(s, fresh.address, fresh.port);
    if (bound != NULL && bound->role == fresh.role && strcmp(bound->name, fresh.name) == 0) {
        bound->wanted = true;
        return true;
    }
    fresh.fd = bound != NULL ? dup(bound->fd) : open_listener_patiently(s, &socket_address, len);
    if (fresh.fd < 0) {
        if (may_be_missing(fresh.address, errno)) {
            return true;
        }
        buf_printf(errors, "listener %s cannot listen on %s port %u: %s%s\n", fresh.name, fresh.address,
                   fresh.port, strerror(errno), bind_advice(errno));
        return false;
    }
    fresh.id = ++s->next_listener;
    s->listeners[s->listener_count++] = fresh;
    return true;
}

static void remove_listener(struct supervisor *s, size_t at)
{
    close(s->listeners[at].fd);
    s->listeners[at] = s->listeners[--s->listener_count];
}

bool supervisor_bind(struct supervisor *s, const struct config *config, struct buf *errors)
{
    bool fine = true;
    for (size_t i = 0; i < s->listener_count; i++) {
        s->listeners[i].wanted = false;
        s->listeners[i].is_new = false;
    }
    for (size_t i = 0; i < config->listener_count && fine; i++) {
        for (size_t a = 0; a < config->listeners[i].address_count && fine; a++) {
            fine = bind_one(s, &config->listeners[i], config->listeners[i].addresses[a], errors);
        }
    }
    for (size_t i = s->listener_count; i > 0 && !fine; i--) {
        if (s->listeners[i - 1].is_new) {
            remove_listener(s, i - 1);
        } else {
            s->listeners[i - 1].wanted = true;
        }
    }
    return fine;
}

void supervisor_unbind_unwanted(struct supervisor *s)
{
    for (size_t i = s->listener_count; i > 0; i--) {
        struct bound_listener *listener = &s->listeners[i - 1];
        if (listener->wanted) {
            continue;
        }
        struct control_unlisten message = {.id = listener->id};
        for (size_t c = 0; c < s->child_count; c++) {
            if (s->children[c].kind == listener->role && s->children[c].control != NULL) {
                channel_send(s->children[c].control, &control_unlisten_type, &message);
            }
        }
        remove_listener(s, i - 1);
    }
}

bool supervisor_bind_admin(struct supervisor *s, struct buf *errors)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", s->run_dir);
    if (n < 0 || (size_t)n >= sizeof(address.sun_path)) {
        buf_printf(errors,
                   "the path of the control socket is too long: %s/control; choose a shorter runtime_dir\n",
                   s->run_dir);
        return false;
    }
    s->admin_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    mode_t before = umask(077);
    bool fine = s->admin_fd >= 0 && bind(s->admin_fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                listen(s->admin_fd, 64) == 0;
    umask(before);
    if (!fine) {
        buf_printf(errors, "cannot make the control socket %s: %s\n", address.sun_path, strerror(errno));
    }
    return fine;
}
