"""What the present process takes from its machine: processor, memory, graphics card."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

GPU_SECONDS = 5.0
# After which nvidia-smi is given up: it hangs where the driver does.
PATIENCE_SECONDS = 30.0
QUERY = "name,utilization.gpu,memory.used,memory.total"


class Usage:
    """Measures since the last look; the graphics card is asked every few seconds only."""

    def __init__(self) -> None:
        self._nvidia = shutil.which("nvidia-smi")
        self._gpus: list[dict[str, Any]] = []
        self._asking: subprocess.Popen[bytes] | None = None
        self._told: IO[str] = io.StringIO()
        self._asked_at = -GPU_SECONDS
        self._cpu, self._at = time.process_time(), time.monotonic()

    def measure(self) -> dict[str, Any]:
        """``cpu_percent`` (100: one core), ``cores``, ``memory_mb`` (resident), ``gpus``."""
        cpu, at = time.process_time(), time.monotonic()
        percent = 100 * (cpu - self._cpu) / max(at - self._at, 1e-3)
        self._cpu, self._at = cpu, at
        return {
            "cpu_percent": round(percent),
            "cores": os.cpu_count(),
            "memory_mb": round(resident_bytes() / 2**20),
            "gpus": self._ask_nvidia(at),
        }

    def _ask_nvidia(self, now: float) -> list[dict[str, Any]]:
        """What nvidia-smi last told. It takes up to a second: the run does not wait, but looks next time."""
        if self._asking is None:
            if self._nvidia and now - self._asked_at >= GPU_SECONDS:
                self._asked_at = now
                command = [self._nvidia, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
                try:
                    # No pipe: what a program that is given up has started may hold its other end for long.
                    self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read at the next look)
                    self._asking = subprocess.Popen(command, stdout=self._told, stderr=subprocess.DEVNULL)
                except OSError:
                    self._gpus = []
        elif self._asking.poll() is not None:
            self._told.seek(0)
            try:
                self._gpus = [parse_gpu(line) for line in self._told if line.strip()]
            except ValueError:
                self._gpus = []
            self._asking = None
        elif now - self._asked_at >= PATIENCE_SECONDS:
            self._asking.kill()  # the next look clears up
            self._gpus = []
        return self._gpus


def parse_gpu(line: str) -> dict[str, Any]:
    """One line of nvidia-smi's answer to ``QUERY``; ValueError where it is something else."""
    name, percent, used, total = (part.strip() for part in line.rsplit(",", 3))
    return {"name": name, "percent": int(percent), "memory_mb": int(used), "total_mb": int(total)}


def resident_bytes() -> int:
    """Memory that this process holds now; where there is no /proc, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
