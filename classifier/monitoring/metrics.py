"""Metrics in Prometheus' text format: what the host's processes counted, and what the database knows."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from classifier.models import Batch, BatchItem, Prediction
from classifier.monitoring import backup_age
from classifier.monitoring.counted_files import AllProcesses
from classifier.monitoring.readiness import broker_problem
from classifier.predictions import queue
from training.models import ModelVersion, TrainingJob, Worker

logger = logging.getLogger(__name__)

# Beyond this a queue is 'long'; counting further would cost what there is too little of.
COUNTED = 100_000


class Site(Collector):
    """Gauges that the database gives: the same from every host, so one of them is asked."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("cifarsite_database_up", "1 where the database answers.")
        try:
            found = list(self.from_the_database())
        except DatabaseError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found

    def from_the_database(self) -> Iterator[Metric]:
        length = GaugeMetricFamily(
            "cifarsite_queue_length", f"Work that waits or runs, counted up to {COUNTED:,}.", labels=["queue"]
        )
        oldest = GaugeMetricFamily(
            "cifarsite_queue_oldest_seconds", "Age of the oldest work that waits.", labels=["queue"]
        )
        for priority in Prediction.Priority:
            name = priority.name.lower()
            length.add_metric([name], queue.waiting(priority, COUNTED))
            oldest.add_metric([name], age(queue.waiting_since(priority)))
        entries = BatchItem.objects.extra(where=["status IN ('queued', 'running')"]).order_by()
        length.add_metric(["entries"], entries[:COUNTED].count())
        running = entries.filter(batch__state=Batch.State.RUNNING).order_by("pk")
        oldest.add_metric(["entries"], age(running.values_list("batch__created_at", flat=True).first()))
        jobs_waiting = TrainingJob.objects.filter(state=TrainingJob.State.QUEUED).order_by("pk")
        length.add_metric(["train"], jobs_waiting[:COUNTED].count())
        oldest.add_metric(["train"], age(jobs_waiting.values_list("created_at", flat=True).first()))
        yield length
        yield oldest

        jobs = GaugeMetricFamily("cifarsite_training_jobs", "Training jobs by state.", labels=["state"])
        counts = dict(TrainingJob.objects.order_by().values_list("state").annotate(Count("pk")))
        for state in TrainingJob.State.values:
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs

        webhooks = GaugeMetricFamily(
            "cifarsite_webhooks", "Messages about finished training jobs by state.", labels=["state"]
        )
        told = TrainingJob.objects.exclude(webhook_url="").order_by()
        states = dict(told.values_list("webhook_state").annotate(Count("pk")))
        for state in TrainingJob.Webhook.values:
            webhooks.add_metric([state], states.get(state, 0))
        yield webhooks

        alive = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
        queues: Counter[str] = Counter()
        for worker in Worker.objects.filter(seen_at__gt=alive):
            queues.update(worker.queues)
        workers = GaugeMetricFamily("cifarsite_workers", "Workers seen within a lease.", labels=["queue"])
        for taken in sorted({"predict", "batch", "train", "default"} | set(queues)):
            workers.add_metric([taken], queues[taken])
        yield workers

        champion = GaugeMetricFamily(
            "cifarsite_champion",
            "1; the labels name the model that answers.",
            labels=["model", "sha256", "project"],
        )
        live = ModelVersion.objects.filter(is_champion=True).order_by("project_id")
        for name, sha256, project in live.values_list("name", "sha256", "project_id"):
            champion.add_metric([name, sha256, project], 1)
        yield champion


class OfThisHost(Collector):
    """Gauges that each host has for itself."""

    def collect(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(settings.VAR_DIR)
        for name, of, size in (("free", "Free bytes", usage.free), ("total", "Bytes", usage.total)):
            help_text = f"{of} of the disk with this host's data folder."
            yield GaugeMetricFamily(f"cifarsite_disk_{name}_bytes", help_text, value=size)
        broker = 0 if broker_problem() else 1
        yield GaugeMetricFamily("cifarsite_broker_up", "1 where messages can be sent.", value=broker)
        backup = GaugeMetricFamily(
            "cifarsite_backup_age_seconds",
            "Since the last good backup that this host made; missing where it never made one.",
        )
        if made_at := backup_age.last_made_at():
            backup.add_metric([], age(made_at))
        yield backup


def age(since: datetime | None) -> float:
    """Seconds since then; 0 where there is no such moment."""
    return max(0.0, (timezone.now() - since).total_seconds()) if since else 0.0


def counted() -> CollectorRegistry:
    """What this process, or all processes of this host, counted."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    AllProcesses(registry)  # type: ignore[no-untyped-call]
    return registry


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus, with ``METRICS_TOKEN`` as bearer token; 404 where none is set."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("Not found\n", status=404, content_type="text/plain")
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return HttpResponse("Send METRICS_TOKEN.\n", status=401, content_type="text/plain", headers=headers)
    site = CollectorRegistry()
    site.register(Site())
    site.register(OfThisHost())
    content = generate_latest(counted()) + generate_latest(site)
    return HttpResponse(content, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def serve_on_worker_host() -> None:
    """Tell at ``METRICS_ADDRESS``, where it is set, what the workers of a host without web counted."""
    if settings.METRICS_ADDRESS:
        host, _, port = settings.METRICS_ADDRESS.rpartition(":")
        try:
            registry = counted()
            registry.register(OfThisHost())
            start_http_server(int(port), addr=host, registry=registry)
        except OSError:
            # The first worker of a host tells for all of them.
            logger.info("Another process of this host already serves METRICS_ADDRESS.")
