"""Coverage-guided fuzzing: ``make fuzz`` or ``python -m fuzzing [TARGET] [SECONDS]``.

Needs requirements-fuzz.txt (atheris; Linux). Each target runs in a process of its own, for two
minutes unless told otherwise; what makes one fail is written to classifier/tests/corpus, where the
tests replay it from then on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "classifier" / "tests" / "corpus"
SECONDS = 120
# Longer inputs than this teach the fuzzer little.
MOST_BYTES = {"cursor": 400, "filters": 400}


def run_all(seconds: int) -> int:
    from fuzzing import list_targets

    failed = []
    for name in list_targets():
        done = subprocess.run([sys.executable, "-m", "fuzzing", name, str(seconds)], cwd=ROOT)
        if done.returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed) or 'none'}")
    return bool(failed)


def run_one(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["classifier", "training.engine", "zipfile"]):
        from fuzzing import load_targets

        targets, seeds = load_targets()
    found = CORPUS / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(name)):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        arguments = [
            *(sys.argv[0], folder, str(found), f"-max_total_time={seconds}", "-timeout=10"),
            *(f"-max_len={MOST_BYTES.get(name, 20_000)}", "-rss_limit_mb=2048", "-verbosity=1"),
            f"-artifact_prefix={found}/",
        ]
        atheris.Setup(arguments, targets[name])
        print(f"--- {name}", flush=True)
        atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")
    words = sys.argv[1:]
    seconds = int(words.pop()) if words and words[-1].isdecimal() else SECONDS
    if words:
        run_one(words[0], seconds)
    else:
        sys.exit(run_all(seconds))
