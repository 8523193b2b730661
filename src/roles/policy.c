/* What each role may do in its sandbox; see policy.h. */
#include "roles/policy.h"

#include "base/log.h"
#include "base/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int policy_enter(enum role_kind kind, uint32_t uid, uint32_t gid, const char *data_dir, bool sandboxed)
{
    struct sandbox_policy policy = policies[kind];
    policy.uid = uid;
    policy.gid = gid;
    umask(027);
    if (data_dir[0] != '\0' && chdir(data_dir) != 0) {
        log_error("cannot enter %s: %s", data_dir, strerror(errno));
        return -1;
    }
    if (!sandboxed) {
        log_warning("the sandbox is switched off: for debugging only");
        return 0;
    }
    return sandbox_enter(&policy);
}
