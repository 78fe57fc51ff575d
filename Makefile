# A thin front for Meson. `make demo` and `make test` do all set-up themselves.
BUILD ?= build
PREFIX ?= /usr/local
export PATH := $(CURDIR)/.deps/bin:$(PATH)
SNUG_TEST_DATA ?= $(wildcard $(CURDIR)/../shared/data)
export SNUG_TEST_DATA
# The loader of the private libraries must not be mixed with another program's.
unexport LD_LIBRARY_PATH

all: snug

snug: ready
	@ninja -C $(BUILD) --quiet snug libsnug.a
	@ln -sf $(BUILD)/snug snug

deps:
	@tools/deps

deps-check:
	@tools/deps check

# Configure when there is no build yet, or when files came or went.
define configure
	@tools/files all > .deps/files.new; \
	if [ ! -f $(1)/build.ninja ]; then \
	    $(3) meson setup --native-file .deps/machine.ini $(2) $(1) > .deps/configure.log || { tail -n 20 .deps/configure.log; exit 1; }; \
	elif [ .deps/machine.ini -nt $(1)/files.list ]; then \
	    $(3) meson setup --wipe --native-file .deps/machine.ini $(2) $(1) > .deps/configure.log || { tail -n 20 .deps/configure.log; exit 1; }; \
	elif ! cmp -s .deps/files.new $(1)/files.list; then \
	    meson setup --reconfigure --native-file .deps/machine.ini $(1) > .deps/configure.log || { tail -n 20 .deps/configure.log; exit 1; }; \
	fi; cp .deps/files.new $(1)/files.list
endef

ready: deps
	$(call configure,$(BUILD),,)

demo: snug
	@tools/demo

test: snug
	@tools/test $(BUILD)

check: deps-check ready
	@tools/check
	$(call configure,build-asan,-Db_sanitize=address$(comma)undefined -Dbuildtype=debug -Doptimization=1,)
	@tools/test build-asan
	$(call configure,build-clang,,CC=clang)
	@ninja -C build-clang --quiet all meson-test-prereq

comma := ,

# Tuners on generated tables, and those recorded below perf/tunebench/tables: words on stderr, JSON in the build folder.
bench-tune: ready
	@ninja -C $(BUILD) --quiet tunebench
	@$(BUILD)/tunebench $(wildcard perf/tunebench/tables/*.jsonl.gz) --generate 4 > $(BUILD)/tunebench.json
	@echo 'figures: $(BUILD)/tunebench.json'

format: deps-check
	@clang-format -i $$(find src include tests fuzz perf examples -name '*.c' -o -name '*.h')

install: snug
	@BUILD="$(BUILD)" tools/install "$(DESTDIR)" "$(PREFIX)"

uninstall:
	@tools/install --uninstall "$(DESTDIR)" "$(PREFIX)"

# One archive that runs wherever it is unpacked.
dist: snug
	@BUILD="$(BUILD)" tools/install --dist "$(BUILD)/dist"

clean:
	rm -rf build build-* snug

distclean: clean
	rm -rf .deps

help:
	@echo 'make            build ./snug'
	@echo 'make demo       all set-up, then the main job with no model file'
	@echo 'make test       all set-up, then every test'
	@echo 'make check      format, sizes, layers, banned functions, sanitizers, both compilers'
	@echo 'make bench-tune tuners compared on generated tables, and those below perf/tunebench/tables'
	@echo 'make install    PREFIX=/usr/local DESTDIR=; make uninstall takes it away again'
	@echo 'make dist       build/dist/snug-VERSION-ARCH.tar.gz, which runs wherever it is unpacked'

.PHONY: all snug deps deps-check ready demo test check bench-tune format install uninstall dist clean distclean help
