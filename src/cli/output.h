/*
 * What the commands print: tables for people, JSON for programs, errors for both. Text that came from a server or a message
 * is made safe for the terminal here.
 */
#ifndef VEREDUS_CLI_OUTPUT_H
#define VEREDUS_CLI_OUTPUT_H

#include "base/buf.h"

#include <jansson.h>

/* On standard error: "veredus: MESSAGE", the advice below it; or {"error":{"code":..,"message":..,"advice":..}}. */
void cli_print_error(bool json, int code, const char *message, const char *advice);
/* One line of compact JSON on standard output. */
void cli_print_json(const json_t *value);
/* Text from outside, with control characters and broken UTF-8 escaped. */
void cli_print_text(struct str text);
/* Paragraphs, folded at `width` columns with `indent` spaces before each line. */
void cli_print_folded(const char *text, unsigned indent, unsigned width);

/* Whether it is time for a line of progress, which a person at a terminal wants now and then; *last_ms: begins as 0. */
bool cli_shows_progress(bool json, uint64_t *last_ms);

/* Columns that a text takes on a terminal (one a code point). */
size_t cli_columns(struct str text);

/* A column of a table: a member of each row. */
struct cli_column {
    const char *member;
    const char *title;
    bool right; /* aligned */
    enum { CLI_PLAIN, CLI_OCTETS, CLI_TIME, CLI_UNTIL, CLI_QUOTA } form;
};

/* Prints an array of objects as a table; nothing but `empty` if there is no row. */
void cli_print_table(const json_t *rows, const struct cli_column *columns, size_t count, const char *empty);
/* The text of a member in that form, into `out`. */
void cli_format_value(const json_t *value, int form, struct buf *out);

#endif
