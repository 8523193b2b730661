"""The commands that need no server: help, completion, manual pages, explain, config, exit codes and mistyped words."""
import json
import os
import pty
import subprocess

import pytest

from veredus import ROOT, VEREDUS

EX_OK, EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_CONFIG = 0, 64, 65, 66, 69, 78


def run(*arguments, stdin="", code=EX_OK, env=None):
    """Runs a command, checks its exit code, returns standard output and standard error."""
    done = subprocess.run([VEREDUS, *arguments], input=stdin, capture_output=True, text=True, timeout=30,
                          env={**os.environ, **(env or {})}, stdin=None)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout, done.stderr


def commands():
    out, _ = run("help", "--json")
    return [json.loads(line) for line in out.splitlines()]


def test_every_command_has_help():
    found = commands()
    names = [c["name"] for c in found]
    assert len(names) == len(set(names))
    for wanted in ["dev", "serve", "status", "trace", "explain", "reload", "stop", "config check", "user add",
                   "user passwd", "user list", "user remove", "alias add", "alias list", "alias remove", "acl list",
                   "acl set", "acl remove", "queue list",
                   "queue show", "queue why", "queue retry", "queue hold", "queue release", "queue drop"]:
        assert wanted in names
    for command in found:
        out, err = run("help", *command["name"].split())
        same, _ = run(*command["name"].split(), "--help")
        assert out == same and err == ""
        assert out.startswith(command["synopsis"] + "\n")
        assert f"Usage: veredus {command['name']}" in out
        for option in command["options"]:
            assert option["name"] in out
            assert option["help"].endswith(".")
        assert "--json" in [option["name"] for option in command["options"]]


def test_help_lists_the_commands():
    out, _ = run("help")
    same, _ = run("--help")
    assert out == same
    for command in commands():
        assert f"  {command['name']} " in out


def test_no_command_is_a_usage_error():
    out, err = run(code=EX_USAGE)
    assert "veredus help COMMAND" in out


def test_help_of_a_group():
    out, _ = run("help", "queue")
    assert out == run("queue", "--help")[0]
    assert "queue why" in out and "user add" not in out


@pytest.mark.parametrize("words, message, advice", [
    (["quue"], 'there is no command "quue"', "did you mean `veredus queue`?"),
    (["stauts"], 'there is no command "stauts"', "did you mean `veredus status`?"),
    (["queue", "shwo"], 'there is no command "queue shwo"', "did you mean `veredus queue show`?"),
    (["help", "explian"], 'there is no command "explian"', "did you mean `veredus explain`?"),
    (["xyzzyqwerty"], 'there is no command "xyzzyqwerty"', "`veredus help` lists the commands"),
    (["queue"], "`veredus queue` needs a second word", "write one of: list show why retry hold release drop"),
    (["dev", "--prot-base", "1"], "`veredus dev` has no option --prot-base", "did you mean --port-base?"),
    (["dev", "--port-base"], "--port-base needs a value: N", "give it after the option"),
    (["dev", "--port-base", "70000"], '--port-base: "70000" will not do', "give a number from 1 to 64540"),
    (["dev", "--user", "ann"], '--user: "ann" will not do', "write name@domain:password"),
    (["dev", "mail"], '`veredus dev` does not know what to do with "mail"', "`veredus help dev` shows how it is used"),
    (["user", "add"], "`veredus user add` needs ADDRESS", "`veredus help user add` shows how it is used"),
    (["status", "--json=1"], "--json has no value", "leave out what follows the ="),
    (["status", "--dir", "a", "--dir", "b"], "--dir is given twice", "leave one out"),
    (["queue", "drop"], "it is not said which rows are meant",
     "name rows, messages, addresses or domains, or give --all alone"),
    (["manpage", "cnof"], 'there is no page "cnof"', "there are `commands`, `conf` and `markdown`"),
])
def test_wrong_words_get_the_right_ones(words, message, advice):
    out, err = run(*words, code=EX_USAGE)
    assert out == ""
    assert err == f"veredus: {message}\n  {advice}\n"
    _, err = run("--json", *words, code=EX_USAGE)
    if "--json=1" not in words:
        assert json.loads(err) == {"error": {"code": EX_USAGE, "message": message, "advice": advice}}


def test_version():
    out, _ = run("version")
    assert out == run("--version")[0]
    assert json.loads(run("version", "--json")[0])["version"] == out.split()[1]


def test_server_not_running(tmp_path):
    _, err = run("status", "--dir", str(tmp_path), code=EX_UNAVAILABLE)
    assert err.startswith(f"veredus: the server is not running: nothing listens on {tmp_path}/control\n  start it with")
    _, err = run("queue", "list", "--json", code=EX_UNAVAILABLE, env={"VEREDUS_CONTROL": str(tmp_path / "socket")})
    assert json.loads(err)["error"]["code"] == EX_UNAVAILABLE
    _, err = run("status", "-c", str(tmp_path / "none.conf"), code=EX_NOINPUT)
    assert err.startswith(f"veredus: cannot open {tmp_path}/none.conf: No such file or directory\n")


def test_control_socket_comes_from_the_configuration(tmp_path):
    config = tmp_path / "veredus.conf"
    config.write_text(f'hostname = a.example\nruntime_dir = "{tmp_path}/r"\n')
    _, err = run("status", "-c", str(config), code=EX_UNAVAILABLE)
    assert f"nothing listens on {tmp_path}/r/control" in err
    config.write_text("hostnam = a.example\n")
    _, err = run("status", "-c", str(config), code=EX_CONFIG)
    assert f"{config} has errors" in err and "veredus config check" in err


# The configuration


def check(text, code):
    out, err = run("config", "check", "-", stdin=text, code=code)
    _, _ = run("config", "check", "--json", "-", stdin=text, code=code)
    return out if code == EX_OK else err


GOOD = 'hostname = mail.example.org\ndomain "example.org" {}\nlistener "mx" { kind = mx port = 2525 tls = none }\n'


def test_config_check_good(tmp_path):
    config = tmp_path / "veredus.conf"
    config.write_text(GOOD)
    out, err = run("config", "check", "-c", str(config))
    assert out == f"{config}: no errors; 1 listeners, 1 domains, 0 routes\n" and err == ""
    assert json.loads(run("config", "check", str(config), "--json")[0]) == {"file": str(config), "good": True,
                                                                            "errors": []}


@pytest.mark.parametrize("text, line", [
    (GOOD + "limts { }\n", '-:4: "limts" is not a setting of the file; did you mean "limits"?'),
    (GOOD + "limits {\n  recipents = 3\n}\n", '-:5: "recipents" is not a setting of limits; did you mean "recipients"?'),
    (GOOD + "limits {\n  recipients = 3\n}\n", "-:5: recipients: 3 is out of bounds: at least 100, at most 10000"),
    (GOOD + "\nlog_level = inof\n", '-:5: log_level: "inof" is not one of the words for it; did you mean "info"?'),
    (GOOD + "quota = many\n", '-:4: quota: "many" is not a number'),
    (GOOD + "foreign_senders = perhaps\n", '-:4: foreign_senders: "perhaps" is neither true nor false'),
])
def test_config_check_names_file_line_and_word(text, line):
    assert line in check(text, EX_CONFIG).splitlines()


def test_config_check_json():
    out, _ = run("config", "check", "--json", "-", stdin=GOOD + "quota = many\n", code=EX_CONFIG)
    assert json.loads(out) == {"file": "-", "good": False,
                               "errors": [{"file": "-", "line": 4, "message": 'quota: "many" is not a number'}]}


def test_config_check_missing_file(tmp_path):
    _, err = run("config", "check", "-c", str(tmp_path / "no.conf"), code=EX_NOINPUT)
    assert err == f"veredus: cannot open {tmp_path}/no.conf: No such file or directory\n  name the configuration file " \
                  "with -c FILE\n"


def test_config_show_reads_back():
    shown, _ = run("config", "show", "-", stdin=GOOD)
    again, _ = run("config", "show", "-", stdin=shown)
    assert shown == again
    assert 'message_size = 50M\n' in shown and 'schedule = {5m, 10m, 20m, 30m, 1h, 1h, 2h, 2h, 4h}\n' in shown
    values = json.loads(run("config", "show", "-", "--json", stdin=GOOD)[0])
    assert values["hostname"] == "mail.example.org"
    assert values["limits"]["message_size"] == 50 * 1024 * 1024
    assert values["relay"]["schedule"] == [300, 600, 1200, 1800, 3600, 3600, 7200, 7200, 14400]
    assert values["listener"]["mx"]["port"] == 2525 and values["listener"]["mx"]["tls"] == "none"
    assert values["dns"]["dnssec"] is True


# Codes


def test_explain():
    out, _ = run("explain", "550 5.1.1 <x@example.org>: no such user")
    assert out.startswith("550 5.1.1: Bad destination mailbox address\n")
    assert "recipient's side" in out and "RFC 3463" in out
    assert out == run("explain", "550", "5.1.1")[0]
    assert out == run("explain", "-", stdin="Remote host said: 550 5.1.1 unknown\n")[0]
    found = json.loads(run("explain", "5.2.2", "--json")[0])
    assert found["enhanced"] == "5.2.2" and found["permanent"] is True
    assert json.loads(run("explain", "451", "--json")[0])["permanent"] is False


def test_explain_all():
    out, _ = run("explain")
    assert "\nX.1.1 " in out and "\n550 " in out
    rows = [json.loads(line) for line in run("explain", "--json")[0].splitlines()]
    assert {"code", "title", "side", "what", "action", "standard"} == set(rows[0])


def test_explain_nothing():
    _, err = run("explain", "hello", code=EX_DATAERR)
    assert err.startswith("veredus: there is no reply code or enhanced status code in that\n")


# Pages made from the tables


@pytest.mark.parametrize("page, file", [("commands", "man/veredus.1"), ("conf", "man/veredus.conf.5"),
                                        ("markdown", "docs/configuration.md")])
def test_checked_in_page_is_what_the_table_says(page, file):
    out, _ = run("manpage", page)
    assert (ROOT / file).read_text() == out, f"run: build/veredus manpage {page} > {file}"
    assert json.loads(run("manpage", page, "--json")[0])["text"] == out


def test_manual_page_names_every_command_and_setting():
    page, _ = run("manpage")
    for command in commands():
        assert f'.SS "{command["name"]}"' in page
    settings = json.loads(run("config", "show", "-", "--json", stdin=GOOD)[0])
    conf, _ = run("manpage", "conf")
    for name, value in settings.items():
        assert (f'.SS "{name}' if isinstance(value, dict) else f"\\fB{name}\\fR") in conf.replace("\\-", "-")


def complete(*words):
    script = 'source <("$0" completion); COMP_WORDS=(veredus "$@"); COMP_CWORD=$#; _veredus; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, VEREDUS, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_completion():
    assert complete("qu") == ["queue"]
    assert complete("queue", "re") == ["retry", "release"]
    assert complete("queue", "hold", "--a") == ["--all"]
    assert "--port-base" in complete("dev", "--")
    assert complete("help", "user", "pa") == ["passwd"]
    assert complete("dev", "--user", "a@b:c", "--port") == ["--port-base"]


# Passwords


def test_password_needs_a_terminal_or_an_option(tmp_path):
    done = subprocess.run([VEREDUS, "user", "add", "a@example.org", "--dir", str(tmp_path)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, start_new_session=True, timeout=30)
    assert done.returncode == EX_USAGE
    assert "there is no terminal to ask for the password" in done.stderr
    _, err = run("user", "add", "a@example.org", "--password-stdin", "--dir", str(tmp_path), stdin="\n", code=EX_DATAERR)
    assert "the password is empty" in err
    _, err = run("user", "add", "a@example.org", "--password-stdin", "--dir", str(tmp_path), stdin="secret\n",
                 code=EX_UNAVAILABLE)
    assert "the server is not running" in err


def test_password_is_not_echoed(tmp_path):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(VEREDUS, [VEREDUS, "user", "passwd", "a@example.org", "--dir", str(tmp_path)])
    seen = b""
    for prompt in (b"New password of a@example.org: ", b"Again: "):
        while not seen.endswith(prompt):
            seen += os.read(fd, 1024)
        os.write(fd, b"se\xc3\xa9cret\n")
    try:
        while chunk := os.read(fd, 1024):
            seen += chunk
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == EX_UNAVAILABLE
    assert b"secret" not in seen and b"cret" not in seen.replace(b"New password", b"")


def test_remove_wants_to_be_meant():
    _, err = run("user", "remove", "a@example.org", code=EX_USAGE)
    assert "give --yes" in err
