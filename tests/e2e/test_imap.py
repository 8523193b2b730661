"""IMAP on the real binary with Python's own client: mailboxes, messages, flags, several sessions, restart and recovery."""
import contextlib
import imaplib
import re
import socket
import statistics
import subprocess
import time

import pytest

from veredus import CLIENT_TLS, Dev

USER, PASSWORD = "ann@example.org", "se:cret"
MESSAGE = "Subject: number {0}\r\nFrom: bob@remote.example\r\nTo: ann@example.org\r\n\r\nBody {0}\r\n"


@pytest.fixture(scope="module")
def server():
    with Dev("--user", f"{USER}:{PASSWORD}", "--user", "eve@example.org:other") as running:
        yield running


@contextlib.contextmanager
def session(server, user=USER, password=PASSWORD, mailbox=None):
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=60)
    client.login(user, password)
    if mailbox:
        assert client.select(mailbox)[0] == "OK"
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.logout()


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def fill(client, mailbox, count, flags=""):
    ok(client.create(mailbox))
    for i in range(1, count + 1):
        ok(client.append(mailbox, flags, None, MESSAGE.format(i).encode()))
    ok(client.select(mailbox))


def subjects(client):
    rows = ok(client.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if client.select(client.mailbox)[1][0] != b"0" else []
    return [row[1].split(b": ", 1)[1].strip().decode() for row in rows if isinstance(row, tuple)]


def seconds_of_appends(server, no_delay):
    taken = []
    with session(server) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
        for number in range(15):
            began = time.monotonic()
            ok(client.append("Pieces", "", None, MESSAGE.format(number).encode()))
            taken.append(time.monotonic() - began)
    return statistics.median(taken)


def test_a_command_in_pieces_is_not_held_up(server):
    """imaplib writes literal and line end apart, and its system keeps the second back until the first is acknowledged."""
    with session(server) as client:
        ok(client.create("Pieces"))
    assert seconds_of_appends(server, False) < seconds_of_appends(server, True) + 0.025


def test_a_delivered_message_is_fetched_as_it_was_sent(server):
    server.deliver(USER, MESSAGE.format("x"))
    with session(server, mailbox="INBOX") as client:
        deadline = time.time() + 30
        while ok(client.select("INBOX"))[0] == b"0" and time.time() < deadline:
            time.sleep(0.05)
        text = ok(client.fetch("*", "(BODY.PEEK[])"))[0][1]
        assert text.endswith(b"\r\n\r\nBody x\r\n") and text.startswith(b"Return-Path: <")
        size = re.search(rb"RFC822.SIZE (\d+)", ok(client.fetch("*", "(RFC822.SIZE)"))[0])
        assert int(size[1]) == len(text)


def test_no_password_travels_in_clear(server):
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=60)
    assert "LOGINDISABLED" in client.capabilities
    with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
        client.login(USER, PASSWORD)
    client.starttls(ssl_context=CLIENT_TLS)
    client.login(USER, PASSWORD)
    client.logout()


def test_wrong_passwords_are_refused(server):
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        with session(server, password="wrong"):
            pass


def test_flags_and_keywords(server):
    with session(server) as client:
        fill(client, "Flags", 3)
        ok(client.store("1:2", "+FLAGS", r"(\Seen $Junk)"))
        ok(client.store("2", "-FLAGS", r"(\Seen)"))
        ok(client.store("3", "FLAGS.SILENT", r"(\Flagged Other)"))
        with session(server, mailbox="Flags") as other:
            rows = ok(other.fetch("1:3", "(FLAGS)"))
        flags = [set(re.search(rb"FLAGS \((.*?)\)", row)[1].decode().split()) - {"\\Recent"} for row in rows]
        assert flags == [{"\\Seen", "$Junk"}, {"$Junk"}, {"\\Flagged", "Other"}]


def test_expunge_copy_and_move(server):
    with session(server) as client:
        fill(client, "From", 5)
        ok(client.create("To"))
        assert b"COPYUID" in client.copy("1:2", "To")[1][0]
        ok(client.store("1", "+FLAGS", r"(\Deleted)"))
        assert ok(client.expunge()) == [b"1"]
        ok(client.uid("MOVE", "5", "To"))
        client.mailbox = "From"
        assert subjects(client) == ["number 2", "number 3", "number 4"]
        client.mailbox = "To"
        assert subjects(client) == ["number 1", "number 2", "number 5"]


def test_mailboxes_are_made_renamed_listed_and_removed(server):
    with session(server) as client:
        ok(client.create("Tree/Branch/Leaf"))
        ok(client.create('"Tree/&AOQ-"'))
        names = {row.rsplit(b' "/" ', 1)[1] for row in ok(client.list('""', "Tree*"))}
        assert names == {b"Tree", b"Tree/Branch", b"Tree/Branch/Leaf", b"Tree/&AOQ-"}
        ok(client.rename("Tree/Branch", "Forest"))
        assert {row.rsplit(b' "/" ', 1)[1] for row in ok(client.list('""', "Forest*"))} == {b"Forest", b"Forest/Leaf"}
        assert client.delete("INBOX")[0] == "NO" and client.create("Forest")[0] == "NO"
        ok(client.delete("Forest/Leaf"))
        ok(client.subscribe("Forest"))
        assert b"Forest" in ok(client.lsub())[0]


def test_another_account_is_out_of_reach(server):
    with session(server) as client:
        fill(client, "Private", 1)
    with session(server, "eve@example.org", "other") as eve:
        assert eve.select("Private")[0] == "NO"
        assert ok(eve.list('""', "Private")) == [None]


def test_idle_hears_of_deliveries_and_of_other_sessions(server):
    with session(server) as watcher, session(server) as client:
        fill(client, "Watched", 1)
        ok(watcher.select("Watched"))
        watcher.send(b"x IDLE\r\n")
        assert watcher.readline().startswith(b"+")
        begun = time.time()
        ok(client.append("Watched", None, None, MESSAGE.format("new").encode()))
        assert watcher.readline() == b"* 2 EXISTS\r\n"
        assert watcher.readline() == b"* 1 RECENT\r\n"
        ok(client.store("1", "+FLAGS", r"(\Flagged)"))
        assert rb"\Flagged" in watcher.readline()
        ok(client.store("1", "+FLAGS", r"(\Deleted)"))
        assert rb"\Deleted" in watcher.readline()
        ok(client.expunge())
        assert watcher.readline() == b"* 1 EXPUNGE\r\n"
        assert time.time() - begun < 30
        watcher.send(b"DONE\r\n")
        assert watcher.readline().startswith(b"x OK")


def test_condstore(server):
    with session(server) as client:
        ok(client.enable("CONDSTORE"))
        fill(client, "Condstore", 3)
        modseqs = [int(m) for row in ok(client.fetch("1:3", "(MODSEQ)")) for m in re.findall(rb"MODSEQ \((\d+)\)", row)]
        ok(client.store("2", "+FLAGS", r"(\Seen)"))
        rows = ok(client.fetch("1:3", f"(FLAGS) (CHANGEDSINCE {max(modseqs)})"))
        assert len(rows) == 1 and rows[0].startswith(b"2 ")
        answer = client._simple_command("STORE", "1:3", f"(UNCHANGEDSINCE {max(modseqs)})", "+FLAGS", "(Late)")
        assert answer[0] == "OK" and b"[MODIFIED 2]" in answer[1][0]


def test_the_whole_survives_a_restart_and_a_new_index():
    with Dev("--user", f"{USER}:{PASSWORD}") as running:
        with session(running) as client:
            fill(client, "Kept", 30, r"(\Seen)")
            ok(client.store("1:10", "+FLAGS", "($Work)"))
            ok(client.store("5", "-FLAGS", r"(\Seen)"))
            ok(client.copy("1:20", "INBOX"))
            ok(client.store("30", "+FLAGS", r"(\Deleted)"))
            ok(client.expunge())
            ok(client.rename("Kept", "Moved/Kept"))
            ok(client.subscribe("Moved/Kept"))

        def state():
            with session(running) as client:
                found = {"list": sorted(ok(client.list())), "lsub": ok(client.lsub())}
                for name in ("INBOX", "Moved/Kept"):
                    ok(client.select(name, readonly=True))
                    rows = ok(client.fetch("1:*", "(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
                    found[name] = [str(row).replace("\\\\Recent", "").replace(" )", ")") for row in rows]
                    found[name + " status"] = ok(client.status(name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"))
                return found
        before = state()
        running.stop()
        assert "all is well" in running.run("verify")[0]
        subprocess.run(f"rm {running.directory}/dev/data/store/index.db*", shell=True, check=True)
        running.run("reindex")
        assert "all is well" in running.run("verify")[0]
        running.start()
        assert state() == before


STRUCTURED = ("Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nFrom: Bob <bob@remote.example>\r\nTo: ann@example.org\r\n"
              "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <structured@remote.example>\r\n"
              "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
              "Content-Type: application/x-thing; name=\"a b\"\r\n\r\ndata\r\n--b--\r\n")


def test_summaries_say_what_the_message_says(server):
    """The summary made at delivery and at APPEND gives what parsing gives (an item that no summary has makes the server parse)."""
    server.deliver(USER, STRUCTURED)
    with session(server, mailbox="INBOX") as client:
        found = b""
        deadline = time.time() + 60
        while not found and time.time() < deadline:
            client.noop()
            found = ok(client.search(None, "HEADER", "Message-ID", "<structured@remote.example>"))[0]
        assert found == ok(client.search(None, "SUBJECT", "gr", "SENTON", "24-Nov-2026"))[0]
        ok(client.append("INBOX", None, None, STRUCTURED.encode()))
        client.noop()
        numbers = ok(client.search(None, "HEADER", "Message-ID", "structured@remote"))[0].split()
        assert len(numbers) >= 2
        for number in numbers:
            for item in ("ENVELOPE", "BODY", "BODYSTRUCTURE", "BODY.PEEK[HEADER.FIELDS (SUBJECT DATE FROM)]"):
                short = ok(client.fetch(number, f"({item})"))
                long = ok(client.fetch(number, f"({item} BODY.PEEK[HEADER.FIELDS (X-NOBODY)])"))
                short = short[0][1] if isinstance(short[0], tuple) else re.search(rb"\((.*)\)$", short[0]).group(1)
                long = long[0][1] if item.startswith("BODY.PEEK") else long[0][0]
                assert short in long, (item, short, long)
