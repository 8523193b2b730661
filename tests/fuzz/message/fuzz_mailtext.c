/*
 * A body in any transfer encoding and charset, plain or HTML: decoded in pieces of any size it is the same, it is UTF-8, it
 * folds to UTF-8, and a preview is no longer than it may be.
 */
#include "base/codec.h"
#include "message/charset.h"
#include "message/fold.h"
#include "message/html.h"
#include "message/mailtext.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_transfer(enum transfer_encoding encoding, struct str body, size_t room, struct buf *whole)
{
    struct transfer transfer = transfer_begin(encoding, body);
    struct buf pieces = buf_make(1 << 22);
    char area[260];
    size_t len;
    must(transfer_append(encoding, body, whole));
    while ((len = transfer_next(&transfer, area, room)) > 0) {
        must(len <= room);
        buf_append(&pieces, area, len);
    }
    must(str_equal(buf_str(&pieces), buf_str(whole)) && transfer_size(encoding, body) == whole->len);
    buf_clear(&pieces);
    must(base64_encode(buf_str(whole), &pieces));
    must(transfer_size(TRANSFER_BASE64, buf_str(&pieces)) == whole->len);
    buf_free(&pieces);
}

static void check_charset(int charset, struct str bytes, size_t step, struct buf *whole)
{
    struct charset_stream one = {.charset = charset};
    struct charset_stream many = {.charset = charset};
    struct buf pieces = buf_make(1 << 22);
    must(charset_stream_append(&one, bytes, whole) && charset_stream_end(&one, whole));
    for (size_t at = 0; at < bytes.len; at += step) {
        must(charset_stream_append(&many, str_sub(bytes, at, at + step), &pieces));
    }
    must(charset_stream_end(&many, &pieces));
    must(str_is_utf8(buf_str(whole)) && str_is_utf8(buf_str(&pieces)));
    if (charset == charset_find(STR("utf-8")) || charset == charset_find(STR("windows-1252"))) {
        must(str_equal(buf_str(whole), buf_str(&pieces)));
    }
    buf_free(&pieces);
}

static void check_html(struct str text, size_t step)
{
    struct html one = {.state = HTML_TEXT};
    struct html many = {.state = HTML_TEXT};
    struct buf whole = buf_make(1 << 22);
    struct buf pieces = buf_make(1 << 22);
    must(html_append(&one, text, &whole) && html_end(&one, &whole));
    for (size_t at = 0; at < text.len; at += step) {
        must(html_append(&many, str_sub(text, at, at + step), &pieces));
    }
    must(html_end(&many, &pieces) && str_equal(buf_str(&whole), buf_str(&pieces)) &&
         str_is_utf8(buf_str(&whole)));
    buf_free(&whole);
    buf_free(&pieces);
}

static bool sink(void *context, struct str text)
{
    struct buf *folded = context;
    must(str_is_utf8(text));
    buf_clear(folded);
    must(fold_text(text, folded) && str_is_utf8(buf_str(folded)));
    return true;
}

static void check_message(struct str message)
{
    struct mime mime = {.count = 0};
    struct buf folded = buf_make(1 << 22);
    struct buf preview = buf_make(MAILTEXT_PREVIEW_MAX * 4);
    struct mailtext_sink into = {.take = sink, .context = &folded};
    must(mime_parse(&mime, message));
    must(mailtext_body(&mime, &into) == MAILTEXT_DONE &&
         mailtext_header(mime.parts[0].header, &into) == MAILTEXT_DONE);
    must(mailtext_append_preview(&mime, &preview) && str_is_utf8(buf_str(&preview)));
    buf_free(&folded);
    buf_free(&preview);
    mime_free(&mime);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const charsets[] = {
        "utf-8",  "iso-8859-1",  "iso-2022-jp", "utf-7",   "gb18030", "big5",        "shift_jis", "euc-kr",
        "utf-16", "iso-2022-kr", "koi8-r",      "unknown", "tis-620", "iso-2022-cn", "utf-16le",  "euc-jp"};
    static bool ready;
    if (!ready) {
        ready = true;
        must(charset_preload() == 0);
    }
    if (size < 3 || size > 2048) { /* more is only slower */
        return 0;
    }
    struct str body = str_make(data + 3, size - 3);
    struct buf raw = buf_make(1 << 22);
    struct buf text = buf_make(1 << 22);
    check_transfer((enum transfer_encoding)(data[0] % (TRANSFER_UNKNOWN + 1)), body,
                   TRANSFER_ROOM_MIN + data[1], &raw);
    check_charset(charset_find(str_of(charsets[data[2] % 16])), buf_str(&raw), (size_t)data[1] + 1, &text);
    check_html(buf_str(&text), (size_t)data[1] + 1);
    check_message(body);
    buf_free(&raw);
    buf_free(&text);
    return 0;
}
