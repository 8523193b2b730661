"""`veredus import` and `veredus export`: Maildir as Dovecot writes it and mbox, with flags, dates, folders, UIDs kept."""
import contextlib
import imaplib
import json
import mailbox
import os
import re
import shutil
import subprocess

import pytest

from veredus import PASSWORD, VEREDUS, Server, wait_until

COUNT = 300
VALIDITY = 1275660208


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("import")) as running:
        for name in ("ann", "bob", "cid", "dan", "eve"):
            running.add_user(f"{name}@local.example")
        yield running


@contextlib.contextmanager
def session(server, name):
    with imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=__import__("veredus").CLIENT_TLS) as client:
        client.login(f"{name}@local.example", PASSWORD)
        yield client


def text_of(number):
    return (f"From: x{number}@far.example\nTo: ann@local.example\nSubject: number {number}\nMessage-ID: <{number}@far.example>\n\n"
            f"Body of {number}\nFrom here on\n>From there on\n.\n").encode()


def file_name(number, flags):
    return f"{1700000000 + number}.M{number}P1.host,S={len(text_of(number))}:2,{flags}"


def make_folder(path, numbers, flags, uids=None, keywords=(), next_uid=None):
    for below in ("cur", "new", "tmp"):
        (path / below).mkdir(parents=True)
    lines = []
    for number in numbers:
        name = file_name(number, flags(number))
        file = path / "cur" / name
        file.write_bytes(text_of(number))
        os.utime(file, (1600000000 + number * 60, 1600000000 + number * 60))
        if uids:
            lines.append(f"{uids(number)} W{len(text_of(number)) + 8} :{name.split(':')[0]}")
    if uids:
        lines.insert(0, f"3 V{VALIDITY} N{next_uid or max(map(uids, numbers)) + 1} G3085f01b7f11094c501100008c4a11c1")
        (path / "dovecot-uidlist").write_text("\n".join(lines) + "\n")
    if keywords:
        (path / "dovecot-keywords").write_text("".join(f"{n} {word}\n" for n, word in enumerate(keywords)))


@pytest.fixture(scope="module")
def maildir(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "Maildir"
    make_folder(path, range(COUNT), lambda n: "S" if n % 2 else "", lambda n: 3 * n + 7, next_uid=5000)
    make_folder(path / ".Work.Jos&AOk-", range(10), lambda n: ("FS", "RSab", "P", "DT", "")[n % 5], lambda n: n + 1, ["Later", "$Junk"])
    make_folder(path / ".Odd&AC4-name", range(2), lambda n: "")
    (path / "subscriptions").write_text("V\t2\n\nWork\tJos&AOk-\n")
    return path


def fetch_all(client, name):
    """{uid: (flags, internal date, text)} of a mailbox, and its UIDVALIDITY and UIDNEXT."""
    kind, _ = client.select(f'"{name}"', readonly=True)
    assert kind == "OK", name
    validity = int(client.response("UIDVALIDITY")[1][0])
    following = int(client.response("UIDNEXT")[1][0])
    kind, parts = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
    found = {}
    for part in parts:
        if isinstance(part, tuple):
            uid = int(re.search(rb"UID (\d+)", part[0])[1])
            flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].split()) - {rb"\Recent"}
            found[uid] = (flags, re.search(rb'INTERNALDATE "([^"]*)"', part[0])[1], part[1])
    return found, validity, following


def test_a_maildir_of_dovecot_keeps_uids_flags_dates_and_folders(server, maildir):
    rows = [json.loads(line) for line in server.command("import", "ann@local.example", str(maildir), "--json").splitlines()]
    assert [(row["mailbox"], row["filed"], row["uidvalidity_kept"]) for row in rows] == [
        ("INBOX", COUNT, True), ("Odd.name", 2, False), ("Work/José", 10, True)]
    with session(server, "ann") as client:
        inbox, validity, following = fetch_all(client, "INBOX")
        assert (validity, following) == (VALIDITY, 5000)
        assert sorted(inbox) == [3 * n + 7 for n in range(COUNT)]
        for n in range(COUNT):
            flags, date, text = inbox[3 * n + 7]
            assert text == text_of(n).replace(b"\n", b"\r\n")
            assert flags == ({rb"\Seen"} if n % 2 else set())
            assert imaplib.Internaldate2tuple(b'INTERNALDATE "' + date + b'"') is not None
        assert inbox[7][1] == b"13-Sep-2020 12:26:40 +0000"
        work, _, _ = fetch_all(client, "Work/Jos&AOk-")
        assert [sorted(work[n + 1][0]) for n in range(5)] == [
            [rb"\Flagged", rb"\Seen"], [b"$Junk", b"Later", rb"\Answered", rb"\Seen"], [b"$Forwarded"],
            [rb"\Deleted", rb"\Draft"], []]
        assert b"Work/Jos&AOk-" in b" ".join(client.lsub()[1])
        assert b"Odd" not in b" ".join(client.lsub()[1])


def test_an_import_run_again_takes_only_what_is_new(server, maildir):
    with session(server, "ann") as client:
        client.select("INBOX")
        client.uid("STORE", "7", "+FLAGS", r"(\Flagged)")
    file = maildir / "new" / "1700009999.M1P1.host"
    file.write_bytes(text_of(9999))
    try:
        rows = [json.loads(line) for line in server.command("import", "ann@local.example", str(maildir), "--json").splitlines()]
    finally:
        file.unlink()
    assert [(row["filed"], row["present"]) for row in rows] == [(1, COUNT), (0, 2), (0, 10)]
    with session(server, "ann") as client:
        inbox, validity, following = fetch_all(client, "INBOX")
        assert (validity, following, len(inbox)) == (VALIDITY, 5001, COUNT + 1)
        assert rb"\Flagged" in inbox[7][0], "what was changed here stays"
        assert inbox[5000][2] == text_of(9999).replace(b"\n", b"\r\n")
    assert server.command("verify").endswith("all is well.\n")


def test_a_mailbox_that_has_held_mail_keeps_its_own_numbers(server, maildir):
    with session(server, "eve") as client:
        client.append("INBOX", None, None, b"Subject: first\r\n\r\n")
    row = json.loads(server.command("import", "eve@local.example", str(maildir), "--mailbox", "INBOX", "--json"))
    assert (row["filed"], row["renumbered"], row["uidvalidity_kept"]) == (COUNT, COUNT, False)
    with session(server, "eve") as client:
        inbox, validity, _ = fetch_all(client, "INBOX")
        assert validity != VALIDITY and sorted(inbox) == list(range(1, COUNT + 2))


@pytest.mark.parametrize("form, other", [("maildir", "bob"), ("mbox", "cid")])
def test_what_is_exported_and_imported_elsewhere_is_the_same(server, maildir, tmp_path, form, other):
    del maildir
    out = tmp_path / "out"
    server.command("export", "ann@local.example", str(out), "--format", form)
    again = server.command("export", "ann@local.example", str(out), "--format", form, "--json")
    if form == "maildir":
        assert all(json.loads(line)["written"] == 0 for line in again.splitlines())
    server.command("import", f"{other}@local.example", str(out))
    with session(server, "ann") as one, session(server, other) as two:
        assert sorted(one.list()[1]) == sorted(two.list()[1])
        for name in ("INBOX", "Work/Jos&AOk-", "Odd.name"):
            first, validity, following = fetch_all(one, name)
            second, other_validity, other_following = fetch_all(two, name)
            assert first == second, name
            assert (validity, following) == (other_validity, other_following)


def test_an_exported_maildir_is_one_for_others(server, tmp_path):
    """Python's own reader finds the messages and their flags, and flags changed since are renamed at the next export."""
    out = tmp_path / "out"
    server.command("export", "ann@local.example", str(out))
    found = mailbox.Maildir(out, create=False)
    assert len(found) == COUNT + 1
    assert sum("S" in message.get_flags() for message in found) == COUNT // 2
    with session(server, "ann") as client:
        client.select("INBOX")
        client.uid("STORE", "10", "+FLAGS", r"(\Answered)")
    server.command("export", "ann@local.example", str(out))
    assert sum("R" in message.get_flags() for message in mailbox.Maildir(out, create=False)) == 1
    assert not os.listdir(out / "tmp")
    assert (out / "subscriptions").read_text() == "V\t2\n\nWork\tJos&AOk-\n", "as Dovecot writes it"


def test_a_message_that_is_only_a_header_keeps_it_in_an_mbox(server, tmp_path):
    server.add_user("gus@local.example")
    with session(server, "gus") as client:
        client.append("INBOX", None, None, b"Subject: only a header")
    server.command("export", "gus@local.example", str(tmp_path / "out"), "--format", "mbox")
    (message,) = mailbox.mbox(tmp_path / "out" / "INBOX.mbox", create=False)
    assert message["Subject"] == "only a header" and message["X-IMAPbase"], message


def test_an_mbox_of_thunderbird_and_one_of_python(server, tmp_path):
    source = tmp_path / "Local.mbox"
    box = mailbox.mbox(source)
    for n, flags in enumerate(("RO", "", "ROA", "ROF", "ROD")):
        message = mailbox.mboxMessage(text_of(n))
        message.set_from("x@far.example", (2024, 2, 29, 12, 0, n, 0, 0, 0))
        message.set_flags(flags)
        box.add(message)
    box.close()
    with open(source, "ab") as file:
        file.write(b"From - Fri Mar 01 00:00:07 2024\nX-Mozilla-Status: 1005\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1  \n"
                   b"Subject: last\n\nx\n\nFrom - Fri Mar 01 00:00:08 2024\nSubject: twice\n\nx\n"
                   b"\nFrom - Fri Mar 01 00:00:08 2024\nSubject: twice\n\nx\n")
    row = json.loads(server.command("import", "dan@local.example", str(source), "--mailbox", "Old/Mail", "--json"))
    assert row["filed"] == 8
    assert json.loads(server.command("import", "dan@local.example", str(source), "--mailbox", "Old/Mail", "--json"))["present"] == 8
    with session(server, "dan") as client:
        found, _, _ = fetch_all(client, "Old/Mail")
        assert [sorted(found[uid][0]) for uid in sorted(found)] == [
            [rb"\Seen"], [], [rb"\Answered", rb"\Seen"], [rb"\Flagged", rb"\Seen"], [rb"\Deleted", rb"\Seen"],
            [b"$Forwarded", b"$label1", rb"\Flagged", rb"\Seen"], [], []]
        assert found[1][1] == b"29-Feb-2024 12:00:00 +0000"
        assert [found[uid][2] for uid in (7, 8)] == [b"Subject: twice\r\n\r\nx\r\n"] * 2
        assert b"X-Mozilla" not in found[6][2] and b"Status" not in found[1][2]
        assert found[1][2].endswith(b"From here on\r\nFrom there on\r\n.\r\n") or b"\r\nFrom here on\r\n" in found[1][2]


def test_what_cannot_be_is_said(server, tmp_path):
    done = lambda *words: subprocess.run([VEREDUS, *words, "-c", str(server.config)], capture_output=True, text=True, check=False)
    for words, code, text in [
            (("import", "nobody@local.example", str(tmp_path)), 66, "no file that ends in .mbox"),
            (("import", "ann@local.example", str(tmp_path / "missing")), 66, "cannot open"),
            (("import", "ann@local.example", str(tmp_path), "--format", "maildir"), 66, "is no Maildir"),
            (("import", "ann@local.example", str(tmp_path), "--format", "pst"), 64, "no format"),
            (("export", "nobody@local.example", str(tmp_path / "x")), 67, "no account"),
            (("export", "ann@local.example", str(tmp_path / "y"), "--mailbox", "None"), 66, "no mailbox")]:
        result = done(*words)
        assert result.returncode == code and text in result.stderr, (words, result)


def test_what_cannot_be_read_is_named(server, tmp_path):
    """Beside it the rest is imported."""
    server.add_user("hal@local.example")
    done = lambda *words: subprocess.run([VEREDUS, "import", "hal@local.example", *words, "-c", str(server.config)],
                                         capture_output=True, text=True, check=False)
    path = tmp_path / "Maildir"
    make_folder(path, range(2), lambda n: "S")
    make_folder(path / ".Good", range(2), lambda n: "S")
    (path / ".Loop").symlink_to(".Loop")
    for name in ("dovecot-uidlist", "dovecot-keywords", "subscriptions"):
        (path / name).mkdir()
    result = done(str(path))
    assert result.returncode == 65
    assert result.stdout.splitlines() == ["INBOX: 2 messages imported.", "Good: 2 messages imported."]
    for name in ("dovecot-uidlist", "dovecot-keywords", "subscriptions", ".Loop: Too many levels"):
        assert name in result.stderr, (name, result.stderr)
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for name in ("Fine.mbox", "R&D.mbox"):
        (boxes / name).write_text("From x Thu Feb 29 12:00:00 2024\nSubject: x\n\nx\n")
    result = done(str(boxes))
    assert (result.returncode, result.stdout) == (65, "Fine: 1 messages imported.\n")
    assert "R&D.mbox: this is no name of a folder" in result.stderr


def test_an_import_killed_in_the_middle_is_whole_after_the_next(server, tmp_path):
    path = tmp_path / "Maildir"
    make_folder(path, range(2000), lambda n: "S", lambda n: n + 1)
    server.add_user("fay@local.example")
    running = subprocess.Popen([VEREDUS, "import", "fay@local.example", str(path), "-c", str(server.config)], stdout=subprocess.DEVNULL)

    def some():
        with session(server, "fay") as client:
            return int(client.select("INBOX")[1][0]) > 0
    wait_until(some, 60, "nothing is imported")
    running.kill()
    running.wait()
    server.command("import", "fay@local.example", str(path))
    with session(server, "fay") as client:
        found, validity, following = fetch_all(client, "INBOX")
        assert validity == VALIDITY and sorted(found) == list(range(1, 2001)) and following == 2001
    server.stop()
    shutil.copy(server.directory / "data/store/index.db", tmp_path / "index.db")
    assert server.command("reindex")
    assert server.command("verify").endswith("all is well.\n")
    server.start()
    with session(server, "fay") as client:
        assert fetch_all(client, "INBOX") == (found, validity, following)
