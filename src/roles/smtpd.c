/*
 * The smtpd roles: smtpd-mx serves port 25 and LMTP, smtpd-msa submission. They parse what the network sends, ask the reader
 * who recipients are, and write accepted messages to the log. They have no files but append-only segments, no way out to the
 * network, and no private key.
 */
#include "roles/smtpd_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_directory.h"
#include "ipc/proto_log.h"
#include "ipc/proto_resolve.h"

#include <sodium.h>
#include <string.h>
#include <unistd.h>

enum {
    SWEEP_MS = 1000,
    EVENTS_A_SECOND = 200,
    KNOWN_MS = 2000,
    FREED_KEPT = 8 << 20,
    BODY_FROM_HEAP = 1 << 20,
    ROOM_SURE = 16
};

/* Slots give sessions their numbers in messages to other roles. */

bool smtpd_take_slot(struct smtpd *d, struct session *session)
{
    if (d->free_count == 0) {
        return false;
    }
    uint32_t slot = d->free_slots[--d->free_count];
    d->slots[slot] = session;
    session->slot = slot;
    session->generation = ++d->generations[slot];
    return true;
}

void smtpd_free_slot(struct smtpd *d, const struct session *session)
{
    d->slots[session->slot] = NULL;
    d->free_slots[d->free_count++] = session->slot;
}

static bool make_slots(struct smtpd *d, uint32_t count)
{
    d->slots = mem_zalloc(count, sizeof(*d->slots));
    d->generations = mem_zalloc(count, sizeof(*d->generations));
    d->free_slots = mem_zalloc(count, sizeof(*d->free_slots));
    if (d->slots == NULL || d->generations == NULL || d->free_slots == NULL) {
        return false;
    }
    d->slot_count = count;
    d->free_count = count;
    for (uint32_t i = 0; i < count; i++) {
        d->free_slots[i] = count - 1 - i;
    }
    return true;
}

/* Recipients found local a moment ago. */

static struct known_recipient *known_slot(struct smtpd *d, struct str address)
{
    uint64_t hash = 0;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)address.data, address.len, d->hash_key);
    return &d->known[hash % KNOWN_ADDRESSES];
}

uint64_t smtpd_known_room(struct smtpd *d, struct str address, uint64_t size)
{
    if (address.len > KNOWN_ADDRESS_MAX) {
        return 0;
    }
    struct known_recipient *known = known_slot(d, address);
    if (known->until_ms <= loop_now(d->role->loop) ||
        !str_equal(str_make(known->address, known->len), address)) {
        return 0;
    }
    if (known->room == UINT64_MAX) {
        return known->room;
    }
    /* Other processes let messages through as well, so near the limit the reader is asked. */
    if (size == 0 || size > known->room / ROOM_SURE) {
        return 0;
    }
    known->room -= size;
    return known->room;
}

void smtpd_remember(struct smtpd *d, struct str address, uint64_t room)
{
    if (address.len <= KNOWN_ADDRESS_MAX) {
        struct known_recipient *known = known_slot(d, address);
        known->until_ms = loop_now(d->role->loop) + KNOWN_MS;
        known->room = room;
        known->len = (uint8_t)address.len;
        memcpy(known->address, address.data, address.len);
    }
}

/* Refusals. */

static void log_refusal(const struct smtp_event *event, const char *client)
{
    struct buf text = buf_make(1024);
    buf_printf(&text, "refused %u %s client=%s", event->code, event->enhanced == NULL ? "" : event->enhanced,
               client);
    if (event->sender.len > 0) {
        buf_append_lit(&text, " from=<");
        buf_append_escaped(&text, event->sender, 200);
        buf_append_char(&text, '>');
    }
    if (event->recipient.len > 0) {
        buf_append_lit(&text, " to=<");
        buf_append_escaped(&text, event->recipient, 200);
        buf_append_char(&text, '>');
    }
    buf_append_lit(&text, ": ");
    buf_append_escaped(&text, event->cause, 300);
    log_info("%.*s", STR_ARGS(buf_str(&text)));
    buf_free(&text);
}

void smtpd_event(void *context, const struct smtp_event *event)
{
    struct session *s = context;
    struct smtpd *d = s->smtpd;
    char client[CONNECTION_ADDRESS_TEXT];
    if (d->events_left == 0) {
        d->events_dropped++;
        return;
    }
    d->events_left--;
    address_text(&s->peer, client);
    log_refusal(event, client);
    struct log_event message = {.wall_ms = clock_wall_ms(),
                                .code = (uint16_t)event->code,
                                .enhanced = str_of(event->enhanced == NULL ? "" : event->enhanced),
                                .sender = str_sub(event->sender, 0, 512),
                                .recipient = str_sub(event->recipient, 0, 512),
                                .client = str_of(client),
                                .cause = str_sub(event->cause, 0, 512)};
    role_send(role_peer_of(d->role, ROLE_STORE), &log_event_type, &message);
}

/* Settings of a listener. */

static unsigned port_of(const struct config *config, enum listener_kind kind, bool implicit)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (l->kind == kind && (l->tls == LISTENER_TLS_IMPLICIT) == implicit) {
            return l->port;
        }
    }
    return 0;
}

static void *make_settings(void *context, const struct front_settings *front)
{
    (void)context;
    const struct config *config = front->config;
    const struct config_limits *limits = &config->limits;
    struct smtp_server_settings *s = mem_new(struct smtp_server_settings);
    if (s == NULL) {
        return NULL;
    }
    enum listener_kind kind = front->listener->kind;
    *s = (struct smtp_server_settings){
        .kind = kind == LISTENER_SUBMISSION ? SMTP_KIND_SUBMISSION
                : kind == LISTENER_LMTP     ? SMTP_KIND_LMTP
                                            : SMTP_KIND_MX,
        .tls_offered = front->tls != NULL && front->listener->tls == LISTENER_TLS_STARTTLS,
        .implicit_tls = front->listener->tls == LISTENER_TLS_IMPLICIT,
        .repair_newlines = config->repair_newlines && kind == LISTENER_SUBMISSION,
        .foreign_senders = config->foreign_senders || config->dev,
        .refuse_over_quota = config->refuse_over_quota,
        .catch_all = config->dev,
        .hostname = config->hostname,
        .message_size = limits->message_size,
        .recipients = limits->recipients,
        .errors = limits->errors,
        .transactions = limits->transactions,
        .hops = limits->hops,
        .command_timeout_ms = limits->command_timeout_s * 1000ULL,
        .data_timeout_ms = limits->data_timeout_s * 1000ULL,
        .transaction_timeout_ms = limits->transaction_timeout_s * 1000ULL,
        .session_timeout_ms = limits->session_timeout_s * 1000ULL,
        .min_rate = limits->min_rate,
        .mx_port = port_of(config, LISTENER_MX, false),
        .doors = doors_of(config)};
    return s;
}

static struct str refusal(void *context, const struct front_settings *settings, enum front_refusal why)
{
    (void)context;
    if (settings->listener->tls == LISTENER_TLS_IMPLICIT) {
        return STR_EMPTY;
    }
    return why == FRONT_TOO_MANY
               ? STR("421 4.3.2 Too many sessions here for now; try again later\r\n")
               : STR("421 4.7.0 Too many sessions from your address; close some or try again later\r\n");
}

static const struct front_events front_events = {
    .make = make_settings, .unmake = mem_free, .accepted = session_accepted, .refusal = refusal};

/* Life. */

static struct smtpd *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct smtpd *d = mem_new(struct smtpd);
        if (d != NULL) {
            d->role = role;
            d->fronts = fronts_new(role, &front_events, d);
            d->writer = log_writer_new(role, session_written);
            d->known = mem_zalloc(KNOWN_ADDRESSES, sizeof(*d->known));
            crypto_shorthash_keygen(d->hash_key);
        }
        role->data = d;
    }
    return role->data;
}

static struct fronts *fronts_of(struct role *role)
{
    struct smtpd *d = state_of(role);
    return d == NULL ? NULL : d->fronts;
}

static int prepare(struct role *role)
{
    struct smtpd *d = state_of(role);
    if (d == NULL || d->fronts == NULL || d->writer == NULL || d->known == NULL ||
        !make_slots(d, role->config->limits.sessions)) {
        log_error("out of memory at the start");
        return -1;
    }
    mem_keep_freed(FREED_KEPT, BODY_FROM_HEAP);
    d->budget.max = role->config->limits.body_memory;
    if (!tls_setup(remote_key_sign, fronts_keys(d->fronts))) {
        log_error("TLS cannot be set up: %s", tls_error());
        return -1;
    }
    return 0;
}

static void sweep(void *context)
{
    struct smtpd *d = context;
    uint64_t now = loop_now(d->role->loop);
    for (struct session *s = d->sessions; s != NULL; s = s->next) {
        session_sweep(s, now);
    }
    if (d->events_dropped > 0) {
        log_warning("%llu more refusals in the last second", (unsigned long long)d->events_dropped);
        d->events_dropped = 0;
    }
    d->events_left = EVENTS_A_SECOND;
}

static int start(struct role *role)
{
    struct smtpd *d = role->data;
    d->events_left = EVENTS_A_SECOND;
    if (log_writer_start(d->writer) != 0 ||
        loop_timer_start(role->loop, &d->sweep, SWEEP_MS, true, sweep, d) != 0) {
        return -1;
    }
    return fronts_start(d->fronts);
}

void smtpd_check_drained(struct smtpd *d)
{
    if (d->role->draining && d->sessions == NULL && !log_writer_busy(d->writer)) {
        role_drained(d->role, 0);
    }
}

static void drain(struct role *role)
{
    struct smtpd *d = role->data;
    fronts_stop(d->fronts);
    for (struct session *s = d->sessions; s != NULL; s = s->next) {
        session_shut_down(s);
    }
    smtpd_check_drained(d);
}

static void configured(struct role *role)
{
    struct smtpd *d = role->data;
    d->budget.max = role->config->limits.body_memory;
    fronts_configured(d->fronts);
}

static void peer_up(struct role *role, struct role_peer *peer)
{
    struct smtpd *d = state_of(role);
    if (d != NULL && peer->kind == ROLE_STORE && d->writer != NULL) {
        log_writer_store_up(d->writer);
    }
}

static void peer_down(struct role *role, struct role_peer *peer)
{
    struct smtpd *d = role->data;
    if (d != NULL && (peer->kind == ROLE_READER || peer->kind == ROLE_KEYS)) {
        struct session *next;
        for (struct session *s = d->sessions; s != NULL; s = next) {
            next = s->next;
            session_peer_lost(s, peer->kind);
        }
    }
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)peer;
    struct smtpd *d = role->data;
    struct session *s = NULL;
    if (type == &directory_recipient_answer_type) {
        const struct directory_recipient_answer *answer = message;
        if ((s = session_of(d, answer->ticket)) != NULL) {
            session_recipient(s, answer->verdict, answer->room);
        }
    } else if (type == &directory_sender_answer_type) {
        const struct directory_sender_answer *answer = message;
        if ((s = session_of(d, answer->ticket)) != NULL) {
            session_sender(s, answer->verdict);
        }
    } else if (type == &auth_answer_type) {
        const struct auth_answer *answer = message;
        if ((s = session_of(d, answer->ticket)) != NULL) {
            session_verified(s, answer->verdict, answer->login, answer->grant);
        }
    } else if (type == &log_directory_changed_type) {
        memset(d->known, 0, KNOWN_ADDRESSES * sizeof(*d->known));
    } else if (!log_writer_message(d->writer, type, message, fd) && fd >= 0) {
        close(fd);
    }
}

static const struct role_protocol protocols[] = {{ROLE_STORE, &log_to_smtpd},
                                                 {ROLE_READER, &directory_to_smtpd},
                                                 {ROLE_KEYS, &auth_from_keys},
                                                 {ROLE_RESOLVER, &resolve_from_resolver}};

#define SMTPD_MODULE(role_kind)                                                                              \
    {                                                                                                        \
        .kind = (role_kind), .protocols = protocols,                                                         \
        .protocol_count = sizeof(protocols) / sizeof(protocols[0]), .fronts = fronts_of, .prepare = prepare, \
        .start = start, .peer_up = peer_up, .peer_message = peer_message, .peer_down = peer_down,            \
        .signing = front_signing, .listener = front_listener, .unlisten = front_unlisten,                    \
        .secret = front_secret, .configured = configured, .drain = drain                                     \
    }

const struct role_module role_smtpd_mx = SMTPD_MODULE(ROLE_SMTPD_MX);
const struct role_module role_smtpd_msa = SMTPD_MODULE(ROLE_SMTPD_MSA);
