"""
The full-text index: searches find the same with it as without. `OR NOT ALL key` is the same search as `key`, and one of which no index
can say anything, so each is asked both ways in the same mailbox.
"""
import base64
import gzip
import imaplib
import mailbox
import os
import pathlib
import random
import shutil
import signal
import socket
import tempfile
import time

import pytest

from veredus import CLIENT_TLS, PASSWORD, Server, wait_until

CORPUS = pathlib.Path(__file__).resolve().parents[3] / "shared/vectors/corpus/list-archive.mbox.gz"
COUNT = 700
BATCH = 256  # so many messages may be missing in an index
WORDS = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo".split()
STRANGE = {
    "base64": "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
              + base64.encodebytes("Das Übermaß der Größe\nin 東京都新宿区 und 서울특별시\n".encode()).decode().replace("\n", "\r\n"),
    "quoted": "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
              "Un caf=E9 cr=\r\n=E8me\r\n",
    "html": "Content-Type: text/html; charset=us-ascii\r\n\r\n<p>fr<b>agm</b>ented <i>w</i>ords &eacute;t&eacute;</p>\r\n",
    "attached": "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nthe cover letter\r\n--x\r\nContent-Type: "
                "application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIHRleHQ=\r\n--x\r\nContent-Type: "
                "message/rfc822\r\n\r\nSubject: inner =?utf-8?q?pr=C3=A9face?=\r\n\r\ninner body\r\n--x--\r\n",
}


def text_of(number, chooser):
    words = " ".join(chooser.choice(WORDS) for _ in range(30))
    return f"From: sender{number % 10}@far.example\r\nSubject: letter {number} {chooser.choice(WORDS)}\r\n\r\n{words} n{number}n\r\n"


@pytest.fixture(scope="module")
def server():
    # In memory: many messages are appended one by one, and what the disk does is not what is asked here.
    data = pathlib.Path(tempfile.mkdtemp(prefix="veredus-test-", dir="/dev/shm"))
    data.chmod(0o755)
    with Server(data=data, store="reserve = 16M segment_size = 4M full_text_from = 100") as running:
        running.add_user("ann@local.example")
        running.add_user("bob@local.example")
        yield running
    shutil.rmtree(data)


def connect(server, user="ann", name="INBOX"):
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=120)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.login(f"{user}@local.example", PASSWORD)
    client.select(name)
    return client


def append(client, name, texts):
    for text in texts:
        assert client.append(name, None, None, text.encode())[0] == "OK"


def added(server):
    return server.rows("status")[-1]["full_text_added"]


def wait_for_index(server, least=0):
    def current():
        status = server.rows("status")[-1]
        return status["full_text_current"] and status["full_text_added"] >= least
    wait_until(current, 15, "the full-text index to be built")


def found(client, *keys):
    kind, data = client.uid("SEARCH", "CHARSET", "UTF-8", *keys)
    assert kind == "OK", data
    return [int(word) for word in data[0].split()]


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check(client, key, text):
    """What the search finds, narrowed and not."""
    client.literal = None
    narrowed = found(client, key, quoted(text))
    read = found(client, "OR", "NOT", "ALL", key, quoted(text))
    assert narrowed == read, (key, text)
    return read


@pytest.fixture(scope="module")
def filled(server):
    chooser = random.Random(7)
    client = connect(server)
    client._encoding = "utf-8"
    client.enable("UTF8=ACCEPT") if "UTF8=ACCEPT" in client.capabilities else None
    append(client, "INBOX", [text_of(number, chooser) for number in range(COUNT)])
    append(client, "INBOX", [f"Subject: {name}\r\n{text}" for name, text in STRANGE.items()])
    append(client, "INBOX", [text_of(number, chooser) for number in range(COUNT, COUNT + 10)])
    client.select("INBOX")
    wait_for_index(server, COUNT - BATCH)
    yield client
    client.logout()


def test_the_same_is_found(filled):
    assert check(filled, "BODY", "n123n") and len(check(filled, "BODY", "n123n")) == 1
    assert len(check(filled, "SUBJECT", "letter 12")) == 11 and len(check(filled, "FROM", "sender3@")) == 71
    assert check(filled, "TEXT", "ietter") == [] and len(check(filled, "TEXT", "ETTER 70")) == 11
    for text in ("übermass", "UBERMASS", "東京", "新宿区", "서울특별", "cafe creme", "fragmented words ete", "inner preface", "cover letter"):
        assert len(check(filled, "TEXT", text)) == 1, text
    for text in ("hidden text", "京東", "aGlkZGVu", "<b>"):
        assert check(filled, "TEXT", text) == [], text


def test_any_part_of_any_text_is_found(filled):
    chooser = random.Random(11)
    texts = random.Random(7)
    letters = [text_of(number, texts) for number in range(COUNT)]
    for _ in range(60):
        number = chooser.randrange(COUNT)
        body = letters[number].split("\r\n\r\n")[1].rstrip()
        start = chooser.randrange(len(body) - 3)
        part = body[start:start + chooser.randrange(1, 25)]
        key = chooser.choice(["BODY", "TEXT"])
        assert number + 1 in check(filled, key, part), (number, part)


def test_combinations(filled):
    for keys in (["OR", "BODY", "n5n", "BODY", "n6n"], ["BODY", "n5n", "BODY", "letter"], ["NOT", "TEXT", "letter"],
                 ["OR", "SUBJECT", '"letter 17"', "OR", "FROM", "sender3", "BODY", '"kilo lima"'],
                 ["OR", "NOT", "BODY", "alpha", "BODY", '"kilo lima"'], ["UID", "1:50", "BODY", "alpha", "SINCE", "1-Jan-2000"]):
        assert found(filled, *keys) == found(filled, "OR", "NOT", "ALL", "(" + " ".join(keys) + ")"), keys


def test_what_is_new_moved_or_gone(server, filled):
    chooser = random.Random(13)
    before = len(check(filled, "BODY", "kilo lima"))
    append(filled, "INBOX", ["Subject: late\r\n\r\nkilo lima at the very end\r\n"])
    filled.noop()
    assert len(check(filled, "BODY", "kilo lima")) == before + 1
    filled.create("Other")
    assert filled.uid("COPY", "1:300", "Other")[0] == "OK"
    assert filled.uid("MOVE", "301:400", "Other")[0] == "OK"
    assert filled.uid("STORE", "10:60", "+FLAGS", "(\\Deleted)")[0] == "OK" and filled.expunge()[0] == "OK"
    remaining = check(filled, "BODY", "n4")
    assert 42 not in remaining and 46 not in remaining
    with connect(server, name="Other") as other:
        other._encoding = "utf-8"
        assert len(check(other, "TEXT", "letter")) == 400
        wait_for_index(server)
        assert len(check(other, "TEXT", "letter")) == 400 and len(check(other, "BODY", "n12n")) == 1
        append(other, "Other", [text_of(number, chooser) for number in range(2 * BATCH)])
        other.noop()
        assert len(check(other, "BODY", "n12n")) == 2
        wait_for_index(server)
        assert len(check(other, "BODY", "n12n")) == 2


def test_an_index_is_made_anew(server, filled):
    """A damaged file, none at all, one of another index, an indexer that dies, a restart: never another answer."""
    folder = server.data / "store" / "fulltext"
    expected = check(filled, "BODY", "kilo lima")
    files = sorted(folder.glob("*.db"))
    assert len(files) == 1, "a mailbox that is small has none"
    for damage in (lambda data: b"", lambda data: data[:4096], lambda data: data[:5000] + os.urandom(20000) + data[25000:],
                   lambda data: os.urandom(8192)):
        server.stop()
        files[0].write_bytes(damage(files[0].read_bytes()))
        server.start()
        client = connect(server)
        client._encoding = "utf-8"
        assert check(client, "BODY", "kilo lima") == expected
        append(client, "INBOX", ["Subject: more\r\n\r\nnothing\r\n"] * (BATCH + 1))
        wait_for_index(server)
        client.select("INBOX")
        assert check(client, "BODY", "kilo lima") == expected
        client.logout()


def test_an_indexer_that_dies(server, filled):
    with connect(server, "bob") as client:
        client._encoding = "utf-8"
        chooser = random.Random(17)
        before = added(server)
        for _ in range(2):
            append(client, "INBOX", [text_of(number, chooser) for number in range(2 * BATCH)])
            for _ in range(2):
                time.sleep(chooser.random() / 5)
                os.kill(server.pid("indexer"), signal.SIGKILL)
        client.select("INBOX")
        assert len(check(client, "BODY", "n12n")) == 2
        wait_for_index(server, before + 3 * BATCH)
        assert len(check(client, "BODY", "n12n")) == 2


def test_the_file_goes_with_the_account(server):
    folder = server.data / "store" / "fulltext"
    assert len(list(folder.glob("*.db"))) == 2
    server.command("user", "remove", "bob@local.example", "--yes")
    wait_until(lambda: len(list(folder.glob("*.db"))) == 1, 90, "the file to go")


@pytest.mark.skipif(not CORPUS.exists(), reason=f"{CORPUS} is not here")
def test_real_messages(tmp_path):
    box = tmp_path / "archive.mbox"
    box.write_bytes(gzip.decompress(CORPUS.read_bytes()))
    with Server(store="reserve = 16M segment_size = 64M full_text_from = 100") as server:
        server.add_user("ann@local.example")
        server.command("import", "ann@local.example", str(box), "--mailbox", "INBOX")
        wait_for_index(server, 1000)
        chooser = random.Random(23)
        messages = list(mailbox.mbox(box))
        with connect(server) as client:
            client._encoding = "utf-8"
            hits = 0
            for _ in range(40):
                message = chooser.choice(messages)
                words = str(message.get_payload()).split() if not message.is_multipart() else str(message["Subject"]).split()
                words = [word for word in words if word.isascii() and word.isalnum()] or ["the"]
                start = chooser.randrange(len(words))
                hits += len(check(client, chooser.choice(["BODY", "TEXT", "SUBJECT"]), " ".join(words[start:start + 2])))
            assert hits > 40
