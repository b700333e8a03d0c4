"""What tests need from the machine: each is used where it is present, and its absence is said.

With REQUIRE_ALL=1 a test that needs something absent fails instead of being skipped.
"""

import gc
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests import process_state, run_folder

ROOT = Path(__file__).resolve().parent
# What takes minutes by nature waits for REQUIRE_ALL=1, for -m, or for its file to be named.
LONG = ("slow", "faults")
LEFT_OUT = pytest.StashKey[int]()
SHARED = ROOT.parent / "shared"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]


def redis_server() -> str | None:
    return shutil.which("redis-server")


def postgres_folder() -> Path | None:
    """Where initdb and postgres lie; Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def namespaces() -> str | None:
    """``ip``, where this machine lets networks of one's own be made."""
    found = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    name = f"probe-{os.getpid()}"
    if found and subprocess.run([found, "netns", "add", name], capture_output=True).returncode == 0:
        subprocess.run([found, "netns", "del", name], capture_output=True)
        return found
    return None


def cifar10_folder() -> Path | None:
    folder = Path(os.environ.get("CIFAR10_DIR") or ROOT / "var" / "cifar10" / "cifar-10-batches-bin")
    return folder if any(folder.glob("test_batch*")) else None


def shared_folder() -> Path | None:
    return SHARED if (SHARED / "images").is_dir() else None


NEEDS: dict[str, tuple[Callable[[], Any], str]] = {
    "needs_redis": (redis_server, "redis-server is not installed"),
    "needs_postgres": (postgres_folder, "PostgreSQL's server is not installed"),
    "needs_nginx": (nginx, "nginx is not installed"),
    "needs_namespaces": (namespaces, "this machine does not let network namespaces be made"),
    "needs_browser": (browser, "no Chromium is installed"),
    "needs_cifar10": (cifar10_folder, "CIFAR10_DIR names no folder with CIFAR-10's batches"),
    "needs_shared": (shared_folder, "the folder ../shared with test images is not there"),
}


def require(need: str) -> Any:
    """What a need finds; where it finds nothing the test is skipped, or fails under REQUIRE_ALL=1."""
    find, absent = NEEDS[need]
    if found := find():
        return found
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"{absent}, and REQUIRE_ALL=1 asks for it.", pytrace=False)
    pytest.skip(f"{absent}.")


def pytest_configure(config: pytest.Config) -> None:
    for need, (_, absent) in NEEDS.items():
        config.addinivalue_line("markers", f"{need}: skipped where {absent}; fails under REQUIRE_ALL=1")
    # Playwright's event loop runs in the thread of the test, which uses the database.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    # Here and not in pyproject.toml: the settings are read only now, and find this process' VAR_DIR.
    run_folder.begin()
    os.environ["DJANGO_SETTINGS_MODULE"] = "cifarsite.settings"
    from django.conf import settings

    # Slow on purpose, the real one costs most tests more than all else; a few tests use it.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


def named_files(config: pytest.Config) -> bool:
    return any(".py" in argument for argument in config.args)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three processes, since many tests wait, which fill two cores; one for a file that is named."""
    return 0 if named_files(config) else 3


def pytest_collection_finish() -> None:
    # What the imports left behind stays to the end: looking through it again and again costs a tenth.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what waits to be asked for; put the rest in order."""
    asked = config.option.markexpr
    left: list[pytest.Item] = []
    if not named_files(config):
        if not any(marker in asked for marker in ("faults", "endurance", "thorough")):
            left = [item for item in items if marked(item, "thorough")]
        if not asked and os.environ.get("REQUIRE_ALL") != "1":
            long = [item for item in items if marked(item, *LONG) and item not in left]
            config.stash[LEFT_OUT] = len(long)
            left += long
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]
    # A file's tests share a process, so whole files are put in order: those last whose tests commit,
    # since they leave empty tables behind; before that many long tests first, so that both processes
    # end at about the same time.
    place: dict[Path, int] = {}
    for number, item in enumerate(items):
        place.setdefault(item.path, number)
    long_tests = Counter(item.path for item in items if marked(item, *LONG))
    committing = {item.path for item in items if commits(item)}
    items.sort(key=lambda item: (item.path in committing, -long_tests[item.path], place[item.path]))


def commits(item: pytest.Item) -> bool:
    """Does the test commit to its process' database, and have all tables emptied at its end?"""
    from django.test import TestCase, TransactionTestCase

    kind = getattr(item, "cls", None)
    if kind and issubclass(kind, TransactionTestCase):
        return not issubclass(kind, TestCase)
    marker = item.get_closest_marker("django_db")
    return bool(
        (marker and marker.kwargs.get("transaction"))
        or {"transactional_db", "live_server"} & set(getattr(item, "fixturenames", ()))
    )


def marked(item: pytest.Item, *names: str) -> bool:
    return any(item.get_closest_marker(name) for name in names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Here and not in a fixture, so that it comes before what a class prepares for its tests.
    process_state.forget()
    for need in NEEDS:
        if item.get_closest_marker(need):
            require(need)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        (report.nodeid.rpartition("::")[2], text)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, text in report.user_properties
        if name == "measured"
    ]
    if figures:
        terminalreporter.write_sep("-", "measured")
        for test, text in figures:
            terminalreporter.write_line(f"{test}: {text}")
    absent = [sentence for find, sentence in NEEDS.values() if not find()]
    if absent:
        terminalreporter.write_sep("-", "not tested here")
        for sentence in absent:
            terminalreporter.write_line(f"{sentence}: the tests that need it were left out.")
    if left_out := terminalreporter.config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} tests that take minutes were left out: "
            f"make test TESTS=\"-m '{' or '.join(LONG)}'\" runs them, REQUIRE_ALL=1 make test all."
        )


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note what was measured; the run's summary shows it."""
    return lambda text: request.node.user_properties.append(("measured", text))


def free_port() -> int:
    """A port that neither another process of this run is given nor a connection of anybody's takes."""
    while True:
        port = 4 * random.SystemRandom().randrange(2_750, 8_000) + run_folder.NUMBER % 4
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {seconds:g} s.")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def lets_in(postgres_url: str) -> bool:
    """It listens some time before it lets anybody in."""
    import psycopg

    try:
        psycopg.connect(postgres_url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server of its own that keeps nothing."""
    port = free_port()
    argv = [require("needs_redis"), "--port", str(port), "--bind", "127.0.0.1"]
    argv += ["--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*argv, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: accepts(port), "Redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[str]:
    """A PostgreSQL server on the cluster in ``folder``; the URL of its database ``postgres``."""
    programs = require("needs_postgres")
    server = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder]
    server += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server, cwd=folder, stdout=log, stderr=log, **not_root())
        try:
            url = f"postgres://tests:{(folder / 'password').read_text()}@127.0.0.1:{port}/postgres"
            wait_until(lambda: lets_in(url), "PostgreSQL")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: what is on its disk is whole
            process.wait(60)


def not_root() -> dict[str, Any]:
    """As whom PostgreSQL starts: it refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def make_cluster(folder: Path) -> None:
    """A cluster with a database that has the site's tables, empty."""
    from cifarsite.tests.hosts import add_tables

    (folder / "password").write_text(secrets.token_hex(8))
    if person := not_root():
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
    initdb = [require("needs_postgres") / "initdb", "--pgdata", folder / "data", "--username", "tests"]
    initdb += ["--no-sync", "--pwfile", folder / "password", "--auth", "scram-sha-256", "--encoding", "UTF8"]
    subprocess.run(initdb, cwd=folder, check=True, stdout=subprocess.DEVNULL, **person)
    with postgres(folder, free_port()) as url:
        add_tables(url)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of its own, with an empty database, and one with the site's tables."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as place:
        folder = Path(place) / "cluster"
        # Not shutil.copytree, which would make all of it root's own.
        subprocess.run(["cp", "-a", run_folder.once("postgres", make_cluster), folder], check=True)
        Path(place).chmod(0o755)
        with postgres(folder, free_port()) as url:
            yield url


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """The tests' database begins with tables made once a run: to migrate takes each process seconds."""
    from django.conf import settings
    from django.db import connection
    from django.db.backends.signals import connection_created

    from cifarsite.tests import hosts

    def fill(connection: Any, **_: Any) -> None:
        new: sqlite3.Connection = connection.connection
        if not new.execute("SELECT 1 FROM sqlite_master").fetchone():
            # As it lies there: other processes copy the folder, which SQLite would write to.
            made = sqlite3.connect(f"{hosts.empty_tables().as_uri()}?immutable=1", uri=True)
            with closing(made):
                made.backup(new)

    if connection.vendor == "sqlite":
        connection_created.connect(fill)
    elif hosts.has_tables(settings.DATABASE_URL):  # a server of these tests
        connection.settings_dict["TEST"]["TEMPLATE"] = hosts.TABLES
    yield
    connection_created.disconnect(fill)


@pytest.fixture(autouse=True)
def _rates_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of them is known from the test before, where the same rows are gone."""
    from classifier.accounts import rate_limits

    monkeypatch.setattr(rate_limits, "in_database", rate_limits.DatabaseCounter(seconds=0))


@pytest.fixture(scope="session", autouse=True)
def _tables_can_be_emptied_between_tests() -> Iterator[None]:
    """Tests that commit have all tables emptied behind them, the append-only ones and the cache's too."""
    from django.core.cache import cache
    from django.test import TransactionTestCase

    from cifarsite.core import append_only

    teardown = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def allowed(case: Any) -> None:
        append_only.allow_changes()
        teardown(case)
        cache.clear()
        for app in {model._meta.app_config for model in append_only.append_only_models()}:
            append_only.forbid_changes(app)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", allowed)
        # A TestCase rolls back instead: it keeps its own.
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3-compatible server of its own with the bucket `photos`; its address."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "The S3 server")
        address = f"http://127.0.0.1:{port}"
        s3_client(address).create_bucket(Bucket="photos")
        yield address
    finally:
        process.kill()
        process.wait()


S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nothing is asked of the network's own address for keys.
    "AWS_EC2_METADATA_DISABLED": "true",
}


def s3_client(address: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="tests",
        aws_secret_access_key="tests",
        region_name="us-east-1",
    )


@pytest.fixture(scope="session")
def browser_path() -> str:
    """A Chromium on this machine."""
    path: str = require("needs_browser")
    return path


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], browser_path: str) -> dict[str, Any]:
    """Playwright starts the machine's own Chromium; it brings none."""
    return {**browser_type_launch_args, "executable_path": browser_path, "args": BROWSER_ARGUMENTS}


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """The folder with all of CIFAR-10."""
    folder: Path = require("needs_cifar10")
    return folder


@pytest.fixture(scope="session")
def once() -> Callable[[str, Callable[[Path], object]], Path]:
    """See ``run_folder.once``."""
    return run_folder.once


@pytest.fixture(scope="session")
def synthetic_cifar10() -> Path:
    """A folder in CIFAR-10's official binary layout whose images a small network can learn."""
    return run_folder.synthetic_cifar10()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real photos and hard images."""
    folder: Path = require("needs_shared")
    return folder
