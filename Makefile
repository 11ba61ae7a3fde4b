# make          build/libxfermmap.so
# make demo     a real download on the packaged server, with and without the library
# make check    all tests
# make lint     clang-tidy, cppcheck, shellcheck; make format applies clang-format
#
# demo, check and lint install the Debian packages that they need (tests/setup says which), through
# sudo where you are not root.

CC ?= cc
CFLAGS ?= -O2 -g
SYSCONFDIR ?= /etc

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
HARDENING = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fvisibility=hidden
# initial-exec: a thread's variables must be there without an allocation, in a handler too
BASE = -std=gnu11 -D_GNU_SOURCE -DSYSCONFDIR='"$(SYSCONFDIR)"' -fPIC -ftls-model=initial-exec
HARDENED_LDFLAGS = -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs

sources = $(wildcard shim/*.c)
objects = $(sources:shim/%.c=build/%.o)

all: build/libxfermmap.so

build/libxfermmap.so: $(objects) shim/libxfermmap.map
	@echo '  LD    $@'
	@$(CC) -shared $(CFLAGS) $(HARDENED_LDFLAGS) $(LDFLAGS) -Wl,--version-script=shim/libxfermmap.map \
	    -Wl,-soname,libxfermmap.so -o $@ $(objects)

build/%.o: shim/%.c Makefile | build
	@echo '  CC    $@'
	@$(CC) $(BASE) $(WARNINGS) $(HARDENING) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

build:
	mkdir -p $@

-include $(objects:.o=.d)

.PHONY: all
