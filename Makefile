# make demo    a broken service is restarted, a bad release undoes itself, all is verified, and a forgery found
# make test    lint, and every test
# make lint    style, types, layers, shell scripts, Ansible content, and this repository's own documents
# make bench   what it costs, beside what its peers cost
# make fuzz    bends what parsers of untrusted bytes read, for a minute (make fuzz SECONDS=600)
# make clean   remove what the above made
#
# Each makes the .venv it needs, with the versions of constraints.txt. PYTHON chooses the interpreter, 3.11 or later.

PYTHON ?= python3
SECONDS ?= 60
BIN := .venv/bin

# Held to constraints.txt as well: what pip needs to build this project.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint bench fuzz clean

help:
	@sed -n '/^#/!q; s/^# \?//p' Makefile

# .lab holds what the demo needs, .dev everything else too.
.venv/.lab: pyproject.toml constraints.txt
	@.ci/need '$(PYTHON) -m ensurepip --version=python3-venv'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "opsascode needs Python 3.11 or later; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[lab,reliability]'
	@touch $@

.venv/.dev: .venv/.lab
	$(BIN)/python -m pip install --quiet --editable '.[lab,reliability,test,lint,playbook-lint,bench]'
	@touch $@

# .fuzz holds a library with libFuzzer in it, which nothing else needs.
.venv/.fuzz: .venv/.dev
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@touch $@

venv: .venv/.dev

demo: .venv/.lab
	@.ci/need openssl=openssl
	@lab/demo

test: lint
	@.ci/need sshd=openssh-server ssh=openssh-client redis-server=redis-server prometheus=prometheus openssl=openssl git=git busybox=busybox
	$(BIN)/pytest -n auto --dist loadfile

lint: .venv/.dev
	@.ci/need git=git
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --scripts-are-modules lab/lab lab/forge lab/web.py
	$(BIN)/lint-imports
	! command -v shellcheck >/dev/null || shellcheck .ci/run .ci/need lab/demo playbooks/ansible/roles/diagnostics/files/collect.sh
	$(BIN)/ansible-lint --offline --profile production -q playbooks/ansible
	$(BIN)/opsascode check

bench: .venv/.dev
	@.ci/need hyperfine=hyperfine git=git prometheus=prometheus
	$(BIN)/python benchmarks

fuzz: .venv/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

clean:
	rm -rf .venv .fuzz dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .ansible
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
