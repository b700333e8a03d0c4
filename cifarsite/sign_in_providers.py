"""The organisations whose accounts sign in here: OIDC_PROVIDERS names them, OIDC_<NAME>_* describe each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

WANTED = {
    "URL": "the provider's address, such as https://login.example.org/realms/staff",
    "CLIENT_ID": "the id that the provider gave this site",
    "CLIENT_SECRET": "the secret that the provider gave this site",
}
OPTIONAL = ("NAME", "DOMAINS", "CONFIRMED", "STAFF", "AUTH")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def providers(names: list[str], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What django-allauth wants to know of each provider, in the order of ``names``.

    Raises:
        ImproperlyConfigured: a value is missing or wrong; the sentence names its variable, and no secret.
    """
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,29}", name):
            raise ImproperlyConfigured(
                f"OIDC_PROVIDERS names {name!r}, expected small letters and digits, such as acme."
            )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ImproperlyConfigured(f"OIDC_PROVIDERS names {twice[0]!r} twice.")
    return [_provider(name, environment) for name in names]


def _provider(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"OIDC_{name.upper()}_"
    given = {key[len(prefix) :]: value for key, value in environment.items() if key.startswith(prefix)}
    for key in given:
        if key not in (*WANTED, *OPTIONAL):
            known = ", ".join(prefix + each for each in (*WANTED, *OPTIONAL))
            raise ImproperlyConfigured(f"{prefix}{key} is no setting, expected one of {known}.")
    for key, what in WANTED.items():
        if not given.get(key):
            raise ImproperlyConfigured(f"{prefix}{key} is missing, expected {what}.")
    url = given["URL"].rstrip("/")
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not (safe and parts.hostname) or parts.username or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{prefix}URL is not an address that begins with https://.")
    domains = [each.strip().lower() for each in given.get("DOMAINS", "").split(",") if each.strip()]
    for domain in domains:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
            raise ImproperlyConfigured(
                f"{prefix}DOMAINS names {domain!r}, expected domains such as example.org."
            )
    confirmed = given.get("CONFIRMED", "").lower()
    if confirmed not in ("", "true", "false"):
        raise ImproperlyConfigured(f"{prefix}CONFIRMED is {confirmed!r}, expected true or false.")
    if confirmed == "true" and not domains:
        raise ImproperlyConfigured(
            f"{prefix}CONFIRMED is true, which needs {prefix}DOMAINS: whose addresses the provider confirms."
        )
    auth = given.get("AUTH", "")
    if auth not in ("", "basic", "post"):
        raise ImproperlyConfigured(f"{prefix}AUTH is {auth!r}, expected basic or post.")
    claim, equals, value = given.get("STAFF", "").partition("=")
    if given.get("STAFF") and not (claim and equals and value):
        raise ImproperlyConfigured(
            f"{prefix}STAFF is {given['STAFF']!r}, expected claim=value, such as groups=cifarsite-staff."
        )
    return {
        "provider_id": name,
        "name": given.get("NAME") or name,
        "client_id": given["CLIENT_ID"],
        "secret": given["CLIENT_SECRET"],
        "settings": {
            "server_url": url,
            # How the secret is sent; empty: as the provider says it wants it.
            "token_auth_method": auth and f"client_secret_{auth}",
            "oauth_pkce_enabled": True,
            "email_authentication": True,
            # What the provider says counts as confirmed where it does not say so of each address.
            "verified_email": domains if confirmed == "true" else False,
            "domains": domains,
            "staff_claim": claim,
            "staff_value": value,
        },
    }
