/* `send`: submits a message over SMTP and shows the conversation. It is a client like any other and needs no server of ours. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "cli/compose.h"
#include "cli/dialogue.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/secret.h"
#include "message/path.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#define STANDARD_CA "/etc/ssl/certs/ca-certificates.crt"

enum { CA_MAX = 8 << 20, TIMEOUT_S = 60, PORT = 587, PORT_IMPLICIT = 465 };

struct sending {
    const struct cli_input *input;
    struct dialogue_options options;
    struct buf text;
    struct buf ca;
    struct buf password;
    char port[8];
    char hello[256];
    struct smtp_client_recipient *recipients;
};

static int read_file(const struct cli_input *input, const char *name, struct buf *out)
{
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    if (file == NULL) {
        return cli_fail(input, EX_NOINPUT, NULL, "cannot open %s: %s", name, strerror(errno));
    }
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_append(out, chunk, n);
    }
    bool fine = !ferror(file);
    if (file != stdin) {
        fclose(file);
    }
    if (!fine || !buf_ok(out)) {
        return cli_fail(input, fine ? EX_DATAERR : EX_IOERR, NULL, "%s %s", name,
                        fine ? "is too large" : "cannot be read");
    }
    return EX_OK;
}

/* From --message, or made from --subject and --body. */
static int take_text(struct sending *s)
{
    const char *file = cli_option_value(s->input, "--message");
    const char *subject = cli_option_value(s->input, "--subject");
    const char *body = cli_option_value(s->input, "--body");
    if (file != NULL) {
        if (subject != NULL || body != NULL) {
            return cli_fail(s->input, EX_USAGE, "leave out --subject and --body",
                            "the message is given with --message already");
        }
        if (strcmp(file, "-") == 0 && cli_option_given(s->input, "--password-stdin")) {
            return cli_fail(s->input, EX_USAGE, "give one of them as a file",
                            "message and password cannot both come from "
                            "standard input");
        }
        struct buf raw = buf_make(COMPOSE_MAX);
        int code = read_file(s->input, file, &raw);
        bool fine = code == EX_OK && compose_line_ends(buf_str(&raw), &s->text);
        buf_free(&raw);
        return code != EX_OK || fine ? code : cli_fail(s->input, EX_DATAERR, NULL, "%s is too large", file);
    }
    struct compose_parts parts = {
        .from = s->options.message.sender,
        .recipients = s->input->arguments,
        .recipient_count = s->input->argument_count,
        .subject = str_of(subject == NULL ? "A message of veredus send" : subject),
        .body = str_of(body == NULL ? "This message was sent with `veredus send`." : body),
        .wall_ms = clock_wall_ms(),
        .random = random_u64()};
    if (!str_is_utf8(parts.subject) || !str_is_utf8(parts.body) || !compose_message(&parts, &s->text)) {
        return cli_fail(s->input, EX_DATAERR, "use UTF-8, and put more than a line into a file for --message",
                        "subject, text or an address has characters that cannot be sent");
    }
    return EX_OK;
}

static int take_envelope(struct sending *s)
{
    const char *user = cli_option_value(s->input, "--user");
    const char *from = cli_option_value(s->input, "--from");
    struct buf normal = buf_make(1024);
    if (from == NULL && (user == NULL || strchr(user, '@') == NULL)) {
        return cli_fail(s->input, EX_USAGE, "give it with --from ADDRESS",
                        "it is not said who the sender is");
    }
    struct str sender = str_of(from == NULL ? user : from);
    int code = EX_OK;
    if (sender.len > 0 && address_normalize(sender, &normal) != PATH_OK) {
        code = cli_fail(s->input, EX_DATAERR, "write it as name@domain", "\"%s\" is no e-mail address",
                        sender.data);
    }
    s->options.message.sender = sender;
    s->options.message.smtputf8 = !str_is_ascii(sender);
    s->recipients = mem_zalloc(s->input->argument_count, sizeof(*s->recipients));
    if (s->recipients == NULL) {
        code = cli_fail(s->input, EX_OSERR, NULL, "there is not enough memory");
    }
    for (size_t i = 0; s->recipients != NULL && i < s->input->argument_count && code == EX_OK; i++) {
        s->recipients[i].address = str_of(s->input->arguments[i]);
        s->options.message.smtputf8 = s->options.message.smtputf8 || !str_is_ascii(s->recipients[i].address);
        buf_clear(&normal);
        if (address_normalize(s->recipients[i].address, &normal) != PATH_OK) {
            code = cli_fail(s->input, EX_DATAERR, "write it as name@domain", "\"%s\" is no e-mail address",
                            s->input->arguments[i]);
        }
    }
    buf_free(&normal);
    s->options.recipients = s->recipients;
    s->options.recipient_count = s->input->argument_count;
    return code;
}

static int take_tls(struct sending *s, uint64_t port)
{
    const char *word = cli_option_value(s->input, "--tls");
    struct smtp_client_settings *settings = &s->options.settings;
    if (word == NULL) {
        settings->implicit_tls = port == PORT_IMPLICIT;
        settings->tls = settings->login.len > 0 ? SMTP_CLIENT_TLS_REQUIRED : SMTP_CLIENT_TLS_OPPORTUNISTIC;
    } else if (strcmp(word, "none") == 0) {
        settings->tls = SMTP_CLIENT_TLS_NONE;
    } else if (strcmp(word, "starttls") == 0) {
        settings->tls = SMTP_CLIENT_TLS_REQUIRED;
    } else if (strcmp(word, "implicit") == 0) {
        settings->tls = SMTP_CLIENT_TLS_REQUIRED;
        settings->implicit_tls = true;
    } else {
        return cli_fail(s->input, EX_USAGE, "write none, starttls or implicit", "--tls: \"%s\" will not do",
                        word);
    }
    if (settings->tls == SMTP_CLIENT_TLS_NONE && settings->login.len > 0) {
        return cli_fail(s->input, EX_USAGE, "leave out --tls none, or the login",
                        "a password is never sent over a connection that is not encrypted");
    }
    if (cli_option_given(s->input, "--no-verify") || settings->tls == SMTP_CLIENT_TLS_NONE) {
        return EX_OK;
    }
    const char *file = cli_option_value(s->input, "--ca");
    if (file == NULL && access(STANDARD_CA, R_OK) != 0) {
        return cli_fail(s->input, EX_NOINPUT, "install ca-certificates, or give --ca FILE or --no-verify",
                        "there is no file of trusted authorities at " STANDARD_CA);
    }
    return read_file(s->input, file == NULL ? STANDARD_CA : file, &s->ca);
}

static int take_login(struct sending *s)
{
    const char *user = cli_option_value(s->input, "--user");
    char prompt[400];
    if (user == NULL) {
        return EX_OK;
    }
    s->options.settings.login = str_of(user);
    snprintf(prompt, sizeof(prompt), "Password of %s", user);
    int code = secret_read(s->input, prompt, false, &s->password);
    s->options.settings.password = buf_str(&s->password);
    return code;
}

static int prepare(struct sending *s)
{
    uint64_t port = PORT;
    uint64_t timeout = TIMEOUT_S;
    const char *word = cli_option_value(s->input, "--tls");
    if (word != NULL && strcmp(word, "implicit") == 0) {
        port = PORT_IMPLICIT;
    }
    if (!cli_option_number(s->input, "--port", 1, 65535, &port) ||
        !cli_option_number(s->input, "--timeout", 1, 3600, &timeout)) {
        return EX_USAGE;
    }
    const char *host = cli_option_value(s->input, "--server");
    s->options.host = host == NULL ? "localhost" : host;
    snprintf(s->port, sizeof(s->port), "%u", (unsigned)port);
    s->options.port = s->port;
    s->options.timeout_ms = timeout * 1000;
    s->options.json = s->input->json;
    if (gethostname(s->hello, sizeof(s->hello) - 1) != 0 || s->hello[0] == '\0') {
        snprintf(s->hello, sizeof(s->hello), "localhost");
    }
    s->options.settings.hello_name = str_of(s->hello);
    s->options.settings.timeout_percent = 100;
    int code = take_envelope(s);
    code = code == EX_OK ? take_text(s) : code;
    code = code == EX_OK ? take_login(s) : code;
    return code == EX_OK ? take_tls(s, port) : code;
}

static int finish(const struct sending *s, const struct dialogue_result *result)
{
    if (result->code != EX_OK) {
        return cli_fail(s->input, result->code, result->advice, "%s", result->message);
    }
    if (s->input->json) {
        json_t *done =
            json_pack("{s:b,s:I,s:I,s:I}", "done", 1, "delivered", (json_int_t)result->delivered, "deferred",
                      (json_int_t)result->deferred, "failed", (json_int_t)result->failed);
        cli_print_json(done);
        json_decref(done);
    } else {
        printf("\nTaken for %zu of %zu recipients.\n", result->delivered, s->options.recipient_count);
    }
    return result->failed > 0 ? EX_UNAVAILABLE : result->deferred > 0 ? EX_TEMPFAIL : EX_OK;
}

int cli_send(const struct cli_input *input)
{
    struct sending s = {.input = input};
    struct dialogue_result result;
    s.text = buf_make(COMPOSE_MAX);
    s.ca = buf_make(CA_MAX);
    s.password = buf_make(SECRET_MAX);
    int code = prepare(&s);
    if (code == EX_OK) {
        s.options.ca = buf_str(&s.ca);
        s.options.text = buf_str(&s.text);
        s.options.message.size = s.text.len;
        s.options.message.body = str_is_ascii(s.options.text) ? SMTP_CLIENT_7BIT : SMTP_CLIENT_8BITMIME;
        dialogue_run(&s.options, &result);
        code = finish(&s, &result);
    }
    mem_free(s.recipients);
    buf_free(&s.text);
    buf_free(&s.ca);
    buf_wipe(&s.password);
    return code;
}
