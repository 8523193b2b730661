/* Local parts that look alike. Oracles: the skeleton of a skeleton is itself, it is UTF-8, and case changes nothing of ASCII. */
#include "message/lookalike.h"

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
    struct str local = str_make(data, size);
    const char *fault = lookalike_fault(local);
    struct buf once = buf_make(1 << 16);
    struct buf twice = buf_make(1 << 16);
    must(fault != NULL || str_is_utf8(local));
    if (size <= 400 && lookalike_skeleton(local, &once)) {
        must(str_is_utf8(buf_str(&once)));
        if (str_is_ascii(local)) {
            must(once.len == local.len && str_equal_nocase(local, buf_str(&once)));
        } else if (lookalike_skeleton(buf_str(&once), &twice)) {
            /* Letters that became Latin may compose or fold once more, but then it ends. */
            struct buf thrice = buf_make(1 << 16);
            must(!lookalike_skeleton(buf_str(&twice), &thrice) ||
                 str_equal(buf_str(&twice), buf_str(&thrice)));
            buf_free(&thrice);
        }
    }
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
