/*
 * The server side of SASL mechanisms (RFC 4422), pure: decoded client responses in; a challenge, a request to verify a
 * password, or a failure out. The protocol (SMTP, POP3, IMAP) does the base64 and the words around it.
 */
#ifndef VEREDUS_SASL_SASL_H
#define VEREDUS_SASL_SASL_H

#include "base/buf.h"

enum { SASL_NAME_MAX = 255, SASL_PASSWORD_MAX = 1024, SASL_RESPONSE_MAX = 4096 };

enum sasl_step {
    SASL_CHALLENGE, /* send sasl->challenge and wait for the response */
    SASL_VERIFY,    /* ask whether authentication_id and password belong together */
    SASL_MALFORMED, /* the response is not of the mechanism's form */
    SASL_NO_MEMORY  /* temporary: the exchange is over, but the client has done nothing wrong */
};

struct sasl_mechanism;

struct sasl {
    const struct sasl_mechanism *mechanism;
    int state;
    struct str challenge; /* not base64; static */
    struct buf authorization_id;
    struct buf authentication_id;
    struct buf password;
};

/* The mechanism of this name (any case), or NULL. All of them need TLS. */
const struct sasl_mechanism *sasl_find(struct str name);
const char *sasl_name(const struct sasl_mechanism *mechanism);
/* The names of all mechanisms, parted by spaces: what EHLO, CAPA and CAPABILITY list. */
struct str sasl_names(void);

/* A new exchange; NULL without memory. `initial` is the decoded initial response, or NULL if there was none. */
struct sasl *sasl_new(const struct sasl_mechanism *mechanism);
enum sasl_step sasl_begin(struct sasl *sasl, const struct str *initial);
enum sasl_step sasl_respond(struct sasl *sasl, struct str response);
/* Overwrites the password and frees all; harmless with NULL. */
void sasl_free(struct sasl *sasl);

#endif
