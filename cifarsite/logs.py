"""How log lines look: JSON in production, readable in development; no secret and no person in them."""

from __future__ import annotations

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LEFT_OUT = "[left out]"
# Members whose value is never anybody's business here, whatever it looks like.
SECRET_NAMES = re.compile(
    r"passw|secret|token|authori[sz]ation|cookie|session|csrf|credential|api_?key|e_?mail|username|filename",
    re.IGNORECASE,
)
SECRETS = [
    # Keys in the addresses that mails carry.
    (re.compile(r"(/accounts/confirm-email/)[^/\s\"']+"), rf"\1{LEFT_OUT}"),
    (re.compile(r"(/accounts/password/reset/key/)[^/\s\"']+"), rf"\1{LEFT_OUT}"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {LEFT_OUT}"),
    (re.compile(r"(authorization['\"]?\s*[=:]\s*['\"]?\w+\s+)[^\s'\",;]+", re.IGNORECASE), rf"\1{LEFT_OUT}"),
    (re.compile(r"\bcifar_[\w-]{8,}"), LEFT_OUT),
    (re.compile(r"(\w://[^\s:/@]*:)[^\s@/]+@"), rf"\1{LEFT_OUT}@"),
    (
        re.compile(
            r"(?<![\w-])((?:(?!passw|secret|token|sessionid|csrf|api_?key)[\w-])*+"
            r"(?:passw|secret|token|sessionid|csrf|api_?key)[\w-]*+)(['\"]?\s*+[=:]\s*+)"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s'\",;&]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{LEFT_OUT}",
    ),
    # Looked for from where it begins alone: a long word costs its length, not its square.
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    # What somebody searches for or filters by stands behind the question mark.
    (re.compile(r"(/[\w.-]*)\?[^\s\"']+"), rf"\1?{LEFT_OUT}"),
]


def without_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Leave out what is a secret or names a person, by the name of the member and by its shape."""
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = LEFT_OUT if SECRET_NAMES.search(name) else _cleaned(value)
    return event


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        for shape, instead in SECRETS:
            value = shape.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {k: LEFT_OUT if SECRET_NAMES.search(str(k)) else _cleaned(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_cleaned(part) for part in value]
    return value if isinstance(value, (int, float, bool, type(None))) else _cleaned(str(value))


def not_shed(record: logging.LogRecord) -> bool:
    """Django's line about an answer of 503 or 507 that the site chose to give."""
    return getattr(record, "status_code", 0) not in (503, 507) or bool(record.exc_info)


def no_refusal(record: logging.LogRecord) -> bool:
    """Not Django's line about a refusal, which the request's own line tells, with its id and the reason."""
    if not 400 <= getattr(record, "status_code", 0) < 500 or record.exc_info:
        return True
    if record.name == "django.security.csrf" and isinstance(record.args, tuple):
        structlog.contextvars.bind_contextvars(refused=str(record.args[0]))
    return False


def configure(*, as_json: bool, level: str) -> dict[str, Any]:
    """Set structlog up and return Django's ``LOGGING``; lines of the standard library look the same."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        # Text without the values of variables, among which may be anything.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    one_line = ["no_refusal"] if as_json else []  # people see no line of a request
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    without_secrets,
                    last,
                ],
            }
        },
        "filters": {"not_shed": {"()": lambda: not_shed}, "no_refusal": {"()": lambda: no_refusal}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's own handlers would write such a line a second time, past the formatter above.
            "django": {"handlers": [], "propagate": True, "level": level},
            # Load that was shed stands in the request's own line; it is no error a time.
            "django.request": {"filters": ["not_shed", *one_line], "level": level},
            "django.security.csrf": {"filters": one_line, "level": level},
            "gunicorn.error": {"handlers": [], "propagate": True, "level": level},
            "django.server": {"handlers": [], "propagate": True, "level": level},
            # A line a request is for machines that keep them; somebody who reads along wants faults.
            "cifarsite.web.request_logging": {"level": level if as_json else "WARNING"},
            # Celery says of each wake-up what the rows say better.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "botocore": {"level": "WARNING"},
            "boto3": {"level": "WARNING"},
        },
    }
