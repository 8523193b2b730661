/*
 * Base64, ids, numbers, escaping. Oracles: what is decoded encodes to the same text; what is encoded decodes to the same octets;
 * ids and numbers survive the way through text; escaped text is UTF-8 without control characters, within its limit.
 */
#include "base/codec.h"
#include "base/ident.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096) {
        return 0;
    }
    struct str in = str_make(data + 1, size - 1);
    struct buf one = buf_make(1 << 16);
    struct buf two = buf_make(1 << 16);
    if (base64_decode(in, &one)) {
        must(base64_encode(buf_str(&one), &two) && str_equal(buf_str(&two), in));
    }
    buf_clear(&one);
    buf_clear(&two);
    must(base64_encode(in, &one) && base64_decode(buf_str(&one), &two) && str_equal(buf_str(&two), in));

    struct ident id;
    char text[IDENT_TEXT];
    if (ident_parse(in, &id)) {
        ident_format(&id, text);
        must(str_equal_nocase(in, str_make(text, IDENT_TEXT)));
    }
    uint64_t number;
    if (str_to_u64(in, UINT64_MAX, &number)) {
        uint64_t again;
        buf_clear(&one);
        buf_append_u64(&one, number);
        must(str_to_u64(buf_str(&one), UINT64_MAX, &again) && again == number);
    }
    buf_clear(&one);
    must(buf_append_escaped(&one, in, data[0]));
    must(one.len <= data[0] && str_is_utf8(buf_str(&one)));
    for (size_t i = 0; i < one.len; i++) {
        must((unsigned char)one.data[i] >= 0x20 && one.data[i] != 0x7f);
    }
    buf_free(&one);
    buf_free(&two);
    return 0;
}
