# The first of these that is a Python 3.11; otherwise one that at least can say that 3.11 is needed.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$$p" && exit; \
	done; for p in python3 python; do "$$p" -c '' 2>/dev/null && echo "$$p" && exit; done; echo python3.11)
BIN := .venv/bin
# exec: Ctrl-C and TERM reach the program itself, and its exit status is make's.
BOOTSTRAP = p="$(PYTHON)"; command -v "$$p" >/dev/null || \
	{ echo "Python 3.11 is needed, and $$p is not found: install python3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	exec "$$p" cifarsite/bootstrap.py
PRODUCTION = env SECRET_KEY=0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ \
	DEBUG=false HTTPS=true ALLOWED_HOSTS=example.org CSRF_TRUSTED_ORIGINS=https://example.org
TESTS =

.PHONY: help run test coverage faults endurance check format bench fuzz install-dev

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s  %s\n", $$1, $$2}' Makefile

run:  ## start the site: web and workers, http://localhost:8000 (PORT=8000)
	@$(BOOTSTRAP) run

test:  ## run the tests (TESTS=path or options; REQUIRE_ALL=1: all of them, and fail where something is missing)
	@$(BOOTSTRAP) test $(TESTS)

coverage:  ## run the tests and say which lines and branches they reach
	@$(BOOTSTRAP) test --cov --cov-report=term-missing $(TESTS)

faults:  ## run the tests that kill, stop and fill things, alone
	@$(BOOTSTRAP) test -m faults -n 0 $(TESTS)

endurance:  ## seven hosts whose links are cut in turn; a minute at twice the load; the web image
	@$(BOOTSTRAP) test -m endurance -n 0 $(TESTS)

check: install-dev  ## style, types, templates, layers, manifests, migrations, deployment settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/djlint --lint --quiet templates
	$(BIN)/lint-imports
	$(BIN)/kubernetes-validate --strict --quiet --no-warn $(filter-out %kustomization.yaml,$(wildcard deploy/kubernetes/*/*.yaml))
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint deploy/docker/Dockerfile; fi
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

format: install-dev  ## put the code into the checked style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev  ## measure against peers; writes benchmarks/results/*.json (ALL=1: hours longer; BENCH=names)
	$(BIN)/python -m benchmarks $(if $(ALL),--all) $(BENCH)

fuzz:  ## try strange bytes on what reads them, two minutes each (FUZZ='zip_reader 600')
	@$(BOOTSTRAP) install requirements-fuzz.txt
	$(BIN)/python -m fuzzing $(FUZZ)

install-dev:
	@$(BOOTSTRAP) install requirements-dev.txt
