/*
 * One SMTP session: between its connection, the protocol engine, and the roles that answer the engine's questions. Part of
 * smtpd.
 */
#include "roles/smtpd_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/doors.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_directory.h"
#include "sasl/sasl.h"

#include <unistd.h>

enum { OUT_LIMIT = 1 << 20, ANSWER_TIMEOUT_MS = 20000, EARLY_MAX = 4096 };

static const struct connection_events events;

static uint64_t ticket_of(const struct session *s)
{
    return (uint64_t)s->generation << 32 | s->slot;
}

struct session *session_of(struct smtpd *d, uint64_t ticket)
{
    uint32_t slot = (uint32_t)ticket;
    struct session *s = slot < d->slot_count ? d->slots[slot] : NULL;
    return s != NULL && s->generation == (uint32_t)(ticket >> 32) && !s->closed && s->asked_ms != 0 ? s
                                                                                                    : NULL;
}

/* The end. */

static void free_session(void *context)
{
    struct session *s = context;
    struct smtpd *d = s->smtpd;
    smtp_server_free(&s->server);
    *(s->previous == NULL ? &d->sessions : &s->previous->next) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
    smtpd_free_slot(d, s);
    fronts_ended(d->fronts, &s->peer);
    front_settings_unref(s->settings);
    mem_free(s);
    smtpd_check_drained(d);
}

static void connection_closed(struct connection *connection, const char *reason)
{
    struct session *s = (struct session *)connection;
    s->closed = true;
    if (log_wants(LOG_LEVEL_DEBUG)) {
        char client[CONNECTION_ADDRESS_TEXT];
        address_text(&s->peer, client);
        log_debug("session with %s ended: %s", client, reason);
    }
    if (!s->committing) {
        loop_defer(s->smtpd->role->loop, &s->end_task, free_session, s);
    }
}

/* The engine's requests. */

static void wait_for_answer(struct session *s)
{
    s->asked_ms = loop_now(s->smtpd->role->loop);
    connection_pause(&s->connection);
}

/* 1: ask another role, 0: answered at once. */
static bool ask_recipient(struct session *s)
{
    struct smtpd *d = s->smtpd;
    uint64_t size = s->server.transaction == NULL ? 0 : s->server.transaction->declared_size;
    uint64_t room = smtpd_known_room(d, s->server.question, size);
    if (room > 0) {
        smtp_server_recipient_room(&s->server, room, &s->connection.out);
        return false;
    }
    struct directory_recipient ask = {.ticket = ticket_of(s), .size = size, .address = s->server.question};
    if (!role_send(role_peer_of(d->role, ROLE_READER), &directory_recipient_type, &ask)) {
        smtp_server_recipient(&s->server, SMTP_RECIPIENT_FAILED, &s->connection.out);
        return false;
    }
    wait_for_answer(s);
    return true;
}

static bool ask_sender(struct session *s)
{
    struct directory_sender ask = {
        .ticket = ticket_of(s), .grant = buf_str(&s->server.grant), .address = s->server.question};
    if (!role_send(role_peer_of(s->smtpd->role, ROLE_READER), &directory_sender_type, &ask)) {
        smtp_server_sender(&s->server, SMTP_SENDER_FAILED, &s->connection.out);
        return false;
    }
    wait_for_answer(s);
    return true;
}

static bool ask_verify(struct session *s)
{
    char client[CONNECTION_ADDRESS_TEXT];
    const struct sasl *sasl = s->server.sasl;
    address_text(&s->peer, client);
    struct auth_verify ask = {.ticket = ticket_of(s),
                              .mechanism = str_of(sasl_name(sasl->mechanism)),
                              .authorization_id = buf_str(&sasl->authorization_id),
                              .authentication_id = buf_str(&sasl->authentication_id),
                              .password = buf_str(&sasl->password),
                              .client = str_of(client)};
    if (!role_send(role_peer_of(s->smtpd->role, ROLE_KEYS), &auth_verify_type, &ask)) {
        smtp_server_verified(&s->server, SMTP_AUTH_TEMPORARY, STR_EMPTY, STR_EMPTY, &s->connection.out);
        return false;
    }
    wait_for_answer(s);
    return true;
}

static bool commit(struct session *s)
{
    if (!log_writer_accepts(s->smtpd->writer)) {
        smtp_server_committed(&s->server, SMTP_COMMIT_NO_SPACE, STR_EMPTY, &s->connection.out);
        return false;
    }
    if (!session_commit(s)) {
        smtp_server_committed(&s->server, SMTP_COMMIT_FAILED, STR_EMPTY, &s->connection.out);
        return false;
    }
    s->committing = true;
    connection_pause(&s->connection);
    return true;
}

/* True: the engine waits, for input or for an answer, or the session is over. */
static bool handle(struct session *s, enum smtp_request request, struct str *input)
{
    switch (request) {
    case SMTP_INPUT: return true;
    case SMTP_CHECK_RECIPIENT: return ask_recipient(s);
    case SMTP_CHECK_SENDER: return ask_sender(s);
    case SMTP_VERIFY_PASSWORD: return ask_verify(s);
    case SMTP_COMMIT: return commit(s);
    case SMTP_START_TLS:
        input->len = 0; /* RFC 3207, section 4.2: what came before the handshake is thrown away */
        if (s->settings->tls == NULL || !connection_start_tls(&s->connection, s->settings->tls)) {
            connection_abort(&s->connection, "TLS cannot be started");
        }
        return true;
    case SMTP_CLOSE: connection_finish(&s->connection, s->server.close_reason); return true;
    }
    return true;
}

static void run(struct session *s, struct str *input)
{
    for (;;) {
        uint64_t now = loop_now(s->smtpd->role->loop);
        enum smtp_request request = smtp_server_run(&s->server, now, input, &s->connection.out);
        if (handle(s, request, input)) {
            return;
        }
    }
}

static void input_came(struct connection *connection, struct str *input)
{
    run((struct session *)connection, input);
}

/* Answers. */

void session_recipient(struct session *s, uint8_t verdict, uint64_t room)
{
    static const enum smtp_recipient_answer answers[] = {
        [RECIPIENT_LOCAL] = SMTP_RECIPIENT_LOCAL,
        [RECIPIENT_RELAY] = SMTP_RECIPIENT_REMOTE,
        [RECIPIENT_RELAY_DOMAIN] = SMTP_RECIPIENT_RELAY_DOMAIN,
        [RECIPIENT_UNKNOWN] = SMTP_RECIPIENT_UNKNOWN,
        [RECIPIENT_OVER_QUOTA] = SMTP_RECIPIENT_OVER_QUOTA,
        [RECIPIENT_OVER_QUOTA_NOW] = SMTP_RECIPIENT_OVER_QUOTA_NOW,
        [RECIPIENT_DISABLED] = SMTP_RECIPIENT_DISABLED,
        [RECIPIENT_FAILED] = SMTP_RECIPIENT_FAILED,
    };
    if (s->server.waiting != SMTP_CHECK_RECIPIENT) {
        return;
    }
    s->asked_ms = 0;
    if (verdict == RECIPIENT_LOCAL) {
        smtpd_remember(s->smtpd, s->server.question, room);
        smtp_server_recipient_room(&s->server, room, &s->connection.out);
    } else {
        smtp_server_recipient(&s->server, answers[verdict], &s->connection.out);
    }
    connection_go_on(&s->connection);
}

void session_sender(struct session *s, uint8_t verdict)
{
    if (s->server.waiting != SMTP_CHECK_SENDER) {
        return;
    }
    s->asked_ms = 0;
    enum smtp_sender_answer answer = verdict == SENDER_ALLOWED     ? SMTP_SENDER_ALLOWED
                                     : verdict == SENDER_FORBIDDEN ? SMTP_SENDER_FORBIDDEN
                                                                   : SMTP_SENDER_FAILED;
    smtp_server_sender(&s->server, answer, &s->connection.out);
    connection_go_on(&s->connection);
}

void session_verified(struct session *s, uint8_t verdict, struct str login, struct str grant)
{
    static const enum smtp_auth_answer answers[] = {
        [AUTH_GOOD] = SMTP_AUTH_GOOD,           [AUTH_BAD] = SMTP_AUTH_BAD,
        [AUTH_TEMPORARY] = SMTP_AUTH_TEMPORARY, [AUTH_THROTTLED] = SMTP_AUTH_THROTTLED,
        [AUTH_DISABLED] = SMTP_AUTH_DISABLED,
    };
    if (s->server.waiting != SMTP_VERIFY_PASSWORD) {
        return;
    }
    s->asked_ms = 0;
    smtp_server_verified(&s->server, answers[verdict], login, grant, &s->connection.out);
    connection_go_on(&s->connection);
}

/* Gives the engine a temporary failure for whatever it asked. */
static void fail_question(struct session *s)
{
    switch ((enum smtp_request)s->server.waiting) {
    case SMTP_CHECK_RECIPIENT: session_recipient(s, RECIPIENT_FAILED, UINT64_MAX); break;
    case SMTP_CHECK_SENDER: session_sender(s, SENDER_FAILED); break;
    case SMTP_VERIFY_PASSWORD: session_verified(s, AUTH_TEMPORARY, STR_EMPTY, STR_EMPTY); break;
    default: s->asked_ms = 0; break;
    }
}

void session_peer_lost(struct session *s, enum role_kind kind)
{
    bool asks_keys = s->server.waiting == SMTP_VERIFY_PASSWORD;
    if (s->asked_ms != 0 && !s->closed && (kind == ROLE_KEYS) == asks_keys) {
        fail_question(s);
    }
}

void session_written(void *owner, enum batch_result result, const struct log_place *place)
{
    struct session *s = owner;
    (void)place;
    char id[IDENT_TEXT];
    s->committing = false;
    if (s->closed) {
        loop_defer(s->smtpd->role->loop, &s->end_task, free_session, s);
        return;
    }
    ident_format(&s->id, id);
    enum smtp_commit_answer answer = result == BATCH_STORED     ? SMTP_COMMITTED
                                     : result == BATCH_NO_SPACE ? SMTP_COMMIT_NO_SPACE
                                                                : SMTP_COMMIT_FAILED;
    smtp_server_committed(&s->server, answer, str_make(id, sizeof(id)), &s->connection.out);
    connection_go_on(&s->connection);
}

/* The beginning. */

static void greet(struct session *s, struct str early)
{
    struct str nothing = STR_EMPTY;
    handle(s, smtp_server_start(&s->server, early, &s->connection.out), &nothing);
    connection_flush(&s->connection);
}

static void secured(struct connection *connection)
{
    struct session *s = (struct session *)connection;
    uint64_t now = loop_now(s->smtpd->role->loop);
    bool first = s->settings->listener->tls == LISTENER_TLS_IMPLICIT;
    smtp_server_tls_started(&s->server, now);
    if (first) {
        greet(s, STR_EMPTY);
    }
}

static void in_clear(struct connection *connection)
{
    struct session *s = (struct session *)connection;
    char text[256];
    struct buf words = {.data = text, .cap = sizeof(text), .limit = sizeof(text)};
    if (s->settings->listener->tls != LISTENER_TLS_IMPLICIT) {
        connection_abort(connection, "no TLS after STARTTLS");
        return;
    }
    struct doors doors = doors_of(s->settings->config);
    doors_append_clear(&doors, DOOR_SMTP, &words);
    buf_append_char(&words, '\0');
    smtp_server_refuse(&s->server, "4.7.0", text, &connection->out);
    connection_finish(connection, "text in clear on a port with TLS");
}

static const struct connection_events events = {.in_clear = in_clear,
                                                .input = input_came,
                                                .secured = secured,
                                                .drained = NULL,
                                                .closed = connection_closed};

static void begin_in_clear(struct session *s)
{
    char early[EARLY_MAX];
    ssize_t n = recv(s->connection.fd, early, sizeof(early), MSG_DONTWAIT);
    greet(s, n > 0 ? str_make(early, (size_t)n) : STR_EMPTY);
}

bool session_accepted(void *context, struct front_settings *settings, int fd,
                      const struct sockaddr_storage *peer)
{
    struct smtpd *d = context;
    struct session *s = mem_new(struct session);
    if (s == NULL || !smtpd_take_slot(d, s)) {
        close(fd);
        mem_free(s);
        return false;
    }
    s->smtpd = d;
    s->peer = *peer;
    if (!connection_open(&s->connection, d->role->loop, fd, &events, OUT_LIMIT)) {
        smtpd_free_slot(d, s);
        mem_free(s);
        return false;
    }
    s->settings = front_settings_ref(settings);
    bool implicit = settings->listener->tls == LISTENER_TLS_IMPLICIT;
    smtp_server_init(&s->server, settings->data, &d->budget, implicit, loop_now(d->role->loop));
    s->server.event = smtpd_event;
    s->server.context = s;
    s->next = d->sessions;
    if (s->next != NULL) {
        s->next->previous = s;
    }
    d->sessions = s;
    if (!implicit) {
        begin_in_clear(s);
    } else if (!connection_start_tls(&s->connection, settings->tls)) {
        connection_abort(&s->connection, "out of memory for TLS");
    }
    return true;
}

/* Time and the end of the server. */

void session_sweep(struct session *s, uint64_t now_ms)
{
    if (s->closed || s->committing) {
        return;
    }
    if (s->asked_ms != 0 && now_ms > s->asked_ms + ANSWER_TIMEOUT_MS) {
        fail_question(s);
        return;
    }
    if (now_ms < smtp_server_deadline(&s->server)) {
        return;
    }
    if (s->connection.handshaking || s->connection.closing) {
        connection_abort(&s->connection, "the client was too slow");
        return;
    }
    smtp_server_expire(&s->server, now_ms, &s->connection.out);
    connection_finish(&s->connection, s->server.close_reason);
}

void session_shut_down(struct session *s)
{
    if (s->closed) {
        return;
    }
    if (s->connection.handshaking) {
        connection_abort(&s->connection, "the server stops");
    } else if (smtp_server_shutdown(&s->server, &s->connection.out)) {
        connection_finish(&s->connection, "the server stops");
    }
}
