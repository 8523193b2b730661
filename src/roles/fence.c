/* The forbidden acts; see fence.h. Arguments are chosen so that an act that is not refused does no harm. */
#include "roles/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ONLY(kind) (1U << (kind))
#define FILES      (ONLY(ROLE_STORE) | ONLY(ROLE_READER))
#define NETWORK    (ONLY(ROLE_RELAY) | ONLY(ROLE_RESOLVER))

enum { NOTHING = 0 };

static long open_and_close(const char *path, int flags)
{
    long fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close((int)fd);
    }
    return fd;
}

static long make_socket(int family, int type)
{
    long fd = syscall(SYS_socket, family, type | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close((int)fd);
    }
    return fd;
}

static long read_passwd(void)
{
    return open_and_close("/etc/passwd", O_RDONLY);
}
static long read_shadow(void)
{
    return open_and_close("/etc/shadow", O_RDONLY);
}
static long read_root(void)
{
    return open_and_close("/", O_RDONLY | O_DIRECTORY);
}
static long read_parent(void)
{
    return open_and_close("..", O_RDONLY | O_DIRECTORY);
}
static long read_key(void)
{
    return open_and_close("../keys/pepper", O_RDONLY);
}
static long read_environment(void)
{
    return open_and_close("/proc/1/environ", O_RDONLY);
}
static long open_memory(void)
{
    return open_and_close("/proc/self/mem", O_RDWR);
}
static long open_own_descriptor(void)
{
    return open_and_close("/proc/self/fd/2", O_RDWR);
}
static long write_tmp(void)
{
    return open_and_close("/tmp", O_WRONLY | O_TMPFILE);
}
static long write_device(void)
{
    return open_and_close("/dev/null", O_WRONLY);
}
static long read_own_directory(void)
{
    return open_and_close(".", O_RDONLY | O_DIRECTORY);
}

static long write_own_directory(void)
{
    long result = open_and_close("fence-probe", O_WRONLY | O_CREAT);
    syscall(SYS_unlinkat, AT_FDCWD, "fence-probe", 0);
    return result;
}

static long socket_tcp(void)
{
    return make_socket(AF_INET, SOCK_STREAM);
}
static long socket_tcp6(void)
{
    return make_socket(AF_INET6, SOCK_STREAM);
}
static long socket_udp(void)
{
    return make_socket(AF_INET, SOCK_DGRAM);
}
static long socket_unix(void)
{
    return make_socket(AF_UNIX, SOCK_STREAM);
}
static long socket_raw(void)
{
    return make_socket(AF_INET, SOCK_RAW);
}
static long socket_packet(void)
{
    return make_socket(AF_PACKET, SOCK_RAW);
}
static long socket_netlink(void)
{
    return make_socket(AF_NETLINK, SOCK_RAW);
}

static long connect_out(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(25), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    long fd = syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    long result = syscall(SYS_connect, fd >= 0 ? fd : 0, &address, sizeof(address));
    if (fd >= 0) {
        close((int)fd);
    }
    return result;
}

static long listen_here(void)
{
    return syscall(SYS_listen, 0, 1);
}

static long run_program(void)
{
    char *const none[] = {NULL};
    return syscall(SYS_execve, "/nonexistent/program", none, none);
}

static long run_program_at(void)
{
    char *const none[] = {NULL};
    return syscall(SYS_execveat, AT_FDCWD, "/nonexistent/program", none, none, 0);
}

static long make_process(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

static long make_process_again(void)
{
    long pid = syscall(SYS_fork);
    if (pid == 0) {
        _exit(0);
    }
    return pid;
}

static long trace_parent(void)
{
    return syscall(SYS_ptrace, PTRACE_SEIZE, getppid(), 0, 0);
}

static long read_parent_memory(void)
{
    char byte;
    struct iovec local = {&byte, 1};
    struct iovec remote = {(void *)&local, 1};
    return syscall(SYS_process_vm_readv, getppid(), &local, 1, &remote, 1, 0);
}

static long signal_parent(void)
{
    return syscall(SYS_kill, getppid(), 0);
}
static long signal_all(void)
{
    return syscall(SYS_kill, 1, 0);
}
static long open_process(void)
{
    return syscall(SYS_pidfd_open, 1, 0);
}
static long take_descriptor(void)
{
    return syscall(SYS_pidfd_getfd, 0, 0, 0);
}

static long set_up_io_uring(void)
{
    char parameters[256] = {0};
    return syscall(SYS_io_uring_setup, 1, parameters);
}

static long make_pipe_and_truncate(void)
{
    return syscall(SYS_ftruncate, 2, 0);
}
static long truncate_path(void)
{
    return syscall(SYS_truncate, "/nonexistent", 0);
}
static long punch_hole(void)
{
    return syscall(SYS_fallocate, 2, 3, 0, 1);
}
static long clear_append(void)
{
    return syscall(SYS_fcntl, 2, F_SETFL, O_APPEND);
}

static long write_and_execute(void)
{
    return (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   -1
               ? -1
               : 0;
}

static long make_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? 0 : mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long make_memfd(void)
{
    return syscall(SYS_memfd_create, "x", 0);
}
static long new_namespace(void)
{
    return syscall(SYS_unshare, CLONE_NEWUSER);
}
static long enter_namespace(void)
{
    return syscall(SYS_setns, 0, 0);
}
static long mount_something(void)
{
    return syscall(SYS_mount, "none", "/nonexistent", "tmpfs", 0, 0);
}
static long change_root(void)
{
    return syscall(SYS_chroot, "/");
}
static long become_root(void)
{
    return syscall(SYS_setuid, 0);
}
static long set_groups(void)
{
    return syscall(SYS_setgroups, 0, 0);
}
static long load_module(void)
{
    return syscall(SYS_init_module, 0, 0, "");
}
static long load_bpf(void)
{
    return syscall(SYS_bpf, 0, 0, 0);
}
static long count_events(void)
{
    return syscall(SYS_perf_event_open, 0, 0, -1, -1, 0);
}
static long handle_faults(void)
{
    return syscall(SYS_userfaultfd, 0);
}
static long use_keyring(void)
{
    return syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}
static long set_clock(void)
{
    return syscall(SYS_settimeofday, 0, 0);
}
static long reboot_machine(void)
{
    return syscall(SYS_reboot, 0, 0, 0, 0);
}
static long name_host(void)
{
    return syscall(SYS_sethostname, "x", -1);
}

/* What has been made without being refused goes again. */
static long unlinked(long result, const char *path)
{
    if (result == 0) {
        syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    return result;
}

static long link_file(void)
{
    static const char path[] = "/tmp/veredus-link";
    return unlinked(syscall(SYS_link, "/etc/passwd", path), path);
}

static long link_symbolic(void)
{
    static const char path[] = "/tmp/veredus-symlink";
    return unlinked(syscall(SYS_symlink, "/etc/passwd", path), path);
}

static long make_node(void)
{
    static const char path[] = "/tmp/veredus-node";
    return unlinked(syscall(SYS_mknodat, AT_FDCWD, path, 0010600, 0), path);
}

/* It is there and not empty: where this is not refused it fails otherwise. */
static long remove_directory(void)
{
    return syscall(SYS_unlinkat, AT_FDCWD, "/etc", AT_REMOVEDIR);
}
static long change_mode(void)
{
    return syscall(SYS_chmod, "/nonexistent", 0600);
}
static long become_dumpable(void)
{
    return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static long clear_flags(void)
{
    int flags = 0;
    return ioctl(2, FS_IOC_SETFLAGS, &flags);
}
static long raise_limits(void)
{
    return syscall(SYS_prlimit64, getppid(), 7, 0, 0);
}
static long open_by_handle(void)
{
    return syscall(SYS_open_by_handle_at, -1, 0, 0);
}
static long share_memory(void)
{
    return syscall(SYS_shmget, 0, 4096, 01000);
}

static const struct act {
    const char *name;
    long (*run)(void);
    unsigned allowed; /* to these roles */
} acts[] = {
    {"open /etc/passwd", read_passwd, NOTHING},
    {"open /etc/shadow", read_shadow, NOTHING},
    {"open the root directory", read_root, NOTHING},
    {"open the directory above the store", read_parent, NOTHING},
    {"open a secret of the keys role", read_key, NOTHING},
    {"open the environment of process 1", read_environment, NOTHING},
    {"open its own memory for writing", open_memory, NOTHING},
    {"open its own descriptor again", open_own_descriptor, NOTHING},
    {"create a file in /tmp", write_tmp, NOTHING},
    {"open a device", write_device, NOTHING},
    {"read its own directory", read_own_directory, FILES},
    {"create a file in its own directory", write_own_directory, ONLY(ROLE_STORE)},
    {"make a TCP socket", socket_tcp, NETWORK},
    {"make a TCP socket for IPv6", socket_tcp6, NETWORK},
    {"make a UDP socket", socket_udp, NETWORK},
    {"make a Unix socket", socket_unix, NOTHING},
    {"make a raw socket", socket_raw, NOTHING},
    {"make a packet socket", socket_packet, NOTHING},
    {"make a netlink socket", socket_netlink, NOTHING},
    {"connect to port 25", connect_out, NETWORK},
    {"listen", listen_here, NOTHING},
    {"execute a program", run_program, NOTHING},
    {"execute a program by descriptor", run_program_at, NOTHING},
    {"make a process with clone", make_process, NOTHING},
    {"make a process with fork", make_process_again, NOTHING},
    {"trace the supervisor", trace_parent, NOTHING},
    {"read the supervisor's memory", read_parent_memory, NOTHING},
    {"signal the supervisor", signal_parent, NOTHING},
    {"signal process 1", signal_all, NOTHING},
    {"open a process descriptor", open_process, NOTHING},
    {"take a descriptor of another process", take_descriptor, NOTHING},
    {"set up io_uring", set_up_io_uring, NOTHING},
    {"truncate a descriptor", make_pipe_and_truncate, ONLY(ROLE_STORE)},
    {"truncate a path", truncate_path, NOTHING},
    {"punch a hole", punch_hole, ONLY(ROLE_STORE)},
    {"change the flags of a descriptor (F_SETFL)", clear_append, NOTHING},
    {"map memory writable and executable", write_and_execute, NOTHING},
    {"make memory executable", make_executable, NOTHING},
    {"make a memory file", make_memfd, NOTHING},
    {"make a user namespace", new_namespace, NOTHING},
    {"enter a namespace", enter_namespace, NOTHING},
    {"mount", mount_something, NOTHING},
    {"change the root directory", change_root, NOTHING},
    {"become root", become_root, NOTHING},
    {"set groups", set_groups, NOTHING},
    {"load a kernel module", load_module, NOTHING},
    {"load a BPF program", load_bpf, NOTHING},
    {"open performance counters", count_events, NOTHING},
    {"handle page faults", handle_faults, NOTHING},
    {"use the kernel's keyring", use_keyring, NOTHING},
    {"set the clock", set_clock, NOTHING},
    {"reboot", reboot_machine, NOTHING},
    {"set the host name", name_host, NOTHING},
    {"link a file", link_file, NOTHING},
    {"make a symbolic link", link_symbolic, NOTHING},
    {"make a node", make_node, NOTHING},
    {"remove a directory of the system", remove_directory, NOTHING},
    {"change the mode of a file", change_mode, NOTHING},
    {"become dumpable", become_dumpable, NOTHING},
    {"change the flags of a file", clear_flags, NOTHING},
    {"change the limits of the supervisor", raise_limits, NOTHING},
    {"open a file by its handle", open_by_handle, NOTHING},
    {"share memory", share_memory, NOTHING},
};

static const char *answer_name(int error)
{
    switch (error) {
    case EPERM: return "EPERM";
    case EACCES: return "EACCES";
    case ENOSYS: return "ENOSYS";
    default: return strerrorname_np(error);
    }
}

void fence_run(enum role_kind kind, const char *data_dir,
               void (*report)(void *context, const struct fence_result *result), void *context)
{
    (void)data_dir;
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        errno = 0;
        long value = acts[i].run();
        int error = value < 0 ? errno : 0;
        struct fence_result result = {.refused = error == EPERM || error == EACCES || error == ENOSYS,
                                      .expected_refused = (acts[i].allowed & ONLY(kind)) == 0,
                                      .act = acts[i].name,
                                      .answer = value < 0 ? answer_name(error) : "done"};
        report(context, &result);
    }
}
