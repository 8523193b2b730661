/*
 * Reading one whole IMAP command (RFC 9051, section 9). The text is complete: each literal stands in it as "{n}" CRLF and its n
 * octets, as the client sent it, and the last CRLF is cut off. A scanner walks over it once, left to right, without recursion; what
 * it returns are slices of the text, or of the scanner's arena where an escaped quoted string had to be copied.
 *
 * Functions return false at the first thing that is not what the grammar wants and leave the scanner where it was; the command
 * then is BAD. `why` says what was expected, in words for the client.
 */
#ifndef VEREDUS_IMAP_SCAN_H
#define VEREDUS_IMAP_SCAN_H

#include "base/arena.h"

struct imap_scan {
    struct str rest;
    struct arena *arena; /* for unescaped strings; lives as long as the command */
    const char *why;     /* what was expected where the last function failed */
    bool utf8;           /* quoted strings may hold UTF-8 (RFC 6855, or IMAP4rev2) */
};

struct imap_scan imap_scan_make(struct str text, struct arena *arena, bool utf8);
bool imap_scan_end(const struct imap_scan *scan);
/* Takes the character, or not. */
bool imap_scan_char(struct imap_scan *scan, char c);
/* The next character, or '\0' at the end. */
char imap_scan_peek(const struct imap_scan *scan);
/* One space, as the grammar has it. */
bool imap_scan_space(struct imap_scan *scan);
/* Takes the word (any case) if it comes next and no atom character follows it. */
bool imap_scan_word(struct imap_scan *scan, struct str word);
/* 1*ATOM-CHAR. */
bool imap_scan_atom(struct imap_scan *scan, struct str *atom);
/* The tag of a command: 1*<ASTRING-CHAR but "+">. */
bool imap_scan_tag(struct imap_scan *scan, struct str *tag);
/* quoted or literal; a literal8 ("~{n}") sets *binary, which may be NULL where none is allowed. */
bool imap_scan_string(struct imap_scan *scan, struct str *text, bool *binary);
/* 1*ASTRING-CHAR or string. */
bool imap_scan_astring(struct imap_scan *scan, struct str *text);
/* string or NIL; *is_nil tells. */
bool imap_scan_nstring(struct imap_scan *scan, struct str *text, bool *is_nil);
/* list-mailbox: 1*list-char or string; the wildcards "%" and "*" are allowed. */
bool imap_scan_pattern(struct imap_scan *scan, struct str *text);
bool imap_scan_number(struct imap_scan *scan, uint64_t max, uint64_t *number);
/* sequence-set or "$": the slice only. */
bool imap_scan_set(struct imap_scan *scan, struct str *text);
/* "dd-Mmm-yyyy", with or without quotes: days since 1970. */
bool imap_scan_date(struct imap_scan *scan, int64_t *days);
/* date-time in quotes, "dd-Mmm-yyyy hh:mm:ss +zzzz": milliseconds since 1970, UTC. */
bool imap_scan_date_time(struct imap_scan *scan, uint64_t *wall_ms);

/* At the end of a line without its CRLF: "{123}" or "{123+}", "~{123}": true, its size and whether the client waits for "+". */
bool imap_scan_literal_end(struct str line, uint64_t *size, bool *waits);

#endif
