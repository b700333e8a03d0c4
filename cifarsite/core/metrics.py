"""What is counted where it happens; ``classifier.monitoring.metrics`` shows it, and what the database knows.

Counted in files that the processes of a host share where metrics are on (PROMETHEUS_MULTIPROC_DIR).
"""

from prometheus_client import Counter, Histogram

REQUEST_SECONDS = Histogram(
    "cifarsite_request_seconds",
    "Seconds from a request's arrival in a web process to its answer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
PHOTOS_ACCEPTED = Counter("cifarsite_photos_accepted", "Photos stored, with their question to a model.")
PHOTOS_REFUSED = Counter("cifarsite_photos_refused", "Photos not taken, by the code that says why.", ["code"])
ANSWERS = Counter("cifarsite_predictions", "Answers of models to photos.", ["verdict"])
ANSWERS_FAILED = Counter("cifarsite_prediction_failures", "Photos that got no answer.", ["code"])
WAIT_SECONDS = Histogram(
    "cifarsite_prediction_wait_seconds",
    "Seconds from the question to its answer, waiting included.",
    ["priority"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
BATCH_SIZE = Histogram(
    "cifarsite_prediction_batch",
    "Photos that went through the model together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
MODEL_SECONDS = Counter("cifarsite_prediction_seconds", "Seconds spent reading inputs and running the model.")
ENTRY_SECONDS = Counter(
    "cifarsite_entry_seconds", "Seconds spent reading, decoding and storing entries of archives."
)
JOBS_ENDED = Counter("cifarsite_training_jobs_ended", "Training jobs that ended, by how.", ["state"])
MAILS_FAILED = Counter("cifarsite_mails_failed", "Mails that the mail server did not take.")
