"""Delivery to other hosts: servers that fail at every step, in every way, slow ones, old ones, ones that lack what a message needs,
and smarthosts. Each message is delivered once or bounced once; what cannot be known is said to be uncertain.

Each case has a domain and a scripted server of its own. All cases run at the same time through three servers: one that is patient,
one that gives up after ten seconds, one whose time-outs are a hundredth of what the RFC says.
"""
import email
import os
import signal
import smtplib
import ssl

import pytest
from peer import DROP, Cut, Peer
from veredus import PASSWORD, Server, delivery_status, make_certificate, wait_until
from veredus import send as send_message

ME = "me@local.example"
OTHER = "jürgen@local.example"
CLEAR, SERIAL, TLS = "clear", "serial", "tls"
ONCE = {"451": "451 4.3.0 later", "421": "421 4.3.2 closing", "nonsense": "what?", "drop": DROP, "cut": Cut("25")}
EVER = {"554": "554 5.7.1 never", "451-ever": "451 4.3.0 later", "drop-ever": DROP}
STATUS = {"554": "5.7.1", "451-ever": "4.3.0", "drop-ever": "4.4.2"}
LOGIN = ("relay@hub.example", PASSWORD)
TAKEN = "250 2.0.0 taken"
BODY = ".dot\r\n{}\r\n..two\r\nend\r\n"


class Case:
    """A peer and what must come of the message for its domain: "delivered", "bounced" with a status, "waiting" (until it is dropped
    by command), or "uncertain": one copy or two. `says`: words that its journal must have; `tls`: whether it must arrive so."""

    def __init__(self, peer, outcome="delivered", status=None, says=(), tls=None, route="", sender=ME, local_part="r", options=(),
                 header="", body=BODY, server="patient", domain=None):
        self.peer, self.outcome, self.status, self.says, self.tls, self.route = peer, outcome, status, says, tls, route
        self.sender, self.local_part, self.options, self.header, self.body = sender, local_part, options, header, body
        self.server, self.domain = server, domain


def at_every_step(certificate):
    """Each step of a session fails once, or ever: in clear with pipelining and without, and in TLS."""
    def peer(kind, **how):
        return Peer(**how, extensions=("8BITMIME",) if kind == SERIAL else ("PIPELINING", "8BITMIME"),
                    tls=certificate if kind == TLS else None)

    for kind in (CLEAR, SERIAL, TLS):
        steps = ["greeting", "ehlo", *(["starttls"] if kind == TLS else []), "mail", "rcpt", "data", "final"]
        for step in steps:
            for word, answer in ONCE.items():
                unknown = step == "final" and word in ("nonsense", "drop", "cut")
                yield f"{kind}-{step}-{word}", Case(peer(kind, script={step: [answer]}), "uncertain" if unknown else "delivered")
            for word, answer in EVER.items():
                if kind == SERIAL or (step == "final" and word == "drop-ever") or step == "starttls":
                    continue
                always = {step: answer, "helo": answer} if step == "ehlo" else {step: answer}
                yield f"{kind}-{step}-{word}", Case(peer(kind, always=always), "bounced", STATUS[word],
                                                    server="patient" if word == "554" else "brief")
        yield f"{kind}-body-drop", Case(peer(kind, script={"body": ["", "", DROP]}))
        for octets in range(len(TAKEN) + 1 if kind == CLEAR else 0):
            # Without its line end even the whole reply is none.
            yield f"{kind}-final-{octets}-octets", Case(peer(kind, script={"final": [Cut(TAKEN[:octets])]}), "uncertain")
        for word, answer in ONCE.items():
            yield f"{kind}-quit-{word}", Case(peer(kind, script={"quit": [answer]}), server="brief")


def tls_that_fails(certificate):
    """Opportunistic TLS goes on in clear and says so; a route that requires TLS waits (RFC 7435)."""
    broken = {"starttls-454": {"always": {"starttls": "454 4.7.0 TLS not available due to temporary reason"}},
              "starttls-554": {"always": {"starttls": "554 5.7.0 no TLS here"}}, "starttls-drop": {"always": {"starttls": DROP}},
              "close": {"handshake": "close"}, "garbage": {"handshake": "garbage"}, "secured-drop": {"always": {"secured": DROP}}}
    for name, how in broken.items():
        says = ("tls=none", "STARTTLS was refused: 454 4.7.0") if name == "starttls-454" else ("tls=none",)
        yield f"may-{name}", Case(Peer(tls=certificate, **how), tls=False, says=says)
        yield f"must-{name}", Case(Peer(tls=certificate, **how), "bounced", "5.7.0" if name == "starttls-554" else "4.",
                                  route="tls = required", server="brief")
    yield "may-wait", Case(Peer(tls=certificate, handshake="wait"), tls=False, says=("tls=none",), server="hasty")
    yield "tls-good", Case(Peer(tls=certificate), tls=True, says=("tls=TLSv1.3",))
    yield "tls-required", Case(Peer(tls=certificate), tls=True, route="tls = required")
    yield "tls-not-offered", Case(Peer(), "bounced", "4.7.4", route="tls = required", server="brief")
    yield "tls-not-verified", Case(Peer(tls=certificate), "bounced", "4.7.5", route="tls = verified", server="brief")


def smarthosts(certificate):
    for implicit in (False, True):
        for mechanisms in (("PLAIN",), ("LOGIN",), ("PLAIN", "LOGIN")):
            name = f"hub-{'implicit' if implicit else 'starttls'}-{'-'.join(mechanisms).lower()}"
            yield name, Case(Peer(tls=certificate, implicit=implicit, login=LOGIN, mechanisms=mechanisms), tls=True,
                             route=f"tls = required implicit_tls = {str(implicit).lower()} {{login}}")
        for mechanism in ("PLAIN", "LOGIN"):
            name = f"hub-{'implicit' if implicit else 'starttls'}-{mechanism.lower()}-wrong"
            outcome, status, server = ("waiting", None, "patient") if mechanism == "PLAIN" else ("bounced", "4.3.5", "brief")
            yield name, Case(Peer(tls=certificate, implicit=implicit, login=(LOGIN[0], "other"), mechanisms=(mechanism,)), outcome,
                             status, route=f"tls = required implicit_tls = {str(implicit).lower()} {{login}}", server=server)
    yield "hub-mechanism-unknown", Case(Peer(tls=certificate, login=LOGIN, mechanisms=("GSSAPI",)), "bounced", "4.7.0",
                                        route="tls = required {login}", server="brief")
    yield "hub-auth-drop", Case(Peer({"auth": [DROP]}, tls=certificate, login=LOGIN), tls=True, route="tls = required {login}")
    yield "hub-auth-454", Case(Peer({"auth": ["454 4.7.0 later"]}, tls=certificate, login=LOGIN), tls=True,
                               route="tls = required {login}")


def what_peers_lack():
    yield "helo-only", Case(Peer(always={"ehlo": "502 5.5.1 no such command"}, extensions=()))
    yield "helo-500", Case(Peer(always={"ehlo": "500 what is that"}, extensions=()))
    yield "bdat", Case(Peer(extensions=("PIPELINING", "CHUNKING", "SIZE 100000")))
    yield "bdat-serial", Case(Peer(extensions=("CHUNKING",)))
    yield "bdat-drop", Case(Peer({"final": [DROP]}, extensions=("CHUNKING",)), "uncertain")
    yield "bdat-451", Case(Peer({"final": ["451 4.3.0 later"]}, extensions=("CHUNKING",)))
    yield "size-0", Case(Peer(extensions=("SIZE 0",)))
    yield "size-none", Case(Peer(extensions=("SIZE",)))
    yield "too-small", Case(Peer(extensions=("PIPELINING", "SIZE 100")), "bounced", "5.3.4")
    yield "mail-552", Case(Peer(always={"mail": "552 5.3.4 too large"}), "bounced", "5.3.4")
    # RFC 6152, section 3: without 8BITMIME a message that needs it is not sent (nothing is converted on the way).
    yield "no-8bitmime", Case(Peer(extensions=()), "bounced", "5.6.3", options=["BODY=8BITMIME"], body="{} grün\r\n")
    yield "8bitmime", Case(Peer(), options=["BODY=8BITMIME"], body="{} grün\r\n")
    yield "8bitmime-but-ascii", Case(Peer(extensions=()), options=["BODY=8BITMIME"])
    # RFC 6531, section 3.2 and 3.7.4.2.
    yield "no-utf8-recipient", Case(Peer(), "bounced", "5.6.7", options=["SMTPUTF8"], local_part="jörg")
    yield "no-utf8-sender", Case(Peer(), "bounced", "5.6.7", options=["SMTPUTF8"], sender=OTHER)
    yield "no-utf8-header", Case(Peer(), "bounced", "5.6.9", options=["SMTPUTF8"], header="X-Word: grün\r\n")
    yield "no-utf8-needed", Case(Peer(), options=["SMTPUTF8"])
    yield "no-utf8-domain", Case(Peer(), options=["SMTPUTF8"], domain="bücher.example")
    yield "utf8-recipient", Case(Peer(extensions=("8BITMIME", "SMTPUTF8")), options=["SMTPUTF8"], local_part="jörg")
    yield "utf8-sender", Case(Peer(extensions=("8BITMIME", "SMTPUTF8")), options=["SMTPUTF8"], sender=OTHER)
    yield "utf8-header", Case(Peer(extensions=("8BITMIME", "SMTPUTF8")), options=["SMTPUTF8", "BODY=8BITMIME"],
                              header="X-Word: grün\r\n")


def what_peers_say():
    yield "greylisting", Case(Peer({"rcpt": ["450 4.7.1 greylisted"] * 3}))
    yield "greylisting-451", Case(Peer({"rcpt": ["451 4.7.1 greylisted, come back"] * 2}))
    yield "greylisting-data", Case(Peer({"data": ["451 4.7.1 greylisted"] * 2}))
    yield "full-for-now", Case(Peer({"rcpt": ["452 4.2.2 mailbox full"]}))
    yield "full-at-the-end", Case(Peer({"final": ["452 4.2.2 mailbox full"]}))
    yield "full-rcpt", Case(Peer(always={"rcpt": "552 5.2.2 mailbox full"}), "bounced", "5.2.2")
    yield "full-final", Case(Peer(always={"final": "552 5.2.2 mailbox full"}), "bounced", "5.2.2")
    yield "full-ever", Case(Peer(always={"rcpt": "452 4.2.2 mailbox full"}), "bounced", "4.2.2", server="brief")
    yield "no-enhanced-code", Case(Peer(always={"rcpt": "550 no such user"}), "bounced", "5.")
    yield "null-mx-reply", Case(Peer(always={"rcpt": "556 5.1.10 no mail here"}), "bounced", "5.1.10")
    yield "no-mail-here", Case(Peer(always={"greeting": "521 5.3.2 no mail here"}), "bounced", "5.3.2")
    yield "lmtp", Case(Peer({"final": ["452 4.2.2 full"]}, lmtp=True), route="lmtp = true")


def slow_peers():
    """The time-outs here: 1.2 s for DATA, 1.8 s for the data, 6 s for the end of them, 3 s for everything else."""
    for step in ("greeting", "ehlo", "mail", "rcpt"):
        yield f"slow-{step}", Case(Peer(delay={step: [4]}), server="hasty")
    yield "slow-data", Case(Peer(delay={"data": [2.5]}), server="hasty")
    yield "slow-final", Case(Peer(delay={"final": [8]}), "uncertain", server="hasty")
    yield "slow-enough", Case(Peer(delay={"final": [2.5]}), server="hasty", outcome="delivered")


def settings(name, case, directory):
    host = f'host = "127.0.0.1" port = {case.peer.port}'
    login = f'login = "{LOGIN[0]}" password_file = "{directory}/password"'
    title = (case.domain or f"{name}.example").encode("idna").decode()
    return (f'domain "{title}" {{ relay = true }}\n'
            f'route "{title}" {{ {host} {case.route.replace("{login}", login)} }}\n')


def limited_peers():
    """Peers that take few recipients a transaction, or few transactions a connection (RFC 9422; RFC 5321, section 4.5.3.1.10), or
    that fail at one of several recipients, and the sizes of the transactions that seven recipients must come in; None: they are
    tried again, nearly all together."""
    ok = "250 2.1.5 ok"
    yield "rcptmax", Case(Peer(extensions=("PIPELINING", "LIMITS RCPTMAX=3 MAILMAX=2"))), [3, 3, 1]
    yield "rcptmax-serial", Case(Peer(extensions=("LIMITS RCPTMAX=5",))), [5, 2]
    for name, answer in (("452", "452 4.5.3 too many recipients"), ("452-bare", "452 too many"), ("552-bare", "552 too many")):
        yield f"too-many-{name}", Case(Peer({"rcpt": [ok] * 4 + [answer] * 3 + [ok] * 2 + [answer]})), [4, 2, 1]
    for kind, extensions in ((CLEAR, ("PIPELINING",)), (SERIAL, ())):
        for i in range(7):
            yield f"{kind}-rcpt-{i}-drop", Case(Peer({"rcpt": [ok] * i + [DROP]}, extensions=extensions)), None
            yield f"{kind}-rcpt-{i}-421", Case(Peer({"rcpt": [ok] * i + ["421 4.3.2 closing"]}, extensions=extensions)), None
            yield f"{kind}-rcpt-{i}-451", Case(Peer({"rcpt": [ok] * i + ["451 4.3.0 later"]}, extensions=extensions)), [6, 1]
        for step in ("data", "final"):
            yield f"{kind}-{step}-451", Case(Peer({step: ["451 4.3.0 later"]}, extensions=extensions)), None


# What a server may make of RSET, between a message that it has refused and the next one on the same connection.
RESETS = {"drop": DROP, "421": "421 4.3.2 closing", "500": "500 5.5.1 what?", "451": "451 4.3.0 not now", "good": "250 ok"}

SERVERS = {"patient": 'schedule = {"1s"}',
           "brief": 'schedule = {"1s"} lifetime = 10s transactions_per_connection = 1',
           "hasty": 'schedule = {"1s"} timeout_scale = 1'}
SEVERAL = ["one", "bad", "two", "full", "three"]


def secrets(directory):
    """A certificate for peers, and the password for smarthosts in a file."""
    make_certificate(directory, "peer.example")
    (directory / "password").write_text(PASSWORD + "\n")
    (directory / "password").chmod(0o600)
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return certificate


class World:
    def __init__(self, directory):
        certificate = secrets(directory)
        self.cases = {}
        for cases in (at_every_step(certificate), tls_that_fails(certificate), smarthosts(certificate), what_peers_lack(),
                      what_peers_say(), slow_peers()):
            self.cases.update(cases)
        answers = {"rcpt bad@{}.example": "550 5.1.1 no such user", "rcpt full@{}.example": "552 5.2.2 mailbox full"}
        self.several = {name: Case(Peer(always={step.format(name): answer for step, answer in answers.items()}, **how), route=route)
                        for name, how, route in (("several", {}, ""), ("several-serial", {"extensions": ()}, ""),
                                                 ("several-bdat", {"extensions": ("CHUNKING", "PIPELINING")}, ""),
                                                 ("several-lmtp", {"lmtp": True}, "lmtp = true"))}
        self.several["several-lmtp"].peer.always["final three@several-lmtp.example"] = "554 5.6.0 not this one"
        self.reused = Case(Peer())
        self.limited = {f"limited-{name}": (case, sizes) for name, case, sizes in limited_peers()}
        self.resets = {f"reset-{name}": Case(Peer({"other": [answer]}, {f"rcpt bad@reset-{name}.example": "550 5.1.1 nobody"}))
                       for name, answer in RESETS.items()}
        limited = {name: case for name, (case, _) in self.limited.items()}
        self.more = {**self.several, **self.resets, **limited, "reused": self.reused}
        everything = {**self.cases, **self.more}
        self.servers = {name: Server(directory / name, relay=relay, sections="".join(
            settings(title, case, directory) for title, case in everything.items() if case.server == name))
            for name, relay in SERVERS.items()}
        for server in self.servers.values():
            server.add_user(ME)
            server.add_user(OTHER)

    def stop(self):
        for thing in (*self.servers.values(), *(case.peer for case in (*self.cases.values(), *self.more.values()))):
            thing.stop()

    def send_all(self):
        for name, server in self.servers.items():
            with smtplib.SMTP("127.0.0.1", server.ports["mx"], timeout=60, local_hostname="client.example") as session:
                session.command_encoding = "utf-8"
                session.ehlo()
                for title, case in self.cases.items():
                    if case.server == name:
                        send(session, case, title, [f"{case.local_part}@{case.domain or title + '.example'}"])
                if name == "patient":
                    self.send_more(session)

    def send_more(self, session):
        for title, case in self.several.items():
            send(session, case, title, [f"{who}@{title}.example" for who in SEVERAL])
        for title, (case, _) in self.limited.items():
            send(session, case, title, [f"r{i}@{title}.example" for i in range(7)])
        for who in ("bad", "good"):
            for title, case in self.resets.items():
                send(session, case, title, [f"{who}@{title}.example"])


def send(session, case, name, recipients):
    text = f"From: <me@local.example>\r\nSubject: {name}\r\n{case.header}\r\n" + case.body.format(name)
    assert session.mail(case.sender, case.options)[0] == 250
    for recipient in recipients:
        assert session.rcpt(recipient)[0] == 250, recipient
    code, answer = session.data(text.encode())
    assert code == 250, answer


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("relay"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def why(world):
    """Sends everything. Returns what `queue why` says of those that wait, by name of the case; then drops them."""
    world.send_all()
    server = world.servers["patient"]
    domains = {f"{name}.example": name for name, case in world.cases.items() if case.outcome == "waiting"}
    wait_until(lambda: {row["domain"] for row in server.rows("queue", "list") if row["attempts"] > 0} >= set(domains), 60,
               "every wrong password tried")
    words = {name: " ".join(server.command("queue", "why", f"r@{domain}").split()) for domain, name in domains.items()}

    def dropped():
        """A row that is just being tried is left alone, so it may take more than once."""
        left = {row["domain"] for row in server.rows("queue", "list")} & set(domains)
        for domain in left:
            server.command("queue", "drop", f"r@{domain}")
        return not left
    wait_until(dropped, 60, "what waits is dropped", 0.3)
    return words


@pytest.fixture(scope="module")
def bounces(world, why):
    """Waits until nothing is left to be done; the bounces as (fields of one recipient, message) by its address."""
    found = {}
    for server in world.servers.values():
        server.wait_for_empty_queue(120)
        for user in (ME, OTHER):
            for message in map(email.message_from_bytes, server.fetch(user)):
                of_message, of_recipients = delivery_status(message)
                assert of_message["Reporting-MTA"] == f"dns; {server.hostname}"
                for fields in of_recipients:
                    found.setdefault(fields["Final-Recipient"].split("; ")[1], []).append((fields, message))
    return found


def check_bounce(name, case, bounces):
    assert len(case.peer.messages) == 0
    assert len(bounces) == 1
    fields, bounce = bounces[0]
    assert fields["Action"] == "failed" and fields["Status"].startswith(case.status), fields.as_string()
    words = bounce.get_payload()[0].get_payload(decode=True).decode()
    for label in ("What happened: ", "What to do: "):
        assert label in words
    assert bounce["Return-Path"] == "<>"
    last = bounce.get_payload()[2]
    assert f"Subject: {name}" in (last.get_payload(decode=True) or b"").decode() or f"Subject: {name}" in last.as_string()


def test_each_message_is_delivered_once_or_bounced_once(world, bounces):
    wrong = {}
    for name, case in world.cases.items():
        domain = (case.domain or f"{name}.example").encode("idna").decode()
        told = [bounce for address, found in bounces.items() if address.endswith("@" + domain) for bounce in found]
        try:
            if case.outcome == "bounced":
                check_bounce(name, case, told)
                continue
            assert told == [], told[0][1].as_string()
            if case.outcome == "waiting":
                assert case.peer.messages == []
                continue
            copies = len(case.peer.messages)
            assert copies == 1 or (case.outcome == "uncertain" and copies == 2), copies
            text, recipients = case.peer.messages[0]
            assert text.endswith(f"Subject: {name}\r\n{case.header}\r\n{case.body.format(name)}".encode()), text
            assert recipients == [f"{case.local_part}@{domain}"]
            assert case.tls is None or case.peer.in_tls == [case.tls] * copies
        except AssertionError as error:
            wrong[name] = str(error)[:600], case.peer.commands[-12:]
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def test_the_journal_says_what_was_uncertain_and_what_was_not_encrypted(world, bounces):
    wrong = {}
    for name, case in world.cases.items():
        words = [*case.says, *(["uncertain"] if case.outcome == "uncertain" and not name.endswith("-octets") else [])]
        trace = world.servers[case.server].command("trace", f"r@{name}.example") if words else ""
        if not all(word in trace for word in words):
            wrong[name] = trace
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
    steady = world.servers["patient"].command("trace", "r@clear-mail-drop.example")
    assert "uncertain" not in steady and "deferred" in steady


def test_a_wrong_password_is_explained(world, why):
    for name, words in why.items():
        assert "The server of the route refuses this server's login: 535 5.7.8 wrong user name or password" in words
        assert "The cause lies on this server's side." in words and "its administrator may have to mend the cause" in words
    assert not any(PASSWORD in server.log() for server in world.servers.values())


def test_what_is_too_large_is_not_sent(world, bounces):
    for name in ("too-small", "no-8bitmime", "no-utf8-sender", "no-utf8-recipient", "no-utf8-header"):
        assert not [line for line in world.cases[name].peer.commands if line.startswith(("MAIL", "RCPT", "DATA"))]


def test_no_password_in_clear(world, bounces):
    for case in world.cases.values():
        assert not case.peer.login or all(case.peer.in_tls)


def test_an_idn_goes_to_a_server_without_smtputf8_as_a_labels(world, bounces):
    commands = world.cases["no-utf8-domain"].peer.commands
    assert [line for line in commands if line.startswith("RCPT")] == ["RCPT TO:<r@xn--bcher-kva.example>"]
    assert not any("SMTPUTF8" in line for line in commands)


@pytest.mark.parametrize("name", ["several", "several-serial", "several-bdat", "several-lmtp"])
def test_each_recipient_has_its_own_result(world, bounces, name):
    lmtp = name == "several-lmtp"
    good = [f"{who}@{name}.example" for who in ("one", "two", *([] if lmtp else ["three"]))]
    messages = world.several[name].peer.messages
    assert [recipients for _, recipients in messages] == ([[address] for address in good] if lmtp else [good])
    status = {"bad": "5.1.1", "full": "5.2.2", **({"three": "5.6.0"} if lmtp else {})}
    told = {address: found for address, found in bounces.items() if address.endswith(f"@{name}.example")}
    assert {address.split("@")[0]: [fields["Status"] for fields, _ in found] for address, found in told.items()} == {
        who: [code] for who, code in status.items()}


def test_limits_of_the_server_are_kept(world, bounces):
    for name, (case, sizes) in world.limited.items():
        recipients = [recipients for _, recipients in case.peer.messages]
        assert [len(some) for some in recipients] == sizes or (sizes is None and len(recipients) <= 3), (name, recipients)
        assert sorted(sum(recipients, [])) == [f"r{i}@{name}.example" for i in range(7)]
        assert not [address for address in bounces if address.endswith(f"@{name}.example")]
    assert world.limited["limited-rcptmax"][0].peer.connections == 2  # two messages a connection
    assert "deferred" not in world.servers["patient"].command("trace", "r6@limited-too-many-452.example")


def test_a_message_behind_a_refused_one(world, bounces):
    """RSET comes between them, if they go over one connection; whatever is answered to it, each has its own end."""
    for name, case in world.resets.items():
        assert [recipients for _, recipients in case.peer.messages] == [[f"good@{name}.example"]], name
        assert len(bounces[f"bad@{name}.example"]) == 1 and f"good@{name}.example" not in bounces


def test_a_smarthost_for_everything_but_local_mail(tmp_path):
    """`route "*"` with a login: what is submitted for other domains goes there, without any look-up."""
    text = f"From: <{ME}>\r\nSubject: by the hub\r\n\r\n.x\r\n"
    with Peer(tls=secrets(tmp_path), login=LOGIN) as peer:
        hub = (f'route "*" {{ host = "127.0.0.1" port = {peer.port} tls = required login = "{LOGIN[0]}" '
               f'password_file = "{tmp_path}/password" }}\n')
        with Server(tmp_path / "server", sections=hub) as server:
            server.add_user(ME)
            send_message(server.ports["submission"], ME, ["a@one.example", "b@two.example", "c@one.example", ME], text, login=ME)
            server.wait_for_mail(ME, 1)
            wait_until(lambda: len(peer.messages) == 2, 30, lambda: server.command("queue", "list"))
            server.wait_for_empty_queue()
    assert sorted(recipients for _, recipients in peer.messages) == [["a@one.example", "c@one.example"], ["b@two.example"]]
    assert all(peer.in_tls) and 1 <= peer.logins == peer.connections <= 2


def test_a_new_store_asks_all_relays_first(tmp_path):
    """With several relays the store is killed while each has messages that a server is just taking: each of them knows what became
    of its own, and nothing is sent twice; the parts of a message for many recipients in one domain are with one relay."""
    domains = [f"d{i}.example" for i in range(24)]
    many = [f"m{i}@many.example" for i in range(250)]
    with Peer(delay={"final": 0.7}) as peer:
        routes = "".join(f'route "{domain}" {{ host = "127.0.0.1" port = {peer.port} }}\n' for domain in [*domains, "many.example"])
        with Server(tmp_path, sections=routes, processes="relay = 4") as server:
            server.add_user(ME)
            for turn in range(4):
                for domain in domains:
                    text = f"From: <{ME}>\r\nSubject: {turn}\r\n\r\nx\r\n"
                    send_message(server.ports["submission"], ME, [f"r{turn}@{domain}"], text, login=ME)
                text = f"From: <{ME}>\r\nSubject: {turn}, to many\r\n\r\nx\r\n"
                send_message(server.ports["submission"], ME, many, text, login=ME)
                wait_until(lambda: peer.commands.count("DATA") > turn * len(domains) + 3, 30, "messages are under way", 0.01)
                old = server.pids()["store"]
                os.kill(old[0], signal.SIGKILL)
                wait_until(lambda: server.pids().get("store", old) != old, 30, "a new store")
            server.wait_for_empty_queue(60)
            assert "may be delivered again" not in server.log()
    taken = [recipient for _, recipients in peer.messages for recipient in recipients]
    assert sorted(taken) == sorted([*(f"r{turn}@{domain}" for turn in range(4) for domain in domains), *(many * 4)])


def test_a_connection_is_used_again(world, bounces):
    peer = world.reused.peer
    with smtplib.SMTP("127.0.0.1", world.servers["patient"].ports["mx"], timeout=60, local_hostname="client.example") as session:
        session.ehlo()
        for i in range(5):
            send(session, world.reused, f"again {i}", ["r@reused.example"])
            wait_until(lambda: len(peer.messages) == 1 + i, 20, f"message {i}", 0.02)
    assert len(peer.messages) == 5 and peer.connections == 1
    assert peer.commands.count("EHLO mail.local.example") == 1
