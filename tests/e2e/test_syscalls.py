"""Every system call that a role may make fails once, at any of its first 20 calls, with every error that it may plausibly have
(goal G5): no role crashes, mail goes on, nothing that was acknowledged is lost or comes twice. A role may decide to end; it is
started again then.

`make check` tries a sample, `make torture` all of them.
"""
import os
import shutil
import subprocess
import time

import pytest

from torture import TORTURE, Ledger, Load, compare, dice, torture_server
from veredus import SANITIZED, wait_until

SAMPLE = 4 if SANITIZED else 14
SINGLE = os.environ.get("VEREDUS_FAILING_CALLS", "")  # how many of them, drawn
ERRORS = {
    "read": "EINTR EAGAIN EIO ECONNRESET ENOMEM",
    "write": "EINTR EAGAIN EPIPE ENOSPC EIO",
    "writev": "EINTR EAGAIN EPIPE ECONNRESET ENOSPC EIO",
    "sendto": "EINTR EAGAIN EPIPE ECONNRESET ENOBUFS ENOMEM",
    "recvfrom": "EINTR EAGAIN ECONNRESET ENOMEM",
    # Between processes: the kernel gives EPIPE and ECONNRESET only where the other one has ended, which test_roles.py is about.
    "sendmsg": "EINTR EAGAIN ENOBUFS ENOMEM ETOOMANYREFS",
    "sendmmsg": "EINTR EAGAIN ENOBUFS ENOMEM ETOOMANYREFS",
    "recvmsg": "EINTR EAGAIN ENOMEM",
    "recvmmsg": "EINTR EAGAIN ENOMEM",
    "epoll_wait": "EINTR",
    "epoll_ctl": "ENOMEM ENOSPC",
    "close": "EINTR EIO",
    "mmap": "ENOMEM",
    "munmap": "ENOMEM",
    "brk": "ENOMEM",
    "madvise": "ENOMEM",
    "getrandom": "EINTR",
    "fcntl": "EMFILE EINTR",
    "shutdown": "ENOTCONN",
    "fstat": "ENOMEM EIO",
}
ACCEPT = {"accept4": "EINTR EAGAIN EMFILE ENFILE ECONNABORTED ENOBUFS ENOMEM EPROTO", "setsockopt": "ENOMEM EINVAL"}
APPEND = {"fdatasync": "EIO ENOSPC EDQUOT EINTR"}
READ = {"pread64": "EIO EINTR", "openat": "EMFILE ENFILE ENOMEM EACCES EIO", "newfstatat": "ENOMEM EIO", "access": "ENOMEM"}
WRITE = {"pwrite64": "EIO ENOSPC EDQUOT", "fdatasync": "EIO ENOSPC", "fsync": "EIO ENOSPC", "unlink": "EIO EACCES", "unlinkat": "EIO EACCES",
         "ftruncate": "EIO", "flock": "EINTR ENOLCK"}
INTERNET = {"socket": "EMFILE ENFILE ENOMEM", "connect": "ECONNREFUSED ETIMEDOUT ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EAGAIN",
            "setsockopt": "ENOMEM EINVAL", "getsockopt": "ENOMEM"}
ROLES = {"smtpd-mx": (ACCEPT, APPEND), "smtpd-msa": (ACCEPT, APPEND), "imapd": (ACCEPT, APPEND), "store": (READ, WRITE), "reader": (READ,),
         "relay": (INTERNET,), "keys": (), "indexer": ()}


def every_case():
    return [(role, call, error) for role, more in ROLES.items() for calls in (ERRORS, *more) for call, errors in calls.items()
            for error in errors.split()]


def acknowledged_after(ledger, before):
    return len(ledger.acknowledged) > before


def fail_once(server, role, call, error, number, seconds):
    pid = server.pid(role)
    strace = subprocess.Popen(["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                               f"inject={call}:error={error}:when={number}", "-p", str(pid)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    strace.terminate()
    strace.wait()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("strace") is None, reason="to make system calls fail needs root and strace")
def test_failing_calls(tmp_path):
    random = dice("failing calls")
    cases = every_case()
    if TORTURE and not SINGLE:
        cases = [case + (number,) for case in cases for number in (1, 2, 3, 5, 8, 13, 20)]
    else:
        cases = [case + (random.randint(1, 20),) for case in random.sample(cases, int(SINGLE or SAMPLE))]
    server = torture_server(tmp_path, processes="smtpd_mx = 1", start=False)
    try:
        server.start().add_users()
        ledger = Ledger()
        load = Load(server, ledger, mx=4, submission=1, remote=1, pause=0.005)
        for role, call, error, number in cases:
            fail_once(server, role, call, error, number, random.uniform(0.2, 0.5))
            before = len(ledger.acknowledged)
            wait_until(lambda: acknowledged_after(ledger, before), 60, f"mail is taken after {role}'s {call} {number} gave {error}")
        load.stop()
        print(f"{len(cases)} failing calls: {len(ledger.acknowledged)} acknowledged, answers {ledger.answers}")
        compare(server, ledger)
        assert server.stop() == 0
    finally:
        server.clean()
