# Needs GNU make and a Python of at least 3.11; everything else is installed into .venv.

BIN := .venv/bin
# Changes whenever what is installed must change.
STAMP := .venv/installed
LOCK := env -u PIP_FIND_LINKS UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --quiet --upgrade \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-package withdrawal-gate

# The first Python on the PATH that is new enough and can make a virtual environment.
PYTHON_FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11

define HELP
make install   make .venv with everything the project needs
make demo      the whole flow on a real broker, with a verdict
make up        run broker and worker until Ctrl-C, to press and request by hand
make test      lint, types and tests
make bench     benchmarks; ARGS="..." is passed on
make chaos     random runs under faults on three brokers; ARGS="..." is passed on
make rehearse  the runbook's changes on three brokers under traffic; ARGS="NAME ..." chooses
make lint      lint and types only
make format    rewrite the code in the project's format
make lock      resolve the requirements anew
make check-supply-chain
               SBOM of the runtime requirements in build/sbom.json, then ask the package index for known vulnerabilities
make clean     remove what install, tests and builds made
endef

.PHONY: help install demo up test tools bench chaos rehearse lint format lock check-supply-chain clean

help:
	$(info $(HELP))
	@:

install: $(STAMP)

$(STAMP): requirements-dev.txt pyproject.toml
	@for python in $(PYTHONS); do \
		if "$$python" -c '$(PYTHON_FITS)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "make: no Python >= 3.11 with the venv and ensurepip modules is on the PATH" \
			"(Debian and Ubuntu: apt-get install python3 python3-venv)" >&2; \
		exit 1; \
	fi; \
	echo "making .venv with $$("$$found" --version)" >&2; \
	"$$found" -m venv --clear .venv
	@echo "installing the locked requirements (about a minute the first time, 490 MB on disk)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@echo "installing withdrawal-gate" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	@$(BIN)/withdrawal-gate demo

up: install
	@$(BIN)/withdrawal-gate demo --keep

test: lint tools
	$(BIN)/pytest -n 2 --dist worksteal

# Alerts are tested by promtool, the console in Chromium. On CI they are installed; elsewhere the tests that need a
# missing one are skipped, and say what to install: this file puts no packages on anybody's machine.
tools:
	@if [ -n "$$CI" ] && ! { command -v promtool && command -v chromium && command -v chromedriver; } >/dev/null 2>&1; then \
		echo "installing promtool and Chromium from the distribution (some minutes the first time)" >&2; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends prometheus chromium chromium-driver >/dev/null; \
	fi

bench: install
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

chaos: install
	@$(BIN)/python -m tests.chaos $(ARGS)

rehearse: install
	@$(BIN)/python -m tests.rehearsals $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install
	@echo "resolving requirements.txt and requirements-dev.txt" >&2
	@$(LOCK) --output-file requirements.txt >/dev/null
	@$(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt >/dev/null

# Both tools run apart from .venv. Only an answer about every package passes: --strict fails where the index does not
# know one, and no answer is an error as well. Not part of make test, as its result changes while the code does not.
check-supply-chain: install
	@mkdir -p build
	@$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.txt \
		--pyproject pyproject.toml --output-reproducible --output-file build/sbom.json
	@echo "build/sbom.json is written; asking for known vulnerabilities" >&2
	@$(BIN)/uv tool run --quiet pip-audit@2.10.1 --requirement requirements.txt --require-hashes --disable-pip --strict || { \
		echo "make: not passed: a vulnerability is listed above, or the package index did not answer for every" \
			"requirement, and then nothing is known about them" >&2; \
		exit 1; \
	}

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist withdrawal_gate.egg-info
	find schemas streams tests -name __pycache__ -prune -exec rm -rf {} +
