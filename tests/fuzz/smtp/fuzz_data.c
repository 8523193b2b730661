/*
 * The reader of message data at every split. The first byte says whether bare line ends are repaired and how large a message may
 * be. Oracles: result, body and what is left do not depend on the split; the end is CRLF.CRLF; what is kept is clean.
 */
#include "smtp/data.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct outcome {
    struct data_reader reader;
    struct buf body;
    size_t used;
};

static void read_by(struct outcome *o, struct str input, uint8_t flags, size_t step)
{
    *o = (struct outcome){.reader = {.repair = (flags & 1) != 0},
                          .body = buf_make((flags & 2) != 0 ? 40 : 1 << 20)};
    while (o->used < input.len && !o->reader.over) {
        struct str part = str_sub(input, o->used, o->used + step);
        size_t before = part.len;
        data_read(&o->reader, &part, &o->body);
        o->used += before - part.len;
        must(part.len == 0 || o->reader.over);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 5000) {
        return 0;
    }
    struct str input = str_make(data + 1, size - 1);
    struct outcome whole;
    read_by(&whole, input, data[0], SIZE_MAX / 2);
    must(whole.reader.octets == whole.used);
    struct str seen = str_sub(input, 0, whole.used);
    must(!whole.reader.over || str_ends(seen, STR("\r\n.\r\n")) || str_equal(seen, STR(".\r\n")));
    if (whole.reader.fault == DATA_GOOD && whole.reader.over) {
        must(data_check(buf_str(&whole.body)) == DATA_GOOD);
    }
    static const size_t steps[] = {1, 2, 3, 5, 17};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct outcome parts;
        read_by(&parts, input, data[0], steps[i]);
        must(parts.used == whole.used && parts.reader.over == whole.reader.over);
        /* Of several faults any may be told, but at the end that there is one. */
        must((parts.reader.fault == DATA_GOOD) == (whole.reader.fault == DATA_GOOD) || !whole.reader.over);
        if (whole.reader.over && whole.reader.fault == DATA_GOOD) {
            must(str_equal(buf_str(&parts.body), buf_str(&whole.body)));
        }
        buf_free(&parts.body);
    }
    buf_free(&whole.body);
    return 0;
}
