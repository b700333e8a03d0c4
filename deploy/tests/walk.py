#!/usr/bin/env python3
"""Follow docs/deployment.md word for word: from a bare machine to a site that predicts, restores, upgrades.

    deploy/tests/walk.py list             # the document's blocks
    deploy/tests/walk.py here             # as root, on a bare Debian 12 that may be thrown away
    deploy/tests/walk.py aside PYTHON     # as root, on a layer over this machine that is gone afterwards

`aside` needs no network: packages have to be installed already, and Python's packages are taken from PYTHON's
virtual environment. BASE=FOLDER puts the layer over a bare Debian in a folder (debootstrap's minbase, and the
document's packages) in place of this machine. `here` installs what the document says, from the network.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "deployment.md"
BLOCK = re.compile(r"^```sh (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SITE = Path("/opt/cifarsite")
HOST = "photos.example.org"
# Whatever a shell would change: it has to arrive as it stands.
SECRET = 'a $HOME `b` "c" # d; ' + secrets.token_urlsafe(48)
PASSWORD = secrets.token_urlsafe(12)


def blocks() -> dict[str, str]:
    """The commands of the document, by the name of their block."""
    return dict(BLOCK.findall(DOCUMENT.read_text()))


def say(text: str) -> None:
    print(f"\n### {text}", flush=True)


def run(command: str, **how: object) -> str:
    """One line of the document, or of this file, in bash; its output."""
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{command}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **how,  # type: ignore[call-overload]
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"This failed ({done.returncode}):\n{command}")
    return str(done.stdout)


class Walk:
    """The blocks one after the other, in one folder that `cd` changes.

    Args:
        packages: a folder with the Python packages that the site needs; none: pip fetches them.
    """

    def __init__(self, packages: str = "") -> None:
        self.packages, self.folder, self.found = packages, "/root", blocks()

    def block(self, name: str, *, answers: str = "", replaced: tuple[str, str] | None = None) -> str:
        say(name)
        said = []
        for line in self.found[name].splitlines():
            command = line.replace(*replaced) if replaced else line
            print(f"$ {command}", flush=True)
            # No terminal: what would be asked on one is read from standard input.
            text = run(
                f"cd {self.folder}\n{command}\npwd > /tmp/walk-pwd", input=answers, start_new_session=True
            )
            said.append(text)
            self.folder = Path("/tmp/walk-pwd").read_text().strip()
            if self.packages and "-m venv" in line:
                installed = next((SITE / ".venv" / "lib").glob("python3*")) / "site-packages"
                (installed / "walk.pth").write_text(self.packages)
                # What pip fetches beside those for Debian's Python, which is older than 3.11.3.
                (installed / "async_timeout.py").write_text("from asyncio import timeout as timeout\n")
        return "".join(said)


def fill_in_redis(password: str) -> None:
    path = SITE / "deploy" / "redis.conf"
    path.write_text(path.read_text().replace("change-me", password))


def fill_in_environment(database: str, redis: str) -> None:
    path = Path("/etc/cifarsite/env")
    text = path.read_text()
    for name, value in {
        "SECRET_KEY": f"'{SECRET}'",
        "ADMIN_PASSWORD": PASSWORD,
        "DATABASE_URL": f"postgres://cifarsite:{database}@127.0.0.1:5432/cifarsite?sslmode=require",
        "BROKER_URL": f"redis://:{redis}@127.0.0.1:6379/0",
        "CACHE_URL": f"redis://:{redis}@127.0.0.1:6379/1",
        "STORAGE_URL": "",
        "S3_ENDPOINT_URL": "",
        "EMAIL_URL": "",
        "METRICS_TOKEN": secrets.token_urlsafe(16),
    }.items():
        lines, line = text.splitlines(), f"{name}={value}"
        (number,) = [n for n, old in enumerate(lines) if old.lstrip("#").startswith(f"{name}=")]
        text = "\n".join([*lines[:number], line, *lines[number + 1 :], ""])
    path.write_text(text)


CURL = ["curl", "-sS", "--insecure", "--max-time", "40", "--resolve", f"{HOST}:443:127.0.0.1"]


def ask(path: str, *more: str) -> str:
    """What the site says through nginx; empty where it does not answer."""
    argv = [*CURL, *more, f"https://{HOST}{path}"]
    return subprocess.run(argv, capture_output=True, text=True).stdout


def wait_for(path: str, expected: str, seconds: int, *more: str) -> None:
    deadline = time.monotonic() + seconds
    while expected not in (answer := ask(path, *more)):
        if time.monotonic() > deadline:
            logs = "".join(path.read_text()[-3000:] for path in Path("/run/walk").glob("*.log"))
            sys.exit(f"{path} did not say {expected!r} within {seconds} s, but {answer!r}.\n{logs}")
        time.sleep(1)


def predicts(token: str) -> None:
    """A photo goes in, and its prediction comes out."""
    photo = SITE / "static" / "brand" / "example.jpg"
    bearer = ("--header", f"Authorization: Bearer {token}")
    taken = ask("/api/v1/photos?wait=30", *bearer, "--form", f"file=@{photo}")
    if '"label"' not in taken:
        sys.exit(f"The photo got no prediction: {taken}")


@contextmanager
def nobody_sees(*secret: str) -> Iterator[None]:
    """No command line shows one of these meanwhile, as `ps` would."""
    seen, over = set(), threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.update(each for each in secret if each in path.read_text(errors="replace"))

    watcher = threading.Thread(target=look)
    watcher.start()
    yield
    over.set()
    watcher.join()
    if seen:
        sys.exit(f"{len(seen)} secrets stood on a command line.")


def walk(packages: str) -> None:
    database, redis = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    site = Walk(packages)
    site.block("files")
    site.block("postgresql", answers=f"{database}\n{database}\n")
    fill_in_redis(redis)
    site.block("redis")
    run(f"git -C {SITE} checkout --quiet deploy/redis.conf")
    # One machine for all: what predicts needs more than what serves pages.
    site.block("site", replaced=("requirements-web.txt", "requirements.txt"))
    fill_in_environment(database, redis)
    with nobody_sees(SECRET, PASSWORD, database, redis):
        said = site.block("prepare")
    if "The first admin" not in said or PASSWORD in said:
        sys.exit("prepare should have told of the admin, and not the password that was given.")
    for name in ("web", "predict", "train", "backup", "certificate", "nginx"):
        site.block(name)
    say("the site answers")
    wait_for("/readyz?for=answers", '"ready": true', 180)
    wait_for("/", "HTTP/2 200", 10, "--head")
    code = "from django.conf import settings; print(settings.SECRET_KEY)"
    if SECRET not in run(f"cifarsite-manage shell --no-imports -c '{code}'"):
        sys.exit("The value with spaces and quotes did not arrive as it stands.")
    token = run("cifarsite-manage apitoken admin --scopes predict,read").strip().splitlines()[-1]
    predicts(token)
    say("backup, loss and restore")
    site.block("make-backup")
    run("systemctl start cifarsite-backup")
    run("systemctl stop cifarsite-web cifarsite-sweeper cifarsite-predict@1 cifarsite-train")
    run("runuser -u postgres -- dropdb --force cifarsite")
    run("runuser -u postgres -- createdb --owner cifarsite cifarsite")
    run("rm -r /var/lib/cifarsite/media")
    site.block("restore")
    run("systemctl start cifarsite-web cifarsite-sweeper cifarsite-predict@1 cifarsite-train")
    wait_for("/api/v1/photos", '"label"', 30, "--header", f"Authorization: Bearer {token}")
    say("upgrade")
    site.block("upgrade-files", replaced=("requirements-web.txt", "requirements.txt"))
    site.block("upgrade-prepare")
    site.block("upgrade-restart")
    wait_for("/readyz?for=answers", '"ready": true', 180)
    predicts(token)
    say("for other hosts")
    run("ip address add 10.0.0.4/32 dev lo")
    site.block("socket")
    run("curl -sS --retry 20 --retry-connrefused --header 'Host: 127.0.0.1' http://10.0.0.4:8000/healthz")
    say("The whole document was followed.")


def snapshot(folder: Path) -> Path:
    """The working tree as a repository of one commit, for `git clone`."""
    bare, index = folder / "cifarsite.git", folder / "index"
    git = ["git", "-C", str(ROOT), "-c", "user.name=walk", "-c", "user.email=walk@localhost"]
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)}
    subprocess.run([*git, "add", "--all"], check=True, env=environment)
    tree = subprocess.run([*git, "write-tree"], check=True, env=environment, capture_output=True, text=True)
    commit = subprocess.run(
        [*git, "commit-tree", tree.stdout.strip(), "-m", "walk"], check=True, capture_output=True, text=True
    )
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True)
    subprocess.run(
        [*git, "push", "--quiet", str(bare), f"{commit.stdout.strip()}:refs/heads/main"], check=True
    )
    return bare


def aside(python: str) -> None:
    """In namespaces of their own, over a layer in memory: nothing of this machine changes."""
    told = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", told], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="walk-") as name:
        given, layer = Path(name) / "given", Path(name) / "layer"
        given.mkdir()
        layer.mkdir()
        snapshot(given)
        (given / "docs").mkdir()
        shutil.copy(DOCUMENT, given / "docs")
        here = Path(__file__).parent
        for file in ("walk.py", "systemctl"):
            shutil.copy(here / file, given)
        spaces = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
        sys.exit(subprocess.run([*spaces, here / "aside.sh", layer, given, packages]).returncode)


def inside(packages: str) -> None:
    """Within ``aside``: the repository lies under /mnt; Debian's cluster is made as its package makes it."""
    global DOCUMENT
    DOCUMENT = Path("/mnt/docs/deployment.md")
    run("git config --system url./mnt/cifarsite.git.insteadOf https://example.org/cifarsite.git")
    run("git config --system --add safe.directory '*'")
    # The certificate that the package ssl-cert makes when it is installed.
    run("test -e /etc/ssl/certs/ssl-cert-snakeoil.pem || make-ssl-cert generate-default-snakeoil")
    run("pg_createcluster 15 main >/dev/null && pg_ctlcluster 15 main start")
    walk(packages)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["list"]:
            print("\n".join(f"{name}:\n{text}" for name, text in blocks().items()))
        case ["here"]:
            walk("")
        case ["aside", python]:
            aside(python)
        case ["inside", packages]:
            inside(packages)
        case _:
            sys.exit(__doc__)
