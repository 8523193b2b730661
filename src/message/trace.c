/* Trace fields; see trace.h. */
#include "message/trace.h"

#include "message/date.h"
#include "message/header.h"

enum { DELIVERED_TO_SCAN = 65536 };

const char *trace_protocol(const struct trace_received *r)
{
    static const char *const smtp[2][2][2] = {{{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
                                              {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}}};
    static const char *const lmtp[2][2][2] = {{{"LMTP", "LMTPA"}, {"LMTPS", "LMTPSA"}},
                                              {{"UTF8LMTP", "UTF8LMTPA"}, {"UTF8LMTPS", "UTF8LMTPSA"}}};
    if (r->lmtp) {
        return lmtp[r->utf8][r->tls][r->authenticated];
    }
    if (!r->esmtp) {
        return "SMTP";
    }
    return smtp[r->utf8][r->tls][r->authenticated];
}

/* Only what cannot break out of a comment or a line, and ASCII; the rest becomes "?". */
static void append_safe(struct buf *out, struct str s, size_t max)
{
    for (size_t i = 0; i < s.len && i < max; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool safe = c > 0x20 && c < 0x7f && c != '(' && c != ')' && c != '\\' && c != ';' && c != '"';
        buf_append_char(out, safe ? (char)c : '?');
    }
}

static bool looks_ipv6(struct str address)
{
    return str_find(address, 0, ':') != SIZE_MAX;
}

bool trace_append_received(const struct trace_received *r, struct buf *out)
{
    buf_append_lit(out, "Received: from ");
    append_safe(out, r->helo.len == 0 ? STR("unknown") : r->helo, 255);
    buf_append_lit(out, " (");
    if (r->client_name.len > 0) {
        append_safe(out, r->client_name, 255);
        buf_append_char(out, ' ');
    }
    if (looks_ipv6(r->client_address)) {
        buf_append_lit(out, "[IPv6:");
    } else {
        buf_append_char(out, '[');
    }
    append_safe(out, r->client_address, 64);
    buf_append_lit(out, "])\r\n\tby ");
    append_safe(out, r->by, 255);
    buf_append_lit(out, " with ");
    const char *protocol = trace_protocol(r);
    buf_append_str(out, str_of(protocol));
    buf_append_lit(out, " id ");
    append_safe(out, r->id, 64);
    if (r->tls) {
        buf_append_lit(out, "\r\n\t(");
        append_safe(out, r->tls_version, 32);
        buf_append_lit(out, " cipher ");
        append_safe(out, r->tls_cipher, 64);
        buf_append_char(out, ')');
    }
    if (r->recipient.len > 0) {
        /* An address may hold quotes and blanks of its own, but has been parsed: it has no line break. */
        buf_append_lit(out, "\r\n\tfor <");
        buf_append_str(out, r->recipient);
        buf_append_char(out, '>');
    }
    buf_append_lit(out, ";\r\n\t");
    date_append(r->wall_ms, out);
    return buf_append_lit(out, "\r\n");
}

bool trace_append_return_path(struct str reverse_path, struct buf *out)
{
    return buf_append_lit(out, "Return-Path: <") && buf_append_str(out, reverse_path) &&
           buf_append_lit(out, ">\r\n");
}

bool trace_append_delivered_to(struct str recipient, struct buf *out)
{
    return buf_append_lit(out, "Delivered-To: ") && buf_append_str(out, recipient) &&
           buf_append_lit(out, "\r\n");
}

unsigned trace_count_received(struct str message)
{
    struct header_iterator iterator = {.message = message};
    struct header_field field;
    unsigned count = 0;
    while (header_next(&iterator, &field)) {
        count += str_equal_nocase(field.name, STR("Received"));
    }
    return count;
}

size_t trace_delivered_to(struct str message, struct str *addresses, size_t max)
{
    struct header_iterator iterator = {.message = str_sub(message, 0, DELIVERED_TO_SCAN)};
    struct header_field field;
    size_t count = 0;
    while (header_next(&iterator, &field)) {
        if (str_equal_nocase(field.name, STR("Delivered-To"))) {
            if (count < max) {
                addresses[count] = str_trim(field.value);
            }
            count++;
        }
    }
    return count;
}

bool trace_was_delivered_to(struct str message, struct str recipient)
{
    /* Trace fields stand at the top. Asked for every recipient, so a header of megabytes must not be read each time. */
    struct header_iterator iterator = {.message = str_sub(message, 0, DELIVERED_TO_SCAN)};
    struct header_field field;
    while (header_next(&iterator, &field)) {
        if (str_equal_nocase(field.name, STR("Delivered-To")) &&
            str_equal_nocase(str_trim(field.value), recipient)) {
            return true;
        }
    }
    return false;
}
