/* A scripted server for tests of the client engine, and the loop that lets the two talk. */
#ifndef VEREDUS_TESTS_SMTP_CLIENT_PEER_H
#define VEREDUS_TESTS_SMTP_CLIENT_PEER_H

#include "smtp/client.h"

enum { PEER_RECIPIENTS = 8 };

/* Where the script can put another reply. "" drops the connection there. */
enum peer_step {
    STEP_GREETING,
    STEP_EHLO,
    STEP_HELO,
    STEP_STARTTLS,
    STEP_AUTH,
    STEP_MAIL,
    STEP_RCPT, /* of every recipient */
    STEP_DATA,
    STEP_FINAL,
    STEP_RSET,
    STEP_QUIT,
    STEP_COUNT
};

struct peer {
    /* The script. */
    const char *extensions[12];
    const char *reply[STEP_COUNT];
    const char *rcpt[PEER_RECIPIENTS];  /* in the order of RCPT commands of the session */
    const char *final[PEER_RECIPIENTS]; /* LMTP: in the order of accepted recipients of the transaction */
    bool lmtp;
    bool drop_in_body;
    size_t split; /* octets handed over at a time, both ways; 0: all */
    bool tls_fails;

    /* What came of it. */
    struct buf sent; /* to the client, not yet read by it */
    struct buf line;
    struct buf transcript; /* commands, each ended by LF */
    struct buf body;       /* of the last message, dots removed */
    unsigned messages;     /* for which the final reply was 2xx; LMTP: recipients */
    unsigned rcpts;
    unsigned accepted;
    bool has_sender;
    bool in_data;
    uint64_t chunk;
    bool in_chunk;
    bool tls;
    bool gone;
    int auth;
};

struct told {
    unsigned count;
    enum smtp_client_outcome outcome;
    enum smtp_client_stage stage;
    unsigned code;
    bool dsn_passed;
    char enhanced[17];
    char text[200];
};

struct talk {
    struct peer peer;
    struct smtp_client_settings settings;
    struct smtp_client_message message;
    struct str body;
    struct smtp_client_recipient recipients[PEER_RECIPIENTS];
    size_t count;
    struct told told[PEER_RECIPIENTS];
    struct told failure; /* count 1 if the session failed */
    struct smtp_client client;
    struct buf out;
    unsigned done;
    size_t cut; /* lose the connection once so many octets have come from the client; 0: never */
    size_t received;
};

/* A message from a@b.example for `count` recipients r0@c.example and so on; settings without TLS. */
void talk_init(struct talk *talk, struct str body, size_t count);
/* Lets them talk until the connection ends. */
void talk_run(struct talk *talk);
void talk_free(struct talk *talk);
/* The commands that came, as text. */
const char *talk_transcript(struct talk *talk);

#endif
