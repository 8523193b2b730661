/* Delivery status notifications: when one is due, its header, and the part for machines; see dsn.h. */
#include "message/dsn_private.h"

#include "message/codes.h"
#include "message/date.h"
#include "message/xtext.h"

enum { ADDRESS_MAX = 1024 };

bool dsn_wanted(enum dsn_action action, uint8_t notify, struct str sender)
{
    if (sender.len == 0 || (notify & DSN_NOTIFY_NEVER) != 0) {
        return false;
    }
    switch (action) {
    case DSN_FAILED: return notify == 0 || (notify & DSN_NOTIFY_FAILURE) != 0;
    case DSN_DELAYED: return notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0;
    default: return (notify & DSN_NOTIFY_SUCCESS) != 0;
    }
}

static const char *action_word(enum dsn_action action)
{
    switch (action) {
    case DSN_FAILED: return "failed";
    case DSN_DELAYED: return "delayed";
    case DSN_DELIVERED: return "delivered";
    case DSN_RELAYED: return "relayed";
    default: return "expanded";
    }
}

static unsigned action_class(const struct dsn_recipient *recipient)
{
    switch (recipient->action) {
    case DSN_FAILED: return recipient->expired ? 4 : 5;
    case DSN_DELAYED: return 4;
    default: return 2;
    }
}

struct str dsn_status(const struct dsn_recipient *recipient, char out[16])
{
    struct buf text = {.data = out, .cap = 16, .limit = 16};
    struct codes_found found;
    unsigned class = action_class(recipient);
    bool known = codes_make(recipient->code, recipient->enhanced, &found) && found.has_enhanced;
    /* A success cannot carry a failure's code, nor a permanent failure a temporary one: then only the class is sure. */
    if (known && (found.class == class || recipient->action == DSN_FAILED)) {
        buf_printf(&text, "%u.%u.%u", found.class, found.subject, found.detail);
    } else if (recipient->expired) {
        buf_append_lit(&text, "4.4.7");
    } else {
        buf_printf(&text, "%u.0.0", class);
    }
    return buf_str(&text);
}

/* Text helpers. */

/* The length of one well-formed UTF-8 character beyond ASCII at the beginning of s; 0 if there is none. */
static size_t utf8_length(struct str s)
{
    unsigned char first = (unsigned char)s.data[0];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    return len != 0 && len <= s.len && str_is_utf8(str_sub(s, 0, len)) ? len : 0;
}

void dsn_append_safe(struct str text, bool utf8, struct buf *out)
{
    size_t end = text.len < DSN_TEXT_MAX ? text.len : DSN_TEXT_MAX;
    for (size_t at = 0; at < end;) {
        char c = text.data[at];
        if (c >= ' ' && c < 0x7f) {
            buf_append_char(out, c);
            at++;
            continue;
        }
        size_t len = (unsigned char)c < 0x80 ? 0 : utf8_length(str_from(text, at));
        if (utf8 && len > 0) {
            buf_append(out, text.data + at, len);
        } else {
            buf_append_char(out, c == '\t' || c == '\r' || c == '\n' ? ' ' : '?');
        }
        at += len == 0 ? 1 : len;
    }
}

void dsn_append_folded(struct str text, size_t column, const char *indent, struct buf *out)
{
    struct str word;
    bool first = true;
    while (str_split(&text, ' ', &word)) {
        if (word.len == 0) {
            continue;
        }
        if (!first && column + 1 + word.len > DSN_LINE) {
            buf_append_lit(out, "\r\n");
            buf_append_str(out, str_of(indent));
            column = str_of(indent).len;
        } else if (!first) {
            buf_append_char(out, ' ');
            column++;
        }
        buf_append_str(out, word);
        column += word.len;
        first = false;
    }
    buf_append_lit(out, "\r\n");
}

/* The part for machines (RFC 3464, section 2). */

static void append_date_field(const char *name, uint64_t wall_ms, struct buf *out)
{
    if (wall_ms != 0) {
        buf_append_str(out, str_of(name));
        date_append(wall_ms, out);
        buf_append_lit(out, "\r\n");
    }
}

/* ENVID decoded; left out where it would not be one clean line (RFC 3464, section 2.2.1). */
static void append_envelope_id(struct str envid, struct buf *out)
{
    char area[ADDRESS_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (envid.len == 0 || !xtext_decode(envid, &text)) {
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] >= 0x7f) {
            return;
        }
    }
    buf_append_lit(out, "Original-Envelope-Id: ");
    buf_append_str(out, buf_str(&text));
    buf_append_lit(out, "\r\n");
}

/* "rfc822; user@example.org", or "utf-8; ..." for an address beyond ASCII (RFC 6533, section 3). */
static void append_typed_address(struct str address, bool utf8, struct buf *out)
{
    if (str_is_ascii(address)) {
        buf_append_lit(out, "rfc822; ");
        dsn_append_safe(address, false, out);
        return;
    }
    size_t before = out->len;
    buf_append_lit(out, "utf-8; ");
    if (!utf8 && !xtext_utf8_encode(address, out)) {
        buf_truncate(out, before);
        buf_append_lit(out, "rfc822; ");
        dsn_append_safe(address, false, out);
    } else if (utf8) {
        dsn_append_safe(address, true, out);
    }
}

static void append_original_recipient(struct str orcpt, bool utf8, struct buf *out)
{
    char area[ADDRESS_MAX];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str type;
    struct str address;
    if (orcpt.len == 0 || !xtext_orcpt(orcpt, &type, &address)) {
        return;
    }
    bool unicode = str_equal_nocase(type, STR("utf-8"));
    bool decoded = unicode ? xtext_utf8_decode(address, &text) : xtext_decode(address, &text);
    if (!decoded) {
        return;
    }
    buf_append_lit(out, "Original-Recipient: ");
    if (unicode && !str_is_ascii(buf_str(&text))) {
        append_typed_address(buf_str(&text), utf8, out);
    } else {
        buf_append_str(out, type);
        buf_append_lit(out, "; ");
        dsn_append_safe(buf_str(&text), utf8, out);
    }
    buf_append_lit(out, "\r\n");
}

/* What the remote server said, or why we could not even ask it: then there is a diagnostic type of our own. */
static void append_diagnostic(const struct dsn_recipient *recipient, bool utf8, struct buf *out)
{
    if (recipient->text.len == 0 && recipient->code == 0) {
        return;
    }
    struct buf line = buf_make((size_t)2 * DSN_TEXT_MAX);
    if (recipient->code != 0) {
        buf_printf(&line, "Diagnostic-Code: smtp; %u ", recipient->code);
        dsn_append_safe(str_sub(recipient->enhanced, 0, DSN_ENHANCED_MAX), false, &line);
        buf_append_char(&line, ' ');
    } else {
        buf_append_lit(&line, "Diagnostic-Code: x-veredus; ");
    }
    dsn_append_safe(recipient->text, utf8, &line);
    out->failed = out->failed || !buf_ok(&line);
    dsn_append_folded(buf_str(&line), 0, " ", out);
    buf_free(&line);
}

/* A host that a route names by its address is told of as an address literal (RFC 3461, section 9.3; RFC 5321, section 4.1.3). */
static void append_remote_name(struct str host, struct buf *out)
{
    bool v6 = str_find(host, 0, ':') != SIZE_MAX;
    bool literal = host.data[0] != '[' && (v6 || ascii_is_digit(host.data[host.len - 1]));
    buf_append_str(out, !literal ? STR_EMPTY : v6 ? STR("[IPv6:") : STR("["));
    dsn_append_safe(host, false, out);
    buf_append_str(out, literal ? STR("]") : STR_EMPTY);
}

static void append_recipient(const struct dsn_recipient *recipient, bool utf8, struct buf *out)
{
    char status[16];
    buf_append_lit(out, "\r\n");
    append_original_recipient(recipient->orcpt, utf8, out);
    buf_append_lit(out, "Final-Recipient: ");
    append_typed_address(recipient->address, utf8, out);
    buf_printf(out, "\r\nAction: %s\r\nStatus: ", action_word(recipient->action));
    buf_append_str(out, dsn_status(recipient, status));
    buf_append_lit(out, "\r\n");
    if (recipient->host.len > 0) {
        buf_append_lit(out, "Remote-MTA: dns; ");
        append_remote_name(recipient->host, out);
        buf_append_lit(out, "\r\n");
    }
    append_diagnostic(recipient, utf8, out);
    append_date_field("Last-Attempt-Date: ", recipient->last_attempt_ms, out);
    if (recipient->action == DSN_DELAYED) {
        append_date_field("Will-Retry-Until: ", recipient->retry_until_ms, out);
    }
}

static void append_machine_part(const struct dsn_notice *notice, bool utf8, struct buf *out)
{
    buf_append_str(
        out,
        utf8 ? STR("Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
             : STR("Content-Type: message/delivery-status\r\n\r\n"));
    append_envelope_id(notice->envid, out);
    buf_append_lit(out, "Reporting-MTA: dns; ");
    dsn_append_safe(notice->hostname, false, out);
    buf_append_lit(out, "\r\n");
    append_date_field("Arrival-Date: ", notice->arrival_ms, out);
    if (notice->message_id.len > 0) {
        buf_append_lit(out, "X-Veredus-Id: ");
        dsn_append_safe(notice->message_id, false, out);
        buf_append_lit(out, "\r\n");
    }
    for (size_t i = 0; i < notice->recipient_count; i++) {
        append_recipient(&notice->recipients[i], utf8, out);
    }
}

/* The whole message. */

static const char *subject(const struct dsn_notice *notice)
{
    enum dsn_action action = notice->recipients[0].action;
    for (size_t i = 1; i < notice->recipient_count; i++) {
        if (notice->recipients[i].action != action) {
            return "What became of your message";
        }
    }
    switch (action) {
    case DSN_FAILED: return "Your message could not be delivered";
    case DSN_DELAYED: return "Your message is delayed";
    case DSN_DELIVERED: return "Your message was delivered";
    case DSN_RELAYED: return "Your message was handed on";
    default: return "Your message was distributed";
    }
}

static void append_header(const struct dsn_notice *notice, const char *boundary, bool eight_bit,
                          struct buf *out)
{
    buf_append_lit(out, "From: Mail delivery <");
    if (notice->postmaster.len > 0 && str_is_ascii(notice->postmaster)) {
        dsn_append_safe(notice->postmaster, false, out);
    } else {
        buf_append_lit(out, "postmaster@");
        dsn_append_safe(notice->hostname, false, out);
    }
    buf_append_lit(out, ">\r\nTo: <");
    dsn_append_safe(notice->sender, true, out);
    buf_printf(out, ">\r\nSubject: %s\r\nDate: ", subject(notice));
    date_append(notice->now_ms, out);
    buf_append_lit(out, "\r\nMessage-ID: <");
    dsn_append_safe(notice->notice_id, false, out);
    buf_append_char(out, '@');
    dsn_append_safe(notice->hostname, false, out);
    buf_append_lit(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                        "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"");
    buf_printf(out, "%s\"\r\n%s\r\n", boundary, eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

static void append_human_part(const struct dsn_notice *notice, bool eight_bit, struct buf *out)
{
    struct buf words = buf_make(DSN_SIZE_MAX);
    dsn_append_words(notice, &words);
    out->failed = out->failed || !buf_ok(&words);
    bool plain = str_is_ascii(buf_str(&words));
    buf_printf(out, "Content-Type: text/plain; charset=%s\r\n", plain ? "us-ascii" : "utf-8");
    if (plain || eight_bit) {
        buf_append_str(out, plain ? STR("\r\n") : STR("Content-Transfer-Encoding: 8bit\r\n\r\n"));
        buf_append_str(out, buf_str(&words));
    } else {
        buf_append_lit(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        dsn_append_quoted(buf_str(&words), out);
    }
    buf_free(&words);
}

bool dsn_build(const struct dsn_notice *notice, struct buf *out, struct dsn_needs *needs)
{
    *needs = (struct dsn_needs){0};
    if (notice->recipient_count == 0 || notice->recipient_count > DSN_RECIPIENTS_MAX ||
        notice->sender.len == 0) {
        return false;
    }
    char boundary[32];
    struct buf text = {.data = boundary, .cap = sizeof(boundary), .limit = sizeof(boundary)};
    buf_printf(&text, "=_%016llx", (unsigned long long)notice->random);
    buf_append_char(&text, '\0');

    /* A sender beyond ASCII can only be reached with SMTPUTF8, so then UTF-8 may stand anywhere. */
    needs->smtputf8 = !str_is_ascii(notice->sender);
    needs->eight_bit = needs->smtputf8;
    struct buf original = buf_make((size_t)4 * DSN_ORIGINAL_FULL_MAX);
    dsn_append_original(notice, &original, needs);

    append_header(notice, boundary, needs->eight_bit, out);
    buf_printf(out, "This is a delivery report in MIME format.\r\n\r\n--%s\r\n", boundary);
    append_human_part(notice, needs->eight_bit, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    append_machine_part(notice, needs->smtputf8, out);
    buf_printf(out, "\r\n--%s\r\n", boundary);
    buf_append_str(out, buf_str(&original));
    buf_printf(out, "\r\n--%s--\r\n", boundary);
    bool fine = buf_ok(out) && buf_ok(&original) && buf_ok(&text);
    buf_free(&original);
    return fine;
}
