/*
 * The POP3 server engine (RFC 1939, with 2449, 2595, 5034, 6856). Pure: bytes and answers in, replies and requests out; no
 * socket, no clock, no look-up. The role around it (roles/imapd.c) has those.
 *
 * Use: pop3_server_start(), then pop3_server_run() with whatever came in. It consumes input and appends replies to `out` until
 * it needs more input (POP3_INPUT) or an answer. The role gives the answer with the function named beside the request and calls
 * pop3_server_run() again. Messages travel in chunks: the role answers POP3_READ only when `out` has been taken by the client.
 */
#ifndef VEREDUS_POP3_SERVER_H
#define VEREDUS_POP3_SERVER_H

#include "base/buf.h"
#include "config/doors.h"

enum { POP3_CHUNK = 65536, POP3_MESSAGES_MAX = 1000000, POP3_LINE_MAX = 512, POP3_AUTH_LINE_MAX = 12288 };

/* What a listener's sessions have in common; must outlive them. */
struct pop3_settings {
    bool tls_offered; /* STLS can be had */
    bool implicit_tls;
    struct str hostname;
    unsigned errors;           /* refused commands after which a session is ended */
    uint64_t login_timeout_ms; /* until a login has succeeded */
    uint64_t idle_timeout_ms;
    uint64_t session_timeout_ms;
    struct doors doors; /* for those who have come to the wrong one */
};

enum pop3_request {
    POP3_INPUT,
    POP3_VERIFY, /* server->login_name and login_password: pop3_server_verified() */
    POP3_OPEN, /* lock and list the mailbox of server->grant: pop3_server_entry() for each, pop3_server_opened() */
    POP3_READ,  /* server->read_uid, read_offset, read_length: pop3_server_bytes() */
    POP3_DRAIN, /* send `out`, then run again */
    /* remove those of server->messages that are deleted, if any, and give the mailbox back: pop3_server_expunged() */
    POP3_EXPUNGE,
    POP3_START_TLS, /* send `out`, throw away input, shake hands: pop3_server_tls_started() */
    POP3_CLOSE      /* send `out` and close; server->close_reason says why */
};

enum pop3_auth_answer {
    POP3_AUTH_GOOD,
    POP3_AUTH_BAD,
    POP3_AUTH_TEMPORARY,
    POP3_AUTH_THROTTLED,
    POP3_AUTH_DISABLED
};
enum pop3_open_answer { POP3_OPENED, POP3_IN_USE, POP3_OPEN_FAILED };

struct pop3_message {
    uint32_t uid;
    bool deleted;
    uint64_t size; /* octets */
};

struct sasl;

struct pop3_server {
    const struct pop3_settings *settings;
    uint8_t state;   /* private */
    uint8_t waiting; /* enum pop3_request that has not been answered */
    bool tls;
    bool opened;
    uint16_t errors;
    uint16_t auth_failures;
    uint64_t opened_ms;
    uint64_t activity_ms;
    struct buf line;
    struct buf login_name;
    struct buf login_password;
    struct buf login;
    struct buf grant;
    struct sasl *sasl;
    struct pop3_message *messages;
    size_t message_count;
    size_t message_room;
    uint32_t uid_validity;
    size_t deleted_count;
    /* RETR and TOP under way. */
    uint32_t read_uid;
    uint64_t read_offset;
    uint32_t read_length;
    uint64_t read_size;
    bool line_start; /* the next octet begins a line */
    bool line_blank; /* the line has nothing but a CR so far */
    bool in_body;    /* TOP: behind the empty line */
    bool limited;    /* TOP */
    uint64_t lines_left;
    /* LIST or UIDL of all under way. */
    size_t list_at;
    bool list_uids;
    const char *close_reason;
    struct buf wrong_door; /* what a client was told that should be elsewhere; for the log */
};

void pop3_server_init(struct pop3_server *server, const struct pop3_settings *settings, bool tls,
                      uint64_t now_ms);
void pop3_server_free(struct pop3_server *server);
/* Appends the greeting. `early`: what the client sent before it. */
enum pop3_request pop3_server_start(struct pop3_server *server, struct str early, struct buf *out);
enum pop3_request pop3_server_run(struct pop3_server *server, uint64_t now_ms, struct str *input,
                                  struct buf *out);

void pop3_server_verified(struct pop3_server *server, enum pop3_auth_answer answer, struct str login,
                          struct str grant, struct buf *out);
/* One message of the mailbox, in the order of UIDs. False: too many, or no memory; then answer POP3_OPEN_FAILED. */
bool pop3_server_entry(struct pop3_server *server, uint32_t uid, uint64_t size);
void pop3_server_opened(struct pop3_server *server, enum pop3_open_answer answer, uint32_t uid_validity,
                        struct buf *out);
/* The octets asked for; fewer only at the end of the message. `fine` false: they cannot be read. */
void pop3_server_bytes(struct pop3_server *server, bool fine, struct str bytes, struct buf *out);
void pop3_server_expunged(struct pop3_server *server, bool fine, struct buf *out);
void pop3_server_tls_started(struct pop3_server *server, uint64_t now_ms);

/* When pop3_server_expire() must be called if nothing happens before. */
uint64_t pop3_server_deadline(const struct pop3_server *server);
/* RFC 1939, section 3: the connection is closed without entering the UPDATE state; nothing is removed. */
void pop3_server_expire(struct pop3_server *server, struct buf *out);
/* The server stops. True: the session is over; false: a reply under way is finished first. */
bool pop3_server_shutdown(struct pop3_server *server, struct buf *out);

#endif
