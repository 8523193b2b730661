/*
 * The way into the sandbox: another uid, no new privileges, Landlock, seccomp. After it a role can do what its policy lists and
 * nothing else. Order matters (RELIABILITY, section 4, rule 6): descriptors, locale and anything loaded lazily come
 * before, threads and the network after.
 */
#ifndef VEREDUS_BASE_SANDBOX_H
#define VEREDUS_BASE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

struct sandbox_policy {
    uint32_t uid; /* to drop to; 0: stay */
    uint32_t gid;
    const char *directory; /* the one directory tree that may be used; NULL: none */
    bool write;            /* in it */
    bool internet;         /* sockets to other hosts may be made and connected */
    bool accept;           /* connections may be accepted */
    bool append;           /* descriptors are written and flushed (the log) */
    bool threads;
};

/* 0, or -1 after logging what could not be done; the process must then end. */
int sandbox_enter(const struct sandbox_policy *policy);

#endif
