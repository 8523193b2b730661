/*
 * The fence, tried from inside: each role, in its sandbox, does what it must never be able to do, and reports what became of
 * it (goal G17). Run by `veredus fence`.
 */
#ifndef VEREDUS_ROLES_FENCE_H
#define VEREDUS_ROLES_FENCE_H

#include "ipc/peer.h"

#include <stdbool.h>

struct fence_result {
    bool refused;
    bool expected_refused;
    const char *act;
    const char *answer; /* "EPERM" and so on, or "done" */
};

/* Calls `report` once for each act. Only inside the sandbox; the process must end afterwards. */
void fence_run(enum role_kind kind, const char *data_dir,
               void (*report)(void *context, const struct fence_result *result), void *context);

#endif
