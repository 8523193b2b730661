/*
 * Parameters of Content-Type, Content-Disposition and the like (RFC 2045, section 5.1; RFC 2231): `; name=value ...`. Read
 * as mail is: a missing semicolon, blanks in an unquoted value and quotes that do not end are lived with. Slices of the
 * text; nothing is allocated; linear.
 */
#ifndef VEREDUS_MESSAGE_PARAMETER_H
#define VEREDUS_MESSAGE_PARAMETER_H

#include "base/buf.h"

struct parameter {
    struct str name;  /* without the "*", "*0" or "*0*" of RFC 2231 */
    struct str value; /* as written, inside the quotes */
    int section;      /* RFC 2231, section 3; -1 if the value is whole */
    bool quoted;
    bool extended; /* RFC 2231, section 4: percent-encoded, perhaps with a charset before it */
};

enum { PARAMETER_MAX = 64, PARAMETER_SECTION_MAX = 9999 };

/* The parameters of one field, those behind the PARAMETER_MAXth left out. */
struct parameter_list {
    struct parameter items[PARAMETER_MAX];
    unsigned count;
    unsigned at;               /* of parameter_list_next */
    bool taken[PARAMETER_MAX]; /* sections that went out with the first of their name */
    unsigned head;             /* the first of the value that parameter_list_next gave last */
};

/* The next parameter at *at (0 at first); false at the end. */
bool parameter_next(struct str text, size_t *at, struct parameter *parameter);
/* Appends the value, quoting and folding undone. */
bool parameter_append_value(const struct parameter *parameter, struct buf *out);

/* Reads the parameters of `text`, which begins behind the value that they belong to. */
void parameter_list_parse(struct str text, struct parameter_list *list);
/*
 * The next value with its sections joined, still encoded: `name` gets a "*" if the value is percent-encoded, as in a
 * message that needs no sections. Appends both. False at the end, or if a buffer failed.
 */
bool parameter_list_next(struct parameter_list *list, struct buf *name, struct buf *value);
/* Appends the value of this name as UTF-8, RFC 2231 and RFC 2047 decoded; false if there is none (or a buffer failed). */
bool parameter_append_decoded(struct str text, struct str name, struct buf *out);

#endif
