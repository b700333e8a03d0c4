"""docs/deployment.md holds: its commands are followed word for word, aside from this machine."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, require

WALK = ROOT / "deploy" / "tests" / "walk.py"
MANAGE = ROOT / "deploy" / "cifarsite-manage"
BLOCKS: dict[str, str] = runpy.run_path(str(WALK))["blocks"]()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A=", ""),
        ("A=two words ", "two words"),
        ("A='two words $HOME \"x\" # y; `z`'", 'two words $HOME "x" # y; `z`'),
        ('A="quoted \\"x\\" \\$y \\\\ \\n"', 'quoted "x" $y \\ \\n'),
        ("A=a\\ b", "a b"),
        ("A=a=b&c", "a=b&c"),
        ("A=one\\\ntwo", "onetwo"),
        (" A = spaced ", "spaced"),
        ("A=$HOME", "$HOME"),
        ("A=pre'fix and'more", "prefix andmore"),
    ],
)
def test_the_environment_file_is_read_as_systemd_reads_it(line: str, value: str) -> None:
    """By systemd.exec(5); no shell looks at it."""
    environment = runpy.run_path(str(MANAGE), run_name="test")["environment"]
    assert environment(f"# A=no\n; A=no\n\n{line}\n") == {"A": value}


@pytest.mark.parametrize("line", ["A='open", 'A="open', "no assignment", "1A=x", "export A=x"])
def test_a_line_that_systemd_would_leave_out_is_named(line: str) -> None:
    environment = runpy.run_path(str(MANAGE), run_name="test")["environment"]
    with pytest.raises(ValueError, match="line 2"):
        environment(f"B=1\n{line}\n")


def test_without_its_file_the_command_says_what_to_do(tmp_path: Path) -> None:
    text = MANAGE.read_text().replace("/etc/cifarsite/env", str(tmp_path / "env"))
    (tmp_path / "manage").write_text(text)
    done = subprocess.run([sys.executable, tmp_path / "manage", "check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is missing: copy deploy/env.example there and fill it in." in done.stderr


def test_every_block_of_the_document_is_followed_and_is_bash() -> None:
    walked = WALK.read_text().partition("def walk(")[2].partition("def snapshot(")[0]
    followed = set(re.findall(r'block\("([\w-]+)"', walked))
    in_a_row = re.search(r"for name in \(([^)]*)\)", walked)
    assert in_a_row
    assert followed | set(re.findall(r'"([\w-]+)"', in_a_row[1])) == set(BLOCKS)
    for name, text in BLOCKS.items():
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert checked.returncode == 0, f"{name}: {checked.stderr}"


def test_documents_name_no_other_way_to_run_a_command_under_systemd() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    assert not re.findall(r"^ +manage\.py .*", text, re.MULTILINE)
    assert "sudo -u" not in text


def overlays() -> bool:
    """Whether this machine lets a layer be put over it."""
    script = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
        "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    )
    argv = ["unshare", "--mount", "sh", "-c", script]
    return os.geteuid() == 0 and subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_document_leads_from_a_bare_machine_to_a_site_that_predicts_restores_and_upgrades(
    tmp_path: Path, measured: Any
) -> None:
    for need in ("needs_nginx", "needs_redis", "needs_postgres", "needs_namespaces"):
        require(need)
    for program in ("/usr/bin/python3.11", "curl", "git", "pg_createcluster", "unshare", "runuser"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed.")
    for package in re.findall(r"install --yes (.*)", "".join(BLOCKS.values())):
        for each in package.split():
            if subprocess.run(["dpkg-query", "-W", f"{each}*"], capture_output=True).returncode:
                pytest.skip(f"The package {each} is not installed.")
    if not overlays():
        pytest.skip("This machine lets no layer be put over it.")
    argv = ["/usr/bin/python3.11", str(WALK), "aside", sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "The whole document was followed." in done.stdout
    measured(f"{len(BLOCKS)} blocks of docs/deployment.md followed")
