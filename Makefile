# The short way to everything; meson.build describes the build itself.
BUILD    = build
PREFIX   = /usr/local
SECONDS  = 60
PORT_BASE = 1000
BENCH_OPTIONS =
MESON_OPTIONS = -Dbuildtype=debugoptimized -Dprefix=$(abspath $(PREFIX))
PYTEST   = /usr/bin/python3 -m pytest

.PHONY: all run check install bench fuzz torture lint format clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run tools/install-packages build"; exit 69; }
	meson setup $(BUILD) $(MESON_OPTIONS) -Dtests=false

run:
	@tools/install-packages build
	@$(MAKE) --no-print-directory all
	@exec tools/run-dev $(BUILD)/veredus $(PORT_BASE)

check:
	@tools/install-packages build test
	@tools/check

install: all
	meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX))
	DESTDIR=$(abspath $(DESTDIR)) meson install -C $(BUILD)

bench:
	@tools/install-packages build test
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 bench/run.py $(BENCH_OPTIONS)
	@/usr/bin/python3 bench/mailboxes.py $(filter --quick,$(BENCH_OPTIONS))

fuzz:
	@tools/install-packages build test
	@tools/check --only fuzz --fuzz-seconds $(SECONDS)

torture:
	@tools/install-packages build test
	@$(MAKE) --no-print-directory all
	@tools/check --only build
	@VEREDUS_SEEDS=100000 build-check/tests/unit/roles/test_simulation
	@VEREDUS_TORTURE=1 $(PYTEST) -q -s tests/e2e/test_torture.py tests/e2e/test_compaction.py tests/e2e/test_diskfull.py tests/e2e/test_secrets.py \
	  tests/e2e/test_syscalls.py

lint:
	@tools/install-packages build test lint
	@tools/lint

format:
	clang-format-14 -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD) build-check build-asan build-fuzz build-lint build-analyze
