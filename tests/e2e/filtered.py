"""Runs a command under the system call filter of a unit for systemd: filtered.py UNIT COMMAND [ARGUMENT ...]"""
import os
import re
import subprocess
import sys

import seccomp


def calls_of(group):
    """The system calls of a group as systemd knows it, those of the groups inside included."""
    lines = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout.split("\n")
    names = [line.strip() for line in lines[1:] if line.strip() and not line.strip().startswith("#")]
    return {call for name in names for call in (calls_of(name) if name.startswith("@") else {name})}


def allowed_by(text):
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
        for word in line.lstrip("~").split():
            calls = calls_of(word) if word.startswith("@") else {word}
            allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | calls_of("@default")


def main():
    unit, *command = sys.argv[1:]
    rules = seccomp.SyscallFilter(seccomp.ERRNO(1))
    for call in allowed_by(open(unit, encoding="utf-8").read()):
        try:
            rules.add_rule(seccomp.ALLOW, call)
        except (OSError, RuntimeError):  # a call of another architecture
            pass
    rules.load()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
