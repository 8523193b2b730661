/* A client's connection; see connection.h. */
#include "roles/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum {
    WIPED_MAX = 16384,
    READS_A_PASS = 4,
    UNREAD_MAX = 65536,
    PACKED_READ = 16384,
    WIRE_PIECE = 65536,
    CLEAR_MAX = 4096
};

/* One area for all connections of the process: input is consumed or copied to `pending` before the next read. */
static char read_area[CONNECTION_READ_SIZE];

static void handle_ready(void *context, unsigned what);

static void watch_for(struct connection *c, unsigned what)
{
    if (c->watched != what) {
        c->watched = (uint8_t)what;
        loop_rewatch(&c->watch, what);
    }
}

/*
 * What is waited for follows from the state: nobody reads while the client leaves much unread. A pause alone changes nothing:
 * it is mostly over before input comes, and where input does come first, handle_ready stops watching for it.
 */
static void update_watch(struct connection *c)
{
    if (c->dead || c->handshaking) {
        return;
    }
    bool full = c->out.len - c->sent > UNREAD_MAX;
    unsigned what = c->closing || full ? 0U : (unsigned)LOOP_READ;
    what = c->paused ? c->watched & what : what;
    if (c->sent < c->out.len) {
        what |= LOOP_WRITE;
    }
    watch_for(c, what);
}

static void release(struct connection *c, const char *reason)
{
    if (c->dead) {
        return;
    }
    c->dead = true;
    loop_unwatch(&c->watch);
    loop_undefer(c->loop, &c->task);
    if (c->tls != NULL) {
        tls_shutdown(c->tls);
        tls_free(c->tls);
        c->tls = NULL;
    }
    close(c->fd);
    c->fd = -1;
    buf_wipe(&c->out);
    buf_wipe(&c->pending);
    buf_wipe(&c->packed);
    buf_wipe(&c->wire);
    deflate_free(c->deflate);
    c->deflate = NULL;
    c->events->closed(c, reason);
}

bool connection_open(struct connection *c, struct loop *loop, int fd, const struct connection_events *events,
                     size_t out_limit)
{
    *c = (struct connection){.events = events,
                             .loop = loop,
                             .fd = fd,
                             .out = buf_make(out_limit),
                             .pending = buf_make(CONNECTION_READ_SIZE),
                             .watched = LOOP_READ,
                             .reason = ""};
    if (loop_watch(loop, &c->watch, fd, LOOP_READ, handle_ready, c) != 0) {
        close(fd);
        c->dead = true;
        return false;
    }
    return true;
}

/* Octets taken, 0 if the kernel is full, -1 if the peer is gone. */
static ssize_t write_octets(struct connection *c, const char *data, size_t len)
{
    if (c->tls == NULL) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    size_t done = 0;
    enum tls_result result = tls_write(c->tls, data, len, &done);
    return result == TLS_OK ? (ssize_t)done : result == TLS_WANT_WRITE || result == TLS_WANT_READ ? 0 : -1;
}

/* A piece of the output is compressed once the one before has been taken; it counts as written when all of it has been. */
static ssize_t write_compressed(struct connection *c)
{
    if (c->wire_covers == 0) {
        struct str piece = str_sub(str_from(buf_str(&c->out), c->sent), 0, WIRE_PIECE);
        buf_clear(&c->wire);
        c->wire_sent = 0;
        if (!deflate_append(c->deflate, piece, c->sent + piece.len == c->out.len, &c->wire)) {
            return -1;
        }
        c->wire_covers = piece.len;
    }
    while (c->wire_sent < c->wire.len) {
        ssize_t n = write_octets(c, c->wire.data + c->wire_sent, c->wire.len - c->wire_sent);
        if (n <= 0) {
            return n;
        }
        c->wire_sent += (size_t)n;
    }
    size_t covered = c->wire_covers;
    c->wire_covers = 0;
    buf_free(&c->wire);
    return (ssize_t)covered;
}

/* Writes some of the output. */
static ssize_t write_some(struct connection *c)
{
    return c->deflate != NULL ? write_compressed(c)
                              : write_octets(c, c->out.data + c->sent, c->out.len - c->sent);
}

void connection_flush(struct connection *c)
{
    if (c->dead || c->handshaking) {
        return;
    }
    if (!buf_ok(&c->out)) {
        /* One is missing: they are out of step. */
        release(c, "no memory for replies, or the client does not read them");
        return;
    }
    bool had = c->sent < c->out.len;
    while (c->sent < c->out.len) {
        ssize_t n = write_some(c);
        if (n < 0) {
            release(c, "the client is gone");
            return;
        }
        if (n == 0) {
            break;
        }
        c->sent += (size_t)n;
    }
    if (c->sent == c->out.len) {
        buf_free(&c->out); /* an idle connection holds no buffers */
        c->sent = 0;
        if (c->closing) {
            release(c, c->reason);
            return;
        }
        if (had && c->events->drained != NULL) {
            c->events->drained(c);
            if (c->dead) {
                return;
            }
        }
    }
    update_watch(c);
}

static void keep_pending(struct connection *c, struct str left)
{
    if (left.len > 0 && !c->dead && !buf_append_str(&c->pending, left)) {
        release(c, "out of memory for input");
    }
}

/* Hands bytes to the engine; keeps what it leaves. */
static void deliver(struct connection *c, struct str input)
{
    c->events->input(c, &input);
    if (!c->dead && !c->closing) {
        keep_pending(c, input);
    }
}

/* Octets read, 0 if there are none now, -1 at the end. */
static ssize_t read_octets(struct connection *c, char *area, size_t room)
{
    if (c->tls == NULL) {
        ssize_t n = recv(c->fd, area, room, MSG_DONTWAIT);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    size_t done = 0;
    enum tls_result result = tls_read(c->tls, area, room, &done);
    return result == TLS_OK ? (ssize_t)done : result == TLS_WANT_READ || result == TLS_WANT_WRITE ? 0 : -1;
}

/* What zlib still holds of earlier input comes first, then what has been read, then what can be read. */
static ssize_t read_compressed(struct connection *c)
{
    for (int i = 0; i < READS_A_PASS; i++) {
        struct str packed = buf_str(&c->packed);
        ssize_t n = deflate_expand(c->deflate, &packed, read_area, sizeof(read_area));
        buf_consume(&c->packed, c->packed.len - packed.len);
        if (c->packed.len == 0) {
            buf_free(&c->packed);
        }
        if (n != 0) {
            return n;
        }
        char *room = buf_reserve(&c->packed, PACKED_READ);
        ssize_t more = room == NULL ? -1 : read_octets(c, room, PACKED_READ);
        if (more <= 0) {
            return more;
        }
        c->packed.len += (size_t)more;
    }
    return 0;
}

static ssize_t read_some(struct connection *c)
{
    return c->deflate != NULL ? read_compressed(c) : read_octets(c, read_area, sizeof(read_area));
}

/* What was read may be a password: it does not lie about. Reads longer than this are of messages. */
static void deliver_area(struct connection *c, size_t len)
{
    deliver(c, str_make(read_area, len));
    explicit_bzero(read_area, len < WIPED_MAX ? len : WIPED_MAX);
}

static void resume_task(void *context);

/* What came earlier goes first: the loop may say that there is more to read before a resumed connection has had its turn. */
static void deliver_pending(struct connection *c)
{
    if (c->pending.len > 0) {
        struct buf pending = c->pending;
        c->pending = buf_make(CONNECTION_READ_SIZE);
        deliver(c, buf_str(&pending));
        buf_wipe(&pending);
    }
}

/*
 * What came gets no reply yet: the client has more to send. Many write a command in pieces (Python's imaplib a literal and the line
 * end behind it) and hold the next piece back until the last one is acknowledged, which the system would do 40 ms later.
 */
static void acknowledge(const struct connection *c)
{
    if (!c->dead && !c->paused && !c->closing && c->out.len == c->sent) {
        setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
    }
}

/*
 * A few reads, so that nobody keeps the loop for long. OpenSSL and zlib may hold what the socket does not tell of any more: after a
 * full pass there is another one, always.
 */
static void read_input(struct connection *c)
{
    bool came = false;
    if (!c->paused && !c->closing && !c->handshaking) {
        deliver_pending(c);
    }
    for (int i = 0; i < READS_A_PASS && !c->dead && !c->paused && !c->closing && !c->handshaking; i++) {
        ssize_t n = read_some(c);
        if (n < 0) {
            connection_flush(c); /* who has closed only their side still gets the replies, a 250 above all */
            release(c, "the client closed the connection");
            return;
        }
        if (n == 0) {
            break;
        }
        deliver_area(c, (size_t)n);
        came = true;
        if (c->tls == NULL && c->deflate == NULL && n < CONNECTION_READ_SIZE) {
            break; /* that was all for now: spares a call that would say so */
        }
        if (i == READS_A_PASS - 1 && (c->tls != NULL || c->deflate != NULL)) {
            loop_defer(c->loop, &c->task, resume_task, c);
        }
    }
    if (came) {
        acknowledge(c);
    }
}

static void resume_task(void *context)
{
    struct connection *c = context;
    if (c->dead || c->paused || c->closing || c->handshaking) {
        return;
    }
    deliver_pending(c);
    if (c->tls != NULL || c->deflate != NULL) {
        read_input(c);
    }
    if (!c->dead) {
        connection_flush(c);
    }
}

/* True: what came is no TLS, and the owner has dealt with it. */
static bool is_in_clear(struct connection *c)
{
    ssize_t n = c->begun || c->events->in_clear == NULL
                    ? 0
                    : recv(c->fd, read_area, CLEAR_MAX, MSG_DONTWAIT | MSG_PEEK);
    if (n <= 0) {
        return false;
    }
    c->begun = true;
    if (read_area[0] == 0x16 || (unsigned char)read_area[0] >= 0x80) {
        return false; /* a handshake, or what OpenSSL shall judge */
    }
    /* Taken, so that closing does not cut off the reply. */
    n = recv(c->fd, read_area, CLEAR_MAX, MSG_DONTWAIT);
    (void)n;
    tls_free(c->tls);
    c->tls = NULL;
    c->handshaking = false;
    c->events->in_clear(c);
    return true;
}

static void handshake(struct connection *c)
{
    if (is_in_clear(c)) {
        return;
    }
    enum tls_result result = tls_handshake(c->tls);
    switch (result) {
    case TLS_OK:
        c->handshaking = false;
        c->events->secured(c);
        if (!c->dead) {
            loop_defer(c->loop, &c->task, resume_task, c);
        }
        break;
    case TLS_WANT_READ: watch_for(c, LOOP_READ); break;
    case TLS_WANT_WRITE: watch_for(c, LOOP_WRITE); break;
    default: release(c, tls_error()); break;
    }
}

static void handle_ready(void *context, unsigned what)
{
    struct connection *c = context;
    if (c->handshaking) {
        handshake(c);
        return;
    }
    if ((what & LOOP_READ) != 0) {
        if (c->paused || c->closing) {
            watch_for(c, c->watched & (unsigned)LOOP_WRITE);
        }
        read_input(c);
    }
    connection_flush(c);
}

bool connection_start_tls(struct connection *c, struct tls_context *context)
{
    if (c->dead) {
        return false;
    }
    connection_flush(c);
    if (c->dead || c->out.len > c->sent) {
        return false; /* 220 is a few octets: a socket that does not take them is no good */
    }
    buf_wipe(&c->pending);
    c->tls = tls_server(context, c->fd);
    if (c->tls == NULL) {
        return false;
    }
    c->handshaking = true;
    c->paused = false;
    watch_for(c, LOOP_READ);
    return true;
}

bool connection_compress(struct connection *c)
{
    buf_wipe(&c->pending);
    c->packed = buf_make(2 * (size_t)PACKED_READ);
    c->wire = buf_make(4 * (size_t)WIRE_PIECE);
    c->deflate = deflate_new();
    return c->deflate != NULL;
}

void connection_pause(struct connection *c)
{
    c->paused = true;
}

void connection_resume(struct connection *c)
{
    c->paused = false;
    if (!c->dead) {
        loop_defer(c->loop, &c->task, resume_task, c);
    }
}

void connection_go_on(struct connection *c)
{
    struct str nothing = STR_EMPTY;
    c->paused = false;
    c->events->input(c, &nothing);
    if (c->dead) {
        return;
    }
    if (c->paused) {
        connection_flush(c);
    } else {
        connection_resume(c);
    }
}

void connection_finish(struct connection *c, const char *reason)
{
    if (!c->dead) {
        c->closing = true;
        c->reason = reason;
        connection_flush(c);
    }
}

void connection_abort(struct connection *c, const char *reason)
{
    release(c, reason);
}

static bool mapped_ipv4(const struct sockaddr_storage *address, struct in_addr *ipv4)
{
    if (address->ss_family == AF_INET) {
        *ipv4 = ((const struct sockaddr_in *)(const void *)address)->sin_addr;
        return true;
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6)) {
        memcpy(ipv4, &v6->s6_addr[12], 4);
        return true;
    }
    return false;
}

void address_text(const struct sockaddr_storage *address, char text[CONNECTION_ADDRESS_TEXT])
{
    struct in_addr ipv4;
    text[0] = '\0';
    if (mapped_ipv4(address, &ipv4)) {
        inet_ntop(AF_INET, &ipv4, text, CONNECTION_ADDRESS_TEXT);
    } else if (address->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text,
                  CONNECTION_ADDRESS_TEXT);
    }
}

bool address_is_loopback(const struct sockaddr_storage *address)
{
    struct in_addr ipv4;
    if (mapped_ipv4(address, &ipv4)) {
        return (ntohl(ipv4.s_addr) >> 24) == 127;
    }
    return address->ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

size_t address_prefix(const struct sockaddr_storage *address, unsigned char prefix[16])
{
    struct in_addr ipv4;
    if (mapped_ipv4(address, &ipv4)) {
        memcpy(prefix, &ipv4, 4);
        return 4;
    }
    if (address->ss_family == AF_INET6) {
        memcpy(prefix, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 8);
        return 8;
    }
    return 0;
}
