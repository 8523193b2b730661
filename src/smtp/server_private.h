/* What the files of the SMTP server engine share. Nobody else includes this. */
#ifndef VEREDUS_SMTP_SERVER_PRIVATE_H
#define VEREDUS_SMTP_SERVER_PRIVATE_H

#include "smtp/server.h"

enum server_state {
    STATE_COMMAND,
    STATE_AUTH, /* a SASL response is to come */
    STATE_DATA,
    STATE_CHUNK, /* BDAT octets */
    STATE_CLOSED
};

enum { SERVER_TEXT = 512, LINE_LIMIT = 2048, AUTH_LINE_LIMIT = 12288, TRANSACTION_MEMORY = 4 << 20 };

/* A line that is too long is read to its end and thrown away. */
enum { LINE_KEPT, LINE_SKIPPED, LINE_SKIPPED_CR };

/* What is wrong with a command, as a reply; code 0 if nothing is. */
struct server_fault {
    unsigned code;
    const char *enhanced;
    const char *text;
};

/* reply.c */

/* "250 2.1.0 text". Errors (4xx, 5xx) are reported as events; 5xx are counted against the limit. */
void server_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                  const char *text);
/* The same; the event names this address too. */
void server_reply_about(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                        const char *text, struct str recipient);
/* The same reply `count` times, as LMTP wants it; one event, one error. */
void server_reply_times(struct smtp_server *s, struct buf *out, unsigned count, unsigned code,
                        const char *enhanced, const char *text);
/* What a full mailbox gets: 552 5.2.2 or 452 4.2.2. */
const struct server_fault *server_over_quota(bool refuse);
void server_reply_fault(struct smtp_server *s, struct buf *out, const struct server_fault *fault);
/* Appends a reply and ends the session. */
void server_close(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced,
                  const char *text, const char *reason);
/* "before" and then "port 587 with STARTTLS or port 465 with TLS from the first byte" or the like, as a reply's text. */
const char *server_text_with_doors(const struct smtp_server *s, struct str before, char text[SERVER_TEXT]);

/* command.c: one complete line without its CRLF. */
enum smtp_request server_command(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out);

/* What is said to a command that needs a greeting first. */
const struct server_fault *server_not_greeted(const struct smtp_server *s);
/* Whether this begins as HTTP does. */
bool server_is_http(struct str start);

/* server.c */

void server_transaction_reset(struct smtp_server *s);
void server_forget_login(struct smtp_server *s);
/* Ends the session of a client that speaks HTTP. */
enum smtp_request server_refuse_http(struct smtp_server *s, struct buf *out);

/* envelope.c */

enum smtp_request server_mail(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out);
enum smtp_request server_rcpt(struct smtp_server *s, struct str argument, struct buf *out);

/* auth.c */

enum smtp_request server_auth(struct smtp_server *s, struct str argument, struct buf *out);
void server_auth_too_long(struct smtp_server *s, struct buf *out);
enum smtp_request server_auth_response(struct smtp_server *s, struct str line, struct buf *out);

/* message.c: DATA, BDAT and what is done when the message is complete. */

enum smtp_request server_data(struct smtp_server *s, uint64_t now_ms, struct buf *out);
enum smtp_request server_bdat(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out);
enum smtp_request server_read_data(struct smtp_server *s, struct str *input, struct buf *out);
enum smtp_request server_read_chunk(struct smtp_server *s, struct str *input, struct buf *out);
/* Goes on with the header's sender addresses after one has been answered. */
enum smtp_request server_check_senders(struct smtp_server *s, struct buf *out);

#endif
