/* The files of the index; see index_file.h. */
#include "store/index_file.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>

/* Our file, with SQLite's own behind it in the same piece of memory. */
struct watched_file {
    sqlite3_file base;
    const char *name; /* lives as long as the file: SQLite promises it */
    sqlite3_file *inner;
};

enum { UNLOCK_TRIES = 16 };

static sqlite3_vfs layer;
static sqlite3_vfs *standard;
static const struct io *watcher;

static struct watched_file *watched(sqlite3_file *file)
{
    return (struct watched_file *)(void *)file;
}

static int ask(enum io_file_call call, const char *name, const void *data, size_t *len, sqlite3_int64 offset)
{
    if (watcher == NULL || watcher->file == NULL || name == NULL) {
        return 0;
    }
    return watcher->file(call, name, data, len, (off_t)offset);
}

static int code_of(int error, int other)
{
    return error == ENOSPC || error == EDQUOT ? SQLITE_FULL : other;
}

static int file_close(sqlite3_file *file)
{
    return watched(file)->inner->pMethods->xClose(watched(file)->inner);
}

static int file_read(sqlite3_file *file, void *data, int len, sqlite3_int64 offset)
{
    return watched(file)->inner->pMethods->xRead(watched(file)->inner, data, len, offset);
}

static int file_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    struct watched_file *f = watched(file);
    size_t part = (size_t)len;
    int error = ask(IO_FILE_WRITE, f->name, data, &part, offset);
    if (error == 0) {
        return f->inner->pMethods->xWrite(f->inner, data, len, offset);
    }
    if (part > 0 && part < (size_t)len) {
        f->inner->pMethods->xWrite(f->inner, data, (int)part, offset);
    }
    return code_of(error, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct watched_file *f = watched(file);
    size_t len = 0;
    int error = ask(IO_FILE_TRUNCATE, f->name, NULL, &len, size);
    return error == 0 ? f->inner->pMethods->xTruncate(f->inner, size) : SQLITE_IOERR_TRUNCATE;
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct watched_file *f = watched(file);
    size_t len = 0;
    int error = ask(IO_FILE_SYNC, f->name, NULL, &len, 0);
    return error == 0 ? f->inner->pMethods->xSync(f->inner, flags) : code_of(error, SQLITE_IOERR_FSYNC);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return watched(file)->inner->pMethods->xFileSize(watched(file)->inner, size);
}

static int file_lock(sqlite3_file *file, int kind)
{
    return watched(file)->inner->pMethods->xLock(watched(file)->inner, kind);
}

/*
 * SQLite does not look at what giving a lock back comes to. One that the system kept, as after an interrupted call, would keep out
 * all readers for good.
 */
static int file_unlock(sqlite3_file *file, int kind)
{
    int code = SQLITE_ERROR;
    for (int tries = 0; tries < UNLOCK_TRIES && code != SQLITE_OK; tries++) {
        code = watched(file)->inner->pMethods->xUnlock(watched(file)->inner, kind);
    }
    return code;
}

static int file_check_lock(sqlite3_file *file, int *result)
{
    return watched(file)->inner->pMethods->xCheckReservedLock(watched(file)->inner, result);
}

static int file_control(sqlite3_file *file, int operation, void *argument)
{
    return watched(file)->inner->pMethods->xFileControl(watched(file)->inner, operation, argument);
}

static int file_sector_size(sqlite3_file *file)
{
    return watched(file)->inner->pMethods->xSectorSize(watched(file)->inner);
}

static int file_characteristics(sqlite3_file *file)
{
    return watched(file)->inner->pMethods->xDeviceCharacteristics(watched(file)->inner);
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **where)
{
    return watched(file)->inner->pMethods->xShmMap(watched(file)->inner, page, size, extend, where);
}

static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    int tries = (flags & SQLITE_SHM_UNLOCK) != 0 ? UNLOCK_TRIES : 1;
    int code = SQLITE_ERROR;
    for (; tries > 0 && code != SQLITE_OK; tries--) {
        code = watched(file)->inner->pMethods->xShmLock(watched(file)->inner, offset, count, flags);
    }
    return code;
}

static void file_shm_barrier(sqlite3_file *file)
{
    watched(file)->inner->pMethods->xShmBarrier(watched(file)->inner);
}

static int file_shm_unmap(sqlite3_file *file, int remove)
{
    return watched(file)->inner->pMethods->xShmUnmap(watched(file)->inner, remove);
}

static int file_fetch(sqlite3_file *file, sqlite3_int64 offset, int len, void **where)
{
    return watched(file)->inner->pMethods->xFetch(watched(file)->inner, offset, len, where);
}

static int file_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *where)
{
    return watched(file)->inner->pMethods->xUnfetch(watched(file)->inner, offset, where);
}

static const sqlite3_io_methods methods = {.iVersion = 3,
                                           .xClose = file_close,
                                           .xRead = file_read,
                                           .xWrite = file_write,
                                           .xTruncate = file_truncate,
                                           .xSync = file_sync,
                                           .xFileSize = file_size,
                                           .xLock = file_lock,
                                           .xUnlock = file_unlock,
                                           .xCheckReservedLock = file_check_lock,
                                           .xFileControl = file_control,
                                           .xSectorSize = file_sector_size,
                                           .xDeviceCharacteristics = file_characteristics,
                                           .xShmMap = file_shm_map,
                                           .xShmLock = file_shm_lock,
                                           .xShmBarrier = file_shm_barrier,
                                           .xShmUnmap = file_shm_unmap,
                                           .xFetch = file_fetch,
                                           .xUnfetch = file_unfetch};

static int layer_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    struct watched_file *f = watched(file);
    size_t len = 0;
    int there = 0;
    f->base.pMethods = NULL;
    /* Temporary files have no name and no need to survive. */
    f->name = name;
    f->inner = (sqlite3_file *)(void *)(f + 1);
    if (name != NULL && (flags & SQLITE_OPEN_CREATE) != 0 &&
        (standard->xAccess(standard, name, SQLITE_ACCESS_EXISTS, &there) != SQLITE_OK || there == 0)) {
        int error = ask(IO_FILE_CREATE, name, NULL, &len, 0);
        if (error != 0) {
            return code_of(error, SQLITE_CANTOPEN);
        }
    }
    int code = standard->xOpen(standard, name, f->inner, flags, out_flags);
    if (f->inner->pMethods != NULL) {
        f->base.pMethods = &methods;
    }
    return code;
}

static int layer_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    (void)vfs;
    size_t len = 0;
    int error = ask(IO_FILE_DELETE, name, NULL, &len, 0);
    return error == 0 ? standard->xDelete(standard, name, sync_directory) : SQLITE_IOERR_DELETE;
}

static int layer_full_name(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}

static void register_layer(void)
{
    standard = sqlite3_vfs_find(NULL);
    if (standard == NULL) {
        return;
    }
    layer = *standard;
    layer.zName = "veredus";
    layer.szOsFile = (int)sizeof(struct watched_file) + standard->szOsFile;
    layer.pNext = NULL;
    layer.xOpen = layer_open;
    layer.xDelete = layer_delete;
    layer.xFullPathname = layer_full_name;
    sqlite3_vfs_register(&layer, 0);
}

const char *index_file_layer(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_layer);
    return "veredus";
}

void index_file_watch(const struct io *io)
{
    watcher = io;
}
