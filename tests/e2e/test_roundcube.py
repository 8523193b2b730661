"""Roundcube, Debian's, in a real browser: a person logs in, reads, writes, files and searches."""
import email
import email.policy
import imaplib
import os
import pathlib
import shutil
import subprocess

import pytest

from browser import ENTER, Browser
from veredus import CLIENT_TLS, PASSWORD, Server, free_port, send, wait_until

ME, FRIEND = "anna@local.example", "bernd@local.example"
PAGES = pathlib.Path("/var/lib/roundcube/public_html")
SCHEMA = pathlib.Path("/usr/share/roundcube/SQL/sqlite.initial.sql")
CONFIG = """<?php
$config = [];
$config['db_dsnw'] = 'sqlite:///{folder}/roundcube.db?mode=0600';
$config['imap_host'] = 'ssl://localhost:{imaps}';
$config['smtp_host'] = 'ssl://localhost:{submissions}';
$config['imap_conn_options'] = $config['smtp_conn_options'] = ['ssl' => ['cafile' => '{folder}/cert.pem', 'verify_peer' => true,
  'verify_peer_name' => false, 'allow_self_signed' => true]];
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
$config['des_key'] = 'rcmail-test-key-of-24-by';
$config['log_driver'] = 'file';
$config['log_dir'] = $config['temp_dir'] = '{folder}';
$config['imap_debug'] = true;
$config['language'] = 'en_US';
$config['create_default_folders'] = true;
$config['enable_spellcheck'] = false;
$config['skin'] = 'elastic';
"""
MESSAGES = [("Grüße aus Köln", "Der Dom steht noch.\r\n"), ("Invoice 4711", "Please pay 12 EUR.\r\n"),
            ("会議の件", "明日の会議は十時からです。\r\n")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not PAGES.exists() or shutil.which("chromium") is None or shutil.which("php") is None:
        pytest.skip("Roundcube, PHP and Chromium are not installed (packages/debian.txt)")
    with Server(tmp_path_factory.mktemp("roundcube")) as running:
        running.add_users([ME, FRIEND])
        for subject, body in MESSAGES:
            text = (f"From: Bernd <{FRIEND}>\r\nTo: {ME}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
                    f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}")
            send(running.ports["mx"], "out@far.example", [ME], text.encode(), options=["BODY=8BITMIME", "SMTPUTF8"])
        running.wait_for_mail(ME, len(MESSAGES))
        yield running


@pytest.fixture(scope="module")
def roundcube(server):
    """The URL of a Roundcube of our own: its configuration, database and logs are in the server's directory."""
    folder = server.directory
    config = folder / "roundcube"
    config.mkdir()
    shutil.copy("/etc/roundcube/defaults.inc.php", config)
    shutil.copy("/etc/roundcube/mimetypes.php", config)
    (config / "config.inc.php").write_text(CONFIG.format(folder=folder, **server.ports))
    load = f"$db = new PDO('sqlite:{folder}/roundcube.db'); $db->exec(file_get_contents('{SCHEMA}'));"
    subprocess.run(["php", "-r", load], check=True, timeout=60)
    port = free_port()
    with open(folder / "php.log", "wb") as log:
        process = subprocess.Popen(["php", "-d", "display_errors=0", "-d", "session.save_path=" + str(folder), "-S",
                                    f"127.0.0.1:{port}", "-t", PAGES], stdout=log, stderr=log,
                                   env={**os.environ, "ROUNDCUBE_CONFIG_DIR": str(config), "PHP_CLI_SERVER_WORKERS": "3"})
    yield f"http://127.0.0.1:{port}/"
    process.terminate()
    process.wait(30)


@pytest.fixture
def browser(roundcube, tmp_path):
    with Browser(tmp_path) as running:
        running.open(roundcube)
        running.type("#rcmloginuser", ME)
        running.type("#rcmloginpwd", PASSWORD)
        running.click("#rcmloginsubmit")
        running.find("#messagelist")
        yield running


def imap(server, user=ME):
    session = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=CLIENT_TLS)
    session.login(user, PASSWORD)
    return session


def subjects_shown(browser):
    return browser.run("return [...document.querySelectorAll('#messagelist tbody tr')].filter(r => r.offsetParent)"
                       ".map(r => r.querySelector('td.subject span.subject').innerText.trim())") or []


def wait_for_subjects(browser, wanted):
    wait_until(lambda: sorted(subjects_shown(browser)) == sorted(wanted), 20, lambda: f"{wanted}: {subjects_shown(browser)}")


def select(browser, subject):
    """A click on the row of this message; it is then shown beside the list."""
    number = browser.run("const rows = [...document.querySelectorAll('#messagelist tbody tr')];"
                         "return rows.findIndex(r => r.innerText.includes(arguments[0]))", subject)
    assert number is not None and number >= 0, browser.text()
    browser.click(f"#messagelist tbody tr:nth-child({number + 1}) td.subject")


def move(browser, subject, mailbox):
    """The page may load its list anew behind the click, and forget what was selected: then there is nothing to move yet."""
    def selected():
        select(browser, subject)
        return browser.run("const selection = rcmail.message_list.get_selection(); if (selection.length !== 1) { return false; }"
                           "rcmail.command('move', arguments[0]); return true", mailbox)
    wait_until(selected, 20, f"{subject} is selected")


def test_a_person_works_with_it(server, roundcube, browser, tmp_path):
    subjects = [subject for subject, _ in MESSAGES]
    wait_for_subjects(browser, subjects)
    browser.screenshot(tmp_path / "list.png")

    select(browser, "会議の件")  # reads
    wait_until(lambda: "明日の会議は十時からです" in (browser.run(
        "return document.querySelector('#messagecontframe').contentDocument.body.innerText") or ""), 20, "the text is shown")
    browser.screenshot(tmp_path / "message.png")
    with imap(server) as session:
        session.select("INBOX", readonly=True)
        assert wait_until(lambda: session.search(None, "SEEN")[1][0] == b"3", 20, "it is marked as read")

    browser.type("#mailsearchform", "köln" + ENTER)  # searches
    wait_for_subjects(browser, ["Grüße aus Köln"])
    browser.run("rcmail.command('reset-search')")
    wait_for_subjects(browser, subjects)

    browser.open(roundcube + "?_task=settings&_action=edit-folder")  # files: a new folder, and a message into it
    browser.type("[name=_name]", "Rechnungen Köln")
    browser.click("button.submit, input[type=submit]")
    with imap(server) as session:
        wait_until(lambda: b"Rechnungen K&APY-ln" in b" ".join(session.list()[1]), 20, "the folder is there")
    browser.open(roundcube)
    wait_for_subjects(browser, subjects)
    move(browser, "Invoice 4711", "Rechnungen K&APY-ln")
    wait_for_subjects(browser, [subject for subject in subjects if subject != "Invoice 4711"])
    with imap(server) as session:
        session.select('"Rechnungen K&APY-ln"', readonly=True)
        wait_until(lambda: session.search(None, "SUBJECT", "Invoice")[1][0] == b"1", 20, "the message is there")

    browser.open(roundcube + f"?_task=mail&_action=compose&_to={FRIEND}&_subject=Antwort+%C3%BC&_body=Bis+morgen")  # writes
    browser.find("#composebody")
    browser.screenshot(tmp_path / "compose.png")
    browser.click("#toolbar-menu a.send, a.send, button.send")
    server.wait_for_mail(FRIEND, 1)
    message = email.message_from_bytes(server.fetch(FRIEND)[0], policy=email.policy.default)
    assert message["Subject"] == "Antwort ü" and ME in message["From"]
    assert message.get_content().strip() == "Bis morgen"
    with imap(server) as session:
        def sent():
            return session.select("Sent", readonly=True)[0] == "OK" and session.search(None, "ALL")[1][0] != b""
        wait_until(sent, 20, "a copy is in Sent")
    errors = server.directory / "errors.log"
    assert not errors.exists() or errors.read_text() == ""
