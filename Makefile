# Each target first makes the environment it needs: Python >= 3.11, make and a package index are all it asks for.
PYTHON ?= python3
# Which versions of what we need: newest, lowest (the floors in settings.ini) or exact (those in constraints.txt).
VERSIONS ?= newest
VENV ?= .venv$(addprefix -,$(filter-out newest,$(VERSIONS)))
EXTRA ?= dev
ARGS =
NAME =
BIN = $(VENV)/bin

# Told by the environment, so that it holds for what the tests install as well.
PINS_lowest = $(abspath $(VENV))/lowest.txt
PINS_exact = $(abspath constraints.txt)
ifneq ($(VERSIONS),newest)
export PIP_CONSTRAINT := $(or $(PINS_$(VERSIONS)),$(error VERSIONS=$(VERSIONS): wanted newest, lowest or exact))
endif

# The environment's own Jupyter kernel goes before any that the user's folders hold.
export JUPYTER_PREFER_ENV_PATH = 1
export JUPYTER_PATH := $(abspath $(VENV))/share/jupyter:$(JUPYTER_PATH)

# Threads that wait for each other sleep instead of spinning: on a shared machine that makes training several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

# Notebooks run in nbs/, so the folder of real data needs its whole path.
ifneq ($(SIGNS_DATA),)
override SIGNS_DATA := $(or $(shell cd "$(SIGNS_DATA)" && pwd),$(error SIGNS_DATA=$(SIGNS_DATA) is no folder))
export SIGNS_DATA
endif

.PHONY: help train test cover bench sync notebooks docs demo quarto npm lint audit freeze dist dispatch image hooks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

train: $(VENV)/.installed ## train a model in a notebook, as in: make train ARGS="dataset=oracle_mnist epochs=5"
	@$(BIN)/signs train $(ARGS)

NOTEBOOKS = $(BIN)/python .ci/notebooks.py $(if $(SIGNS_DATA),--flags realdata)

# One thread a worker: there is a worker a core, and more threads than cores only get in each other's way.
test cover: export OMP_NUM_THREADS = 1

test: $(VENV)/.installed ## check that all is in step, run every notebook, then tests/
	$(BIN)/python .ci/sync.py --check
	$(NOTEBOOKS)
	$(BIN)/pytest -n logical --dist loadfile $(ARGS)

cover: $(VENV)/.installed ## tell which exported lines the notebooks' own tests run
	$(NOTEBOOKS) --cover $(ARGS)

bench: $(VENV)/.installed ## measure against a peer: make bench NAME=data (or prepare, cache, ...), see benchmarks/
	@test -f "benchmarks/$(NAME).py" || { echo "NAME=$(NAME): wanted one of $(basename $(notdir $(wildcard benchmarks/*.py)))" >&2; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)

sync: $(VENV)/.installed ## clean the notebooks, write signs_nbdev/ and README.md from them
	$(BIN)/python .ci/sync.py $(ARGS)

notebooks: $(VENV)/.installed ## open the notebooks in JupyterLab
	$(BIN)/jupyter-lab --ServerApp.root_dir=. $(ARGS) nbs/index.ipynb

docs: quarto npm $(VENV)/.installed ## build the site into _docs/, the demo too (needs Quarto and npm)
	$(BIN)/nbdev-docs
	$(BIN)/python .ci/demo.py

demo: npm $(VENV)/.installed ## build the page that reads in the browser into _docs/demo/ (needs npm)
	@$(BIN)/python .ci/demo.py

lint: $(VENV)/.installed ## check workflows, images, compose file and scripts
	$(BIN)/python .ci/lint.py

audit: $(VENV)/.installed ## look for known vulnerabilities among all that is installed
	$(BIN)/pip-audit --local --skip-editable --progress-spinner off $(ARGS)

freeze: $(VENV)/.installed ## write constraints.txt: the versions in VENV; for a new one, and after its make test
	@{ echo "# Exact versions with which every test passed: make VERSIONS=exact takes them, make freeze writes them anew."; \
	   $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^ ]*$$//'; } > constraints.txt

dist: $(VENV)/.installed ## test the package as it will be installed, then build it into dist/
	$(BIN)/python .ci/dist.py

dispatch: $(VENV)/.installed ## train as the train workflow does; INPUTS holds its form as JSON
	@$(BIN)/python .ci/dispatch.py

image: ## build the image that serves and start it until it is healthy (needs Docker)
	docker compose up --build --wait --wait-timeout 120 serve || { docker compose logs; exit 1; }
	docker compose down

hooks: $(VENV)/.installed ## let git compare notebooks cell by cell, and check each commit
	git config --local include.path ../.gitconfig
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type post-merge

quarto:
	@command -v quarto >/dev/null || { echo "make docs needs Quarto: https://quarto.org/docs/get-started" >&2; exit 1; }

npm:
	@command -v npm >/dev/null || { echo "The demo needs npm, which comes with Node: https://nodejs.org/en/download" >&2; exit 1; }

$(VENV)/.installed: settings.ini $(if $(filter exact,$(VERSIONS)),constraints.txt) setup.py pyproject.toml $(BIN)/python
	@$(PYTHON) .ci/venv.py $(VENV)
	@$(if $(filter lowest,$(VERSIONS)),$(BIN)/python .ci/floors.py > $(PINS_lowest))
	@echo "Installing into $(VENV): a few minutes$(if $(filter dev,$(EXTRA)), and 6 GB) the first time"
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA)]'
	@touch $@

# Without a recipe: an environment whose Python has gone counts as changed, and is made anew.
$(BIN)/python: ;
