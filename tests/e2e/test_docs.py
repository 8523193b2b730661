"""The documents are true: what they show can be run, commands and options exist, links lead somewhere, the example is good."""
import json
import os
import pathlib
import re
import shlex
import stat
import subprocess

import pytest
from veredus import VEREDUS, Server, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"<!-- tested: ([a-z-]+) -->\n```[a-z]*\n(.*?)```", re.DOTALL)
BLOCKS = {match[1]: match[2] for page in PAGES for match in BLOCK.finditer(page.read_text())}


def commands():
    """Every command with its options, as the program knows them."""
    done = subprocess.run([VEREDUS, "help", "--json"], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {command["name"]: {option["name"] for option in command["options"]} for command in found}


def shown(page):
    """What a page shows of our commands: whole lines of code blocks, and `veredus ...` in the text."""
    text = page.read_text()
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if re.match(r"(\$ )?veredus ", line):
                yield line.removeprefix("$ ").split("#")[0].strip()
    for inline in re.findall(r"`(veredus [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield inline


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    known = commands()
    for line in shown(page):
        words = shlex.split(line.replace("...", ""))[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        group = [command for command in known if command.startswith(name + " ")]
        assert name in known or group, f"{page.name}: {line}"
        for word in words:
            if word.startswith("--") and name in known:
                assert word.split("=")[0] in known[name] | {"--help"}, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_settings_in_the_documents_exist():
    """Every setting that is written as code with a value is one of the table."""
    done = subprocess.run([VEREDUS, "config", "show", "-", "--json"], input="hostname = a\ndomain \"b\" { }\nlistener \"m\" { kind = mx "
                          "port = 1 }\ntls \"t\" { certificate = c key = k }\nroute \"r\" { host = h }\n", capture_output=True, text=True,
                          check=True)
    known = set()

    def collect(value):
        for name, inner in value.items():
            known.add(name)
            if isinstance(inner, dict):
                collect(inner)
    collect(json.loads(done.stdout))
    for page in PAGES:
        for name in re.findall(r"`([a-z_]+) = [^`]+`", page.read_text()):
            assert name in known, f"{page.name}: {name}"


def test_the_example_is_good():
    example = ROOT / "examples" / "veredus.conf"
    done = subprocess.run([VEREDUS, "config", "check", example], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{example}: no errors; 7 listeners, 1 domains, 0 routes\n"), done.stderr


# Blocks that are marked as tested are run as they stand.


@pytest.fixture(scope="module")
def place():
    """A running server, and a directory in which its commands need no option to find it."""
    with Server() as server:
        server.add_user("ann@local.example")
        assert server.deliver("bob@example.org")[0] == 550
        wait_until(lambda: server.run("trace", "bob@example.org", code=None)[0], 30, "the refusal in the journal")
        work = server.directory / "work"
        work.mkdir()
        program = work / "veredus"
        program.write_text(f'#!/bin/sh\nexec {VEREDUS} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (work / "wrong.conf").write_text('hostname = mail.example.org\n# Ports.\nlistners "mx" { kind = mx port = 25 }\n')
        yield server, work


def run(place, text):
    server, work = place
    env = {**os.environ, "PATH": f"{work}:{os.environ['PATH']}", "VEREDUS_CONTROL": server.path("run/control")}
    text = text.replace("DATA_DIR", str(server.data)).replace("BACKUP", str(work / "copy"))
    steps = re.split(r"^\$ ", text, flags=re.M)
    for line in steps[0].splitlines():
        done = subprocess.run(["sh", "-c", line], cwd=work, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    for step in steps[1:]:
        command, expected = step.split("\n", 1)
        done = subprocess.run(["sh", "-c", command], cwd=work, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout + done.stderr == expected, command


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - {"backup"}))
def test_block(place, name):
    run(place, BLOCKS[name])


def test_certificate_can_be_used(place):
    """The certificate that the page makes is one that the server takes."""
    server, work = place
    run(place, BLOCKS["certificate"])
    config, old = server.config, server.config.read_text()
    config.write_text(old.replace(server.path("cert.pem"), str(work / "certificate.pem")).replace(server.path("key.pem"),
                                                                                                  str(work / "key.pem")))
    try:
        assert server.run("reload")[0] == "The configuration is in force.\n"
    finally:
        config.write_text(old)
        server.run("reload")


def restored(server, segments, keys):
    """A server on a copy of the data, with nothing but what the page says is needed."""
    other = Server(start=False)
    # As the page says: the owners stay as they were.
    (other.data / "store").mkdir(exist_ok=True)
    for made, like in [(other.data, server.data), (other.data / "store", server.data / "store")]:
        subprocess.run(["chown", f"--reference={like}", made], check=True)
        subprocess.run(["chmod", f"--reference={like}", made], check=True)
    subprocess.run(["cp", "-a", segments, other.data / "store" / "segments"], check=True)
    subprocess.run(["cp", "-a", keys, other.data / "keys"], check=True)
    subprocess.run(["chattr", "-R", "-a", other.data], capture_output=True, check=False)
    other.run("reindex")
    other.run("verify")
    return other.start()


def test_backup_of_a_running_server(place):
    """A copy of segments and keys is enough: accounts, passwords and mail come back."""
    server, work = place
    assert server.deliver("ann@local.example", "Subject: kept\r\n\r\nx\r\n") is None
    server.wait_for_mail("ann@local.example", 1)
    subprocess.run(["rm", "-rf", work / "copy-SEGMENTS"], check=True)
    run(place, BLOCKS["live-backup"])
    other = restored(server, work / "copy-SEGMENTS", server.data / "keys")
    try:
        assert other.subjects("ann@local.example") == ["kept"]
    finally:
        other.clean()


def test_backup_of_a_stopped_server(place):
    """The last test: it stops the server."""
    server, work = place
    run(place, BLOCKS["backup"].split("\n")[0])
    server.process.wait(60)
    run(place, "\n".join(BLOCKS["backup"].split("\n")[1:]))
    assert (work / "copy" / "store" / "index.db").exists()
    server.start()
    assert server.subjects("ann@local.example") == ["kept"]
