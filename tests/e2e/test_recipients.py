"""Who a recipient is: users, aliases many to many, catch-all, subaddresses, postmaster, case, quoted local parts, international
addresses, names that look alike, and mailboxes that are full."""
import json
import smtplib

import pytest
from veredus import PASSWORD, Server, free_port, parsed, wait_until

EX_DATAERR = 65
CYRILLIC_A = "\u0430"
DOMAINS = """
domain "all.example" { catch_all = ann@local.example }
domain "dash.example" { subaddress_separator = "-" }
domain "none.example" { subaddress_separator = "" }
domain "b\u00fccher.example" { }
domain "xn--mnchen-3ya.example" { }
domain "passed.example" { relay = true }
"""


@pytest.fixture(scope="module")
def server():
    port = free_port()
    listener = f'listener "lmtp" {{ kind = lmtp address = {{"127.0.0.1"}} port = {port} }}'
    with Server(sections=DOMAINS + listener, relay='schedule = {"1h"}') as running:
        running.ports["lmtp"] = port
        running.add_users(f"{user}@local.example" for user in ("ann", "bob", "carol"))
        yield running


class Session(smtplib.SMTP):
    """One transaction at a time, with the replies as they are."""

    def __init__(self, server, port="mx"):
        super().__init__("127.0.0.1", server.ports[port], timeout=60, local_hostname="client.example")
        self.ehlo() if port != "lmtp" else self.docmd("LHLO", "client.example")

    def reply_to(self, recipient, parameters=""):
        """The reply to RCPT, in a transaction of its own. `recipient` with its brackets."""
        utf8 = "" if recipient.isascii() else " SMTPUTF8"
        self.rset()
        self.command_encoding = "utf-8"
        assert self.docmd("MAIL", f"FROM:<x@elsewhere.example>{utf8}{parameters}")[0] == 250
        code, text = self.docmd("RCPT", f"TO:{recipient}")
        return code, text.decode()


def received(server, user, number):
    """To whom the newest messages of a user were delivered."""
    found = server.wait_for_mail(user, number)
    return [message["Delivered-To"].lower() for message in parsed(found)]


def empty(server, *users):
    for user in users:
        server.fetch(user, remove=True)


def refusal(server, *words):
    """The message of a command that is refused, whatever its exit code."""
    out, err = server.run(*words, "--json", stdin="a password\n", code=None)
    assert out == "" and err, (out, err)
    return json.loads(err)["error"]["message"]


# Whom an address reaches


@pytest.mark.parametrize("recipient", [
    "<ann@local.example>", "<ANN@Local.Example>", '<"ann"@local.example>', '<"a\\nn"@local.example>', "<ann+tag@local.example>",
    "<Ann+Tag+More@local.example>", '<"ann+a tag"@local.example>', "<ann+@local.example>", "<postmaster>", "<PostMaster>",
    "<POSTMASTER@LOCAL.EXAMPLE>", "<postmaster@all.example>", "<abuse@dash.example>", '<"postmaster"@none.example>',
    "<nobody@all.example>", "<anyone+tag@all.example>", "<@relay.example,@other.example:ann@local.example>"])
def test_reaches_ann(server, recipient):
    with Session(server) as session:
        assert session.reply_to(recipient)[0] == 250
        assert session.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    server.wait_for_mail("ann@local.example", 1)
    empty(server, "ann@local.example")


@pytest.mark.parametrize("recipient", [
    "<nobody@local.example>", "<an@local.example>", "<ann-tag@local.example>", "<+ann@local.example>", '<""@local.example>',
    '<" ann"@local.example>', "<nobody+ann@local.example>", "<ann+tag@none.example>", "<ann@dash.example>",
    f"<{CYRILLIC_A}nn@local.example>", "<\uff41nn@local.example>", "<ann\u200b@local.example>"])
def test_unknown_at_rcpt(server, recipient):
    with Session(server) as session:
        assert session.reply_to(recipient) == (550, "5.1.1 No such user here; check the spelling of the address")


@pytest.mark.parametrize("recipient, code, enhanced", [
    ("<ann@elsewhere.example>", 550, "5.7.1"), ("<ann@sub.local.example>", 550, "5.7.1"), ("<someone@passed.example>", 250, "2.1.5"),
    ("<ann>", 501, "5.1.3"), ("<ann@>", 501, "5.1.2"), ("<ann@local.example.>", 501, "5.1.2"), ("<a..b@local.example>", 501, "5.1.3"),
    ("<ann%local.example>", 501, "5.1.3"), ("<ann%elsewhere.example@local.example>", 550, "5.7.1"),
    ("<elsewhere.example!ann@local.example>", 550, "5.7.1"), (f"<{'a' * 65}@local.example>", 501, "5.1.3"),
    ("<>", 501, "5.1.3"), ("<postmaster@elsewhere.example>", 550, "5.7.1")])
def test_other_refusals(server, recipient, code, enhanced):
    with Session(server) as session:
        found, text = session.reply_to(recipient)
        assert (found, text.split()[0]) == (code, enhanced), text


def test_separators(server):
    server.add_user("dan@dash.example")
    server.add_user("eve+club@none.example")
    with Session(server) as session:
        assert session.reply_to("<dan-tag@dash.example>")[0] == 250
        assert session.reply_to("<dan+tag@dash.example>")[0] == 550
        assert session.reply_to("<eve+club@none.example>")[0] == 250
        assert session.reply_to("<eve@none.example>")[0] == 550
        # Who has exactly this address comes before who has it without its tag.
        server.add_user("dan-two@dash.example")
        assert server.deliver("dan-two@dash.example") is None
    assert received(server, "dan-two@dash.example", 1) == ["dan-two@dash.example"]
    assert server.subjects("dan@dash.example") == []


def test_postmaster_can_be_somebody_else(server):
    server.run("alias", "add", "postmaster@dash.example", "bob@local.example")
    assert server.deliver("PostMaster@Dash.example") is None
    assert received(server, "bob@local.example", 1) == ["postmaster@dash.example"]
    empty(server, "bob@local.example")


def test_postmaster_is_somebody_always():
    """Before the first account its mail waits at the sender; later it goes to the first that is active, whatever is configured."""
    with Server(settings="postmaster = nobody@local.example") as server:
        with Session(server) as session:
            assert session.reply_to("<postmaster>")[0] == 451
            assert session.reply_to("<bob@local.example>")[0] == 550
        wait_until(lambda: "there is no account yet" in server.log(), 20, server.log)
        server.add_user("ann@local.example")
        server.add_user("bob@local.example")
        for recipient, user in [("postmaster@local.example", "ann"), ("abuse@local.example", "ann")]:
            assert server.deliver(recipient) is None
        server.wait_for_mail("ann@local.example", 2)
        server.run("user", "disable", "ann@local.example")
        assert server.deliver("PostMaster@local.example") is None
        server.wait_for_mail("bob@local.example", 1)


# Aliases


def test_aliases_many_to_many(server):
    server.run("alias", "add", "sales@local.example", "bob@local.example", "carol@local.example")
    server.run("alias", "add", "shop@local.example", "carol@local.example", "sales@local.example", "bob@local.example")
    server.run("alias", "add", "office@local.example", "shop@local.example")
    assert server.deliver("Office+tag@local.example") is None
    # Each gets one copy, by however many ways.
    assert received(server, "bob@local.example", 1) == ["office+tag@local.example"]
    assert received(server, "carol@local.example", 1) == ["office+tag@local.example"]
    with Session(server) as session:
        session.sendmail("x@elsewhere.example", ["sales@local.example", "shop@local.example", "bob@local.example"], "Subject: 2\r\n\r\n")
    server.wait_for_mail("bob@local.example", 2)
    server.wait_for_mail("carol@local.example", 2)
    empty(server, "bob@local.example", "carol@local.example")
    rows = server.rows("alias", "list")
    assert {"address": "shop@local.example", "target": "sales@local.example"} in rows


def test_an_alias_keeps_a_copy_for_its_own_account(server):
    server.run("alias", "add", "carol@local.example", "bob@local.example")
    with Session(server) as session:
        assert session.reply_to("<carol@local.example>")[0] == 250
    assert server.deliver("carol@local.example") is None
    server.wait_for_mail("bob@local.example", 1)
    assert server.subjects("carol@local.example") == []
    server.run("alias", "add", "carol@local.example", "carol@local.example")
    assert server.deliver("carol@local.example") is None
    server.wait_for_mail("bob@local.example", 2)
    server.wait_for_mail("carol@local.example", 1)
    server.run("alias", "remove", "carol@local.example")
    assert server.deliver("carol@local.example") is None
    server.wait_for_mail("carol@local.example", 2)
    empty(server, "bob@local.example", "carol@local.example")
    # Of no use without an account, and an account of no use behind an alias.
    assert "the alias leads to itself" in refusal(server, "alias", "add", "zoe@local.example", "zoe@local.example")
    server.run("alias", "add", "zoe@local.example", "bob@local.example")
    assert "the account would get none" in refusal(server, "user", "add", "zoe@local.example", "--password-stdin")


def test_loops_end(server):
    for address, target in [("loop1", "loop2"), ("loop2", "loop3"), ("loop3", "loop1")]:
        server.run("alias", "add", f"{address}@local.example", f"{target}@local.example")
    with Session(server) as session:
        # It leads to nobody.
        assert session.reply_to("<loop1@local.example>")[0] == 550
    server.run("alias", "add", "loop3@local.example", "bob@local.example")
    for address in ("loop1", "loop2", "loop3"):
        assert server.deliver(f"{address}@local.example") is None
    server.wait_for_mail("bob@local.example", 3)
    empty(server, "bob@local.example")


def test_depth_is_bounded(server):
    """Ten aliases one behind the other are followed; what lies deeper is not, and the sender is told."""
    for i in range(14):
        server.run("alias", "add", f"deep{i}@local.example", f"deep{i + 1}@local.example")
    server.run("alias", "add", "deep14@local.example", "bob@local.example")
    with Session(server) as session:
        assert session.reply_to("<deep0@local.example>")[0] == 550
        assert session.reply_to("<deep6@local.example>")[0] == 250
    assert server.deliver("deep6@local.example") is None
    server.wait_for_mail("bob@local.example", 1)
    empty(server, "bob@local.example")


def test_width_is_bounded(server):
    targets = [f"far{i}@elsewhere.example" for i in range(200)]
    server.run("alias", "add", "wide@local.example", *targets[:100])
    server.run("alias", "add", "wide@local.example", *targets[100:])
    assert "at most 200 addresses" in refusal(server, "alias", "add", "wide@local.example", "one-more@elsewhere.example")
    assert len([row for row in server.rows("alias", "list") if row["address"] == "wide@local.example"]) == 200
    with Session(server) as session:
        assert session.reply_to("<wide@local.example>")[0] == 250


# International addresses


@pytest.mark.parametrize("written, other", [
    ("b\u00fccher.example", "xn--bcher-kva.example"), ("m\u00fcnchen.example", "xn--mnchen-3ya.example")])
def test_international_domain(server, written, other):
    """However the configuration writes it, and however mail does."""
    server.add_user(f"olga@{written}")
    server.run("alias", "add", f"info@{other}", f"olga@{written}")
    for recipient in (f"olga@{written}", f"olga@{other}", f"OLGA@{written.upper()}", f"olga+x@{other.upper()}", f"info@{written}",
                      f"postmaster@{written}"):
        with Session(server) as session:
            assert session.reply_to(f"<{recipient}>")[0] == 250, recipient
        if not recipient.startswith("postmaster"):
            assert server.deliver(recipient) is None
    server.wait_for_mail(f"olga@{other}", 5)
    # Login, and the right to a sender address, in either form.
    assert len(server.fetch(f"olga@{written}")) == 5
    with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=60, local_hostname="client.example") as session:
        session.starttls()
        session.ehlo()
        session.login(f"olga@{other}", PASSWORD)
        session.command_encoding = "utf-8"
        assert session.docmd("MAIL", f"FROM:<olga@{written}> SMTPUTF8")[0] == 250
        session.rset()
        assert session.docmd("MAIL", f"FROM:<info@{other}>")[0] == 250
        session.rset()
        assert session.docmd("MAIL", f"FROM:<ann@{other}>")[0] == 550
        session.rset()
        # The header may have the other form.
        text = f"From: Olga <olga@{written}>\r\nTo: bob@local.example\r\nSubject: forms\r\n\r\nx\r\n"
        assert session.docmd("MAIL", f"FROM:<olga@{other}> SMTPUTF8")[0] == 250
        assert session.docmd("RCPT", "TO:<bob@local.example>")[0] == 250
        assert session.data(text.encode())[0] == 250
    assert [message["Subject"] for message in parsed(server.wait_for_mail("bob@local.example", 1))] == ["forms"]
    empty(server, "bob@local.example")
    row = next(row for row in server.rows("user", "list") if row["address"].startswith("olga@" + other))
    assert row["address"] == f"olga@{other}"


def test_international_local_parts(server):
    server.add_user("jos\u00e9@local.example")
    for recipient in ("jos\u00e9", "JOS\u00c9", "jose\u0301", "jos\u00e9+tag", '"jos\u00e9"'):
        assert server.deliver(f"{recipient}@local.example") is None, recipient
    server.wait_for_mail("jos\u00e9@local.example", 5)
    with Session(server) as session:
        assert session.reply_to("<jose@local.example>")[0] == 550
        session.rset()
        session.command_encoding = "utf-8"
        assert session.docmd("MAIL", "FROM:<x@elsewhere.example>")[0] == 250
        code, text = session.docmd("RCPT", "TO:<jos\u00e9@local.example>")
        assert (code, text.split()[0]) == (553, b"5.6.7")


@pytest.mark.parametrize("address, other", [
    (f"{CYRILLIC_A}nn", "mixes letters of several scripts that look alike"), ("\uff41nn", "looks like ann@local.example"),
    ("\uff21\uff2e\uff2e", "looks like ann@local.example"), ("bob\u200b", "a character that cannot be seen"),
    ("\u0441\u0430r\u043el", "mixes letters"), ("caro\u04cf", "mixes letters"), ("\u0440\u043e\u0455tmaster", "mixes letters"),
    ("\u24d0nn", "looks like ann@local.example"), ("sold", "there is an account sold@local.example already")])
def test_names_that_look_alike(server, address, other):
    if "there is" in other:  # a long s: the same address
        server.add_user("\u017fold@local.example")
    for words in (["user", "add", "--password-stdin"], ["alias", "add"]):
        if words[0] == "alias" and "there is" in other:
            continue
        more = ["ann@local.example"] if words[0] == "alias" else []
        assert other in refusal(server, *words, f"{address}@local.example", *more)


def test_an_alike_name_is_found_from_either_side(server):
    name = "\u0430\u0441\u0435"  # Cyrillic throughout, as "ace"
    server.add_user(f"{name}@local.example")
    assert f"looks like {name}@local.example" in server.failure("user", "add", "ace@local.example", "--password-stdin", stdin="p\n",
                                                                code=EX_DATAERR)["message"]
    server.add_user("ace@all.example")  # another domain
    assert "looks like postmaster@local.example" in server.failure("alias", "add", "\uff50ostmaster@local.example",
                                                                   "ann@local.example", code=EX_DATAERR)["message"]


# Full mailboxes


def test_quota(server):
    server.add_user("full@local.example", "--quota", "20000")
    with Session(server) as session:
        assert "SIZE" in session.esmtp_features or session.has_extn("size")
        # What would not fit is refused before it is sent.
        assert session.reply_to("<full@local.example>", " SIZE=19000")[0] == 250
        code, text = session.reply_to("<full@local.example>", " SIZE=30000")
        assert (code, text) == (452, "4.2.2 The recipient's mailbox is full, or too full for this message; try again later")
        assert session.reply_to("<full+tag@local.example>", " SIZE=30000")[0] == 452
        # Without SIZE, when it is all there.
        session.reply_to("<full@local.example>")
        assert session.data("Subject: x\r\n\r\n" + ("x" * 70 + "\r\n") * 400)[0] == 452
    assert server.deliver("full@local.example", "Subject: 1\r\n\r\n" + ("x" * 70 + "\r\n") * 260) is None
    server.wait_for_mail("full@local.example", 1)
    with Session(server) as session:
        assert session.reply_to("<full@local.example>", " SIZE=5000")[0] == 452
        assert session.reply_to("<full@local.example>", " SIZE=100")[0] == 250
    server.run("user", "quota", "full@local.example", "1000")
    with Session(server) as session:
        wait_until(lambda: session.reply_to("<full@local.example>")[0] == 452, 20, "the quota counts")
        server.run("alias", "add", "to-full@local.example", "full@local.example")
        # An alias to a full mailbox alone is as full; one that leads to others too is not.
        assert session.reply_to("<to-full@local.example>")[0] == 452
        server.run("alias", "add", "to-full@local.example", "bob@local.example")
        assert session.reply_to("<to-full@local.example>")[0] == 250
    row = next(row for row in server.rows("user", "list") if row["address"] == "full@local.example")
    assert row["quota"] == row["own_quota"] == 1000 and row["octets"] > 18000
    empty(server, "full@local.example")
    assert server.deliver("full@local.example", "Subject: 2\r\n\r\n") is None


def test_lmtp_tells_each_recipient(server):
    server.add_user("small@local.example", "--quota", "4000")
    with Session(server, "lmtp") as session:
        assert session.docmd("MAIL", "FROM:<x@elsewhere.example>")[0] == 250
        for user in ("small", "bob", "nobody", "carol"):
            assert session.docmd("RCPT", f"TO:<{user}@local.example>")[0] == (550 if user == "nobody" else 250)
        assert session.docmd("DATA")[0] == 354
        session.send(b"Subject: lmtp\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100 + b".\r\n")
        assert [session.getreply()[0] for _ in range(3)] == [452, 250, 250]
        assert session.docmd("MAIL", "FROM:<x@elsewhere.example> SIZE=10000")[0] == 250
        assert session.docmd("RCPT", "TO:<small@local.example>")[0] == 452
        assert session.docmd("RCPT", "TO:<bob@local.example>")[0] == 250
    assert [message["Subject"] for message in parsed(server.wait_for_mail("bob@local.example", 1))] == ["lmtp"]
    server.wait_for_mail("carol@local.example", 1)
    assert server.subjects("small@local.example") == []
    empty(server, "bob@local.example", "carol@local.example")


def test_disabled(server):
    server.add_user("gone@local.example")
    server.run("alias", "add", "to-gone@local.example", "gone@local.example")
    server.run("user", "disable", "gone@local.example")
    with Session(server) as session:
        wait_until(lambda: session.reply_to("<gone@local.example>")[0] == 550, 20, "disabled")
        assert session.reply_to("<gone+x@local.example>") == (550, "5.2.1 The recipient's account is disabled")
        assert session.reply_to("<to-gone@local.example>") == (550, "5.2.1 The recipient's account is disabled")
        server.run("alias", "add", "to-gone@local.example", "bob@local.example")
        assert session.reply_to("<to-gone@local.example>")[0] == 250
    assert server.deliver("to-gone@local.example") is None
    server.wait_for_mail("bob@local.example", 1)
    server.run("user", "enable", "gone@local.example")
    assert server.subjects("gone@local.example") == []
    empty(server, "bob@local.example")


def test_over_quota_refused(server):
    """With over_quota = refuse: 552, and the same for all listeners."""
    text = server.config.read_text()
    try:
        server.config.write_text(text.replace("grace =", "over_quota = refuse\ngrace ="))
        server.run("reload")
        server.add_user("strict@local.example", "--quota", "1000")

        def refused():
            with Session(server) as session:
                return session.reply_to("<strict@local.example>", " SIZE=2000")
        wait_until(lambda: refused()[0] == 552, 20, refused)
        assert refused()[1] == "5.2.2 The recipient's mailbox is full, or too full for this message"
        with Session(server) as session:
            session.reply_to("<strict@local.example>")
            assert session.data("Subject: x\r\n\r\n" + ("x" * 70 + "\r\n") * 20)[0] == 552
    finally:
        server.config.write_text(text)
        server.run("reload")
