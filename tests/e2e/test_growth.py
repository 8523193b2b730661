"""The cost of hostile input grows no faster than the input (goal G13): instructions, counted by callgrind, at n, 2n and 4n octets.
The generators are in tests/growth."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from veredus import ROOT

BUILD = pathlib.Path(os.environ.get("VEREDUS_BUILD", ROOT / "build-check"))
PROGRAMS = [BUILD / "tests/growth" / f"growth_{protocol}" for protocol in ("smtp", "imap", "pop3")]
DOUBLING = 2.1
AN_OCTET = 200
FULL_TEXT = 300  # an octet of a message that is read for the full-text index, when there is nothing else to do
RETRIEVED = 210  # a command of eight octets that brings a message
IMAP = 600  # a word is one or two octets, a command five: each is looked up and answered, with the news of the mailbox
SEARCHED = 800  # twelve octets have the header fields of three messages read
FETCHED = 2500  # a command of 15 octets: its 30 KiB for up to 64 items are zeroed, which valgrind counts octet by octet
ALONE = 600  # an octet that comes in a call of its own, as one octet a packet would
IMAP_ALONE = 800
MOST = {"pop3-retr": RETRIEVED, "imap-search-headers": SEARCHED, "imap-fetch-again": FETCHED, "imap-noop-by-octets": IMAP_ALONE}

pytestmark = pytest.mark.optimised_only


def names():
    if not all(program.exists() for program in PROGRAMS):
        return []
    return [name for program in PROGRAMS
            for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()]


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """{name: [(octets, instructions), ...]} of all cases; one run of valgrind for each program serves them all."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed (tools/install-packages test)")
    directory = tmp_path_factory.mktemp("growth")
    for program in PROGRAMS:
        subprocess.run(["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={directory}/out.%p", program],
                       check=True, timeout=900, capture_output=True)
    found = {}
    for path in directory.iterdir():
        text = path.read_text(errors="replace")
        label = re.search(r"^desc: Trigger: Client Request: (\S+) (\d+)$", text, re.M)
        if label:
            total = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1])
            found.setdefault(label[1], []).append((int(label[2]), total))
    return {name: sorted(values) for name, values in found.items()}


def test_there_are_enough_generators():
    if not names():
        pytest.skip("tests/growth was not built: valgrind's headers are missing (tools/install-packages test)")
    assert len(names()) >= 150


@pytest.mark.parametrize("name", names())
def test_growth(counts, name):
    values = counts[name]
    print(name, *(f"{octets}: {total} ({total / octets:.1f} an octet)" for octets, total in values))
    assert len(values) == 3
    for (octets, total), (more_octets, more) in zip(values, values[1:]):
        assert more <= max(DOUBLING * total, total + 20000), (name, values)
    for octets, total in values:
        assert total <= MOST.get(name, most_of(name)) * octets, (name, values)


def most_of(name):
    if name.endswith("-by-octets"):
        return ALONE
    return {"imap": IMAP, "terms": FULL_TEXT}.get(name.split("-")[0], AN_OCTET)
