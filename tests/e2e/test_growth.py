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
PROGRAM = BUILD / "tests" / "growth" / "growth"
DOUBLING = 2.1
AN_OCTET = 200
ALONE = 600  # an octet that comes in a call of its own, as one octet a packet would
FULL_TEXT = 300  # an octet of a message that is read for the full-text index, when there is nothing else to do

pytestmark = pytest.mark.optimised_only


def names():
    if not PROGRAM.exists():
        return []
    return subprocess.run([PROGRAM, "--list"], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """{name: [(octets, instructions), ...]} of all cases; one run of valgrind serves them all."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed (tools/install-packages test)")
    directory = tmp_path_factory.mktemp("growth")
    subprocess.run(["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={directory}/out.%p", PROGRAM],
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
    if not PROGRAM.exists():
        pytest.skip("tests/growth was not built: valgrind's headers are missing (tools/install-packages test)")
    assert len(names()) >= 40


@pytest.mark.parametrize("name", names())
def test_growth(counts, name):
    values = counts[name]
    print(name, *(f"{octets}: {total} ({total / octets:.1f} an octet)" for octets, total in values))
    assert len(values) == 3
    for (octets, total), (more_octets, more) in zip(values, values[1:]):
        assert more <= max(DOUBLING * total, total + 20000), (name, values)
    for octets, total in values:
        most = ALONE if name.endswith("-by-octets") else FULL_TEXT if name.startswith("terms-") else AN_OCTET
        assert total <= most * octets, (name, values)
