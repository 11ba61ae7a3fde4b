#!/usr/bin/env bats
# What the pages name exists, and has an effect.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    cd "$BATS_TEST_DIRNAME/.." || return
}

# Each "make TARGET" of a page, as a separate command or in backquotes.
targets() {
    grep -ohP '(^# |^    |`)(sudo )?make \K[a-z][a-z-]*' Makefile README.md docs/*.md tests/*/*.mk | sort -u
}

@test "each make target that a page names would do something" {
    local target plan
    [[ $(targets | wc -l) -gt 10 ]]
    while read -r target; do
        # as if nothing were built yet: everything that is compiled depends on the Makefile
        plan=$(make --dry-run --what-if=Makefile --no-print-directory "$target" 2>&1)
        echo "$target: $(wc -l <<<"$plan") commands"
        [[ $plan && $plan != *"'$target'"* ]] # neither up to date nor without a rule
    done < <(targets)
}

@test "make help names each target" {
    local target
    run -0 make --no-print-directory help
    echo "$output"
    [[ $output == 'make '* && $output != *'#'* ]]
    while read -r target; do
        echo "$target"
        [[ $target == @(FORCE|all|unit|*-programs) || $output =~ "make $target"[\ $'\n'] ]]
    done < <(sed -n 's/^\.PHONY: //p' Makefile docs/*.mk tests/*.mk tests/*/*.mk | tr ' ' '\n')
}

# The commands of the tool, and their long options.
@test "each command and option of xfermmap that a page names is one" {
    local words command options option help
    [[ -e build/xfermmap ]]
    while read -r words; do
        read -r _ command options <<<"$words"
        echo "xfermmap $command: $options"
        help=$(build/xfermmap "$command" --help)
        for option in $options; do
            [[ $option != --?* ]] || grep -qE -- "${option%%=*}(\[?=| |,|$)" <<<"$help"
        done
    done < <(grep -ohP 'xfermmap (check|status|run)( -[^`|]*)?' README.md docs/*.md docs/systemd/* | sort -u)
}
