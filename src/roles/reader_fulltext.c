/* Which messages may have a text, as far as the account's full-text index knows. Part of the reader role. */
#include "roles/reader_private.h"

#include "base/log.h"
#include "store/fulltext.h"

enum { RANGE_SIZE = 8 };

/* Candidates that come one by one, as ranges. */
struct narrowing {
    struct role_peer *peer;
    uint64_t ticket;
    struct buf *ranges;
    uint32_t first; /* of the range that may go on; 0: there is none */
    uint32_t last;
};

static void send_ranges(struct narrowing *n)
{
    struct mailbox_candidates candidates = {.ticket = n->ticket, .ranges = buf_str(n->ranges)};
    if (n->ranges->len > 0) {
        role_send(n->peer, &mailbox_candidates_type, &candidates);
        buf_clear(n->ranges);
    }
}

static void end_range(struct narrowing *n)
{
    if (n->first == 0) {
        return;
    }
    if (n->ranges->len + RANGE_SIZE > MAILBOX_RANGES_MAX) {
        send_ranges(n);
    }
    buf_append_le32(n->ranges, n->first);
    buf_append_le32(n->ranges, n->last);
}

static bool found(void *context, uint32_t uid)
{
    struct narrowing *n = context;
    if (n->first == 0 || uid > n->last + 1) {
        end_range(n);
        n->first = uid;
    }
    n->last = uid > n->last ? uid : n->last;
    return buf_ok(n->ranges);
}

/* What the index does not know yet may be anything. */
static void add_rest(struct narrowing *n, uint32_t place)
{
    if (place < UINT32_MAX) {
        found(n, place + 1);
        n->last = UINT32_MAX;
    }
    end_range(n);
    send_ranges(n);
}

static enum mailbox_result narrow(struct reader *r, const struct mailbox *mailbox, struct str question,
                                  struct narrowing *n)
{
    struct buf errors = buf_make(1024);
    enum mailbox_result result = MAILBOX_MISSING;
    int64_t index_id = 0;
    uint32_t place = 0;
    struct fulltext *file = fulltext_index_id(r->index, &index_id) == 0
                                ? fulltext_open_reader(mailbox->account, index_id, &errors)
                                : NULL;
    if (file != NULL && fulltext_place(file, mailbox->id, mailbox->uid_validity, &place) == 0 && place > 0) {
        if (fulltext_search(file, mailbox->id, place, question, found, n) == 0) {
            add_rest(n, place);
            result = buf_ok(n->ranges) ? MAILBOX_OK : MAILBOX_TEMPORARY;
        } else {
            log_debug("the full-text index of account %lld cannot be asked: %s", (long long)mailbox->account,
                      file->error);
            result = MAILBOX_TEMPORARY;
        }
    }
    if (errors.len > 0) {
        log_debug("a full-text index cannot be opened: %.*s", STR_ARGS(buf_str(&errors)));
    }
    fulltext_close(file);
    buf_free(&errors);
    return result;
}

void reader_answer_narrow(struct reader *r, struct role_peer *peer, const struct mailbox_narrow *ask)
{
    enum mailbox_result result;
    uint32_t rights;
    struct mailbox mailbox;
    const struct open_mailbox *open = reader_use_handle(r, peer, ask->handle, &rights, &result);
    struct narrowing n = {.peer = peer, .ticket = ask->ticket, .ranges = &r->bytes};
    buf_clear(&r->bytes);
    if (open != NULL) {
        int there = mailbox_find(r->index, open->account, open->mailbox, &mailbox);
        result = there == 1   ? narrow(r, &mailbox, ask->question, &n)
                 : there == 0 ? MAILBOX_MISSING
                              : MAILBOX_TEMPORARY;
    }
    reader_send_end(peer, ask->ticket, result);
}
