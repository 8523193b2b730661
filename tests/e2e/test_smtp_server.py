"""The SMTP server on real sockets: no relaying, wrong doors, STARTTLS, early talkers, limits, LMTP, and what submission does to a
message."""
import contextlib
import email.utils
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import pytest
from network import Network
from veredus import CLIENT_TLS, PASSWORD, Server, free_port, parsed, wait_until

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
DOORS = "port {submission} with STARTTLS or port {submissions} with TLS from the first byte"


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        running.add_user("ann@local.example")
        running.add_user("bob@local.example")
        yield running


class Raw:
    """A connection that sends bytes as they are and reads replies."""

    def __init__(self, port, tls=False, greeting=True, timeout=60, address="127.0.0.1"):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if tls:
            self.start_tls()
        if greeting:
            assert self.reply()[0] == 220

    def start_tls(self):
        self.socket = CLIENT_TLS.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError(self.buffer)
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r")
        return line[:-1].decode()

    def reply(self):
        lines = [self.line()]
        while lines[-1][3] == "-":
            lines.append(self.line())
        assert re.match(r"[2-5][0-9][0-9] ", lines[-1]), lines
        return int(lines[-1][:3]), "\n".join(line[4:] for line in lines)

    def ask(self, command):
        self.send(command.encode() + b"\r\n" if isinstance(command, str) else command)
        return self.reply()

    def is_closed(self):
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except (ConnectionResetError, ssl.SSLError):
            return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def doors(server):
    return DOORS.format(**server.ports)


# Nothing is relayed (goal G16)

FORMS = ["<victim@{0}>", "<\"victim\"@{0}>", "<vic\\tim@{0}>", "<victim%{0}@local.example>", "<victim%{0}>", "<\"victim%{0}\"@local.example>",
         "<\"victim@{0}\"@local.example>", "<\"victim@{0}\">", "<victim@{0}@local.example>", "<victim@{0}%local.example>",
         "<{0}!victim@local.example>", "<{0}!victim>", "<local.example!{0}!victim>", "<@local.example:victim@{0}>",
         "<@local.example,@mail.local.example:victim@{0}>", "<@[127.0.0.1]:victim@{0}>", "<@{0}:victim@local.example@local.example>",
         "<@local.example:@{0}:victim@local.example>", "<victim@{0},ann@local.example>", "<ann@local.example,victim@{0}>",
         "<ann@local.example>,<victim@{0}>", "<ann@local.example> <victim@{0}>", "<group:victim@{0};>", "<victim(ann@local.example)@{0}>",
         "<victim@{0}(local.example)>", "<victim@{0}.>", "<victim@{0}.local.example>", "<victim@local.example.{0}>",
         "<victim@{0}#local.example>", "<victim@{0}> ORCPT=rfc822;ann@local.example", "victim@{0}", "<<victim@{0}>>", "<victim@{0}",
         "<postmaster@{0}>", "<postmaster%{0}>", "<victim=%{0}@local.example>", "<|victim@{0}>", "</var/mail/victim@{0}>",
         "<victim@[{0}]>", "<victim@xn--{0}>"]
DOMAINS = ["away.example", "192.0.2.7", "[192.0.2.7]", "xlocal.example", "localxexample", "local.example.away.example"]


def logged_out(server):
    yield "mx", Raw(server.ports["mx"])
    session = Raw(server.ports["mx"])
    session.ask("EHLO x")
    assert session.ask("STARTTLS")[0] == 220
    session.start_tls()
    yield "mx in TLS", session
    yield "submission", Raw(server.ports["submission"])
    yield "submissions", Raw(server.ports["submissions"], tls=True)


def test_nothing_is_relayed(server):
    forms = [form.format(domain) for form in FORMS for domain in DOMAINS]
    assert len(forms) >= 200
    taken = []
    for start in range(0, len(forms), 12):  # so that the limit of errors is not reached
        for name, session in logged_out(server):
            with session:
                session.ask("EHLO away.example")
                for form in forms[start:start + 12]:
                    if session.ask("MAIL FROM:<ann@local.example>")[0] != 250:
                        assert name.startswith("submission")
                        break
                    code, _ = session.ask("RCPT TO:" + form)
                    if code == 250:
                        taken.append(form)
                    session.ask("RSET")
    assert taken == []
    time.sleep(2)  # only so many refusals a second are told one by one: those of the next test shall be
    assert server.rows("queue", "list") == []


# The wrong door


def test_tls_to_a_port_in_clear(server):
    for port in ("mx", "submission"):
        with Raw(server.ports[port]) as session:
            code, text = session.ask(CLIENT_HELLO)
            assert code == 554 and doors(server) in text and session.is_closed()
    wait_until(lambda: "TLS was begun on a port that speaks SMTP in clear first" in server.log(), 20, server.log)
    with socket.create_connection(("127.0.0.1", server.ports["submission"]), 60) as plain, pytest.raises(ssl.SSLError):
        CLIENT_TLS.wrap_socket(plain, server_hostname="localhost")


def test_http_to_smtp(server):
    for port in ("mx", "submission"):
        with Raw(server.ports[port]) as session:
            code, text = session.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n")
            assert code == 421 and "not a web server" in text and doors(server) in text and session.is_closed()
    with Raw(server.ports["submissions"], tls=True) as session:
        assert session.ask(b"POST /x HTTP/1.1\r\n\r\n")[0] == 421
    wait_until(lambda: "not a web server" in server.log(), 20, server.log)


def test_login_on_the_mx(server):
    with Raw(server.ports["mx"]) as session:
        assert "AUTH" not in session.ask("EHLO x")[1].split()
        code, text = session.ask("AUTH PLAIN AGFubgB4")
        assert code == 503 and doors(server) in text
    wait_until(lambda: "No login on this port" in server.log(), 20, server.log)


def test_submission_without_login(server):
    with Raw(server.ports["submission"]) as session:
        assert "AUTH" not in session.ask("EHLO x")[1].split()
        assert session.ask("AUTH PLAIN AGFubgB4") == (
            538, "5.7.11 Begin TLS first: STARTTLS, then EHLO, then AUTH; no password travels in clear")
        code, text = session.ask("MAIL FROM:<ann@local.example>")
        assert (code, text) == (530, "5.7.0 Begin TLS and log in first: STARTTLS, EHLO, AUTH, then MAIL. Mail between servers goes to "
                                     f"port {server.ports['mx']}")
        assert session.ask("STARTTLS")[0] == 220
        session.start_tls()
        session.ask("EHLO x")
        code, text = session.ask("MAIL FROM:<ann@local.example>")
        assert code == 530 and text.startswith("5.7.0 Log in first: AUTH, then MAIL.")
    wait_until(lambda: "Begin TLS and log in first" in server.log(), 20, server.log)


def test_smtp_in_clear_to_a_port_with_tls(server):
    with Raw(server.ports["submissions"], greeting=False) as session:
        text = (421, "4.7.0 This port speaks SMTP in TLS from the first byte, and something in clear was sent; STARTTLS is at port "
                     f"{server.ports['submission']}")
        assert session.ask("EHLO x") == text and session.is_closed()
    wait_until(lambda: f"refused 421 {text[1].split(': ')[0][:5]} client=127.0.0.1: {text[1][6:]}" in server.log(), 20, server.log)


def test_early_talker(server):
    """Who sends before the greeting is refused. The server stands still meanwhile, or it might be faster."""
    roles = server.pids()["smtpd-mx"]
    for pid in roles:
        os.kill(pid, signal.SIGSTOP)
    try:
        s = socket.create_connection(("127.0.0.1", server.ports["mx"]), 60)
        s.sendall(b"EHLO spammer\r\nMAIL FROM:<x@away.example>\r\n")
    finally:
        for pid in roles:
            os.kill(pid, signal.SIGCONT)
    with s:
        assert s.recv(4096).startswith(b"554 5.5.1 You spoke before the greeting")
        assert s.recv(1) == b""


# TLS


@pytest.mark.parametrize("offered, taken", [
    ("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384")])
def test_which_cipher_is_taken(server, offered, taken):
    """AES with 128 bits, but for clients that would rather have ChaCha20 or have nothing else."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.ports['submissions']}", "-ciphersuites", offered]
    out = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, check=False, timeout=60).stdout
    assert b"Cipher is " + taken.encode() in out


# STARTTLS


INJECTED = [b"EHLO evil\r\n", b"MAIL FROM:<evil@away.example>\r\nRCPT TO:<ann@local.example>\r\nDATA\r\nEvil: yes\r\n\r\n.\r\n",
            b"EHLO evil\r\nAUTH PLAIN AGFubgB4\r\n", b"NOOP\r\nNOOP\r\n", b"STARTTLS\r\n", b"\x00", b"BDAT 100\r\n"]


@pytest.mark.parametrize("port", ["mx", "submission"])
def test_nothing_from_before_the_handshake_counts(server, port):
    cases = 0
    for text in INJECTED:
        data = b"STARTTLS\r\n" + text
        for split in [*range(1, 14, 3), len(data)]:
            with Raw(server.ports[port]) as session:
                session.ask("EHLO x")
                session.send(data[:split])
                if split < len(data):
                    session.send(data[split:])
                try:
                    assert session.reply()[0] == 220
                    session.start_tls()
                    assert session.ask("MAIL FROM:<ann@local.example>") == (503, "5.5.1 Begin with EHLO or HELO")
                    assert "STARTTLS" not in session.ask("EHLO x")[1]
                    assert session.ask("NOOP") == (250, "2.0.0 OK")
                except (ssl.SSLError, EOFError, ConnectionResetError):
                    pass  # it came behind the 220: the handshake fails and the connection is closed
                cases += 1
    assert cases >= 30
    assert server.subjects("ann@local.example") == [] and server.rows("queue", "list") == []


def test_state_begins_anew(server):
    with Raw(server.ports["mx"]) as session:
        session.ask("EHLO x")
        session.ask("MAIL FROM:<x@away.example>")
        assert session.ask("RCPT TO:<ann@local.example>")[0] == 250
        assert session.ask("STARTTLS now") == (501, "5.5.4 STARTTLS takes no parameters")
        assert session.ask("STARTTLS")[0] == 220
        session.start_tls()
        assert session.ask("RCPT TO:<ann@local.example>")[0] == 503
        session.ask("EHLO x")
        assert session.ask("RCPT TO:<ann@local.example>") == (503, "5.5.1 MAIL comes before RCPT")
        assert session.ask("DATA")[0] == 503
        assert session.ask("STARTTLS") == (503, "5.5.1 TLS is in use already")


# Submission


def submit(server, text, sender="ann@local.example", recipients=("bob@local.example",)):
    with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=60, local_hostname="client.example") as session:
        session.starttls(context=CLIENT_TLS)
        session.login("ann@local.example", PASSWORD)
        session.sendmail(sender, list(recipients), text)


def last_message(server, subject, user="bob@local.example"):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = [message for message in parsed(server.fetch(user)) if message["Subject"] == subject]
        if found:
            return found[0]
        time.sleep(0.1)
    return pytest.fail(f"{subject} did not come")


def test_what_submission_adds_and_removes(server):
    submit(server, "bCc: secret@away.example,\r\n\tmore@away.example\r\nFrom: Ann <ann@local.example>\r\nRETURN-PATH: <x@y>\r\n"
                   "Subject: one\r\nResent-Bcc :\r\n  other@away.example\r\nTo: bob@local.example\r\n\r\nBcc: stays\r\n")
    message = last_message(server, "one")
    text = message.as_string()
    assert "secret" not in text and "more@" not in text and "other@" not in text and "Bcc: stays" in message.get_payload()
    assert message.get_all("Return-Path") == ["<ann@local.example>"]
    assert email.utils.parsedate_to_datetime(message["Date"]).timestamp() == pytest.approx(time.time(), abs=600)
    assert re.fullmatch(r"<[0-9a-z]+@mail\.local\.example>", message["Message-ID"])
    received = " ".join(message["Received"].split())
    assert re.match(r"from client\.example \(\[127\.0\.0\.1\]\) by mail\.local\.example with ESMTPSA id [0-9a-z]+ "
                    r"\(TLSv1\.3 cipher TLS_[A-Z0-9_]+\) for <bob@local\.example>; ", received), received
    assert message["Delivered-To"] == "bob@local.example"


def test_what_is_there_stays(server):
    submit(server, "From: ann@local.example\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <mine@x>\r\nSubject: two\r\n\r\nx\r\n",
           recipients=["bob@local.example", "ann@local.example"])
    message = last_message(server, "two")
    assert message.get_all("Date") == ["Thu, 1 Jan 1970 00:00:00 +0000"] and message.get_all("Message-ID") == ["<mine@x>"]
    assert "for <" not in message["Received"]  # each would learn of the other


@pytest.mark.parametrize("header, code, status", [
    ("From: bob@local.example", 550, "5.7.1"), ("From: ann@local.example\r\nFrom: bob@local.example", 550, "5.6.0"),
    ("From: ann@local.example, bob@local.example", 550, "5.7.1"), ("From: us: bob@local.example;", 550, "5.7.1"),
    ("From: \"ann@local.example\" <bob@local.example>", 550, "5.7.1"), ("From: (ann@local.example) bob@local.example", 550, "5.7.1"),
    ("From: =?utf-8?q?ann=40local.example?= <bob@local.example>", 550, "5.7.1"),
    ("From: ann@local.example\r\nSender: bob@local.example", 550, "5.7.1"), ("Subject: none", 550, "5.6.0"),
    ("From: ann@away.example", 550, "5.7.1")])
def test_from_must_be_the_logins_own(server, header, code, status):
    with pytest.raises(smtplib.SMTPDataError) as refused:
        submit(server, header + "\r\n\r\nx\r\n")
    assert refused.value.smtp_code == code and refused.value.smtp_error.startswith(status.encode())


def test_reverse_path_must_be_the_logins_own(server):
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        submit(server, "From: ann@local.example\r\n\r\nx\r\n", sender="bob@local.example")
    assert refused.value.smtp_code == 550 and refused.value.smtp_error.startswith(b"5.7.1")


# Limits, each with a server of its own settings


def test_connections_of_one_address(tmp_path):
    """The machine itself may have any number, so this needs another host."""
    with Network(tmp_path) as network:
        host, client = network.host("server"), network.host("client")
        network.start(Server(tmp_path / "server", host, ["local.example"], limits="sessions_per_address = 4"))
        with contextlib.ExitStack() as stack:
            stack.enter_context(client.entered())
            open_ones = [stack.enter_context(Raw(25, address=host.ip)) for _ in range(4)]
            with Raw(25, address=host.ip, greeting=False) as session:
                code, text = session.reply()
                assert code == 421 and text.startswith("4.7.0 Too many sessions from your address")
                assert session.is_closed()
            assert open_ones[0].ask("QUIT")[0] == 221

            def welcome():
                with Raw(25, address=host.ip, greeting=False) as session:
                    return session.reply()[0] == 220
            wait_until(welcome, 20, "the place of the one that has gone")


def test_times():
    with Server(limits="command_timeout = 2s data_timeout = 2s") as running:
        running.add_user("ann@local.example")
        with Raw(running.ports["mx"]) as session:
            # Bytes of a command that never ends do not hold the session.
            begun = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while time.monotonic() < begun + 20:
                    session.send(b"x")
                    time.sleep(0.25)
                    session.socket.settimeout(0.01)
                    with contextlib.suppress(TimeoutError):
                        session.buffer += session.socket.recv(1000)
                        break
            session.socket.settimeout(30)
            assert session.reply() == (421, "4.4.2 No command came in time; connect again")
            assert session.is_closed()
        with Raw(running.ports["mx"]) as session:
            session.ask("EHLO x")
            session.ask("MAIL FROM:<x@away.example>")
            session.ask("RCPT TO:<ann@local.example>")
            assert session.ask("DATA")[0] == 354
            assert session.reply() == (421, "4.4.2 The message data came too slowly or not at all; try again")


def test_lmtp():
    """One reply for each recipient that was accepted (RFC 2033)."""
    port = free_port()
    with Server(sections=f'listener "lmtp" {{ kind = lmtp address = {{"127.0.0.1"}} port = {port} }}\n') as running:
        running.add_user("ann@local.example")
        running.add_user("bob@local.example")
        with smtplib.LMTP("127.0.0.1", port, local_hostname="client.example") as session:
            # It reads one reply only, so one recipient.
            assert session.sendmail("x@away.example", ["ann@local.example"], "Subject: lmtp\r\n\r\nx\r\n") == {}
        with Raw(port) as session:
            assert session.ask("EHLO x")[0] == 500
            assert session.ask("LHLO x")[0] == 250
            session.ask("MAIL FROM:<x@away.example>")
            for user in ("ann", "nobody", "bob"):
                session.ask(f"RCPT TO:<{user}@local.example>")
            assert session.ask("RCPT TO:<x@away.example>")[0] == 550
            session.ask("DATA")
            assert session.ask(b"Subject: lmtp\r\n\r\nx\r\n.\r\n")[0] == 250
            assert session.reply()[0] == 250
            assert session.ask("NOOP") == (250, "2.0.0 OK")
        assert [m["Subject"] for m in parsed(running.wait_for_mail("ann@local.example", 2))] == ["lmtp", "lmtp"]
        assert "with LMTP " in parsed(running.wait_for_mail("bob@local.example", 1))[0]["Received"]
