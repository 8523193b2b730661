/* Charsets to UTF-8; see charset.h. */
#include "message/charset.h"

#include "message/charset_private.h"

#include <errno.h>
#include <iconv.h>

/* One descriptor a charset, open from charset_preload on: a role is one thread. */
static iconv_t descriptors[CHARSET_COUNT];
static bool opened[CHARSET_COUNT];

unsigned charset_preload(void)
{
    unsigned missing = 0;
    for (int i = CHARSET_BUILT_IN; i < CHARSET_COUNT; i++) {
        if (!opened[i]) {
            descriptors[i] = iconv_open("UTF-8", charset_iconv_name(i));
            opened[i] = descriptors[i] != (iconv_t)-1;
            missing += !opened[i];
        }
    }
    return missing;
}

void charset_unload(void)
{
    for (int i = CHARSET_BUILT_IN; i < CHARSET_COUNT; i++) {
        if (opened[i]) {
            iconv_close(descriptors[i]);
            opened[i] = false;
        }
    }
}

int charset_find(struct str name)
{
    int charset = charset_lookup(name);
    return charset >= CHARSET_BUILT_IN && !opened[charset] ? CHARSET_UNKNOWN : charset;
}

bool charset_append_char(uint32_t c, struct buf *out)
{
    char area[4];
    size_t len = 0;
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        c = 0xfffd;
    }
    if (c < 0x80) {
        area[len++] = (char)c;
    } else if (c < 0x800) {
        area[len++] = (char)(0xc0 | c >> 6);
        area[len++] = (char)(0x80 | (c & 0x3f));
    } else {
        if (c < 0x10000) {
            area[len++] = (char)(0xe0 | c >> 12);
        } else {
            area[len++] = (char)(0xf0 | c >> 18);
            area[len++] = (char)(0x80 | (c >> 12 & 0x3f));
        }
        area[len++] = (char)(0x80 | (c >> 6 & 0x3f));
        area[len++] = (char)(0x80 | (c & 0x3f));
    }
    return buf_append(out, area, len);
}

/* The length of the ASCII bytes at the beginning. */
static size_t ascii_length(struct str s)
{
    size_t i = 0;
    uint64_t word;
    while (s.len - i >= sizeof(word)) {
        memcpy(&word, s.data + i, sizeof(word));
        if ((word & 0x8080808080808080U) != 0) {
            break;
        }
        i += sizeof(word);
    }
    while (i < s.len && (unsigned char)s.data[i] < 0x80) {
        i++;
    }
    return i;
}

/* The length of the character at the beginning; 0 if it is none, or if more bytes could make it one (*partial). */
static size_t utf8_length(struct str s, bool *partial)
{
    unsigned char c = (unsigned char)s.data[0];
    size_t need = c < 0x80                ? 1
                  : c >= 0xc2 && c < 0xe0 ? 2
                  : c >= 0xe0 && c < 0xf0 ? 3
                  : c >= 0xf0 && c < 0xf5 ? 4
                                          : 0;
    *partial = false;
    if (need == 0 || (s.len >= need && !str_is_utf8(str_sub(s, 0, need)))) {
        return 0;
    }
    if (s.len >= need) {
        return need;
    }
    char padded[4] = {0};
    memcpy(padded, s.data, s.len);
    for (size_t i = s.len; i < need;
         i++) { /* a second byte out of range shows with either end of the others' range */
        padded[i] = (char)0x80;
    }
    *partial = str_is_utf8(str_make(padded, need));
    if (!*partial) {
        for (size_t i = s.len; i < need; i++) {
            padded[i] = (char)0xbf;
        }
        *partial = str_is_utf8(str_make(padded, need));
    }
    return 0;
}

/* Appends the well-formed part, U+FFFD for bytes that are not; gives how many bytes at the end are unfinished. */
static size_t append_utf8(struct str s, struct buf *out)
{
    while (s.len > 0) {
        size_t good = ascii_length(s);
        bool partial = false;
        while (good < s.len) {
            size_t len = utf8_length(str_from(s, good), &partial);
            if (len == 0) {
                break;
            }
            good += len;
        }
        buf_append_str(out, str_sub(s, 0, good));
        s = str_from(s, good);
        if (partial) {
            return s.len;
        }
        if (s.len > 0) {
            buf_append_lit(out, "\xef\xbf\xbd");
            s = str_from(s, 1);
        }
    }
    return 0;
}

static void append_ascii(struct str s, struct buf *out)
{
    while (s.len > 0) {
        size_t good = ascii_length(s);
        buf_append_str(out, str_sub(s, 0, good));
        s = str_from(s, good);
        if (s.len >
            0) { /* one for a run: of a charset with several bytes a character nothing can be counted */
            buf_append_lit(out, "\xef\xbf\xbd");
            while (s.len > 0 && (unsigned char)s.data[0] >= 0x80) {
                s = str_from(s, 1);
            }
        }
    }
}

/* ISO-8859-1 too: the control characters that it has at 0x80 to 0x9f are never meant. */
static void append_windows_1252(struct str s, struct buf *out)
{
    static const uint16_t high[32] = {0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                      0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0xfffd, 0x017d, 0xfffd,
                                      0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                      0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0x017e, 0x0178};
    while (s.len > 0) {
        size_t good = ascii_length(s);
        buf_append_str(out, str_sub(s, 0, good));
        s = str_from(s, good);
        if (s.len > 0) {
            unsigned char c = (unsigned char)s.data[0];
            charset_append_char(c < 0xa0 ? high[c - 0x80] : c, out);
            s = str_from(s, 1);
        }
    }
}

/* Converts through iconv; gives how many bytes at the end are unfinished. */
static size_t append_iconv(iconv_t descriptor, struct str s, struct buf *out)
{
    char *in = (char *)(uintptr_t)s.data; /* iconv does not write to it */
    size_t left = s.len;
    while (left > 0) {
        char area[1024];
        char *to = area;
        size_t room = sizeof(area);
        size_t result = iconv(descriptor, &in, &left, &to, &room);
        int reason = result == (size_t)-1 ? errno : 0;
        buf_append(out, area, sizeof(area) - room);
        if (reason == EINVAL) {
            break;
        }
        if (reason == EILSEQ) {
            buf_append_lit(out, "\xef\xbf\xbd");
            in++;
            left--;
        } else if (reason != 0 && reason != E2BIG) {
            break;
        }
        if (!buf_ok(out)) {
            return 0;
        }
    }
    return left;
}

static size_t append_some(int charset, struct str s, struct buf *out)
{
    switch (charset) {
    case CHARSET_UTF8: return append_utf8(s, out);
    case CHARSET_WINDOWS_1252: append_windows_1252(s, out); return 0;
    case CHARSET_US_ASCII: append_ascii(s, out); return 0;
    default: break;
    }
    if (charset < 0) {
        append_ascii(s, out);
        return 0;
    }
    return append_iconv(descriptors[charset], s, out);
}

bool charset_stream_append(struct charset_stream *stream, struct str bytes, struct buf *out)
{
    if (!stream->begun && stream->charset >= CHARSET_BUILT_IN) {
        iconv(descriptors[stream->charset], NULL, NULL, NULL, NULL);
    }
    stream->begun = true;
    while (stream->carry_len > 0 && bytes.len > 0) {
        stream->carry[stream->carry_len++] = (unsigned char)bytes.data[0];
        bytes = str_from(bytes, 1);
        struct str carried = str_make(stream->carry, stream->carry_len);
        size_t left = append_some(stream->charset, carried, out);
        if (left == CHARSET_CARRY_MAX) { /* no character is as long */
            buf_append_lit(out, "\xef\xbf\xbd");
            left = 0;
        }
        memmove(stream->carry, stream->carry + (stream->carry_len - left), left);
        stream->carry_len = left;
    }
    size_t left = bytes.len > 0 ? append_some(stream->charset, bytes, out) : 0;
    if (left > 0 && stream->carry_len == 0) {
        left = left < CHARSET_CARRY_MAX - 1 ? left : CHARSET_CARRY_MAX - 1;
        memcpy(stream->carry, bytes.data + bytes.len - left, left);
        stream->carry_len = left;
    }
    return buf_ok(out);
}

bool charset_stream_end(struct charset_stream *stream, struct buf *out)
{
    if (stream->carry_len > 0) {
        buf_append_lit(out, "\xef\xbf\xbd");
        stream->carry_len = 0;
    }
    stream->begun = false;
    return buf_ok(out);
}

bool charset_append_utf8(struct str name, struct str bytes, struct buf *out)
{
    struct charset_stream stream = {.charset = charset_find(name)};
    return charset_stream_append(&stream, bytes, out) && charset_stream_end(&stream, out);
}

bool charset_append_guess(struct str bytes, struct buf *out)
{
    if (str_is_utf8(bytes)) {
        return buf_append_str(out, bytes);
    }
    append_windows_1252(bytes, out);
    return buf_ok(out);
}
