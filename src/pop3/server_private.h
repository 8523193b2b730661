/* What the files of the POP3 server engine share. Nobody else includes this. */
#ifndef VEREDUS_POP3_SERVER_PRIVATE_H
#define VEREDUS_POP3_SERVER_PRIVATE_H

#include "pop3/server.h"

enum pop3_state {
    POP3_AUTHORIZATION,
    POP3_AUTH_RESPONSE, /* a SASL response is awaited */
    POP3_TRANSACTION,
    POP3_SENDING, /* a message is on its way */
    POP3_LISTING,
    POP3_CLOSED
};

/* Appends "+OK text" and CRLF. */
void pop3_ok(struct buf *out, const char *text);
/* Appends "-ERR text" and CRLF and counts the error. */
void pop3_error(struct pop3_server *s, struct buf *out, const char *text);
/* "-ERR text", then the session is over. */
void pop3_close(struct pop3_server *s, struct buf *out, const char *text, const char *reason);
/* True after the last reply to a command of another protocol, whose client has come to the wrong port. */
bool pop3_wrong_door(struct pop3_server *s, struct str line, struct buf *out);

/* login.c: commands of the AUTHORIZATION state. */
enum pop3_request pop3_command_login(struct pop3_server *s, struct str verb, struct str argument,
                                     struct buf *out);
enum pop3_request pop3_auth_response(struct pop3_server *s, struct str line, struct buf *out);
void pop3_capabilities(const struct pop3_server *s, struct buf *out);

/* mailbox.c: commands of the TRANSACTION state. */
enum pop3_request pop3_command_mailbox(struct pop3_server *s, struct str verb, struct str argument,
                                       struct buf *out);
/* Goes on with a listing. */
enum pop3_request pop3_continue_list(struct pop3_server *s, struct buf *out);
/* Goes on with a message. */
enum pop3_request pop3_continue_message(struct pop3_server *s, struct buf *out);

#endif
