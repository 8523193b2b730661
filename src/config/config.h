/*
 * The configuration: one file, read once by the supervisor and again, from its text, by each role.
 *
 * The result never changes; a reload makes a new one, and whoever uses the old one keeps a reference. All text in it
 * lives as long as it does. Every setting stands in one table (settings.h) with type, default, bounds and help.
 */
#ifndef VEREDUS_CONFIG_CONFIG_H
#define VEREDUS_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

enum listener_kind {
    LISTENER_MX,         /* 25: mail for local domains */
    LISTENER_SUBMISSION, /* 587: STARTTLS, then a login */
    LISTENER_LMTP,       /* mail for local domains, a reply a recipient */
    LISTENER_POP3,
    LISTENER_IMAP
};

enum listener_tls { LISTENER_TLS_NONE, LISTENER_TLS_STARTTLS, LISTENER_TLS_IMPLICIT };

struct config_listener {
    struct str name;
    enum listener_kind kind;
    enum listener_tls tls;
    const struct str *addresses; /* "0.0.0.0", "::", ... */
    size_t address_count;
    unsigned port;
    struct str tls_name; /* of the tls section; empty if there is none */
    unsigned line;       /* in the file, for error texts */
};

struct config_tls {
    struct str name;
    struct str certificate; /* file of the PEM chain */
    struct str key;         /* file of the PEM private key */
    unsigned line;
};

struct config_domain {
    struct str name;      /* lower case; A-labels if it is an IDN */
    struct str catch_all; /* address; empty: unknown users are refused */
    char separator;       /* of subaddresses; 0: none */
    bool relay_only;      /* we take mail for it and pass it on */
    unsigned line;
};

enum route_tls { ROUTE_TLS_NONE, ROUTE_TLS_OPPORTUNISTIC, ROUTE_TLS_REQUIRED, ROUTE_TLS_VERIFIED };

struct config_route {
    struct str domain; /* "*" for all mail that has no other route: a smarthost */
    struct str host;   /* name or address */
    unsigned port;
    enum route_tls tls;
    bool implicit_tls;
    bool lmtp;
    struct str login;
    struct str password_file;
    unsigned line;
};

struct config_limits {
    uint64_t message_size; /* octets */
    unsigned recipients;
    unsigned errors;
    unsigned sessions;             /* a process */
    unsigned sessions_per_address; /* a process */
    unsigned command_timeout_s;
    unsigned data_timeout_s;
    unsigned transaction_timeout_s;
    unsigned session_timeout_s;
    uint64_t min_rate;     /* octets a second, over a minute of data */
    uint64_t body_memory;  /* octets of message bodies held by a process */
    unsigned transactions; /* a session */
    unsigned hops;         /* Received fields */
    unsigned pop3_idle_s;
    unsigned imap_idle_s;
    unsigned imap_messages; /* of one command; 0: any number */
};

struct config_processes {
    unsigned smtpd_mx;
    unsigned smtpd_msa;
    unsigned imapd;
    unsigned reader;
    unsigned relay;
};

struct config_dns {
    const struct str *servers;
    size_t server_count;
    const struct str *stub_zones;
    size_t stub_zone_count;
    bool dnssec;
    struct str trust_anchor;
};

struct config_relay {
    struct str hello_name; /* empty: hostname */
    const uint32_t *schedule_s;
    size_t schedule_count;
    uint32_t lifetime_s;
    uint32_t delay_notice_s;
    uint32_t bounce_lifetime_s;
    unsigned connections;            /* a process */
    unsigned connections_per_domain; /* a process */
    unsigned port;                   /* 25 but in tests */
    enum route_tls tls;
    bool ipv4;
    bool ipv6;
    unsigned transactions_per_connection;
    struct str ca_file;
    unsigned connect_timeout_s;
    unsigned timeout_scale_percent; /* of the time-outs of RFC 5321 */
};

struct config_store {
    uint64_t segment_size;
    unsigned apply_interval_ms;
    uint64_t reserve;       /* octets kept free for index, compaction and expunge */
    unsigned compact_below; /* percent of a segment that is still alive */
    unsigned journal_days;
    unsigned full_text_from; /* messages */
};

struct config {
    unsigned references;
    struct arena arena;
    struct str file_name;
    struct str hostname;
    struct str data_dir;
    struct str runtime_dir;
    struct str postmaster;
    uint32_t uid_base;
    uint32_t grace_ms;
    bool dev; /* catch every message for every address */
    int log_level;
    bool log_json;
    bool repair_newlines;   /* submission only */
    bool foreign_senders;   /* a login may use any reverse-path and From */
    bool refuse_over_quota; /* 552 instead of 452 */
    uint64_t quota;         /* octets an account, 0 for none; an account's own goes first */
    const struct config_listener *listeners;
    size_t listener_count;
    const struct config_tls *tls;
    size_t tls_count;
    const struct config_domain *domains;
    size_t domain_count;
    const struct config_route *routes;
    size_t route_count;
    struct config_limits limits;
    struct config_processes processes;
    struct config_dns dns;
    struct config_relay relay;
    struct config_store store;
};

/*
 * Reads a configuration from its text. On failure *out is NULL, the result false, and `errors` has a line for each thing
 * that is wrong: "file:line: what; advice" (without a line where the file as a whole is
 * meant). `file_name` only goes into those lines. Not thread-safe (libconfuse).
 */
bool config_parse(struct str text, const char *file_name, struct config **out, struct buf *errors);
struct config *config_ref(struct config *config);
/* Frees it with the last reference; harmless with NULL. */
void config_unref(struct config *config);

const struct config_listener *config_find_listener(const struct config *config, struct str name);
const struct config_tls *config_find_tls(const struct config *config, struct str name);
/* `domain` in lower case, A-labels. */
const struct config_domain *config_find_domain(const struct config *config, struct str domain);
/* The route of this domain: an exact one, one of a parent domain (".example.org"), "*", or NULL. */
const struct config_route *config_find_route(const struct config *config, struct str domain);

/* The nearest of `count` words to `word`, or an empty slice if none is near. For "did you mean". */
struct str config_nearest(struct str word, const char *const *words, size_t count);

#endif
