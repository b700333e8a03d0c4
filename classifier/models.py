"""What a person works with: their account, photos and the answers to them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q, Value
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from training.engine.data import CLASS_NAMES
from training.models import AppendOnly, Leased, ModelVersion

CLASS_CHOICES = [
    ("airplane", _("airplane")),
    ("automobile", _("automobile")),
    ("bird", _("bird")),
    ("cat", _("cat")),
    ("deer", _("deer")),
    ("dog", _("dog")),
    ("frog", _("frog")),
    ("horse", _("horse")),
    ("ship", _("ship")),
    ("truck", _("truck")),
]


class User(AbstractUser):
    """Somebody with an account. E-mail addresses are kept by django-allauth."""

    language = models.CharField(_("language"), max_length=10, blank=True)


def display_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/display.jpg"


def thumbnail_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/thumbnail.jpg"


def input_path(prediction: Prediction, filename: str) -> str:
    """One file for each way to look at a photo: the storage may overwrite a name that it has."""
    photo = prediction.photo
    part = "".join(f"-{share:.4f}" for share in prediction.crop or ())
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/input-{prediction.preprocessing}{part}.png"


class Photo(models.Model):
    """A photo as this site re-encoded it: no byte of the original file is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="photos", verbose_name=_("owner"))
    filename = models.CharField(
        _("file name"), max_length=255, help_text=_("As the person's device called it.")
    )
    display = models.FileField(_("display copy"), upload_to=display_path, max_length=200)
    thumbnail = models.FileField(_("thumbnail"), upload_to=thumbnail_path, max_length=200)
    width = models.PositiveIntegerField(_("width in pixels"))
    height = models.PositiveIntegerField(_("height in pixels"))
    size = models.PositiveIntegerField(_("size of the original in bytes"))
    pixel_sha256 = models.CharField(_("sha256 of the pixels"), max_length=64, db_index=True)
    # Measured when the photo came in, see ``classifier.image_quality``; null: before that was done.
    brightness = models.FloatField(
        _("brightness"), null=True, editable=False, help_text=_("Mean lightness from 0 to 1.")
    )
    contrast = models.FloatField(
        _("contrast"), null=True, editable=False, help_text=_("Spread of the grey levels, from 0 to 0.5.")
    )
    sharpness = models.FloatField(
        _("sharpness"),
        null=True,
        editable=False,
        help_text=_("Fine edges against coarse edges; below 0.39 in a blurred photo."),
    )
    created_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    # Set by 'delete', cleared by 'undo'; the sweeper removes row and files after a while.
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="photo_history"),
            # The admin's list: everybody's photos, newest first.
            models.Index(fields=["-created_at", "-id"], name="photo_newest"),
        ]
        verbose_name = _("photo")
        verbose_name_plural = _("photos")

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("classifier:photo", args=[self.pk])

    @property
    def prediction(self) -> Prediction:
        """The present answer; older ones stay in ``predictions``."""
        return self.predictions.select_related("model").get(is_current=True)


class Prediction(Leased):
    """One question to a model about one photo, and its answer. The row is the truth."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being looked at")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    class Verdict(models.TextChoices):
        RECOGNISED = "recognised", _("recognised")
        UNSURE = "unsure", _("unsure")
        NONE_OF_THE_TEN = "none_of_the_ten", _("none of the ten")

    class OwnerSays(models.TextChoices):
        AGREES = "agrees", _("you agreed")
        DIFFERS = "differs", _("you corrected it")
        NOT_SURE = "not_sure", _("you were not sure")

    class Priority(models.IntegerChoices):
        INTERACTIVE = 0, _("interactive")
        BULK = 1, _("bulk")

    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="predictions", verbose_name=_("photo")
    )
    # Copies of the photo's owner and time, which never change: history pages filter and
    # order by one index instead of joining a million rows.
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    photo_created_at = models.DateTimeField(_("photo uploaded at"))
    is_current = models.BooleanField(_("current"), default=True)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    priority = models.PositiveSmallIntegerField(
        _("priority"), choices=Priority.choices, default=Priority.INTERACTIVE
    )
    input = models.FileField(_("model input"), upload_to=input_path, max_length=200)
    input_sha256 = models.CharField(_("sha256 of the input's pixels"), max_length=64)
    preprocessing = models.CharField(_("preprocessing"), max_length=50)
    crop = models.JSONField(
        _("part of the photo"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Left, top, width and height as shares of the photo's sides; empty: all of it."),
    )
    model = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="predictions",
        verbose_name=_("model version"),
    )
    label = models.CharField(_("label"), max_length=10, choices=CLASS_CHOICES, blank=True)
    confidence = models.FloatField(_("confidence"), null=True, help_text=_("From 0 to 1."))
    verdict = models.CharField(_("verdict"), max_length=15, choices=Verdict.choices, blank=True)
    # Of the owner's correction, kept by ``corrections``: one more thing that history pages filter by.
    owner_says = models.CharField(
        _("the owner says"), max_length=8, choices=OwnerSays.choices, blank=True, editable=False
    )
    probabilities = models.JSONField(
        _("probabilities"), null=True, help_text=_("Of the ten classes, in CIFAR-10's order.")
    )
    receipt = models.JSONField(
        _("receipt"), default=dict, help_text=_("What the answer was made with: calibration, thresholds.")
    )
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True, db_index=True)
    finished_at = models.DateTimeField(_("answered at"), null=True, editable=False)
    seconds = models.FloatField(
        _("seconds"), null=True, help_text=_("The model's share of time for this photo.")
    )
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["-photo_created_at", "-photo_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["photo"], condition=Q(is_current=True), name="one_current_prediction"
            )
        ]
        indexes = [
            models.Index(
                fields=["priority", "id"],
                condition=Q(status__in=["queued", "running"]),
                name="prediction_open",
            ),
            # How long people waited lately, on the health page.
            models.Index(
                fields=["priority", "-finished_at"],
                condition=Q(finished_at__isnull=False),
                name="prediction_finished",
            ),
            models.Index(fields=["id"], condition=Q(status="failed"), name="prediction_failed"),
            models.Index(
                fields=["owner", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_history",
            ),
            models.Index(
                fields=["owner", "label", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_label",
            ),
            models.Index(
                fields=["owner", "status", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_status",
            ),
            models.Index(
                fields=["owner", "verdict", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_verdict",
            ),
            models.Index(
                fields=["owner", "owner_says", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_owner_says",
            ),
            # Of the one order by confidence; rows without an answer are not in it.
            models.Index(
                fields=["owner", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_by_confidence",
            ),
            models.Index(
                fields=["owner", "label", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_label_confidence",
            ),
            models.Index(
                fields=["owner", "verdict", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_verdict_confidence",
            ),
            models.Index(
                fields=["owner", "owner_says", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_says_confidence",
            ),
        ]
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label or self.status}"

    @property
    def is_over(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)

    @property
    def says(self) -> str:
        """What the answer amounts to: a class or 'none_of_the_ten'; empty before there is one."""
        if self.status != self.Status.DONE:
            return ""
        foreign = self.verdict == self.Verdict.NONE_OF_THE_TEN
        return str(self.verdict) if foreign else self.label

    @property
    def ranked(self) -> list[tuple[str, Any, float]]:
        """(class name, its translation, probability) of the ten, most probable first."""
        pairs = zip(CLASS_NAMES, self.probabilities or (), strict=False)
        names = dict(CLASS_CHOICES)
        return [(c, names[c], p) for c, p in sorted(pairs, key=lambda pair: -pair[1])]


class DayCount(models.Model):
    """How many photos a person has of one day, and what is in them; see ``classifier.day_counts``."""

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="day_counts", verbose_name=_("owner")
    )
    day = models.DateField(_("day (UTC)"))
    photos = models.PositiveIntegerField(_("photos"), default=0)
    labels = models.JSONField(_("answered photos by class"), default=dict)
    # Raised by whatever changes a photo of the day; ``counted`` is its value when the day was counted.
    changes = models.PositiveBigIntegerField(_("changes"), default=0)
    counted = models.PositiveBigIntegerField(_("changes that are counted"), default=0)

    class Meta:
        ordering = ["-day"]
        constraints = [models.UniqueConstraint(fields=["owner", "day"], name="one_count_a_day")]
        indexes = [
            models.Index(fields=["owner", "day"], condition=~Q(changes=F("counted")), name="daycount_stale")
        ]
        verbose_name = _("day's count")
        verbose_name_plural = _("days' counts")

    def __str__(self) -> str:
        return f"{self.day}: {self.photos}"


class DriftDay(models.Model):
    """Sums over a day's answers, of nobody in particular; see ``classifier.drift``."""

    day = models.DateField(_("day (UTC)"), unique=True)
    n = models.PositiveIntegerField(_("answered photos"))
    labels = models.JSONField(_("photos by class"))
    verdicts = models.JSONField(_("photos by verdict"))
    # Name to number, sum and sum of squares: confidence, brightness, contrast, sharpness.
    sums = models.JSONField(_("sums"))
    opinions = models.PositiveIntegerField(_("what people said about answers"))
    agreed = models.PositiveIntegerField(_("of those, agreeing"))

    class Meta:
        ordering = ["-day"]
        verbose_name = _("day of the drift page")
        verbose_name_plural = _("days of the drift page")

    def __str__(self) -> str:
        return f"{self.day}: {self.n}"


class DriftAlert(models.Model):
    """Staff were told that photos or answers have changed; closed when that is over."""

    opened_at = models.DateTimeField(_("opened at"), auto_now_add=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    until = models.DateField(_("the seven days before"))
    findings = models.JSONField(_("what has changed"))

    class Meta:
        ordering = ["-opened_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["until"], condition=Q(closed_at=None), name="one_open_drift_alert_a_day"
            )
        ]
        verbose_name = _("drift alert")
        verbose_name_plural = _("drift alerts")

    def __str__(self) -> str:
        return f"{self.until}: {', '.join(self.findings)}"


class NameWord(models.Model):
    """A word of a photo's file name, so that names are found by an index; see ``classifier.names``."""

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"), db_index=False
    )
    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="name_words", verbose_name=_("photo"), db_index=False
    )
    word = models.CharField(_("word"), max_length=40)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["photo", "word"], name="one_word_a_photo")]
        indexes = [
            models.Index(
                fields=["owner", "word", "photo"],
                # PostgreSQL alone looks at these: beginnings are found whatever the collation is.
                opclasses=["int8_ops", "varchar_pattern_ops", "uuid_ops"],
                name="nameword_search",
            ),
            # The admin's search, in everybody's photos.
            models.Index(
                fields=["word", "photo"],
                opclasses=["varchar_pattern_ops", "uuid_ops"],
                name="nameword_anybody",
            ),
        ]
        verbose_name = _("word of a file name")
        verbose_name_plural = _("words of file names")

    def __str__(self) -> str:
        return self.word


class Explanation(Leased):
    """Why a model answered as it did, made when somebody asks; see ``classifier.explanations``."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being made")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    class Neighbours(models.TextChoices):
        ABSENT = "absent", _("the training images are not at hand")
        COLLECTING = "collecting", _("the training images are being collected")
        FAILED = "failed", _("the training images could not be collected")
        FOUND = "found", _("found")

    prediction = models.OneToOneField(
        Prediction, on_delete=models.CASCADE, related_name="explanation", verbose_name=_("prediction")
    )
    status = models.CharField(_("status"), max_length=7, choices=Status.choices, default=Status.QUEUED)
    # {label: rows of nats} of the two likeliest labels; see ``training.engine.explain``.
    maps = models.JSONField(_("heat maps"), default=dict)
    neighbours = models.CharField(
        _("nearest training images"), max_length=10, choices=Neighbours.choices, blank=True
    )
    # [{"row", "label", "cosine"}], nearest first, and how alike training images are to each other.
    nearest = models.JSONField(_("nearest images"), default=list)
    typical = models.FloatField(_("typical likeness"), null=True)
    # The nearest images side by side, a PNG.
    pictures = models.BinaryField(_("pictures"), null=True)
    has_pictures = models.BooleanField(_("with pictures"), default=False)
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("answered at"), null=True, editable=False)
    seconds = models.FloatField(_("seconds of work"), null=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(status__in=["queued", "running"]), name="explanation_open"
            ),
            models.Index(fields=["id"], condition=Q(neighbours="collecting"), name="explanation_collecting"),
        ]
        verbose_name = _("explanation")
        verbose_name_plural = _("explanations")

    def __str__(self) -> str:
        return f"{self.prediction_id}: {self.status}"

    @property
    def is_over(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)


class ApiToken(models.Model):
    """Lets a program act for a person; only its hash is kept. Made and found by ``classifier.tokens``."""

    class Scope(models.TextChoices):
        PREDICT = "predict", _("upload photos and have them recognised")
        READ = "read", _("read photos, answers and models")
        TRAIN = "train", _("train, promote and roll back models (staff)")

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    # The beginning of the token, by which its owner tells it from others.
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    sha256 = models.CharField(_("sha256"), max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"))
    created_at = models.DateTimeField(_("made at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """'active', 'expired' or 'revoked'."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "active"


class RateCount(models.Model):
    """How often somebody asked within one window of time; see ``classifier.rates``."""

    key = models.CharField(_("key"), max_length=100, primary_key=True)
    count = models.PositiveBigIntegerField(_("count"), default=0)
    ends_at = models.DateTimeField(_("window ends at"), db_index=True)

    class Meta:
        verbose_name = _("rate count")
        verbose_name_plural = _("rate counts")

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class IdempotentRequest(models.Model):
    """A request that is answered once, however often it is sent; see ``classifier.idempotency``."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    key = models.CharField(_("key"), max_length=255)
    request_sha256 = models.CharField(_("sha256 of the request"), max_length=64)
    # Null while the first request is still at work.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.JSONField(_("answer"), null=True)
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_answer_a_key")]
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")

    def __str__(self) -> str:
        return self.key


class AuditEntry(AppendOnly):
    """What happened that may have to be accounted for. Append-only; see ``classifier.audit``."""

    created_at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    kind = models.CharField(_("kind"), max_length=50, db_index=True)
    by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    # Ids and codes, never a name: this line stays when the account is gone.
    detail = models.TextField(_("detail"), blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.kind}"


ANSWER_CHOICES = [
    *CLASS_CHOICES,
    ("none_of_the_ten", _("none of the ten")),
    ("not_sure", _("not sure")),
]


def archive_path(batch: Batch, filename: str) -> str:
    return f"batches/{batch.pk}/archive.zip"


class Batch(models.Model):
    """An archive of photos; workers take its items one by one. See ``batches``."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        PAUSED = "paused", _("paused")
        CANCELLED = "cancelled", _("cancelled")
        DONE = "done", _("done")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="batches", verbose_name=_("owner"))
    filename = models.CharField(_("file name"), max_length=255)
    archive = models.FileField(_("archive"), upload_to=archive_path, max_length=200, blank=True)
    sha256 = models.CharField(_("sha256 of the archive"), max_length=64)
    size = models.PositiveBigIntegerField(_("size in bytes"))
    same_as = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("earlier batch of the same archive"),
    )
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.RUNNING)
    # Counts of a batch that is over, so that a list of batches need not count; null before.
    totals = models.JSONField(_("counts"), null=True, editable=False)
    created_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="batch_history"),
            models.Index(fields=["owner", "sha256"], name="batch_same_archive"),
            models.Index(fields=["created_at"], condition=Q(state="running"), name="batch_open"),
        ]
        verbose_name = _("batch")
        verbose_name_plural = _("batches")

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("classifier:batch", args=[self.pk])

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.RUNNING, self.State.PAUSED)


class BatchItem(Leased):
    """One entry of a batch's archive: waiting, stored as a photo, or refused with a reason."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being read")
        STORED = "stored", _("stored")
        REFUSED = "refused", _("refused")
        CANCELLED = "cancelled", _("cancelled")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items", verbose_name=_("batch"))
    # The entry's place in the archive: names may occur twice.
    number = models.PositiveIntegerField(_("number"))
    name = models.CharField(_("name in the archive"), max_length=1_000)
    truth = models.CharField(_("truth"), max_length=10, choices=CLASS_CHOICES, blank=True)
    status = models.CharField(_("status"), max_length=9, choices=Status.choices, default=Status.QUEUED)
    size = models.PositiveBigIntegerField(_("unpacked bytes"), default=0)
    photo = models.OneToOneField(
        Photo,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="batch_item",
        verbose_name=_("photo"),
    )
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["batch", "number"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "number"], name="one_item_an_entry"),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(status__in=["queued", "running"]), name="batchitem_open"),
        ]
        verbose_name = _("batch item")
        verbose_name_plural = _("batch items")

    def __str__(self) -> str:
        return self.name


class ArchiveUpload(models.Model):
    """An archive that comes in pieces, and goes on after a lost connection; see ``classifier.resumable``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    filename = models.CharField(_("file name"), max_length=255)
    size = models.PositiveBigIntegerField(_("size in bytes"))
    # Says that it is the same file again: the browser makes it of the file's ends.
    fingerprint = models.CharField(_("fingerprint"), max_length=100)
    received = models.PositiveBigIntegerField(_("bytes received"), default=0)
    batch = models.ForeignKey(
        Batch, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("batch")
    )
    changed_at = models.DateTimeField(_("changed at"), auto_now=True, db_index=True)

    class Meta:
        ordering = ["changed_at"]
        verbose_name = _("upload of an archive")
        verbose_name_plural = _("uploads of archives")

    def __str__(self) -> str:
        return self.filename


def part_path(part: ArchivePart, filename: str) -> str:
    return f"uploads/{part.upload_id}-{part.offset:015}-{uuid.uuid4().hex[:8]}"


class ArchivePart(models.Model):
    """Some bytes of an archive that comes in pieces."""

    upload = models.ForeignKey(
        ArchiveUpload, on_delete=models.CASCADE, related_name="parts", verbose_name=_("upload")
    )
    offset = models.PositiveBigIntegerField(_("offset in bytes"))
    file = models.FileField(_("file"), upload_to=part_path, max_length=200)

    class Meta:
        ordering = ["upload", "offset"]
        constraints = [models.UniqueConstraint(fields=["upload", "offset"], name="one_part_an_offset")]
        verbose_name = _("piece of an archive")
        verbose_name_plural = _("pieces of archives")

    def __str__(self) -> str:
        return f"{self.upload_id}: {self.offset}"


class Correction(models.Model):
    """What one person says is in a photo; 'right' is the model's own label."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("proposed")
        ACCEPTED = "accepted", _("accepted")
        REJECTED = "rejected", _("rejected")

    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="corrections", verbose_name=_("photo")
    )
    by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="corrections", verbose_name=_("by"))
    label = models.CharField(_("label"), max_length=15, choices=ANSWER_CHOICES)
    predicted = models.CharField(_("the model said"), max_length=15, choices=ANSWER_CHOICES, blank=True)
    confidence = models.FloatField(_("the model's confidence"), null=True)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.PROPOSED)
    created_at = models.DateTimeField(_("made at"), auto_now_add=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)
    reviewed_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("reviewed by"),
    )
    reviewed_at = models.DateTimeField(_("reviewed at"), null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["photo", "by"], name="one_correction_a_person"),
        ]
        indexes = [
            models.Index(fields=["label"], condition=Q(state="proposed"), name="correction_open"),
            models.Index(
                fields=["by", "created_at"],
                # PostgreSQL adds a person's answers up without looking at the rows.
                include=["label", "predicted", "state"],
                name="correction_answers",
            ),
        ]
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label}"

    @property
    def agrees(self) -> bool:
        """The person says what the model said."""
        return bool(self.predicted) and self.label == self.predicted


def example_path(example: Example, filename: str) -> str:
    return f"photos/{example.photo_id.hex[:2]}/{example.photo_id}/example.png"


class Example(models.Model):
    """The label that a reviewer accepted for a photo, and the 32x32 pixels that may train a model."""

    photo = models.OneToOneField(
        Photo, on_delete=models.CASCADE, related_name="example", verbose_name=_("photo")
    )
    label = models.CharField(_("label"), max_length=15, choices=ANSWER_CHOICES)
    image = models.FileField(_("32x32 image"), upload_to=example_path, max_length=200)
    sha256 = models.CharField(_("sha256 of the pixels"), max_length=64)
    # The place of a nearly equal image in CIFAR-10's test split: such a photo never trains.
    twin = models.PositiveIntegerField(_("nearly the same test image"), null=True, blank=True)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("accepted by")
    )
    accepted_at = models.DateTimeField(_("accepted at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("accepted example")
        verbose_name_plural = _("accepted examples")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label}"


class Consent(models.Model):
    """May the photos that a person corrects train models? Remembered, and revocable."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, related_name="consent", verbose_name=_("user")
    )
    given = models.BooleanField(_("given"))
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)

    class Meta:
        ordering = ["user"]
        verbose_name = _("consent to train on photos")
        verbose_name_plural = _("consents to train on photos")

    def __str__(self) -> str:
        return f"{self.user}: {self.given}"


class Shadow(models.Model):
    """A challenger that is asked about live photos too, without answering anybody. See ``shadows``."""

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="shadows", verbose_name=_("model version")
    )
    started_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    started_at = models.DateTimeField(_("started at"), auto_now_add=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    # The last prediction that was looked at: later ones are still to come.
    cursor = models.BigIntegerField(_("cursor"), default=0, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            # One at a time, so that it never costs more than one model's time.
            models.UniqueConstraint(Value(1), condition=Q(ended_at__isnull=True), name="one_shadow_at_a_time")
        ]
        verbose_name = _("shadow")
        verbose_name_plural = _("shadows")

    def __str__(self) -> str:
        return f"{self.model}, {self.started_at:%Y-%m-%d}"


class ShadowAnswer(Leased):
    """What the challenger says of a photo that the champion has answered."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being looked at")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    shadow = models.ForeignKey(
        Shadow, on_delete=models.CASCADE, related_name="answers", verbose_name=_("shadow")
    )
    prediction = models.ForeignKey(
        Prediction, on_delete=models.CASCADE, related_name="shadow_answers", verbose_name=_("live answer")
    )
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    # A class, or 'none_of_the_ten': what people read.
    live = models.CharField(_("the champion said"), max_length=15, choices=ANSWER_CHOICES, blank=True)
    said = models.CharField(_("the challenger says"), max_length=15, choices=ANSWER_CHOICES, blank=True)
    confidence = models.FloatField(_("confidence"), null=True, help_text=_("From 0 to 1."))
    agrees = models.BooleanField(_("agrees"), null=True)
    finished_at = models.DateTimeField(_("answered at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["shadow", "prediction"], name="one_shadow_answer"),
        ]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(status__in=["queued", "running"]), name="shadowanswer_open"
            ),
            models.Index(fields=["shadow", "agrees", "-id"], name="shadowanswer_agrees"),
        ]
        verbose_name = _("shadow answer")
        verbose_name_plural = _("shadow answers")

    def __str__(self) -> str:
        return f"{self.live} / {self.said}"


class Rerun(models.Model):
    """Everybody's photos asked about again with today's champion, as bulk work. See ``reruns``."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        CANCELLED = "cancelled", _("cancelled")
        DONE = "done", _("done")

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="reruns", verbose_name=_("model version")
    )
    started_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.RUNNING)
    # Answers up to ``last`` are renewed; those up to ``cursor`` have been asked for.
    cursor = models.BigIntegerField(_("cursor"), default=0, editable=False)
    last = models.BigIntegerField(_("last answer"), default=0, editable=False)
    created_at = models.DateTimeField(_("started at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state="running"), name="one_rerun_at_a_time"
            )
        ]
        verbose_name = _("rerun")
        verbose_name_plural = _("reruns")

    def __str__(self) -> str:
        return f"{self.model}, {self.created_at:%Y-%m-%d}"

    def get_absolute_url(self) -> str:
        return reverse("classifier:rerun", args=[self.pk])


class RerunItem(models.Model):
    """One photo of a rerun: the answer before, and the one that renews it."""

    rerun = models.ForeignKey(Rerun, on_delete=models.CASCADE, related_name="items", verbose_name=_("rerun"))
    prediction = models.OneToOneField(
        Prediction, on_delete=models.CASCADE, related_name="rerun_item", verbose_name=_("new answer")
    )
    before = models.CharField(_("before"), max_length=15, choices=ANSWER_CHOICES)
    # Filled with the answer: a class, or 'none_of_the_ten'.
    after = models.CharField(_("after"), max_length=15, choices=ANSWER_CHOICES, blank=True)
    changed = models.BooleanField(_("changed"), null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["rerun", "changed", "-id"], name="rerunitem_changed")]
        verbose_name = _("photo of a rerun")
        verbose_name_plural = _("photos of reruns")

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"
