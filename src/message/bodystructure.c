/* BODY and BODYSTRUCTURE; see bodystructure.h. */
#include "message/bodystructure.h"

#include "message/envelope.h"
#include "message/imapstring.h"
#include "message/parameter.h"
#include "message/token.h"

/* Appends `("name" "value" ...)` or NIL; `charset` adds the default charset if there is none. */
static void append_parameters(struct str text, bool charset, struct buf *out)
{
    if (text.len == 0 && !charset) {
        buf_append_lit(out, "NIL");
        return;
    }
    struct parameter_list list;
    parameter_list_parse(text, &list);
    if (list.count == 0) {
        buf_append_str(out, charset ? STR("(\"charset\" \"us-ascii\")") : STR("NIL"));
        return;
    }
    char names[256];
    struct buf name = {.data = names, .cap = sizeof(names), .limit = sizeof(names)};
    struct buf value = buf_make(text.len * 3 + 2);
    size_t before = out->len;
    buf_append_char(out, '(');
    while (parameter_list_next(&list, &name, &value)) {
        if (out->len > before + 1) {
            buf_append_char(out, ' ');
        }
        charset = charset && !str_equal_nocase(buf_str(&name), STR("charset"));
        imapstring_append(buf_str(&name), out);
        buf_append_char(out, ' ');
        imapstring_append(buf_str(&value), out);
        buf_clear(&name);
        buf_clear(&value);
    }
    out->failed = out->failed || value.failed;
    buf_free(&value);
    if (charset) {
        buf_append_str(out, out->len > before + 1 ? STR(" \"charset\" \"us-ascii\"")
                                                  : STR("\"charset\" \"us-ascii\""));
    }
    buf_append_char(out, ')');
}

/* Appends `("attachment" ("filename" "x"))` or NIL. */
static void append_disposition(struct str text, struct buf *out)
{
    size_t at = token_skip_blank(text, 0);
    size_t start = at;
    while (at < text.len && text.data[at] != ';' && text.data[at] != '(' && !token_is_blank(text.data[at])) {
        at++;
    }
    if (text.len == 0) {
        buf_append_lit(out, "NIL");
        return;
    }
    buf_append_char(out, '(');
    /* RFC 2183, section 2.8: what is not known is an attachment. */
    imapstring_append(at > start ? str_sub(text, start, at) : STR("attachment"), out);
    buf_append_char(out, ' ');
    append_parameters(str_from(text, at), false, out);
    buf_append_char(out, ')');
}

/* Content-Language: a word, a list of words, or NIL. */
static void append_language(struct str text, struct buf *out)
{
    size_t at = 0;
    unsigned count = 0;
    while (at < text.len && count < PARAMETER_MAX) {
        at = token_skip_blank(text, at);
        size_t start = at;
        while (at < text.len && text.data[at] != ',' && text.data[at] != '(' &&
               !token_is_blank(text.data[at])) {
            at++;
        }
        if (at > start) {
            buf_append_char(out, count++ == 0 ? '(' : ' ');
            imapstring_append(str_sub(text, start, at), out);
        } else {
            at++;
        }
    }
    if (count == 0) {
        buf_append_lit(out, "NIL");
    } else {
        buf_append_char(out, ')');
    }
}

static void append_field(struct str value, struct buf *out)
{
    buf_append_char(out, ' ');
    imapstring_append_field(value.len > 0, value, out);
}

/* The fields that all leaves have: parameters, id, description, encoding, octets. */
static void append_leaf_fields(const struct mime_part *part, struct buf *out)
{
    append_parameters(part->parameters, part->kind == MIME_TEXT, out);
    append_field(part->id, out);
    append_field(part->description, out);
    struct str encoding = transfer_encoding_name(part->encoding);
    buf_append_char(out, ' ');
    imapstring_append(encoding.len > 0 ? encoding : part->encoding_name, out);
    buf_append_char(out, ' ');
    buf_append_u64(out, part->body.len);
}

/* Up to where the structure of a message inside follows. */
static void append_begin(const struct mime_part *part, struct buf *out)
{
    buf_append_char(out, '(');
    if (part->kind == MIME_MULTIPART) {
        return;
    }
    imapstring_append(part->type, out);
    buf_append_char(out, ' ');
    imapstring_append(part->subtype, out);
    buf_append_char(out, ' ');
    append_leaf_fields(part, out);
    if (part->kind == MIME_TEXT) {
        buf_append_char(out, ' ');
        buf_append_u64(out, part->body_lines);
    }
}

static void append_inner_envelope(const struct mime *mime, const struct mime_part *part, struct buf *out)
{
    struct envelope envelope;
    envelope_read(mime->parts[part->first_child].header, &envelope);
    buf_append_char(out, ' ');
    envelope_append(&envelope, out);
    buf_append_char(out, ' ');
}

static void append_end(const struct mime_part *part, bool extended, struct buf *out)
{
    if (part->kind == MIME_MULTIPART) {
        buf_append_char(out, ' ');
        imapstring_append(part->subtype, out);
    } else if (part->kind == MIME_MESSAGE) {
        buf_append_char(out, ' ');
        buf_append_u64(out, part->body_lines);
    }
    if (extended) {
        if (part->kind == MIME_MULTIPART) {
            buf_append_char(out, ' ');
            append_parameters(part->parameters, false, out);
        } else {
            append_field(part->md5, out);
        }
        buf_append_char(out, ' ');
        append_disposition(part->disposition, out);
        buf_append_char(out, ' ');
        append_language(part->language, out);
        append_field(part->location, out);
    }
    buf_append_char(out, ')');
}

bool bodystructure_append(const struct mime *mime, bool extended, struct buf *out)
{
    uint32_t index = 0;
    while (buf_ok(out)) {
        const struct mime_part *part = &mime->parts[index];
        append_begin(part, out);
        if (part->kind == MIME_MESSAGE) {
            append_inner_envelope(mime, part, out);
        }
        if (part->kind == MIME_MULTIPART || part->kind == MIME_MESSAGE) {
            index = part->first_child;
            continue;
        }
        append_end(part, extended, out);
        while (part->next == MIME_NONE && part->parent != MIME_NONE) {
            part = &mime->parts[part->parent];
            append_end(part, extended, out);
        }
        if (part->next == MIME_NONE) {
            return buf_ok(out);
        }
        index = part->next;
    }
    return false;
}
