/* Logging in: STARTTLS, LOGIN, AUTHENTICATE (RFC 9051, section 6.2; SASL-IR, RFC 4959). */
#include "imap/server_private.h"

#include "base/codec.h"
#include "sasl/sasl.h"

enum { FAILED_LOGINS_MAX = 3 };

enum imap_request imap_command_starttls(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    if (!imap_scan_end(scan)) {
        return imap_bad(s, out, NULL, "STARTTLS takes no argument");
    }
    if (s->tls) {
        return imap_bad(s, out, NULL, "TLS has begun already");
    }
    if (!s->settings->tls_offered) {
        return imap_bad(s, out, NULL, "TLS cannot be had on this port");
    }
    imap_ok(s, out, "", "Begin TLS");
    return IMAP_START_TLS;
}

/* No password travels in clear: true after the reply that says so. */
static bool refuse_in_clear(struct imap_server *s, struct buf *out, enum imap_request *request)
{
    if (s->tls) {
        return false;
    }
    *request = imap_no(s, out, "[PRIVACYREQUIRED] ",
                       s->settings->tls_offered
                           ? "Begin TLS first with STARTTLS; no password travels in clear"
                           : "This port has no TLS, and no password travels in clear; use the port with TLS");
    return true;
}

static enum imap_request verified(struct imap_server *s, struct buf *out)
{
    (void)s;
    (void)out;
    return IMAP_INPUT; /* imap_login_answered has replied */
}

static enum imap_request verify(struct imap_server *s, struct str name, struct str password, struct buf *out)
{
    buf_clear(&s->login_name);
    buf_clear(&s->login_password);
    if (!buf_append_str(&s->login_name, name) || !buf_append_str(&s->login_password, password)) {
        buf_wipe(&s->login_password);
        return imap_no(s, out, "[AUTHENTICATIONFAILED] ", "User name or password is too long");
    }
    imap_reader_reset(s); /* the password stands in it */
    return imap_ask(s, IMAP_VERIFY, verified);
}

enum imap_request imap_command_login(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str name;
    struct str password;
    enum imap_request request;
    if (refuse_in_clear(s, out, &request)) {
        return request;
    }
    if (!imap_scan_space(scan) || !imap_scan_astring(scan, &name) || !imap_scan_space(scan) ||
        !imap_scan_astring(scan, &password) || !imap_scan_end(scan)) {
        scan->rest = STR_EMPTY; /* what stands there may be a password */
        return imap_bad(s, out, scan, "LOGIN takes a user name and a password");
    }
    return verify(s, name, password, out);
}

/* AUTHENTICATE. */

static void end_exchange(struct imap_server *s)
{
    sasl_free(s->sasl);
    s->sasl = NULL;
}

static enum imap_request take_step(struct imap_server *s, enum sasl_step step, struct buf *out)
{
    enum imap_request request;
    imap_reader_reset(s);
    if (step == SASL_CHALLENGE) {
        buf_append_lit(out, "+ ");
        base64_encode(s->sasl->challenge, out);
        buf_append_lit(out, "\r\n");
        return IMAP_INPUT;
    }
    if (step != SASL_VERIFY) {
        end_exchange(s);
        return step == SASL_NO_MEMORY ? imap_no_answer(s, out, IMAP_UNAVAILABLE, false)
                                      : imap_bad(s, out, NULL, "That is not a response of this mechanism");
    }
    struct str authorization = buf_str(&s->sasl->authorization_id);
    struct str authentication = buf_str(&s->sasl->authentication_id);
    if (authorization.len == 0 || str_equal_nocase(authorization, authentication)) {
        request = verify(s, authentication, buf_str(&s->sasl->password), out);
    } else {
        request = imap_no(s, out, "[AUTHORIZATIONFAILED] ", "Nobody may open the mailboxes of somebody else");
    }
    end_exchange(s);
    return request;
}

static enum imap_request respond(struct imap_server *s, struct str text, bool initial, struct buf *out)
{
    struct buf decoded = buf_make(SASL_RESPONSE_MAX);
    enum imap_request request;
    bool empty = initial && str_equal(text, STR("="));
    if (empty || base64_decode(text, &decoded)) {
        struct str response = buf_str(&decoded);
        request =
            take_step(s, initial ? sasl_begin(s->sasl, &response) : sasl_respond(s->sasl, response), out);
    } else {
        end_exchange(s);
        request = imap_bad(s, out, NULL, "That is not base64");
    }
    buf_wipe(&decoded);
    return request;
}

enum imap_request imap_command_authenticate(struct imap_server *s, struct imap_scan *scan, struct buf *out)
{
    struct str name;
    enum imap_request request;
    if (refuse_in_clear(s, out, &request)) {
        return request;
    }
    if (!imap_scan_space(scan) || !imap_scan_atom(scan, &name)) {
        return imap_bad(s, out, scan, "AUTHENTICATE takes the name of a mechanism");
    }
    const struct sasl_mechanism *mechanism = sasl_find(name);
    if (mechanism == NULL) {
        return imap_no(s, out, "[CANNOT] ", "This mechanism is not offered; CAPABILITY lists those that are");
    }
    s->sasl = sasl_new(mechanism);
    if (s->sasl == NULL) {
        return imap_no_answer(s, out, IMAP_UNAVAILABLE, false);
    }
    if (imap_scan_end(scan)) {
        return take_step(s, sasl_begin(s->sasl, NULL), out);
    }
    if (!imap_scan_space(scan)) {
        end_exchange(s);
        return imap_bad(s, out, NULL, "AUTHENTICATE takes a mechanism and perhaps a response in base64");
    }
    return respond(s, scan->rest, true, out);
}

enum imap_request imap_auth_response(struct imap_server *s, struct str line, struct buf *out)
{
    if (str_equal(line, STR("*"))) {
        end_exchange(s);
        return imap_bad(s, out, NULL, "Login cancelled");
    }
    return respond(s, line, false, out);
}

/* Answers. */

static enum imap_request login_failed(struct imap_server *s, enum imap_auth_answer answer, struct buf *out)
{
    s->auth_failures++;
    switch (answer) {
    case IMAP_AUTH_BAD: imap_no(s, out, "[AUTHENTICATIONFAILED] ", "User name or password is wrong"); break;
    case IMAP_AUTH_DISABLED:
        imap_no(s, out, "[CONTACTADMIN] ", "This account is disabled; ask your postmaster");
        break;
    case IMAP_AUTH_THROTTLED:
        imap_no(s, out, "[UNAVAILABLE] ", "Too many failed logins; try again later");
        return imap_bye(s, out, "Too many failed logins; try again later", "too many failed logins");
    default: imap_no(s, out, "[UNAVAILABLE] ", "Passwords cannot be checked now; try again later"); break;
    }
    return s->auth_failures >= FAILED_LOGINS_MAX
               ? imap_bye(s, out, "Too many failed logins", "too many failed logins")
               : IMAP_INPUT;
}

enum imap_request imap_login_answered(struct imap_server *s, enum imap_auth_answer answer, struct buf *out)
{
    buf_free(&s->login_name);
    if (answer != IMAP_AUTH_GOOD) {
        return login_failed(s, answer, out);
    }
    s->state = IMAP_AUTHENTICATED;
    imap_capability_code(s, imap_reply_begin(s, "OK"));
    buf_append_lit(&s->reply, "Logged in");
    return imap_reply_end(s, out);
}
