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

/* Whether this process may start others as other users: root may, and who has CAP_SETUID and CAP_SETGID. */
bool policy_gives_users(void);
/*
 * Of a process that may: to act as this user, for files and signals, and back as who started it. 0 as user: there are no such
 * users, does nothing. False with errno.
 */
bool policy_act_as(uint32_t uid, uint32_t gid);
bool policy_act_as_starter(void);
/* Makes a directory of this user's, below one that may be its starter's alone, the working directory. False with errno. */
bool policy_enter_directory(uint32_t uid, uint32_t gid, const char *directory);

#endif
