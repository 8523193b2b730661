/*
 * Delivery status notifications: a notice of failure (bounce), delay or success as a whole message (RFC 3461, 3464,
 * 6522, 6533). A part in plain words, the exact machine part, and what was sent. Pure: facts in, bytes out; the store
 * puts the result into the queue with a null reverse-path.
 */
#ifndef VEREDUS_MESSAGE_DSN_H
#define VEREDUS_MESSAGE_DSN_H

#include "base/buf.h"

enum dsn_action {
    DSN_FAILED,
    DSN_DELAYED,
    DSN_DELIVERED,
    DSN_RELAYED, /* handed to a host that does not do DSN */
    DSN_EXPANDED /* an alias with several targets took it */
};

/* As in MAIL and RCPT, smtp/server.h and ipc/proto_queue.h. */
enum dsn_notify {
    DSN_NOTIFY_NEVER = 1,
    DSN_NOTIFY_SUCCESS = 2,
    DSN_NOTIFY_FAILURE = 4,
    DSN_NOTIFY_DELAY = 8
};
enum dsn_ret { DSN_RET_NONE, DSN_RET_FULL, DSN_RET_HDRS };

enum {
    DSN_ORIGINAL_FULL_MAX = 65536,   /* octets of a message that comes back whole */
    DSN_ORIGINAL_HEADER_MAX = 32768, /* octets of header that come back */
    DSN_ORIGINAL_WANTED =
        DSN_ORIGINAL_FULL_MAX + 1, /* the caller need not read more of the original than this */
    DSN_RECIPIENTS_MAX = 1000,
    DSN_SIZE_MAX = 4 << 20 /* octets: a good limit for `out` */
};

/* One recipient. Text that came from outside may hold anything; it is made safe here. */
struct dsn_recipient {
    struct str address; /* as it was tried */
    struct str orcpt;   /* as given, "rfc822;xtext"; empty if not */
    enum dsn_action action;
    unsigned code;       /* of the remote reply; 0 if there was none */
    struct str enhanced; /* "5.1.1"; empty: made from code and action */
    struct str text;     /* the remote reply without its codes, or our own words; may be escaped already */
    struct str host;     /* remote host name; may be empty */
    struct str host_address;  /* its address as text; may be empty */
    bool expired;             /* failed because the time for trying is over */
    bool uncertain;           /* a connection was lost behind the final dot: a copy may have arrived */
    uint64_t last_attempt_ms; /* 0: unknown */
    uint64_t retry_until_ms;  /* for DELAYED; 0: unknown */
};

struct dsn_notice {
    struct str hostname;   /* ours */
    struct str postmaster; /* an address to ask for help; may be empty */
    struct str sender;     /* reverse-path of the original; the notice goes there; not empty */
    struct str envid;      /* as given, xtext; may be empty */
    struct str message_id; /* our id of the original, for `veredus trace` */
    struct str notice_id;  /* our id of the notice; its Message-ID is made from it */
    uint64_t arrival_ms;   /* when the original was accepted */
    uint64_t now_ms;
    enum dsn_ret ret;
    bool smtputf8;       /* of the original's MAIL */
    struct str original; /* trace header and body from the start; may be cut at DSN_ORIGINAL_WANTED octets */
    uint64_t original_size;                 /* octets of the whole original */
    const struct dsn_recipient *recipients; /* all with the same sender; actions may differ */
    size_t recipient_count;                 /* 1 to DSN_RECIPIENTS_MAX */
    uint64_t random;                        /* for the MIME boundary */
};

/* What the notice needs of its envelope. */
struct dsn_needs {
    bool smtputf8;  /* MAIL ... SMTPUTF8 */
    bool eight_bit; /* BODY=8BITMIME */
};

/*
 * Whether the sender is to be told of this (RFC 3461, sections 4.1 and 5.2): never for a null reverse-path; with no NOTIFY
 * given of failures and delays.
 */
bool dsn_wanted(enum dsn_action action, uint8_t notify, struct str sender);

/* Appends the message, header and all, lines ended by CRLF. False without memory or beyond the limit of `out`. */
bool dsn_build(const struct dsn_notice *notice, struct buf *out, struct dsn_needs *needs);

/* The enhanced code that counts for a recipient: the given one, or one made from action and reply code. `out`: 16 bytes. */
struct str dsn_status(const struct dsn_recipient *recipient, char out[16]);

#endif
