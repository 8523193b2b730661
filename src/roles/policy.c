/* What each role may do in its sandbox; see policy.h. */
#include "roles/policy.h"

#include "base/log.h"
#include "base/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

static const struct sandbox_policy policies[ROLE_KINDS] = {
    [ROLE_SMTPD_MX] = {.accept = true, .append = true, .threads = true},
    [ROLE_SMTPD_MSA] = {.accept = true, .append = true, .threads = true},
    [ROLE_IMAPD] = {.accept = true, .append = true, .threads = true},
    [ROLE_STORE] = {.directory = ".", .write = true},
    [ROLE_READER] = {.directory = "."},
    [ROLE_RELAY] = {.internet = true},
    [ROLE_RESOLVER] = {.internet = true},
    [ROLE_KEYS] = {.threads = true},
    [ROLE_INDEXER] = {.threads = false},
};

bool policy_gives_users(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3];
    const uint32_t both = 1U << CAP_SETUID | 1U << CAP_SETGID;
    return syscall(SYS_capget, &header, has) == 0 && (has[0].effective & both) == both;
}

bool policy_act_as(uint32_t uid, uint32_t gid)
{
    return uid == 0 || (setegid(gid) == 0 && seteuid(uid) == 0);
}

bool policy_act_as_starter(void)
{
    return seteuid(getuid()) == 0 && setegid(getgid()) == 0;
}

bool policy_enter_directory(uint32_t uid, uint32_t gid, const char *directory)
{
    if (chdir(directory) == 0) {
        return true;
    }
    /* Who started this may pass to where the directory lies, and its user may enter it from there. */
    const char *name = strrchr(directory, '/');
    char parent[4096];
    size_t len = name == NULL ? sizeof(parent) : (size_t)(name - directory) + 1;
    if (errno != EACCES || uid == 0 || len >= sizeof(parent)) {
        return false;
    }
    memcpy(parent, directory, len);
    parent[len] = '\0';
    bool fine = chdir(parent) == 0 && policy_act_as(uid, gid) && chdir(name + 1) == 0;
    int error = errno;
    fine = policy_act_as_starter() && fine;
    errno = error;
    return fine;
}

int policy_enter(enum role_kind kind, uint32_t uid, uint32_t gid, const char *data_dir, bool sandboxed)
{
    struct sandbox_policy policy = policies[kind];
    policy.uid = uid;
    policy.gid = gid;
    umask(027);
    if (data_dir[0] != '\0' && !policy_enter_directory(uid, gid, data_dir)) {
        log_error("cannot enter %s: %s", data_dir, strerror(errno));
        return -1;
    }
    if (!sandboxed) {
        log_warning("the sandbox is switched off: for debugging only");
        return 0;
    }
    return sandbox_enter(&policy);
}
