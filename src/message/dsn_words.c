/*
 * The part of a delivery status notification that people read: what happened, on whose side, and what to do, for each
 * recipient, then the server's own words. The explanations are those of codes.h.
 */
#include "message/dsn_private.h"

#include "message/codes.h"
#include "message/date.h"

enum { DAY_S = 86400, HOUR_S = 3600, MINUTE_S = 60 };

static void append_line(const char *indent, const char *text, struct buf *out)
{
    buf_append_str(out, str_of(indent));
    dsn_append_folded(str_of(text), str_of(indent).len, indent, out);
}

/* "5 days", "4 hours"; rounded down. */
static void append_duration(uint64_t from_ms, uint64_t to_ms, struct buf *out)
{
    uint64_t seconds = to_ms > from_ms ? (to_ms - from_ms) / 1000 : 0;
    uint64_t unit = seconds >= 2 * (uint64_t)DAY_S ? DAY_S : seconds >= HOUR_S ? HOUR_S : MINUTE_S;
    uint64_t count = seconds / unit;
    const char *name = unit == DAY_S ? "day" : unit == HOUR_S ? "hour" : "minute";
    buf_printf(out, "%llu %s%s", (unsigned long long)count, name, count == 1 ? "" : "s");
}

static void append_opening(const struct dsn_notice *notice, struct buf *out)
{
    buf_append_lit(out, "This is the mail server ");
    dsn_append_safe(notice->hostname, false, out);
    buf_append_lit(out, ".\r\n\r\nIt reports on the message that you sent on\r\n");
    date_append(notice->arrival_ms, out);
    buf_append_lit(out, ". What was sent is at the end.\r\n");
}

/* A cause on "the server that answered" is ours when no other server was asked. */
static const char *side_of(const struct dsn_recipient *recipient, struct codes_found *found)
{
    found->own = recipient->code == 0;
    enum codes_side side = codes_side_of(found);
    if (side == CODES_SIDE_REMOTE) {
        return recipient->code == 0 && recipient->host.len == 0 ? codes_side_words(CODES_SIDE_US)
                                                                : "the side of the recipient's mail server";
    }
    return side == CODES_SIDE_NOBODY ? NULL : codes_side_words(side);
}

static void append_labelled(const char *label, const char *text, struct buf *out)
{
    buf_append_lit(out, "  ");
    buf_append_str(out, str_of(label));
    dsn_append_folded(str_of(text), 2 + str_of(label).len, "                 ", out);
}

static void append_said(const struct dsn_recipient *recipient, struct buf *out)
{
    if (recipient->code == 0 && recipient->text.len == 0) {
        return;
    }
    if (recipient->code != 0 && recipient->host.len > 0) {
        buf_append_lit(out, "  The server ");
        dsn_append_safe(str_sub(recipient->host, 0, DSN_HOST_MAX), true, out);
        if (recipient->host_address.len > 0 && !str_equal(recipient->host, recipient->host_address)) {
            buf_append_lit(out, " [");
            dsn_append_safe(str_sub(recipient->host_address, 0, DSN_HOST_MAX), false, out);
            buf_append_char(out, ']');
        }
        buf_append_lit(out, " answered:\r\n");
    } else {
        buf_append_str(out, recipient->code != 0 ? STR("  The answer was:\r\n") : STR("  In detail:\r\n"));
    }
    struct buf line = buf_make((size_t)2 * DSN_TEXT_MAX);
    if (recipient->code != 0) {
        buf_printf(&line, "%u ", recipient->code);
        dsn_append_safe(str_sub(recipient->enhanced, 0, DSN_ENHANCED_MAX), false, &line);
        buf_append_char(&line, ' ');
    }
    dsn_append_safe(recipient->text, true, &line);
    out->failed = out->failed || !buf_ok(&line);
    buf_append_lit(out, "    ");
    dsn_append_folded(buf_str(&line), 4, "    ", out);
    buf_free(&line);
}

static void append_cause(const struct dsn_recipient *recipient, const char *action, struct buf *out)
{
    char status[16];
    struct codes_found found;
    codes_make(recipient->code, dsn_status(recipient, status), &found);
    const struct codes_words *words = codes_best(&found);
    const char *side = side_of(recipient, &found);
    append_labelled(
        "What happened: ", words == NULL ? "The server gave a code that no standard has." : words->what, out);
    if (side != NULL) {
        append_labelled("On whose side: ", side, out);
    }
    append_labelled("What to do:    ",
                    action != NULL  ? action
                    : words == NULL ? "Read the answer below."
                                    : words->action,
                    out);
}

static void append_failed(const struct dsn_notice *notice, const struct dsn_recipient *recipient,
                          struct buf *out)
{
    buf_append_lit(out, "could not be delivered, and is not tried again.\r\n");
    if (recipient->expired) {
        buf_append_lit(out, "  It was tried for ");
        append_duration(notice->arrival_ms, notice->now_ms, out);
        buf_append_lit(out, " without success. At the last attempt:\r\n");
    }
    append_cause(recipient, NULL, out);
    if (recipient->uncertain) {
        append_line("  ",
                    "A connection was lost just after the message had been handed over, so a copy may have "
                    "arrived all the same.",
                    out);
    }
    append_said(recipient, out);
}

static void append_delayed(const struct dsn_notice *notice, const struct dsn_recipient *recipient,
                           struct buf *out)
{
    buf_append_lit(out, "not delivered yet, after ");
    append_duration(notice->arrival_ms, notice->now_ms, out);
    buf_append_lit(out, ".\r\n");
    append_cause(recipient,
                 "Nothing now: this server tries again by itself. You get another notice if it gives up.",
                 out);
    if (recipient->retry_until_ms != 0) {
        buf_append_lit(out, "  It is tried until ");
        date_append(recipient->retry_until_ms, out);
        buf_append_lit(out, ".\r\n");
    }
    append_said(recipient, out);
}

static void append_success(const struct dsn_recipient *recipient, struct buf *out)
{
    if (recipient->action == DSN_DELIVERED) {
        buf_append_lit(out, "delivered to the mailbox.\r\n");
    } else if (recipient->action == DSN_EXPANDED) {
        buf_append_lit(out, "passed on to all addresses that this one stands for.\r\n");
    } else {
        buf_append_lit(out, "handed to the next server, which sends no confirmations.\r\n");
        if (recipient->host.len > 0) {
            buf_append_lit(out, "  That server is ");
            dsn_append_safe(str_sub(recipient->host, 0, DSN_HOST_MAX), true, out);
            buf_append_lit(out, ".\r\n");
        }
    }
}

void dsn_append_words(const struct dsn_notice *notice, struct buf *out)
{
    append_opening(notice, out);
    for (size_t i = 0; i < notice->recipient_count; i++) {
        const struct dsn_recipient *recipient = &notice->recipients[i];
        buf_append_lit(out, "\r\n<");
        dsn_append_safe(recipient->address, true, out);
        buf_append_lit(out, ">:\r\n  ");
        switch (recipient->action) {
        case DSN_FAILED: append_failed(notice, recipient, out); break;
        case DSN_DELAYED: append_delayed(notice, recipient, out); break;
        default: append_success(recipient, out); break;
        }
    }
    buf_append_lit(out, "\r\nIf you need help, ask ");
    if (notice->postmaster.len > 0) {
        dsn_append_safe(notice->postmaster, true, out);
    } else {
        buf_append_lit(out, "postmaster@");
        dsn_append_safe(notice->hostname, false, out);
    }
    if (notice->message_id.len > 0) {
        buf_append_lit(out, "\r\nand name the message by its number here: ");
        dsn_append_safe(notice->message_id, false, out);
    }
    buf_append_lit(out, ".\r\n");
}
