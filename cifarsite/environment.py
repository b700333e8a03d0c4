"""Reading environment variables: a wrong value stops the start with a sentence that names it."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()


def read(name: str, reader: Callable[..., Any], default: Any, expected: str) -> Any:
    """Read one variable; ``expected`` ends the sentence that a wrong value gets."""
    try:
        return reader(name, default=default)
    except (ValueError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name} is {os.environ.get(name)!r}, expected {expected}.") from error


def number(name: str, default: int, minimum: int = 0) -> int:
    value: int = read(name, env.int, default, "a whole number")
    if value < minimum:
        raise ImproperlyConfigured(f"{name} is {value}, expected {minimum} or more.")
    return value


def switch(name: str, default: bool) -> bool:
    text = os.environ.get(name, str(default)).lower()
    if text not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise ImproperlyConfigured(f"{name} is {text!r}, expected true or false.")
    return text in ("1", "true", "yes", "on")


def choice(name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        expected = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise ImproperlyConfigured(f"{name} is {given!r}, expected {expected}.")


def folder(name: str) -> str:
    path = os.environ.get(name, "")
    if path and not Path(path).is_dir():
        raise ImproperlyConfigured(f"{name} is {path!r}, which is not a folder.")
    return path


def make_folder(path: Path, advice: str = "") -> str:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be made ({error.strerror}){advice}.") from error
    return str(path)


def one_of(name: str, url: str, schemes: tuple[str, ...]) -> str:
    scheme = urlsplit(url).scheme
    if scheme not in schemes:
        raise ImproperlyConfigured(
            f"{name} is {url!r}, expected it to begin with one of {', '.join(schemes)}."
        )
    return scheme


def kept_secret_key(path: Path) -> str:
    """Make a key at the first start and keep it, readable by the owner alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Aside first: of several processes that start at once none may read half a key.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-") as file:
                file.write(secrets.token_urlsafe(64))
                file.flush()
                os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):  # another process was first: its key holds
                    os.link(file.name, path)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path} cannot be written ({error.strerror}): free some space, set VAR_DIR or SECRET_KEY."
        ) from error
    key = path.read_text().strip()
    if not key:
        raise ImproperlyConfigured(f"{path} is empty: delete it, and a new key is made.")
    return key


def site_address(name: str, url: str) -> str:
    parts = urlsplit(url.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
        raise ImproperlyConfigured(f"{name} is {url!r}, expected an address such as https://example.org.")
    return url.rstrip("/")
