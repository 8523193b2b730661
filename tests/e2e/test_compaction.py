"""The log gives back the room of what was removed: while mail comes and goes, sessions read and the queue waits; nothing is lost,
doubled or changed by it, also when the store is killed in the middle, and the index made anew from the log is the same."""
import imaplib
import json
import os
import random
import threading
import time

from torture import TORTURE, Ledger, Load, Sink, compare, dice, torture_server
from veredus import CLIENT_TLS, PASSWORD, SANITIZED, USERS, Server, wait_until

EX_OK = 0
KEPT, THROWN, SENDERS = 40, 160, 4
MIB = 1 << 20
KILLS = int(os.environ.get("VEREDUS_COMPACT_KILLS", 200 if TORTURE else 4 if SANITIZED else 10))


def text_of(number):
    line = "".join(random.Random(number).choices("abcdefghij", k=70)) + "\r\n"
    return f"From: x@far.example\r\nSubject: number {number}\r\n\r\n" + line * 300 + "end\r\n"


def room(server):
    """Octets of the log on disk."""
    total = 0
    for path in (server.data / "store" / "segments").iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total


def fill(server):
    """One of five messages goes to ann, who keeps them, the others to bob; some wait in the queue."""
    def work(sender):
        with server.smtp() as session:
            for number in range(sender, KEPT + THROWN, SENDERS):
                to = "ann@local.example" if number % 5 == 0 else "bob@local.example"
                session.sendmail("x@far.example", [to], text_of(number))
        with server.smtp("submission") as session:
            session.starttls(context=CLIENT_TLS)
            session.login("ann@local.example", PASSWORD)
            session.sendmail("ann@local.example", [f"far{sender}@nowhere.example"],
                             text_of(1000 + sender).replace("x@far.example", "ann@local.example", 1))
    threads = [threading.Thread(target=work, args=(s,)) for s in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.wait_for_mail("ann@local.example", KEPT)
    server.wait_for_mail("bob@local.example", THROWN)


def imap(server, user="ann@local.example"):
    session = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=120)
    session.login(user, PASSWORD)
    return session


def fetched(session):
    """UID, flags and octets of every message."""
    state, parts = session.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
    assert state == "OK"
    return [part for part in parts if isinstance(part, tuple)]


def churn(server):
    """Many events: copies that come and go again."""
    session = imap(server)
    session.select("INBOX")
    for _ in range(1 + 2 * MIB // (KEPT * 120)):
        assert session.create("Copies")[0] == "OK"
        assert session.copy("1:*", "Copies")[0] == "OK"
        assert session.delete("Copies")[0] == "OK"
    session.store("1:*", "+FLAGS", "(\\Flagged $Label1)")
    session.store("2:5", "+FLAGS", "(\\Seen)")
    session.create("Archive/2024")
    session.copy("3:9", "Archive/2024")
    session.subscribe("Archive/2024")
    session.logout()


def everything(server):
    seen = {"users": server.command("user", "list", "--json"),
            "queue": sorted((row["id"], row["recipient"], row["attempts"]) for row in map(json.loads, server.command(
                "queue", "list", "--json").splitlines()) if "recipient" in row)}
    session = imap(server)
    for name in ("INBOX", "Archive/2024"):
        seen[name + " status"] = session.status(name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")[1]
        session.select(name, readonly=True)
        seen[name] = fetched(session)
        seen[name + " flags"] = session.uid("FETCH", "1:*", "(FLAGS MODSEQ)")[1]
    seen["subscribed"] = session.lsub()[1]
    session.logout()
    assert seen["queue"] and len(seen["INBOX"]) == KEPT and seen["INBOX"][0][1].find(b"Subject: number") > 0
    return seen


def test_room_comes_back(tmp_path):
    store = "reserve = 16M segment_size = 1M compact_below = 70"
    with Server(tmp_path / "s", store=store, relay='schedule = {"1h"}') as server:
        for name in ("ann", "bob"):
            server.add_user(f"{name}@local.example")
        server.command("alias", "add", "both@local.example", "ann@local.example", "bob@local.example")
        fill(server)
        churn(server)
        wait_until(lambda: all(attempts > 0 for _, _, attempts in everything(server)["queue"]), 30, "the queue is not tried")
        before, begun = everything(server), room(server)
        # Sessions that were there before what they see is moved.
        reading, popping = imap(server), server.pop3("ann@local.example")
        reading.select("INBOX", readonly=True)
        first = fetched(reading)
        server.fetch("bob@local.example", remove=True)
        wait_until(lambda: "was compacted" in server.log() and "was noted again" in server.log() and room(server) < begun / 2,
                   120, lambda: f"room: {room(server)} of {begun} octets {server.log()[-3000:]}", 0.3)
        assert fetched(reading) == first
        assert all(b"Subject: number" in b"\n".join(popping.retr(i + 1)[1]) for i in range(KEPT))
        reading.logout()
        popping.quit()
        assert "all is well" in server.command("verify")
        after = everything(server)
        before["users"] = after["users"]  # bob has none any more
        assert after == before
        status = json.loads(server.command("status", "--json"))
        assert status["log_octets"] >= status["log_live_octets"] > 0
        print(f"{begun} octets before, {room(server)} after")
        server.stop()
        assert "all is well" in server.command("verify")
        assert "0 records could not be read" in server.command("reindex")
        assert "all is well" in server.command("verify")
        server.start()
        assert everything(server) == after
        server.deliver("ann@local.example")
        server.wait_for_mail("ann@local.example", KEPT + 1)
        assert "all is well" in server.command("verify")


def throw_away(server, stopping, counts):
    """Mail to one more user, who removes it as it comes: most of the log is dead."""
    number = 0
    while not stopping.is_set():
        try:
            with server.smtp() as session:
                for _ in range(20):
                    number += 1
                    session.sendmail("x@far.example", ["junk@local.example"], text_of(number))
            counts.append(len(server.fetch("junk@local.example", remove=True)))
        except (OSError, EOFError, Exception):  # pylint: disable=broad-except
            time.sleep(0.05)


def test_kills_in_the_middle(tmp_path):
    """The store, or everything, is killed again and again while segments are copied and removed."""
    choose = dice("kills in the middle")
    sink = Sink()
    server = torture_server(tmp_path / "s", sink_port=sink.port, store="reserve = 16M segment_size = 1M compact_below = 95")
    stopping, counts = threading.Event(), []
    try:
        server.add_users([*USERS, "junk@local.example"])
        ledger = Ledger()
        load = Load(server, ledger, mx=2, submission=1, remote=2, pause=0.01)
        junk = threading.Thread(target=throw_away, args=(server, stopping, counts), daemon=True)
        junk.start()
        begun, kills = time.monotonic(), 0
        while kills < KILLS and (TORTURE or time.monotonic() < begun + 40):
            time.sleep(choose.uniform(0.3, 2.5))
            if choose.random() < 0.4:
                server.kill_all()
                server.start()
            else:
                os.kill(server.pid("store"), 9)
            kills += 1
        time.sleep(2)
        load.stop()
        stopping.set()
        junk.join(60)
        compare(server, ledger)
        log = server.log()
        print(f"{kills} kills, {len(ledger.acknowledged)} acknowledged, {sum(counts)} thrown away, "
              f"{log.count('was compacted')} segments compacted, {log.count('is not needed any more')} removed, "
              f"{log.count('was noted again')} snapshots")
        assert log.count("is not needed any more") > 0
        assert "all is well" in server.command("verify")
        server.stop()
        assert "all is well" in server.command("verify")
        assert "0 records could not be read" in server.command("reindex")
        assert "all is well" in server.command("verify")
        server.start()
        ledger.check({user: server.fetch_patiently(user, 60) for user in USERS})
    finally:
        stopping.set()
        server.clean()
        sink.shutdown()
        sink.server_close()
