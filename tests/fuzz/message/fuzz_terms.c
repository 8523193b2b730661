/*
 * Terms of a full-text index, of a message that is anything: each part of its folded text has only terms that the message has. Else
 * a search that is narrowed by them would miss it.
 */
#include "message/fold.h"
#include "message/mailtext.h"
#include "message/terms.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 22, NEEDLES = 16 };

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool take(void *context, struct str text)
{
    struct buf *all = context;
    return buf_append_str(all, text);
}

/* The text of the body, folded as a search does. */
static void read_text(struct str message, struct buf *folded)
{
    struct mime mime = {.parts = NULL};
    struct buf text = buf_make(TEXT_MAX);
    struct mailtext_sink sink = {.take = take, .context = &text};
    if (mime_parse(&mime, message) && mailtext_header(mime.parts[0].header, &sink) == MAILTEXT_DONE &&
        mailtext_body(&mime, &sink) == MAILTEXT_DONE) {
        must(fold_text(buf_str(&text), folded));
    }
    mime_free(&mime);
    buf_free(&text);
}

/* " term " is in " term term term ". */
static bool has_term(struct str terms, struct str term)
{
    for (size_t at = 0; at < terms.len;) {
        size_t end = str_find(terms, at, ' ');
        must(end != SIZE_MAX && end > at && end - at < TERM_SIZE_MAX);
        if (str_equal(str_sub(terms, at, end), term)) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

static bool is_boundary(struct str text, size_t at)
{
    return at == text.len || ((unsigned char)text.data[at] & 0xc0) != 0x80;
}

static void check_needle(struct str needle, struct str terms, size_t most)
{
    struct buf wanted = buf_make(TEXT_MAX);
    must(terms_of_needle(needle, most, &wanted));
    struct str rest = buf_str(&wanted);
    size_t count = 0;
    while (rest.len > 0) {
        size_t end = str_find(rest, 0, ' ');
        must(end != SIZE_MAX && has_term(terms, str_sub(rest, 0, end)));
        rest = str_from(rest, end + 1);
        count++;
    }
    must(count <= most);
    buf_free(&wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf folded = buf_make(TEXT_MAX);
    struct buf terms = buf_make(TEXT_MAX);
    if (size < 2) {
        return 0;
    }
    size_t most = 1U + data[0] % 20;
    struct str message = str_make(data + 1, size - 1);
    read_text(message, &folded);
    if (terms_of_message(message, &terms)) {
        struct str text = buf_str(&folded);
        for (size_t i = 0; i < NEEDLES && text.len > 0; i++) {
            size_t from = (size_t)data[i * 7 % size] * 131 * (i + 1) % text.len;
            size_t to = from + 1 + (size_t)data[i * 13 % size] % 40;
            to = to < text.len ? to : text.len;
            while (!is_boundary(text, from)) {
                from--;
            }
            while (!is_boundary(text, to)) {
                to++;
            }
            check_needle(str_sub(text, from, to), buf_str(&terms), most);
        }
    }
    buf_free(&terms);
    buf_free(&folded);
    return 0;
}
