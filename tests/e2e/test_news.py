"""
One session model for all protocols: what a delivery, another IMAP session, POP3 or a command changes reaches every session that watches
the mailbox, within 200 ms from the moment that the one who changed it has been answered.
"""
import contextlib
import imaplib
import poplib
import smtplib
import socket
import threading
import time

import pytest

from veredus import CLIENT_TLS, PASSWORD, Server, free_port

USER = "ann@local.example"
WATCHERS, TIMES, LIMIT = 8, 40, 0.2
MESSAGE = "From: <ann@local.example>\r\nSubject: news {0}\r\n\r\nnumber {0}\r\n"


class Watcher(threading.Thread):
    """A session in IDLE, or one at rest that has used NOTIFY: notes when each untagged reply came."""

    def __init__(self, server, last="c IDLE"):
        super().__init__(daemon=True)
        raw = socket.create_connection(("127.0.0.1", server.ports["imaps"]), timeout=60)
        self.socket = CLIENT_TLS.wrap_socket(raw)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        for tag, line in ((b"a", f'a LOGIN {USER} "{PASSWORD}"'), (b"b", "b SELECT INBOX"), (b"+" if last.endswith("IDLE") else b"c", last)):
            self.socket.sendall(line.encode() + b"\r\n")
            while not self.file.readline().startswith(tag):
                pass
        self.heard = []
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError):
            while line := self.file.readline():
                self.heard.append((time.monotonic(), line))

    def first_after(self, moment, word):
        return next((when for when, line in list(self.heard) if when >= moment and word in line), None)


@pytest.fixture(scope="module")
def server():
    port = free_port()
    with Server(sections=f'listener "lmtp" {{ kind = lmtp address = {{"127.0.0.1"}} port = {port} }}\n') as running:
        running.ports["lmtp"] = port
        running.add_user(USER)
        yield running


@pytest.fixture(scope="module")
def watchers(server):
    return [Watcher(server) for _ in range(WATCHERS)]


@contextlib.contextmanager
def imap(server):
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=60)
    client.login(USER, PASSWORD)
    client.select("INBOX")
    yield client
    client.logout()


def measure(watchers, change, word, say, what, times=TIMES):
    """`change` makes one change and returns once it has been answered. All watchers hear of each, nearly all of them in time."""
    delays = []
    for number in range(times):
        before = time.monotonic()
        change(number)
        answered = time.monotonic()
        deadline = answered + 10
        for watcher in watchers:
            while (heard := watcher.first_after(before, word)) is None:
                assert time.monotonic() < deadline, f"{what}: a session heard nothing of change {number}: {watcher.heard[-3:]}"
                time.sleep(0.002)
            delays.append(max(0.0, heard - answered))
        time.sleep(0.01)
    delays.sort()
    half, most = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    say(f"news of {what}: {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms")
    assert most <= LIMIT, f"{what}: {most * 1000:.0f} ms"


@pytest.fixture
def say(capfd):
    def out(text):
        with capfd.disabled():
            print(text, flush=True)
    return out


@pytest.mark.alone
def test_a_delivery(server, watchers, say):
    with smtplib.SMTP("127.0.0.1", server.ports["mx"], timeout=30) as session:
        measure(watchers, lambda n: session.sendmail("a@far.example", [USER], MESSAGE.format(n)), b"EXISTS", say, "a delivery")


@pytest.mark.alone
def test_a_submission(server, watchers, say):
    with smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], context=CLIENT_TLS, timeout=30) as session:
        session.login(USER, PASSWORD)
        measure(watchers, lambda n: session.sendmail(USER, [USER], MESSAGE.format(n)), b"EXISTS", say, "a submission")


@pytest.mark.alone
def test_lmtp(server, watchers, say):
    with smtplib.LMTP("127.0.0.1", server.ports["lmtp"]) as session:
        measure(watchers, lambda n: session.sendmail("a@far.example", [USER], MESSAGE.format(n)), b"EXISTS", say, "LMTP")


@pytest.mark.alone
def test_another_session(server, watchers, say):
    with imap(server) as client:
        client.create("Elsewhere")
        measure(watchers, lambda n: client.append("INBOX", None, None, MESSAGE.format(n).encode()), b"EXISTS", say, "APPEND")
        measure(watchers, lambda n: client.store("1:5", "-FLAGS" if n % 2 else "+FLAGS", "(\\Flagged)"), b"FETCH", say, "STORE")
        measure(watchers, lambda n: client._simple_command("MOVE", "1", "Elsewhere"), b"EXPUNGE", say, "MOVE")

        def expunge(_):
            client.store("1", "+FLAGS.SILENT", "(\\Deleted)")
            client.expunge()
        measure(watchers, expunge, b"EXPUNGE", say, "EXPUNGE")


@pytest.mark.alone
def test_pop3(server, watchers, say):
    def remove(_):
        session = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], context=CLIENT_TLS, timeout=30)
        session.user(USER)
        session.pass_(PASSWORD)
        session.dele(1)
        session.quit()
    with imap(server) as client:
        for number in range(15):
            client.append("INBOX", None, None, MESSAGE.format(number).encode())
    measure(watchers, remove, b"EXPUNGE", say, "POP3's QUIT", times=10)


@pytest.mark.alone
def test_a_command(server, watchers, say, tmp_path):
    """`veredus import`: its process says that it is done a moment after the server did."""
    def bring(number):
        box = tmp_path / f"{number}.mbox"
        box.write_text(f"From a@far.example Tue Nov 24 10:00:00 2026\nSubject: brought {number}\n\nbody\n\n")
        server.command("import", USER, str(box), "--mailbox", "INBOX")
    measure(watchers, bring, b"EXISTS", say, "a command", times=10)


@pytest.mark.alone
def test_notify(server, say):
    """Sessions at rest, of their selected mailbox and of another; with a thousand mailboxes, all of which are looked at for each news."""
    with imap(server) as client:
        for number in range(1000):
            client.create(f"many/{number}")
        events = "(MessageNew MessageExpunge FlagChange)"
        watchers = [Watcher(server, f"c NOTIFY SET (SELECTED {events}) (PERSONAL {events})") for _ in range(WATCHERS)]
        measure(watchers, lambda n: client.append("INBOX", None, None, MESSAGE.format(n).encode()), b"EXISTS", say, "APPEND, by NOTIFY")
        measure(watchers, lambda n: client.append("many/7", None, None, MESSAGE.format(n).encode()), b"STATUS many/7", say,
                "APPEND to another mailbox, by NOTIFY")


@pytest.mark.alone
def test_a_session_that_only_asks(server):
    """NOOP right after the other's answer: what was acknowledged to one is there for all."""
    with imap(server) as one, imap(server) as other:
        for number in range(20):
            before = int(other.select("INBOX")[1][0])
            one.append("INBOX", None, None, MESSAGE.format(number).encode())
            other.response("EXISTS")
            other.noop()
            assert int(other.response("EXISTS")[1][-1]) == before + 1


@pytest.mark.alone
def test_an_account_that_goes(server):
    """Its sessions see nothing any more: they are refused, or ended."""
    server.add_user("bob@local.example")
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=60)
    client.login("bob@local.example", PASSWORD)
    assert client.select("INBOX")[0] == "OK"
    server.command("user", "remove", "bob@local.example", "--yes")
    with contextlib.suppress(imaplib.IMAP4.abort, OSError):
        assert client.select("INBOX")[0] == "NO"
    client.shutdown()
