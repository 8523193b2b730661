/* What the files of the SMTP client engine share. Nobody else includes this. */
#ifndef VEREDUS_SMTP_CLIENT_PRIVATE_H
#define VEREDUS_SMTP_CLIENT_PRIVATE_H

#include "smtp/client.h"

enum client_phase {
    PHASE_GREETING,
    PHASE_EHLO, /* LHLO with LMTP */
    PHASE_HELO,
    PHASE_STARTTLS,
    PHASE_HANDSHAKE,
    PHASE_SECURED, /* shaken hands; the second hello goes out */
    PHASE_AUTH_PLAIN,
    PHASE_AUTH_LOGIN,
    PHASE_AUTH_LOGIN_USER,
    PHASE_AUTH_LOGIN_PASSWORD,
    PHASE_READY,
    PHASE_RESET,
    PHASE_BEGIN, /* a transaction is set; nothing of it has been sent */
    PHASE_ENVELOPE,
    PHASE_BODY,
    PHASE_FINAL,
    PHASE_EMPTY_FINAL, /* the reply to data that nobody was to get */
    PHASE_DONE,
    PHASE_QUIT,
    PHASE_CLOSED
};

enum client_extension {
    EXT_PIPELINING = 1,
    EXT_SIZE = 2,
    EXT_8BITMIME = 4,
    EXT_SMTPUTF8 = 8,
    EXT_CHUNKING = 16,
    EXT_BINARYMIME = 32,
    EXT_DSN = 64,
    EXT_STARTTLS = 128,
    EXT_AUTH_PLAIN = 256,
    EXT_AUTH_LOGIN = 512
};

/* What a step of the engine leads to: go round again, or return this request. */
enum client_step {
    STEP_ON = -1
    /* or enum smtp_client_request */
};

static inline bool client_has(const struct smtp_client *c, enum client_extension extension)
{
    return (c->extensions & (uint32_t)extension) != 0;
}

/*
 * Reads a line of the reply from the front of *input. True when there is one: `line` is its text behind the code, until the
 * next call; `complete` is set with the last one, `bad` if it is no reply. client_reply_next begins the next reply.
 */
bool client_reply_line(struct smtp_client_reply *reply, struct str *input, struct str *line);
void client_reply_next(struct smtp_client_reply *reply);
/* The text without an enhanced code at its beginning; that code if its class fits, else empty, in `enhanced`. */
struct str client_reply_text(const struct smtp_client_reply *reply, struct str *enhanced);

/* The result that the present reply makes: 2xx delivered, 4xx deferred, 5xx failed, anything else deferred as a fault. */
struct smtp_client_result client_result_of_reply(struct smtp_client *c);
/* A result of our own. */
struct smtp_client_result client_own_result(struct smtp_client *c, enum smtp_client_outcome outcome,
                                            const char *enhanced, struct str text);
/* Ends the session; keeps copies of the result's text. Recipients under way become WAITING again. */
int client_fail(struct smtp_client *c, const struct smtp_client_result *result);
int client_fail_reply(struct smtp_client *c);
int client_fail_own(struct smtp_client *c, enum smtp_client_outcome outcome, const char *enhanced,
                    const char *text);
/* Reports one recipient, or all of this transaction that are not decided. */
void client_decide(struct smtp_client *c, size_t recipient, const struct smtp_client_result *result);
void client_decide_all(struct smtp_client *c, const struct smtp_client_result *result);
/* What came instead of the final reply is none: those whose message has been sent whole are uncertain. */
void client_leave_uncertain(struct smtp_client *c);

/* EHLO's answer (client_session.c). */
void client_read_extensions(struct smtp_client *c, struct str line);
/* Steps. Each is called with a complete reply, or (transaction_go) when something may be sent. */
int client_session_reply(struct smtp_client *c, struct buf *out);
int client_session_secured(struct smtp_client *c, struct buf *out);
int client_transaction_reply(struct smtp_client *c, struct buf *out);
int client_transaction_go(struct smtp_client *c, struct buf *out);
/* Begins the data: BDAT, or what follows 354. */
void client_body_begin(struct smtp_client *c, struct buf *out);

#endif
