/*
 * The SMTP client engine: its life, requests, time-outs, and what becomes of a session that breaks off; see client.h. Greeting
 * to login is in client_session.c, a message in client_transaction.c, its bytes in client_body.c, replies in client_reply.c.
 */
#include "smtp/client_private.h"

enum { MINUTE_MS = 60000, QUIT_MS = 5000 };

void smtp_client_start(struct smtp_client *c, const struct smtp_client_settings *settings,
                       void (*report)(void *context, size_t recipient,
                                      const struct smtp_client_result *result),
                       void *context)
{
    memset(c, 0, sizeof(*c));
    c->settings = settings;
    c->report = report;
    c->context = context;
    c->phase = settings->implicit_tls ? PHASE_HANDSHAKE : PHASE_GREETING;
    c->failure.text = STR_EMPTY;
    c->failure.enhanced = STR_EMPTY;
}

enum smtp_client_stage smtp_client_stage_now(const struct smtp_client *c)
{
    switch ((enum client_phase)c->phase) {
    case PHASE_GREETING: return SMTP_STAGE_GREETING;
    case PHASE_EHLO:
    case PHASE_HELO: return SMTP_STAGE_HELLO;
    case PHASE_STARTTLS:
    case PHASE_HANDSHAKE:
    case PHASE_SECURED: return SMTP_STAGE_TLS;
    case PHASE_AUTH_PLAIN:
    case PHASE_AUTH_LOGIN:
    case PHASE_AUTH_LOGIN_USER:
    case PHASE_AUTH_LOGIN_PASSWORD: return SMTP_STAGE_AUTH;
    case PHASE_READY:
    case PHASE_RESET: return SMTP_STAGE_RESET;
    case PHASE_BEGIN: return SMTP_STAGE_MAIL;
    case PHASE_ENVELOPE:
        return !c->mail_replied                        ? SMTP_STAGE_MAIL
               : c->next_to_reply < c->recipient_count ? SMTP_STAGE_RCPT
                                                       : SMTP_STAGE_DATA;
    case PHASE_BODY: return SMTP_STAGE_BODY;
    case PHASE_FINAL:
    case PHASE_EMPTY_FINAL:
    case PHASE_DONE: return SMTP_STAGE_FINAL;
    default: return SMTP_STAGE_QUIT;
    }
}

const char *smtp_client_stage_words(enum smtp_client_stage stage)
{
    static const char *const words[] = {"looking up the mail server",
                                        "connecting",
                                        "greeting",
                                        "EHLO command",
                                        "STARTTLS",
                                        "login",
                                        "MAIL command",
                                        "RCPT command",
                                        "DATA command",
                                        "message data",
                                        "end of the message data",
                                        "between two messages",
                                        "end of the session"};
    return (size_t)stage < sizeof(words) / sizeof(words[0]) ? words[stage] : "unknown stage";
}

uint64_t smtp_client_timeout_ms(const struct smtp_client *c)
{
    uint64_t ms = 5 * MINUTE_MS; /* greeting, MAIL, RCPT, and what the RFC does not name */
    switch ((enum client_phase)c->phase) {
    case PHASE_ENVELOPE:
        if (smtp_client_stage_now(c) == SMTP_STAGE_DATA) {
            ms = 2 * MINUTE_MS;
        }
        break;
    case PHASE_BODY: ms = 3 * MINUTE_MS; break;
    case PHASE_FINAL: ms = 10 * MINUTE_MS; break;
    case PHASE_QUIT: ms = QUIT_MS; break;
    default: break;
    }
    unsigned percent = c->settings->timeout_percent == 0 ? 100 : c->settings->timeout_percent;
    return ms * percent / 100;
}

bool smtp_client_reusable(const struct smtp_client *c)
{
    return !c->broken && (c->phase == PHASE_READY || c->phase == PHASE_DONE) &&
           (c->mail_max == 0 || c->transactions < c->mail_max);
}

/* One complete reply, or one that is none. */
static int handle_reply(struct smtp_client *c, struct buf *out)
{
    c->progress++;
    if (c->phase == PHASE_QUIT) {
        c->phase = PHASE_CLOSED;
        c->broken = true;
        return SMTP_CLIENT_CLOSE;
    }
    if (c->reply.bad) {
        client_leave_uncertain(c);
        return client_fail_reply(c);
    }
    /* RFC 5321, section 3.8: 421 ends the session, whatever it answers; but a message's own final reply stays one. */
    if (c->reply.code == 421 && c->phase != PHASE_FINAL) {
        return client_fail_reply(c);
    }
    return c->phase < PHASE_READY ? client_session_reply(c, out) : client_transaction_reply(c, out);
}

static bool awaits_reply(const struct smtp_client *c)
{
    switch ((enum client_phase)c->phase) {
    case PHASE_HANDSHAKE:
    case PHASE_SECURED:
    case PHASE_READY:
    case PHASE_BEGIN:
    case PHASE_BODY:
    case PHASE_DONE:
    case PHASE_CLOSED: return false;
    default: return true;
    }
}

/* Takes replies from the input until the engine wants something else. */
static int read_replies(struct smtp_client *c, struct str *input, struct buf *out)
{
    struct str line;
    while (client_reply_line(&c->reply, input, &line)) {
        if (c->phase == PHASE_EHLO && !c->reply.bad && c->reply.code / 100 == 2 && c->reply.lines > 1) {
            client_read_extensions(c, line);
        }
        if (!c->reply.complete && !c->reply.bad) {
            continue;
        }
        int step = handle_reply(c, out);
        client_reply_next(&c->reply);
        if (step != STEP_ON || !awaits_reply(c)) {
            return step;
        }
    }
    return STEP_ON;
}

static enum smtp_client_request request_of_phase(const struct smtp_client *c)
{
    switch ((enum client_phase)c->phase) {
    case PHASE_READY: return SMTP_CLIENT_READY;
    case PHASE_BODY: return SMTP_CLIENT_BODY;
    case PHASE_HANDSHAKE: return SMTP_CLIENT_START_TLS;
    case PHASE_CLOSED: return SMTP_CLIENT_CLOSE;
    default: return SMTP_CLIENT_INPUT;
    }
}

/* The peer speaks though nothing was asked: it is out of step, or it says goodbye (421) to an idle connection. */
static int unexpected_input(struct smtp_client *c, struct str *input)
{
    if (c->phase == PHASE_HANDSHAKE) {
        return client_fail_own(
            c, SMTP_CLIENT_DEFERRED, "4.7.5",
            "The server sent clear text behind its answer to STARTTLS: somebody may have put it there");
    }
    struct str line;
    while (!c->reply.complete && client_reply_line(&c->reply, input, &line) && !c->reply.bad) {
    }
    if (c->phase == PHASE_BODY && !c->reply.complete && !c->reply.bad) {
        return (int)request_of_phase(c);
    }
    *input = str_from(*input, input->len);
    if (c->reply.complete && c->reply.code >= 400) {
        /* A refusal in the middle of the data holds for all of it; nothing but closing ends the data then. */
        struct smtp_client_result result = client_result_of_reply(c);
        if (c->phase == PHASE_BODY) {
            client_decide_all(c, &result);
        }
        return client_fail(c, &result);
    }
    return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.5.0", "The server answered before it was asked");
}

enum smtp_client_request smtp_client_run(struct smtp_client *c, struct str *input, struct buf *out)
{
    int step = STEP_ON;
    while (step == STEP_ON) {
        if (c->phase == PHASE_CLOSED) {
            return SMTP_CLIENT_CLOSE;
        }
        if (!buf_ok(out)) {
            client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.3.1",
                            "This server has no memory for the conversation now");
            return SMTP_CLIENT_CLOSE;
        }
        if (awaits_reply(c)) {
            step = read_replies(c, input, out);
            if (step == STEP_ON && awaits_reply(c) && input->len == 0) {
                step = SMTP_CLIENT_INPUT;
            }
        } else if (c->phase == PHASE_DONE) {
            c->phase = PHASE_READY;
            c->recipient_count = 0;
            step = SMTP_CLIENT_DONE;
        } else if (c->phase == PHASE_SECURED) {
            step = client_session_secured(c, out);
        } else if (input->len > 0) {
            step = unexpected_input(c, input);
        } else if (c->phase == PHASE_BEGIN) {
            step = client_transaction_go(c, out);
        } else {
            step = (int)request_of_phase(c);
        }
    }
    return buf_ok(out) || c->phase == PHASE_CLOSED ? (enum smtp_client_request)step
                                                   : smtp_client_run(c, input, out);
}

void smtp_client_quit(struct smtp_client *c, struct buf *out)
{
    if (c->phase == PHASE_READY || c->phase == PHASE_DONE) {
        buf_append_lit(out, "QUIT\r\n");
        c->phase = PHASE_QUIT;
        c->progress++;
    }
}

void smtp_client_lost(struct smtp_client *c, bool timed_out, bool unsent, struct str reason)
{
    if (c->phase == PHASE_CLOSED) {
        return;
    }
    char area[SMTP_CLIENT_TEXT_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_printf(&text, "%s (stage: %s): ",
               timed_out ? "The server did not answer in time" : "The connection broke off",
               smtp_client_stage_words(smtp_client_stage_now(c)));
    buf_append_str(&text, str_sub(reason, 0, 400));
    struct smtp_client_result result =
        client_own_result(c, SMTP_CLIENT_DEFERRED, timed_out ? "4.4.1" : "4.4.2", buf_str(&text));
    if (c->phase == PHASE_FINAL && !unsent) {
        struct smtp_client_result uncertain = result;
        uncertain.outcome = SMTP_CLIENT_UNCERTAIN;
        client_decide_all(c, &uncertain);
    }
    client_fail(c, &result);
}

void smtp_client_unconnected(struct smtp_client *c, struct str reason)
{
    char area[SMTP_CLIENT_TEXT_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "Cannot connect to the server: ");
    buf_append_str(&text, str_sub(reason, 0, 400));
    struct smtp_client_result result = client_own_result(c, SMTP_CLIENT_DEFERRED, "4.4.1", buf_str(&text));
    result.stage = SMTP_STAGE_CONNECT;
    client_fail(c, &result);
}
