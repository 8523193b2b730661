/*
 * The SMTP client engine against any server. The input is a byte of settings and then all that the server says. Oracles:
 * each recipient has at most one result; the results are the same at every split of what the server says; no login leaves
 * in clear; nothing but whole lines leaves; whoever has no result is WAITING.
 */
#include "smtp/client.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECIPIENTS = 3 };

#define BODY STR("Subject: x\r\n\r\n.dot \xe4\r\nend")

struct session {
    struct smtp_client client;
    struct smtp_client_recipient recipients[RECIPIENTS];
    unsigned results[RECIPIENTS];
    unsigned outcome[RECIPIENTS];
    unsigned code[RECIPIENTS];
    struct buf said;
    bool secure;
};

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void report(void *context, size_t recipient, const struct smtp_client_result *result)
{
    struct session *s = context;
    must(recipient < RECIPIENTS && s->results[recipient] == 0);
    s->results[recipient]++;
    s->outcome[recipient] = result->outcome;
    s->code[recipient] = result->code;
    must(result->outcome != SMTP_CLIENT_DELIVERED || result->code / 100 == 2);
}

static void keep(struct session *s, struct buf *out)
{
    if (!s->secure) {
        must(memmem(out->len == 0 ? "" : out->data, out->len, "AUTH ", 5) == NULL);
    }
    buf_append_str(&s->said, buf_str(out));
    buf_clear(out);
}

static void run(struct session *s, const struct smtp_client_settings *settings, uint8_t flags,
                struct str server, size_t split)
{
    struct smtp_client_message message = {.sender = STR("a@b.example"),
                                          .body = (enum smtp_client_body)((flags >> 4) % 3),
                                          .smtputf8 = (flags & 64) != 0,
                                          .ret = 1,
                                          .envid = STR("e+2B"),
                                          .size = BODY.len};
    memset(s, 0, sizeof(*s));
    s->said = buf_make(1 << 22);
    for (size_t i = 0; i < RECIPIENTS; i++) {
        s->recipients[i] = (struct smtp_client_recipient){
            .address = STR("r@c.example"), .orcpt = STR("rfc822;r@c.example"), .notify = 4};
    }
    struct buf out = buf_make(1 << 16);
    struct str input = STR_EMPTY;
    bool idle = false;
    smtp_client_start(&s->client, settings, report, s);
    for (;;) {
        enum smtp_client_request request = smtp_client_run(&s->client, &input, &out);
        keep(s, &out);
        switch (request) {
        case SMTP_CLIENT_INPUT:
            if (server.len == 0) {
                smtp_client_lost(&s->client, false, false, STR("end"));
                break;
            }
            input = str_sub(server, 0, split);
            server = str_from(server, split);
            break;
        case SMTP_CLIENT_START_TLS:
            s->secure = true;
            smtp_client_tls_started(&s->client, true, STR_EMPTY);
            break;
        case SMTP_CLIENT_READY:
            if (!idle && smtp_client_reusable(&s->client) && s->client.transactions < 10) {
                smtp_client_begin(&s->client, &message, s->recipients, RECIPIENTS);
            } else {
                smtp_client_quit(&s->client, &out);
            }
            break;
        case SMTP_CLIENT_SCAN: {
            struct smtp_client_scan scan = {0};
            smtp_client_scan_bytes(&scan, BODY);
            smtp_client_scanned(&s->client, &scan);
            break;
        }
        case SMTP_CLIENT_BODY: smtp_client_body(&s->client, BODY, true, &out); break;
        case SMTP_CLIENT_DONE:
            idle = true;
            for (size_t i = 0; i < RECIPIENTS; i++) {
                idle = idle && s->recipients[i].state == SMTP_CLIENT_DECIDED;
            }
            break;
        case SMTP_CLIENT_CLOSE:
            for (size_t i = 0; i < RECIPIENTS; i++) {
                must(s->recipients[i].state ==
                     (s->results[i] == 1 ? SMTP_CLIENT_DECIDED : SMTP_CLIENT_WAITING));
            }
            buf_free(&out);
            return;
        }
    }
}

static void check_lines(struct str said)
{
    for (size_t i = 0; i < said.len; i++) {
        must(said.data[i] != '\0');
        must(said.data[i] != '\n' || (i > 0 && said.data[i - 1] == '\r'));
        must(said.data[i] != '\r' || (i + 1 < said.len && said.data[i + 1] == '\n'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000) {
        return 0;
    }
    uint8_t flags = data[0];
    struct smtp_client_settings settings = {.hello_name = STR("me.example"),
                                            .own_name = STR("me.example"),
                                            .tls = (enum smtp_client_tls)((flags & 3) % 3),
                                            .implicit_tls = (flags & 128) != 0,
                                            .lmtp = (flags & 4) != 0,
                                            .login = (flags & 8) != 0 ? STR("user") : STR_EMPTY,
                                            .password = STR("secret"),
                                            .timeout_percent = 100};
    static struct session whole;
    static struct session parts;
    struct str server = str_make(data + 1, size - 1);
    run(&whole, &settings, flags, server, SIZE_MAX);
    check_lines(buf_str(&whole.said));
    /* An octet at a time: what comes too early is seen only later then, so sessions that such octets end are not compared. */
    run(&parts, &settings, flags, server, 1);
    check_lines(buf_str(&parts.said));
    bool early = whole.client.failure.code == 0 && str_equal(whole.client.failure.enhanced, STR("4.5.0"));
    bool injected = str_equal(whole.client.failure.enhanced, STR("4.7.5"));
    bool refused = whole.client.failure.code >= 400;
    for (size_t i = 0; !early && !injected && !refused && i < RECIPIENTS; i++) {
        must(whole.results[i] == parts.results[i] && whole.outcome[i] == parts.outcome[i] &&
             whole.code[i] == parts.code[i]);
    }
    buf_free(&whole.said);
    buf_free(&parts.said);
    return 0;
}
