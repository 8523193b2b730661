/* The POP3 engine's surroundings for tests; see driver.h. */
#include "driver.h"

void driver_init(struct driver *d, bool tls, bool tls_offered)
{
    *d = (struct driver){.settings = {.tls_offered = tls_offered,
                                      .implicit_tls = tls,
                                      .hostname = STR("pop.example.org"),
                                      .errors = 20,
                                      .login_timeout_ms = 120000,
                                      .idle_timeout_ms = 600000,
                                      .session_timeout_ms = 21600000,
                                      .doors = {.submission = 587, .imap = 143, .imaps = 993, .pop3s = 995}},
                         .uid_validity = 0xabcdef01,
                         .auth = POP3_AUTH_GOOD,
                         .open = POP3_OPENED,
                         .now_ms = 1000,
                         .said = buf_make(1 << 26)};
    pop3_server_init(&d->server, &d->settings, tls, d->now_ms);
}

void driver_add(struct driver *d, struct str message)
{
    d->messages[d->message_count++] = message;
}

static void take(struct driver *d, struct buf *out)
{
    d->most = out->len > d->most ? out->len : d->most;
    buf_append_str(&d->said, buf_str(out));
    buf_clear(out);
}

static void verify(struct driver *d, struct buf *out)
{
    bool right = str_equal_nocase(buf_str(&d->server.login_name), STR("user@example.org")) &&
                 str_equal(buf_str(&d->server.login_password), STR("secret"));
    d->verified++;
    pop3_server_verified(&d->server, right ? d->auth : POP3_AUTH_BAD, STR("user@example.org"), STR("grant"),
                         out);
}

static void open_mailbox(struct driver *d, struct buf *out)
{
    enum pop3_open_answer answer = d->open;
    d->opened++;
    for (size_t i = 0; answer == POP3_OPENED && i < d->message_count; i++) {
        if (d->messages[i].len > 0 && !pop3_server_entry(&d->server, (uint32_t)(i + 7), d->messages[i].len)) {
            answer = POP3_OPEN_FAILED;
        }
    }
    pop3_server_opened(&d->server, answer, d->uid_validity, out);
}

static void read_message(struct driver *d, struct buf *out)
{
    struct str message = d->messages[d->server.read_uid - 7];
    uint64_t from = d->server.read_offset;
    size_t length = d->server.read_length;
    if (d->read_limit != 0 && length > d->read_limit) {
        length = d->read_limit;
    }
    bool fine = d->read_fails_at == 0 || from < d->read_fails_at;
    pop3_server_bytes(&d->server, fine, str_sub(message, (size_t)from, (size_t)from + length), out);
}

static void expunge(struct driver *d, struct buf *out)
{
    d->given_back++;
    d->expunged += d->server.deleted_count > 0;
    for (size_t i = 0; !d->expunge_fails && i < d->server.message_count; i++) {
        if (d->server.messages[i].deleted) {
            d->messages[d->server.messages[i].uid - 7] = STR_EMPTY;
        }
    }
    pop3_server_expunged(&d->server, !d->expunge_fails, out);
}

/* The engine runs until it wants more input. */
static void run(struct driver *d, struct str *input, struct buf *out)
{
    for (;;) {
        enum pop3_request request = pop3_server_run(&d->server, d->now_ms, input, out);
        take(d, out);
        switch (request) {
        case POP3_INPUT: return;
        case POP3_VERIFY: verify(d, out); break;
        case POP3_OPEN: open_mailbox(d, out); break;
        case POP3_READ: read_message(d, out); break;
        case POP3_DRAIN: break;
        case POP3_EXPUNGE: expunge(d, out); break;
        case POP3_START_TLS:
            *input = STR_EMPTY;
            d->tls_started++;
            pop3_server_tls_started(&d->server, d->now_ms);
            return;
        case POP3_CLOSE: d->closed = true; return;
        }
        take(d, out);
    }
}

void driver_start(struct driver *d, struct str early)
{
    struct buf out = buf_make(1 << 20);
    d->closed = pop3_server_start(&d->server, early, &out) == POP3_CLOSE;
    take(d, &out);
    buf_free(&out);
}

void driver_say(struct driver *d, struct str text, size_t split)
{
    struct buf out = buf_make(1 << 20);
    while (text.len > 0 && !d->closed) {
        struct str input = split == 0 ? text : str_sub(text, 0, split);
        text = str_from(text, input.len);
        unsigned tls = d->tls_started;
        run(d, &input, &out);
        if (d->tls_started > tls) {
            break; /* what was sent before the handshake is thrown away */
        }
    }
    buf_free(&out);
}

void driver_free(struct driver *d)
{
    pop3_server_free(&d->server);
    buf_free(&d->said);
}
