"""The admin of people, photos and answers: opens, stays small, exports, changes no history."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from unittest import mock

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cifarsite.admin import GROUPS
from cifarsite.test import SiteTestCase, answer, drawn_model, make_user
from classifier.accounts.tokens import make_token
from classifier.models import ApiToken, AuditEntry, Photo, Prediction, User
from classifier.photos.access import grant_access
from training.admin.base import CappedPaginator, Internal, LargeTableAdmin
from training.models import ModelVersion, Project, Worker

INLINE = re.compile(r"<style|<script(?![^>]*(src=|application/json))|\s(style|on[a-z]+)=[\"']", re.IGNORECASE)


def changelist(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def change(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def many_photos(owner: User, count: int) -> None:
    """Rows as an upload writes them, without their files."""
    digest = "0" * 64
    photos = [
        Photo(owner=owner, filename=f"holiday-{i}.jpg", width=64, height=48, size=900, pixel_sha256=digest)
        for i in range(count)
    ]
    Photo.objects.bulk_create(photos)
    Prediction.objects.bulk_create(
        Prediction(
            photo=photo,
            owner=owner,
            photo_created_at=photo.created_at,
            status="done",
            label="cat",
            confidence=0.9,
        )
        for photo in photos
    )


class AdminTestCase(SiteTestCase):
    root: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)

    def setUp(self) -> None:
        self.client.force_login(self.root)

    def may(self, *codenames: str) -> None:
        self.charlie.user_permissions.set(Permission.objects.filter(codename__in=codenames))

    def queries(self, url: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            self.assertEqual(self.client.get(url).status_code, 200)
        return len(captured)


class Pages(AdminTestCase):
    def test_every_table_has_a_list_and_an_inner_page_that_opens(self) -> None:
        photo = self.upload()
        answer(photo)
        for model in (Photo, Prediction, User):
            with self.subTest(model=model.__name__):
                self.assertEqual(self.client.get(changelist(model)).status_code, 200)
                self.assertEqual(self.client.get(change(model.objects.all()[0])).status_code, 200)

    def test_every_table_of_the_site_is_registered(self) -> None:
        for label in ("classifier", "training"):
            for model in apps.get_app_config(label).get_models():
                with self.subTest(model=model.__name__):
                    self.assertTrue(admin.site.is_registered(model))

    def test_every_registered_list_opens(self) -> None:
        self.upload()
        for model in admin.site._registry:
            with self.subTest(model=model.__name__):
                self.assertEqual(self.client.get(changelist(model)).status_code, 200)

    def test_no_page_has_an_inline_script_or_style(self) -> None:
        photo = self.upload()
        answer(photo)
        export = reverse("admin:classifier_photo_export")
        urls = [reverse("admin:index"), export, change(photo), change(photo.prediction), change(self.alice)]
        urls += [changelist(model) for model in admin.site._registry]
        for url in urls:
            with self.subTest(url=url):
                page = self.client.get(url).content.decode()
                self.assertIsNone(INLINE.search(page), INLINE.search(page))

    def test_the_login_is_that_of_the_site(self) -> None:
        self.client.logout()
        self.assertRedirects(
            self.client.get(reverse("admin:index")),
            f"{reverse('admin:login')}?next=/admin/",
            fetch_redirect_response=False,
        )
        answered = self.client.get(reverse("admin:login"), {"next": "/admin/"})
        self.assertEqual(answered.status_code, 302)
        self.assertTrue(answered["Location"].startswith(reverse("account_login")))

    def test_an_ordinary_person_gets_nowhere(self) -> None:
        self.client.force_login(self.alice)
        self.assertEqual(self.client.get(changelist(Photo)).status_code, 302)
        self.assertEqual(self.client.get(reverse("admin:login")).status_code, 403)

    def test_staff_without_permissions_sees_no_table_and_exports_nothing(self) -> None:
        self.upload()
        self.client.force_login(self.charlie)
        page = self.client.get(reverse("admin:index"))
        self.assertNotContains(page, "Queues")
        for model in (Photo, Prediction, User):
            self.assertEqual(self.client.get(changelist(model)).status_code, 403)
        for name in ("photo", "prediction"):
            url = reverse(f"admin:classifier_{name}_export")
            self.assertEqual(self.client.get(url).status_code, 403)
            self.assertEqual(self.client.post(url, {"format": "0", "resource": "0"}).status_code, 403)


class Lists(AdminTestCase):
    def test_the_number_of_queries_does_not_grow_with_the_rows(self) -> None:
        for model in (Photo, Prediction):
            many_photos(self.alice, 5)
            self.client.get(changelist(model))
            few = self.queries(changelist(model))
            many_photos(self.alice, 100)
            with self.subTest(model=model.__name__):
                self.assertEqual(self.queries(changelist(model)), few)
                self.assertLessEqual(few, 11)

    def test_the_list_of_people_counts_photos_in_the_same_query(self) -> None:
        few = self.queries(changelist(User))
        for i in range(60):
            make_user(f"person{i}")
        many_photos(self.alice, 12)
        self.assertEqual(self.queries(changelist(User)), few)
        page = self.client.get(changelist(User), {"q": "alice"})
        self.assertContains(page, f'{changelist(Photo)}?owner__id__exact={self.alice.pk}">12</a>')

    def test_a_search_finds_an_id_a_hash_a_name_and_an_owner(self) -> None:
        photo = self.upload(name="beach.jpg")
        self.upload(self.bob, name="forest.jpg", colour="red")
        for term in (str(photo.pk), photo.pixel_sha256, "BEA", "alice"):
            with self.subTest(term=term):
                page = self.client.get(changelist(Photo), {"q": term})
                self.assertContains(page, "beach.jpg")
                self.assertNotContains(page, "forest.jpg")
        prediction = photo.prediction
        for term in (str(prediction.pk), str(photo.pk), "bea", "alice"):
            page = self.client.get(changelist(Prediction), {"q": term})
            self.assertContains(page, change(prediction))
            self.assertNotContains(page, "forest.jpg")

    def test_a_search_for_an_id_reads_no_file_names(self) -> None:
        photo = self.upload()
        with CaptureQueriesContext(connection) as captured:
            self.client.get(changelist(Photo), {"q": str(photo.pk)})
        self.assertFalse([q for q in captured.captured_queries if "LIKE" in q["sql"]])

    def test_a_list_shows_thumbnails_states_and_links(self) -> None:
        photo = self.upload()
        answer(photo, verdict="unsure")
        grant_access(photo, by=self.root, reason="A look for this test.")
        page = self.client.get(changelist(Prediction)).content.decode()
        self.assertIn(reverse("classifier:photo-thumbnail", args=[photo.pk]), page)
        self.assertIn('class="state state-good">done', page)
        self.assertIn('class="state state-busy">unsure', page)
        self.assertIn(change(photo), page)
        self.assertIn(change(self.alice), page)

    def test_a_photo_and_its_prediction_link_to_each_other(self) -> None:
        photo = self.upload()
        prediction = answer(photo)
        self.assertContains(self.client.get(change(photo)), change(prediction))
        self.assertContains(self.client.get(change(prediction)), change(photo))

    def test_a_file_name_is_text_and_never_markup(self) -> None:
        photo = self.upload()
        Photo.objects.filter(pk=photo.pk).update(filename='"><b id=x>.jpg')
        for url in (changelist(Photo), changelist(Prediction), change(photo), change(photo.prediction)):
            self.assertNotContains(self.client.get(url), "<b id=x>")

    def test_the_dates_above_a_list_are_those_of_the_table_and_lead_to_its_days(self) -> None:
        old, new = self.upload(name="old.jpg"), self.upload(name="new.jpg", colour="red")
        Photo.objects.filter(pk=old.pk).update(created_at="2024-02-03T12:00:00Z")
        Photo.objects.filter(pk=new.pk).update(created_at="2025-06-07T12:00:00Z")
        for filters, link, names in (
            ({}, "?created_at__year=2024", ("old.jpg", "new.jpg")),
            ({"created_at__year": "2024"}, "created_at__month=2", ("old.jpg",)),
            ({"created_at__year": "2024", "created_at__month": "2"}, "created_at__day=3", ("old.jpg",)),
            (
                {"created_at__year": "2025", "created_at__month": "6", "created_at__day": "7"},
                "June 7",
                ("new.jpg",),
            ),
            ({"created_at__year": "2024", "created_at__month": "1"}, "2024", ()),
        ):
            with self.subTest(filters=filters):
                page = self.client.get(changelist(Photo), filters)
                self.assertContains(page, link)
                found = [row.filename for row in page.context["cl"].result_list]
                self.assertCountEqual(found, names)
        page = self.client.get(changelist(Photo), {"created_at__year": "x"})
        self.assertRedirects(page, f"{changelist(Photo)}?e=1")

    def test_no_list_reads_all_its_rows_for_the_dates(self) -> None:
        many_photos(self.alice, 5)
        for model in (Photo, Prediction):
            with CaptureQueriesContext(connection) as captured:
                self.client.get(changelist(model))
            self.assertFalse([q for q in captured.captured_queries if "DISTINCT" in q["sql"]])

    def test_no_list_sorts_all_its_rows(self) -> None:
        """Its order begins with a column that an index begins with."""
        few = {"classifier.driftalert", "classifier.driftday", "training.datasetversion"}
        few |= {"training.project", "training.projectimport"}
        sorting = set()
        registered: dict[Any, Any] = admin.site._registry
        for model, options in registered.items():
            if isinstance(options, LargeTableAdmin):
                columns = {field.name for field in model._meta.fields if field.db_index or field.unique}
                columns |= {index.fields[0] for index in model._meta.indexes if not index.condition}
                columns |= {one.fields[0] for one in model._meta.total_unique_constraints}
                order = [*(options.ordering or model._meta.ordering), "pk"]
                if order[0].lstrip("-") not in {name.lstrip("-") for name in columns} | {"pk"}:
                    sorting.add(model._meta.label_lower)
        self.assertEqual(sorting, few)

    def test_a_bad_model_filter_is_not_an_error_page(self) -> None:
        ModelVersion.objects.create(name="m", recipe="fast_cnn", sha256="0" * 64, size=1, card={})
        answered = self.client.get(changelist(Prediction), {"model__id__exact": "x"})
        self.assertRedirects(answered, f"{changelist(Prediction)}?e=1")


class History(AdminTestCase):
    def test_a_prediction_can_be_neither_added_nor_changed_nor_deleted(self) -> None:
        prediction = self.upload().prediction
        url = changelist(Prediction)
        self.assertEqual(self.client.get(f"{url}add/").status_code, 403)
        self.assertEqual(self.client.post(change(prediction), {"label": "dog"}).status_code, 403)
        self.assertEqual(self.client.post(f"{url}{prediction.pk}/delete/", {"post": "yes"}).status_code, 403)
        data = {"action": "delete_selected", "_selected_action": [prediction.pk], "post": "yes"}
        self.client.post(url, data)
        prediction.refresh_from_db()
        self.assertEqual(prediction.label, "")

    def test_a_photo_can_be_neither_added_nor_changed(self) -> None:
        photo = self.upload()
        self.assertEqual(self.client.get(f"{changelist(Photo)}add/").status_code, 403)
        self.assertEqual(self.client.post(change(photo), {"filename": "x"}).status_code, 403)

    def test_deleting_photos_hides_them_and_they_can_come_back(self) -> None:
        photos = [self.upload(), self.upload(self.bob, colour="red")]
        data = {"action": "delete_selected", "_selected_action": [p.pk for p in photos]}
        self.assertContains(self.client.post(changelist(Photo), data), "Are you sure")
        self.client.post(changelist(Photo), {**data, "post": "yes"})
        self.assertEqual(Photo.objects.filter(deleted_at=None).count(), 0)
        self.assertEqual(Photo.objects.count(), 2)
        # The row has no picture any more: the private view shows deleted photos to nobody.
        page = self.client.get(changelist(Photo))
        self.assertNotContains(page, reverse("classifier:photo-thumbnail", args=[photos[0].pk]))
        self.client.post(changelist(Photo), {**data, "action": "restore_selected"})
        self.assertEqual(Photo.objects.filter(deleted_at=None).count(), 2)

    def test_deleting_one_photo_from_its_page_hides_it(self) -> None:
        photo = self.upload()
        url = reverse("admin:classifier_photo_delete", args=[photo.pk])
        self.assertContains(self.client.get(url), photo.filename)
        self.client.post(url, {"post": "yes"})
        photo.refresh_from_db()
        self.assertIsNotNone(photo.deleted_at)

    def test_staff_who_may_only_look_deletes_no_photo(self) -> None:
        photo = self.upload()
        self.may("view_photo")
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.get(change(photo)).status_code, 200)
        data = {"action": "delete_selected", "_selected_action": [photo.pk], "post": "yes"}
        self.client.post(changelist(Photo), data)
        url = reverse("admin:classifier_photo_delete", args=[photo.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        photo.refresh_from_db()
        self.assertIsNone(photo.deleted_at)

    def test_a_person_is_changed_but_not_deleted(self) -> None:
        url = reverse("admin:classifier_user_delete", args=[self.alice.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        form = self.client.get(change(self.alice)).context["adminform"].form
        data = {name: form[name].value() for name in form.fields if form[name].value()}
        del data["is_active"]
        answered = self.client.post(change(self.alice), {**data, "language": "vi"})
        self.assertEqual(answered.status_code, 302, answered.context and answered.context["errors"])
        self.alice.refresh_from_db()
        self.assertEqual((self.alice.language, self.alice.is_active), ("vi", False))

    def test_no_page_shows_a_secret_or_a_session_key(self) -> None:
        factor = Authenticator.objects.create(user=self.alice, type="totp", data={"secret": "TOPSECRET"})
        session = UserSession.objects.create(
            user=self.alice, ip="127.0.0.1", session_key="SESSIONKEY", user_agent="browser"
        )
        self.assertNotContains(self.client.get(change(factor)), "TOPSECRET")
        self.assertNotContains(self.client.get(change(session)), "SESSIONKEY")


class Tokens(AdminTestCase):
    def test_a_token_is_revoked_but_never_shown_made_or_deleted(self) -> None:
        token, secret = make_token(self.alice, scopes=["read"], name="laptop")
        page = self.client.get(change(token))
        self.assertContains(page, token.prefix)
        self.assertNotContains(page, token.sha256)
        self.assertNotContains(page, secret)
        self.assertEqual(self.client.get(f"{changelist(ApiToken)}add/").status_code, 403)
        data = {"action": "revoke_selected", "_selected_action": [token.pk]}
        self.assertContains(self.client.post(changelist(ApiToken), data, follow=True), "1 token is revoked")
        token.refresh_from_db()
        self.assertEqual(token.state, "revoked")

    def test_the_audit_log_can_be_read_but_not_changed(self) -> None:
        entry = AuditEntry.objects.create(kind="token_made", by=self.alice)
        self.assertEqual(self.client.get(change(entry)).status_code, 200)
        self.assertEqual(self.client.post(change(entry), {"kind": "x"}).status_code, 403)
        url = reverse("admin:classifier_auditentry_delete", args=[entry.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        self.assertEqual(self.client.get(f"{changelist(AuditEntry)}add/").status_code, 403)


class Export(AdminTestCase):
    def export(self, name: str, file_format: str, **query: str) -> str:
        url = reverse(f"admin:classifier_{name}_export", query=query)
        answered = self.client.post(url, {"format": file_format, "resource": "0"})
        self.assertEqual(answered.status_code, 200)
        self.assertIn("attachment", answered["Content-Disposition"])
        return answered.content.decode()

    def test_the_form_says_what_it_exports(self) -> None:
        self.assertContains(self.client.get(reverse("admin:classifier_photo_export")), "pixel_sha256")

    def test_photos_come_as_csv_without_any_path(self) -> None:
        photo = self.upload(name="beach.jpg")
        text = self.export("photo", "0")
        (row,) = csv.DictReader(io.StringIO(text))
        self.assertEqual(row["id"], str(photo.pk))
        self.assertEqual((row["owner"], row["filename"], row["width"]), ("alice", "beach.jpg", "64"))
        self.assertEqual(row["created_at"], photo.created_at.isoformat())
        self.assertNotIn("photos/", text)

    def test_no_cell_is_a_formula(self) -> None:
        for start in "=+-@\t\r":
            photo = self.upload()
            name = f"{start}HYPERLINK(1)"
            Photo.objects.filter(pk=photo.pk).update(filename=name)
            with self.subTest(start=start):
                (row,) = csv.DictReader(io.StringIO(self.export("photo", "0", q=str(photo.pk)), newline=""))
                self.assertEqual(row["filename"], f"'{name}")
        (found,) = json.loads(self.export("photo", "1", q=str(photo.pk)))
        self.assertEqual(found["filename"], name)

    def test_predictions_come_as_json_with_numbers(self) -> None:
        prediction = answer(self.upload(), confidence=0.75)
        (row,) = json.loads(self.export("prediction", "1"))
        self.assertEqual(row["confidence"], 0.75)
        self.assertEqual(row["photo"], str(prediction.photo_id))
        self.assertEqual(len(row["probabilities"]), 10)
        self.assertEqual((row["label"], row["verdict"], row["model"]), ("cat", "recognised", "drawn-cifar10"))
        self.assertNotIn("input", row)

    def test_an_export_holds_what_the_filter_shows(self) -> None:
        answer(self.upload(name="cat.jpg"))
        self.upload(name="waiting.jpg", colour="red")
        text = self.export("prediction", "0", status__exact="queued")
        self.assertIn("waiting.jpg", text)
        self.assertNotIn("cat.jpg", text)

    def test_the_number_of_queries_of_an_export_does_not_grow(self) -> None:
        counts = []
        for count in (5, 100):
            many_photos(self.alice, count)
            with CaptureQueriesContext(connection) as captured:
                self.export("prediction", "0")
            counts.append(len(captured))
        self.assertEqual(counts[0], counts[1])

    def test_an_export_of_one_table_needs_the_right_to_see_that_table(self) -> None:
        self.may("view_prediction")
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.get(reverse("admin:classifier_prediction_export")).status_code, 200)
        self.assertEqual(self.client.get(reverse("admin:classifier_photo_export")).status_code, 403)

    def test_there_is_no_import(self) -> None:
        self.assertEqual(self.client.get("/admin/classifier/photo/import/").status_code, 302)
        self.assertNotContains(self.client.get(changelist(Photo)), "/import/")


class FirstPage(AdminTestCase):
    def test_it_shows_queues_champion_jobs_and_workers(self) -> None:
        self.upload()
        Worker.objects.create(
            name="w1@host", queues=["predict"], started_at=timezone.now(), seen_at=timezone.now()
        )
        page = self.client.get(reverse("admin:index"))
        for text in ("Queues", "interactive", "waiting", "No model is installed", "None yet", "w1@host"):
            self.assertContains(page, text)
        self.assertContains(page, '<span class="state state-good">running</span>', html=True)

    def test_it_says_when_nothing_works(self) -> None:
        page = self.client.get(reverse("admin:index"))
        self.assertContains(page, "No photo is queued")
        self.assertContains(page, "No worker has been seen")

    def test_its_number_of_queries_is_fixed(self) -> None:
        self.upload()
        few = self.queries(reverse("admin:index"))
        many_photos(self.alice, 100)
        Prediction.objects.update(status="queued")
        self.assertEqual(self.queries(reverse("admin:index")), few)
        self.assertLessEqual(few, 10)

    def test_it_names_the_champion_of_each_project_and_links_to_the_rest(self) -> None:
        few = self.queries(reverse("admin:index"))
        for number in range(7):
            project = Project.objects.create(slug=f"p{number}", name=f"Project {number}")
            drawn_model(project.pk, is_champion=True)
            page = self.client.get(reverse("admin:index"))
            self.assertEqual("All champions" in page.content.decode(), number >= 5)
        self.assertContains(page, "Project 6:")
        self.assertContains(page, "drawn-p6")
        self.assertNotContains(page, "drawn-p1")
        self.assertLessEqual(self.queries(reverse("admin:index")), few)

    def test_it_shows_each_part_to_those_who_may_see_its_table(self) -> None:
        self.may("view_prediction")
        self.client.force_login(self.charlie)
        page = self.client.get(reverse("admin:index"))
        self.assertContains(page, "Queues")
        self.assertNotContains(page, "Last training jobs")


class CountingManyRows(SiteTestCase):
    def test_a_long_list_is_counted_only_so_far_and_says_so(self) -> None:
        chief = make_user("chief", is_staff=True, is_superuser=True)
        self.client.force_login(chief)
        for _n in range(4):
            self.upload()
        page = self.client.get("/admin/classifier/photo/")
        self.assertNotContains(page, "these are the first ones")
        self.assertEqual(page.context["cl"].result_count, 4)
        with mock.patch.object(CappedPaginator, "MOST", 3):
            page = self.client.get("/admin/classifier/photo/")
        self.assertContains(page, "More than 3: these are the first ones.")
        self.assertEqual(page.context["cl"].result_count, 3)


class SearchingNames(SiteTestCase):
    def test_photos_and_answers_are_found_by_words_and_by_their_owner(self) -> None:
        self.client.force_login(make_user("chief", is_staff=True, is_superuser=True))
        beach, other = self.upload(name="IMG_2024 beach.jpg"), self.upload(self.bob, name="cat.jpg")
        for term, found in (
            ("beach", [beach]),
            ("img bea", [beach]),
            ("bob", [other]),
            ("nothing", []),
            ("_", []),
        ):
            with self.subTest(term):
                photos = self.client.get("/admin/classifier/photo/", {"q": term}).context["cl"].queryset
                self.assertEqual(list(photos), found)
                answers = self.client.get("/admin/classifier/prediction/", {"q": term}).context["cl"].queryset
                self.assertEqual([answer.photo for answer in answers], found)


class Index(AdminTestCase):
    def groups(self) -> dict[str, list[str]]:
        page = self.client.get(reverse("admin:index"))
        listed = page.context["app_list"]
        self.assertEqual(listed, page.context["available_apps"])  # the sidebar's list
        return {str(group["name"]): [t["model"]._meta.label for t in group["models"]] for group in listed}

    def test_every_registered_table_stands_in_exactly_one_group(self) -> None:
        registered = [model._meta.label for model in admin.site._registry]
        listed = [label for labels in GROUPS.values() for label in labels]
        self.assertCountEqual(listed, registered)
        self.assertEqual(
            self.groups(),
            {str(name): list(labels) for name, labels in GROUPS.items()},
            "a superuser sees all",
        )

    def test_technical_tables_are_those_under_internals(self) -> None:
        technical = [
            m._meta.label for m, table in admin.site._registry.items() if isinstance(table, Internal)
        ]
        self.assertCountEqual(self.groups()["Internals"], technical)

    def test_staff_with_every_permission_sees_all_groups_but_internals(self) -> None:
        self.charlie.user_permissions.set(Permission.objects.all())
        self.client.force_login(self.charlie)
        groups = self.groups()
        self.assertEqual(list(groups), [str(name) for name in GROUPS][:-1])
        for model, table in admin.site._registry.items():
            with self.subTest(model=model.__name__):
                expected = 403 if isinstance(table, Internal) else 200
                self.assertEqual(self.client.get(changelist(model)).status_code, expected)

    def test_a_group_without_a_table_that_somebody_may_view_is_left_out(self) -> None:
        self.may("view_photo")
        self.client.force_login(self.charlie)
        self.assertEqual(self.groups(), {"Photos and predictions": ["classifier.Photo"]})

    def test_the_link_of_a_group_leads_to_its_place_on_the_index(self) -> None:
        page = self.client.get(reverse("admin:index")).content.decode()
        for link in re.findall(r'href="/admin/#([^"]+)" class="section"', page):
            self.assertIn(f'id="{link}"', page)
        self.assertEqual(len(set(re.findall(r'href="/admin/#([^"]+)"', page))), len(GROUPS))
