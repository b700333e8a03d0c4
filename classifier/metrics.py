"""Metrics in Prometheus' text format: what the host's processes counted, and what the database knows."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

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
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from classifier import predictions
from classifier.models import BatchItem, Prediction
from training import model_store
from training.models import TrainingJob, Worker

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
            "cifarsite_queue_oldest_seconds", "Age of the oldest photo without an answer.", labels=["queue"]
        )
        for priority in Prediction.Priority:
            name = priority.name.lower()
            length.add_metric([name], predictions.waiting(priority, COUNTED))
            since = predictions.waiting_since(priority)
            oldest.add_metric([name], (timezone.now() - since).total_seconds() if since else 0)
        entries = BatchItem.objects.extra(where=["status IN ('queued', 'running')"]).order_by()
        length.add_metric(["entries"], entries[:COUNTED].count())
        yield length
        yield oldest

        jobs = GaugeMetricFamily("cifarsite_training_jobs", "Training jobs by state.", labels=["state"])
        counts = dict(TrainingJob.objects.order_by().values_list("state").annotate(Count("pk")))
        for state in TrainingJob.State.values:
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs

        alive = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
        queues: Counter[str] = Counter()
        for worker in Worker.objects.filter(seen_at__gt=alive):
            queues.update(worker.queues)
        workers = GaugeMetricFamily("cifarsite_workers", "Workers seen within a lease.", labels=["queue"])
        for queue in sorted({"predict", "batch", "train", "default"} | set(queues)):
            workers.add_metric([queue], queues[queue])
        yield workers

        champion = GaugeMetricFamily(
            "cifarsite_champion", "1; the labels name the model that answers.", labels=["model", "sha256"]
        )
        if version := model_store.champion():
            champion.add_metric([version.name, version.sha256], 1)
        yield champion


def counted() -> CollectorRegistry:
    """What this process, or all processes of this host, counted."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
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
    content = generate_latest(counted()) + generate_latest(site)
    return HttpResponse(content, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def serve_on_worker_host() -> None:
    """Tell at ``METRICS_ADDRESS``, where it is set, what the workers of a host without web counted."""
    if settings.METRICS_ADDRESS:
        host, _, port = settings.METRICS_ADDRESS.rpartition(":")
        try:
            start_http_server(int(port), addr=host, registry=counted())
        except OSError:
            # The first worker of a host tells for all of them.
            logger.info("Another process of this host answers at METRICS_ADDRESS.")
