"""Does a page take longer where a person has 1,000,000 photos than where they have 1,000?

    python -m benchmarks.million [--database sqlite] [--photos 1000000] [--rounds 3] [--n 5] [--quick]

Two sites are filled by SQL, one of each size: photos over three years, each with an answer, its
name's words and a place in a batch of 20, the newest ones looked at by their owner. On both, what a page
lists fills it: a page of two rows would be compared with one of fifty. Each page is asked for in
this process, database and template and all; the two sites take turns. What counts is the processor's
time of this process and of the database's, the least of all turns: other work on the machine hardly
changes it, while it makes the clock useless. ``--database postgres`` starts
a PostgreSQL server of its own (initdb and postgres must be there). The goal is 1.5 times.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import results

ROOT = Path(__file__).parent.parent
GOAL = 1.5
# Pages that get a row in the table; the slowest to grow gets one in any case.
SHOWN = ("history", "result", "batch", "training", "training run", "report")
FEW = 1_000
YEARS = 3 * 365 * 24 * 3600
BATCH = 20
# Of the newest photos so many are looked at by their owner: one in twelve gets an answer.
CORRECTED = 25_000
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


# --- Rows -------------------------------------------------------------------------------------


def statements(vendor: str, photos: int) -> list[str]:
    """Fill the tables of person 1. A photo's number is kept in its ``size``."""
    sqlite = vendor == "sqlite"
    step = YEARS / photos
    series = (
        "(WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s "
        f"WHERE i < {photos - 1}) SELECT i FROM s)"
        if sqlite
        else f"(SELECT generate_series(0, {photos - 1}) AS i)"
    )
    uuid = "lower(hex(randomblob(16)))" if sqlite else "gen_random_uuid()"
    ago = (
        f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || printf('%.3f', i * {step} + 60) || ' seconds')"
        if sqlite
        else f"now() - (i * {step} + 60) * interval '1 second'"
    )
    chance = "(abs(random()) % 1000000) / 1000000.0" if sqlite else "random()"
    text = "CAST(p.size AS text)"
    label = "CASE p.size % 10 " + " ".join(f"WHEN {n} THEN '{c}'" for n, c in enumerate(CLASSES)) + " END"
    day = "substr(p.created_at, 1, 10)" if sqlite else "(p.created_at AT TIME ZONE 'UTC')::date"
    project = "'cifar10'"
    ten = "'[0.91,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01]'"
    yes = "1" if sqlite else "true"
    words = " UNION ALL ".join(
        f"SELECT 1, p.id, {word} FROM classifier_photo p {condition}"
        for word, condition in (
            ("'img'", ""),
            (text, ""),
            ("'jpg'", ""),
            ("'lake'", "WHERE p.size % 30 = 8"),
            ("'beach'", f"WHERE p.size % {photos // 30} = 7"),
            ("'hill'", f"WHERE p.size % {min(500, photos // 30)} = 9"),
        )
    )
    return [
        f"""INSERT INTO classifier_photo
            (id, owner_id, project_id, filename, display, thumbnail, width, height, size, pixel_sha256,
             created_at)
            SELECT {uuid}, 1, {project},
            'IMG_' || i || CASE WHEN i % {photos // 30} = 7 THEN ' beach' ELSE '' END || '.jpg',
            'display.jpg', 'thumbnail.jpg', 640, 480, i, 'sha', {ago} FROM {series} AS numbers""",
        f"""INSERT INTO classifier_prediction
            (photo_id, owner_id, project_id, photo_created_at, is_current, status, priority, input,
             input_sha256, preprocessing, model_id, label, confidence, verdict, user_feedback, probabilities,
             provenance, created_at, finished_at, seconds, error_code, error_detail, attempt, worker)
            SELECT p.id, 1, {project}, p.created_at, {yes},
            CASE WHEN p.size % 19 = 3 THEN 'failed' ELSE 'done' END, 1,
            'input.png', 'sha', 'squash32-v1', 1,
            CASE WHEN p.size % 19 = 3 THEN '' ELSE {label} END,
            CASE WHEN p.size % 19 = 3 THEN NULL ELSE 0.2 + 0.8 * {chance} END,
            CASE WHEN p.size % 19 = 3 THEN '' WHEN p.size % 23 = 0 THEN 'unknown'
                 WHEN p.size % 7 = 0 THEN 'unsure' ELSE 'recognised' END,
            CASE WHEN p.size >= {CORRECTED} THEN '' WHEN p.size % 25 = 1 THEN 'agrees'
                 WHEN p.size % 25 = 2 THEN 'differs' ELSE '' END,
            {ten}, '{{}}', p.created_at, p.created_at, 0.002, '', '', 1, 'bench'
            FROM classifier_photo p""",
        f"INSERT INTO classifier_nameword (owner_id, photo_id, word) {words}",
        f"""INSERT INTO classifier_correction
            (photo_id, by_id, label, predicted, confidence, state, created_at, changed_at)
            SELECT p.id, 1, CASE p.size % 25 WHEN 1 THEN {label} ELSE 'frog' END, {label}, 0.6, 'accepted',
            p.created_at, p.created_at FROM classifier_photo p WHERE p.size % 25 IN (1, 2)
            AND p.size < {CORRECTED}""",
        f"""INSERT INTO classifier_batch
            (id, owner_id, project_id, filename, archive, sha256, size, state, totals, created_at,
             finished_at)
            SELECT {uuid}, 1, {project}, 'archive.zip', '', 'sha' || (i / {BATCH}), 1000000, 'done',
            '{{"total": {BATCH}, "done": {BATCH}, "failed": 0}}', {ago}, {ago}
            FROM {series} AS numbers WHERE i % {BATCH} = 0""",
        f"""INSERT INTO classifier_batchitem
            (batch_id, number, name, truth, status, size, photo_id, error_code, error_detail, attempt, worker)
            SELECT b.id, p.size % {BATCH}, p.filename, {label}, 'stored', 100000, p.id, '', '', 1, 'bench'
            FROM classifier_photo p JOIN classifier_batch b ON b.sha256 = 'sha' || (p.size / {BATCH})""",
        f"""INSERT INTO classifier_daycount (owner_id, project_id, day, photos, labels, changes, counted)
            SELECT 1, {project}, {day}, 0, '{{}}', count(*), 0 FROM classifier_photo p GROUP BY {day}""",
        "ANALYZE",
    ]


def drop_indexes(connection: Any) -> list[str]:
    """Rows come in faster without them. Returns what makes them anew."""
    listing = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name LIKE %s"
        if connection.vendor == "sqlite"
        else """SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE %s AND schemaname = 'public'
                AND indexname NOT IN (SELECT conname FROM pg_constraint)"""
    )
    found: list[tuple[str, str]] = []
    with connection.cursor() as cursor:
        for beginning in ("photo", "prediction", "nameword", "batch", "correction", "classifier", "one_"):
            cursor.execute(listing, [f"{beginning}%"])
            found += cursor.fetchall()
        for name, _made_by in found:
            cursor.execute(f'DROP INDEX "{name}"')
    return [made_by for _name, made_by in found]


# --- One site ---------------------------------------------------------------------------------


def start_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")
    import django

    django.setup()
    from django.conf import settings

    settings.ALLOWED_HOSTS = ["testserver"]
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}


def fill(photos: int) -> dict[str, float]:
    """Make the tables and their rows. Returns what took how many seconds."""
    start_django()
    from django.core.management import call_command
    from django.db import connection

    from classifier.models import Consent, User
    from classifier.photos import daily_counts
    from training.evaluation import pretrained_reports
    from training.models import Epoch, ModelVersion, TrainingJob
    from training.registry import pretrained

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    person = User.objects.create_user("many", is_staff=True, is_superuser=True)
    Consent.objects.create(user=person, given=True)
    ModelVersion.objects.create(
        name="bench", recipe="fast_cnn", sha256="a" * 64, size=1, preprocessing="squash32-v1", card={}
    )
    pretrained.install_pretrained()
    pretrained_reports.complete()
    job = TrainingJob.objects.create(
        recipe="seed_cnn", parameters={"epochs": 40}, state=TrainingJob.State.SUCCEEDED
    )
    figures = {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.75, "learning_rate": 0.001}
    figures |= {"seconds": 40.0, "images_per_second": 1000.0}
    Epoch.objects.bulk_create(Epoch(job=job, number=number + 1, **figures) for number in range(40))
    start = time.perf_counter()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # The rows fit together: no need to look each of millions of references up.
            cursor.execute("SET session_replication_role = replica")
    indexes = drop_indexes(connection)
    *inserts, analyze = statements(connection.vendor, photos)
    for statement in [*inserts, *indexes, analyze]:
        begin = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(statement)
        if (seconds := time.perf_counter() - begin) > 2:
            print(f"{seconds:7.1f} s  {statement[:70].splitlines()[0]}", file=sys.stderr)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    filled = time.perf_counter()
    days = daily_counts.recount(limit=10_000)
    return {
        "fill_s": round(filled - start, 1),
        "count_all_days_s": round(time.perf_counter() - filled, 1),
        "days": days,
    }


def pages(photos: int) -> dict[str, str]:
    """The addresses to measure, by a name that is the same for both sites."""
    from cifarsite.core.keyset import ON
    from classifier.models import Batch, Photo, User
    from classifier.photos.history import ORDERS, history
    from training.models import ModelVersion, TrainingJob

    person = User.objects.get()
    middle = Photo.objects.get(size=photos // 2)
    day = middle.created_at.date()
    deep = ORDERS[""].encode(ON, history(person).get(photo_id=middle.pk))
    filters = {
        "": "",
        "label": "label=cat",
        "verdict": "verdict=unknown",
        "done": "status=done",
        "failed": "status=failed",
        "agreed": "correction=agrees",
        "corrected": "correction=differs",
        "not corrected": "correction=none",
        "from a day on": f"date_from={day}",
        "until a day": f"date_to={day}",
        "label and day": f"label=cat&date_to={day}",
        "name, all": "search=img",
        "name, many": "search=lake",
        "name, 30 photos": "search=beach",
        "name, one in 500": "search=hill",
        "name, one": f"search=img+{photos // 2}",
        "name, none": "search=nothing",
        "name and label": "search=lake&label=ship",
        "oldest": "sort=oldest",
        "surest": "sort=surest",
        "least sure": "sort=least_sure",
        "label, least sure": "label=cat&sort=least_sure",
        "verdict, least sure": "verdict=unsure&sort=least_sure",
        "month, least sure": f"date_from={day - timedelta(days=30)}&date_to={day}&sort=least_sure",
        "from a day on, least sure": f"date_from={day}&sort=least_sure",
        "corrected, least sure": "correction=differs&sort=least_sure",
        "page in the middle": f"cursor={deep}",
    }
    shipped = ModelVersion.objects.get(is_champion=True)
    batch = Batch.objects.order_by("created_at")[Batch.objects.count() // 2]
    found = {f"history: {name}".rstrip(": "): f"/history/?{query}" for name, query in filters.items()}
    return found | {
        "calendar": f"/history/calendar/?month={day:%Y-%m}",
        "result": f"/photos/{middle.pk}/",
        "upload": "/",
        "numbers": "/account/numbers/",
        "account": "/account/",
        "batches": "/batches/",
        "batch": f"/batches/{batch.pk}/",
        "review": "/review/",
        "training": "/training/",
        "training run": f"/training/{TrainingJob.objects.get().pk}/",
        "models": "/models/",
        "report": f"/models/{shipped.pk}/report/",
        "verdicts": "/verdicts/",
        "admin": "/admin/",
        "admin: photos": "/admin/classifier/photo/",
        "admin: photos, deleted": "/admin/classifier/photo/?deleted_at__isempty=0",
        "admin: photos, by name": f"/admin/classifier/photo/?q=IMG_{photos // 2}",
        "admin: predictions": "/admin/classifier/prediction/",
        "admin: predictions, failed": "/admin/classifier/prediction/?status__exact=failed",
        "admin: predictions, waiting": "/admin/classifier/prediction/?status__exact=queued",
        "admin: predictions, label": "/admin/classifier/prediction/?label__exact=cat",
        "admin: batches": "/admin/classifier/batch/",
        "admin: batch items": "/admin/classifier/batchitem/",
        "admin: corrections": "/admin/classifier/correction/",
    }


Times = list[tuple[float, float, int, float]]


def measure(photos: int, n: int, only: str) -> dict[str, Times]:
    """(seconds by the clock, of them in the database, queries, seconds of the processor) of each page.

    n times, after one that does not count.
    """
    start_django()
    from django.db import connection
    from django.test import Client

    from classifier.models import User

    client = Client()
    client.force_login(User.objects.get())
    found: dict[str, Times] = {}
    for name, address in pages(photos).items():
        if only not in name:
            continue
        for turn in range(n + 1):
            spent = [0.0, 0]

            def timed(execute: Any, *arguments: Any, spent: list[float] = spent) -> Any:
                begin = time.perf_counter()
                try:
                    return execute(*arguments)
                finally:
                    spent[0] += time.perf_counter() - begin
                    spent[1] += 1

            server = server_process(connection)
            with connection.execute_wrapper(timed):
                begin, busy = time.perf_counter(), processor_seconds(server)
                response = client.get(address)
                seconds, busy = time.perf_counter() - begin, processor_seconds(server) - busy
            if response.status_code != 200:
                raise SystemExit(f"{address}: {response.status_code}")
            if turn:
                found.setdefault(name, []).append((seconds, spent[0], int(spent[1]), busy))
    return found


def server_process(connection: Any) -> int:
    """The process of PostgreSQL that serves this connection; 0 for SQLite, which is in this one."""
    if connection.vendor == "sqlite":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def processor_seconds(server: int) -> float:
    """Of this process and of the database's (Linux)."""
    of_server = int(Path(f"/proc/{server}/schedstat").read_text().split()[0]) / 1e9 if server else 0.0
    return time.process_time() + of_server


# --- Both, in turn ----------------------------------------------------------------------------


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[str]:
    """A PostgreSQL server of its own, on a port of 127.0.0.1; an address without a database's name.

    ``durable``: each commit waits for the disk, as a site's database does it.
    """
    places = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    programs = Path(next(filter(None, places), "") or sys.exit("PostgreSQL's initdb is not here.")).parent
    person: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        person = {"user": "postgres", "group": "postgres", "extra_groups": []}
        folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder / "postgres"
    again = home.exists()
    home.mkdir(exist_ok=True)
    password = (home / "password").read_text() if again else secrets.token_hex(8)
    (home / "password").write_text(password)
    if person:
        shutil.chown(home, "postgres")
        shutil.chown(home / "password", "postgres")
    words: list[Any] = [
        programs / "initdb",
        "-D",
        home / "data",
        "-U",
        "bench",
        "--no-sync",
        "-A",
        "scram-sha-256",
    ]
    words += ["--pwfile", home / "password", "--encoding", "UTF8"]
    if not again:
        subprocess.run(words, cwd=home, check=True, stdout=subprocess.DEVNULL, **person)
    words = [programs / "postgres", "-D", home / "data", "-p", str(port), "-k", home]
    options = ["listen_addresses=127.0.0.1", "shared_buffers=512MB", "max_wal_size=4GB"]
    for option in options if durable else [*options, "fsync=off"]:
        words += ["-c", option]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(words, cwd=home, stdout=log, stderr=log, **person)
    try:
        base = f"postgres://bench:{password}@127.0.0.1:{port}"
        wait_for(base)
        yield base
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def wait_for(base: str) -> None:
    import psycopg

    for _second in range(120):
        try:
            psycopg.connect(f"{base}/postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(1)
    raise SystemExit("PostgreSQL did not start.")


def part(words: list[str], folder: Path, url: str, *, module: str = "benchmarks.million") -> Any:
    """Run a part of this in a process of its own, on one of the two databases."""
    environment = {
        **os.environ,
        "VAR_DIR": str(folder),
        "DATABASE_URL": url,
        "BROKER_URL": "",
        "CACHE_URL": "",
    }
    argv = [sys.executable, "-m", module, *words]
    done = subprocess.run(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace, folder: Path, base: str) -> dict[str, Any]:
    sizes = {FEW: folder / "few", arguments.photos: folder / "many"}
    times: dict[int, dict[str, Times]] = {size: {} for size in sizes}
    filled = {}
    urls = {}
    for size, place in sizes.items():
        again = place.exists()
        place.mkdir(exist_ok=True)
        urls[size] = f"sqlite:///{place / 'db.sqlite3'}"
        if base:
            urls[size] = f"{base}/{place.name}"
        if again:
            part(["migrate", str(size)], place, urls[size])
            continue
        if base:
            make_database(base, place.name)
        filled[str(size)] = part(["fill", str(size)], place, urls[size])
        print(f"{size:,} photos: {filled[str(size)]}", flush=True)
    for _round in range(arguments.rounds):
        for size, place in sizes.items():
            words = ["measure", str(size), "--n", str(arguments.n), "--only", arguments.only]
            for name, found in part(words, place, urls[size]).items():
                times[size].setdefault(name, []).extend(found)
    few, many = times[FEW], times[arguments.photos]
    table = {name: row(few[name], many[name]) for name in few}
    return {"fill": filled, "pages": table}


def row(few: Times, many: Times) -> dict[str, Any]:
    def least(times: Times, place: int) -> float:
        return min(found[place] for found in times) * 1000

    return {
        "few_ms": round(least(few, 3), 1),
        "many_ms": round(least(many, 3), 1),
        "ratio": round(least(many, 3) / least(few, 3), 2),
        "ratio_by_the_clock": round(least(many, 0) / least(few, 0), 2),
        "few_clock_ms": round(least(few, 0), 1),
        "many_clock_ms": round(least(many, 0), 1),
        "queries": [max(found[2] for found in few), max(found[2] for found in many)],
    }


def make_database(base: str, name: str) -> None:
    import psycopg

    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())


def report(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    worst = max(result["pages"].items(), key=lambda item: item[1]["ratio"])
    for name, found in result["pages"].items():
        mark = "" if found["ratio"] <= GOAL else "  <-- above the goal"
        times = f"{found['few_ms']:8.1f} {found['many_ms']:8.1f} ms  ratio {found['ratio']:5.2f}"
        base = f"  by the clock {found['few_clock_ms']:7.1f} {found['many_clock_ms']:7.1f} ms"
        print(f"{name:34}{times}{base}  queries {found['queries']}{mark}")
    print(f"worst: {worst[0]}, {worst[1]['ratio']} times (goal: at most {GOAL})")
    if arguments.only:
        return
    rows = []
    for name in dict.fromkeys([*(page for page in SHOWN if page in result["pages"]), worst[0]]):
        found = result["pages"][name]
        what = f"{arguments.photos:,} photos against {FEW:,}, {arguments.database}, page '{name}'"
        ours, peer = found["many_ms"], found["few_ms"]
        rows.append(results.ratio(what, ours, peer, "ms of the processor", result["n"], at_most=GOAL))
    results.write(f"million-{arguments.database}", rows, quick=arguments.quick, **result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=["fill", "migrate", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("size", nargs="?", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=5, help="how often each page is asked for in a round")
    parser.add_argument("--only", default="", help="pages whose name holds this; nothing is written then")
    parser.add_argument("--keep", type=Path, help="a folder for the databases: they stay, and are used again")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.photos, arguments.rounds, arguments.n = 2 * FEW, 1, 1
    if arguments.part == "fill":
        print(json.dumps(fill(arguments.size)))
        return
    if arguments.part == "migrate":
        start_django()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        print("null")
        return
    if arguments.part == "measure":
        print(json.dumps(measure(arguments.size, arguments.n, arguments.only)))
        return
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="cifarsite-million-"))
    folder.mkdir(exist_ok=True)
    try:
        if arguments.database == "postgres":
            with postgres(folder) as base:
                result = compare(arguments, folder, base)
        else:
            result = compare(arguments, folder, "")
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    numbers = {"photos": [FEW, arguments.photos], "n": arguments.rounds * arguments.n}
    report(arguments, {**numbers, "database": arguments.database, **result})


if __name__ == "__main__":
    main()
