"""Projects: classes of one's own, and the labelled images that models learn from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Router, Schema, Status
from ninja.files import UploadedFile
from ninja.params.functions import File, Path, Query
from pydantic import ConfigDict, Field

from cifarsite.core import audit as training_audit
from cifarsite.core.api_problems import Problem, error_entry, problems
from classifier.accounts import audit
from classifier.accounts.idempotency import fingerprint, once
from classifier.api.authentication import person_of
from classifier.api.parameters import EXAMPLE_ID, IdempotencyKey
from classifier.api.photos import refuse_text
from classifier.models import User
from classifier.uploads import admission, project_imports
from classifier.uploads.errors import Rejected
from training.api.schemas import Body
from training.models import ModelVersion, Project, ProjectClass, ProjectImport
from training.projects import images, lifecycle
from training.projects.access import get_project, may_train, visible_projects
from training.projects.refusals import ProjectRefused

projects = Router(tags=["Projects"])

PAGE_SIZE = 50
STATUS_OF = {**admission.STATUS_OF, "slug_taken": 409, "fixed": 409}

Slug = Annotated[str, Path(max_length=50, examples=["cifar10"])]
ImportId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]
Cursor = Annotated[str, Query(max_length=50, description="`next_cursor` of the page before.")]
# Not required here: who asks is told first that they may not.
Archive = Annotated[
    UploadedFile | None, File(description="Required: a ZIP archive with a folder for each class.")
]
Labels = Annotated[
    UploadedFile | None,
    File(
        description="A CSV of `filename,label`, instead of folders. Separated by comma, semicolon or tab, in "
        "UTF-8, UTF-16 or CP1252; names are matched as in `POST batches`."
    ),
]


class Champion(Schema):
    """The model that answers."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["fruit-1"])


class ProjectAnswer(Schema):
    """A set of classes with its images and its model."""

    model_config = ConfigDict(title="Project")

    slug: str = Field(examples=["fruit"])
    name: str = Field(examples=["Fruit"])
    classes: list[str] = Field(description="In their order.", examples=[["apple", "pear"]])
    images: dict[str, int] = Field(
        description="Labelled images by class. `cifar10`'s come with the data set and are not counted.",
        examples=[{"apple": 120, "pear": 98}],
    )
    champion: Champion | None = Field(description="Null: no model answers yet.")


class ProjectPage(Schema):
    """Projects, the oldest first."""

    projects: list[ProjectAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ProjectBody(Body):
    """A project to make."""

    name: str = Field(min_length=1, max_length=100, examples=["Fruit"])
    slug: str = Field(
        "", max_length=50, description="Its name in addresses; left out: made of `name`.", examples=["fruit"]
    )
    classes: list[str] = Field(
        [], max_length=1_000, description="Imports add more.", examples=[["apple", "pear"]]
    )


class FileError(Schema):
    """Why a file was not imported."""

    filename: str = Field(examples=["apple/notes.txt"])
    code: str = Field(examples=["not_an_image"])
    detail: str


class ImportAnswer(Schema):
    """Images on their way into a project; `added`, `duplicates`, `failed` and the rest make up `total`."""

    model_config = ConfigDict(title="Import")

    id: UUID = Field(examples=[EXAMPLE_ID])
    project: str = Field(examples=["fruit"])
    filename: str = Field(examples=["fruit.zip"])
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    total: int = Field(description="Files of the archive.", examples=[218])
    added: int = Field(description="New images.", examples=[210])
    duplicates: int = Field(description="Images that the project had already.", examples=[3])
    failed: int = Field(description="Files that could not be used.", examples=[5])
    errors: list[FileError] = Field(description="The first 1,000 of them.")
    detail: str = Field(
        description="Why it failed, or what is to be known about the names of classes; may be empty."
    )
    images: dict[str, int] = Field(
        description="The project's images by class, now.", examples=[{"apple": 120, "pear": 98}]
    )
    created_at: datetime
    finished_at: datetime | None


@projects.get(
    "/projects",
    response={200: ProjectPage, **problems(400, 422)},
    operation_id="listProjects",
    summary="List projects",
)
def list_projects(request: HttpRequest, cursor: Cursor = "") -> Any:
    """The projects that you may use, the oldest first, fifty a page. Scope `read`."""
    rows = visible_projects(person_of(request, "read"))
    if cursor:
        last = rows.filter(pk=cursor).first()
        if last is None:
            raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page."))
        later = Q(created_at__gt=last.created_at) | Q(created_at=last.created_at, slug__gt=last.pk)
        rows = rows.filter(later)
    found = list(rows.order_by("created_at", "slug")[: PAGE_SIZE + 1])
    more = len(found) > PAGE_SIZE
    return {
        "projects": project_answers(found[:PAGE_SIZE]),
        "next_cursor": found[PAGE_SIZE - 1].pk if more else None,
    }


@projects.post(
    "/projects",
    response={201: ProjectAnswer, **problems(400, 404, 409, 422)},
    operation_id="createProject",
    summary="Create a project",
)
def create_project(
    request: HttpRequest, response: HttpResponse, body: ProjectBody, idempotency_key: IdempotencyKey = ""
) -> Any:
    """Make a project for classes of your own. Staff, scope `train`."""
    person = trainer_of(request)
    key = idempotency_key.strip()
    asked = fingerprint(f"createProject {body.model_dump_json()}", []) if key else ""
    (status, made), repeated = once(person, key, asked, partial(_create, person, body))
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"{request.path}/{made['slug']}"
    return Status(status, project_answers([find(person, made["slug"])])[0])


@projects.get(
    "/projects/{slug}",
    response={200: ProjectAnswer, **problems(404, 422)},
    operation_id="getProject",
    summary="Get a project",
)
def get_one_project(request: HttpRequest, slug: Slug) -> Any:
    """Its classes, how many images each has, and the model that answers. Scope `read`."""
    return project_answers([find(person_of(request, "read"), slug)])[0]


@projects.post(
    "/projects/{slug}/images",
    response={202: ImportAnswer, **problems(400, 404, 409, 413, 422, 507)},
    operation_id="importImages",
    summary="Import labelled images",
)
def import_images(
    request: HttpRequest,
    response: HttpResponse,
    slug: Slug,
    archive: Archive = None,
    labels: Labels = None,
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Every file of the archive becomes an image of the class that its folder or the table names.

    New names become classes. One file that fails never fails the import. Staff, scope `train`.
    """
    person = trainer_of(request)
    project = find(person, slug)
    refuse_text(request, "archive", "labels")
    if archive is None:
        detail = _("Send a ZIP archive as the file 'archive'.")
        raise Problem(422, "invalid", detail, errors=[error_entry("archive", detail)])
    key = idempotency_key.strip()
    files = [file for file in (archive, labels) if file]
    asked = fingerprint(f"importImages {project.pk}", files) if key else ""
    begin = partial(_import, request, person, project, archive, labels)
    (status, made), repeated = once(person, key, asked, begin)
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = request.path.removesuffix("images") + f"imports/{made['id']}"
    return Status(status, import_answer(find_import(project, made["id"])))


@projects.get(
    "/projects/{slug}/imports/{uuid:import_id}",
    response={200: ImportAnswer, **problems(404, 422)},
    operation_id="getImport",
    summary="Get an import",
)
def get_import(request: HttpRequest, slug: Slug, import_id: ImportId) -> Any:
    """How far it is, and which files could not be used. Staff, scope `train`."""
    return import_answer(find_import(find(trainer_of(request), slug), import_id))


@projects.post(
    "/projects/{slug}/imports/{uuid:import_id}/cancel",
    response={202: ImportAnswer, **problems(404, 409, 422)},
    operation_id="cancelImport",
    summary="Cancel an import",
)
def cancel_import(request: HttpRequest, slug: Slug, import_id: ImportId) -> Any:
    """Stop it and remove what it added. Staff, scope `train`."""
    row = find_import(find(trainer_of(request), slug), import_id)
    if not project_imports.cancel(row) and row.state != project_imports.State.CANCELLED:
        raise Problem(409, "wrong_state", _("This import has already finished and cannot be cancelled."))
    return Status(202, import_answer(row))


def trainer_of(request: HttpRequest) -> User:
    """The member of staff who asks, if they may change projects; a 403 otherwise."""
    person: User = request.auth.needs("train", staff=True)  # type: ignore[attr-defined]
    if not may_train(person):
        raise Problem(403, "staff_only", _("This is for staff of the group 'trainers'."))
    return person


def find(person: User, slug: str) -> Project:
    """A project that the person may see; a 404 otherwise."""
    try:
        return get_project(person, slug)
    except Http404 as error:
        raise Problem(404, "not_found", _("There is no such project, or it is not open to you.")) from error


def find_import(project: Project, import_id: UUID | str) -> ProjectImport:
    row = project.imports.filter(pk=import_id).first()
    if row is None:
        raise Problem(404, "not_found", _("There is no such import in this project."))
    return row


def project_answers(found: Sequence[Project]) -> list[dict[str, Any]]:
    """Projects as JSON, in two queries however many there are."""
    slugs = [project.pk for project in found]
    counts: dict[str, dict[str, int]] = {slug: {} for slug in slugs}
    rows = ProjectClass.objects.filter(project__in=slugs).order_by("position", "id")
    for slug, name, n in rows.values_list("project", "name", "image_count"):
        counts[slug][name] = n
    champions = ModelVersion.objects.filter(project__in=slugs, is_champion=True)
    live = {
        slug: {"id": pk, "name": name} for slug, pk, name in champions.values_list("project", "pk", "name")
    }
    return [
        {
            "slug": project.pk,
            "name": project.name,
            "classes": list(counts[project.pk]),
            "images": counts[project.pk],
            "champion": live.get(project.pk),
        }
        for project in found
    ]


def import_answer(row: ProjectImport) -> dict[str, Any]:
    # Between two pieces of work it waits for its turn again.
    state = "running" if row.state == project_imports.State.QUEUED and row.cursor else str(row.state)
    return {
        "id": str(row.pk),
        "project": row.project_id,
        "filename": row.filename,
        "state": state,
        "total": row.total,
        "added": row.added,
        "duplicates": row.duplicates,
        "failed": row.failed,
        "errors": row.errors,
        "detail": row.error_detail,
        "images": images.counts_by_name(row.project_id),
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def _create(person: User, body: ProjectBody) -> tuple[int, dict[str, Any]]:
    try:
        project = lifecycle.create(body.name, slug=body.slug, class_names=body.classes, by=person)
    except ProjectRefused as refusal:
        raise Problem(STATUS_OF.get(refusal.code, 422), refusal.code, refusal.detail) from refusal
    training_audit.record("project_created", by=person, detail=project.pk)
    return 201, {"slug": project.pk}


def _import(
    request: HttpRequest,
    person: User,
    project: Project,
    archive: UploadedFile,
    labels: UploadedFile | None,
) -> tuple[int, dict[str, Any]]:
    try:
        row = project_imports.import_archive(
            project,
            archive.file,  # type: ignore[arg-type]
            filename=archive.name or "",
            by=person,
            labels=labels.file if labels else None,  # type: ignore[arg-type]
        )
    except (Rejected, ProjectRefused) as refusal:
        audit.record_refusal("upload_refused", by=person, detail=refusal.code, request=request)
        raise Problem(STATUS_OF.get(refusal.code, 400), refusal.code, refusal.detail) from refusal
    return 202, {"id": str(row.pk)}
