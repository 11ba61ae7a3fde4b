# make          build/libxfermmap.so and build/xfermmap
# make demo     downloads from the packaged server, with and without the library
# make bench    measure gains and costs over a link, as root; takes an hour or two. QUICK=1 takes
#               minutes; SCENARIOS='plain FTPS' selects by name; RUNS=11 sets how many runs. Prints
#               tables and writes build/bench; PUBLISH=1 also updates docs/benchmarks.md
# make check    all tests; make check TESTS=tests/tool.bats runs one file
# make fuzz     compare random calls through the library and by the kernel; SECONDS=60
# make fuzz-config  run libFuzzer on the directive file; SECONDS=60
# make soak     run all kinds of sessions while files change; SECONDS=60
# make valgrind run the unit tests under valgrind; takes minutes
# make install  as root; PREFIX=/usr/local, LIBDIR, SYSCONFDIR=/etc, DESTDIR; make uninstall
# make deb      build a Debian package in build/deb
# make matrix   all tests on fresh machines, in chroots: releases of Debian and Ubuntu, a container,
#               a user with sudo and others, see tests/matrix; ten minutes for each
# make machines unit tests on other kernels and processors, files on all kinds of file systems, and
#               the package under systemd, in qemu
# make lint     clang-tidy, cppcheck, shellcheck; make format applies clang-format
# make clean    removes build/
# make help     this list
#
# All except make and make install also install the Debian packages that they need, with sudo if need
# be. tests/setup lists them.

VERSION = 1.0

CC ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
SYSCONFDIR ?= /etc

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
HARDENING = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fvisibility=hidden
# initial-exec: a thread's variables must be there without an allocation, in a handler too
BASE = -std=gnu11 -D_GNU_SOURCE -fPIC -ftls-model=initial-exec \
    -DVERSION='"$(VERSION)"' -DLIBDIR='"$(LIBDIR)"' -DSYSCONFDIR='"$(SYSCONFDIR)"'
# parts of libc itself from glibc 2.34 on
LDLIBS = -lpthread -ldl -lrt
HARDENED_LINK = -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs

TESTS = $(wildcard tests/*.bats)

sources = $(wildcard shim/*.c)
objects = $(sources:shim/%.c=build/%.o)
tool_objects = $(filter build/xfermmap.o build/tool_%,$(objects))
library_objects = $(filter-out $(tool_objects),$(objects))
# what the tool uses of the library: not what stands before libc, nor what starts by itself
rooms = $(filter-out build/interpose.o build/server.o build/keeper.o,$(library_objects))
c_files = $(wildcard shim/*.[ch] bench/*.c tests/*.c tests/unit/*.[ch] tests/differential/*.[ch] tests/fuzz/*.c)
scripts = tests/setup tests/run tests/place tests/order bench/demo bench/hot bench/login bench/pressure \
    bench/start .ci/run \
    $(wildcard bench/*.bash tests/*.bash tests/*.bats)

all: build/libxfermmap.so build/xfermmap

build/libxfermmap.so: $(library_objects)
# the same with its assertions, for the tests: shim/debug.h
build/debug/libxfermmap.so: $(library_objects:build/%=build/debug/%)
# the same with another half-life of TransferMMapHot, seconds, for bench/hot
build/short/libxfermmap.so: $(library_objects:build/%=build/short/%)
build/libxfermmap.so build/debug/libxfermmap.so build/short/libxfermmap.so: shim/libxfermmap.map
	@echo '  LD    $@'
	@$(CC) -shared $(CFLAGS) $(HARDENED_LINK) $(LDFLAGS) -Wl,-soname,libxfermmap.so \
	    -Wl,--version-script=shim/libxfermmap.map -o $@ $(filter %.o,$^) $(LDLIBS)

build/xfermmap: $(tool_objects) $(rooms)
	@echo '  LD    $@'
	@$(CC) -pie $(CFLAGS) $(HARDENED_LINK) $(LDFLAGS) -o $@ $^ -ljson-c $(LDLIBS)

# Directories are compiled in: what was built for others is built again.
build/directories: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBDIR) $(SYSCONFDIR)' | cmp -s - $@ || echo '$(LIBDIR) $(SYSCONFDIR)' >$@

define compile
@mkdir -p $(@D)
@echo '  CC    $@'
@$(CC) $(BASE) $(WARNINGS) $(HARDENING) $(CFLAGS) $(CPPFLAGS) $(off_t) -MMD -MP -c -o $@ $<
endef

build/%.o: shim/%.c Makefile build/directories
	$(compile)

build/debug/%.o: shim/%.c Makefile build/directories
	$(compile)

build/short/%.o: shim/%.c Makefile build/directories
	$(compile)

# With 32 bits there are two of each name, open() and open64(): the library has both, and so must not
# be compiled for either, whatever distributions add.
both_names = -U_FILE_OFFSET_BITS -U_TIME_BITS
$(library_objects): off_t = $(both_names)
build/debug/%.o: off_t = $(both_names) -DXFERMMAP_DEBUG
build/short/%.o: off_t = $(both_names) -DHEAT_HALF_LIFE=$(HALF_LIFE)
build/short/heat.o: FORCE
$(tool_objects): off_t = -D_FILE_OFFSET_BITS=64

# The recipe of a program for tests or benchmarks, which has nothing of the library in it. $(1): its own options
define program
@mkdir -p $(@D)
@echo '  CC    $@'
@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(1)
endef

-include $(objects:.o=.d) $(wildcard build/debug/*.d)
include docs/install.mk
include tests/tests.mk tests/unit/unit.mk tests/differential/differential.mk tests/fuzz/fuzz.mk

# The packages come first, and the compiler is one of them: so each of these calls make again.
again = $(MAKE) --no-print-directory --jobs=$$(nproc)

demo:
	@tests/setup build demo
	@$(again) all
	@bench/demo

bench:
	@tests/setup build bench
	@$(again) all build/perread build/faultfs
	@place=$$(tests/place) && TMPDIR=$$place bench/measure.py $(if $(QUICK),--quick) $(if $(RUNS),--runs $(RUNS)) $(SCENARIOS)
	@bench/report.py $(if $(PUBLISH),--publish)

build/perread: bench/perread.c Makefile
	$(call program)

check:
	@tests/setup build check
	@$(again) all test-programs
	@tests/run $(TESTS)

soak:
	@tests/setup build check
	@$(again) all
	@SOAK_SECONDS=$(SECONDS) tests/run tests/soak.bats

lint:
	@tests/setup build check lint
	clang-format --dry-run --Werror $(c_files)
	for file in $(sources); do clang-tidy --quiet --warnings-as-errors='*' $$file -- $(BASE) || exit; done
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 \
	    --enable=warning,style,performance,portability --suppress=missingIncludeSystem shim
	shellcheck -x $(scripts)
	tests/order

format:
	@tests/setup lint
	clang-format -i $(c_files)

clean:
	rm -rf build

# the comment at the head of this file
help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

.PHONY: FORCE all demo bench check soak lint format clean help test-programs
