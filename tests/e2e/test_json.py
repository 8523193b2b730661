"""`--json` on every command: it parses, and these keys are there. A program that reads them must not break: keys may be added; none
may go or change its type."""
import json
import subprocess

import pytest
from veredus import PASSWORD, VEREDUS, Dev, Server, wait_until

TEXT, NUMBER, FLAG, LIST, OBJECT = str, int, bool, list, dict
DONE = {"done": FLAG}
ENTRY = {"entry": NUMBER, "id": TEXT, "recipient": TEXT, "domain": TEXT, "state": TEXT, "queued_ms": NUMBER, "due_ms": NUMBER,
         "attempts": NUMBER, "delay_noticed": FLAG, "code": NUMBER, "enhanced": TEXT, "reply": TEXT, "host": TEXT}
MORE = {**ENTRY, "sender": TEXT, "login": TEXT, "client": TEXT, "octets": NUMBER, "received_ms": NUMBER}
CHANGED = {"done": FLAG, "matched": NUMBER, "changed": NUMBER, "under_way": NUMBER}
EVENT = {"id": TEXT, "time_ms": NUMBER, "event": TEXT, "text": TEXT}
STEP = {"direction": TEXT, "line": TEXT, "words": TEXT}
TEXT_ALONE = {"text": TEXT}
ACCOUNT = {"address": TEXT, "state": TEXT, "any_password": FLAG, "messages": NUMBER, "octets": NUMBER, "quota": NUMBER,
           "own_quota": NUMBER}
ROLE = {"role": TEXT, "instance": NUMBER, "pid": NUMBER, "state": TEXT, "restarts": NUMBER, "generation": NUMBER}
STATUS = {"hostname": TEXT, "configuration": TEXT, "generation": NUMBER, "store_up_ms": NUMBER, "queued": NUMBER, "next_due_ms": NUMBER,
          "records_applied": NUMBER, "filed": NUMBER, "accepting": FLAG, "free_octets": NUMBER, "reserve_octets": NUMBER, "roles": LIST}
USER = "ann@local.example"
AWAY = "y@away.example"
PASSWORD_LINE = PASSWORD + "\n"

# In the order in which they are run: command, its words, its input, the keys of its rows (for the last row of `send` other ones).
STEPS = [
    ("user add", ["--password-stdin", USER], PASSWORD_LINE, DONE),
    ("user passwd", ["--password-stdin", USER], PASSWORD_LINE, DONE),
    ("user list", [], "", ACCOUNT),
    ("user quota", [USER, "10G"], "", DONE),
    ("user disable", [USER], "", DONE),
    ("user enable", [USER], "", DONE),
    ("alias add", ["x@local.example", USER, AWAY], "", DONE),
    ("alias list", [], "", {"address": TEXT, "target": TEXT}),
    ("alias remove", ["x@local.example", USER], "", DONE),
    ("acl set", [USER, "INBOX", "anyone", "lr"], "", DONE),
    ("acl list", [USER], "", {"address": TEXT, "mailbox": TEXT, "identifier": TEXT, "rights": TEXT}),
    ("acl remove", [USER, "INBOX", "anyone"], "", DONE),
    ("trace", [AWAY], "", EVENT),
    ("queue list", [], "", ENTRY),
    ("queue show", [AWAY], "", MORE),
    ("queue why", [AWAY], "", {**MORE, "why": TEXT}),
    ("queue hold", [AWAY], "", CHANGED),
    ("queue release", [AWAY], "", CHANGED),
    ("queue retry", [AWAY], "", CHANGED),
    ("queue drop", [AWAY], "", CHANGED),
    ("status", [], "", STATUS),
    ("verify", [], "", {"done": FLAG, "problems": NUMBER, "segments": NUMBER, "records": NUMBER, "octets": NUMBER, "messages": NUMBER,
                        "queued": NUMBER}),
    ("user remove", ["--yes", USER], "", {"done": FLAG, "messages": NUMBER}),
    ("reload", [], "", {"done": FLAG, "generation": NUMBER}),
    ("stop", [], "", DONE),
    ("reindex", [], "", {"done": FLAG, "segments": NUMBER, "accounts": NUMBER, "messages": NUMBER, "queued": NUMBER,
                         "transactions": NUMBER, "damaged": NUMBER}),
]
# Those that need no server.
ALONE = [
    ("config check", ["-"], "hostname = a\n", {"file": TEXT, "good": FLAG, "errors": LIST}),
    ("explain", ["550 5.1.1"], "", {"reply": NUMBER, "enhanced": TEXT, "permanent": FLAG, "words": TEXT, "title": TEXT, "side": TEXT,
                                "what": TEXT, "action": TEXT, "standard": TEXT}),
    ("help", ["user", "add"], "", {"name": TEXT, "synopsis": TEXT, "help": TEXT, "arguments": LIST, "options": LIST, "examples": LIST}),
    ("manpage", [], "", TEXT_ALONE),
    ("completion", [], "", TEXT_ALONE),
    ("version", [], "", {"version": TEXT}),
]
# Those with tests of their own below, or elsewhere.
OTHERS = {"dev", "serve", "send", "config show", "fence"}


def check_rows(text, keys):
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows
    for row in rows:
        assert keys.items() <= {name: type(value) for name, value in row.items()}.items(), row
    return rows


def test_every_command_is_here():
    done = subprocess.run([VEREDUS, "help", "--json"], capture_output=True, text=True, check=True)
    names = {json.loads(line)["name"] for line in done.stdout.splitlines()}
    known = {step[0] for step in STEPS + ALONE} | OTHERS
    # `import` and `export` print how far they are, and have tests of their own.
    assert names - {"import", "export"} == known - {"import", "export"}


def test_commands_about_a_server():
    with Server(relay='schedule = {"1h"}', sections='route "away.example" { host = "127.0.0.1" port = 1 }') as server:
        for name, words, stdin, keys in STEPS:
            if name == "trace":
                assert server.deliver("x@local.example") is None
                wait_until(lambda: server.rows("queue", "list")[0]["attempts"] > 0, 60, "tried")
            if name == "verify":
                sent = subprocess.run([VEREDUS, "send", "--server", "127.0.0.1", "--port", str(server.ports["mx"]), "--tls", "none",
                                       "--from", "a@b.example", "--json", USER], capture_output=True, text=True, check=True)
                lines = sent.stdout.splitlines()
                check_rows("\n".join(lines[:-1]), STEP)
                check_rows(lines[-1], {"done": FLAG, "delivered": NUMBER, "deferred": NUMBER, "failed": NUMBER})
            rows = check_rows(server.command(*name.split(), *words, "--json", stdin=stdin), keys)
            if name == "status":
                for role in rows[0]["roles"]:
                    assert ROLE.items() <= {key: type(value) for key, value in role.items()}.items()
            if name == "stop":
                server.process.wait(60)
        error = server.failure("status", code=69)
        assert {key: type(value) for key, value in error.items()} == {"code": NUMBER, "message": TEXT, "advice": TEXT}


@pytest.mark.parametrize("name, words, stdin, keys", ALONE, ids=[step[0] for step in ALONE])
def test_commands_that_need_no_server(name, words, stdin, keys):
    done = subprocess.run([VEREDUS, *name.split(), *words, "--json"], input=stdin, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for row in check_rows(done.stdout, keys):
        for option in row.get("options", []):
            assert {"name", "help", "many"} <= set(option) <= {"name", "help", "many", "letter", "value"}, option


def test_serve_and_dev_print_their_listeners():
    with Server(start=False) as server:
        server.spawn(["serve", "--json", *server.where])
        wait_until(lambda: '{"ready":true}' in server.out_path.read_text(), 120, server.log)
        lines = server.out_path.read_text().splitlines()
        check_rows("\n".join(lines[:-1]), {"listener": TEXT, "address": TEXT, "port": NUMBER})
        assert len(lines) == 8
    with Dev(start=False) as dev:
        dev.spawn(["dev", "--json", *dev.where, "--port-base", str(dev.base)])
        wait_until(lambda: '{"ready":true}' in dev.out_path.read_text(), 120, dev.log)
        rows = [json.loads(line) for line in dev.out_path.read_text().splitlines()]
        check_rows("\n".join(json.dumps(row) for row in rows if "listener" in row), {"listener": TEXT, "address": TEXT, "port": NUMBER})
        assert [set(row) for row in rows if "listener" not in row] == [{"authority"}, {"directory"}, {"ready"}], rows
