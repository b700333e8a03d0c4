"""A real server on this machine that takes webhooks, which a setting allows."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from django.test import TestCase, override_settings

SECRET = "a secret of the receiver"
ON = override_settings(WEBHOOK_SECRET=SECRET)


class Receiver(BaseHTTPRequestHandler):
    """Answers what the test wants, and remembers what came."""

    def do_POST(self) -> None:
        server: Any = self.server
        content = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), content))
        time.sleep(server.pause)
        status = server.answers.pop(0) if server.answers else 204
        self.send_response(status, server.reason)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class WithReceiver(TestCase):
    """Webhooks are on; ``self.url`` is the server's, ``self.server.got`` what came: path, headers, content.

    ``server.answers``: statuses to answer with; 204 when they are used up. ``server.pause``: seconds.
    ``server.reason``: the status line's words.
    """

    server: Any

    def setUp(self) -> None:
        self.enterContext(ON)
        self.enterContext(override_settings(WEBHOOK_PRIVATE_HOSTS=["127.0.0.1", "localhost"]))
        self.server = HTTPServer(("127.0.0.1", 0), Receiver)
        self.server.got, self.server.answers, self.server.pause = [], [], 0
        self.server.reason = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1"
