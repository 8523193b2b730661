/*
 * The IMAP server engine (RFC 9051 and 3501, with the extensions that capability.c lists). Pure: bytes, answers and news
 * in; replies and requests out; no socket, no clock, no look-up. The role around it (roles/imapd_imap.c) has those.
 *
 * Use: imap_server_start(), then imap_server_run() with whatever came in. It consumes input and appends replies to `out` until it
 * needs more input (IMAP_INPUT) or an answer. The role gives the answer with the functions named beside the request and calls
 * imap_server_run() again. One command runs at a time; those that a client sends ahead wait in its input.
 *
 * What the engine wants to know or changed stands in server->ask. Everything about mailboxes comes by four questions: rows
 * of mailboxes (IMAP_LIST), flags of messages (IMAP_ENTRIES), messages themselves (IMAP_MESSAGES), and one change
 * (IMAP_CHANGE). After a change, or when the role says that there are news, the engine asks for the entries since the
 * modification sequence that it knows, so that own and others' changes reach the client on one way.
 */
#ifndef VEREDUS_IMAP_SERVER_H
#define VEREDUS_IMAP_SERVER_H

#include "config/doors.h"
#include "imap/set.h"
#include "imap/view.h"
#include "message/rights.h"

enum {
    IMAP_CHUNK = 65536,
    IMAP_LINE_MAX = 65536,                /* a command's line with its small literals, logged in */
    IMAP_LITERAL_BEFORE_LOGIN_MAX = 8192, /* a line and its literals, before */
    IMAP_LINE_BEFORE_LOGIN_MAX = 49152, /* a line without literals, before: ID may have 30 fields of 1 KiB */
    IMAP_NAME_MAX = 1000,               /* octets of a mailbox name in UTF-8 */
    IMAP_MAILBOX_ID_SIZE = 16
};

/* What a listener's sessions have in common; must outlive them. */
struct imap_settings {
    bool tls_offered; /* STARTTLS can be had */
    bool implicit_tls;
    struct str hostname;
    unsigned errors;           /* refused commands before login after which a session is ended */
    uint64_t append_max;       /* octets of one message */
    unsigned message_limit;    /* messages that one command works on (RFC 9738); 0: any number */
    unsigned narrow_from;      /* messages to be searched from which on a full-text index is asked first */
    uint64_t login_timeout_ms; /* until a login has succeeded */
    uint64_t idle_timeout_ms;  /* RFC 9051, section 5.4: at least 30 minutes */
    struct doors doors;        /* for those who have come to the wrong one */
};

enum imap_request {
    IMAP_INPUT,
    IMAP_VERIFY, /* server->login_name and login_password: imap_server_verified() */
    IMAP_LIST,   /* all mailboxes of the account: imap_server_row() for each, imap_server_answered() */
    IMAP_OPEN, /* ask.name: imap_server_opened(); the role closes what was open before, and watches it from now on. With
                  ask.aside that stays open and watched: the other is open beside it until the command has ended, or another is */
    IMAP_SHUT, /* nothing is selected any more: closes and stops watching; no answer */
    IMAP_ENTRIES, /* ask.modseq: imap_server_entries() for those that are newer, imap_server_vanished() for each range of UIDs
                       expunged since, then imap_server_answered() with the mailbox's modseq as value. With ask.aside of the mailbox
                       that is open beside the selected one; so also IMAP_MESSAGES */
    IMAP_MESSAGES, /* ask.uids, ask.want: imap_server_message() for each and, if asked for, imap_server_bytes(), then
                       imap_server_answered() */
    IMAP_NARROW, /* ask.question, for a full-text index of the mailbox (store/fulltext.h): imap_server_candidates() for the
                      messages that may be hits, rising, then imap_server_answered(); IMAP_NONEXISTENT: there is none */
    IMAP_METADATA, /* annotations of ask.name (empty: of the account), or with ask.all of all mailboxes, in the octets' order
                      of their names: imap_server_annotation() for each, then imap_server_answered() */
    IMAP_ACL, /* ask.acl of ask.name: imap_server_rights() for each identifier, then imap_server_answered() */
    IMAP_WATCH, /* news of the whole account and of what others share with it, of the kinds ask.news (0: no longer):
                       imap_server_answered(); from then on imap_server_account_news(). Otherwise it stays as it was */
    IMAP_CHANGE, /* ask.change: imap_server_changed() */
    IMAP_APPEND, /* ask.change and ask.body, which is to be on stable storage first: imap_server_changed() */
    IMAP_DRAIN,  /* send `out`, then run again */
    IMAP_START_TLS, /* send `out`, throw away input, shake hands: imap_server_tls_started() */
    IMAP_COMPRESS,  /* send `out`; from then on DEFLATE both ways (RFC 4978) */
    IMAP_CLOSE      /* send `out` and close; server->close_reason says why */
};

enum imap_auth_answer {
    IMAP_AUTH_GOOD,
    IMAP_AUTH_BAD,
    IMAP_AUTH_TEMPORARY,
    IMAP_AUTH_THROTTLED,
    IMAP_AUTH_DISABLED
};

/* The end of a question. Anything but IMAP_DONE becomes NO with the response code of RFC 9051, section 7.1. */
enum imap_answer {
    IMAP_DONE,
    IMAP_NONEXISTENT, /* [NONEXISTENT], or [TRYCREATE] for APPEND, COPY and MOVE */
    IMAP_ALREADY_EXISTS,
    IMAP_OVER_QUOTA,
    IMAP_HAS_CHILDREN,
    IMAP_NO_PERMISSION,
    IMAP_NOBODY, /* there is no account of this name */
    IMAP_GONE,   /* the message has been expunged by others */
    IMAP_CANNOT, /* against the rules of names or of INBOX */
    IMAP_LIMIT,
    IMAP_UNAVAILABLE /* now; may work later */
};

/* One mailbox of the account, or of another that shares it; slices live during the call. */
struct imap_row {
    struct str name;                        /* UTF-8, parts separated by "/"; INBOX in capitals */
    unsigned char id[IMAP_MAILBOX_ID_SIZE]; /* RFC 8474, as hexadecimal digits' octets */
    bool exists;                            /* false: there is a subscription and no mailbox */
    bool subscribed;
    uint32_t rights;      /* enum right: what the session's account may do there */
    uint32_t special_use; /* bits of enum imap_special_use */
    uint32_t uid_validity;
    uint32_t uid_next;
    uint64_t modseq;
    uint32_t messages;
    uint32_t unseen;
    uint32_t deleted;
    uint64_t octets;
    uint64_t deleted_octets; /* with ask.deleted_octets: of those with \Deleted */
    uint32_t recent;         /* RFC 3501 */
    struct str keywords;     /* names by their numbers, each ended by a space */
};

enum imap_special_use { /* RFC 6154 */
                        IMAP_USE_ALL = 1,
                        IMAP_USE_ARCHIVE = 2,
                        IMAP_USE_DRAFTS = 4,
                        IMAP_USE_FLAGGED = 8,
                        IMAP_USE_JUNK = 16,
                        IMAP_USE_SENT = 32,
                        IMAP_USE_TRASH = 64,
                        IMAP_USE_IMPORTANT = 128
};

/* What IMAP_MESSAGES wants of each message. */
enum imap_want {
    IMAP_WANT_META = 1, /* size, dates, ids: always there */
    IMAP_WANT_SUMMARY =
        2, /* those texts of its summary that are in ask.texts; without them its octets, as if they were asked for */
    IMAP_WANT_BODY = 4 /* its octets, or [ask.offset, ask.offset + ask.length) of them */
};

struct imap_message {
    uint32_t uid;
    uint64_t size;        /* octets */
    uint64_t internal_ms; /* wall clock */
    uint64_t saved_ms;    /* RFC 8514 */
    struct str email_id;  /* RFC 8474, hexadecimal */
    struct str summary; /* encoded, with all of ask.texts, well-formed; empty: not wanted, or there is none */
};

/* What has changed somewhere in an account. */
enum imap_news {
    IMAP_NEWS_MESSAGES = 1, /* messages or flags of a mailbox */
    IMAP_NEWS_NAMES = 2,    /* names, subscriptions or rights */
    IMAP_NEWS_METADATA = 4
};

enum imap_change_kind {
    IMAP_CHANGE_FLAGS,   /* uids, operation, flags, keywords, modseq (UNCHANGEDSINCE; UINT64_MAX: none) */
    IMAP_CHANGE_EXPUNGE, /* those of uids that have \Deleted */
    IMAP_CHANGE_COPY,    /* uids to `name` */
    IMAP_CHANGE_MOVE,
    IMAP_CHANGE_APPEND, /* ask.body to `name`, with flags, keywords, internal_ms; and expunges uids, if there are any */
    IMAP_CHANGE_FORGET, /* messages that wait for others to be filed together with them are not to be filed */
    IMAP_CHANGE_CREATE, /* name, special_use */
    IMAP_CHANGE_DELETE, /* name */
    IMAP_CHANGE_RENAME, /* name to other_name */
    IMAP_CHANGE_SUBSCRIBE,   /* name */
    IMAP_CHANGE_UNSUBSCRIBE, /* name */
    IMAP_CHANGE_ACL,         /* name, other_name (the identifier), operation, rights */
    IMAP_CHANGE_METADATA,    /* data to `name`; empty: of the account */
    IMAP_CHANGE_SEEN_RECENT  /* the session has taken \Recent up to uids' maximum */
};
enum imap_store_operation { IMAP_STORE_REPLACE, IMAP_STORE_ADD, IMAP_STORE_REMOVE };

struct imap_change {
    enum imap_change_kind kind;
    struct str name;
    struct str other_name;
    const struct imap_set *uids;
    enum imap_store_operation operation;
    uint64_t flags;      /* system flags */
    struct str keywords; /* names, each ended by a space */
    uint64_t modseq;
    uint64_t internal_ms; /* 0: now */
    uint32_t special_use;
    uint32_t rights;
    /* METADATA: for each entry 16 bits its length, 32 bits the value's (UINT32_MAX: none), both. */
    struct str data;
    bool more; /* APPEND: filed together with the next one, or not at all */
};

/* What has become of a change; slices live during the call. */
struct imap_changed {
    enum imap_answer answer;
    uint64_t modseq;
    uint32_t uid_validity; /* of the destination */
    /* Packed ranges (imap_set_pack): what was copied; with STORE what had changed since UNCHANGEDSINCE. */
    struct str source_uids;
    struct str target_uids;                 /* packed ranges: as what */
    struct str keywords;                    /* of the mailbox, if there are new ones */
    unsigned char id[IMAP_MAILBOX_ID_SIZE]; /* of a new mailbox */
};

enum imap_acl_question {
    IMAP_ACL_ENTRIES,  /* the owner and all entries */
    IMAP_ACL_POSSIBLE, /* of ask.identifier: the rights that it cannot lose */
    IMAP_ACL_OWN       /* what the session's account may do; the identifier is empty */
};

struct imap_ask {
    struct str name;
    struct str identifier;
    enum imap_acl_question acl;
    bool read_only;
    bool aside;
    bool deleted_octets;
    bool all;
    uint64_t modseq;
    struct str question;
    const struct imap_set *uids;
    unsigned want;  /* enum imap_want */
    unsigned texts; /* 1 << enum summary_text */
    uint64_t offset;
    uint64_t length;
    struct imap_change change;
    struct str body;
    unsigned news; /* enum imap_news */
};

/* Whether imap_server_bytes() follows a message. */
static inline bool imap_message_has_octets(const struct imap_ask *ask, const struct imap_message *message)
{
    return (ask->want & IMAP_WANT_BODY) != 0 ||
           ((ask->want & IMAP_WANT_SUMMARY) != 0 && message->summary.len == 0);
}

struct imap_server;

struct imap_server *imap_server_new(const struct imap_settings *settings, bool tls, uint64_t now_ms);
void imap_server_free(struct imap_server *server);
/* Appends the greeting. `early`: what the client sent before it. */
enum imap_request imap_server_start(struct imap_server *server, struct str early, struct buf *out);
/* `now_ms`: of a clock that never goes back; `wall_ms`: milliseconds since 1970. */
enum imap_request imap_server_run(struct imap_server *server, uint64_t now_ms, uint64_t wall_ms,
                                  struct str *input, struct buf *out);

const struct imap_ask *imap_server_ask(const struct imap_server *server);
/* The unanswered request. */
enum imap_request imap_server_waiting(const struct imap_server *server);
struct str imap_server_login_name(const struct imap_server *server);
struct str imap_server_login_password(const struct imap_server *server);
struct str imap_server_grant(const struct imap_server *server);
const char *imap_server_close_reason(const struct imap_server *server);
/* What a client was told that should be at another port, for the log; empty if it was not. */
struct str imap_server_wrong_door(const struct imap_server *server);

void imap_server_verified(struct imap_server *server, enum imap_auth_answer answer, struct str login,
                          struct str grant, struct buf *out);
/* False: no memory, or too many; the role then answers IMAP_UNAVAILABLE. So also for the next three. */
bool imap_server_row(struct imap_server *server, const struct imap_row *row);
bool imap_server_entries(struct imap_server *server, const struct imap_run *run);
bool imap_server_vanished(struct imap_server *server, uint32_t first_uid, uint32_t last_uid);
/* With IMAP_NARROW. False: no memory. */
bool imap_server_candidates(struct imap_server *server, uint32_t first_uid, uint32_t last_uid);
/* In the order of UIDs. */
bool imap_server_message(struct imap_server *server, const struct imap_message *message, struct buf *out);
/* The next octets of the message that came last; all of them have come with `last`. */
bool imap_server_bytes(struct imap_server *server, struct str bytes, bool last, struct buf *out);
void imap_server_opened(struct imap_server *server, enum imap_answer answer, const struct imap_row *row,
                        struct buf *out);
void imap_server_changed(struct imap_server *server, const struct imap_changed *changed, struct buf *out);
void imap_server_answered(struct imap_server *server, enum imap_answer answer, uint64_t value,
                          struct buf *out);
void imap_server_tls_started(struct imap_server *server, uint64_t now_ms);

/* False: no memory. `mailbox` is empty where one has been asked for. */
bool imap_server_annotation(struct imap_server *server, struct str mailbox, struct str entry,
                            struct str value);
/* False: no memory. */
bool imap_server_rights(struct imap_server *server, struct str identifier, uint32_t rights);
/* With the answer to IMAP_ENTRIES: what the account may do in the mailbox now. */
void imap_server_own_rights(struct imap_server *server, uint32_t rights);
/* With the answer to IMAP_LIST: what the account holds and may hold; 0: no limit. */
void imap_server_quota(struct imap_server *server, uint64_t used_octets, uint64_t quota_octets);
/* With the answer to IMAP_ENTRIES: the keywords as they are now. */
void imap_server_keywords(struct imap_server *server, struct str keywords);
/* The watched mailbox has changed: call imap_server_run() as well. */
void imap_server_news(struct imap_server *server);
/* Likewise something of what IMAP_WATCH asked for: bits of enum imap_news. */
void imap_server_account_news(struct imap_server *server, unsigned news);
/* Whether the engine would take more messages now; if not, the role lets those wait until `out` has been taken. */
bool imap_server_takes(const struct imap_server *server, const struct buf *out);

/* When imap_server_expire() must be called if nothing happens before. */
uint64_t imap_server_deadline(const struct imap_server *server);
/* To be called from time to time: a command that takes long is said to be under way (RFC 9585). True: something was appended. */
bool imap_server_progress(struct imap_server *server, uint64_t now_ms, struct buf *out);
void imap_server_expire(struct imap_server *server, struct buf *out);
/* The server stops. True: the session is over; false: a change under way is finished first. */
bool imap_server_shutdown(struct imap_server *server, struct buf *out);

#endif
