/*
 * Text made comparable for search: case folded, compatibility forms unified (NFKC), diacritics of Latin, Greek, Cyrillic,
 * Hebrew and Arabic taken off; marks that make another letter (kana, Indic vowels, Hangul) kept. Needle and text go through
 * the same function. Streaming, in constant memory.
 */
#ifndef VEREDUS_MESSAGE_FOLD_H
#define VEREDUS_MESSAGE_FOLD_H

#include "base/buf.h"

enum { FOLD_PENDING_MAX = 128 };

/* Zero it before the first piece. */
struct fold {
    size_t len;     /* of a base character with marks that may go on */
    unsigned count; /* characters in it */
    char pending[FOLD_PENDING_MAX];
};

/* Appends the folded form of a piece of whole UTF-8 characters. False if `out` failed. */
bool fold_append(struct fold *fold, struct str utf8, struct buf *out);
/* Appends what is still pending. */
bool fold_end(struct fold *fold, struct buf *out);
/* A whole text. */
bool fold_text(struct str utf8, struct buf *out);

#endif
