/*
 * The last part of a delivery status notification: the message that it is about, or its header (RFC 6522, section 4;
 * RFC 6533, section 4). What cannot travel in 7 bits is encoded wherever the standards allow it, because a notice that cannot
 * be delivered is lost.
 */
#include "message/dsn_private.h"

#include "message/header.h"

enum { LINE_MAX_OCTETS = 998 };

/* Whether text can be sent as it is: only CRLF as line ends, no NUL, no line that is too long. */
static bool is_regular(struct str text)
{
    size_t line = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\r' && i + 1 < text.len && text.data[i + 1] == '\n') {
            i++;
            line = 0;
            continue;
        }
        line++;
        if (c == '\r' || c == '\n' || c == '\0' || line > LINE_MAX_OCTETS) {
            return false;
        }
    }
    return true;
}

static bool ends_in_crlf(const struct buf *out)
{
    return str_ends(buf_str(out), STR("\r\n"));
}

/* Whether octet `i` of a line stands for itself. */
static bool is_plain(struct str text, size_t i)
{
    char c = text.data[i];
    bool last = i + 1 >= text.len || text.data[i + 1] == '\r' || text.data[i + 1] == '\n';
    return (c > ' ' && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);
}

void dsn_append_quoted(struct str text, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t column = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\r' && i + 1 < text.len && text.data[i + 1] == '\n') {
            buf_append_lit(out, "\r\n");
            i++;
            column = 0;
            continue;
        }
        bool plain = is_plain(text, i) && !(column == 0 && c == '.');
        size_t width = plain ? 1 : 3;
        if (column + width > DSN_LINE - 1) {
            buf_append_lit(out, "=\r\n");
            column = 0;
        }
        if (plain) {
            buf_append_char(out, c);
        } else {
            char code[3] = {'=', digits[(unsigned char)c >> 4], digits[(unsigned char)c & 15]};
            buf_append(out, code, sizeof(code));
        }
        column += width;
    }
}

static void append_encoded(struct str text, bool quoted, struct buf *out)
{
    if (quoted) {
        dsn_append_quoted(text, out);
    } else {
        buf_append_str(out, text);
    }
    if (!ends_in_crlf(out)) {
        buf_append_lit(out, "\r\n");
    }
}

/* The header, cut at a line end where it is very long. */
static struct str header_of(struct str original)
{
    struct str header = str_sub(original, 0, header_end(original));
    if (str_ends(header, STR("\r\n\r\n"))) {
        header.len -= 2;
    }
    if (header.len > DSN_ORIGINAL_HEADER_MAX) {
        header.len = DSN_ORIGINAL_HEADER_MAX;
        size_t end = str_find_last(header, '\n');
        header.len = end == SIZE_MAX ? header.len : end + 1;
    }
    return header;
}

static void append_header_part(const struct dsn_notice *notice, struct buf *out,
                               const struct dsn_needs *needs)
{
    struct str header = header_of(notice->original);
    bool ascii = str_is_ascii(header);
    bool unicode = !ascii && str_is_utf8(header);
    bool regular = is_regular(header);
    bool as_it_is = regular && (ascii || (unicode && needs->smtputf8));
    buf_append_str(out, unicode ? STR("Content-Type: message/global-headers\r\n")
                                : STR("Content-Type: text/rfc822-headers\r\n"));
    if (!as_it_is) {
        buf_append_lit(out, "Content-Transfer-Encoding: quoted-printable\r\n");
    } else if (!ascii) {
        buf_append_lit(out, "Content-Transfer-Encoding: 8bit\r\n");
    }
    buf_append_lit(out, "\r\n");
    append_encoded(header, !as_it_is, out);
}

/* RFC 3461, section 4.3: RET is for failures; and only what is whole, small and regular can come back whole. */
static bool comes_back_whole(const struct dsn_notice *notice)
{
    bool failed = false;
    for (size_t i = 0; i < notice->recipient_count; i++) {
        failed = failed || notice->recipients[i].action == DSN_FAILED;
    }
    return failed && notice->ret == DSN_RET_FULL && notice->original_size <= DSN_ORIGINAL_FULL_MAX &&
           notice->original.len == notice->original_size && is_regular(notice->original);
}

void dsn_append_original(const struct dsn_notice *notice, struct buf *out, struct dsn_needs *needs)
{
    if (!comes_back_whole(notice)) {
        append_header_part(notice, out, needs);
        return;
    }
    bool ascii = str_is_ascii(notice->original);
    if (ascii || !notice->smtputf8) {
        buf_append_lit(out, "Content-Type: message/rfc822\r\n");
        if (!ascii) {
            /* Only 7bit, 8bit and binary are allowed here (RFC 2046, section 5.2.1). */
            buf_append_lit(out, "Content-Transfer-Encoding: 8bit\r\n");
            needs->eight_bit = true;
        }
        buf_append_lit(out, "\r\n");
        append_encoded(notice->original, false, out);
        return;
    }
    buf_append_lit(out, "Content-Type: message/global\r\nContent-Transfer-Encoding: ");
    buf_append_str(out, needs->smtputf8 ? STR("8bit\r\n\r\n") : STR("quoted-printable\r\n\r\n"));
    append_encoded(notice->original, !needs->smtputf8, out);
}
