"""Reports of failures have the ends of the logs of the servers that the test used."""
import pytest

from veredus import Server

LINES = 60
# With several workers the files that take longest begin first, so that none is left alone at the end.
FIRST = ["test_torture.py", "test_compaction.py", "test_growth.py", "test_pop3.py", "test_relay.py", "test_dns.py",
         "test_diskfull.py", "test_clients.py", "test_smtp_server.py", "test_commands.py", "test_recovery.py", "test_journey.py", "test_dsn.py", "test_cut.py"]
# A worker takes a file as a whole, for the servers that its tests share; but of these files each test has servers of its own.
SPREAD = ["test_torture.py", "test_diskfull.py", "test_compaction.py"]
BEFORE = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.name if item.path.name in SPREAD else item.path.name))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[BEFORE] = len(Server.every)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for number, server in enumerate(Server.every):
            if number >= item.stash.get(BEFORE, 0) or not server.ended:
                lines = server.log().splitlines()
                report.sections.append((f"the end of {server.log_path} ({len(lines)} lines)", "\n".join(lines[-LINES:])))
