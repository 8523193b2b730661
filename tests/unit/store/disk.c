/* A disk that remembers; see disk.h. */
#include "disk.h"

#include "ipc/peer.h"
#include "store/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, FILES_MAX = 256, FDS_MAX = 1024, ROOT = 0, DIRECTORY = 1 };

enum what { CREATE, WRITE, TRUNCATE, SYNC, DELETE };

struct happened {
    enum what what;
    int file;
    off_t offset;
    size_t len;
    unsigned char *data;
};

struct content {
    unsigned char *data;
    size_t len;
    size_t cap;
};

static struct {
    bool on;
    enum disk_flush without;
    struct happened *events;
    size_t count;
    size_t cap;
    char names[FILES_MAX][64];
    off_t sizes[FILES_MAX];
    bool new_name[FILES_MAX]; /* its directory has not been flushed since */
    bool removed;             /* a segment, since the directory was flushed */
    int file_count;
    int file_of_fd[FDS_MAX]; /* -1: none */
    uint64_t fail_at;
    uint64_t calls;
    int fail_error;
    bool fail_all;
} disk;

uint64_t disk_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static int file_named(const char *name, bool make)
{
    for (int i = 0; i < disk.file_count; i++) {
        if (strcmp(disk.names[i], name) == 0) {
            return i;
        }
    }
    if (!make || disk.file_count == FILES_MAX) {
        return -1;
    }
    snprintf(disk.names[disk.file_count], sizeof(disk.names[0]), "%s", name);
    disk.sizes[disk.file_count] = 0;
    return disk.file_count++;
}

static void happen(enum what what, int file, off_t offset, const void *data, size_t len)
{
    if (!disk.on || file < 0) {
        return;
    }
    if (disk.count == disk.cap) {
        disk.cap = disk.cap == 0 ? 1024 : disk.cap * 2;
        disk.events = realloc(disk.events, disk.cap * sizeof(*disk.events));
    }
    struct happened *e = &disk.events[disk.count++];
    *e = (struct happened){.what = what, .file = file, .offset = offset, .len = len};
    if (data != NULL) {
        e->data = malloc(len == 0 ? 1 : len);
        memcpy(e->data, data, len);
    }
}

static void forget(void)
{
    for (size_t i = 0; i < disk.count; i++) {
        free(disk.events[i].data);
    }
    free(disk.events);
    disk.events = NULL;
    disk.count = 0;
    disk.cap = 0;
}

void disk_start(enum disk_flush without)
{
    forget();
    disk.file_count = 0;
    file_named(".", true);
    file_named("segments", true);
    for (size_t i = 0; i < FDS_MAX; i++) {
        disk.file_of_fd[i] = -1;
    }
    disk.without = without;
    disk.removed = false;
    disk.on = true;
    disk.fail_at = 0;
}

void disk_stop(void)
{
    disk.on = false;
    disk.fail_at = 0;
    disk.calls = 0;
    forget();
}

size_t disk_events(void)
{
    return disk.count;
}

void disk_fail_at(uint64_t k, int error, bool all)
{
    disk.fail_at = k;
    disk.fail_error = error;
    disk.fail_all = all;
    disk.calls = 0;
}

uint64_t disk_calls(void)
{
    return disk.calls;
}

static bool is_reached(void)
{
    disk.calls++;
    return disk.fail_at != 0 && (disk.fail_all ? disk.calls >= disk.fail_at : disk.calls == disk.fail_at);
}

static bool must_fail(void)
{
    if (!is_reached() || disk.fail_error == 0) {
        return false;
    }
    errno = disk.fail_error;
    return true;
}

static enum disk_flush flush_of(int file)
{
    const char *name = disk.names[file];
    size_t len = strlen(name);
    if (file == ROOT) {
        return FLUSH_ROOT;
    }
    if (file == DIRECTORY) {
        return disk.removed ? FLUSH_REMOVAL : FLUSH_DIRECTORY;
    }
    if (strncmp(name, "segments/", 9) == 0) {
        int64_t id = strtoll(name + 9, NULL, 16);
        int origin = segment_origin(id);
        return origin == ROLE_STORE ? FLUSH_OWN : origin == SEGMENT_COPIES ? FLUSH_COPIES : FLUSH_LOG;
    }
    return len > 4 && strcmp(name + len - 4, "-wal") == 0 ? FLUSH_WAL : FLUSH_INDEX;
}

static void flushed(int file)
{
    if (file >= 0 && flush_of(file) != disk.without) {
        happen(SYNC, file, 0, NULL, 0);
    }
    disk.removed = disk.removed && file != DIRECTORY;
}

/* The calls of the log. */

static int do_openat(int dir, const char *name, int flags, mode_t mode)
{
    char path[64];
    int above = dir == AT_FDCWD || dir < 0 || dir >= FDS_MAX ? -1 : disk.file_of_fd[dir];
    snprintf(path, sizeof(path), "%s%s", above == DIRECTORY ? "segments/" : "", name);
    if (must_fail()) {
        return -1;
    }
    int fd = io_system.openat(dir, name, flags, mode);
    if (fd < 0 || fd >= FDS_MAX) {
        return fd;
    }
    bool is_new = file_named(path, false) < 0;
    disk.file_of_fd[fd] = file_named(path, true);
    if ((flags & O_CREAT) != 0 && (is_new || (flags & O_EXCL) != 0)) {
        happen(CREATE, disk.file_of_fd[fd], 0, NULL, 0);
        disk.sizes[disk.file_of_fd[fd]] = 0;
    }
    return fd;
}

static ssize_t do_writev(int fd, const struct iovec *parts, int count)
{
    int file = disk.file_of_fd[fd];
    struct iovec half;
    if (is_reached()) {
        /* A part of it gets there before it fails: the next call returns the error. */
        half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
        if (disk.fail_error != 0 && (half.iov_len == 0 || disk.fail_all)) {
            errno = disk.fail_error;
            return -1;
        }
        disk.fail_at = disk.fail_error == 0 ? 0 : disk.calls + 1;
        if (half.iov_len > 0) {
            parts = &half;
            count = 1;
        }
    }
    ssize_t n = io_system.writev(fd, parts, count);
    size_t left = n > 0 ? (size_t)n : 0;
    for (int i = 0; left > 0 && file >= 0 && i < count; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;
        happen(WRITE, file, disk.sizes[file], parts[i].iov_base, part);
        disk.sizes[file] += (off_t)part;
        left -= part;
    }
    return n;
}

static int do_sync(int fd)
{
    if (must_fail()) {
        return -1;
    }
    if (fd < FDS_MAX) {
        flushed(disk.file_of_fd[fd]);
    }
    return 0;
}

static int do_unlinkat(int dir, const char *name, int flags)
{
    char path[64];
    int above = dir < 0 || dir >= FDS_MAX ? -1 : disk.file_of_fd[dir];
    if (must_fail()) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s%s", above == DIRECTORY ? "segments/" : "", name);
    happen(DELETE, file_named(path, false), 0, NULL, 0);
    disk.removed = disk.removed || above == DIRECTORY;
    return io_system.unlinkat(dir, name, flags);
}

static int do_close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX) {
        disk.file_of_fd[fd] = -1;
    }
    return io_system.close(fd);
}

static int do_mkdir(const char *name, mode_t mode)
{
    if (must_fail()) {
        return -1;
    }
    int result = mkdir(name, mode);
    if (result == 0) {
        happen(CREATE, file_named(name, true), 0, NULL, 0);
    }
    return result;
}

static int do_rename(const char *from, const char *to)
{
    if (must_fail()) {
        return -1;
    }
    return rename(from, to);
}

static ssize_t do_pread(int fd, void *data, size_t len, off_t offset)
{
    return must_fail() ? -1 : io_system.pread(fd, data, len, offset);
}

static int64_t do_free_space(int fd)
{
    return io_system.free_space(fd);
}

/* The index's. */

static int do_file(enum io_file_call call, const char *name, const void *data, size_t *len, off_t offset)
{
    if (call != IO_FILE_DELETE && must_fail()) {
        *len /= 2;
        if (call == IO_FILE_WRITE) {
            happen(WRITE, file_named(name, true), offset, data, *len);
        }
        return disk.fail_error;
    }
    int file = file_named(name, true);
    switch (call) {
    case IO_FILE_CREATE:
        happen(CREATE, file, 0, NULL, 0);
        disk.new_name[file] = true;
        break;
    case IO_FILE_WRITE: happen(WRITE, file, offset, data, *len); break;
    case IO_FILE_TRUNCATE: happen(TRUNCATE, file, offset, NULL, 0); break;
    case IO_FILE_DELETE: happen(DELETE, file, 0, NULL, 0); break;
    case IO_FILE_SYNC:
        flushed(file);
        if (disk.new_name[file] && strcmp(name, "index.db") != 0) {
            /* SQLite's own layer flushes the directory with the first flush of a new journal or write-ahead log. */
            happen(SYNC, ROOT, 0, NULL, 0);
        }
        disk.new_name[file] = false;
        break;
    }
    return 0;
}

const struct io disk_io = {.openat = do_openat,
                           .writev = do_writev,
                           .pread = do_pread,
                           .fdatasync = do_sync,
                           .fsync = do_sync,
                           .unlinkat = do_unlinkat,
                           .mkdir = do_mkdir,
                           .rename = do_rename,
                           .close = do_close,
                           .free_space = do_free_space,
                           .file = do_file};

/* The state after a power loss. */

struct state {
    struct content durable;
    bool is_there; /* durably, by its name */
    bool wanted;   /* as the running system sees it */
    bool ever;
    size_t *pending; /* events that are not flushed */
    size_t pending_count;
    size_t pending_cap;
};

static void grow(struct content *c, size_t len)
{
    if (len > c->cap) {
        c->cap = len * 2;
        c->data = realloc(c->data, c->cap);
    }
    if (len > c->len) {
        memset(c->data + c->len, 0, len - c->len);
        c->len = len;
    }
}

static void write_at(struct content *c, off_t offset, const unsigned char *data, size_t len)
{
    grow(c, (size_t)offset + len);
    if (len > 0) {
        memcpy(c->data + offset, data, len);
    }
}

static void apply_pending(struct state *s)
{
    for (size_t i = 0; i < s->pending_count; i++) {
        const struct happened *e = &disk.events[s->pending[i]];
        if (e->what == WRITE) {
            write_at(&s->durable, e->offset, e->data, e->len);
        } else if ((size_t)e->offset < s->durable.len) {
            s->durable.len = (size_t)e->offset;
        }
    }
    s->pending_count = 0;
}

static void flush_directory(struct state *states, int directory)
{
    for (int i = 0; i < disk.file_count; i++) {
        bool in_segments = strncmp(disk.names[i], "segments/", 9) == 0;
        if (states[i].ever && in_segments == (directory == DIRECTORY)) {
            states[i].is_there = states[i].wanted;
        }
    }
}

static void take(struct state *states, size_t number)
{
    const struct happened *e = &disk.events[number];
    struct state *s = &states[e->file];
    switch (e->what) {
    case CREATE:
        if (s->ever && !s->wanted) { /* made again: it begins empty */
            s->pending_count = 0;
            s->durable.len = 0;
        }
        s->wanted = true;
        s->ever = true;
        break;
    case DELETE: s->wanted = false; break; /* until the directory is flushed it may come back, as it was */
    case SYNC:
        if (e->file == ROOT || e->file == DIRECTORY) {
            flush_directory(states, e->file);
        } else {
            apply_pending(s);
        }
        break;
    default:
        if (s->pending_count == s->pending_cap) {
            s->pending_cap = s->pending_cap == 0 ? 64 : s->pending_cap * 2;
            s->pending = realloc(s->pending, s->pending_cap * sizeof(*s->pending));
        }
        s->pending[s->pending_count++] = number;
        break;
    }
}

/* Some of the sectors of one unflushed write, each whole, missing or torn. */
static void write_some(struct content *c, const struct happened *e, uint64_t *random, unsigned chance,
                       size_t size_limit)
{
    size_t done = 0;
    while (done < e->len) {
        size_t at = (size_t)e->offset + done;
        size_t part = SECTOR - at % SECTOR;
        part = part > e->len - done ? e->len - done : part;
        uint64_t dice = disk_random(random);
        if (dice % 100 < chance && at + part <= size_limit) {
            size_t torn = (dice >> 32) % 20 == 0 ? (dice >> 40) % (part + 1) : part;
            write_at(c, (off_t)at, e->data + done, torn);
        }
        done += part;
    }
}

static void lose_power(struct state *s, uint64_t *random, unsigned chance)
{
    size_t size_limit = SIZE_MAX;
    if (s->pending_count > 0 && disk_random(random) % 2 == 0) {
        const struct happened *e = &disk.events[s->pending[disk_random(random) % s->pending_count]];
        size_limit = (size_t)e->offset + e->len;
    }
    /* Any order: what is written later to the same sector may have got there first. */
    for (size_t i = s->pending_count; i > 1; i--) {
        size_t other = disk_random(random) % i;
        size_t swap = s->pending[i - 1];
        if (disk_random(random) % 4 == 0) {
            s->pending[i - 1] = s->pending[other];
            s->pending[other] = swap;
        }
    }
    for (size_t i = 0; i < s->pending_count; i++) {
        const struct happened *e = &disk.events[s->pending[i]];
        if (e->what == WRITE) {
            write_some(&s->durable, e, random, chance, size_limit);
        } else if (disk_random(random) % 2 == 0 && (size_t)e->offset < s->durable.len) {
            s->durable.len = (size_t)e->offset;
        }
    }
    if (s->wanted != s->is_there && disk_random(random) % 2 == 0) {
        s->is_there = s->wanted;
    }
}

static void put_file(const char *name, const struct content *c)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || (c->len > 0 && write(fd, c->data, c->len) != (ssize_t)c->len)) {
        abort();
    }
    close(fd);
}

void disk_replay(size_t events, uint64_t seed)
{
    static const unsigned chances[] = {0, 10, 50, 90, 100};
    static struct state states[FILES_MAX];
    uint64_t random = seed;
    unsigned chance = chances[disk_random(&random) % 5];
    memset(states, 0, sizeof(states));
    for (size_t i = 0; i < events; i++) {
        take(states, i);
    }
    bool directory =
        states[DIRECTORY].is_there || (states[DIRECTORY].wanted && disk_random(&random) % 2 == 0);
    if (directory && mkdir("segments", 0700) != 0) {
        abort();
    }
    for (int i = 2; i < disk.file_count; i++) {
        struct state *s = &states[i];
        lose_power(s, &random, chance);
        if (s->is_there && (directory || strncmp(disk.names[i], "segments/", 9) != 0)) {
            put_file(disk.names[i], &s->durable);
        }
    }
    for (int i = 0; i < disk.file_count; i++) {
        free(states[i].durable.data);
        free(states[i].pending);
    }
}
