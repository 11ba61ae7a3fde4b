# make unit: the tests of each room, on the rooms' own objects under the sanitizers.
# make valgrind: the same without them, under valgrind.

unit_flags = $(BASE) -DXFERMMAP_DEBUG $(WARNINGS) $(CFLAGS) $(CPPFLAGS) -iquote shim -fno-omit-frame-pointer -O1 -g -MMD -MP
unit_rooms = config config_server guard heat hot keeper listed memory_limits process readsize refused residency signals status stream turn watchdog
# without the wrappers, which would stand before the tests' own calls, and whatever starts by itself
unit_shim = $(filter-out interpose server xfermmap tool_%,$(notdir $(basename $(wildcard shim/*.c))))
unit_programs = $(unit_rooms:%=build/unit/test_%) build/unit/threads/test_threads
plain_programs = $(unit_rooms:%=build/unit/plain/test_%)
# The thread sanitizer knows few address layouts; where the kernel may not be asked for one, so be it.
unit_layout = $(shell setarch -R true 2>/dev/null && echo setarch -R)

# Each access is exact, for copies fault; threads take fair turns. Leaks are for the address sanitizer: valgrind would look for them in the status
# file's mapping too, and take half a minute for the fault of each word behind the file's end.
unit_valgrind = UNDER_VALGRIND=1 valgrind --quiet --error-exitcode=1 --leak-check=no --fair-sched=yes \
    --vex-iropt-register-updates=allregs-at-mem-access

unit: $(unit_programs)
	@$(foreach program,$^,$(call unit_run,$(program),$(unit_layout)))

valgrind:
	@tests/setup build valgrind
	@$(again) $(plain_programs)
	@$(foreach program,$(plain_programs),$(call unit_run,$(program),$(unit_valgrind)))

unit_run = echo '\# $(notdir $(1))'; CMOCKA_MESSAGE_OUTPUT=TAP $(2) $(1) || exit;

test-programs unit-programs: $(unit_programs)

# $(1): where the programs and their objects are
define unit_build
$(unit_rooms:%=$(1)/test_%) $(1)/test_threads: $(unit_shim:%=$(1)/%.o)

$(1)/test_%: $(1)/test_%.o $(1)/unit.o
	@echo '  LD    $$@'
	@$$(CC) $$(unit_sanitizers) $$(unit_wrap) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)

$(1)/%.o: shim/%.c Makefile tests/unit/unit.mk
	@mkdir -p $$(@D)
	@echo '  CC    $$@'
	@$$(CC) $$(unit_flags) $$(both_names) $$(unit_sanitizers) -c -o $$@ $$<

$(1)/%.o: tests/unit/%.c Makefile tests/unit/unit.mk
	@mkdir -p $$(@D)
	@echo '  CC    $$@'
	@$$(CC) $$(unit_flags) -U_TIME_BITS $$(unit_sanitizers) -c -o $$@ $$<
endef

$(eval $(call unit_build,build/unit))
$(eval $(call unit_build,build/unit/threads))
$(eval $(call unit_build,build/unit/plain))

build/unit/%: unit_sanitizers = -fsanitize=address,undefined -fno-sanitize-recover=all
build/unit/threads/%: unit_sanitizers = -fsanitize=thread
build/unit/plain/%: unit_sanitizers =
# It copies from and to whatever it is given, NULL too: that is what it is for.
build/unit/guard.o: unit_sanitizers += -fno-sanitize=nonnull-attribute

# what test_refused refuses
comma = ,
%/test_refused: unit_wrap = $(addprefix -Wl$(comma)--wrap=,mmap mmap64 madvise mlock \
    posix_fallocate calloc realloc reallocarray strdup)

# its clock, and its user
%/test_heat %/test_hot: unit_wrap = -Wl,--wrap=clock_gettime -Wl,--wrap=geteuid

%/test_residency: unit_wrap = -Wl$(comma)--wrap=madvise

-include $(wildcard build/unit/*.d build/unit/threads/*.d build/unit/plain/*.d)

.PHONY: unit unit-programs valgrind
.SECONDARY:
