"""The whole journey of a message between hosts in network namespaces; nsd serves the zones.

The corpus in ../shared/vectors travels between two Veredus hosts and to and from Postfix, and arrives octet by octet as it was
sent, below the trace fields. A sample of it unless VEREDUS_SLOW is set.
"""
import collections
import concurrent.futures
import gzip
import os
import re
import smtplib
import socket
import sys
import time

import pytest
from network import Network, Nsd, Postfix
from veredus import CLIENT_TLS, PASSWORD, SANITIZED, SHARED, TRACE, Server, send, wait_until, without_trace

SLOW = os.environ.get("VEREDUS_SLOW", "") != ""
TEXT = b"From: <ann@a.example>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <x@a.example>\r\n\r\n.dot\r\nbody\r\n"
CORPUS = SHARED / "vectors/corpus/list-archive.mbox.gz"
LMTP_PORT = 2424


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two hosts with Veredus, a and b, and p with Postfix: a name space, a domain and a zone each. Only IPv6 leads to six.example,
    which is at b too, and mail for lmtp.example goes from a to b by LMTP."""
    directory = tmp_path_factory.mktemp("journey")
    with Network(directory) as network:
        hosts = {name: network.host(name) for name in ("a", "b", "p")}
        zones = {f"{name}.example": ["@ MX 10 mail", f"mail A {host.ip}", f"mail AAAA {host.ip6}"]
                 for name, host in hosts.items()}
        zones["six.example"] = ["@ MX 10 mail", f"mail AAAA {hosts['b'].ip6}"]
        dns = network.host("dns").ip
        network.start(Nsd(network.hosts["dns"], directory, zones))
        relayed = "".join(f'domain "{name}.example" {{ relay = true }}\n' for name in ("b", "p", "lmtp"))
        more = {"a": relayed +
                     f'route "lmtp.example" {{ host = "{hosts["b"].ip}" port = {LMTP_PORT} lmtp = true }}\n',
                "b": f'listener "lmtp" {{ kind = lmtp port = {LMTP_PORT} }}\n'}
        domains = {"a": ["a.example"], "b": ["b.example", "six.example", "lmtp.example"]}
        servers = {name: network.start(Server(directory / name, hosts[name], domains[name], dns=dns, sections=more[name],
                                              settings="foreign_senders = true")) for name in ("a", "b")}
        servers["a"].add_user("ann@a.example")
        for address in ("ann@b.example", "ann@six.example", "ann@lmtp.example", "bob@lmtp.example", "relayed@b.example",
                        "submitted@b.example", "posted@b.example", "vectors@b.example"):
            servers["b"].add_user(address)
        # Postfix as it would be without its own ideas of what a header should look like.
        servers["p"] = network.start(Postfix(hosts["p"], ["p.example"], ["pat", "pile"], dns,
                                             mynetworks="10.66.0.0/24 127.0.0.0/8", message_drop_headers="return-path",
                                             local_header_rewrite_clients="", smtp_line_length_limit="0"))
        yield servers


def test_from_host_to_host_and_to_and_from_postfix(world):
    with world["a"].host.entered():
        send(587, "ann@a.example", ["ann@b.example", "pat@p.example"], TEXT, login="ann@a.example")
    message = world["b"].wait_for_mail("ann@b.example", 1)[0]
    assert without_trace(message) == TEXT
    assert b"with ESMTPS" in message and b"with ESMTPSA" in message
    world["a"].wait_for_empty_queue()
    world["p"].sendmail("pat@p.example", ["ann@b.example"], TEXT.decode())
    assert without_trace(world["b"].wait_for_mail("ann@b.example", 2)[1]) == TEXT
    wait_until(lambda: world["p"].messages("pat"), 30, world["p"].log)
    assert [without_trace(m) for m in world["p"].messages("pat")] == [TEXT]


def test_over_ipv6_alone(world):
    with world["a"].host.entered():
        send(587, "ann@a.example", ["ann@six.example"], TEXT, login="ann@a.example")
    message = world["b"].wait_for_mail("ann@six.example", 1)[0]
    assert without_trace(message) == TEXT
    assert f"([IPv6:{world['a'].host.ip6}])".encode() in message.split(b"\r\n\r\n")[0]


def test_by_lmtp_from_host_to_host(world):
    """Each recipient has a result of its own."""
    with world["a"].host.entered():
        send(587, "ann@a.example", [f"{who}@lmtp.example" for who in ("ann", "nobody", "bob")], TEXT, login="ann@a.example")
    for user in ("ann@lmtp.example", "bob@lmtp.example"):
        message, = world["b"].wait_for_mail(user, 1)
        assert without_trace(message) == TEXT and b"with LMTPS " in message
    world["a"].wait_for_empty_queue()
    bounce = next(message for message in world["a"].fetch("ann@a.example") if b"nobody@lmtp.example" in message)
    assert b"\r\nStatus: 5.1.1\r\n" in bounce and b"ann@lmtp.example" not in bounce.split(b"text/rfc822-headers")[0]


# The corpus


@pytest.fixture(scope="module")
def corpus():
    """Messages as octets: of real mail every twentieth, every one with 8-bit characters or a broken header, and the largest."""
    if not CORPUS.exists():
        pytest.skip(f"{CORPUS} is not here: the journey of the corpus is NOT tested")
    messages = re.split(rb"^From .*\n", gzip.decompress(CORPUS.read_bytes()), flags=re.M)[1:]
    messages = [message[:-2] if message.endswith(b"\r\n\r\n") else message for message in messages]
    assert len(messages) > 2400 and all(message.count(b"\n") == message.count(b"\r\n") for message in messages)
    if SLOW:
        return messages
    every = 40 if SANITIZED else 20
    chosen = {*range(0, len(messages), every), *sorted(range(len(messages)), key=lambda i: -len(messages[i]))[:10],
              *[i for i, message in enumerate(messages) if not message.isascii()][:30 if SANITIZED else None],
              *[i for i, message in enumerate(messages) if as_postfix_has_it(message) != message]}
    return [messages[i] for i in sorted(chosen)]


def return_path_removed(message):
    """RFC 5321, section 4.4: a Return-Path that came with the message goes; the last host puts its own there."""
    header, end, body = message.partition(b"\r\n\r\n")
    return re.sub(rb"^return-path:[^\n]*\n([ \t][^\n]*\n)*", b"", header + end, flags=re.I | re.M) + body


def as_postfix_has_it(message):
    """A line among the header fields that is none is where the body begins for Postfix, which puts the missing empty line there."""
    fields = re.match(rb"(?:[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)*", message).end()
    return message if message[fields:].startswith(b"\r\n") else message[:fields] + b"\r\n" + message[fields:]


def connect(host, port, login=None):
    with host.entered():
        session = smtplib.SMTP(host.ip, port, timeout=120, local_hostname="client.example")
    session.ehlo()
    if login is not None:
        session.starttls(context=CLIENT_TLS)
        session.ehlo()
        session.login(login, PASSWORD)
    return session


def send_all(session, recipient, messages):
    """One session; the refusals as (number, code, text)."""
    refused = []
    for i, message in enumerate(messages):
        assert session.mail("list@away.example" if session.port != 587 else "ann@a.example",
                            [] if message.isascii() else ["BODY=8BITMIME"])[0] == 250
        assert session.rcpt(recipient)[0] == 250
        code, text = session.data(message)
        if code != 250:
            refused.append((i, code, text.decode()))
    session.quit()
    return refused


def send_in_parallel(host, port, recipient, messages, login=None):
    """Through four sessions at a time. Returns what was taken."""
    for_session = [messages[i::4] for i in range(4)]
    sessions = [connect(host, port, login) for _ in for_session]
    for session in sessions:
        session.port = port
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = [pool.submit(send_all, session, recipient, part) for session, part in zip(sessions, for_session)]
        refused = {(part, i): (code, text) for part, result in enumerate(results) for i, code, text in result.result()}
    taken = [message for part, messages in enumerate(for_session) for i, message in enumerate(messages) if (part, i) not in refused]
    return taken, refused


def strip_trace(message, expected):
    """The message below as many trace fields at its top as were added on its way: corpus messages begin with some too."""
    fields = re.match(rb"(?:[^\r\n]+\r\n)*", message)[0]
    fields = re.split(rb"(?<=\r\n)(?![ \t])", fields)
    at = 0
    for field in fields[:9]:
        if not field.lower().startswith(TRACE):
            break
        at += len(field)
        if message[at:] in expected:
            return message[at:]
    return None


def compare(arrived, sent):
    """Every message once, octet by octet."""
    expected = collections.Counter(map(return_path_removed, sent))
    found = collections.Counter(strip_trace(message, expected) for message in arrived)
    strange = [message for message in arrived if strip_trace(message, expected) is None]
    assert not strange, (len(strange), strange[0][:3000])
    assert found == expected


@pytest.fixture
def say(capsys):
    def print_uncaptured(text):
        with capsys.disabled():
            print(text, file=sys.stderr, flush=True)  # workers have no other way to the log
    return print_uncaptured


def figures(leg, messages, begun):
    seconds = time.monotonic() - begun
    return (f"{leg}: {len(messages)} messages, {sum(map(len, messages)) / 1e6:.1f} MB, all the same octets, {seconds:.1f} s, "
            f"{len(messages) / seconds:.0f}/s")


def test_the_corpus_from_veredus_to_veredus(world, corpus, say):
    begun = time.monotonic()
    taken, refused = send_in_parallel(world["a"].host, 25, "relayed@b.example", corpus)
    assert not refused
    arrived = world["b"].wait_for_mail("relayed@b.example", len(corpus), seconds=300)
    text = figures("from Veredus to Veredus", taken, begun)
    compare(arrived, taken)
    assert all(message.count(b"with ESMTPS id") >= 1 for message in arrived)  # the second hop has TLS
    say(text)


def test_the_corpus_submitted(world, corpus, say):
    """Submission adds Date and Message-ID and removes Bcc, and wants a From field with an address; all else stays."""
    begun = time.monotonic()
    taken, refused = send_in_parallel(world["a"].host, 587, "submitted@b.example", corpus[::2], "ann@a.example")
    assert all(code == 550 and text.startswith("5.6.0") for code, text in refused.values()), refused
    assert len(refused) <= len(corpus) // 50
    arrived = world["b"].wait_for_mail("submitted@b.example", len(taken), seconds=300)
    complete = [message for message in taken if re.search(rb"^date:", message, re.I | re.M) and
                re.search(rb"^message-id:", message, re.I | re.M) and not re.search(rb"^(resent-)?bcc\s*:", message, re.I | re.M)]
    assert len(complete) > len(taken) * 0.9
    text = figures("submitted", taken, begun)
    expected = collections.Counter(map(return_path_removed, complete))
    found = collections.Counter(strip_trace(message, expected) for message in arrived)
    assert found[None] == len(taken) - len(complete)
    del found[None]
    assert found == expected
    say(text)


def test_the_corpus_to_postfix(world, corpus, say):
    begun = time.monotonic()
    taken, refused = send_in_parallel(world["a"].host, 25, "pile@p.example", corpus)
    assert not refused
    wait_until(lambda: len(world["p"].messages("pile")) >= len(taken), 300, lambda: world["p"].log()[-2000:], 0.3)
    text = figures("from Veredus to Postfix", taken, begun)
    compare(world["p"].messages("pile"), map(as_postfix_has_it, taken))
    say(text)


def test_the_corpus_from_postfix(world, corpus, say):
    begun = time.monotonic()
    taken, refused = send_in_parallel(world["p"].host, 25, "posted@b.example", corpus)
    assert not refused
    arrived = world["b"].wait_for_mail("posted@b.example", len(taken), seconds=300)
    text = figures("from Postfix to Veredus", taken, begun)
    compare(arrived, map(as_postfix_has_it, taken))
    say(text)


# Messages that others have found hard


def raw_session(host):
    with host.entered():
        session = socket.create_connection((host.ip, 25), 60)
    stream = session.makefile("rwb")

    def reply():
        while (line := stream.readline())[3:4] == b"-":
            pass
        return line
    reply()
    stream.write(b"EHLO client.example\r\n")
    stream.flush()
    reply()
    return stream, reply


def chunk_refusal(message):
    """The reply that RFC 5321, section 2.3.8, and RFC 3030 lead to; None: it is taken."""
    if b"\0" in message.replace(b"\r\n", b""):
        return b"550 5.6.0 "
    return b"550 5.6.0 " if re.search(rb"\r(?!\n)|(?<!\r)\n", message) else None


def test_hard_messages_arrive_or_are_refused(world, say):
    """As they lie there, many with bare LF, and with CRLF, by BDAT, so that every octet counts; long lines and 8 bits are taken."""
    files = sorted((SHARED / "vectors/mime").glob("*/*.eml"))
    if not files:
        pytest.skip("../shared/vectors/mime is not here: hard messages are NOT tested")
    messages = list(dict.fromkeys(form for path in files for form in (
        path.read_bytes(), re.sub(rb"\r?\n", b"\r\n", path.read_bytes()))))
    messages += [b"X: 1\r\n\r\n" + b"a" * 5000 + b"\r\n", b"X: 2\r\n\r\nwithout an end of line", b"\r\nX: no header\r\n",
                 b"X: 3\r\n\r\n.\r\n..\r\n.x\r\n", b"X: 4\r\n\r\nbare\rCR\r\n", b"X: 5\r\n\r\nNUL\0\r\n",
                 b"X: 6\r\n\r\nbare\n.\r\nMAIL FROM:<>\r\n", b"X: 7\r\n\r\nend\r",
                 "X: 8 grün\r\n\r\n\xff\xfe\r\n".encode("latin-1")]
    taken, wrong = [], []
    for number, message in enumerate(messages):
        if number % 10 == 0:  # so that the limit of errors is not reached
            stream, reply = raw_session(world["a"].host)
        stream.write(b"MAIL FROM:<x@away.example> BODY=8BITMIME\r\nRCPT TO:<vectors@b.example>\r\nBDAT %d LAST\r\n%s" % (
            len(message), message))
        stream.flush()
        assert reply().startswith(b"250 ") and reply().startswith(b"250 ")
        answer, expected = reply(), chunk_refusal(message)
        if not answer.startswith(expected or b"250 "):
            wrong.append((answer, message[:300]))
        elif expected is None:
            taken.append(message)
        stream.write(b"RSET\r\n")
        stream.flush()
        assert reply().startswith(b"250 ")
    assert not wrong
    arrived = world["b"].wait_for_mail("vectors@b.example", len(taken), seconds=120)
    compare(arrived, [message if message.endswith(b"\r\n") else message + b"\r\n" for message in taken])  # POP3 ends the line
    say(f"{len(messages)} hard messages: {len(taken)} arrived as they were, {len(messages) - len(taken)} were refused")
