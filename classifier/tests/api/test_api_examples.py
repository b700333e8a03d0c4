"""The examples of docs/api.md, run as they stand there against a live site."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from cifarsite.test import image_bytes, make_user
from classifier.accounts.tokens import make_token
from classifier.models import Batch, Photo, User
from conftest import ROOT

pytestmark = pytest.mark.django_db(transaction=True)
RUN_BY = {"sh": ["bash", "-eu"], "python": [sys.executable], "js": ["node"]}
ENDINGS = {"sh": "sh", "python": "py", "js": "mjs"}


def examples() -> list[tuple[str, str]]:
    """(language, program) of each; the first one makes a token, which the tests do themselves."""
    text = (ROOT / "docs" / "api.md").read_text()
    found = re.findall(r"^```(sh|python|js)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, program) for language, program in found if "manage.py" not in program]


# The typed client is made first and used then.
CLIENT = [one for one in examples() if re.search("openapi-python-client|cifarsite_client", one[1])]


def run(
    language: str, program: str, live_server: LiveServer, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run an example as Alice, beside a photo; a failure is the test's."""
    alice = User.objects.filter(username="alice").first() or make_user("alice")
    token = make_token(alice, scopes=["predict", "read"])[1]
    (folder / "photo.jpg").write_bytes(image_bytes())
    script = folder / f"example.{ENDINGS[language]}"
    # Nobody answers here: waiting would only take time.
    script.write_text(re.sub(r"wait(=|\": )20", r"wait\g<1>0", program))
    done = subprocess.run(
        [*RUN_BY[language], script.name],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "client"),
            "SITE": live_server.url,
            "TOKEN": token,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(("language", "program"), [one for one in examples() if one not in CLIENT])
def test_it_runs(language: str, program: str, live_server: LiveServer, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    interpreter = RUN_BY[language]
    if not shutil.which(interpreter[0]) or ("curl" in program and not shutil.which("curl")):
        pytest.skip(f"{interpreter[0]} or curl is not installed.")
    done = run(language, program, live_server, tmp_path)
    if "idempotency" in program.lower():
        assert done.stdout == "True\n"
        assert Photo.objects.count() == 1
    elif "archive=" in program:
        assert Batch.objects.get().items.count() == 1
    elif "wait" in program:
        assert "photo.jpg" in done.stdout
        assert Photo.objects.get().filename == "photo.jpg"


def test_it_shows_each_language() -> None:
    assert {language for language, _program in examples()} == {"sh", "python", "js"}


def test_the_typed_client_is_made_without_a_warning_and_works(
    live_server: LiveServer, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (make, use) = CLIENT
    made = run(*make, live_server, tmp_path)
    assert "WARNING" not in made.stdout + made.stderr, made.stdout
    assert run(*use, live_server, tmp_path).stdout == "photo.jpg\n1\n"
    assert Photo.objects.get().owner.username == "alice"
