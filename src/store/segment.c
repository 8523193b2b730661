/* Segments of the log; see segment.h. */
#include "store/segment.h"

#include "base/crc32c.h"
#include "ipc/peer.h"
#include "store/events.h"
#include "store/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

static void segment_name(int64_t id, char *name, size_t size)
{
    int n = snprintf(name, size, "%016llx.log", (unsigned long long)id);
    if (n < 0) {
        name[0] = '\0';
    }
}

static int make_directory(const struct io *io)
{
    if (io->mkdir("segments", 0750) != 0 && errno != EEXIST) {
        return -1;
    }
    /* Also when it was there: the run that made it may have ended before it was synced. */
    int fd = io->openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int result = fd < 0 ? -1 : io->fsync(fd);
    if (fd >= 0) {
        io->close(fd);
    }
    return result;
}

int segments_init(struct segments *s, const struct io *io, bool make)
{
    *s = (struct segments){.io = io};
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        s->open[i].fd = -1;
    }
    if (make && make_directory(io) != 0) {
        return -1;
    }
    s->dir = io->openat(AT_FDCWD, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return s->dir < 0 ? -1 : 0;
}

void segments_close(struct segments *s)
{
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        if (s->open[i].fd >= 0) {
            s->io->close(s->open[i].fd);
            s->open[i].fd = -1;
        }
    }
    payload_cache_free(s->cache);
    s->cache = NULL;
    s->io->close(s->dir);
}

static int note_segment(struct index *index, int64_t id)
{
    struct segment_info info;
    if (!index->noting) {
        return 0;
    }
    if (segment_get(index, id, &info) != 0) {
        return -1;
    }
    events_segment(index, &info);
    return 0;
}

int segment_create(struct segments *s, struct index *index, int origin, uint32_t instance, uint64_t boot,
                   int64_t *id)
{
    int64_t next = 1;
    if (origin < 0 || origin > 15 || index_meta_get(index, "next_segment", 1, &next) != 0) {
        return -1;
    }
    char name[32];
    int fd = -1;
    /* A file that a crash left without its row is skipped, never written to. */
    for (int tries = 0; fd < 0 && tries < 1000; tries++) {
        *id = next++ << 4 | origin;
        segment_name(*id, name, sizeof(name));
        fd = s->io->openat(s->dir, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        if (fd < 0 && errno != EEXIST) {
            return -1;
        }
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_SEGMENT_ADD);
    if (fd < 0 || q == NULL || s->io->fsync(s->dir) != 0 ||
        index_meta_set(index, "next_segment", next) != 0) {
        goto failed;
    }
    sql_int(q, 1, *id);
    sql_int(q, 2, origin);
    sql_int(q, 3, instance);
    sql_int(q, 4, (int64_t)boot);
    if (sql_run(index, q) == 0 && note_segment(index, *id) == 0) {
        events_counter(index, "next_segment", next);
        return fd;
    }
failed:
    if (fd >= 0) {
        s->io->close(fd);
        s->io->unlinkat(s->dir, name, 0);
    }
    return -1;
}

static size_t slot_for(struct segments *s)
{
    size_t oldest = 0;
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        if (s->open[i].fd < 0) {
            return i;
        }
        if (s->open[i].used < s->open[oldest].used) {
            oldest = i;
        }
    }
    s->io->close(s->open[oldest].fd);
    s->open[oldest].fd = -1;
    return oldest;
}

int segment_fd(struct segments *s, int64_t id)
{
    s->clock++;
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        if (s->open[i].fd >= 0 && s->open[i].id == id) {
            s->open[i].used = s->clock;
            return s->open[i].fd;
        }
    }
    char name[32];
    segment_name(id, name, sizeof(name));
    int fd = s->io->openat(s->dir, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    size_t slot = slot_for(s);
    s->open[slot].id = id;
    s->open[slot].fd = fd;
    s->open[slot].used = s->clock;
    return fd;
}

int segment_unlink(struct segments *s, int64_t id)
{
    char name[32];
    segment_name(id, name, sizeof(name));
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        if (s->open[i].fd >= 0 && s->open[i].id == id) {
            s->io->close(s->open[i].fd);
            s->open[i].fd = -1;
        }
    }
    return s->io->unlinkat(s->dir, name, 0);
}

int segment_remove(struct segments *s, int64_t id)
{
    if (flock(s->dir, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? 1 : -1;
    }
    int result = segment_unlink(s, id);
    if (result != 0 && errno == ENOENT) {
        result = 0;
    }
    if (result == 0) {
        result = s->io->fsync(s->dir);
    }
    int error = errno;
    flock(s->dir, LOCK_UN);
    errno = error;
    return result == 0 ? 0 : -1;
}

void segments_close_removed(struct segments *s)
{
    struct stat info;
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        if (s->open[i].fd >= 0 && fstat(s->open[i].fd, &info) == 0 && info.st_nlink == 0) {
            s->io->close(s->open[i].fd);
            s->open[i].fd = -1;
        }
    }
}

static void read_info(sqlite3_stmt *q, struct segment_info *info)
{
    *info = (struct segment_info){.id = sqlite3_column_int64(q, 0),
                                  .origin = sqlite3_column_int(q, 1),
                                  .instance = (uint32_t)sqlite3_column_int64(q, 2),
                                  .boot = (uint64_t)sqlite3_column_int64(q, 3),
                                  .applied = sqlite3_column_int64(q, 4),
                                  .sealed = sqlite3_column_int64(q, 5) != 0,
                                  .live = sqlite3_column_int64(q, 6)};
}

int segment_get(struct index *index, int64_t id, struct segment_info *info)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_SEGMENT_GET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    if (!sql_row(index, q)) {
        return -1;
    }
    read_info(q, info);
    sql_done(q);
    return 0;
}

int segment_list(struct index *index, struct segment_info *infos, int max)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_SEGMENT_LIST);
    if (q == NULL) {
        return -1;
    }
    int count = 0;
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        if (count == max) {
            sql_done(q);
            break;
        }
        read_info(q, &infos[count++]);
    }
    return index->error[0] == '\0' ? count : -1;
}

static int change(struct index *index, enum statement which, int64_t id, int64_t value)
{
    sqlite3_stmt *q = sql_prepare(index, which);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, id);
    if (which != SQL_SEGMENT_SEAL && which != SQL_SEGMENT_REMOVE) {
        sql_int(q, 2, value);
    }
    return sql_run(index, q);
}

int segment_set_applied(struct index *index, int64_t id, int64_t applied)
{
    return change(index, SQL_SEGMENT_SET_APPLIED, id, applied) == 0 ? note_segment(index, id) : -1;
}

int segment_seal(struct index *index, int64_t id)
{
    return change(index, SQL_SEGMENT_SEAL, id, 0) == 0 ? note_segment(index, id) : -1;
}

int segment_forget(struct index *index, int64_t id)
{
    events_segment_gone(index, id);
    return change(index, SQL_SEGMENT_REMOVE, id, 0);
}

int segment_add_live(struct index *index, int64_t id, int64_t octets)
{
    return change(index, SQL_SEGMENT_ADD_LIVE, id, octets);
}

/* How many of `len` octets are there; -1 on error. */
static ssize_t read_some(struct segments *s, int fd, int64_t offset, char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = s->io->pread(fd, data + done, len - done, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t segment_read_some(struct segments *s, int64_t id, int64_t offset, void *data, size_t len)
{
    int fd = segment_fd(s, id);
    return fd < 0 ? -1 : read_some(s, fd, offset, data, len);
}

bool segment_read_at(struct segments *s, int64_t id, int64_t offset, void *data, size_t len)
{
    int fd = segment_fd(s, id);
    return fd >= 0 && read_some(s, fd, offset, data, len) == (ssize_t)len;
}

/* Reads `len` octets of payload into the buffer. */
static enum segment_read read_payload(struct segments *s, int fd, int64_t offset, size_t len,
                                      struct buf *payload)
{
    buf_clear(payload);
    char *room = buf_reserve(payload, len);
    if (room == NULL && len > 0) {
        errno = ENOMEM;
        return SEGMENT_ERROR;
    }
    ssize_t n = len == 0 ? 0 : read_some(s, fd, offset, room, len);
    payload->len = n > 0 ? (size_t)n : 0;
    if (n < 0) {
        return SEGMENT_ERROR;
    }
    return payload->len == len ? SEGMENT_RECORD : SEGMENT_TORN;
}

enum segment_read segment_read_record(struct segments *s, int64_t id, int64_t offset,
                                      struct record_header *header, struct buf *payload)
{
    unsigned char bytes[RECORD_HEADER];
    int fd = segment_fd(s, id);
    ssize_t n = fd < 0 ? -1 : read_some(s, fd, offset, (char *)bytes, RECORD_HEADER);
    if (n < 0) {
        return SEGMENT_ERROR;
    }
    if (n == 0) {
        return SEGMENT_END;
    }
    /* The size of the file first: a header that lies must not make us allocate what it claims. */
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return SEGMENT_ERROR;
    }
    if (n < RECORD_HEADER || record_decode_header(bytes, header) != RECORD_GOOD ||
        info.st_size < offset + header->total) {
        return SEGMENT_TORN;
    }
    size_t len = (size_t)record_payload_len(header);
    enum segment_read state = read_payload(s, fd, offset + record_payload_at(header), len, payload);
    if (state == SEGMENT_RECORD && crc32c(0, payload->data, len) != header->payload_crc) {
        return SEGMENT_DAMAGED;
    }
    return state;
}

enum { WINDOW = 256 << 10, LARGE_KEPT = 16 << 20 };

void segment_window_init(struct segment_window *w)
{
    *w = (struct segment_window){.ahead = buf_make(WINDOW), .large = buf_make(RECORD_TOTAL_MAX)};
}

void segment_window_reset(struct segment_window *w)
{
    buf_clear(&w->ahead);
    if (w->large.cap > LARGE_KEPT) {
        buf_free(&w->large);
    }
}

void segment_window_free(struct segment_window *w)
{
    buf_free(&w->ahead);
    buf_free(&w->large);
}

/* Whether a whole good record lies in the window at `offset`. */
static bool take_from_window(const struct segment_window *w, int64_t id, int64_t offset,
                             struct record_header *header, struct str *payload)
{
    if (w->id != id || offset < w->offset || offset - w->offset > (int64_t)w->ahead.len) {
        return false;
    }
    struct str rest = str_from(buf_str(&w->ahead), (size_t)(offset - w->offset));
    if (rest.len < RECORD_HEADER ||
        record_decode_header((const unsigned char *)rest.data, header) != RECORD_GOOD ||
        rest.len < header->total) {
        return false;
    }
    size_t len = (size_t)record_payload_len(header);
    *payload = str_sub(str_from(rest, (size_t)record_payload_at(header)), 0, len);
    return crc32c(0, payload->data, len) == header->payload_crc;
}

static void fill_window(struct segments *s, struct segment_window *w, int64_t id, int64_t offset)
{
    w->id = id;
    w->offset = offset;
    buf_clear(&w->ahead);
    char *room = buf_reserve(&w->ahead, WINDOW);
    int fd = room == NULL ? -1 : segment_fd(s, id);
    ssize_t n = fd < 0 ? -1 : read_some(s, fd, offset, room, WINDOW);
    w->ahead.len = n > 0 ? (size_t)n : 0;
}

enum segment_read segment_read_next(struct segments *s, struct segment_window *w, int64_t id, int64_t offset,
                                    struct record_header *header, struct str *payload)
{
    if (take_from_window(w, id, offset, header, payload)) {
        return SEGMENT_RECORD;
    }
    fill_window(s, w, id, offset);
    if (take_from_window(w, id, offset, header, payload)) {
        return SEGMENT_RECORD;
    }
    enum segment_read state = segment_read_record(s, id, offset, header, &w->large);
    *payload = buf_str(&w->large);
    return state;
}
