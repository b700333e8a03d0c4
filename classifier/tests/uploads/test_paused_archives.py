"""Archives do not stay for ever: paused ones have an end, a person a quota, and the same bytes one file."""

from __future__ import annotations

import errno
from datetime import timedelta
from unittest import mock

from django.core.files.storage import default_storage
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import ApiTestCase
from classifier.models import Batch, BatchItem, User
from classifier.operations import retention
from classifier.privacy.account_data import delete_account
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batches, errors

State = Batch.State


class PausedArchives(ApiTestCase):
    def make(self, count: int = 3, owner: User | None = None, *, again: bool = True) -> Batch:
        with self.captureOnCommitCallbacks(execute=True):
            archive = zipped(photos(count))
            return batches.create_batch(owner or self.alice, archive, filename="holiday.zip", again=again)

    def held(self) -> list[str]:
        folders = default_storage.listdir("batches")[0] if default_storage.exists("batches") else []
        return [name for folder in folders for name in default_storage.listdir(f"batches/{folder}")[1]]

    def setUp(self) -> None:
        for batch in Batch.objects.all():
            default_storage.delete(str(batch.archive.name))
        self.before = len(self.held())

    def kept(self) -> int:
        return len(self.held()) - self.before

    def test_twelve_copies_of_one_archive_are_one_file(self) -> None:
        made = [self.make(again=False) for _n in range(12)]
        self.assertEqual(self.kept(), 1)
        self.assertEqual([batch.state for batch in made[1:]], [State.PAUSED] * 11)
        for batch in made[:-1]:
            with self.captureOnCommitCallbacks(execute=True):
                batches.cancel(Batch.objects.get(pk=batch.pk))
        last = Batch.objects.get(pk=made[-1].pk)
        self.assertTrue(default_storage.exists(str(last.archive.name)))
        with self.captureOnCommitCallbacks(execute=True):
            batches.cancel(last)
        self.assertEqual(self.kept(), 0)

    def test_a_copy_that_fails_leaves_the_shared_file(self) -> None:
        first = self.make()
        full = OSError(errno.ENOSPC, "No space left on device")
        failing = mock.patch.object(BatchItem.objects, "bulk_create", side_effect=full)
        with failing, self.assertRaises(errors.StorageFull):
            self.make(again=False)
        self.assertTrue(default_storage.exists(str(first.archive.name)))
        self.assertEqual(self.kept(), 1)

    def test_another_persons_copy_is_a_file_of_its_own(self) -> None:
        self.make()
        self.make(owner=self.bob)
        self.assertEqual(self.kept(), 2)

    def test_an_account_goes_with_its_shared_file(self) -> None:
        self.make()
        self.make(again=False)
        with self.captureOnCommitCallbacks(execute=True):
            delete_account(self.alice)
        self.assertEqual(self.kept(), 0)

    def test_a_paused_archive_is_cancelled_when_its_days_are_over(self) -> None:
        batch, running, lately = self.make(1), self.make(2), self.make(3)
        batches.pause(batch)
        batches.pause(lately)
        long_ago = timezone.now() - timedelta(days=8)
        Batch.objects.update(created_at=long_ago)
        Batch.objects.filter(pk=batch.pk).update(paused_at=long_ago)
        with self.captureOnCommitCallbacks(execute=True), override_settings(KEEP_PAUSED_DAYS=7):
            self.assertEqual(retention.expire()["archives_expired"], 1)
        states = {b.pk: (b.state, bool(b.archive)) for b in Batch.objects.all()}
        self.assertEqual(states[batch.pk], (State.CANCELLED, False))
        self.assertEqual(states[running.pk], (State.RUNNING, True))
        self.assertEqual(states[lately.pk], (State.PAUSED, True))
        self.assertEqual(self.kept(), 2)

    def test_going_on_ends_the_pause(self) -> None:
        batch = self.make()
        batches.pause(batch)
        batches.resume(batch)
        self.assertIsNone(Batch.objects.get().paused_at)

    def test_archives_beyond_the_quota_are_refused_and_nothing_stays(self) -> None:
        first = self.make(3)
        with override_settings(QUOTA_ARCHIVES_MB=1):
            Batch.objects.update(size=1024**2)
            self.make(3)  # the same bytes take no space
            with self.assertRaises(errors.ArchivesFull) as refused:
                self.make(4)
            self.assertIn("1 MB", str(refused.exception.detail))
            self.make(4, owner=self.bob)
            self.assertEqual(self.kept(), 2)
            self.client.force_login(self.alice)
            response = self.client.post(reverse("classifier:batches"), {"archive": zipped(photos(4))})
            self.assertContains(response, "Wait until a batch has finished", status_code=413)
            answer = self.call("post", "batches", {"archive": zipped(photos(4))})
            self.assert_problem(answer, 413, "quota")
            for batch in Batch.objects.filter(owner=self.alice):
                with self.captureOnCommitCallbacks(execute=True):
                    batches.cancel(batch)
            self.make(4)
        self.assertEqual(Batch.objects.get(pk=first.pk).state, State.CANCELLED)

    def test_the_pages_say_so(self) -> None:
        batch = self.make()
        batches.pause(batch)
        self.client.force_login(self.alice)
        self.assertContains(
            self.client.get(batch.get_absolute_url()), "the site cancels the batch and removes its archive"
        )
        self.assertContains(
            self.client.get(reverse("classifier:batches")),
            "cancels and removes a paused archive after 7 days",
        )
        self.assertContains(self.client.get("/privacy/"), "4096 MB in total")
