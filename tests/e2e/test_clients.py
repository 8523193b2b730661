"""Mail programs that other people wrote, against one server: each submits with a login over TLS, each fetches what has come."""
import contextlib
import imaplib
import os
import pathlib
import poplib
import re
import shutil
import smtplib
import socket
import ssl
import subprocess

import pytest

from veredus import Dev, wait_until

HERE = pathlib.Path(__file__).resolve().parent
USER, PASSWORD = "ann@example.org", "se:cret"
BODY = "Line one\r\n.dot\r\n..two dots\r\nlast\r\n"


@pytest.fixture(scope="module")
def server():
    with Dev("--user", f"{USER}:{PASSWORD}", "--user", f"{MANY_USER}:{PASSWORD}") as running:
        running.authority = running.path("dev/ca.pem")
        yield running


@pytest.fixture(scope="module")
def node():
    """The npm packages, installed as the lock file has them."""
    if not (HERE / "node" / "node_modules" / "nodemailer").is_dir():
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HERE / "node", capture_output=True, text=True,
                              timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return HERE / "node"


def text(subject):
    return f"From: <{USER}>\r\nTo: <bob@example.org>\r\nSubject: {subject}\r\n\r\n{BODY}"


def arrived(server, recipient, subject):
    """The one message, as POP3 gives it."""
    def look():
        client = poplib.POP3_SSL("localhost", server.ports["pop3s"], context=ssl.create_default_context(cafile=server.authority))
        client.user(recipient)
        client.pass_("any")
        found = [b"\r\n".join(client.retr(i + 1)[1]) for i in range(client.stat()[0])]
        client.quit()
        return [message for message in found if f"Subject: {subject}\r\n".encode() in message]
    return wait_until(look, 60, f"{subject} for {recipient}")


def run(*command, stdin=None, env=None, code=0):
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, timeout=120, check=False,
                          env={**os.environ, **(env or {})})
    assert done.returncode == code, (command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


# Submission.

def by_swaks(server, recipient, subject, tmp_path, port):
    tls = ["--tls-on-connect"] if port == "submissions" else ["--tls"]
    run("swaks", "--server", "localhost", "--port", server.ports[port], *tls, "--tls-verify", "--tls-ca-path", server.authority,
        "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to", recipient,
        "--data", text(subject).replace("\r\n", "\n"))


def by_curl(server, recipient, subject, tmp_path, port):
    (tmp_path / "mail").write_bytes(text(subject).encode())
    scheme = "smtps" if port == "submissions" else "smtp"
    run("curl", "-sS", "--ssl-reqd", "--cacert", server.authority, "--user", f"{USER}:{PASSWORD}", "--mail-from", USER, "--mail-rcpt",
        recipient, "--upload-file", tmp_path / "mail", f"{scheme}://localhost:{server.ports[port]}")


def by_msmtp(server, recipient, subject, tmp_path, port):
    starttls = "off" if port == "submissions" else "on"
    config = tmp_path / "msmtprc"
    config.write_text(f"account default\nhost localhost\nport {server.ports[port]}\ntls on\ntls_starttls {starttls}\n"
                      f"tls_trust_file {server.authority}\nauth on\nuser {USER}\npassword {PASSWORD}\nfrom {USER}\n")
    config.chmod(0o600)
    run("msmtp", "-C", config, recipient, stdin=text(subject).replace("\r\n", "\n").encode())


def by_smtplib(server, recipient, subject, tmp_path, port):
    context = ssl.create_default_context(cafile=server.authority)
    if port == "submissions":
        client = smtplib.SMTP_SSL("localhost", server.ports[port], context=context, timeout=60)
    else:
        client = smtplib.SMTP("localhost", server.ports[port], timeout=60)
        client.starttls(context=context)
    client.login(USER, PASSWORD)
    client.sendmail(USER, [recipient], text(subject))
    client.quit()


def by_nodemailer(server, recipient, subject, tmp_path, port):
    script = f"""
const mailer = require('nodemailer').createTransport({{host: 'localhost', port: {server.ports[port]},
    secure: {str(port == "submissions").lower()}, requireTLS: true, auth: {{user: '{USER}', pass: '{PASSWORD}'}},
    tls: {{ca: require('fs').readFileSync('{server.authority}')}}}});
mailer.sendMail({{from: '{USER}', to: '{recipient}', subject: '{subject}',
    text: 'Line one\\n.dot\\n..two dots\\nlast\\n', encoding: '7bit'}}).then(info => console.log(info.response),
    error => {{ console.error(error); process.exit(1); }});
"""
    run("node", "-e", script, env={"NODE_PATH": str(HERE / "node" / "node_modules")})


def by_mutt(server, recipient, subject, tmp_path, port):
    scheme = "smtps" if port == "submissions" else "smtp"
    user = USER.replace("@", "%40")
    (tmp_path / "muttrc").write_text(
        f'set smtp_url="{scheme}://{user}@localhost:{server.ports[port]}/"\nset smtp_pass="{PASSWORD}"\n'
        f'set smtp_authenticators="plain"\nset ssl_ca_certificates_file="{server.authority}"\nset certificate_file="{server.authority}"\n'
        f'set ssl_force_tls=yes\nset from="{USER}"\nset copy=no\nset use_envelope_from=yes\n')
    run("mutt", "-n", "-F", tmp_path / "muttrc", "-s", subject, "--", recipient, stdin=BODY.replace("\r\n", "\n").encode(),
        env={"HOME": str(tmp_path)})


SENDERS = {"swaks": by_swaks, "curl": by_curl, "msmtp": by_msmtp, "smtplib": by_smtplib, "nodemailer": by_nodemailer, "mutt": by_mutt}


@pytest.mark.parametrize("port", ["submission", "submissions"])
@pytest.mark.parametrize("client", SENDERS)
def test_submission(server, node, client, port, tmp_path):
    recipient, subject = f"{client}-{port}@example.org", f"by {client} to {port}"
    SENDERS[client](server, recipient, subject, tmp_path, port)
    messages = arrived(server, recipient, subject)
    assert len(messages) == 1
    header, _, body = messages[0].partition(b"\r\n\r\n")
    assert body.rstrip(b"\r\n").decode() == BODY.rstrip("\r\n")
    assert b"with ESMTPSA" in header and b"\r\nDate: " in header and b"\r\nMessage-I" in header


# Retrieval.

@pytest.fixture(scope="module")
def mailbox(server):
    """Ann's INBOX with ten messages."""
    with contextlib.closing(smtplib.SMTP("localhost", server.ports["mx"], timeout=60)) as client:
        for i in range(10):
            client.sendmail("bob@elsewhere.example", [USER], text(f"message {i}"))
    context = ssl.create_default_context(cafile=server.authority)

    def ten():
        client = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=context)
        client.login(USER, PASSWORD)
        count = int(client.select("INBOX", readonly=True)[1][0])
        client.logout()
        return count == 10
    wait_until(ten, 60, "ten messages")
    return server


def subjects(folder):
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name in ("cur", "new"):
            found += [line[9:].strip() for line in path.read_text().splitlines() if line.startswith("Subject: ")]
    return sorted(found)


WANTED = sorted(f"message {i}" for i in range(10))


def maildir(path):
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    return path


def deliver_to(box, directory):
    """A program that puts its standard input into a Maildir."""
    deliver = directory / "deliver"
    deliver.write_text(f"#!/bin/sh\ncat > {box}/new/$$.$(date +%s%N)\n")
    deliver.chmod(0o755)
    return deliver


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_curl_fetches(mailbox, protocol, tls):
    port = mailbox.ports[protocol + "s" if tls == "implicit" else protocol]
    scheme = protocol + "s" if tls == "implicit" else protocol
    path = "3" if protocol == "pop3" else "INBOX;MAILINDEX=3"
    out = run("curl", "-sS", "--ssl-reqd", "--cacert", mailbox.authority, "--user", f"{USER}:{PASSWORD}", f"{scheme}://localhost:{port}/{path}")
    assert b"Subject: message 2" in out and b"\r\n.dot\r\n..two dots\r\n" in out


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_fetchmail(mailbox, protocol, tmp_path):
    box = maildir(tmp_path / "box")
    config = tmp_path / "rc"
    deliver = deliver_to(box, tmp_path)
    config.write_text(f'poll localhost protocol {protocol} port {mailbox.ports[protocol + "s"]} user "{USER}" password "{PASSWORD}" ssl sslproto "" '
                      f'sslcertck sslcertfile "{mailbox.authority}" keep fetchall mda "{deliver}"\n')
    config.chmod(0o600)
    run("fetchmail", "-f", config, "--pidfile", tmp_path / "pid", "--nosyslog", env={"HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path)})
    assert subjects(box) == WANTED


@pytest.mark.parametrize("retriever,port", [("SimplePOP3SSLRetriever", "pop3s"), ("SimpleIMAPSSLRetriever", "imaps")])
def test_getmail(mailbox, retriever, port, tmp_path):
    box = maildir(tmp_path / "box")
    deliver = deliver_to(box, tmp_path)
    (tmp_path / "getmailrc").write_text(
        f"[retriever]\ntype = {retriever}\nserver = localhost\nport = {mailbox.ports[port]}\nusername = {USER}\npassword = {PASSWORD}\n"
        f"ca_certs = {mailbox.authority}\n[destination]\ntype = MDA_external\npath = {deliver}\nallow_root_commands = true\n[options]\ndelete = false\nread_all = true\n")
    os.chmod(tmp_path / "getmailrc", 0o600)
    run("getmail", "--getmaildir", tmp_path, "--rcfile", "getmailrc")
    assert subjects(box) == WANTED


def mbsync(server, tmp_path, user=USER):
    (tmp_path / "mbsyncrc").write_text(
        f"IMAPAccount a\nHost localhost\nPort {server.ports['imaps']}\nUser {user}\nPass {PASSWORD}\nSSLType IMAPS\n"
        f"CertificateFile {server.authority}\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {tmp_path}/mail/\n"
        f"Inbox {tmp_path}/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n"
        f"SyncState {tmp_path}/state/\n")
    (tmp_path / "mail").mkdir(exist_ok=True)
    (tmp_path / "state").mkdir(exist_ok=True)
    run("mbsync", "-c", tmp_path / "mbsyncrc", "-a", env={"HOME": str(tmp_path)})


def test_mbsync_both_ways(mailbox, tmp_path):
    mbsync(mailbox, tmp_path)
    assert subjects(tmp_path / "mail" / "INBOX") == WANTED
    # A message answered and one made here, one flagged there.
    inbox = tmp_path / "mail" / "INBOX"
    first = next(path for path in [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()] if "Subject: message 1\n" in path.read_text())
    shutil.move(first, inbox / "cur" / (first.name.split(":")[0] + ":2,R"))
    made = maildir(tmp_path / "mail" / "Made")
    (made / "cur" / "1.made.here:2,F").write_text("Subject: made here\n\nbody\n")
    context = ssl.create_default_context(cafile=mailbox.authority)
    client = imaplib.IMAP4_SSL("localhost", mailbox.ports["imaps"], ssl_context=context)
    client.login(USER, PASSWORD)
    client.select("INBOX")
    found = client.search(None, 'SUBJECT "message 2"')[1][0].decode()
    client.store(found, "+FLAGS", r"(\Flagged)")
    mbsync(mailbox, tmp_path)
    answered = client.search(None, "ANSWERED")[1][0].split()
    assert len(answered) == 1 and client.search(None, 'ANSWERED SUBJECT "message 1"')[1][0].split() == answered
    assert client.select("Made")[1] == [b"1"] and client.search(None, "FLAGGED")[1] == [b"1"]
    client.logout()
    flagged = [path for path in (inbox / "cur").iterdir() if "F" in path.name.split(":2,")[-1]]
    assert ["Subject: message 2\n" in path.read_text() for path in flagged] == [True]
    mbsync(mailbox, tmp_path)
    assert len(subjects(tmp_path / "mail" / "INBOX")) == 10


MANY = 10000


def far_flags(server):
    """{subject number: flags} of INBOX, as a client reads them."""
    client = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=ssl.create_default_context(cafile=server.authority))
    client.login(MANY_USER, PASSWORD)
    client.select("INBOX", readonly=True)
    found = {}
    for part in client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
        if isinstance(part, tuple):
            flags = re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].split()
            found[int(part[1].split()[2])] = "".join(sorted(letter for flag, letter in FLAGS.items() if flag in flags))
    client.logout()
    return found


def near_flags(inbox):
    found = {}
    for path in [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]:
        number = int(re.search(r"^Subject: many (\d+)$", path.read_text(), re.M)[1])
        assert number not in found, number
        found[number] = "".join(sorted(path.name.split(":2,")[1])) if ":2," in path.name else ""
    return found


FLAGS = {b"\\Flagged": "F", b"\\Answered": "R", b"\\Seen": "S"}
MANY_USER = "many@example.org"


@pytest.mark.slow
def test_mbsync_of_many_messages(server, tmp_path):
    """Ten thousand; then both sides change flags, remove and add, and are the same afterwards; another run changes nothing."""
    box = tmp_path / "many.mbox"
    box.write_text("".join(f"From a@b Tue Nov 24 10:00:00 2026\nFrom: <a@b.example>\nSubject: many {n}\n\nbody {n}\n\n" for n in range(MANY)))
    server.command("import", MANY_USER, str(box), "--mailbox", "INBOX")
    inbox = tmp_path / "mail" / "INBOX"
    mbsync(server, tmp_path, MANY_USER)
    near = near_flags(inbox)
    assert len(near) == MANY and near == far_flags(server)
    context = ssl.create_default_context(cafile=server.authority)
    client = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=context)
    client.login(MANY_USER, PASSWORD)
    client.select("INBOX")
    validity = client.response("UIDVALIDITY")[1]
    client.store("1001:3000", "+FLAGS.SILENT", r"(\Seen)")
    client.store("2001:2500", "+FLAGS.SILENT", r"(\Flagged)")
    client.store("9001:9500", "+FLAGS.SILENT", r"(\Deleted)")
    client.expunge()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(MANY, MANY + 50):
        client.append("INBOX", r"(\Flagged)", None, f"From: <a@b.example>\r\nSubject: many {n}\r\n\r\nbody\r\n".encode())
    by_number = {int(re.search(r"many (\d+)", path.read_text())[1]): path for part in ("new", "cur") for path in (inbox / part).iterdir()}
    for n in range(4000, 5000):
        path = by_number[n]
        path.rename(inbox / "cur" / (path.name.split(":")[0] + ":2,RS"))
    for n in range(6000, 6300):
        by_number[n].unlink()
    for n in range(MANY + 100, MANY + 150):
        (inbox / "cur" / f"{n}.made.here:2,S").write_text(f"From: <a@b.example>\nSubject: many {n}\n\nbody\n")
    mbsync(server, tmp_path, MANY_USER)
    near = near_flags(inbox)
    assert near == far_flags(server)
    assert len(near) == MANY - 500 - 300 + 50 + 50
    assert [near[n] for n in (1000, 2000, 2500, 3000, 4000, 4999, MANY + 10, MANY + 110)] == ["S", "FS", "S", "", "RS", "RS", "F", "S"]
    client.select("INBOX")
    assert client.response("UIDVALIDITY")[1] == validity
    client.logout()
    files = {path: path.stat().st_mtime_ns for part in ("new", "cur") for path in (inbox / part).iterdir()}
    mbsync(server, tmp_path, MANY_USER)
    assert files == {path: path.stat().st_mtime_ns for part in ("new", "cur") for path in (inbox / part).iterdir()}
    assert near == far_flags(server)


def test_offlineimap(mailbox, tmp_path):
    (tmp_path / "rc").write_text(
        f"[general]\naccounts = a\nmetadata = {tmp_path}/meta\nui = quiet\n[Account a]\nlocalrepository = l\nremoterepository = r\n"
        f"[Repository l]\ntype = Maildir\nlocalfolders = {tmp_path}/mail\n[Repository r]\ntype = IMAP\nremotehost = localhost\n"
        f"remoteport = {mailbox.ports['imaps']}\nremoteuser = {USER}\nremotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {mailbox.authority}\n"
        f"folderfilter = lambda name: name == 'INBOX'\n")
    run("offlineimap", "-o", "-c", tmp_path / "rc", env={"HOME": str(tmp_path)})
    assert subjects(tmp_path / "mail") == WANTED


def test_imapflow(mailbox, node):
    script = f"""
const {{ImapFlow}} = require('imapflow');
(async () => {{
    const client = new ImapFlow({{host: 'localhost', port: {mailbox.ports['imaps']}, secure: true, logger: false,
        auth: {{user: '{USER}', pass: '{PASSWORD}'}}, tls: {{ca: require('fs').readFileSync('{mailbox.authority}')}}}});
    await client.connect();
    await client.mailboxCreate(['Flow', 'Sub']);
    const lock = await client.getMailboxLock('INBOX');
    for await (const m of client.fetch('1:*', {{envelope: true, flags: true, bodyStructure: true, source: true}}))
        console.log(m.envelope.subject, m.bodyStructure.type, m.source.length > 100);
    const found = await client.search({{subject: 'message 7'}}, {{uid: true}});
    await client.messageFlagsAdd(found, ['$Flow'], {{uid: true}});
    const copied = await client.messageCopy(found, 'Flow/Sub', {{uid: true}});
    console.log('copied', copied.uidMap.size);
    lock.release();
    const status = await client.status('Flow/Sub', {{messages: true}});
    console.log('status', status.messages);
    await client.append('Flow/Sub', 'Subject: flowed\\r\\n\\r\\nx\\r\\n', ['\\\\Seen']);
    console.log((await client.list()).map(m => m.path).sort().join(' '));
    await client.mailboxDelete('Flow/Sub');
    await client.mailboxDelete('Flow');
    await client.logout();
}})().catch(error => {{ console.error(error); process.exit(1); }});
"""
    lines = run("node", "-e", script, env={"NODE_PATH": str(node / "node_modules")}).decode().splitlines()
    assert sorted(lines[:10]) == [f"{subject} text/plain true" for subject in WANTED]
    assert lines[10:12] == ["copied 1", "status 1"] and "Flow Flow/Sub" in lines[12]
