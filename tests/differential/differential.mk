# make fuzz     random sequences of calls through the library and by the kernel, compared:
#               SECONDS=60 is for how long, SEEDS=1-1000000 which, STEPS=10000 how many steps each

SECONDS ?= 60
SEEDS ?= 1-1000000
STEPS ?= 10000

test-programs: build/differential build/scarce.so build/debug/libxfermmap.so

differential_sources = $(filter-out %/scarce.c,$(wildcard tests/differential/*.c))

build/differential: $(differential_sources) $(wildcard tests/differential/*.h) shim/status.h Makefile
	$(call program,-Ishim)

build/scarce.so: tests/differential/scarce.c Makefile
	$(call program,-fPIC -shared)

fuzz:
	@tests/setup build
	@$(again) all build/differential build/scarce.so
	place=$$(tests/place) && TMPDIR=$$place build/differential --seconds $(SECONDS) --seeds $(SEEDS) --steps $(STEPS) --jobs $$(nproc) \
	    --scarce build/scarce.so build/libxfermmap.so

.PHONY: fuzz
