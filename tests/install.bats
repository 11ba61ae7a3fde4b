#!/usr/bin/env bats
# Installing, and what is installed beside the library.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    project=$(realpath "$BATS_TEST_DIRNAME/..")
    tree=$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")
}

teardown() {
    rm -rf "$tree"
}

# Install what is built already: another PREFIX would rebuild it while other tests use it.
in_tree() {
    make -s -C "$project" "$1" DESTDIR="$tree"
}

# approves TOOL FILE: check finds nothing wrong, but that only root may write the default status file
approves() {
    local conf=$BATS_TEST_TMPDIR/preload.conf
    cp "$2" "$conf"
    if [[ $EUID -ne 0 ]]; then
        sed -i '/^TransferMMapStatusFile/d' "$conf"
        echo 'TransferMMapStatusFile none' >>"$conf"
    fi
    "$1" check -c "$conf"
}

@test "what is installed is all there, and uninstalling removes it" {
    in_tree install
    local conf=$tree/etc/proftpd/preload.conf file
    for file in bin/xfermmap lib/libxfermmap.so share/man/man1/xfermmap.1 share/man/man5/preload.conf.5 \
        share/man/man8/libxfermmap.8 share/bash-completion/completions/xfermmap \
        share/doc/libxfermmap/examples/xfermmap.conf share/doc/libxfermmap/examples/xfermmap-dashboard.json share/doc/libxfermmap/docs/directives.md; do
        [[ -s $tree/usr/local/$file ]]
    done
    cmp "$project/preload.conf.example" "$conf"
    [[ $(stat -c %a "$tree/usr/local/lib/libxfermmap.so" "$conf" "$tree/usr/local/bin/xfermmap") == $'644\n644\n755' ]]
    approves "$tree/usr/local/bin/xfermmap" "$conf"

    in_tree uninstall
    run -0 find "$tree" ! -type d
    [[ ! $output ]]
    [[ ! -e $tree/usr/local/share/doc/libxfermmap ]]
}

@test "it says which of the installed documents to read next" {
    run -0 in_tree install
    [[ $output =~ (/[^ ]*\.md)' says how' && -s $tree${BASH_REMATCH[1]} ]]
}

# Print each link as "document target": taken from brackets and parentheses, without web addresses.
links() {
    local document
    for document in "$@"; do
        grep -oP '\]\(\K[^)]+(?=\))' "$document" | grep -v '://' | sed "s|^|$document |" || true
    done
}

@test "the links of the installed documents lead to what is installed" {
    in_tree install
    local doc=$tree/usr/local/share/doc/libxfermmap document target heading
    links "$doc"/*.md "$doc"/docs/*.md >"$tree/links"
    [[ $(wc -l <"$tree/links") -gt 20 ]]
    while read -r document target; do
        echo "${document#"$doc"/}: $target"
        [[ $target == '#'* ]] || document=${document%/*}/${target%%#*}
        [[ -s $document ]]
        heading=${target#*#}
        [[ $target != *'#'* ]] || grep -qixE "#+ ${heading//-/.}" "$document"
    done <"$tree/links"
}

@test "a directive file that was changed is neither replaced nor removed" {
    mkdir -p "$tree/etc/proftpd"
    echo 'TransferMMapEngine off' >"$tree/etc/proftpd/preload.conf"
    in_tree install
    in_tree uninstall
    run -0 find "$tree" ! -type d
    [[ $output == "$tree/etc/proftpd/preload.conf" ]]
    [[ $(<"$output") == 'TransferMMapEngine off' ]]
}

@test "the example has every directive, and is in order" {
    local directives
    mapfile -t directives < <(grep -oE '"TransferMMap[A-Za-z]+"' "$project"/shim/config*.c | cut -d '"' -f 2 | sort -u)
    [[ ${#directives[@]} -ge 9 ]]
    local directive page
    for directive in "${directives[@]}"; do
        for page in preload.conf.example docs/directives.md docs/man/preload.conf.5; do
            echo "$directive in $page"
            grep -q "$directive" "$project/$page"
        done
    done
    # with the commented-out directives enabled, except the second of each
    sed -E 's/^#( *(<|Transfer))/\1/; /^ *TransferMMapFile/d' "$project/preload.conf.example" |
        awk '!/^ *Transfer/ || !seen[$1]++' >"$tree/preload.conf"
    [[ $(grep -c '^Transfer' "$tree/preload.conf") -eq $((${#directives[@]} - 1)) ]]
    approves "$project/build/xfermmap" "$tree/preload.conf"
    echo 'TransferMMapEngine on' >>"$tree/preload.conf"
    run -1 "$project/build/xfermmap" check -c "$tree/preload.conf"
}

@test "the manual pages are in order" {
    local page
    for page in "$project"/docs/man/*; do
        run -0 mandoc -T lint -W warning "$page"
        [[ ! $output ]]
        LC_ALL=C.UTF-8 run -0 man --warnings -E UTF-8 -l -Tutf8 -Z "$page"
        run ! grep -i warning <<<"$output"
    done
    # every option of the tool
    local option
    for option in $("$project/build/xfermmap" status --help | grep -oE -- '--[a-z]+') --config --version; do
        grep -qF -- "${option#--}" "$project/docs/man/xfermmap.1"
    done
}

@test "systemd takes the drop-in with Debian's units" {
    local units=$tree/units unit
    mkdir -p "$units/multi-user.target.wants"
    ln -s ../proftpd.service "$units/multi-user.target.wants" # as if enabled
    find "$project/build/server" -path '*/systemd/system/*' -name 'proftpd*.service' -exec cp -t "$units" {} +
    # its programs are not in their installed places
    sed -i "s|/usr/sbin/proftpd|$project/build/server&|; s|/usr/sbin/in.proftpd|$project/build/server/usr/sbin/proftpd|" "$units"/*.service
    cp "$units/proftpd@.service" "$units/proftpd@1.service"
    for unit in proftpd.service proftpd@1.service; do
        mkdir "$units/$unit.d"
        cp "$project/docs/systemd/xfermmap.conf" "$units/$unit.d"
        SYSTEMD_UNIT_PATH=$units: run -0 systemd-analyze verify --man=no "$units/$unit"
        run ! grep xfermmap <<<"$output"
        echo 'Environmint=X=1' >>"$units/$unit.d/xfermmap.conf"
        SYSTEMD_UNIT_PATH=$units: run systemd-analyze verify --man=no "$units/$unit"
        [[ $output == *xfermmap.conf*Environmint* ]] # it was read
        rm -r "$units/$unit.d"
    done
}

@test "systemd takes the units that write the metrics" {
    mkdir "$tree/units"
    cp "$project"/docs/systemd/xfermmap-metrics.* "$tree/units"
    sed -i "s|=xfermmap status|=$project/build/xfermmap status|" "$tree/units/xfermmap-metrics.service"
    run -0 systemd-analyze verify --man=no "$tree/units/xfermmap-metrics.service" "$tree/units/xfermmap-metrics.timer"
    run ! grep xfermmap <<<"$output"
}

@test "the completion knows the commands and their options" {
    [[ -r /usr/share/bash-completion/bash_completion ]] || skip 'bash-completion is not installed'
    complete_words() {
        bash -c 'source /usr/share/bash-completion/bash_completion; source "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
            _xfermmap; echo "${COMPREPLY[*]}"' - "$project/docs/completion/xfermmap" "$@"
    }
    [[ $(complete_words xfermmap st) == status ]]
    [[ $(complete_words xfermmap status --pro) == --prometheus ]]
    [[ $(complete_words xfermmap check --co) == --config ]]
    [[ $(complete_words xfermmap help ch) == check ]]
    [[ $(complete_words xfermmap check "$project/Makef") == "$project/Makefile" ]]
}
