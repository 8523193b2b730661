/*
 * The commands of the SMTP server engine: one table, one function each. A line comes here complete, without its CRLF and
 * with neither CR, LF nor NUL in it.
 */
#include "smtp/server_private.h"

#include "base/domain.h"
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
        server_reply(s, c->out, 501, "5.5.4",
                     "Give the name of your host: EHLO host.example.org, or EHLO [192.0.2.1]");
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

/* RFC 5321, section 4.1.1: these commands stand alone. */
static bool has_no_argument(struct context *c, const char *text)
{
    if (c->argument.len > 0) {
        server_reply(c->server, c->out, 501, "5.5.4", text);
    }
    return c->argument.len == 0;
}

static enum smtp_request do_data(struct context *c)
{
    return has_no_argument(c, "DATA takes no parameters") ? server_data(c->server, c->now_ms, c->out)
                                                          : SMTP_INPUT;
}

static enum smtp_request do_bdat(struct context *c)
{
    return server_bdat(c->server, c->now_ms, c->argument, c->out);
}

static enum smtp_request do_rset(struct context *c)
{
    if (!has_no_argument(c, "RSET takes no parameters")) {
        return SMTP_INPUT;
    }
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
        server_reply(c->server, c->out, 252, "2.5.0",
                     "Addresses are checked at RCPT, not by VRFY; send the message to find out");
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
                 "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT; `veredus explain CODE` "
                 "explains replies");
    return SMTP_INPUT;
}

static enum smtp_request do_quit(struct context *c)
{
    if (!has_no_argument(c, "QUIT takes no parameters")) {
        return SMTP_INPUT;
    }
    server_close(c->server, c->out, 221, "2.0.0", "Bye", "quit");
    return SMTP_CLOSE;
}

static enum smtp_request do_starttls(struct context *c)
{
    struct smtp_server *s = c->server;
    if (!has_no_argument(c, "STARTTLS takes no parameters")) {
        return SMTP_INPUT;
    }
    if (s->tls) {
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
    return server_refuse_http(c->server, c->out);
}

/* Commands of other mail protocols: somebody has the wrong port. */
static enum smtp_request refuse_protocol(struct smtp_server *s, enum door spoken, struct buf *out)
{
    char text[SERVER_TEXT];
    struct buf words = {.data = text, .cap = sizeof(text), .limit = sizeof(text)};
    doors_append_wrong(&s->settings->doors, DOOR_SMTP, spoken, &words);
    buf_append_char(&words, '\0');
    server_reply(s, out, 500, "5.5.1", text);
    return SMTP_INPUT;
}

static enum smtp_request do_pop3(struct context *c)
{
    return refuse_protocol(c->server, DOOR_POP3, c->out);
}

enum need { ANYTIME, GREETED };

#define VERB(literal)                                                                                        \
    {                                                                                                        \
        .data = ("" literal), .len = sizeof(literal) - 1                                                     \
    }

static const struct command {
    struct str verb;
    enum need need;
    enum smtp_request (*run)(struct context *c);
} commands[] = {
    {VERB("MAIL"), GREETED, do_mail},    {VERB("RCPT"), GREETED, do_rcpt},
    {VERB("DATA"), GREETED, do_data},    {VERB("BDAT"), ANYTIME, do_bdat},
    {VERB("RSET"), ANYTIME, do_rset},    {VERB("QUIT"), ANYTIME, do_quit},
    {VERB("EHLO"), ANYTIME, do_ehlo},    {VERB("HELO"), ANYTIME, do_helo},
    {VERB("LHLO"), ANYTIME, do_lhlo},    {VERB("NOOP"), ANYTIME, do_noop},
    {VERB("VRFY"), ANYTIME, do_vrfy},    {VERB("EXPN"), ANYTIME, do_expn},
    {VERB("HELP"), ANYTIME, do_help},    {VERB("STARTTLS"), GREETED, do_starttls},
    {VERB("AUTH"), GREETED, do_auth},    {VERB("GET"), ANYTIME, do_http},
    {VERB("POST"), ANYTIME, do_http},    {VERB("PUT"), ANYTIME, do_http},
    {VERB("HEAD"), ANYTIME, do_http},    {VERB("OPTIONS"), ANYTIME, do_http},
    {VERB("CONNECT"), ANYTIME, do_http}, {VERB("DELETE"), ANYTIME, do_http},
    {VERB("PATCH"), ANYTIME, do_http},   {VERB("TRACE"), ANYTIME, do_http},
    {VERB("PRI"), ANYTIME, do_http}, /* HTTP/2 */
    {VERB("USER"), ANYTIME, do_pop3},    {VERB("PASS"), ANYTIME, do_pop3},
    {VERB("CAPA"), ANYTIME, do_pop3},    {VERB("STLS"), ANYTIME, do_pop3},
};

static const struct command *find_command(struct str verb)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_equal_nocase(verb, commands[i].verb)) {
            return &commands[i];
        }
    }
    return NULL;
}

bool server_is_http(struct str start)
{
    struct str verb = str_sub(start, 0, str_find(start, 0, ' '));
    const struct command *command = verb.len == start.len ? NULL : find_command(verb);
    return command != NULL && command->run == do_http;
}

const struct server_fault *server_not_greeted(const struct smtp_server *s)
{
    static const struct server_fault lmtp = {503, "5.5.1", "Begin with LHLO"};
    static const struct server_fault smtp = {503, "5.5.1", "Begin with EHLO or HELO"};
    return s->settings->kind == SMTP_KIND_LMTP ? &lmtp : &smtp;
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
    if (command == NULL && s->helo.len == 0 && door_of_line(line) == DOOR_IMAP) {
        return refuse_protocol(s, DOOR_IMAP, out);
    }
    if (command == NULL) {
        server_reply(s, out, 500, "5.5.2", "Command unknown; HELP lists those that are known");
        return SMTP_INPUT;
    }
    if (command->need == GREETED && s->helo.len == 0) {
        server_reply_fault(s, out, server_not_greeted(s));
        return SMTP_INPUT;
    }
    return command->run(&c);
}
