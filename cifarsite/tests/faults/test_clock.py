"""The clock jumps by a day, forward or back: work goes on at once, and nothing is done twice."""

import pytest

from cifarsite.tests.faults.running import Site, Tally
from cifarsite.tests.faults.test_killed_workers import ALL, freeze_in_the_middle

pytestmark = [pytest.mark.faults, pytest.mark.thorough]
DAY = 86_400


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_work_in_hand_when_the_clock_jumps_is_neither_lost_nor_done_twice(sites, measured, jump: int) -> None:
    """A worker is frozen with claimed photos; the one that comes after it lives on another day."""
    site: Site = sites()
    site.start_web()
    frozen = site.start_worker("w1")
    held = freeze_in_the_middle(site, frozen)
    site.start_sweeper(clock=jump)
    site.start_worker("w2", clock=jump)
    photos = site.one("SELECT count(*) FROM classifier_photo")
    site.wait_until_all_is_answered(photos)
    before = site.rows(ALL)
    site.thaw(frozen)
    site.ask_to_end(frozen)
    assert site.rows(ALL) == before
    assert site.tally() == Tally(photos=photos, lost=0, doubled=0)
    measured(f"{len(held)} photos in hand, the clock {jump:+,} s: lost 0, doubled 0, at once")
