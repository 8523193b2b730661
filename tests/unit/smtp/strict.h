/*
 * An independent, strict and slow reading of what an SMTP client sends, to compare engines with: only CRLF ends a line, only
 * CRLF "." CRLF ends data, and a bare CR, a bare LF or a NUL spoils the message or ends the session. It shares no code with
 * the engines.
 */
#ifndef VEREDUS_TESTS_SMTP_STRICT_H
#define VEREDUS_TESTS_SMTP_STRICT_H

#include "base/buf.h"

struct strict {
    unsigned messages; /* accepted */
    unsigned refused;  /* for a bare CR or LF or a NUL in the data */
    bool closed;       /* a line of commands was malformed */
    bool in_data;      /* the end has not come */
    struct buf bodies; /* of the accepted ones, dots removed, each followed by "\nEND\n" */
};

/* Reads a session that has been greeted: lines MAIL, RCPT and DATA count, others do nothing. */
void strict_read(struct strict *strict, struct str input);
void strict_free(struct strict *strict);

#endif
