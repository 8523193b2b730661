"""Hosts in network namespaces, and what runs on them beside Veredus: the name server nsd, Postfix.

    with Network(directory) as network:               # needs root; else the test is skipped
        a = network.host("a")                         # a.ip is 10.66.0.n, a.ip6 is fd66::n
        Nsd(network.host("dns"), directory, {"a.example": ["@ MX 10 mail.a.example.", f"mail A {a.ip}"]})
        Server(directory / "a", host=a, domains=["a.example"], dns=network.hosts["dns"].ip)
        with a.entered():                             # sockets made here belong to that host
            smtplib.SMTP("127.0.0.1", 25)

Everything ends with the `with` statement or with `stop()`, in the order against its start, and leaves no process behind.
"""
import contextlib
import ctypes
import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from veredus import end_process, make_certificate, need, wait_until

CLONE_NEWNET = 0x40000000

# Hosts


def enter_namespace(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Host:
    """A network namespace of its own, with an address in the network that it is part of."""

    def __init__(self, network, name, number):
        self.name, self.network, self.namespace = name, network, f"{network.prefix}{number}"
        self.ip, self.ip6 = f"10.66.0.{number}", f"fd66::{number}"
        self.resolv_conf = None
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        if number != 0:
            ip("-n", network.switch.namespace, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns",
               self.namespace)
            ip("-n", network.switch.namespace, "link", "set", f"p{number}", "master", "br0", "up")
            ip("-n", self.namespace, "address", "add", f"{self.ip}/24", "dev", "eth0")
            ip("-n", self.namespace, "address", "add", f"{self.ip6}/64", "dev", "eth0", "nodad")
            ip("-n", self.namespace, "link", "set", "eth0", "up")

    def add_address(self, address):
        ip("-n", self.namespace, "address", "add", address, "dev", "eth0")

    def set_up(self, up):
        """Cuts the host off from the network, and joins it again."""
        ip("-n", self.network.switch.namespace, "link", "set", "p" + self.ip.rsplit(".", 1)[1], "up" if up else "down")

    def words(self, command):
        """The command line that runs a command on this host, with its own resolv.conf where it has one."""
        words = ["ip", "netns", "exec", self.namespace]
        if self.resolv_conf is not None:
            words += ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(self.resolv_conf)]
        return [*words, *map(str, command)]

    def run(self, *command, check=True, timeout=60, **options):
        done = subprocess.run(self.words(command), capture_output=True, text=True, timeout=timeout, check=False, **options)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
        return done

    @contextlib.contextmanager
    def entered(self):
        """This thread (and those that it starts, and their sockets) are on the host until the end."""
        with open("/proc/thread-self/ns/net", "rb") as old, open(f"/run/netns/{self.namespace}", "rb") as new:
            enter_namespace(new.fileno())
            try:
                yield self
            finally:
                enter_namespace(old.fileno())


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Network:
    """Hosts that are joined by one switch, which is a namespace too; nothing touches the machine's own network."""
    count = itertools.count()

    def __init__(self, directory):
        self.directory = directory
        self.prefix = f"vt{os.getpid()}n{next(self.count)}-"
        self.hosts = {}
        self.stack = contextlib.ExitStack()
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        need("ip", "unshare")
        self.switch = None

    def __enter__(self):
        try:
            self.switch = Host(self, "switch", 0)
        except AssertionError as error:
            pytest.skip(f"no network namespaces here: {error}")
        self.stack.callback(ip, "netns", "delete", self.switch.namespace)
        ip("-n", self.switch.namespace, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch.namespace, "link", "set", "br0", "up")
        return self

    def __exit__(self, *_):
        self.stack.close()

    def host(self, name):
        if name not in self.hosts:
            number = len(self.hosts) + 1
            self.hosts[name] = Host(self, name, number)
            self.stack.callback(ip, "netns", "delete", self.hosts[name].namespace)
        return self.hosts[name]

    def start(self, thing):
        """Has something with a stop() stopped before the hosts go."""
        self.stack.callback(thing.stop)
        return thing


# Name servers


class Nsd:
    """nsd with zones given as lines: {"a.example": ["@ MX 10 mail", "mail A 10.66.0.1"]}; SOA and NS are added."""

    def __init__(self, host, directory, zones, port=53, address=None):
        need("nsd")
        self.host, self.port = host, port
        self.address = address or (host.ip if host else "127.0.0.1")
        self.directory = directory / "nsd"
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        text = (f'server:\n  ip-address: {self.address}\n  port: {port}\n  username: ""\n  chroot: ""\n  pidfile: ""\n'
                f'  zonesdir: "{self.directory}"\n  database: ""\n  logfile: "{self.directory}/log"\n'
                f'  xfrdfile: "{self.directory}/xfrd"\n  zonelistfile: "{self.directory}/zone.list"\n  server-count: 1\n'
                "remote-control:\n  control-enable: no\n")
        for zone, lines in zones.items():
            head = [f"$ORIGIN {zone}.", "$TTL 60", "@ SOA ns hostmaster 1 3600 600 86400 1", "@ NS ns", f"ns A {self.address}"]
            (self.directory / zone).write_text("\n".join([*head, *lines]) + "\n")
            text += f"zone:\n  name: {zone}\n  zonefile: {zone}\n"
        self.config = self.directory / "nsd.conf"
        self.config.write_text(text)
        self.process = None
        self.start()

    def start(self):
        command = ["nsd", "-d", "-c", str(self.config)]
        self.process = subprocess.Popen(self.host.words(command) if self.host else command, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self.host.entered() if self.host else contextlib.nullcontext():
            wait_until(self.answers, 20, lambda: (self.directory / "log").read_text())

    def answers(self):
        assert self.process.poll() is None, (self.directory / "log").read_text()
        with socket.socket() as s:
            return s.connect_ex((self.address, self.port)) == 0

    def stop(self):
        end_process(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# Postfix


class Postfix:
    """An instance of Postfix in directories of its own, on its host's port 25; never the one of the machine.

    It takes mail for `domains` into Maildirs (`users`: local parts) and relays what comes from its own network by MX.
    """

    def __init__(self, host, domains, users=(), dns=None, **more):
        need("postfix")
        self.host, self.users, self.domains = host, users, domains
        # Its processes run as other users: pytest's own directory is closed to them, and closed again by every pytest that starts.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="veredus-postfix-"))
        self.directory.chmod(0o755)
        self.etc, self.mail = self.directory / "etc", self.directory / "mail"
        for part in ("etc", "queue", "data", "mail"):
            (self.directory / part).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        shutil.chown(self.mail, "nobody", "nogroup")
        (self.etc / "mailboxes").write_text("".join(f"/^{user}@/ {user}/\n" for user in users))
        make_certificate(self.etc, f"mail.{domains[0]}")
        if dns is not None:
            host.resolv_conf = self.etc / "resolv.conf"
            host.resolv_conf.write_text(f"nameserver {dns}\noptions timeout:2 attempts:2\n")
            host.resolv_conf.chmod(0o644)
        settings = {
            "compatibility_level": "3.6", "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data", "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin", "mail_owner": "postfix", "setgid_group": "postdrop",
            "inet_interfaces": "all", "inet_protocols": "all", "mydestination": "", "myhostname": f"mail.{domains[0]}",
            "myorigin": domains[0], "mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "virtual_mailbox_domains": " ".join(domains), "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": f"regexp:{self.etc}/mailboxes", "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534", "virtual_minimum_uid": "100", "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": self.etc / "cert.pem", "smtpd_tls_key_file": self.etc / "key.pem",
            "smtp_tls_security_level": "may", "smtp_host_lookup": "dns", "smtpd_peername_lookup": "no",
            "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "in_flow_delay": "0",
            "maillog_file": self.directory / "log", "maillog_file_prefixes": "/", "minimal_backoff_time": "2s",
            "maximal_backoff_time": "5s", "queue_run_delay": "2s", **more,
        }
        (self.etc / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (self.etc / "master.cf").write_text(self.master())
        try:
            self.host.run("postfix", "-c", self.etc, "start")
            with host.entered():
                wait_until(self.answers, 30, lambda: (self.directory / "log").read_text())
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def master():
        lines = []
        for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if words and not line.startswith(("#", " ")) and len(words) > 4:
                words[4] = "n"  # no chroot: the directories are new and empty
                line = " ".join(words)
            if words and not line.startswith("#"):
                lines.append(line)
        if not any(line.startswith("postlog ") for line in lines):
            lines.append("postlog unix-dgram n - n - 1 postlogd")
        return "\n".join(lines) + "\n"

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection((self.host.ip, 25), 5) as s:
            return s.recv(3) == b"220"

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def sendmail(self, sender, recipients, text):
        self.host.run("sendmail", "-C", self.etc, "-i", "-f", sender, "--", *recipients, input=text)

    def messages(self, user):
        """What the Maildir holds, with CRLF at the end of each line."""
        new = self.mail / user / "new"
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(new.iterdir())] if new.exists() else []

    def stop(self):
        self.host.run("postfix", "-c", self.etc, "stop", check=False)
        pid = self.directory / "queue/pid/master.pid"
        with contextlib.suppress(OSError, ValueError):
            number = int(pid.read_text())
            end = time.monotonic() + 10
            while time.monotonic() < end and pathlib.Path(f"/proc/{number}").exists():
                time.sleep(0.1)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
