/*
 * What the imapd role is for the POP3 engine, without sockets: a mailbox in memory, one account, and the answers to the
 * engine's questions. The unit tests and the fuzz target use it.
 */
#ifndef TESTS_POP3_DRIVER_H
#define TESTS_POP3_DRIVER_H

#include "pop3/server.h"

enum { DRIVER_MESSAGES = 16 };

struct driver {
    struct pop3_settings settings;
    struct pop3_server server;
    /* The mailbox. Removed ones have no data. */
    struct str messages[DRIVER_MESSAGES];
    size_t message_count;
    uint32_t uid_validity;
    enum pop3_auth_answer
        auth; /* to user@example.org with the password "secret"; POP3_AUTH_BAD to all else */
    enum pop3_open_answer open;
    bool expunge_fails;
    uint64_t read_fails_at; /* offset from which on messages cannot be read; 0: they can */
    size_t read_limit;      /* octets of an answer; 0: all that was asked for */
    uint64_t now_ms;
    /* What has come of it. */
    struct buf said; /* all that the client gets */
    size_t most;     /* octets that waited for the client at a time */
    unsigned verified;
    unsigned opened;
    unsigned expunged;   /* times */
    unsigned given_back; /* QUIT was answered after it */
    unsigned tls_started;
    bool closed;
};

/* An open session after the greeting: `tls` from the first octet. */
void driver_init(struct driver *driver, bool tls, bool tls_offered);
void driver_add(struct driver *driver, struct str message);
void driver_start(struct driver *driver, struct str early);
/* Gives the engine `text` in pieces of `split` octets (0: whole) until it has taken all or the session is over. */
void driver_say(struct driver *driver, struct str text, size_t split);
void driver_free(struct driver *driver);

#endif
