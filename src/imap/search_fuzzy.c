/*
 * FUZZY (RFC 6203): a text matches where its words do, in any order and but for their endings; the score says how near that is to
 * what was asked.
 */
#include "imap/search_private.h"

#include "base/mem.h"

#include <stdlib.h>

enum {
    SCORE_PHRASE = 100, /* the text stands there as it was written */
    SCORE_WORDS = 75,   /* all its words do */
    SCORE_STEMS = 25,   /* none but for its ending */
    STEM_LONG = 6,      /* a word of so many octets may lack two of them */
    STEM_SHORT = 5      /* of so many one */
};

static bool is_of_word(char c)
{
    return ascii_is_digit(c) || (c >= 'a' && c <= 'z') || (unsigned char)c >= 0x80;
}

size_t search_words(struct str folded, struct str words[SEARCH_WORDS_MAX])
{
    size_t count = 0;
    for (size_t at = 0; at < folded.len && count < SEARCH_WORDS_MAX;) {
        size_t end = at;
        while (end < folded.len && is_of_word(folded.data[end])) {
            end++;
        }
        if (end > at) {
            words[count++] = str_sub(folded, at, end);
        }
        at = end + 1;
    }
    return count;
}

struct str search_stem(struct str word)
{
    for (size_t i = 0; i < word.len; i++) {
        if ((unsigned char)word.data[i] >= 0x80) {
            return word;
        }
    }
    return str_sub(word, 0, word.len - (word.len >= STEM_LONG ? 2 : word.len >= STEM_SHORT ? 1 : 0));
}

static unsigned score_of_phrase(const struct search_phrase *phrase, const struct search_subject *subject)
{
    struct str words[SEARCH_WORDS_MAX];
    size_t count = search_words(phrase->text, words);
    size_t whole = 0;
    if (search_has_text(phrase->op, phrase->field, phrase->text, subject)) {
        return SCORE_PHRASE;
    }
    for (size_t i = 0; i < count; i++) {
        whole += search_has_text(phrase->op, phrase->field, words[i], subject);
    }
    return SCORE_STEMS + (unsigned)(whole * (SCORE_WORDS - SCORE_STEMS) / (count == 0 ? 1 : count));
}

bool search_note_score(struct search_command *search, const struct search_subject *subject)
{
    unsigned best = 1;
    if (search->score_count == search->score_room) {
        size_t room = search->score_room == 0 ? 64 : search->score_room * 2;
        struct search_score *scores = mem_realloc(search->scores, room * sizeof(*scores));
        if (scores == NULL) {
            return false;
        }
        search->scores = scores;
        search->score_room = room;
    }
    for (size_t i = 0; i < search->program.phrase_count; i++) {
        unsigned score = score_of_phrase(&search->program.phrases[i], subject);
        best = score > best ? score : best;
    }
    search->scores[search->score_count++] = (struct search_score){subject->entry->uid, best};
    return true;
}

static int compare_scores(const void *a, const void *b)
{
    const struct search_score *left = a;
    const struct search_score *right = b;
    return left->uid < right->uid ? -1 : left->uid > right->uid;
}

unsigned search_score(const struct search_command *search, uint32_t uid)
{
    const struct search_score key = {.uid = uid};
    const struct search_score *found = NULL;
    if (search->score_count > 0) {
        found = bsearch(&key, search->scores, search->score_count, sizeof(key), compare_scores);
    }
    return found == NULL ? SCORE_PHRASE : found->score; /* no text had to be looked at */
}

void search_write_scores(const struct search_command *search, const uint32_t *uids, size_t count,
                         struct buf *out)
{
    buf_append_lit(out, " RELEVANCY (");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_append_char(out, ' ');
        }
        buf_append_u64(out, search_score(search, uids[i]));
    }
    buf_append_char(out, ')');
}
