/*
 * SMTP reply codes (RFC 5321 and its extensions) and enhanced status codes (RFC 3463, the registry of RFC 5248) in plain
 * words: what happened, on whose side, what to do. One table for `veredus explain`, bounces and `veredus trace`.
 */
#ifndef VEREDUS_MESSAGE_CODES_H
#define VEREDUS_MESSAGE_CODES_H

#include "base/buf.h"

enum codes_side {
    CODES_SIDE_NOBODY,    /* all is well, or the code does not say */
    CODES_SIDE_SENDER,    /* the message, its sender or the sender's program */
    CODES_SIDE_RECIPIENT, /* the address or its mailbox */
    CODES_SIDE_US,        /* the server that reports the code when it is this one */
    CODES_SIDE_REMOTE,    /* the server that answered */
    CODES_SIDE_NETWORK    /* DNS, routing, connections in between */
};

/* One row of the table. All text is static. */
struct codes_words {
    uint16_t reply;   /* 0 in a row for an enhanced code */
    uint16_t subject; /* the second and third number of an enhanced code */
    uint16_t detail;
    uint8_t side;         /* enum codes_side */
    const char *title;    /* as the standard calls it */
    const char *what;     /* what happened, one sentence */
    const char *action;   /* what to do when it is permanent, one sentence or two */
    const char *standard; /* "RFC 3463, section 3.2" */
};

/* A code in some text, or given by itself. */
struct codes_found {
    unsigned reply; /* 200 to 599; 0: none */
    bool own;       /* for the caller to set: no server replied so, this one found it by itself */
    bool has_enhanced;
    unsigned class; /* 2, 4 or 5, of the enhanced code, else the first digit of the reply */
    unsigned subject;
    unsigned detail;
    const struct codes_words *reply_words;    /* NULL: none, or not in the table */
    const struct codes_words *enhanced_words; /* NULL: none, or not in the table */
};

/* The row of a reply code; NULL if it is not in the table. */
const struct codes_words *codes_reply(unsigned reply);
/* The row of an enhanced code, whatever its class; NULL if it is not in the table. */
const struct codes_words *codes_enhanced(unsigned subject, unsigned detail);
/* Reads "5.1.1" at the beginning of text; the length read, 0 if none is there (RFC 3463, section 2). */
size_t codes_parse_enhanced(struct str text, unsigned *class, unsigned *subject, unsigned *detail);

/*
 * Finds the codes in any text: "550", "5.1.1", "550-5.1.1 No such user", a whole bounce. False if there is none.
 * A reply code with an enhanced one behind it goes before either alone. Linear.
 */
bool codes_find(struct str text, struct codes_found *found);
/* The same for codes that are known; `enhanced` may be empty, `reply` 0. */
bool codes_make(unsigned reply, struct str enhanced, struct codes_found *found);

/* The row that says most: the enhanced code's unless it says nothing ("X.0.0") or is not known. NULL: neither is known. */
const struct codes_words *codes_best(const struct codes_found *found);
/* On whose side the cause lies, by codes_best. */
enum codes_side codes_side_of(const struct codes_found *found);
/* "the recipient's side" and so on, as used behind "on". */
const char *codes_side_words(enum codes_side side);
/* Appends a paragraph on one line: what happened, on whose side, what to do. For any codes, known or not. */
bool codes_append_words(const struct codes_found *found, struct buf *out);
/* The whole table, for `veredus explain` without arguments. */
const struct codes_words *codes_table(size_t *count);

#endif
