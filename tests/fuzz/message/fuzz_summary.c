/* A stored summary that is anything: what is taken for one has its slices inside, and texts that break no reply. */
#include "message/summary.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Reads a list as a client does, and finds its end nowhere but at the text's. */
static void check_list(struct str text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        must(c != '\r' && c != '\n' && c != '\0');
        if (c == '"') {
            for (i++; text.data[i] != '"'; i++) {
                i += text.data[i] == '\\';
                must(i + 1 < text.len && text.data[i] != '\r' && text.data[i] != '\n');
            }
        } else if (c == '{') {
            size_t len = 0;
            for (i++; text.data[i] != '}'; i++) {
                len = len * 10 + (size_t)(text.data[i] - '0');
            }
            must(text.data[i + 1] == '\r' && text.data[i + 2] == '\n');
            i += 2 + len;
            must(i < text.len);
        }
        depth += c == '(';
        depth -= c == ')';
        must((depth == 0) == (i + 1 == text.len));
    }
    must(text.len > 0 && depth == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct summary summary;
    struct str encoded = str_make(data, size);
    if (!summary_decode(encoded, &summary)) {
        /* Any text gets to the checks: they stand alone. */
        summary = (struct summary){.has = {[SUMMARY_BODY] = true}, .texts = {[SUMMARY_BODY] = encoded}};
    }
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        struct str text;
        if (summary_text(&summary, (enum summary_text)i, &text)) {
            must(text.data >= encoded.data && text.data + text.len <= encoded.data + encoded.len);
            if (i <= SUMMARY_BODYSTRUCTURE) {
                check_list(text);
            } else if (i != SUMMARY_FIELDS) {
                must(str_is_utf8(text) && str_find(text, 0, '\n') == SIZE_MAX);
            }
        }
    }
    for (uint32_t i = 0; i < summary.part_count; i++) {
        struct summary_part part;
        summary_part(&summary, i, &part);
        must(part.header_at + part.header_len <= summary.size &&
             part.body_at + part.body_len <= summary.size);
        must(i == 0 ? part.parent == MIME_NONE : part.parent < i);
    }
    return 0;
}
