"""What axe finds on an open page."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def violations(page: Page, context: Any = None, **options: Any) -> list[str]:
    """A sentence for each breach that axe finds on the page, or in its part ``context``."""
    # Without motion, or axe meets colours that are still changing; loaded, or it meets what scripts change.
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_load_state()
    options = {"resultTypes": ["violations"], **options}
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:300]} {node.get('failureSummary', '')}"
        for rule in found
        for node in rule["nodes"]
    ]
