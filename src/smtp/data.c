/*
 * Message data; see data.h. Text is copied in runs as long as the input allows: only dots at the beginning of a line and
 * the final dot interrupt one. The search for them and for CR, LF and NUL looks at 16 or 64 octets at a time.
 */
#include "smtp/data.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum state { LINE_START, IN_LINE, AFTER_CR, AFTER_DOT, AFTER_DOT_CR };

static bool is_special(char c)
{
    return c == '\r' || c == '\n' || c == '\0';
}

size_t data_plain_run(struct str text)
{
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    const __m128i nul = _mm_setzero_si128();
    for (; i + 16 <= text.len; i += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(text.data + i));
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(block, cr), _mm_cmpeq_epi8(block, lf)),
                                   _mm_cmpeq_epi8(block, nul));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask != 0) {
            return i + (size_t)__builtin_ctz(mask);
        }
    }
#endif
    while (i < text.len && !is_special(text.data[i])) {
        i++;
    }
    return i;
}

#if defined(__SSE2__)
enum { BLOCK = 64 };

/* A bit for each octet of the block up to CR, which are few: line ends, tabs and what is refused. */
static uint64_t low_octets(const char *block)
{
    const __m128i cr = _mm_set1_epi8('\r');
    uint64_t bits = 0;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i octets = _mm_loadu_si128((const __m128i *)(const void *)(block + i));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(octets, cr), octets);
        bits |= (uint64_t)(unsigned)_mm_movemask_epi8(low) << i;
    }
    return bits;
}

/* Octets from within a line on that are ordinary text: lines that end with CRLF and do not begin with a dot. Perhaps not all. */
static size_t plain_lines(struct str text)
{
    size_t i = 0;
    while (i + BLOCK + 2 <= text.len) {
        size_t end = i + BLOCK;
        for (uint64_t bits = low_octets(text.data + i); bits != 0; bits &= bits - 1) {
            size_t at = i + (size_t)__builtin_ctzll(bits);
            bool line_end = text.data[at] == '\r' && text.data[at + 1] == '\n' && text.data[at + 2] != '.';
            if (!line_end && is_special(text.data[at])) {
                return at;
            }
            if (line_end && at + 1 == end) {
                end++;
            } else if (line_end) {
                bits &= bits - 1;
            }
        }
        i = end;
    }
    return i;
}
#else
static size_t plain_lines(struct str text)
{
    (void)text;
    return 0;
}
#endif

static void note(struct data_reader *reader, enum data_fault fault)
{
    if (reader->fault == DATA_GOOD) {
        reader->fault = fault;
    }
}

static void keep(struct data_reader *reader, struct str run, struct buf *body)
{
    if (reader->fault != DATA_GOOD || run.len == 0) {
        return;
    }
    if (!buf_append_str(body, run)) {
        note(reader, body->len + run.len > body->limit ? DATA_TOO_LARGE : DATA_NO_MEMORY);
        buf_free(body); /* what will be refused need not be held */
    }
}

static enum data_fault fault_of(char c)
{
    return c == '\n' ? DATA_BARE_LF : c == '\r' ? DATA_BARE_CR : DATA_NUL;
}

/* A bare CR or LF, or a NUL: a fault, or with `repair` a line end that never ends the data. */
static void handle_bare(struct data_reader *reader, char c, struct buf *body)
{
    if (reader->repair && c != '\0') {
        keep(reader, STR("\r\n"), body);
    } else {
        note(reader, fault_of(c));
    }
    reader->state = IN_LINE;
}

/* What follows a dot at the beginning of a line. Returns the bytes used; the dot itself is not kept. */
static size_t after_dot(struct data_reader *reader, char c)
{
    if (c == '\r') {
        reader->state = AFTER_DOT_CR;
        return 1;
    }
    reader->state = IN_LINE;
    return 0;
}

static size_t after_dot_cr(struct data_reader *reader, char c, struct buf *body)
{
    if (c == '\n') {
        reader->over = true;
        return 1;
    }
    handle_bare(reader, '\r', body);
    return 0;
}

void data_read(struct data_reader *reader, struct str *input, struct buf *body)
{
    struct str in = *input;
    size_t i = 0;
    size_t kept = 0; /* up to here everything is in the body or was left out */
    while (i < in.len && !reader->over) {
        char c = in.data[i];
        switch ((enum state)reader->state) {
        case LINE_START:
            if (c == '.') {
                keep(reader, str_sub(in, kept, i), body);
                kept = ++i;
                reader->state = AFTER_DOT;
            } else {
                reader->state = IN_LINE;
            }
            break;
        case IN_LINE:
            i += is_special(c) ? 0 : plain_lines(str_from(in, i));
            i += data_plain_run(str_from(in, i));
            if (i == in.len) {
                break;
            }
            if (in.data[i] == '\r' && i + 1 < in.len && in.data[i + 1] == '\n') {
                i += 2; /* the usual case: kept later, together with the lines around it */
                reader->state = LINE_START;
            } else if (in.data[i] == '\r') {
                keep(reader, str_sub(in, kept, i), body);
                kept = ++i;
                reader->state = AFTER_CR;
            } else {
                keep(reader, str_sub(in, kept, i), body);
                handle_bare(reader, in.data[i], body);
                kept = ++i;
            }
            break;
        case AFTER_CR:
            /* The CR is kept only together with its LF, so that a bare one can be repaired. */
            if (c == '\n') {
                keep(reader, STR("\r\n"), body);
                kept = ++i;
                reader->state = LINE_START;
            } else {
                handle_bare(reader, '\r', body);
            }
            break;
        case AFTER_DOT:
            i += after_dot(reader, c);
            kept = i;
            break;
        case AFTER_DOT_CR:
            i += after_dot_cr(reader, c, body);
            kept = i;
            break;
        }
    }
    keep(reader, str_sub(in, kept, i), body);
    reader->octets += i;
    *input = str_from(in, i);
}

enum data_fault data_check(struct str text)
{
    for (size_t i = 0;; i += 2) {
        i += plain_lines(str_from(text, i));
        i += data_plain_run(str_from(text, i));
        if (i == text.len) {
            return DATA_GOOD;
        }
        if (text.data[i] != '\r' || i + 1 >= text.len || text.data[i + 1] != '\n') {
            return fault_of(text.data[i]);
        }
    }
}
