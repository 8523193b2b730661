/*
 * The commands of the SMTP server engine: one table, one function each. A line comes here complete, without its CRLF and
 * with neither CR, LF nor NUL in it.
 */
#include "smtp/server_private.h"

#include "message/domain.h"
#include "sasl/sasl.h"

struct context {
    struct smtp_server *server;
    uint64_t now_ms;
    struct str argument;
    struct buf *out;
};

static bool login_is_offered(const struct smtp_server *s)
{
    return s->settings->kind == SMTP_KIND_SUBMISSION && s->tls;
}

static void append_capabilities(const struct smtp_server *s, struct buf *out)
{
    buf_append_lit(out, "250-PIPELINING\r\n250-SIZE ");
    buf_append_u64(out, s->settings->message_size);
    buf_append_lit(out, "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n");
    if (s->settings->tls_offered && !s->tls) {
        buf_append_lit(out, "250-STARTTLS\r\n");
    }
    if (login_is_offered(s)) {
        buf_append_lit(out, "250-AUTH ");
        buf_append_str(out, sasl_names());
        buf_append_lit(out, "\r\n");
    }
    buf_append_lit(out, "250-LIMITS RCPTMAX=");
    buf_append_u64(out, s->settings->recipients);
    buf_append_lit(out, " MAILMAX=");
    buf_append_u64(out, s->settings->transactions);
    buf_append_lit(out, "\r\n250 ENHANCEDSTATUSCODES\r\n");
}

static bool is_helo_name(struct str name)
{
    if (name.len == 0 || name.len > 255) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] <= 0x20 || name.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum smtp_request greet(struct context *c, bool esmtp)
{
    struct smtp_server *s = c->server;
    struct str name = str_trim(c->argument);
    size_t blank = str_find(name, 0, ' ');
    name = blank == SIZE_MAX ? name : str_sub(name, 0, blank);
    if (!is_helo_name(name)) {
        server_reply(s, c->out, 501, "5.5.4", "Give the name of your host: EHLO host.example.org, or EHLO [192.0.2.1]");
        return SMTP_INPUT;
    }
    server_transaction_reset(s);
    buf_clear(&s->helo);
    if (!buf_append_str(&s->helo, name)) {
        server_close(s, c->out, 421, "4.3.0", "Out of memory; try again later", "out of memory");
        return SMTP_CLOSE;
    }
    s->esmtp = esmtp;
    buf_append_lit(c->out, "250");
    buf_append_char(c->out, esmtp ? '-' : ' ');
    buf_append_str(c->out, s->settings->hostname);
    buf_append_lit(c->out, "\r\n");
    if (esmtp) {
        append_capabilities(s, c->out);
    }
    return SMTP_INPUT;
}

static enum smtp_request do_ehlo(struct context *c)
{
    if (c->server->settings->kind == SMTP_KIND_LMTP) {
        server_reply(c->server, c->out, 500, "5.5.1", "This is LMTP: begin with LHLO");
        return SMTP_INPUT;
    }
    return greet(c, true);
}

static enum smtp_request do_helo(struct context *c)
{
    if (c->server->settings->kind == SMTP_KIND_LMTP) {
        server_reply(c->server, c->out, 500, "5.5.1", "This is LMTP: begin with LHLO");
        return SMTP_INPUT;
    }
    return greet(c, false);
}

static enum smtp_request do_lhlo(struct context *c)
{
    if (c->server->settings->kind != SMTP_KIND_LMTP) {
        server_reply(c->server, c->out, 500, "5.5.1", "This is SMTP, not LMTP: begin with EHLO");
        return SMTP_INPUT;
    }
    return greet(c, true);
}

static enum smtp_request do_mail(struct context *c)
{
    return server_mail(c->server, c->now_ms, c->argument, c->out);
}

static enum smtp_request do_rcpt(struct context *c)
{
    return server_rcpt(c->server, c->argument, c->out);
}

static enum smtp_request do_data(struct context *c)
{
    if (c->argument.len > 0) {
        server_reply(c->server, c->out, 501, "5.5.4", "DATA takes no parameters");
        return SMTP_INPUT;
    }
    return server_data(c->server, c->now_ms, c->out);
}

static enum smtp_request do_bdat(struct context *c)
{
    return server_bdat(c->server, c->now_ms, c->argument, c->out);
}

static enum smtp_request do_rset(struct context *c)
{
    server_transaction_reset(c->server);
    server_reply(c->server, c->out, 250, "2.0.0", "Reset: sender and recipients are forgotten");
    return SMTP_INPUT;
}

static enum smtp_request do_noop(struct context *c)
{
    server_reply(c->server, c->out, 250, "2.0.0", "OK");
    return SMTP_INPUT;
}

static enum smtp_request do_vrfy(struct context *c)
{
    if (c->argument.len == 0) {
        server_reply(c->server, c->out, 501, "5.5.4", "VRFY takes an address");
    } else {
        server_reply(c->server, c->out, 252, "2.5.0", "Addresses are checked at RCPT, not by VRFY; send the message to find out");
    }
    return SMTP_INPUT;
}

static enum smtp_request do_expn(struct context *c)
{
    server_reply(c->server, c->out, 502, "5.5.1", "EXPN is not offered");
    return SMTP_INPUT;
}

static enum smtp_request do_help(struct context *c)
{
    server_reply(c->server, c->out, 214, "2.0.0",
                 "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT; `veredus explain CODE` explains replies");
    return SMTP_INPUT;
}

static enum smtp_request do_quit(struct context *c)
{
    server_close(c->server, c->out, 221, "2.0.0", "Bye", "quit");
    return SMTP_CLOSE;
}

static enum smtp_request do_starttls(struct context *c)
{
    struct smtp_server *s = c->server;
    if (c->argument.len > 0) {
        server_reply(s, c->out, 501, "5.5.4", "STARTTLS takes no parameters");
    } else if (s->tls) {
        server_reply(s, c->out, 503, "5.5.1", "TLS is in use already");
    } else if (!s->settings->tls_offered) {
        server_reply(s, c->out, 502, "5.5.1", "STARTTLS is not offered here: this server has no certificate");
    } else {
        server_reply(s, c->out, 220, "2.0.0", "Begin TLS");
        return SMTP_START_TLS;
    }
    return SMTP_INPUT;
}

static enum smtp_request do_auth(struct context *c)
{
    return server_auth(c->server, c->argument, c->out);
}

static enum smtp_request do_http(struct context *c)
{
    struct smtp_server *s = c->server;
    struct buf text = buf_make(512);
    buf_append_lit(&text, "This is a mail server, not a web server. Mail programs submit at ");
    server_name_doors(s, &text);
    buf_append_char(&text, '\0');
    server_close(s, c->out, 421, "4.7.0", buf_ok(&text) ? text.data : "This is a mail server, not a web server",
                 "HTTP spoken to SMTP");
    buf_free(&text);
    return SMTP_CLOSE;
}

/* Commands of other mail protocols: somebody has the wrong port. */
static enum smtp_request do_wrong_protocol(struct context *c)
{
    server_reply(c->server, c->out, 500, "5.5.1",
                 "This is SMTP. POP3 is spoken on ports 110 and 995, IMAP on 143 and 993; check the port in your program");
    return SMTP_INPUT;
}

enum need { ANYTIME, GREETED };

static const struct command {
    const char *verb;
    enum need need;
    enum smtp_request (*run)(struct context *c);
} commands[] = {
    {"MAIL", GREETED, do_mail},      {"RCPT", GREETED, do_rcpt},         {"DATA", GREETED, do_data},
    {"BDAT", GREETED, do_bdat},      {"RSET", ANYTIME, do_rset},         {"QUIT", ANYTIME, do_quit},
    {"EHLO", ANYTIME, do_ehlo},      {"HELO", ANYTIME, do_helo},         {"LHLO", ANYTIME, do_lhlo},
    {"NOOP", ANYTIME, do_noop},      {"VRFY", ANYTIME, do_vrfy},         {"EXPN", ANYTIME, do_expn},
    {"HELP", ANYTIME, do_help},      {"STARTTLS", GREETED, do_starttls}, {"AUTH", GREETED, do_auth},
    {"GET", ANYTIME, do_http},       {"POST", ANYTIME, do_http},         {"PUT", ANYTIME, do_http},
    {"HEAD", ANYTIME, do_http},      {"OPTIONS", ANYTIME, do_http},      {"CONNECT", ANYTIME, do_http},
    {"DELETE", ANYTIME, do_http},    {"PATCH", ANYTIME, do_http},        {"TRACE", ANYTIME, do_http},
    {"USER", ANYTIME, do_wrong_protocol}, {"PASS", ANYTIME, do_wrong_protocol},
    {"CAPA", ANYTIME, do_wrong_protocol}, {"STLS", ANYTIME, do_wrong_protocol},
};

static const struct command *find_command(struct str verb)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_equal_nocase(verb, str_of(commands[i].verb))) {
            return &commands[i];
        }
    }
    return NULL;
}

enum smtp_request server_command(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out)
{
    size_t blank = str_find(line, 0, ' ');
    struct str verb = blank == SIZE_MAX ? line : str_sub(line, 0, blank);
    struct context c = {.server = s, .now_ms = now_ms, .argument = STR_EMPTY, .out = out};
    if (blank != SIZE_MAX) {
        c.argument = str_trim(str_from(line, blank + 1));
    }
    const struct command *command = find_command(verb);
    if (command == NULL) {
        server_reply(s, out, 500, "5.5.2", "Command unknown; HELP lists those that are known");
        return SMTP_INPUT;
    }
    if (command->need == GREETED && s->helo.len == 0) {
        server_reply(s, out, 503, "5.5.1", s->settings->kind == SMTP_KIND_LMTP ? "Begin with LHLO" : "Begin with EHLO or HELO");
        return SMTP_INPUT;
    }
    return command->run(&c);
}
