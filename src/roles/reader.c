/*
 * The reader role: answers from the index and the log without changing either. smtpd asks who a recipient is, imapd what is in
 * a mailbox, relay for the bytes of a message. Every question is a short read of its own, so no snapshot gets old.
 */
#include "roles/reader_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "ipc/proto_directory.h"
#include "ipc/proto_queue.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_TRIES = 50, OPEN_PAUSE_US = 100000, CLOSE_REMOVED_MS = 1000, WARNING_PAUSE_MS = 60000 };

/* Recipients and senders. */

/* Postmaster must be reachable, so its mail waits at the sender until there is somebody who gets it. */
static void warn_of_postmaster(struct reader *r)
{
    uint64_t now = loop_now(r->role->loop);
    if (r->warned_ms == 0 || now > r->warned_ms + WARNING_PAUSE_MS) {
        r->warned_ms = now;
        log_warning(
            "mail for postmaster is deferred: there is no account yet; make one with `veredus user add`");
    }
}

static enum recipient_verdict verdict_of(struct reader *r, const struct resolution *resolution, uint64_t size)
{
    switch (resolution->verdict) {
    case RESOLVED_LOCAL:
        if (resolution->disabled) {
            return RECIPIENT_DISABLED;
        }
        /* A message that is known to be larger than what is left is refused now, before it is sent (RFC 1870). */
        if (resolution->room <= 0 || (uint64_t)resolution->room < size) {
            return r->role->config->refuse_over_quota ? RECIPIENT_OVER_QUOTA : RECIPIENT_OVER_QUOTA_NOW;
        }
        return RECIPIENT_LOCAL;
    case RESOLVED_NEW: return RECIPIENT_LOCAL;
    case RESOLVED_REMOTE: return RECIPIENT_RELAY;
    case RESOLVED_RELAY_DOMAIN: return RECIPIENT_RELAY_DOMAIN;
    case RESOLVED_UNKNOWN:
        if (!resolution->nobody_yet) {
            return RECIPIENT_UNKNOWN;
        }
        warn_of_postmaster(r);
        return RECIPIENT_FAILED;
    case RESOLVED_ERROR: break;
    }
    log_error("a recipient cannot be looked up: %s", r->index->error);
    return RECIPIENT_FAILED;
}

static uint64_t room_of(const struct resolution *resolution)
{
    bool limited = resolution->verdict == RESOLVED_LOCAL && resolution->room != INT64_MAX;
    return !limited ? UINT64_MAX : resolution->room < 0 ? 0 : (uint64_t)resolution->room;
}

static void answer_recipient(struct reader *r, struct role_peer *peer, const struct directory_recipient *ask)
{
    resolve_recipient(r->index, r->role->config, ask->address, &r->resolution);
    struct directory_recipient_answer answer = {.ticket = ask->ticket,
                                                .verdict = (uint8_t)verdict_of(r, &r->resolution, ask->size),
                                                .room = room_of(&r->resolution)};
    resolve_free(&r->resolution);
    role_send(peer, &directory_recipient_answer_type, &answer);
}

bool reader_grant_of(struct reader *r, const struct role_peer *peer, struct str bytes, struct grant *grant)
{
    return grant_check(bytes, r->grant_key, grant) && grant->kind == (uint32_t)peer->kind &&
           grant->instance == peer->instance && grant->boot == role_boot(r->role);
}

static void answer_sender(struct reader *r, struct role_peer *peer, const struct directory_sender *ask)
{
    struct directory_sender_answer answer = {.ticket = ask->ticket, .verdict = SENDER_FORBIDDEN};
    struct grant grant;
    bool allowed = false;
    if (reader_grant_of(r, peer, ask->grant, &grant)) {
        if (resolve_sender(r->index, r->role->config, (int64_t)grant.account, ask->address, &allowed) ==
            RESOLVED_ERROR) {
            log_error("a sender address cannot be looked up: %s", r->index->error);
            answer.verdict = SENDER_FAILED;
        } else if (allowed) {
            answer.verdict = SENDER_ALLOWED;
        }
    }
    role_send(peer, &directory_sender_answer_type, &answer);
}

/* Bodies for relay. */

static bool read_body(struct reader *r, const struct body_grant *grant, uint64_t offset, uint32_t length)
{
    unsigned char bytes[RECORD_HEADER];
    struct record_header header;
    int64_t segment = (int64_t)grant->segment;
    int64_t at = (int64_t)grant->offset;
    if (!segment_read_at(&r->segments, segment, at, bytes, RECORD_HEADER) ||
        record_decode_header(bytes, &header) != RECORD_GOOD ||
        memcmp(header.id.bytes, grant->id, IDENT_SIZE) != 0) {
        return false;
    }
    uint64_t size = (uint64_t)header.trace_len + header.body_len;
    if (offset >= size) {
        return true;
    }
    size_t len = offset + length > size ? (size_t)(size - offset) : length;
    char *room = buf_reserve(&r->bytes, len);
    if (room == NULL ||
        !segment_read_at(&r->segments, segment,
                         at + record_payload_at(&header) + header.envelope_len + (int64_t)offset, room,
                         len)) {
        return false;
    }
    r->bytes.len += len;
    return true;
}

/* A job holds the place that its record had when it was given out: compaction may have moved it since. */
static bool find_body(struct reader *r, struct body_grant *grant)
{
    sqlite3_stmt *q = sql_prepare(r->index, SQL_RECORD_GET);
    if (q == NULL) {
        return false;
    }
    sql_blob(q, 1, grant->id, IDENT_SIZE);
    if (!sql_row(r->index, q)) {
        return false;
    }
    grant->segment = (uint64_t)sqlite3_column_int64(q, 0);
    grant->offset = (uint64_t)sqlite3_column_int64(q, 1);
    sql_done(q);
    return true;
}

static void answer_body(struct reader *r, struct role_peer *peer, const struct body_read *ask)
{
    struct body_bytes answer = {.ticket = ask->ticket, .bytes = STR_EMPTY};
    struct body_grant grant;
    buf_clear(&r->bytes);
    if (body_grant_check(ask->body_grant, r->grant_key, &grant) && grant.instance == peer->instance &&
        (read_body(r, &grant, ask->offset, ask->length) ||
         (find_body(r, &grant) && read_body(r, &grant, ask->offset, ask->length)))) {
        answer.found = 1;
        answer.bytes = buf_str(&r->bytes);
    }
    role_send(peer, &body_bytes_type, &answer);
}

/* Life. */

static struct reader *state_of(struct role *role)
{
    if (role->data == NULL) {
        struct reader *r = mem_new(struct reader);
        if (r != NULL) {
            r->role = role;
            r->bytes = buf_make(IPC_CHUNK_MAX);
            reader_mailbox_prepare(r);
        }
        role->data = r;
    }
    return role->data;
}

static void secret(struct role *role, enum secret_kind kind, struct str name, int fd)
{
    (void)name;
    struct reader *r = state_of(role);
    struct buf key = buf_make(256);
    if (role_read_fd(fd, 256, &key) && r != NULL && kind == SECRET_GRANT_KEY && key.len == GRANT_KEY_SIZE) {
        memcpy(r->grant_key, key.data, GRANT_KEY_SIZE);
        r->has_grant_key = true;
    }
    buf_wipe(&key);
}

/* A store that is just starting again may hold the index for a moment. */
static bool open_index(struct reader *r)
{
    struct buf errors = buf_make(4096);
    for (int tries = 0; tries < OPEN_TRIES && r->index == NULL; tries++) {
        buf_clear(&errors);
        r->index = index_open("index.db", false, &errors);
        if (r->index == NULL) {
            usleep(OPEN_PAUSE_US);
        }
    }
    if (r->index == NULL) {
        log_error("the index cannot be opened: %.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return r->index != NULL && segments_init(&r->segments, &io_system, false) == 0;
}

static int prepare(struct role *role)
{
    struct reader *r = state_of(role);
    if (r == NULL || r->handles == NULL || !r->has_grant_key) {
        log_error("the reader did not get its key from the supervisor, or there is no memory");
        return -1;
    }
    if (role->fence) {
        return 0; /* there may be no index yet, and none is needed */
    }
    if (!role_enter_data_dir(role)) {
        log_error("cannot enter %s: %s", role->data_dir, strerror(errno));
        return -1;
    }
    bool fine = role_become_user(role) && open_index(r);
    return role_become_starter(role) && fine ? 0 : -1;
}

static void close_removed(void *context)
{
    struct reader *r = context;
    segments_close_removed(&r->segments);
}

static int start(struct role *role)
{
    struct reader *r = role->data;
    if (r->index == NULL) {
        return 0;
    }
    return loop_timer_start(role->loop, &r->close_timer, CLOSE_REMOVED_MS, true, close_removed, r);
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)fd;
    struct reader *r = role->data;
    if (r->index == NULL) {
        return;
    }
    if (type == &directory_recipient_type) {
        answer_recipient(r, peer, message);
    } else if (type == &directory_sender_type) {
        answer_sender(r, peer, message);
    } else if (type == &body_read_type) {
        answer_body(r, peer, message);
    } else {
        reader_mailbox_message(r, peer, type, message);
    }
}

static void peer_down(struct role *role, struct role_peer *peer)
{
    struct reader *r = role->data;
    if (peer->kind == ROLE_IMAPD) {
        reader_mailbox_peer_down(r, peer->instance);
    }
}

static void drain(struct role *role)
{
    role_drained(role, 0);
}

static void ended(struct role *role)
{
    struct reader *r = role->data;
    if (r != NULL) {
        index_close(r->index);
        r->index = NULL;
    }
}

static const struct role_protocol protocols[] = {{ROLE_SMTPD_MX, &directory_to_reader},
                                                 {ROLE_SMTPD_MSA, &directory_to_reader},
                                                 {ROLE_IMAPD, &mailbox_to_reader},
                                                 {ROLE_RELAY, &body_to_reader}};

const struct role_module role_reader = {.kind = ROLE_READER,
                                        .protocols = protocols,
                                        .protocol_count = sizeof(protocols) / sizeof(protocols[0]),
                                        .prepare = prepare,
                                        .start = start,
                                        .peer_message = peer_message,
                                        .peer_down = peer_down,
                                        .secret = secret,
                                        .drain = drain,
                                        .ended = ended};
