/* Replies of the SMTP server engine: their form, the count of errors, and the events that go to the journal. */
#include "smtp/server_private.h"

#include <stdio.h>

static void report(struct smtp_server *s, unsigned code, const char *enhanced, struct str recipient,
                   struct str cause)
{
    if (s->event != NULL) {
        struct smtp_event event = {.code = code,
                                   .enhanced = enhanced,
                                   .sender = s->transaction == NULL ? STR_EMPTY : s->transaction->sender,
                                   .recipient = recipient,
                                   .cause = cause};
        s->event(s->context, &event);
    }
}

static void append_reply(struct buf *out, unsigned code, const char *enhanced, struct str text)
{
    const char digits[4] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10),
                            ' '};
    buf_append(out, digits, sizeof(digits));
    buf_append_str(out, str_of(enhanced));
    buf_append_char(out, ' ');
    buf_append_str(out, text);
    buf_append_lit(out, "\r\n");
}

void server_close(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                  const char *text, const char *reason)
{
    append_reply(out, code, enhanced, str_of(text));
    if (code >= 400) {
        report(s, code, enhanced, STR_EMPTY, str_of(text));
    }
    s->state = STATE_CLOSED;
    s->waiting = SMTP_INPUT; /* an answer that is under way is nobody's any more */
    s->close_reason = reason;
}

/* Only 5xx: a client that meets a limit or a busy server has done nothing wrong. */
static void count_error(struct smtp_server *s, unsigned code, struct buf *out)
{
    if (code < 500) {
        return;
    }
    s->errors++;
    if (s->errors >= s->settings->errors && s->state != STATE_CLOSED) {
        server_close(s, out, 421, "4.7.0",
                     "Too many errors in this session; closing. Correct the client and connect again",
                     "too many errors");
    }
}

static void reply(struct smtp_server *s, struct buf *out, unsigned count, const struct server_fault *r,
                  struct str recipient)
{
    for (unsigned i = 0; i < count; i++) {
        append_reply(out, r->code, r->enhanced, str_of(r->text));
    }
    if (r->code >= 400) {
        report(s, r->code, r->enhanced, recipient, str_of(r->text));
        count_error(s, r->code, out);
    }
}

void server_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                  const char *text)
{
    reply(s, out, 1, &(struct server_fault){code, enhanced, text}, STR_EMPTY);
}

void server_reply_about(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                        const char *text, struct str recipient)
{
    reply(s, out, 1, &(struct server_fault){code, enhanced, text}, recipient);
}

void server_reply_times(struct smtp_server *s, struct buf *out, unsigned count, unsigned code,
                        const char *enhanced, const char *text)
{
    reply(s, out, count, &(struct server_fault){code, enhanced, text}, STR_EMPTY);
}

void server_reply_fault(struct smtp_server *s, struct buf *out, const struct server_fault *fault)
{
    reply(s, out, 1, fault, STR_EMPTY);
}

const char *server_text_with_doors(const struct smtp_server *s, struct str before, char text[SERVER_TEXT])
{
    const struct doors *doors = &s->settings->doors;
    struct buf b = {.data = text, .cap = SERVER_TEXT, .limit = SERVER_TEXT};
    buf_append_str(&b, before);
    if (doors->submission != 0 || doors->submissions != 0) {
        doors_append(doors, DOOR_SMTP, &b);
    } else {
        buf_append_lit(&b, "the submission port of your provider");
    }
    buf_append_char(&b, '\0');
    return text; /* our own texts: they fit */
}
