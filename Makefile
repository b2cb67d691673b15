# make venv   the set-up alone: a virtual environment in .venv with the package and its tools
# make demo   design a network for this machine's CPU on Fashion-MNIST and write a report (7 to 25 minutes on 2 cores)
# make test   the tests; make lint: format, lint and types
PYTHON  ?= python3
VENV    ?= .venv
OUT     ?= runs/demo
DATA    ?= fashion-mnist
LATENCY ?=

.PHONY: venv demo data test lint clean

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# Debian ships the data set as a package; elsewhere the program downloads it through torchvision. Where neither can be
# had, the demo takes scikit-learn's digits, which are always there.
data: venv
	@if [ "$(DATA)" = fashion-mnist ] && [ ! -d /usr/share/datasets/fashion-mnist ] \
	   && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } || true; fi

# A budget that suits the machine, when none is given: a fifth of the way from the quickest network to the slowest. The
# measured table is kept, so that the same command goes on with the same budget.
demo: venv data
	@data=$(DATA); latency=$(LATENCY); size=28; table=$(OUT)-device.json; \
	if [ "$$data" = fashion-mnist ] && ! $(VENV)/bin/python -c "from proxyless import data; data.load('$$data')" 2>/dev/null; then \
	  echo "Fashion-MNIST cannot be had here: taking scikit-learn's digits"; data=digits; fi; \
	if [ "$$data" = digits ]; then size=8; fi; \
	set -ex; \
	if [ -z "$$latency" ]; then \
	  case $$data in fashion-mnist|digits) ;; *) set +x; echo "make demo: DATA=$$data needs a budget: LATENCY=ms"; exit 2;; esac; \
	  [ -e $$table ] || $(VENV)/bin/proxyless measure --image-size $$size --channels 1 --classes 10 --out $$table; \
	  latency=$$($(VENV)/bin/python -c "from proxyless.latency.table import LatencyTable as T; t = T.load('$$table'); print(f'{t.smallest() + 0.2 * (t.largest() - t.smallest()):.2g}')"); \
	fi; \
	$(VENV)/bin/proxyless search --data $$data --device cpu --latency $$latency --out $(OUT)

test: venv
	$(VENV)/bin/python -m pytest

lint: venv
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist
