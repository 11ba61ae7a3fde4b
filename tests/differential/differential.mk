# make fuzz     random sequences of calls through the library and by the kernel, compared:
#               SECONDS=60 is for how long, SEEDS=1-1000000 which, STEPS=10000 how many steps each

SECONDS ?= 60
SEEDS ?= 1-1000000
STEPS ?= 10000

test-programs: build/differential

build/differential: $(wildcard tests/differential/*.[ch]) shim/status.h Makefile
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -Ishim -o $@ $(filter %.c,$^)

fuzz: all build/differential
	build/differential --seconds $(SECONDS) --seeds $(SEEDS) --steps $(STEPS) --jobs $$(nproc) \
	    build/libxfermmap.so

.PHONY: fuzz
