/* Strings of IMAP; see imapstring.h. */
#include "message/imapstring.h"

#include "message/token.h"

enum { QUOTED_MAX = 1000 }; /* longer ones are literals, for clients with a line buffer */

/* What the bytes of a text ask for. */
enum { NEEDS_ESCAPE = 1, NEEDS_LITERAL = 2, HAS_8BIT = 4, HAS_NUL = 8 };

/* For 0 to 127; what is above is HAS_8BIT. */
static const unsigned char needs[128] = {['\0'] = HAS_NUL,
                                         ['\r'] = NEEDS_LITERAL,
                                         ['\n'] = NEEDS_LITERAL,
                                         ['"'] = NEEDS_ESCAPE,
                                         ['\\'] = NEEDS_ESCAPE};

static unsigned needs_of(struct str text)
{
    unsigned bits = text.len > QUOTED_MAX ? NEEDS_LITERAL : 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bits |= c < 0x80 ? needs[c] : HAS_8BIT;
    }
    return bits;
}

static bool append_escaped(struct str text, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buf_append_str(out, str_sub(text, from, i));
            buf_append_char(out, '\\');
            from = i;
        }
    }
    return buf_append_str(out, str_from(text, from));
}

static bool append_literal(struct str text, struct buf *out)
{
    buf_append_char(out, '{');
    buf_append_u64(out, text.len);
    buf_append_lit(out, "}\r\n");
    return buf_append_str(out, text);
}

static bool append_without_nul(struct str text, struct buf *out)
{
    struct buf clean = buf_make(text.len);
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\0') {
            buf_append_str(&clean, str_sub(text, from, i));
            from = i + 1;
        }
    }
    buf_append_str(&clean, str_from(text, from));
    out->failed = out->failed || clean.failed;
    append_literal(buf_str(&clean), out);
    buf_free(&clean);
    return buf_ok(out);
}

static bool append(struct str text, bool utf8, struct buf *out)
{
    unsigned bits = needs_of(text);
    if ((bits & HAS_NUL) != 0) {
        return append_without_nul(text, out);
    }
    if ((bits & NEEDS_LITERAL) != 0 || ((bits & HAS_8BIT) != 0 && !utf8)) {
        return append_literal(text, out);
    }
    buf_append_char(out, '"');
    if ((bits & NEEDS_ESCAPE) == 0) {
        buf_append_str(out, text);
    } else {
        append_escaped(text, out);
    }
    return buf_append_char(out, '"');
}

bool imapstring_append(struct str text, struct buf *out)
{
    return append(text, false, out);
}

bool imapstring_append_utf8(struct str text, struct buf *out)
{
    return append(text, str_is_utf8(text), out);
}

bool imapstring_append_nil(struct str text, struct buf *out)
{
    return text.len == 0 ? buf_append_lit(out, "NIL") : append(text, false, out);
}

bool imapstring_append_field(bool present, struct str value, struct buf *out)
{
    if (!present) {
        return buf_append_lit(out, "NIL");
    }
    value = token_trim(value);
    if (str_find(value, 0, '\n') == SIZE_MAX && str_find(value, 0, '\r') == SIZE_MAX) {
        return append(value, false, out);
    }
    struct buf unfolded = buf_make(value.len);
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '\r' || value.data[i] == '\n') {
            buf_append_str(&unfolded, str_sub(value, from, i));
            from = i + 1;
        }
    }
    buf_append_str(&unfolded, str_from(value, from));
    out->failed = out->failed || unfolded.failed;
    append(buf_str(&unfolded), false, out);
    buf_free(&unfolded);
    return buf_ok(out);
}
