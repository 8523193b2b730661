/* The SMTP client engine from the greeting to the login (RFC 5321, sections 3.1 and 3.2; 3207; 4954). */
#include "smtp/client_private.h"

#include "base/codec.h"

static void say_hello(struct smtp_client *c, struct buf *out)
{
    c->extensions = 0;
    c->size_max = 0;
    c->rcpt_max = 0;
    c->mail_max = 0;
    buf_append_str(out, c->settings->lmtp ? STR("LHLO ") : STR("EHLO "));
    buf_append_str(out, c->settings->hello_name);
    buf_append_lit(out, "\r\n");
    c->phase = PHASE_EHLO;
}

/* Words of one EHLO line. */

static void read_limits(struct smtp_client *c, struct str words)
{
    struct str word;
    while (str_split(&words, ' ', &word)) {
        uint64_t value = 0;
        if (str_starts_nocase(word, STR("RCPTMAX=")) && str_to_u64(str_from(word, 8), 1000000, &value)) {
            c->rcpt_max = (unsigned)value;
        } else if (str_starts_nocase(word, STR("MAILMAX=")) &&
                   str_to_u64(str_from(word, 8), 1000000, &value)) {
            c->mail_max = (unsigned)value;
        }
    }
}

static void read_mechanisms(struct smtp_client *c, struct str words)
{
    struct str word;
    while (str_split(&words, ' ', &word)) {
        if (str_equal_nocase(word, STR("PLAIN"))) {
            c->extensions |= EXT_AUTH_PLAIN;
        } else if (str_equal_nocase(word, STR("LOGIN"))) {
            c->extensions |= EXT_AUTH_LOGIN;
        }
    }
}

void client_read_extensions(struct smtp_client *c, struct str line)
{
    static const struct {
        const char *word;
        uint32_t bit;
    } plain[] = {{"PIPELINING", EXT_PIPELINING}, {"8BITMIME", EXT_8BITMIME}, {"SMTPUTF8", EXT_SMTPUTF8},
                 {"CHUNKING", EXT_CHUNKING},     {"DSN", EXT_DSN},           {"BINARYMIME", EXT_BINARYMIME},
                 {"STARTTLS", EXT_STARTTLS}};
    struct str rest = str_trim(line);
    struct str word = STR_EMPTY;
    str_split(&rest, ' ', &word);
    if (rest.data == NULL) {
        rest = STR_EMPTY;
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (str_equal_nocase(word, str_of(plain[i].word))) {
            c->extensions |= plain[i].bit;
            return;
        }
    }
    if (str_equal_nocase(word, STR("SIZE"))) {
        c->extensions |= EXT_SIZE;
        if (!str_to_u64(str_trim(rest), UINT64_MAX / 2, &c->size_max)) {
            c->size_max = 0;
        }
    } else if (str_equal_nocase(word, STR("LIMITS"))) {
        read_limits(c, rest);
    } else if (str_equal_nocase(word, STR("AUTH"))) {
        read_mechanisms(c, rest);
    } else if (str_starts_nocase(word, STR("AUTH="))) {
        read_mechanisms(c, str_from(word, 5)); /* an old spelling that is still met */
    }
}

/* Whether the server that greets is this one. */
static bool is_ourselves(const struct smtp_client *c)
{
    struct str text = str_make(c->reply.text, c->reply.text_len);
    struct str name = STR_EMPTY;
    str_split(&text, ' ', &name);
    return c->settings->own_name.len > 0 && str_equal_nocase(name, c->settings->own_name);
}

static int fail_loop(struct smtp_client *c)
{
    return client_fail_own(
        c, SMTP_CLIENT_FAILED, "5.4.6",
        "The mail server of the domain is this server itself, which does not have the domain: its MX "
        "or the configuration is wrong");
}

/* AUTH */

static void append_base64_line(struct buf *out, struct str text)
{
    base64_encode(text, out);
    buf_append_lit(out, "\r\n");
}

static int begin_auth(struct smtp_client *c, struct buf *out)
{
    const struct smtp_client_settings *settings = c->settings;
    if (!c->tls) {
        return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.7.11",
                               "The login of this route needs TLS, and there is none");
    }
    if (client_has(c, EXT_AUTH_PLAIN)) {
        struct buf plain = buf_make(4096);
        buf_append_char(&plain, '\0');
        buf_append_str(&plain, settings->login);
        buf_append_char(&plain, '\0');
        buf_append_str(&plain, settings->password);
        buf_append_lit(out, "AUTH PLAIN ");
        append_base64_line(out, buf_str(&plain));
        bool fine = buf_ok(&plain);
        buf_wipe(&plain);
        if (!fine) {
            return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.3.1",
                                   "This server has no memory for the login now");
        }
        c->phase = PHASE_AUTH_PLAIN;
    } else if (client_has(c, EXT_AUTH_LOGIN)) {
        buf_append_lit(out, "AUTH LOGIN\r\n");
        c->phase = PHASE_AUTH_LOGIN;
    } else {
        return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.7.0",
                               "The server of this route offers neither AUTH PLAIN nor LOGIN");
    }
    return STEP_ON;
}

/* The three steps of LOGIN, and the end of both mechanisms. */
static int auth_reply(struct smtp_client *c, struct buf *out)
{
    unsigned code = c->reply.code;
    if (c->phase == PHASE_AUTH_LOGIN && code == 334) {
        append_base64_line(out, c->settings->login);
        c->phase = PHASE_AUTH_LOGIN_USER;
        return STEP_ON;
    }
    if (c->phase == PHASE_AUTH_LOGIN_USER && code == 334) {
        append_base64_line(out, c->settings->password);
        c->phase = PHASE_AUTH_LOGIN_PASSWORD;
        return STEP_ON;
    }
    bool last = c->phase == PHASE_AUTH_PLAIN || c->phase == PHASE_AUTH_LOGIN_PASSWORD;
    if (last && code / 100 == 2) {
        c->phase = PHASE_READY;
        return STEP_ON;
    }
    /* A wrong password is a fault of the configuration: the mail waits until it is mended. */
    struct smtp_client_result result = client_result_of_reply(c);
    result.outcome = SMTP_CLIENT_DEFERRED;
    return client_fail(c, &result);
}

/* After a hello that was accepted. */
static int hello_accepted(struct smtp_client *c, struct buf *out)
{
    const struct smtp_client_settings *settings = c->settings;
    if (is_ourselves(c)) {
        return fail_loop(c);
    }
    if (!c->tls && settings->tls != SMTP_CLIENT_TLS_NONE) {
        if (client_has(c, EXT_STARTTLS)) {
            buf_append_lit(out, "STARTTLS\r\n");
            c->phase = PHASE_STARTTLS;
            return STEP_ON;
        }
        if (settings->tls == SMTP_CLIENT_TLS_REQUIRED) {
            return client_fail_own(c, SMTP_CLIENT_DEFERRED, "4.7.4",
                                   "TLS is required, and the server does not offer STARTTLS");
        }
    }
    if (settings->login.len > 0) {
        return begin_auth(c, out);
    }
    c->phase = PHASE_READY;
    return STEP_ON;
}

static int ehlo_reply(struct smtp_client *c, struct buf *out)
{
    if (c->reply.code / 100 == 2) {
        c->esmtp = true;
        return hello_accepted(c, out);
    }
    /* RFC 5321, section 3.2: an old server refuses EHLO and takes HELO. There is no such fallback in LMTP. */
    if (c->reply.code / 100 == 5 && !c->settings->lmtp) {
        c->esmtp = false;
        c->extensions = 0;
        buf_append_lit(out, "HELO ");
        buf_append_str(out, c->settings->hello_name);
        buf_append_lit(out, "\r\n");
        c->phase = PHASE_HELO;
        return STEP_ON;
    }
    return client_fail_reply(c);
}

static void keep_refusal(struct smtp_client *c)
{
    struct buf text = {.data = c->refusal, .cap = sizeof(c->refusal) - 1, .limit = sizeof(c->refusal) - 1};
    buf_printf(&text, "%u ", c->reply.code);
    buf_append_str(&text, str_sub(str_make(c->reply.text, c->reply.text_len), 0, text.cap - text.len));
    c->refusal[text.len] = '\0';
}

static int starttls_reply(struct smtp_client *c, struct buf *out)
{
    if (c->reply.code / 100 == 2) {
        c->phase = PHASE_HANDSHAKE;
        return STEP_ON;
    }
    if (c->settings->tls == SMTP_CLIENT_TLS_REQUIRED) {
        struct smtp_client_result result = client_result_of_reply(c);
        result.outcome = SMTP_CLIENT_DEFERRED;
        return client_fail(c, &result);
    }
    keep_refusal(c);
    if (c->settings->login.len > 0) {
        return begin_auth(c, out);
    }
    c->phase = PHASE_READY;
    return STEP_ON;
}

int client_session_reply(struct smtp_client *c, struct buf *out)
{
    switch ((enum client_phase)c->phase) {
    case PHASE_GREETING:
        if (c->reply.code / 100 != 2) {
            return client_fail_reply(c);
        }
        if (is_ourselves(c)) {
            return fail_loop(c);
        }
        say_hello(c, out);
        return STEP_ON;
    case PHASE_EHLO: return ehlo_reply(c, out);
    case PHASE_HELO: return c->reply.code / 100 == 2 ? hello_accepted(c, out) : client_fail_reply(c);
    case PHASE_STARTTLS: return starttls_reply(c, out);
    default: return auth_reply(c, out);
    }
}

void smtp_client_tls_started(struct smtp_client *c, bool good, struct str reason)
{
    if (c->phase != PHASE_HANDSHAKE) {
        return;
    }
    c->progress++;
    if (!good) {
        char area[SMTP_CLIENT_TEXT_MAX];
        struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        buf_append_lit(&text, "TLS could not be set up: ");
        buf_append_str(&text, str_sub(reason, 0, 500));
        struct smtp_client_result result =
            client_own_result(c, SMTP_CLIENT_DEFERRED, "4.7.5", buf_str(&text));
        client_fail(c, &result);
        return;
    }
    /* RFC 3207, section 4.2: what was learned in clear is forgotten. The hello goes out with the next run. */
    c->tls = true;
    c->phase = c->settings->implicit_tls ? PHASE_GREETING : PHASE_SECURED;
}

int client_session_secured(struct smtp_client *c, struct buf *out)
{
    say_hello(c, out);
    return STEP_ON;
}
