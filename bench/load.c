/*
 * A load generator for SMTP servers, the same for ours and for the peer's: keeps N sessions busy with messages of one size, or
 * makes TLS handshakes, or holds idle connections. Prints one JSON object. Used by bench/run.py and by tests.
 *
 *   load messages HOST PORT SESSIONS COUNT OCTETS SENDER RECIPIENT      RECIPIENT may hold one "%u": 0 to 99 in turn
 *   load handshakes HOST PORT SESSIONS COUNT [1.2]                      implicit TLS, no resumption; 1.3 or 1.2
 *   load idle HOST PORT SESSIONS SECONDS [starttls]                     after EHLO; with starttls inside TLS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_MAX = 8192, EVENTS = 256, SOURCE_ADDRESSES = 200 };

enum step {
    CONNECTING,
    GREETING,
    HELLO,
    ENVELOPE,
    DATA_GO,
    DATA_DONE,
    TLS_GO,
    SHAKING,
    HELLO_AGAIN,
    IDLE,
    FINISHED
};

struct session {
    int fd;
    uint32_t watched;
    enum step step;
    SSL *tls;
    unsigned replies; /* final reply lines still to come */
    char input[INPUT_MAX];
    size_t input_len;
    const char *out;
    size_t out_len;
    char command[1024];
    uint64_t dot_us;
};

static struct {
    const char *host;
    unsigned port;
    unsigned sessions;
    uint64_t count;
    size_t octets;
    const char *sender;
    const char *recipient;
    bool handshakes;
    bool idle;
    bool starttls;
    uint64_t started;
    uint64_t done;
    uint64_t refused;
    uint64_t failed;
    uint32_t *latencies;
    char *message;
    size_t message_len;
    int epoll;
    unsigned ready;
    SSL_CTX *tls;
} load;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_message(void)
{
    static const char header[] =
        "From: Sender <sender@example.org>\r\nTo: Recipient <recipient@example.net>\r\n"
        "Subject: a message of the load generator\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
        "Message-ID: <load@example.org>\r\n\r\n";
    load.message = malloc(load.octets + sizeof(header) + 128);
    if (load.message == NULL) {
        die("no memory");
    }
    memcpy(load.message, header, sizeof(header) - 1);
    size_t len = sizeof(header) - 1;
    while (len < load.octets) {
        size_t line = load.octets - len < 74 ? load.octets - len : 74;
        memset(load.message + len, 'a' + (int)(len % 26), line);
        memcpy(load.message + len + line, "\r\n", 2);
        len += line + 2;
    }
    memcpy(load.message + len, ".\r\n", 3);
    load.message_len = len + 3;
}

static int connect_one(unsigned number)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load.port)};
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        die("socket");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    inet_pton(AF_INET, load.host, &address.sin_addr);
    if (load.idle && ntohl(address.sin_addr.s_addr) >> 24 == 127) {
        /* One address has too few ports for very many connections. */
        source.sin_addr.s_addr = htonl(0x7f000100U + number % SOURCE_ADDRESSES + 1);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        bind(fd, (struct sockaddr *)&source, sizeof(source));
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        die("connect");
    }
    return fd;
}

static void watch(struct session *s, uint32_t events, int operation)
{
    if (operation == EPOLL_CTL_MOD && s->watched == events) {
        return;
    }
    s->watched = events;
    struct epoll_event event = {.events = events, .data.ptr = s};
    if (epoll_ctl(load.epoll, operation, s->fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void open_session(struct session *s, unsigned number)
{
    memset(s, 0, sizeof(*s));
    s->fd = connect_one(number);
    s->step = load.handshakes ? CONNECTING : GREETING;
    s->replies = 1;
    watch(s, load.handshakes ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
}

static void close_session(struct session *s)
{
    if (s->tls != NULL) {
        SSL_free(s->tls);
        s->tls = NULL;
    }
    close(s->fd);
    s->step = FINISHED;
}

static void flush_output(struct session *s)
{
    while (s->out_len > 0) {
        ssize_t n =
            s->tls != NULL ? SSL_write(s->tls, s->out, (int)s->out_len) : write(s->fd, s->out, s->out_len);
        if (n <= 0) {
            if (errno != EAGAIN) {
                load.failed++;
                close_session(s);
                return;
            }
            watch(s, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        s->out += n;
        s->out_len -= (size_t)n;
    }
    watch(s, EPOLLIN, EPOLL_CTL_MOD);
}

static void say(struct session *s, const char *text, size_t len, unsigned replies)
{
    s->out = text;
    s->out_len = len;
    s->replies = replies;
    flush_output(s);
}

static void next_message(struct session *s)
{
    if (load.started >= load.count) {
        s->step = FINISHED;
        close_session(s);
        return;
    }
    char recipient[256];
    const char *mark = strstr(load.recipient, "%u");
    if (mark != NULL) {
        snprintf(recipient, sizeof(recipient), "%.*s%u%s", (int)(mark - load.recipient), load.recipient,
                 (unsigned)(load.started % 100), mark + 2);
    } else {
        snprintf(recipient, sizeof(recipient), "%s", load.recipient);
    }
    load.started++;
    int n = snprintf(s->command, sizeof(s->command), "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n",
                     load.sender, recipient);
    s->step = ENVELOPE;
    say(s, s->command, (size_t)n, 3);
}

static void begin_tls(struct session *s)
{
    s->tls = SSL_new(load.tls);
    SSL_set_fd(s->tls, s->fd);
    SSL_set_connect_state(s->tls);
    s->step = SHAKING;
}

static void shake(struct session *s, unsigned number)
{
    int n = SSL_do_handshake(s->tls);
    if (n == 1) {
        if (load.handshakes) {
            load.done++;
            close_session(s);
            if (load.started < load.count) {
                load.started++;
                open_session(s, number);
            }
            return;
        }
        s->step = HELLO_AGAIN;
        say(s, "EHLO load.example\r\n", 19, 1);
        return;
    }
    int error = SSL_get_error(s->tls, n);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        watch(s, error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT, EPOLL_CTL_MOD);
        return;
    }
    load.failed++;
    close_session(s);
}

static void step_done(struct session *s, char first)
{
    switch (s->step) {
    case GREETING:
        s->step = HELLO;
        say(s, "EHLO load.example\r\n", 19, 1);
        break;
    case HELLO:
        if (load.idle && load.starttls) {
            s->step = TLS_GO;
            say(s, "STARTTLS\r\n", 10, 1);
        } else if (load.idle) {
            s->step = IDLE;
            load.ready++;
        } else {
            next_message(s);
        }
        break;
    case TLS_GO:
        begin_tls(s);
        shake(s, 0);
        break;
    case HELLO_AGAIN:
        s->step = IDLE;
        load.ready++;
        break;
    case ENVELOPE:
        if (first != '3') {
            load.refused++;
            s->step = DATA_DONE;
            s->replies = 1;
            say(s, "RSET\r\n", 6, 1);
            break;
        }
        s->step = DATA_GO;
        s->dot_us = now_us();
        say(s, load.message, load.message_len, 1);
        break;
    case DATA_GO:
        if (first == '2') {
            load.latencies[load.done++] = (uint32_t)(now_us() - s->dot_us);
        } else {
            load.refused++;
        }
        next_message(s);
        break;
    case DATA_DONE: next_message(s); break;
    default: break;
    }
}

static void take_input(struct session *s)
{
    for (;;) {
        ssize_t n = s->tls != NULL
                        ? SSL_read(s->tls, s->input + s->input_len, (int)(INPUT_MAX - s->input_len))
                        : read(s->fd, s->input + s->input_len, INPUT_MAX - s->input_len);
        if (n <= 0) {
            if (s->tls == NULL ? n == 0 || errno != EAGAIN
                               : SSL_get_error(s->tls, (int)n) != SSL_ERROR_WANT_READ) {
                load.failed++;
                close_session(s);
            }
            return;
        }
        s->input_len += (size_t)n;
        char *line = s->input;
        char *end;
        while (s->step != FINISHED &&
               (end = memchr(line, '\n', s->input_len - (size_t)(line - s->input))) != NULL) {
            bool final = end - line >= 4 && line[3] == ' ';
            char first = line[0];
            line = end + 1;
            if (final && s->replies > 0 && --s->replies == 0) {
                step_done(s, first);
            }
        }
        if (s->step == FINISHED || s->step == SHAKING) {
            s->input_len = 0;
            return;
        }
        size_t used = (size_t)(line - s->input);
        memmove(s->input, line, s->input_len - used);
        s->input_len -= used;
    }
}

static void handle(struct session *s, unsigned number, uint32_t events)
{
    if (s->step == FINISHED) {
        return;
    }
    if (s->step == CONNECTING) {
        begin_tls(s);
    }
    if (s->step == SHAKING) {
        shake(s, number);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        flush_output(s);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && s->step != FINISHED) {
        take_input(s);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(uint64_t begun)
{
    double seconds = (double)(now_us() - begun) / 1e6;
    printf("{\"done\": %llu, \"refused\": %llu, \"failed\": %llu, \"seconds\": %.4f, \"rate\": %.1f",
           (unsigned long long)load.done, (unsigned long long)load.refused, (unsigned long long)load.failed,
           seconds, (double)load.done / seconds);
    printf(", \"cpu_seconds\": %.4f", (double)clock() / CLOCKS_PER_SEC);
    if (!load.handshakes && !load.idle && load.done > 0) {
        qsort(load.latencies, load.done, sizeof(*load.latencies), by_value);
        printf(", \"p50_ms\": %.3f, \"p99_ms\": %.3f", load.latencies[load.done / 2] / 1e3,
               load.latencies[load.done * 99 / 100] / 1e3);
    }
    if (load.idle) {
        printf(", \"ready\": %u", load.ready);
    }
    printf("}\n");
    fflush(stdout);
}

static bool finished(const struct session *sessions)
{
    if (load.idle) {
        return load.ready + load.failed >= load.sessions;
    }
    if (load.handshakes) {
        return load.done + load.failed >= load.count;
    }
    for (unsigned i = 0; i < load.sessions; i++) {
        if (sessions[i].step != FINISHED) {
            return false;
        }
    }
    return true;
}

static void run(void)
{
    struct session *sessions = calloc(load.sessions, sizeof(*sessions));
    struct epoll_event events[EVENTS];
    load.epoll = epoll_create1(0);
    if (sessions == NULL || load.epoll < 0) {
        die("start");
    }
    uint64_t begun = now_us();
    unsigned opened = 0;
    while (!finished(sessions)) {
        /* Connections are opened a few hundred at a time, as a listen queue takes them. */
        for (unsigned i = 0; i < 200 && opened < load.sessions; i++, opened++) {
            load.started += load.handshakes;
            open_session(&sessions[opened], opened);
        }
        int n = epoll_wait(load.epoll, events, EVENTS, opened < load.sessions ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;
            handle(s, (unsigned)(s - sessions), events[i].events);
        }
    }
    report(begun);
    if (load.idle) {
        sleep((unsigned)load.count);
    }
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: load messages|handshakes|idle HOST PORT SESSIONS COUNT ...\n");
        return 64;
    }
    load.handshakes = strcmp(argv[1], "handshakes") == 0;
    load.idle = strcmp(argv[1], "idle") == 0;
    load.host = argv[2];
    load.port = (unsigned)strtoul(argv[3], NULL, 10);
    load.sessions = (unsigned)strtoul(argv[4], NULL, 10);
    load.count = strtoull(argv[5], NULL, 10);
    load.starttls = load.idle && argc > 6 && strcmp(argv[6], "starttls") == 0;
    if (!load.handshakes && !load.idle) {
        if (argc < 9) {
            fprintf(stderr, "usage: load messages HOST PORT SESSIONS COUNT OCTETS SENDER RECIPIENT\n");
            return 64;
        }
        load.octets = strtoull(argv[6], NULL, 10);
        load.sender = argv[7];
        load.recipient = argv[8];
        load.latencies = calloc(load.count + 1, sizeof(*load.latencies));
        make_message();
    }
    load.tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(load.tls, SSL_OP_NO_TICKET);
    if (load.handshakes && argc > 6 && strcmp(argv[6], "1.2") == 0) {
        SSL_CTX_set_max_proto_version(load.tls, TLS1_2_VERSION);
    }
    run();
    return load.failed > 0 && !load.idle ? 1 : 0;
}
