"""A mail server that follows a script, to see what a client makes of it. It answers step by step; every step can be told to
give another answer, to close the connection, to wait. It keeps what it took.
"""
import base64
import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time

DROP = None


class Cut(str):
    """An answer of which only these octets arrive: then the connection is closed."""


class Peer(socketserver.ThreadingTCPServer):
    """`script`: for each step the answers to give first; `always`: the answer to give at all times. DROP closes the connection.

    The steps are greeting, ehlo, helo, starttls, secured (after the handshake), auth, mail, rcpt (or "rcpt " and the address),
    data, body (of each line), final (or, for LMTP, "final " and the address), quit. `delay` has seconds to wait before the answer of a
    step, or a list of them, one a time. With `tls`, a server context, STARTTLS is offered (or TLS begins at once: `implicit`);
    instead of shaking hands `handshake` can "close" the connection, send "garbage" or "wait". `login`, (user, password): AUTH with
    the `mechanisms` PLAIN and LOGIN is offered within TLS and asked for.
    """
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script=None, always=None, extensions=("PIPELINING", "8BITMIME"), lmtp=False, address="127.0.0.1", port=0,
                 delay=None, tls=None, handshake=None, implicit=False, login=None, mechanisms=("PLAIN", "LOGIN")):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Session)
        self.delay = delay or {}
        self.tls, self.handshake, self.implicit, self.login, self.mechanisms = tls, handshake, implicit, login, mechanisms
        self.script = {step: list(answers) for step, answers in (script or {}).items()}
        self.always = always or {}
        self.extensions = extensions
        self.lmtp = lmtp
        self.lock = threading.Lock()
        self.messages = []
        self.commands = []
        self.connections = 0
        self.logins = 0
        self.in_tls = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def serve_forever(self, poll_interval=0):
        """Without polling, for tests have hundreds of these."""
        while True:
            try:
                self.process_request(*self.get_request())
            except OSError:
                return

    def shutdown(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def port(self):
        return self.server_address[1]

    def answer(self, step, standard):
        with self.lock:
            if step in self.always:
                return self.always[step]
            answers = self.script.get(step, [])
            return answers.pop(0) if answers else standard

    def wait(self, step):
        delay = self.delay.get(step, 0)
        if isinstance(delay, list):
            with self.lock:
                delay = delay.pop(0) if delay else 0
        time.sleep(delay)

    def stop(self):
        self.shutdown()
        self.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Session(socketserver.StreamRequestHandler):
    def say(self, step, standard):
        """Answers; true if with success."""
        self.server.wait(step.split()[0])
        return self.write(self.server.answer(step, standard))

    def write(self, text):
        if text is DROP:
            raise ConnectionError
        self.wfile.write(text.encode() + (b"" if isinstance(text, Cut) else b"\r\n"))
        if isinstance(text, Cut):
            raise ConnectionError
        return text[:1] in "23"

    def handle(self):
        self.server.connections += 1
        self.secure = self.authenticated = False
        try:
            if self.server.implicit:
                self.secure_now()
            self.talk()
        except (ConnectionError, OSError, ssl.SSLError, EOFError):
            pass

    def secure_now(self):
        kind = self.server.handshake
        if kind == "garbage":
            self.wfile.write(b"\x15\x03\x03 this is no TLS at all\r\n" * 10)
        elif kind == "wait":
            self.rfile.read()
        if kind is not None:
            raise ConnectionError
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)
        self.secure = True
        if self.server.answer("secured", "") is DROP:
            raise ConnectionError

    def extensions(self):
        more = ["STARTTLS"] if self.server.tls and not self.secure else []
        return [*self.server.extensions, *more,
                *(["AUTH " + " ".join(self.server.mechanisms)] if self.server.login and self.secure else [])]

    def prompt(self, word):
        self.wfile.write(b"334 " + base64.b64encode(word) + b"\r\n")
        return base64.b64decode(self.rfile.readline(), validate=False).decode()

    def log_in(self, line):
        words = line.split()
        if words[1].upper() == "PLAIN":
            given = tuple(base64.b64decode(words[2]).decode().split("\0")[1:])
        else:
            given = self.prompt(b"Username:"), self.prompt(b"Password:")
        self.authenticated = given == self.server.login
        self.server.logins += self.authenticated
        self.say("auth", "235 2.7.0 welcome" if self.authenticated else "535 5.7.8 wrong user name or password")

    def talk(self):
        if not self.say("greeting", "220 peer.example"):
            return
        recipients, sender = [], False
        while line := self.rfile.readline():
            line = line.decode("utf-8", "replace").strip()
            self.server.commands.append(line)
            verb = line[:4].upper()
            if verb in ("EHLO", "LHLO"):
                lines = ["peer.example", *self.extensions()]
                self.say("ehlo", "".join(f"250-{text}\r\n" for text in lines[:-1]) + f"250 {lines[-1]}")
            elif verb == "HELO":
                self.say("helo", "250 peer.example")
            elif verb == "STAR" and self.server.tls:
                if self.say("starttls", "220 2.0.0 go on"):
                    self.secure_now()
            elif verb == "AUTH" and self.server.login:
                self.log_in(line)
            elif verb == "MAIL" and self.server.login and not self.authenticated:
                self.say("other", "530 5.7.0 log in")
            elif verb == "MAIL":
                recipients = []
                sender = self.say("mail", "250 2.1.0 ok")
            elif verb == "RCPT":
                address = re.search("<(.*)>", line)[1]
                step = "rcpt " + address if "rcpt " + address in self.server.always else "rcpt"
                if not sender:
                    self.say("other", "503 5.5.1 MAIL first")
                elif self.say(step, "250 2.1.5 ok"):
                    recipients.append(address)
            elif verb == "DATA":
                if self.say("data", "354 go on" if recipients else "554 5.5.1 no recipients"):
                    self.take(self.read_data(), recipients)
            elif verb == "BDAT":
                self.take(self.read_chunk(int(line.split()[1])), recipients)
            elif verb == "QUIT":
                self.say("quit", "221 bye")
                return
            else:
                self.say("other", "250 ok")

    def read_chunk(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError
        return data

    def read_data(self):
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line or self.server.answer("body", "") is DROP:
                raise ConnectionError
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def take(self, text, recipients):
        if not recipients:
            return
        for address in recipients if self.server.lmtp else [None]:
            self.server.wait("final")
            step = f"final {address}" if f"final {address}" in self.server.always else "final"
            answer = self.server.answer(step, "250 2.0.0 taken")
            if answer is DROP or answer.startswith("2"):
                with self.server.lock:
                    self.server.in_tls.append(self.secure)
                    self.server.messages.append((text, [address] if address else list(recipients)))
            self.write(answer)
