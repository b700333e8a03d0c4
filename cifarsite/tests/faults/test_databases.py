"""SQLite under many writers, PostgreSQL that is killed in mid-batch."""

import sys
import time

import pytest

from cifarsite.tests.faults.running import Site, Tally
from conftest import wait_until

pytestmark = pytest.mark.faults
WRITERS, TIMES = 4, 150
PHOTOS = 400


def test_four_writers_at_once_never_find_sqlite_locked(sites, measured) -> None:
    site: Site = sites()
    row = "RateCount.objects.create(key='writers', ends_at='2100-01-01T00:00:00Z')"
    site.shell(f"from classifier.models import RateCount\n{row}")
    code = f"from cifarsite.tests.faults.counter import count; count({TIMES})"
    shell = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
    writers = [site.start(*shell, name=f"writer-{number}") for number in range(WRITERS)]
    assert [writer.wait(180) for writer in writers] == [0] * WRITERS
    said = "".join(site.said(f"writer-{number}") for number in range(WRITERS))
    assert "locked" not in said
    total = site.one("SELECT count FROM classifier_ratecount WHERE key = 'writers'")
    measured(f"{WRITERS} processes × {TIMES} transactions: {total} counted, 0 × 'database is locked'")
    assert total == WRITERS * TIMES


@pytest.mark.thorough
def test_a_postgresql_that_is_killed_in_mid_batch_loses_nothing(sites, postgres, redis, measured) -> None:
    site: Site = sites(database=postgres.url, broker=redis.url, PREDICTION_BATCH=8)
    site.start_web()
    site.start_sweeper()
    site.upload_all(PHOTOS)
    site.start_worker("w1", wait=False)
    site.start_worker("w2", wait=False)
    wait_until(lambda: site.count("done") >= PHOTOS // 4, "a quarter of the answers", 400)
    postgres.kill()
    down = site.get("/history/").status
    postgres.start()
    started = time.monotonic()
    site.wait_until_all_is_answered(PHOTOS, 400)
    seconds = time.monotonic() - started
    assert site.get("/history/").status == 200
    assert site.upload().status == 202
    site.wait_until_all_is_answered(PHOTOS + 1)
    tally = site.tally()
    measured(
        f"{PHOTOS} photos, killed at a quarter (a page meanwhile: {down}): lost {tally.lost}, doubled "
        f"{tally.doubled}; all answered {seconds:.0f} s after its return"
    )
    assert tally == Tally(photos=PHOTOS + 1, lost=0, doubled=0)
