"""verify and reindex: a server that was under load is in order; its index can be made anew from the log with nothing changed;
damage is found and named, and takes nothing else along."""
import json
import os
import random
import subprocess
import threading

import pytest

from veredus import VEREDUS, Server, send, wait_until

EX_OK, EX_DATAERR, EX_UNAVAILABLE = 0, 65, 69
SENDERS, EACH = 6, 40


def text_of(number):
    return f"From: ann@local.example\r\nSubject: number {number}\r\n\r\n" + "".join(f"line {i} of {number}\r\n" for i in range(number % 50 * 4)) + "end\r\n"


def load(server):
    """Mail for two accounts, an alias and a domain that cannot be reached, from several sessions at once."""
    def work(sender):
        for i in range(EACH):
            number = sender * EACH + i
            if number % 5 == 0:
                send(server.ports["submission"], "ann@local.example", [f"far{number}@nowhere.example"], text_of(number),
                     login="ann@local.example")
            else:
                send(server.ports["mx"], "x@far.example", [["ann", "bob", "both"][number % 3] + "@local.example"],
                     text_of(number))
    threads = [threading.Thread(target=work, args=(s,)) for s in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def everything(server):
    """All that a user or the administrator can see of the store."""
    seen = {}
    for user in ("ann@local.example", "bob@local.example"):
        box = server.pop3(user)
        seen[user] = [(uid, box.retr(i + 1)[1]) for i, uid in enumerate(box.uidl()[1])]
        box.quit()
    seen["users"] = server.command("user", "list", "--json")
    seen["aliases"] = server.command("alias", "list", "--json")
    seen["queue"] = sorted((row["id"], row["recipient"]) for row in map(json.loads, server.command(
        "queue", "list", "--json").splitlines()) if "recipient" in row)
    assert seen["queue"]
    return seen


def offline(server, *arguments, code=EX_OK):
    done = subprocess.run([VEREDUS, *arguments, "-c", server.config], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture(name="server")
def server_with_mail(tmp_path):
    with Server(tmp_path / "s", relay='schedule = {"300s"}') as server:
        for name in ("ann", "bob"):
            server.add_user(f"{name}@local.example")
        server.command("alias", "add", "both@local.example", "ann@local.example", "bob@local.example")
        load(server)
        server.wait_for_mail("ann@local.example", 1, more=True)
        box = server.pop3("ann@local.example")
        for number in range(1, 20, 3):
            box.dele(number)
        box.quit()
        yield server


def test_all_is_well_while_it_runs_and_after(server):
    assert "all is well" in server.command("verify")
    assert "the server is running" in offline(server, "reindex", code=EX_UNAVAILABLE)
    server.stop()
    assert "all is well" in offline(server, "verify")
    counts = json.loads(offline(server, "verify", "--json").splitlines()[-1])
    assert counts["problems"] == 0 and counts["messages"] > 100 and counts["queued"] > 0


def test_index_made_anew(server):
    before = everything(server)
    server.stop()
    store = server.directory / "data" / "store"
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (store / name).unlink(missing_ok=True)
    with open(server.log_path, "ab") as log, subprocess.Popen([VEREDUS, "serve", "-c", server.config], stdout=log,
                                                              stderr=log) as process:
        wait_until(lambda: "run `veredus reindex`" in server.log(), 60, "a word on the missing index")
        assert "ready\n" not in server.log()
        process.terminate()
    assert "0 records could not be read" in offline(server, "reindex")
    assert "all is well" in offline(server, "verify")
    server.start()
    assert everything(server) == before
    send(server.ports["mx"], "x@far.example", ["bob@local.example"], "Subject: later\r\n\r\n.\r\n")
    server.wait_for_mail("bob@local.example", len(before["bob@local.example"]) + 1)
    assert "all is well" in server.command("verify")


def test_damaged_record(server):
    before = everything(server)
    server.stop()
    segments = server.directory / "data" / "store" / "segments"
    wanted = b"Subject: number 4\r\n"  # where it stands last: before that in the summary
    path, place = next((path, path.read_bytes().rfind(wanted)) for path in sorted(segments.iterdir())
                       if wanted in path.read_bytes())
    with open(path, "r+b") as file:
        file.seek(place + 10)
        file.write(b"X")
    out = offline(server, "verify", code=EX_DATAERR)
    assert f"segment {int(path.stem, 16)} at " in out and "is damaged" in out
    offline(server, "reindex")
    server.start()
    lost = 0
    for user in ("ann@local.example", "bob@local.example"):
        box = server.pop3(user)
        uids = box.uidl()[1]
        assert [uid for uid, _ in before[user]] == uids
        for i, (_, text) in enumerate(before[user]):
            if b"Subject: number 4" in text:
                lost += 1
                with pytest.raises(Exception):
                    box.retr(i + 1)
                box.close()
                box = server.pop3(user)
            else:
                assert box.retr(i + 1)[1] == text
        box.close()
    assert lost >= 1


def test_random_damage_is_found(server):
    """Flips in what the log says of every message: verify names a problem each time."""
    server.stop()
    segments = server.directory / "data" / "store" / "segments"
    choose = random.Random(int(os.environ.get("VEREDUS_SEED", "7")))
    files = [path for path in sorted(segments.iterdir()) if path.stat().st_size > 1000]
    for _ in range(10):
        path = choose.choice(files)
        place = choose.randrange(path.stat().st_size)
        octet = path.read_bytes()[place]
        for value in (octet ^ 1 << choose.randrange(8), octet):
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(bytes([value]))
            if value != octet:
                offline(server, "verify", code=EX_DATAERR)
    assert "all is well" in offline(server, "verify")
