"""What the DNS says of a domain, and what becomes of mail for it: no such domain, no answer, null MX, preferences, loops, and
servers that are slow, dead or lie. Every message is delivered to the right host, bounced with the right status, or waits.

All scenarios run at the same time through one Veredus. The hosts of the recipients are addresses 127.0.1.n; nobody listens on
127.0.1.99. What is asked of a server that fails has a server of its own, because the resolver remembers who does not answer.
"""
import email
import json
import random
import smtplib
import struct

import pytest
from dns_server import (NXDOMAIN, REFUSED, SERVFAIL, TYPES, ScriptedDns, answer, encode_name, record, refuse, silent, slow,
                        truncated)
from peer import Peer
from veredus import CLIENT_TLS, PASSWORD, Server, free_port, send, wait_until

EQUAL = 24  # messages to a domain with two equal hosts
ME = "127.0.0.1"
DOWN = "127.0.1.99"


def delivered(*peers):
    return "delivered", peers


def bounced(status, code="550"):
    return "bounced", status, code


def deferred(status="4.4.3"):
    return "deferred", status


def host_of(name, address):
    return {name: {"AAAA" if ":" in address else "A": [address]}}


def mx(domain, *hosts):
    """Records of a domain with hosts given as (preference, address)."""
    names = {f"mx{i}.{domain}": host for i, host in enumerate(hosts)}
    found = {domain: {"MX": [(preference, name) for name, (preference, _) in names.items()]}}
    for name, (_, address) in names.items():
        found.update(host_of(name, address))
    return found


ONE, TWO = "127.0.1.1", "127.0.1.2"

# Domain: records, outcome. Peers are named by their addresses.
SCENARIOS = {
    "nxdomain.example": ({}, bounced("5.1.2")),
    "a-only.example": (host_of("a-only.example", ONE), delivered(ONE)),
    "aaaa-only.example": (host_of("aaaa-only.example", "::1"), delivered("::1")),
    "no-records.example": ({"no-records.example": {"TXT": []}}, bounced("5.4.4")),
    "mx-aaaa.example": (mx("mx-aaaa.example", (10, "::1")), delivered("::1")),
    "alias.example": ({"alias.example": {"CNAME": ["target.example"]}, **mx("target.example", (10, ONE))}, delivered(ONE)),
    "alias-to-nothing.example": ({"alias-to-nothing.example": {"CNAME": ["nothing.example"]}}, bounced("5.1.2")),
    "alias-of-host.example": ({"alias-of-host.example": {"MX": [(10, "al.alias-of-host.example")]},
                               "al.alias-of-host.example": {"CNAME": ["real.alias-of-host.example"]},
                               **host_of("real.alias-of-host.example", ONE)}, delivered(ONE)),
    "null-mx.example": ({"null-mx.example": {"MX": [(0, "")], "A": [ONE]}}, bounced("5.1.10")),
    "null-mx-and-more.example": ({"null-mx-and-more.example": {"MX": [(0, ""), (10, "h.null-mx-and-more.example")]},
                                  **host_of("h.null-mx-and-more.example", ONE)}, delivered(ONE)),
    "preference.example": (mx("preference.example", (20, TWO), (10, ONE)), delivered(ONE)),
    "first-down.example": (mx("first-down.example", (10, DOWN), (20, TWO), (30, ONE)), delivered(TWO)),
    "first-refuses.example": (mx("first-refuses.example", (10, "127.0.1.3"), (20, TWO)), delivered(TWO)),
    "first-missing.example": ({**mx("first-missing.example", (20, TWO)), "first-missing.example":
                               {"MX": [(10, "none.first-missing.example"), (20, "mx0.first-missing.example")]}}, delivered(TWO)),
    "all-missing.example": ({"all-missing.example": {"MX": [(10, "none.all-missing.example")]}}, bounced("5.4.4")),
    "all-down.example": (mx("all-down.example", (10, DOWN)), deferred("4.4.1")),
    "equal.example": (mx("equal.example", (10, ONE), (10, TWO)), delivered(ONE, TWO)),
    "self-by-name.example": ({"self-by-name.example": {"MX": [(10, "mail.local.example")]}}, bounced("5.4.6")),
    "self-by-address.example": (mx("self-by-address.example", (10, ME)), bounced("5.4.6")),
    "self-first.example": (mx("self-first.example", (10, ME), (20, ONE)), bounced("5.4.6")),
    "self-second.example": (mx("self-second.example", (10, DOWN), (20, ME), (20, ONE), (30, ONE)), deferred("4.4.1")),
    "self-no-mx.example": (host_of("self-no-mx.example", ME), bounced("5.4.6")),
    "localhost-mx.example": ({"localhost-mx.example": {"MX": [(10, "localhost")]}}, bounced("5.4.6")),
    "literal-mx.example": ({"literal-mx.example": {"MX": [(10, "127.0.1.1")]}}, bounced("5.4.4")),
    "any-address-mx.example": (mx("any-address-mx.example", (10, "0.0.0.0")), bounced("5.4.4")),
    "xn--bcher-kva.example": (mx("xn--bcher-kva.example", (10, "::1")), delivered("::1")),
    "slow.example": ({"slow.example": slow(0.5, {"MX": [(10, "h.slow.example")]}), **host_of("h.slow.example", ONE)},
                     delivered(ONE)),
    "truncated.example": ({"truncated.example": truncated({"A": [ONE]})}, delivered(ONE)),
    "many.example": ({"many.example": truncated({"MX": [(10 + i, f"mx{i}.many.example") for i in range(200)]}),
                      **{f"mx{i}.many.example": {"A": [ONE]} for i in range(200)}}, delivered(ONE)),
}


def other_name(question):
    return question.reply([record("victim.example", "MX", (10, "evil.example")), record("evil.example", "A", ONE)])


def extra_name(question):
    """The truth, and what nobody asked about names of others, which must not be remembered."""
    records = {"MX": [(10, "h.extra.example")]} if question.name == "extra.example" else {"A": [ONE]}
    found = [record(question.name, question.kind, value) for value in records.get(question.kind, ())]
    return question.reply(found, authority=[record("victim.example", "NS", "evil.example"),
                                            record("victim.example", "MX", (1, "evil.example"))])


def noise(question):
    dice = random.Random(f"{question.name}{question.kind}{question.id}")
    return dice.randbytes(dice.randint(0, 600))


def noise_behind_header(question):
    dice = random.Random(f"{question.name}{question.kind}{question.id}")
    return question.reply()[:6] + struct.pack("!HHH", 9, 9, 9) + question.section + dice.randbytes(300)


def pointer_loop(question):
    return question.reply([b"\xc0" + bytes([len(question.reply())]) + struct.pack("!HHIH", 15, 1, 1, 4) + b"\0\x0a\xc0\x0c"])


def alias_loop(question):
    return question.reply([record(question.name, "CNAME", "b.cloop.example" if question.name[0] == "c" else "cloop.example")])


def cut_data(question):
    return question.reply([encode_name(question.name) + struct.pack("!HHIH", TYPES["MX"], 1, 1, 400) + b"\0\x0a"])


def short_address(question):
    if question.kind == "MX":
        return question.reply([record(question.name, "MX", (10, "h." + question.name))])
    return question.reply([record(question.name, question.kind, b"\x7f\0\1")])


# Zone: what its own server does with every question, outcome (several: any of them).
FAILING = {
    "servfail.example": (refuse(SERVFAIL), [deferred()]),
    "refused.example": (refuse(REFUSED), [deferred()]),
    "silent.example": (silent, [deferred()]),
    "dead-tcp.example": (truncated(None), [deferred()]),
    "wrong-id.example": (lambda q: q.reply([record(q.name, "A", ONE)], number=q.id ^ 1), [deferred()]),
    "wrong-question.example": (lambda q: q.reply([record("victim.example", "A", ONE)],
                                                 question=encode_name("victim.example") + q.section[-4:]), [deferred()]),
    "other-name.example": (other_name, [deferred(), bounced("5.4.4")]),
    "extra.example": (extra_name, [delivered(ONE)]),
    "noise.example": (noise, [deferred()]),
    "header-noise.example": (noise_behind_header, [deferred()]),
    "pointer-loop.example": (pointer_loop, [deferred()]),
    "cloop.example": (alias_loop, [deferred()]),
    "cut.example": (cut_data, [deferred()]),
    "short.example": (short_address, [deferred(), bounced("5.4.4")]),
    "empty-packet.example": (lambda q: b"", [deferred()]),
    "huge.example": (lambda q: q.reply([record(q.name, "MX", (i, f"{'x' * 50}{i}.huge.example")) for i in range(700)]),
                     [deferred(), bounced("5.4.4")]),
    "lying-nxdomain.example": (lambda q: q.reply([record("victim.example", "A", ONE)], rcode=NXDOMAIN), [bounced("5.1.2")]),
}


class AnyName(dict):
    """Every name has the same script."""

    def __init__(self, script):
        super().__init__()
        self.script = script

    def get(self, name, default=None):
        return self.script


class World:
    def __init__(self, directory):
        port = free_port()
        self.peers = {address: Peer(address=address, port=port, extensions=("PIPELINING", "8BITMIME", "SMTPUTF8"))
                      for address in (ONE, TWO, "::1")}
        self.peers["127.0.1.3"] = Peer(address="127.0.1.3", port=port, always={"greeting": "554 5.7.1 no mail here"})
        names = {"victim.example": {"MX": [(10, "h.victim.example")]}, "h.victim.example": {"A": [ONE]}}
        for records, _ in SCENARIOS.values():
            names.update(records)
        self.dns = ScriptedDns(names)
        self.failing = {zone: ScriptedDns(AnyName(script)) for zone, (script, _) in FAILING.items()}
        self.failing.update({zone: ScriptedDns(AnyName(silent)) for zone in ("back.example", "risen.example")})
        self.server = Server(directory, dns=self.dns.address, ports={"mx": port},
                             stubs={zone: server.address for zone, server in self.failing.items()},
                             relay=f'schedule = {{"2s", "3s"}} port = {port} timeout_scale = 10 transactions_per_connection = 1')
        self.server.add_user("me@local.example")

    def stop(self):
        self.server.clean()
        for thing in (self.dns, *self.failing.values()):
            thing.stop()
        for peer in self.peers.values():
            peer.shutdown()
            peer.server_close()

    def send(self, recipient):
        send(self.server.ports["submission"], "me@local.example", [recipient],
             f"From: <me@local.example>\r\nSubject: {recipient}\r\n\r\nx\r\n", login="me@local.example")

    def rows(self):
        """The queue by domain."""
        rows = [json.loads(line) for line in self.server.command("queue", "list", "--json").splitlines()]
        return {row["domain"]: row for row in rows}

    def row(self, domain):
        return self.rows().get(domain)

    def taken(self, domain):
        """(address of the host, recipient) of each message for the domain."""
        return [(address, recipient) for address, peer in self.peers.items() for _, recipients in peer.messages
                for recipient in recipients if recipient.endswith("@" + domain)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("dns"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def outcome(world):
    """Sends to every domain; returns what each came to once nothing changes any more, as text by domain."""
    domains = [*SCENARIOS, *FAILING, *["equal.example"] * (EQUAL - 1)]
    with smtplib.SMTP("127.0.0.1", world.server.ports["submission"], timeout=60) as session:
        session.starttls(context=CLIENT_TLS)
        session.login("me@local.example", PASSWORD)
        for domain in domains:
            name = "b\u00fccher.example" if domain.startswith("xn--") else domain
            session.command_encoding = "utf-8"
            assert session.mail("me@local.example", ["SMTPUTF8"] if name != domain else [])[0] == 250
            assert session.rcpt(f"r@{name}")[0] == 250
            assert session.data(f"From: <me@local.example>\r\nSubject: {domain}\r\n\r\nx\r\n")[0] == 250

    def bounces():
        fields = [email.message_from_bytes(message).get_payload()[1].get_payload()[1]
                  for message in world.server.fetch("me@local.example")]
        return {field["Final-Recipient"].split("@")[1]: field for field in fields}

    def open_ones():
        """Domains of which nothing is known yet."""
        tried = {domain for domain, row in world.rows().items() if row["attempts"] > 0}
        bounced = bounces()
        # On a busy machine an answer may come too late for the first attempt: what can be delivered is waited for.
        return [domain for domain in dict.fromkeys(domains)
                if (domain not in tried or (domain in SCENARIOS and SCENARIOS[domain][1][0] == "delivered")) and domain not in bounced and
                len(world.taken(domain)) < (EQUAL if domain == "equal.example" else 1)]
    wait_until(lambda: not open_ones(), 60, open_ones, 0.5)
    return world.rows(), bounces()


def found(world, outcome, domain):
    waiting, bounces = outcome
    hosts = [address for address, _ in world.taken(domain)]
    return hosts, bounces.get(domain), waiting.get(domain)


def matches(expected, hosts, bounce, row):
    if expected[0] == "delivered":
        return bounce is None and row is None and sorted(set(hosts)) == sorted(expected[1])
    if expected[0] == "bounced":
        return hosts == [] and row is None and bounce is not None and bounce["Status"] == expected[1]
    return hosts == [] and bounce is None and row is not None and row["enhanced"] == expected[1]


@pytest.mark.parametrize("domain", SCENARIOS)
def test_records_decide_where_mail_goes(world, outcome, domain):
    hosts, bounce, row = found(world, outcome, domain)
    assert matches(SCENARIOS[domain][1], hosts, bounce, row), (hosts, bounce and bounce.as_string(), row)
    assert len(hosts) == (EQUAL if domain == "equal.example" else 1 if hosts else 0)


@pytest.mark.parametrize("domain", FAILING)
def test_servers_that_fail_or_lie(world, outcome, domain):
    hosts, bounce, row = found(world, outcome, domain)
    assert any(matches(expected, hosts, bounce, row) for expected in FAILING[domain][1]), \
        (hosts, bounce and bounce.as_string(), row)


@pytest.mark.optimised_only
@pytest.mark.parametrize("script", [refuse(SERVFAIL), silent], ids=["SERVFAIL", "silence"])
def test_mail_waits_until_the_name_servers_are_back(world, outcome, script):
    zone = "back.example" if script is not silent else "risen.example"
    names = world.failing[zone].names
    names.script = script
    world.send(f"r@{zone}")
    wait_until(lambda: world.row(zone) and world.row(zone)["attempts"] >= 2, 60, lambda: world.row(zone), 0.5)
    assert world.row(zone)["enhanced"] == "4.4.3"
    names.script = lambda question: answer(question, {"A": [ONE]})
    wait_until(lambda: world.taken(zone), 90, lambda: world.row(zone), 0.5)
    assert world.taken(zone) == [(ONE, f"r@{zone}")]


def test_the_resolver_outlives_all_lies(world, outcome):
    assert "resolver" not in world.server.log()
    assert not world.taken("victim.example")
    world.send("r@victim.example")
    wait_until(lambda: world.taken("victim.example"), 30, lambda: world.row("victim.example"))
