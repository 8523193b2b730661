"""What compiler and linker do against exploits, read from the built program (goal G22)."""
import json
import pathlib
import re
import subprocess

import pytest

from veredus import SANITIZED, VEREDUS

pytestmark = pytest.mark.skipif(SANITIZED, reason="the sanitizers replace much of this")

BUILD = pathlib.Path(VEREDUS).parent


def readelf(*options):
    return subprocess.run(["readelf", "-W", *options, VEREDUS], capture_output=True, text=True, check=True).stdout


def test_position_independent():
    assert re.search(r"Type:\s+DYN", readelf("-h"))
    assert re.search(r"FLAGS_1.*PIE", readelf("-d"))


def test_full_relro():
    assert "GNU_RELRO" in readelf("-l")
    assert re.search(r"FLAGS_1.*NOW", readelf("-d"))


def test_no_executable_stack_and_no_text_relocations():
    assert re.search(r"GNU_STACK\s+(\S+\s+){5}RW\s", readelf("-l"))
    assert "TEXTREL" not in readelf("-d")
    assert not re.search(r"LOAD\s+(\S+\s+){5}RWE", readelf("-l")), "a segment is writable and executable"


def test_no_search_path_for_libraries():
    assert not re.search(r"\((RPATH|RUNPATH)\)", readelf("-d"))


def test_control_flow_enforcement():
    """In each file of ours; the program as a whole is marked only where the C library's start files are."""
    objects = sorted(BUILD.glob("veredus.p/*.o"))
    assert len(objects) > 50
    for path in objects:
        notes = subprocess.run(["readelf", "-nW", path], capture_output=True, text=True, check=True).stdout
        assert re.search(r"x86 feature: IBT, SHSTK", notes), path


def imported():
    return set(re.findall(r"UND (\w+)", readelf("--dyn-syms")))


def test_stack_canary():
    assert "__stack_chk_fail" in imported()


def test_fortified():
    names = imported()
    assert len({name for name in names if name.endswith("_chk")} - {"__stack_chk_fail"}) >= 5
    # Those that have a checked twin and write to memory must not be called by their plain name.
    assert not names & {"sprintf", "vsprintf", "strcpy", "strcat", "gets"}


def test_every_file_is_compiled_with_all_of_it():
    """What cannot be read from the program: stack clash protection, zeroed variables, the level of FORTIFY."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    ours = [entry for entry in commands if "/src/" in entry["file"] or entry["file"].startswith("src/")]
    ours = ours or [entry for entry in commands if "src/" in entry["file"]]
    assert len(ours) > 50
    for entry in ours:
        for option in ("-fstack-clash-protection", "-ftrivial-auto-var-init=zero", "-fstack-protector-strong",
                       "-fcf-protection=full", "-D_FORTIFY_SOURCE=3"):
            assert option in entry["command"], (entry["file"], option)
