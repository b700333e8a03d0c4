"""Coverage-guided fuzzing: ``make fuzz`` or ``python -m fuzzing [TARGET] [SECONDS]``.

Needs requirements-fuzz.txt (atheris; Linux). Each target runs in a process of its own, for two
minutes unless told otherwise; what makes one fail is written to classifier/tests/images/corpus,
where the tests replay it from then on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "classifier" / "tests" / "images" / "corpus"
SECONDS = 120
# Where new ways through the code are looked for.
READERS = [
    *(
        "classifier.images.headers",
        "classifier.images.signatures",
        "classifier.images.validation",
        "classifier.uploads.zip_reader",
        "classifier.photos.history",
    ),
    *("classifier.images.decoding", "classifier.images.colours"),
    *("classifier.pages.forms", "classifier.uploads.ground_truth", "classifier.uploads.filenames"),
    "django.http.multipartparser",
    *("training.engine.data.cifar10", "training.engine.inference.model_file_check"),
    *("zipfile", "csv", "django.http.request", "django.forms.fields", "django.forms.forms"),
    *("django.forms.widgets", "django.utils.datastructures", "django.utils.formats"),
]
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

    from fuzzing import load_targets

    targets, seeds = load_targets()
    # Not by atheris' hook of imports: that would take all of Django's applications along.
    for module in map(import_module, READERS):
        for owner in (module, *filter(isclass, vars(module).values())):
            for function in filter(isfunction, vars(owner).values()):
                if function.__module__ == module.__name__:
                    atheris.instrument_func(function)
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
