/*
 * The segments that are not sealed: making them, handing them out, applying what their writers have flushed, and taking over
 * those whose writers are gone. Part of the store role.
 *
 * A segment's file is locked (flock) through the descriptor that its writer holds, so the lock lasts exactly as long as
 * somebody can still write to it: what a dying process leaves is read only after its last word.
 */
#include "roles/store_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "ipc/proto_log.h"
#include "store/batch.h"
#include "store/events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { GIVEN_TO_EACH = 2 };

static struct open_segment *find_open(struct store *s, int64_t id)
{
    for (size_t i = 0; i < s->open_count; i++) {
        if (s->open[i].id == id) {
            return &s->open[i];
        }
    }
    return NULL;
}

static void forget_open(struct store *s, struct open_segment *segment)
{
    if (segment->write_fd >= 0) {
        close(segment->write_fd);
    }
    size_t last = --s->open_count;
    bool own_is_last = s->own == &s->open[last];
    if (s->own == segment) {
        s->own = NULL;
        own_is_last = false;
    }
    if (segment != &s->open[last]) {
        *segment = s->open[last];
    }
    if (own_is_last) {
        s->own = segment;
    }
}

/* Whether no process can write to it any more. */
static bool is_abandoned(struct store *s, int64_t id)
{
    int fd = segment_fd(&s->segments, id);
    if (fd < 0) {
        return true; /* reading it will fail, and say so */
    }
    if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
        return false;
    }
    flock(fd, LOCK_UN);
    return true;
}

/* What its writer left may be in the page cache only: it is applied once it is on the disk. */
static void take_over(struct store *s, struct open_segment *segment)
{
    int fd = segment_fd(&s->segments, segment->id);
    if (fd >= 0 && s->segments.io->fdatasync(fd) != 0) {
        log_error("segment %lld cannot be flushed: %s; what can be read of it is applied",
                  (long long)segment->id, strerror(errno));
    }
    segment->writer_gone = true;
    if (!segment->sealed) {
        segment->limit = INT64_MAX;
    }
}

/*
 * A segment whose writer lives may be abandoned as well: this store's predecessor died before it could hand it out, or the
 * writer let go of it while there was no store to tell. It is taken over at the second look, because what the writer says of
 * its last good record may just be on its way.
 */
void store_segments_check_orphans(struct store *s)
{
    for (size_t i = 0; i < s->open_count; i++) {
        struct open_segment *segment = &s->open[i];
        if (segment->writer_gone || !(segment->given || segment->orphan) || !is_abandoned(s, segment->id)) {
            continue;
        }
        if (segment->orphan || segment->let_go) {
            take_over(s, segment);
            store_soon(s);
        }
        segment->let_go = true;
    }
}

void store_segments_writer_gone(struct store *s, enum role_kind kind, uint32_t instance)
{
    for (size_t i = 0; i < s->open_count; i++) {
        struct open_segment *segment = &s->open[i];
        if (segment->kind == kind && segment->instance == instance) {
            segment->orphan = true;
            if (segment->write_fd >= 0) {
                close(segment->write_fd);
                segment->write_fd = -1;
            }
        }
    }
    store_segments_check_orphans(s);
}

static bool writer_lives(struct store *s, const struct segment_info *info)
{
    return info->boot == role_boot(s->role) &&
           role_peer_find(s->role, (enum role_kind)info->origin, info->instance) != NULL;
}

int store_segments_load(struct store *s)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int count = segment_list(s->index, infos, SEGMENT_ROWS_MAX);
    if (count < 0) {
        log_error("the list of segments cannot be read: %s", s->index->error);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        const struct segment_info *info = &infos[i];
        if (info->sealed || info->origin < 0 ||
            (info->origin >= ROLE_KINDS && info->origin != SEGMENT_COPIES)) {
            continue;
        }
        if (s->open_count == STORE_SEGMENTS_MAX) {
            log_warning("more than %d segments are unsealed; the rest waits for the next start",
                        STORE_SEGMENTS_MAX);
            break;
        }
        bool lives = writer_lives(s, info);
        s->open[s->open_count++] = (struct open_segment){.id = info->id,
                                                         .kind = (enum role_kind)info->origin,
                                                         .instance = info->instance,
                                                         .limit = info->applied,
                                                         .applied = info->applied,
                                                         .new_applied = info->applied,
                                                         .orphan = !lives,
                                                         .has_row = true,
                                                         .given = true,
                                                         .write_fd = -1};
    }
    store_segments_check_orphans(s);
    return 0;
}

/* Making and handing out. */

void store_segments_ask_for_mark(struct store *s, int64_t segment, int fd, bool append_only)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct control_mark_segment ask = {.segment = (uint64_t)segment, .append_only = append_only};
    if (copy >= 0) {
        channel_send_fd(s->role->control, &control_mark_segment_type, &ask, copy);
    }
}

/* Within a transaction. NULL if it cannot be made. */
static struct open_segment *make_segment(struct store *s, enum role_kind kind, uint32_t instance)
{
    int64_t id = 0;
    if (s->open_count == STORE_SEGMENTS_MAX) {
        return NULL;
    }
    int fd = segment_create(&s->segments, s->index, (int)kind, instance, role_boot(s->role), &id);
    if (fd < 0) {
        return NULL;
    }
    /* Without its lock it would be taken for abandoned while it is written, and sealed too soon. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        log_error(
            "segment %lld cannot be locked: %s; it is not used (data_dir has to be on a local file system)",
            (long long)id, strerror(errno));
        close(fd);
        segment_unlink(&s->segments, id);
        segment_forget(s->index, id);
        return NULL;
    }
    struct open_segment *segment = &s->open[s->open_count++];
    *segment = (struct open_segment){.id = id, .kind = kind, .instance = instance, .write_fd = fd};
    return segment;
}

static void give(struct store *s, struct open_segment *segment)
{
    struct role_peer *peer = role_peer_find(s->role, segment->kind, segment->instance);
    struct log_segment message = {.segment = (uint64_t)segment->id,
                                  .size_limit = s->config->store.segment_size};
    segment->given = true;
    if (peer == NULL) {
        segment->orphan = true;
        close(segment->write_fd);
    } else {
        channel_send_fd(peer->channel, &log_segment_type, &message, segment->write_fd);
    }
    segment->write_fd = -1;
}

bool store_segments_writes(enum role_kind kind)
{
    return kind == ROLE_SMTPD_MX || kind == ROLE_SMTPD_MSA || kind == ROLE_IMAPD;
}

void store_segments_supply(struct store *s, struct role_peer *peer)
{
    if (!store_segments_writes(peer->kind) || !s->accepting || s->index->in_transaction) {
        return;
    }
    size_t have = 0;
    for (size_t i = 0; i < s->open_count; i++) {
        have += s->open[i].kind == peer->kind && s->open[i].instance == peer->instance && !s->open[i].sealed;
    }
    if (have >= GIVEN_TO_EACH || !store_begin(s)) {
        return;
    }
    size_t first = s->open_count;
    for (; have < GIVEN_TO_EACH; have++) {
        if (make_segment(s, peer->kind, peer->instance) == NULL) {
            log_error("a log segment cannot be made: %s",
                      s->index->error[0] != '\0' ? s->index->error : strerror(errno));
            break;
        }
    }
    if (!store_commit(s)) {
        return;
    }
    for (size_t i = first; i < s->open_count; i++) {
        if (s->open[i].kind == peer->kind) {
            s->open[i].waiting_mark = true;
            store_segments_ask_for_mark(s, s->open[i].id, s->open[i].write_fd, true);
        }
    }
}

void store_segments_marked(struct store *s, const struct control_segment_marked *marked)
{
    if (!marked->append_only) {
        store_compact_unmarked(s, (int64_t)marked->segment);
        return;
    }
    struct open_segment *segment = find_open(s, (int64_t)marked->segment);
    if (segment != NULL && segment->waiting_mark) {
        segment->waiting_mark = false;
        if (segment->kind != ROLE_STORE && segment->write_fd >= 0) {
            give(s, segment);
        }
    }
}

/* What the writers say. They may lie about offsets: only good records are ever applied. */

static bool is_writer(const struct open_segment *segment, const struct role_peer *peer)
{
    return segment != NULL && segment->kind == peer->kind && segment->instance == peer->instance;
}

void store_segments_message(struct store *s, struct role_peer *peer, const struct ipc_type *type,
                            const void *message)
{
    if (type == &log_flushed_type) {
        const struct log_flushed *flushed = message;
        struct open_segment *segment = find_open(s, (int64_t)flushed->segment);
        if (is_writer(segment, peer) && !segment->sealed && (int64_t)flushed->offset > segment->limit) {
            segment->limit = (int64_t)flushed->offset;
        }
    } else if (type == &log_sealed_type) {
        const struct log_sealed *sealed = message;
        struct open_segment *segment = find_open(s, (int64_t)sealed->segment);
        if (is_writer(segment, peer) && !segment->sealed) {
            segment->sealed = true;
            segment->limit = (int64_t)sealed->offset;
        } else if (segment == NULL) {
            struct log_applied done = {.segment = sealed->segment, .offset = sealed->offset};
            role_send(peer, &log_applied_type, &done);
        }
        store_segments_supply(s, peer);
    }
}

/* Applying. */

static bool is_pending(const struct open_segment *segment)
{
    return segment->applied < segment->limit || (segment->sealed && segment->applied >= segment->limit) ||
           segment->writer_gone;
}

bool store_segments_pending(const struct store *s)
{
    for (size_t i = 0; i < s->open_count; i++) {
        if (is_pending(&s->open[i]) && !s->open[i].waiting_mark) {
            return true;
        }
    }
    return false;
}

static int apply_one(struct store *s, struct open_segment *segment, bool *more)
{
    bool again = false;
    bool torn = false;
    struct segment_info info;
    if (segment->applied < segment->limit &&
        (apply_segment(s->applier, segment->id, segment->limit, STORE_APPLY_BUDGET, clock_wall_ms(), &again,
                       &torn, &s->totals) != 0 ||
         segment_get(s->index, segment->id, &info) != 0)) {
        return -1;
    }
    if (segment->applied < segment->limit) {
        segment->new_applied = info.applied;
    }
    if (torn && !segment->writer_gone) {
        log_error(
            "segment %lld is damaged at %lld, before the end that its writer flushed; it is sealed there",
            (long long)segment->id, (long long)segment->new_applied);
        segment->sealed = true;
        segment->limit = segment->new_applied;
    } else if (torn) {
        log_info("segment %lld ends with an unfinished record at %lld, which was never acknowledged",
                 (long long)segment->id, (long long)segment->new_applied);
    }
    *more = *more || again;
    bool complete =
        !again && (segment->writer_gone || (segment->sealed && segment->new_applied >= segment->limit));
    if (complete) {
        segment->finished = true;
        return segment_seal(s->index, segment->id);
    }
    return 0;
}

int store_segments_apply(struct store *s, bool *more)
{
    for (size_t i = 0; i < s->open_count; i++) {
        s->open[i].new_applied = s->open[i].applied;
        s->open[i].finished = false;
        if (is_pending(&s->open[i]) && !s->open[i].waiting_mark && apply_one(s, &s->open[i], more) != 0) {
            return -1;
        }
    }
    return 0;
}

void store_segments_applied(struct store *s)
{
    for (size_t i = s->open_count; i > 0; i--) {
        struct open_segment *segment = &s->open[i - 1];
        segment->has_row = true;
        if (segment->new_applied > segment->applied || segment->finished) {
            segment->applied = segment->new_applied;
            struct log_applied message = {.segment = (uint64_t)segment->id,
                                          .offset = (uint64_t)segment->applied};
            role_send(role_peer_find(s->role, segment->kind, segment->instance), &log_applied_type, &message);
        }
        if (segment->finished) {
            store_compact_sealed(s, segment->id, segment->kind);
            forget_open(s, segment);
        }
    }
}

bool store_segments_is_open(struct store *s, int64_t segment)
{
    return find_open(s, segment) != NULL;
}

void store_segments_rolled_back(struct store *s)
{
    for (size_t i = s->open_count; i > 0; i--) {
        struct open_segment *segment = &s->open[i - 1];
        segment->finished = false;
        segment->new_applied = segment->applied;
        if (!segment->has_row) {
            segment_unlink(&s->segments, segment->id);
            forget_open(s, segment);
        }
    }
}

/* The store's own segment. */

void store_segments_end_own(struct store *s)
{
    if (s->own != NULL) {
        s->own->sealed = true;
        close(s->own->write_fd);
        s->own->write_fd = -1;
        s->own = NULL;
    }
}

static struct open_segment *own_segment(struct store *s, uint64_t octets)
{
    if (s->own != NULL && s->own->limit > 0 &&
        (uint64_t)s->own->limit + octets > s->config->store.segment_size) {
        store_segments_end_own(s);
    }
    if (s->own == NULL) {
        s->own = make_segment(s, ROLE_STORE, s->role->instance);
        if (s->own != NULL) {
            store_segments_ask_for_mark(s, s->own->id, s->own->write_fd, true);
        }
    }
    return s->own;
}

/* Writes the batch, flushes it and applies it. False: not written, or not applied. */
static bool write_batch(struct store *s, struct open_segment *own)
{
    bool more = false;
    batch_write(s->own_batch, s->segments.io, own->write_fd);
    bool stored = s->own_batch->result == BATCH_STORED;
    if (stored) {
        own->limit += (int64_t)s->own_batch->octets;
    } else {
        log_error("the store's segment cannot be written: %s", strerror(s->own_batch->error));
        store_segments_end_own(s);
    }
    /* new_applied carries over from records applied before in this transaction. */
    int64_t before = own->applied;
    own->applied = own->new_applied;
    bool fine = !stored || apply_one(s, own, &more) == 0;
    own->applied = before;
    return stored && fine;
}

bool store_segments_write_batch(struct store *s, int64_t *segment, int64_t *offset)
{
    struct open_segment *own = own_segment(s, s->own_batch->octets);
    if (own == NULL) {
        return false;
    }
    *segment = own->id;
    *offset = own->limit;
    return write_batch(s, own);
}

bool store_segments_write_own(struct store *s, struct record_header *header, struct str envelope,
                              struct str trace, struct str body)
{
    int64_t segment;
    int64_t offset;
    batch_clear(s->own_batch);
    bool fine = batch_add(s->own_batch, header, STR_EMPTY, envelope, trace, body, NULL) &&
                store_segments_write_batch(s, &segment, &offset);
    batch_clear(s->own_batch);
    return fine;
}

bool store_segments_write_events(struct store *s)
{
    struct record_header header = {.wall_ms = clock_wall_ms()};
    struct str body;
    /* First the segment, as making one is noted too. */
    if (own_segment(s, s->index->events.len + RECORD_HEADER + 8) == NULL ||
        events_take(s->index, &header, &body) != 0) {
        return false;
    }
    return store_segments_write_own(s, &header, STR_EMPTY, STR_EMPTY, body);
}
