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
    char text[SERVER_TEXT];
    const struct str before = STR("TLS was begun on a port that speaks SMTP in clear first; use ");
    server_close(s, out, 554, "5.5.1", server_text_with_doors(s, before, text), "TLS spoken to a plain port");
    return SMTP_CLOSE;
}

enum smtp_request server_refuse_http(struct smtp_server *s, struct buf *out)
{
    char text[SERVER_TEXT];
    const struct str before = STR("This is a mail server, not a web server. Mail programs submit at ");
    server_close(s, out, 421, "4.7.0", server_text_with_doors(s, before, text), "HTTP spoken to SMTP");
    return SMTP_CLOSE;
}

enum smtp_request smtp_server_start(struct smtp_server *s, struct str early, struct buf *out)
{
    if (looks_like_tls(early)) {
        return tls_to_plain(s, out);
    }
    if (server_is_http(early)) {
        return server_refuse_http(s, out);
    }
    if (early.len > 0) {
        server_close(s, out, 554, "5.5.1",
                     "You spoke before the greeting; wait for it (RFC 5321, section 4.3.1)", "early talker");
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
    s->skip_line = LINE_KEPT;
    s->skip_octets = 0;
    server_transaction_reset(s);
    server_forget_login(s);
    buf_free(&s->helo);
    buf_wipe(&s->line);
}

/* Where a command ends is in doubt, so nothing that follows can be believed. */
static enum smtp_request bad_line(struct smtp_server *s, struct buf *out)
{
    const char *text = "Commands must end in CRLF and have no other CR, LF or NUL in them; closing";
    server_close(s, out, 500, "5.5.2", text, "bare CR, LF or NUL in a command");
    return SMTP_CLOSE;
}

static enum smtp_request handle_line(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out)
{
    s->activity_ms = now_ms;
    enum smtp_request request = SMTP_INPUT;
    if (data_plain_run(line) != line.len) {
        request = bad_line(s, out);
    } else if (s->state == STATE_AUTH) {
        request = server_auth_response(s, line, out);
    } else {
        request = server_command(s, now_ms, line, out);
    }
    return s->state == STATE_CLOSED ? SMTP_CLOSE : request;
}

/* AUTH with an initial response may be long before its state is known (RFC 4954, section 4). */
static size_t limit_of(const struct smtp_server *s, struct str line)
{
    return s->state == STATE_AUTH || str_starts_nocase(line, STR("AUTH ")) ? AUTH_LINE_LIMIT : LINE_LIMIT;
}

static enum smtp_request line_too_long(struct smtp_server *s, uint64_t now_ms, struct buf *out)
{
    s->activity_ms = now_ms;
    s->skip_line = LINE_KEPT;
    if (s->state == STATE_AUTH) {
        server_auth_too_long(s, out);
    } else {
        server_reply(s, out, 500, "5.5.2", "Line too long: a command has at most 2048 octets");
    }
    return SMTP_INPUT;
}

/* Reads on to the end of a line that was too long. */
static enum smtp_request skip_line(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    size_t newline = str_find(*input, 0, '\n');
    size_t take = newline == SIZE_MAX ? input->len : newline + 1;
    size_t before = newline == SIZE_MAX ? take : newline;
    if (before > 0) {
        s->skip_line = input->data[before - 1] == '\r' ? LINE_SKIPPED_CR : LINE_SKIPPED;
    }
    *input = str_from(*input, take);
    if (newline == SIZE_MAX) {
        return SMTP_INPUT;
    }
    return s->skip_line == LINE_SKIPPED_CR ? line_too_long(s, now_ms, out) : bad_line(s, out);
}

/* The line so far, with what is taken from the input; data is NULL without memory. */
static struct str gather_line(struct smtp_server *s, struct str *input, size_t take, bool whole)
{
    struct str part = str_sub(*input, 0, take);
    *input = str_from(*input, take);
    if (whole && s->line.len == 0) {
        return part;
    }
    s->line.limit = AUTH_LINE_LIMIT;
    return buf_append_str(&s->line, part) ? buf_str(&s->line) : str_make(NULL, 0);
}

static enum smtp_request end_of_line(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out)
{
    if (line.len < 2 || line.data[line.len - 2] != '\r') {
        return bad_line(s, out);
    }
    return line.len > limit_of(s, line) ? line_too_long(s, now_ms, out)
                                        : handle_line(s, now_ms, str_sub(line, 0, line.len - 2), out);
}

/* Takes one line from the input, or keeps what there is of it. */
static enum smtp_request read_line(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    if (s->skip_line != LINE_KEPT) {
        return skip_line(s, now_ms, input, out);
    }
    size_t newline = str_find(*input, 0, '\n');
    size_t take = newline == SIZE_MAX ? input->len : newline + 1;
    size_t room = AUTH_LINE_LIMIT - s->line.len;
    bool whole = newline != SIZE_MAX && take <= room;
    struct str line = gather_line(s, input, take < room ? take : room, whole);
    enum smtp_request request = SMTP_INPUT;
    if (line.data == NULL) {
        server_close(s, out, 421, "4.3.0", "Out of memory; try again later", "out of memory");
        request = SMTP_CLOSE;
    } else if (s->helo.len == 0 && s->state == STATE_COMMAND && looks_like_tls(line)) {
        request = tls_to_plain(s, out);
    } else if (whole) {
        request = end_of_line(s, now_ms, line, out);
    } else if (line.len >= limit_of(s, line)) {
        s->skip_line = line.data[line.len - 1] == '\r' ? LINE_SKIPPED_CR : LINE_SKIPPED;
    } else {
        return SMTP_INPUT;
    }
    if (s->line.data != NULL) {
        buf_wipe(&s->line); /* it may have held a password */
    }
    return request;
}

static enum smtp_request step(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    switch ((enum server_state)s->state) {
    case STATE_DATA: s->activity_ms = now_ms; return server_read_data(s, input, out);
    case STATE_CHUNK: s->activity_ms = now_ms; return server_read_chunk(s, input, out);
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

static bool must_stop(const struct smtp_server *s)
{
    return s->shutting_down && s->state != STATE_CLOSED && !smtp_server_in_transaction(s);
}

static void stop(struct smtp_server *s, struct buf *out)
{
    server_close(s, out, 421, "4.3.2", "The server is stopping; try again in a moment", "server stops");
}

enum smtp_request smtp_server_run(struct smtp_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    if (s->waiting != SMTP_INPUT) {
        return s->waiting; /* asked already, not answered yet */
    }
    enum smtp_request request = senders_are_being_checked(s) ? server_check_senders(s, out) : SMTP_INPUT;
    while (request == SMTP_INPUT && input->len > 0 && s->state != STATE_CLOSED && !must_stop(s)) {
        request = step(s, now_ms, input, out);
    }
    if (request == SMTP_START_TLS) {
        input->len = 0; /* RFC 3207, section 4.2: nothing that came in clear counts behind the handshake */
        s->waiting = SMTP_START_TLS;
    }
    if (must_stop(s)) {
        stop(s, out);
    }
    return s->state == STATE_CLOSED ? SMTP_CLOSE : request;
}

/* Time. */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool in_data(const struct smtp_server *s)
{
    return s->state == STATE_DATA || s->state == STATE_CHUNK;
}

uint64_t smtp_server_deadline(const struct smtp_server *s)
{
    const struct smtp_server_settings *set = s->settings;
    if (s->waiting != SMTP_INPUT && s->waiting != SMTP_START_TLS) {
        return UINT64_MAX;
    }
    uint64_t deadline = s->opened_ms + set->session_timeout_ms;
    deadline =
        earlier(deadline, s->activity_ms + (in_data(s) ? set->data_timeout_ms : set->command_timeout_ms));
    if (s->transaction != NULL) {
        deadline = earlier(deadline, s->transaction->started_ms + set->transaction_timeout_ms);
    }
    if (in_data(s) && set->min_rate > 0) {
        /* A minute's grace, then so many octets a second on average. */
        uint64_t paid_ms = s->data_octets * 1000 / set->min_rate;
        deadline = earlier(deadline, s->data_started_ms + 60000 + paid_ms);
    }
    return deadline;
}

void smtp_server_expire(struct smtp_server *s, uint64_t now_ms, struct buf *out)
{
    if (s->waiting == SMTP_COMMIT || s->state == STATE_CLOSED) {
        return; /* the client has done its part: the answer is ours to give */
    }
    const struct smtp_transaction *t = s->transaction;
    if (now_ms >= s->opened_ms + s->settings->session_timeout_ms) {
        server_close(s, out, 421, "4.4.2", "The session has lasted too long; connect again",
                     "session too long");
    } else if (t != NULL && now_ms >= t->started_ms + s->settings->transaction_timeout_ms) {
        server_close(s, out, 421, "4.4.2", "The transaction has lasted too long; connect again",
                     "transaction too long");
    } else if (in_data(s)) {
        server_close(s, out, 421, "4.4.2", "The message data came too slowly or not at all; try again",
                     "data too slow");
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
    if (must_stop(s)) {
        stop(s, out);
    }
    return s->state == STATE_CLOSED;
}
