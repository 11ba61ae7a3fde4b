# make          build/libxfermmap.so
# make demo     a real download from the packaged server, with and without the library
# make check    all tests; make check TESTS=tests/preload.bats for some
# make fuzz     random calls through the library and by the kernel, compared; SECONDS=60
# make fuzz-config  the directive file under libFuzzer, SECONDS=60
# make soak     a server at work, SECONDS=60, with all kinds of sessions while its files change
# make lint     clang-tidy, cppcheck, shellcheck; make format applies clang-format
#
# demo, check, lint and format install the Debian packages that they need, through sudo where you
# are not root: tests/setup lists them. Nothing is installed by the rest.

CC ?= cc
CFLAGS ?= -O2 -g
SYSCONFDIR ?= /etc

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
HARDENING = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fvisibility=hidden
# initial-exec: a thread's variables must be there without an allocation, in a handler too
BASE = -std=gnu11 -D_GNU_SOURCE -DSYSCONFDIR='"$(SYSCONFDIR)"' -fPIC -ftls-model=initial-exec
HARDENED_LINK = -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs

TESTS = $(wildcard tests/*.bats)

sources = $(wildcard shim/*.c)
objects = $(sources:shim/%.c=build/%.o)
c_files = $(wildcard shim/*.[ch] tests/*.c tests/unit/*.[ch] tests/differential/*.[ch] tests/fuzz/*.c)
scripts = tests/setup tests/run bench/demo .ci/run $(wildcard tests/*.bash tests/*.bats)

all: build/libxfermmap.so

build/libxfermmap.so: $(objects) shim/libxfermmap.map
	@echo '  LD    $@'
	@$(CC) -shared $(CFLAGS) $(HARDENED_LINK) $(LDFLAGS) -Wl,-soname,libxfermmap.so \
	    -Wl,--version-script=shim/libxfermmap.map -o $@ $(objects)

build/%.o: shim/%.c Makefile
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(BASE) $(WARNINGS) $(HARDENING) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

-include $(objects:.o=.d)
include tests/tests.mk tests/unit/unit.mk tests/differential/differential.mk tests/fuzz/fuzz.mk

# The packages come first, and the compiler is one of them: so each of these calls make again.

demo:
	@tests/setup build demo
	@$(MAKE) --no-print-directory all
	@bench/demo

check:
	@tests/setup build check
	@$(MAKE) --no-print-directory all test-programs
	@tests/run $(TESTS)

soak:
	@tests/setup build check
	@$(MAKE) --no-print-directory all
	@SOAK_SECONDS=$(SECONDS) tests/run tests/soak.bats

lint:
	@tests/setup build check lint
	clang-format --dry-run --Werror $(c_files)
	for file in $(sources); do clang-tidy --quiet --warnings-as-errors='*' $$file -- $(BASE) || exit; done
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 \
	    --enable=warning,style,performance,portability --suppress=missingIncludeSystem shim
	shellcheck -x $(scripts)

format:
	@tests/setup lint
	clang-format -i $(c_files)

clean:
	rm -rf build

.PHONY: all demo check soak lint format clean test-programs
