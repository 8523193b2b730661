/* The scripted driver of the SMTP server engine; see driver.h. */
#include "driver.h"

#include "sasl/sasl.h"

enum { OUT_MAX = 64 << 20 };

static void on_event(void *context, const struct smtp_event *event)
{
    struct driver *d = context;
    d->events++;
    d->last_code = event->code;
    buf_clear(&d->event_text);
    buf_printf(&d->event_text, "%u %s from=<", event->code, event->enhanced);
    buf_append_escaped(&d->event_text, event->sender, 400);
    buf_append_lit(&d->event_text, "> to=<");
    buf_append_escaped(&d->event_text, event->recipient, 400);
    buf_append_lit(&d->event_text, ">: ");
    buf_append_escaped(&d->event_text, event->cause, 400);
}

void driver_defaults(struct driver *d, enum smtp_server_kind kind)
{
    *d = (struct driver){
        .settings =
            {.kind = kind,
             .tls_offered = true,
             .hostname = STR("mx.here.example"),
             .message_size = 100000,
             .recipients = 5,
             .errors = 20,
             .transactions = 10,
             .hops = 10,
             .command_timeout_ms = 300000,
             .data_timeout_ms = 180000,
             .transaction_timeout_ms = 3600000,
             .session_timeout_ms = 21600000,
             .min_rate = 64,
             .mx_port = 25,
             .doors = {.submission = 587, .submissions = 465, .imap = 143, .imaps = 993, .pop3s = 995}},
        .budget = {.used = 0, .max = 64 << 20},
        .now_ms = 1000,
        .out = buf_make(OUT_MAX),
        .trace = buf_make(OUT_MAX),
        .event_text = buf_make(4096)};
}

void driver_begin(struct driver *d, bool tls)
{
    smtp_server_init(&d->server, &d->settings, &d->budget, tls, d->now_ms);
    d->server.event = on_event;
    d->server.context = d;
    (void)smtp_server_start(&d->server, STR_EMPTY, &d->out);
    buf_clear(&d->out);
}

void driver_open(struct driver *d, enum smtp_server_kind kind, bool tls)
{
    driver_defaults(d, kind);
    driver_begin(d, tls);
}

void driver_close(struct driver *d)
{
    smtp_server_free(&d->server);
    buf_free(&d->out);
    buf_free(&d->trace);
    buf_free(&d->event_text);
}

static enum smtp_recipient_answer judge_local(struct str local)
{
    static const struct {
        const char *local;
        enum smtp_recipient_answer answer;
    } known[] = {{"unknown", SMTP_RECIPIENT_UNKNOWN},
                 {"full", SMTP_RECIPIENT_OVER_QUOTA},
                 {"full-now", SMTP_RECIPIENT_OVER_QUOTA_NOW},
                 {"disabled", SMTP_RECIPIENT_DISABLED},
                 {"fail", SMTP_RECIPIENT_FAILED}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_equal_nocase(local, str_of(known[i].local))) {
            return known[i].answer;
        }
    }
    return SMTP_RECIPIENT_LOCAL;
}

static enum smtp_recipient_answer judge_recipient(const struct driver *d, struct str address)
{
    size_t at = str_find_last(address, '@');
    if (d->catch_all_recipients || at == SIZE_MAX) {
        return SMTP_RECIPIENT_LOCAL;
    }
    struct str domain = str_from(address, at + 1);
    if (str_equal(domain, STR("here.example"))) {
        return judge_local(str_sub(address, 0, at));
    }
    return str_equal(domain, STR("relay.example")) ? SMTP_RECIPIENT_RELAY_DOMAIN : SMTP_RECIPIENT_REMOTE;
}

static void answer_recipient(struct driver *d)
{
    struct str address = d->server.question;
    buf_append_lit(&d->trace, "RCPT ");
    buf_append_str(&d->trace, address);
    buf_append_lit(&d->trace, "\n");
    enum smtp_recipient_answer answer = judge_recipient(d, address);
    if (answer == SMTP_RECIPIENT_LOCAL && str_starts(address, STR("room"))) {
        smtp_server_recipient_room(&d->server, 20, &d->out); /* octets */
    } else {
        smtp_server_recipient(&d->server, answer, &d->out);
    }
}

static void answer_sender(struct driver *d)
{
    struct str address = d->server.question;
    enum smtp_sender_answer answer = SMTP_SENDER_FORBIDDEN;
    buf_append_lit(&d->trace, "SENDER ");
    buf_append_str(&d->trace, address);
    buf_append_lit(&d->trace, "\n");
    if (str_equal(address, STR("user@here.example")) || str_equal(address, STR("alias@here.example"))) {
        answer = SMTP_SENDER_ALLOWED;
    } else if (str_equal(address, STR("fail@here.example"))) {
        answer = SMTP_SENDER_FAILED;
    }
    smtp_server_sender(&d->server, answer, &d->out);
}

static void answer_password(struct driver *d)
{
    struct str name = buf_str(&d->server.sasl->authentication_id);
    struct str password = buf_str(&d->server.sasl->password);
    enum smtp_auth_answer answer = SMTP_AUTH_BAD;
    buf_append_lit(&d->trace, "LOGIN ");
    buf_append_str(&d->trace, name);
    buf_append_lit(&d->trace, "\n");
    if (str_equal(name, STR("user")) && str_equal(password, STR("secret"))) {
        answer = SMTP_AUTH_GOOD;
    } else if (str_equal(name, STR("busy"))) {
        answer = SMTP_AUTH_TEMPORARY;
    } else if (str_equal(name, STR("flood"))) {
        answer = SMTP_AUTH_THROTTLED;
    } else if (str_equal(name, STR("gone"))) {
        answer = SMTP_AUTH_DISABLED;
    }
    smtp_server_verified(&d->server, answer, STR("user@here.example"), STR("grant"), &d->out);
}

/* What was committed, whole: the oracle of most tests. */
static void write_commit(struct driver *d)
{
    const struct smtp_transaction *t = d->server.transaction;
    buf_append_lit(&d->trace, "COMMIT from=<");
    buf_append_str(&d->trace, t->sender);
    buf_append_lit(&d->trace, ">");
    if (t->body_kind != SMTP_BODY_7BIT) {
        buf_printf(&d->trace, " body=%s", t->body_kind == SMTP_BODY_8BITMIME ? "8BITMIME" : "BINARYMIME");
    }
    if (t->ret != SMTP_RET_NONE) {
        buf_printf(&d->trace, " ret=%s", t->ret == SMTP_RET_FULL ? "FULL" : "HDRS");
    }
    if (t->envelope_id.len > 0) {
        buf_append_lit(&d->trace, " envid=");
        buf_append_str(&d->trace, t->envelope_id);
    }
    if (t->smtputf8) {
        buf_append_lit(&d->trace, " SMTPUTF8");
    }
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        if (r->refused) {
            continue;
        }
        buf_append_lit(&d->trace, " to=<");
        buf_append_str(&d->trace, r->address);
        buf_append_lit(&d->trace, ">");
        if (r->notify != 0) {
            buf_printf(&d->trace, " notify=%u", r->notify);
        }
        if (r->original.len > 0) {
            buf_append_lit(&d->trace, " orcpt=");
            buf_append_str(&d->trace, r->original);
        }
    }
    buf_printf(&d->trace, " %zu octets\n", t->body.len);
    buf_append_str(&d->trace, buf_str(&t->body));
    buf_append_lit(&d->trace, "\nEND\n");
}

/* False: nothing more can be done with this input now. */
static bool answer(struct driver *d, enum smtp_request request, struct str *input)
{
    d->questions += request != SMTP_INPUT && request != SMTP_CLOSE;
    switch (request) {
    case SMTP_INPUT: return false;
    case SMTP_CHECK_RECIPIENT: answer_recipient(d); return true;
    case SMTP_CHECK_SENDER: answer_sender(d); return true;
    case SMTP_VERIFY_PASSWORD: answer_password(d); return true;
    case SMTP_START_TLS:
        buf_append_lit(&d->trace, "TLS\n");
        input->len = d->keep_input_after_tls ? input->len : 0;
        smtp_server_tls_started(&d->server, d->now_ms);
        return true;
    case SMTP_COMMIT:
        d->commits++;
        write_commit(d);
        if (d->hold_commit) {
            return false;
        }
        smtp_server_committed(&d->server, d->commit_answer, STR("0000000000000000test"), &d->out);
        return true;
    case SMTP_CLOSE: d->closed = true; return false;
    }
    return false;
}

static void run(struct driver *d, struct str *input)
{
    while (answer(d, smtp_server_run(&d->server, d->now_ms, input, &d->out), input)) {
    }
}

void driver_feed(struct driver *d, struct str bytes)
{
    run(d, &bytes);
}

void driver_feed_by(struct driver *d, struct str bytes, size_t step)
{
    step = step == 0 ? bytes.len : step;
    for (size_t at = 0; at < bytes.len && !d->closed; at += step) {
        driver_feed(d, str_sub(bytes, at, at + step < bytes.len ? at + step : bytes.len));
    }
}

void driver_feed_at(struct driver *d, struct str bytes, size_t split)
{
    driver_feed(d, str_sub(bytes, 0, split));
    if (!d->closed) {
        driver_feed(d, str_from(bytes, split));
    }
}

void driver_answer_commit(struct driver *d, enum smtp_commit_answer answer_given)
{
    smtp_server_committed(&d->server, answer_given, STR("0000000000000000test"), &d->out);
    driver_feed(d, STR_EMPTY);
}
