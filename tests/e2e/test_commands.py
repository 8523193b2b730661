"""The commands against a running server, started by root with a user id for each role and by a plain user."""
import json
import os
import poplib
import re
import smtplib
import socket
import subprocess

import pytest

from peer import Peer
from veredus import CLIENT_TLS, PASSWORD, VEREDUS, Server, free_port, parsed, wait_until

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_NOHOST, EX_UNAVAILABLE = 64, 65, 66, 67, 68, 69
EX_CANTCREAT, EX_TEMPFAIL, EX_PROTOCOL, EX_NOPERM, EX_CONFIG = 73, 75, 76, 77, 78
ID = r"[0-9a-z]{20}"


class Served(Server):
    """A server with users, and a route to a host that answers 451 until told otherwise."""

    def __init__(self, plain_user):
        self.peer = Peer(always={"rcpt": "451 4.7.1 Greylisted, try again later"})
        self.gone = free_port()
        super().__init__(plain_user=plain_user, settings="postmaster = ann@local.example", relay='schedule = {"30m"}',
                         sections='domain "slow.example" { relay = true }\ndomain "gone.example" { relay = true }\n'
                                  f'route "slow.example" {{ host = "127.0.0.1" port = {self.peer.port} }}\n'
                                  f'route "gone.example" {{ host = "127.0.0.1" port = {self.gone} }}\n', limits="message_size = 100K")
        self.add_user("ann@local.example")
        self.add_user("bob@local.example")

    def send(self, *arguments, code=0, password=PASSWORD):
        """`veredus send` to this server; standard output and standard error."""
        words = ["send", "--server", "127.0.0.1", "--timeout", "60", *arguments]
        stdin = ""
        if "--user" in arguments:
            words.append("--password-stdin")
            stdin = password + "\n"
        done = subprocess.run([VEREDUS, *words], input=stdin, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout, done.stderr


@pytest.fixture(scope="module", params=["as root", "as a plain user"])
def server(request):
    if request.param == "as root" and os.geteuid() != 0:
        pytest.skip("not root")
    with Served(request.param == "as a plain user") as running:
        running.kind = request.param
        yield running


# What runs


def test_status(server):
    status = server.rows("status")[0]
    assert status["hostname"] == "mail.local.example" and status["accepting"] is True
    roles = {role["role"]: role for role in status["roles"]}
    assert set(roles) == {"smtpd-mx", "smtpd-msa", "imapd", "store", "reader", "relay", "resolver", "keys", "indexer"}
    assert all(role["state"] == "running" for role in roles.values())
    uids = {name: os.stat(f"/proc/{role['pid']}").st_uid for name, role in roles.items()}
    if server.kind == "as root":
        assert len(set(uids.values())) == len(uids) and 0 not in uids.values()
    else:
        assert set(uids.values()) == {os.stat(f"/proc/{server.process.pid}").st_uid}
    text, _ = server.run("status")
    assert "mail.local.example" in text and "smtpd-mx" in text


def test_serve_prints_its_listeners(server):
    assert server.lines[-1] == "ready"
    for name, port in server.ports.items():
        assert f"127.0.0.1:{port}" in [line.split()[1] for line in server.lines if line.startswith(name + " ")]


# Accounts


def test_an_account_from_its_making_to_its_removal(server):
    server.add_user("Carl@Local.Example")
    row = [r for r in server.rows("user", "list") if r["address"] == "carl@local.example"][0]
    assert row["state"] == "active" and row["messages"] == 0 and row["octets"] == 0
    server.pop3("carl@local.example").quit()
    server.run("user", "passwd", "carl@local.example", "--password-stdin", stdin="anöther\n")
    with pytest.raises(poplib.error_proto, match="AUTH"):
        server.pop3("carl@local.example")
    server.pop3("carl@local.example", "anöther").quit()
    server.run("user", "disable", "carl@local.example")
    with pytest.raises(poplib.error_proto):
        server.pop3("carl@local.example", "anöther")
    code, text = server.deliver("carl@local.example")
    assert code in (450, 550) and re.match(rb"[45]\.2\.1 ", text)
    server.run("user", "enable", "carl@local.example")
    assert server.deliver("carl@local.example") is None
    server.wait_for_mail("carl@local.example", 1, "anöther")
    assert server.run("user", "remove", "carl@local.example", "--yes")[0] == "The account and its messages are removed.\n"
    assert "carl@local.example" not in server.run("user", "list")[0]
    assert server.deliver("carl@local.example")[0] == 550
    server.add_user("carl@local.example")
    assert server.fetch("carl@local.example") == []
    server.run("user", "remove", "carl@local.example", "--yes", "--json")


def test_a_password_from_a_file(server):
    path = server.path("secret")
    with open(path, "w", encoding="utf-8") as file:
        file.write("from a file\nnot this\n")
    server.run("user", "add", "file@local.example", "--password-file", path, "--quota", "10M")
    server.pop3("file@local.example", "from a file").quit()
    row = [r for r in server.rows("user", "list") if r["address"] == "file@local.example"][0]
    assert row["quota"] == 10 << 20
    server.run("user", "quota", "file@local.example", "none")
    row = [r for r in server.rows("user", "list") if r["address"] == "file@local.example"][0]
    assert row["quota"] == 0
    server.run("user", "remove", "file@local.example", "--yes")


@pytest.mark.parametrize("words, code, message, advice", [
    (["user", "add", "ann@local.example"], EX_CANTCREAT, "there is an account ann@local.example already", "user passwd"),
    (["user", "add", "no-address"], EX_DATAERR, '"no-address" is no e-mail address', "name@domain"),
    (["user", "add", "x@loacl.example"], EX_DATAERR, "loacl.example is not a domain of this server", "did you mean local.example?"),
    (["user", "add", "x@slow.example"], EX_DATAERR, "mail for slow.example is only passed on", "relay = true"),
    (["user", "passwd", "nobody@local.example"], EX_NOUSER, "there is no account nobody@local.example", "user list"),
    (["user", "disable", "nobody@local.example"], EX_NOUSER, "there is no account", "user list"),
    (["user", "remove", "nobody@local.example", "--yes"], EX_NOUSER, "there is no account", "user list"),
    (["user", "quota", "ann@local.example", "much"], EX_USAGE, '"much" is no quota', "K, M, G or T"),
    (["alias", "remove", "nothing@local.example"], EX_NOUSER, "there is no such alias", "alias list"),
    (["alias", "add", "a@local.example", "a@local.example"], EX_DATAERR, "the alias leads to itself", "beside an account"),
    (["alias", "add", "a@elsewhere.example", "ann@local.example"], EX_DATAERR, "not a domain of this server", ""),
    (["queue", "show", "999999"], EX_NOINPUT, "nothing in the queue matches", "queue list"),
    (["queue", "why", "nobody@nowhere.example"], EX_NOINPUT, "nothing in the queue matches", "queue list"),
    (["queue", "drop", "nobody@nowhere.example"], EX_NOINPUT, "nothing in the queue matches", "queue list"),
    (["trace", "00000000000000000000"], EX_NOINPUT, "the journal knows nothing", "Received field"),
    (["trace", "never-seen@local.example"], EX_NOINPUT, "the journal knows nothing", "journal_days"),
])
def test_what_cannot_be_done_says_why(server, words, code, message, advice):
    needs_password = words[:2] in (["user", "add"], ["user", "passwd"])
    error = server.failure(*words, *(["--password-stdin"] if needs_password else []), code=code,
                           stdin="secret\n" if needs_password else "")
    assert message in error["message"] and advice in error["advice"], error


def test_aliases(server):
    out, _ = server.run("alias", "add", "sales@local.example", "ann@local.example", "bob@local.example")
    assert out == ("sales@local.example now leads to ann@local.example.\n"
                   "sales@local.example now leads to bob@local.example.\n")
    server.run("alias", "add", "sales@local.example", "ann@local.example")
    found = [row for row in server.rows("alias", "list") if row["address"] == "sales@local.example"]
    assert [row["target"] for row in found] == ["ann@local.example", "bob@local.example"]
    server.run("alias", "remove", "sales@local.example", "bob@local.example")
    assert "bob@local.example" not in server.run("alias", "list")[0]
    server.run("alias", "remove", "sales@local.example")
    assert "sales@local.example" not in server.run("alias", "list")[0]


def test_no_option_takes_a_password(server):
    """A secret on a command line can be seen by every user; only `dev` takes one there."""
    for command in (json.loads(line) for line in subprocess.run([VEREDUS, "help", "--json"], capture_output=True, text=True,
                                                                 check=True).stdout.splitlines()):
        for option in command["options"]:
            takes = option.get("value") or ""
            assert "PASSWORD" not in takes.upper() or command["name"] == "dev", option
            if "password" in option["name"]:
                assert takes in ("", "FILE"), option


# The queue


def in_queue(server, recipient):
    return [row for row in server.rows("queue", "list") if row["recipient"] == recipient]


def tried(server, recipient, attempts=1):
    """The row of this recipient, once it has been tried that often."""
    return wait_until(lambda: [r for r in in_queue(server, recipient) if r["attempts"] >= attempts and r["state"] == "waiting"],
                      60, f"{attempts} attempts for {recipient}")[0]


def test_the_queue_is_listed_explained_held_released_and_dropped(server):
    assert server.deliver("late@slow.example", sender="ann@local.example") is None
    row = tried(server, "late@slow.example")
    assert row["code"] == 451 and row["enhanced"] == "4.7.1" and row["reply"] == "Greylisted, try again later"
    assert "451 4.7.1 Greylisted, try again later" in server.run("queue", "list")[0]
    assert re.fullmatch(ID, row["id"])
    for what in (str(row["entry"]), row["id"], "late@slow.example", "slow.example"):
        assert row["id"] in server.run("queue", "show", what)[0]
    why = " ".join(server.run("queue", "why", "late@slow.example")[0].split())
    assert "451 4.7.1 Greylisted, try again later" in why and "veredus queue retry" in why
    assert "try" in server.rows("queue", "why", "late@slow.example")[0]["why"]

    assert server.run("queue", "hold", "late@slow.example")[0] == "1 of 1 rows are held.\n"
    assert in_queue(server, "late@slow.example")[0]["state"] == "held"
    assert "held by command" in server.run("queue", "why", "late@slow.example")[0]
    assert server.rows("queue", "release", "late@slow.example") == [{"done": True, "matched": 1, "changed": 1, "under_way": 0}]
    tried(server, "late@slow.example", 2)
    assert server.run("queue", "retry", "slow.example")[0] == "1 of 1 rows are tried now.\n"
    tried(server, "late@slow.example", 3)
    assert server.run("queue", "drop", "late@slow.example")[0] == "1 of 1 rows are removed; their senders are not told.\n"
    assert in_queue(server, "late@slow.example") == []
    trace, _ = server.run("trace", row["id"])
    for event in ("accepted", "queued", "deferred", "held", "dropped"):
        assert re.search(rf"^  \S+ \S+  {event} ", trace, re.M), (event, trace)
    assert server.subjects("ann@local.example") == []


def test_nobody_answers(server):
    assert server.deliver("x@gone.example", sender="ann@local.example") is None
    row = tried(server, "x@gone.example")
    assert row["enhanced"].startswith("4.")
    why, _ = server.run("queue", "why", "x@gone.example")
    assert "Connection refused" in why
    server.run("queue", "drop", str(row["entry"]))


def test_all_rows_at_once(server):
    for i in range(3):
        assert server.deliver(f"many{i}@slow.example", sender="ann@local.example") is None
    for i in range(3):
        tried(server, f"many{i}@slow.example")
    assert server.rows("queue", "hold", "--all")[0]["changed"] == 3
    assert server.rows("queue", "drop", "--all")[0]["changed"] == 3
    assert server.run("queue", "list")[0] == "The queue is empty.\n"
    assert server.run("queue", "list", "--json")[0] == ""


# The journey


def journey(server, what, event):
    """The rows of a trace, once it has this event."""
    def found():
        rows = server.rows("trace", what)
        return rows if event in [row["event"] for row in rows] else None
    return wait_until(found, 60, f"{event} in the trace of {what}")


def test_the_journey_to_a_mailbox(server):
    out, _ = server.send("--port", str(server.ports["submission"]), "--no-verify", "--user", "ann@local.example",
                         "bob@local.example")
    identifier = re.search(rf"Stored as ({ID})", out)[1]
    rows = journey(server, identifier, "filed")
    accepted, filed = rows[0], rows[-1]
    assert accepted["event"] == "accepted" and {row["id"] for row in rows} == {identifier}
    for word in ("from=<ann@local.example>", "client=127.0.0.1", "login=ann@local.example", "tls=TLSv1.3"):
        assert word in accepted["text"]
    assert "to=<bob@local.example>" in filed["text"] and "mailbox=INBOX" in filed["text"] and "uid=" in filed["text"]
    assert identifier in server.run("trace", "bob@local.example")[0]
    assert identifier in server.run("trace", "BOB@local.example", "--messages", "1")[0]


def test_the_journey_to_a_bounce(server):
    with smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], context=CLIENT_TLS, timeout=60) as session:
        session.login("ann@local.example", PASSWORD)
        server.peer.always["rcpt bad@slow.example"] = "550 5.1.1 no such user here"
        session.sendmail("ann@local.example", ["bad@slow.example"], "From: ann@local.example\r\nSubject: to bounce\r\n\r\nx\r\n")
    rows = journey(server, "bad@slow.example", "bounced")
    failed = [row for row in rows if row["event"] == "failed"][0]
    assert "550 5.1.1 no such user here" in failed["text"] and "127.0.0.1" in failed["text"]
    bounce = [m for m in parsed(server.wait_for_mail("ann@local.example", 1)) if m.get_content_type() == "multipart/report"][0]
    assert bounce["Return-Path"] == "<>"
    box = server.pop3("ann@local.example")
    box.dele(1)
    box.quit()
    assert wait_until(lambda: "expunged" in server.run("trace", "ann@local.example")[0], 30, "expunged")


def test_the_journey_of_what_was_refused(server):
    with server.smtp() as session:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.sendmail("stranger@elsewhere.example", ["nobody-at-all@local.example"], "x")
    rows = journey(server, "nobody-at-all@local.example", "refused")
    refused = [row for row in rows if row["event"] == "refused"][0]
    assert "550 5.1.1" in refused["text"] and "client=127.0.0.1" in refused["text"]


# The configuration


def test_reload_keeps_the_old_configuration_if_the_new_one_is_bad(server):
    path = server.path("veredus.conf")
    with open(path, encoding="utf-8") as file:
        good = file.read()
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(good + 'domian "new.example" { }\n')
        error = server.failure("reload", code=EX_CONFIG)
        assert '"domian" is not a setting of the file; did you mean "domain"?' in error["message"] + error["advice"], error
        line = good.count("\n") + 1
        assert f"{path}:{line}:" in error["message"] + error["advice"]
        assert server.deliver("x@new.example")[0] == 550
        with open(path, "w", encoding="utf-8") as file:
            file.write(good + 'domain "new.example" { catch_all = "bob@local.example" }\n')
        assert server.run("reload")[0] == "The configuration is in force.\n"
        wait_until(lambda: server.deliver("x@new.example") is None, 30, "the new domain")
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(good)
        server.run("reload")


# Sending


def test_send_over_starttls(server):
    out, _ = server.send("--port", str(server.ports["submission"]), "--no-verify", "--user", "ann@local.example",
                         "--subject", "grüße", "--body", "eine Zeile ß", "bob@local.example")
    assert "-> STARTTLS" in out and "** encrypted with TLSv1.3" in out
    assert PASSWORD not in out and "AUTH PLAIN ***" in out
    assert re.search(r"<- 235 2\.7\.0 .* the login is good", out)
    assert out.endswith("\nTaken for 1 of 1 recipients.\n")
    message = wait_until(lambda: [m for m in parsed(server.fetch("bob@local.example")) if m["Subject"] == "=?utf-8?B?Z3LDvMOfZQ==?="], 30,
                         "the message")[0]
    assert message.get_payload(decode=True).decode() == "eine Zeile ß\r\n"
    assert message["From"] == "ann@local.example" and message["Message-ID"] and message["Date"]


def test_send_over_implicit_tls_with_json(server):
    out, _ = server.send("--port", str(server.ports["submissions"]), "--tls", "implicit", "--no-verify", "--json", "--user",
                         "ann@local.example", "bob@local.example", "ann@local.example")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1] == {"done": True, "delivered": 2, "deferred": 0, "failed": 0}
    lines = [row["line"] for row in rows[:-1]]
    assert lines.index("220 mail.local.example ESMTP Veredus") > [i for i, l in enumerate(lines) if l.startswith("encrypted")][0]
    assert {row["direction"] for row in rows[:-1]} == {"sent", "received", "event"}
    assert "<bob@local.example> taken" in lines and "<ann@local.example> taken" in lines


@pytest.mark.parametrize("text", [b"Subject: file\n\n.dots\n..\n.\nend\n", b"Subject: file\r\n\r\nno line end", b"\n", b""])
def test_send_a_file(server, text, tmp_path):
    path = tmp_path / "message"
    path.write_bytes(text)
    server.send("--port", str(server.ports["mx"]), "--from", "out@elsewhere.example", "--no-verify", "--message", str(path),
                "bob@local.example")
    server.run("trace", "bob@local.example")
    wanted = text.replace(b"\r\n", b"\n").split(b"\n\n", 1)[-1].rstrip(b"\n")
    wait_until(lambda: any(m.get_payload().replace("\r\n", "\n").rstrip("\n").encode() == wanted
                           for m in parsed(server.fetch("bob@local.example")) if m["Return-Path"] == "<out@elsewhere.example>"),
               30, "the message")


def test_send_with_a_bad_password(server):
    out, err = server.send("--port", str(server.ports["submission"]), "--no-verify", "--user", "ann@local.example",
                           "bob@local.example", password="sésame", code=EX_NOPERM)
    assert re.search(r"^<- 535 5\.7\.8 ", out, re.M)
    assert err.startswith("veredus: the session ended at the login: 535 ")
    assert "check user and password" in err and "sésame" not in out + err


def test_send_with_a_bad_certificate(server):
    for options in ([], ["--ca", server.path("cert.pem"), "--server", "127.0.0.1"]):
        words = ["--port", str(server.ports["submission"]), "--user", "ann@local.example", *options, "bob@local.example"]
        if "--server" in options:
            # The certificate is trusted, but it is one for localhost.
            done = subprocess.run([VEREDUS, "send", *words, "--password-stdin"], input=PASSWORD, capture_output=True, text=True,
                                  timeout=60, check=False)
            out, err = done.stdout, done.stderr
            assert done.returncode == EX_PROTOCOL, (out, err)
        else:
            out, err = server.send(*words, code=EX_PROTOCOL)
        assert "TLS failed" in err and "--ca FILE" in err
        assert "AUTH" not in out.split("STARTTLS")[-1]


def test_send_with_a_good_certificate(server):
    done = subprocess.run([VEREDUS, "send", "--server", "localhost", "--port", str(server.ports["submissions"]), "--tls", "implicit",
                           "--ca", server.path("cert.pem"), "--user", "ann@local.example", "--password-stdin",
                           "bob@local.example"], input=PASSWORD + "\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the certificate is good" in done.stdout


def test_send_is_refused_relaying(server):
    out, _ = server.send("--port", str(server.ports["mx"]), "--no-verify", "--from", "me@elsewhere.example",
                         "you@elsewhere.example", code=EX_UNAVAILABLE)
    assert re.search(r"^<- 550 5\.7\.1 ", out, re.M)
    assert "** <you@elsewhere.example> refused\n" in out
    assert out.endswith("\nTaken for 0 of 1 recipients.\n")


def test_send_to_some_that_are_refused(server):
    out, _ = server.send("--port", str(server.ports["mx"]), "--no-verify", "--from", "me@elsewhere.example",
                         "nobody@local.example", "bob@local.example", code=EX_UNAVAILABLE)
    assert "** <nobody@local.example> refused\n" in out and "** <bob@local.example> taken\n" in out
    assert "Taken for 1 of 2 recipients." in out


def test_send_a_message_that_is_too_large(server, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"Subject: large\n\n" + b"0123456789\n" * 20000)
    out, err = server.send("--port", str(server.ports["mx"]), "--no-verify", "--from", "me@elsewhere.example", "--message", str(path),
                           "bob@local.example", code=EX_UNAVAILABLE)
    assert "refused" in out and "SIZE 102400" in out
    assert "-> (the message" not in out


def test_send_to_a_greylisting_server(server):
    peer = Peer(always={"rcpt": "451 4.7.1 Greylisted"})
    out, _ = server.send("--port", str(peer.port), "--from", "me@elsewhere.example", "you@peer.example", code=EX_TEMPFAIL)
    assert "refused for now: try again later" in out
    assert "greylist" in out.lower() and "try again" in out.lower()


@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "rcpt", "data", "final"])
def test_send_when_the_connection_is_lost(server, step):
    peer = Peer(always={step: None})
    out, err = server.send("--port", str(peer.port), "--from", "me@elsewhere.example", "you@peer.example", code=EX_TEMPFAIL)
    if step == "final":
        assert "perhaps taken" in out
    else:
        assert "the connection was lost" in err + out


def test_send_never_gives_a_password_in_clear(server):
    peer = Peer(extensions=("AUTH PLAIN LOGIN",))
    out, err = server.send("--port", str(peer.port), "--user", "me@elsewhere.example", "you@peer.example", code=EX_TEMPFAIL)
    assert not [line for line in peer.commands if line.upper().startswith(("AUTH", "MAIL"))]
    assert "TLS is required, and the server does not offer STARTTLS" in err
    _, err = server.send("--port", str(peer.port), "--tls", "none", "--user", "me@elsewhere.example", "you@peer.example",
                         code=EX_USAGE)
    assert "never sent over a connection that is not encrypted" in err


def test_send_nowhere(server):
    _, err = server.send("--port", str(server.gone), "--from", "a@b.example", "c@d.example", code=EX_TEMPFAIL)
    assert f"no connection to 127.0.0.1 port {server.gone}" in err
    done = subprocess.run([VEREDUS, "send", "--server", "no-such-host.invalid", "--from", "a@b.example", "c@d.example"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EX_NOHOST and "the host no-such-host.invalid is not found" in done.stderr


def test_send_to_a_server_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = subprocess.run([VEREDUS, "send", "--server", "127.0.0.1", "--port", str(silent.getsockname()[1]), "--timeout", "1",
                               "--from", "a@b.example", "c@d.example"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EX_TEMPFAIL and "no answer in time" in done.stderr


@pytest.mark.parametrize("words, code, message", [
    (["bob@local.example"], EX_USAGE, "it is not said who the sender is"),
    (["--from", "no address", "bob@local.example"], EX_DATAERR, '"no address" is no e-mail address'),
    (["--from", "a@b.example", "bob@@local.example"], EX_DATAERR, '"bob@@local.example" is no e-mail address'),
    (["--from", "a@b.example", "--tls", "sometimes", "b@c.example"], EX_USAGE, '--tls: "sometimes" will not do'),
    (["--from", "a@b.example", "--port", "0", "b@c.example"], EX_USAGE, '--port: "0" will not do'),
    (["--from", "a@b.example", "--message", "-", "--subject", "x", "b@c.example"], EX_USAGE, "the message is given with --message"),
    (["--from", "a@b.example", "--subject", "x\ny", "b@c.example"], EX_DATAERR, "characters that cannot be sent"),
    (["--from", "a@b.example", "--ca", "/nonexistent/ca.pem", "b@c.example"], 66, "cannot open /nonexistent/ca.pem"),
])
def test_send_misused(words, code, message):
    done = subprocess.run([VEREDUS, "send", "--server", "127.0.0.1", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code and message in done.stderr, (done.returncode, done.stdout, done.stderr)


# The end


def test_a_second_server_on_the_same_data_is_refused(server):
    done = subprocess.run([*server.wrapper, server.binary, "serve", "-c", server.path("veredus.conf")], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == EX_CANTCREAT and "another Veredus is running" in done.stderr


def test_stop(server):
    """The last test: mail under way is finished, then the server is gone and commands say so."""
    assert server.run("stop")[0] == "The server finishes what is under way and stops.\n"
    assert server.process.wait(60) == 0
    error = server.failure("status", code=EX_UNAVAILABLE)
    assert "the server is not running" in error["message"]
    assert "AddressSanitizer" not in server.log() and "runtime error" not in server.log()
