"""What end-to-end tests share: servers under test, ports, waiting, mail sent by SMTP and fetched by POP3.

    with Server(directory) as server:                 # `veredus serve -c` on free ports of the loopback
        server.add_user("ann@local.example")
        send(server.ports["mx"], "x@far.example", ["ann@local.example"], text)
        messages = server.wait_for_mail("ann@local.example", 1)

    with Dev("--user", "ann@example.org:secret") as server:   # `veredus dev`

`network.py` has hosts in network namespaces, nsd and Postfix; `torture.py` has load, kills and power cuts; `peer.py` and
`dns_server.py` are servers that follow a script. When a test fails, the ends of its servers' logs are shown (`conftest.py`).
"""
import contextlib
import email
import itertools
import json
import os
import pathlib
import poplib
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VEREDUS = os.environ.get("VEREDUS", str(ROOT / "build" / "veredus"))
SHARED = next((path for path in (ROOT.parent / "shared", ROOT / "shared") if path.is_dir()), ROOT.parent / "shared")
SANITIZED = "asan" in VEREDUS
PASSWORD = "correct horse battery"
USERS = [f"user{i}@local.example" for i in range(4)]
ROLES = ["smtpd-mx", "smtpd-msa", "imapd", "store", "reader", "relay", "resolver", "keys", "indexer"]
STANDARD_PORTS = {"mx": 25, "submission": 587, "submissions": 465, "pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993}
PATIENCE = 4
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
# Leaks are the unit tests' business: a role in its sandbox cannot be searched for them.
CALM = {**os.environ, "ASAN_OPTIONS": ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "detect_leaks=0")))}

CLIENT_TLS = ssl.create_default_context()
CLIENT_TLS.check_hostname = False
CLIENT_TLS.verify_mode = ssl.CERT_NONE


def wait_until(condition, seconds, what, pause=0.05):
    """Waits for the condition and returns what it gave. The seconds are those of a machine at rest: on one that others use as
    well it may take longer, and the end only bounds how long a failure takes to be told."""
    end = time.monotonic() + min(PATIENCE * seconds, 240)
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {min(PATIENCE * seconds, 240)} s: {what() if callable(what) else what}"
        time.sleep(pause)
    return value


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# Ports


class Ports:
    """A range of ports of this process alone, as long as it lives: tests run beside each other, and a port that is free now must
    still be free when the server is started, and when it is started again. The ranges lie below that of outgoing connections.
    """
    FIRST, SIZE, RANGES, BASES = 8000, 1500, 16, 80

    def __init__(self):
        self.claim, self.start = self.take_a_range()
        # First the ports of `veredus dev`, whose bases are taken in turn, then the single ones.
        self.bases = itertools.cycle(range(self.start, self.start + self.BASES))
        self.singles = itertools.cycle(range(self.start + self.BASES + 1000, self.start + self.SIZE))

    def take_a_range(self):
        """A name in the abstract name space of sockets belongs to one process, and goes with it."""
        for number in (*range(self.RANGES), None):
            claim = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                if number is not None:
                    claim.bind(f"\0veredus-test-ports-{number}")
                return claim, self.FIRST + (os.getpid() % self.RANGES if number is None else number) * self.SIZE
            claim.close()
        raise OSError("no ports")


PORTS = Ports()


def are_free(ports):
    with contextlib.ExitStack() as stack:
        try:
            for port in ports:
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    return next(port for port in PORTS.singles if are_free([port]))


def free_port_base():
    """A number that may be added to each of the standard ports, for `veredus dev --port-base`."""
    return next(base for base in PORTS.bases if are_free([base + port for port in STANDARD_PORTS.values()]))


# Programs


def need(*programs):
    """Skips the test, and says so, where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (tools/install-packages test)")


def make_certificate(directory, name="localhost"):
    """cert.pem and key.pem in the directory, for that name and for localhost."""
    names = ",".join(f"DNS:{one}" for one in dict.fromkeys((name, "localhost")))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    directory / "key.pem", "-out", directory / "cert.pem", "-days", "2", "-subj", f"/CN={name}", "-addext",
                    f"subjectAltName={names}"], check=True, capture_output=True)
    (directory / "key.pem").chmod(0o600)


def has_ended(process, seconds=0):
    """Whether the process has ended or ends in this time; its number stays its own until it is waited for."""
    end = time.monotonic() + seconds
    while process.returncode is None and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)
    return True


def kill_group(process, seconds=60):
    """Kills a process that was started with a session of its own, and all that are left of it. One that has been waited for is
    left alone: its number may be another's by now."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(seconds)


def end_process(process, seconds=60):
    """Ends a process that was started with a session of its own, and all that are left of it."""
    if not has_ended(process):
        process.terminate()
        has_ended(process, seconds)
    kill_group(process)


# Veredus


class Server:
    """`veredus serve -c` with a configuration made here; `settings` and `sections` are added to it as text, and so are the
    contents of the sections dns (`dns`: a server to ask, "127.0.0.1@5353"; `stubs`: such servers by zone), `relay`, `store`,
    `limits` and `processes`.

    Without a host it listens on free ports of 127.0.0.1, with one on the standard ports of all its addresses; `ports` has them
    by the names of STANDARD_PORTS. Without a directory one is made in the temporary directory, that a plain user can enter, and
    removed at the end. With `plain_user` it runs as nobody where the tests run as root. `data` may lie on another file system.
    The user names are whole addresses, the password is PASSWORD.
    """
    every = []  # of this test and of those before it; conftest.py shows the logs of those that a failed test used

    def __init__(self, directory=None, host=None, domains=("local.example",), hostname=None, dns=None, stubs=None, relay="",
                 settings="", sections="", ports=None, start=True, store="reserve = 16M segment_size = 64M",
                 processes="smtpd_mx = 1 smtpd_msa = 1 imapd = 1", limits="sessions_per_address = 1000",
                 data=None, plain_user=False, grace=5000):
        self.make_directory(directory, plain_user)
        self.host, self.domains, self.hostname = host, domains, hostname or f"mail.{domains[0]}"
        self.ports = dict(STANDARD_PORTS) if host else {name: free_port() for name in STANDARD_PORTS}
        self.ports.update(ports or {})
        self.address = host.ip if host else "127.0.0.1"
        self.dns, self.stubs, self.relay, self.store, self.processes = dns, stubs or {}, relay, store, processes
        self.limits, self.settings, self.sections, self.grace = limits, settings, sections, grace
        self.data = data or self.directory / "data"
        for path in (self.data, self.directory / "run"):
            path.mkdir(exist_ok=True)
        make_certificate(self.directory, self.hostname)
        self.config = self.directory / "veredus.conf"
        self.where = ["-c", str(self.config)]
        self.write_config()
        if start:
            self.start()

    def make_directory(self, directory, plain_user):
        self.temporary = directory is None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="veredus-test-")) if self.temporary else directory
        self.directory.mkdir(exist_ok=True)
        self.binary, self.wrapper = VEREDUS, ()
        if self.temporary:
            self.directory.chmod(0o755)
        if plain_user and os.geteuid() == 0:
            # The build may lie where the plain user cannot look.
            self.binary, self.wrapper = shutil.copy(VEREDUS, self.directory / "veredus"), AS_NOBODY
            self.give_away()
        self.log_path, self.out_path = self.directory / "log", self.directory / "out"
        self.process, self.lines, self.ended = None, [], False
        self.every.append(self)

    def give_away(self):
        for path in [self.directory, *self.directory.rglob("*")] if self.wrapper else []:
            os.chown(path, NOBODY, NOBODY)

    def path(self, name):
        return str(self.directory / name)

    def write_config(self, extra=""):
        addresses = "" if self.host else 'address = {"127.0.0.1"}'
        domains = "".join(f'domain "{name}" {{ }}\n' for name in self.domains)
        stubs = ", ".join(f'"{zone}={address}"' for zone, address in self.stubs.items())
        stubs = f"stub_zones = {{{stubs}}} " if stubs else ""
        # Without a name server of the test, questions go to a port where nobody listens.
        dns = f'dns {{ servers = {{"{self.dns or "127.0.0.1@1"}"}} dnssec = false {stubs}}}'
        kinds = {"mx": "mx", "submission": "submission", "submissions": "submission", "pop3": "pop3", "pop3s": "pop3",
                 "imap": "imap", "imaps": "imap"}
        listeners = "".join(f'listener "{name}" {{ kind = {kinds[name]} port = {port} {addresses} '
                            f'tls = {"implicit" if name.endswith("s") else "starttls"} }}\n' for name, port in self.ports.items())
        self.config.write_text(f"""
hostname = {self.hostname}
data_dir = "{self.data}"
runtime_dir = "{self.directory}/run"
grace = {self.grace}
{self.settings}
{domains}tls "t" {{ certificate = "{self.directory}/cert.pem" key = "{self.directory}/key.pem" }}
{listeners}limits {{ {self.limits} }}
{dns}
relay {{ connect_timeout = 3 {self.relay or 'schedule = {"1s"}'} }}
store {{ {self.store} }}
processes {{ {self.processes} }}
{self.sections}{extra}
""")
        self.give_away()

    # Start and stop.

    def spawn(self, arguments, wrapper=None, env=None, preexec=None):
        """Starts it without waiting for anything. It has a session of its own, so that kill_all reaches every process."""
        self.ended = False
        command = [*(self.wrapper if wrapper is None else wrapper), str(self.binary), *arguments]
        with open(self.log_path, "ab") as log, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen(self.host.words(command) if self.host else command, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=log, start_new_session=True, preexec_fn=preexec,
                                            cwd=self.directory, env={**CALM, **(env or {})})

    def is_ready(self):
        self.lines = self.out_path.read_text().splitlines()
        assert self.process.poll() is None, (self.lines, self.log()[-3000:])
        return "ready" in self.lines

    def launch(self, arguments, wrapper=None, env=None, preexec=None):
        """Starts it and waits until it is ready; `seconds` has how long that took, `lines` what it printed."""
        begun = time.monotonic()
        self.spawn(arguments, wrapper, env, preexec)
        wait_until(self.is_ready, 120, lambda: f"ready: {self.log()[-3000:]}", 0.01)
        self.seconds = time.monotonic() - begun
        return self

    def start(self, wrapper=None, env=None, preexec=None):
        return self.launch(["serve", *self.where], wrapper, env, preexec)

    def supervisor(self):
        """Its process id; that of the child where strace started it."""
        if self.process.args[0] != "strace":
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def children(self):
        """The process ids of the supervisor's children."""
        try:
            pid = self.supervisor()
            return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (OSError, IndexError):
            return []

    def pids(self):
        """Role name to process ids, of those that run now."""
        found = {}
        for pid in self.children():
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if len(words) > 2 and words[1] == b"role":
                    found.setdefault(words[2].decode(), []).append(pid)
        return found

    def pid(self, role):
        return wait_until(lambda: self.pids().get(role, [0])[0], 60, role)

    def kill_all(self):
        """All processes at once, as a machine that stops."""
        roles = self.children()
        kill_group(self.process)
        # The roles are not our children: until they are gone they hold the locks of the store and of segments.
        wait_until(lambda: not any(is_alive(pid) for pid in roles), 60, "all processes gone", 0.01)

    def stop(self, seconds=90):
        """Ends it as an administrator would; returns its exit code. Its files can then be altered and removed."""
        if self.process is None:
            return None
        try:
            if not has_ended(self.process):
                with contextlib.suppress(IndexError, OSError):
                    os.kill(self.supervisor(), signal.SIGTERM)
                assert has_ended(self.process, seconds), f"it does not stop: {self.log()[-3000:]}"
        finally:
            self.ended = True
            self.kill_all()
            # Segments have the append-only flag.
            subprocess.run(["chattr", "-R", "-a", self.data if self.data.exists() else self.directory], capture_output=True, check=False)
        crash = re.search(r"AddressSanitizer|runtime error:|was killed by signal (4|5|6|7|8|11|31)\b", self.log())
        assert not crash, self.log()[max(0, crash.start() - 1000):crash.start() + 6000]
        return self.process.returncode

    def clean(self):
        """Ends it however it does; removes the directory if it was made here."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            subprocess.run(["chattr", "-R", "-a", self.directory], capture_output=True, check=False)
            if self.temporary:
                self.kept_log = self.log()
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clean()

    def log(self):
        if self.log_path.exists():
            return self.log_path.read_text(errors="replace")
        return getattr(self, "kept_log", "")

    # Commands.

    def run(self, *arguments, stdin="", code=0):
        """Runs a command of Veredus at this server; returns standard output and standard error."""
        done = subprocess.run([*self.wrapper, self.binary, *arguments, *self.where], input=stdin, capture_output=True, text=True,
                              timeout=120, check=False, env=CALM)
        assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr, self.log()[-2000:])
        return done.stdout, done.stderr

    def command(self, *arguments, stdin="", code=0):
        """Runs a command; returns standard output."""
        return self.run(*arguments, stdin=stdin, code=code)[0]

    def rows(self, *arguments):
        """What a command prints with --json."""
        return [json.loads(line) for line in self.command(*arguments, "--json").splitlines()]

    def failure(self, *arguments, code, stdin=""):
        """The error object of a command that must fail with this exit code."""
        out, err = self.run(*arguments, "--json", code=code, stdin=stdin)
        error = json.loads(err)["error"]
        assert error["code"] == code and out == ""
        return error

    def add_user(self, address, *options, password=PASSWORD):
        self.run("user", "add", address, "--password-stdin", *options, stdin=password + "\n")

    def add_users(self, users=tuple(USERS)):
        for user in users:
            self.add_user(user)

    def queue_is_empty(self):
        return (self.command("queue", "list", code=None)).startswith("The queue is empty")

    def wait_for_empty_queue(self, seconds=60):
        """The store applies what was accepted within 50 ms: so the queue has to be empty twice, with a pause."""
        def is_empty():
            return self.queue_is_empty() and (time.sleep(0.3) or self.queue_is_empty())
        wait_until(is_empty, seconds, lambda: self.command("queue", "list", code=None), 0.1)

    # Mail.

    def entered(self):
        return self.host.entered() if self.host else contextlib.nullcontext()

    def smtp(self, port="mx"):
        return smtplib.SMTP(self.address, self.ports[port], timeout=60, local_hostname="client.example")

    def deliver(self, recipient, text="Subject: test\r\n\r\ntest\r\n", sender="outside@elsewhere.example"):
        """By the MX. Returns the refusal (code, text) or None."""
        with self.entered(), self.smtp() as session:
            try:
                utf8 = [] if recipient.isascii() else ["SMTPUTF8"]
                assert session.sendmail(sender, [recipient], text, mail_options=utf8) == {}
            except smtplib.SMTPRecipientsRefused as refused:
                return list(refused.recipients.values())[0]
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code, refused.smtp_error
        return None

    def pop3(self, user, password=PASSWORD):
        """A session of poplib, logged in."""
        with self.entered():
            box = poplib.POP3_SSL(self.address, self.ports["pop3s"], context=CLIENT_TLS, timeout=60)
        if not (user + password).isascii():
            box.utf8()
            box.encoding = "utf-8"
        box.user(user)
        box.pass_(password)
        return box

    def fetch(self, user, password=PASSWORD, remove=False):
        """All messages of the mailbox as octets, with CRLF at the end of each line."""
        box = self.pop3(user, password)
        count = box.stat()[0]
        messages = []
        for first in range(1, count + 1, 50):
            numbers = range(first, min(first + 50, count + 1))
            box.sock.sendall(b"".join(b"RETR %d\r\n" % i for i in numbers))
            messages += [read_message(box.file) for _ in numbers]
        for i in range(count if remove else 0):
            box.dele(i + 1)
        box.quit()
        return messages

    def fetch_patiently(self, user, seconds=60):
        """As fetch, but processes may just be starting."""
        end = time.monotonic() + PATIENCE * seconds
        while True:
            try:
                return self.fetch(user)
            except (OSError, poplib.error_proto):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def wait_for_mail(self, user, count, password=PASSWORD, seconds=60, more=False):
        """Waits until the mailbox has so many messages and not more, or with `more` at least so many; returns them."""
        def there():
            with contextlib.closing(self.pop3(user, password)) as box:
                number = box.stat()[0]
                box.quit()
            return number
        wait_until(lambda: there() >= count, seconds,
                   lambda: f"{count} messages for {user}, {there()} there: {self.command('status', code=None)}", 0.1)
        messages = self.fetch(user, password)
        assert more or len(messages) == count, messages
        return messages

    def subjects(self, user, password=PASSWORD):
        return [message["Subject"] for message in parsed(self.fetch(user, password))]


class Dev(Server):
    """`veredus dev` on free ports with the arguments given; `start` may be given others. See Server for the directory."""

    def __init__(self, *arguments, directory=None, plain_user=False, start=True):
        self.make_directory(directory, plain_user)
        self.host, self.address, self.arguments = None, "127.0.0.1", arguments
        self.data = self.directory / "dev"
        self.where = ["--dir", str(self.data)]
        self.choose_ports()
        if start:
            self.start()

    def choose_ports(self):
        self.base = free_port_base()
        self.ports = {name: self.base + port for name, port in STANDARD_PORTS.items()}

    def start(self, *arguments):
        self.arguments = arguments or self.arguments
        return self.launch(["dev", *self.where, "--port-base", str(self.base), *self.arguments])


def read_message(stream):
    """An answer to RETR."""
    answer = stream.readline()
    if not answer:
        raise ConnectionError("closed")
    if not answer.startswith(b"+OK"):
        raise poplib.error_proto(answer)
    lines = []
    while (line := stream.readline()) != b".\r\n":
        if not line:
            raise ConnectionError("closed")
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)


def parsed(messages):
    return [email.message_from_bytes(message) for message in messages]


def send(port, sender, recipients, text, host="127.0.0.1", login=None, options=(), rcpt_options=()):
    """One message through a session of its own: in clear to the MX, or with STARTTLS and a login."""
    with smtplib.SMTP(host, port, timeout=60, local_hostname="client.example") as session:
        if login is not None:
            session.starttls(context=CLIENT_TLS)
            session.login(login, PASSWORD)
        assert session.sendmail(sender, recipients, text, options, rcpt_options) == {}


# Messages


def delivery_status(message):
    """(fields of the message, fields of each recipient) of a delivery status notification, as email.message.Message."""
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "delivery-status")
    part = message.get_payload()[1]
    blocks = part.get_payload()
    if part.get_content_type() == "message/global-delivery-status":  # of which the parser takes the first block for a message
        blocks = [blocks[0], *map(email.message_from_string, blocks[0].get_payload().rstrip().split("\n\n"))]
    else:
        assert part.get_content_type() == "message/delivery-status"
    return blocks[0], [block for block in blocks[1:] if block.keys()]


TRACE = (b"received:", b"return-path:", b"delivered-to:", b"x-original-to:")


def without_trace(message, more=()):
    """The message less the trace fields (and those in `more`) at its top: what a relay must not alter."""
    lines = message.splitlines(keepends=True)
    names = (*TRACE, *(name.lower() for name in more))
    kept = []
    dropping = False
    for number, line in enumerate(lines):
        if line in (b"\r\n", b"\n"):
            return b"".join([*kept, *lines[number:]])
        if not line.startswith((b" ", b"\t")):
            dropping = line.lower().startswith(names)
        if not dropping:
            kept.append(line)
    return b"".join(kept)
