"""A DNS server that says what a test wants it to say, true or not.

    dns = ScriptedDns({"a.example": {"MX": [(10, "mail.a.example")]}, "mail.a.example": {"A": ["127.0.0.2"]}})

Names that are not in its table do not exist; a name there without the type asked for has no data. A name can have a function
instead of records: it gets the question and returns the packet to send, or None for silence (`answer`, `refuse` and others make
packets). It speaks UDP and TCP on one port of 127.0.0.1.
"""
import contextlib
import ipaddress
import socket
import struct
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5


def encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def encode_data(kind, value):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(value).packed
    if kind == "MX":
        return struct.pack("!H", value[0]) + encode_name(value[1])
    return encode_name(value)


def record(name, kind, value, ttl=1):
    data = value if isinstance(value, bytes) else encode_data(kind, value)
    return encode_name(name) + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(data)) + data


class Question:
    def __init__(self, packet, tcp):
        self.packet, self.tcp = packet, tcp
        self.id, self.flags = struct.unpack("!HH", packet[:4])
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode().lower())
            at += packet[at] + 1
        self.name = ".".join(labels)
        number = struct.unpack("!H", packet[at + 1:at + 3])[0]
        self.kind = next((kind for kind, value in TYPES.items() if value == number), str(number))
        self.section = packet[12:at + 5]

    def reply(self, answers=(), rcode=0, flags=0x8480, authority=(), question=None, number=None):
        """A packet; authority bit set, recursion available."""
        head = struct.pack("!HHHHHH", self.id if number is None else number, flags | (self.flags & 0x0100) | rcode, 1,
                           len(answers), len(authority), 0)
        return head + (self.section if question is None else question) + b"".join(answers) + b"".join(authority)


def answer(question, records):
    """The records of the type asked for, and a CNAME in any case; a CNAME that leads to nothing here is for the asker."""
    found = [record(question.name, kind, value) for kind in ("CNAME", question.kind) for value in records.get(kind, ())]
    return question.reply(dict.fromkeys(found)) if found else question.reply(authority=[soa(question.name)])


def soa(name):
    zone = ".".join(name.split(".")[-2:])
    return record(zone, "SOA", encode_name("ns." + zone) + encode_name("root." + zone) + struct.pack("!5I", 1, 60, 60, 60, 1))


class ScriptedDns:
    def __init__(self, names):
        self.names = names
        self.questions = []
        self.ending = False
        while True:
            self.tcp = socket.create_server(("127.0.0.1", 0))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.udp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.tcp.close()
                self.udp.close()
        self.address = f"127.0.0.1@{self.port}"
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def answer(self, packet, tcp):
        question = Question(packet, tcp)
        self.questions.append((question.name, question.kind))
        entry = self.names.get(question.name)
        if callable(entry):
            return entry(question)
        if entry is None:
            below = any(name.endswith("." + question.name) for name in self.names)
            return question.reply(rcode=0 if below else NXDOMAIN, authority=[soa(question.name)])
        return answer(question, entry)

    def serve_udp(self):
        while not self.ending:
            try:
                packet, peer = self.udp.recvfrom(65535)
            except OSError:
                return
            threading.Thread(target=self.answer_udp, args=(packet, peer), daemon=True).start()

    def answer_udp(self, packet, peer):
        with contextlib.suppress(OSError, struct.error):
            reply = self.answer(packet, False)
            if reply is not None:
                self.udp.sendto(reply, peer)

    def serve_tcp(self):
        while not self.ending:
            try:
                session, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.answer_tcp, args=(session,), daemon=True).start()

    def answer_tcp(self, session):
        with session, contextlib.suppress(OSError, struct.error):
            session.settimeout(20)
            while True:
                size = struct.unpack("!H", session.recv(2, socket.MSG_WAITALL))[0]
                reply = self.answer(session.recv(size, socket.MSG_WAITALL), True)
                if reply is None:
                    time.sleep(20)
                    return
                session.sendall(struct.pack("!H", len(reply)) + reply)

    def stop(self):
        self.ending = True
        for s in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


# Scripts for one name.


def refuse(rcode):
    return lambda question: question.reply(rcode=rcode)


def silent(question):
    return None


def slow(seconds, records):
    def entry(question):
        time.sleep(seconds)
        return answer(question, records)
    return entry


def truncated(records):
    """An empty, truncated answer by UDP; the whole one by TCP, or with None nothing."""
    def entry(question):
        if not question.tcp:
            return question.reply(flags=0x8680)
        return None if records is None else answer(question, records)
    return entry
