/* Segments of the log; see segment.h. */
#include "store/segment.h"

#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void segment_name(int64_t id, char *name, size_t size)
{
    int n = snprintf(name, size, "%016llx.log", (unsigned long long)id);
    if (n < 0) {
        name[0] = '\0';
    }
}

int segments_init(struct segments *s, const struct io *io, bool make)
{
    *s = (struct segments){.io = io};
    for (size_t i = 0; i < SEGMENT_OPEN_MAX; i++) {
        s->open[i].fd = -1;
    }
    if (make && mkdir("segments", 0750) != 0 && errno != EEXIST) {
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
    s->io->close(s->dir);
}

int segment_create(struct segments *s, struct index *index, int origin, uint32_t instance, uint64_t boot, int64_t *id)
{
    int64_t next = 1;
    if (index_meta_get(index, "next_segment", 1, &next) != 0) {
        return -1;
    }
    char name[32];
    int fd = -1;
    /* A file that a crash left without its row is skipped, never written to. */
    for (int tries = 0; fd < 0 && tries < 1000; tries++) {
        segment_name(next++, name, sizeof(name));
        fd = s->io->openat(s->dir, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        if (fd < 0 && errno != EEXIST) {
            return -1;
        }
    }
    *id = next - 1;
    sqlite3_stmt *q = sql_prepare(index, SQL_SEGMENT_ADD);
    if (fd < 0 || q == NULL || s->io->fsync(s->dir) != 0 || index_meta_set(index, "next_segment", next) != 0) {
        goto failed;
    }
    sql_int(q, 1, *id);
    sql_int(q, 2, origin);
    sql_int(q, 3, instance);
    sql_int(q, 4, (int64_t)boot);
    if (sql_run(index, q) == 0) {
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
    if (which != SQL_SEGMENT_SEAL) {
        sql_int(q, 2, value);
    }
    return sql_run(index, q);
}

int segment_set_applied(struct index *index, int64_t id, int64_t applied)
{
    return change(index, SQL_SEGMENT_SET_APPLIED, id, applied);
}

int segment_seal(struct index *index, int64_t id)
{
    return change(index, SQL_SEGMENT_SEAL, id, 0);
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

bool segment_read_at(struct segments *s, int64_t id, int64_t offset, void *data, size_t len)
{
    int fd = segment_fd(s, id);
    return fd >= 0 && read_some(s, fd, offset, data, len) == (ssize_t)len;
}

enum segment_read segment_read_record(struct segments *s, int64_t id, int64_t offset, struct record_header *header,
                                      struct buf *payload)
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
    if (n < RECORD_HEADER || record_decode_header(bytes, header) != RECORD_GOOD) {
        return SEGMENT_TORN;
    }
    size_t len = (size_t)header->envelope_len + header->trace_len + header->body_len;
    buf_clear(payload);
    char *room = buf_reserve(payload, len);
    if (room == NULL && len > 0) {
        return SEGMENT_ERROR;
    }
    n = len == 0 ? 0 : read_some(s, fd, offset + RECORD_HEADER, room, len);
    if (n < 0) {
        return SEGMENT_ERROR;
    }
    payload->len = (size_t)n;
    struct stat info;
    bool padded = fstat(fd, &info) == 0 && info.st_size >= offset + header->total;
    if ((size_t)n < len || !padded || crc32c(0, payload->data, len) != header->payload_crc) {
        return SEGMENT_TORN;
    }
    return SEGMENT_RECORD;
}
