/*
 * The supervisor: binds ports, opens secrets, starts the roles, watches and restarts them, reloads the
 * configuration. It may run as root and so it reads nothing from the network and, after the start, opens nothing
 * below a directory that others can write.
 */
#ifndef VEREDUS_ROLES_SUPERVISOR_H
#define VEREDUS_ROLES_SUPERVISOR_H

#include "base/str.h"

/* An account of `veredus dev --user name@domain:password`. */
struct supervisor_dev_user {
    struct str address;
    struct str password;
};

struct supervisor_options {
    const char *config_file; /* of `serve -c`; NULL for dev */
    bool dev;
    const char *dev_dir; /* NULL: a directory of its own that is removed at the end */
    unsigned dev_port_base;
    const struct supervisor_dev_user *dev_users;
    size_t dev_user_count;
    bool fence;   /* run the forbidden acts in each role, print what became of them, exit */
    bool sandbox; /* false only for debugging */
    bool json;    /* lines on standard output */
};

/* Runs until SIGTERM or SIGINT. Returns an exit code of sysexits.h. */
int supervisor_run(const struct supervisor_options *options);

#endif
