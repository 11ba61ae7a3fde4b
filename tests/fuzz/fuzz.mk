# make fuzz-config   the directive file under libFuzzer, for SECONDS=60; what it finds is left in build/fuzz

config_rooms = $(wildcard shim/config*.c) shim/libc.c

test-programs: build/unit/replay_config

build/unit/replay_config: $(config_rooms) tests/fuzz/config.c tests/fuzz/replay.c $(wildcard shim/*.h) Makefile
	@mkdir -p $(@D)
	@echo '  CC    $@'
	@$(CC) $(unit_flags) $(unit_sanitizers) -o $@ $(filter %.c,$^)

build/fuzz/config: $(config_rooms) tests/fuzz/config.c $(wildcard shim/*.h) Makefile
	@mkdir -p $(@D)/corpus
	@echo '  CC    $@'
	@clang $(unit_flags) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $(filter %.c,$^)

fuzz-config:
	@tests/setup fuzz
	@$(again) build/fuzz/config
	build/fuzz/config -max_total_time=$(SECONDS) -timeout=10 -max_len=4096 -print_final_stats=1 \
	    -dict=tests/fuzz/config.dict -artifact_prefix=build/fuzz/ build/fuzz/corpus tests/fuzz/corpus

.PHONY: fuzz-config
