#!/usr/bin/python3
"""`make bench`, the part about mailboxes: what Veredus and Dovecot (Maildir and mdbox) do on this machine, in one run, with the
same load generator, over TLS, on a mailbox of many messages of 4 KiB. A line a case: ours, theirs, and how many times better we
are than the better of Dovecot's two formats. SEARCH BODY is asked in two ways: as it is, where Veredus has its full-text index and Dovecot
none, and so that no index can help. At the end BODY[] and sessions in clear, which tell what the servers do beside encrypting: Veredus
takes no password in clear, so it is a copy that does, made and built for this.

    bench/mailboxes.py [--quick] [--messages N] [--alone] [--only WORD] [--binary build/veredus]
"""
import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from servers import BenchError, DOMAIN, Server, Veredus, free_ports, make_certificate, wait_for_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOAD_SECONDS = 1200
OCTETS = 4096
USER, SMALL, GROWING = f"u0@{DOMAIN}", f"u1@{DOMAIN}", f"u2@{DOMAIN}"
PASSWORD = "benchmark"

CONFIG = """\
hostname = mx.{domain}
data_dir = "{folder}/data"
runtime_dir = "{folder}"
tls "main" {{ certificate = "{certificate}" key = "{key}" }}
listener "imaps" {{ kind = imap port = {port} tls = implicit address = {{"127.0.0.1"}} }}
listener "pop3s" {{ kind = pop3 port = {pop_port} tls = implicit address = {{"127.0.0.1"}} }}
domain "{domain}" {{ }}
dns {{ dnssec = false }}
"""


class VeredusMail(Veredus):
    config_text = CONFIG

    def start(self):
        key, certificate = make_certificate(self.folder.parent)
        self.folder.mkdir()
        self.port, self.pop_port = free_ports(2)
        self.config = config = self.folder / "veredus.conf"
        config.write_text(self.config_text.format(domain=DOMAIN, folder=self.folder, key=key, certificate=certificate, port=self.port,
                                        pop_port=self.pop_port))
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([self.binary, "serve", "-c", config], stdout=log, stderr=log)
        self.pid = self.process.pid
        deadline = time.monotonic() + 60
        while "\nready\n" not in (self.folder / "log").read_text():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise BenchError(f"veredus serve did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)
        for user in (USER, SMALL, GROWING):
            subprocess.run([self.binary, "user", "add", "-c", config, "--password-stdin", user], input=PASSWORD + "\n", text=True,
                           check=True, capture_output=True)


    def settle(self):
        """Waits until the full-text index is as good as whole; returns the seconds."""
        began = time.monotonic()
        deadline = began + LOAD_SECONDS
        while True:
            out = subprocess.run([self.binary, "status", "-c", self.config, "--json"], check=True, capture_output=True, text=True).stdout
            if json.loads(out.splitlines()[-1])["full_text_current"]:
                return time.monotonic() - began
            if time.monotonic() > deadline:
                raise BenchError("the full-text index does not get current")
            time.sleep(0.5)


DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
mail_location = {location}
first_valid_uid = 1
mail_max_userip_connections = 0
default_vsz_limit = 0
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
default_process_limit = 12000
default_client_limit = 30000
service imap-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service pop3-login {{
  service_count = 0
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = {pop_port}
    ssl = yes
  }}
}}
namespace inbox {{
  inbox = yes
}}
"""


class Dovecot(Server):
    """Debian's Dovecot with a configuration of its own: login processes that serve many clients, no other limits."""
    config_text = DOVECOT

    def __init__(self, folder, location, words):
        self.folder = folder / f"dovecot-{words}"
        self.name = words
        self.location = location
        self.process = None

    @staticmethod
    def missing():
        """Why it cannot be measured, or None."""
        if shutil.which("dovecot", path="/usr/sbin:/usr/bin") is None:
            return "it is not installed"
        return None if os.geteuid() == 0 else "it has to be started by root"

    def start(self):
        key, certificate = make_certificate(self.folder.parent)
        (self.folder / "mail").mkdir(parents=True)
        self.folder.chmod(0o755)
        shutil.chown(self.folder / "mail", "nobody", "nogroup")
        self.port, self.pop_port = free_ports(2)
        config = self.folder / "dovecot.conf"
        config.write_text(self.config_text.format(folder=self.folder, key=key, certificate=certificate, port=self.port,
                                         pop_port=self.pop_port, location=self.location, password=PASSWORD))
        self.process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        if not wait_for_port(self.port):
            log = self.folder / "log"
            raise BenchError(f"Dovecot did not start: {log.read_text() if log.exists() else ''}")

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# What is changed in src/imap/login.c for that.
IN_CLEAR = ("static bool refuse_in_clear(struct imap_server *s, struct buf *out, enum imap_request *request)\n{\n    if (s->tls) {",
            "static bool refuse_in_clear(struct imap_server *s, struct buf *out, enum imap_request *request)\n{\n    if (out != NULL) {")


def build_for_clear(folder):
    """A copy of the program in which IMAP's LOGIN needs no TLS."""
    copy = folder / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("build*", ".git", "tests"))
    source = copy / "src/imap/login.c"
    text = source.read_text()
    if text.count(IN_CLEAR[0]) != 1:
        raise BenchError("src/imap/login.c has changed: bench/mailboxes.py does not know any more how to let one log in in clear")
    source.write_text(text.replace(*IN_CLEAR))
    for command in (["meson", "setup", copy / "build", copy, "-Dbuildtype=debugoptimized", "-Dtests=false"],
                    ["ninja", "-C", copy / "build", "veredus"]):
        if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode != 0:
            raise BenchError(f"the copy for connections in clear cannot be built: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return copy / "build/veredus"


class VeredusInClear(VeredusMail):
    config_text = CONFIG.replace("port = {port} tls = implicit", "port = {port} tls = starttls")


class DovecotInClear(Dovecot):
    config_text = DOVECOT.replace("port = {port}\n    ssl = yes", "port = {port}\n    ssl = no").replace(
        "ssl = required", "ssl = yes\ndisable_plaintext_auth = no")


class Bench:
    def __init__(self, load, tool, options):
        self.load, self.tool, self.options = load, tool, options
        self.results = {}  # name of a line: {name of a server: value}
        self.better = {}

    def note(self, line, server, value, unit, more_is_better):
        self.results.setdefault(line, {})[server.name] = value
        self.better[line] = (unit, more_is_better)
        print(f"  {server.name:8} {line:44} {value:12.4f} {unit}", file=sys.stderr, flush=True)

    def run(self, what, port, user, *arguments, in_clear=False):
        command = [self.tool, *(["clear"] if in_clear else []), what, "127.0.0.1", str(port), user, PASSWORD, *map(str, arguments)]
        out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LOAD_SECONDS)
        if out.returncode != 0:
            raise BenchError(f"the load generator failed at {what}: {out.stderr}")
        return json.loads(out.stdout)

    def commands(self, server, *commands):
        return self.run("run", server.port, USER, *commands)

    def wants(self, word):
        return self.options.only in (None, word)

    def mailbox(self, server):
        """Everything that is asked of one large mailbox."""
        count = self.options.messages
        some = count // 10
        seconds = {}
        self.run("fill", server.port, USER, "INBOX", count, OCTETS)
        if isinstance(server, VeredusMail):
            self.note("full-text index, after the last message", server, server.settle(), "s", False)
        lines = [("first SELECT", "SELECT INBOX"), ("FETCH 1:* (UID FLAGS)", "FETCH 1:* (UID FLAGS)"),
                 ("FETCH 1:* ENVELOPE, first", "FETCH 1:* (ENVELOPE INTERNALDATE RFC822.SIZE)"),
                 ("FETCH 1:* ENVELOPE, later", "FETCH 1:* (ENVELOPE INTERNALDATE RFC822.SIZE)"),
                 ("FETCH 1:* BODY.PEEK[]", "FETCH 1:* BODY.PEEK[]"), ("SEARCH SUBJECT", "SEARCH SUBJECT needle"),
                 ("SEARCH BODY", "SEARCH BODY haystack"),
                 ("SEARCH BODY, read", "SEARCH OR NOT ALL BODY haystack"), ("STORE \\Seen on all", "STORE 1:* +FLAGS.SILENT (\\Seen)"),
                 (None, "CREATE Copies"), (f"COPY of {some}", f"COPY 1:{some} Copies"), (None, "SELECT Copies"),
                 (None, "STORE 1:* +FLAGS.SILENT (\\Deleted)"), (f"EXPUNGE of {some}", "EXPUNGE")]
        for (name, _), result in zip(lines, self.commands(server, *(command for _, command in lines))):
            seconds[name] = result
        for name, result in seconds.items():
            if name == "FETCH 1:* BODY.PEEK[]":
                self.note(name, server, result["octets"] / result["seconds"] / 1e6, "MB/s", True)
            elif name is not None:
                self.note(name, server, result["seconds"], "s", False)
        for connections in (1, 10):
            result = self.run("append", server.port, GROWING, "INBOX", min(some, 500 * connections), OCTETS, connections)
            self.note(f"APPEND on {connections} connections", server, result["rate"], "/s", True)
        pop = min(count, 5000)
        for way in ("serial", "pipelined"):
            result = self.run("retr", server.pop_port, USER, pop // 100 * 100, way)
            self.note(f"POP3 RETR, {way}", server, result["octets"] / result["seconds"] / 1e6, "MB/s", True)

    def sessions(self, server):
        self.run("fill", server.port, SMALL, "INBOX", 20, OCTETS)
        for way in ("full", "resumed"):
            result = self.run("sessions", server.port, SMALL, 500 if self.options.quick else 4000, 10, way)
            self.note(f"sessions, {way} handshakes (LOGIN, SELECT, FETCH, LOGOUT)", server, result["rate"], "/s", True)
        count = 1000 if self.options.quick else 4000
        command = [self.load, "handshakes", "127.0.0.1", str(server.port), "10", str(count)]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LOAD_SECONDS)
        self.note("TLS handshakes", server, json.loads(out.stdout)["rate"], "/s", True)

    def clear(self, server):
        self.run("fill", server.port, USER, "INBOX", self.options.messages, OCTETS, in_clear=True)
        self.run("fill", server.port, SMALL, "INBOX", 20, OCTETS, in_clear=True)
        if isinstance(server, VeredusMail):
            server.settle()
        result = self.run("run", server.port, USER, "SELECT INBOX", *["FETCH 1:* BODY.PEEK[]"] * 2, in_clear=True)[-1]
        self.note("in clear: FETCH 1:* BODY.PEEK[]", server, result["octets"] / result["seconds"] / 1e6, "MB/s", True)
        result = self.run("sessions", server.port, SMALL, 500 if self.options.quick else 4000, 10, in_clear=True)
        self.note("in clear: sessions (LOGIN, SELECT, FETCH, LOGOUT)", server, result["rate"], "/s", True)

    def idle(self, server):
        # Dovecot has a process for each connection.
        ours = isinstance(server, Veredus)
        clients = (1000 if self.options.quick else 10000) if ours else 200
        before = server.memory_kib()
        command = [self.tool, "idle", "127.0.0.1", str(server.port), SMALL, PASSWORD, str(clients), "60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            try:
                if not client.stdout.readline():
                    raise BenchError("the clients in IDLE failed")
                time.sleep(2)
                after = server.memory_kib()
            finally:
                client.kill()
        self.note("memory of a client in IDLE", server, (after - before) / clients, "KiB", False)

    def print(self):
        print(f"{'':46} {'Veredus':>12} {'Maildir':>12} {'mdbox':>12} {'ratio':>8}")
        for line, values in self.results.items():
            unit, more = self.better[line]
            theirs = [value for name, value in values.items() if name != "Veredus"]
            names = ("Veredus", "Maildir", "mdbox")
            cells = "".join(f" {values[name]:12.3f}" if name in values else f" {'-':>12}" for name in names)
            ratio = ""
            if theirs and "Veredus" in values:
                best = max(theirs) if more else min(theirs)
                ratio = values["Veredus"] / best if more else best / max(values["Veredus"], 1e-9)
                ratio = f"{ratio:7.2f}x"
            print(f"{line:46}{cells} {ratio} {unit}", flush=True)


def measure_one(bench, place, make, parts):
    wanted = [part for part in parts if bench.wants(part)]
    if wanted:
        place.mkdir()
        place.chmod(0o755)
        with make(place) as server:
            for part in wanted:
                getattr(bench, part)(server)
        shutil.rmtree(place, ignore_errors=True)


def measure(folder, options):
    load, tool = folder / "load", folder / "mailload"
    for binary, source in ((load, "load.c"), (tool, "mailload.c")):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", binary, ROOT / "bench" / source, "-lssl", "-lcrypto", "-lpthread"],
                       check=True)
    bench = Bench(load, tool, options)
    missing = Dovecot.missing()
    kinds = [lambda place: VeredusMail(options.binary, place)]
    if missing is not None:
        print(f"Dovecot is not measured: {missing}.")
    elif not options.alone:
        kinds += [lambda place: Dovecot(place, "maildir:~/Maildir", "Maildir"),
                  lambda place: Dovecot(place, "mdbox:~/mdbox", "mdbox")]
    for make in kinds:
        measure_one(bench, folder / "server", make, ("mailbox", "sessions", "idle"))
    if bench.wants("clear"):
        binary = build_for_clear(folder)
        measure_one(bench, folder / "server", lambda place: VeredusInClear(binary, place), ("clear",))
        if len(kinds) > 1:
            measure_one(bench, folder / "server", lambda place: DovecotInClear(place, "mdbox:~/mdbox", "mdbox"), ("clear",))
    bench.print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 messages")
    parser.add_argument("--messages", type=int, help="in the mailbox; 100,000 if nothing else is said")
    parser.add_argument("--only", choices=("mailbox", "sessions", "idle", "clear"), help="one part")
    parser.add_argument("--alone", action="store_true", help="without Dovecot")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "veredus")
    options = parser.parse_args()
    options.messages = options.messages or (5000 if options.quick else 100000)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="veredus-bench-", ignore_cleanup_errors=True) as name, contextlib.ExitStack():
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            measure(folder, options)
        except BenchError as error:
            sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
