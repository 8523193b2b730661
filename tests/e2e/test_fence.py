"""The fence from inside: each role tries what it must not be able to do, started by root and by a plain user (goal G17)."""
import json
import os
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess

import pytest

from torture import message_of
from veredus import AS_NOBODY, ROLES, ROOT, SANITIZED, USERS, VEREDUS, Server, wait_until

UNITS = ROOT / "examples"

pytestmark = pytest.mark.skipif(SANITIZED, reason="the sanitizers' runtimes need calls that the fence forbids")


def fence(program, wrapper=(), arguments=(), cwd="/"):
    done = subprocess.run([*wrapper, program, "fence", "--json", *arguments], capture_output=True, text=True, timeout=60, cwd=cwd,
                          check=False)
    return done, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check_fence(done, acts):
    wrong = [act for act in acts if not act["as_expected"]]
    assert done.returncode == 0 and not wrong, (wrong, done.stderr[-1000:])
    for role in ROLES:
        tried = [act for act in acts if act["role"] == role]
        assert len(tried) >= 60 and len({act["act"] for act in tried}) == len(tried), role
        assert sum(act["refused"] for act in tried) >= 55, role


def test_every_act_is_refused():
    check_fence(*fence(VEREDUS))


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as a plain user already")
def test_every_act_is_refused_as_a_plain_user():
    home = pathlib.Path("/tmp") / f"veredus-fence-{os.getpid()}"
    home.mkdir(mode=0o755)
    try:
        shutil.copy(VEREDUS, home / "veredus")
        os.chmod(home / "veredus", 0o755)
        check_fence(*fence(home / "veredus", AS_NOBODY, cwd=home))
    finally:
        shutil.rmtree(home)


def test_what_a_role_needs_is_allowed():
    """The fence is no wall: what is granted works, so the refusals above are not those of a broken process."""
    allowed = {(act["role"], act["act"]) for act in fence(VEREDUS)[1] if not act["refused"]}
    assert ("relay", "make a TCP socket") in allowed and ("resolver", "make a UDP socket") in allowed
    assert ("store", "create a file in its own directory") in allowed
    assert ("reader", "read its own directory") in allowed
    assert {role for role, _ in allowed} == {"relay", "resolver", "store", "reader"}


def test_without_the_sandbox_the_test_fails():
    """What is counted as refused is refused by the sandbox: without it, most acts go through."""
    done, acts = fence(VEREDUS, arguments=["--no-sandbox"])
    assert done.returncode != 0
    for role in ROLES:
        assert sum(not act["as_expected"] for act in acts if act["role"] == role) >= 15, role


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit,most", [("veredus.service", 2.0), ("veredus-users.service", 2.0)])
def test_the_units_for_systemd(unit, most):
    """Their exposure, as systemd counts it (goal G17)."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit], capture_output=True,
                          text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert "ignoring" not in done.stdout + done.stderr, done.stderr
    assert float(exposure[1]) <= most, done.stdout


def capabilities_of(unit):
    """What the unit leaves, in setpriv's words."""
    words = re.search(r"^CapabilityBoundingSet=(.*)$", (UNITS / unit).read_text(), re.M)[1].split()
    return ",".join("+" + word.removeprefix("CAP_").lower() for word in words)


def filter_of(unit):
    """A wrapper that leaves the system calls which the unit leaves."""
    return ["/usr/bin/python3", str(ROOT / "tests/e2e/filtered.py"), str(UNITS / unit)]


def serves(server):
    """Its roles have no capability left, a message arrives, a role that is killed comes back, and it can be told things."""
    for pid in [pid for pids in server.pids().values() for pid in pids]:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        for kind in ("Inh", "Prm", "Eff", "Amb"):
            assert int(re.search(rf"^Cap{kind}:\t(\w+)$", status, re.M)[1], 16) == 0, (pid, kind)
    with smtplib.SMTP("127.0.0.1", server.ports["mx"], timeout=30) as session:
        assert session.sendmail("a@client.example", USERS[:1], message_of(1)) == {}
    server.wait_for_mail(USERS[0], 1, more=True)
    before = server.pid("imapd")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.pids().get("imapd", [before]) != [before], 30, "a new imapd")
    server.command("reload")
    assert server.fetch_patiently(USERS[0])
    assert server.stop() == 0


def as_service(unit):
    """The user, capabilities and system calls of the unit's processes."""
    rights = capabilities_of(unit)
    return [*AS_NOBODY[:-1], f"--inh-caps=-all,{rights}", f"--ambient-caps=-all,{rights}", f"--bounding-set=-all,{rights}",
            "--", *filter_of(unit)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_rights_of_the_unit_with_users_suffice():
    """Nobody is root, each role has a user id of its own, and segments get their flag, twice: a start later finds what is there."""
    with Server(plain_user=True, start=False) as server:
        for _ in range(2):
            server.start(as_service("veredus-users.service"))
            real = {role: int(re.search(r"^Uid:\t(\d+)", pathlib.Path(f"/proc/{pids[0]}/status").read_text(), re.M)[1])
                    for role, pids in server.pids().items()}
            assert len(set(real.values())) == len(ROLES) and 0 not in real.values(), real
            segments = list((server.data / "store" / "segments").iterdir())
            flags = subprocess.run(["lsattr", *segments], capture_output=True, text=True, check=False).stdout
            assert segments and any("a" in line.split()[0] for line in flags.splitlines()), flags
            assert server.data.stat().st_mode & 0o777 == 0o755
            if not server.command("user", "list").strip().count(USERS[0]):
                server.add_users(USERS[:1])
            serves(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_rights_of_the_unit_for_a_user_suffice():
    """A plain user with the one capability binds port 25 of an address of its own; its roles have nothing of it."""
    address = f"127.{os.getpid() % 200 + 10}.{os.getpid() // 200 % 250}.1"
    with Server(plain_user=True, start=False,
                sections=f'listener "low" {{ kind = mx address = {{"{address}"}} port = 25 }}\n') as server:
        server.start(as_service("veredus.service"))
        with smtplib.SMTP(address, 25, timeout=30) as session:
            assert session.noop()[0] == 250
        server.add_users(USERS[:1])
        serves(server)
