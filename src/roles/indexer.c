/*
 * The indexer role: reads messages that the store gives it and answers with the terms of their text. It has no files and no
 * network, and forgets each message with the answer: who takes it over sees the mail that goes by, as with smtpd, and no other.
 */
#include "base/log.h"
#include "base/mem.h"
#include "ipc/proto_fulltext.h"
#include "message/charset.h"
#include "message/terms.h"
#include "roles/role.h"

enum { TERMS_OCTETS_MAX = TERMS_MAX * TERM_SIZE_MAX };

struct indexer {
    uint64_t ticket;
    struct buf message;
    struct buf terms;
};

static void answer(struct role_peer *peer, struct indexer *indexer, bool known)
{
    struct str rest = known ? buf_str(&indexer->terms) : STR_EMPTY;
    do {
        struct str piece = str_sub(rest, 0, IPC_CHUNK_MAX);
        rest = str_from(rest, piece.len);
        struct fulltext_terms terms = {
            .ticket = indexer->ticket, .last = rest.len == 0, .known = known, .terms = piece};
        role_send(peer, &fulltext_terms_type, &terms);
    } while (rest.len > 0);
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    struct indexer *indexer = role->data;
    const struct fulltext_octets *octets = message;
    (void)type;
    (void)fd;
    if (octets->ticket != indexer->ticket) {
        buf_clear(&indexer->message);
        indexer->ticket = octets->ticket;
    }
    buf_append_str(&indexer->message, octets->octets);
    if (!octets->last) {
        return;
    }
    buf_clear(&indexer->terms);
    answer(peer, indexer,
           buf_ok(&indexer->message) && terms_of_message(buf_str(&indexer->message), &indexer->terms));
    if (indexer->message.cap > 1 << 20 || !buf_ok(&indexer->message)) {
        buf_free(&indexer->message);
        indexer->message = buf_make(FULLTEXT_MESSAGE_MAX);
    }
    buf_clear(&indexer->message);
}

static void peer_down(struct role *role, struct role_peer *peer)
{
    struct indexer *indexer = role->data;
    (void)peer;
    buf_clear(&indexer->message);
    indexer->ticket = 0;
}

static int prepare(struct role *role)
{
    struct indexer *indexer = mem_new(struct indexer);
    unsigned missing = charset_preload();
    if (missing > 0) {
        log_warning("%u charsets cannot be opened: text in them is not found by a search", missing);
    }
    if (indexer == NULL) {
        return -1;
    }
    indexer->message = buf_make(FULLTEXT_MESSAGE_MAX);
    indexer->terms = buf_make(TERMS_OCTETS_MAX);
    role->data = indexer;
    return 0;
}

static int start(struct role *role)
{
    (void)role;
    return 0;
}

static void drain(struct role *role)
{
    role_drained(role, 0);
}

static const struct role_protocol protocols[] = {{ROLE_STORE, &fulltext_to_indexer}};

const struct role_module role_indexer = {.kind = ROLE_INDEXER,
                                         .protocols = protocols,
                                         .protocol_count = 1,
                                         .prepare = prepare,
                                         .start = start,
                                         .peer_message = peer_message,
                                         .peer_down = peer_down,
                                         .drain = drain};
