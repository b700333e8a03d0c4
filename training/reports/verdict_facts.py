"""What was measured of each verdict, in sentences."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent, percent_span
from training.reports.reliability_narrative import is_of_project, log_loss


def verdict_facts(card: dict[str, Any]) -> dict[str, list[str]]:
    """What was measured of each verdict, in sentences; nothing for a card that has no such figures."""
    facts: dict[str, list[str]] = {"confidence": [], "recognised": [], "unsure": [], "unknown": []}
    if "verdicts" not in card:
        return facts
    test, said = card["test"], card["verdicts"]["test"]
    n = count(said["n"])
    facts["confidence"].append(
        _(
            "Calibration error on %(n)s test images: %(after)s points on average; before "
            "calibration: %(before)s points."
        )
        % {"n": n, "after": decimal(100 * test["ece"], 1), "before": decimal(100 * test["ece_before"], 1)}
    )
    facts["recognised"].append(
        _("Of %(n)s test images, %(share)s are recognised, and %(right)s of those predictions are correct.")
        % {
            "n": n,
            "share": percent(said["counts"]["recognised"] / said["n"]),
            "right": percent(said["recognised_right"]),
        }
    )
    facts["unsure"].append(
        _(
            "Prediction sets should contain the true label for at least %(goal)s of the images. "
            "Measured: %(share)s of %(n)s test images (95 %% interval %(interval)s), with "
            "%(size)s labels on average."
        )
        % {
            "goal": percent(card["verdicts"]["coverage_goal"], 0),
            "share": percent(said["set_coverage"]),
            "n": n,
            "interval": percent_span(said["set_coverage_interval"]),
            "size": decimal(said["set_size"], 2),
        }
    )
    if is_of_project(card):
        facts["unknown"].append(
            _(
                "The limit accepts %(goal)s of %(judged)s images of the classes, predicted by models that "
                "were fitted without them. Measured: %(share)s of %(n)s images are wrongly classified as "
                "none of these."
            )
            % {
                "goal": percent(1 - card["verdicts"]["false_alarm_goal"], 0),
                "judged": count(card["judged_on"]["n"]),
                "share": percent(said["counts"]["unknown"] / said["n"]),
                "n": n,
            }
        )
        return facts
    facts["unknown"].append(
        _(
            "The limit accepts %(goal)s of the validation images, which all show one of the ten. "
            "Measured: %(share)s of %(n)s test images are wrongly classified as none of the ten."
        )
        % {
            "goal": percent(1 - card["verdicts"]["false_alarm_goal"], 0),
            "share": percent(said["counts"]["unknown"] / said["n"]),
            "n": n,
        }
    )
    if "cifar_test" in card.get("photos", {}):
        _add_photo_facts(facts, card["photos"], test)
    return facts


def _add_photo_facts(facts: dict[str, list[str]], photos: dict[str, Any], test: dict[str, Any]) -> None:
    ten, n_ten = photos["verdicts_ten"], count(photos["n_ten"])
    facts["confidence"].append(
        _("On %(n)s real photos its log loss is %(loss)s nats; on CIFAR-10's test images, %(test)s.")
        % {"n": n_ten, "loss": log_loss(photos), "test": log_loss(test)}
    )
    facts["recognised"].append(
        _(
            "Of %(n)s real photos of the ten things, %(said)s are recognised, and %(right)s of "
            "those predictions are correct."
        )
        % {"n": n_ten, "said": count(ten["recognised"]), "right": percent(photos["recognised_right"])}
    )
    facts["unsure"].append(
        _(
            "For %(share)s of %(n)s real photos the prediction set contains the true label "
            "(95 %% interval %(interval)s)."
        )
        % {
            "share": percent(photos["set_coverage"]),
            "n": n_ten,
            "interval": percent_span(photos["set_coverage_interval"]),
        }
    )
    facts["unknown"] += [
        _(
            "Of %(n)s photos of other things, %(noticed)s are classified as none of the ten; of "
            "%(n_ten)s photos of the ten, %(wrong)s are wrongly classified so."
        )
        % {
            "n": count(photos["n_other"]),
            "noticed": count(photos["verdicts_other"]["unknown"]),
            "n_ten": n_ten,
            "wrong": count(ten["unknown"]),
        },
        _(
            "AUROC between photos of the ten and photos of other things: %(share)s. Between "
            "CIFAR-10's test images and photos of other things: %(test)s."
        )
        % {"share": percent(photos["auroc"]), "test": percent(photos["cifar_test"]["auroc"])},
    ]
