"""The servers that bench/run.py measures: each starts in a folder of its own, counts what is in its mailboxes, tells its processor
time and memory, and is gone when its `with` block ends, however that ends.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

DOMAIN = "bench.example"
MAILBOXES = 100
START_SECONDS = 60


class BenchError(Exception):
    pass


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def wait_for_port(port):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)):
            return True
        time.sleep(0.05)
    return False


def make_certificate(folder):
    """A P-256 key and a certificate for it, the same for both servers."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    if not certificate.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN={DOMAIN}", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        key.chmod(0o600)
    return key, certificate


def every_process():
    """For each process: its parent, and the ticks used by it and by those of its children that have ended."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                found[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return found


class Server:
    pid = 0
    tls_port = 0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def processes(self):
        every = every_process()
        members = {self.pid}
        grown = True
        while grown:
            more = {pid for pid, (parent, _) in every.items() if parent in members} - members
            grown = bool(more)
            members |= more
        return {pid: every[pid] for pid in members if pid in every}

    def cpu_seconds(self):
        """User and system time of the server's processes, those that have ended included."""
        return sum(ticks for _, ticks in self.processes().values()) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self):
        """What the server's processes have in memory; what several share is counted once."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total


VEREDUS_CONFIG = """\
hostname = mx.{domain}
data_dir = "{folder}/data"
runtime_dir = "{folder}"
tls "main" {{ certificate = "{certificate}" key = "{key}" }}
listener "mx" {{ kind = mx port = {port} address = {{"127.0.0.1"}} }}
listener "submissions" {{ kind = submission port = {tls_port} tls = implicit address = {{"127.0.0.1"}} }}
domain "{domain}" {{ }}
dns {{ dnssec = false }}
limits {{ command_timeout = 30m }}
store {{ full_text_from = 0 }}
"""


class Veredus(Server):
    name = "Veredus"

    def __init__(self, binary, folder):
        self.binary = str(binary)
        self.folder = folder / "veredus"
        self.process = None
        self.index = None

    def start(self):
        key, certificate = make_certificate(self.folder.parent)
        self.folder.mkdir()
        self.port, self.tls_port = free_ports(2)
        config = self.folder / "veredus.conf"
        config.write_text(VEREDUS_CONFIG.format(domain=DOMAIN, folder=self.folder, key=key, certificate=certificate,
                                                port=self.port, tls_port=self.tls_port))
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([self.binary, "serve", "-c", config], stdout=log, stderr=log)
        self.pid = self.process.pid
        deadline = time.monotonic() + START_SECONDS
        while "\nready\n" not in (self.folder / "log").read_text():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise BenchError(f"veredus serve did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)
        for number in range(MAILBOXES):
            added = subprocess.run([self.binary, "user", "add", "-c", config, "--password-stdin", f"u{number}@{DOMAIN}"],
                                   input="a secret of the benchmark\n", text=True, check=False, capture_output=True)
            if added.returncode != 0:
                raise BenchError(f"no account can be made: {added.stderr}")
        self.index = sqlite3.connect(f"file:{self.folder}/data/store/index.db?mode=ro", uri=True, isolation_level=None)

    def filed(self):
        return self.index.execute("SELECT coalesce(sum(used_messages), 0) FROM account").fetchone()[0]

    def all_filed(self, count):
        return self.filed() >= count

    def stop(self):
        if self.index is not None:
            self.index.close()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder.exists():
            # Segments of the log carry the append-only flag.
            subprocess.run(["chattr", "-R", "-a", self.folder], stderr=subprocess.DEVNULL, check=False)


class Postfix(Server):
    """Debian's Postfix with a configuration of its own: mail for local mailboxes in Maildir, no limits on clients."""
    name = "Postfix"

    def __init__(self, folder):
        self.folder = folder / "postfix"
        self.etc = self.folder / "etc"
        self.queue = self.folder / "queue"

    @staticmethod
    def missing():
        """Why it cannot be measured, or None."""
        if not all(map(shutil.which, ("postfix", "postconf"))):
            return "it is not installed"
        return None if os.geteuid() == 0 else "it has to be started by root"

    def write_config(self):
        key, certificate = make_certificate(self.folder.parent)
        boxes = self.etc / "mailboxes"
        boxes.write_text("".join(f"u{n}@{DOMAIN} u{n}/\n" for n in range(MAILBOXES)))
        settings = {
            "compatibility_level": "3.6", "queue_directory": self.queue, "data_directory": self.folder / "data",
            "command_directory": "/usr/sbin", "daemon_directory": "/usr/lib/postfix/sbin", "mail_owner": "postfix",
            "setgid_group": "postdrop", "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mydestination": "",
            "mynetworks": "127.0.0.0/8", "virtual_mailbox_domains": DOMAIN, "virtual_mailbox_base": self.folder / "mail",
            "virtual_mailbox_maps": f"texthash:{boxes}", "virtual_mailbox_limit": "0", "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534", "virtual_minimum_uid": "100", "default_process_limit": "200",
            "smtpd_client_connection_count_limit": "0", "smtpd_client_connection_rate_limit": "0", "in_flow_delay": "0",
            "smtpd_recipient_restrictions": "permit_mynetworks, reject", "myhostname": "bench.invalid",
            "smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may",
            "maillog_file": self.folder / "log" / "maillog", "maillog_file_prefixes": self.folder, "alias_maps": "",
            "alias_database": "", "minimal_backoff_time": "1s", "queue_run_delay": "1s", "maximal_backoff_time": "1s",
        }
        (self.etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))

    def write_services(self):
        kept = []
        for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if line.startswith("#") or not words:
                continue
            if words[:2] == ["smtp", "inet"]:
                kept.append(f"127.0.0.1:{self.port} inet n - n - 200 smtpd")
                kept.append(f"127.0.0.1:{self.tls_port} inet n - n - 200 smtpd -o smtpd_tls_wrappermode=yes")
                continue
            # Without a chroot, as Postfix itself has it.
            kept.append(line.replace(" y ", " n ", 1) if not line[0].isspace() and words[4:5] == ["y"] else line)
        if not any(line.startswith("postlog") for line in kept):
            kept.append("postlog unix-dgram n - n - 1 postlogd")
        (self.etc / "master.cf").write_text("\n".join(kept) + "\n")

    def command(self, what):
        return subprocess.run(["postfix", "-c", self.etc, what], capture_output=True, text=True, check=False, timeout=60)

    def start(self):
        for part in ("etc", "queue", "data", "mail", "log"):
            (self.folder / part).mkdir(parents=True)
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "nobody", "nogroup")
        self.port, self.tls_port = free_ports(2)
        self.write_config()
        self.write_services()
        started = self.command("start")
        if not wait_for_port(self.port):
            raise BenchError(f"Postfix did not start: {started.stdout}{started.stderr}")
        self.pid = int((self.queue / "pid" / "master.pid").read_text())

    def is_queue_empty(self):
        for name in ("maildrop", "incoming", "active", "deferred"):
            for _, _, files in os.walk(self.queue / name):
                if files:
                    return False
        return True

    def filed(self):
        return sum(len(os.listdir(path)) for path in (self.folder / "mail").glob("u*/new"))

    def all_filed(self, count):
        # Counting many files would take the processor from the server: first its queue has to be empty.
        return self.is_queue_empty() and self.filed() >= count

    def stop(self):
        if (self.etc / "master.cf").exists():
            self.command("stop")
            if self.pid and pathlib.Path(f"/proc/{self.pid}").exists():
                self.command("abort")
