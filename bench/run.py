#!/usr/bin/python3
"""`make bench`: what Veredus and Postfix do on this machine, in one run, with the same load generator and the same durability
(both flush before they answer 250), a line a case with the ratio of the two; then TLS handshakes and idle connections. Neither makes
a full-text index here; what that takes bench/mailboxes.py measures. docs/performance.md says how to read it.

    bench/run.py [--quick] [--repeat N] [--only messages|tls|idle] [--binary build/veredus]
"""
import argparse
import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time

from servers import BenchError, DOMAIN, Postfix, Veredus

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOAD_SECONDS = 300
UNCHECKED = "1.3, nothing checked by the client"
KIB = 1024
MIB = 1024 * KIB
# Octets and sessions of a case, and how many messages Veredus gets; Postfix, a tenth as fast, gets a tenth.
CASES = [(1 * KIB, 1, 8000), (1 * KIB, 10, 40000), (1 * KIB, 100, 40000),
         (10 * KIB, 1, 6000), (10 * KIB, 10, 20000), (10 * KIB, 100, 20000),
         (100 * KIB, 1, 1500), (100 * KIB, 10, 4000), (100 * KIB, 100, 4000)]


def build_load(folder):
    """The load generators: plain C files, built here so that they are never older than their sources."""
    for name, libraries in (("load", ("-lssl", "-lcrypto")), ("handshakes", ("-lsodium", "-lpthread"))):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", folder / name, ROOT / "bench" / f"{name}.c", *libraries], check=True)
    return folder / "load"


def run_load(load, *arguments):
    out = subprocess.run([load, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=LOAD_SECONDS)
    if not out.stdout:
        raise BenchError(f"the load generator failed: {out.stderr}")
    return json.loads(out.stdout)


def settle(server):
    """Waits until the server has nothing left to do, so that one case does not pay for another."""
    deadline = time.monotonic() + 10
    before = server.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(0.25)
        now = server.cpu_seconds()
        if now - before <= 0.01:
            return
        before = now


def touch_memory(folder, octets):
    """Has so much memory used once and given back. A virtual machine gets its memory from the host page by page at the first
    touch, which costs ten times what the writing itself costs: whoever is measured first would pay for it."""
    name = folder / "ballast"
    with open(name, "wb", buffering=0) as file:
        for _ in range(octets // MIB):
            file.write(bytes(MIB))
    name.unlink()


def messages(load, server, sessions, octets, count):
    os.sync()
    settle(server)
    touch_memory(server.folder, 2 * octets * count + 64 * MIB)
    before = server.filed()
    cpu = server.cpu_seconds()
    begun = time.monotonic()
    result = run_load(load, "messages", "127.0.0.1", server.port, sessions, count, octets, "sender@example.org", f"u%u@{DOMAIN}")
    if result["done"] != count:
        raise BenchError(f"{server.name} took {result['done']} of {count} messages")
    while not server.all_filed(before + count):
        if time.monotonic() > begun + LOAD_SECONDS:
            raise BenchError(f"{server.name} has {server.filed() - before} of {count} messages in mailboxes")
        time.sleep(0.01)
    result["filed_rate"] = count / (time.monotonic() - begun)
    settle(server)
    result["cpu_per_1000"] = (server.cpu_seconds() - cpu) / count * 1000
    result["load_cpu_per_1000"] = result["cpu_seconds"] / count * 1000
    result["memory_mib"] = server.memory_kib() / KIB
    return result


COLUMNS = [("rate", "accepted/s", 10, 0, max), ("filed_rate", "in mailbox/s", 12, 0, max),
           ("cpu_per_1000", "CPU s/1000", 10, 3, min), ("p50_ms", "p50 ms", 8, 2, min), ("p99_ms", "p99 ms", 8, 2, min),
           ("memory_mib", "memory MiB", 10, 1, min), ("load_cpu_per_1000", "load CPU s/1000", 15, 3, min)]


def best_of(results):
    """The machine may be busy with other things: each figure as it was when it was least disturbed."""
    return {key: choose(result[key] for result in results) for key, _, _, _, choose in COLUMNS}


def ratio_of(ours, theirs):
    """How many times better Veredus is."""
    cells = []
    for key, _, width, _, choose in COLUMNS[:-1]:
        a, b = (ours[key], theirs[key]) if choose is max else (theirs[key], ours[key])
        cells.append(f"{a / max(b, 1e-9):{width - 1}.1f}x")
    return " ".join(cells)


def print_row(case, name, result):
    cells = " ".join(f"{result[key]:{width}.{digits}f}" for key, _, width, digits, _ in COLUMNS)
    print(f"{case:16} {name:8} {cells}", flush=True)


def measure_messages(load, servers, options):
    print(f"{'message,sessions':16} {'server':8} " + " ".join(f"{title:>{width}}" for _, title, width, _, _ in COLUMNS))
    for octets, sessions, count in CASES:
        case = f"{octets // KIB} KiB, {sessions}"
        best = {}
        count = max(sessions * 20, count // (10 if options.quick else 1))
        for server in servers:
            each = count if isinstance(server, Veredus) else max(sessions * 2, count // 10)
            best[server.name] = best_of([messages(load, server, sessions, octets, each) for _ in range(options.repeat)])
            print_row(case, server.name, best[server.name])
        if len(best) == 2:
            print(f"{'':16} {'ratio':8} {ratio_of(best['Veredus'], best['Postfix'])}", flush=True)


def handshakes(load, port, count, how):
    """By two clients at once: a handshake costs a client more than it costs the server."""
    each = [str(port), "10", str(count // 2)]
    if how == UNCHECKED:
        command = [load.with_name("handshakes"), "127.0.0.1", *each]
    else:
        command = [load, "handshakes", "127.0.0.1", *each, how]
    begun = time.monotonic()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [json.loads(client.communicate(timeout=LOAD_SECONDS)[0]) for client in clients]
    if any(result["failed"] for result in results):
        raise BenchError("handshakes failed")
    return {"rate": count / (time.monotonic() - begun), "cpu_seconds": sum(result["cpu_seconds"] for result in results)}


def measure_tls(load, servers, options):
    for how in ("1.3", UNCHECKED, "1.2"):
        for server in servers:
            if how == UNCHECKED and not isinstance(server, Veredus):
                continue  # its processes hold on to connections whose client has left, and then there are none for the next
            count = 500 if options.quick else 10000 if isinstance(server, Veredus) else 2000
            results = []
            for _ in range(options.repeat):
                cpu = server.cpu_seconds()
                result = handshakes(load, server.tls_port, count, how)
                result["server_cpu_ms"] = (server.cpu_seconds() - cpu) * 1000 / count
                results.append(result)
            best = max(results, key=lambda result: result["rate"])
            print(f"full handshakes of TLS {how}, {server.name}: {best['rate']:.0f}/s, CPU ms each: "
                  f"{best['server_cpu_ms']:.3f} server, {best['cpu_seconds'] * 1000 / count:.3f} load generator", flush=True)


def idle(load, server, port, sessions, starttls):
    settle(server)
    before = server.memory_kib()
    command = [load, "idle", "127.0.0.1", str(port), str(sessions), "60"] + (["starttls"] if starttls else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        try:
            result = json.loads(client.stdout.readline())
            settle(server)
            after = server.memory_kib()
        finally:
            client.kill()
    return result["ready"], (after - before) / max(1, result["ready"])


def measure_idle(load, servers, options):
    for server in servers:
        # Postfix has a process for each connection.
        sessions = 100 if not isinstance(server, Veredus) else 1000 if options.quick else 10000
        for words, starttls in (("in clear", False), ("in TLS", True)):
            ready, each = idle(load, server, server.port, sessions, starttls)
            print(f"idle SMTP connections {words}, {server.name}: {ready}, {each:.1f} KiB of its memory each", flush=True)


def measure(folder, options):
    load = build_load(folder)
    missing = Postfix.missing()
    if missing is not None:
        print(f"Postfix is not measured: {missing}.")
    for part, function in (("messages", measure_messages), ("tls", measure_tls), ("idle", measure_idle)):
        if options.only not in (None, part):
            continue
        # New ones for each part: what one has left in memory must not hide what the next one needs.
        with contextlib.ExitStack() as stack:
            place = folder / part
            place.mkdir()
            servers = [stack.enter_context(Veredus(options.binary, place))]
            if missing is None and not options.alone:
                servers.append(stack.enter_context(Postfix(place)))
            function(load, servers, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    parser.add_argument("--repeat", type=int, default=1, help="measure each case so often and print the best")
    parser.add_argument("--only", choices=("messages", "tls", "idle"), help="one part")
    parser.add_argument("--alone", action="store_true", help="without Postfix")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "veredus")
    options = parser.parse_args()
    # Ends by SIGTERM as by Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Ten thousand connections need as many descriptors on both sides.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="veredus-bench-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            measure(folder, options)
        except BenchError as error:
            sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
