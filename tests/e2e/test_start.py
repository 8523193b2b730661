"""A store that cannot start: the server says what is wrong, why, and what to do, and stops with an exit code that tells the kind of
cause; it does not start the store again and again."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from veredus import VEREDUS, Server, wait_until

EX_DATAERR, EX_NOPERM = 65, 77


@pytest.fixture(name="server")
def fixture_server(tmp_path):
    server = Server(tmp_path / "server")
    server.add_user("ann@local.example")
    server.stop()
    yield server
    server.stop()
    subprocess.run(["chattr", "-R", "-a", str(tmp_path)], capture_output=True, check=False)


def fails_to_start(server, code):
    """What a start that fails logs; it has to end soon, by itself."""
    before = len(server.log())
    begun = time.monotonic()
    # LeakSanitizer cannot look into a process that has entered its sandbox, and would end it with an exit code of its own.
    options = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    with open(server.log_path, "ab") as log:
        done = subprocess.run([VEREDUS, "serve", "-c", str(server.config)], stdout=subprocess.DEVNULL, stderr=log, timeout=60,
                              check=False, env=options)
    text = server.log()[before:]
    assert done.returncode == code, text
    assert time.monotonic() - begun < 50
    assert text.count("ended with exit code") == 1, text
    assert "store cannot start" in text and "What to do" in text, text
    return text


def store_directory(server):
    return pathlib.Path(server.directory) / "data" / "store"


def damage(path):
    with open(path, "r+b") as file:
        file.write(b"no database any more " * 200)


def test_a_damaged_index_stops_the_start(server):
    damage(store_directory(server) / "index.db")
    text = fails_to_start(server, EX_DATAERR)
    assert "veredus reindex" in text, text
    subprocess.run([VEREDUS, "reindex", "-c", str(server.config)], check=True, capture_output=True, timeout=120)
    server.start()
    assert "ann@local.example" in server.command("user", "list")


def test_a_log_without_an_index_stops_the_start(server):
    for file in store_directory(server).glob("index.db*"):
        file.unlink()
    assert "veredus reindex" in fails_to_start(server, EX_DATAERR)


def test_files_of_another_owner_stop_the_start(server):
    index = store_directory(server) / "index.db"
    os.chmod(index, 0)
    if os.geteuid() == 0:
        shutil.chown(index, "root", "root")
    text = fails_to_start(server, EX_NOPERM)
    assert "index.db" in text and "give data_dir" in text, text


def children_of(process):
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False)
    return [line.split(None, 1) for line in listed.stdout.splitlines()]


def test_a_running_server_stops_when_its_store_cannot_come_back(server):
    server.start()
    before = len(server.log())
    store = [int(pid) for pid, words in children_of(server.process) if words.strip().endswith("role store")]
    assert len(store) == 1
    damage(store_directory(server) / "index.db")
    os.kill(store[0], signal.SIGKILL)
    assert server.process.wait(60) == EX_DATAERR
    text = server.log()[before:]
    assert 2 <= text.count("role store") + text.count("store[") <= 12, text
    assert "store cannot start" in text and "veredus reindex" in text, text


def test_a_store_that_died_once_just_comes_back(server):
    server.start()
    store = [int(pid) for pid, words in children_of(server.process) if words.strip().endswith("role store")]
    os.kill(store[0], signal.SIGKILL)
    wait_until(lambda: any(int(pid) != store[0] and words.strip().endswith("role store")
                           for pid, words in children_of(server.process)), 30, "a new store")
    wait_until(lambda: subprocess.run([VEREDUS, "user", "list", "-c", str(server.config)], capture_output=True,
                                      check=False).returncode == 0, 30, "an answer")
    assert server.process.poll() is None
