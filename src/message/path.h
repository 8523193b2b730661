/*
 * Reverse-path and forward-path of an SMTP envelope (RFC 5321, section 4.1.2; RFC 6531, section 3.3). Pure.
 */
#ifndef VEREDUS_MESSAGE_PATH_H
#define VEREDUS_MESSAGE_PATH_H

#include "base/buf.h"

enum { PATH_LOCAL_MAX = 64, PATH_MAX = 256 };

enum path_error {
    PATH_OK,
    PATH_SYNTAX,      /* 501 5.1.3 or 5.1.7 */
    PATH_TOO_LONG,    /* 501 5.1.3: RFC 5321, section 4.5.3.1 */
    PATH_BAD_DOMAIN,  /* 501 5.1.2 or 5.1.8 */
    PATH_NEEDS_UTF8,  /* 553 5.6.7: 8-bit without SMTPUTF8 */
    PATH_PERCENT_HACK /* 550 5.7.1: "user%host@here", "host!user"; not for reverse-paths */
};

struct path {
    bool null;         /* "<>" */
    bool no_domain;    /* "<postmaster>" */
    bool had_route;    /* a source route was there and has been left out */
    bool is_utf8;      /* something in it is not ASCII */
    bool quoted;       /* the local part needs quotes */
    struct str rest;   /* of the line behind the closing bracket: parameters */
    struct str local;  /* the local part as it was written (with quotes), in the line */
    struct str domain; /* as it was written, in the line */
};

/*
 * Reads "<...>" at the beginning of `line`. `null_allowed` for reverse-paths; "<postmaster>" is allowed when it is not.
 * Fills `path` with slices of `line`.
 */
enum path_error path_parse(struct str line, bool null_allowed, bool smtputf8, struct path *path);

/*
 * Appends local@domain in the form that we keep: quotes only where needed, domain as A-labels in lower case. For the
 * null path nothing. False if the domain is not valid or there is no room.
 */
bool path_normalize(const struct path *path, struct buf *out);

/* An address without brackets, as commands and configuration give it: the same checks, the same normal form. */
enum path_error address_normalize(struct str address, struct buf *out);

/* Parts a normalised address at its last "@"; false if there is none. */
bool address_split(struct str address, struct str *local, struct str *domain);

#endif
