# Everything runs in .venv, which these targets make. Needs python3 (3.11 or newer, with venv) and, where the
# release servers can't be reached, Go, which then builds the sandbox's programs once (KEDA and Karpenter in any
# case: they are released as images only).
PYTHON ?= python3
BIN := .venv/bin
PROGRAMS := etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok kwokctl \
	prometheus promtool kube-state-metrics keda-operator keda-adapter karpenter-kwok helm
TEARDOWN := notebooks/10_teardown.ipynb
NOTEBOOKS ?= $(filter-out $(TEARDOWN),$(sort $(wildcard notebooks/[0-9]*.ipynb))) $(TEARDOWN)

# ENGINE=vllm: pods of vLLM run the real server on this machine's CPU (docs/real-vllm.md) instead of the simulated one.
ENGINE ?= simulated
DEMO_simulated := --all
DEMO_vllm := 00 01 02 03 04 05 09 10 --params-file tools/vllm/run.yaml

CONFORMANCE_simulated := tests/conformance
CONFORMANCE_vllm := tests/conformance tests/sandbox/real_vllm

# Hundreds of processes start in a test run: none of them compiles the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test nbval lab lint lock clean binaries vllm conformance
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: binaries ## Bring the sandbox up and run all notebooks, teardown at the end; leaves a report (ENGINE=vllm: 00 to 05)
	@$(BIN)/runbook sandbox up --engine $(ENGINE)
	@$(BIN)/runbook run $(DEMO_$(ENGINE))
	@echo "The sandbox is still up: make lab to step through, make clean to end it."

test: binaries ## Run all tests, four files at a time: each process has a sandbox of its own
	@$(BIN)/pytest --numprocesses=4 --dist=loadfile --no-loadscope-reorder

nbval: binaries ## Run the notebooks under nbval against the sandbox, in order (NOTEBOOKS="…" chooses)
	@$(BIN)/runbook sandbox up
	@$(BIN)/pytest --nbval --nbval-sanitize-with=notebooks/nbval-sanitize.cfg --nbval-current-env --nbval-cell-timeout=900 \
		--exitfirst --durations=12 -p no:cacheprovider -W ignore $(NOTEBOOKS)

lab: .venv/.ready ## Open JupyterLab at the index, with the sandbox up
	@$(BIN)/runbook sandbox up
	@KUBECONFIG="$$($(BIN)/runbook sandbox kubeconfig)" $(BIN)/runbook lab

lint: .venv/.ready ## Formatting, lint, types, layers, notebooks
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/runbook normalise --check notebooks/*.ipynb

clean: ## End the sandbox, remove .venv and runs (fetched programs stay in the user's cache)
	@if [ -x $(BIN)/runbook ]; then $(BIN)/runbook sandbox down; fi
	@rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

vllm: .venv/.ready ## Install the real vLLM (6.3 GiB, in your cache), for ENGINE=vllm
	@$(BIN)/runbook sandbox fetch vllm

conformance: binaries ## Test the simulated vLLM, and with ENGINE=vllm the real one, against the same behaviour
	@$(BIN)/pytest $(CONFORMANCE_$(ENGINE)) --engine=$(ENGINE) -p no:cacheprovider

binaries: .venv/.ready
	@$(BIN)/runbook sandbox fetch $(PROGRAMS)

lock: ## Pin all packages anew in requirements.lock (UPGRADE=--upgrade: to their newest versions)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv; }
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate --no-emit-index-url \
		--custom-compile-command "make lock" --quiet $(UPGRADE) --output-file requirements.lock
	@$(BIN)/uv pip compile tools/vllm/requirements.in --override tools/vllm/overrides.txt --generate-hashes --no-annotate \
		--no-emit-index-url --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--custom-compile-command "make lock" --quiet $(UPGRADE) --output-file tools/vllm/requirements.lock

.venv/.ready: pyproject.toml requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11"; exit 1; }
	@echo "making the virtual environment .venv (a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/pip check >/dev/null || { $(BIN)/pip check; echo "requirements.lock doesn't fit pyproject.toml: make lock"; exit 1; }
	@touch $@
