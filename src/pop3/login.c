/* The AUTHORIZATION state of POP3: USER, PASS, AUTH, STLS, and what a session can do (CAPA). */
#include "pop3/server_private.h"

#include "base/codec.h"
#include "sasl/sasl.h"

enum { FAILED_LOGINS_MAX = 3 };

#define OUT_OF_MEMORY "[SYS/TEMP] Out of memory; try again later"

void pop3_capabilities(const struct pop3_server *s, struct buf *out)
{
    buf_append_lit(
        out, "+OK What this server can do\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
             "UTF8 USER\r\nEXPIRE NEVER\r\n");
    if (!s->tls && s->settings->tls_offered) {
        buf_append_lit(out, "STLS\r\n");
    }
    if (s->tls) {
        buf_append_lit(out, "USER\r\nSASL ");
        buf_append_str(out, sasl_names());
        buf_append_lit(out, "\r\n");
    }
    buf_append_lit(out, "IMPLEMENTATION Veredus\r\n.\r\n");
}

/* No password travels in clear: true after the reply that says so. */
static bool refuse_in_clear(struct pop3_server *s, struct buf *out)
{
    if (s->tls) {
        return false;
    }
    if (s->settings->tls_offered) {
        pop3_error(s, out, "[AUTH] Begin TLS first with STLS; no password travels in clear");
    } else {
        pop3_error(s, out,
                   "[AUTH] This port has no TLS, and no password travels in clear; use the port with TLS");
    }
    return true;
}

/* RFC 6856, section 2.2: what is not UTF-8 is refused; control characters are in nobody's name. */
static bool is_name(struct str s)
{
    bool fine = s.len > 0 && s.len <= SASL_NAME_MAX && str_is_utf8(s);
    for (size_t i = 0; fine && i < s.len; i++) {
        fine = (unsigned char)s.data[i] >= 0x20 && s.data[i] != 0x7f;
    }
    return fine;
}

static enum pop3_request command_user(struct pop3_server *s, struct str argument, struct buf *out)
{
    if (refuse_in_clear(s, out)) {
        return POP3_INPUT;
    }
    buf_clear(&s->login_name);
    if (!is_name(argument)) {
        pop3_error(s, out, "USER takes the name of the mailbox, like user@example.org");
        return POP3_INPUT;
    }
    if (!buf_append_str(&s->login_name, argument)) {
        buf_clear(&s->login_name);
        pop3_error(s, out, OUT_OF_MEMORY);
        return POP3_INPUT;
    }
    pop3_ok(out, "Now the password");
    return POP3_INPUT;
}

static enum pop3_request command_pass(struct pop3_server *s, struct str argument, struct buf *out)
{
    if (refuse_in_clear(s, out)) {
        return POP3_INPUT;
    }
    if (s->login_name.len == 0) {
        pop3_error(s, out, "USER comes before PASS");
        return POP3_INPUT;
    }
    buf_clear(&s->login_password);
    if (argument.len == 0 || argument.len > SASL_PASSWORD_MAX || !str_is_utf8(argument)) {
        pop3_error(s, out, "[AUTH] PASS takes the password, in UTF-8 and of 1024 octets at most");
        return POP3_INPUT;
    }
    if (!buf_append_str(&s->login_password, argument)) {
        pop3_error(s, out, OUT_OF_MEMORY);
        return POP3_INPUT;
    }
    return POP3_VERIFY;
}

/* AUTH (RFC 5034). */

static void end_exchange(struct pop3_server *s)
{
    sasl_free(s->sasl);
    s->sasl = NULL;
    s->state = s->state == POP3_CLOSED ? POP3_CLOSED : POP3_AUTHORIZATION;
}

static enum pop3_request take_step(struct pop3_server *s, enum sasl_step step, struct buf *out)
{
    switch (step) {
    case SASL_CHALLENGE:
        s->state = POP3_AUTH_RESPONSE;
        buf_append_lit(out, "+ ");
        base64_encode(s->sasl->challenge, out);
        buf_append_lit(out, "\r\n");
        return POP3_INPUT;
    case SASL_VERIFY: {
        struct str authorization = buf_str(&s->sasl->authorization_id);
        struct str authentication = buf_str(&s->sasl->authentication_id);
        buf_clear(&s->login_name);
        buf_clear(&s->login_password);
        bool same = authorization.len == 0 || str_equal_nocase(authorization, authentication);
        bool kept = buf_append_str(&s->login_name, authentication) &&
                    buf_append_str(&s->login_password, buf_str(&s->sasl->password));
        end_exchange(s);
        if (!same || !kept) {
            buf_clear(&s->login_name);
            buf_wipe(&s->login_password);
            pop3_error(s, out, same ? OUT_OF_MEMORY : "[AUTH] Nobody may open the mailbox of somebody else");
            return POP3_INPUT;
        }
        return POP3_VERIFY;
    }
    case SASL_NO_MEMORY:
        pop3_error(s, out, OUT_OF_MEMORY);
        end_exchange(s);
        return POP3_INPUT;
    default:
        pop3_error(s, out, "That is not a response of this mechanism");
        end_exchange(s);
        return POP3_INPUT;
    }
}

static enum pop3_request respond(struct pop3_server *s, struct str text, bool initial, struct buf *out)
{
    struct buf decoded = buf_make(SASL_RESPONSE_MAX);
    enum pop3_request request = POP3_INPUT;
    bool empty = initial && str_equal(text, STR("="));
    if (empty || base64_decode(text, &decoded)) {
        struct str response = buf_str(&decoded);
        request =
            take_step(s, initial ? sasl_begin(s->sasl, &response) : sasl_respond(s->sasl, response), out);
    } else {
        bool memory = !buf_ok(&decoded) && text.len / 4 * 3 <= SASL_RESPONSE_MAX;
        pop3_error(s, out, memory ? OUT_OF_MEMORY : "That is not base64, or too much of it");
        end_exchange(s);
    }
    buf_wipe(&decoded);
    return request;
}

static void list_mechanisms(struct buf *out)
{
    struct str names = sasl_names();
    struct str name;
    pop3_ok(out, "Mechanisms");
    while (str_split(&names, ' ', &name)) {
        buf_append_str(out, name);
        buf_append_lit(out, "\r\n");
    }
    buf_append_lit(out, ".\r\n");
}

static enum pop3_request command_auth(struct pop3_server *s, struct str argument, struct buf *out)
{
    if (refuse_in_clear(s, out)) {
        return POP3_INPUT;
    }
    if (argument.len == 0) {
        list_mechanisms(out);
        return POP3_INPUT;
    }
    size_t blank = str_find(argument, 0, ' ');
    struct str name = blank == SIZE_MAX ? argument : str_sub(argument, 0, blank);
    const struct sasl_mechanism *mechanism = sasl_find(name);
    if (mechanism == NULL) {
        pop3_error(s, out, "This mechanism is not offered; CAPA lists those that are");
        return POP3_INPUT;
    }
    s->sasl = sasl_new(mechanism);
    if (s->sasl == NULL) {
        pop3_error(s, out, OUT_OF_MEMORY);
        return POP3_INPUT;
    }
    return blank == SIZE_MAX ? take_step(s, sasl_begin(s->sasl, NULL), out)
                             : respond(s, str_trim(str_from(argument, blank)), true, out);
}

enum pop3_request pop3_auth_response(struct pop3_server *s, struct str line, struct buf *out)
{
    if (str_equal(line, STR("*"))) {
        pop3_error(s, out, "Login cancelled");
        end_exchange(s);
        return POP3_INPUT;
    }
    return respond(s, line, false, out);
}

static enum pop3_request command_stls(struct pop3_server *s, struct buf *out)
{
    if (s->tls) {
        pop3_error(s, out, "TLS has begun already");
        return POP3_INPUT;
    }
    if (!s->settings->tls_offered) {
        pop3_error(s, out, "TLS cannot be had on this port");
        return POP3_INPUT;
    }
    pop3_ok(out, "Begin TLS");
    return POP3_START_TLS;
}

enum pop3_request pop3_command_login(struct pop3_server *s, struct str verb, struct str argument,
                                     struct buf *out)
{
    if (str_equal_nocase(verb, STR("USER"))) {
        return command_user(s, argument, out);
    }
    if (str_equal_nocase(verb, STR("PASS"))) {
        return command_pass(s, argument, out);
    }
    if (str_equal_nocase(verb, STR("AUTH"))) {
        return command_auth(s, argument, out);
    }
    if (str_equal_nocase(verb, STR("STLS"))) {
        return command_stls(s, out);
    }
    if (str_equal_nocase(verb, STR("UTF8"))) {
        /*
         * Without UTF8, RFC 6856 (section 2.1) wants a surrogate or a refusal of what has UTF-8 in its header. Sent as it
         * is, the message reaches clients that know no UTF8 whole; refused, it would lie there for ever, and a surrogate
         * would be all that is left once the client has deleted it.
         */
        pop3_ok(out, "Messages are sent as they are (RFC 6856)");
        return POP3_INPUT;
    }
    if (str_equal_nocase(verb, STR("QUIT"))) {
        pop3_ok(out, "Bye");
        s->state = POP3_CLOSED;
        s->close_reason = "quit";
        return POP3_CLOSE;
    }
    if (str_equal_nocase(verb, STR("NOOP"))) {
        pop3_error(s, out, "Log in first");
        return POP3_INPUT;
    }
    bool alone = argument.len == 0;
    struct str line =
        str_make(verb.data, alone ? verb.len : (size_t)(argument.data + argument.len - verb.data));
    if (pop3_wrong_door(s, line, out)) {
        return POP3_CLOSE;
    }
    pop3_error(s, out, "Unknown here: log in with USER and PASS, or AUTH; CAPA lists what there is");
    return POP3_INPUT;
}

/* Answers. */

static void login_failed(struct pop3_server *s, enum pop3_auth_answer answer, struct buf *out)
{
    s->auth_failures++;
    switch (answer) {
    case POP3_AUTH_BAD: pop3_error(s, out, "[AUTH] User name or password is wrong"); break;
    case POP3_AUTH_DISABLED:
        pop3_error(s, out, "[AUTH] This account is disabled; ask your postmaster");
        break;
    case POP3_AUTH_THROTTLED:
        pop3_close(s, out, "[SYS/TEMP] Too many failed logins; try again later", "too many failed logins");
        break;
    default: pop3_error(s, out, "[SYS/TEMP] Passwords cannot be checked now; try again later"); break;
    }
    if (s->auth_failures >= FAILED_LOGINS_MAX && s->state != POP3_CLOSED) {
        s->state = POP3_CLOSED;
        s->close_reason = "too many failed logins";
    }
}

void pop3_server_verified(struct pop3_server *s, enum pop3_auth_answer answer, struct str login,
                          struct str grant, struct buf *out)
{
    if (s->waiting != POP3_VERIFY) {
        return;
    }
    s->waiting = POP3_INPUT;
    buf_wipe(&s->login_password);
    buf_free(&s->login_name);
    if (answer != POP3_AUTH_GOOD) {
        login_failed(s, answer, out);
        return;
    }
    buf_clear(&s->login);
    buf_clear(&s->grant);
    if (!buf_append_str(&s->login, login) || !buf_append_str(&s->grant, grant)) {
        pop3_error(s, out, OUT_OF_MEMORY);
        return;
    }
    s->waiting = POP3_OPEN;
}
