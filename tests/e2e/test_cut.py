"""Goal G8: a client whose connection is lost at each of the last hundred octets of a session, the final dot and QUIT among them,
and that then submits again. What was acknowledged is there once, what was not sent whole is not there, and nothing is there twice.

The mirror image, a server that is lost at each reply to our client, is in test_relay.py.
"""
import contextlib
import re
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from veredus import CLIENT_TLS, Server, free_port, wait_until

OCTETS = 100
USER = "ann@local.example"
KINDS = ["data", "bdat", "data-in-tls", "bdat-in-tls", "lmtp"]
ENDS = ["half-closed", "reset"]


def text(kind, end, cut, attempt):
    header = f"From: <x@away.example>\r\nSubject: {kind} {end} {cut} {attempt}\r\n"
    return (header + "\r\n" + "A line of the body.\r\n..\r\n" * 4).encode()


def last_part(kind, message):
    """What goes out behind the envelope, with QUIT."""
    if kind.startswith("bdat"):
        return b"BDAT %d LAST\r\n%sQUIT\r\n" % (len(message), message)
    return message.replace(b"\r\n.", b"\r\n..") + b".\r\nQUIT\r\n"


class Client:
    def __init__(self, server, kind):
        self.socket = socket.create_connection(("127.0.0.1", server.ports["lmtp" if kind == "lmtp" else "mx"]), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seen = b""
        self.expect(b"220")
        self.greet(b"LHLO" if kind == "lmtp" else b"EHLO")
        if kind.endswith("in-tls"):
            self.socket.sendall(b"STARTTLS\r\n")
            self.expect(b"220")
            self.socket = CLIENT_TLS.wrap_socket(self.socket)
            self.greet(b"EHLO")
        self.socket.sendall(b"MAIL FROM:<x@away.example>\r\nRCPT TO:<" + USER.encode() + b">\r\n")
        self.expect(b"250")
        self.expect(b"250")
        if not kind.startswith("bdat"):
            self.socket.sendall(b"DATA\r\n")
            self.expect(b"354")

    def greet(self, word):
        self.socket.sendall(word + b" client.example\r\n")
        self.expect(b"250")

    def expect(self, code):
        while not re.search(rb"^[0-9]{3} .*\r\n", self.seen, re.M):
            more = self.socket.recv(4096)
            assert more, self.seen
            self.seen += more
        end = re.search(rb"^[0-9]{3} .*\r\n", self.seen, re.M).end()
        reply, self.seen = self.seen[:end], self.seen[end:]
        assert reply.startswith(code), reply

    def rest(self):
        """All that comes until the end."""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while more := self.socket.recv(4096):
                self.seen += more
        return self.seen

    def end(self, how):
        """Ends the connection; true if the message was acknowledged before."""
        if how == "half-closed":
            socket.socket.shutdown(self.socket, socket.SHUT_WR)  # that of SSLSocket would forget the keys
            acknowledged = b"250 2." in self.rest()
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            acknowledged = False  # nobody looked
        self.socket.close()
        return acknowledged


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port()
    lmtp = f'listener "lmtp" {{ kind = lmtp address = {{"127.0.0.1"}} port = {port} }}\n'
    with Server(tmp_path_factory.mktemp("cut"), sections=lmtp) as running:
        running.ports["lmtp"] = port
        running.add_user(USER)
        yield running


def cut_and_submit_again(server, kind, end):
    """The cuts behind which the message had been acknowledged."""
    acknowledged = set()
    for cut in range(OCTETS):
        part = last_part(kind, text(kind, end, cut, 1))
        client = Client(server, kind)
        client.socket.sendall(part[:len(part) - cut])
        if client.end(end):
            acknowledged.add((kind, end, cut))
        again = Client(server, kind)
        again.socket.sendall(last_part(kind, text(kind, end, cut, 2)))
        again.expect(b"250")
        again.expect(b"221")
        again.socket.close()
    return acknowledged


def copies_found(server):
    """How often each is in the mailbox: by kind, end, cut and attempt."""
    copies = {}
    for message in server.fetch(USER):
        kind, end, cut, attempt = re.search(rb"^Subject: (.*?)\r$", message, re.M)[1].decode().split()
        assert message.endswith(b"\r\n" + text(kind, end, cut, attempt))  # octet by octet
        key = kind, end, int(cut), int(attempt)
        copies[key] = copies.get(key, 0) + 1
    return copies


def test_a_client_that_is_cut_off_at_each_of_the_last_octets(server, capsys):
    with ThreadPoolExecutor(len(KINDS) * len(ENDS)) as pool:
        tried = [pool.submit(cut_and_submit_again, server, kind, end) for kind in KINDS for end in ENDS]
        acknowledged = set().union(*(one.result() for one in tried))
    expected = len(KINDS) * len(ENDS) * OCTETS
    copies = wait_until(lambda: (found := copies_found(server)) and sum(key[3] == 2 for key in found) >= expected and found, 60,
                        f"{expected} messages that were acknowledged", 0.5)
    assert max(copies.values()) == 1
    assert sum(attempt == 2 for _, _, _, attempt in copies) == expected
    first = {key[:3] for key in copies if key[3] == 1}
    assert first >= acknowledged
    for kind in KINDS:
        whole = len(b"QUIT\r\n")  # so many octets may be missing from the end and the message is whole all the same
        assert {cut for k, end, cut in acknowledged if (k, end) == (kind, "half-closed")} == set(range(whole + 1))
        assert max((cut for k, _, cut in first if k == kind)) <= whole
    reset = sum(end == "reset" for _, end, _ in first)
    with capsys.disabled():
        print(f"{expected} cuts: {len(acknowledged)} acknowledged, all there once; of those nobody waited for {reset} were taken",
              file=sys.stderr, flush=True)
