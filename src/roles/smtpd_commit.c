/*
 * From a complete transaction to a record of the log: what is taken out of the header, the trace fields in front of it, and the
 * envelope. Part of smtpd.
 */
#include "roles/smtpd_private.h"

#include "base/clock.h"
#include "base/random.h"
#include "message/date.h"
#include "message/submit.h"
#include "message/trace.h"

enum { TRACE_MAX = 16384, TLS_TEXT = 128 };

static void tls_text(const struct session *s, struct buf *out)
{
    if (s->connection.tls != NULL) {
        buf_append_str(out, str_of(tls_version(s->connection.tls)));
        buf_append_char(out, ' ');
        buf_append_str(out, str_of(tls_cipher(s->connection.tls)));
    }
}

static bool append_received(const struct session *s, struct str client, struct str id, uint64_t wall_ms,
                            struct buf *out)
{
    const struct smtp_transaction *t = s->server.transaction;
    const struct tls *tls = s->connection.tls;
    struct trace_received received = {
        .helo = buf_str(&s->server.helo),
        .client_name = STR_EMPTY,
        .client_address = client,
        .by = s->settings->config->hostname,
        .lmtp = s->settings->listener->kind == LISTENER_LMTP,
        .esmtp = s->server.esmtp,
        .tls = tls != NULL,
        .authenticated = s->server.authenticated,
        .utf8 = t->smtputf8,
        .tls_version = tls == NULL ? STR_EMPTY : str_of(tls_version(tls)),
        .tls_cipher = tls == NULL ? STR_EMPTY : str_of(tls_cipher(tls)),
        .id = id,
        /* With several recipients the clause would tell each of the others (RFC 5321, section 7.2). */
        .recipient = t->recipient_count == 1 ? t->recipients->address : STR_EMPTY,
        .wall_ms = wall_ms};
    return trace_append_received(&received, out);
}

/* RFC 6409, section 8: what a submitted message lacks. */
static void append_missing(const struct session *s, struct str id, uint64_t wall_ms, struct buf *out)
{
    bool date = false;
    bool message_id = false;
    submit_missing(buf_str(&s->server.transaction->body), &date, &message_id);
    if (date) {
        buf_append_lit(out, "Date: ");
        date_append(wall_ms, out);
        buf_append_lit(out, "\r\n");
    }
    if (message_id) {
        buf_append_lit(out, "Message-ID: <");
        buf_append_str(out, id);
        buf_append_char(out, '@');
        buf_append_str(out, s->settings->config->hostname);
        buf_append_lit(out, ">\r\n");
    }
}

static bool append_envelope(const struct session *s, struct str client, struct buf *out)
{
    const struct smtp_transaction *t = s->server.transaction;
    uint32_t recipients = 0;
    for (const struct smtp_recipient *r = t->recipients; r != NULL; r = r->next) {
        recipients += !r->refused;
    }
    char area[TLS_TEXT];
    struct buf tls = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    tls_text(s, &tls);
    struct record_envelope envelope = {.sender = t->sender,
                                       .body_kind = (uint8_t)t->body_kind,
                                       .ret = (uint8_t)t->ret,
                                       .envelope_id = t->envelope_id,
                                       .grant = buf_str(&s->server.grant),
                                       .login = buf_str(&s->server.login),
                                       .client = client,
                                       .helo = buf_str(&s->server.helo),
                                       .tls = buf_str(&tls),
                                       .retires = STR_EMPTY,
                                       .recipient_count = recipients};
    bool fine = record_encode_envelope(&envelope, out);
    for (const struct smtp_recipient *r = t->recipients; fine && r != NULL; r = r->next) {
        struct record_recipient recipient = {
            .address = r->address, .original = r->original, .notify = r->notify};
        fine = r->refused || record_encode_recipient(&recipient, out);
    }
    return fine;
}

static uint16_t record_flags(const struct session *s)
{
    unsigned flags = s->server.transaction->smtputf8 ? RECORD_SMTPUTF8 : 0U;
    flags |= s->server.esmtp ? RECORD_ESMTP : 0U;
    flags |= s->connection.tls != NULL ? RECORD_TLS : 0U;
    flags |= s->settings->listener->kind == LISTENER_LMTP ? RECORD_LMTP : 0U;
    return (uint16_t)flags;
}

bool session_commit(struct session *s)
{
    struct smtp_transaction *t = s->server.transaction;
    uint64_t wall_ms = clock_wall_ms();
    bool submission = s->settings->listener->kind == LISTENER_SUBMISSION;
    char id_text[IDENT_TEXT];
    char client_text[CONNECTION_ADDRESS_TEXT];
    s->id = ident_make(wall_ms, random_u64());
    ident_format(&s->id, id_text);
    address_text(&s->peer, client_text);
    struct str id = str_make(id_text, sizeof(id_text));
    struct str client = str_of(client_text);
    submit_remove_fields(&t->body, submission);

    struct buf trace = buf_make(TRACE_MAX);
    struct buf envelope = buf_make(RECORD_ENVELOPE_MAX);
    append_received(s, client, id, wall_ms, &trace);
    if (submission) {
        append_missing(s, id, wall_ms, &trace);
    }
    struct record_header header = {
        .kind = RECORD_MESSAGE, .flags = record_flags(s), .id = s->id, .wall_ms = wall_ms};
    bool fine =
        append_envelope(s, client, &envelope) && buf_ok(&trace) && buf_ok(&envelope) &&
        log_writer_add(s->smtpd->writer, &header, buf_str(&envelope), buf_str(&trace), buf_str(&t->body), s);
    buf_free(&trace);
    buf_free(&envelope);
    return fine;
}
