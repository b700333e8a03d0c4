"""Tables of photos, predictions, batches, feedback, monitoring and accounts."""

from classifier.models.accounts import (
    ApiToken,
    AuditEntry,
    Consent,
    IdempotentRequest,
    RateCount,
    User,
    WebhookAddress,
)
from classifier.models.batches import ArchivePart, ArchiveUpload, Batch, BatchItem, archive_path, part_path
from classifier.models.feedback import Correction, Example, example_path
from classifier.models.labels import NOT_SURE, UNKNOWN, LabelField, Ranked, class_title
from classifier.models.monitoring import (
    DriftAlert,
    DriftDay,
    Reclassification,
    ReclassificationItem,
    Shadow,
    ShadowAnswer,
)
from classifier.models.photos import DayCount, Mail, NameWord, Photo, display_path, input_path, thumbnail_path
from classifier.models.predictions import Explanation, Prediction

__all__ = [
    "NOT_SURE",
    "UNKNOWN",
    "ApiToken",
    "ArchivePart",
    "ArchiveUpload",
    "AuditEntry",
    "Batch",
    "BatchItem",
    "Consent",
    "Correction",
    "DayCount",
    "DriftAlert",
    "DriftDay",
    "Example",
    "Explanation",
    "IdempotentRequest",
    "LabelField",
    "Mail",
    "NameWord",
    "Photo",
    "Prediction",
    "Ranked",
    "RateCount",
    "Reclassification",
    "ReclassificationItem",
    "Shadow",
    "ShadowAnswer",
    "User",
    "WebhookAddress",
    "archive_path",
    "class_title",
    "display_path",
    "example_path",
    "input_path",
    "part_path",
    "thumbnail_path",
]
