# Two commands do everything: `make reproduce` and `make test`.
PYTHON  ?= python3
PROFILE ?= laptop
VENV    = .venv
BIN     = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMP   = $(VENV)/.installed

.PHONY: reproduce paper notebook hunt fuzz test-slurm test-oldest test-newest overnight article test lint unit notebooks-smoke notebooks-strict verify record peers bench bench-own bench-card api readme links address lock clean help

help:
	@echo "make reproduce  install, run every notebook, write results/ images/ results/blogpost.html"
	@echo "make overnight  the article's evidence, every data set here: hours, in any number of sittings"
	@echo "make paper      reproduce at the paper's size, after saying what that takes: for a GPU"
	@echo "make notebook   NB=02_training PROFILE=paper: one notebook, its copy beside the results"
	@echo "make article    the committed article as one page, docs/index.html"
	@echo "make test       lint, unit tests, and all notebooks in the smoke profile"
	@echo "make test-oldest   unit tests and smoke notebooks with the oldest versions allowed"
	@echo "make test-newest   the same with the newest versions there are"
	@echo "make hunt       kill runs at random moments, and compare what they leave"
	@echo "make fuzz       ten thousand hostile files and names: read rightly, or refused by name"
	@echo "make test-slurm a plan on a real Slurm on this machine, where there is one"
	@echo "make verify     compare your runs with the recorded ones; fails where they differ"
	@echo "make record     (maintainer) make the local runs and notebooks the recorded ones"
	@echo "make peers      compare methods and metrics with anomalib's, in an environment of its own"
	@echo "make bench      how fast it is beside a plain pipeline and anomalib: a table and a picture"
	@echo "make bench-own  fit and score on a folder, beside anomalib: whole processes in turn"
	@echo "make bench-card what a GPU does, where there is one"
	@echo "make api        docs/api.md, from the docstrings"
	@echo "make address    (maintainer) URL=https://host/owner/name, for badges and citation"
	@echo "make clean      remove this machine's runs and caches, keep what was recorded"

# CPU=1 takes PyTorch's CPU build, CPU=0 PyPI's; else the machine decides.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	CPU=$(CPU) $(BIN)/python -m tools.install
	$(BIN)/python -m pip install --no-deps -e .
	touch $@

reproduce: $(STAMP)
	$(BIN)/python -m aeflow_utils reproduce --profile $(PROFILE)

paper: $(STAMP)
	$(BIN)/python -m aeflow_utils plan --profile paper --needs
	$(BIN)/python -m aeflow_utils reproduce --profile paper

notebook: $(STAMP)
	$(BIN)/python -m aeflow_utils notebooks $(NB) --profile $(PROFILE) $(if $(SET),--set $(SET))

overnight: $(STAMP)
	$(BIN)/python -m aeflow_utils overnight

article: $(STAMP)
	$(BIN)/python -m aeflow_utils article

test: lint unit notebooks-strict notebooks-smoke

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Each worker takes a gigabyte.
unit: $(STAMP)
	$(BIN)/python -m pytest tests -n auto --maxprocesses 4 --dist worksteal

# The notebooks as CI sees them: small, cold, on real images; their results go to results/smoke.
notebooks-smoke: $(STAMP)
	rm -rf results/smoke
	AEFLOW_PROFILE=smoke $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 -p no:cacheprovider notebooks

# The two that read results alone, output by output, on nothing but the recorded results.
notebooks-strict: $(STAMP)
	rm -rf results/strict
	$(BIN)/python -c "from pathlib import Path; from aeflow_utils.study.recording import recorded_home; \
		recorded_home(Path('results/strict'))"
	AEFLOW_HOME=$(CURDIR)/results/strict AEFLOW_PROFILE=laptop $(BIN)/python -m pytest -n 2 \
		--dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=300 -p no:cacheprovider \
		notebooks/00_blogpost.ipynb notebooks/06_results_tables.ipynb

# The two ends of pyproject.toml's ranges, each in an environment of its own: the oldest versions
# allowed, on the oldest Python, and the newest there are today. PYTHON=... takes another Python.
test-oldest: VENV = .venv-oldest
test-oldest: PYTHON = python3.11
test-oldest: VERSIONS = lowest-direct
test-newest: VENV = .venv-newest
test-newest: PYTHON = python3.13
test-newest: VERSIONS = highest
test-oldest test-newest:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install uv
	$(BIN)/python -m uv pip install --upgrade --resolution $(VERSIONS) -e '.[test]'
	touch $(STAMP)
	$(MAKE) unit notebooks-smoke VENV=$(VENV)

# Sixty lives, killed at random moments: half an hour.
hunt: TIMES = 60
hunt: $(STAMP)
	$(BIN)/python -m tools.hunt --times $(TIMES)

# About two minutes; `make unit` tries three hundred of them, always the same.
fuzz: $(STAMP)
	AEFLOW_FUZZ=many $(BIN)/python -m pytest tests/fuzz -n auto -p no:cacheprovider

# As root, with Debian's slurm-wlm and munge; about a quarter of an hour.
test-slurm: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tools.slurm_here

verify: $(STAMP)
	$(BIN)/python -m aeflow_utils tables --profile $(PROFILE) --verify

record: $(STAMP)
	$(BIN)/python -m aeflow_utils record --profile $(PROFILE)

# The peers bring a training framework and more, which nothing else here should depend on.
.venv-peers/.installed: requirements-peers.lock pyproject.toml
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --progress-bar on -r requirements-peers.lock
	.venv-peers/bin/python -m pip install --no-deps -e .
	touch $@

peers: .venv-peers/.installed
	TQDM_DISABLE=1 .venv-peers/bin/python -W ignore -m benchmarks.peers

# Twenty minutes on two cores that do nothing else; OMP_NUM_THREADS=1 on a busy machine.
bench: .venv-peers/.installed
	TQDM_DISABLE=1 .venv-peers/bin/python -W ignore -m benchmarks.speed

# About an hour on two cores that do nothing else.
bench-own: .venv-peers/.installed
	TQDM_DISABLE=1 .venv-peers/bin/python -W ignore -m benchmarks.own

# A few minutes, on a machine with a GPU.
bench-card: $(STAMP)
	TQDM_DISABLE=1 $(BIN)/python -W ignore -m benchmarks.card

# These three need Python and nothing else.
api:
	$(PYTHON) -m tools.api

readme: $(STAMP)
	$(BIN)/python -m tools.readme

links:
	$(PYTHON) -m tools.links

address:
	$(PYTHON) -m tools.address $(URL)

# (maintainer) Exact versions with hashes, for every system at once; what is locked stays, unless
# pyproject.toml asks for another: UPGRADE=--upgrade takes the newest.
LOCK := pip compile --universal --python-version 3.11.5 --generate-hashes --no-annotate -q \
	--custom-compile-command "make lock"
lock: $(STAMP)
	$(BIN)/python -m pip install uv
	$(BIN)/uv $(LOCK) $(UPGRADE) pyproject.toml --extra test -o requirements.lock
	$(BIN)/uv $(LOCK) $(UPGRADE) pyproject.toml --extra peers -c requirements.lock \
		-o requirements-peers.lock

clean:
	rm -rf cache results/smoke results/strict results/laptop results/paper results/blogpost.html
