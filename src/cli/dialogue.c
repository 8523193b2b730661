/* The driver of the SMTP client engine for `veredus send`; see dialogue.h. */
#include "cli/dialogue.h"

#include "base/clock.h"
#include "cli/output.h"
#include "message/codes.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum { COLUMN = 52, WIDTH = 100, CHUNK = 65536, IN_MAX = 1 << 20 };

struct dialogue {
    const struct dialogue_options *options;
    struct dialogue_result *result;
    int fd;
    struct tls_context *context;
    struct tls *tls;
    struct smtp_client client;
    struct buf in;
    struct buf out;
    struct buf shown; /* of the input: the part of a line that has been received */
    size_t sent;      /* of the message */
    bool in_body;     /* what is written now is the message */
    bool authenticating;
    bool greeted;
};

/* What is shown. */

static const struct {
    const char *verb;
    const char *words;
} verbs[] = {
    {"EHLO", "says who is calling and asks what the server can do"},
    {"HELO", "the same for old servers"},
    {"LHLO", "says who is calling, for LMTP"},
    {"STARTTLS", "asks to encrypt the connection"},
    {"AUTH", "logs in; the password is not shown here"},
    {"MAIL", "names the sender; a bounce would go there"},
    {"RCPT", "names a recipient"},
    {"DATA", "asks to send the message"},
    {"BDAT", "sends the message by its length"},
    {"RSET", "takes the transaction back"},
    {"QUIT", "says goodbye"},
};

static const struct {
    const char *word;
    const char *words;
} extensions[] = {
    {"PIPELINING", "takes several commands at once"},
    {"SIZE", "tells the largest message"},
    {"8BITMIME", "takes bodies of 8 bits"},
    {"SMTPUTF8", "takes addresses beyond ASCII"},
    {"STARTTLS", "can encrypt the connection"},
    {"AUTH", "takes a login, by these mechanisms"},
    {"CHUNKING", "takes messages by length (BDAT)"},
    {"BINARYMIME", "takes binary bodies"},
    {"DSN", "can report delivery"},
    {"ENHANCEDSTATUSCODES", "adds codes such as 5.1.1 to its replies"},
    {"LIMITS", "tells its limits"},
    {"HELP", "knows HELP"},
    {"VRFY", "knows VRFY"},
};

static void show(const struct dialogue *d, const char *direction, struct str line, struct str words)
{
    const char *arrow = strcmp(direction, "sent") == 0       ? "->"
                        : strcmp(direction, "received") == 0 ? "<-"
                                                             : "**";
    struct buf safe = buf_make(16384);
    buf_append_escaped(&safe, line, 8192);
    if (d->options->json) {
        json_t *object =
            json_pack("{s:s,s:s%,s:s%}", "direction", direction, "line", safe.data == NULL ? "" : safe.data,
                      safe.len, "words", words.data, words.len);
        if (object != NULL) {
            cli_print_json(object);
        }
        json_decref(object);
        buf_free(&safe);
        return;
    }
    size_t columns = cli_columns(buf_str(&safe)) + 3;
    printf("%s %.*s", arrow, STR_ARGS(buf_str(&safe)));
    if (words.len == 0) {
        putchar('\n');
    } else if (columns < COLUMN && COLUMN + cli_columns(words) <= WIDTH) {
        printf("%*s%.*s\n", (int)(COLUMN - columns), "", STR_ARGS(words));
    } else {
        char area[4096];
        size_t len = words.len < sizeof(area) - 1 ? words.len : sizeof(area) - 1;
        memcpy(area, words.data, len);
        area[len] = '\0';
        putchar('\n');
        cli_print_folded(area, 6, WIDTH);
    }
    buf_free(&safe);
}

static void show_event(const struct dialogue *d, const char *line, const char *words)
{
    show(d, "event", str_of(line), str_of(words));
}

/* A command line that goes out; what could give a password away is left out. */
static void show_command(struct dialogue *d, struct str line)
{
    struct str words = STR_EMPTY;
    struct str verb = str_sub(line, 0, str_find(line, 0, ' '));
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (str_equal_nocase(verb, str_of(verbs[i].verb))) {
            words = str_of(verbs[i].words);
        }
    }
    if (str_equal_nocase(verb, STR("AUTH"))) {
        char area[64];
        struct str rest = str_from(line, verb.len + 1);
        struct str mechanism = str_sub(rest, 0, str_find(rest, 0, ' '));
        int n = snprintf(area, sizeof(area), "AUTH %.*s%s", (int)(mechanism.len < 20 ? mechanism.len : 20),
                         mechanism.data, mechanism.len < rest.len ? " ***" : "");
        d->authenticating = true;
        show(d, "sent", str_make(area, n > 0 ? (size_t)n : 0), words);
    } else if (words.len == 0 && d->authenticating) {
        show(d, "sent", STR("***"), STR_EMPTY);
    } else {
        show(d, "sent", line, words);
    }
}

static void show_commands(struct dialogue *d, struct str text)
{
    struct str line;
    while (text.len > 0 && str_split(&text, '\n', &line)) {
        if (line.len > 0 && line.data[line.len - 1] == '\r') {
            line.len--;
        }
        show_command(d, line);
    }
}

static struct str extension_words(struct str line)
{
    struct str word = str_from(line, 4);
    word = str_sub(word, 0, str_find(word, 0, ' '));
    word = str_sub(word, 0, str_find(word, 0, '='));
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        if (str_equal_nocase(word, str_of(extensions[i].word))) {
            return str_of(extensions[i].words);
        }
    }
    return STR_EMPTY;
}

static void show_reply_line(struct dialogue *d, struct str line)
{
    struct codes_found found;
    struct buf words = buf_make(16384);
    uint64_t code = 0;
    bool last = line.len < 4 || line.data[3] != '-';
    str_to_u64(str_sub(line, 0, 3), 999, &code);
    enum smtp_client_stage stage = smtp_client_stage_now(&d->client);
    if (code >= 400 && last && codes_find(line, &found)) {
        codes_append_words(&found, &words);
    } else if (code == 250 && stage == SMTP_STAGE_HELLO && line.len > 4) {
        buf_append_str(&words, extension_words(line));
    } else if (code == 220 && last && !d->greeted) {
        buf_append_lit(&words, "the server greets");
    } else if (code == 220 && last) {
        buf_append_lit(&words, "begin to encrypt");
    } else if (code == 235) {
        buf_append_lit(&words, "the login is good");
    } else if (code == 354) {
        buf_append_lit(&words, "send it, and end with a dot alone on a line");
    } else if (code == 221 && last) {
        buf_append_lit(&words, "goodbye");
    } else if (code == 250 && last && stage == SMTP_STAGE_FINAL) {
        buf_append_lit(&words, "the server has taken responsibility for the message");
    }
    d->greeted = d->greeted || last;
    d->authenticating = d->authenticating && code == 334;
    show(d, "received", line, buf_str(&words));
    buf_free(&words);
}

/* Shows the whole lines that have come. */
static void show_input(struct dialogue *d, struct str bytes)
{
    buf_append_str(&d->shown, bytes);
    size_t end;
    while ((end = str_find(buf_str(&d->shown), 0, '\n')) != SIZE_MAX) {
        size_t len = end > 0 && d->shown.data[end - 1] == '\r' ? end - 1 : end;
        show_reply_line(d, str_make(d->shown.data, len));
        buf_consume(&d->shown, end + 1);
    }
    d->shown.failed = false;
}

/* The connection. */

static bool wait_for(const struct dialogue *d, short events, uint64_t timeout_ms)
{
    struct pollfd poll_fd = {.fd = d->fd, .events = events};
    uint64_t end = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        int n = poll(&poll_fd, 1, now >= end ? 0 : (int)(end - now));
        if (n != 0 && !(n < 0 && errno == EINTR)) {
            return n > 0;
        }
        if (clock_monotonic_ms() >= end) {
            return false;
        }
    }
}

static bool connect_one(struct dialogue *d, const struct addrinfo *address, char text[NI_MAXHOST])
{
    char event[NI_MAXHOST + 128];
    int error = 0;
    socklen_t size = sizeof(error);
    getnameinfo(address->ai_addr, address->ai_addrlen, text, NI_MAXHOST, NULL, 0, NI_NUMERICHOST);
    d->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0) {
        return false;
    }
    if (connect(d->fd, address->ai_addr, address->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            error = wait_for(d, POLLOUT, d->options->timeout_ms) ? 0 : ETIMEDOUT;
        }
        if (error == 0) {
            getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        }
    }
    if (error != 0) {
        snprintf(event, sizeof(event), "%s port %s: %s", text, d->options->port, strerror(error));
        show_event(d, event, "no connection");
        close(d->fd);
        d->fd = -1;
        return false;
    }
    snprintf(event, sizeof(event), "connected to %s port %s", text, d->options->port);
    show_event(d, event, "");
    return true;
}

static void set_failure(struct dialogue *d, int code, const char *advice, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void set_failure(struct dialogue *d, int code, const char *advice, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(d->result->message, sizeof(d->result->message), format, args);
    va_end(args);
    d->result->code = code;
    d->result->advice = advice;
}

static bool open_connection(struct dialogue *d)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char text[NI_MAXHOST] = "";
    int code = getaddrinfo(d->options->host, d->options->port, &hints, &list);
    if (code != 0) {
        set_failure(d, EX_NOHOST, "check the name, and whether DNS works", "the host %s is not found: %s",
                    d->options->host, gai_strerror(code));
        return false;
    }
    bool connected = false;
    for (const struct addrinfo *a = list; a != NULL && !connected; a = a->ai_next) {
        connected = connect_one(d, a, text);
    }
    freeaddrinfo(list);
    if (!connected) {
        set_failure(d, EX_TEMPFAIL, "check host and port, and whether the server runs",
                    "no connection to %s port %s", d->options->host, d->options->port);
    }
    return connected;
}

static bool shake_hands(struct dialogue *d)
{
    char words[256];
    d->tls = tls_client(d->context, d->fd, str_of(d->options->host), d->options->ca.len > 0);
    enum tls_result result = d->tls == NULL ? TLS_FAILED : tls_handshake(d->tls);
    while (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
        if (!wait_for(d, result == TLS_WANT_READ ? POLLIN : POLLOUT, d->options->timeout_ms)) {
            break;
        }
        result = tls_handshake(d->tls);
    }
    if (result != TLS_OK) {
        snprintf(words, sizeof(words), "TLS failed: %s", d->tls == NULL ? "out of memory" : tls_error());
        show_event(d, words, "");
        set_failure(d, EX_PROTOCOL,
                    "if the server has a certificate of its own authority, name that with --ca FILE; "
                    "--no-verify checks "
                    "nothing, and then anybody in between can read along",
                    "%s", words);
        return false;
    }
    snprintf(words, sizeof(words), "encrypted with %s, %s%s", tls_version(d->tls), tls_cipher(d->tls),
             d->options->ca.len > 0 ? "; the certificate is good" : "; the certificate was not checked");
    show_event(d, words, "");
    return true;
}

/* Writes all of `out`; commands are shown first. */
static bool flush_out(struct dialogue *d)
{
    if (!d->in_body && d->out.len > 0) {
        show_commands(d, buf_str(&d->out));
    }
    size_t at = 0;
    while (at < d->out.len) {
        size_t done = 0;
        short events = POLLOUT;
        if (d->tls != NULL) {
            enum tls_result result = tls_write(d->tls, d->out.data + at, d->out.len - at, &done);
            events = result == TLS_WANT_READ ? POLLIN : POLLOUT;
            if (result != TLS_OK && result != TLS_WANT_READ && result != TLS_WANT_WRITE) {
                return false;
            }
        } else {
            ssize_t n = send(d->fd, d->out.data + at, d->out.len - at, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                return false;
            }
            done = n > 0 ? (size_t)n : 0;
        }
        at += done;
        if (done == 0 && !wait_for(d, events, d->options->timeout_ms)) {
            return false;
        }
    }
    buf_clear(&d->out);
    return true;
}

/* Reads what there is, waiting for it. -1: gone; 0: a time-out. */
static int read_more(struct dialogue *d)
{
    char chunk[CHUNK];
    uint64_t timeout = smtp_client_timeout_ms(&d->client);
    timeout = d->options->timeout_ms < timeout ? d->options->timeout_ms : timeout;
    for (;;) {
        size_t done = 0;
        short events = POLLIN;
        if (d->tls != NULL) {
            enum tls_result result = tls_read(d->tls, chunk, sizeof(chunk), &done);
            events = result == TLS_WANT_WRITE ? POLLOUT : POLLIN;
            if (result != TLS_OK && result != TLS_WANT_READ && result != TLS_WANT_WRITE) {
                return -1;
            }
        } else {
            ssize_t n = recv(d->fd, chunk, sizeof(chunk), 0);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                return -1;
            }
            done = n > 0 ? (size_t)n : 0;
        }
        if (done > 0) {
            show_input(d, str_make(chunk, done));
            return buf_append(&d->in, chunk, done) ? 1 : -1;
        }
        if (!wait_for(d, events, timeout)) {
            return 0;
        }
    }
}

/* The engine's requests. */

static void report(void *context, size_t recipient, const struct smtp_client_result *result)
{
    struct dialogue *d = context;
    static const char *const words[] = {"taken", "refused for now: try again later", "refused",
                                        "perhaps taken: the connection was lost after the message"};
    char line[1024];
    struct buf text = {.data = line, .cap = sizeof(line), .limit = sizeof(line) - 1};
    buf_append_char(&text, '<');
    buf_append_escaped(&text, d->options->recipients[recipient].address, 400);
    buf_printf(&text, "> %s", words[result->outcome]);
    line[text.len] = '\0';
    show_event(d, line, "");
    d->result->delivered += result->outcome == SMTP_CLIENT_DELIVERED;
    d->result->failed += result->outcome == SMTP_CLIENT_FAILED;
    d->result->deferred +=
        result->outcome == SMTP_CLIENT_DEFERRED || result->outcome == SMTP_CLIENT_UNCERTAIN;
}

static bool send_body(struct dialogue *d)
{
    struct str text = d->options->text;
    char words[96];
    if (!flush_out(d)) {
        return false;
    }
    size_t end = d->sent + CHUNK < text.len ? d->sent + CHUNK : text.len;
    bool first = d->sent == 0;
    smtp_client_body(&d->client, str_sub(text, d->sent, end), end == text.len, &d->out);
    d->sent = end;
    if (first) {
        struct str line = str_sub(buf_str(&d->out), 0, str_find(buf_str(&d->out), 0, '\n'));
        if (str_starts_nocase(line, STR("BDAT "))) {
            show_command(d, str_trim(str_sub(line, 0, line.len - 1)));
        }
        snprintf(words, sizeof(words), "(the message, %zu octets)", text.len);
        show(d, "sent", str_of(words), STR_EMPTY);
    }
    d->in_body = true;
    bool fine = flush_out(d);
    d->in_body = false;
    return fine;
}

static void close_with_failure(struct dialogue *d)
{
    const struct smtp_client_result *f = &d->client.failure;
    if (d->result->code != EX_OK ||
        d->result->delivered + d->result->deferred + d->result->failed == d->options->recipient_count) {
        return;
    }
    int code = f->stage == SMTP_STAGE_AUTH        ? EX_NOPERM
               : f->outcome == SMTP_CLIENT_FAILED ? EX_UNAVAILABLE
                                                  : EX_TEMPFAIL;
    const char *advice = f->stage == SMTP_STAGE_AUTH ? "check user and password"
                                                     : "the conversation above shows where it ended";
    if (f->code != 0) {
        set_failure(d, code, advice, "the session ended at the %s: %u %.*s",
                    smtp_client_stage_words(f->stage), f->code, STR_ARGS(f->text));
    } else {
        set_failure(d, code, advice, "the session ended at the %s: %.*s", smtp_client_stage_words(f->stage),
                    STR_ARGS(f->text));
    }
}

static bool more_waiting(const struct dialogue *d)
{
    for (size_t i = 0; i < d->options->recipient_count; i++) {
        if (d->options->recipients[i].state == SMTP_CLIENT_WAITING) {
            return true;
        }
    }
    return false;
}

static void begin_or_quit(struct dialogue *d)
{
    if (more_waiting(d)) {
        d->sent = 0;
        smtp_client_begin(&d->client, &d->options->message, d->options->recipients,
                          d->options->recipient_count);
    } else {
        smtp_client_quit(&d->client, &d->out);
    }
}

static void scan_message(struct dialogue *d)
{
    struct smtp_client_scan scan = {.binary = false};
    smtp_client_scan_bytes(&scan, d->options->text);
    smtp_client_scanned(&d->client, &scan);
}

/* One request. False: the session is over. */
static bool serve_request(struct dialogue *d, enum smtp_client_request request)
{
    bool fine = true;
    switch (request) {
    case SMTP_CLIENT_INPUT: {
        int n = flush_out(d) ? read_more(d) : -1;
        if (n <= 0) {
            smtp_client_lost(&d->client, n == 0, false,
                             n == 0 ? STR("no answer in time") : STR("the connection was lost"));
        }
        break;
    }
    case SMTP_CLIENT_START_TLS:
        fine = flush_out(d) && shake_hands(d);
        smtp_client_tls_started(&d->client, fine, fine ? STR_EMPTY : STR("the handshake failed"));
        break;
    case SMTP_CLIENT_READY: begin_or_quit(d); break;
    case SMTP_CLIENT_SCAN: scan_message(d); break;
    case SMTP_CLIENT_BODY:
        if (!send_body(d)) {
            smtp_client_lost(&d->client, false, true, STR("the connection was lost"));
        }
        break;
    case SMTP_CLIENT_DONE: begin_or_quit(d); break;
    case SMTP_CLIENT_CLOSE:
        flush_out(d);
        close_with_failure(d);
        return false;
    }
    return true;
}

static void converse(struct dialogue *d)
{
    smtp_client_start(&d->client, &d->options->settings, report, d);
    bool on = true;
    while (on) {
        struct str input = buf_str(&d->in);
        size_t before = input.len;
        enum smtp_client_request request = smtp_client_run(&d->client, &input, &d->out);
        buf_consume(&d->in, before - input.len);
        on = serve_request(d, request);
    }
}

void dialogue_run(const struct dialogue_options *options, struct dialogue_result *result)
{
    struct dialogue d = {.options = options, .result = result, .fd = -1};
    struct buf errors = buf_make(4096);
    *result = (struct dialogue_result){.code = EX_OK};
    d.in = buf_make(IN_MAX);
    d.out = buf_make(4 * CHUNK + (size_t)IN_MAX);
    d.shown = buf_make(IN_MAX);
    signal(SIGPIPE, SIG_IGN);
    if (!tls_setup(NULL, NULL) || (d.context = tls_client_context(options->ca, &errors)) == NULL) {
        set_failure(&d, EX_CONFIG, "name a file of PEM certificates with --ca FILE",
                    "TLS cannot be used: %.*s",
                    STR_ARGS(str_sub(buf_str(&errors), 0, str_find(buf_str(&errors), 0, '\n'))));
    } else if (open_connection(&d)) {
        converse(&d);
    }
    if (d.tls != NULL) {
        tls_shutdown(d.tls);
        tls_free(d.tls);
    }
    if (d.fd >= 0) {
        close(d.fd);
    }
    tls_context_free(d.context);
    buf_free(&errors);
    buf_free(&d.in);
    buf_wipe(&d.out);
    buf_free(&d.shown);
}
