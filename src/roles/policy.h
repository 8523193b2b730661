/* What each role may do in its sandbox: the table behind DESIGN's "may touch" column. */
#ifndef VEREDUS_ROLES_POLICY_H
#define VEREDUS_ROLES_POLICY_H

#include "ipc/peer.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Enters the sandbox of this role. `data_dir` becomes the working directory of roles with files, before the user changes, so
 * that it may lie below a directory that the role's user cannot pass through. 0, or -1 after logging why.
 */
int policy_enter(enum role_kind kind, uint32_t uid, uint32_t gid, const char *data_dir, bool sandboxed);

#endif
