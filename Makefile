# make run    serve on http://$(HOST):$(PORT)
# make test   everything that is checked
# make quick  the everyday part of it
# make bench  the benchmark's table
# make load   the table of slow conversations: 1,000 fans at once, and others
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.PHONY: run test quick bench load clean system-python system-nginx system-wrk system-redis system-memcached

HOST ?= 127.0.0.1
PORT ?= 8111
export HOST PORT
PYTHON ?= python3
PIP := .venv/bin/python -m pip --disable-pip-version-check install --quiet

define LINT
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
endef

# $(call need,TEST,PACKAGES): where TEST fails, install Debian's PACKAGES if this user may, else say how.
define need
	{ $(1); } >/dev/null 2>&1 && exit 0
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo
	else echo "missing: $(2). Install with:  sudo apt-get install -y $(2)" >&2; exit 1; fi
	$$as apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive $$as apt-get install --quiet=2 --yes $(2) >/dev/null
endef

run: .venv/.service .env
	mkdir -p run; touch run/reload
	exec .venv/bin/uwsgi --http-socket $(HOST):$(PORT) --ini uwsgi_wechat.ini --hook-accepting1-once \
	  "print:*** serving on http://$(HOST):$(PORT); next, in another shell:  PORT=$(PORT) .venv/bin/flask wechat say 你好 ***"

test: .venv/.dev system-nginx system-wrk system-redis system-memcached
	$(LINT)
	.venv/bin/pytest

quick: .venv/.dev system-nginx system-redis system-memcached
	$(LINT)
	.venv/bin/pytest -m "not long"

bench: .venv/.dev system-wrk
	.venv/bin/python -m tests.bench.bench

load: .venv/.dev system-nginx
	.venv/bin/python -m tests.load.load

clean:
	rm -rf .venv run .pytest_cache .mypy_cache .ruff_cache .hypothesis

.env: | .venv/.service
	umask 077
	token=$$(.venv/bin/python -c 'import secrets; print(secrets.token_hex(16))')
	sed "s/^WECHAT_TOKEN=$$/WECHAT_TOKEN=$$token/" .env.example > .env
	echo "wrote .env with a random token"

.venv/.service: requirements.txt | system-python
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	echo "installing requirements.txt (uWSGI is compiled, about half a minute)"
	$(PIP) -r requirements.txt
	touch $@

.venv/.dev: requirements-dev.txt .venv/.service
	$(PIP) -r requirements-dev.txt
	touch $@

# What Debian and Ubuntu keep in packages of their own: venv, and what uWSGI is compiled with.
system-python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); expected 3.11 or later:  make PYTHON=python3.12 ..." >&2; exit 1; }
	$(call need,$(PYTHON) -c 'import ensurepip$(comma) sysconfig$(comma) os; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' && cc --version,build-essential python3-dev python3-venv)

system-nginx:
	$(call need,command -v nginx || test -x /usr/sbin/nginx,nginx)

system-wrk:
	$(call need,command -v wrk,wrk)

# openssl makes the certificate for Redis with TLS.
system-redis:
	$(call need,command -v redis-server && command -v openssl,redis-server openssl)

system-memcached:
	$(call need,command -v memcached,memcached)

comma := ,
