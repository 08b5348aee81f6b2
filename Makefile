# Thin front of Meson.  BUILD picks another build folder, CC another compiler: make BUILD=build-clang CC=clang
BUILD ?= build
WERROR ?= false
export BUILD

.PHONY: all install uninstall tsan macos program demo test asan coverage kcheck fuzz map format clean setup

all: program

setup:
	@tools/setup.sh build

program: setup
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) -Dwerror=$(WERROR) >/dev/null || \
	    { meson setup $(BUILD) -Dwerror=$(WERROR); exit 1; }
	@ninja -C $(BUILD) $(NINJAFLAGS)

demo:
	@tools/setup.sh demo
	@$(MAKE) --no-print-directory program
	@tools/demo.sh

# A build made before cmocka was there has no unit tests: it is configured again.
test:
	@tools/setup.sh test
	@test ! -f $(BUILD)/build.ninja || grep -q '^unit' $(BUILD)/tests/programs.txt || \
	    meson setup --reconfigure $(BUILD) >/dev/null
	@$(MAKE) --no-print-directory program
	@tools/run_tests.sh

# The same C tests under the address and undefined-behaviour sanitizers, with asserts.
asan:
	@tools/setup.sh test
	@test -f $(BUILD)-asan/build.ninja || \
	    meson setup $(BUILD)-asan -Dwerror=$(WERROR) -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C $(BUILD)-asan $(NINJAFLAGS)
	@BUILD=$(BUILD)-asan tools/run_tests.sh unit graph kcheck

# The engine, the interface and the thread pool under the thread sanitizer.
tsan:
	@tools/setup.sh test
	@test -f $(BUILD)-tsan/build.ninja || \
	    meson setup $(BUILD)-tsan -Dwerror=$(WERROR) -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
	@ninja -C $(BUILD)-tsan $(NINJAFLAGS)
	@BUILD=$(BUILD)-tsan TESTS='base_threads|engine|api_session|api_threads|cpu_rows' tools/run_tests.sh unit

# Compiled and linked for macOS on Apple silicon; never run.
macos: program
	@tools/setup.sh test
	@tools/macos.sh

# PREFIX (default /usr/local), DESTDIR.
install: program
	@test -z "$(PREFIX)" || meson configure $(BUILD) -Dprefix=$(PREFIX)
	@meson install -C $(BUILD) --destdir "$(DESTDIR)"

# What the last installation put there.
uninstall:
	@ninja -C $(BUILD) uninstall
	@while read -r f; do rm -f "$$f"; done <$(BUILD)/meson-logs/pages.txt

# Which lines the tests run, by room.
coverage:
	@tools/coverage.sh

kcheck: program
	@tools/run_tests.sh kcheck

# Every reader against broken input, SECONDS each.
SECONDS ?= 60
fuzz:
	@tools/setup.sh test
	@for t in gguf miltext raise mlmodel folder blob npz tokenizer prompt template; do tests/fuzz/run.sh $$t $(SECONDS) || exit 1; done

# Which room includes which; fails on an upward or sideways edge.
map: program
	@tools/map.sh

format:
	@git ls-files -z 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'bench/*.[ch]' 'examples/*.[ch]' | xargs -0 -r clang-format -i

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan
