"""What pages say of fine-tuning."""

import pytest

from training.reports.fine_tuning import fine_tuning

MEASURED = {
    "epochs": 3,
    "trained": 3,
    "n": 40,
    "before": {"accuracy": 0.9, "log_loss": 0.4},
    "after": {"accuracy": 0.95, "log_loss": 0.3},
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, ""),
        (
            {"kept": True, **MEASURED},
            "the accuracy was 90.0\u00a0% before and 95.0\u00a0% after it (epochs: 3)",
        ),
        ({"kept": False, "why": "no_help", **MEASURED}, "did not help: on the 40 validation images"),
        ({"kept": False, "why": "no_help", **MEASURED}, "The features of ImageNet were kept."),
        ({"kept": False, "why": "stopped", "epochs": 3}, "stopped before its first epoch was over"),
        (
            {"kept": False, "why": "few", "least": 30, "validation": 9, "test": 8},
            "needs 30 validation images and 30 test images, and there are 9 and 8.",
        ),
    ],
)
def test_a_sentence_says_what_came_of_it(said, expected):
    assert expected in fine_tuning(said)
