"""An archive from its upload to its results: rows, pauses, faults, truth."""

import io
import itertools
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cifarsite.core import leases, metrics
from cifarsite.test import SiteTestCase, answer, image_bytes
from classifier.images.sandbox import check_isolated
from classifier.models import Batch, BatchItem, Photo, Prediction
from classifier.predictions import inference
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batch_results, batch_worker, batches
from classifier.uploads import photos as uploads
from classifier.uploads.errors import ArchiveRefused, TruthRefused

Status, State = BatchItem.Status, Batch.State


class BatchTestCase(SiteTestCase):
    def make(self, files: dict[str, bytes] | None = None, **options: object) -> Batch:
        archive = zipped(files or photos(3))
        return batches.create_batch(self.alice, archive, filename="holiday.zip", **options)  # type: ignore[arg-type]

    def unpack(self, worker: str = "w1") -> None:
        while batch_worker.unpack_slice(worker):
            continue

    def stored_files(self) -> list[Path]:
        return [path for path in Path(settings.MEDIA_ROOT).glob("photos/**/*") if path.is_file()]

    def answer_all(self, batch: Batch, label: str = "cat") -> None:
        for prediction in batch_results.open_predictions(batch):
            answer(prediction.photo, label)
        batches.finish_if_over(batch)

    def codes(self, batch: Batch) -> dict[str, str]:
        return dict(batch.items.values_list("name", "error_code"))


class CreatingBatches(BatchTestCase):
    def test_every_entry_has_its_row_at_once(self) -> None:
        batch = self.make(photos(5))
        self.assertEqual(batch.items.filter(status=Status.QUEUED).count(), 5)
        self.assertTrue(default_storage.exists(str(batch.archive.name)))

    def test_what_is_no_archive_leaves_nothing_behind(self) -> None:
        with self.assertRaises(ArchiveRefused):
            batches.create_batch(self.alice, io.BytesIO(b"no zip"), filename="a.zip")
        self.assertFalse(Batch.objects.exists())

    @override_settings(BATCH_MAX_FILES=2)
    def test_too_many_files_are_refused_with_the_limit(self) -> None:
        with self.assertRaises(ArchiveRefused) as caught:
            self.make(photos(3))
        self.assertIn("2", str(caught.exception.detail))

    def test_the_same_archive_again_waits_for_a_choice(self) -> None:
        first = self.make()
        second = self.make(again=False)
        self.assertEqual((second.same_as, second.state), (first, State.PAUSED))
        self.assertEqual(self.make().state, State.RUNNING)

    def test_the_same_archive_of_another_person_is_not_told(self) -> None:
        self.make()
        batch = batches.create_batch(self.bob, zipped(photos(3)), filename="a.zip", again=False)
        self.assertIsNone(batch.same_as)

    def test_a_refused_entry_is_known_at_once(self) -> None:
        batch = self.make({"../up.jpg": image_bytes(), "ok.jpg": image_bytes()})
        self.assertEqual(self.codes(batch), {"../up.jpg": "unsafe_path", "ok.jpg": ""})


class Unpacking(BatchTestCase):
    def test_each_entry_becomes_a_photo_of_its_owner_asked_about_as_bulk(self) -> None:
        batch = self.make(photos(3))
        self.unpack()
        found = Photo.objects.filter(batch_item__batch=batch)
        self.assertEqual({photo.owner for photo in found}, {self.alice})
        self.assertEqual(sorted(photo.filename for photo in found), [f"photo-{n:04}.jpg" for n in range(3)])
        priorities = batch_results.predictions(batch).values_list("priority", flat=True)
        self.assertEqual(set(priorities), {Prediction.Priority.BULK})

    def test_one_bad_file_does_not_fail_the_batch(self) -> None:
        batch = self.make({"a.jpg": image_bytes(), "b.jpg": b"no image", "c.zip": b"x", "d.txt": b"text"})
        self.unpack()
        self.answer_all(batch)
        self.assertEqual(
            self.codes(batch),
            {"a.jpg": "", "b.jpg": "not_an_image", "c.zip": "nested_archive", "d.txt": "not_an_image"},
        )
        progress = batch_results.Progress(batch)
        self.assertEqual((progress.total, progress.done, progress.failed, progress.left), (4, 1, 3, 0))
        self.assertEqual(batch.state, State.DONE)

    def test_nothing_is_lost_or_doubled_when_workers_die_at_any_point(self) -> None:
        """Each worker dies at another moment of its slice; the next ones go on."""
        before = len(self.stored_files())
        batch = self.make(photos(24))
        # Where a slice can break off, and at which call: before a decode, between the files of two photos,
        # before the rows of several photos, within them, after them.
        places = [
            (batch_worker, "check_isolated", 3),
            (batch_worker, "write_files", 4),
            (batch_worker, "add_rows", 2),
            (leases, "write", 2),
            (inference, "predict_pending", 1),
        ]
        for place, name, last in places:
            real, calls = getattr(place, name), itertools.count(1)

            def dies(*args: object, **kwargs: object) -> object:
                if next(calls) >= last:  # noqa: B023 (called within this round)
                    raise SystemExit
                return real(*args, **kwargs)  # noqa: B023

            with (
                mock.patch.multiple(batch_worker, SLICE=6, GROUP=2),
                mock.patch.object(place, name, dies),
                self.assertRaises(SystemExit),
            ):
                batch_worker.unpack_slice("dies")
            BatchItem.objects.filter(status=Status.RUNNING).update(
                lease_expires_at=timezone.now() - timedelta(seconds=1), attempt=0
            )
        self.assertTrue(0 < batch.items.filter(status=Status.STORED).count() < 24)
        self.unpack()
        self.assertEqual(batch.items.filter(status=Status.STORED).count(), 24)
        self.assertEqual(Photo.objects.filter(owner=self.alice).count(), 24)
        self.assertEqual(len(self.stored_files()) - before, 3 * 24)

    def test_photos_whose_entries_were_taken_meanwhile_are_not_stored(self) -> None:
        """The others of their transaction are."""
        before = len(self.stored_files())
        batch = self.make(photos(4))
        real = uploads.write_files

        def taken(*args: object, **kwargs: object) -> object:
            batch.items.filter(number=1).update(status=Status.CANCELLED, claim=None)
            return real(*args, **kwargs)  # type: ignore[arg-type]

        with mock.patch.object(batch_worker, "write_files", taken):
            batch_worker.unpack_slice("w")
        stored = batch.items.filter(status=Status.STORED).values_list("number", flat=True)
        self.assertEqual(sorted(stored), [0, 2, 3])
        self.assertEqual(len(self.stored_files()) - before, 3 * 3)

    def test_an_archive_costs_few_queries_a_photo(self) -> None:
        self.make(photos(32))
        with (
            mock.patch.object(inference, "predict_pending"),
            mock.patch.object(batch_worker, "LOOK_SECONDS", 1e6),
            CaptureQueriesContext(connection) as queries,
        ):
            batch_worker.unpack_slice("w")
        self.assertLess(len(queries), 40)  # of two transactions, and once a slice

    def test_the_next_photos_are_decoded_while_those_before_are_answered(self) -> None:
        self.make(photos(10))
        begun: list[int] = []
        seen: list[tuple[int, int]] = []

        def decode(*args: object, **kwargs: object) -> object:
            begun.append(1)
            return check_isolated(*args, **kwargs)  # type: ignore[arg-type]

        def predict(worker: str) -> None:
            for _tenth in range(100):  # the decoders are threads of their own
                if len(begun) >= min(10, Photo.objects.count() + 4):
                    break
                time.sleep(0.1)
            seen.append((Photo.objects.count(), len(begun)))

        with (
            mock.patch.multiple(batch_worker, SLICE=10, TOGETHER=4, check_isolated=decode),
            mock.patch.object(inference, "predict_pending", predict),
        ):
            batch_worker.unpack_slice("w")
        self.assertEqual([stored for stored, _begun in seen], [4, 8, 10])
        self.assertGreaterEqual(seen[0][1], 8)
        self.assertEqual(seen[1][1], 10)

    def test_time_of_answers_is_no_time_of_entries(self) -> None:
        self.make(photos(6))
        clock = [0.0]

        def predict(worker: str) -> None:
            clock[0] += 100

        with (
            mock.patch.object(batch_worker, "TOGETHER", 2),
            mock.patch.object(inference, "predict_pending", predict),
            mock.patch.object(batch_worker, "time", SimpleNamespace(monotonic=lambda: clock[0])),
            mock.patch.object(batch_worker, "SLICE_SECONDS", 1e6),
            mock.patch.object(metrics.ENTRY_SECONDS, "inc") as inc,
        ):
            batch_worker.unpack_slice("w")
        inc.assert_called_once_with(0.0)

    def test_few_bytes_of_files_are_held_ahead(self) -> None:
        self.make(photos(6))
        steps: list[str] = []
        work = batch_worker._Slice

        def noted(name: str) -> Callable[..., object]:
            real = getattr(work, name)

            def step(*args: object) -> object:
                steps.append(name)
                return real(*args)

            return step

        with (
            mock.patch.object(batch_worker, "AHEAD_BYTES", 1),
            mock.patch.multiple(work, read=noted("read"), store=noted("store")),
        ):
            batch_worker.unpack_slice("w")
        self.assertEqual(steps, ["read", "store"] * 6)

    def test_a_worker_that_lost_its_lease_stores_nothing(self) -> None:
        batch = self.make(photos(1))
        (item,) = batch_worker._claim("frozen")
        BatchItem.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        self.unpack("other")
        batch_worker._store_all(batch, [item], "frozen")
        self.assertEqual(Photo.objects.count(), 1)
        self.assertEqual(batch.items.get().worker, "other")

    def test_a_file_that_kills_each_worker_is_given_up_after_three(self) -> None:
        batch = self.make(photos(2))
        batch.items.filter(number=0).update(
            status=Status.RUNNING, attempt=3, lease_expires_at=timezone.now() - timedelta(seconds=1)
        )
        self.assertEqual(batch_worker.QUEUE.recover()["entries_lost"], 1)
        self.unpack()
        self.assertEqual(self.codes(batch), {"photo-0000.jpg": "worker_lost", "photo-0001.jpg": ""})

    def test_a_file_that_a_worker_was_lost_at_is_tried_alone(self) -> None:
        self.make(photos(3))
        BatchItem.objects.filter(number=1).update(
            status=Status.RUNNING, attempt=1, lease_expires_at=timezone.now() - timedelta(seconds=1)
        )
        self.assertEqual([item.number for item in batch_worker._claim("w")], [1])

    def test_two_workers_share_a_batch(self) -> None:
        self.make(photos(20))
        with mock.patch.object(batch_worker, "SLICE", 16):
            first, second = batch_worker._claim("one"), batch_worker._claim("two")
        self.assertEqual((len(first), len(second)), (16, 4))
        self.assertFalse({item.pk for item in first} & {item.pk for item in second})

    def test_what_takes_too_long_goes_back_uncharged_and_wakes_a_worker(self) -> None:
        """The first of a slice is always dealt with, so it gets on."""
        batch = self.make(photos(6))
        with (
            mock.patch.object(batch_worker, "SLICE_SECONDS", 0.0),
            mock.patch.object(batch_worker, "wake_unpacking") as wake,
        ):
            self.assertEqual(batch_worker.unpack_slice("slow"), 6)
        self.assertEqual(wake.call_count, 2)
        self.assertEqual(batch.items.filter(status=Status.STORED).count(), 1)
        waiting = batch.items.filter(status=Status.QUEUED, attempt=0, claim=None)
        self.assertEqual(waiting.count(), 5)
        self.unpack()
        self.assertEqual(batch.items.filter(status=Status.STORED).count(), 6)

    @override_settings(QUOTA_PHOTOS=2)
    def test_the_quota_ends_storing_and_the_rest_can_be_retried(self) -> None:
        batch = self.make(photos(3))
        self.unpack()
        self.assertEqual(sorted(self.codes(batch).values()), ["", "", "quota"])
        self.answer_all(batch)
        with self.settings(QUOTA_PHOTOS=10):
            self.assertEqual(batches.retry_failed(batch), 1)
            self.unpack()
        self.assertEqual(Photo.objects.count(), 3)

    @override_settings(BATCH_MAX_UNPACKED_MB=0)
    def test_unpacked_bytes_are_bounded_in_all(self) -> None:
        batch = self.make(photos(1))
        self.unpack()
        self.assertEqual(self.codes(batch), {"photo-0000.jpg": "unpacked_too_large"})

    def test_the_originals_go_as_soon_as_all_is_done(self) -> None:
        batch = self.make()
        name = batch.archive.name
        self.unpack()
        self.answer_all(batch)
        batch.refresh_from_db()
        self.assertEqual(batch.archive.name, "")
        self.assertFalse(default_storage.exists(str(name)))

    def test_an_archive_that_is_gone_is_said_so(self) -> None:
        batch = self.make(photos(1))
        default_storage.delete(str(batch.archive.name))
        self.unpack()
        self.assertEqual(self.codes(batch), {"photo-0000.jpg": "archive_gone"})

    def test_a_single_upload_is_answered_between_two_entries(self) -> None:
        self.make(photos(3))
        mine = self.upload(self.bob)
        with mock.patch.object(inference, "predict_pending") as predict:
            predict.side_effect = lambda worker: answer(mine)
            batch_worker.unpack_slice("w")
            self.assertEqual(Photo.objects.filter(owner=self.alice).count(), 3)
            self.assertGreaterEqual(predict.call_count, 2)

    def test_unpacking_waits_where_no_model_answers(self) -> None:
        batch = self.make(photos(3))
        with mock.patch.object(batch_worker, "BACKLOG", 0):
            self.assertEqual(batch_worker.unpack_slice("w"), 0)
        self.assertEqual(batch.items.filter(status=Status.QUEUED).count(), 3)


class SteeringBatches(BatchTestCase):
    def test_a_paused_batch_is_left_alone_until_it_is_resumed(self) -> None:
        batch = self.make()
        self.assertTrue(batches.pause(batch))
        self.unpack()
        self.assertFalse(Photo.objects.exists())
        self.assertTrue(batches.resume(batch))
        self.unpack()
        self.assertEqual(Photo.objects.count(), 3)

    def test_cancel_ends_it_for_good_and_keeps_what_is_answered(self) -> None:
        batch = self.make(photos(20))
        with mock.patch.object(batch_worker, "SLICE", 16):
            batch_worker.unpack_slice("w")
        answer(Photo.objects.filter(owner=self.alice)[0])
        with self.captureOnCommitCallbacks(execute=True):
            self.assertTrue(batches.cancel(batch))
        self.assertFalse(batches.cancel(batch))
        progress = batch_results.Progress(batch)
        self.assertEqual((progress.done, progress.failed, progress.left), (1, 19, 0))
        self.unpack()
        self.assertEqual(Photo.objects.count(), 16)
        self.assertFalse(batches.resume(batch))
        self.assertFalse(Batch.objects.get().archive)

    def test_failed_answers_can_be_asked_for_again(self) -> None:
        batch = self.make(photos(2))
        self.unpack()
        batch_results.open_predictions(batch).update(status="failed", error_code="worker_lost", attempt=3)
        batches.finish_if_over(batch)
        self.assertEqual(batches.retry_failed(batch), 2)
        self.assertEqual(batch.state, State.RUNNING)
        self.answer_all(batch)
        self.assertEqual(batch_results.Progress(batch).done, 2)

    def test_what_is_wrong_with_a_file_is_not_tried_again(self) -> None:
        batch = self.make({"a.jpg": b"no image"})
        self.unpack()
        self.assertFalse(batch_results.Progress(batch).can_retry)
        self.assertEqual(batches.retry_failed(batch), 0)


class ReadingResults(BatchTestCase):
    def test_results_come_in_the_archives_order_with_their_errors(self) -> None:
        batch = self.make({"z.jpg": image_bytes(), "a.jpg": b"no image"})
        self.unpack()
        self.answer_all(batch, "dog")
        first, second = batch_results.results(batch)
        self.assertEqual((first["filename"], first["label"], first["error"]), ("z.jpg", "dog", None))
        self.assertEqual(len(first["probabilities"]), 10)
        self.assertEqual((second["status"], second["error"]["code"]), ("failed", "not_an_image"))

    def test_results_are_read_in_pieces(self) -> None:
        batch = self.make({"a.jpg": b"x"})
        BatchItem.objects.bulk_create(
            BatchItem(batch=batch, number=n, name=f"{n}.jpg", status=Status.REFUSED) for n in range(1, 1_200)
        )
        with self.assertNumQueries(4):
            self.assertEqual(sum(1 for _result in batch_results.results(batch)), 1_200)

    def test_a_deleted_photo_is_said_so(self) -> None:
        batch = self.make(photos(1))
        self.unpack()
        self.answer_all(batch)
        Photo.objects.update(deleted_at=timezone.now())
        (result,) = batch_results.results(batch)
        self.assertEqual((result["error"]["code"], result["photo"], result["label"]), ("deleted", None, None))

    def test_folders_named_like_classes_are_the_truth(self) -> None:
        batch = self.make(
            {"all/cat/a.jpg": image_bytes(), "all/Dog/b.jpg": image_bytes(), "c.jpg": image_bytes()}
        )
        self.assertEqual(list(batch.items.values_list("truth", flat=True)), ["cat", "dog", ""])

    def test_a_table_of_labels_goes_before_folders(self) -> None:
        table = io.BytesIO("\ufefffilename,label\r\ndog/a.jpg,cat\r\nb.jpg, Ship \r\n".encode())
        files = {"dog/a.jpg": image_bytes(), "dog/b.jpg": image_bytes(), "dog/c.jpg": image_bytes()}
        batch = self.make(files, truth=table)
        self.assertEqual(list(batch.items.values_list("truth", flat=True)), ["cat", "ship", ""])

    def test_a_bad_table_is_refused_with_its_line(self) -> None:
        for table, part in (
            (b"a.jpg,lion", "Line 1"),
            (b"", "empty"),
            (b"\xff\xfe\x00", "UTF-8"),
            (b"a.jpg", "Line 1"),
        ):
            with self.subTest(table=table), self.assertRaises(TruthRefused) as caught:
                self.make(truth=io.BytesIO(table))
            self.assertIn(part, str(caught.exception.detail))

    def test_the_score_has_an_interval_and_a_matrix(self) -> None:
        batch = self.make({f"cat/{n}.jpg": image_bytes() for n in range(4)})
        self.unpack()
        for number, photo in enumerate(Photo.objects.all()):
            answer(photo, "dog" if number == 0 else "cat")
        score = batch_results.score(batch)
        assert score
        self.assertEqual((score.n, score.correct, score.accuracy), (4, 3, 0.75))
        self.assertEqual([n for _label, n in score.matrix[3][1][3:6]], [3, 0, 1])
        self.assertAlmostEqual(score.low, 0.3006, places=3)
        self.assertAlmostEqual(score.high, 0.9544, places=3)
        self.assertEqual({row.name: row.photos for row in batch_results.class_counts(batch)}["cat"], 3)

    def test_there_is_no_score_without_a_truth(self) -> None:
        batch = self.make()
        self.unpack()
        self.answer_all(batch)
        self.assertIsNone(batch_results.score(batch))

    def test_photos_called_none_of_the_ten_are_counted_apart_and_in_no_class(self) -> None:
        batch = self.make({f"{n}.jpg": image_bytes() for n in range(5)})
        self.unpack()
        for number, photo in enumerate(Photo.objects.all()):
            answer(photo, "bird", verdict="unknown" if number < 3 else "recognised")
        counts = {row.name: row.photos for row in batch_results.class_counts(batch)}
        self.assertEqual((counts["bird"], counts["unknown"]), (2, 3))
        self.assertEqual(sum(counts.values()), 5)
        self.client.force_login(self.alice)
        page = self.client.get(f"/batches/{batch.pk}/?show=class:bird")
        self.assertContains(page, "of-unknown")
        self.assertEqual(len(page.context["sheet"]), 2)
