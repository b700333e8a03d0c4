"""A person with a browser signs in at an organisation and comes back; the content policy lets it happen."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from playwright.sync_api import Page

from cifarsite import sign_in_providers
from cifarsite.tests.test_content_policy import LISTEN
from conftest import accepts, free_port, wait_until


@pytest.mark.needs_browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_button_leads_there_and_back(live_server: Any, page: Page, settings: Any) -> None:
    port = free_port()
    # Another origin than the site's, which a form of the site may not lead to.
    there = f"http://127.0.0.1:{port}"
    given = {
        "OIDC_ACME_URL": there,
        "OIDC_ACME_NAME": "Acme",
        "OIDC_ACME_CLIENT_ID": "cifarsite",
        "OIDC_ACME_CLIENT_SECRET": "secret",
    }
    apps = sign_in_providers.providers(["acme"], given)
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": apps}}
    argv = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "The provider")
        claims = {"email": "olga@example.org", "email_verified": True, "preferred_username": "olga"}
        httpx.put(f"{there}/users/o-1", json=claims, trust_env=False).raise_for_status()
        page.add_init_script(LISTEN)
        page.goto(f"{live_server.url}/accounts/login/?next=/history/")
        page.get_by_role("button", name="Sign in with Acme").click()
        page.wait_for_url(f"{there}/**")
        page.locator("input[name=sub]").first.fill("o-1")
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url(f"{live_server.url}/history/")
        assert page.evaluate("window.violations || []") == []
        assert SocialAccount.objects.get().user.username == "olga"
    finally:
        process.kill()
        process.wait()
