"""Where secrets are: after many handshakes and logins no process but `keys` has octets of a private key or of a password
(goal G20)."""
import base64
import imaplib
import os
import poplib
import re
import secrets
import smtplib
import socket
import subprocess

import pytest

from torture import TORTURE
from veredus import CLIENT_TLS, SANITIZED, USERS, Server

ME = USERS[0]
LOGINS = 1000 if TORTURE else 40 if SANITIZED else 100

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to read the memory of other processes needs root")


def private_parts(key):
    """What would give the key away: its scalar in both orders of octets, its DER, the lines of its PEM."""
    text = subprocess.run(["openssl", "ec", "-in", key, "-text", "-noout"], capture_output=True, text=True, check=True).stdout
    scalar = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:(.*?)pub:", text, re.S)[1])).rjust(32, b"\0")[-32:]
    lines = [line.encode() for line in key.read_text().splitlines() if "---" not in line and len(line) > 20]
    return [scalar, scalar[::-1], scalar[:16], scalar[::-1][:16]] + lines


def memory_of(pid):
    """All that the process can read, map by map."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if "r" in line.split()[1] and "[v" not in line and not too_large(start, end):
                try:
                    memory.seek(start)
                    yield line.strip(), memory.read(end - start)
                except OSError:
                    pass


def too_large(start, end):
    """The sanitizers reserve terabytes."""
    return end - start > 1 << 30


def find(pid, needles):
    return [(name, where) for where, data in memory_of(pid) for name, needle in needles.items() if needle in data]


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except (smtplib.SMTPException, poplib.error_proto, imaplib.IMAP4.error, OSError):
        return None


def log_in(server, number, password):
    """One session with a handshake and a login, in turn by each protocol and mechanism."""
    kind = number % 4
    if kind == 3:
        box = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], context=CLIENT_TLS, timeout=30)
        box.user(ME)
        good = attempt(box.pass_, password) is not None
        attempt(box.quit)
        return good
    if kind == 2:
        session = smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=30)
        session.starttls(context=CLIENT_TLS)
    else:
        session = smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], timeout=30, context=CLIENT_TLS)
    session.ehlo()
    session.user, session.password = ME, password
    good = attempt(session.auth, "LOGIN", session.auth_login) if kind == 1 else attempt(session.auth, "PLAIN", session.auth_plain)
    attempt(session.quit)
    return good is not None


def handshake_only(server):
    with socket.create_connection(("127.0.0.1", server.ports["submissions"]), timeout=30) as plain:
        with CLIENT_TLS.wrap_socket(plain) as session:
            assert session.version() in ("TLSv1.2", "TLSv1.3")


def test_no_secret_outside_keys(tmp_path):
    server = Server(tmp_path, start=False)
    good = "Good-" + secrets.token_hex(12)
    wrong = ["Wrong-" + secrets.token_hex(12) for _ in range(4)]
    needles = {f"key part {i}": part for i, part in enumerate(private_parts(tmp_path / "key.pem"))}
    for i, word in enumerate([good, *wrong]):
        needles[f"password {i}"] = word.encode()
        for form in (f"\0{ME}\0{word}", word):
            # Octets that do not depend on what stands before and behind: whole groups of three.
            encoded = base64.b64encode(form.encode())
            needles[f"password {i} in base64 ({len(form)})"] = encoded[-24:-4]
    try:
        server.start()
        server.command("user", "add", "--password-stdin", ME, stdin=good + "\n")
        for number in range(LOGINS):
            handshake_only(server)
            assert log_in(server, number, good), number
        for number, word in enumerate(wrong):
            assert not log_in(server, number, word)
        pids = server.pids()
        held = {name for pid in pids.pop("keys") for name, _ in find(pid, needles)}
        assert any(name.startswith("key part") for name in held), "the scan does not find what is there"
        found = {}
        for role, processes in {**pids, "supervisor": [server.supervisor()]}.items():
            for pid in processes:
                for name, where in find(pid, needles):
                    found.setdefault(role, set()).add((name, where))
        assert not found, sorted((role, name) for role, places in found.items() for name, _ in places)
        assert server.stop() == 0
    finally:
        server.clean()
