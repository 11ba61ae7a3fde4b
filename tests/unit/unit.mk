# make unit: the tests of each room, on the rooms' own objects under the sanitizers.

unit_sanitizers = -fsanitize=address,undefined -fno-sanitize-recover=all
unit_flags = $(BASE) $(WARNINGS) $(CFLAGS) $(CPPFLAGS) -iquote shim -fno-omit-frame-pointer -O1 -g -MMD -MP

unit_rooms = allowance config config_server descriptor everyone guard keep notice preload readsize refused resident rights signals status stream
# without the wrappers, which would stand before the tests' own calls, and whatever starts by itself
unit_shim = $(filter-out interpose server xfermmap tool_%,$(notdir $(basename $(wildcard shim/*.c))))
unit_objects = $(unit_shim:%=build/unit/%.o) build/unit/unit.o
threads_objects = $(unit_shim:%=build/unit/threads/%.o) build/unit/threads/unit.o
unit_programs = $(unit_rooms:%=build/unit/test_%) build/unit/test_threads
# The thread sanitizer knows few address layouts; where the kernel may not be asked for one, so be it.
unit_layout = $(shell setarch -R true 2>/dev/null && echo setarch -R)

unit: $(unit_programs)
	@for program in $(unit_programs); do \
	    echo "# $${program##*/}"; \
	    CMOCKA_MESSAGE_OUTPUT=TAP $(unit_layout) $$program || exit 1; \
	done

test-programs unit-programs: $(unit_programs)

# test_descriptor stands in for the owner of the streams
build/unit/test_descriptor: $(filter-out build/unit/stream.o,$(unit_objects))
$(filter-out %/test_descriptor,$(unit_rooms:%=build/unit/test_%)): $(unit_objects)
build/unit/test_%: build/unit/test_%.o
	@echo '  LD    $@'
	@$(CC) $(unit_sanitizers) $(unit_wrap) -o $@ $^ -lcmocka -lpthread

# what test_refused refuses
comma = ,
build/unit/test_refused: unit_wrap = $(addprefix -Wl$(comma)--wrap=,mmap mmap64 madvise mlock \
    posix_fallocate calloc realloc reallocarray strdup pthread_create)

build/unit/test_threads: build/unit/threads/test_threads.o $(threads_objects)
	@echo '  LD    $@'
	@$(CC) -fsanitize=thread -o $@ $^ -lcmocka -lpthread

# It copies from and to whatever it is given, NULL too: that is what it is for.
build/unit/guard.o: unit_sanitizers += -fno-sanitize=nonnull-attribute

build/unit/%.o: shim/%.c Makefile tests/unit/unit.mk
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(unit_flags) $(unit_sanitizers) -c -o $@ $<

build/unit/%.o: tests/unit/%.c Makefile tests/unit/unit.mk
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(unit_flags) $(unit_sanitizers) -c -o $@ $<

build/unit/threads/%.o: shim/%.c Makefile tests/unit/unit.mk
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(unit_flags) -fsanitize=thread -c -o $@ $<

build/unit/threads/%.o: tests/unit/%.c Makefile tests/unit/unit.mk
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(unit_flags) -fsanitize=thread -c -o $@ $<

-include $(wildcard build/unit/*.d build/unit/threads/*.d)

.PHONY: unit unit-programs
.SECONDARY: $(unit_rooms:%=build/unit/test_%.o)
