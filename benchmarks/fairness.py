"""One person sends pictures of 40 megapixels, twelve at a time: how long does another one's upload take?

    python -m benchmarks.fairness [--quick]

A real site as `make run` starts it, without workers, since nothing here waits for an answer. Bob uploads
an ordinary photo, again and again, first alone and then beside Alice's flood: small files that take
seconds to decode, sent as fast as the site answers. Bob sends again what is refused, so that his seconds
run until a photo of his is taken.
"""

from __future__ import annotations

import argparse
import http.client
import io
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from benchmarks import results
from benchmarks.clients import MULTIPART, PAUSE_AFTER_REFUSAL, Photo, SiteClient
from benchmarks.load import percentiles, photo
from cifarsite.tests.hosts import Host
from conftest import free_port

FLOOD = 12
LARGE = (8_000, 5_000)
GOAL = 3
GOAL_SECONDS = 3
BOB = """
from cifarsite.test import make_user
from classifier.accounts.tokens import make_token
print('token', make_token(make_user('bob'), scopes=['predict', 'read'])[1])
"""


def few_bytes_many_pixels() -> bytes:
    """A PNG of 40 megapixels in some 120 kB."""
    file = io.BytesIO()
    Image.new("RGB", LARGE, "steelblue").save(file, "PNG", compress_level=9)
    return file.getvalue()


class Flood:
    """Twelve clients of one person, each sending the next picture when the last one is answered."""

    def __init__(self, port: int, token: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._over = threading.Event()
        large = Photo(few_bytes_many_pixels())
        self.bytes = large.size
        self._threads = [
            threading.Thread(target=self._send, args=(port, token, large), daemon=True) for _ in range(FLOOD)
        ]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self, port: int, token: str, large: Photo) -> None:
        client = SiteClient(port)
        client.use_token(token)
        while not self._over.is_set():
            try:
                status, _content, _headers = client.ask(
                    "POST", "/api/v1/photos", large.forms["file"], MULTIPART
                )
            except (OSError, http.client.HTTPException):
                status = 0
                client.close()
            self.statuses[status] += 1
        client.close()


def seconds_until_taken(client: SiteClient, mine: Photo, refused: list[int]) -> float:
    began = time.perf_counter()
    while True:
        status, content, _headers = client.ask("POST", "/api/v1/photos", mine.forms["file"], MULTIPART)
        if status == 202:
            return time.perf_counter() - began
        if status != 503:
            raise RuntimeError(f"{status} {content[:200]!r}")
        refused.append(status)
        time.sleep(PAUSE_AFTER_REFUSAL)


def measure(uploads: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="fairness-") as name:
        host = Host(Path(name) / "site")
        try:
            alice, port = host.prepare(), free_port()
            bob = next(line for line in host.shell(BOB).splitlines() if line.startswith("token ")).split()[1]
            host.serve(port)
            client, mine = SiteClient(port), Photo(photo(1))
            client.use_token(bob)
            refused_alone: list[int] = []
            refused: list[int] = []
            for _warm in range(4):
                seconds_until_taken(client, mine, [])
            alone = [seconds_until_taken(client, mine, refused_alone) for _ in range(uploads)]
            with Flood(port, alice) as flood:
                time.sleep(2)  # until all twelve are under way
                beside = [seconds_until_taken(client, mine, refused) for _ in range(uploads)]
            client.close()
        finally:
            host.destroy()
    return {
        "uploads": uploads,
        "flood_bytes": flood.bytes,
        "flood_statuses": {str(status): n for status, n in sorted(flood.statuses.items())},
        "refused_alone": len(refused_alone),
        "refused_beside_the_flood": len(refused),
        "alone_seconds": [round(seconds, 3) for seconds in alone],
        "beside_the_flood_seconds": [round(seconds, 3) for seconds in beside],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    found = measure(3 if arguments.quick else 60)
    alone, beside = found["alone_seconds"], found["beside_the_flood_seconds"]
    assert isinstance(alone, list) and isinstance(beside, list)
    n, what = len(beside), "an upload beside another person's flood"
    ours, peer = percentiles(beside), percentiles(alone)
    rows = [
        results.ratio(f"{what}: median", ours["p50"], peer["p50"], "s", n),
        results.ratio(f"{what}: p95", ours["p95"], peer["p95"], "s", n, at_most=GOAL),
        results.figure(f"{what}: the slowest", max(beside), "s", n, at_most=GOAL_SECONDS),
    ]
    results.write("fairness", rows, quick=arguments.quick, **found)


if __name__ == "__main__":
    main()
