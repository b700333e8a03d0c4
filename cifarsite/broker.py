"""kombu's `filesystem://`, made fit for processes that are killed and start at the same time.

kombu writes a message and the table of an exchange in place: who reads at that moment, or after a
kill or a full disk, finds half of it, and a worker ends over that. Here a message appears whole or
not at all, a damaged one is thrown away (the sweeper sends another), and a damaged table is begun anew.
"""

import contextlib
import json
import logging
import math
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

# Seconds: between two looks at the folder's time, of a tick of that time at most, and the longest between
# two looks into the folder.
POLL, TICK, LONGEST = 0.005, 0.02, 0.2


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **options: Any) -> None:
        folder = Path(self.data_folder_out)
        # The time first: messages are taken in the order of their names.
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        part = folder / f".{name}.part"
        try:
            part.write_text(dumps(payload))
            part.replace(folder / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise ChannelError(f"{name} could not be written: {error.strerror}.") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = Path(self.data_folder_in)
        try:
            with os.scandir(folder) as files:
                names = sorted(file.name for file in files if file.name.partition(".")[2] == f"{queue}.msg")
        except OSError:
            # Out of reach for now, which ends no worker; the site says so in /readyz.
            names = []
        for name in names:
            taken = folder / f".{name}.{os.getpid()}"
            try:
                (folder / name).replace(taken)
                content = taken.read_text()
                taken.unlink()
            except OSError:
                continue  # another worker was quicker
            try:
                return loads(content)
            except ValueError:
                logger.warning("The message %s was damaged and is thrown away.", name)
        raise Empty

    def get_table(self, exchange: str) -> Any:
        try:
            return super().get_table(exchange)
        except ValueError as error:
            raise ChannelError(f"The table of exchange {exchange!r} is damaged.") from error

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        file = Path(self._exchange_file(exchange))
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # With its content at once: kombu opens and fills it in two steps.
            part = file.with_name(f".{file.name}.{uuid.uuid4()}.part")
            part.write_text("[]")
            with contextlib.suppress(FileExistsError):
                os.link(part, file)
            part.unlink()
        _mend(file)
        super()._queue_bind(exchange, *binding)


class Transport(filesystem.Transport):
    """Looks for messages as soon as their folder has changed; kombu looks at fixed times."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        folder = Path(self.client.transport_options["data_folder_in"])
        while True:
            seen = _changed(folder)
            try:
                self.cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                if time.monotonic() >= end:
                    raise TimeoutError from None
            # A message of the same tick of the file system's clock would leave the time as it is.
            again = time.monotonic() + (TICK if time.time() - seen < TICK else LONGEST)
            while _changed(folder) == seen and time.monotonic() < min(again, end):
                time.sleep(POLL)


def _changed(folder: Path) -> float:
    """When something was last put into a folder or taken out of it, in seconds; 0 where it is away."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _mend(file: Path) -> None:
    """Begin a table anew that is no JSON: its queues are bound again as workers start."""
    with file.open("r+") as opened:
        filesystem.lock(opened, filesystem.LOCK_EX)
        try:
            json.loads(opened.read())
        except ValueError:
            logger.warning("%s was damaged and is begun anew.", file)
            opened.seek(0)
            opened.write("[]")
            opened.truncate()
        finally:
            opened.flush()
            filesystem.unlock(opened)
