/*
 * The readable text of HTML, for search and previews: tags out (a line break for those that begin a block), comments, scripts,
 * styles and the title skipped, entities decoded. No tree, no recursion; streaming, in constant memory; UTF-8 in and out.
 */
#ifndef VEREDUS_MESSAGE_HTML_H
#define VEREDUS_MESSAGE_HTML_H

#include "base/buf.h"

enum { HTML_WORD_MAX = 32 };

enum html_state {
    HTML_TEXT,
    HTML_ENTITY,
    HTML_TAG_OPEN, /* behind "<" */
    HTML_TAG_NAME,
    HTML_TAG,         /* behind the name */
    HTML_TAG_QUOTED,  /* in a quoted attribute value */
    HTML_DECLARATION, /* "<!" up to ">" */
    HTML_COMMENT
};

/* Zero it before the first piece. */
struct html {
    enum html_state state;
    char quote;
    bool closing;
    bool skipping;   /* inside an element whose text nobody reads */
    unsigned dashes; /* of a comment's beginning or end */
    size_t word_len;
    size_t skipped_len; /* of the name of the element that is skipped */
    char word[HTML_WORD_MAX];
    char skipped[HTML_WORD_MAX];
};

/* Appends the text of the next piece. False if `out` failed. */
bool html_append(struct html *html, struct str piece, struct buf *out);
/* Appends what an unfinished entity leaves. */
bool html_end(struct html *html, struct buf *out);
/* The character of an entity's name ("amp", "#233", "#xe9"); 0 if it has none. */
uint32_t html_entity(struct str name);

#endif
