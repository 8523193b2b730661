/* The readable text of a message; see mailtext.h. */
#include "message/mailtext.h"

#include "message/charset.h"
#include "message/encoded_word.h"
#include "message/header.h"
#include "message/html.h"
#include "message/token.h"

enum {
    CHUNK_FIRST = 512, /* a preview seldom needs more */
    CHUNK_MAX = 8192,
    TEXT_LIMIT = CHUNK_MAX * 16, /* of one decoded chunk */
    PREVIEW_LOOKED_MAX = 65536   /* octets of a body in which a preview is looked for */
};

/* From the encoded body to text, a chunk at a time. */
struct pipe {
    struct transfer transfer;
    struct charset_stream charset;
    struct html html;
    bool is_html;
    size_t chunk;
    struct buf raw;  /* transfer decoded */
    struct buf utf8; /* charset decoded */
    struct buf text; /* without tags */
};

static void pipe_begin(struct pipe *pipe, const struct mime_part *part)
{
    *pipe = (struct pipe){.transfer = transfer_begin(part->encoding, part->body),
                          .charset = {.charset = charset_find(mime_charset(part))},
                          .is_html = str_equal_nocase(part->subtype, STR("html")),
                          .chunk = CHUNK_FIRST,
                          .raw = buf_make(CHUNK_MAX),
                          .utf8 = buf_make(TEXT_LIMIT),
                          .text = buf_make(TEXT_LIMIT * 2)};
}

static void pipe_end(struct pipe *pipe)
{
    buf_free(&pipe->raw);
    buf_free(&pipe->utf8);
    buf_free(&pipe->text);
}

/* The next encoded bytes, decoded; a slice of the body where nothing is to decode. */
static bool pipe_read(struct pipe *pipe, struct str *raw)
{
    struct transfer *t = &pipe->transfer;
    if (transfer_is_identity(t->encoding)) {
        *raw = str_sub(t->body, t->at, t->at + pipe->chunk);
        t->at += raw->len;
        return true;
    }
    buf_clear(&pipe->raw);
    char *room = buf_reserve(&pipe->raw, pipe->chunk);
    if (room == NULL) {
        return false;
    }
    *raw = str_make(room, transfer_next(t, room, pipe->chunk));
    return true;
}

/* The next piece of text; `last` is set when it was the last one. False without memory. */
static bool pipe_next(struct pipe *pipe, struct str *text, bool *last)
{
    struct str raw;
    if (!pipe_read(pipe, &raw)) {
        return false;
    }
    *last = raw.len == 0;
    pipe->chunk = pipe->chunk < CHUNK_MAX ? pipe->chunk * 2 : CHUNK_MAX;
    buf_clear(&pipe->utf8);
    buf_clear(&pipe->text);
    if (*last) {
        charset_stream_end(&pipe->charset, &pipe->utf8);
    } else {
        charset_stream_append(&pipe->charset, raw, &pipe->utf8);
    }
    *text = buf_str(&pipe->utf8);
    if (pipe->is_html) {
        html_append(&pipe->html, *text, &pipe->text);
        if (*last) {
            html_end(&pipe->html, &pipe->text);
        }
        *text = buf_str(&pipe->text);
    }
    return buf_ok(&pipe->utf8) && buf_ok(&pipe->text);
}

enum mailtext_result mailtext_part(const struct mime_part *part, const struct mailtext_sink *sink)
{
    enum mailtext_result result = MAILTEXT_DONE;
    struct pipe pipe;
    struct str text;
    bool last = part->kind != MIME_TEXT;
    pipe_begin(&pipe, part);
    while (!last && result == MAILTEXT_DONE) {
        if (!pipe_next(&pipe, &text, &last)) {
            result = MAILTEXT_NO_MEMORY;
        } else if (text.len > 0 && !sink->take(sink->context, text)) {
            result = MAILTEXT_STOPPED;
        }
    }
    pipe_end(&pipe);
    return result;
}

enum mailtext_result mailtext_header(struct str header, const struct mailtext_sink *sink)
{
    enum mailtext_result result = MAILTEXT_DONE;
    struct header_iterator iterator = {.message = header};
    struct header_field field;
    struct buf line = buf_make(SIZE_MAX);
    while (result == MAILTEXT_DONE && header_next(&iterator, &field)) {
        buf_clear(&line);
        charset_append_guess(field.name, &line);
        buf_append_lit(&line, ": ");
        encoded_word_append(token_trim(field.value), &line);
        buf_append_char(&line, '\n');
        if (!buf_ok(&line)) {
            result = MAILTEXT_NO_MEMORY;
        } else if (!sink->take(sink->context, buf_str(&line))) {
            result = MAILTEXT_STOPPED;
        }
    }
    buf_free(&line);
    return result;
}

enum mailtext_result mailtext_body(const struct mime *mime, const struct mailtext_sink *sink)
{
    enum mailtext_result result = MAILTEXT_DONE;
    for (uint32_t i = 0; i < mime->count && result == MAILTEXT_DONE; i++) {
        const struct mime_part *part = &mime->parts[i];
        if (part->parent != MIME_NONE && mime->parts[part->parent].kind == MIME_MESSAGE) {
            result = mailtext_header(part->header, sink);
        }
        if (result == MAILTEXT_DONE && part->kind == MIME_TEXT) {
            result = mailtext_part(part, sink);
            if (result == MAILTEXT_DONE && !sink->take(sink->context, STR("\n"))) {
                result = MAILTEXT_STOPPED;
            }
        }
    }
    return result;
}

/* What a preview has so far. */
struct preview {
    struct buf *out;
    unsigned count;
    bool with_quotes;
    bool line_begins;
    bool in_quote;
    bool blank; /* one is due before the next character */
};

/* Length of a character's UTF-8 form; *nothing for those without width, *blank for spaces of all kinds. */
static size_t character_at(struct str text, bool *nothing, bool *blank)
{
    const unsigned char *p = (const unsigned char *)text.data;
    size_t len = p[0] < 0xc0 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    len = len < text.len ? len : text.len;
    *blank = p[0] <= ' ';
    *nothing = p[0] == 0x7f;
    if (len == 2) { /* U+0080 to U+00A0, U+00AD, U+034F */
        *blank = p[0] == 0xc2 && p[1] == 0xa0;
        *nothing = (p[0] == 0xc2 && (p[1] < 0xa0 || p[1] == 0xad)) || (p[0] == 0xcd && p[1] == 0x8f);
    } else if (len == 3) { /* U+2000 to U+200F, U+2028 to U+202F, U+2060 to U+206F, U+3000, U+FEFF */
        *blank = (p[0] == 0xe2 && p[1] == 0x80 &&
                  (p[2] <= 0x8a || (p[2] >= 0xa8 && p[2] <= 0xa9) || p[2] == 0xaf)) ||
                 (p[0] == 0xe3 && p[1] == 0x80 && p[2] == 0x80);
        *nothing = (p[0] == 0xe2 && p[1] == 0x80 &&
                    ((p[2] >= 0x8b && p[2] <= 0x8f) || (p[2] >= 0xaa && p[2] <= 0xae))) ||
                   (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa0 && p[2] <= 0xaf) ||
                   (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf);
    }
    return len;
}

/* The length of the ASCII without blanks at the beginning. */
static size_t plain_length(struct str text)
{
    size_t len = 0;
    while (len < text.len && text.data[len] > ' ' && text.data[len] < 0x7f) {
        len++;
    }
    return len;
}

/* Characters that can be seen; `plain` if each is a byte, else it is one. */
static void preview_append(struct preview *preview, struct str text, bool plain)
{
    if (preview->blank && preview->count > 0) {
        buf_append_char(preview->out, ' ');
        preview->count++;
    }
    preview->blank = false;
    if (preview->count < MAILTEXT_PREVIEW_MAX) {
        text = plain ? str_sub(text, 0, MAILTEXT_PREVIEW_MAX - preview->count) : text;
        buf_append_str(preview->out, text);
        preview->count += plain ? (unsigned)text.len : 1;
    }
}

static bool take_preview(void *context, struct str text)
{
    struct preview *preview = context;
    while (text.len > 0 && preview->count < MAILTEXT_PREVIEW_MAX && buf_ok(preview->out)) {
        if (preview->in_quote) {
            size_t newline = str_find(text, 0, '\n');
            text = str_from(text, newline == SIZE_MAX ? text.len : newline);
            preview->in_quote = newline == SIZE_MAX;
            continue;
        }
        bool nothing = false;
        bool blank = false;
        size_t plain = plain_length(text);
        size_t len = plain > 0 ? plain : character_at(text, &nothing, &blank);
        if (blank) {
            preview->line_begins = preview->line_begins || text.data[0] == '\n';
            preview->blank = true;
        } else if (!nothing) {
            preview->in_quote = preview->line_begins && text.data[0] == '>' && !preview->with_quotes;
            preview->line_begins = false;
            if (!preview->in_quote) {
                preview_append(preview, str_sub(text, 0, len), plain > 0);
            }
        }
        text = str_from(text, len);
    }
    return preview->count < MAILTEXT_PREVIEW_MAX && buf_ok(preview->out);
}

static bool is_attachment(const struct mime_part *part)
{
    return str_starts_nocase(part->disposition, STR("attachment"));
}

/* The first text to read: plain before HTML, nothing that is attached. */
static const struct mime_part *preview_part(const struct mime *mime)
{
    const struct mime_part *html = NULL;
    for (uint32_t i = 0; i < mime->count; i++) {
        const struct mime_part *part = &mime->parts[i];
        if (part->kind != MIME_TEXT || is_attachment(part) || part->body.len == 0) {
            continue;
        }
        if (str_equal_nocase(part->subtype, STR("plain"))) {
            return part;
        }
        if (html == NULL && str_equal_nocase(part->subtype, STR("html"))) {
            html = part;
        }
    }
    return html;
}

bool mailtext_append_preview(const struct mime *mime, struct buf *out)
{
    const struct mime_part *part = preview_part(mime);
    struct mime_part beginning = {.kind = MIME_LEAF};
    if (part != NULL) { /* at delivery nobody waits for megabytes of blanks or tags */
        beginning = *part;
        beginning.body = str_sub(part->body, 0, PREVIEW_LOOKED_MAX);
    }
    for (unsigned pass = 0; pass < 2 && part != NULL; pass++) {
        struct preview preview = {.out = out, .line_begins = true, .with_quotes = pass == 1};
        struct mailtext_sink sink = {.take = take_preview, .context = &preview};
        if (mailtext_part(&beginning, &sink) == MAILTEXT_NO_MEMORY) {
            return false;
        }
        if (preview.count > 0) {
            break;
        }
    }
    return buf_ok(out);
}
