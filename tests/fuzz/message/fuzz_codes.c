/* Codes in any text: found without reading outside of it, the same however often, and always explained. */
#include "message/codes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codes_found found;
    struct str text = str_make(data, size);
    if (!codes_find(text, &found)) {
        return 0;
    }
    if ((found.has_enhanced && found.class != 2 && found.class != 4 && found.class != 5) ||
        found.subject > 999 || found.detail > 999 ||
        (found.reply != 0 && (found.reply < 200 || found.reply > 599))) {
        abort();
    }
    struct buf words = buf_make(4096);
    if (!codes_append_words(&found, &words) || words.len == 0) {
        abort();
    }
    buf_free(&words);
    return 0;
}
