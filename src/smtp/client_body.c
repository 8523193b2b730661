/*
 * The bytes of a message in the SMTP client engine: dots doubled behind DATA, as they are behind BDAT (RFC 5321, section 4.5.2;
 * RFC 3030), and what a message holds. Whatever it is given, it never emits a bare CR, a bare LF or a NUL outside of
 * BINARYMIME, so no message can end early in the eyes of any server.
 */
#include "smtp/client_private.h"

#include "smtp/data.h"

enum { TEXT_LINE_MAX = 998 };

void client_body_begin(struct smtp_client *c, struct buf *out)
{
    if (c->use_bdat) {
        buf_printf(out, "BDAT %llu LAST\r\n", (unsigned long long)c->message->size);
    }
    c->phase = PHASE_BODY;
    c->line_start = true;
    c->body_last = '\n';
    c->body_octets = 0;
}

static bool is_binary(const struct smtp_client *c)
{
    return c->use_bdat && c->message->body == SMTP_CLIENT_BINARYMIME && client_has(c, EXT_BINARYMIME);
}

/* Appends a run of lines; false at a bare CR or LF or a NUL. State goes over from one piece to the next. */
static bool append_text(struct smtp_client *c, struct str bytes, struct buf *out)
{
    size_t at = 0;
    while (at < bytes.len) {
        if (c->body_last == '\r') {
            if (bytes.data[at] != '\n') {
                return false;
            }
            buf_append_lit(out, "\r\n");
            c->body_last = '\n';
            c->line_start = true;
            at++;
            continue;
        }
        if (c->line_start && bytes.data[at] == '.' && !c->use_bdat) {
            buf_append_char(out, '.');
        }
        size_t run = data_plain_run(str_from(bytes, at));
        if (run > 0) {
            buf_append(out, bytes.data + at, run);
            c->body_last = bytes.data[at + run - 1];
            c->line_start = false;
            at += run;
        } else if (bytes.data[at] == '\r') {
            c->body_last = '\r'; /* goes out together with its LF */
            at++;
        } else {
            return false;
        }
    }
    return true;
}

static void abandon(struct smtp_client *c, enum smtp_client_outcome outcome, const char *enhanced,
                    const char *text)
{
    struct smtp_client_result result = client_own_result(c, outcome, enhanced, str_of(text));
    if (outcome == SMTP_CLIENT_FAILED) {
        client_decide_all(c, &result);
    }
    client_fail(c, &result);
}

/* Everything is there: the end of the data, and the wait for the reply. */
static void end_body(struct smtp_client *c, struct buf *out)
{
    if (!is_binary(c) && c->body_last == '\r') {
        abandon(c, SMTP_CLIENT_FAILED, "5.6.0", "The message ends in a bare CR, which mail may not have");
        return;
    }
    if (c->body_octets != c->message->size) {
        abandon(c, SMTP_CLIENT_DEFERRED, "4.3.0",
                "The message in the store has another size than its record says");
        return;
    }
    if (!c->use_bdat) {
        buf_append_str(out, c->line_start ? STR(".\r\n") : STR("\r\n.\r\n"));
    }
    c->next_to_reply = 0;
    c->phase = PHASE_FINAL;
}

void smtp_client_body(struct smtp_client *c, struct str bytes, bool last, struct buf *out)
{
    if (c->phase != PHASE_BODY) {
        return;
    }
    c->progress++;
    c->body_octets += bytes.len;
    if (c->body_octets > c->message->size) {
        abandon(c, SMTP_CLIENT_DEFERRED, "4.3.0",
                "The message in the store has another size than its record says");
        return;
    }
    if (is_binary(c)) {
        buf_append_str(out, bytes);
    } else if (!append_text(c, bytes, out)) {
        abandon(c, SMTP_CLIENT_FAILED, "5.6.0",
                "The message has a bare CR, a bare LF or a NUL, which mail may not have");
        return;
    }
    if (last) {
        end_body(c, out);
    }
}

void smtp_client_body_failed(struct smtp_client *c)
{
    if (c->phase == PHASE_BODY || c->phase == PHASE_BEGIN) {
        abandon(c, SMTP_CLIENT_DEFERRED, "4.3.0", "The message cannot be read from this server's store now");
    }
}

void smtp_client_scan_bytes(struct smtp_client_scan *scan, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.data[i];
        bool bare = (c == '\n') != (scan->last == '\r');
        if (bare || c == '\0') {
            scan->binary = true;
        }
        if (c == '\n') {
            scan->header_over = scan->header_over || scan->line == 0;
            scan->line = 0;
        } else if (c != '\r') {
            scan->line++;
            scan->binary = scan->binary || scan->line > TEXT_LINE_MAX;
        }
        if ((unsigned char)c >= 0x80) {
            scan->header_beyond_ascii = scan->header_beyond_ascii || !scan->header_over;
            scan->body_beyond_ascii = scan->body_beyond_ascii || scan->header_over;
        }
        scan->last = c;
    }
}
