/* The system calls behind a table; see io.h. */
#include "base/io.h"

#include <fcntl.h>
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
                             .close = close,
                             .free_space = system_free_space};
