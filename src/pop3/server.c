/* The POP3 server engine: lines, states, time; see server.h. */
#include "pop3/server_private.h"

#include "base/mem.h"
#include "sasl/sasl.h"

enum { DOOR_TEXT = 256 };

void pop3_ok(struct buf *out, const char *text)
{
    buf_append_lit(out, "+OK ");
    buf_append_str(out, str_of(text));
    buf_append_lit(out, "\r\n");
}

void pop3_error(struct pop3_server *s, struct buf *out, const char *text)
{
    buf_append_lit(out, "-ERR ");
    buf_append_str(out, str_of(text));
    buf_append_lit(out, "\r\n");
    s->errors++;
    if (s->errors >= s->settings->errors && s->state != POP3_CLOSED) {
        s->state = POP3_CLOSED;
        s->close_reason = "too many errors";
    }
}

void pop3_close(struct pop3_server *s, struct buf *out, const char *text, const char *reason)
{
    buf_append_lit(out, "-ERR ");
    buf_append_str(out, str_of(text));
    buf_append_lit(out, "\r\n");
    s->state = POP3_CLOSED;
    s->close_reason = reason;
}

void pop3_server_init(struct pop3_server *s, const struct pop3_settings *settings, bool tls, uint64_t now_ms)
{
    *s = (struct pop3_server){.settings = settings,
                              .tls = tls,
                              .opened_ms = now_ms,
                              .activity_ms = now_ms,
                              .line = buf_make(POP3_AUTH_LINE_MAX),
                              .login_name = buf_make(SASL_NAME_MAX),
                              .login_password = buf_make(SASL_PASSWORD_MAX),
                              .login = buf_make(512),
                              .grant = buf_make(64),
                              .wrong_door = buf_make(DOOR_TEXT),
                              .close_reason = ""};
}

void pop3_server_free(struct pop3_server *s)
{
    buf_wipe(&s->line);
    buf_free(&s->login_name);
    buf_wipe(&s->login_password);
    buf_free(&s->login);
    buf_wipe(&s->grant);
    sasl_free(s->sasl);
    mem_free(s->messages);
    buf_free(&s->wrong_door);
    s->sasl = NULL;
    s->messages = NULL;
}

/* Other doors. */

/* Says where the client should go, for it and for the log; the session is over. */
static void show_door(struct pop3_server *s, struct buf *out, const char *reason)
{
    char text[DOOR_TEXT];
    struct str said = str_sub(buf_str(&s->wrong_door), 0, sizeof(text) - 1);
    memcpy(text, said.data, said.len);
    text[said.len] = '\0';
    pop3_close(s, out, text, reason);
}

static enum pop3_request tls_to_plain(struct pop3_server *s, struct buf *out)
{
    doors_append_tls(&s->settings->doors, DOOR_POP3, &s->wrong_door);
    show_door(s, out, "TLS spoken to a plain port");
    return POP3_CLOSE;
}

bool pop3_wrong_door(struct pop3_server *s, struct str line, struct buf *out)
{
    enum door spoken = door_of_line(line);
    if (spoken == DOOR_NONE || spoken == DOOR_POP3) {
        return false;
    }
    doors_append_wrong(&s->settings->doors, DOOR_POP3, spoken, &s->wrong_door);
    show_door(s, out, "another protocol was spoken");
    return true;
}

enum pop3_request pop3_server_start(struct pop3_server *s, struct str early, struct buf *out)
{
    if (door_is_tls(early)) {
        return tls_to_plain(s, out);
    }
    buf_append_lit(out, "+OK ");
    buf_append_str(out, s->settings->hostname);
    buf_append_lit(out, " POP3 Veredus\r\n");
    return POP3_INPUT;
}

/* Lines. */

static enum pop3_request handle_command(struct pop3_server *s, struct str line, struct buf *out)
{
    size_t blank = str_find(line, 0, ' ');
    struct str verb = blank == SIZE_MAX ? line : str_sub(line, 0, blank);
    struct str argument = blank == SIZE_MAX ? STR_EMPTY : str_from(line, blank + 1);
    if (str_equal_nocase(verb, STR("CAPA"))) {
        pop3_capabilities(s, out);
        return POP3_INPUT;
    }
    /* A password may begin with a blank; elsewhere more blanks than one are a slip. */
    argument = str_equal_nocase(verb, STR("PASS")) ? argument : str_trim(argument);
    return s->opened ? pop3_command_mailbox(s, verb, argument, out)
                     : pop3_command_login(s, verb, argument, out);
}

static enum pop3_request handle_line(struct pop3_server *s, struct str line, struct buf *out)
{
    if (s->state == POP3_AUTH_RESPONSE) {
        return pop3_auth_response(s, line, out);
    }
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == '\0' || line.data[i] == '\r') {
            pop3_error(s, out, "A command must not hold CR or NUL");
            return POP3_INPUT;
        }
    }
    return handle_command(s, line, out);
}

/* Of the line that begins like this; a response or a password may be longer than a command. */
static size_t line_limit(const struct pop3_server *s, struct str line)
{
    bool long_one = s->state == POP3_AUTH_RESPONSE || str_starts_nocase(line, STR("AUTH ")) ||
                    str_starts_nocase(line, STR("PASS "));
    return long_one ? POP3_AUTH_LINE_MAX : POP3_LINE_MAX;
}

static enum pop3_request read_line(struct pop3_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    size_t newline = str_find(*input, 0, '\n');
    size_t take = newline == SIZE_MAX ? input->len : newline + 1;
    struct str line = str_sub(*input, 0, take);
    bool fits = s->line.len + take <= POP3_AUTH_LINE_MAX;
    if (fits && (newline == SIZE_MAX || s->line.len > 0)) {
        if (!buf_append_str(&s->line, line)) {
            pop3_close(s, out, "[SYS/TEMP] Out of memory; try again later", "out of memory");
            return POP3_CLOSE;
        }
        line = buf_str(&s->line);
    }
    if (!s->tls && door_is_tls(line)) {
        return tls_to_plain(s, out);
    }
    if (!fits || line.len > line_limit(s, line)) {
        pop3_close(s, out, "Line too long", "line too long");
        return POP3_CLOSE;
    }
    *input = str_from(*input, take);
    if (newline == SIZE_MAX) {
        return POP3_INPUT;
    }
    s->activity_ms = now_ms;
    /* Old clients end lines in LF alone; nothing of a command can be smuggled by it here. */
    size_t end = line.len >= 2 && line.data[line.len - 2] == '\r' ? line.len - 2 : line.len - 1;
    enum pop3_request request = handle_line(s, str_sub(line, 0, end), out);
    buf_wipe(&s->line);
    return request;
}

enum pop3_request pop3_server_run(struct pop3_server *s, uint64_t now_ms, struct str *input, struct buf *out)
{
    if (s->waiting != POP3_INPUT && s->waiting != POP3_DRAIN) {
        return s->waiting;
    }
    s->waiting = POP3_INPUT;
    for (;;) {
        enum pop3_request request = POP3_INPUT;
        if (s->state == POP3_CLOSED) {
            return POP3_CLOSE;
        }
        if (s->state == POP3_LISTING || s->state == POP3_SENDING) {
            s->activity_ms = now_ms;
            request = s->state == POP3_LISTING ? pop3_continue_list(s, out) : pop3_continue_message(s, out);
        } else if (input->len > 0) {
            request = read_line(s, now_ms, input, out);
        } else {
            return POP3_INPUT;
        }
        if (request != POP3_INPUT) {
            s->waiting = (uint8_t)(request == POP3_CLOSE ? POP3_INPUT : request);
            return request;
        }
        if (out->len > POP3_CHUNK) {
            s->waiting = POP3_DRAIN; /* a client that pipelines has to read, too */
            return POP3_DRAIN;
        }
    }
}

void pop3_server_tls_started(struct pop3_server *s, uint64_t now_ms)
{
    s->waiting = POP3_INPUT;
    s->tls = true;
    s->activity_ms = now_ms;
    buf_wipe(&s->line);
    buf_free(&s->login_name); /* RFC 2595, section 4: what was learnt in clear is forgotten */
}

/* Time. */

uint64_t pop3_server_deadline(const struct pop3_server *s)
{
    uint64_t idle =
        s->activity_ms + (s->opened ? s->settings->idle_timeout_ms : s->settings->login_timeout_ms);
    uint64_t whole =
        s->opened_ms + (s->opened ? s->settings->session_timeout_ms : 2 * s->settings->login_timeout_ms);
    return idle < whole ? idle : whole;
}

void pop3_server_expire(struct pop3_server *s, struct buf *out)
{
    if (s->state == POP3_CLOSED || s->waiting == POP3_EXPUNGE) {
        return;
    }
    if (s->state == POP3_SENDING || s->state == POP3_LISTING) {
        /* Words in the middle of a message would become part of it. */
        s->state = POP3_CLOSED;
        s->close_reason = "the client does not read";
        return;
    }
    pop3_close(s, out, "[SYS/TEMP] No command came in time; nothing has been removed", "idle");
}

bool pop3_server_shutdown(struct pop3_server *s, struct buf *out)
{
    if (s->state == POP3_CLOSED) {
        return true;
    }
    if (s->waiting == POP3_EXPUNGE) {
        return false;
    }
    if (s->state == POP3_SENDING || s->state == POP3_LISTING) {
        s->state = POP3_CLOSED;
        s->close_reason = "the server stops";
        return true;
    }
    pop3_close(s, out, "[SYS/TEMP] The server is stopping; connect again in a moment", "the server stops");
    return true;
}
