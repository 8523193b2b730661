/* Terms of a full-text index; see terms.h. */
#include "message/terms.h"

#include "base/mem.h"
#include "message/fold.h"
#include "message/mailtext.h"

enum {
    SLOTS = 1 << 17, /* more than twice TERMS_MAX */
    SLOTS_FIRST = 1 << 11,
    WINDOW_MAX = 1 << 20,
    CHARACTER_BITS = 21,
    NUL = 0x1ffffe, /* stands for U+0000, so that no term is 0 */
    PAIR = 0x1fffff /* stands before a pair */
};

/* Characters that come one by one. */
struct neighbours {
    uint64_t before[2]; /* the last one first */
    unsigned count;
    bool (*take)(void *context, uint64_t term);
    void *context;
};

/* Han, kana, Hangul and what stands between them. */
static bool is_without_blanks(uint64_t c)
{
    return (c >= 0x2e80 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7ff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x3ffff);
}

/* Never 0. Of a pair the first of three is none. */
static uint64_t term_of(uint64_t a, uint64_t b, uint64_t c)
{
    return a << (2 * CHARACTER_BITS) | b << CHARACTER_BITS | c;
}

static bool take_character(struct neighbours *n, uint64_t c)
{
    uint64_t b = n->before[0];
    uint64_t a = n->before[1];
    bool fine = true;
    if (n->count >= 1 && is_without_blanks(b) && is_without_blanks(c)) {
        fine = n->take(n->context, term_of(PAIR, b, c));
    }
    if (fine && n->count >= 2 && !(is_without_blanks(a) && is_without_blanks(b) && is_without_blanks(c))) {
        fine = n->take(n->context, term_of(a, b, c));
    }
    n->before[1] = b;
    n->before[0] = c;
    n->count += n->count < 2;
    return fine;
}

/* Octets that the UTF-8 form of a character has, by its first one. */
static size_t length_of(unsigned char first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* All whole characters of a folded text, which fold_append leaves well-formed; what is left of the last one stays. */
static bool take_text(struct neighbours *n, struct str *text)
{
    while (text->len > 0) {
        const unsigned char *p = (const unsigned char *)text->data;
        size_t len = length_of(p[0]);
        uint64_t c = len == 1 ? p[0] : p[0] & (0x7fU >> len);
        if (len > text->len) {
            return true;
        }
        for (size_t i = 1; i < len; i++) {
            c = c << 6 | (p[i] & 0x3f);
        }
        *text = str_from(*text, len);
        if (!take_character(n, c == 0 ? NUL : c)) {
            return false;
        }
    }
    return true;
}

/* The most frequent, of three ASCII characters, are the shortest. */
static bool append_term(uint64_t term, struct buf *out)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    const uint64_t ascii = term_of(0x7f, 0x7f, 0x7f);
    char word[TERM_SIZE_MAX];
    size_t len = 0;
    if ((term & ~ascii) == 0) {
        word[len++] = 'w';
        term = term >> (2 * CHARACTER_BITS) << 14 | ((term >> CHARACTER_BITS) & 0x7f) << 7 | (term & 0x7f);
    }
    for (; term > 0; term >>= 5) {
        word[len++] = digits[term & 31];
    }
    word[len++] = ' ';
    return buf_append(out, word, len);
}

/* The different terms of a text. */
struct term_set {
    uint64_t *slots; /* 0: free */
    size_t size;
    size_t count;
};

static size_t slot_of(const struct term_set *set, uint64_t term)
{
    size_t at = (size_t)(term * 0x9e3779b97f4a7c15ULL >> 40) & (set->size - 1);
    while (set->slots[at] != 0 && set->slots[at] != term) {
        at = (at + 1) & (set->size - 1);
    }
    return at;
}

static bool grow(struct term_set *set)
{
    struct term_set larger = {.size = set->size == 0 ? SLOTS_FIRST : set->size * 2, .count = set->count};
    larger.slots = mem_zalloc(larger.size, sizeof(*larger.slots));
    if (larger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->size; i++) {
        if (set->slots[i] != 0) {
            larger.slots[slot_of(&larger, set->slots[i])] = set->slots[i];
        }
    }
    mem_free(set->slots);
    *set = larger;
    return true;
}

static bool add_to_set(void *context, uint64_t term)
{
    struct term_set *set = context;
    if (set->count * 2 >= set->size && (set->size == SLOTS || !grow(set))) {
        return false;
    }
    size_t at = slot_of(set, term);
    if (set->slots[at] == 0) {
        set->slots[at] = term;
        set->count++;
    }
    return set->count <= TERMS_MAX;
}

/* A message's text on its way: folded as a search folds it, with the same pieces (imap/search_match.c). */
struct reading {
    struct fold fold;
    struct buf window;
    struct neighbours neighbours;
};

static bool take_window(struct reading *r)
{
    struct str rest = buf_str(&r->window);
    bool fine = take_text(&r->neighbours, &rest);
    buf_consume(&r->window, r->window.len - rest.len);
    return fine;
}

static bool take_piece(void *context, struct str text)
{
    struct reading *r = context;
    return fold_append(&r->fold, text, &r->window) && take_window(r);
}

static bool read_message(struct str message, struct reading *r)
{
    struct mime mime = {.parts = NULL};
    struct mailtext_sink sink = {.take = take_piece, .context = r};
    bool fine = mime_parse(&mime, message) && mailtext_header(mime.parts[0].header, &sink) == MAILTEXT_DONE &&
                mailtext_body(&mime, &sink) == MAILTEXT_DONE && fold_end(&r->fold, &r->window) &&
                take_window(r);
    mime_free(&mime);
    return fine;
}

bool terms_of_message(struct str message, struct buf *out)
{
    struct term_set set = {.slots = NULL};
    struct reading reading = {.window = buf_make(WINDOW_MAX),
                              .neighbours = {.take = add_to_set, .context = &set}};
    bool fine = grow(&set) && read_message(message, &reading);
    for (size_t i = 0; i < set.size && fine; i++) {
        fine = set.slots[i] == 0 || append_term(set.slots[i], out);
    }
    buf_free(&reading.window);
    mem_free(set.slots);
    return fine;
}

/* Those of a needle: counted at first, then chosen. */
struct choice {
    size_t seen;
    size_t total;
    size_t most;
    struct buf *out; /* NULL: they are only counted */
};

static bool choose(void *context, uint64_t term)
{
    struct choice *choice = context;
    size_t at = choice->seen++;
    if (choice->out == NULL) {
        return true;
    }
    /* Of `total` terms every one where the share of the chosen passes a whole number. */
    bool wanted = choice->total <= choice->most ||
                  at * choice->most / choice->total != (at + 1) * choice->most / choice->total;
    return !wanted || append_term(term, choice->out);
}

bool terms_of_needle(struct str folded, size_t most, struct buf *out)
{
    struct choice choice = {.most = most};
    for (unsigned pass = 0; pass < 2; pass++) {
        struct neighbours neighbours = {.take = choose, .context = &choice};
        struct str rest = folded;
        if (!take_text(&neighbours, &rest)) {
            return false;
        }
        choice.total = choice.seen;
        choice.seen = 0;
        choice.out = out;
    }
    return true;
}
