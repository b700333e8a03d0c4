"""OIDC_PROVIDERS and what belongs to it: a wrong value stops the start, and no secret is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from cifarsite.sign_in_providers import providers
from conftest import ROOT

SECRET = "s3cret-of-acme"
GIVEN = {
    "OIDC_ACME_URL": "https://login.acme.example/realms/main/",
    "OIDC_ACME_CLIENT_ID": "cifarsite",
    "OIDC_ACME_CLIENT_SECRET": SECRET,
}


def test_several_providers_each_with_its_own() -> None:
    more = {key.replace("ACME", "UNI"): value for key, value in GIVEN.items()}
    more |= {
        "OIDC_UNI_NAME": "The university",
        "OIDC_UNI_STAFF": "groups=a=b",
        "OIDC_UNI_DOMAINS": "a.b, C.d",
    }
    acme, uni = providers(["acme", "uni"], {**GIVEN, **more, "OIDC_PROVIDERS": "acme,uni", "OIDC_TOKEN": "x"})
    assert (acme["provider_id"], acme["name"], acme["secret"]) == ("acme", "acme", SECRET)
    assert acme["settings"]["server_url"] == "https://login.acme.example/realms/main"
    assert (uni["provider_id"], uni["name"]) == ("uni", "The university")
    assert uni["settings"]["domains"] == ["a.b", "c.d"]
    assert (uni["settings"]["staff_claim"], uni["settings"]["staff_value"]) == ("groups", "a=b")
    assert providers([], GIVEN) == []


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (["acme"], {"OIDC_ACME_URL": ""}, "OIDC_ACME_URL is missing, expected the provider's address"),
        (["acme"], {"OIDC_ACME_CLIENT_SECRET": ""}, "OIDC_ACME_CLIENT_SECRET is missing"),
        (["acme"], {"OIDC_ACME_URL": "http://login.acme.example"}, "OIDC_ACME_URL is not an address"),
        (["acme"], {"OIDC_ACME_URL": "https://a:b@login.acme.example"}, "OIDC_ACME_URL is not an address"),
        (["acme"], {"OIDC_ACME_URL": "login"}, "OIDC_ACME_URL is not an address"),
        (
            ["acme"],
            {"OIDC_ACME_SECRET": "x"},
            "OIDC_ACME_SECRET is no setting, expected one of OIDC_ACME_URL",
        ),
        (["acme"], {"OIDC_ACME_DOMAINS": "*"}, "OIDC_ACME_DOMAINS names '*'"),
        (["acme"], {"OIDC_ACME_CONFIRMED": "yes"}, "OIDC_ACME_CONFIRMED is 'yes', expected true or false"),
        (["acme"], {"OIDC_ACME_CONFIRMED": "true"}, "which needs OIDC_ACME_DOMAINS"),
        (["acme"], {"OIDC_ACME_STAFF": "staff"}, "OIDC_ACME_STAFF is 'staff', expected claim=value"),
        (["acme"], {"OIDC_ACME_AUTH": "digest"}, "OIDC_ACME_AUTH is 'digest', expected basic or post"),
        (["Acme"], {}, "OIDC_PROVIDERS names 'Acme'"),
        (["acme", "acme"], {}, "OIDC_PROVIDERS names 'acme' twice"),
    ],
)
def test_a_wrong_value_is_named(names: list[str], given: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        providers(names, {**GIVEN, **given})
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)


def test_it_stops_the_start(tmp_path: Path) -> None:
    given = {**GIVEN, "OIDC_PROVIDERS": "acme", "OIDC_ACME_URL": "ftp://acme", "VAR_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "OIDC_ACME_URL is not an address that begins with https://." in done.stderr
    assert SECRET not in done.stderr
