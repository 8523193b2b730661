"""The imaptest scripts of other people (../shared/vectors/imaptest), each run whole against the real server."""
import imaplib
import os

import pytest

from imaptest import Runner, Script, read_mbox
from veredus import CLIENT_TLS, SHARED, Dev

SCRIPTS = SHARED / "vectors" / "imaptest"
# Scripts that do not pass, each with the reason.
DEPARTURES = {
    "append-binary": "the part that it wants is an octet shorter than the size that it wants for it",
    "search-intdate": "it wants days of the server's local time; here they are days in UTC, as INTERNALDATE is given",
}


def scripts():
    if not SCRIPTS.is_dir():
        return []
    return sorted(path for path in SCRIPTS.rglob("*")
                  if path.is_file() and path.suffix != ".mbox" and path.name not in ("LICENSE", "README.md"))


@pytest.fixture(scope="module")
def server():
    with Dev() as running:
        yield running


@pytest.fixture(scope="module")
def capabilities(server):
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=CLIENT_TLS, timeout=60)
    client.login("capabilities@example.org", "any")
    words = client.capability()[1][0].decode().upper().split()
    client.logout()
    return words


@pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the vectors are not there")
@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_script(path, server, capabilities):
    script = Script(path, os.environ)
    needed = script.head.get("capabilities", b"").decode().upper().split()
    missing = [word for word in needed if word not in capabilities]
    if missing:
        pytest.skip(f"the server has no {' '.join(missing)}")
    if path.name in DEPARTURES:
        pytest.xfail(DEPARTURES[path.name])
    own = path.with_suffix(".mbox")
    users = [(f"{path.name}-{number}@example.org", "any") for number in range(1, 4)]
    Runner(script, server.ports["imaps"], users, read_mbox(own if own.exists() else SCRIPTS / "default.mbox")).run()
