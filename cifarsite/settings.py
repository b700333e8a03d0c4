"""All settings, from the environment; a wrong value stops the start with a sentence that names it."""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from kombu.transport import TRANSPORT_ALIASES

from cifarsite import logs, sign_in_providers
from cifarsite.environment import (
    choice,
    env,
    folder,
    kept_secret_key,
    make_folder,
    number,
    one_of,
    read,
    site_address,
    switch,
)

BASE_DIR = Path(__file__).resolve().parent.parent
# Folder for all that the site writes; default: var/ in the project.
VAR_DIR = Path(os.environ.get("VAR_DIR", BASE_DIR / "var")).resolve()

TESTING = "pytest" in sys.modules
# Django's debug pages, which show settings; development only.
DEBUG = switch("DEBUG", False)
# The site is served over https: secure cookies, HSTS, redirect from http.
HTTPS = switch("HTTPS", False)
# Signs sessions and links; empty: generated once and kept in VAR_DIR.
SECRET_KEY = os.environ.get("SECRET_KEY") or kept_secret_key(VAR_DIR / "secret_key")
# Previous keys, still accepted after a rotation.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Host names that the site serves.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# Port of `make run`, on localhost.
PORT = number("PORT", 8000, 1)
# Public address, such as https://example.org, for links in mails and webhooks.
BASE_URL = os.environ.get("BASE_URL") or f"http://localhost:{PORT}"
BASE_URL = site_address("BASE_URL", BASE_URL)
# Trusted origins of forms behind a proxy with https, such as https://example.org.
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Number of your own reverse proxies; 0: X-Forwarded-For is ignored.
TRUSTED_PROXIES = number("TRUSTED_PROXIES", 0)

INSTALLED_APPS = [
    "classifier",
    "training",
    "cifarsite.apps.GroupedAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_structlog",
    "import_export",
    "ninja",
]

MIDDLEWARE = [
    "cifarsite.web.request_logging.RequestLines",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "cifarsite.web.private_answers.PrivateAnswers",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "classifier.accounts.audit.RefusalsOnRecord",
    "classifier.pages.refusals.BodyLimits",
    "classifier.accounts.rate_limits.DownloadsCounted",
    "classifier.api.errors.ProblemsOnly",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "classifier.accounts.middleware.AccountLanguageMiddleware",
    "classifier.accounts.middleware.AccountTimeZoneMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "cifarsite.web.fitting_values.FittingValues",
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
    # Kept open: on a full disk nobody could open the file, so nobody could read.
    DATABASES["default"]["CONN_MAX_AGE"] = 0 if TESTING else None
    # A file, not memory: connections of several threads to a database in memory share one cache,
    # where a locked table fails at once instead of waiting.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / f"tests-{os.getpid()}.sqlite3")}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A cut link sends no error: without these limits a worker would wait a quarter of an hour.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Shared cache, with the rate counts: `redis://host:6379/1`; empty: a database table.
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

# `s3://bucket` or `s3://bucket/folder` for photos and models; empty: VAR_DIR.
STORAGE_URL = os.environ.get("STORAGE_URL", "")
# Endpoint of an S3-compatible store; empty: Amazon's.
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
        "BACKEND": "cifarsite.core.s3_storage.S3Files",
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

# Folder with the official CIFAR-10 batches; empty: downloaded, checksum verified.
CIFAR10_DIR = folder("CIFAR10_DIR")
# Percentage points by which a week's share or confidence may drift before staff get one mail; twice
# for the class mix. 0: no mail.
DRIFT_ALERT_POINTS = number("DRIFT_ALERT_POINTS", 10)
# Photos for another evaluation of each new model: ten_classes/<class>/, none_of_the_ten/; empty: none.
PHOTOS_DIR = folder("PHOTOS_DIR")
# Photos that recipes may learn from beside CIFAR-10, in the same layout; empty: none.
TRAINING_PHOTOS_DIR = folder("TRAINING_PHOTOS_DIR")
# Models, and checkpoints and logs of training runs, of this host.
MODELS_DIR = VAR_DIR / "models"
RUNS_DIR = VAR_DIR / "runs"

# Largest photo, MB.
UPLOAD_MAX_MB = number("UPLOAD_MAX_MB", 20, 1)
# Largest photo, megapixels (phones: up to 50.3); some formats have lower limits.
UPLOAD_MAX_MEGAPIXELS = number("UPLOAD_MAX_MEGAPIXELS", 51, 1)
# Most photos per person.
QUOTA_PHOTOS = number("QUOTA_PHOTOS", 100_000, 1)
# Largest archive, MB.
BATCH_MAX_MB = number("BATCH_MAX_MB", 2_048, 1)
# Most files per archive.
BATCH_MAX_FILES = number("BATCH_MAX_FILES", 10_000, 1)
# One person's paused or not yet unpacked archives, MB in all.
QUOTA_ARCHIVES_MB = number("QUOTA_ARCHIVES_MB", 4_096, 1)
# Largest unpacked size of an archive, MB.
BATCH_MAX_UNPACKED_MB = number("BATCH_MAX_UNPACKED_MB", 20_480, 1)
# Most queued photos (archives do not count); further uploads get 503.
MAX_WAITING_PHOTOS = number("MAX_WAITING_PHOTOS", 5_000, 1)
# Uploads that one web process (24 threads) handles at once; with those who wait at most 16, more get 503.
UPLOADS_AT_ONCE = number("UPLOADS_AT_ONCE", 4, 1)
DATA_UPLOAD_MAX_NUMBER_FILES = 1_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- The REST API ---------------------------------------------------------------------------

# Requests a minute per token; per owner twice, per address four times as many. Each further file of an
# upload counts as one.
API_RATE_BURST = number("API_RATE_BURST", 300, 1)
# The same per day.
API_RATE_SUSTAINED = number("API_RATE_SUSTAINED", 20_000, 1)
# Requests that may wait for predictions at once in a web process (24 threads).
API_MAX_WAITING = number("API_MAX_WAITING", 12, 1)
# Origins whose pages may call the API with a token.
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["GET", "POST", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-none-match"]
CORS_EXPOSE_HEADERS = [
    *("ETag", "Location", "Retry-After", "Idempotency-Replayed"),
    *("RateLimit", "RateLimit-Policy"),
]

# --- Background work ------------------------------------------------------------------------

# Seconds between a worker's heartbeats, which renew its leases.
HEARTBEAT_SECONDS = number("HEARTBEAT_SECONDS", 5, 1)
# Seconds without heartbeat until another worker takes over.
LEASE_SECONDS = number("LEASE_SECONDS", 30, 2)
# Seconds between the sweeper's passes.
SWEEP_SECONDS = number("SWEEP_SECONDS", 15, 1)
MAX_ATTEMPTS = 3
# Memory limit of a training run, MiB; 0: none.
TRAINING_MEMORY_MB = number("TRAINING_MEMORY_MB", 0)
# Niceness of training runs, 0 to 19 (lowest priority).
TRAINING_NICE = number("TRAINING_NICE", 10)
# Memory per GPU and process, MiB; 0: as needed.
GPU_MEMORY_MB = number("GPU_MEMORY_MB", 0)
# Further modules with a RECIPE.
EXTRA_RECIPES = env.list("EXTRA_RECIPES", default=[])
# Most photos per forward pass.
PREDICTION_BATCH = number("PREDICTION_BATCH", 64, 1)
# Images per corruption in a report; 0: none.
REPORT_DISTORTED_IMAGES = number("REPORT_DISTORTED_IMAGES", 1_000)
# Synthetic images (noise, text, colours, screens) of each kind in a report.
SYNTHETIC_OOD_IMAGES = number("SYNTHETIC_OOD_IMAGES", 150, 1)
# Training images in the embedding index for nearest images; 0: all.
NEIGHBOUR_IMAGES = number("NEIGHBOUR_IMAGES", 0)

# Largest loss of held-out accuracy (0 to 1) against the champion and the best earlier model; a larger
# one must be excluded with 95 % confidence.
GATE_MARGIN = read("GATE_MARGIN", env.float, 0.01, "a number from 0 to 1")
# Lowest held-out recall of each class, 0 to 1.
GATE_CLASS_FLOOR = read("GATE_CLASS_FLOOR", env.float, 0.5, "a number from 0 to 1")
# Highest held-out calibration error (ECE), 0 to 1.
GATE_ECE = read("GATE_ECE", env.float, 0.05, "a number from 0 to 1")
# Longest forward pass, as a multiple of the champion's, measured side by side.
GATE_SLOWDOWN = read("GATE_SLOWDOWN", env.float, 4.0, "a number such as 4.0")

# Turns on webhooks about finished training jobs, which it signs, and batches; empty: no webhooks.
WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "")
# Private or local hosts that webhooks may call.
WEBHOOK_PRIVATE_HOSTS = env.list("WEBHOOK_PRIVATE_HOSTS", default=[])

# Days until photos are removed; 0: never. Photos that train models stay.
KEEP_PHOTOS_DAYS = number("KEEP_PHOTOS_DAYS", 0)
# Days to keep logs and checkpoints of finished training runs; 0: for ever.
KEEP_RUNS_DAYS = number("KEEP_RUNS_DAYS", 30)
# Days to keep archives with failed files for retries.
KEEP_ARCHIVES_DAYS = number("KEEP_ARCHIVES_DAYS", 3, 1)
# Days to keep refusals and failed sign-ins in the audit log; other lines stay.
KEEP_REFUSALS_DAYS = number("KEEP_REFUSALS_DAYS", 90, 7)
# Days until a paused archive is cancelled and removed.
KEEP_PAUSED_DAYS = number("KEEP_PAUSED_DAYS", 7, 1)
# Hours until files without rows are removed; uploads must finish sooner.
ORPHAN_HOURS = number("ORPHAN_HOURS", 24, 1)

# Celery's broker: `redis://host:6379/0`; empty: files in VAR_DIR (one machine only).
BROKER_URL = os.environ.get("BROKER_URL") or "filesystem://localhost"  # kombu warns where no host is named
CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "classifier.tasks.predict": {"queue": "predict"},
    "classifier.tasks.explain": {"queue": "predict"},
    "classifier.tasks.predict_bulk": {"queue": "batch"},
    "classifier.tasks.shadow": {"queue": "batch"},
    "classifier.tasks.unpack": {"queue": "batch"},
    "classifier.tasks.import_images": {"queue": "batch"},
    "classifier.tasks.collect_neighbours": {"queue": "batch"},
    "classifier.tasks.*": {"queue": "default"},
    "training.tasks.train": {"queue": "train"},
    "training.tasks.preload_champion": {"queue": "predict"},
    "training.tasks.*": {"queue": "default"},
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 300.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Print mails on the console unchanged.
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A request never waits for a dead broker: one try, about a second.
CELERY_TASK_PUBLISH_RETRY = False
if one_of("BROKER_URL", BROKER_URL, ("filesystem", "redis", "rediss")) == "filesystem":
    TRANSPORT_ALIASES["filesystem"] = "cifarsite.broker:Transport"
    _messages, _processed, _control = (
        make_folder(VAR_DIR / "broker" / name, ": free some space or set VAR_DIR")
        for name in ("messages", "processed", "control")
    )
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "data_folder_in": _messages,
        "data_folder_out": _messages,
        "processed_folder": _processed,
        "control_folder": _control,
        "store_processed": False,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}

# --- Accounts and mail ----------------------------------------------------------------------

AUTH_USER_MODEL = "classifier.User"
# What writes the audit log.
AUDIT = "classifier.accounts.audit.record"
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
ACCOUNT_ADAPTER = "classifier.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
# A stolen session cannot change addresses without the password.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
# Report account changes by mail.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_FORMS = {
    "signup": "classifier.accounts.forms.SignUpForm",
    "reset_password_from_key": "classifier.accounts.forms.NewPasswordForm",
}
ACCOUNT_RATE_LIMITS = {
    # Per name typed, per client address, and per account.
    "login_failed": "10/5m/key,50/5m/ip",
    "login_failed_account": "10/5m/key",
    "reauthenticate_failed": "10/5m/key",
    "change_password": "10/5m/user",
}
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "cifarsite"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS

# Organisations whose accounts sign in here by OpenID Connect, such as `acme,uni`; each is described by
# `OIDC_ACME_URL`, `OIDC_ACME_CLIENT_ID` and others: docs/sign-in.md.
OIDC_PROVIDERS = env.list("OIDC_PROVIDERS", default=[])
# Days that rights by a claim last after the last sign-in that confirmed them.
OIDC_STAFF_DAYS = number("OIDC_STAFF_DAYS", 7, 1)
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"APPS": sign_in_providers.providers(OIDC_PROVIDERS, os.environ)}
}
SOCIALACCOUNT_ADAPTER = "classifier.accounts.organisations.OrganisationAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True

# Mail server: `smtp+tls://user:password@host:587`; empty: mails are printed.
EMAIL_URL = os.environ.get("EMAIL_URL") or "consolemail://"
one_of(
    "EMAIL_URL",
    EMAIL_URL,
    ("consolemail", "smtp", "smtp+tls", "smtp+ssl", "filemail", "memorymail", "dummymail"),
)
vars().update(env.email_url_config(EMAIL_URL))
MAIL_BACKEND: str = vars()["EMAIL_BACKEND"]
EMAIL_BACKEND = "cifarsite.core.mail.CountingBackend"
# Sender of mails.
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "cifarsite@localhost")
EMAIL_TIMEOUT = 10

# --- Responses and logs ---------------------------------------------------------------------

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
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
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
FORMAT_MODULE_PATH = ["cifarsite.formats"]
TIME_ZONE = "UTC"

# Lowest level logged: DEBUG, INFO, WARNING, ERROR or CRITICAL.
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
choice("LOG_LEVEL", LOG_LEVEL, ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
# `text` for people; `json` for machines, with a line per request.
LOG_FORMAT = os.environ.get("LOG_FORMAT", "text")
choice("LOG_FORMAT", LOG_FORMAT, ("text", "json"))
LOGGING = logs.configure(as_json=LOG_FORMAT == "json", level=LOG_LEVEL)
# Tasks carry the id of the request that published them; rows store their own.
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_DEFAULT_LOG_LEVEL = logging.DEBUG

# Bearer token for /metrics on web hosts; empty: no such page.
METRICS_TOKEN = os.environ.get("METRICS_TOKEN", "")
if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
    raise ImproperlyConfigured("METRICS_TOKEN is too short, expected 16 characters or more.")
# Address for metrics of a worker host, such as `10.0.0.5:9101`; no authentication, so private network
# only; empty: none.
METRICS_ADDRESS = os.environ.get("METRICS_ADDRESS", "")
if METRICS_ADDRESS and not re.fullmatch(r"[^\s:]+:\d{1,5}", METRICS_ADDRESS):
    raise ImproperlyConfigured(f"METRICS_ADDRESS is {METRICS_ADDRESS!r}, expected address:port.")
if METRICS_TOKEN or METRICS_ADDRESS:
    make_folder(Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(VAR_DIR / "metrics"))))

# Sentry DSN for errors, without personal data; empty: none.
SENTRY_DSN = os.environ.get("SENTRY_DSN", "")
if SENTRY_DSN:
    import sentry_sdk

    try:
        sentry_sdk.init(dsn=SENTRY_DSN, send_default_pii=False)
    except ValueError as _error:
        raise ImproperlyConfigured(f"SENTRY_DSN is not a DSN: {_error}.") from _error
