/*
 * The way into the sandbox; see sandbox.h. A call that is not on the list fails with EPERM: a surprise costs one call and
 * shows in the log, not the process.
 */
#include "base/sandbox.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif

/* libseccomp's SCMP_A macros leave the second datum of a comparison out where it is not used. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Calls of every role: memory, time, the loop, messages on descriptors it was given, its own end. */
static const int common_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_yield),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(sched_getaffinity),
};

/* Accepting sessions and setting their options. */
static const int accept_calls[] = {SCMP_SYS(accept4), SCMP_SYS(setsockopt)};

/* Appending to the log: writev is common; the flush is not. */
static const int append_calls[] = {SCMP_SYS(fdatasync)};

/* Connections to other hosts; socket() itself is checked for its arguments. */
static const int internet_calls[] = {SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(setsockopt)};

/* Reading files below the one directory. */
static const int read_file_calls[] = {SCMP_SYS(openat),     SCMP_SYS(stat),       SCMP_SYS(lstat),
                                      SCMP_SYS(access),     SCMP_SYS(getcwd),     SCMP_SYS(statfs),
                                      SCMP_SYS(fstatfs),    SCMP_SYS(getdents64), SCMP_SYS(faccessat),
                                      SCMP_SYS(faccessat2), SCMP_SYS(open),       SCMP_SYS(readlink)};

/* The store: making, changing and removing files below it, and the commands' socket. */
static const int write_file_calls[] = {
    SCMP_SYS(pwrite64),  SCMP_SYS(fdatasync), SCMP_SYS(fsync),    SCMP_SYS(ftruncate), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),  SCMP_SYS(rename),    SCMP_SYS(renameat), SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),
    SCMP_SYS(fallocate), SCMP_SYS(fchmod),    SCMP_SYS(fchown),   SCMP_SYS(accept4),   SCMP_SYS(flock)};

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (code != 0 && code != -EEXIST) {
            return code;
        }
    }
    return 0;
}

/* Memory may be mapped, but never made executable. */
static int allow_memory(scmp_filter_ctx filter)
{
    int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return code != 0 ? code
                     : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/*
 * fcntl: copying a descriptor, asking, locks for the index. F_SETFL is missing, so O_APPEND cannot be taken off a segment;
 * where libraries make sockets of their own it is allowed, but only to set O_NONBLOCK.
 */
static int allow_fcntl(scmp_filter_ctx filter, const struct sandbox_policy *policy)
{
    static const int always[] = {F_GETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC};
    static const int locks[] = {F_GETLK, F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_GETLK};
    int code = 0;
    for (size_t i = 0; code == 0 && i < COUNT_OF(always); i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)always[i]));
    }
    for (size_t i = 0; code == 0 && policy->directory != NULL && i < COUNT_OF(locks); i++) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)locks[i]));
    }
    if (code == 0 && policy->internet) {
        code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2, SCMP_A1(SCMP_CMP_EQ, F_SETFL),
                                SCMP_A2(SCMP_CMP_MASKED_EQ, ~(scmp_datum_t)(O_NONBLOCK | O_RDWR), 0));
    }
    return code;
}

static int allow_sockets(scmp_filter_ctx filter)
{
    static const int families[] = {AF_INET, AF_INET6};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    const scmp_datum_t mask = ~(scmp_datum_t)(SOCK_NONBLOCK | SOCK_CLOEXEC);
    int code = 0;
    for (size_t f = 0; code == 0 && f < COUNT_OF(families); f++) {
        for (size_t t = 0; code == 0 && t < COUNT_OF(types); t++) {
            code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[f]),
                                    SCMP_A1(SCMP_CMP_MASKED_EQ, mask, (scmp_datum_t)types[t]));
        }
    }
    return code;
}

/* Threads, but no processes. clone3 passes its flags in memory, where a filter cannot see: glibc falls back to clone. */
static int allow_threads(scmp_filter_ctx filter)
{
    int code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return code != 0 ? code
                     : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                        SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
}

/* Ending itself on a failed check is allowed; ending others is not. */
static int allow_abort(scmp_filter_ctx filter)
{
    scmp_datum_t self = (scmp_datum_t)getpid();
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, self));
}

#ifdef UNDER_SANITIZER
/* What the sanitizers' runtimes do by themselves, above all at the end, looking for leaks and naming places. */
static int allow_sanitizer(scmp_filter_ctx filter)
{
    static const int calls[] = {SCMP_SYS(mmap),      SCMP_SYS(mprotect),  SCMP_SYS(readlink),
                                SCMP_SYS(open),      SCMP_SYS(openat),    SCMP_SYS(prctl),
                                SCMP_SYS(clone),     SCMP_SYS(wait4),     SCMP_SYS(rt_sigaction),
                                SCMP_SYS(ptrace),    SCMP_SYS(getppid),   SCMP_SYS(pipe2),
                                SCMP_SYS(getrlimit), SCMP_SYS(prlimit64), SCMP_SYS(getdents64),
                                SCMP_SYS(tgkill),    SCMP_SYS(uname),     SCMP_SYS(ioctl)};
    return allow_all(filter, calls, COUNT_OF(calls));
}
#endif

static int build_filter(scmp_filter_ctx filter, const struct sandbox_policy *p)
{
    int code = allow_all(filter, common_calls, COUNT_OF(common_calls));
#ifdef UNDER_SANITIZER
    code = code == 0 ? allow_sanitizer(filter) : code;
    (void)allow_memory;
    (void)allow_abort;
#else
    code = code == 0 ? allow_memory(filter) : code;
    code = code == 0 ? allow_abort(filter) : code;
#endif
    code = code == 0 ? allow_fcntl(filter, p) : code;
    if (code == 0 && p->accept) {
        code = allow_all(filter, accept_calls, COUNT_OF(accept_calls));
    }
    if (code == 0 && p->append) {
        code = allow_all(filter, append_calls, COUNT_OF(append_calls));
    }
    if (code == 0 && p->internet) {
        code = allow_all(filter, internet_calls, COUNT_OF(internet_calls));
        code = code == 0 ? allow_sockets(filter) : code;
    }
    if (code == 0 && p->directory != NULL) {
        code = allow_all(filter, read_file_calls, COUNT_OF(read_file_calls));
    }
    if (code == 0 && p->directory != NULL && p->write) {
        code = allow_all(filter, write_file_calls, COUNT_OF(write_file_calls));
    }
    if (code == 0 && p->threads) {
        code = allow_threads(filter);
    }
    return code;
}

static int enter_seccomp(const struct sandbox_policy *policy)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int code = filter == NULL ? -ENOMEM : build_filter(filter, policy);
    if (code == 0) {
        code = seccomp_load(filter);
    }
    if (filter != NULL) {
        seccomp_release(filter);
    }
    if (code != 0) {
        log_error("the seccomp filter cannot be loaded: %s; this kernel may be built without it",
                  strerror(-code));
        return -1;
    }
    return 0;
}

static uint64_t file_rights(int abi)
{
    uint64_t rights = (1ULL << 13) - 1; /* those of the first version */
    if (abi >= 2) {
        rights |= LANDLOCK_ACCESS_FS_REFER;
    }
    if (abi >= 3) {
        rights |= 1ULL << 14; /* truncate */
    }
    if (abi >= 5) {
        rights |= 1ULL << 15; /* ioctl on devices */
    }
    return rights;
}

static int allow_directory(int ruleset, const struct sandbox_policy *policy, uint64_t rights)
{
    uint64_t wanted = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    if (policy->write) {
        wanted |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                  LANDLOCK_ACCESS_FS_REMOVE_FILE | 1ULL << 14;
    } else {
        wanted |=
            LANDLOCK_ACCESS_FS_WRITE_FILE; /* file modes say no; SQLite asks for it when it looks at the WAL */
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = wanted & rights,
                                              .parent_fd = open(policy->directory, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0) {
        return -1;
    }
    long code = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return code == 0 ? 0 : -1;
}

static int enter_landlock(const struct sandbox_policy *policy)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        log_warning(
            "this kernel has no Landlock; the seccomp filter and the user id alone confine this process");
        return 0;
    }
    struct landlock_ruleset_attr attr = {.handled_access_fs = file_rights((int)abi)};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0) {
        log_error("a Landlock ruleset cannot be made: %s", strerror(errno));
        return -1;
    }
    int code = policy->directory == NULL ? 0 : allow_directory(ruleset, policy, attr.handled_access_fs);
    if (code == 0) {
        code = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    }
    if (code != 0) {
        log_error("Landlock refuses the rules: %s", strerror(errno));
    }
    close(ruleset);
    return code;
}

static int drop_user(const struct sandbox_policy *policy)
{
    if (policy->uid == 0) {
        return 0;
    }
    gid_t group = policy->gid;
    if (setgroups(0, NULL) != 0 || setresgid(group, group, group) != 0 ||
        setresuid(policy->uid, policy->uid, policy->uid) != 0) {
        log_error("cannot change to user id %u: %s", policy->uid, strerror(errno));
        return -1;
    }
    return 0;
}

/* A plain user may have been given some, to bind ports with: that is done. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) != 0) {
        log_error("cannot give up capabilities: %s", strerror(errno));
        return -1;
    }
    return 0;
}

int sandbox_enter(const struct sandbox_policy *policy)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (drop_user(policy) != 0 || drop_capabilities() != 0) {
        return -1;
    }
    prctl(PR_SET_DUMPABLE, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        log_error("new privileges cannot be ruled out: %s", strerror(errno));
        return -1;
    }
#ifndef UNDER_SANITIZER
    if (enter_landlock(policy) != 0) {
        return -1;
    }
#else
    (void)enter_landlock;
#endif
    return enter_seccomp(policy);
}
