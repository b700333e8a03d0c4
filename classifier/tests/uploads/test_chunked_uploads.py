"""An archive in pieces: it goes on where it was, whatever was lost, and nothing stays for ever."""

import io
import tempfile
from datetime import timedelta
from typing import Any
from unittest import mock

from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import SiteTestCase, image_bytes
from classifier.models import ArchivePart, ArchiveUpload, Batch, BatchItem
from classifier.operations.sweeper import sweep
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import chunked


class ResumableUploads(SiteTestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=folder))
        self.client.force_login(self.alice)
        self.content = zipped(photos(3)).getvalue()
        self.enterContext(mock.patch.object(chunked, "PIECE_BYTES", len(self.content) // 3 + 1))

    def begin(self, content: bytes | None = None, **fields: object) -> Any:
        size = len(self.content if content is None else content)
        data = {"filename": "a.zip", "size": size, "fingerprint": "1-2", **fields}
        return self.client.post(reverse("classifier:upload-begin"), data)

    def send(self, pk: object, offset: int, content: bytes) -> Any:
        return self.client.patch(
            self.url(pk),
            content,
            content_type="application/octet-stream",
            headers={"Upload-Offset": str(offset)},
        )

    def finish(self, pk: object, **fields: object) -> Any:
        return self.client.post(reverse("classifier:upload-finish", args=[pk]), fields)

    def url(self, pk: object) -> str:
        return reverse("classifier:upload-piece", args=[pk])

    def send_all(self, content: bytes | None = None) -> Any:
        content = self.content if content is None else content
        answer = self.begin(content).json()
        piece, offset = answer["piece"], answer["offset"]
        while offset < len(content):
            offset = self.send(answer["id"], offset, content[offset : offset + piece]).json()["offset"]
        return answer["id"]

    def stored(self) -> int:
        """Files of pieces in the storage."""
        return len(default_storage.listdir("uploads")[1]) if default_storage.exists("uploads") else 0

    def test_pieces_become_a_batch_and_are_removed(self) -> None:
        pk = self.send_all()
        self.assertEqual(self.stored(), 3)
        response = self.finish(pk, folders_are_truth="1")
        batch = Batch.objects.get()
        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.json()["url"], batch.get_absolute_url())
        self.assertEqual((batch.filename, batch.size, batch.items.count()), ("a.zip", len(self.content), 3))
        with batch.archive.open("rb") as file:
            self.assertEqual(file.read(), self.content)
        self.assertEqual((self.stored(), ArchivePart.objects.count()), (0, 0))

    def test_it_goes_on_where_it_was(self) -> None:
        first = self.begin().json()
        self.send(first["id"], 0, self.content[: first["piece"]])
        # Another page, another web process: the same file is known again.
        again = self.begin().json()
        self.assertEqual((again["id"], again["offset"]), (first["id"], first["piece"]))
        self.assertEqual(self.client.get(self.url(first["id"])).json(), {"offset": first["piece"]})
        self.send_all()
        self.finish(first["id"])
        self.assertEqual(Batch.objects.get().size, len(self.content))

    def test_a_lost_answer_does_not_double_a_piece(self) -> None:
        answer = self.begin().json()
        piece = self.content[: answer["piece"]]
        self.send(answer["id"], 0, piece)
        response = self.send(answer["id"], 0, piece)
        self.assertEqual((response.status_code, response.json()), (409, {"offset": len(piece)}))
        self.assertEqual((self.stored(), ArchivePart.objects.count()), (1, 1))

    def test_of_two_equal_pieces_at_once_one_is_kept(self) -> None:
        answer = self.begin().json()
        early = ArchiveUpload.objects.get()
        self.send(answer["id"], 0, self.content[: answer["piece"]])
        with self.assertRaises(chunked.WrongOffset) as caught:
            chunked.append(early, 0, self.content[: answer["piece"]])
        self.assertEqual(caught.exception.received, answer["piece"])
        self.assertEqual((self.stored(), ArchivePart.objects.count()), (1, 1))

    def test_a_piece_that_broke_off_is_not_kept(self) -> None:
        answer = self.begin().json()
        broken: dict[str, Any] = {"wsgi.input": io.BytesIO(b"short"), "CONTENT_LENGTH": "50"}
        response = self.client.generic(
            "PATCH", self.url(answer["id"]), b"x", headers={"Upload-Offset": "0"}, **broken
        )
        self.assertEqual((response.status_code, response.json()), (409, {"offset": 0}))
        self.assertEqual(self.stored(), 0)

    def test_a_lost_last_answer_leads_to_the_same_batch(self) -> None:
        pk = self.send_all()
        first, second = self.finish(pk), self.finish(pk)
        self.assertEqual(first.json(), second.json())
        self.assertEqual(Batch.objects.count(), 1)

    def test_missing_bytes_are_asked_for(self) -> None:
        answer = self.begin().json()
        response = self.finish(answer["id"])
        self.assertEqual((response.status_code, response.json()), (409, {"offset": 0}))

    def test_the_limit_of_an_archive_holds_from_the_first_byte(self) -> None:
        with override_settings(BATCH_MAX_MB=1):
            response = self.begin(size=1024 * 1024 + 1)
        self.assertEqual(response.status_code, 413)
        self.assertIn("1 MB", response.json()["error"]["detail"])
        answer = self.begin(size=10).json()
        self.assertEqual(self.send(answer["id"], 0, self.content[:11]).status_code, 400)
        self.assertEqual(self.send(answer["id"], 0, b"").status_code, 409)
        for size in ("0", "-1", "x", "9" * 30):
            self.assertEqual(self.begin(size=size).status_code, 400)

    def test_what_is_no_archive_is_told_at_the_end_and_removed(self) -> None:
        response = self.finish(self.send_all(b"no zip at all, but long enough for three pieces"))
        self.assertEqual(response.status_code, 400)
        self.assertIn("not a ZIP", response.json()["error"]["detail"])
        self.assertEqual((self.stored(), ArchiveUpload.objects.count()), (0, 0))

    def test_a_bad_table_of_labels_can_be_mended(self) -> None:
        pk = self.send_all()
        response = self.finish(pk, truth=SimpleUploadedFile("t.csv", b"a.jpg,lion"))
        self.assertEqual(response.json()["error"]["code"], "truth_invalid")
        table = SimpleUploadedFile("t.csv", b"photo-0000.jpg,cat")
        self.assertEqual(self.finish(pk, truth=table).status_code, 201)
        self.assertEqual(BatchItem.objects.get(number=0).truth, "cat")

    def test_the_same_archive_again_waits_for_a_choice(self) -> None:
        self.finish(self.send_all())
        self.finish(self.send_all())
        second, first = Batch.objects.all()
        self.assertEqual((second.same_as, second.state), (first, Batch.State.PAUSED))

    def test_three_unfinished_ones_are_kept_a_person(self) -> None:
        for number in range(4):
            pk = self.begin(fingerprint=str(number)).json()["id"]
            self.send(pk, 0, self.content[:10])
        self.assertEqual(sorted(ArchiveUpload.objects.values_list("fingerprint", flat=True)), ["1", "2", "3"])
        self.assertEqual(self.stored(), 3)

    def test_nobody_goes_on_for_a_day_and_it_is_swept_away(self) -> None:
        old, new = self.begin().json()["id"], self.begin(fingerprint="new").json()["id"]
        for pk in (old, new):
            self.send(pk, 0, self.content[:10])
        ArchiveUpload.objects.filter(pk=old).update(changed_at=timezone.now() - timedelta(hours=25))
        self.assertEqual(sweep()["uploads_purged"], 1)
        self.assertEqual((str(ArchiveUpload.objects.get().pk), self.stored()), (new, 1))
        self.assertEqual(self.send(old, 10, b"x").status_code, 404)

    def test_a_full_disk_is_told_and_the_upload_stays(self) -> None:
        answer = self.begin().json()
        full = OSError(28, "No space left on device")
        with mock.patch("django.core.files.storage.FileSystemStorage._save", side_effect=full):
            response = self.send(answer["id"], 0, self.content[: answer["piece"]])
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (507, "storage_full"))
        self.assertEqual(self.begin().json()["offset"], 0)

    def test_an_upload_of_another_person_is_not_found(self) -> None:
        pk = self.begin().json()["id"]
        self.client.force_login(self.bob)
        self.assertEqual(self.client.get(self.url(pk)).status_code, 404)
        self.assertEqual(self.send(pk, 0, b"x").status_code, 404)
        self.assertEqual(self.client.delete(self.url(pk)).status_code, 404)
        self.assertEqual(self.finish(pk).status_code, 404)
        self.assertNotEqual(self.begin().json()["id"], pk)

    def test_it_can_be_given_up(self) -> None:
        pk = self.send_all()
        self.assertEqual(self.client.delete(self.url(pk)).status_code, 204)
        self.assertEqual((self.stored(), ArchiveUpload.objects.count()), (0, 0))

    def test_without_a_script_the_plain_form_still_works(self) -> None:
        archive = SimpleUploadedFile("b.zip", zipped({"b.jpg": image_bytes()}).getvalue())
        response = self.client.post(reverse("classifier:batches"), {"archive": archive})
        self.assertRedirects(response, Batch.objects.get().get_absolute_url())

    def test_an_upload_may_come_to_another_process_without_a_file_of_its_own(self) -> None:
        """Nothing lies in memory: a piece is read back from the storage by its row alone."""
        pk = self.send_all()
        parts = ArchivePart.objects.order_by("offset")
        whole = io.BytesIO()
        for part in parts:
            with part.file.open("rb") as file:
                whole.write(file.read())
        self.assertEqual(whole.getvalue(), self.content)
        self.assertEqual(self.finish(pk).status_code, 201)
