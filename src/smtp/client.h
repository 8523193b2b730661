/*
 * The SMTP and LMTP client engine (RFC 5321, with 1870, 2033, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422). Pure: bytes and
 * answers in, commands and requests out; no socket, no clock, no file. The role around it (roles/relay.c) has those.
 *
 * Use: smtp_client_start(), then smtp_client_run() with whatever came in. It consumes input and appends commands to `out`
 * until it needs more input (SMTP_CLIENT_INPUT) or something of the driver; the driver gives it with the function named
 * beside the request and calls smtp_client_run() again. One connection carries any number of messages, one after the other.
 * Nothing is allocated but in `out`; a failed `out` ends the session as a temporary failure.
 */
#ifndef VEREDUS_SMTP_CLIENT_H
#define VEREDUS_SMTP_CLIENT_H

#include "base/buf.h"

enum {
    SMTP_CLIENT_TEXT_MAX = 900,      /* octets kept of a reply's text */
    SMTP_CLIENT_LINE_MAX = 4096,     /* octets of a reply line; RFC 5321, section 4.5.3.1.5, has 512 */
    SMTP_CLIENT_LINES_MAX = 200,     /* lines of a reply */
    SMTP_CLIENT_REFUSAL_MAX = 80,    /* octets kept of a refusal of STARTTLS */
    SMTP_CLIENT_RECIPIENTS_MAX = 100 /* recipients of one transaction; RFC 5321, section 4.5.3.1.8 */
};

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE,
    SMTP_CLIENT_TLS_OPPORTUNISTIC, /* used where it is offered */
    SMTP_CLIENT_TLS_REQUIRED       /* whether the certificate is checked is the driver's business */
};

/* What a connection is for; must outlive it. */
struct smtp_client_settings {
    struct str hello_name;
    struct str own_name; /* a server that greets with this name is ourselves: a loop. Empty: not checked. */
    enum smtp_client_tls tls;
    bool implicit_tls; /* START_TLS is asked for first of all, as on port 465 */
    bool lmtp;
    struct str login; /* empty: no AUTH. Never sent in clear. */
    struct str password;
    unsigned timeout_percent; /* of the time-outs of RFC 5321, section 4.5.3.2; 100 but in tests */
};

/* Where a session was when something happened; kept in the journal, so numbers do not change. */
enum smtp_client_stage {
    SMTP_STAGE_RESOLVE, /* for the driver */
    SMTP_STAGE_CONNECT, /* for the driver */
    SMTP_STAGE_GREETING,
    SMTP_STAGE_HELLO,
    SMTP_STAGE_TLS,
    SMTP_STAGE_AUTH,
    SMTP_STAGE_MAIL,
    SMTP_STAGE_RCPT,
    SMTP_STAGE_DATA,
    SMTP_STAGE_BODY,
    SMTP_STAGE_FINAL, /* the reply to the whole message */
    SMTP_STAGE_RESET,
    SMTP_STAGE_QUIT
};
/* "MAIL command" and so on, for texts. */
const char *smtp_client_stage_words(enum smtp_client_stage stage);

enum smtp_client_outcome {
    SMTP_CLIENT_DELIVERED,
    SMTP_CLIENT_DEFERRED,
    SMTP_CLIENT_FAILED,
    SMTP_CLIENT_UNCERTAIN /* the connection was lost behind the end of the data: it may have been delivered */
};

/* What became of one recipient, or of the session. Slices live until the engine is called again. */
struct smtp_client_result {
    enum smtp_client_outcome outcome;
    enum smtp_client_stage stage;
    bool dsn_passed;     /* the peer has the DSN parameters, so success is its business to report */
    unsigned code;       /* of the peer's reply; 0: our own finding */
    struct str enhanced; /* as the peer gave it, else our own or empty */
    struct str text;     /* the peer's, raw, or our own words */
};

enum smtp_client_recipient_state {
    SMTP_CLIENT_WAITING, /* not decided: to be tried in a (further) transaction */
    SMTP_CLIENT_SENT,    /* these two only while a transaction is under way */
    SMTP_CLIENT_ACCEPTED,
    SMTP_CLIENT_DECIDED /* its result has been reported */
};

struct smtp_client_recipient {
    struct str address;
    struct str orcpt; /* as given, with its type; may be empty */
    uint8_t notify;   /* bits: 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0 not given */
    uint8_t state;    /* enum smtp_client_recipient_state; WAITING at first */
    bool chosen;      /* private: belongs to the transaction under way */
};

enum smtp_client_body { SMTP_CLIENT_7BIT, SMTP_CLIENT_8BITMIME, SMTP_CLIENT_BINARYMIME };

struct smtp_client_message {
    struct str sender; /* empty: null */
    enum smtp_client_body body;
    bool smtputf8;
    uint8_t ret;      /* 0 not given, 1 FULL, 2 HDRS */
    struct str envid; /* xtext as given; may be empty */
    uint64_t size;    /* octets, exactly */
};

/* What a message really holds; asked for only where the peer lacks what its envelope declares. */
struct smtp_client_scan {
    bool header_beyond_ascii;
    bool body_beyond_ascii;
    bool binary; /* NUL, bare CR or LF, or a line of more than 998 octets */
    /* private */
    bool header_over;
    char last;
    size_t line;
};

enum smtp_client_request {
    SMTP_CLIENT_INPUT,     /* send `out`, wait for input, at most smtp_client_timeout_ms() */
    SMTP_CLIENT_START_TLS, /* send `out`, shake hands: smtp_client_tls_started() */
    SMTP_CLIENT_READY, /* idle: smtp_client_begin() or smtp_client_quit(); input that comes now ends the session */
    SMTP_CLIENT_SCAN, /* read the message through smtp_client_scan_bytes(), then smtp_client_scanned() */
    SMTP_CLIENT_BODY, /* smtp_client_body() with the next bytes, or smtp_client_body_failed() */
    SMTP_CLIENT_DONE, /* the transaction is over. If recipients are still WAITING: smtp_client_begin() again */
    SMTP_CLIENT_CLOSE /* close. `failure` says why; recipients that are not DECIDED can be tried elsewhere */
};

struct smtp_client_reply {
    unsigned code;
    bool complete;
    bool bad; /* it is no reply, or beyond the limits */
    bool more;
    unsigned lines;
    size_t line_len;
    size_t text_len;
    char text[SMTP_CLIENT_TEXT_MAX];
    char line[SMTP_CLIENT_LINE_MAX];
};

struct smtp_client {
    const struct smtp_client_settings *settings;
    void (*report)(void *context, size_t recipient, const struct smtp_client_result *result);
    void *context;

    /* All below is private but `failure`, `tls`, `refusal` and `progress`. */
    uint8_t phase;
    bool tls;
    bool esmtp;
    bool broken;      /* out of step or refused: only CLOSE is left */
    bool needs_reset; /* the last transaction did not come to its end */
    uint32_t extensions;
    uint64_t size_max;     /* 0: none told */
    unsigned rcpt_max;     /* LIMITS; 0: none told */
    unsigned mail_max;     /* LIMITS; 0: none told */
    unsigned transactions; /* begun on this connection */
    char refusal
        [SMTP_CLIENT_REFUSAL_MAX]; /* the reply to STARTTLS for which the session goes on in clear; else empty */
    uint64_t progress;             /* grows with every reply: time-outs count from the last one */
    struct smtp_client_result failure; /* of the session, when CLOSE was asked for */
    char failure_text[SMTP_CLIENT_TEXT_MAX];
    char failure_enhanced[16];

    const struct smtp_client_message *message;
    struct smtp_client_recipient *recipients;
    size_t recipient_count;
    size_t next_to_send;  /* recipient whose RCPT goes out next */
    size_t next_to_reply; /* recipient whose reply is awaited */
    unsigned chosen;      /* recipients of this transaction */
    unsigned accepted;
    bool mail_replied;
    bool mail_refused;
    bool data_sent;
    bool data_replied;
    bool scan_done;
    struct smtp_client_scan scan;
    bool use_bdat;
    bool pipelining;
    bool line_start;
    char body_last;
    uint64_t body_octets;
    char enhanced[16];
    struct smtp_client_reply reply;
};

/* `report` is called once for each recipient that gets decided, from within smtp_client_run and smtp_client_lost. */
void smtp_client_start(struct smtp_client *client, const struct smtp_client_settings *settings,
                       void (*report)(void *context, size_t recipient,
                                      const struct smtp_client_result *result),
                       void *context);
/* Goes on with input from the front of *input, which it uses up. */
enum smtp_client_request smtp_client_run(struct smtp_client *client, struct str *input, struct buf *out);
/* The handshake is over. If it failed the engine is at its end; with OPPORTUNISTIC the driver may connect again without TLS. */
void smtp_client_tls_started(struct smtp_client *client, bool good, struct str reason);
/*
 * A transaction for those of `recipients` that are WAITING; both must live until DONE or CLOSE. Only when READY. The
 * recipients that the peer does not take in one transaction stay WAITING.
 */
void smtp_client_begin(struct smtp_client *client, const struct smtp_client_message *message,
                       struct smtp_client_recipient *recipients, size_t count);
/* The next octets of the message, `last` with the last ones (which may be none). Appends them, dots doubled, to `out`. */
void smtp_client_body(struct smtp_client *client, struct str bytes, bool last, struct buf *out);
/* The message cannot be read: the session ends without an end of data, and nothing is delivered. */
void smtp_client_body_failed(struct smtp_client *client);
void smtp_client_scan_bytes(struct smtp_client_scan *scan, struct str bytes);
void smtp_client_scanned(struct smtp_client *client, const struct smtp_client_scan *scan);
/* Says goodbye; only when READY. The next request is CLOSE when the reply has come. */
void smtp_client_quit(struct smtp_client *client, struct buf *out);
/*
 * The connection is gone, or a time-out has passed (`timed_out`). `unsent`: some of `out` has not left. Recipients behind a
 * sent end of data are reported as UNCERTAIN; `failure` is set for the others.
 */
void smtp_client_lost(struct smtp_client *client, bool timed_out, bool unsent, struct str reason);
/* No connection came about, for this reason: `failure` is set, at the stage CONNECT. */
void smtp_client_unconnected(struct smtp_client *client, struct str reason);
/* How long the peer may take for what is awaited now, in milliseconds, from the last progress. */
uint64_t smtp_client_timeout_ms(const struct smtp_client *client);
/* Whether another message may follow on this connection. */
bool smtp_client_reusable(const struct smtp_client *client);
/* Where it stands. */
enum smtp_client_stage smtp_client_stage_now(const struct smtp_client *client);

#endif
