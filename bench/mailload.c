/*
 * A load generator for IMAP and POP3 servers, the same for ours and for the peer's, in TLS from the first byte, or with the word
 * `clear` in front without it. Prints one JSON object. Used by bench/mailboxes.py.
 *
 *   mailload fill HOST PORT USER PASSWORD MAILBOX COUNT OCTETS         APPEND, 20 messages a command
 *   mailload append HOST PORT USER PASSWORD MAILBOX COUNT OCTETS N     APPEND, one message a command, on N connections
 *   mailload run HOST PORT USER PASSWORD COMMAND...                    each command's seconds and octets
 *   mailload sessions HOST PORT USER PASSWORD COUNT N full|resumed     LOGIN, SELECT, FETCH of 20 messages, LOGOUT; N at a time;
 *                                                                      resumed: each with the TLS session of the one before
 *   mailload idle HOST PORT USER PASSWORD COUNT SECONDS                IDLE
 *   mailload retr HOST PORT USER PASSWORD COUNT serial|pipelined       POP3
 */
#include "connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 18, LINES_A_MESSAGE = 4096, GROUP = 20, PIPELINE = 100 };

struct client {
    int fd;
    SSL *tls; /* NULL: in clear */
    char *in;
    size_t at;
    size_t end;
    uint64_t octets;
    unsigned tag;
};

static struct {
    const char *host;
    unsigned port;
    const char *user;
    const char *password;
    const char *mailbox;
    unsigned count;
    size_t octets;
    unsigned connections;
    SSL_CTX *tls; /* NULL: in clear */
    bool resumes;
    unsigned resumed; /* handshakes that were */
    unsigned next;    /* number of the next message or session, shared by the threads */
} load;

/* Of this thread, which tickets are for. */
static __thread SSL_SESSION *last_session;

static int keep_session(SSL *tls, SSL_SESSION *session)
{
    (void)tls;
    SSL_SESSION_free(last_session);
    last_session = session;
    return 1;
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "mailload: %s (%s)\n", what, strerror(errno));
    exit(1);
}

/* Connections. */

static void open_client(struct client *c, unsigned number)
{
    *c = (struct client){.fd = connect_from(load.host, (unsigned)load.port, number), .in = malloc(ROOM)};
    if (c->fd < 0 || c->in == NULL) {
        die("cannot connect");
    }
    if (load.tls == NULL) {
        int yes = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        return;
    }
    c->tls = SSL_new(load.tls);
    SSL_set_fd(c->tls, c->fd);
    if (last_session != NULL) {
        SSL_set_session(c->tls, last_session);
    }
    if (SSL_connect(c->tls) != 1) {
        die("no TLS");
    }
    if (load.resumes) {
        __atomic_fetch_add(&load.resumed, (unsigned)SSL_session_reused(c->tls), __ATOMIC_RELAXED);
    }
}

static void close_client(struct client *c)
{
    if (c->tls != NULL) {
        SSL_set_shutdown(c->tls,
                         SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or its session counts as broken */
        SSL_free(c->tls);
    }
    close(c->fd);
    free(c->in);
}

static void say(struct client *c, const char *data, size_t len)
{
    ssize_t n = c->tls == NULL ? write(c->fd, data, len) : SSL_write(c->tls, data, (int)len);
    if (n != (ssize_t)len) {
        die("cannot send");
    }
}

/* More input behind what is there, which moves to the front. */
static void fill(struct client *c)
{
    memmove(c->in, c->in + c->at, c->end - c->at);
    c->end -= c->at;
    c->at = 0;
    if (c->end == ROOM) {
        die("a line is too long");
    }
    size_t room = ROOM - c->end;
    ssize_t n =
        c->tls == NULL ? read(c->fd, c->in + c->end, room) : SSL_read(c->tls, c->in + c->end, (int)room);
    if (n <= 0) {
        die("the server has closed the connection");
    }
    c->end += (size_t)n;
    c->octets += (size_t)n;
}

/* The next line, without its end; good until the next call. */
static char *line(struct client *c, size_t *len)
{
    size_t looked = 0;
    for (;;) {
        char *end = memchr(c->in + c->at + looked, '\n', c->end - c->at - looked);
        if (end != NULL) {
            char *start = c->in + c->at;
            *len = (size_t)(end - start) - (end > start && end[-1] == '\r');
            c->at = (size_t)(end - c->in) + 1;
            return start;
        }
        looked = c->end - c->at;
        fill(c);
    }
}

static void skip(struct client *c, uint64_t octets)
{
    while (octets > c->end - c->at) {
        octets -= c->end - c->at;
        c->at = c->end = 0;
        fill(c);
    }
    c->at += (size_t)octets;
}

/* IMAP. */

static uint64_t literal_of(const char *text, size_t len)
{
    size_t at = len;
    if (len < 3 || text[len - 1] != '}') {
        return 0;
    }
    while (at > 0 && text[at - 1] != '{') {
        at--;
    }
    return at == 0 ? 0 : strtoull(text + at, NULL, 10);
}

/* Reads up to the tagged reply; ends the program if it is not OK. */
static void finish(struct client *c, const char *tag)
{
    size_t tag_len = strlen(tag);
    for (;;) {
        size_t len;
        char *text = line(c, &len);
        if (len > tag_len && memcmp(text, tag, tag_len) == 0 && text[tag_len] == ' ') {
            if (memcmp(text + tag_len + 1, "OK", 2) != 0) {
                fprintf(stderr, "mailload: %.*s\n", (int)(len < 200 ? len : 200), text);
                exit(1);
            }
            return;
        }
        uint64_t octets = literal_of(text, len);
        if (octets > 0) {
            skip(c, octets);
        }
    }
}

static void command(struct client *c, const char *text)
{
    char out[4096];
    char tag[16];
    snprintf(tag, sizeof(tag), "a%u", ++c->tag);
    int len = snprintf(out, sizeof(out), "%s %s\r\n", tag, text);
    say(c, out, (size_t)len);
    finish(c, tag);
}

static void login(struct client *c, unsigned number)
{
    char out[512];
    size_t len;
    open_client(c, number);
    line(c, &len);
    snprintf(out, sizeof(out), "LOGIN %s %s", load.user, load.password);
    command(c, out);
}

/* Messages that differ as those of people do: names, dates, subjects; a few can be searched for. */

static const char *const words[] = {"report", "meeting", "garden", "invoice", "travel", "question",
                                    "answer", "summer",  "winter", "project", "house",  "music",
                                    "paper",  "station", "letter", "morning"};

static size_t make_message(unsigned number, size_t octets, char *out, size_t room)
{
    uint32_t random = number * 2654435761U + 1;
    int len = snprintf(
        out, room,
        "Received: from client%u.example.net (client%u.example.net [192.0.2.%u])\r\n\tby mx.bench.example "
        "with ESMTPS id %08x;"
        "\r\n\tTue, %u Nov 2026 %02u:%02u:%02u +0000\r\nFrom: \"%s %s\" <%s.%u@example.org>\r\nTo: "
        "<user@bench.example>\r\n"
        "Cc: Someone Else <else%u@example.net>\r\nSubject: %s about the %s and the %s%s %u\r\nDate: Tue, %u "
        "Nov 2026 %02u:%02u:%02u +0000"
        "\r\nMessage-ID: <%08x.%u@example.org>\r\nIn-Reply-To: <%08x.%u@example.org>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nUser-Agent: "
        "mailload/1\r\n\r\n",
        number % 997, number % 997, number % 251, random, 1 + number % 28, number % 24, number % 60,
        number % 59, words[number % 16], words[number / 16 % 16], words[number / 3 % 16], number % 5000,
        number % 77, words[random >> 28], words[random >> 24 & 15], words[random >> 20 & 15],
        number % 100 == 7 ? " needle" : "", number, 1 + number % 28, number % 24, number % 60, number % 59,
        random, number, random ^ 77, number / 2);
    size_t at = (size_t)len;
    size_t line_at = at;
    bool marked = number % 1000 != 13;
    while (at + 80 < octets) {
        random = random * 1664525 + 1013904223;
        const char *word = marked ? words[random >> 28] : "haystack";
        marked = true;
        size_t word_len = strlen(word);
        memcpy(out + at, word, word_len);
        at += word_len;
        if (at - line_at > 64) {
            memcpy(out + at, "\r\n", 2);
            at += 2;
            line_at = at;
        } else {
            out[at++] = ' ';
        }
    }
    memcpy(out + at, "end.\r\n", 6);
    return at + 6;
}

/* One APPEND with so many messages, from this number on. */
static void append(struct client *c, unsigned first, unsigned count)
{
    size_t room = (load.octets + LINES_A_MESSAGE) * (count + 1);
    char *out = malloc(room);
    char *message = malloc(load.octets + LINES_A_MESSAGE);
    char tag[16];
    if (out == NULL || message == NULL) {
        die("no memory");
    }
    snprintf(tag, sizeof(tag), "a%u", ++c->tag);
    size_t at = (size_t)snprintf(out, room, "%s APPEND %s", tag, load.mailbox);
    for (unsigned i = 0; i < count; i++) {
        size_t len = make_message(first + i, load.octets, message, load.octets + LINES_A_MESSAGE);
        at += (size_t)snprintf(out + at, room - at, " {%zu+}\r\n", len);
        memcpy(out + at, message, len);
        at += len;
    }
    memcpy(out + at, "\r\n", 2);
    say(c, out, at + 2);
    finish(c, tag);
    free(out);
    free(message);
}

static void *append_some(void *context)
{
    struct client c;
    (void)context;
    login(&c, 0);
    for (;;) {
        unsigned first = __atomic_fetch_add(&load.next, load.connections == 0 ? GROUP : 1, __ATOMIC_RELAXED);
        if (first >= load.count) {
            break;
        }
        unsigned left = load.count - first;
        append(&c, first, load.connections != 0 ? 1 : left < GROUP ? left : GROUP);
    }
    close_client(&c);
    return NULL;
}

static void *have_sessions(void *context)
{
    (void)context;
    for (;;) {
        struct client c;
        unsigned number = __atomic_fetch_add(&load.next, 1, __ATOMIC_RELAXED);
        if (number >= load.count) {
            return NULL;
        }
        login(&c, number);
        command(&c, "SELECT INBOX");
        command(&c, "FETCH 1:20 (FLAGS ENVELOPE RFC822.SIZE)");
        command(&c, "LOGOUT");
        close_client(&c);
    }
}

static void in_threads(unsigned count, void *(*work)(void *))
{
    pthread_t threads[256];
    for (unsigned i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) {
            die("no thread");
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void print_total(uint64_t begun, uint64_t octets)
{
    double seconds = (double)(now_us() - begun) / 1e6;
    printf("{\"done\": %u, \"seconds\": %.6f, \"rate\": %.2f, \"octets\": %llu}\n", load.count, seconds,
           load.count / seconds, (unsigned long long)octets);
    fflush(stdout);
}

static void run_commands(char **commands, int count)
{
    struct client c;
    login(&c, 0);
    printf("[");
    for (int i = 0; i < count; i++) {
        uint64_t before = c.octets;
        uint64_t begun = now_us();
        command(&c, commands[i]);
        printf("%s{\"seconds\": %.6f, \"octets\": %llu}", i == 0 ? "" : ", ",
               (double)(now_us() - begun) / 1e6, (unsigned long long)(c.octets - before));
    }
    printf("]\n");
    close_client(&c);
}

static void be_idle(unsigned seconds)
{
    uint64_t begun = now_us();
    for (unsigned i = 0; i < load.count; i++) {
        struct client c;
        size_t len;
        login(&c, i);
        command(&c, "SELECT INBOX");
        say(&c, "i IDLE\r\n", 8);
        line(&c, &len);
        free(c.in); /* the connection stays until the program ends */
    }
    print_total(begun, 0);
    sleep(seconds);
}

/* POP3. */

static void pop_line(struct client *c, const char *text)
{
    char out[512];
    size_t len;
    int n = snprintf(out, sizeof(out), "%s\r\n", text);
    say(c, out, (size_t)n);
    char *answer = line(c, &len);
    if (len == 0 || answer[0] != '+') {
        fprintf(stderr, "mailload: %.*s\n", (int)(len < 200 ? len : 200), answer);
        exit(1);
    }
}

static void pop_message(struct client *c)
{
    size_t len;
    if (line(c, &len)[0] != '+') {
        die("RETR was refused");
    }
    for (;;) {
        char *text = line(c, &len);
        if (len == 1 && text[0] == '.') {
            return;
        }
    }
}

static void retrieve(bool pipelined)
{
    struct client c;
    char out[64];
    size_t len;
    open_client(&c, 0);
    line(&c, &len);
    snprintf(out, sizeof(out), "USER %s", load.user);
    pop_line(&c, out);
    snprintf(out, sizeof(out), "PASS %s", load.password);
    pop_line(&c, out);
    pop_line(&c, "STAT");
    unsigned group = pipelined ? PIPELINE : 1;
    uint64_t begun = now_us();
    c.octets = 0;
    for (unsigned i = 0; i < load.count; i += group) {
        char many[PIPELINE * 24];
        size_t at = 0;
        for (unsigned k = 1; k <= group; k++) {
            at += (size_t)snprintf(many + at, sizeof(many) - at, "RETR %u\r\n", i + k);
        }
        say(&c, many, at);
        for (unsigned k = 0; k < group; k++) {
            pop_message(&c);
        }
    }
    print_total(begun, c.octets);
    close_client(&c);
}

int main(int argc, char **argv)
{
    bool clear = argc > 1 && strcmp(argv[1], "clear") == 0;
    argv += clear;
    argc -= clear;
    if (argc < 7) {
        fprintf(stderr,
                "usage: mailload [clear] fill|append|run|sessions|idle|retr HOST PORT USER PASSWORD ...\n");
        return 64;
    }
    const char *what = argv[1];
    load.host = argv[2];
    load.port = (unsigned)strtoul(argv[3], NULL, 10);
    load.user = argv[4];
    load.password = argv[5];
    if (!clear) {
        load.tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(load.tls, SSL_MODE_RELEASE_BUFFERS);
    }
    bool fills = strcmp(what, "fill") == 0;
    if (fills || strcmp(what, "append") == 0) {
        load.mailbox = argv[6];
        load.count = argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 0;
        load.octets = argc > 8 ? strtoull(argv[8], NULL, 10) : 4096;
        load.connections = argc > 9 ? (unsigned)strtoul(argv[9], NULL, 10) : 1;
        uint64_t begun = now_us();
        unsigned threads = fills ? 1 : load.connections;
        load.connections = fills ? 0 : load.connections;
        in_threads(threads, append_some);
        print_total(begun, load.count * load.octets);
        return 0;
    }
    if (strcmp(what, "run") == 0) {
        run_commands(argv + 6, argc - 6);
        return 0;
    }
    load.count = (unsigned)strtoul(argv[6], NULL, 10);
    if (strcmp(what, "sessions") == 0) {
        uint64_t begun = now_us();
        load.resumes = !clear && argc > 8 && strcmp(argv[8], "resumed") == 0;
        if (load.resumes) {
            SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
            SSL_CTX_sess_set_new_cb(load.tls, keep_session);
        }
        in_threads(argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 1, have_sessions);
        if (load.resumes && load.resumed + 256 < load.count) {
            fprintf(stderr, "only %u of %u handshakes were resumed\n", load.resumed, load.count);
        }
        print_total(begun, 0);
    } else if (strcmp(what, "idle") == 0) {
        be_idle(argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 60);
    } else {
        retrieve(argc > 7 && strcmp(argv[7], "pipelined") == 0);
    }
    return 0;
}
