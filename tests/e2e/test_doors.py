"""Every protocol spoken to every port that is not its own: the client is told the right port and mode, and so is the log."""
import re
import socket
import ssl

import pytest
from veredus import CLIENT_TLS, Server, wait_until

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
SAID = {"SMTP": b"EHLO client.example\r\n", "IMAP": b"a1 CAPABILITY\r\n", "POP3": b"USER ann@local.example\r\n",
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "TLS": CLIENT_HELLO}
SPEAKS = {"mx": "SMTP", "submission": "SMTP", "submissions": "SMTP", "imap": "IMAP", "imaps": "IMAP", "pop3": "POP3", "pop3s": "POP3"}
GREETING = {"SMTP": b"220 ", "IMAP": b"* OK ", "POP3": b"+OK "}
CASES = [(port, spoken) for port, own in SPEAKS.items() for spoken in SAID
         if spoken != own and not (spoken == "TLS" and port.endswith("s"))]


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


def right_ports(server, spoken):
    names = {"SMTP": ("submission", "submissions"), "IMAP": ("imap", "imaps"), "POP3": ("pop3", "pop3s")}[spoken]
    return [str(server.ports[name]) for name in names]


def conversation(server, port, said, tls):
    """What the server says to this, up to its end."""
    with socket.create_connection(("127.0.0.1", server.ports[port]), 60) as plain:
        connection = CLIENT_TLS.wrap_socket(plain, server_hostname="localhost") if tls else plain
        received = b""
        if tls or not port.endswith("s"):
            while b"\n" not in received:
                received += connection.recv(4096)
            assert received.startswith(GREETING[SPEAKS[port]])
        connection.sendall(said)
        try:
            while more := connection.recv(4096):
                received += more
                if b"5.5.1 This port speaks SMTP" in received:
                    break  # SMTP goes on, and counts it as an error
        except (ConnectionResetError, ssl.SSLError):
            pass
    return received


@pytest.mark.parametrize("port, spoken", CASES)
def test_another_protocol(server, port, spoken):
    received = conversation(server, port, SAID[spoken], port.endswith("s")).decode(errors="replace")
    last = received.splitlines()[-1]
    own = SPEAKS[port]
    if own == "SMTP":
        assert re.match(r"(421|500|554) ", last), received
    else:
        assert last.startswith("* BYE " if own == "IMAP" else "-ERR "), received
    if spoken == "TLS":
        assert "TLS was begun on a port that speaks" in last and f"port {server.ports[port + 's'] if own != 'SMTP' else ''}" in last
    elif spoken == "HTTP":
        assert "not a web server" in last
    else:
        assert f"This port speaks {own}, and {spoken} was spoken" in last
        assert all(f"port {number} with " in last for number in right_ports(server, spoken)), last
    text = last.split(" ", 2 if own != "POP3" else 1)[-1]
    wait_until(lambda: text[-60:] in server.log(), 20, lambda: server.log()[-2000:])


@pytest.mark.parametrize("port", [port for port in SPEAKS if port.endswith("s")])
@pytest.mark.parametrize("said", [b"EHLO x\r\n", b"a1 LOGIN ann secret\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"x" * 3000 + b"\r\n"])
def test_in_clear_to_a_port_with_tls(server, port, said):
    received = conversation(server, port, said, tls=False).decode()
    own = SPEAKS[port]
    assert received.startswith({"SMTP": "421 4.7.0 ", "IMAP": "* BYE ", "POP3": "-ERR "}[own]), received
    assert f"This port speaks {own} in TLS from the first byte, and something in clear was sent; " in received
    assert received.endswith(f"{'STLS' if own == 'POP3' else 'STARTTLS'} is at port {server.ports[port[:-1]]}\r\n")
    wait_until(lambda: f"This port speaks {own} in TLS from the first byte" in server.log(), 20, server.log)
    # What was said is not in the log: it may be a password.
    assert "secret" not in server.log()
    # The port goes on serving those who do it right.
    assert conversation(server, port, b"QUIT\r\n" if own != "IMAP" else b"q LOGOUT\r\n", tls=True).startswith(GREETING[own])


@pytest.mark.parametrize("port, command", [("imap", b"a STARTTLS\r\n"), ("pop3", b"STLS\r\n"), ("submission", b"EHLO x\r\nSTARTTLS\r\n"),
                                           ("mx", b"EHLO x\r\nSTARTTLS\r\n")])
def test_in_clear_after_starttls(server, port, command):
    """Nothing is said in clear once TLS was agreed upon."""
    with socket.create_connection(("127.0.0.1", server.ports[port]), 60) as plain:
        file = plain.makefile("rb")
        assert file.readline().startswith(GREETING[SPEAKS[port]])
        plain.sendall(command)
        while not re.match(rb"(a OK|\+OK|220 )", line := file.readline()):
            assert line
        plain.sendall(b"NOOP\r\n")
        try:
            assert file.read() == b""
        except ConnectionResetError:
            pass
