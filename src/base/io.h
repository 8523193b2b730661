/*
 * The system calls that the promise of a 250 rests on, behind a table, so that tests can record, delay and fail each of
 * them (goals G1 to G3). Only the log goes through it; the index's calls are intercepted inside SQLite.
 */
#ifndef VEREDUS_BASE_IO_H
#define VEREDUS_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct io {
    int (*openat)(int dir, const char *name, int flags, mode_t mode);
    ssize_t (*writev)(int fd, const struct iovec *parts, int count);
    ssize_t (*pread)(int fd, void *data, size_t len, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*unlinkat)(int dir, const char *name, int flags);
    int (*close)(int fd);
    /* Free octets of the file system that holds fd; -1 on error. */
    int64_t (*free_space)(int fd);
};

/* The real calls. */
extern const struct io io_system;

#endif
