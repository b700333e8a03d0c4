"""All settings, from the environment; a wrong value stops the start with a sentence that names it."""

import logging
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from kombu.transport import TRANSPORT_ALIASES

from cifarsite import logs

BASE_DIR = Path(__file__).resolve().parent.parent
# Where the site keeps what it writes: database, files, models, messages; default: var/ in the project.
VAR_DIR = Path(os.environ.get("VAR_DIR", BASE_DIR / "var")).resolve()

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


def one_of(name: str, url: str, schemes: tuple[str, ...]) -> str:
    scheme = urlsplit(url).scheme
    if scheme not in schemes:
        raise ImproperlyConfigured(
            f"{name} is {url!r}, expected it to begin with one of {', '.join(schemes)}."
        )
    return scheme


def kept_secret_key() -> str:
    """Make a key at the first start and keep it, readable by the owner alone."""
    path = VAR_DIR / "secret_key"
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(64))
    except FileExistsError:
        pass
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


TESTING = "pytest" in sys.modules
# Django's own error pages, which show code and settings: for development alone.
DEBUG = switch("DEBUG", False)
# On where people reach the site by https: secure cookies, HSTS, redirect from http.
HTTPS = switch("HTTPS", False)
# Signs sessions and links; empty: made at the first start and kept in VAR_DIR, readable by its owner.
SECRET_KEY = os.environ.get("SECRET_KEY") or kept_secret_key()
# Former keys, still accepted while a new SECRET_KEY takes over.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Names and addresses by which people reach the site.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# Where `make run` answers, on this machine alone.
PORT = number("PORT", 8000, 1)
# Where people reach the site, such as https://example.org: links in mails and webhooks begin with it.
BASE_URL = os.environ.get("BASE_URL") or f"http://localhost:{PORT}"
BASE_URL = site_address("BASE_URL", BASE_URL)
# Origins such as https://example.org that forms may be sent from, behind a proxy that ends https.
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# How many reverse proxies of your own stand before the site; 0: X-Forwarded-For is ignored.
TRUSTED_PROXIES = number("TRUSTED_PROXIES", 0)

INSTALLED_APPS = [
    "classifier",
    "training",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_structlog",
    "import_export",
    "ninja",
]

MIDDLEWARE = [
    "cifarsite.request_lines.RequestLines",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "classifier.audit.RefusalsOnRecord",
    "classifier.api.errors.ProblemsOnly",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "classifier.languages.AccountLanguageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "cifarsite.urls"
WSGI_APPLICATION = "cifarsite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ],
        },
    },
]

# --- Data -----------------------------------------------------------------------------------

# `postgres://user:password@host/name`; empty: SQLite in VAR_DIR.
DATABASE_URL = os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
one_of("DATABASE_URL", DATABASE_URL, ("sqlite", "postgres", "postgresql"))
DATABASES: dict[str, Any] = {"default": env.db_url_config(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Readers beside one writer; a writer waits for its turn instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Kept open: where the disk is full the first one to open the file could not, and nobody could read.
    DATABASES["default"]["CONN_MAX_AGE"] = 0 if TESTING else None
    # A file, not memory: connections of several threads to a database in memory share one cache,
    # where a locked table fails at once instead of waiting.
    DATABASES["default"]["TEST"] = {
        "NAME": str(Path(tempfile.gettempdir()) / f"cifarsite-test-{os.getpid()}.sqlite3")
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Where the link is cut, nobody says so: a connection that hears nothing for these seconds is
    # given up, or a worker would wait for a quarter of an hour.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# What all processes share, rates among it: `redis://host:6379/1`; empty: a table of the database.
CACHE_URL = os.environ.get("CACHE_URL", "")
if CACHE_URL:
    one_of("CACHE_URL", CACHE_URL, ("redis", "rediss"))
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": CACHE_URL,
            # A request never waits long for a frozen cache.
            "OPTIONS": {"socket_timeout": 1.0, "socket_connect_timeout": 1.0},
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "django_cache",
            # At the default of 300 the counts of sign-in failures would be thrown out.
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }

# `s3://bucket` or `s3://bucket/folder` for photos, models and reports; empty: files in VAR_DIR.
STORAGE_URL = os.environ.get("STORAGE_URL", "")
# Where an S3-compatible store answers; empty: Amazon's.
S3_ENDPOINT_URL = os.environ.get("S3_ENDPOINT_URL", "")
MEDIA_ROOT = VAR_DIR / "media"
STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
if STORAGE_URL:
    one_of("STORAGE_URL", STORAGE_URL, ("s3",))
    if not urlsplit(STORAGE_URL).netloc:
        raise ImproperlyConfigured(
            f"STORAGE_URL is {STORAGE_URL!r}, expected s3://bucket or s3://bucket/folder."
        )
    STORAGES["default"] = {
        "BACKEND": "training.s3_files.S3Files",
        "OPTIONS": {
            "bucket_name": urlsplit(STORAGE_URL).netloc,
            "location": urlsplit(STORAGE_URL).path.strip("/"),
            "endpoint_url": S3_ENDPOINT_URL or None,
        },
    }
if TESTING:
    # The manifest is made by collectstatic, which tests do not run.
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]

# A folder with the official batches; empty: Keras' download, checksum verified.
CIFAR10_DIR = os.environ.get("CIFAR10_DIR", "")
if CIFAR10_DIR and not Path(CIFAR10_DIR).is_dir():
    raise ImproperlyConfigured(f"CIFAR10_DIR is {CIFAR10_DIR!r}, which is not a folder.")
# By how many points of share or confidence a week may differ from the first weeks before staff get a mail,
# once; twice as many for the mix of classes. 0: no mails.
DRIFT_ALERT_POINTS = number("DRIFT_ALERT_POINTS", 10)
# Photos that every new model is measured on besides: ten_classes/<class>/ and none_of_the_ten/; empty: none.
PHOTOS_DIR = os.environ.get("PHOTOS_DIR", "")
if PHOTOS_DIR and not Path(PHOTOS_DIR).is_dir():
    raise ImproperlyConfigured(f"PHOTOS_DIR is {PHOTOS_DIR!r}, which is not a folder.")
# Models, checkpoints and logs of this host's training runs.
MODELS_DIR = VAR_DIR / "models"
RUNS_DIR = VAR_DIR / "runs"

# The largest photo, in MB.
UPLOAD_MAX_MB = number("UPLOAD_MAX_MB", 20, 1)
# The largest photo, in millions of pixels.
UPLOAD_MAX_MEGAPIXELS = number("UPLOAD_MAX_MEGAPIXELS", 40, 1)
# How many photos one person may have.
QUOTA_PHOTOS = number("QUOTA_PHOTOS", 100_000, 1)
# The largest archive of photos, in MB.
BATCH_MAX_MB = number("BATCH_MAX_MB", 2_048, 1)
# How many files an archive may hold.
BATCH_MAX_FILES = number("BATCH_MAX_FILES", 10_000, 1)
# What an archive may unpack to in all, in MB.
BATCH_MAX_UNPACKED_MB = number("BATCH_MAX_UNPACKED_MB", 20_480, 1)
# How many photos may wait for a model; more are refused with 503 and 'try again', so that what was
# accepted is answered soon. Photos of archives do not count.
MAX_WAITING_PHOTOS = number("MAX_WAITING_PHOTOS", 5_000, 1)
# How many uploads one web process, of 24 threads, takes in at a time; the next get 503 at once.
UPLOADS_AT_ONCE = number("UPLOADS_AT_ONCE", 4, 1)
DATA_UPLOAD_MAX_NUMBER_FILES = 1_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_TEMP_DIR = None

# --- The REST API ---------------------------------------------------------------------------

# Requests a minute of one token; its owner may make twice as many with all of their tokens together,
# and an address four times. Each further file of an upload counts as a request.
API_RATE_BURST = number("API_RATE_BURST", 300, 1)
# The same for a day.
API_RATE_SUSTAINED = number("API_RATE_SUSTAINED", 20_000, 1)
# How many requests of one web process may wait for answers at a time, of its 24 threads.
API_MAX_WAITING = number("API_MAX_WAITING", 12, 1)
# Origins, such as https://example.org, whose pages may call the API with a token. None: no page may.
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["GET", "POST", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-none-match"]
CORS_EXPOSE_HEADERS = ["ETag", "Location", "Retry-After", "Idempotency-Replayed"]

# --- Work in the background -----------------------------------------------------------------

# How often a worker says that it lives, and renews what it has claimed.
HEARTBEAT_SECONDS = number("HEARTBEAT_SECONDS", 5, 1)
# After how long without a sign of life a worker's work is given to another.
LEASE_SECONDS = number("LEASE_SECONDS", 30, 2)
# How often the sweeper looks for work that nobody has, and for what is overdue.
SWEEP_SECONDS = number("SWEEP_SECONDS", 15, 1)
MAX_ATTEMPTS = 3
# Memory a training run may take, in MiB; 0: no limit.
TRAINING_MEMORY_MB = number("TRAINING_MEMORY_MB", 0)
# How far a training run stands back for other processes of its machine, 0 (not at all) to 19.
TRAINING_NICE = number("TRAINING_NICE", 10)
# Modules with a RECIPE besides those in training/engine/recipes.
EXTRA_RECIPES = env.list("EXTRA_RECIPES", default=[])
# How many photos go through the model together at most.
PREDICTION_BATCH = number("PREDICTION_BATCH", 64, 1)
# On how many images of a set a report tries each distortion; 0: on none.
REPORT_DISTORTED_IMAGES = number("REPORT_DISTORTED_IMAGES", 1_000)
# On how many images of each kind that no camera took (noise, text, colours, screens) verdicts are tried.
MADE_UP_IMAGES = number("MADE_UP_IMAGES", 150, 1)
# Among how many training images the nearest to a photo are looked for; 0: all that trained the model.
NEIGHBOUR_IMAGES = number("NEIGHBOUR_IMAGES", 0)

# A challenger that is worse than the champion at this p (McNemar, same images) is refused.
GATE_P_VALUE = read("GATE_P_VALUE", env.float, 0.05, "a number from 0 to 1")
# The least recall of each class on the test images, 0 to 1.
GATE_CLASS_FLOOR = read("GATE_CLASS_FLOOR", env.float, 0.5, "a number from 0 to 1")
# The highest calibration error of a challenger on the test images, 0 to 1.
GATE_ECE = read("GATE_ECE", env.float, 0.05, "a number from 0 to 1")
# How many times the champion's forward time a challenger's may be, both timed side by side.
GATE_SLOWDOWN = read("GATE_SLOWDOWN", env.float, 4.0, "a number such as 4.0")

# Signs the messages that tell other programs of a finished training job; empty: there are none.
WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "")
# Hosts that webhooks may call although they are on this machine or in a private network.
WEBHOOK_PRIVATE_HOSTS = env.list("WEBHOOK_PRIVATE_HOSTS", default=[])

# Days after which the sweeper removes a photo; 0: never. Photos that train models stay.
KEEP_PHOTOS_DAYS = number("KEEP_PHOTOS_DAYS", 0)
# Days after its end for which the log and the checkpoints of a training run are kept; 0: for ever.
KEEP_RUNS_DAYS = number("KEEP_RUNS_DAYS", 30)
# Days for which an archive stays whose failed files may still be tried again; others go at once.
KEEP_ARCHIVES_DAYS = number("KEEP_ARCHIVES_DAYS", 3, 1)
# Hours after which a file that belongs to no row is removed: a younger one may be an upload under way.
ORPHAN_HOURS = number("ORPHAN_HOURS", 24, 1)

# Celery's broker: `redis://host:6379/0`; empty: files in VAR_DIR, for one machine.
BROKER_URL = os.environ.get("BROKER_URL") or "filesystem://"
CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "classifier.tasks.predict": {"queue": "predict"},
    "classifier.tasks.explain": {"queue": "predict"},
    "classifier.tasks.predict_bulk": {"queue": "batch"},
    "classifier.tasks.shadow": {"queue": "batch"},
    "classifier.tasks.unpack": {"queue": "batch"},
    "classifier.tasks.collect_neighbours": {"queue": "batch"},
    "classifier.tasks.*": {"queue": "default"},
    "training.tasks.train": {"queue": "train"},
    "training.tasks.change_over": {"queue": "predict"},
    "training.tasks.*": {"queue": "default"},
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 60.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A request never waits for a dead broker: one try, about a second.
CELERY_TASK_PUBLISH_RETRY = False
if one_of("BROKER_URL", BROKER_URL, ("filesystem", "redis", "rediss")) == "filesystem":
    TRANSPORT_ALIASES["filesystem"] = "cifarsite.broker:Transport"
    _folder = VAR_DIR / "broker"
    for _name in ("messages", "processed", "control"):
        try:
            (_folder / _name).mkdir(parents=True, exist_ok=True)
        except OSError as _error:
            raise ImproperlyConfigured(
                f"{_folder / _name} cannot be made ({_error.strerror}): free some space or set VAR_DIR."
            ) from _error
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "data_folder_in": str(_folder / "messages"),
        "data_folder_out": str(_folder / "messages"),
        "processed_folder": str(_folder / "processed"),
        "control_folder": str(_folder / "control"),
        "store_processed": False,
        "polling_interval": 0.05,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}

# --- People ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "classifier.User"
# What writes the audit log.
AUDIT = "classifier.audit.record"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "classifier.sign_in.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_RATE_LIMITS = {"login_failed": "10/5m/key,50/5m/ip"}
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "cifarsite"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS
USERSESSIONS_TRACK_ACTIVITY = False

# How mail is sent: `smtp+tls://user:password@host:587`; empty: printed on the console.
EMAIL_URL = os.environ.get("EMAIL_URL") or "consolemail://"
one_of(
    "EMAIL_URL",
    EMAIL_URL,
    ("consolemail", "smtp", "smtp+tls", "smtp+ssl", "filemail", "memorymail", "dummymail"),
)
vars().update(env.email_url_config(EMAIL_URL))
# The sender of the site's mails.
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "cifarsite@localhost")
EMAIL_TIMEOUT = 10

# --- Answers --------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    if TRUSTED_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("vi", _("Vietnamese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

IMPORT_EXPORT_SKIP_ADMIN_LOG = False

# The least important messages that are logged: DEBUG, INFO, WARNING, ERROR or CRITICAL.
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
    raise ImproperlyConfigured(
        f"LOG_LEVEL is {LOG_LEVEL!r}, expected DEBUG, INFO, WARNING, ERROR or CRITICAL."
    )
# How log lines look: `text` for people, `json` for machines, which get a line a request too.
LOG_FORMAT = os.environ.get("LOG_FORMAT", "text")
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}, expected text or json.")
LOGGING = logs.configure(as_json=LOG_FORMAT == "json", level=LOG_LEVEL)
# The id of the request that published a task goes with it; the rows name theirs by themselves.
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_DEFAULT_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_COMMAND_LOGGING_ENABLED = False

# Bearer token with which Prometheus may read /metrics on web hosts; empty: there is no such page.
METRICS_TOKEN = os.environ.get("METRICS_TOKEN", "")
if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
    raise ImproperlyConfigured("METRICS_TOKEN is too short, expected 16 characters or more.")
# Where the workers of a host without web processes tell their metrics, such as `10.0.0.5:9101`: to
# everybody who reaches it, so on a network of your own; empty: nowhere.
METRICS_ADDRESS = os.environ.get("METRICS_ADDRESS", "")
if METRICS_ADDRESS and not re.fullmatch(r"[^\s:]+:\d{1,5}", METRICS_ADDRESS):
    raise ImproperlyConfigured(f"METRICS_ADDRESS is {METRICS_ADDRESS!r}, expected address:port.")
if METRICS_TOKEN or METRICS_ADDRESS:
    _metrics = os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(VAR_DIR / "metrics"))
    try:
        Path(_metrics).mkdir(parents=True, exist_ok=True)
    except OSError as _error:
        raise ImproperlyConfigured(f"{_metrics} cannot be made ({_error.strerror}).") from _error

# Where Sentry takes errors, without personal data; empty: nowhere.
SENTRY_DSN = os.environ.get("SENTRY_DSN", "")
if SENTRY_DSN:
    import sentry_sdk

    try:
        sentry_sdk.init(dsn=SENTRY_DSN, send_default_pii=False)
    except ValueError as _error:
        raise ImproperlyConfigured(f"SENTRY_DSN is not a DSN: {_error}.") from _error
