# What the tests run besides the library.

test-programs: build/faultfs build/oddities

build/faultfs: tests/faultfs.c Makefile
	$(call program,$$(pkg-config --cflags --libs fuse3 | sed 's/-I/-isystem /g'))

build/oddities: tests/oddities.c Makefile
	$(call program,-lpthread)
