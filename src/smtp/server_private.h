/* What the files of the SMTP server engine share. Nobody else includes this. */
#ifndef VEREDUS_SMTP_SERVER_PRIVATE_H
#define VEREDUS_SMTP_SERVER_PRIVATE_H

#include "smtp/server.h"

enum server_state {
    STATE_COMMAND,
    STATE_AUTH,      /* a SASL response is to come */
    STATE_DATA,
    STATE_CHUNK,     /* BDAT octets */
    STATE_CLOSED
};

enum { LINE_LIMIT = 2048, AUTH_LINE_LIMIT = 12288, TRANSACTION_MEMORY = 4 << 20 };

/* reply.c */

/* "250 2.1.0 text"; enhanced may be NULL. Errors (4xx, 5xx) are reported as events and counted against the limit. */
void server_reply(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced, const char *text);
/* Appends a reply and ends the session. */
void server_close(struct smtp_server *s, struct buf *out, unsigned code, const char *enhanced, const char *text,
                  const char *reason);
void server_event(struct smtp_server *s, unsigned code, const char *enhanced, struct str recipient, struct str cause);
/* Appends ", port 587 (STARTTLS) or port 465 (TLS)" or the like. */
void server_name_doors(const struct smtp_server *s, struct buf *text);

/* command.c: one complete line without its CRLF. */
enum smtp_request server_command(struct smtp_server *s, uint64_t now_ms, struct str line, struct buf *out);

/* server.c */

void server_transaction_reset(struct smtp_server *s);
void server_forget_login(struct smtp_server *s);

/* envelope.c */

enum smtp_request server_mail(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out);
enum smtp_request server_rcpt(struct smtp_server *s, struct str argument, struct buf *out);

/* auth.c */

enum smtp_request server_auth(struct smtp_server *s, struct str argument, struct buf *out);
enum smtp_request server_auth_response(struct smtp_server *s, struct str line, struct buf *out);

/* message.c: DATA, BDAT and what is done when the message is complete. */

enum smtp_request server_data(struct smtp_server *s, uint64_t now_ms, struct buf *out);
enum smtp_request server_bdat(struct smtp_server *s, uint64_t now_ms, struct str argument, struct buf *out);
enum smtp_request server_read_data(struct smtp_server *s, struct str *input, struct buf *out);
enum smtp_request server_read_chunk(struct smtp_server *s, struct str *input, struct buf *out);
/* Goes on with the header's sender addresses after one has been answered. */
enum smtp_request server_check_senders(struct smtp_server *s, struct buf *out);

#endif
