/* xtext and ORCPT: what decodes encodes again to something that decodes to the same. */
#include "message/xtext.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void round_trip(struct str text)
{
    struct buf decoded = buf_make(1 << 20);
    struct buf encoded = buf_make(1 << 20);
    struct buf again = buf_make(1 << 20);
    must(xtext_valid(text) == xtext_decode(text, &decoded));
    must(xtext_encode(buf_str(&decoded), &encoded) && xtext_valid(buf_str(&encoded)));
    must(xtext_decode(buf_str(&encoded), &again) && str_equal(buf_str(&again), buf_str(&decoded)));
    buf_clear(&decoded);
    buf_clear(&encoded);
    buf_clear(&again);
    if (xtext_utf8_decode(text, &decoded)) {
        must(str_is_utf8(buf_str(&decoded)));
        must(xtext_utf8_encode(buf_str(&decoded), &encoded) && str_is_ascii(buf_str(&encoded)));
        must(xtext_utf8_decode(buf_str(&encoded), &again) && str_equal(buf_str(&again), buf_str(&decoded)));
    }
    buf_free(&decoded);
    buf_free(&encoded);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    struct str type;
    struct str address;
    round_trip(text);
    if (xtext_orcpt(text, &type, &address)) {
        for (size_t i = 0; i < size; i++) {
            must((unsigned char)text.data[i] > ' ' &&
                 text.data[i] != 0x7f); /* it goes into a command as it is */
        }
        round_trip(address);
    }
    return 0;
}
