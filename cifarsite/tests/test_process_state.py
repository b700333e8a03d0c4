"""Each test begins with the site's defaults, whichever test ran before it in the same process."""

import os

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import TestCase, TransactionTestCase
from django.utils import timezone, translation

from cifarsite.core import wakeups
from cifarsite.tests.run_folder import run_folder
from classifier.predictions import inference
from training.registry import model_store


def spoil() -> None:
    """Leave behind what a request, a dead broker and a damaged model leave in their process."""
    translation.activate("vi")
    timezone.activate("Asia/Ho_Chi_Minh")
    wakeups._silent_until = float("inf")
    inference._interactive_at = float("inf")
    inference._reported["w"] = {"cifar10": "The champion is damaged."}
    model_store._refused["abc"] = "It is damaged.", float("inf")


def assert_fresh() -> None:
    assert translation.get_language() == settings.LANGUAGE_CODE
    assert timezone.get_current_timezone_name() == settings.TIME_ZONE
    assert wakeups._silent_until == 0
    assert inference._interactive_at < 0
    assert not inference._reported
    assert not model_store._refused


@pytest.mark.parametrize("turn", [1, 2])
def test_a_function_begins_anew_and_leaves_a_mess(turn: int) -> None:
    assert_fresh()
    spoil()


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_the_tests_of_a_file_share_a_process(turn: int) -> None:
    """What a file's fixtures start is started once; two processes would each have some of these tests."""
    with (run_folder() / "processes-of-one-file").open("a+") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        assert set(file.read().split()) == {str(os.getpid())}


class AfterAMess(TestCase):
    """Its class's data, too, are made in the site's language."""

    language: str | None

    @classmethod
    def setUpTestData(cls) -> None:
        cls.language = translation.get_language()

    def test_the_first_begins_anew(self) -> None:
        self.assertEqual(self.language, settings.LANGUAGE_CODE)
        assert_fresh()
        spoil()

    def test_the_second_begins_anew(self) -> None:
        assert_fresh()
        spoil()

    def test_a_page_in_vietnamese_leaves_nothing_behind_1(self) -> None:
        self.ask_in_vietnamese()

    def test_a_page_in_vietnamese_leaves_nothing_behind_2(self) -> None:
        self.ask_in_vietnamese()

    def ask_in_vietnamese(self) -> None:
        assert_fresh()
        self.client.get("/accounts/login/", headers={"accept-language": "vi"})
        self.assertEqual(translation.get_language(), "vi")


class Committed(TransactionTestCase):
    """Tests that commit leave no counts of sign-ins and requests in the shared cache."""

    def test_the_cache_is_empty_1(self) -> None:
        self.look_and_fill()

    def test_the_cache_is_empty_2(self) -> None:
        self.look_and_fill()

    def look_and_fill(self) -> None:
        self.assertIsNone(cache.get("tests-before"))
        cache.set("tests-before", 1)
