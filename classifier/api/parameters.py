"""Parameters of the API's operations on photos, batches and projects, with what the documentation says."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from ninja.files import UploadedFile
from ninja.params.functions import File, Header, Path, Query

from classifier.api.schemas import Day, Nothing, PhotoStatus, Verdict
from classifier.images.formats import limits_in_words
from training.models.projects import LONGEST_CLASS_NAME

EXAMPLE_ID = "6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11"
PhotoId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Chosen by you: the same request with the same key is done once, for 24 hours.",
        examples=["3f1b6a52-upload-1"],
    ),
]
Files = Annotated[
    list[UploadedFile],
    File(
        min_length=1,
        max_length=100,
        description=f"1 to 100 of them, up to {settings.UPLOAD_MAX_MB:g} MB each. "
        f"{limits_in_words(settings.UPLOAD_MAX_MEGAPIXELS)}.",
    ),
]
Wait = Annotated[
    int,
    Query(ge=0, le=30, description="Seconds to wait for the answers: 200 when all are in before they end."),
]
Cursor = Annotated[
    str, Query(max_length=200, description="`next_cursor` or `previous_cursor` of another page.")
]
WithLabel = Annotated[
    str,
    Query(
        max_length=LONGEST_CLASS_NAME,
        description="Only photos with this answer, a class of your projects.",
        examples=["cat"],
    ),
]
ToProject = Annotated[
    str,
    Query(
        max_length=50,
        description="The slug of the project whose model answers; without it `cifar10`.",
        examples=["cifar10"],
    ),
]
OfProject = Annotated[
    str, Query(max_length=50, description="Only photos of this project.", examples=["cifar10"])
]
WithVerdict = Annotated[
    Verdict | Nothing, Query(description="Only photos with this verdict.", examples=["recognised"])
]
WithStatus = Annotated[
    PhotoStatus | Nothing, Query(description="Only photos with this status.", examples=["done"])
]
# The default stands here too: pydantic forgets one that ninja sets later.
From = Annotated[
    Day, Query("", alias="from", description="Uploaded on this day (UTC) or later.", examples=["2026-01-01"])
]
To = Annotated[
    Day, Query("", alias="to", description="Uploaded on this day (UTC) or earlier.", examples=["2026-12-31"])
]
Limit = Annotated[int, Query(ge=1, le=100, description="Photos a page.", examples=[24])]
WithName = Annotated[
    str,
    Query(
        max_length=255,
        description="Only photos whose file names have words that begin like all of these.",
        examples=["beach 2024"],
    ),
]
OfBatch = Annotated[UUID | Nothing, Query(description="Only photos of this batch.")]
WithCorrection = Annotated[
    Literal["agrees", "differs", "not_sure", "none"] | Nothing,
    Query(
        description="Only photos with such a correction of yours; `none`: without one.", examples=["differs"]
    ),
]
Sort = Annotated[
    Literal["oldest", "surest", "least_sure"] | Nothing,
    Query(
        description="Left out: newest first. `surest`, `least_sure`: by confidence, answered photos alone.",
        examples=["oldest"],
    ),
]
