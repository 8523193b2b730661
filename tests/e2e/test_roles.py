"""The processes: who runs as whom, what happens to sessions when one of them dies, when the server stops, and when its
configuration changes; and what becomes of them when descriptors run short (goal G6)."""
import os
import pathlib
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from torture import message_of, number_of
from veredus import CLIENT_TLS, NOBODY, PASSWORD, ROLES, USERS, VEREDUS, Server, free_port, make_certificate, wait_until

ME = USERS[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("roles"), processes="") as running:
        running.add_users([ME])
        yield running
        assert running.stop() == 0


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def connect(server, name="mx"):
    """An SMTP session as far as EHLO."""
    session = smtplib.SMTP("127.0.0.1", server.ports[name], timeout=30)
    session.ehlo("client.example")
    return session


def open_pop3(server, password=PASSWORD):
    stream = name_pop3(server)
    return stream, talk(stream, f"PASS {password}")


def name_pop3(server):
    """A POP3 session as far as USER."""
    plain = socket.create_connection(("127.0.0.1", server.ports["pop3s"]), timeout=30)
    stream = CLIENT_TLS.wrap_socket(plain).makefile("rwb")
    assert stream.readline().startswith(b"+OK")
    assert talk(stream, f"USER {ME}").startswith(b"+OK")
    return stream


def talk(stream, line):
    stream.write(line.encode() + b"\r\n")
    stream.flush()
    return stream.readline()


def new_pid(server, role, old):
    return wait_until(lambda: [pid for pid in server.pids().get(role, []) if pid not in old], 30, f"a new {role}")


def kill(server, role):
    old = server.pids()[role]
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    return old


# Who runs as whom.

def test_each_role_is_confined(server):
    pids = server.pids()
    assert set(pids) == set(ROLES)
    users = {}
    for role, processes in pids.items():
        for pid in processes:
            status = status_of(pid)
            assert status["Seccomp"] == "2", role
            assert status["NoNewPrivs"] == "1", role
            assert int(status["CapEff"], 16) == 0 or os.geteuid() != 0, role
            assert status["Groups"].strip() == "" or os.geteuid() != 0, role
            users.setdefault(role, set()).add(tuple(status["Uid"].split()))
    assert all(len(set(uid)) == 1 for ids in users.values() for uid in ids), "real, effective and saved user differ"
    distinct = {uid for ids in users.values() for uid in ids}
    assert len(distinct) == (len(ROLES) if os.geteuid() == 0 else 1)
    if os.geteuid() == 0:
        assert "0" not in {uid[0] for uid in distinct}


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as a plain user already")
def test_started_by_a_plain_user():
    """The same roles, under one user id, as confined as ever."""
    with Server(plain_user=True, processes="") as plain:
        pids = plain.pids()
        assert set(pids) == set(ROLES)
        for role, processes in pids.items():
            status = status_of(processes[0])
            assert status["Seccomp"] == "2" and status["Uid"].split() == [str(NOBODY)] * 4, role
        plain.add_users([ME])
        with connect(plain) as session:
            session.sendmail("a@client.example", [ME], message_of(1))
        plain.wait_for_mail(ME, 1)
        assert plain.stop() == 0


def test_a_mailbox_is_free_after_quit(server):
    """At once, for a session that another imapd serves, too."""
    streams = [name_pop3(server) for _ in range(40)]
    for stream in streams:
        answer = talk(stream, f"PASS {PASSWORD}")
        assert answer.startswith(b"+OK"), answer
        assert talk(stream, "QUIT").startswith(b"+OK")


# Roles that die.

def test_smtpd_dies(server):
    """Its sessions end; connections that come meanwhile wait and are served; another kind of smtpd does not notice."""
    mine, others = connect(server), connect(server, "submission")
    old = kill(server, "smtpd-mx")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        mine.docmd("NOOP")
    with connect(server) as again:
        assert again.docmd("NOOP")[0] == 250
        assert again.sendmail("a@client.example", [ME], message_of(2)) == {}
    assert others.docmd("NOOP")[0] == 250
    others.quit()
    assert len(new_pid(server, "smtpd-mx", old)) >= 1


def test_reader_dies(server):
    """Who asks it meanwhile gets 4xx, in a session that goes on; POP3 sessions on its snapshot end with a word."""
    pop3, answer = open_pop3(server)
    assert answer.startswith(b"+OK")
    with connect(server) as session:
        old = kill(server, "reader")
        assert session.mail("a@client.example")[0] == 250
        code = session.rcpt(f"nobody-{time.time()}@local.example")[0]
        assert code in (451, 550)  # 550: it runs again already
        new_pid(server, "reader", old)
        assert wait_until(lambda: session.rcpt(ME)[0] == 250, 20, "recipients are known again")
        assert session.data(message_of(3))[0] == 250
    assert talk(pop3, "STAT").startswith(b"-ERR [SYS/TEMP]")
    assert pop3.readline() == b""


def test_store_dies(server):
    """Mail is taken on without it: the log does not need it. What was acknowledged meanwhile is in the mailbox afterwards."""
    with connect(server) as session:
        session.sendmail("a@client.example", [ME], message_of(4))
        old = kill(server, "store")
        for number in range(5, 8):
            assert session.sendmail("a@client.example", [ME], message_of(number)) == {}
        new_pid(server, "store", old)
        session.sendmail("a@client.example", [ME], message_of(8))

    def arrived():
        numbers = [number_of(message) for message in server.fetch_patiently(ME)]
        assert max(map(numbers.count, range(4, 9))) <= 1, numbers
        return set(range(4, 9)) <= set(numbers)
    wait_until(arrived, 30, "what was acknowledged is there")


def test_store_dies_within_a_change(server):
    """The index is left with half a change, which only a store can mend: who asks meanwhile waits for the next one."""
    shared = server.data / "store/index.db-shm"
    with connect(server) as session:
        old = server.pids()["store"]
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(status_of(pid)["State"].startswith("T") for pid in old), 20, "the store stands still")
        with shared.open("r+b") as file:
            file.seek(8)
            change = bytes(octet ^ 255 for octet in file.read(4))
            file.seek(8)
            file.write(change)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert session.mail("a@client.example")[0] == 250
        assert session.rcpt(f"nobody-{time.time()}@local.example")[0] == 550
        assert session.rcpt(ME)[0] == 250
        assert session.data(message_of(11))[0] == 250
        new_pid(server, "store", old)


def test_a_login_waits_for_the_next_store(server):
    with connect(server, "submission") as session:
        session.starttls(context=CLIENT_TLS)
        old = kill(server, "store")
        session.login(ME, PASSWORD)
        assert session.sendmail(ME, [ME], message_of(12)) == {}
    new_pid(server, "store", old)


def test_keys_dies(server):
    """A login meanwhile is put off (454), never refused; afterwards the same session logs in."""
    with connect(server, "submission") as session:
        session.starttls(context=CLIENT_TLS)
        old = kill(server, "keys")
        try:
            session.login(ME, PASSWORD)
        except smtplib.SMTPAuthenticationError as error:
            assert error.smtp_code == 454
            new_pid(server, "keys", old)
            wait_until(lambda: login_works(session), 20, "a login works again")
        assert session.sendmail(ME, [ME], message_of(9)) == {}


def login_works(session):
    try:
        session.login(ME, PASSWORD)
        return True
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 454
        return False


@pytest.mark.parametrize("role", ["imapd", "relay", "resolver"])
def test_the_others_die(server, role):
    old = kill(server, role)
    with connect(server) as session:
        assert session.sendmail("a@client.example", [ME], message_of(10)) == {}
    new_pid(server, role, old)
    assert wait_until(lambda: open_pop3(server)[1].startswith(b"+OK") or time.sleep(0.1), 30, "POP3 works")


def test_restarts_are_counted(server):
    assert "restarts" in server.command("status", "--json")
    listing = server.command("status")
    line = [line.split() for line in listing.splitlines() if line.startswith("store ")][0]
    assert line[3] == "running" and int(line[4]) >= 1


# The configuration changes.

def reload_by_command(server):
    server.command("reload")


def reload_by_signal(server):
    count = server.log().count("is in force")
    os.kill(server.supervisor(), signal.SIGHUP)
    wait_until(lambda: server.log().count("is in force") > count, 20, "the configuration is in force")


@pytest.mark.parametrize("reload", [reload_by_command, reload_by_signal])
def test_reload_drops_no_session(server, reload):
    """A transaction goes on across it; a new listener comes, and goes again with the next one."""
    extra = free_port()
    pop3, answer = open_pop3(server)
    assert answer.startswith(b"+OK")
    with connect(server) as session:
        assert session.mail("a@client.example")[0] == 250 and session.rcpt(ME)[0] == 250
        session.putcmd("DATA")
        assert session.getreply()[0] == 354
        session.send(message_of(11)[:40])
        server.write_config(f'listener "extra" {{ kind = mx address = {{"127.0.0.1"}} port = {extra} }}\n')
        reload(server)
        with smtplib.SMTP("127.0.0.1", extra, timeout=30) as new:
            assert new.noop()[0] == 250
            session.send(message_of(11)[40:] + b".\r\n")
            assert session.getreply()[0] == 250
            server.write_config()
            reload(server)
            assert new.noop()[0] == 250, "the listener goes, its sessions stay"
        wait_until(lambda: not accepts(extra), 20, "the listener is gone")
        assert session.noop()[0] == 250
    assert talk(pop3, "STAT").startswith(b"+OK")
    assert talk(pop3, "QUIT").startswith(b"+OK")


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("wrong,word", [("hostnam = x", "hostname"),
                                        ('listener "bad" { kind = mx address = {"192.0.2.1"} port = 2599 }', "no such address"),
                                        ('tls "u" { certificate = /nowhere key = /nowhere }', "/nowhere")])
def test_a_bad_configuration_changes_nothing(server, wrong, word):
    pids = server.pids()
    with connect(server) as session:
        server.write_config(wrong + "\n")
        said = server.run("reload", code=78)[1]
        assert word in said, said
        assert session.noop()[0] == 250
    with connect(server) as session:
        assert session.noop()[0] == 250
    assert server.pids() == pids
    server.write_config()
    server.command("reload")


def test_reload_brings_new_certificates(server):
    """Handshakes go on meanwhile, with the old one or with the new one, and none of them fails."""
    seen, failures, over = set(), [], threading.Event()

    def shake_hands():
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", server.ports["submissions"]), timeout=30) as plain:
                    with CLIENT_TLS.wrap_socket(plain) as session:
                        seen.add(session.getpeercert(binary_form=True))
            except OSError as error:
                failures.append(error)
    threads = [threading.Thread(target=shake_hands) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for count in range(2, 12):
            make_certificate(server.directory, server.hostname)
            server.command("reload")
            wait_until(lambda: len(seen) >= count or failures, 20, "the new certificate is served")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures and len(seen) == 11


def test_a_reload_takes_what_is_there_then(server):
    """A role that comes to its certificate late has the one of the reload, though the file has been written anew since."""
    def shown():
        with socket.create_connection(("127.0.0.1", server.ports["submissions"]), timeout=30) as plain:
            with CLIENT_TLS.wrap_socket(plain) as session:
                return ssl.DER_cert_to_PEM_cert(session.getpeercert(binary_form=True))
    stopped = [pid for role in ("smtpd-msa", "keys") for pid in server.pids()[role]]
    make_certificate(server.directory, server.hostname)
    wanted = (server.directory / "cert.pem").read_text()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        server.command("reload")
        make_certificate(server.directory, server.hostname)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: shown() == wanted, 20, "the certificate of the reload is served")


# Few descriptors.

FEW = 64


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_few_descriptors(tmp_path):
    """No more are accepted than there are descriptors for; it costs no work; running sessions finish; then it goes on."""
    waiting = []
    server = Server(tmp_path, start=False)
    try:
        server.start(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW)))
        server.add_users([ME])
        pid = server.pid("smtpd-mx")
        with connect(server) as session:
            waiting = [socket.create_connection(("127.0.0.1", server.ports["mx"]), timeout=30) for _ in range(2 * FEW)]
            wait_until(lambda: sum(greeted(one) for one in waiting) >= 10, 20, "some are accepted")
            start = cpu_seconds(pid)
            time.sleep(3)
            assert cpu_seconds(pid) - start < 0.15, "waiting for descriptors is work"
            assert 10 <= sum(greeted(one) for one in waiting) < FEW
            assert session.sendmail("a@client.example", [ME], message_of(1)) == {}
        for one in waiting[:FEW]:
            one.close()
        wait_until(lambda: sum(greeted(one) for one in waiting[FEW:]) > 5, 20, "others get their turn")
        assert server.pid("smtpd-mx") == pid
    finally:
        for one in waiting:
            one.close()
        server.clean()


def greeted(connection):
    """Whether the server has said anything."""
    if connection.fileno() < 0:
        return False
    connection.setblocking(False)
    try:
        return connection.recv(100, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False


# The end.

def test_stop_finishes_what_is_under_way(tmp_path):
    """The message whose data is coming is taken and answered; an idle session hears 421; nobody new gets in."""
    with Server(tmp_path, grace=20000) as server:
        server.add_users([ME])
        busy, idle = connect(server), connect(server)
        assert busy.mail("a@client.example")[0] == 250 and busy.rcpt(ME)[0] == 250
        busy.putcmd("DATA")
        assert busy.getreply()[0] == 354
        busy.send(message_of(1)[:50])
        os.kill(server.supervisor(), signal.SIGTERM)
        assert idle.getreply()[0] == 421
        wait_until(lambda: not greets(server.ports["mx"]), 20, "nobody new gets in")
        busy.send(message_of(1)[50:] + b".\r\n")
        assert busy.getreply()[0] == 250
        assert busy.getreply()[0] == 421
        assert server.process.wait(20) == 0
        server.start()
        server.wait_for_mail(ME, 1)
        assert server.stop() == 0


def greets(port):
    """A socket that nobody serves any more still takes connections until the supervisor is gone."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(0.3)
            return connection.recv(3) == b"220"
    except OSError:
        return False


def test_stop_by_command(tmp_path):
    with Server(tmp_path) as server:
        server.command("stop")
        assert server.process.wait(30) == 0
        assert not (tmp_path / "run" / "control").exists()


def test_a_second_server_is_refused(server):
    done = subprocess.run([VEREDUS, "serve", "-c", server.config], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert server.command("status")
