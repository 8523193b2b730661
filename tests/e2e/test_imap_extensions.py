"""Extensions of IMAP on the real binary: compression, messages put together on the server, searches in many mailboxes."""
import os
import re
import subprocess
import zlib

import pytest

from test_imap import PASSWORD, USER, fill, ok, session
from veredus import Dev, Server


@pytest.fixture(scope="module")
def server():
    with Dev("--user", f"{USER}:{PASSWORD}") as running:
        yield running


class Raw:
    """Commands as they are written, on imaplib's connection."""
    number = 0

    def __init__(self, client):
        self.client = client

    def ask(self, command):
        """All replies up to the tagged one."""
        Raw.number += 1
        tag, answer = b"r%d " % Raw.number, b""
        self.client.send(tag + command + b"\r\n")
        while not re.search(rb"(^|\r\n)" + tag + rb"(OK|NO|BAD)[^\r\n]*\r\n$", answer):
            line = self.client.readline()
            assert line, answer[-200:]
            answer += line
        return answer


class Compressed:
    """A connection on which DEFLATE goes over the TLS (RFC 4978)."""

    def __init__(self, client):
        client.send(b"y COMPRESS DEFLATE\r\n")
        assert client.readline() == b"y OK DEFLATE is active\r\n"
        self.socket, self.rest, self.number = client.sock, b"", 0
        self.pack, self.unpack = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
        self.received = 0

    def send(self, text):
        self.socket.sendall(self.pack.compress(text) + self.pack.flush(zlib.Z_SYNC_FLUSH))

    def ask(self, command):
        """All replies up to the tagged one."""
        self.number += 1
        tag = b"z%d " % self.number
        self.send(tag + command + b"\r\n")
        while not re.search(rb"(^|\r\n)" + tag + rb"(OK|NO|BAD)[^\r\n]*\r\n$", self.rest):
            data = self.socket.recv(65536)
            assert data, self.rest[-200:]
            self.received += len(data)
            self.rest += self.unpack.decompress(data)
        answer, self.rest = self.rest, b""
        return answer


def test_compressed_sessions(server):
    with session(server) as client:
        fill(client, "Packed", 3)
        body = b"".join(b"Line %d of many that are much alike\r\n" % i for i in range(40000))
        ok(client.append("Packed", None, None, b"Subject: long\r\n\r\n" + body))
        packed = Compressed(client)
        assert b"* 4 EXISTS" in packed.ask(b"SELECT Packed")
        assert b"COMPRESS" not in packed.ask(b"CAPABILITY")
        assert body in packed.ask(b"FETCH 4 BODY.PEEK[]")
        assert packed.received < len(body) / 5
        noise = os.urandom(50000).hex().encode()
        assert b"OK [APPENDUID" in packed.ask(b"APPEND Packed {%d+}\r\n" % len(noise) + noise)
        assert noise in packed.ask(b"FETCH 5 BODY.PEEK[]")
        # Many commands in few octets: each is answered, and the server goes on reading only as the answers are read.
        packed.send(b"".join(b"m%d NOOP\r\n" % i for i in range(2000)))
        assert packed.ask(b"NOOP").count(b" OK Nothing done\r\n") == 2001
        assert b"BAD [COMPRESSIONACTIVE]" in packed.ask(b"COMPRESS DEFLATE")
        assert b"* BYE" in packed.ask(b"LOGOUT")  # imaplib's own in clear could be the begin of good DEFLATE, and wait for the rest


def test_octets_that_are_not_deflate_end_the_session_alone(server):
    with session(server) as client, session(server) as other:
        packed = Compressed(client)
        packed.socket.sendall(b"\xff\xff\xff\xffnoop\r\n")
        assert packed.socket.recv(100) == b""
        ok(other.noop())


def test_replace_and_catenate(server):
    with session(server) as client, session(server) as other:
        fill(client, "Drafts2", 3)
        ok(client.create("Sent2"))
        ok(other.select("Drafts2"))
        uid = int(re.search(rb"UID (\d+)", ok(client.fetch("2", "(UID)"))[0])[1])
        before = ok(client.fetch("2", "(BODY.PEEK[])"))[0][1]
        raw = Raw(client)
        answer = raw.ask(b"UID REPLACE %d Drafts2 (\\Draft) {8+}\r\nnew text" % uid)
        assert b"* OK [APPENDUID " in answer and b"* 2 EXPUNGE\r\n" in answer and b"* 3 EXISTS\r\n" in answer
        assert b" OK Replaced" in answer and answer.index(b"APPENDUID") < answer.index(b"EXPUNGE")
        answer = raw.ask(b"UID REPLACE %d Drafts2 {8+}\r\nnew text" % uid)
        assert b" NO [EXPUNGEISSUED] " in answer
        # Another session that has not heard of it yet: nothing is filed.
        assert b" NO [EXPUNGEISSUED] " in Raw(other).ask(b"UID REPLACE %d Drafts2 {8+}\r\nnew text" % uid)
        assert b"* 3 EXISTS" in raw.ask(b"SELECT Drafts2")
        answer = raw.ask(b"APPEND Sent2 CATENATE (URL \"/Drafts2/;UID=%d/;SECTION=HEADER\" TEXT {6+}\r\nown\r\n\r URL \"/Drafts2/;UID=%d/;SECTION=TEXT\")"
                         % (uid + 2, uid + 1))
        assert b"[APPENDUID" in answer, answer
        answer = raw.ask(b"APPEND Sent2 {5+}\r\nfirst CATENATE (URL \"/Drafts2/;UID=%d\")" % uid)
        assert b"NO [BADURL /Drafts2/;UID=%d]" % uid in answer
        assert b"OK [APPENDUID" in raw.ask(b"APPEND Sent2 {5+}\r\nlater")
        assert b"* 2 EXISTS" in raw.ask(b"SELECT Sent2")
        assert len(before) > 0


def test_a_replacement_counts_what_goes_against_the_quota():
    with Dev("--user", f"{USER}:{PASSWORD}") as running:
        running.run("user", "quota", USER, "20K")
        with session(running) as client:
            ok(client.create("Full"))
            ok(client.append("Full", None, None, b"Subject: large\r\n\r\n" + b"x" * 15000))
            ok(client.select("Full"))
            raw, text = Raw(client), b"Subject: other\r\n\r\n" + b"y" * 15000
            assert b'* QUOTAROOT Full ""\r\n* QUOTA "" (STORAGE 15 20)\r\n' in raw.ask(b"GETQUOTAROOT Full")
            assert b"NO [OVERQUOTA]" in raw.ask(b"APPEND Full {%d+}\r\n" % len(text) + text)
            assert b"OK Replaced" in raw.ask(b"REPLACE 1 Full {%d+}\r\n" % len(text) + text)
            assert b"DELETED-STORAGE 0" in raw.ask(b"STATUS Full (DELETED-STORAGE)")
            ok(client.store("1", "+FLAGS", r"(\Deleted)"))
            assert b"DELETED-STORAGE 15" in raw.ask(b"STATUS Full (DELETED-STORAGE)")
            assert b"y" * 15000 in raw.ask(b"FETCH 1 BODY.PEEK[TEXT]")


def test_one_search_in_many_mailboxes(server):
    with session(server) as client:
        fill(client, "Many", 3)
        fill(client, "Many/One", 2)
        fill(client, "Many/One/Deep", 1)
        ok(client.store("1", "+FLAGS", r"($Mark)"))
        ok(client.select("Many"))
        ok(client.store("2", "+FLAGS", r"($Other $Mark)"))
        ok(client.store("3", "+FLAGS", r"(\Deleted)"))
        ok(client.expunge())
        raw = Raw(client)

        def hits(command):
            answer = raw.ask(command)
            assert answer.splitlines()[-1].split(b" ")[1] == b"OK", answer
            found = re.findall(rb'\* ESEARCH \(TAG "r\d+" MAILBOX (\S+) UIDVALIDITY \d+\) UID ALL (\S+)\r\n', answer)
            assert len(found) == answer.count(b"ESEARCH")
            return dict(found)
        assert hits(b"ESEARCH IN (subtree Many) KEYWORD $Mark") == {b"Many": b"2", b"Many/One/Deep": b"1"}
        assert hits(b"ESEARCH IN (subtree-one Many) ALL") == {b"Many": b"1:2", b"Many/One": b"1:2"}
        assert hits(b"ESEARCH IN (mailboxes (Many/One Nowhere INBOX)) UID *") == {b"Many/One": b"2"}
        found = hits(b"ESEARCH IN (personal) RETURN () BODY \"body 1\"")
        assert found.items() >= {b"Many": b"1", b"Many/One": b"1", b"Many/One/Deep": b"1"}.items()
        assert hits(b"ESEARCH KEYWORD $Other") == {b"Many": b"2"}
        # The selected mailbox is as it was.
        assert b"* 2 FETCH" in raw.ask(b"FETCH 2 UID")
        ok(client.unselect())
        assert hits(b"ESEARCH IN (subtree Many) SUBJECT \"number 2\"") == {b"Many": b"2", b"Many/One": b"2"}
        assert b" BAD " in raw.ask(b"ESEARCH ALL")


def test_results_are_kept_up_to_date_by_what_others_do(server):
    with session(server) as watcher, session(server) as client:
        fill(client, "Kept", 3)
        ok(watcher.select("Kept"))
        raw = Raw(watcher)
        answer = raw.ask(b"UID SEARCH RETURN (UPDATE COUNT) UNSEEN BODY body NOT SUBJECT never")
        assert b" COUNT 3\r\n" in answer and b"NOUPDATE" not in answer
        tag = re.search(rb'TAG ("r\d+")', answer)[1]
        watcher.send(b"x IDLE\r\n")
        assert watcher.readline().startswith(b"+")
        ok(client.store("2", "+FLAGS", r"(\Seen)"))
        assert watcher.readline().startswith(b"* 2 FETCH ")
        assert watcher.readline() == b"* ESEARCH (TAG %s) UID REMOVEFROM (0 2)\r\n" % tag
        ok(client.append("Kept", None, None, b"Subject: new\r\n\r\nother\r\n"))
        assert watcher.readline() == b"* 4 EXISTS\r\n"
        assert watcher.readline().endswith(b" RECENT\r\n")
        ok(client.append("Kept", None, None, b"Subject: new\r\n\r\nbody\r\n"))
        assert watcher.readline() == b"* 5 EXISTS\r\n"
        assert watcher.readline().endswith(b" RECENT\r\n")
        assert watcher.readline() == b"* ESEARCH (TAG %s) UID ADDTO (0 5)\r\n" % tag
        ok(client.store("1", "+FLAGS.SILENT", r"(\Deleted)"))
        assert watcher.readline().startswith(b"* 1 FETCH ")
        ok(client.expunge())
        assert watcher.readline() == b"* ESEARCH (TAG %s) UID REMOVEFROM (0 1)\r\n" % tag
        assert watcher.readline() == b"* 1 EXPUNGE\r\n"
        watcher.send(b"DONE\r\n")
        assert watcher.readline().startswith(b"x OK")
        assert b" OK " in raw.ask(b"CANCELUPDATE " + tag)
        assert b"ESEARCH" not in raw.ask(b"STORE 1 -FLAGS (\\Seen)")
        # What the message's summary decides.
        answer = raw.ask(b"UID SEARCH RETURN (UPDATE COUNT) SUBJECT later")
        tag = re.search(rb'TAG ("r\d+")', answer)[1]
        ok(client.append("Kept", None, None, b"Subject: sooner\r\n\r\nlater\r\n"))
        ok(client.append("Kept", None, None, b"Subject: later\r\n\r\nbody\r\n"))
        assert b"* ESEARCH (TAG %s) UID ADDTO (0 7)\r\n" % tag in raw.ask(b"NOOP")


def test_metadata_is_kept_with_its_mailbox():
    with Dev("--user", f"{USER}:{PASSWORD}") as running:
        with session(running) as client:
            raw = Raw(client)
            for name in ("Notes", "Notes/Old", "Gone"):
                ok(client.create(name))
                assert b" OK " in raw.ask(b"SETMETADATA %s (/private/comment \"of %s\")" % (name.encode(), name.encode()))
            long = b"".join(b"%d\r\n" % i for i in range(1500))
            assert b" OK " in raw.ask(b"SETMETADATA Notes (/shared/comment {%d+}\r\n%s /private/vendor/x/y ~{3+}\r\na\0b)" % (len(long), long))
            entries = b" ".join(b"/private/n%d \"%s\"" % (i, b"x" * 4000) for i in range(40))
            assert b" OK " in raw.ask(b"SETMETADATA INBOX (" + entries[:60000].rsplit(b" /private", 1)[0] + b")")
            assert b"[METADATA TOOMANY]" in raw.ask(b"SETMETADATA INBOX (" + b" ".join(b"/private/m%d \"1\"" % i for i in range(49)) + b")")
            assert b"m0 NIL" in raw.ask(b"GETMETADATA INBOX /private/m0")  # all of it or nothing
            assert b" OK " in raw.ask(b'SETMETADATA "" (/private/vendor/x/app "1")')
            ok(client.rename("Notes", "Kept"))
            ok(client.delete("Gone"))
            ok(client.create("Gone"))
            ok(client.rename("INBOX", "Former"))

        def state():
            with session(running) as client:
                raw = Raw(client)
                found = [raw.ask(b"GETMETADATA %s (DEPTH infinity) (/private /shared)" % name) for name in (b"Kept", b"Kept/Old", b"Gone", b'""', b"Former", b"INBOX")]
                found.append(raw.ask(b'LIST "" * RETURN (METADATA (/private/comment))'))
                return [re.sub(rb"r\d+ OK", b"OK", text) for text in found]
        before = state()
        assert long in before[0] and b'/private/comment "of Notes"' in before[0] and b"~{3}\r\na\0b" in before[0]
        assert b'"of Notes/Old"' in before[1] and b"METADATA (" not in before[2] and b"* METADATA" not in before[2]
        assert b"/private/vendor/x/app" in before[3] and b"/private/n0" in before[4] and b"/private/n0" in before[5]
        assert b'* METADATA Kept (/private/comment "of Notes")' in before[6] and b"* METADATA Gone (/private/comment NIL)" in before[6]
        running.stop()
        assert "all is well" in running.run("verify")[0]
        subprocess.run(f"rm {running.directory}/dev/data/store/index.db*", shell=True, check=True)
        running.run("reindex")
        assert "all is well" in running.run("verify")[0]
        running.start()
        assert state() == before


def test_a_limit_of_messages():
    """RFC 9738, by the setting: the newest are worked on, and a client that goes on below them has all in the end."""
    with Server(limits="imap_messages = 3") as running:
        running.add_user("ann@local.example", password=PASSWORD)
        with session(running, "ann@local.example", PASSWORD) as client:
            assert b"MESSAGELIMIT=3" in client.capability()[1][0]
            fill(client, "Many", 8)
            raw, seen, below = Raw(client), [], b"*"
            while True:
                answer = raw.ask(b"UID FETCH 1:" + below + b" (UID)")
                seen += map(int, re.findall(rb"\(UID (\d+)\)", answer))
                limit = re.search(rb"OK \[MESSAGELIMIT 3 (\d+)\]", answer)
                if not limit:
                    break
                below = b"%d" % (int(limit[1]) - 1)
            assert sorted(seen) == list(range(1, 9)) and len(seen) == 8
            assert re.search(rb"NO \[MESSAGELIMIT 3\]", raw.ask(b"COPY 1:4 INBOX"))
            assert re.search(rb"\* SEARCH 6 7 8\r\n.*OK \[MESSAGELIMIT 3 6\]", raw.ask(b"SEARCH ALL"), re.S)
            assert re.search(rb"\* SEARCH 3 4 5\r\n.*OK Searched", raw.ask(b"SEARCH UIDBEFORE 6 UIDAFTER 2"), re.S)
