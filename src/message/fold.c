/* Text made comparable; see fold.h. */
#include "message/fold.h"

#include "message/charset.h"

#include <utf8proc.h>

enum { SEGMENT_MAX = 30, EXPANSION_MAX = 18 }; /* characters; U+FDFA becomes 18 */

/* Marks that a reader who searches leaves out. */
static bool is_diacritic(int32_t c)
{
    return (c >= 0x300 && c <= 0x36f) || (c >= 0x483 && c <= 0x487) || (c >= 0x591 && c <= 0x5c7) ||
           (c >= 0x610 && c <= 0x61a) || (c >= 0x64b && c <= 0x65f) || c == 0x670 ||
           (c >= 0x6d6 && c <= 0x6ed) || (c >= 0x1ab0 && c <= 0x1aff) || (c >= 0x1dc0 && c <= 0x1dff) ||
           (c >= 0x20d0 && c <= 0x20ff) || (c >= 0xfe20 && c <= 0xfe2f);
}

/* True if the character may change what stands before it: marks, and the later parts of a Hangul syllable. */
static bool continues(int32_t c)
{
    return (c >= 0x1160 && c <= 0x11ff) || utf8proc_get_property(c)->combining_class != 0;
}

static void flush(struct fold *fold, struct buf *out)
{
    int32_t area[SEGMENT_MAX * EXPANSION_MAX];
    utf8proc_ssize_t room = (utf8proc_ssize_t)(sizeof(area) / sizeof(area[0]));
    if (fold->len == 0) {
        return;
    }
    utf8proc_ssize_t count = utf8proc_decompose(
        (const unsigned char *)fold->pending, (utf8proc_ssize_t)fold->len, area, room,
        UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    if (count < 0 || count > room) {
        buf_append(out, fold->pending, fold->len);
        count = 0;
    }
    utf8proc_ssize_t kept = 0;
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        if (!is_diacritic(area[i])) {
            area[kept++] = area[i];
        }
    }
    if (kept > 1) {
        kept = utf8proc_normalize_utf32(area, kept, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    for (utf8proc_ssize_t i = 0; i < kept; i++) {
        charset_append_char((uint32_t)area[i], out);
    }
    fold->len = 0;
    fold->count = 0;
}

/* Copies ASCII in lower case; gives its length. */
static size_t fold_ascii(struct str s, struct buf *out)
{
    size_t len = 0;
    while (len < s.len && (unsigned char)s.data[len] < 0x80) {
        len++;
    }
    char *room = len > 0 ? buf_reserve(out, len) : NULL;
    if (room != NULL) {
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)s.data[i];
            room[i] = (char)(c | ((unsigned)(c - 'A') < 26U ? 0x20 : 0));
        }
        out->len += len;
    }
    return len;
}

bool fold_append(struct fold *fold, struct str s, struct buf *out)
{
    while (s.len > 0 && buf_ok(out)) {
        if ((unsigned char)s.data[0] < 0x80) {
            flush(fold, out);
            s = str_from(s, fold_ascii(s, out));
            continue;
        }
        int32_t character;
        utf8proc_ssize_t len =
            utf8proc_iterate((const unsigned char *)s.data, (utf8proc_ssize_t)s.len, &character);
        if (len <= 0) {
            flush(fold, out);
            buf_append_lit(out, "\xef\xbf\xbd");
            s = str_from(s, 1);
            continue;
        }
        if (fold->count == SEGMENT_MAX || !continues(character)) {
            flush(fold, out);
        }
        if (character >= 0x4e00 && character <= 0x9fff) { /* ideographs stand for themselves */
            buf_append(out, s.data, (size_t)len);
        } else if (!is_diacritic(character)) {
            memcpy(fold->pending + fold->len, s.data, (size_t)len);
            fold->len += (size_t)len;
            fold->count++;
        }
        s = str_from(s, (size_t)len);
    }
    return buf_ok(out);
}

bool fold_end(struct fold *fold, struct buf *out)
{
    flush(fold, out);
    return buf_ok(out);
}

bool fold_text(struct str utf8, struct buf *out)
{
    struct fold fold = {.len = 0};
    return fold_append(&fold, utf8, out) && fold_end(&fold, out);
}
