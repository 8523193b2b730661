/* Compaction; see compact.h. */
#include "store/compact.h"

#include "base/mem.h"
#include "ipc/peer.h"
#include "store/events.h"
#include "store/payload.h"

#include <errno.h>

/* Choosing. */

/* Whether less of a lives than of b. */
static bool is_emptier(const struct segment_info *a, const struct segment_info *b)
{
    return (double)a->live / (double)a->applied < (double)b->live / (double)b->applied;
}

bool compact_has_events(const struct segment_info *info, int64_t events_segment)
{
    return info->origin == ROLE_STORE && info->id >= events_segment;
}

int compact_events_segment(struct index *index, int64_t *events_segment)
{
    return index_meta_get(index, "events_segment", 0, events_segment);
}

bool compact_is_dead(const struct segment_info *info, int64_t events_segment)
{
    return info->sealed && info->live <= 0 && !compact_has_events(info, events_segment);
}

static bool is_worth_it(const struct compact_choice *choice, const struct segment_info *info,
                        int64_t events_segment)
{
    return info->sealed && info->live > 0 && info->applied > 0 && !compact_has_events(info, events_segment) &&
           (uint64_t)info->live <= choice->live_most &&
           (info->origin == ROLE_STORE ||
            (uint64_t)info->live * 100 < (uint64_t)info->applied * choice->percent) &&
           choice->may(choice->context, info->id);
}

int compact_choose(struct index *index, const struct compact_choice *choice, struct segment_info *segment)
{
    static struct segment_info infos[SEGMENT_ROWS_MAX];
    int64_t events_segment = 0;
    int found = 0;
    int count = segment_list(index, infos, SEGMENT_ROWS_MAX);
    if (count < 0 || compact_events_segment(index, &events_segment) != 0) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        if (is_worth_it(choice, &infos[i], events_segment) &&
            (found == 0 || is_emptier(&infos[i], segment))) {
            *segment = infos[i];
            found = 1;
        }
    }
    return found;
}

int compact_init(struct compaction *c, struct index *index, struct segments *segments)
{
    *c = (struct compaction){.index = index,
                             .segments = segments,
                             .fd = -1,
                             .out = buf_make(COMPACT_STEP),
                             .copies = mem_zalloc(COMPACT_RECORDS, sizeof(*c->copies))};
    return c->copies == NULL ? -1 : 0;
}

static void let_go_of_target(struct compaction *c)
{
    if (c->fd >= 0) {
        c->segments->io->close(c->fd);
    }
    c->fd = -1;
    c->target = 0;
    c->target_end = 0;
    c->target_is_new = false;
}

void compact_free(struct compaction *c)
{
    let_go_of_target(c);
    buf_free(&c->out);
    mem_free(c->copies);
    c->copies = NULL;
}

void compact_begin(struct compaction *c, const struct segment_info *segment)
{
    c->source = segment->id;
    c->position = 0;
    c->end = segment->applied;
    c->damaged = false;
    c->large = false;
    c->records = 0;
    c->octets = 0;
}

/* The segment for copies. */

/* It gets nothing more, and is sealed with the next step: what is good of it is what has been committed. */
static void abandon_target(struct compaction *c)
{
    if (c->target != 0 && c->abandoned_count < COMPACT_ABANDONED_MAX) {
        c->abandoned[c->abandoned_count++] = c->target;
    }
    let_go_of_target(c);
    c->large = false;
}

/* Those that are more than there is room for are sealed at the next start. */
static int seal_abandoned(struct compaction *c)
{
    for (size_t i = 0; i < c->abandoned_count; i++) {
        if (segment_seal(c->index, c->abandoned[i]) != 0) {
            return -1;
        }
    }
    c->sealed_count = c->abandoned_count;
    return 0;
}

/* 0: there is one with so much room, or a new one. */
static int find_target(struct compaction *c, uint64_t octets)
{
    if (c->target != 0 && c->target_end > 0 && (uint64_t)c->target_end + octets > c->segment_size) {
        abandon_target(c); /* it is full */
    }
    if (c->target != 0) {
        return 0;
    }
    int64_t id;
    int fd = segment_create(c->segments, c->index, SEGMENT_COPIES, c->instance, c->boot, &id);
    if (fd < 0) {
        if (c->index->error[0] == '\0') {
            sqlite3_snprintf(sizeof(c->index->error), c->index->error,
                             "a segment for copies cannot be made: %s", strerror(errno));
        }
        return -1;
    }
    c->target = id;
    c->fd = fd;
    c->target_end = 0;
    c->target_is_new = true;
    if (c->made != NULL) {
        c->made(c->context, id, fd);
    }
    return 0;
}

static int write_error(struct compaction *c, const char *what)
{
    sqlite3_snprintf(sizeof(c->index->error), c->index->error, "the copies cannot be %s: %s", what,
                     strerror(errno));
    return -1;
}

static int write_out(struct compaction *c)
{
    size_t done = 0;
    while (done < c->out.len) {
        struct iovec part = {c->out.data + done, c->out.len - done};
        ssize_t n = c->segments->io->writev(c->fd, &part, 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return write_error(c, "written");
        }
        done += (size_t)n;
        c->target_end += n;
    }
    return 0;
}

/* After the write, in the same transaction: the rows point to the copies once they are on stable storage. */
static int repoint(struct compaction *c, const struct compact_copy *copies, size_t count, int64_t base)
{
    int64_t octets = 0;
    if (c->segments->io->fdatasync(c->fd) != 0) {
        return write_error(c, "flushed");
    }
    for (size_t i = 0; i < count; i++) {
        sqlite3_stmt *q = sql_prepare(c->index, SQL_RECORD_MOVE);
        if (q == NULL) {
            return -1;
        }
        sql_blob(q, 1, copies[i].id.bytes, IDENT_SIZE);
        sql_int(q, 2, c->target);
        sql_int(q, 3, base + copies[i].at);
        if (sql_run(c->index, q) != 0) {
            return -1;
        }
        events_record(c->index, &copies[i].id, c->target, base + copies[i].at, copies[i].octets);
        octets += copies[i].octets;
    }
    return segment_add_live(c->index, c->source, -octets) == 0 &&
                   segment_add_live(c->index, c->target, octets) == 0
               ? segment_set_applied(c->index, c->target, c->target_end)
               : -1;
}

/* Reading. */

enum looked { LOOKED_DEAD, LOOKED_ALIVE, LOOKED_ERROR };

/* 1, 0, or -1: copied as one that is not queued, a queued record would be missing from the queue after a `reindex`. */
static int is_queued(struct compaction *c, const struct ident *id)
{
    sqlite3_stmt *q = sql_prepare(c->index, SQL_QUEUE_NEEDS);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, id->bytes, IDENT_SIZE);
    c->index->error[0] = '\0';
    bool queued = sql_row(c->index, q);
    sql_done(q);
    return queued ? 1 : c->index->error[0] == '\0' ? 0 : -1;
}

static enum looked look_up(struct compaction *c, const struct record_header *header, int64_t place)
{
    sqlite3_stmt *q = sql_prepare(c->index, SQL_RECORD_GET);
    if (q == NULL || !record_is_message(header)) {
        return q == NULL ? LOOKED_ERROR : LOOKED_DEAD;
    }
    sql_blob(q, 1, header->id.bytes, IDENT_SIZE);
    c->index->error[0] = '\0';
    if (!sql_row(c->index, q)) {
        return c->index->error[0] == '\0' ? LOOKED_DEAD : LOOKED_ERROR;
    }
    bool here = sqlite3_column_int64(q, 0) == c->source && sqlite3_column_int64(q, 1) == place &&
                sqlite3_column_int64(q, 3) > 0;
    sql_done(q);
    return here ? LOOKED_ALIVE : LOOKED_DEAD;
}

/* False: without memory, or it cannot be read; errno is EIO if that is because of the place. */
static bool read_octets(struct compaction *c, int64_t place, void *room, size_t len)
{
    errno = room == NULL ? ENOMEM : EIO;
    return room != NULL && segment_read_at(c->segments, c->source, place, room, len);
}

/* Whether the record is as it was written. */
static bool is_good(struct compaction *c, const struct record_header *header, int64_t place)
{
    struct payload payload;
    errno = EIO;
    return payload_open(c->segments, c->source, place, header->total, &header->id, &payload);
}

/* What cannot be read: another time, or never? 0: never; -1. */
static int unreadable(struct compaction *c)
{
    if (errno != EIO) {
        return write_error(c, "made");
    }
    c->damaged = true;
    return 0;
}

/* The whole record into the step's octets. 1; 0: it cannot be read as it was written; -1. */
static int take_whole(struct compaction *c, const struct record_header *header, int64_t place)
{
    char *room = buf_reserve(&c->out, header->total);
    if (!is_good(c, header, place) || !read_octets(c, place, room, header->total)) {
        return 0;
    }
    int queued = is_queued(c, &header->id);
    if (queued < 0) {
        return -1;
    }
    record_make_copy((unsigned char *)room, queued == 1);
    c->copies[c->count++] =
        (struct compact_copy){.id = header->id, .octets = header->total, .at = (uint32_t)c->out.len};
    c->out.len += header->total;
    return 1;
}

/* The next piece of a record that is larger than a step. 1: it is whole; 0: more to come; -1. */
static int take_piece(struct compaction *c, const struct record_header *header, int64_t place)
{
    int64_t left = (int64_t)header->total - c->large_done;
    size_t len = left < COMPACT_STEP ? (size_t)left : COMPACT_STEP;
    char *room = buf_reserve(&c->out, len);
    if (!read_octets(c, place + c->large_done, room, len)) {
        return unreadable(c);
    }
    int queued = c->large_done == 0 ? is_queued(c, &header->id) : 0;
    if (queued < 0) {
        return -1;
    }
    if (c->large_done == 0) {
        record_make_copy((unsigned char *)room, queued == 1);
    }
    c->out.len = len;
    if (write_out(c) != 0) {
        return -1;
    }
    c->large_done += (int64_t)len;
    return c->large_done < (int64_t)header->total ? 0 : 1;
}

static int step_large(struct compaction *c, const struct record_header *header, int64_t place)
{
    struct compact_copy copy = {.id = header->id, .octets = header->total};
    if (!c->large && !is_good(c, header, place)) {
        return unreadable(c);
    }
    if (!c->large && find_target(c, header->total) != 0) {
        return -1;
    }
    if (!c->large) {
        c->large = true;
        c->large_done = 0;
    }
    int whole = take_piece(c, header, place);
    if (c->damaged) {
        abandon_target(c); /* with half a record in it */
        return 0;
    }
    if (whole <= 0) {
        return whole;
    }
    c->large = false;
    c->next_position = place + header->total;
    c->step_records = 1;
    c->step_octets = header->total;
    return repoint(c, &copy, 1, c->target_end - header->total);
}

static bool read_header(struct compaction *c, int64_t place, struct record_header *header)
{
    unsigned char bytes[RECORD_HEADER];
    return read_octets(c, place, bytes, sizeof(bytes)) &&
           record_decode_header(bytes, header) == RECORD_GOOD && place + header->total <= c->end;
}

/* Collects what lives from the position on. 1: the record there is larger than a step. 0, or -1. */
static int collect(struct compaction *c, struct record_header *header)
{
    for (int looked = 0; looked < COMPACT_RECORDS && c->next_position < c->end; looked++) {
        if (!read_header(c, c->next_position, header)) {
            return unreadable(c);
        }
        enum looked state = look_up(c, header, c->next_position);
        if (state == LOOKED_ERROR) {
            return -1;
        }
        if (state == LOOKED_ALIVE && header->total > COMPACT_STEP) {
            return c->count == 0 ? 1 : 0;
        }
        if (state == LOOKED_ALIVE && c->out.len + header->total > COMPACT_STEP) {
            return 0;
        }
        int taken = state == LOOKED_ALIVE ? take_whole(c, header, c->next_position) : 1;
        if (taken < 0) {
            return -1;
        }
        if (taken == 0) {
            return unreadable(c);
        }
        c->next_position += header->total;
    }
    return 0;
}

/* What reindex left to be applied anew has been, at the start: from now on copies deliver nothing again. */
static int end_recovery(struct compaction *c)
{
    int64_t again = 0;
    if (index_meta_get(c->index, "copies_again", 0, &again) != 0) {
        return -1;
    }
    return again == 0 ? 0 : index_meta_set(c->index, "copies_again", 0);
}

int compact_step(struct compaction *c, bool *done)
{
    struct record_header header;
    c->next_position = c->position;
    c->count = 0;
    c->step_records = 0;
    c->step_octets = 0;
    buf_clear(&c->out);
    c->index->error[0] = '\0';
    if (seal_abandoned(c) != 0 || end_recovery(c) != 0) {
        return -1;
    }
    int large = collect(c, &header);
    if (c->large && large != 1) {
        abandon_target(c); /* it ends with a part of a record that has died meanwhile */
    }
    if (large == 1) {
        if (step_large(c, &header, c->next_position) != 0) {
            return -1;
        }
    } else if (large < 0) {
        return -1;
    } else if (c->count > 0) {
        if (find_target(c, c->out.len) != 0 || write_out(c) != 0 ||
            repoint(c, c->copies, c->count, c->target_end - (int64_t)c->out.len) != 0) {
            return -1;
        }
        c->step_records = c->count;
        c->step_octets = c->out.len;
    }
    *done = c->damaged || (c->next_position >= c->end && !c->large);
    return 0;
}

void compact_committed(struct compaction *c)
{
    c->position = c->next_position;
    c->records += c->step_records;
    c->octets += c->step_octets;
    c->target_is_new = false;
    memmove(c->abandoned, c->abandoned + c->sealed_count,
            (c->abandoned_count - c->sealed_count) * sizeof(c->abandoned[0]));
    c->abandoned_count -= c->sealed_count;
    c->sealed_count = 0;
    if (c->damaged || c->position >= c->end) {
        c->source = 0;
    }
}

void compact_undo(struct compaction *c)
{
    int64_t target = c->target;
    bool is_new = c->target_is_new;
    c->sealed_count = 0;
    c->damaged = false;
    if (is_new) {
        let_go_of_target(c); /* its row went with the transaction */
        segment_unlink(c->segments, target);
        c->large = false;
    } else {
        abandon_target(c);
    }
}
