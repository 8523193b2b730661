/* Replies of the SMTP server engine: their form, the count of errors, and the events that go to the journal. */
#include "smtp/server_private.h"

#include <stdio.h>

void server_event(struct smtp_server *s, unsigned code, const char *enhanced, struct str recipient, struct str cause)
{
    if (s->event != NULL) {
        struct smtp_event event = {.code = code,
                                   .enhanced = enhanced == NULL ? "" : enhanced,
                                   .sender = s->transaction == NULL ? STR_EMPTY : s->transaction->sender,
                                   .recipient = recipient,
                                   .cause = cause};
        s->event(s->context, &event);
    }
}

static void append_reply(struct buf *out, unsigned code, const char *enhanced, struct str text)
{
    buf_append_u64(out, code);
    buf_append_char(out, ' ');
    if (enhanced != NULL) {
        buf_append_str(out, str_of(enhanced));
        buf_append_char(out, ' ');
    }
    buf_append_str(out, text);
    buf_append_lit(out, "\r\n");
}

void server_close(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced, const char *text,
                  const char *reason)
{
    append_reply(out, code, enhanced, str_of(text));
    if (code >= 400) {
        server_event(s, code, enhanced, STR_EMPTY, str_of(text));
    }
    s->state = STATE_CLOSED;
    s->close_reason = reason;
}

void server_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced, const char *text)
{
    append_reply(out, code, enhanced, str_of(text));
    if (code < 400) {
        return;
    }
    server_event(s, code, enhanced, STR_EMPTY, str_of(text));
    s->errors++;
    if (s->errors >= s->settings->errors && s->state != STATE_CLOSED) {
        server_close(s, out, 421, "4.7.0", "Too many errors in this session; closing. Correct the client and connect again",
                     "too many errors");
    }
}

void server_name_doors(const struct smtp_server *s, struct buf *text)
{
    const struct smtp_server_settings *settings = s->settings;
    if (settings->submission_port != 0) {
        buf_printf(text, "port %u with STARTTLS", settings->submission_port);
    }
    if (settings->submissions_port != 0) {
        buf_printf(text, "%sport %u with TLS from the first byte", settings->submission_port != 0 ? " or " : "",
                   settings->submissions_port);
    }
    if (settings->submission_port == 0 && settings->submissions_port == 0) {
        buf_append_lit(text, "the submission port of your provider");
    }
}
