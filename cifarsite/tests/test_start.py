"""`make run` for real: what it starts, what it says when it cannot, and that it leaves nothing behind."""

import ast
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cifarsite import bootstrap
from cifarsite.tests.hosts import Host
from conftest import ROOT, accepts, free_port, wait_until

# An index that nobody answers for: whatever asks it has asked the network.
NO_NETWORK = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
}
MAKE_RUN = ("make", "run", f"PYTHON={sys.executable}")
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc, Linux has it")


class Site:
    """One `make run`, in a session of its own as a terminal would give it."""

    def __init__(self, folder: Path, argv: Sequence[str] = MAKE_RUN, **environment: str) -> None:
        self.mark = f"SITE_UNDER_TEST={secrets.token_hex(8)}"
        self.port = int(environment.get("PORT") or free_port())
        self.log = folder / f"log-{secrets.token_hex(4)}"
        environment = {"PORT": str(self.port), "VAR_DIR": str(folder / "var"), **NO_NETWORK, **environment}
        name, value = self.mark.split("=")
        with self.log.open("wb") as log:
            self.make = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **environment, name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self, *words: str) -> list[int]:
        """What runs with this site's mark and these words in its command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_text().replace("\0", " ")
                    if all(word in command for word in words):
                        found.append(int(folder.name))
            except OSError:
                continue
        return sorted(found)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def wait_for(self, text: str) -> None:
        def is_said() -> bool:
            if self.make.poll() is not None and text not in self.said():
                pytest.fail(f"make run ended with {self.make.returncode}:\n{self.said()}")
            return text in self.said()

        wait_until(is_said, repr(text), 60)

    def is_ready(self, worker: str, times: int = 1) -> bool:
        return len(re.findall(rf"{worker}@\S+ ready", self.said())) == times

    def wait_until_all_runs(self) -> None:
        self.wait_for("The site is at")
        wait_until(lambda: self.is_ready("predict"), "the worker that predicts", 60)
        wait_until(lambda: self.is_ready("train"), "the worker that trains", 60)

    def wait_until_nothing_is_left(self) -> None:
        self.make.wait(40)
        wait_until(lambda: not self.processes(), "the end of every process", 30)

    def destroy(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.make.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for the whole file: only the first start migrates."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    """Append what was started; it is gone after the test, whatever happened."""
    started: list[Site] = []
    yield started
    for site in started:
        site.destroy()


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[list[Site]]:
    started: list[Site] = []
    yield started
    for site in started:
        site.destroy()


@pytest.fixture
def site(folder: Path, running: list[Site]) -> Site:
    """The site that an earlier test has started and not ended, or else a new one."""
    if not running or running[-1].make.poll() is not None:
        running.append(Site(folder))
        running[-1].wait_until_all_runs()
    return running[-1]


def refusal(tmp_path: Path, sites: list[Site], **environment: str) -> str:
    """What a start says that must not succeed."""
    site = Site(tmp_path, MAKE_RUN, **environment)
    sites.append(site)
    assert site.make.wait(50) != 0
    assert "Traceback" not in site.said()
    return site.said()


def test_it_starts_twice_and_shows_the_admin_once(folder: Path, sites: list[Site]) -> None:
    first = Site(folder)
    sites.append(first)
    first.wait_for("The site is at")
    assert f"http://localhost:{first.port}/" in first.said()
    status, _ = first.get("/")
    assert status == 200
    if "The first admin" in first.said():  # an earlier test of this file may have made it
        assert re.search(r"name +admin\n +password +\S{12}", first.said())
    first.make.send_signal(signal.SIGTERM)
    first.wait_until_nothing_is_left()

    second = Site(folder)
    sites.append(second)
    second.wait_for("The site is at")
    assert second.get("/")[0] == 200
    assert "Installing" not in second.said()
    assert "password" not in second.said()
    assert "migrations applied" not in second.said()


def test_the_web_server_waits_for_the_preparation(tmp_path: Path, sites: list[Site]) -> None:
    Host(tmp_path / "var").migrate()
    other = sqlite3.connect(tmp_path / "var" / "db.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    site = Site(tmp_path)
    sites.append(site)
    wait_until(lambda: len(site.processes("gunicorn")) == 1, "the web server", 60)
    (server,) = site.processes("gunicorn")
    wait_until(lambda: "pipe" in Path(f"/proc/{server}/wchan").read_text(), "its wait", 60)
    assert not accepts(site.port)
    other.execute("COMMIT")
    other.close()
    site.wait_for("The site is at")
    assert site.get("/")[0] == 200


@pytest.mark.slow
def test_the_web_processes_hold_no_tensorflow(site: Site) -> None:
    for path in ("/", "/accounts/login/", "/admin/login/", "/readyz"):
        site.get(path)
    web = site.processes("gunicorn")
    assert len(web) == 3
    for pid in web:
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert not re.findall(r"site-packages/(?:tensorflow|keras|sklearn|scipy)/\S*", loaded)


def test_the_web_processes_share_what_is_loaded_before_they_are_forked() -> None:
    code = "import gc, sys, cifarsite.wsgi; print('classifier.pages' in sys.modules, gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    pages, frozen = done.stdout.split()
    assert pages == "True"
    assert int(frozen) > 50_000


def test_a_web_process_loads_no_client_of_a_server_that_the_site_has_not() -> None:
    wanted = "{'redis', 'psycopg', 'pillow_heif'}"
    code = (
        "import sys, cifarsite.wsgi; from django.urls import get_resolver; get_resolver().url_patterns\n"
        f"print('django' in sys.modules, sorted({wanted} & set(sys.modules)))"
    )
    nowhere = {"DATABASE_URL": "", "BROKER_URL": "", "CACHE_URL": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ | nowhere
    )
    assert done.stdout == "True []\n", done.stderr


@pytest.mark.slow
def test_what_dies_is_started_again(site: Site) -> None:
    worker = min(site.processes("celery", "--queues train"))
    os.kill(worker, signal.SIGKILL)
    site.wait_for("train was killed by signal 9; it starts again in 1 s.")
    wait_until(lambda: site.is_ready("train", times=2), "the new worker", 60)
    assert worker not in site.processes("celery", "--queues train")


@pytest.mark.slow
def test_it_says_that_the_folder_is_in_use(site: Site, folder: Path, sites: list[Site]) -> None:
    assert f"The site runs already on port {site.port}" in refusal(folder, sites)


def end_by_ctrl_c(site: Site) -> None:
    os.killpg(site.make.pid, signal.SIGINT)


def end_by_term(site: Site) -> None:
    site.make.terminate()


def kill_make(site: Site) -> None:
    site.make.kill()


def kill_supervisor(site: Site) -> None:
    os.kill(min(site.processes("cifarsite.supervisor")), signal.SIGKILL)


def kill_supervisor_and_its_guard(site: Site) -> None:
    for pid in site.processes("cifarsite.supervisor"):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [end_by_ctrl_c, end_by_term, kill_make, kill_supervisor, kill_supervisor_and_its_guard]
)
def test_it_leaves_no_process_behind(site: Site, end: object) -> None:
    assert callable(end)
    assert len(site.processes()) >= 9  # make, supervisor, guard, web and its two, two workers and theirs ...
    end(site)
    site.wait_until_nothing_is_left()
    assert "Traceback" not in site.said()


# A process that will not end when asked, and one of its own that left its process group.
STUBBORN = """
import sys
from cifarsite import guard, supervisor
guard.SECONDS_TO_FINISH = 1
stubborn = "trap '' TERM; setsid sh -c 'echo begun; exec sleep 300' & while true; do sleep 1; done"
supervisor.commands = lambda port: {"stubborn": ["sh", "-c", stubborn]}
site = supervisor.Supervisor(int(sys.argv[1]))
site.serve()
site.end()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_does_not_end_is_killed_wherever_it_went(number: int, tmp_path: Path, sites: list[Site]) -> None:
    site = Site(tmp_path, argv=(sys.executable, "-c", STUBBORN, "9"))
    sites.append(site)
    site.wait_for("stubborn| begun")
    site.make.send_signal(number)
    site.wait_until_nothing_is_left()
    if number == signal.SIGTERM:
        assert "stubborn did not finish in time and is killed." in site.said()


def test_it_says_that_the_port_is_taken(tmp_path: Path, sites: list[Site]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"Port {port} is taken by another program" in refusal(tmp_path, sites, PORT=port)


@pytest.mark.parametrize("port", ["eighty", "0", "70000", "-1", "80.5"])
def test_it_says_that_the_port_is_wrong(port: str) -> None:
    answer = subprocess.run(
        MAKE_RUN,
        cwd=ROOT,
        env={**os.environ, "PORT": port},
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert answer.stderr.startswith(f"PORT is {port!r}, expected a number from 1 to 65535.\n")


def test_it_names_a_wrong_setting(tmp_path: Path, sites: list[Site]) -> None:
    assert "UPLOAD_MAX_MB is 'many'" in refusal(tmp_path, sites, UPLOAD_MAX_MB="many")


def test_it_names_a_recipe_that_is_not_there(tmp_path: Path, sites: list[Site]) -> None:
    said = refusal(tmp_path, sites, EXTRA_RECIPES="nosuch")
    assert "EXTRA_RECIPES names 'nosuch', expected Python modules with a RECIPE" in said


def test_it_says_why_an_admin_was_refused(tmp_path: Path, sites: list[Site]) -> None:
    Host(tmp_path / "var").migrate()
    assert "ADMIN_PASSWORD is refused" in refusal(tmp_path, sites, ADMIN_PASSWORD="12345")


def test_another_python_is_told_which_one_is_needed() -> None:
    for version in ((3, 4), (3, 10), (3, 12), (2, 7)):
        sentence = bootstrap.wrong_python(version, "/usr/bin/python3")
        assert sentence.startswith(f"Python 3.11 is needed, /usr/bin/python3 is {version[0]}.{version[1]}: ")
    assert bootstrap.wrong_python((3, 11), "/usr/bin/python3") == ""


def test_another_python_can_read_the_file_that_tells_it() -> None:
    """Everything before the sentence is syntax that Python 3.4 knows."""
    tree = ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Match, ast.TryStar)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]


def another_python() -> str | None:
    places = [*Path("/usr/bin").glob("python3.*"), *Path.home().glob(".pyenv/versions/3.*/bin/python3")]
    for place in places:
        if not re.fullmatch(r"python3(\.\d+)?", place.name):
            continue
        answer = subprocess.run(
            [place, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True
        )
        if answer.returncode == 0 and answer.stdout.strip() != "11":
            return str(place)
    return None


def test_a_real_other_python_is_refused_in_one_sentence() -> None:
    python = another_python()
    if not python:
        pytest.skip("no other Python 3 is installed.")
    answer = subprocess.run(["make", "run", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode != 0
    assert answer.stderr.startswith(f"Python 3.11 is needed, {python} is 3.")
    assert "Error" not in answer.stderr.splitlines()[0]


def test_no_python_at_all_is_one_sentence() -> None:
    answer = subprocess.run(
        ["make", "run", "PYTHON=no-such-python"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert answer.stderr.startswith("Python 3.11 is needed, and no-such-python is not found")


@pytest.fixture
def fresh_clone(tmp_path: Path) -> Path:
    """As much of the project as the first start reads before it has installed anything."""
    clone = tmp_path / "clone"
    (clone / "cifarsite").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", clone)
    shutil.copy(ROOT / "cifarsite" / "bootstrap.py", clone / "cifarsite")
    for file in ROOT.glob("requirements*.txt"):
        shutil.copy(file, clone)
    return clone


def first_start(clone: Path, **environment: str) -> str:
    """What the first start prints when it ends by itself, on a Python without the project's packages."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
    environment = {**os.environ, **NO_NETWORK, "PORT": str(free_port()), **environment}
    answer = subprocess.run(
        ["make", "run", f"PYTHON={base}"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=58,
    )
    assert answer.returncode != 0
    assert "Traceback" not in answer.stdout + answer.stderr
    return answer.stderr


def test_the_first_start_says_that_it_needs_the_network(fresh_clone: Path) -> None:
    assert first_start(fresh_clone).startswith(
        "The package index cannot be reached, and the first start needs it"
    )
    assert not list(fresh_clone.glob(".venv/*.installed"))


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own with as much space as the test says."""
    place = tmp_path / "small"
    place.mkdir()
    size: str = request.param
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root.")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("small_disk", ["4m"], indirect=True)
def test_the_first_start_says_how_much_space_it_needs(small_disk: Path, fresh_clone: Path) -> None:
    shutil.copytree(fresh_clone, small_disk / "clone")
    sentence = first_start(small_disk / "clone")
    assert sentence.startswith(f"The disk that holds {small_disk}/clone/.venv is full: the first start needs")


def test_a_disk_that_fills_while_pip_writes_is_named_too() -> None:
    output = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert bootstrap.why_it_failed(output, "pip install").startswith("The disk that holds ")


# Too small for anything; too small for the database; too small for the static files.
@pytest.mark.parametrize("small_disk", ["64k", "1200k", "2m"], indirect=True)
def test_a_full_disk_is_one_sentence(small_disk: Path, tmp_path: Path, sites: list[Site]) -> None:
    said = refusal(tmp_path, sites, VAR_DIR=str(small_disk))
    assert f"The disk that holds {small_disk} is full" in said


def test_a_folder_that_is_not_ours_is_one_sentence(tmp_path: Path, sites: list[Site]) -> None:
    (tmp_path / "file").write_text("")
    said = refusal(tmp_path, sites, VAR_DIR=str(tmp_path / "file" / "var"))
    assert f"{tmp_path}/file/var cannot be written" in said


def test_make_alone_lists_the_commands() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in ("run", "test", "check", "bench", "faults"):
        assert re.search(rf"^make {command} +\w", listed, re.MULTILINE)
