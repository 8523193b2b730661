"""A full disk and failing writes: mail is put off with 452 or 451, no process ends, nothing acknowledged is lost, and it goes on
by itself when there is room again (goal G3)."""
import errno
import os
import shutil
import subprocess
import time

import pytest

from torture import TORTURE, Ledger, Load, Volume, cannot_mount, compare, dice, torture_server
from veredus import wait_until

SECONDS = 600 if TORTURE else 2
POINTS = 300 if TORTURE else 18

pytestmark = pytest.mark.optimised_only


def fill(path, keep=0):
    """Takes all room of the volume but `keep` octets."""
    with open(path, "wb") as filler:
        for size in (1 << 20, 4096):
            while keep == 0 or os.statvfs(path).f_bavail * os.statvfs(path).f_frsize > keep:
                try:
                    filler.write(b"x" * size)
                    filler.flush()
                    os.fsync(filler.fileno())
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break


def acknowledged_after(ledger, before):
    return len(ledger.acknowledged) > before


@pytest.mark.parametrize("reserve", ["8M", "0"])
def test_full_volume(tmp_path, reserve):
    """With a reserve it is noticed in time; without one the writes themselves fail."""
    why = cannot_mount()
    if why:
        pytest.skip(f"NO DISK WAS FILLED: {why}")
    volume = Volume(tmp_path, "ext4", 64)
    server = torture_server(tmp_path, data=volume.path / "data", store=f"reserve = {reserve} segment_size = 1M", start=False)
    try:
        server.start().add_users()
        pids = server.pids()
        ledger = Ledger()
        load = Load(server, ledger, mx=4, submission=1, pause=0.01)
        wait_until(lambda: len(ledger.acknowledged) > 20, 30, "mail is taken")
        fill(volume.path / "filler", 0 if reserve == "0" else 4 << 20)
        wait_until(lambda: ledger.answers.get(b"452", 0) > 3, 30, "mail is put off with 452")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(0.5)
            assert server.pids() == pids, "a process ended"
        before = len(ledger.acknowledged)
        (volume.path / "filler").unlink()
        start = time.monotonic()
        wait_until(lambda: acknowledged_after(ledger, before), 20, "mail is taken again")
        print(f"reserve {reserve}: mail is taken again {time.monotonic() - start:.2f} s after there is room")
        time.sleep(0.5)
        load.stop()
        assert server.pids() == pids, "a process ended"
        compare(server, ledger)
        assert server.log().count("the index cannot be changed") <= 3 + SECONDS // 30, "it is told again and again"
        assert server.stop() == 0
    except BaseException:
        print(server.log()[-5000:])
        raise
    finally:
        server.clean()
        volume.remove()


# role, call, error, the reply while it fails
FAILING = [(role, call, error) for role, calls in (("smtpd-mx", ("writev", "fdatasync")), ("store", ("pwrite64", "fdatasync")))
           for call in calls for error in ("ENOSPC", "EIO", "EDQUOT")]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("strace") is None, reason="to make system calls fail needs root and strace")
def test_failing_writes(tmp_path):
    """Some writes in a row fail; whoever waits hears 4xx, the rest goes on."""
    random = dice("failing writes")
    server = torture_server(tmp_path, processes="smtpd_mx = 1", start=False)
    try:
        server.start().add_users()
        pids = server.pids()
        ledger = Ledger()
        load = Load(server, ledger, mx=4, submission=1, pause=0.005)
        for point in range(POINTS):
            role, call, error = FAILING[point % len(FAILING)]
            first = random.randint(1, 20)
            inject = f"inject={call}:error={error}:when={first}..{first + random.randint(0, 5)}"
            strace = subprocess.Popen(["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, "-p",
                                       str(pids[role][0])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.2, 0.6))
            strace.terminate()
            strace.wait()
            assert server.pids() == pids, (role, call, error)
        before = len(ledger.acknowledged)
        wait_until(lambda: acknowledged_after(ledger, before), 20, "mail is taken")
        load.stop()
        print(f"{POINTS} runs of failing calls: {len(ledger.acknowledged)} acknowledged, answers {ledger.answers}")
        assert set(ledger.answers) <= {b"250", b"451", b"452"}
        compare(server, ledger)
        assert server.stop() == 0
    except BaseException:
        print(server.log()[-5000:])
        raise
    finally:
        server.clean()
