/*
 * One POP3 session: between its connection, the protocol engine, and the roles that answer the engine's questions. Part of
 * imapd.
 */
#include "roles/imapd_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_change.h"

#include <unistd.h>

enum {
    OUT_LIMIT = 1 << 20,
    OUT_ENOUGH = 65536, /* the client takes some of it first */
    ANSWER_TIMEOUT_MS = 20000,
    EARLY_MAX = 512,
    UIDS_AT_A_TIME = IPC_CHUNK_MAX / 4,
    AHEAD_WINDOW = 120000, /* octets asked for ahead: each time two processes wait for one another */
    AHEAD_MAX = 4 * IPC_CHUNK_MAX,
    AHEAD_HEAD = 8,
    AHEAD_KEPT_MS = 5000
};

static const struct connection_events events;

static uint64_t ticket_of(const struct pop3_session *s)
{
    return (uint64_t)s->slot.generation << 32 | s->slot.number;
}

/* The end. */

static void give_back(struct pop3_session *s)
{
    struct role *role = s->imapd->role;
    if (s->lock != 0) {
        struct mailbox_unlock unlock = {.handle = s->lock};
        role_send(role_peer_find(role, ROLE_STORE, s->store), &mailbox_unlock_type, &unlock);
        s->lock = 0;
    }
    if (s->has_handle) {
        struct mailbox_close close_handle = {.handle = s->handle};
        role_send(role_peer_find(role, ROLE_READER, s->reader), &mailbox_close_type, &close_handle);
        s->has_handle = false;
    }
}

static void free_session(void *context)
{
    struct pop3_session *s = context;
    struct imapd *d = s->imapd;
    give_back(s);
    buf_free(&s->ahead);
    pop3_server_free(&s->server);
    *(s->previous == NULL ? &d->sessions : &s->previous->next) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
    imapd_free_slot(d, &s->slot);
    fronts_ended(d->fronts, &s->peer);
    front_settings_unref(s->settings);
    mem_free(s);
    imapd_check_drained(d);
}

static void connection_closed(struct connection *connection, const char *reason)
{
    struct pop3_session *s = (struct pop3_session *)connection;
    s->closed = true;
    log_debug("POP3 session ended: %s", reason);
    loop_defer(s->imapd->role->loop, &s->end_task, free_session, s);
}

/* The engine's requests. */

/* The question could not even be asked. */
static void fail_question(struct pop3_session *s)
{
    struct buf *out = &s->connection.out;
    switch ((enum pop3_request)s->server.waiting) {
    case POP3_VERIFY: pop3_server_verified(&s->server, POP3_AUTH_TEMPORARY, STR_EMPTY, STR_EMPTY, out); break;
    case POP3_OPEN:
        give_back(s);
        pop3_server_opened(&s->server, POP3_OPEN_FAILED, 0, out);
        break;
    case POP3_READ: pop3_server_bytes(&s->server, false, STR_EMPTY, out); break;
    case POP3_EXPUNGE: pop3_server_expunged(&s->server, false, out); break;
    default: break;
    }
}

/* After a message has been sent to another role, or not. True: the engine waits for the answer. */
static bool wait_for(struct pop3_session *s, bool sent)
{
    if (!sent) {
        fail_question(s);
        return false;
    }
    s->asked_ms = loop_now(s->imapd->role->loop);
    connection_pause(&s->connection);
    return true;
}

static bool ask_verify(struct pop3_session *s)
{
    char client[CONNECTION_ADDRESS_TEXT];
    address_text(&s->peer, client);
    struct auth_verify ask = {.ticket = ticket_of(s),
                              .mechanism = STR("PLAIN"),
                              .authorization_id = STR_EMPTY,
                              .authentication_id = buf_str(&s->server.login_name),
                              .password = buf_str(&s->server.login_password),
                              .client = str_of(client)};
    return wait_for(s, role_send(role_peer_of(s->imapd->role, ROLE_KEYS), &auth_verify_type, &ask));
}

/* First the lock, at the store; then the mailbox as it is under the lock, at the reader. */
static bool ask_lock(struct pop3_session *s)
{
    struct mailbox_lock ask = {.ticket = ticket_of(s), .grant = buf_str(&s->server.grant)};
    return wait_for(s, role_send(role_peer_of(s->imapd->role, ROLE_STORE), &mailbox_lock_type, &ask));
}

static struct role_peer *reader_of(struct pop3_session *s)
{
    return role_peer_find(s->imapd->role, ROLE_READER, s->reader);
}

/* The beginning of another message. */
static bool add_ahead(struct pop3_session *s, uint32_t uid, struct str bytes)
{
    s->ahead_last = s->ahead.len;
    return buf_append_le32(&s->ahead, uid) && buf_append_le32(&s->ahead, (uint32_t)bytes.len) &&
           buf_append_str(&s->ahead, bytes);
}

/* More of the last one. */
static bool add_to_last(struct pop3_session *s, struct str bytes)
{
    if (s->ahead.len < AHEAD_HEAD || !buf_append_str(&s->ahead, bytes)) {
        return false;
    }
    write_le32(s->ahead.data + s->ahead_last + 4, (uint32_t)(s->ahead.len - s->ahead_last - AHEAD_HEAD));
    return true;
}

/* What has come of this message, and takes it; those before it are not wanted any more. Empty: nothing. */
static struct str take_ahead(struct pop3_session *s, uint32_t uid)
{
    while (s->ahead.len - s->ahead_at >= AHEAD_HEAD) {
        const char *at = s->ahead.data + s->ahead_at;
        uint32_t len = read_le32(at + 4);
        if (read_le32(at) > uid) {
            break;
        }
        s->ahead_at += AHEAD_HEAD + (size_t)len;
        if (read_le32(at) == uid) {
            return str_make(at + AHEAD_HEAD, len);
        }
    }
    return STR_EMPTY;
}

/* Another message that could not be read is no harm to this one. */
static void give_bytes(struct pop3_session *s)
{
    struct str bytes = take_ahead(s, s->server.read_uid);
    pop3_server_bytes(&s->server, bytes.len > 0, str_sub(bytes, 0, s->server.read_length),
                      &s->connection.out);
    if (s->ahead_at == s->ahead.len) {
        buf_free(&s->ahead);
        s->ahead_at = 0;
    }
}

/* Of a client that reads on in order the next messages come along. */
static bool ask_read(struct pop3_session *s)
{
    uint32_t uid = s->server.read_uid;
    uint64_t from = s->server.read_offset;
    char range[8];
    write_le32(range, uid);
    write_le32(range + 4, from == 0 && s->read_last != 0 && uid > s->read_last ? UINT32_MAX : uid);
    struct mailbox_fetch ask = {.ticket = ticket_of(s),
                                .handle = s->handle,
                                .want = MAILBOX_WANT_BODY,
                                .length = UINT64_MAX,
                                .uid = uid,
                                .from = from,
                                .window = AHEAD_WINDOW,
                                .ranges = str_make(range, sizeof(range))};
    buf_free(&s->ahead);
    s->ahead = buf_make(AHEAD_MAX);
    s->ahead_at = 0;
    s->ahead_ms = loop_now(s->imapd->role->loop);
    s->read_last = uid;
    bool fine = from == 0 || add_ahead(s, uid, STR_EMPTY);
    return wait_for(s, fine && s->has_handle && role_send(reader_of(s), &mailbox_fetch_type, &ask));
}

/* True: the engine waits. */
static bool read_on(struct pop3_session *s)
{
    if (s->server.read_offset > 0) {
        return ask_read(s);
    }
    size_t before = s->ahead_at;
    struct str bytes = take_ahead(s, s->server.read_uid);
    if (bytes.len == 0) {
        return ask_read(s);
    }
    s->ahead_at = before;
    s->read_last = s->server.read_uid;
    give_bytes(s);
    return false;
}

/* The next part of the deletions. */
static bool send_expunge(struct pop3_session *s)
{
    struct buf uids = buf_make(IPC_CHUNK_MAX);
    size_t count = 0;
    while (s->expunge_at < s->server.message_count && count < UIDS_AT_A_TIME) {
        const struct pop3_message *message = &s->server.messages[s->expunge_at++];
        if (message->deleted) {
            buf_append_le32(&uids, message->uid);
            count++;
        }
    }
    struct mailbox_expunge ask = {.ticket = ticket_of(s),
                                  .handle = s->lock,
                                  .last = s->expunge_at == s->server.message_count,
                                  .uids = buf_str(&uids)};
    bool sent = buf_ok(&uids) &&
                role_send(role_peer_find(s->imapd->role, ROLE_STORE, s->store), &mailbox_expunge_type, &ask);
    buf_free(&uids);
    return sent;
}

/* True: the engine waits, or the session is over. */
static bool handle(struct pop3_session *s, enum pop3_request request, struct str *input)
{
    switch (request) {
    case POP3_INPUT: return true;
    case POP3_VERIFY: return ask_verify(s);
    case POP3_OPEN: return ask_lock(s);
    case POP3_READ:
    case POP3_DRAIN:
        if (s->connection.out.len - s->connection.sent > OUT_ENOUGH) {
            /* Asked again once the client has taken what there is. */
            s->draining = true;
            connection_pause(&s->connection);
            return true;
        }
        return request == POP3_READ ? read_on(s) : false;
    case POP3_EXPUNGE: s->expunge_at = 0; return wait_for(s, send_expunge(s));
    case POP3_START_TLS:
        input->len = 0; /* RFC 2595, section 4: what came before the handshake is thrown away */
        if (s->settings->tls == NULL || !connection_start_tls(&s->connection, s->settings->tls)) {
            connection_abort(&s->connection, "TLS cannot be started");
        }
        return true;
    case POP3_CLOSE:
        imapd_note_door(s->imapd, &s->peer, buf_str(&s->server.wrong_door));
        connection_finish(&s->connection, s->server.close_reason);
        return true;
    }
    return true;
}

static void run(struct pop3_session *s, struct str *input)
{
    for (;;) {
        uint64_t now = loop_now(s->imapd->role->loop);
        if (handle(s, pop3_server_run(&s->server, now, input, &s->connection.out), input)) {
            return;
        }
    }
}

static void input_came(struct connection *connection, struct str *input)
{
    run((struct pop3_session *)connection, input);
}

static void output_taken(struct connection *connection)
{
    struct pop3_session *s = (struct pop3_session *)connection;
    if (s->draining) {
        s->draining = false;
        connection_go_on(&s->connection);
    }
}

/* Answers. */

static void verified(struct pop3_session *s, const struct auth_answer *answer)
{
    static const enum pop3_auth_answer answers[] = {
        [AUTH_GOOD] = POP3_AUTH_GOOD,           [AUTH_BAD] = POP3_AUTH_BAD,
        [AUTH_TEMPORARY] = POP3_AUTH_TEMPORARY, [AUTH_THROTTLED] = POP3_AUTH_THROTTLED,
        [AUTH_DISABLED] = POP3_AUTH_DISABLED,
    };
    if (answer->verdict != AUTH_GOOD) {
        char client[CONNECTION_ADDRESS_TEXT];
        address_text(&s->peer, client);
        log_info("POP3 login refused client=%s", client);
    }
    pop3_server_verified(&s->server, answers[answer->verdict], answer->login, answer->grant,
                         &s->connection.out);
}

/* True: the engine has its answer. */
static bool locked(struct pop3_session *s, struct role_peer *peer, const struct mailbox_locked *answer)
{
    if (answer->result != MAILBOX_OK) {
        pop3_server_opened(&s->server, answer->result == MAILBOX_IN_USE ? POP3_IN_USE : POP3_OPEN_FAILED, 0,
                           &s->connection.out);
        return true;
    }
    s->lock = answer->handle;
    s->store = peer->instance;
    struct mailbox_open ask = {
        .ticket = ticket_of(s), .grant = buf_str(&s->server.grant), .mailbox = STR("INBOX")};
    return !wait_for(s, role_send(role_peer_of(s->imapd->role, ROLE_READER), &mailbox_open_type, &ask));
}

static bool ask_list(struct pop3_session *s, uint32_t from)
{
    struct mailbox_list ask = {.ticket = ticket_of(s), .handle = s->handle, .uid = from};
    return !wait_for(s, role_send(reader_of(s), &mailbox_list_type, &ask));
}

static bool opened(struct pop3_session *s, struct role_peer *peer, const struct mailbox_opened *answer)
{
    if (answer->result != MAILBOX_OK) {
        fail_question(s);
        return true;
    }
    s->has_handle = true;
    s->handle = answer->handle;
    s->reader = peer->instance;
    s->uid_validity = answer->uid_validity;
    return ask_list(s, 0);
}

static bool listed(struct pop3_session *s, const struct mailbox_entries *answer)
{
    uint32_t last = 0;
    bool fine = answer->result == MAILBOX_OK;
    for (size_t at = 0; fine && at + MAILBOX_ENTRY_SIZE <= answer->entries.len; at += MAILBOX_ENTRY_SIZE) {
        uint64_t size;
        memcpy(&last, answer->entries.data + at, sizeof(last));
        memcpy(&size, answer->entries.data + at + 8, sizeof(size));
        fine = pop3_server_entry(&s->server, last, size);
    }
    if (!fine) {
        fail_question(s);
        return true;
    }
    if (answer->more && last > 0 && s->server.message_count < POP3_MESSAGES_MAX) {
        return ask_list(s, last + 1);
    }
    pop3_server_opened(&s->server, POP3_OPENED, s->uid_validity, &s->connection.out);
    return true;
}

static bool expunged(struct pop3_session *s, const struct mailbox_expunged *answer)
{
    if (answer->result == MAILBOX_OK && s->expunge_at < s->server.message_count) {
        return !wait_for(s, send_expunge(s));
    }
    if (answer->result == MAILBOX_OK) {
        s->lock = 0;
    }
    pop3_server_expunged(&s->server, answer->result == MAILBOX_OK, &s->connection.out);
    return true;
}

/* Parts of what was asked to be read; the end of it comes as MAILBOX_END. */
static void messages_came(struct pop3_session *s, const struct ipc_type *type, const void *message)
{
    bool fine = true;
    if (type == &mailbox_messages_type) {
        struct str packed = ((const struct mailbox_messages *)message)->packed;
        struct mailbox_message one;
        while (fine && mailbox_unpack(&packed, &one)) {
            fine = add_ahead(s, one.uid, one.bytes);
        }
    } else if (type == &mailbox_message_type) {
        const struct mailbox_message *one = message;
        fine = add_ahead(s, one->uid, one->bytes);
    } else if (type == &mailbox_piece_type) {
        fine = add_to_last(s, ((const struct mailbox_piece *)message)->bytes);
    }
    if (!fine) {
        buf_free(&s->ahead); /* without memory: the end then finds nothing */
        s->ahead_at = 0;
    }
}

void pop3_session_answer(struct pop3_session *s, struct role_peer *peer, const struct ipc_type *type,
                         const void *message)
{
    enum pop3_request waiting = s->server.waiting;
    bool answered = false;
    if (s->closed || s->asked_ms == 0) {
        return;
    }
    if (type == &auth_answer_type && waiting == POP3_VERIFY) {
        verified(s, message);
        answered = true;
    } else if (type == &mailbox_locked_type && waiting == POP3_OPEN) {
        answered = locked(s, peer, message);
    } else if (type == &mailbox_opened_type && waiting == POP3_OPEN) {
        answered = opened(s, peer, message);
    } else if (type == &mailbox_entries_type && waiting == POP3_OPEN) {
        answered = listed(s, message);
    } else if (type == &mailbox_end_type && waiting == POP3_READ) {
        give_bytes(s);
        answered = true;
    } else if (waiting == POP3_READ) {
        messages_came(s, type, message);
    } else if (type == &mailbox_expunged_type && waiting == POP3_EXPUNGE) {
        answered = expunged(s, message);
    }
    if (answered) {
        s->asked_ms = 0;
        connection_go_on(&s->connection);
    }
}

void pop3_session_peer_lost(struct pop3_session *s, enum role_kind kind, uint32_t instance)
{
    bool holds = (kind == ROLE_STORE && s->lock != 0 && s->store == instance) ||
                 (kind == ROLE_READER && s->has_handle && s->reader == instance);
    bool asks_keys = s->server.waiting == POP3_VERIFY;
    bool asks = s->asked_ms != 0 && (kind == ROLE_KEYS) == asks_keys;
    if (s->closed || !(holds || asks)) {
        return;
    }
    if (kind == ROLE_STORE) {
        s->lock = 0;
    } else if (kind == ROLE_READER) {
        s->has_handle = false;
    }
    if (asks) {
        s->asked_ms = 0;
        fail_question(s);
        connection_go_on(&s->connection);
    }
    if (!s->closed && holds && !s->connection.closing) {
        /* The mailbox that the client has seen cannot be gone on with; a new session sees it again. */
        pop3_server_shutdown(&s->server, &s->connection.out);
        connection_finish(&s->connection, "the mailbox was lost");
    }
}

/* The beginning. */

static void greet(struct pop3_session *s, struct str early)
{
    struct str nothing = STR_EMPTY;
    handle(s, pop3_server_start(&s->server, early, &s->connection.out), &nothing);
    connection_flush(&s->connection);
}

static void secured(struct connection *connection)
{
    struct pop3_session *s = (struct pop3_session *)connection;
    pop3_server_tls_started(&s->server, loop_now(s->imapd->role->loop));
    if (s->settings->listener->tls == LISTENER_TLS_IMPLICIT) {
        greet(s, STR_EMPTY);
    }
}

static void in_clear(struct connection *connection)
{
    struct pop3_session *s = (struct pop3_session *)connection;
    imapd_refuse_clear(s->imapd, connection, s->settings, &s->peer, DOOR_POP3);
}

static const struct connection_events events = {.in_clear = in_clear,
                                                .input = input_came,
                                                .secured = secured,
                                                .drained = output_taken,
                                                .closed = connection_closed};

static void begin_in_clear(struct pop3_session *s)
{
    char early[EARLY_MAX];
    ssize_t n = recv(s->connection.fd, early, sizeof(early), MSG_DONTWAIT | MSG_PEEK);
    greet(s, n > 0 ? str_make(early, (size_t)n) : STR_EMPTY);
}

bool pop3_session_accepted(struct imapd *d, struct front_settings *settings, int fd,
                           const struct sockaddr_storage *peer)
{
    struct pop3_session *s = mem_new(struct pop3_session);
    if (s == NULL || !imapd_take_slot(d, &s->slot, s, NULL)) {
        close(fd);
        mem_free(s);
        return false;
    }
    s->imapd = d;
    s->peer = *peer;
    if (!connection_open(&s->connection, d->role->loop, fd, &events, OUT_LIMIT)) {
        imapd_free_slot(d, &s->slot);
        mem_free(s);
        return false;
    }
    s->settings = front_settings_ref(settings);
    bool implicit = settings->listener->tls == LISTENER_TLS_IMPLICIT;
    pop3_server_init(&s->server, settings->data, implicit, loop_now(d->role->loop));
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

void pop3_session_sweep(struct pop3_session *s, uint64_t now_ms)
{
    if (s->closed) {
        return;
    }
    if (s->asked_ms != 0 && now_ms > s->asked_ms + ANSWER_TIMEOUT_MS) {
        s->asked_ms = 0;
        fail_question(s);
        connection_go_on(&s->connection);
        return;
    }
    if (s->asked_ms == 0 && s->ahead.len > 0 && now_ms > s->ahead_ms + AHEAD_KEPT_MS) {
        buf_free(&s->ahead);
        s->ahead_at = 0;
    }
    if (now_ms < pop3_server_deadline(&s->server) || s->server.waiting == POP3_EXPUNGE) {
        return; /* a removal under way is answered first, and has a time-out of its own */
    }
    if (s->connection.handshaking || s->connection.closing || s->draining) {
        connection_abort(&s->connection, "the client was too slow");
        return;
    }
    pop3_server_expire(&s->server, &s->connection.out);
    connection_finish(&s->connection, s->server.close_reason);
}

void pop3_session_shut_down(struct pop3_session *s)
{
    if (s->closed) {
        return;
    }
    if (s->connection.handshaking) {
        connection_abort(&s->connection, "the server stops");
    } else if (pop3_server_shutdown(&s->server, &s->connection.out)) {
        connection_finish(&s->connection, "the server stops");
    }
}
