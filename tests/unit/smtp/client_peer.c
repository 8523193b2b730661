/* A scripted server for tests of the client engine; see client_peer.h. */
#include "client_peer.h"

#include <stdlib.h>

static const char *const addresses[PEER_RECIPIENTS] = {"r0@c.example", "r1@c.example", "r2@c.example",
                                                       "r3@c.example", "r4@c.example", "r5@c.example",
                                                       "r6@c.example", "r7@c.example"};

void talk_init(struct talk *t, struct str body, size_t count)
{
    memset(t, 0, sizeof(*t));
    t->peer.sent = buf_make(1 << 20);
    t->peer.line = buf_make(1 << 20);
    t->peer.transcript = buf_make(1 << 20);
    t->peer.body = buf_make(1 << 20);
    t->out = buf_make(1 << 20);
    t->body = body;
    t->count = count;
    t->settings = (struct smtp_client_settings){.hello_name = STR("me.example"),
                                                .own_name = STR_EMPTY,
                                                .login = STR_EMPTY,
                                                .password = STR_EMPTY,
                                                .timeout_percent = 100};
    t->message =
        (struct smtp_client_message){.sender = STR("a@b.example"), .envid = STR_EMPTY, .size = body.len};
    for (size_t i = 0; i < count; i++) {
        t->recipients[i] =
            (struct smtp_client_recipient){.address = str_of(addresses[i]), .orcpt = STR_EMPTY};
    }
}

void talk_free(struct talk *t)
{
    buf_free(&t->peer.sent);
    buf_free(&t->peer.line);
    buf_free(&t->peer.transcript);
    buf_free(&t->peer.body);
    buf_free(&t->out);
}

const char *talk_transcript(struct talk *t)
{
    buf_append_char(&t->peer.transcript, '\0');
    t->peer.transcript.len--;
    return t->peer.transcript.data;
}

/* The server. */

static unsigned say(struct peer *p, const char *text)
{
    if (text[0] == '\0') {
        p->gone = true;
        return 0;
    }
    buf_append_str(&p->sent, str_of(text));
    buf_append_lit(&p->sent, "\r\n");
    uint64_t code = 0;
    str_to_u64(str_sub(str_of(text), 0, 3), 999, &code);
    return (unsigned)code;
}

static unsigned say_step(struct peer *p, enum peer_step step, const char *standard)
{
    return say(p, p->reply[step] != NULL ? p->reply[step] : standard);
}

static void say_hello(struct peer *p)
{
    if (p->reply[STEP_EHLO] != NULL) {
        say(p, p->reply[STEP_EHLO]);
        return;
    }
    size_t count = 0;
    while (count < 12 && p->extensions[count] != NULL) {
        count++;
    }
    buf_append_str(&p->sent, count == 0 ? STR("250 peer.example\r\n") : STR("250-peer.example\r\n"));
    for (size_t i = 0; i < count; i++) {
        /* STARTTLS is not offered twice (RFC 3207, section 4.2). */
        const char *word =
            p->tls && str_equal(str_of(p->extensions[i]), STR("STARTTLS")) ? "XNONE" : p->extensions[i];
        buf_append_str(&p->sent, i + 1 == count ? STR("250 ") : STR("250-"));
        buf_append_str(&p->sent, str_of(word));
        buf_append_lit(&p->sent, "\r\n");
    }
}

static void finish_message(struct peer *p)
{
    p->in_data = false;
    p->in_chunk = false;
    if (!p->lmtp) {
        p->messages += say_step(p, STEP_FINAL, "250 2.0.0 queued") / 100 == 2;
        return;
    }
    for (unsigned i = 0; i < p->accepted && !p->gone; i++) {
        const char *special = i < PEER_RECIPIENTS ? p->final[i] : NULL;
        p->messages +=
            (special != NULL ? say(p, special) : say_step(p, STEP_FINAL, "250 2.0.0 filed")) / 100 == 2;
    }
}

static void take_rcpt(struct peer *p)
{
    const char *special = p->rcpts < PEER_RECIPIENTS ? p->rcpt[p->rcpts] : NULL;
    p->rcpts++;
    if (!p->has_sender) {
        say(p, "503 5.5.1 MAIL first");
        return;
    }
    unsigned code = special != NULL ? say(p, special) : say_step(p, STEP_RCPT, "250 2.1.5 ok");
    p->accepted += code / 100 == 2;
}

static void take_auth(struct peer *p, struct str line)
{
    if (str_starts(line, STR("AUTH LOGIN"))) {
        p->auth = 2;
        say(p, "334 VXNlcm5hbWU6");
    } else {
        say_step(p, STEP_AUTH, "235 2.7.0 welcome");
    }
}

static void take_command(struct peer *p, struct str line)
{
    buf_append_str(&p->transcript, line);
    buf_append_char(&p->transcript, '\n');
    if (p->auth > 0) {
        p->auth--;
        if (p->auth == 1) {
            say(p, "334 UGFzc3dvcmQ6");
        } else {
            say_step(p, STEP_AUTH, "235 2.7.0 welcome");
        }
    } else if (str_starts(line, STR("EHLO ")) || str_starts(line, STR("LHLO "))) {
        say_hello(p);
    } else if (str_starts(line, STR("HELO "))) {
        say_step(p, STEP_HELO, "250 peer.example");
    } else if (str_equal(line, STR("STARTTLS"))) {
        say_step(p, STEP_STARTTLS, "220 2.0.0 go ahead");
    } else if (str_starts(line, STR("AUTH "))) {
        take_auth(p, line);
    } else if (str_starts(line, STR("MAIL "))) {
        p->accepted = 0;
        p->has_sender = say_step(p, STEP_MAIL, "250 2.1.0 ok") / 100 == 2;
    } else if (str_starts(line, STR("RCPT "))) {
        take_rcpt(p);
    } else if (str_equal(line, STR("DATA"))) {
        p->in_data = say_step(p, STEP_DATA, p->accepted > 0 ? "354 go on" : "554 5.5.1 no recipients") == 354;
        buf_clear(&p->body);
    } else if (str_starts(line, STR("BDAT "))) {
        struct str rest = str_from(line, 5);
        struct str number = STR_EMPTY;
        str_split(&rest, ' ', &number);
        p->in_chunk = str_to_u64(number, UINT64_MAX / 2, &p->chunk);
        buf_clear(&p->body);
    } else if (str_equal(line, STR("RSET"))) {
        say_step(p, STEP_RSET, "250 2.0.0 ok");
    } else if (str_equal(line, STR("QUIT"))) {
        say_step(p, STEP_QUIT, "221 2.0.0 bye");
    } else {
        say(p, "500 5.5.1 what?");
    }
}

/* As a sink that takes only CRLF "." CRLF for the end. */
static void take_data_line(struct peer *p, struct str line)
{
    if (str_equal(line, STR("."))) {
        finish_message(p);
        return;
    }
    buf_append_str(&p->body, line.len > 0 && line.data[0] == '.' ? str_from(line, 1) : line);
    buf_append_lit(&p->body, "\r\n");
}

static void take_octet(struct peer *p, char c)
{
    if (p->in_chunk && p->chunk > 0) {
        buf_append_char(&p->body, c);
        if (--p->chunk == 0) {
            finish_message(p);
        }
        return;
    }
    buf_append_char(&p->line, c);
    if (!str_ends(buf_str(&p->line), STR("\r\n"))) {
        return;
    }
    struct str line = str_sub(buf_str(&p->line), 0, p->line.len - 2);
    if (p->in_data && p->drop_in_body) {
        p->gone = true;
    } else if (p->in_data) {
        take_data_line(p, line);
    } else {
        take_command(p, line);
        if (p->in_chunk && p->chunk == 0) {
            finish_message(p);
        }
    }
    buf_clear(&p->line);
}

/* The loop. */

static void note(struct told *told, const struct smtp_client_result *result)
{
    told->count++;
    told->outcome = result->outcome;
    told->stage = result->stage;
    told->code = result->code;
    told->dsn_passed = result->dsn_passed;
    struct str enhanced = str_sub(result->enhanced, 0, sizeof(told->enhanced) - 1);
    memcpy(told->enhanced, enhanced.data, enhanced.len);
    told->enhanced[enhanced.len] = '\0';
    struct str text = str_sub(result->text, 0, sizeof(told->text) - 1);
    memcpy(told->text, text.data, text.len);
    told->text[text.len] = '\0';
}

static void report(void *context, size_t recipient, const struct smtp_client_result *result)
{
    struct talk *t = context;
    note(&t->told[recipient], result);
}

static void hand_over(struct talk *t)
{
    for (size_t i = 0; i < t->out.len && !t->peer.gone; i++) {
        take_octet(&t->peer, t->out.data[i]);
        t->received++;
        if (t->received == t->cut) {
            t->peer.gone = true;
            t->received++;
            if (i + 1 < t->out.len) {
                smtp_client_lost(&t->client, false, true, STR("cut"));
            }
        }
    }
    buf_clear(&t->out);
}

static bool any_waiting(const struct talk *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->recipients[i].state != SMTP_CLIENT_DECIDED) {
            return true;
        }
    }
    return false;
}

static void give_body(struct talk *t, size_t *offset)
{
    size_t piece = t->peer.split == 0 ? t->body.len : t->peer.split;
    struct str bytes = str_sub(t->body, *offset, *offset + piece);
    *offset += bytes.len;
    smtp_client_body(&t->client, bytes, *offset == t->body.len, &t->out);
}

static void give_scan(struct talk *t)
{
    struct smtp_client_scan scan = {0};
    smtp_client_scan_bytes(&scan, t->body);
    smtp_client_scanned(&t->client, &scan);
}

void talk_run(struct talk *t)
{
    char area[4096];
    size_t offset = 0;
    smtp_client_start(&t->client, &t->settings, report, t);
    say_step(&t->peer, STEP_GREETING, "220 peer.example ready");
    struct str input = STR_EMPTY;
    for (int rounds = 0;; rounds++) {
        if (rounds > 1000000) {
            abort();
        }
        enum smtp_client_request request = smtp_client_run(&t->client, &input, &t->out);
        if (request == SMTP_CLIENT_CLOSE) {
            break;
        }
        hand_over(t);
        switch (request) {
        case SMTP_CLIENT_INPUT:
            if (t->peer.sent.len > 0) {
                size_t piece =
                    t->peer.split == 0 || t->peer.split > sizeof(area) ? sizeof(area) : t->peer.split;
                input = str_sub(buf_str(&t->peer.sent), 0, piece);
                memcpy(area, input.data, input.len);
                buf_consume(&t->peer.sent, input.len);
                input.data = area;
            } else if (t->peer.gone) {
                smtp_client_lost(&t->client, false, false, STR("gone"));
            } else {
                smtp_client_lost(&t->client, true, false, STR("nothing came"));
            }
            break;
        case SMTP_CLIENT_START_TLS:
            t->peer.tls = true;
            smtp_client_tls_started(&t->client, !t->peer.tls_fails, STR("bad certificate"));
            break;
        case SMTP_CLIENT_READY:
            if (any_waiting(t) && smtp_client_reusable(&t->client)) {
                offset = 0;
                smtp_client_begin(&t->client, &t->message, t->recipients, t->count);
            } else {
                smtp_client_quit(&t->client, &t->out);
            }
            break;
        case SMTP_CLIENT_SCAN: give_scan(t); break;
        case SMTP_CLIENT_BODY:
            if (t->peer.gone) {
                smtp_client_lost(&t->client, false, true, STR("gone"));
            } else {
                give_body(t, &offset);
            }
            break;
        case SMTP_CLIENT_DONE: t->done++; break;
        case SMTP_CLIENT_CLOSE: break;
        }
    }
    if (t->client.failure.text.len > 0 || t->client.failure.code != 0) {
        note(&t->failure, &t->client.failure);
    }
}
