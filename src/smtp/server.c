/*
 * The SMTP server engine's main loop: lines to commands, data to the transaction, time-outs, the end. See server.h.
 */
#include "smtp/server_private.h"

#include "base/mem.h"
#include "sasl/sasl.h"

void smtp_server_init(struct smtp_server *s, const struct smtp_server_settings *settings,
                      struct smtp_body_budget *budget, bool tls, uint64_t now_ms)
{
    *s = (struct smtp_server){.settings = settings,
                              .budget = budget,
                              .tls = tls,
                              .opened_ms = now_ms,
                              .activity_ms = now_ms,
                              .line = buf_make(LINE_LIMIT),
                              .helo = buf_make(256),
                              .login = buf_make(512),
                              .grant = buf_make(64),
                              .close_reason = ""};
}

/* The one place where a transaction ends, whatever ended it. */
void server_transaction_reset(struct smtp_server *s)
{
    struct smtp_transaction *t = s->transaction;
    s->transaction = NULL;
    if (t == NULL) {
        return;
    }
    if (s->budget != NULL) {
        s->budget->used -= t->budgeted;
    }
    buf_free(&t->body);
    struct arena arena = t->arena; /* it holds the transaction itself */
    arena_free(&arena);
}

void server_forget_login(struct smtp_server *s)
{
    s->authenticated = false;
    buf_free(&s->login);
    buf_wipe(&s->grant);
}

void smtp_server_free(struct smtp_server *s)
{
    server_transaction_reset(s);
    server_forget_login(s);
    sasl_free(s->sasl);
    s->sasl = NULL;
    buf_wipe(&s->line);
    buf_free(&s->helo);
}

static bool looks_like_tls(struct str bytes)
{
    return bytes.len >= 2 && bytes.data[0] == 0x16 && bytes.data[1] == 0x03;
}

static enum smtp_request tls_to_plain(struct smtp_server *s, struct buf *out)
{
    struct buf text = buf_make(512);
    buf_append_lit(&text, "TLS was begun on a port that speaks SMTP in clear first; use ");
    server_name_doors(s, &text);
    buf_append_char(&text, '\0');
    server_close(s, out, 554, "5.5.1", buf_ok(&text) ? text.data : "TLS on a port in clear", "TLS spoken to a plain port");
    buf_free(&text);
    return SMTP_CLOSE;
}

enum smtp_request smtp_server_start(struct smtp_server *s, struct str early, struct buf *out)
{
    if (looks_like_tls(early)) {
        return tls_to_plain(s, out);
    }
    if (early.len > 0) {
        server_close(s, out, 554, "5.5.1", "You spoke before the greeting; wait for it (RFC 5321, section 4.3.1)",
                     "early talker");
        return SMTP_CLOSE;
    }
    buf_append_lit(out, "220 ");
    buf_append_str(out, s->settings->hostname);
    if (s->settings->kind == SMTP_KIND_LMTP) {
        buf_append_lit(out, " LMTP Veredus\r\n");
    } else {
        buf_append_lit(out, " ESMTP Veredus\r\n");
    }
    return SMTP_INPUT;
}

void smtp_server_refuse(struct smtp_server *s, const char *enhanced, const char *text, struct buf *out)
{
    server_close(s, out, 421, enhanced, text, text);
}

void smtp_server_tls_started(struct smtp_server *s, uint64_t now_ms)
{
    /* RFC 3207, section 4.2: everything learnt in clear is forgotten. */
    s->waiting = SMTP_INPUT;
    s->tls = true;
    s->esmtp = false;
    s->activity_ms = now_ms;
    server_transaction_reset(s);
    server_forget_login(s);
    buf_free(&s->helo);
    buf_wipe(&s->line);
}

static enum smtp_request bad_line(struct smtp_server *s, struct str line, struct buf *out)
{
    if (s->helo.len == 0 && looks_like_tls(line)) {
        return tls_to_plain(s, out);
    }
    const char *text = "Commands must end in CRLF and have no other CR, LF or NUL in them";
    server_close(s, out, 521, "5.5.2", text, "bare CR, LF or NUL in a command");
    return SMTP_CLOSE;
}

static enum smtp_request handle_line(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out)
{
    s->activity_ms = now_ms;
    enum smtp_request request = SMTP_INPUT;
    if (data_plain_run(line) != line.len) {
        request = bad_line(s, line, out);
    } else if (s->state == STATE_AUTH) {
        request = server_auth_response(s, line, out);
    } else {
        request = server_command(s, now_ms, line, out);
    }
    return s->state == STATE_CLOSED ? SMTP_CLOSE : request;
}

static enum smtp_request line_too_long(struct smtp_server *s, struct str start, struct buf *out)
{
    if (looks_like_tls(start)) {
        return tls_to_plain(s, out);
    }
    server_close(s, out, 500, "5.5.2", "Line too long", "line too long");
    return SMTP_CLOSE;
}

/* Takes one line from the input, or keeps what there is of it. */
static enum smtp_request read_line(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    size_t limit = s->state == STATE_AUTH ? AUTH_LINE_LIMIT : LINE_LIMIT;
    size_t newline = str_find(*input, 0, '\n');
    size_t take = newline == SIZE_MAX ? input->len : newline + 1;
    if (s->line.len + take > limit) {
        struct str start = s->line.len > 0 ? buf_str(&s->line) : *input;
        /* AUTH with an initial response may be long before its state is known (RFC 4954, section 4). */
        bool auth = str_starts_nocase(start, STR("AUTH "));
        if (!auth || s->line.len + take > AUTH_LINE_LIMIT) {
            return line_too_long(s, start, out);
        }
    }
    struct str line = str_sub(*input, 0, take);
    if (newline == SIZE_MAX || s->line.len > 0) {
        s->line.limit = AUTH_LINE_LIMIT;
        if (!buf_append_str(&s->line, line)) {
            server_close(s, out, 421, "4.3.0", "Out of memory; try again later", "out of memory");
            return SMTP_CLOSE;
        }
        line = buf_str(&s->line);
    }
    *input = str_from(*input, take);
    if (newline == SIZE_MAX) {
        return s->helo.len == 0 && looks_like_tls(line) ? tls_to_plain(s, out) : SMTP_INPUT;
    }
    bool whole = line.len >= 2 && line.data[line.len - 2] == '\r';
    enum smtp_request request =
        whole ? handle_line(s, now_ms, str_sub(line, 0, line.len - 2), out) : bad_line(s, line, out);
    if (s->line.data != NULL) {
        buf_wipe(&s->line); /* it may have held a password */
    }
    return request;
}

static enum smtp_request step(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    switch ((enum server_state)s->state) {
    case STATE_DATA:
        s->activity_ms = now_ms;
        return server_read_data(s, input, out);
    case STATE_CHUNK:
        s->activity_ms = now_ms;
        return server_read_chunk(s, input, out);
    case STATE_CLOSED: return SMTP_CLOSE;
    default: return read_line(s, now_ms, input, out);
    }
}

/* A message whose header senders have been approved one by one goes on to the next one or to COMMIT. */
static bool senders_are_being_checked(const struct smtp_server *s)
{
    return s->transaction != NULL && s->transaction->senders_checked > 0 && s->waiting == SMTP_INPUT &&
           s->state == STATE_COMMAND;
}

enum smtp_request smtp_server_run(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    if (s->waiting != SMTP_INPUT) {
        return s->waiting; /* asked already, not answered yet */
    }
    if (senders_are_being_checked(s)) {
        enum smtp_request request = server_check_senders(s, out);
        if (request != SMTP_INPUT) {
            return request;
        }
    }
    while (input->len > 0 && s->state != STATE_CLOSED) {
        if (s->shutting_down && s->transaction == NULL && s->state == STATE_COMMAND) {
            server_close(s, out, 421, "4.3.2", "The server is stopping; try again in a moment", "server stops");
            break;
        }
        enum smtp_request request = step(s, now_ms, input, out);
        if (request != SMTP_INPUT) {
            s->waiting = request == SMTP_START_TLS ? SMTP_START_TLS : s->waiting;
            return request;
        }
    }
    return s->state == STATE_CLOSED ? SMTP_CLOSE : SMTP_INPUT;
}

/* Time. */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t smtp_server_deadline(const struct smtp_server *s)
{
    const struct smtp_server_settings *set = s->settings;
    bool data = s->state == STATE_DATA || s->state == STATE_CHUNK;
    uint64_t deadline = s->opened_ms + set->session_timeout_ms;
    deadline = earlier(deadline, s->activity_ms + (data ? set->data_timeout_ms : set->command_timeout_ms));
    if (s->transaction != NULL) {
        deadline = earlier(deadline, s->transaction->started_ms + set->transaction_timeout_ms);
        if (data && set->min_rate > 0) {
            /* A minute's grace, then so many octets a second on average. */
            uint64_t paid_ms = s->transaction->reader.octets * 1000 / set->min_rate;
            deadline = earlier(deadline, s->transaction->data_started_ms + 60000 + paid_ms);
        }
    }
    return deadline;
}

void smtp_server_expire(struct smtp_server *s, uint64_t now_ms, struct buf *out)
{
    if (s->waiting == SMTP_COMMIT || s->state == STATE_CLOSED) {
        return; /* the client has done its part: the answer is ours to give */
    }
    bool data = s->state == STATE_DATA || s->state == STATE_CHUNK;
    if (now_ms >= s->opened_ms + s->settings->session_timeout_ms) {
        server_close(s, out, 421, "4.4.2", "The session has lasted too long; connect again", "session too long");
    } else if (data) {
        server_close(s, out, 421, "4.4.2", "The message data came too slowly or not at all; try again", "data too slow");
    } else {
        server_close(s, out, 421, "4.4.2", "No command came in time; connect again", "idle");
    }
}

bool smtp_server_in_transaction(const struct smtp_server *s)
{
    return s->transaction != NULL || s->waiting != SMTP_INPUT;
}

bool smtp_server_shutdown(struct smtp_server *s, struct buf *out)
{
    s->shutting_down = true;
    if (!smtp_server_in_transaction(s) && s->state != STATE_CLOSED) {
        server_close(s, out, 421, "4.3.2", "The server is stopping; try again in a moment", "server stops");
    }
    return s->state == STATE_CLOSED;
}
