"""Habits of mail programs, as they come over the wire: each has broken some server, and each is answered as the program expects."""
import re
import socket

import pytest

from veredus import CLIENT_TLS, Dev

USER, PASSWORD = "habits@example.org", "pw"
TEXT = b"From: bob@remote.example\r\nTo: habits@example.org\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\nSubject: %d\r\n" \
       b"Message-ID: <%d@remote.example>\r\nX-TUID: tuid%d\r\n\r\nBody %d\r\n"


@pytest.fixture(scope="module")
def server():
    with Dev("--user", f"{USER}:{PASSWORD}") as running:
        yield running


class Wire:
    """Octets as they are, and the replies line by line."""

    def __init__(self, server):
        raw = socket.create_connection(("127.0.0.1", server.ports["imaps"]), timeout=60)
        self.socket = CLIENT_TLS.wrap_socket(raw, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        self.file.readline()

    def send(self, *lines):
        """All of them at once, as a program that pipelines does."""
        self.socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def until(self, *tags):
        """The replies up to the tagged ones, which come in this order."""
        said = b""
        for tag in tags:
            while True:
                line = self.file.readline()
                assert line, said
                said += line
                if re.match(re.escape(tag) + rb" (OK|NO|BAD) ", line):
                    break
        return said

    def ask(self, tag, *lines):
        self.send(tag + b" " + lines[0], *lines[1:])
        return self.until(tag)

    def close(self):
        self.socket.close()


@pytest.fixture
def wire(server):
    client = Wire(server)
    assert b"l OK" in client.ask(b"l", b"LOGIN %s %s" % (USER.encode(), PASSWORD.encode()))
    yield client
    client.close()


@pytest.fixture
def mailbox(wire, request):
    """A mailbox with three messages, selected."""
    name = re.sub(r"\W", "", request.node.name)[:40].encode()
    wire.ask(b"c", b"CREATE " + name)
    for i in range(1, 4):
        text = TEXT % (i, i, i, i)
        assert b"a OK" in wire.ask(b"a", b"APPEND %s {%d+}\r\n%s" % (name, len(text), text))
    assert b"s OK" in wire.ask(b"s", b"SELECT " + name)
    return name


def test_apple_mail_pipelines_around_idle(wire, mailbox):
    """It sends DONE and the next commands in one packet, and IDLE again behind them."""
    wire.send(b"1.1 IDLE")
    assert wire.file.readline().startswith(b"+ ")
    wire.send(b"DONE", b"1.2 NOOP", b"1.3 UID FETCH 1:3 (FLAGS UID)", b"1.4 IDLE")
    said = wire.until(b"1.1", b"1.2", b"1.3")
    assert said.count(b" FETCH ") == 3 and wire.file.readline().startswith(b"+ ")
    wire.send(b"DONE")
    wire.until(b"1.4")
    # IDLE, DONE and a command without waiting for the continuation.
    wire.send(b"1.5 IDLE", b"DONE", b"1.6 CHECK")
    assert b"+ " in wire.until(b"1.5", b"1.6")


def test_apple_mail_ends_an_idle_that_is_over(wire, mailbox):
    """A DONE too many is passed over: an answer to it would be taken for that of the next command."""
    wire.send(b"2.1 IDLE", b"DONE", b"DONE", b"done", b"2.2 NOOP")
    assert b" BAD " not in wire.until(b"2.1", b"2.2")


def test_apple_mail_searches_and_fetches_in_one_go(wire, mailbox):
    wire.send(b"3.1 UID SEARCH RETURN (SAVE) UNDELETED", b"3.2 UID FETCH $ (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from "
              b"content-type to cc bcc message-id in-reply-to references)])", b"3.3 STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
    said = wire.until(b"3.1", b"3.2", b"3.3")
    assert said.count(b" FETCH (UID ") == 3 and b"* STATUS INBOX (" in said


def test_outlook_ends_a_message_with_an_empty_line_too_many(wire, mailbox):
    text = TEXT % (9, 9, 9, 9)
    wire.send(b'o1 APPEND "%s" (\\Seen) "24-Nov-2026 10:00:00 +0100" {%d}' % (mailbox, len(text)))
    said = b""
    while not said.startswith(b"+ "):
        said = wire.file.readline()
    wire.socket.sendall(text + b"\r\n\r\n\r\n")
    assert b"o1 OK [APPENDUID " in wire.until(b"o1")
    assert b"o2 OK" in wire.ask(b"o2", b"NOOP")


def test_outlook_asks_for_the_hierarchy_and_for_lsub(wire, mailbox):
    assert b'* LIST (\\Noselect) "/" ""' in wire.ask(b"o3", b'LIST "" ""')
    wire.ask(b"o4", b"SUBSCRIBE " + mailbox)
    assert b'* LSUB () "/" ' + mailbox in wire.ask(b"o5", b'LSUB "" "*"')


def test_thunderbird_writes_in_small_letters_and_new_flags(wire, mailbox):
    assert b"5 OK" in wire.ask(b"5", b'select "%s" (CONDSTORE)' % mailbox)
    assert wire.ask(b"6", b"UID fetch 1:* (FLAGS)").count(b" FETCH ") == 3
    assert b"7 OK" in wire.ask(b"7", b"uid store 2 +Flags ($Label1 NonJunk)")
    assert b"8 OK" in wire.ask(b"8", b'ID ("name" "Thunderbird" "version" "128.4.0")')
    assert b"9 OK" in wire.ask(b"9", b"UID fetch 3 (UID RFC822.SIZE BODY[]<0.8192>)")
    assert b"BODY[]<0> {" in wire.ask(b"10", b"UID fetch 3 (UID RFC822.SIZE BODY.PEEK[]<0.100>)")


def test_k9_pages_from_the_end(wire, mailbox):
    """It counts messages, and fetches the last ones by number; ID without anything to say."""
    assert b"* SEARCH 1 2 3\r\n" in wire.ask(b"1", b"UID SEARCH 1:* NOT DELETED")
    assert wire.ask(b"2", b"FETCH 2:3 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type "
                          b"to cc reply-to message-id references in-reply-to list-unsubscribe X-K9mail-Identity)])").count(b" FETCH ") == 2
    assert b"3 OK" in wire.ask(b"3", b"ID NIL")
    assert b"* SEARCH\r\n" in wire.ask(b"4", b"UID SEARCH HEADER MESSAGE-ID <none@remote.example>")


def test_mutt_asks_for_one_more_than_there_is(wire, mailbox):
    """After new mail it fetches "4:*" whatever has come: the last message is then told again."""
    assert b"* 3 FETCH" in wire.ask(b"a0001", b"UID FETCH 999:* (UID FLAGS)")
    assert b"a0002 OK" in wire.ask(b"a0002", b"FETCH 1:3 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM SENDER "
                                             b"SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO LINES "
                                             b"LIST-POST X-LABEL)])")
    assert b"a0003 OK" in wire.ask(b"a0003", b"UID STORE 1 +FLAGS.SILENT (\\Seen old)")


def test_mbsync_pipelines_and_looks_for_what_it_has_filed(wire, mailbox):
    """Dozens of commands ahead; after an APPEND without UIDPLUS it searches for a header of its own."""
    lines = [b"%d UID FETCH %d BODY.PEEK[]" % (i, 1 + i % 3) for i in range(40)] + [b"40 UID STORE 1 +FLAGS.SILENT (\\Deleted)"]
    wire.send(*lines)
    assert wire.until(*[b"%d" % i for i in range(41)]).count(b"X-TUID: tuid") == 40
    assert b"* SEARCH 2\r\n" in wire.ask(b"41", b"UID SEARCH HEADER X-TUID tuid2")
    assert b"* 3 FETCH (UID 3 FLAGS" in wire.ask(b"42", b"UID FETCH 3:1000000000 (UID FLAGS)")


def test_offlineimap_looks_for_what_it_has_filed(wire, mailbox):
    text = b"X-OfflineIMAP: 1234-5678\r\nSubject: new\r\n\r\nbody\r\n"
    assert b"o OK" in wire.ask(b"o", b'APPEND %s (\\Seen) " 4-Nov-2026 09:05:00 +0100" {%d+}\r\n%s' % (mailbox, len(text), text))
    assert b"* SEARCH 4\r\n" in wire.ask(b"p", b"UID SEARCH HEADER X-OfflineIMAP 1234-5678")
    assert b'INTERNALDATE " 4-Nov-2026 08:05:00 +0000"' in wire.ask(b"q", b"FETCH 4 (INTERNALDATE UID)")


def test_imapsync_asks_for_the_status_of_the_selected_mailbox(wire, mailbox):
    assert b"MESSAGES 3" in wire.ask(b"1", b"STATUS %s (MESSAGES UIDNEXT UIDVALIDITY)" % mailbox)
    assert wire.ask(b"2", b"FETCH 1,2,3 BODY.PEEK[HEADER.FIELDS (Message-ID Received)]").count(b" FETCH ") == 3
    assert b"* QUOTAROOT " in wire.ask(b"3", b"GETQUOTAROOT " + mailbox)
    assert b"4 OK" in wire.ask(b"4", b'CREATE "%s/Sub.folder, with [brackets]"' % mailbox)
    assert b"5 OK" in wire.ask(b"5", b'EXAMINE "%s/Sub.folder, with [brackets]"' % mailbox)


def test_delta_chat_moves_keeps_a_token_and_idles(wire, mailbox):
    assert b"OK" in wire.ask(b"1", b"CREATE DeltaChat")
    assert b"2 OK" in wire.ask(b"2", b'SETMETADATA INBOX (/private/devicetoken "token")')
    assert b"[COPYUID " in wire.ask(b"3", b"UID MOVE 2 DeltaChat")
    assert b"4 OK" in wire.ask(b"4", b"UID FETCH 1:* (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID FROM IN-REPLY-TO REFERENCES "
                                     b"CHAT-VERSION AUTOCRYPT-SETUP-MESSAGE)])")
    assert b"5 OK" in wire.ask(b"5", b"UID STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert b"6 OK" in wire.ask(b"6", b"CLOSE")


def test_scripts_write_spaces_at_the_end(wire, mailbox):
    assert b"1 OK" in wire.ask(b"1", b"NOOP ")
    assert b"* 1 FETCH" in wire.ask(b"2", b"FETCH 1 (FLAGS)  ")
    assert b"3 OK" in wire.ask(b"3", b"SEARCH ALL ")
    # What is in a literal stays.
    assert b"4 OK" in wire.ask(b"4", b"CREATE {%d+}\r\n%s " % (len(mailbox) + 1, mailbox))
    assert b'"%s "' % mailbox in wire.ask(b"5", b'LIST "" "%s "' % mailbox)
