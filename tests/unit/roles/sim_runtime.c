/* What surrounds a process of the simulation: randomness, clocks, log, memory and disk; see sim.h. */
#include "sim_private.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "store/index_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_FD_MAX = 300 };

static const uint64_t wall_base_ms = 1800000000000ULL;

bool sim_verbose;
bool sim_disk_full;
bool sim_disk_honest;
uint32_t sim_write_fault;

static int64_t wall_offset_ms;
static uint64_t state;

/* Randomness: splitmix64. */

uint64_t sim_random(void)
{
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

uint32_t sim_below(uint32_t n)
{
    return n == 0 ? 0 : (uint32_t)(sim_random() % n);
}

bool sim_chance(uint32_t n)
{
    return sim_below(1000) < n;
}

uint64_t random_u64(void)
{
    return sim_random();
}

void random_bytes(void *out, size_t len)
{
    unsigned char *octets = out;
    for (size_t i = 0; i < len; i++) {
        octets[i] = (unsigned char)sim_random();
    }
}

/* Clocks. */

uint64_t sim_wall_ms(void)
{
    return wall_base_ms + sim_now() / SIM_MS + (uint64_t)wall_offset_ms;
}

void sim_step_wall(int64_t ms)
{
    wall_offset_ms += ms;
}

uint64_t clock_monotonic_us(void)
{
    return sim_now() + SIM_SECOND;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

uint64_t clock_wall_ms(void)
{
    return sim_wall_ms();
}

/* Log lines are shown when asked for. */

void log_setup(const char *name, uint32_t instance, enum log_level level, bool json)
{
    (void)name;
    (void)instance;
    (void)level;
    (void)json;
}

bool log_wants(enum log_level level)
{
    (void)level;
    return sim_verbose;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (sim_verbose) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%10.3f %d ", (double)sim_now() / 1e6, (int)level);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
}

void log_flush(void)
{
}

/* Memory: each piece knows whose it is, so that what a killed process had goes with it. */
static struct piece world_memory = {&world_memory, &world_memory, &world_memory, 0};

static void link_piece(struct piece *piece, struct piece *list)
{
    piece->list = list;
    piece->next = list->next;
    piece->before = list;
    list->next->before = piece;
    list->next = piece;
}

static void unlink_piece(struct piece *piece)
{
    piece->next->before = piece->before;
    piece->before->next = piece->next;
}

void sim_free_memory(struct piece *list)
{
    while (list->next != list) {
        struct piece *piece = list->next;
        unlink_piece(piece);
        free(piece);
    }
}
static struct piece *memory_now(void)
{
    return sim_current() == NULL ? &world_memory : &sim_current()->memory;
}

void *mem_zalloc(size_t count, size_t size)
{
    size_t octets = count * size;
    struct piece *piece = calloc(1, sizeof(*piece) + octets);
    if (piece == NULL) {
        abort();
    }
    piece->size = octets;
    link_piece(piece, memory_now());
    return piece + 1;
}

void *mem_alloc(size_t size)
{
    struct piece *piece = malloc(sizeof(*piece) + size);
    if (piece == NULL) {
        abort();
    }
    piece->size = size;
    link_piece(piece, memory_now());
    return piece + 1;
}

void *mem_realloc(void *old, size_t size)
{
    void *fresh = mem_alloc(size);
    if (old != NULL) {
        const struct piece *piece = (struct piece *)old - 1;
        memcpy(fresh, old, piece->size < size ? piece->size : size);
        mem_free(old);
    }
    return fresh;
}

void mem_free(void *memory)
{
    if (memory != NULL) {
        struct piece *piece = (struct piece *)memory - 1;
        unlink_piece(piece);
        free(piece);
    }
}

void mem_keep_freed(size_t octets, size_t largest)
{
    (void)octets;
    (void)largest;
}

void mem_fail_at(uint64_t k, int once)
{
    (void)k;
    (void)once;
}

uint64_t mem_count(void)
{
    return 0;
}

int64_t mem_live(void)
{
    return 0;
}
/* The disk: real files, with faults before they are touched. */

static bool write_fails(void)
{
    if (sim_disk_full || (sim_write_fault > 0 && --sim_write_fault == 0)) {
        errno = ENOSPC;
        return true;
    }
    return false;
}

static int disk_openat(int dir, const char *name, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && write_fails()) {
        return -1;
    }
    return openat(dir, name, flags, mode);
}

static ssize_t disk_writev(int fd, const struct iovec *parts, int count)
{
    return write_fails() ? -1 : writev(fd, parts, count);
}

static int disk_sync(int fd)
{
    (void)fd;
    return 0;
}

static int disk_unlinkat(int dir, const char *name, int flags)
{
    return unlinkat(dir, name, flags);
}

static int64_t disk_free_space(int fd)
{
    (void)fd;
    return sim_disk_full && sim_disk_honest ? 0 : 100LL << 30;
}

static int disk_file(enum io_file_call call, const char *name, const void *data, size_t *len, off_t offset)
{
    (void)name;
    (void)data;
    (void)len;
    (void)offset;
    bool grows = call == IO_FILE_CREATE || call == IO_FILE_WRITE;
    return grows && write_fails() ? ENOSPC : 0;
}

const struct io io_system = {.openat = disk_openat,
                             .writev = disk_writev,
                             .pread = pread,
                             .fdatasync = disk_sync,
                             .fsync = disk_sync,
                             .unlinkat = disk_unlinkat,
                             .mkdir = mkdir,
                             .rename = rename,
                             .close = close,
                             .free_space = disk_free_space,
                             .file = disk_file};

static bool kept_fds[SIM_FDS];
static int first_fd;

void sim_own_fd(int fd)
{
    if (fd >= 0 && fd < SIM_FDS) {
        kept_fds[fd] = true;
    }
}

void sim_give_fd(int fd, bool keep)
{
    if (fd >= 0 && fd < SIM_FDS) {
        kept_fds[fd] = keep;
    }
}

/* The descriptors that a killed store had. */
void sim_close_left_over(void)
{
    for (int fd = first_fd; fd < FIRST_FD_MAX; fd++) {
        if (!kept_fds[fd]) {
            close(fd);
        }
    }
}
/* There is one connection to the index: SQLite's locks on its files, a third of all the time, are left out. */
static int without_locks(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (command == F_GETLK) {
        ((struct flock *)argument)->l_type = F_UNLCK;
    }
    return command == F_SETLK || command == F_GETLK ? 0 : fcntl(fd, command, argument);
}

static void spare_locks(void)
{
    sqlite3_vfs *files = sqlite3_vfs_find("unix");
    if (files != NULL && files->xSetSystemCall != NULL) {
        files->xSetSystemCall(files, "fcntl", (sqlite3_syscall_ptr)without_locks);
    }
}
void sim_runtime_reset(uint64_t seed)
{
    state = seed * 0x2545f4914f6cdd1dU + 88172645463325252U;
    wall_offset_ms = 0;
    sim_disk_full = false;
    sim_write_fault = 0;
    memset(kept_fds, 0, sizeof(kept_fds));
    first_fd = dup(0);
    close(first_fd);
    spare_locks();
    index_file_watch(&io_system);
}

void sim_runtime_end(void)
{
    sim_free_memory(&world_memory);
    sim_close_left_over();
    for (int fd = first_fd; fd < FIRST_FD_MAX; fd++) {
        close(fd);
    }
}
