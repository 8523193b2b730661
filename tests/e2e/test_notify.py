"""
NOTIFY (RFC 5465) on the real server: what deliveries, other sessions and those who share mailboxes change reaches a session that is
at rest, and nothing else does.
"""
import contextlib
import os
import random
import re
import signal
import socket
import ssl
import threading
import time

import pytest

from test_sharing import USERS, Session
from veredus import Dev, wait_until

ANN, BOB = "ann@example.org", "bob@example.org"
SHARED = f"Other Users/{BOB}/"


@pytest.fixture(scope="module")
def server():
    with Dev(*(word for user in (ANN, BOB) for word in ("--user", f"{user}:{USERS[user]}"))) as running:
        yield running


class Listener(Session):
    """A session that says nothing any more: what comes is collected by lines."""

    def __init__(self, server, user, *commands):
        super().__init__(server, user)
        self.first = [self.ok(command) for command in commands][-1]
        self.lines, self.over = [], False
        threading.Thread(target=self.listen, daemon=True).start()

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.client.socket().shutdown(socket.SHUT_RDWR)  # the thread holds the rest

    def listen(self):
        with contextlib.suppress(OSError, ValueError, ssl.SSLError):
            while line := self.client.readline():
                self.lines.append(line.decode().rstrip("\r\n"))
        self.over = True

    def hears(self, *patterns, seconds=10):
        """These lines and no others, in this order."""
        def all_there():
            return len(self.lines) >= len(patterns)
        with contextlib.suppress(AssertionError):
            wait_until(all_there, seconds, "the news", pause=0.005)
        time.sleep(0.15)
        heard, self.lines = self.lines, []
        assert len(heard) == len(patterns) and all(map(re.fullmatch, patterns, heard)), (heard, patterns)


def test_the_selected_mailbox(server):
    notify = "NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge FlagChange))"
    with Listener(server, ANN, "SELECT INBOX", notify) as one, Session(server, ANN) as other:
        server.deliver(ANN, "Subject: pushed\r\n\r\nhello\r\n")
        one.hears(r"\* 1 EXISTS", r"\* \d+ RECENT", r"\* 1 FETCH \(UID 1 BODY\[HEADER.FIELDS \(Subject\)\] \{19\}", "Subject: pushed",
                  "", r"\)")
        other.ok("SELECT INBOX")
        other.ok("STORE 1 +FLAGS (\\Flagged)")
        one.hears(r"\* 1 FETCH \(FLAGS \(\\Flagged.*\) UID 1\)")
        other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        one.hears(r"\* 1 FETCH \(FLAGS \(\\Flagged \\Deleted.*\) UID 1\)")
        other.ok("EXPUNGE")
        one.hears(r"\* 1 EXPUNGE")
        other.ok("CREATE Unheard")
        other.append("Unheard")
        one.hears()


def test_other_mailboxes(server):
    events = "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)"
    with Session(server, ANN) as other:
        other.ok("CREATE Lists/C")
        with Listener(server, ANN, f"NOTIFY SET STATUS (SELECTED NONE) (PERSONAL {events})") as one:
            assert re.search(r"\* STATUS Lists/C \(MESSAGES 0 UIDNEXT 1 UIDVALIDITY \d+ HIGHESTMODSEQ \d+\)\r\n", one.first)
            other.append("Lists/C")
            one.hears(r"\* STATUS Lists/C \(MESSAGES 1 UIDNEXT 2 UIDVALIDITY \d+ UNSEEN 1\)")
            server.deliver(ANN)
            one.hears(r"\* STATUS INBOX \(MESSAGES 1 UIDNEXT 3 UIDVALIDITY \d+ UNSEEN 1\)")
            other.ok("SELECT Lists/C")
            other.ok("STORE 1 +FLAGS (\\Seen)")
            one.hears(r"\* STATUS Lists/C \(UIDVALIDITY \d+ UNSEEN 0\)")
            other.ok("STORE 1 +FLAGS (\\Deleted)")
            other.ok("CLOSE")
            one.hears(r"\* STATUS Lists/C \(MESSAGES 0 UIDNEXT 2\)")
            other.ok("CREATE Lists/Veredus")
            one.hears(r'\* LIST \(\\HasChildren\) "/" Lists', r'\* LIST \(\\HasNoChildren\) "/" Lists/Veredus')
            other.ok("SUBSCRIBE Lists/Veredus")
            one.hears(r'\* LIST \(\\HasNoChildren \\Subscribed\) "/" Lists/Veredus')
            other.ok("RENAME Lists Kept")
            one.hears(r'\* LIST \(\\HasChildren\) "/" Kept \("OLDNAME" \(Lists\)\)')
            other.ok("DELETE Kept/C")
            one.hears(r'\* LIST \(\\HasChildren\) "/" Kept', r'\* LIST \(\\NonExistent \\HasNoChildren\) "/" Kept/C')


def test_annotations(server):
    with Listener(server, ANN, "NOTIFY SET (PERSONAL (MailboxMetadataChange ServerMetadataChange))") as one, \
            Session(server, ANN) as other:
        other.ok('SETMETADATA INBOX (/private/comment "x" /shared/comment "y")')
        one.hears(r"\* METADATA INBOX /private/comment /shared/comment")
        other.ok('SETMETADATA INBOX (/private/comment NIL)')
        one.hears(r"\* METADATA INBOX /private/comment")
        other.ok('SETMETADATA "" (/private/comment "x")')
        one.hears(r'\* METADATA "" /private/comment')


def test_what_others_share(server):
    events = "(MessageNew MessageExpunge MailboxName MailboxMetadataChange)"
    with Session(server, BOB) as bob:
        bob.ok("CREATE plans")
        bob.ok("CREATE other")
        with Listener(server, ANN, f'NOTIFY SET (SUBTREE "Other Users" {events})') as one:
            bob.append("plans")
            one.hears()
            bob.ok(f"SETACL plans {ANN} lr")
            one.hears(rf'\* LIST \(\\NonExistent \\HasChildren\) "/" "Other Users/{BOB}"',
                      rf'\* LIST \(\\HasNoChildren\) "/" "{SHARED}plans"', rf'\* STATUS "{SHARED}plans" \(MESSAGES 1 UIDNEXT 2\)')
            bob.append("plans")
            one.hears(rf'\* STATUS "{SHARED}plans" \(MESSAGES 2 UIDNEXT 3\)')
            bob.ok('SETMETADATA plans (/shared/comment "x" /private/comment "y")')
            one.hears(rf'\* METADATA "{SHARED}plans" /shared/comment')
            bob.ok("RENAME plans deeds")
            one.hears(rf'\* LIST \(\\HasNoChildren\) "/" "{SHARED}deeds" \("OLDNAME" \("{SHARED}plans"\)\)')
            bob.ok("SETACL other anyone lr")
            one.hears(rf'\* LIST \(\\NonExistent \\HasChildren\) "/" "Other Users/{BOB}"',
                      rf'\* LIST \(\\HasNoChildren\) "/" "{SHARED}other"')
            bob.append("other")
            one.hears(rf'\* STATUS "{SHARED}other" \(MESSAGES 1 UIDNEXT 2\)')
            bob.ok("DELETEACL other anyone")
            one.hears(rf'\* LIST \(\\NonExistent \\HasChildren\) "/" "Other Users/{BOB}"',
                      rf'\* LIST \(\\NonExistent \\HasNoChildren\) "/" "{SHARED}other"')
            bob.ok(f"SETACL deeds {ANN} l")
            one.hears(rf'\* LIST \(\\NoAccess \\HasNoChildren\) "/" "{SHARED}deeds"')
            bob.append("deeds")
            one.hears()
            bob.ok("DELETE deeds")
            one.hears(rf'\* LIST \(\\NonExistent \\HasNoChildren\) "/" "Other Users/{BOB}"',
                      rf'\* LIST \(\\NonExistent \\HasNoChildren\) "/" "{SHARED}deeds"')


def test_none_and_idle(server):
    with Listener(server, ANN, "SELECT INBOX", "NOTIFY SET (SELECTED (MessageNew MessageExpunge))", "NOTIFY NONE") as one:
        server.deliver(ANN)
        one.hears()
        one.client.send(b"i IDLE\r\n")
        one.hears(r"\+ .*")
        server.deliver(ANN)
        one.hears()
        one.client.send(b"DONE\r\n")
        one.hears("i OK .*")
        one.client.send(b"n NOTIFY SET (SELECTED (MessageNew MessageExpunge))\r\n")
        one.hears(r"\* \d+ EXISTS", r"\* \d+ RECENT", "n OK .*")


@pytest.mark.alone
def test_a_store_that_dies(server):
    """Nobody tells news any more then: the session ends, so that the client makes a new one."""
    with Listener(server, ANN, "NOTIFY SET (PERSONAL (MessageNew MessageExpunge))") as one:
        os.kill(server.pid("store"), signal.SIGKILL)
        wait_until(lambda: one.over, 10, "the session ends")
        assert one.lines and one.lines[-1].startswith("* BYE")


class Mirror:
    """What a client knows that has heard everything, and asked nothing since the beginning."""

    def __init__(self, server, user):
        events = "(MailboxName SubscriptionChange MessageNew MessageExpunge FlagChange)"
        self.listener = Listener(server, user, f"NOTIFY SET (PERSONAL {events})")
        self.names, self.subscribed, self.status = truth(server, user)

    def take_list(self, attributes, name, old):
        if old:
            for one in [one for one in self.names if one == old or one.startswith(old + "/")]:
                moved = name + one[len(old):]
                self.names = self.names - {one} | {moved}
                self.status[moved] = self.status.pop(one)
        if r"\NonExistent" in attributes:
            self.names.discard(name)
            self.status.pop(name, None)
        elif name not in self.names:
            self.names.add(name)
            self.status[name] = {"MESSAGES": 0, "UIDNEXT": 1, "UNSEEN": 0}
        self.subscribed = self.subscribed | {name} if r"\Subscribed" in attributes else self.subscribed - {name}

    def listen(self):
        """Takes what has come, until nothing comes any more."""
        while True:
            lines, self.listener.lines = self.listener.lines, []
            for line in lines:
                if found := re.fullmatch(r'\* LIST \((.*)\) "/" (\S+)(?: \("OLDNAME" \((\S+)\)\))?', line):
                    self.take_list(*found.groups())
                elif found := re.fullmatch(r"\* STATUS (\S+) \((.*)\)", line):
                    self.status[found[1]].update({key: int(value) for key, value in re.findall(r"(\w+) (\d+)", found[2])
                                                  if key in ("MESSAGES", "UIDNEXT", "UNSEEN")})
                else:
                    assert False, line
            if not lines:
                return
            time.sleep(0.1)


def truth(server, user):
    with Session(server, user) as session:
        names, status = set(), {}
        for attributes, name in re.findall(r'\* LIST \((.*)\) "/" (\S+)', session.ok('LIST "" *')):
            assert r"\Noselect" not in attributes
            names.add(name)
            items = re.search(r"\((.*)\)", session.ok(f"STATUS {name} (MESSAGES UIDNEXT UNSEEN)"))[1]
            status[name] = {key: int(value) for key, value in re.findall(r"(\w+) (\d+)", items)}
        return names, set(re.findall(r'\* LSUB \(.*\) "/" (\S+)', session.ok('LSUB "" *'))), status


@pytest.mark.parametrize("seed", range(3))
def test_a_mirror(server, seed):
    """Many changes by others at random: who has heard of all of them knows what there is."""
    user = f"mirror{seed}@example.org"
    server.run("user", "add", user, "--password-stdin", stdin="secret of mirrors\n")
    USERS[user] = "secret of mirrors"
    choose = random.Random(seed)
    mirror = Mirror(server, user)
    with Session(server, user) as one, Session(server, user) as two:
        for step in range(150):
            session = choose.choice((one, two))
            names = sorted(truth_names(session))
            name, other = choose.choice(names), choose.choice(("a", "b", "c")) + choose.choice(("", "/x", "/y", "/x/z"))
            act = choose.randrange(10)
            if act <= 1:
                session.ask(f"CREATE {other}")
            elif act == 2 and name != "INBOX":
                session.ask(f"DELETE {name}")
            elif act == 3 and name != "INBOX":
                session.ask(f"RENAME {name} {other}")
            elif act == 4:
                session.ask(f"{choose.choice(('SUBSCRIBE', 'UNSUBSCRIBE'))} {choose.choice((name, other))}")
            elif act <= 6:
                session.append(name, choose.choice(("", "\\Seen")))
            else:
                session.ask(f"SELECT {name}")
                session.ask(choose.choice(("STORE 1:* +FLAGS (\\Seen)", "STORE 1 FLAGS (\\Deleted)", "EXPUNGE", "STORE 1 -FLAGS (\\Seen)",
                                           f"COPY 1:* {choose.choice(names)}", f"MOVE 1 {choose.choice(names)}")))
                session.ask("UNSELECT")
            if step % 10 == 9:
                time.sleep(0.1)
                mirror.listen()
                assert (mirror.names, mirror.subscribed, mirror.status) == truth(server, user), step
    mirror.listener.__exit__()


def truth_names(session):
    return re.findall(r'\* LIST \(.*\) "/" (\S+)', session.ok('LIST "" *'))
