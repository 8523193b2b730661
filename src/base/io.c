/* The system calls behind a table; see io.h. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int system_openat(int dir, const char *name, int flags, mode_t mode)
{
    return openat(dir, name, flags, mode);
}

static int64_t system_free_space(int fd)
{
    struct statvfs info;
    if (fstatvfs(fd, &info) != 0) {
        return -1;
    }
    return (int64_t)info.f_bavail * (int64_t)info.f_frsize;
}

static int system_unlinkat(int dir, const char *name, int flags)
{
    return unlinkat(dir, name, flags);
}

const struct io io_system = {.openat = system_openat,
                             .writev = writev,
                             .pread = pread,
                             .fdatasync = fdatasync,
                             .fsync = fsync,
                             .unlinkat = system_unlinkat,
                             .mkdir = mkdir,
                             .rename = rename,
                             .close = close,
                             .free_space = system_free_space};

bool io_write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.data, text.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return false;
        }
        text = str_from(text, (size_t)n);
    }
    return true;
}
