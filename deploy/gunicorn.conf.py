"""Gunicorn on a web host: python -m gunicorn cifarsite.wsgi --config deploy/gunicorn.conf.py"""

import os

from cifarsite import logs

# systemd hands over a socket, which then counts instead.
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_PROCESSES", "2"))
# Receives requests before a thread is given to them: slow clients hold none.
worker_class = "cifarsite.web.gunicorn_worker.Worker"
# UPLOADS_AT_ONCE and API_MAX_WAITING are shares of these.
threads = 24
# What waits longer than these lines is better off with another host, or with an honest error.
backlog = 256
timeout = 60
graceful_timeout = 30
# Longer than nginx' keepalive_timeout for upstreams: the client of a connection lets go of it first.
keepalive = 15
# Not preloaded: HUP then starts processes with the new code while the old ones finish.
preload_app = False
control_socket_disable = True
logconfig_dict = logs.configure(
    as_json=os.environ.get("LOG_FORMAT") == "json", level=os.environ.get("LOG_LEVEL", "INFO").upper()
)
