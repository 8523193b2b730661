/*
 * The system calls that the promise of a 250 rests on, behind a table, so that tests can record, delay and fail each of
 * them (goals G1 to G3). The log is written through it. SQLite makes the index's calls itself, but asks here before each one
 * (store/index_file.h).
 */
#ifndef VEREDUS_BASE_IO_H
#define VEREDUS_BASE_IO_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What SQLite does to a file of the index. */
enum io_file_call { IO_FILE_CREATE, IO_FILE_WRITE, IO_FILE_TRUNCATE, IO_FILE_SYNC, IO_FILE_DELETE };

struct io {
    int (*openat)(int dir, const char *name, int flags, mode_t mode);
    ssize_t (*writev)(int fd, const struct iovec *parts, int count);
    ssize_t (*pread)(int fd, void *data, size_t len, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*unlinkat)(int dir, const char *name, int flags);
    /* In the current directory. */
    int (*mkdir)(const char *name, mode_t mode);
    int (*rename)(const char *from, const char *to);
    int (*close)(int fd);
    /* Free octets of the file system that holds fd; -1 on error. */
    int64_t (*free_space)(int fd);
    /*
     * Asked before each call on a file of the index: 0 lets it be made, an errno makes it fail. *len may be made less for
     * a write that fails halfway. `offset`: for a truncation the new size. NULL: nobody wants to know.
     */
    int (*file)(enum io_file_call call, const char *name, const void *data, size_t *len, off_t offset);
};

/* The real calls. */
extern const struct io io_system;

/* Writes all of it to a file that need not be flushed; false with errno. */
bool io_write_all(int fd, struct str text);

#endif
