# What the tests run besides the library.

test-programs: build/faultfs build/oddities

build/faultfs: tests/faultfs.c Makefile
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -o $@ $< \
	    $$(pkg-config --cflags --libs fuse3 | sed 's/-I/-isystem /g')

build/oddities: tests/oddities.c Makefile
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -o $@ $< -lpthread
