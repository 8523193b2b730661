/*
 * One IMAP session: between its connection, the protocol engine, and the roles that answer the engine's questions. Part of
 * imapd. What is long comes from the reader in parts; the next part is asked for when the client has taken enough of the last.
 */
#include "roles/imapd_private.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_change.h"

#include <unistd.h>

enum {
    OUT_LIMIT = 64 << 20,
    ANSWER_TIMEOUT_MS = 30000,
    LOOK_MS = 10000, /* for news that the store cannot tell */
    EARLY_MAX = 512,
    OUT_ENOUGH = 512 << 10,
    FLUSH_AT = 48 << 10
};

static const struct connection_events events;

static uint64_t ticket_of(const struct imap_session *s)
{
    return (uint64_t)s->slot.generation << 32 | s->slot.number;
}

/* The end. */

static void close_mailbox(struct imap_session *s)
{
    struct role *role = s->imapd->role;
    if (s->has_handle) {
        struct mailbox_close close_handle = {.handle = s->handle};
        role_send(role_peer_find(role, ROLE_READER, s->reader), &mailbox_close_type, &close_handle);
        struct mailbox_watch forget = {.ticket = ticket_of(s), .grant = STR_EMPTY, .mailbox = 0};
        role_send(role_peer_of(role, ROLE_STORE), &mailbox_watch_type, &forget);
        s->has_handle = false;
    }
    s->unwatched = false;
}

static void end_account_watch(struct imap_session *s)
{
    if (s->watches_account) {
        struct account_watch forget = {.ticket = ticket_of(s), .grant = STR_EMPTY};
        role_send(role_peer_of(s->imapd->role, ROLE_STORE), &account_watch_type, &forget);
        s->watches_account = false;
    }
}

/* The one beside the selected mailbox. */
static void close_aside(struct imap_session *s)
{
    if (s->aside.open) {
        struct mailbox_close close_handle = {.handle = s->aside.handle};
        role_send(role_peer_find(s->imapd->role, ROLE_READER, s->aside.reader), &mailbox_close_type,
                  &close_handle);
        s->aside.open = false;
    }
}

static void free_session(void *context)
{
    struct imap_session *s = context;
    struct imapd *d = s->imapd;
    close_mailbox(s);
    end_account_watch(s);
    close_aside(s);
    imap_server_free(s->server);
    buf_free(&s->ranges);
    buf_free(&s->source_uids);
    buf_free(&s->target_uids);
    *(s->previous == NULL ? &d->imap_sessions : &s->previous->next) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
    imapd_free_slot(d, &s->slot);
    fronts_ended(d->fronts, &s->peer);
    front_settings_unref(s->settings);
    mem_free(s);
    imapd_check_drained(d);
}

static void end_if_free(struct imap_session *s)
{
    /* The helper thread still writes what was appended: the memory must stay. */
    if (s->closed && !s->committing) {
        loop_defer(s->imapd->role->loop, &s->end_task, free_session, s);
    }
}

static void connection_closed(struct connection *connection, const char *reason)
{
    struct imap_session *s = (struct imap_session *)connection;
    s->closed = true;
    log_debug("IMAP session ended: %s", reason);
    end_if_free(s);
}

/* Replies to one command go out together: a TLS record and a system call each would cost more than they do. */
static void flush_many(struct imap_session *s)
{
    if (s->connection.out.len - s->connection.sent >= FLUSH_AT) {
        connection_flush(&s->connection);
    }
}

/* Questions. */

static struct buf *out_of(struct imap_session *s)
{
    return &s->connection.out;
}

static void fail_question(struct imap_session *s)
{
    static const struct imap_changed failed = {.answer = IMAP_UNAVAILABLE};
    switch (imap_server_waiting(s->server)) {
    case IMAP_VERIFY:
        imap_server_verified(s->server, IMAP_AUTH_TEMPORARY, STR_EMPTY, STR_EMPTY, out_of(s));
        break;
    case IMAP_OPEN: imap_server_opened(s->server, IMAP_UNAVAILABLE, NULL, out_of(s)); break;
    case IMAP_CHANGE:
    case IMAP_APPEND: imap_server_changed(s->server, &failed, out_of(s)); break;
    case IMAP_LIST:
    case IMAP_ACL:
    case IMAP_METADATA:
    case IMAP_NARROW:
    case IMAP_WATCH:
    case IMAP_ENTRIES:
    case IMAP_MESSAGES: imap_server_answered(s->server, IMAP_UNAVAILABLE, 0, out_of(s)); break;
    default: break;
    }
}

/* True: the engine waits for the answer. */
static bool wait_for(struct imap_session *s, bool sent)
{
    if (!sent) {
        fail_question(s);
        return false;
    }
    s->asked_ms = loop_now(s->imapd->role->loop);
    connection_pause(&s->connection);
    return true;
}

/* The handle of the mailbox that the engine asks about; false: there is none. */
static bool handle_of(const struct imap_session *s, uint64_t *handle)
{
    bool aside = imap_server_ask(s->server)->aside;
    *handle = aside ? s->aside.handle : s->handle;
    return aside ? s->aside.open : s->has_handle;
}

static struct role_peer *reader_of(struct imap_session *s)
{
    struct role *role = s->imapd->role;
    if (imap_server_ask(s->server)->aside && s->aside.open) {
        return role_peer_find(role, ROLE_READER, s->aside.reader);
    }
    return s->has_handle ? role_peer_find(role, ROLE_READER, s->reader) : role_peer_of(role, ROLE_READER);
}

static bool ask_verify(struct imap_session *s)
{
    char client[CONNECTION_ADDRESS_TEXT];
    address_text(&s->peer, client);
    struct auth_verify ask = {.ticket = ticket_of(s),
                              .mechanism = STR("PLAIN"),
                              .authorization_id = STR_EMPTY,
                              .authentication_id = imap_server_login_name(s->server),
                              .password = imap_server_login_password(s->server),
                              .client = str_of(client)};
    return wait_for(s, role_send(role_peer_of(s->imapd->role, ROLE_KEYS), &auth_verify_type, &ask));
}

static bool ask_rows(struct imap_session *s)
{
    struct mailbox_rows ask = {.ticket = ticket_of(s),
                               .grant = imap_server_grant(s->server),
                               .deleted_octets = imap_server_ask(s->server)->deleted_octets};
    return wait_for(s, role_send(reader_of(s), &mailbox_rows_type, &ask));
}

static bool ask_metadata(struct imap_session *s)
{
    const struct imap_ask *engine = imap_server_ask(s->server);
    struct mailbox_metadata ask = {.ticket = ticket_of(s),
                                   .grant = imap_server_grant(s->server),
                                   .all = engine->all,
                                   .name = engine->all ? STR_EMPTY : engine->name};
    return wait_for(s, role_send(reader_of(s), &mailbox_metadata_type, &ask));
}

static bool ask_acl(struct imap_session *s)
{
    static const enum mailbox_acl_question questions[] = {[IMAP_ACL_ENTRIES] = MAILBOX_ACL_ENTRIES,
                                                          [IMAP_ACL_POSSIBLE] = MAILBOX_ACL_POSSIBLE,
                                                          [IMAP_ACL_OWN] = MAILBOX_ACL_OWN};
    const struct imap_ask *engine = imap_server_ask(s->server);
    struct mailbox_acl ask = {.ticket = ticket_of(s),
                              .grant = imap_server_grant(s->server),
                              .question = (uint8_t)questions[engine->acl],
                              .name = engine->name,
                              .identifier = engine->identifier};
    return wait_for(s, role_send(reader_of(s), &mailbox_acl_type, &ask));
}

static bool ask_open(struct imap_session *s)
{
    close_aside(s);
    if (!imap_server_ask(s->server)->aside) {
        close_mailbox(s);
    }
    struct mailbox_open ask = {.ticket = ticket_of(s),
                               .grant = imap_server_grant(s->server),
                               .mailbox = imap_server_ask(s->server)->name};
    return wait_for(s, role_send(reader_of(s), &mailbox_open_type, &ask));
}

static bool ask_flags(struct imap_session *s, uint32_t uid)
{
    struct mailbox_ask_flags ask = {
        .ticket = ticket_of(s), .uid = uid, .since = imap_server_ask(s->server)->modseq};
    return wait_for(s, handle_of(s, &ask.handle) && role_send(reader_of(s), &mailbox_ask_flags_type, &ask));
}

static bool ask_narrow(struct imap_session *s)
{
    struct mailbox_narrow ask = {.ticket = ticket_of(s), .question = imap_server_ask(s->server)->question};
    return wait_for(s, handle_of(s, &ask.handle) && role_send(reader_of(s), &mailbox_narrow_type, &ask));
}

static bool ask_watch(struct imap_session *s)
{
    struct account_watch ask = {.ticket = ticket_of(s),
                                .grant = imap_server_grant(s->server),
                                .news = (uint8_t)imap_server_ask(s->server)->news};
    return wait_for(s, role_send(role_peer_of(s->imapd->role, ROLE_STORE), &account_watch_type, &ask));
}

/* The ranges that begin at or behind `uid`, as many as one message holds; *more: there are others. */
static bool pack_ranges(struct imap_session *s, const struct imap_set *uids, uint32_t uid, size_t octets,
                        bool *more)
{
    size_t count = 0;
    buf_clear(&s->ranges);
    *more = false;
    for (size_t i = 0; i < uids->count; i++) {
        if (uids->ranges[i].last < uid) {
            continue;
        }
        if (++count > octets / IMAP_SET_RANGE_SIZE) {
            *more = true;
            s->next_uid = uids->ranges[i].first;
            break;
        }
        buf_append_le32(&s->ranges, uids->ranges[i].first > uid ? uids->ranges[i].first : uid);
        buf_append_le32(&s->ranges, uids->ranges[i].last);
    }
    return buf_ok(&s->ranges);
}

/* The next part of the messages, from this UID and octet on. */
static bool ask_messages(struct imap_session *s, uint32_t uid, uint64_t from)
{
    const struct imap_ask *engine = imap_server_ask(s->server);
    bool more;
    if (!pack_ranges(s, engine->uids, uid == 0 ? 1 : uid, MAILBOX_RANGES_MAX, &more)) {
        return wait_for(s, false);
    }
    s->more_ranges = more;
    struct mailbox_fetch ask = {.ticket = ticket_of(s),
                                .want = engine->want,
                                .texts = engine->texts,
                                .offset = engine->offset,
                                .length = engine->length,
                                .uid = uid,
                                .from = from,
                                .window = MAILBOX_WINDOW_MAX,
                                .ranges = buf_str(&s->ranges)};
    return wait_for(s, handle_of(s, &ask.handle) && role_send(reader_of(s), &mailbox_fetch_type, &ask));
}

/* Changes. */

static bool send_change(struct imap_session *s, int64_t segment, int64_t offset)
{
    static const enum change_kind kinds[] = {[IMAP_CHANGE_FLAGS] = CHANGE_KIND_STORE,
                                             [IMAP_CHANGE_EXPUNGE] = CHANGE_KIND_EXPUNGE,
                                             [IMAP_CHANGE_COPY] = CHANGE_KIND_COPY,
                                             [IMAP_CHANGE_MOVE] = CHANGE_KIND_MOVE,
                                             [IMAP_CHANGE_APPEND] = CHANGE_KIND_APPEND,
                                             [IMAP_CHANGE_FORGET] = CHANGE_KIND_FORGET,
                                             [IMAP_CHANGE_CREATE] = CHANGE_KIND_CREATE,
                                             [IMAP_CHANGE_DELETE] = CHANGE_KIND_DELETE,
                                             [IMAP_CHANGE_RENAME] = CHANGE_KIND_RENAME,
                                             [IMAP_CHANGE_SUBSCRIBE] = CHANGE_KIND_SUBSCRIBE,
                                             [IMAP_CHANGE_UNSUBSCRIBE] = CHANGE_KIND_UNSUBSCRIBE,
                                             [IMAP_CHANGE_ACL] = CHANGE_KIND_ACL,
                                             [IMAP_CHANGE_METADATA] = CHANGE_KIND_METADATA,
                                             [IMAP_CHANGE_SEEN_RECENT] = CHANGE_KIND_SEEN_RECENT};
    static const struct imap_set none = {.ranges = NULL};
    const struct imap_change *change = &imap_server_ask(s->server)->change;
    const struct imap_set *uids = change->uids == NULL ? &none : change->uids;
    struct role_peer *store = role_peer_of(s->imapd->role, ROLE_STORE);
    struct str data = change->data;
    bool acl = change->kind == IMAP_CHANGE_ACL;
    bool more = true;
    bool sent = true;
    s->next_uid = 1;
    buf_clear(&s->source_uids);
    buf_clear(&s->target_uids);
    while (more && sent) {
        sent = pack_ranges(s, uids, s->next_uid, MAILBOX_RANGES_MAX, &more);
        struct str piece = str_sub(data, 0, MAILBOX_RANGES_MAX);
        data = str_from(data, piece.len);
        more = more || data.len > 0;
        struct mailbox_change ask = {.ticket = ticket_of(s),
                                     .grant = imap_server_grant(s->server),
                                     .kind = (uint8_t)kinds[change->kind],
                                     .more = more || change->more,
                                     .owner = s->owner,
                                     .mailbox = s->mailbox,
                                     .operation = (uint8_t)change->operation,
                                     .flags = acl ? change->rights : change->flags,
                                     .modseq = change->modseq,
                                     .internal_ms = change->internal_ms,
                                     .special_use = change->special_use,
                                     .segment = (uint64_t)segment,
                                     .offset = (uint64_t)offset,
                                     .name = change->name,
                                     .other_name = change->other_name,
                                     .keywords = change->keywords,
                                     .ranges = piece.len > 0 ? piece : buf_str(&s->ranges)};
        sent = sent && role_send(store, &mailbox_change_type, &ask);
    }
    return wait_for(s, sent);
}

/* The message is written to the log first; where it lies is then told to the store. */
static bool append(struct imap_session *s)
{
    const struct imap_ask *ask = imap_server_ask(s->server);
    uint64_t wall_ms = clock_wall_ms();
    struct record_header header = {
        .kind = RECORD_APPEND, .id = ident_make(wall_ms, random_u64()), .wall_ms = wall_ms};
    if (!log_writer_accepts(s->imapd->writer) ||
        !log_writer_add(s->imapd->writer, &header, STR_EMPTY, STR_EMPTY, ask->body, s)) {
        static const struct imap_changed full = {.answer = IMAP_UNAVAILABLE};
        imap_server_changed(s->server, &full, out_of(s));
        return false;
    }
    s->committing = true;
    connection_pause(&s->connection);
    return true;
}

/* Running. */

/* The answer to COMPRESS has been sent. */
static void compress(struct imap_session *s)
{
    s->compressing = false;
    if (!connection_compress(&s->connection)) {
        connection_abort(&s->connection, "out of memory for compression");
    }
}

/* The engine is run again once the client has taken what there is. True: it waits for that. */
static bool drain(struct imap_session *s)
{
    if (s->connection.out.len <= s->connection.sent) {
        if (s->compressing) {
            compress(s);
        }
        return s->closed;
    }
    s->draining = true;
    connection_pause(&s->connection);
    return true;
}

/* True: the engine waits, or the session is over. */
static bool handle(struct imap_session *s, enum imap_request request, struct str *input)
{
    switch (request) {
    case IMAP_INPUT: close_aside(s); return true;
    case IMAP_VERIFY: return ask_verify(s);
    case IMAP_LIST: return ask_rows(s);
    case IMAP_OPEN: return ask_open(s);
    case IMAP_METADATA: return ask_metadata(s);
    case IMAP_ACL: return ask_acl(s);
    case IMAP_NARROW: return ask_narrow(s);
    case IMAP_WATCH: return ask_watch(s);
    case IMAP_SHUT: close_mailbox(s); return false;
    case IMAP_ENTRIES: s->first_modseq = 0; return ask_flags(s, 0);
    case IMAP_MESSAGES: s->failed_messages = false; return ask_messages(s, 0, 0);
    case IMAP_CHANGE: return send_change(s, 0, 0);
    case IMAP_APPEND: return append(s);
    case IMAP_COMPRESS:
        input->len = 0; /* RFC 4978, section 3: a client sends nothing before it has seen the answer */
        s->compressing = true;
        return drain(s);
    case IMAP_DRAIN: return drain(s);
    case IMAP_START_TLS:
        input->len = 0; /* RFC 9051, section 6.2.1: what came before the handshake is thrown away */
        if (s->settings->tls == NULL || !connection_start_tls(&s->connection, s->settings->tls)) {
            connection_abort(&s->connection, "TLS cannot be started");
        }
        return true;
    case IMAP_CLOSE:
        imapd_note_door(s->imapd, &s->peer, imap_server_wrong_door(s->server));
        connection_finish(&s->connection, imap_server_close_reason(s->server));
        return true;
    }
    return true;
}

static void run(struct imap_session *s, struct str *input)
{
    for (;;) {
        uint64_t now = loop_now(s->imapd->role->loop);
        if (handle(s, imap_server_run(s->server, now, clock_wall_ms(), input, out_of(s)), input)) {
            return;
        }
    }
}

static void input_came(struct connection *connection, struct str *input)
{
    run((struct imap_session *)connection, input);
}

static void answered(struct imap_session *s)
{
    s->asked_ms = 0;
    connection_go_on(&s->connection);
}

static void output_taken(struct connection *connection)
{
    struct imap_session *s = (struct imap_session *)connection;
    if (s->draining) {
        s->draining = false;
        if (s->compressing) {
            compress(s);
        }
        if (!s->closed) {
            connection_go_on(&s->connection);
        }
    } else if (s->holding) {
        s->holding = false;
        if (!ask_messages(s, s->hold_uid, s->hold_from)) {
            answered(s);
        }
    }
}

/* Answers. */

static void verified(struct imap_session *s, const struct auth_answer *answer)
{
    static const enum imap_auth_answer answers[] = {
        [AUTH_GOOD] = IMAP_AUTH_GOOD,           [AUTH_BAD] = IMAP_AUTH_BAD,
        [AUTH_TEMPORARY] = IMAP_AUTH_TEMPORARY, [AUTH_THROTTLED] = IMAP_AUTH_THROTTLED,
        [AUTH_DISABLED] = IMAP_AUTH_DISABLED,
    };
    if (answer->verdict != AUTH_GOOD) {
        char client[CONNECTION_ADDRESS_TEXT];
        address_text(&s->peer, client);
        log_info("IMAP login refused client=%s", client);
    }
    imap_server_verified(s->server, answers[answer->verdict], answer->login, answer->grant, out_of(s));
}

static enum imap_answer answer_of(uint8_t result)
{
    static const enum imap_answer answers[] = {[MAILBOX_OK] = IMAP_DONE,
                                               [MAILBOX_IN_USE] = IMAP_UNAVAILABLE,
                                               [MAILBOX_REFUSED] = IMAP_NO_PERMISSION,
                                               [MAILBOX_MISSING] = IMAP_NONEXISTENT,
                                               [MAILBOX_TEMPORARY] = IMAP_UNAVAILABLE};
    return answers[result];
}

static void copy_id(unsigned char to[IMAP_MAILBOX_ID_SIZE], struct str id)
{
    memset(to, 0, IMAP_MAILBOX_ID_SIZE);
    if (id.len == IMAP_MAILBOX_ID_SIZE) {
        memcpy(to, id.data, id.len);
    }
}

static void take_row(struct imap_session *s, const struct mailbox_row *m)
{
    struct imap_row row = {.name = m->name,
                           .exists = m->exists,
                           .subscribed = m->subscribed,
                           .rights = m->rights,
                           .special_use = m->special_use,
                           .uid_validity = m->uid_validity,
                           .uid_next = m->uid_next,
                           .modseq = m->modseq,
                           .messages = m->messages,
                           .unseen = m->unseen,
                           .deleted = m->deleted,
                           .octets = m->octets,
                           .deleted_octets = m->deleted_octets,
                           .recent = m->recent,
                           .keywords = STR_EMPTY};
    copy_id(row.id, m->id);
    s->lost_part = s->lost_part || !imap_server_row(s->server, &row);
}

static void opened(struct imap_session *s, struct role_peer *peer, const struct mailbox_opened *m)
{
    struct imap_row row = {.name = imap_server_ask(s->server)->name,
                           .exists = true,
                           .rights = m->rights,
                           .uid_validity = m->uid_validity,
                           .uid_next = m->uid_next,
                           .modseq = m->modseq,
                           .messages = m->count,
                           .recent = m->recent,
                           .keywords = m->keywords};
    copy_id(row.id, m->id);
    if (m->result == MAILBOX_OK && imap_server_ask(s->server)->aside) {
        s->aside = (struct imap_aside){.open = true, .handle = m->handle, .reader = peer->instance};
    } else if (m->result == MAILBOX_OK) {
        s->has_handle = true;
        s->handle = m->handle;
        s->owner = m->owner;
        s->mailbox = m->mailbox;
        s->reader = peer->instance;
        struct mailbox_watch watch = {.ticket = ticket_of(s),
                                      .grant = imap_server_grant(s->server),
                                      .read_only = imap_server_ask(s->server)->read_only,
                                      .owner = m->owner,
                                      .mailbox = m->mailbox};
        role_send(role_peer_of(s->imapd->role, ROLE_STORE), &mailbox_watch_type, &watch);
    }
    imap_server_opened(s->server, answer_of(m->result), &row, out_of(s));
}

/* True: all parts have come. */
static bool take_flags(struct imap_session *s, struct role_peer *peer, const struct mailbox_flags *m)
{
    enum imap_answer answer = answer_of(m->result);
    bool more = answer == IMAP_DONE && m->next != 0;
    /* The reader is at the next part while this one is taken. */
    if (more) {
        if (!ask_flags(s, m->next)) {
            return true;
        }
        channel_push(peer->channel);
    }
    for (size_t at = 0; at + MAILBOX_RUN_SIZE <= m->runs.len && !s->lost_part; at += MAILBOX_RUN_SIZE) {
        const char *e = m->runs.data + at;
        uint32_t count = read_le32(e + 4);
        struct imap_run run = {.uid = read_le32(e),
                               .count = count >> 1,
                               .flags = read_le64(e + 8),
                               .modseq = read_le64(e + 16),
                               .rising = (count & 1) != 0};
        s->lost_part = run.count > MAILBOX_RUN_MESSAGES_MAX || !imap_server_entries(s->server, &run);
    }
    /* What changed while parts were on their way is newer than the first of them. */
    s->first_modseq = s->first_modseq == 0 ? m->modseq : s->first_modseq;
    if (more) {
        return false;
    }
    answer = s->lost_part ? IMAP_UNAVAILABLE : answer;
    s->lost_part = false;
    if (answer == IMAP_DONE) {
        imap_server_keywords(s->server, m->keywords);
        imap_server_own_rights(s->server, m->rights);
    }
    imap_server_answered(s->server, answer, s->first_modseq, out_of(s));
    return true;
}

static void take_vanished(struct imap_session *s, struct str ranges)
{
    for (size_t at = 0; at + IMAP_SET_RANGE_SIZE <= ranges.len; at += IMAP_SET_RANGE_SIZE) {
        imap_server_vanished(s->server, read_le32(ranges.data + at), read_le32(ranges.data + at + 4));
    }
}

static void take_candidates(struct imap_session *s, struct str ranges)
{
    for (size_t at = 0; at + IMAP_SET_RANGE_SIZE <= ranges.len; at += IMAP_SET_RANGE_SIZE) {
        s->lost_part = s->lost_part || !imap_server_candidates(s->server, read_le32(ranges.data + at),
                                                               read_le32(ranges.data + at + 4));
    }
}

static void take_message(struct imap_session *s, const struct mailbox_message *m)
{
    char id[2 * IDENT_SIZE];
    struct buf hex = {.data = id, .cap = sizeof(id), .limit = sizeof(id)};
    hex_encode(m->record, &hex);
    struct imap_message message = {.uid = m->uid,
                                   .size = m->size,
                                   .internal_ms = m->internal_ms,
                                   .saved_ms = m->saved_ms,
                                   .email_id = buf_str(&hex),
                                   .summary = m->summary};
    bool fine = imap_server_message(s->server, &message, out_of(s));
    if (fine && imap_message_has_octets(imap_server_ask(s->server), &message)) {
        fine = imap_server_bytes(s->server, m->bytes, m->whole, out_of(s));
    }
    s->failed_messages = s->failed_messages || !fine;
}

static void take_messages(struct imap_session *s, struct str packed)
{
    struct mailbox_message message;
    while (!s->closed && !s->failed_messages && mailbox_unpack(&packed, &message)) {
        take_message(s, &message);
        flush_many(s);
    }
    s->failed_messages = s->failed_messages || (packed.len > 0 && !s->closed);
}

/* True: all messages have come. */
static bool end_messages(struct imap_session *s, const struct mailbox_end *m)
{
    uint32_t next = m->next != 0 ? m->next : s->more_ranges ? s->next_uid : 0;
    s->failed_messages = s->failed_messages || m->result != MAILBOX_OK;
    if (next != 0) {
        connection_flush(&s->connection);
    }
    if (s->closed) {
        return false;
    }
    if (s->failed_messages || next == 0) {
        imap_server_answered(s->server, s->failed_messages ? IMAP_UNAVAILABLE : IMAP_DONE, 0, out_of(s));
        return true;
    }
    if (s->connection.out.len - s->connection.sent > OUT_ENOUGH) {
        s->holding = true;
        s->hold_uid = next;
        s->hold_from = m->next_offset;
        s->asked_ms = 0;
        return false;
    }
    return !ask_messages(s, next, m->next_offset);
}

static void take_changed(struct imap_session *s, const struct mailbox_changed *m, bool *all)
{
    static const enum imap_answer answers[] = {[CHANGE_RESULT_DONE] = IMAP_DONE,
                                               [CHANGE_RESULT_MISSING] = IMAP_NONEXISTENT,
                                               [CHANGE_RESULT_EXISTS] = IMAP_ALREADY_EXISTS,
                                               [CHANGE_RESULT_OVER_QUOTA] = IMAP_OVER_QUOTA,
                                               [CHANGE_RESULT_CANNOT] = IMAP_CANNOT,
                                               [CHANGE_RESULT_LIMIT] = IMAP_LIMIT,
                                               [CHANGE_RESULT_GONE] = IMAP_GONE,
                                               [CHANGE_RESULT_REFUSED] = IMAP_NO_PERMISSION,
                                               [CHANGE_RESULT_NOBODY] = IMAP_NOBODY,
                                               [CHANGE_RESULT_TEMPORARY] = IMAP_UNAVAILABLE};
    bool fine =
        buf_append_str(&s->source_uids, m->source_uids) && buf_append_str(&s->target_uids, m->target_uids);
    *all = !m->more;
    if (m->more) {
        return;
    }
    struct imap_changed changed = {.answer = fine ? answers[m->result] : IMAP_UNAVAILABLE,
                                   .modseq = m->modseq,
                                   .uid_validity = m->uid_validity,
                                   .source_uids = buf_str(&s->source_uids),
                                   .target_uids = buf_str(&s->target_uids),
                                   .keywords = m->keywords};
    copy_id(changed.id, m->id);
    imap_server_changed(s->server, &changed, out_of(s));
}

void imap_session_answer(struct imap_session *s, struct role_peer *peer, const struct ipc_type *type,
                         const void *message)
{
    enum imap_request waiting = s->closed ? IMAP_CLOSE : imap_server_waiting(s->server);
    bool all = false;
    if (s->closed) {
        return;
    }
    if (type == &mailbox_news_type) {
        s->unwatched = ((const struct mailbox_news *)message)->refused != 0;
        imap_server_news(s->server);
        all = waiting == IMAP_INPUT && !s->connection.paused;
    } else if (type == &account_news_type) {
        imap_server_account_news(s->server, ((const struct account_news *)message)->news);
        all = waiting == IMAP_INPUT && !s->connection.paused;
    } else if (s->asked_ms == 0) {
        return;
    } else if (type == &auth_answer_type && waiting == IMAP_VERIFY) {
        verified(s, message);
        all = true;
    } else if (type == &mailbox_row_type && waiting == IMAP_LIST) {
        take_row(s, message);
    } else if (type == &mailbox_opened_type && waiting == IMAP_OPEN) {
        opened(s, peer, message);
        all = true;
    } else if (type == &mailbox_flags_type && waiting == IMAP_ENTRIES) {
        all = take_flags(s, peer, message);
    } else if (type == &mailbox_vanished_type && waiting == IMAP_ENTRIES) {
        take_vanished(s, ((const struct mailbox_vanished *)message)->ranges);
    } else if (type == &mailbox_message_type && waiting == IMAP_MESSAGES) {
        take_message(s, message);
        flush_many(s);
    } else if (type == &mailbox_messages_type && waiting == IMAP_MESSAGES) {
        take_messages(s, ((const struct mailbox_messages *)message)->packed);
    } else if (type == &mailbox_piece_type && waiting == IMAP_MESSAGES) {
        const struct mailbox_piece *piece = message;
        s->failed_messages =
            s->failed_messages || !imap_server_bytes(s->server, piece->bytes, piece->last, out_of(s));
        flush_many(s);
    } else if (type == &mailbox_end_type && waiting == IMAP_MESSAGES) {
        all = end_messages(s, message);
    } else if (type == &mailbox_annotation_type && waiting == IMAP_METADATA) {
        const struct mailbox_annotation *a = message;
        s->lost_part = s->lost_part || !imap_server_annotation(s->server, a->name, a->entry, a->value);
    } else if (type == &mailbox_rights_type && waiting == IMAP_ACL) {
        const struct mailbox_rights *rights = message;
        s->lost_part = s->lost_part || !imap_server_rights(s->server, rights->identifier, rights->rights);
    } else if (type == &mailbox_candidates_type && waiting == IMAP_NARROW) {
        take_candidates(s, ((const struct mailbox_candidates *)message)->ranges);
    } else if (type == &mailbox_end_type &&
               (waiting == IMAP_METADATA || waiting == IMAP_ACL || waiting == IMAP_NARROW)) {
        const struct mailbox_end *end = message;
        imap_server_answered(s->server, s->lost_part ? IMAP_UNAVAILABLE : answer_of(end->result), 0,
                             out_of(s));
        s->lost_part = false;
        all = true;
    } else if (type == &mailbox_end_type && waiting == IMAP_LIST) {
        const struct mailbox_end *end = message;
        imap_server_quota(s->server, end->used_octets, end->quota_octets);
        imap_server_answered(s->server, s->lost_part ? IMAP_UNAVAILABLE : answer_of(end->result), 0,
                             out_of(s));
        s->lost_part = false;
        all = true;
    } else if (type == &account_watched_type && waiting == IMAP_WATCH) {
        bool fine = ((const struct account_watched *)message)->result == CHANGE_RESULT_DONE;
        s->watches_account = fine ? imap_server_ask(s->server)->news != 0 : s->watches_account;
        imap_server_answered(s->server, fine ? IMAP_DONE : IMAP_LIMIT, 0, out_of(s));
        all = true;
    } else if (type == &mailbox_changed_type && (waiting == IMAP_CHANGE || waiting == IMAP_APPEND)) {
        take_changed(s, message, &all);
    }
    if (all && !s->closed) {
        answered(s);
    }
}

void imap_session_logged(struct imap_session *s, enum batch_result result, int64_t segment, int64_t offset)
{
    s->committing = false;
    if (s->closed) {
        end_if_free(s);
        return;
    }
    if (result != BATCH_STORED) {
        static const struct imap_changed failed = {.answer = IMAP_UNAVAILABLE};
        imap_server_changed(s->server, &failed, out_of(s));
        answered(s);
    } else if (!send_change(s, segment, offset)) {
        answered(s);
    }
}

void imap_session_peer_lost(struct imap_session *s, enum role_kind kind, uint32_t instance)
{
    if (s->closed) {
        return;
    }
    bool holds = kind == ROLE_READER && s->has_handle && s->reader == instance;
    enum imap_request waiting = imap_server_waiting(s->server);
    bool of_store = waiting == IMAP_CHANGE || waiting == IMAP_APPEND || waiting == IMAP_WATCH;
    bool of_keys = waiting == IMAP_VERIFY;
    bool watched = kind == ROLE_STORE && (s->has_handle || s->watches_account);
    enum role_kind asked = of_keys ? ROLE_KEYS : of_store ? ROLE_STORE : ROLE_READER;
    s->has_handle = s->has_handle && !holds;
    s->aside.open = s->aside.open && !(kind == ROLE_READER && s->aside.reader == instance);
    if (holds || watched) {
        /* Whether a change was made, or what the mailbox is like now, a new session sees. */
        imap_server_shutdown(s->server, out_of(s));
        connection_finish(&s->connection, "the mailbox was lost");
    } else if (s->asked_ms != 0 && kind == asked) {
        fail_question(s);
        answered(s);
    }
}

/* The beginning. */

static void greet(struct imap_session *s, struct str early)
{
    struct str nothing = STR_EMPTY;
    handle(s, imap_server_start(s->server, early, out_of(s)), &nothing);
    connection_flush(&s->connection);
}

static void secured(struct connection *connection)
{
    struct imap_session *s = (struct imap_session *)connection;
    imap_server_tls_started(s->server, loop_now(s->imapd->role->loop));
    if (s->settings->listener->tls == LISTENER_TLS_IMPLICIT) {
        greet(s, STR_EMPTY);
    }
}

static void in_clear(struct connection *connection)
{
    struct imap_session *s = (struct imap_session *)connection;
    imapd_refuse_clear(s->imapd, connection, s->settings, &s->peer, DOOR_IMAP);
}

static const struct connection_events events = {.in_clear = in_clear,
                                                .input = input_came,
                                                .secured = secured,
                                                .drained = output_taken,
                                                .closed = connection_closed};

static void begin_in_clear(struct imap_session *s)
{
    char early[EARLY_MAX];
    ssize_t n = recv(s->connection.fd, early, sizeof(early), MSG_DONTWAIT | MSG_PEEK);
    greet(s, n > 0 ? str_make(early, (size_t)n) : STR_EMPTY);
}

static struct imap_session *new_session(struct imapd *d, struct front_settings *settings)
{
    struct imap_session *s = mem_new(struct imap_session);
    bool implicit = settings->listener->tls == LISTENER_TLS_IMPLICIT;
    if (s == NULL) {
        return NULL;
    }
    s->server = imap_server_new(settings->data, implicit, loop_now(d->role->loop));
    if (s->server == NULL || !imapd_take_slot(d, &s->slot, NULL, s)) {
        imap_server_free(s->server);
        mem_free(s);
        return NULL;
    }
    s->imapd = d;
    s->ranges = buf_make(MAILBOX_RANGES_MAX);
    s->source_uids = buf_make(16 << 20);
    s->target_uids = buf_make(16 << 20);
    return s;
}

bool imap_session_accepted(struct imapd *d, struct front_settings *settings, int fd,
                           const struct sockaddr_storage *peer)
{
    struct imap_session *s = new_session(d, settings);
    if (s == NULL) {
        close(fd);
        return false;
    }
    s->peer = *peer;
    if (!connection_open(&s->connection, d->role->loop, fd, &events, OUT_LIMIT)) {
        imapd_free_slot(d, &s->slot);
        imap_server_free(s->server);
        mem_free(s);
        return false;
    }
    s->settings = front_settings_ref(settings);
    s->next = d->imap_sessions;
    if (s->next != NULL) {
        s->next->previous = s;
    }
    d->imap_sessions = s;
    if (settings->listener->tls != LISTENER_TLS_IMPLICIT) {
        begin_in_clear(s);
    } else if (!connection_start_tls(&s->connection, settings->tls)) {
        connection_abort(&s->connection, "out of memory for TLS");
    }
    return true;
}

/* Time and the end of the server. */

void imap_session_sweep(struct imap_session *s, uint64_t now_ms)
{
    enum imap_request waiting = s->closed ? IMAP_CLOSE : imap_server_waiting(s->server);
    bool changing = waiting == IMAP_CHANGE || waiting == IMAP_APPEND;
    if (s->closed) {
        return;
    }
    if (s->asked_ms != 0 && now_ms > s->asked_ms + ANSWER_TIMEOUT_MS) {
        s->asked_ms = 0;
        fail_question(s);
        connection_go_on(&s->connection);
        return;
    }
    if (s->unwatched && waiting == IMAP_INPUT && !s->connection.paused && now_ms > s->looked_ms + LOOK_MS) {
        s->looked_ms = now_ms;
        imap_server_news(s->server);
        connection_go_on(&s->connection);
        return;
    }
    if (imap_server_progress(s->server, now_ms, out_of(s))) {
        connection_flush(&s->connection);
        if (s->closed) {
            return;
        }
    }
    if (now_ms < imap_server_deadline(s->server) || changing || s->committing) {
        return; /* a change under way is answered first, and has a time-out of its own */
    }
    if (s->connection.handshaking || s->connection.closing || s->draining || s->holding) {
        connection_abort(&s->connection, "the client was too slow");
        return;
    }
    imap_server_expire(s->server, out_of(s));
    connection_finish(&s->connection, imap_server_close_reason(s->server));
}

void imap_session_shut_down(struct imap_session *s)
{
    if (s->closed) {
        return;
    }
    if (s->connection.handshaking) {
        connection_abort(&s->connection, "the server stops");
    } else if (imap_server_shutdown(s->server, out_of(s))) {
        connection_finish(&s->connection, "the server stops");
    }
}
