"""A byte of the champion's file flips: it is not loaded, people are told, and the site goes on answering."""

from pathlib import Path

import pytest

from cifarsite.tests.faults.running import Site
from conftest import wait_until

pytestmark = pytest.mark.faults
NEXT = """
from pathlib import Path
from cifarsite.tests.faults import prepared
path = Path({path!r})
prepared.make_model(path, seed=1)
prepared.crown(prepared.register(path.read_bytes(), "next"))
"""


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def answered_by(site: Site) -> list[str]:
    names = "SELECT m.name FROM classifier_prediction p JOIN training_modelversion m ON m.id = p.model_id"
    return [name for (name,) in site.rows(f"{names} ORDER BY p.id")]


def test_a_damaged_champion_is_refused_and_the_site_goes_on_answering(sites, measured) -> None:
    site: Site = sites()
    site.shell(NEXT.format(path=str(site.folder / "next.keras")))
    sha256 = site.one("SELECT sha256 FROM training_modelversion WHERE name = 'next'")
    local, stored = (site.folder / place / f"{sha256}.keras" for place in ("models", "media/models"))
    whole = stored.read_bytes()
    site.start_web()
    site.start_sweeper()

    flip(local)
    worker = site.start_worker("w1")
    site.upload()
    site.wait_until_all_is_answered(1)
    assert answered_by(site) == ["next"]
    assert local.read_bytes() == whole
    assert "is damaged: it is not loaded but fetched again" in site.said("w1")
    site.ask_to_end(worker)

    flip(local)
    flip(stored)
    worker = site.start_worker("w2")
    site.upload()
    site.wait_until_all_is_answered(2)
    assert answered_by(site) == ["next", "tiny"]
    health = site.get("/health/").text
    assert "The file of model &#x27;next&#x27; is damaged" in health
    assert "Meanwhile &#x27;tiny&#x27; answers" in health
    assert site.get("/history/").status == 200

    # Restored from the backup: nobody has to start anything anew.
    stored.write_bytes(whole)
    photos = 2

    def champion_answers() -> bool:
        nonlocal photos
        photos += 1
        site.upload()
        site.wait_until_all_is_answered(photos)
        return answered_by(site)[-1] == "next"

    wait_until(champion_answers, "an answer of the champion", 120)
    assert "Meanwhile" not in site.get("/health/").text
    site.ask_to_end(worker)
    measured(
        "one copy damaged: fetched again from the storage; both: refused and said so, the model before it "
        "answers; restored: the champion answers again, without a restart"
    )
