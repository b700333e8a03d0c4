"""Tables of jobs, datasets and model versions."""

from training.models.datasets import Cifar10Fetch, DatasetImage, DatasetVersion, EvaluationSet
from training.models.jobs import Epoch, JobEvent, Schedule, TrainingJob
from training.models.projects import (
    DEFAULT_PROJECT,
    Project,
    ProjectClass,
    ProjectImage,
    ProjectImport,
    ProjectKey,
    RemovedFile,
)
from training.models.versions import (
    EmbeddingIndex,
    EvaluationReport,
    MeasuredPhoto,
    ModelVersion,
    Promotion,
    Refusal,
    Worker,
)

__all__ = [
    "DEFAULT_PROJECT",
    "Cifar10Fetch",
    "DatasetImage",
    "DatasetVersion",
    "EmbeddingIndex",
    "Epoch",
    "EvaluationReport",
    "EvaluationSet",
    "JobEvent",
    "MeasuredPhoto",
    "ModelVersion",
    "Project",
    "ProjectClass",
    "ProjectImage",
    "ProjectImport",
    "ProjectKey",
    "Promotion",
    "Refusal",
    "RemovedFile",
    "Schedule",
    "TrainingJob",
    "Worker",
]
