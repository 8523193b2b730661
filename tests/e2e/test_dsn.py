"""Delivery status notifications end to end (RFC 3461, 3464, 6522, 6533): every NOTIFY for every way that a message can take, what
is passed on to a server that has DSN, what is told where one has not, and the notices read by Python's email package.

All messages go through one Veredus at the same time; the peers are scripts, and a second Veredus that bounces by itself.
"""
import email
import email.utils
import itertools
import re
import smtplib

import pytest
from peer import Peer
from veredus import Server, delivery_status, free_port

ME, OTHER = "me@a.example", "jürgen@a.example"
WORDS = ("SUCCESS", "FAILURE", "DELAY")
NOTIFY = ["", "NEVER", *(",".join(words) for n in (1, 2, 3) for words in itertools.combinations(WORDS, n))]
NONE, FULL, HEADERS = "", "FULL", "HDRS"


def wants(notify, word):
    """RFC 3461, section 5.2: without NOTIFY the sender hears of failures, and of delays as we do it."""
    return word in notify if notify else word != "SUCCESS"


class Way:
    """Where a recipient lies, what the peer there does, and what the sender is told: (word of NOTIFY, action, status) in order."""

    def __init__(self, told, peer=None, local_part="r"):
        self.told, self.peer, self.local_part = told, peer, local_part


def ways():
    dsn = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN")
    return {
        "dsn": Way([], Peer(extensions=dsn)),
        "plain": Way([("SUCCESS", "relayed", "2.0.0")], Peer()),
        "local": Way([("SUCCESS", "delivered", "2.0.0")]),
        "refused": Way([("FAILURE", "failed", "5.1.1")], Peer(always={"rcpt": "550 5.1.1 no such user"}, extensions=dsn)),
        "plain-refused": Way([("FAILURE", "failed", "5.7.1")], Peer(always={"final": "554 5.7.1 spam"})),
        "late": Way([("DELAY", "delayed", "4.2.0"), ("SUCCESS", "relayed", "2.0.0")],
                    Peer(script={"rcpt": ["450 4.2.0 greylisted"] * 3 * len(NOTIFY)})),
        "never": Way([("DELAY", "delayed", "4.2.2"), ("FAILURE", "failed", "4.2.2")],
                     Peer(always={"rcpt": "452 4.2.2 mailbox full"})),
    }


class World:
    def __init__(self, directory):
        self.ways = ways()
        port = free_port()
        self.b = Server(directory / "b", domains=["b.example"],
                        sections=f'route "a.example" {{ host = "127.0.0.1" port = {port} }}\n')
        self.b.add_user("ann@b.example")
        self.bad = Peer(always={"rcpt": "550 5.1.1 no such user"}, extensions=("DSN", "8BITMIME", "SMTPUTF8"))
        self.dead = Peer()  # the reverse-path of some leads here
        self.utf8 = Peer(always={"rcpt": "550 5.1.1 nobody"}, extensions=("DSN", "8BITMIME", "SMTPUTF8"))
        hosts = {f"{name}.example": way.peer.port for name, way in self.ways.items() if way.peer}
        hosts.update({"b.example": self.b.ports["mx"], "bad.example": self.bad.port, "dead.example": self.dead.port,
                      "utf8.example": self.utf8.port})
        self.a = Server(directory / "a", domains=["a.example"], ports={"mx": port}, settings='postmaster = "help@a.example"',
                        relay='schedule = {"1s"} lifetime = 10s bounce_lifetime = 10s delay_notice = 1s', sections="".join(
                            f'domain "{domain}" {{ relay = true }}\nroute "{domain}" {{ host = "127.0.0.1" port = {port} }}\n'
                            for domain, port in hosts.items()) + 'domain "nowhere.example" { relay = true }\n')
        self.a.add_user(ME)
        self.a.add_user(OTHER)
        for name in ("local", "help", "one", "two"):
            self.a.add_user(f"{name}@a.example")
        for target in ("one@a.example", "two@a.example", "r@plain.example", "list@dsn.example"):
            self.a.command("alias", "add", "all@a.example", target)
        self.a.command("alias", "add", "single@a.example", "single@dsn.example")

    def stop(self):
        self.a.stop()
        self.b.stop()
        for peer in (self.bad, self.dead, self.utf8, *(way.peer for way in self.ways.values() if way.peer)):
            peer.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("dsn"))
    yield running
    running.stop()


def send(session, name, recipients, options=(), sender=ME, body="x\r\n", header=""):
    """`recipients`: address to parameters."""
    assert session.mail(sender, options)[0] == 250, (name, sender, options)
    for address, parameters in recipients.items():
        assert session.rcpt(address, parameters)[0] == 250, (name, address, parameters)
    text = f"From: <me@a.example>\r\nSubject: {name}\r\n{header}\r\n{body}"
    assert session.data(text.encode())[0] == 250


def title(way, notify):
    return f"{way}-{notify.replace(',', '-').lower() or 'none'}"


class Notice:
    """A notice as the sender finds it; all that every notice must be is checked here."""

    def __init__(self, raw, host="a"):
        self.raw, self.message = raw, email.message_from_bytes(raw)
        self.of_message, self.recipients = delivery_status(self.message)
        assert self.message["Return-Path"] == "<>" and self.message["Auto-Submitted"] == "auto-replied"
        assert self.message["MIME-Version"] == "1.0"
        assert re.fullmatch(rf"<[0-9a-z]+@mail\.{host}\.example>", self.message["Message-ID"])
        assert self.message["From"] == f"Mail delivery <{'help@a.example' if host == 'a' else 'postmaster@mail.b.example'}>"
        assert self.of_message["Reporting-MTA"] == f"dns; mail.{host}.example"
        assert email.utils.parsedate_to_datetime(self.message["Date"]).tzinfo is not None
        parts = self.message.get_payload()
        assert len(parts) == 3 and not any(part.defects for part in [self.message, *parts])
        self.words, self.original = parts[0].get_payload(decode=True).decode(), parts[2]
        assert parts[0].get_content_type() == "text/plain"
        assert max(map(len, raw.splitlines())) <= 998 and raw.replace(b"\r\n", b"").find(b"\n") < 0
        self.check_fields()

    def check_fields(self):
        """RFC 3464, section 2: the fields of the message, then those of each recipient, each once and in our order."""
        assert list(self.of_message.keys()) in (["Original-Envelope-Id", *self.always()], self.always())
        for fields in self.recipients:
            names = ["Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
                     "Last-Attempt-Date", "Will-Retry-Until"]
            assert list(fields.keys()) == [name for name in names if name in fields]
            assert {"Final-Recipient", "Action", "Status"} <= set(fields.keys())
            assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fields["Status"])
            assert fields["Status"][0] in {"failed": "45", "delayed": "4"}.get(fields["Action"], "2")
            for name in ("Last-Attempt-Date", "Will-Retry-Until"):
                assert name not in fields or email.utils.parsedate_to_datetime(fields[name])
            assert ("Will-Retry-Until" in fields) == (fields["Action"] == "delayed")

    @staticmethod
    def always():
        return ["Reporting-MTA", "Arrival-Date", "X-Veredus-Id"]

    @property
    def name(self):
        part = self.original
        if part.get_content_maintype() == "message":
            text = part.get_payload()[0].as_string() if part.is_multipart() else part.get_payload()
        else:
            text = part.get_payload(decode=True).decode("utf-8", "replace")
        return re.search(r"^Subject: (.*?)\r?$", text, re.M)[1]


@pytest.fixture(scope="module")
def notices(world):
    """Sends all messages and waits until the queue is empty; the notices by subject, in the order in which they came."""
    with smtplib.SMTP("127.0.0.1", world.a.ports["mx"], timeout=60, local_hostname="client.example") as session:
        session.command_encoding = "utf-8"
        session.ehlo()
        for (name, way), notify in itertools.product(world.ways.items(), NOTIFY):
            options = [f"ENVID={title(name, notify)}+3D1", *(["RET=HDRS"] if notify else [])]
            address = f"{title(name, notify)}@{name}.example" if way.peer else "local@a.example"
            parameters = [f"NOTIFY={notify}"] if notify else []
            parameters.append(f"ORCPT=rfc822;{title(name, notify)}+2Bx@Old.example")
            send(session, title(name, notify), {address: parameters}, options)
        send_others(session)
    for server in (world.a, world.b, world.a):
        server.wait_for_empty_queue(90)
    found = {}
    for user in (ME, OTHER):
        for raw in world.a.fetch(user):
            notice = Notice(raw, "b" if b"Reporting-MTA: dns; mail.b.example" in raw else "a")
            found.setdefault(notice.name, []).append(notice)
    return found


BODY = "The whole body.\r\n.dot\r\n" + "line\r\n" * 20


def send_others(session):
    for ret in (NONE, FULL, HEADERS):
        send(session, f"ret {ret}", {"r@refused.example": []}, [f"RET={ret}"] if ret else [], body=BODY)
        send(session, f"ret {ret} of success", {"local@a.example": ["NOTIFY=SUCCESS"]}, [f"RET={ret}"] if ret else [], body=BODY)
    send(session, "ret FULL of 8 bits", {"r@refused.example": []}, ["RET=FULL", "BODY=8BITMIME"], body="grün\r\n")
    send(session, "ret FULL but large", {"r@refused.example": []}, ["RET=FULL"], body="0123456789\r\n" * 20000)
    send(session, "several", {"r1@refused.example": ["NOTIFY=FAILURE"], "r2@refused.example": ["NOTIFY=NEVER"],
                              "r3@refused.example": [], "r@plain.example": ["NOTIFY=SUCCESS"], "r@dsn.example": ["NOTIFY=SUCCESS"]})
    send(session, "null", {"r@refused.example": ["NOTIFY=SUCCESS,FAILURE"], "r@plain.example": ["NOTIFY=SUCCESS"],
                           "r@never.example": ["NOTIFY=FAILURE,DELAY"], "local@a.example": ["NOTIFY=SUCCESS"]}, sender="")
    send(session, "bounce that bounces", {"r@refused.example": []}, sender="gone@bad.example")
    send(session, "bounce that goes out", {"r@refused.example": []}, ["ENVID=abc"], sender="there@dead.example")
    send(session, "utf-8", {"jörg@utf8.example": ["ORCPT=utf-8;j\\x{F6}rg@utf8.example", "NOTIFY=FAILURE"]},
         ["SMTPUTF8", "ENVID=u1"], sender=OTHER, header="X-Word: grün\r\n")
    send(session, "utf-8 FULL", {"jörg@utf8.example": ["ORCPT=utf-8;jörg@utf8.example"]},
         ["SMTPUTF8", "BODY=8BITMIME", "RET=FULL"], sender=OTHER, body="grün\r\n")
    send(session, "utf-8 to ascii", {"jörg@utf8.example": ["ORCPT=utf-8;j\\x{F6}rg@utf8.example"]}, ["SMTPUTF8"])
    send(session, "second host", {"ann@b.example": ["NOTIFY=SUCCESS", "ORCPT=rfc822;ann+2Btag@b.example"]},
         ["ENVID=two", "RET=FULL"])
    send(session, "all", {"all@a.example": ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;all@a.example"]}, ["ENVID=all"])
    send(session, "all SUCCESS", {"all@a.example": ["NOTIFY=SUCCESS"]})
    send(session, "nowhere", {"r@nowhere.example": []})
    send(session, "single", {"single@a.example": ["NOTIFY=SUCCESS", "ORCPT=rfc822;single@a.example"]})


def check(name, way, notify, told, address):
    expected = [(action, status) for word, action, status in way.told if wants(notify, word)]
    found = [(notice.recipients[0]["Action"], notice.recipients[0]["Status"]) for notice in told]
    # A second delivery may come before the row of a first is seen to be late; the order of the mailbox is that of the notices.
    assert found == expected
    for notice in told:
        fields, = notice.recipients
        assert notice.of_message["Original-Envelope-Id"] == f"{name}=1"
        assert fields["Original-Recipient"] == f"rfc822; {name}+x@Old.example"
        assert fields["Final-Recipient"] == f"rfc822; {address}"
        assert notice.original.get_content_type() == "text/rfc822-headers"
        remote = way.peer is not None
        assert fields["Remote-MTA"] == ("dns; [127.0.0.1]" if remote else None)
        if fields["Action"] in ("failed", "delayed"):
            assert re.match(r"smtp; [45][0-9][0-9] [45]\.[0-9]\.[0-9] [a-z]", fields["Diagnostic-Code"])
            assert "What happened: " in notice.words and "On whose side: " in notice.words and "What to do: " in notice.words
        assert f"<{address}>:" in notice.words and "help@a.example" in notice.words
        assert notice.message["Subject"] == {"failed": "Your message could not be delivered", "delayed": "Your message is delayed",
                                             "relayed": "Your message was handed on", "delivered": "Your message was delivered"}[
                                                 fields["Action"]]


def test_who_is_told_what(world, notices):
    wrong = {}
    for (way_name, way), notify in itertools.product(world.ways.items(), NOTIFY):
        name = title(way_name, notify)
        try:
            check(name, way, notify, notices.get(name, []), f"{name}@{way_name}.example" if way.peer else "local@a.example")
        except AssertionError as error:
            wrong[name] = str(error)[:500]
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def test_a_server_with_dsn_gets_the_parameters_as_they_came(world, notices):
    commands = world.ways["dsn"].peer.commands
    for notify in NOTIFY:
        name = title("dsn", notify)
        ret, word = (" RET=HDRS", f" NOTIFY={notify}") if notify else ("", "")
        assert [line for line in commands if line.endswith(f" ENVID={name}+3D1")] == [
            f"MAIL FROM:<me@a.example>{ret} ENVID={name}+3D1"]
        assert [line for line in commands if line.startswith(f"RCPT TO:<{name}@")] == [
            f"RCPT TO:<{name}@dsn.example>{word} ORCPT=rfc822;{name}+2Bx@Old.example"]


def test_a_server_without_dsn_gets_none_of_them(world, notices):
    for name in ("plain", "late", "never", "plain-refused"):
        lines = [line for line in world.ways[name].peer.commands if line.startswith(("MAIL", "RCPT"))]
        assert lines and not [line for line in lines if re.search("NOTIFY|ORCPT|ENVID|RET=", line)]


@pytest.mark.parametrize("ret", [NONE, FULL, HEADERS])
def test_what_comes_back(notices, ret):
    notice, = notices[f"ret {ret}"]
    if ret == FULL:
        assert notice.original.get_content_type() == "message/rfc822"
        assert notice.original.get_payload()[0].get_payload() == BODY.replace("\r\n", "\n") or \
            notice.original.get_payload()[0].get_payload() == BODY
    else:
        assert notice.original.get_content_type() == "text/rfc822-headers" and b"The whole body" not in notice.raw
    success, = notices[f"ret {ret} of success"]
    assert success.original.get_content_type() == "text/rfc822-headers"  # RFC 3461, section 4.3: RET is for failures


def test_what_cannot_come_back_whole_in_seven_bits(notices):
    notice, = notices["ret FULL of 8 bits"]
    assert "grün\r\n".encode() in notice.raw and notice.message["Content-Transfer-Encoding"] == "8bit"
    large, = notices["ret FULL but large"]
    assert large.original.get_content_type() == "text/rfc822-headers" and len(large.raw) < 10000


def test_several_recipients(notices):
    told = sorted((fields["Final-Recipient"].split("; ")[1], fields["Action"]) for notice in notices["several"]
                  for fields in notice.recipients)
    assert told == [("r1@refused.example", "failed"), ("r3@refused.example", "failed"), ("r@plain.example", "relayed")]


def test_a_null_reverse_path_is_never_told(world, notices):
    assert "null" not in notices
    trace = world.a.command("trace", "r@never.example")
    assert "no notice: the reverse-path is null" in trace


def test_a_bounce_does_not_bounce(world, notices):
    assert "bounce that bounces" not in notices
    assert "MAIL FROM:<>" in [line.split(" SIZE")[0] for line in world.bad.commands]
    assert [line for line in world.bad.commands if line.startswith("RCPT")] == ["RCPT TO:<gone@bad.example> NOTIFY=NEVER"]
    (text, recipients), = world.dead.messages
    assert recipients == ["there@dead.example"] and b"\r\nOriginal-Envelope-Id: abc\r\n" in text
    assert [line.split(" SIZE")[0] for line in world.dead.commands if line.startswith("MAIL")] == ["MAIL FROM:<>"]


def test_unicode(world, notices):
    """RFC 6533: UTF-8 in the notice where its receiver can have it, else the ASCII form of the address."""
    notice, = notices["utf-8"]
    assert notice.message.get_payload()[1].get_content_type() == "message/global-delivery-status"
    assert "Final-Recipient: utf-8; jörg@utf8.example\r\n".encode() in notice.raw
    assert "Original-Recipient: utf-8; jörg@utf8.example\r\n".encode() in notice.raw
    assert notice.original.get_content_type() == "message/global-headers" and "X-Word: grün\r\n".encode() in notice.raw
    whole, = notices["utf-8 FULL"]
    assert whole.original.get_content_type() == "message/global" and "\r\ngrün\r\n".encode() in whole.raw
    ascii_only, = notices["utf-8 to ascii"]
    assert ascii_only.message.get_payload()[1].get_content_type() == "message/delivery-status"
    assert b"Final-Recipient: utf-8; j\\x{F6}rg@utf8.example\r\n" in ascii_only.raw
    assert "jörg".encode() not in ascii_only.raw
    assert "RCPT TO:<jörg@utf8.example> NOTIFY=FAILURE ORCPT=utf-8;j\\x{F6}rg@utf8.example" in world.utf8.commands


def test_the_next_host_tells_of_its_delivery(world, notices):
    """Both hosts are Veredus: the first passes the wish on, the second delivers and tells; its notice is one of b.example."""
    assert len(world.b.fetch("ann@b.example")) == 1
    notice, = notices["second host"]
    fields, = notice.recipients
    assert notice.of_message["Reporting-MTA"] == "dns; mail.b.example" and notice.of_message["Original-Envelope-Id"] == "two"
    assert (fields["Action"], fields["Status"], fields["Original-Recipient"], fields["Final-Recipient"]) == (
        "delivered", "2.0.0", "rfc822; ann+tag@b.example", "rfc822; ann@b.example")


def test_an_alias_with_several_targets_is_expanded(world, notices):
    """RFC 3461, section 5.2.7.3 (c)."""
    notice, = notices["all"]
    fields, = notice.recipients
    assert (fields["Action"], fields["Final-Recipient"]) == ("expanded", "rfc822; all@a.example")
    commands = world.ways["dsn"].peer.commands
    lines = [line for line in commands if line.startswith("RCPT TO:<list@")]
    assert sorted(lines) == ["RCPT TO:<list@dsn.example> NOTIFY=FAILURE ORCPT=rfc822;all@a.example",
                             "RCPT TO:<list@dsn.example> NOTIFY=NEVER"]
    assert [line for line in commands if line.startswith("RCPT TO:<single@")] == [
        "RCPT TO:<single@dsn.example> NOTIFY=SUCCESS ORCPT=rfc822;single@a.example"]
    assert "single" not in notices


def test_what_fails_here_names_no_other_server(notices):
    """RFC 3464, section 2.3.5: no Remote-MTA where none was involved."""
    assert notices["nowhere"][-1].recipients[0]["Action"] == "failed"
    for notice in notices["nowhere"]:
        fields, = notice.recipients
        assert fields["Status"] == "4.4.3" and "Remote-MTA" not in fields
        assert fields["Diagnostic-Code"].startswith("x-veredus; The DNS of the domain cannot be asked now")


def test_notices_survive_a_restart_and_are_not_told_twice(world, notices):
    before = len(world.a.fetch(ME))
    world.a.stop()
    world.a.start()
    world.a.wait_for_empty_queue(30)
    assert len(world.a.fetch(ME)) == before
    assert world.a.command("verify", code=None) is not None
