# make run    serve on http://$(HOST):$(PORT)
# make dev    the same for work on handlers: what is saved answers at once
# make install ACCOUNT=shop      the service of one account on this machine, or its upgrade (docs/deploy.md); as root
# make uninstall ACCOUNT=shop    what it left, without settings, data and logs; these too with PURGE=1
# make test   everything that is checked
# make quick  the everyday part of it, in parallel
# make audit  whether a package of requirements.txt is known to be vulnerable
# make bench  the benchmark's table
# make load   the table of slow conversations: 1,000 fans at once, 5,000, and others
# make start  whether every fan is answered while the service starts, reloads, or loses a worker
# make machines   the same on three hosts, of which some are lost; as root, who makes a network for it
# make accounts   an account's fans while its neighbour on the machine is in trouble
# make soak MINUTES=10   everything at once, with faults and recycled workers
# make cost   what one message costs: CPU, Redis, bytes
# make pages  how long the console's pages take, with 100,000 messages in a day and WeChat's API down
# make screenshots   the pictures in the documentation, in docs/screenshots
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.PHONY: run dev install uninstall test quick audit bench load start machines accounts soak cost pages screenshots clean system-iproute2 system-python system-nginx system-wrk system-redis system-memcached system-databases system-promtool system-sshd system-logrotate system-nspawn system-curl system-chromium

HOST ?= 127.0.0.1
PORT ?= 8111
MINUTES ?= 10
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
	if ! { $(1); } >/dev/null 2>&1; then
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo
	else echo "missing: $(2). Install with:  sudo apt-get install -y $(2)" >&2; exit 1; fi
	$$as apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive $$as apt-get install --quiet=2 --yes $(2) >/dev/null
	fi
endef

run: .venv/.service .env
	mkdir -p run; touch run/reload
	where=
	if [ -z "$${WECHAT_APPID:-}$${WECHAT_APPSECRET:-}$${WECHAT_API_BASE_URL:-}$${WECHAT_SANDBOX:-}" ] &&
	  ! grep -Eq '^ *(export +)?WECHAT_(APPID|APPSECRET|API_BASE_URL|SANDBOX)=.' .env; then
	  export WECHAT_SANDBOX=1 WECHAT_API_BASE_URL=http://127.0.0.1:$(PORT)/sandbox/api
	  where="*** no account in .env: WeChat itself is PLAYED LOCALLY, nothing reaches a fan (WECHAT_APPID ends that) ***"
	fi
	.venv/bin/flask db upgrade
	exec .venv/bin/uwsgi --http-socket $(HOST):$(PORT) --ini uwsgi_wechat.ini --hook-accepting1-once \
	  "print:*** serving on http://$(HOST):$(PORT); next, in another shell:  PORT=$(PORT) .venv/bin/flask wechat say 你好 ***" \
	  $${where:+--hook-accepting1-once "print:$$where"} \
	  $${where:+--hook-accepting1-once "print:*** a fan's phone to try it on: http://$(HOST):$(PORT)/sandbox/ ***"}

dev: .venv/.service .env
	exec .venv/bin/flask wechat dev

# ACCOUNT, DESTDIR, BOT, TLS_CERT, TLS_KEY and WECHAT_… reach it as they were given, in the environment or here.
install:
	PYTHON=$(PYTHON) deploy/install

uninstall:
	deploy/uninstall

test: .venv/.dev system-nginx system-wrk system-redis system-memcached system-databases system-promtool system-sshd system-logrotate system-nspawn system-iproute2 system-curl system-chromium
	$(LINT)
	.venv/bin/pytest -n 3 --dist loadfile && exit 0
	echo "once more, one at a time: what failed beside others on a busy machine" >&2
	.venv/bin/pytest --last-failed --last-failed-no-failures none

quick: .venv/.dev system-redis system-memcached system-promtool
	$(LINT)
	.venv/bin/pytest -m "not long" -n 3

audit: .venv/.dev
	.venv/bin/python -m tests.security.audit

bench: .venv/.dev system-wrk
	.venv/bin/python -m tests.bench.bench

load: .venv/.dev system-nginx
	.venv/bin/python -m tests.load.load

start: .venv/.dev
	.venv/bin/python -m tests.load.start

machines: .venv/.dev system-nginx system-redis system-iproute2
	.venv/bin/python -m tests.machines.machines

accounts: .venv/.dev system-nginx
	.venv/bin/python -m tests.accounts.measure

soak: .venv/.dev system-nginx system-redis
	.venv/bin/python -m tests.soak.soak $(MINUTES)

cost: .venv/.dev system-nginx system-redis
	.venv/bin/python -m tests.bench.cost

pages: .venv/.dev system-nginx
	.venv/bin/python -m tests.bench.pages

screenshots: .venv/.dev system-chromium
	.venv/bin/python -m tests.browser.screenshots docs/screenshots

clean:
	rm -rf .venv run .pytest_cache .mypy_cache .ruff_cache .hypothesis

.env: | .venv/.service
	umask 077
	random() { .venv/bin/python -c "import secrets; print(secrets.token_hex($$1))"; }
	sed "s/^WECHAT_TOKEN=$$/&$$(random 16)/; s/^WECHAT_SECRET_KEY=$$/&$$(random 32)/" .env.example > .env
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
	$(call need,command -v $(PYTHON),python3)
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

# promtool looks at the alert rules.
system-promtool:
	$(call need,command -v promtool,prometheus)

# Debian keeps PostgreSQL's programs in a folder for each version.
system-databases:
	$(call need,{ command -v mariadbd || test -x /usr/sbin/mariadbd; } && { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; },mariadb-server postgresql)

system-sshd:
	$(call need,test -x /usr/sbin/sshd && command -v ssh,openssh-server openssh-client)

system-logrotate:
	$(call need,test -x /usr/sbin/logrotate,logrotate)

# A machine of its own with its own systemd, to install into.
system-nspawn:
	$(call need,command -v systemd-nspawn && test -x /lib/systemd/systemd && /usr/bin/python3 -c 'import ensurepip' && ls /usr/include/python3*/Python.h,systemd systemd-container build-essential python3-dev python3-venv)

system-curl:
	$(call need,command -v curl,curl)

# A browser, and characters for it to show.
system-chromium:
	$(call need,command -v chromium && fc-list :lang=zh | grep .,chromium fonts-noto-cjk fontconfig)

system-iproute2:
	$(call need,command -v ip,iproute2)

comma := ,
