"""What the tests of reliability share: a load that remembers what was acknowledged, the comparison with what arrived, a host to
deliver to, and file systems that lose power.

Every message is made from its number alone, so that whatever arrives can be checked octet by octet. The ledger knows of each
number whether it was acknowledged (must be there once), refused (need not be there) or uncertain: its connection was lost
after the final dot (may be there once).
"""
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import os
import pathlib
import random
import re
import shutil
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time

from veredus import CLIENT_TLS, PASSWORD, USERS, Server, wait_until

TORTURE = os.environ.get("VEREDUS_TORTURE", "") != ""


def torture_server(directory, sink_port=0, store="", settings="", sections="", processes="", **more):
    """A server with as many processes as usual that relays for remote.example, to a port of this machine if one is given."""
    route = f'route "remote.example" {{ host = "127.0.0.1" port = {sink_port} }}\n' if sink_port else ""
    return Server(directory, store=store, settings=settings, relay='schedule = {"1s"} lifetime = "5d"', processes=processes,
                  sections=f'domain "remote.example" {{ relay = true }}\n{route}{sections}', **more)


# The messages.

def body_of(number):
    """What message `number` says: deterministic, mostly small, now and then large."""
    seed = hashlib.sha256(b"%d" % number).digest()
    length = 200000 if seed[0] == 0 else 20 * seed[1] + 10
    line = seed.hex().encode() * 10 + b"\r\n"
    return line * (length // len(line) + 1) + b"end %d\r\n" % number


def message_of(number):
    return b"From: <user0@local.example>\r\nSubject: message %d\r\n\r\n" % number + body_of(number)


def number_of(message):
    """The number of a message that arrived, which must be whole."""
    head, body = message.split(b"\r\n\r\n", 1)
    number = int(re.search(rb"^Subject: message (\d+)\r?$", head, re.M)[1])
    assert body == body_of(number), f"message {number} is not what was sent: {len(body)} octets"
    return number


def recipients_of(number, remote):
    if remote:
        return [f"r{number % 7}@remote.example"]
    first = number % len(USERS)
    return [USERS[first]] if number % 3 else [USERS[first], USERS[(first + 1) % len(USERS)]]


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.next = 1
        self.acknowledged, self.uncertain, self.refused = set(), set(), set()
        self.remote = set()
        self.odd = []  # what must not happen at all
        self.answers = {}
        self.moments = {}  # when the last ones were acknowledged

    def doubt_since(self, moment):
        """What was acknowledged later than this may have been so by a machine that had no power any more: XFS can still answer a flush
        with success while it is being shut down. A client of a real machine would not have heard it."""
        with self.lock:
            late = {number for number, when in self.moments.items() if when >= moment}
            self.acknowledged -= late
            self.uncertain |= late
            self.moments.clear()
        return late

    def take(self, remote):
        with self.lock:
            number = self.next
            self.next += 1
            if remote:
                self.remote.add(number)
            return number

    def missing(self, user, messages):
        """What the user's mailbox must have and has not."""
        return self.mail_of(user) - {number_of(message) for message in messages}

    def mail_of(self, user):
        return {n for n in self.acknowledged - self.remote if user in recipients_of(n, False)}

    def check(self, arrived, users=tuple(USERS)):
        """`arrived`: user to list of messages. Nothing acknowledged lost, nothing twice, nothing partial."""
        assert not self.odd, self.odd[:5]
        for user in users:
            numbers = [number_of(message) for message in arrived[user]]
            twice = {n for n in numbers if numbers.count(n) > 1} if len(numbers) != len(set(numbers)) else set()
            assert not twice, f"twice in the mailbox of {user}: {sorted(twice)[:10]}"
            lost = self.missing(user, arrived[user])
            assert not lost, f"acknowledged but not in the mailbox of {user}: {sorted(lost)[:10]} of {len(self.acknowledged)}"
            strange = {n for n in set(numbers) - self.mail_of(user) if n not in self.uncertain and n not in self.refused}
            assert not strange, f"never sent to {user}: {sorted(strange)[:10]}"


class Load:
    """Sessions that send without pause, each in a thread, until told to stop."""

    def __init__(self, server, ledger, mx=6, submission=2, remote=0, pause=0.0):
        self.server, self.ledger, self.pause = server, ledger, pause
        self.stopping = threading.Event()
        kinds = ["mx"] * mx + ["submission"] * submission + ["remote"] * remote
        self.threads = [threading.Thread(target=self.run, args=(kind,), daemon=True) for kind in kinds]
        for thread in self.threads:
            thread.start()

    @classmethod
    def one(cls, server, ledger, remote=False):
        """Sends one message in a session of its own."""
        cls(server, ledger, 0, 0, 0).session("remote" if remote else "mx", most=1)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def run(self, kind):
        while not self.stopping.is_set():
            try:
                self.session(kind)
            except OSError:
                time.sleep(0.02)

    def session(self, kind, most=1 << 30):
        port = "mx" if kind == "mx" else "submissions"
        with socket.create_connection(("127.0.0.1", self.server.ports[port]), timeout=30) as plain:
            connection = plain if kind == "mx" else CLIENT_TLS.wrap_socket(plain)
            stream = connection.makefile("rwb")
            self.expect(stream, b"220")
            self.say(stream, b"EHLO load.example\r\n", b"250")
            if kind != "mx":
                secret = base64.b64encode(f"\0{USERS[0]}\0{PASSWORD}".encode())
                if not self.say(stream, b"AUTH PLAIN " + secret + b"\r\n", b"235", b"454", b"421"):
                    return
            for _ in range(most):
                if self.stopping.is_set():
                    break
                self.send(stream, kind == "remote")
                if self.pause:
                    time.sleep(self.pause)
            stream.write(b"QUIT\r\n")
            stream.flush()

    def send(self, stream, remote):
        number = self.ledger.take(remote)
        recipients = recipients_of(number, remote)
        ok = self.say(stream, b"MAIL FROM:<user0@local.example>\r\n", b"250", b"421", b"45")
        for recipient in recipients if ok else []:
            ok = ok and self.say(stream, f"RCPT TO:<{recipient}>\r\n".encode(), b"250", b"45", b"421")
        if not ok or not self.say(stream, b"DATA\r\n", b"354", b"4"):
            self.ledger.refused.add(number)
            stream.write(b"RSET\r\n")
            stream.flush()
            self.expect(stream, b"250", b"421")
            time.sleep(0.02)
            return
        self.ledger.uncertain.add(number)
        stream.write(message_of(number) + b".\r\n")
        stream.flush()
        answer = self.read(stream)
        moment = time.monotonic()
        with self.ledger.lock:
            self.ledger.answers[answer[:3]] = self.ledger.answers.get(answer[:3], 0) + 1
            if answer.startswith(b"250"):
                self.ledger.acknowledged.add(number)
                self.ledger.uncertain.discard(number)
                self.ledger.moments[number] = moment
        if answer.startswith((b"45", b"421")):
            self.ledger.refused.add(number)
            self.ledger.uncertain.discard(number)
            time.sleep(0.02)
        elif not answer.startswith(b"250"):
            self.ledger.odd.append((number, answer))

    @staticmethod
    def read(stream):
        while True:
            line = stream.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                return line

    def expect(self, stream, *expected):
        """True: the first of the expected; False: another of them, a refusal for now. Any other answer must not happen."""
        answer = self.read(stream)
        if answer.startswith(b"421"):
            raise ConnectionError("421")
        if not answer.startswith(expected):
            self.ledger.odd.append(answer)
        return answer.startswith(expected[0])

    def say(self, stream, line, *expected):
        stream.write(line)
        stream.flush()
        return self.expect(stream, *expected)


class Sink(socketserver.ThreadingTCPServer):
    """Where the relay delivers to. Keeps, for each connection, what arrived and whether it ended with QUIT."""
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), SinkSession)
        self.connections = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def numbers(self):
        with self.lock:
            return [number for connection in self.connections for number in connection["numbers"]]


class SinkSession(socketserver.StreamRequestHandler):
    def handle(self):
        mine = {"numbers": [], "ended": False}
        with self.server.lock:
            self.server.connections.append(mine)
        try:
            self.talk(mine)
        except (OSError, ValueError):
            pass

    def talk(self, mine):
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.wfile.write(b"250-sink\r\n250 PIPELINING\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (line := self.rfile.readline()) != b".\r\n":
                    if not line.endswith(b"\n"):
                        return
                    lines.append(line[1:] if line.startswith(b".") else line)
                mine["numbers"].append(number_of(b"".join(lines)))
                self.wfile.write(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                mine["ended"] = True
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


def compare(server, ledger):
    """Waits until what was acknowledged is in the mailboxes, and checks all that is there."""
    def arrived():
        return {user: server.fetch_patiently(user) for user in USERS}
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not any(ledger.missing(user, messages) for user, messages in arrived().items()), 20, "all is there", 0.3)
    ledger.check(arrived())


def dice(name):
    """Randomness whose seed is printed, so that a failure can be tried again (VEREDUS_SEED)."""
    seed = os.environ.get("VEREDUS_SEED") or str(random.randrange(1 << 32))
    print(f"{name}: VEREDUS_SEED={seed}")
    return random.Random(seed + name)


class Volume:
    """
    A file system of its own in an image file. Needs root and loop devices. It is seen by this process and its children only:
    a copy of the mount in a namespace that others make meanwhile would keep it from being unmounted.
    """

    def __init__(self, directory, kind="ext4", megabytes=64):
        self.image, self.path = directory / "image", directory / "volume"
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run([f"mkfs.{kind}", "-q", str(self.image)], check=True, capture_output=True)
        self.outside = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
        try:
            if LIBC.unshare(CLONE_NEWNS) != 0:
                raise OSError(ctypes.get_errno(), "no mount namespace can be made")
            subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
            self.mount()
        except BaseException:
            self.leave()
            raise

    def leave(self):
        LIBC.setns(self.outside, CLONE_NEWNS)
        os.close(self.outside)

    def remove(self):
        self.unmount()
        self.leave()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.path)], check=True, capture_output=True)

    def unmount(self):
        wait_until(lambda: subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode == 0, 20,
                   "the volume can be unmounted")

    def cut(self):
        """As a power cut: what the file system's journal has not committed is gone. Returns the moment before."""
        fd = os.open(self.path, os.O_RDONLY)
        moment = time.monotonic()
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)
        return moment


LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
SHUTDOWN_WITHOUT_LOG_FLUSH = 2


def cannot_mount(kind="ext4"):
    """Why no volume can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "a volume of its own needs root"
    if shutil.which(f"mkfs.{kind}") is None:
        return f"mkfs.{kind} is not here"
    with tempfile.TemporaryDirectory() as name:
        try:
            Volume(pathlib.Path(name), kind, 320 if kind == "xfs" else 32).remove()
        except (OSError, subprocess.CalledProcessError) as error:
            return f"{kind} cannot be mounted here: {error}"
    return ""
