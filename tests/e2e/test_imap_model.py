"""Several IMAP sessions do random things to the same mailboxes, step by step and at the same time; also where half of them are
those of somebody with whom the mailboxes are shared. A model of what the mailboxes hold, and of what each session has been told,
is compared with every response. VEREDUS_SEED and VEREDUS_STEPS repeat or lengthen it."""
import os
import random
import re
import socket
import time

import pytest

from veredus import CLIENT_TLS, Dev

USER, OWNER, GUEST, PASSWORD = "model@example.org", "owner@example.org", "guest@example.org", "pw"
FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$One", "$Two"]
BOXES = ["A", "B"]
STEPS = int(os.environ.get("VEREDUS_STEPS", "250"))
SEED = int(os.environ.get("VEREDUS_SEED", "0")) or time.time_ns() % 1000000


class Message:
    def __init__(self, uid, flags, name, step):
        self.uid, self.flags, self.name, self.step = uid, frozenset(flags), name, step


class Box:
    """What a mailbox holds."""

    def __init__(self):
        self.messages, self.uid_next, self.validity = [], 1, None

    def uids(self):
        return [m.uid for m in self.messages]

    def get(self, uid):
        return next((m for m in self.messages if m.uid == uid), None)

    def add(self, flags, name, step):
        self.messages.append(Message(self.uid_next, flags, name, step))
        self.uid_next += 1
        return self.uid_next - 1

    def remove(self, uids):
        self.messages = [m for m in self.messages if m.uid not in uids]


class Known:
    """A message as a session has been told of it; the flags are None until they have been told."""

    def __init__(self, uid, flags=None):
        self.uid, self.flags = uid, flags


def numbers(text):
    found = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


def written(found):
    return ",".join(str(number) for number in found)


class Session:
    def __init__(self, port, model, qresync, user=USER):
        self.socket = CLIENT_TLS.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=120), server_hostname="localhost")
        self.file, self.model, self.qresync = self.socket.makefile("rb"), model, qresync
        self.box, self.view, self.number, self.said = None, [], 0, []
        self.file.readline()
        self.ok(f"LOGIN {user} {PASSWORD}")
        if qresync:
            self.ok("ENABLE QRESYNC")

    def close(self):
        self.socket.close()

    # The wire.

    def send(self, text):
        self.number += 1
        self.socket.sendall(f"t{self.number} {text}\r\n".encode())
        return f"t{self.number} "

    def response(self):
        """One, with the literals in it."""
        text = self.file.readline().decode()
        assert text, "the server has closed the connection"
        while match := re.search(r"\{(\d+)\}\r\n$", text):
            text += self.file.read(int(match[1])).decode() + self.file.readline().decode()
        return text[:-2]

    def finish(self, tag, expunges=True):
        """The tagged reply; what comes before it changes the view."""
        self.said = []
        while True:
            text = self.response()
            self.said.append(text)
            if text.startswith(tag):
                return text[len(tag):]
            assert text.startswith("* "), text
            self.told(text[2:], expunges)

    def ok(self, text, expunges=True):
        reply = self.finish(self.send(text), expunges)
        assert reply.startswith("OK"), (text, reply)
        return reply

    # What is told.

    def told(self, text, expunges):
        if self.box is None:
            return
        if match := re.fullmatch(r"(\d+) EXISTS", text):
            self.exists(int(match[1]))
        elif match := re.fullmatch(r"(\d+) EXPUNGE", text):
            assert expunges and not self.qresync, text
            gone = self.view.pop(int(match[1]) - 1)
            assert self.model.boxes[self.box].get(gone.uid) is None, (text, gone.uid)
        elif match := re.fullmatch(r"VANISHED (\(EARLIER\) )?(\S+)", text):
            assert expunges and self.qresync, text
            uids = set(numbers(match[2]))
            assert not uids & set(self.model.boxes[self.box].uids()), text
            self.view = [known for known in self.view if known.uid not in uids]
        elif match := re.match(r"(\d+) FETCH \((.*)\)$", text, re.S):
            self.fetched(int(match[1]), match[2])

    def exists(self, count):
        last = self.view[-1].uid if self.view else 0
        new = [uid for uid in self.model.boxes[self.box].uids() if uid > last]
        # What came before the command is told before the command has added something, too.
        assert len(self.view) <= count <= len(self.view) + len(new), (count, [k.uid for k in self.view], new)
        self.view += [Known(uid) for uid in new[:count - len(self.view)]]

    def fetched(self, number, items):
        known = self.view[number - 1]
        if match := re.search(r"\bUID (\d+)", items):
            assert known.uid == int(match[1]), (number, items, known.uid)
        if match := re.search(r"FLAGS \((.*?)\)", items):
            known.flags = frozenset(match[1].split()) - {"\\Recent"}

    # What it does.

    def select(self, name, parameters=""):
        self.box, self.view = None, []
        tag = self.send(f"SELECT {name}{parameters}")
        self.said = []
        early = []
        while True:
            text = self.response()
            self.said.append(text)
            if text.startswith(tag):
                assert text.startswith(tag + "OK"), text
                break
            early = [] if "[CLOSED]" in text else early + [text]
        self.box = name
        box = self.model.boxes[name]
        said = "\n".join(early)
        assert int(re.search(r"\* (\d+) EXISTS", said)[1]) == len(box.messages), said
        assert int(re.search(r"UIDNEXT (\d+)", said)[1]) == box.uid_next, said
        validity = int(re.search(r"UIDVALIDITY (\d+)", said)[1])
        assert box.validity in (None, validity)
        box.validity = validity
        self.modseq = int(re.search(r"HIGHESTMODSEQ (\d+)", said)[1])
        self.seen_step = self.model.step
        return early

    def open(self, name):
        self.select(name)
        self.view = [Known(uid) for uid in self.model.boxes[name].uids()]
        if self.view:
            self.ok("FETCH 1:* (UID FLAGS)")

    def reopen(self, name, old, modseq):
        """With QRESYNC: what was known before, and what has happened since, is what there is now."""
        box = self.model.boxes[name]
        early = self.select(name, f" (QRESYNC ({box.validity} {modseq}))")
        known = {k.uid: k.flags for k in old}
        for text in early:
            if match := re.fullmatch(r"\* VANISHED \(EARLIER\) (\S+)", text):
                for uid in numbers(match[1]):
                    known.pop(uid, None)
            elif match := re.match(r"\* (\d+) FETCH \((.*)\)$", text):
                uid = int(re.search(r"\bUID (\d+)", match[2])[1])
                assert box.uids()[int(match[1]) - 1] == uid, text
                known[uid] = frozenset(re.search(r"FLAGS \((.*?)\)", match[2])[1].split()) - {"\\Recent"}
        assert sorted(known) == box.uids(), (early, sorted(known), box.uids())
        self.view = [Known(uid, known[uid]) for uid in box.uids()]
        self.check("after a QRESYNC")

    def check(self, when):
        """The session knows what there is."""
        box = self.model.boxes[self.box]
        assert [k.uid for k in self.view] == box.uids(), (when, self.said)
        for known, message in zip(self.view, box.messages):
            assert known.flags is None or known.flags == message.flags, (when, known.uid, known.flags, message.flags, self.said)

    def view_uids(self):
        return [known.uid for known in self.view]

    def sync(self):
        self.ok("NOOP")
        self.check("after a NOOP")
        unknown = [str(i + 1) for i, known in enumerate(self.view) if known.flags is None]
        if unknown:
            self.ok(f"FETCH {','.join(unknown)} (FLAGS)")
            self.check("after a FETCH")


class Guest(Session):
    """A session that finds the owner's mailboxes under other names."""

    def send(self, text):
        return super().send(re.sub(r" ([AB])(?=[ (]|$)", rf' "Other Users/{OWNER}/\1"', text))

    def response(self):
        return re.sub(rf'"Other Users/{OWNER}/(.)"', r"\1", super().response())


class Model:
    def __init__(self, port, seed):
        self.random, self.step, self.named = random.Random(seed), 0, 0
        self.boxes = {name: Box() for name in BOXES}
        self.port = port
        self.sessions = []

    def some(self, values, least=1):
        count = min(len(values), self.random.randint(least, 4))
        return sorted(self.random.sample(values, count))

    def flags(self):
        return frozenset(self.random.sample(FLAGS, self.random.randint(0, 3)))

    def new_name(self):
        self.named += 1
        return f"message {self.named}"

    # Steps: each changes the model first, so that what is told can be compared as it comes.

    def append(self, session):
        name, flags, subject = self.random.choice(BOXES), self.flags(), self.new_name()
        text = f"Subject: {subject}\r\n\r\nbody\r\n"
        uid = self.boxes[name].add(flags, subject, self.step)
        reply = session.ok(f"APPEND {name} ({' '.join(flags)}) {{{len(text)}+}}\r\n{text}")
        assert f"[APPENDUID {self.boxes[name].validity} {uid}]" in reply, reply

    def append_several(self, session):
        name = self.random.choice(BOXES)
        texts, uids = [], []
        for _ in range(3):
            flags, subject = self.flags(), self.new_name()
            text = f"Subject: {subject}\r\n\r\nbody\r\n"
            texts.append(f"({' '.join(flags)}) {{{len(text)}+}}\r\n{text}")
            uids.append(self.boxes[name].add(flags, subject, self.step))
        reply = session.ok(f"APPEND {name} {' '.join(texts)}")
        assert f" {uids[0]}:{uids[-1]}]" in reply, reply

    def replace(self, session):
        if not session.view:
            return
        known, name, subject = self.random.choice(session.view), self.random.choice(BOXES), self.new_name()
        text = f"Subject: {subject}\r\n\r\nbody\r\n"
        there = self.boxes[session.box].get(known.uid) is not None
        if there:
            uid = self.boxes[name].add((), subject, self.step)
            self.boxes[session.box].remove({known.uid})
        reply = session.finish(session.send(f"UID REPLACE {known.uid} {name} {{{len(text)}+}}\r\n{text}"))
        if there:
            assert reply.startswith("OK") and any(f"APPENDUID {self.boxes[name].validity} {uid}]" in text for text in session.said)
            assert known.uid not in [k.uid for k in session.view]
        else:
            assert reply.startswith("NO [EXPUNGEISSUED]"), reply

    def store(self, session):
        if not session.view:
            return
        chosen = self.some(session.view_uids())
        operation, flags = self.random.choice(["", "+", "-"]), self.flags()
        silent, by_uid = self.random.random() < 0.5, self.random.random() < 0.5
        for uid in chosen:
            message = self.boxes[session.box].get(uid)
            if message is not None and changed(message.flags, operation, flags) != message.flags:
                message.flags, message.step = changed(message.flags, operation, flags), self.step
        text = f"{operation}FLAGS{'.SILENT' if silent else ''} ({' '.join(flags)})"
        before = [k.uid for k in session.view]
        if by_uid:
            session.ok(f"UID STORE {written(chosen)} {text}")
        else:
            session.ok(f"STORE {written(before.index(uid) + 1 for uid in chosen)} {text}", expunges=False)
        for known in [known for known in session.view if silent and known.uid in chosen and known.flags is not None]:
            known.flags = changed(known.flags, operation, flags)  # nobody tells the session what it has done itself

    def store_unchanged(self, session):
        """Only messages that nobody has changed since the session looked are changed."""
        session.sync()
        reply = session.ok(f"STATUS {session.box} (HIGHESTMODSEQ)")
        modseq = int(re.search(r"HIGHESTMODSEQ (\d+)", "\n".join(session.said))[1])
        looked = self.step
        self.step += 1
        other = self.random.choice(self.sessions)
        if other is not session and other.box == session.box:
            self.store(other)
        if not session.view:
            return
        chosen = self.some(session.view_uids())
        there = [uid for uid in chosen if self.boxes[session.box].get(uid)]
        late = [uid for uid in there if self.boxes[session.box].get(uid).step > looked]
        self.step += 1
        for uid in set(there) - set(late):
            message = self.boxes[session.box].get(uid)
            message.flags, message.step = message.flags | {"$Two"}, self.step
        reply = session.ok(f"UID STORE {written(chosen)} (UNCHANGEDSINCE {modseq}) +FLAGS ($Two)")
        match = re.search(r"\[MODIFIED (\S+)\]", reply)
        assert (numbers(match[1]) if match else []) == late, (reply, late, chosen)

    def expunge(self, session):
        box = self.boxes[session.box]
        deleted = {m.uid for m in box.messages if "\\Deleted" in m.flags}
        if self.random.random() < 0.5 and session.view:
            chosen = self.some(session.view_uids())
            box.remove(deleted & set(chosen))
            session.ok(f"UID EXPUNGE {written(chosen)}")
            return
        session.sync()  # EXPUNGE is for what the session knows to be deleted
        box.remove({m.uid for m in box.messages if "\\Deleted" in m.flags})
        session.ok("EXPUNGE")
        session.check("after an EXPUNGE")

    def copy(self, session):
        self.transfer(session, "COPY")

    def move(self, session):
        self.transfer(session, "MOVE")

    def transfer(self, session, verb):
        if not session.view:
            return
        source, target = session.box, self.random.choice(BOXES)
        chosen = self.some(session.view_uids())
        messages = [m for m in (self.boxes[source].get(uid) for uid in chosen) if m]
        made = [self.boxes[target].add(m.flags, m.name, self.step) for m in messages]
        if verb == "MOVE":
            self.boxes[source].remove({m.uid for m in messages})
        reply = session.ok(f"UID {verb} {written(chosen)} {target}")
        match = re.search(r"\[COPYUID \d+ (\S+) (\S+)\]", "\n".join(session.said))
        if messages:
            assert numbers(match[1]) == [m.uid for m in messages] and numbers(match[2]) == made, (reply, session.said)
        else:
            assert match is None

    def search(self, session):
        session.sync()
        flag = self.random.choice(FLAGS)
        key = f"KEYWORD {flag}" if flag.startswith("$") else flag[1:].upper()
        box = self.boxes[session.box]
        subject = self.random.choice(box.messages).name if box.messages else "none"
        session.ok(f'UID SEARCH RETURN (ALL COUNT) OR {key} SUBJECT "{subject}"')
        expected = [m.uid for m in box.messages if flag in m.flags or subject in m.name]
        said = next(text for text in session.said if text.startswith("* ESEARCH"))
        match = re.search(r" ALL (\S+)", said)
        assert (numbers(match[1]) if match else []) == expected and f"COUNT {len(expected)}" in said, (said, expected)

    def fetch(self, session):
        if not session.view:
            return
        i = self.random.randrange(len(session.view))
        known = session.view[i]
        session.ok(f"FETCH {i + 1} (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", expunges=False)
        message = self.boxes[session.box].get(known.uid)
        if message is not None:
            assert known.flags == message.flags, (known.flags, message.flags, session.said)
            assert any(f"Subject: {message.name}\r\n" in text for text in session.said), session.said

    def noop(self, session):
        session.sync()

    def change_mailbox(self, session):
        old = (session.box, session.view)
        session.sync()
        session.ok("STATUS %s (HIGHESTMODSEQ)" % session.box)
        modseq = int(re.search(r"HIGHESTMODSEQ (\d+)", "\n".join(session.said))[1])
        old = (session.box, list(session.view))
        session.open(self.random.choice(BOXES))
        if session.qresync:
            other = self.random.choice(self.sessions)
            if other is not session and other.box == old[0]:
                self.step += 1
                self.random.choice([self.store, self.append, self.move, self.expunge])(other)
            session.reopen(old[0], old[1], modseq)

    def status(self, session):
        name = self.random.choice(BOXES)
        box = self.boxes[name]
        unseen = sum("\\Seen" not in m.flags for m in box.messages)
        deleted = sum("\\Deleted" in m.flags for m in box.messages)
        session.ok(f"STATUS {name} (MESSAGES UIDNEXT UNSEEN DELETED)")
        said = next(text for text in session.said if text.startswith("* STATUS"))
        assert said == f"* STATUS {name} (MESSAGES {len(box.messages)} UIDNEXT {box.uid_next} UNSEEN {unseen} DELETED {deleted})", said

    def run(self, steps):
        weighted = [(self.append, 6), (self.append_several, 2), (self.store, 10), (self.store_unchanged, 3), (self.expunge, 5),
                    (self.copy, 4), (self.move, 4), (self.search, 3), (self.fetch, 6), (self.noop, 6), (self.change_mailbox, 2),
                    (self.status, 3), (self.replace, 4)]
        kinds, weights = zip(*weighted)
        for _ in range(steps):
            self.step += 1
            kind, session = self.random.choices(kinds, weights)[0], self.random.choice(self.sessions)
            try:
                kind(session)
            except AssertionError as error:
                raise AssertionError(f"seed {SEED}, step {self.step}, {kind.__name__}, session {self.sessions.index(session)}: {error}") from error
        for session in self.sessions:
            session.sync()


def changed(flags, operation, by):
    return by if operation == "" else flags | by if operation == "+" else flags - by


@pytest.fixture(scope="module")
def server():
    with Dev(*(word for user in (USER, OWNER, GUEST) for word in ("--user", f"{user}:{PASSWORD}"))) as running:
        yield running


@pytest.mark.parametrize("user, others", [(USER, [(Session, USER)] * 3), (OWNER, [(Guest, GUEST), (Session, OWNER), (Guest, GUEST)])],
                         ids=["own", "shared"])
def test_sessions_agree_with_the_model(server, user, others):
    print("seed", SEED)
    model = Model(server.ports["imaps"], SEED)
    first = Session(model.port, model, False, user)
    for name in BOXES:
        first.ok(f"CREATE {name}")
        first.open(name)
        if user == OWNER:
            first.ok(f"SETACL {name} {GUEST} lrswite")
    model.sessions = [first] + [kind(model.port, model, qresync, who) for (kind, who), qresync in zip(others, (True, False, True))]
    for session in model.sessions:
        session.open(model.random.choice(BOXES))
    model.run(STEPS)
    for session in model.sessions:
        session.close()


def test_what_many_do_at_once_is_done_once(server):
    """APPEND, COPY, MOVE, STORE and EXPUNGE of all sessions at the same time: UIDs are given once and in order, nothing is lost."""
    class Nothing:
        boxes, step = {"R": Box(), "S": Box()}, 0
    chance, sessions = random.Random(SEED), []
    for i in range(6):
        session = Session(server.ports["imaps"], Nothing, False)
        session.told = lambda text, expunges: None
        sessions.append(session)
        if i == 0:
            session.ok("CREATE R")
            session.ok("CREATE S")
        session.ok("SELECT R")
    appended, uids, moved = {}, [], 0
    for _ in range(8):
        tags = []
        for i, session in enumerate(sessions):
            for k in range(3):
                name = f"s{i}-{len(appended)}-{k}"
                text = f"Subject: {name}\r\n\r\nbody\r\n"
                appended[name] = None
                tags.append((session, name, session.send(f"APPEND R (\\Seen) {{{len(text)}+}}\r\n{text}")))
            tags.append((session, "move", session.send(f"UID MOVE {chance.choice(['1:*', '5:20', '*'])} S")))
            tags.append((session, "", session.send("UID STORE 1:* +FLAGS ($Race)")))
        for session, name, tag in tags:
            reply = session.finish(tag)
            assert reply.startswith("OK"), reply
            if name == "move":
                for match in re.finditer(r"COPYUID \d+ (\S+) (\S+)\]", "\n".join(session.said)):
                    moved += len(numbers(match[1]))
                    assert len(numbers(match[1])) == len(numbers(match[2]))
            elif name:
                appended[name] = int(re.search(r"APPENDUID \d+ (\d+)\]", reply)[1])
                uids.append(appended[name])
    assert sorted(uids) == list(range(1, len(uids) + 1))
    for i in range(len(sessions)):
        own = [uid for name, uid in appended.items() if name.startswith(f"s{i}-")]
        assert own == sorted(own)
    names = []
    for name in ("R", "S"):
        sessions[0].ok(f"SELECT {name}")
        if "* 0 EXISTS" not in sessions[0].said:
            sessions[0].ok("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            found = [re.search(r"Subject: (\S+)", text)[1] for text in sessions[0].said if " FETCH " in text]
            names += found
            assert name == "R" or len(found) == moved
    assert sorted(names) == sorted(appended)
    for session in sessions:
        session.close()
