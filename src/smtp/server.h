/*
 * The SMTP server engine (RFC 5321, with 1870, 2033, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422). Pure: bytes and
 * answers in, replies and requests out; no socket, no clock, no look-up. The role around it (roles/smtpd.c) has those.
 *
 * Use: smtp_server_start(), then smtp_server_run() with whatever came in. It consumes input and appends replies to `out`
 * until it needs more input (SMTP_INPUT) or an answer. The role gives the answer with the function named beside the
 * request and calls smtp_server_run() again. While an answer is awaited no input is consumed, so a client that pipelines waits.
 */
#ifndef VEREDUS_SMTP_SERVER_H
#define VEREDUS_SMTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "config/doors.h"
#include "smtp/data.h"

enum smtp_server_kind { SMTP_KIND_MX, SMTP_KIND_SUBMISSION, SMTP_KIND_LMTP };

/* What a listener's sessions have in common; must outlive them. */
struct smtp_server_settings {
    enum smtp_server_kind kind;
    bool tls_offered; /* STARTTLS can be had */
    bool implicit_tls;
    bool repair_newlines;   /* submission only */
    bool foreign_senders;   /* a login may use any sender address */
    bool refuse_over_quota; /* a full mailbox gets 552, not 452 */
    bool catch_all; /* every address is local (`veredus dev`); submission without a login is taken too */
    struct str hostname;
    uint64_t message_size;
    unsigned recipients;
    unsigned errors;
    unsigned transactions;
    unsigned hops;
    uint64_t command_timeout_ms;
    uint64_t data_timeout_ms;
    uint64_t transaction_timeout_ms;
    uint64_t session_timeout_ms;
    uint64_t min_rate; /* octets a second */
    unsigned mx_port;
    struct doors doors; /* of other protocols, for those who speak them here */
};

/* Octets of message data held by all sessions of a process. */
struct smtp_body_budget {
    uint64_t used;
    uint64_t max;
};

enum smtp_request {
    SMTP_INPUT,           /* all input has been consumed; wait for more */
    SMTP_CHECK_RECIPIENT, /* server->question is the address: smtp_server_recipient() */
    SMTP_CHECK_SENDER,    /* may the login use server->question? smtp_server_sender() */
    SMTP_VERIFY_PASSWORD, /* server->sasl holds them: smtp_server_verified() */
    SMTP_START_TLS, /* send `out`, throw away input that has come, shake hands: smtp_server_tls_started() */
    SMTP_COMMIT,    /* server->transaction is complete: smtp_server_committed() */
    SMTP_CLOSE      /* send `out` and close; server->close_reason says why */
};

enum smtp_recipient_answer {
    SMTP_RECIPIENT_LOCAL,
    SMTP_RECIPIENT_REMOTE,       /* not ours: only for those who may relay */
    SMTP_RECIPIENT_RELAY_DOMAIN, /* not ours, but we relay for its domain */
    SMTP_RECIPIENT_UNKNOWN,
    SMTP_RECIPIENT_OVER_QUOTA,
    SMTP_RECIPIENT_OVER_QUOTA_NOW,
    SMTP_RECIPIENT_DISABLED,
    SMTP_RECIPIENT_FAILED
};

enum smtp_sender_answer { SMTP_SENDER_ALLOWED, SMTP_SENDER_FORBIDDEN, SMTP_SENDER_FAILED };
enum smtp_auth_answer {
    SMTP_AUTH_GOOD,
    SMTP_AUTH_BAD,
    SMTP_AUTH_TEMPORARY,
    SMTP_AUTH_THROTTLED,
    SMTP_AUTH_DISABLED
};
enum smtp_commit_answer { SMTP_COMMITTED, SMTP_COMMIT_NO_SPACE, SMTP_COMMIT_FAILED };

enum smtp_body_kind { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8
};
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_recipient {
    struct smtp_recipient *next;
    struct str address;  /* normalised; "postmaster" may stand without a domain */
    struct str original; /* ORCPT, still xtext; empty if not given */
    uint8_t notify;      /* enum smtp_notify bits; 0 if not given */
    bool refused;        /* at the end of the data, LMTP only: the message is not for this one */
    uint64_t room;       /* octets until its mailbox is full; UINT64_MAX: no limit is known */
};

/* One mail transaction: exists from MAIL to its end, in memory of its own. */
struct smtp_transaction {
    struct arena arena;
    struct str sender; /* normalised reverse-path; empty for the null one */
    enum smtp_body_kind body_kind;
    enum smtp_ret ret;
    bool smtputf8;
    bool bdat;              /* chunks have come; DATA may not follow */
    uint64_t declared_size; /* 0 if not given */
    struct str envelope_id; /* ENVID, still xtext */
    unsigned recipient_count;
    struct smtp_recipient *recipients;
    struct smtp_recipient **last;
    struct buf body; /* the message, dots removed */
    struct data_reader reader;
    uint64_t chunk_left; /* octets of the BDAT chunk that are still to come */
    bool chunk_last;
    uint64_t started_ms;
    uint64_t budgeted;              /* octets counted in the budget */
    struct submit_senders *senders; /* of the header, once it is checked */
    size_t senders_checked;         /* how many of them the login has been asked about */
};

/* What a journal or log wants to know of a refusal. Slices live until the next call. */
struct smtp_event {
    unsigned code;
    const char *enhanced;
    struct str sender;
    struct str recipient;
    struct str cause;
};

struct sasl;
struct submit_senders;
struct server_fault;

struct smtp_server {
    const struct smtp_server_settings *settings;
    struct smtp_body_budget *budget;
    void (*event)(void *context, const struct smtp_event *event); /* may be NULL */
    void *context;
    uint8_t state;   /* private */
    uint8_t waiting; /* enum smtp_request that has not been answered */
    bool esmtp;
    bool tls;
    bool authenticated;
    bool shutting_down;
    uint8_t skip_line; /* private: the rest of a line that was too long */
    uint16_t errors;   /* 5xx replies */
    uint16_t auth_failures;
    uint32_t transactions;
    uint64_t opened_ms;
    uint64_t activity_ms; /* last complete command or data */
    struct buf line;      /* an incomplete command */
    struct buf helo;
    struct buf login;
    struct buf grant;
    struct sasl *sasl;
    struct smtp_transaction *transaction;
    uint64_t data_started_ms; /* when this data phase or chunk began ... */
    uint64_t data_octets;     /* ... and what has been received since then */
    uint64_t skip_octets;     /* private: of a BDAT chunk that cannot be taken ... */
    const struct server_fault
        *skip_reply; /* ... and what is said when they have come (RFC 3030, section 2) */
    struct str question;
    const char *close_reason;
};

/* `server` is the caller's memory. No allocation is made before input comes. */
void smtp_server_init(struct smtp_server *server, const struct smtp_server_settings *settings,
                      struct smtp_body_budget *budget, bool tls, uint64_t now_ms);
void smtp_server_free(struct smtp_server *server);
/* Appends the greeting. `early`: what the client sent before it (RFC 5321, section 4.3.1), which ends the session. */
enum smtp_request smtp_server_start(struct smtp_server *server, struct str early, struct buf *out);
/* Appends 421 with this text instead of a greeting or reply; the session is over. */
void smtp_server_refuse(struct smtp_server *server, const char *enhanced, const char *text, struct buf *out);
enum smtp_request smtp_server_run(struct smtp_server *server, uint64_t now_ms, struct str *input,
                                  struct buf *out);

void smtp_server_recipient(struct smtp_server *server, enum smtp_recipient_answer answer, struct buf *out);
/* SMTP_RECIPIENT_LOCAL whose mailbox takes so many octets more; a larger message is refused at the end of its data. */
void smtp_server_recipient_room(struct smtp_server *server, uint64_t room, struct buf *out);
void smtp_server_sender(struct smtp_server *server, enum smtp_sender_answer answer, struct buf *out);
void smtp_server_verified(struct smtp_server *server, enum smtp_auth_answer answer, struct str login,
                          struct str grant, struct buf *out);
/* After the handshake; the session begins anew (RFC 3207, section 4.2). */
void smtp_server_tls_started(struct smtp_server *server, uint64_t now_ms);
/* `id` is the text of our message id. */
void smtp_server_committed(struct smtp_server *server, enum smtp_commit_answer answer, struct str id,
                           struct buf *out);

/*
 * When smtp_server_expire() must be called if nothing happens before; UINT64_MAX while an answer is awaited, because the
 * client is not to blame then.
 */
uint64_t smtp_server_deadline(const struct smtp_server *server);
/* The deadline has passed: appends 421 4.4.2; the session is over. */
void smtp_server_expire(struct smtp_server *server, uint64_t now_ms, struct buf *out);
/* The server stops: a transaction under way is finished, then 421 4.3.2. True if the session is over already. */
bool smtp_server_shutdown(struct smtp_server *server, struct buf *out);
/* Whether a transaction is so far that stopping would lose the client's work. */
bool smtp_server_in_transaction(const struct smtp_server *server);

#endif
