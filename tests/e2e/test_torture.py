"""Nothing acknowledged is lost, nothing arrives twice, nothing partial is seen: kill -9 at random and at every system call
that writes, and power cuts on a real file system, all under load (goals G1 and G2 of docs/reliability.md).

`make check` runs a short sample; `make torture` (VEREDUS_TORTURE=1) runs it whole. VEREDUS_KILLS, VEREDUS_POINTS and
VEREDUS_CUTS set other numbers.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from torture import TORTURE, Ledger, Load, Sink, Volume, cannot_mount, compare, dice, torture_server
from veredus import ROLES, SANITIZED, USERS, has_ended, wait_until

KILLS = int(os.environ.get("VEREDUS_KILLS", 1000 if TORTURE else 6 if SANITIZED else 24))
POINTS = int(os.environ.get("VEREDUS_POINTS", 3000 if TORTURE else 200))
CUTS = int(os.environ.get("VEREDUS_CUTS", 100 if TORTURE else 6))


def out_of_time(begun, seconds):
    """Whether the sample of `make check` has taken long enough; on a busy machine it is a smaller one."""
    return not TORTURE and time.monotonic() > begun + seconds


KILLS_A_ROUND = 40  # then all mailboxes are compared, and a new server begins
DEBUG = "log_level = debug"


def kill_role(server, role):
    pids = server.pids().get(role, [])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def kill_once(server, random):
    """One kill: of the whole server, which is started again, or of all processes of one role, which the server restarts."""
    if random.random() < 0.4:
        server.kill_all()
        server.start()
        return "all"
    role = random.choice(ROLES)
    kill_role(server, role)
    return role


def is_whole(server):
    """All roles run (not only exist), as the status command says."""
    listing = server.command("status", code=None)
    states = re.findall(r"^([a-z-]+) +\d+ +\d+ +(\w+)", listing, re.M)
    return {name for name, state in states if state == "running"} == set(ROLES)


def random_kills(directory, count, random):
    """One round; returns how many messages were acknowledged, and the extra copies and lost connections of the relay."""
    sink = Sink()
    server = torture_server(directory, sink_port=sink.port, settings=DEBUG)
    try:
        server.add_users()
        ledger = Ledger()
        load = Load(server, ledger, mx=6, submission=2, remote=2, pause=0.002)
        kinds = {}
        begun = time.monotonic()
        for _ in range(count):
            if out_of_time(begun, 40):
                break
            time.sleep(random.uniform(0.01, 0.5))
            kind = kill_once(server, random)
            kinds[kind] = kinds.get(kind, 0) + 1
        time.sleep(0.3)
        load.stop()
        wait_until(lambda: is_whole(server), 60, "every role runs again")
        compare(server, ledger)
        extra, lost = compare_sink(server, ledger, sink)
        print(f"{sum(kinds.values())} kills {kinds}: {len(ledger.acknowledged)} acknowledged, {len(ledger.uncertain)} uncertain, answers "
              f"{ledger.answers}, remote {len(ledger.remote & ledger.acknowledged)}, second copies {extra}, connections lost {lost}")
        assert server.stop() == 0
        return len(ledger.acknowledged), extra, lost
    except BaseException:
        print(server.log()[-6000:])
        raise
    finally:
        server.clean()
        sink.shutdown()
        sink.server_close()


def compare_sink(server, ledger, sink):
    """Every message for elsewhere arrived; of each lost connection at most one arrived again."""
    wait_until(lambda: server.command("queue", "list", code=None).startswith("The queue is empty"), 120, "an empty queue")
    numbers = sink.numbers()
    missing = (ledger.remote & ledger.acknowledged) - set(numbers)
    assert not missing, f"acknowledged for elsewhere and never delivered: {sorted(missing)[:10]}"
    assert set(numbers) <= ledger.remote
    extra = len(numbers) - len(set(numbers))
    lost = sum(not connection["ended"] for connection in sink.connections)
    assert extra <= lost, f"{extra} second copies, but only {lost} connections were lost"
    return extra, lost


def test_random_kills_under_load(tmp_path):
    random = dice("random kills")
    acknowledged = extra = lost = done = 0
    while done < KILLS:
        count = min(KILLS_A_ROUND, KILLS - done)
        directory = tmp_path / str(done)
        directory.mkdir()
        result = random_kills(directory, count, random)
        acknowledged, extra, lost = acknowledged + result[0], extra + result[1], lost + result[2]
        done += count
        shutil.rmtree(directory, ignore_errors=True)
        print(f"{done} of {KILLS} kills: {acknowledged} messages acknowledged, none lost, none twice; "
              f"{extra} second copies delivered elsewhere over {lost} lost connections", flush=True)
    assert acknowledged > 0


def test_leases_end_with_a_crash(tmp_path):
    """A message that was being delivered when all processes died is tried again, even if nothing else is in the queue."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    server = torture_server(tmp_path, sink_port=port)
    try:
        server.add_users()
        Load.one(server, Ledger(), remote=True)
        silent.settimeout(60)
        held = silent.accept()[0]  # it is the server that greets: nothing comes
        server.kill_all()
        held.close()
        silent.close()
        sink = Sink(port)
        server.start()
        wait_until(lambda: sink.numbers() == [1], 60, "the message is delivered")
        sink.shutdown()
        sink.server_close()
        assert server.stop() == 0
    finally:
        silent.close()
        server.clean()


# The calls that write, and those that they rest on.
CALLS = "write,writev,pwrite64,fdatasync,fsync,ftruncate,unlink,unlinkat,rename,renameat,mkdir,mkdirat,openat"
# Where a role is while it serves: how far to go in its calls.
SERVING = [("store", 150), ("smtpd-mx", 30), ("smtpd-msa", 30)]
POINTS_A_ROUND = 30 if TORTURE else 15


def die_at(server, role, number, seconds=3):
    """One process of the role is killed as it enters its `number`th of those calls from now on. False: it made fewer."""
    pid = server.pid(role)
    strace = subprocess.Popen(["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e",
                               f"inject={CALLS}:signal=SIGKILL:when={number}", "-p", str(pid)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        strace.wait(seconds)
    except subprocess.TimeoutExpired:
        strace.terminate()
        strace.wait()
        return False
    return True


def kills_while_serving(directory, count, random):
    server = torture_server(directory, settings=DEBUG)
    reached = 0
    try:
        server.add_users()
        ledger = Ledger()
        load = Load(server, ledger, mx=4, submission=2, pause=0.005)
        for i in range(count):
            role, most = SERVING[i % len(SERVING)]
            reached += die_at(server, role, random.randint(1, most))
            if i % 9 == 8:  # also spares the growing pauses before a role is started again
                server.kill_all()
                server.start()
        load.stop()
        wait_until(lambda: is_whole(server), 60, "every role runs again")
        compare(server, ledger)
        assert server.stop() == 0
        return reached, len(ledger.acknowledged)
    except BaseException:
        print(server.log()[-6000:])
        raise
    finally:
        server.clean()


def send_some(server, ledger, seconds=0.1):
    load = Load(server, ledger, mx=2, submission=1)
    time.sleep(seconds)
    load.stop()


def kills_at_the_start(directory, numbers, fresh):
    """Every process of a starting server is killed at its `number`th call; what was there must still be there."""
    server = torture_server(directory, settings=DEBUG, start=False)
    ledger = Ledger()
    try:
        if not fresh:
            server.start().add_users()
        begun = time.monotonic()
        for number in numbers:
            if out_of_time(begun, 25):
                break
            if not fresh:
                send_some(server, ledger)
                server.kill_all()
            server.spawn(["serve", *server.where], ["strace", "-qq", "-f", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e",
                          f"inject={CALLS}:signal=SIGKILL:when={number}"])
            has_ended(server.process, 0.4)
            server.kill_all()
            server.start()
            if fresh:
                server.add_users([USERS[0]])
                server.stop()
                server.clean()
                shutil.rmtree(server.data)
                server.data.mkdir()
        if not fresh:
            compare(server, ledger)
        server.stop()
        return len(ledger.acknowledged)
    except BaseException:
        print(f"at call {number}\n" + server.log()[-6000:])
        raise
    finally:
        server.clean()


needs_strace = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("strace") is None,
                                  reason="to kill a role at a system call needs root and strace")


@needs_strace
@pytest.mark.optimised_only
def test_kill_at_every_call_while_serving(tmp_path):
    random = dice("kills while serving")
    wanted = POINTS * 3 // 4
    reached = acknowledged = tried = 0
    begun = time.monotonic()
    while reached < wanted and not (reached > 0 and out_of_time(begun, 50)):
        directory = tmp_path / str(tried)
        directory.mkdir()
        result = kills_while_serving(directory, POINTS_A_ROUND, random)
        reached, acknowledged, tried = reached + result[0], acknowledged + result[1], tried + POINTS_A_ROUND
        shutil.rmtree(directory, ignore_errors=True)
        print(f"{reached} kills at a call in {tried} tries: {acknowledged} messages acknowledged, none lost, none twice", flush=True)
    assert reached > 0


@needs_strace
@pytest.mark.optimised_only
@pytest.mark.parametrize("fresh", [True, False])
def test_kill_at_every_call_of_the_start(tmp_path, fresh):
    count = min(POINTS // 8, 250)
    # In an order that leaves no part of the start out where there is not time for all.
    numbers = sorted(range(1, count + 1), key=lambda number: number * 7 % count)
    print(f"up to {count} kills at the start, {'of a new server' if fresh else 'after a crash'}: "
          f"{kills_at_the_start(tmp_path, numbers, fresh)} messages acknowledged, none lost", flush=True)


def cut_power(directory, kind, count, random):
    volume = Volume(directory, kind, 320)
    server = torture_server(directory, data=volume.path / "data", settings=DEBUG, store="reserve = 8M segment_size = 2M")
    try:
        server.add_users()
        ledger = Ledger()
        late = set()
        begun = time.monotonic()
        for done in range(1, count + 1):
            last = done == count or out_of_time(begun, 15)
            load = Load(server, ledger, mx=4, submission=1)
            time.sleep(random.uniform(0.02, 0.4))
            moment = volume.cut()
            server.kill_all()
            load.stop()
            late |= ledger.doubt_since(moment)
            volume.unmount()
            volume.mount()
            server.start()
            if done % 5 == 0 or last:
                compare(server, ledger)
                print(f"{done} of {count} power cuts of {kind}: {len(ledger.acknowledged)} messages acknowledged, none lost, none "
                      f"twice; {len(late)} more as the power went", flush=True)
            if last:
                break
        assert server.stop() == 0
        assert len(ledger.acknowledged) > 0
    except BaseException:
        print(server.log()[-6000:])
        raise
    finally:
        server.clean()
        volume.remove()


@pytest.mark.optimised_only
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts(tmp_path, kind):
    why = cannot_mount(kind)
    if why:
        pytest.skip(f"NO POWER WAS CUT: {why}; the recorded writes of the store's unit tests stand alone")
    cut_power(tmp_path, kind, CUTS, dice(f"power cuts of {kind}"))
