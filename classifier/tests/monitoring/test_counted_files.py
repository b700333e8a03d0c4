"""What dead processes counted stays in the metrics; their files go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import TestCase, mock

from prometheus_client import CollectorRegistry

from classifier.monitoring.counted_files import AllProcesses, add_up_dead

COUNT = """
import sys
from prometheus_client import Counter, Histogram
counter = Counter("photos", "Photos.", ["code"])
counter.labels("a").inc(3)
counter.labels("b").inc(0.5)
seconds = Histogram("seconds", "Seconds.", buckets=(1, 2))
seconds.observe(1.5)
print("counted", flush=True)
sys.stdin.read()
"""


class CountedFilesTest(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, PROMETHEUS_MULTIPROC_DIR=str(self.folder)))

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.communicate)
        assert process.stdout
        self.assertEqual(process.stdout.readline(), "counted\n")
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()

    def figures(self) -> dict[tuple[str, str], float]:
        registry = CollectorRegistry()
        AllProcesses(registry)
        return {
            (sample.name, sample.labels.get("code", sample.labels.get("le", ""))): sample.value
            for family in registry.collect()
            for sample in family.samples
        }

    def files(self) -> set[str]:
        return {file.name for file in self.folder.glob("*.db")}

    def test_counts_stay_and_only_files_of_living_processes_are_left_beside_one_a_kind(self) -> None:
        gone = {"counter_gone.db", "histogram_gone.db"}
        first, second, third = (self.start() for _ in range(3))
        self.assertEqual(len(self.files()), 6)
        self.end(first)
        self.assertEqual(add_up_dead(), 2)
        self.end(second)
        figures = self.figures()
        self.assertEqual(self.files(), gone | {f"{kind}_{third.pid}.db" for kind in ("counter", "histogram")})
        self.end(third)
        self.assertEqual(add_up_dead(), 2)
        self.assertEqual(self.files(), gone)
        self.assertEqual(self.figures(), figures)
        self.assertEqual(figures["photos_total", "a"], 9)
        self.assertEqual(figures["photos_total", "b"], 1.5)
        self.assertEqual(figures["seconds_bucket", "2.0"], 3)
        self.assertEqual(figures["seconds_sum", ""], 4.5)
        self.assertEqual(add_up_dead(), 0)

    def test_without_metrics_there_is_nothing_to_do(self) -> None:
        with mock.patch.dict(os.environ):
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
            self.assertEqual(add_up_dead(), 0)
