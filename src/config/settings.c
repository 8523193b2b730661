/* The one table of all settings; see settings.h. */
#include "config/settings.h"

#include "config/config.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MIB             (1024ULL * 1024)
#define GIB             (1024ULL * MIB)
#define DAYS            (24ULL * 3600)

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const listener_kinds[] = {"mx", "submission", "lmtp", "pop3", "imap", NULL};
static const char *const listener_tls_words[] = {"none", "starttls", "implicit", NULL};
static const char *const route_tls_words[] = {"none", "opportunistic", "required", "verified", NULL};
static const char *const over_quota_words[] = {"defer", "refuse", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const newline_words[] = {"refuse", "repair", NULL};

static const struct setting top[] = {
    {"hostname", SETTING_DOMAIN, offsetof(struct config, hostname), NULL, 1, 253, NULL,
     "The name of this host in greetings, trace fields and bounces. It should be a name that leads back to "
     "this host in "
     "DNS."},
    {"data_dir", SETTING_TEXT, offsetof(struct config, data_dir), "/var/lib/veredus", 1, 1024, NULL,
     "Where log, index and the server's own keys are kept."},
    {"runtime_dir", SETTING_TEXT, offsetof(struct config, runtime_dir), "/run/veredus", 1, 1024, NULL,
     "Where the control socket and the process id are kept."},
    {"postmaster", SETTING_MAIL, offsetof(struct config, postmaster), "", 0, 320, NULL,
     "The address that gets mail for postmaster in every local domain. Empty: the first account that was "
     "made."},
    {"uid_base", SETTING_COUNT, offsetof(struct config, uid_base), "29200", 1000, 60000, NULL,
     "Started by root, each role runs under a user id of its own, counted from this number."},
    {"grace", SETTING_COUNT, offsetof(struct config, grace_ms), "20000", 0, 600000, NULL,
     "Milliseconds that transactions under way have to finish when the server stops."},
    {"log_level", SETTING_CHOICE, offsetof(struct config, log_level), "info", 0, 0, log_levels,
     "Which log lines are written: error, warning, info or debug, each with those before it."},
    {"log_format", SETTING_CHOICE, offsetof(struct config, log_json), "text", 0, 1, log_formats,
     "Log lines as text or as JSON objects."},
    {"catch_all_mail", SETTING_FLAG, offsetof(struct config, dev), "false", 0, 0, NULL,
     "For tests only: every address is local, and its mailbox is made when the first message comes."},
    {"submission_newlines", SETTING_CHOICE, offsetof(struct config, repair_newlines), "refuse", 0, 1,
     newline_words,
     "What becomes of bare CR and LF in submitted messages. On port 25 they are always refused."},
    {"foreign_senders", SETTING_FLAG, offsetof(struct config, foreign_senders), "false", 0, 0, NULL,
     "Whether a login may use addresses that are not its own as reverse-path and From."},
    {"over_quota", SETTING_CHOICE, offsetof(struct config, refuse_over_quota), "defer", 0, 1,
     over_quota_words, "Mail for a full mailbox is deferred (452 4.2.2) or refused (552 5.2.2)."},
    {"quota", SETTING_SIZE, offsetof(struct config, quota), "0", 0, 1024 * GIB, NULL,
     "Octets that an account may hold unless it has a quota of its own; 0 is no limit."},
};

static const struct setting listener[] = {
    {"kind", SETTING_CHOICE, offsetof(struct config_listener, kind), NULL, 0, 0, listener_kinds,
     "What is spoken: mx (25), submission (587, 465, 2525), lmtp, pop3 (110, 995) or imap (143, 993)."},
    {"address", SETTING_ADDRESSES, offsetof(struct config_listener, addresses), "0.0.0.0, ::", 1, 16, NULL,
     "The addresses to listen on."},
    {"port", SETTING_COUNT, offsetof(struct config_listener, port), NULL, 1, 65535, NULL,
     "The port to listen on."},
    {"tls", SETTING_CHOICE, offsetof(struct config_listener, tls), "starttls", 0, 0, listener_tls_words,
     "TLS is not offered (none), begins with a command (starttls) or with the first byte (implicit)."},
    {"certificate", SETTING_TEXT, offsetof(struct config_listener, tls_name), "", 0, 127, NULL,
     "The name of the tls section to use. Empty: the first."},
};

static const struct setting tls[] = {
    {"certificate", SETTING_TEXT, offsetof(struct config_tls, certificate), NULL, 1, 1024, NULL,
     "The file with the certificate and its chain, PEM."},
    {"key", SETTING_TEXT, offsetof(struct config_tls, key), NULL, 1, 1024, NULL,
     "The file with the private key, PEM, readable by its owner alone."},
};

static const struct setting domain[] = {
    {"catch_all", SETTING_MAIL, offsetof(struct config_domain, catch_all), "", 0, 320, NULL,
     "The address that gets mail for unknown users. Empty: unknown users are refused."},
    {"subaddress_separator", SETTING_CHARACTER, offsetof(struct config_domain, separator), "+", 0, 0, NULL,
     "The character that parts user from tag in user+tag. Empty: no subaddresses."},
    {"relay", SETTING_FLAG, offsetof(struct config_domain, relay_only), "false", 0, 0, NULL,
     "Mail for this domain is taken and passed on by its route or MX; there are no users here."},
};

static const struct setting route[] = {
    {"host", SETTING_HOST, offsetof(struct config_route, host), NULL, 1, 253, NULL,
     "The host that takes the mail: a name or an address."},
    {"port", SETTING_COUNT, offsetof(struct config_route, port), "25", 1, 65535, NULL, "Its port."},
    {"tls", SETTING_CHOICE, offsetof(struct config_route, tls), "opportunistic", 0, 0, route_tls_words,
     "none, opportunistic, required (encrypted), or verified (encrypted, with a certificate for the host)."},
    {"implicit_tls", SETTING_FLAG, offsetof(struct config_route, implicit_tls), "false", 0, 0, NULL,
     "TLS begins with the first byte, as on port 465."},
    {"lmtp", SETTING_FLAG, offsetof(struct config_route, lmtp), "false", 0, 0, NULL, "The host speaks LMTP."},
    {"login", SETTING_TEXT, offsetof(struct config_route, login), "", 0, 320, NULL,
     "The user name for AUTH. Needs tls required or verified."},
    {"password_file", SETTING_TEXT, offsetof(struct config_route, password_file), "", 0, 1024, NULL,
     "The file with the password for AUTH, readable by its owner alone."},
};

static const struct setting limits[] = {
    {"message_size", SETTING_SIZE, offsetof(struct config_limits, message_size), "50M", 65536, 1 * GIB, NULL,
     "Octets of the largest message that is accepted."},
    {"recipients", SETTING_COUNT, offsetof(struct config_limits, recipients), "1000", 100, 10000, NULL,
     "Recipients of one transaction (at least 100: RFC 5321, section 4.5.3.1.8)."},
    {"errors", SETTING_COUNT, offsetof(struct config_limits, errors), "20", 1, 1000, NULL,
     "Refused commands after which a session is ended."},
    {"sessions", SETTING_COUNT, offsetof(struct config_limits, sessions), "20000", 1, 1000000, NULL,
     "Sessions at a time in one process."},
    {"sessions_per_address", SETTING_COUNT, offsetof(struct config_limits, sessions_per_address), "100", 1,
     1000000, NULL,
     "Sessions at a time from one address (IPv6: one /64) in one process. The loopback is not counted."},
    {"command_timeout", SETTING_SECONDS, offsetof(struct config_limits, command_timeout_s), "5m", 1, 3600,
     NULL, "How long the next command may take (RFC 5321, section 4.5.3.2.7: five minutes)."},
    {"data_timeout", SETTING_SECONDS, offsetof(struct config_limits, data_timeout_s), "3m", 1, 3600, NULL,
     "How long the next piece of message data may take."},
    {"transaction_timeout", SETTING_SECONDS, offsetof(struct config_limits, transaction_timeout_s), "1h", 1,
     86400, NULL, "How long one transaction may take in all."},
    {"session_timeout", SETTING_SECONDS, offsetof(struct config_limits, session_timeout_s), "6h", 1, 7 * DAYS,
     NULL, "How long one session may take in all."},
    {"min_rate", SETTING_SIZE, offsetof(struct config_limits, min_rate), "64", 0, 1 * MIB, NULL,
     "Octets a second that message data must come with, over any minute."},
    {"body_memory", SETTING_SIZE, offsetof(struct config_limits, body_memory), "1G", 1 * MIB, 1024 * GIB,
     NULL, "Octets of message data that one process holds at a time; beyond it new mail is deferred."},
    {"transactions", SETTING_COUNT, offsetof(struct config_limits, transactions), "100000", 1, 10000000, NULL,
     "Transactions in one session."},
    {"hops", SETTING_COUNT, offsetof(struct config_limits, hops), "100", 20, 1000, NULL,
     "Received fields from which on a message is taken to be in a loop (RFC 5321, section 6.3: at least "
     "100)."},
    {"pop3_idle", SETTING_SECONDS, offsetof(struct config_limits, pop3_idle_s), "10m", 1, 86400, NULL,
     "How long a POP3 session may be idle (RFC 1939: at least ten minutes)."},
    {"imap_idle", SETTING_SECONDS, offsetof(struct config_limits, imap_idle_s), "35m", 1, 7 * DAYS, NULL,
     "How long an IMAP session may be idle (RFC 9051: at least thirty minutes)."},
    {"imap_messages", SETTING_COUNT, offsetof(struct config_limits, imap_messages), "0", 0, 1000000000, NULL,
     "Messages that one IMAP command works on, the newest first (RFC 9738); programs that do not know of "
     "this see no "
     "more of a large mailbox. 0: any number."},
};

static const struct setting processes[] = {
    {"smtpd_mx", SETTING_COUNT, offsetof(struct config_processes, smtpd_mx), "0", 0, 16, NULL,
     "Processes for port 25 and LMTP; 0: one a core."},
    {"smtpd_msa", SETTING_COUNT, offsetof(struct config_processes, smtpd_msa), "0", 0, 16, NULL,
     "Processes for submission; 0: one a core."},
    {"imapd", SETTING_COUNT, offsetof(struct config_processes, imapd), "0", 0, 16, NULL,
     "Processes for mailbox access; 0: one a core."},
    {"reader", SETTING_COUNT, offsetof(struct config_processes, reader), "1", 1, 8, NULL,
     "Processes that read the store."},
    {"relay", SETTING_COUNT, offsetof(struct config_processes, relay), "1", 1, 8, NULL,
     "Processes that deliver to other hosts."},
};

static const struct setting dns[] = {
    {"servers", SETTING_SERVERS, offsetof(struct config_dns, servers), "", 0, 16, NULL,
     "Resolvers to ask, as 192.0.2.1 or 192.0.2.1@5353. Empty: ask the root servers and go down from there."},
    {"stub_zones", SETTING_ZONES, offsetof(struct config_dns, stub_zones), "", 0, 64, NULL,
     "Zones with servers of their own, as example.org=192.0.2.1@5353."},
    {"dnssec", SETTING_FLAG, offsetof(struct config_dns, dnssec), "true", 0, 0, NULL,
     "Whether answers are validated."},
    {"trust_anchor", SETTING_TEXT, offsetof(struct config_dns, trust_anchor), "/usr/share/dns/root.key", 1,
     1024, NULL, "The file with the root's trust anchor."},
};

static const struct setting relay[] = {
    {"hello_name", SETTING_DOMAIN, offsetof(struct config_relay, hello_name), "", 0, 253, NULL,
     "The name in EHLO to other hosts. Empty: hostname."},
    {"schedule", SETTING_SCHEDULE, offsetof(struct config_relay, schedule_s),
     "5m, 10m, 20m, 30m, 1h, 1h, 2h, 2h, 4h", 1, 64, NULL,
     "The pauses between attempts; the last one repeats. A random tenth is added."},
    {"lifetime", SETTING_SECONDS, offsetof(struct config_relay, lifetime_s), "5d", 10, 30 * DAYS, NULL,
     "How long delivery is tried before the sender gets a bounce."},
    {"bounce_lifetime", SETTING_SECONDS, offsetof(struct config_relay, bounce_lifetime_s), "5d", 10,
     30 * DAYS, NULL, "How long delivery of bounces is tried."},
    {"delay_notice", SETTING_SECONDS, offsetof(struct config_relay, delay_notice_s), "4h", 0, 30 * DAYS, NULL,
     "When the sender is told once that the message is late; 0: never."},
    {"connections", SETTING_COUNT, offsetof(struct config_relay, connections), "200", 1, 10000, NULL,
     "Connections to other hosts at a time in one process."},
    {"connections_per_domain", SETTING_COUNT, offsetof(struct config_relay, connections_per_domain), "10", 1,
     1000, NULL, "Connections at a time for one domain."},
    {"port", SETTING_COUNT, offsetof(struct config_relay, port), "25", 1, 65535, NULL,
     "The port of MX hosts; other than 25 only in tests."},
    {"tls", SETTING_CHOICE, offsetof(struct config_relay, tls), "opportunistic", 0, 0, route_tls_words,
     "How TLS is used with MX hosts."},
    {"ipv4", SETTING_FLAG, offsetof(struct config_relay, ipv4), "true", 0, 0, NULL, "Whether IPv4 is used."},
    {"ipv6", SETTING_FLAG, offsetof(struct config_relay, ipv6), "true", 0, 0, NULL, "Whether IPv6 is used."},
    {"transactions_per_connection", SETTING_COUNT, offsetof(struct config_relay, transactions_per_connection),
     "100", 1, 10000, NULL, "Messages after which a connection is closed."},
    {"ca_file", SETTING_TEXT, offsetof(struct config_relay, ca_file), "/etc/ssl/certs/ca-certificates.crt", 0,
     1024, NULL,
     "The certificates of the authorities that are trusted where a route asks for tls = verified."},
    {"connect_timeout", SETTING_SECONDS, offsetof(struct config_relay, connect_timeout_s), "30s", 1, 300,
     NULL, "How long connecting to one address may take."},
    {"timeout_scale", SETTING_COUNT, offsetof(struct config_relay, timeout_scale_percent), "100", 1, 100,
     NULL,
     "Percent of the time-outs of RFC 5321, section 4.5.3.2, and of that of DNS look-ups; less than 100 only "
     "in tests."},
};

static const struct setting store[] = {
    {"segment_size", SETTING_SIZE, offsetof(struct config_store, segment_size), "256M", 1 * MIB, 4 * GIB,
     NULL, "Octets of a log segment."},
    {"apply_interval", SETTING_COUNT, offsetof(struct config_store, apply_interval_ms), "50", 1, 1000, NULL,
     "Milliseconds between transactions of the index."},
    {"reserve", SETTING_SIZE, offsetof(struct config_store, reserve), "64M", 0, 1024 * GIB, NULL,
     "Octets of the disk kept free: below this new mail is deferred with 452 4.3.1."},
    {"compact_below", SETTING_COUNT, offsetof(struct config_store, compact_below), "50", 0, 95, NULL,
     "A log segment of which less than this percentage is needed is copied together with others; 0: never."},
    {"journal_days", SETTING_COUNT, offsetof(struct config_store, journal_days), "30", 1, 3650, NULL,
     "Days for which the journal of what happened to each message is kept."},
    {"full_text_from", SETTING_COUNT, offsetof(struct config_store, full_text_from), "500", 0, 1000000000,
     NULL,
     "Messages of a mailbox from which on a full-text index of it is kept, for SEARCH; 0: of none. Smaller "
     "ones are read."},
};

const struct section config_sections[] = {
    {"", false, 0, 0, COUNT_OF(top), top, "Outside all sections."},
    {"listener", true, sizeof(struct config_listener), offsetof(struct config, listeners), COUNT_OF(listener),
     listener, "A port that is listened on. The title is a name of your choice."},
    {"tls", true, sizeof(struct config_tls), offsetof(struct config, tls), COUNT_OF(tls), tls,
     "A certificate and its key. The title is a name of your choice."},
    {"domain", true, sizeof(struct config_domain), offsetof(struct config, domains), COUNT_OF(domain), domain,
     "A domain that mail is taken for. The title is the domain."},
    {"route", true, sizeof(struct config_route), offsetof(struct config, routes), COUNT_OF(route), route,
     "A fixed way for a domain instead of its MX. The title is the domain, .domain for all below it, or * "
     "for all."},
    {"limits", false, 0, offsetof(struct config, limits), COUNT_OF(limits), limits, "Limits of sessions."},
    {"processes", false, 0, offsetof(struct config, processes), COUNT_OF(processes), processes,
     "How many processes each role has."},
    {"dns", false, 0, offsetof(struct config, dns), COUNT_OF(dns), dns, "Name resolution."},
    {"relay", false, 0, offsetof(struct config, relay), COUNT_OF(relay), relay, "Delivery to other hosts."},
    {"store", false, 0, offsetof(struct config, store), COUNT_OF(store), store, "Log and index."},
};
const size_t config_section_count = COUNT_OF(config_sections);
