/*
 * The imapd role: serves IMAP and POP3 to people who fetch their mail. It has no files but segments of the log, for what is
 * appended, no way out to the network and no private key; it names mailboxes only by the grant that keys gave a session and the
 * handles that it got for it.
 */
#include "roles/imapd_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_change.h"
#include "message/charset.h"

#include <unistd.h>

enum {
    SWEEP_MS = 1000,
    LOGIN_TIMEOUT_MS = 120000,
    DOORS_A_SECOND = 50,
    NARROW_FROM = 64 /* fewer messages are read faster than a file is opened */
};

/* Slots give sessions their numbers in messages to other roles. */

bool imapd_take_slot(struct imapd *d, struct imapd_slot *slot, struct pop3_session *pop3,
                     struct imap_session *imap)
{
    if (d->free_count == 0) {
        return false;
    }
    slot->number = d->free_slots[--d->free_count];
    slot->generation = ++d->generations[slot->number];
    d->slots[slot->number] = (struct imapd_owner){.pop3 = pop3, .imap = imap};
    return true;
}

void imapd_free_slot(struct imapd *d, const struct imapd_slot *slot)
{
    d->slots[slot->number] = (struct imapd_owner){.pop3 = NULL};
    d->free_slots[d->free_count++] = slot->number;
}

static bool make_slots(struct imapd *d, uint32_t count)
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

static struct imapd_owner owner_of(struct imapd *d, uint64_t ticket)
{
    static const struct imapd_owner nobody = {.pop3 = NULL};
    uint32_t number = (uint32_t)ticket;
    return number < d->slot_count && d->generations[number] == (uint32_t)(ticket >> 32) ? d->slots[number]
                                                                                        : nobody;
}

/* Settings of a listener. */

static void *make_pop3_settings(const struct front_settings *front)
{
    const struct config_limits *limits = &front->config->limits;
    struct pop3_settings *s = mem_new(struct pop3_settings);
    if (s != NULL) {
        *s = (struct pop3_settings){.tls_offered =
                                        front->tls != NULL && front->listener->tls == LISTENER_TLS_STARTTLS,
                                    .implicit_tls = front->listener->tls == LISTENER_TLS_IMPLICIT,
                                    .hostname = front->config->hostname,
                                    .errors = limits->errors,
                                    .login_timeout_ms = LOGIN_TIMEOUT_MS,
                                    .idle_timeout_ms = limits->pop3_idle_s * 1000ULL,
                                    .session_timeout_ms = limits->session_timeout_s * 1000ULL,
                                    .doors = doors_of(front->config)};
    }
    return s;
}

static void *make_imap_settings(const struct front_settings *front)
{
    const struct config_limits *limits = &front->config->limits;
    struct imap_settings *s = mem_new(struct imap_settings);
    if (s != NULL) {
        *s = (struct imap_settings){.tls_offered =
                                        front->tls != NULL && front->listener->tls == LISTENER_TLS_STARTTLS,
                                    .implicit_tls = front->listener->tls == LISTENER_TLS_IMPLICIT,
                                    .hostname = front->config->hostname,
                                    .errors = limits->errors,
                                    .append_max = limits->message_size,
                                    .message_limit = limits->imap_messages,
                                    .narrow_from = NARROW_FROM,
                                    .login_timeout_ms = LOGIN_TIMEOUT_MS,
                                    .idle_timeout_ms = limits->imap_idle_s * 1000ULL,
                                    .doors = doors_of(front->config)};
    }
    return s;
}

static void *make_settings(void *context, const struct front_settings *front)
{
    (void)context;
    return front->listener->kind == LISTENER_IMAP ? make_imap_settings(front) : make_pop3_settings(front);
}

static bool accepted(void *context, struct front_settings *settings, int fd,
                     const struct sockaddr_storage *peer)
{
    return settings->listener->kind == LISTENER_IMAP ? imap_session_accepted(context, settings, fd, peer)
                                                     : pop3_session_accepted(context, settings, fd, peer);
}

static struct str refusal(void *context, const struct front_settings *settings, enum front_refusal why)
{
    (void)context;
    if (settings->listener->tls == LISTENER_TLS_IMPLICIT) {
        return STR_EMPTY;
    }
    if (settings->listener->kind == LISTENER_IMAP) {
        return why == FRONT_TOO_MANY
                   ? STR("* BYE [UNAVAILABLE] Too many sessions here for now; try again later\r\n")
                   : STR("* BYE [LIMIT] Too many sessions from your address; close some first\r\n");
    }
    return why == FRONT_TOO_MANY
               ? STR("-ERR [SYS/TEMP] Too many sessions here for now; try again later\r\n")
               : STR("-ERR [SYS/TEMP] Too many sessions from your address; close some first\r\n");
}

static const struct front_events front_events = {
    .make = make_settings, .unmake = mem_free, .accepted = accepted, .refusal = refusal};

/* Life. */

static void written(void *owner, enum batch_result result, const struct log_place *place)
{
    imap_session_logged(owner, result, (int64_t)place->segment, (int64_t)place->offset);
}

static struct imapd *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct imapd *d = mem_new(struct imapd);
        if (d != NULL) {
            d->role = role;
            d->writer = log_writer_new(role, written);
            d->fronts = fronts_new(role, &front_events, d);
        }
        role->data = d;
    }
    return role->data;
}

static struct fronts *fronts_of(struct role *role)
{
    struct imapd *d = state_of(role);
    return d == NULL ? NULL : d->fronts;
}

static int prepare(struct role *role)
{
    struct imapd *d = state_of(role);
    if (d == NULL || d->fronts == NULL || d->writer == NULL ||
        !make_slots(d, role->config->limits.sessions)) {
        log_error("out of memory at the start");
        return -1;
    }
    /* iconv loads its modules from files, which the sandbox hides. */
    if (charset_preload() > 0) {
        log_warning("some charsets cannot be had: text in them is searched as far as it is ASCII");
    }
    if (!tls_setup(remote_key_sign, fronts_keys(d->fronts))) {
        log_error("TLS cannot be set up: %s", tls_error());
        return -1;
    }
    return 0;
}

static void sweep(void *context)
{
    struct imapd *d = context;
    uint64_t now = loop_now(d->role->loop);
    d->doors_left = DOORS_A_SECOND;
    for (struct pop3_session *s = d->sessions; s != NULL; s = s->next) {
        pop3_session_sweep(s, now);
    }
    for (struct imap_session *s = d->imap_sessions; s != NULL; s = s->next) {
        imap_session_sweep(s, now);
    }
}

static int start(struct role *role)
{
    struct imapd *d = role->data;
    d->doors_left = DOORS_A_SECOND;
    if (log_writer_start(d->writer) != 0 ||
        loop_timer_start(role->loop, &d->sweep, SWEEP_MS, true, sweep, d) != 0) {
        return -1;
    }
    return fronts_start(d->fronts);
}

void imapd_note_door(struct imapd *d, const struct sockaddr_storage *peer, struct str text)
{
    char client[CONNECTION_ADDRESS_TEXT];
    if (text.len > 0 && d->doors_left > 0) {
        d->doors_left--;
        address_text(peer, client);
        log_info("wrong door client=%s: %.*s", client, STR_ARGS(text));
    }
}

void imapd_refuse_clear(struct imapd *d, struct connection *connection, const struct front_settings *settings,
                        const struct sockaddr_storage *peer, enum door door)
{
    struct doors doors = doors_of(settings->config);
    struct buf text = buf_make(256);
    if (settings->listener->tls != LISTENER_TLS_IMPLICIT) {
        connection_abort(connection, "no TLS after STARTTLS");
        return;
    }
    doors_append_clear(&doors, door, &text);
    imapd_note_door(d, peer, buf_str(&text));
    buf_append_str(&connection->out, door == DOOR_IMAP ? STR("* BYE ") : STR("-ERR "));
    buf_append_str(&connection->out, buf_str(&text));
    buf_append_lit(&connection->out, "\r\n");
    buf_free(&text);
    connection_finish(connection, "text in clear on a port with TLS");
}

void imapd_check_drained(struct imapd *d)
{
    if (d->role->draining && d->sessions == NULL && d->imap_sessions == NULL) {
        role_drained(d->role, 0);
    }
}

static void drain(struct role *role)
{
    struct imapd *d = role->data;
    fronts_stop(d->fronts);
    for (struct pop3_session *s = d->sessions; s != NULL; s = s->next) {
        pop3_session_shut_down(s);
    }
    for (struct imap_session *s = d->imap_sessions; s != NULL; s = s->next) {
        imap_session_shut_down(s);
    }
    imapd_check_drained(d);
}

static void configured(struct role *role)
{
    struct imapd *d = role->data;
    fronts_configured(d->fronts);
}

/* A role that sessions depend on is gone: those that have something of it are ended. */
static void peer_down(struct role *role, struct role_peer *peer)
{
    struct imapd *d = role->data;
    for (struct pop3_session *s = d == NULL ? NULL : d->sessions; s != NULL; s = s->next) {
        pop3_session_peer_lost(s, peer->kind, peer->instance);
    }
    for (struct imap_session *s = d == NULL ? NULL : d->imap_sessions; s != NULL; s = s->next) {
        imap_session_peer_lost(s, peer->kind, peer->instance);
    }
}

/* The session ended meanwhile; what was opened for it is given back. */
static void give_back(struct role_peer *peer, const struct ipc_type *type, const void *message)
{
    if (type == &mailbox_opened_type && ((const struct mailbox_opened *)message)->result == MAILBOX_OK) {
        struct mailbox_close close_handle = {.handle = ((const struct mailbox_opened *)message)->handle};
        role_send(peer, &mailbox_close_type, &close_handle);
    } else if (type == &mailbox_locked_type &&
               ((const struct mailbox_locked *)message)->result == MAILBOX_OK) {
        struct mailbox_unlock unlock = {.handle = ((const struct mailbox_locked *)message)->handle};
        role_send(peer, &mailbox_unlock_type, &unlock);
    }
}

static void peer_up(struct role *role, struct role_peer *peer)
{
    struct imapd *d = state_of(role);
    if (d != NULL && d->writer != NULL && peer->kind == ROLE_STORE) {
        log_writer_store_up(d->writer);
    }
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    struct imapd *d = state_of(role);
    if (d == NULL || d->writer == NULL || log_writer_message(d->writer, type, message, fd)) {
        return;
    }
    uint64_t ticket;
    memcpy(&ticket, message, sizeof(ticket)); /* every other message to imapd begins with it */
    struct imapd_owner owner = owner_of(d, ticket);
    if (owner.pop3 != NULL) {
        pop3_session_answer(owner.pop3, peer, type, message);
    } else if (owner.imap != NULL) {
        imap_session_answer(owner.imap, peer, type, message);
    } else {
        give_back(peer, type, message);
    }
}

static const struct role_protocol protocols[] = {
    {ROLE_STORE, &change_from_store}, {ROLE_READER, &mailbox_from_reader}, {ROLE_KEYS, &auth_from_keys}};

const struct role_module role_imapd = {.kind = ROLE_IMAPD,
                                       .protocols = protocols,
                                       .protocol_count = sizeof(protocols) / sizeof(protocols[0]),
                                       .fronts = fronts_of,
                                       .prepare = prepare,
                                       .start = start,
                                       .peer_up = peer_up,
                                       .peer_message = peer_message,
                                       .peer_down = peer_down,
                                       .signing = front_signing,
                                       .listener = front_listener,
                                       .unlisten = front_unlisten,
                                       .secret = front_secret,
                                       .configured = configured,
                                       .drain = drain};
