"""Mailboxes that are shared (RFC 4314): every command with every right against a model of who may do what; mail between accounts;
rights withdrawn under a session; what the log keeps of it."""
import contextlib
import imaplib
import re

import pytest

from test_imap_extensions import Raw
from veredus import CLIENT_TLS, PASSWORD, Dev, Server

USERS = {"ann@example.org": "pw-a", "bob@example.org": "pw-b", "eve@example.org": "pw-e", "zoe@other.example": "pw-z"}
SHARED = "Other Users/ann@example.org/"
TEXT = b"Subject: shared\r\n\r\nWhat is shared\r\n"


@pytest.fixture(scope="module")
def server():
    with Dev(*(word for user, password in USERS.items() for word in ("--user", f"{user}:{password}"))) as running:
        yield running


class Session(Raw):
    """One login; `ask` takes text and gives the replies as text."""

    def __init__(self, server, user, password=None):
        client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=60)
        client.login(user, password or USERS[user])
        super().__init__(client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.client.shutdown()

    def ask(self, command):
        return super().ask(command.encode()).decode()

    def ok(self, command):
        answer = self.ask(command)
        assert re.search(r"(^|\r\n)r\d+ OK", answer), (command, answer)
        return answer

    def append(self, mailbox, flags=""):
        return self.ask(f'APPEND "{mailbox}" ({flags}) {{{len(TEXT)}+}}\r\n{TEXT.decode()}')


def ann(server):
    return Session(server, "ann@example.org")


def bob(server):
    return Session(server, "bob@example.org")


# The model: what each command needs, and how it answers without. RFC 4314, section 4; "-" in front of an outcome's name means that
# who may not see the mailbox gets another: the one for a mailbox that is not there.

OK, REFUSED, ABSENT, CREATE, READ_ONLY = "OK", "NO [NOPERM]", "NO [NONEXISTENT]", "NO [TRYCREATE]", "NO [READ-ONLY]"
SELECTED = "selected"


def with_rights(needed, absent=ABSENT):
    return lambda rights: OK if set(needed) <= rights else REFUSED if "l" in rights else absent


def any_of(letters):
    return lambda rights: OK if set(letters) & rights else REFUSED if "l" in rights else ABSENT


def within(needed):
    """In the selected mailbox, where there is no question whether it is there."""
    return lambda rights: (OK if set(needed) <= rights else READ_ONLY if not set("swite") & rights else REFUSED)


def metadata(rights):
    return OK if "l" in rights and set("rswip") & rights else REFUSED if "l" in rights else ABSENT


LITERAL = f"{{{len(TEXT)}+}}\r\n{TEXT.decode()}"
COMMANDS = [
    ('STATUS "{box}" (MESSAGES)', with_rights("r")),
    ('EXAMINE "{box}"', with_rights("r")),
    ('SELECT "{box}"', with_rights("r")),
    ('GETACL "{box}"', with_rights("a")),
    ('LISTRIGHTS "{box}" eve@example.org', with_rights("a")),
    ('MYRIGHTS "{box}"', any_of("lrikxa")),
    ('SETACL "{box}" eve@example.org l', with_rights("a")),
    ('DELETEACL "{box}" eve@example.org', with_rights("a")),
    ('GETMETADATA "{box}" /shared/comment', metadata),
    ('SETMETADATA "{box}" (/shared/comment "x")', with_rights("lw")),
    ('SETMETADATA "{box}" (/private/comment "x")', lambda rights: REFUSED if "l" in rights else ABSENT),
    ('SUBSCRIBE "{box}"', with_rights("")),
    ('UNSUBSCRIBE "{box}"', with_rights("")),
    ('GETQUOTAROOT "{box}"', with_rights("")),
    ('APPEND "{box}" ' + LITERAL, with_rights("i", CREATE)),
    ('APPEND "{box}" CATENATE (TEXT ' + LITERAL + ')', lambda rights: OK if "i" in rights else REFUSED if "l" in rights else CREATE),
    ('APPEND Own CATENATE (URL "{url};UID=1")', lambda rights: OK if "r" in rights else REFUSED if "l" in rights else "NO [BADURL"),
    ('ESEARCH IN (mailboxes "{box}") ALL', with_rights("")),
    ('CREATE "{box}/Sub"', lambda rights: OK if "k" in rights else REFUSED),
    ('CREATE "{above}/Beside"', lambda rights: OK if "k" in rights else REFUSED),
    ('RENAME "{box}" "{above}/Renamed"', lambda rights: OK if {"k", "x"} <= rights else REFUSED if {"l", "x"} & rights else ABSENT),
    ('RENAME "{box}" Elsewhere', lambda rights: "NO [CANNOT]" if "x" in rights else REFUSED if "l" in rights else ABSENT),
    ('RENAME Own "{box}2"', lambda rights: "NO [CANNOT]"),
    # In the selected mailbox; without the right to read it cannot be.
    ("FETCH 1 (FLAGS BODY.PEEK[])", SELECTED, within("")),
    ("STORE 1 +FLAGS.SILENT (\\Seen)", SELECTED, within("s")),
    ("STORE 1 +FLAGS.SILENT (\\Flagged)", SELECTED, within("w")),
    ("STORE 1 -FLAGS.SILENT (key)", SELECTED, within("w")),
    ("STORE 1 +FLAGS.SILENT (\\Deleted)", SELECTED, within("t")),
    ("STORE 1 FLAGS.SILENT ()", SELECTED, lambda rights: OK if set("swt") & rights else READ_ONLY if not set("ie") & rights else REFUSED),
    ("COPY 1 Own", SELECTED, within("")),
    ("REPLACE 1 Own " + LITERAL, SELECTED, within("te")),
    ("SEARCH ALL", SELECTED, within("")),
    ("MOVE 1 Own", SELECTED, within("te")),
    ("EXPUNGE", SELECTED, within("e")),
    ('COPY 1 "{box}"', "own", with_rights("i", CREATE)),
    ('MOVE 1 "{box}"', "own", with_rights("i", CREATE)),
    ('DELETE "{box}"', with_rights("x")),
]
READS_ANYWAY = ("FETCH", "COPY 1 Own", "SEARCH")
SETS = ["", *"lrswipkxtea", *("lr" + right for right in "swipkxtea"), "lrsw", "lrte", "lrkx", "lrswipkxtea", "kx", "ri", "la"]


def outcome_of(answer):
    found = re.search(r"(?:^|\r\n)r\d+ (OK|(?:NO|BAD)(?: \[\w[\w-]*\]?)?)", answer)
    assert found, answer
    return found[1]


def as_seen(answer, box):
    """A whole answer without what names the mailbox or the command."""
    answer = re.sub(r"(^|\r\n)r\d+ ", r"\1tag ", answer)
    return answer.replace(box, "BOX").replace(box.replace(" ", "%20"), "BOX")


def words_of(command, box, above):
    return command.replace("{box}", box).replace("{above}", above).replace("{url}", "/" + box.replace(" ", "%20"))


def try_all(client, owner, prepare, rights):
    """Every command on a mailbox of its own; the answers by command."""
    answers = {}
    for number, (command, *rest) in enumerate(COMMANDS):
        box, above = prepare(number)
        where = rest[0] if len(rest) == 2 else None
        if where == "own":
            client.ok("SELECT Own")
        elif where == SELECTED:
            if outcome_of(client.ask(f'SELECT "{box}"')) != "OK":
                assert "r" not in rights
                continue
        words = words_of(command, box, above)
        answers[command] = as_seen(client.ask(words), box), rest[-1]
        if where:
            client.ask("UNSELECT")
    return answers


def restore_own(client):
    for _ in range(6):
        assert outcome_of(client.append("Own")) == "OK"


@pytest.mark.parametrize("rights", SETS)
def test_every_command_with_every_right(server, rights):
    with ann(server) as owner, bob(server) as client:
        client.ask("CREATE Own")
        restore_own(client)

        def prepare(number):
            above = f"M-{rights or 'none'}"
            name = f"{above}/Box{number}"
            owner.ok(f'CREATE "{name}"')
            assert outcome_of(owner.append(name)) == "OK"
            for one in (above, name):
                owner.ok(f'SETACL "{one}" bob@example.org "{rights}"')
            owner.ask(f"DELETE {above}/Beside")
            owner.ask(f"DELETE {above}/Renamed")
            return SHARED + name, SHARED + above

        answers = try_all(client, owner, prepare, set(rights))
        for command, (answer, model) in answers.items():
            expected = model(set(rights))
            got = outcome_of(answer.replace("tag ", "r1 "))
            if expected == READ_ONLY and command.startswith(READS_ANYWAY):
                expected = OK
            assert got == expected, (rights, command, answer)
        # What was refused has changed nothing, and who may not see it finds it in no list.
        listed = client.ok(f'LIST "" "{SHARED}M-{rights or "none"}/*"')
        assert (listed.count("/Box") > 10) == ("l" in rights)
        found = client.ok(f'ESEARCH IN (subtree "{SHARED}M-{rights or "none"}") ALL')
        assert ("ESEARCH" in found.split("OK")[0]) == ("r" in rights)
        owner.ok(f'DELETE "M-{rights or "none"}"')


def test_foreign_and_absent_look_alike(server):
    """Without a right, for a mailbox of somebody who shares nothing, one that is not there, and one of nobody."""
    with ann(server) as owner, bob(server) as client:
        client.ask("CREATE Own")
        restore_own(client)
        owner.ok("CREATE Private/Deep")
        owner.append("Private")
        owner.append("Private/Deep")
        places = [("Other Users/ann@example.org/Private/Deep", "Other Users/ann@example.org/Private"),
                  ("Other Users/ann@example.org/Nothing/Deep", "Other Users/ann@example.org/Nothing"),
                  ("Other Users/nobody@example.org/Private/Deep", "Other Users/nobody@example.org/Private"),
                  ("Other Users/no address/Deep", "Other Users/no address"),
                  ("Other Users/bob@example.org/Own/Deep", "Other Users/bob@example.org/Own")]
        seen = [try_all(client, owner, lambda _, place=place: place, set()) for place in places]
        for command in seen[0]:
            answers = {answers[command][0].replace(above, "ABOVE") for answers, (_, above) in zip(seen, places)}
            assert len(answers) == 1, (command, answers)
        assert SHARED + "Private" not in client.ok('LIST "" *')


# Mailboxes in use


def share(owner, mailbox, who="bob@example.org", rights="lr"):
    owner.ask(f'CREATE "{mailbox}"')
    owner.ok(f'SETACL "{mailbox}" {who} "{rights}"')
    return SHARED + mailbox


def test_flags_that_may_be_changed_are_told_and_others_stay(server):
    with ann(server) as owner, bob(server) as client:
        box = share(owner, "Flags", rights="lrs")
        owner.append("Flags", "\\Flagged $key")
        answer = client.ok(f'SELECT "{box}"')
        assert "[PERMANENTFLAGS (\\Seen)]" in answer and "[READ-WRITE]" in answer
        # Not an error where one of them may be changed; the others stay as they were.
        answer = client.ok("STORE 1 FLAGS (\\Seen \\Draft other)")
        assert re.search(r"FLAGS \(\\Flagged \\Seen \$key( \\Recent)?\)", answer), answer
        answer = client.ok("STORE 1 FLAGS (\\Draft)")
        assert re.search(r"FLAGS \(\\Flagged \$key( \\Recent)?\)", answer), answer
        assert "other" not in client.ok(f'SELECT "{box}"')
        client.ok("FETCH 1 BODY[TEXT]")
        owner.ok("SELECT Flags")
        assert "\\Seen" in owner.ok("FETCH 1 FLAGS")
        owner.ok("STORE 1 FLAGS ()")
        owner.ok("SETACL Flags bob@example.org lrt")
        answer = client.ok("NOOP")
        assert "[PERMANENTFLAGS (\\Deleted)]" in answer
        client.ok("FETCH 1 BODY[TEXT]")
        assert "\\Seen" not in owner.ok("FETCH 1 FLAGS")
        owner.ok("SETACL Flags bob@example.org lr")
        assert "[READ-ONLY]" in client.ok(f'SELECT "{box}"')
        client.ok("UNSELECT")
        # UNCHANGEDSINCE with a part of the flags: a message that others have changed is not touched.
        owner.append("Flags")
        owner.ok("SETACL Flags bob@example.org lrst")
        client.ok(f'SELECT "{box}" (CONDSTORE)')
        modseq = int(re.search(r"MODSEQ \((\d+)\)", client.ok("FETCH 2 MODSEQ"))[1])
        owner.ok("NOOP")
        owner.ok("STORE 1 FLAGS (\\Seen $key)")
        answer = client.ok(f"STORE 1:2 (UNCHANGEDSINCE {modseq}) FLAGS (\\Deleted)")
        assert "[MODIFIED 1]" in answer
        answer = client.ok("FETCH 1:2 FLAGS")
        assert re.search(r"1 FETCH \(FLAGS \(\\Seen \$key", answer) and re.search(r"2 FETCH \(FLAGS \(\\Deleted", answer), answer


def test_flags_are_lost_on_the_way_to_who_does_not_give_the_right(server):
    with ann(server) as owner, bob(server) as client:
        client.ask("CREATE From")
        client.append("From", "\\Seen \\Deleted \\Answered word")
        for rights, flags in (("lri", ""), ("lris", "\\Seen"), ("lrit", "\\Deleted"), ("lriw", "\\Answered word")):
            box = share(owner, f"To-{rights}", rights=rights)
            client.ok("SELECT From")
            client.ok(f'COPY 1 "{box}"')
            client.append(box, "\\Seen \\Deleted \\Answered word")
            owner.ok(f"SELECT To-{rights}")
            answer = owner.ok("FETCH 1:2 FLAGS")
            assert len(re.findall(r"FLAGS \(%s ?(?:\\Recent)?\)" % re.escape(flags), answer)) == 2, (rights, answer)


def test_messages_between_accounts_are_neither_lost_nor_doubled(server):
    with ann(server) as owner, bob(server) as client:
        box = share(owner, "Exchange", rights="lrswite")
        client.ask("CREATE Mine")
        for _ in range(10):
            client.append("Mine")
        used = {user: account(server, user)["octets"] for user in USERS}
        client.ok("SELECT Mine")
        assert "COPYUID" in client.ok(f'MOVE 1:4 "{box}"')
        client.ok(f'COPY 1:2 "{box}"')
        moved = {user: account(server, user)["octets"] - used[user] for user in USERS}
        assert moved["bob@example.org"] == -4 * len(TEXT) and moved["ann@example.org"] == 6 * len(TEXT)
        client.ok(f'SELECT "{box}"')
        assert client.ok("FETCH 1:* BODY.PEEK[]").count(TEXT.decode()) == 6
        client.ok("MOVE 1:3 Mine")
        client.ok("STORE 1 +FLAGS (\\Deleted)")
        client.ok("EXPUNGE")
        assert "MESSAGES 2" in owner.ok("STATUS Exchange (MESSAGES)")
        assert "MESSAGES 9" in client.ok("STATUS Mine (MESSAGES)")
        owner.ok("DELETE Exchange")
    with bob(server) as client:
        client.ok("SELECT Mine")
        assert client.ok("FETCH 1:* BODY.PEEK[]").count(TEXT.decode()) == 9


def account(server, user):
    return next(row for row in server.rows("user", "list") if row["address"] == user)


def test_what_is_put_into_a_mailbox_counts_for_its_owner():
    with Dev("--user", "ann@example.org:pw-a", "--user", "bob@example.org:pw-b") as server:
        server.run("user", "quota", "ann@example.org", "2K")
        with ann(server) as owner, bob(server) as client:
            box = share(owner, "Small", rights="lri")
            big = "x" * 1500
            assert outcome_of(client.ask(f'APPEND "{box}" {{1500+}}\r\n{big}')) == "OK"
            assert outcome_of(client.ask(f'APPEND "{box}" {{1500+}}\r\n{big}')) == "NO [OVERQUOTA]"
            client.ok(f"APPEND INBOX {{1500+}}\r\n{big}")
            client.ok("SELECT INBOX")
            assert outcome_of(client.ask(f'MOVE 1 "{box}"')) == "NO [OVERQUOTA]"
            assert outcome_of(client.ask(f'COPY 1 "{box}"')) == "NO [OVERQUOTA]"
            assert "MESSAGES 1" in client.ok("STATUS INBOX (MESSAGES)")


def idle(client):
    client.client.send(b"i IDLE\r\n")
    assert client.client.readline().startswith(b"+ ")


def test_a_change_reaches_who_watches_a_mailbox_of_another(server):
    with ann(server) as owner, bob(server) as client, bob(server) as second:
        box = share(owner, "Watched", rights="lris")
        for one in (client, second):
            one.ok(f'SELECT "{box}"')
            idle(one)
        owner.append("Watched")
        for one in (client, second):
            assert one.client.readline() == b"* 1 EXISTS\r\n"
            assert one.client.readline() == b"* 1 RECENT\r\n"
        owner.ok("SELECT Watched")
        owner.ok("STORE 1 +FLAGS (\\Flagged)")
        for one in (client, second):
            assert b"\\Flagged" in one.client.readline()


def test_rights_that_are_withdrawn_end_the_session_in_that_mailbox(server):
    with ann(server) as owner, bob(server) as idling, bob(server) as working, bob(server) as elsewhere:
        box = share(owner, "Withdrawn", rights="lrswite")
        for _ in range(3):
            owner.append("Withdrawn")
        for one in (idling, working):
            one.ok(f'SELECT "{box}"')
        idle(idling)
        owner.ok("SETACL Withdrawn bob@example.org l")
        assert idling.client.readline().startswith(b"* BYE ")
        # Between the change and the news of it nothing is done either: the store looks at the rights of each change.
        working.client.send(b"w STORE 1 +FLAGS (\\Deleted)\r\n")
        line = working.client.readline()
        assert line.startswith((b"w NO ", b"* BYE ")), line
        assert outcome_of(elsewhere.ask(f'SELECT "{box}"')) == REFUSED
        owner.ok("DELETEACL Withdrawn bob@example.org")
        assert outcome_of(elsewhere.ask(f'SELECT "{box}"')) == ABSENT
        owner.ok("SELECT Withdrawn")
        assert "\\Deleted" not in owner.ok("FETCH 1:* FLAGS")


def test_who_anyone_is_and_what_is_taken_away(server):
    with ann(server) as owner, bob(server) as client, Session(server, "eve@example.org") as other, \
            Session(server, "zoe@other.example") as stranger:
        box = share(owner, "Open", "anyone", "lrs")
        for one, outcome in ((client, "OK"), (other, "OK"), (stranger, ABSENT)):
            assert outcome_of(one.ask(f'STATUS "{box}" (MESSAGES)')) == outcome
        owner.ok('SETACL Open "-bob@example.org" rs')
        assert outcome_of(client.ask(f'STATUS "{box}" (MESSAGES)')) == REFUSED
        assert f'* MYRIGHTS "{box}" l\r\n' in client.ok(f'MYRIGHTS "{box}"')
        owner.ok("SETACL Open zoe@other.example +lr")
        assert outcome_of(stranger.ask(f'STATUS "{box}" (MESSAGES)')) == "OK"
        answer = owner.ok("GETACL Open")
        assert '"anyone" lrs' in answer and '"-bob@example.org" rs' in answer and '"zoe@other.example" lr' in answer
        assert '"ann@example.org" lrswipkxteacd' in answer
        owner.ok('DELETEACL Open "-bob@example.org"')
        assert outcome_of(client.ask(f'STATUS "{box}" (MESSAGES)')) == "OK"
        owner.ok("SETACL Open anyone -rs")
        assert '"anyone" l ' in owner.ok("GETACL Open")
        assert outcome_of(owner.ask("SETACL Open ann@example.org l")) == "NO [CANNOT]"
        assert outcome_of(owner.ask("SETACL Open nobody@example.org l")) == "NO [CANNOT]"
        assert outcome_of(owner.ask("SETACL Open bob@example.org q")) == "BAD"
        # The letters of RFC 2086.
        owner.ok("SETACL Open bob@example.org lrcd")
        assert '"bob@example.org" lrkxtecd' in owner.ok("GETACL Open")


def test_names_and_lists(server):
    with ann(server) as owner, bob(server) as client:
        client.ok("ENABLE UTF8=ACCEPT")
        owner.ok("ENABLE UTF8=ACCEPT")
        box = share(owner, "Büro/Ärger", rights="lrk")
        owner.ok('DELETEACL "Büro" bob@example.org')
        assert "* NAMESPACE" in client.ok("NAMESPACE") and '(("Other Users/" "/"))' in client.ok("NAMESPACE")
        answer = client.ok(f'LIST "" "{SHARED}B*" RETURN (MYRIGHTS)')
        assert f'* LIST () "/" "{box}"' in answer and f'* MYRIGHTS "{box}" lrkc' in answer
        assert f'* LIST (\\NonExistent) "/" "{SHARED}Büro"' in answer
        assert f'(\\Noselect \\HasChildren) "/" "{SHARED}Büro"' in client.ok(f'LIST "" "{SHARED}%"')
        assert '(\\Noselect \\HasChildren) "/" "Other Users"' in client.ok('LIST "" %')
        # The address is the same in any case, and so is INBOX.
        client.ok('SUBSCRIBE "Other Users/Ann@Example.ORG/Büro/Ärger"')
        assert f'(\\Subscribed) "/" "{box}"' in client.ok('LIST (SUBSCRIBED) "" *')
        assert f'* LSUB () "/" "{box}"' in client.ok('LSUB "" *')
        assert "Büro" not in owner.ok('LSUB "" *')
        client.ok('STATUS "Other Users/ANN@example.org/Büro/Ärger" (MESSAGES)')
        share(owner, "INBOX")
        client.ok('EXAMINE "Other Users/ann@example.org/inbox"')
        client.ok("UNSELECT")
        owner.ok("DELETEACL INBOX bob@example.org")
        # What is made below has the list of what is above it, and the owner has it.
        client.ok(f'CREATE "{box}/Neu/Unten"')
        assert '"bob@example.org" lrkc' in owner.ok('GETACL "Büro/Ärger/Neu/Unten"')
        assert outcome_of(client.ask('CREATE "Other Users/x"')) == REFUSED
        assert outcome_of(client.ask('CREATE "Other Users"')) == REFUSED
        assert outcome_of(owner.ask('RENAME "Büro" "Other Users"')) == "NO [CANNOT]"
        # Without UTF-8 the names are modified UTF-7.
        with bob(server) as old:
            assert "B&APw-ro/&AMQ-rger" in old.ok('LIST "" *')


def test_metadata_of_others_is_what_they_share(server):
    with ann(server) as owner, bob(server) as client:
        box = share(owner, "Noted", rights="lrw")
        owner.ok('SETMETADATA Noted (/shared/comment "for all" /private/comment "for me")')
        answer = client.ok(f'GETMETADATA "{box}" (DEPTH infinity) (/shared /private)')
        assert '/shared/comment "for all"' in answer and "for me" not in answer
        answer = client.ok(f'LIST "" "{SHARED}Noted" RETURN (METADATA (/shared/comment /private/comment))')
        assert '/shared/comment "for all"' in answer and "/private/comment NIL" in answer
        client.ok(f'SETMETADATA "{box}" (/shared/comment "by bob")')
        assert "by bob" in owner.ok("GETMETADATA Noted /shared/comment")


# By command, and across the end of the server


def test_the_administrator_shares_and_the_log_keeps_it():
    with Server() as server:
        for user in ("ann@local.example", "bob@local.example", "eve@local.example"):
            server.add_user(user)
        box = "Other Users/ann@local.example/INBOX"
        server.run("acl", "set", "ann@local.example", "INBOX", "bob@local.example", "lrs")
        server.run("acl", "set", "ann@local.example", "inbox", "bob@local.example", "+wit")
        server.run("acl", "set", "ann@local.example", "INBOX", "eve@local.example", "lr", "--negative")
        server.run("acl", "set", "ann@local.example", "INBOX", "anyone", "l")
        wanted = [{"address": "ann@local.example", "mailbox": "INBOX", "identifier": who, "rights": rights}
                  for who, rights in (("anyone", "l"), ("bob@local.example", "lrswit"), ("-eve@local.example", "lr"))]
        assert server.rows("acl", "list", "ann@local.example") == wanted
        assert server.rows("acl", "list", "ann@local.example", "INBOX") == wanted
        server.run("acl", "remove", "ann@local.example", "INBOX", "anyone")
        assert server.rows("acl", "list", "ann@local.example") == wanted[1:]
        with Session(server, "bob@local.example", PASSWORD) as client:
            client.append(box)
            client.ok(f'SELECT "{box}"')
            client.ok("COPY 1 INBOX")
        # Who put it there is told.
        assert any("by=append login=bob@local.example" in row["text"] for row in server.rows("trace", "bob@local.example"))
        server.stop()
        server.run("verify")
        (server.data / "store" / "index.db").unlink()
        server.run("reindex")
        server.start()
        assert server.rows("acl", "list", "ann@local.example") == wanted[1:]
        with Session(server, "bob@local.example", PASSWORD) as client:
            assert "MESSAGES 1" in client.ok(f'STATUS "{box}" (MESSAGES)')
            assert "MESSAGES 1" in client.ok("STATUS INBOX (MESSAGES)")
        # A number is never used again: who gets bob's address later gets none of his rights.
        server.run("user", "remove", "--yes", "bob@local.example")
        server.add_user("bob@local.example")
        with Session(server, "bob@local.example", PASSWORD) as client:
            assert outcome_of(client.ask(f'STATUS "{box}" (MESSAGES)')) == ABSENT
        assert server.rows("acl", "list", "ann@local.example") == wanted[2:]
        server.run("user", "remove", "--yes", "ann@local.example")
        server.stop()
        server.run("verify")
