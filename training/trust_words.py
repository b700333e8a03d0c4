"""How far a model can be trusted, in words and tables: from its card, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.charts import decimal, percent
from training.engine.data import CLASS_NAMES
from training.words import DISTORTIONS, count

# From here on a figure speaks for a use, below it against it.
GOOD_ACCURACY, GOOD_AUROC, GOOD_CALIBRATION = 0.8, 0.9, 0.02
# Fewer photos of a class than this say nothing about it.
FEW = 5

MADE_UP = {
    "noise": gettext_lazy("Noise"),
    "text": gettext_lazy("Text"),
    "plain": gettext_lazy("Plain colours"),
    "screen": gettext_lazy("Screenshots"),
}


def trust_context(card: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """What report, model page, model card and the page on verdicts say; ``figures``: of a report."""
    return {
        "gap": gap_sentences(card),
        "gap_rows": gap_rows(card),
        "made_up": made_up_rows(card),
        "good_for": good_for(card, figures),
        "not_for": not_for(card, figures),
    }


def between(bounds: list[float]) -> str:
    """'85.8 – 97.7 %'."""
    return f"{decimal(100 * bounds[0], 1)} – {percent(bounds[1])}"


def points(error: float) -> str:
    """A calibration error of 0.0099 as '1.0'."""
    return decimal(100 * error, 1)


def gap_sentences(card: dict[str, Any]) -> list[str]:
    """Real photos against CIFAR-10; empty where no photos were measured."""
    photos, test = card.get("photos"), card.get("test")
    if not photos or not test:
        return []
    low, high = photos["interval"]
    said = _(
        "Of CIFAR-10's test images it names %(test)s correctly (n = %(n_test)s), of real photos %(photos)s "
        "(n = %(n)s; 95 %% interval %(interval)s; classes weighed equally %(balanced)s)."
    ) % {
        "test": percent(test["accuracy"]),
        "n_test": count(test["n"]),
        "photos": percent(photos["accuracy"]),
        "n": count(photos["n_ten"]),
        "interval": between(photos["interval"]),
        "balanced": percent(photos["balanced"]),
    }
    if high < test["accuracy"]:
        meant = _("On photos it does worse: expect less there than CIFAR-10's figures say.")
    elif low > test["accuracy"]:
        meant = _("On these photos it does better than on CIFAR-10's small images.")
    else:
        meant = _("So few photos do not tell whether it does better or worse there.")
    return [f"{said} {meant}", *_scarce(photos)]


def _scarce(photos: dict[str, Any]) -> Iterator[str]:
    lacking = [_(name) for name in CLASS_NAMES if name not in photos["classes"]]
    few = [_(name) for name, (_hits, n) in photos["classes"].items() if n < FEW]
    if lacking:
        yield _("No photo of these was measured: %(classes)s.") % {"classes": ", ".join(lacking)}
    if few:
        yield _("Fewer than %(few)s photos there were of each of these: %(classes)s.") % {
            "few": FEW,
            "classes": ", ".join(few),
        }


def gap_rows(card: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, on CIFAR-10's test images, on photos); a dash where it was not measured."""
    return list(_gap_rows(card)) if "verdicts" in card else []


def _gap_rows(card: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    test, verdicts = card["test"], card["verdicts"]["test"]
    photos: dict[str, Any] = card.get("photos", {})
    known = "cifar_test" in photos
    ten = photos.get("verdicts_ten", {})
    n_ten, n_other = photos.get("n_ten", 0), photos.get("n_other", 0)

    def on_photos(text: str) -> str:
        return text if known else "–"

    def part(name: str) -> str:
        return on_photos(f"{count(ten.get(name, 0))} / {count(n_ten)}")

    yield _("Images of the ten things"), count(test["n"]), on_photos(count(n_ten))
    yield (
        _("Named correctly"),
        f"{percent(test['accuracy'])} ({between(test['interval'])})",
        f"{percent(photos['accuracy'])} ({between(photos['interval'])})" if known else "–",
    )
    yield (
        _("Calibration error, before and after"),
        f"{decimal(test['ece_before'], 4)} → {decimal(test['ece'], 4)}",
        f"{decimal(photos['ece_before'], 4)} → {decimal(photos['ece'], 4)}" if known else "–",
    )
    yield _("Recognised"), percent(verdicts["counts"]["recognised"] / verdicts["n"]), part("recognised")
    yield (
        _("Of those, named correctly"),
        _share(verdicts["recognised_right"]),
        on_photos(_share(photos.get("recognised_right"))),
    )
    yield _("Unsure"), percent(verdicts["counts"]["unsure"] / verdicts["n"]), part("unsure")
    yield (
        _("The set of labels holds the right one"),
        f"{percent(verdicts['set_coverage'])} ({between(verdicts['set_coverage_interval'])})",
        f"{percent(photos['set_coverage'])} ({between(photos['set_coverage_interval'])})" if known else "–",
    )
    yield (
        _("Called none of the ten by mistake"),
        percent(verdicts["counts"]["none_of_the_ten"] / verdicts["n"]),
        part("none_of_the_ten"),
    )
    if known:
        against, own = photos["cifar_test"], photos
        noticed = f"{count(photos['verdicts_other']['none_of_the_ten'])} / {count(n_other)}"
        yield _("Photos of other things called none of the ten"), noticed, noticed
        yield (
            _("Told from photos of other things (AUROC)"),
            decimal(against["auroc"], 3),
            decimal(own["auroc"], 3),
        )
        yield (
            _("Other things let through where 19 of 20 of the ten are kept"),
            percent(against["false_positive_rate_at_95_recall"]),
            percent(own["false_positive_rate_at_95_recall"]),
        )


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def made_up_rows(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Images that no camera took: how many of each kind the verdict notices, and the areas."""
    found = card.get("verdicts", {}).get("made_up", {})
    with_photos = card.get("photos", {}).get("made_up", {})
    return [
        {
            "kind": kind,
            "name": MADE_UP[kind],
            "n": row["n"],
            "noticed": row["noticed"],
            "auroc": decimal(row["auroc"], 3),
            "auroc_photos": decimal(with_photos[kind]["auroc"], 3) if kind in with_photos else "–",
        }
        for kind, row in found.items()
    ]


def good_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What the measurements speak for."""
    return [text for is_good, text in _uses(card, figures) if is_good]


def not_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What they speak against, or say nothing about, and what no measurement could allow."""
    against = [text for is_good, text in _uses(card, figures) if not is_good]
    scarce = list(_scarce(card["photos"])) if "photos" in card else []
    return [
        *against,
        *scarce,
        _(
            "Anything beside the ten things: it has no other words. It learned from images of 32 × 32 pixels "
            "of the years before 2009."
        ),
        _("Decisions about people or about safety: nothing here was measured for that."),
    ]


def _uses(card: dict[str, Any], figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    yield (
        figures["accuracy"] >= GOOD_ACCURACY,
        _("Small images like CIFAR-10's: %(share)s of %(n)s are named correctly.")
        % {"share": percent(figures["accuracy"]), "n": count(figures["n"])},
    )
    photos, test = card.get("photos"), card.get("test", {})
    if photos:
        yield (
            photos["accuracy"] >= GOOD_ACCURACY,
            _(
                "Photos that show one of the ten things: %(share)s of %(n)s are named correctly "
                "(%(interval)s)."
            )
            % {
                "share": percent(photos["accuracy"]),
                "n": count(photos["n_ten"]),
                "interval": between(photos["interval"]),
            },
        )
        yield (
            photos["auroc"] >= GOOD_AUROC,
            _(
                "Noticing that a photo shows none of the ten: %(noticed)s of %(n)s such photos are "
                "(AUROC %(area)s)."
            )
            % {
                "noticed": count(photos["verdicts_other"]["none_of_the_ten"]),
                "n": count(photos["n_other"]),
                "area": decimal(photos["auroc"], 3),
            },
        )
    else:
        yield False, _("Photos from phones and cameras: on those it was not measured.")
    if "ece" in test:
        yield (
            test["ece"] <= GOOD_CALIBRATION,
            _("Taking its confidence at its word on small images: it is off by %(points)s points on average.")
            % {"points": points(test["ece"])},
        )
    if photos:
        yield (
            photos["ece"] <= GOOD_CALIBRATION,
            _(
                "Taking its confidence at its word on photos: it is off by %(points)s points on "
                "average there "
                "(n = %(n)s; so few leave much of that to chance)."
            )
            % {"points": points(photos["ece"]), "n": count(photos["n_ten"])},
        )
    yield from _weak_classes(figures)
    yield from _weak_images(figures)


def _weak_classes(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    for row in figures["classes"]:
        if row["support"] and row["recall"] < GOOD_ACCURACY:
            yield (
                False,
                _("Finding every %(name)s: it finds %(share)s of %(n)s.")
                % {"name": _(row["name"]), "share": percent(row["recall"]), "n": count(row["support"])},
            )


def _weak_images(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    found = figures.get("panels", {}).get("robustness")
    if not found:
        return
    worst = min(found["rows"], key=lambda row: row["steps"][-1]["share"])
    yield (
        False,
        _(
            "Bad images: with the strongest '%(name)s' that was tried, %(share)s are right instead "
            "of %(clean)s."
        )
        % {
            "name": DISTORTIONS[worst["name"]],
            "share": percent(worst["steps"][-1]["share"]),
            "clean": percent(found["clean"]["share"]),
        },
    )


def verdict_facts(card: dict[str, Any]) -> dict[str, list[str]]:
    """What was measured of each verdict, in sentences; nothing for a card that has no such figures."""
    facts: dict[str, list[str]] = {"confidence": [], "recognised": [], "unsure": [], "none_of_the_ten": []}
    if "verdicts" not in card:
        return facts
    test, said = card["test"], card["verdicts"]["test"]
    n = count(said["n"])
    facts["confidence"].append(
        _(
            "On %(n)s test images its confidence is off by %(after)s points on average; before "
            "calibration, by %(before)s."
        )
        % {"n": n, "after": points(test["ece"]), "before": points(test["ece_before"])}
    )
    facts["recognised"].append(
        _("Of %(n)s test images %(share)s are recognised, and %(right)s of those answers are right.")
        % {
            "n": n,
            "share": percent(said["counts"]["recognised"] / said["n"]),
            "right": _share(said["recognised_right"]),
        }
    )
    facts["unsure"].append(
        _(
            "The limit promises at least %(goal)s. Measured: the labels that remain hold the right one for "
            "%(share)s of %(n)s test images (95 %% interval %(interval)s); on average %(size)s labels remain."
        )
        % {
            "goal": percent(card["verdicts"]["coverage_goal"], 0),
            "share": percent(said["set_coverage"]),
            "n": n,
            "interval": between(said["set_coverage_interval"]),
            "size": decimal(said["set_size"], 2),
        }
    )
    facts["none_of_the_ten"].append(
        _(
            "The limit is set so that %(goal)s of the validation images, which all show one of the ten, fall "
            "below it. Measured: %(share)s of %(n)s test images are wrongly called so."
        )
        % {
            "goal": percent(card["verdicts"]["false_alarm_goal"], 0),
            "share": percent(said["counts"]["none_of_the_ten"] / said["n"]),
            "n": n,
        }
    )
    if "cifar_test" in card.get("photos", {}):
        _add_photo_facts(facts, card["photos"])
    return facts


def _add_photo_facts(facts: dict[str, list[str]], photos: dict[str, Any]) -> None:
    ten, n_ten = photos["verdicts_ten"], count(photos["n_ten"])
    facts["confidence"].append(
        _("On %(n)s real photos it is off by %(points)s points; so few photos leave much of that to chance.")
        % {"n": n_ten, "points": points(photos["ece"])}
    )
    facts["recognised"].append(
        _(
            "Of %(n)s real photos of the ten things %(said)s are recognised, and %(right)s of those"
            " answers are right."
        )
        % {"n": n_ten, "said": count(ten["recognised"]), "right": _share(photos["recognised_right"])}
    )
    facts["unsure"].append(
        _(
            "For %(share)s of %(n)s real photos the labels that remain hold the right one (95 %% "
            "interval %(interval)s)."
        )
        % {
            "share": percent(photos["set_coverage"]),
            "n": n_ten,
            "interval": between(photos["set_coverage_interval"]),
        }
    )
    facts["none_of_the_ten"] += [
        _(
            "Of %(n)s photos of other things %(noticed)s are noticed; of %(n_ten)s photos of the "
            "ten, %(wrong)s are wrongly called so."
        )
        % {
            "n": count(photos["n_other"]),
            "noticed": count(photos["verdicts_other"]["none_of_the_ten"]),
            "n_ten": n_ten,
            "wrong": count(ten["none_of_the_ten"]),
        },
        _(
            "Given one photo of each sort, it scores the one of the ten higher in %(share)s of all pairs "
            "(AUROC); with CIFAR-10's test images instead of photos, in %(test)s."
        )
        % {"share": percent(photos["auroc"]), "test": percent(photos["cifar_test"]["auroc"])},
    ]
