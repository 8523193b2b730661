/* AUTH in the SMTP server engine (RFC 4954). Never in clear, never on port 25. */
#include "smtp/server_private.h"

#include "base/codec.h"
#include "sasl/sasl.h"

static void end_exchange(struct smtp_server *s)
{
    sasl_free(s->sasl);
    s->sasl = NULL;
    s->state = s->state == STATE_CLOSED ? STATE_CLOSED : STATE_COMMAND;
}

static enum smtp_request take_step(struct smtp_server *s, enum sasl_step step, struct buf *out)
{
    switch (step) {
    case SASL_CHALLENGE:
        s->state = STATE_AUTH;
        buf_append_lit(out, "334 ");
        base64_encode(s->sasl->challenge, out);
        buf_append_lit(out, "\r\n");
        return SMTP_INPUT;
    case SASL_VERIFY:
        s->state = STATE_COMMAND;
        s->waiting = SMTP_VERIFY_PASSWORD;
        return SMTP_VERIFY_PASSWORD;
    case SASL_NO_MEMORY: server_reply(s, out, 454, "4.7.0", "Out of memory; try again later"); break;
    case SASL_MALFORMED:
        server_reply(s, out, 501, "5.5.2", "That is not a response of this AUTH mechanism");
        break;
    }
    end_exchange(s);
    return SMTP_INPUT;
}

/* Decodes a base64 response into `decoded`; false (with a reply) if it is none. */
static bool decode(struct smtp_server *s, struct str text, struct buf *decoded, struct buf *out)
{
    if (base64_decode(text, decoded)) {
        return true;
    }
    if (text.len / 4 * 3 > SASL_RESPONSE_MAX) {
        server_reply(s, out, 500, "5.5.6", "This AUTH response is too long");
    } else if (decoded->failed) {
        server_reply(s, out, 454, "4.7.0", "Out of memory; try again later");
    } else {
        server_reply(s, out, 501, "5.5.2", "That is not base64");
    }
    return false;
}

static void explain_wrong_door(struct smtp_server *s, struct buf *out)
{
    char text[SERVER_TEXT];
    const struct str before =
        STR("No login on this port, which is for mail between servers. Mail programs log in at ");
    server_reply(s, out, 503, "5.5.1", server_text_with_doors(s, before, text));
}

/* Why AUTH cannot begin now; false: it can. */
static bool refuse_auth(struct smtp_server *s, struct buf *out)
{
    if (s->settings->kind != SMTP_KIND_SUBMISSION) {
        explain_wrong_door(s, out);
    } else if (!s->tls) {
        server_reply(s, out, 538, "5.7.11",
                     "Begin TLS first: STARTTLS, then EHLO, then AUTH; no password travels in clear");
    } else if (s->authenticated) {
        server_reply(s, out, 503, "5.5.1", "You are logged in already");
    } else if (s->transaction != NULL) {
        server_reply(s, out, 503, "5.5.1", "AUTH comes before MAIL");
    } else if (!s->esmtp) {
        server_reply(s, out, 503, "5.5.1", "AUTH needs EHLO, not HELO");
    } else {
        return false;
    }
    return true;
}

enum smtp_request server_auth(struct smtp_server *s, struct str argument, struct buf *out)
{
    if (refuse_auth(s, out)) {
        return SMTP_INPUT;
    }
    if (argument.len == 0) {
        server_reply(s, out, 501, "5.5.4",
                     "AUTH takes the name of a mechanism; EHLO lists those that are offered");
        return SMTP_INPUT;
    }
    size_t blank = str_find(argument, 0, ' ');
    struct str name = blank == SIZE_MAX ? argument : str_sub(argument, 0, blank);
    const struct sasl_mechanism *mechanism = sasl_find(name);
    if (mechanism == NULL) {
        server_reply(s, out, 504, "5.5.4", "This AUTH mechanism is not offered; EHLO lists those that are");
        return SMTP_INPUT;
    }
    s->sasl = sasl_new(mechanism);
    if (s->sasl == NULL) {
        server_reply(s, out, 454, "4.7.0", "Out of memory; try again later");
        return SMTP_INPUT;
    }
    if (blank == SIZE_MAX) {
        return take_step(s, sasl_begin(s->sasl, NULL), out);
    }
    struct buf decoded = buf_make(SASL_RESPONSE_MAX);
    struct str initial = str_trim(str_from(argument, blank + 1));
    enum smtp_request request = SMTP_INPUT;
    if (str_equal(initial, STR("=")) || decode(s, initial, &decoded, out)) {
        struct str response = buf_str(&decoded);
        request = take_step(s, sasl_begin(s->sasl, &response), out);
    } else {
        end_exchange(s);
    }
    buf_wipe(&decoded);
    return request;
}

void server_auth_too_long(struct smtp_server *s, struct buf *out)
{
    server_reply(s, out, 500, "5.5.6", "This AUTH response is too long");
    end_exchange(s);
}

enum smtp_request server_auth_response(struct smtp_server *s, struct str line, struct buf *out)
{
    if (str_equal(line, STR("*"))) {
        server_reply(s, out, 501, "5.7.0", "Login cancelled");
        end_exchange(s);
        return SMTP_INPUT;
    }
    struct buf decoded = buf_make(SASL_RESPONSE_MAX);
    enum smtp_request request = SMTP_INPUT;
    if (decode(s, line, &decoded, out)) {
        request = take_step(s, sasl_respond(s->sasl, buf_str(&decoded)), out);
    } else {
        end_exchange(s);
    }
    buf_wipe(&decoded);
    return request;
}

static void login_failed(struct smtp_server *s, enum smtp_auth_answer answer, struct buf *out)
{
    if (answer == SMTP_AUTH_BAD || answer == SMTP_AUTH_DISABLED) {
        s->auth_failures++;
    }
    switch (answer) {
    case SMTP_AUTH_BAD: server_reply(s, out, 535, "5.7.8", "User name or password is wrong"); break;
    case SMTP_AUTH_DISABLED:
        server_reply(s, out, 525, "5.7.13", "This account is disabled; ask your postmaster");
        break;
    case SMTP_AUTH_THROTTLED:
        server_close(s, out, 421, "4.7.0", "Too many failed logins; try again later",
                     "too many failed logins");
        break;
    default: server_reply(s, out, 454, "4.7.0", "Passwords cannot be checked now; try again later"); break;
    }
    if (s->auth_failures >= 3 && s->state != STATE_CLOSED) {
        server_close(s, out, 421, "4.7.0", "Too many failed logins in this session",
                     "too many failed logins");
    }
}

void smtp_server_verified(struct smtp_server *s, enum smtp_auth_answer answer, struct str login,
                          struct str grant, struct buf *out)
{
    if (s->waiting != SMTP_VERIFY_PASSWORD) {
        return;
    }
    s->waiting = SMTP_INPUT;
    end_exchange(s);
    if (answer != SMTP_AUTH_GOOD) {
        login_failed(s, answer, out);
        return;
    }
    server_forget_login(s);
    if (!buf_append_str(&s->login, login) || !buf_append_str(&s->grant, grant)) {
        server_forget_login(s);
        server_reply(s, out, 454, "4.7.0", "Out of memory; try again later");
        return;
    }
    s->authenticated = true;
    server_reply(s, out, 235, "2.7.0", "Logged in");
}
