"""Files in an S3-compatible store: private, read in one request, and honest about an outage.

What django-storages does by itself is for stores that always answer: it would wait for minutes,
raise errors of its own kind, and load an archive of gigabytes into memory to read a part of it.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from cifarsite.core.storage import StorageUnavailable

# One request brings a file of up to this size; of a larger one it brings this much at a time.
BYTES_A_REQUEST = 4 * 1024 * 1024
# A request of a person never waits long for a store that is away: two tries of each.
CONNECT_SECONDS, READ_SECONDS, TRIES = 2, 10, 2


class S3Files(S3Storage):  # type: ignore[misc]
    """The bucket that ``STORAGE_URL`` names."""

    def get_default_settings(self) -> dict[str, Any]:
        defaults: dict[str, Any] = super().get_default_settings()
        style = {"addressing_style": defaults["addressing_style"]}
        defaults |= {
            "client_config": Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": TRIES, "mode": "standard"},
                s3={name: value for name, value in style.items() if value},
            ),
            "transfer_config": TransferConfig(use_threads=False),
            "default_acl": None,
            "file_overwrite": True,
            "querystring_auth": True,
        }
        return defaults

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if mode != "rb":
            raise ValueError("Files in the store are written whole: save() does that.")
        return StoredFile(self, name)

    def _save(self, name: str, content: File[Any]) -> str:
        with said_plainly():
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        with said_plainly():
            super().delete(name)

    def exists(self, name: str) -> bool:
        with said_plainly():
            return bool(super().exists(name))

    def size(self, name: str) -> int:
        with said_plainly():
            return int(super().size(name))

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        with said_plainly():
            return cast("tuple[list[str], list[str]]", super().listdir(path))

    def part(self, name: str, start: int, etag: str = "") -> tuple[bytes, int, str]:
        """Up to ``BYTES_A_REQUEST`` from ``start`` on, the whole file's size, and its version.

        Raises:
            FileNotFoundError: there is no such file.
            StorageUnavailable: the store does not answer, or the file changed under the reader.
        """
        wanted = {"Range": f"bytes={start}-{start + BYTES_A_REQUEST - 1}"}
        if etag:
            wanted["IfMatch"] = etag
        key = self._normalize_name(name.replace("\\", "/"))
        client = self.connection.meta.client
        with said_plainly():
            try:
                answer = client.get_object(Bucket=self.bucket_name, Key=key, **wanted)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 416:  # an empty file
                    return b"", 0, etag
                raise
            content = answer["Body"].read()
        size = int(answer.get("ContentRange", f"/{len(content)}").rpartition("/")[2])
        return content, size, str(answer["ETag"])


class StoredFile(File):  # type: ignore[type-arg]  # it cannot be subscripted when it runs
    """A file of the store, open for reading; can be opened again after it was closed."""

    def __init__(self, storage: S3Files, name: str) -> None:
        self.storage = storage
        super().__init__(self._fetch(name), name)

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> StoredFile:
        if self.closed:
            self.file = self._fetch(str(self.name))
        self.seek(0)
        return self

    @property
    def size(self) -> int:
        return self.total

    def _fetch(self, name: str) -> Any:
        content, self.total, etag = self.storage.part(name, 0)
        if self.total <= len(content):
            return io.BytesIO(content)
        parts = Parts(self.storage, name, content, self.total, etag)
        return io.BufferedReader(parts, 64 * 1024)


class Parts(io.RawIOBase):
    """A large file, fetched part by part where it is read: of an archive only what is wanted."""

    def __init__(self, storage: S3Files, name: str, first: bytes, size: int, etag: str) -> None:
        self.storage, self.file_name, self.total, self.etag = storage, name, size, etag
        self.part, self.part_start = first, 0
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.total}[whence]
        self.position = max(origin + offset, 0)
        return self.position

    def readinto(self, buffer: Any) -> int:
        if self.position >= self.total:
            return 0
        at = self.position - self.part_start
        if not 0 <= at < len(self.part):
            self.part, _, self.etag = self.storage.part(self.file_name, self.position, self.etag)
            self.part_start, at = self.position, 0
        piece = self.part[at : at + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn the store's errors into what a file system would raise, or ``StorageUnavailable``."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 404 and error.response.get("Error", {}).get("Code") != "NoSuchBucket":
            raise FileNotFoundError(errno.ENOENT, "No such file in the store") from error
        if status == 507:
            raise OSError(errno.ENOSPC, "The store is full") from error
        raise StorageUnavailable(errno.EIO, f"The store of files refused ({status}): {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable(errno.EIO, f"The file storage does not respond: {error}") from error
