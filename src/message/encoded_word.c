/* Encoded words; see encoded_word.h. */
#include "message/encoded_word.h"

#include "message/charset.h"
#include "message/token.h"
#include "message/transfer.h"

struct word {
    struct str charset;
    struct str text;
    bool base64;
    size_t end; /* of the value behind it */
};

/* RFC 2047, section 2, allows 75 bytes a word; mail has longer ones. */
enum { WORD_MAX = 4096, WORD_HEAD_MAX = 80 };

/* The offset of the first "?=" at or after `from`. `known` is the one found before, so that no byte is searched twice. */
static size_t find_end(struct str value, size_t from, size_t *known)
{
    if (*known >= from) {
        return *known;
    }
    size_t at = from;
    while ((at = str_find(value, at, '?')) != SIZE_MAX &&
           (at + 1 >= value.len || value.data[at + 1] != '=')) {
        at++;
    }
    *known = at;
    return at;
}

/* Reads "=?charset?encoding?text?=" at `at`. */
static bool read_word(struct str value, size_t at, size_t *known_end, struct word *word)
{
    struct str head = str_sub(value, at, at + WORD_HEAD_MAX);
    size_t first = head.len > 2 && head.data[1] == '?' ? str_find(head, 2, '?') : SIZE_MAX;
    if (first == SIZE_MAX || first == 2 || first + 2 >= head.len || head.data[first + 2] != '?') {
        return false;
    }
    char encoding = ascii_lower(head.data[first + 1]);
    struct str charset = str_sub(head, 2, first);
    size_t star = str_find(charset, 0, '*'); /* RFC 2231, section 5: a language */
    charset = str_sub(charset, 0, star == SIZE_MAX ? charset.len : star);
    for (size_t i = 0; i < charset.len; i++) {
        if (token_is_blank(charset.data[i]) || charset.data[i] == '=') {
            return false;
        }
    }
    if (encoding != 'b' && encoding != 'q') {
        return false;
    }
    size_t start = at + first + 3;
    size_t end = find_end(value, start, known_end);
    if (end == SIZE_MAX || end - start > WORD_MAX) {
        return false;
    }
    word->charset = charset;
    word->text = str_sub(value, start, end);
    word->base64 = encoding == 'b';
    word->end = end + 2;
    return true;
}

/* The bytes of the word; blanks of a fold inside it belong to nobody. */
static void append_bytes(const struct word *word, struct buf *bytes)
{
    struct str text = word->text;
    if (word->base64) {
        transfer_append(TRANSFER_BASE64, text, bytes);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        int high = c == '=' && text.len - i > 2 ? ascii_hex_value(text.data[i + 1]) : -1;
        int low = high >= 0 ? ascii_hex_value(text.data[i + 2]) : -1;
        if (low >= 0) {
            buf_append_char(bytes, (char)(high << 4 | low));
            i += 2;
        } else if (c == '\r' || c == '\n') {
            while (i + 1 < text.len && token_is_blank(text.data[i + 1])) {
                i++;
            }
        } else {
            buf_append_char(bytes, c == '_' ? ' ' : c);
        }
    }
}

/* Text that came in: without NULs and line breaks, which a decoded word could have too. */
static void append_clean(struct str text, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\r' || text.data[i] == '\n' || text.data[i] == '\0') {
            buf_append_str(out, str_sub(text, from, i));
            from = i + 1;
        }
    }
    buf_append_str(out, str_from(text, from));
}

/* The decoded bytes of words in one charset. */
static void flush(struct str charset, struct buf *bytes, struct buf *out)
{
    if (bytes->len == 0) {
        return;
    }
    struct buf text = buf_make(bytes->len * 4 + 16);
    charset_append_utf8(charset, buf_str(bytes), &text);
    append_clean(buf_str(&text), out);
    out->failed = out->failed || text.failed || bytes->failed;
    buf_free(&text);
    buf_clear(bytes);
}

static void append_plain(struct str text, struct buf *out)
{
    if (str_is_ascii(text)) {
        append_clean(text, out);
        return;
    }
    struct buf guessed = buf_make(text.len * 3);
    charset_append_guess(text, &guessed);
    append_clean(buf_str(&guessed), out);
    out->failed = out->failed || guessed.failed;
    buf_free(&guessed);
}

static bool is_blank_only(struct str text)
{
    return token_trim(text).len == 0;
}

bool encoded_word_append(struct str value, struct buf *out)
{
    struct buf bytes = buf_make(value.len + 4);
    struct str charset = STR_EMPTY;
    bool after_word = false;
    size_t from = 0;
    size_t at = 0;
    size_t known_end = 0; /* no word ends at the value's first byte */
    while ((at = str_find(value, at, '=')) != SIZE_MAX) {
        struct word word;
        if (!read_word(value, at, &known_end, &word)) {
            at++;
            continue;
        }
        struct str between = str_sub(value, from, at);
        bool joins = after_word && is_blank_only(between);
        if (!joins || !str_equal_nocase(charset, word.charset)) {
            flush(charset, &bytes, out);
        }
        if (!joins) {
            append_plain(between, out);
        }
        charset = word.charset;
        append_bytes(&word, &bytes);
        after_word = true;
        from = at = word.end;
    }
    flush(charset, &bytes, out);
    out->failed = out->failed || bytes.failed;
    append_plain(str_from(value, from), out);
    buf_free(&bytes);
    return buf_ok(out);
}
