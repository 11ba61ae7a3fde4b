#!/usr/bin/env bats
# tests/setup in a copy of the project without a server, mostly with stubs for the programs that would change the
# machine.

bats_require_minimum_version 1.5.0

setup() {
    copy=$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")
    chmod 755 "$copy"
    mkdir "$copy/tests" "$copy/bin"
    cp "$BATS_TEST_DIRNAME/setup" "$copy/tests"
}

teardown() {
    rm -rf "$copy"
}

# Create a program of this name from a script on standard input.
stand_in() {
    cat <(echo '#!/usr/bin/env bash') - >"$copy/bin/$1"
    chmod 755 "$copy/bin/$1"
}

@test "setting up leaves no package, unit, configuration or service behind" {
    (cd "$copy" && apt-get -qq -o APT::Sandbox::User=root download proftpd-core) || skip 'no packages within reach'
    traces_of_a_server >"$copy/before"

    "$copy/tests/setup" demo

    traces_of_a_server | diff "$copy/before" -
    "$copy/build/server/usr/sbin/proftpd" --version
}

# The packages that dpkg lists, the files of a service, and the listener on port 21.
traces_of_a_server() {
    dpkg-query -W -f '${Package} ${Version}\n' '*proftpd*' 2>/dev/null || true
    find /etc /lib/systemd /run /var/lib -name '*proftpd*' 2>/dev/null | sort
    grep -h ':0015 0*:0000 0A' /proc/net/tcp /proc/net/tcp6 || true
}

@test "setting up again says nothing, and asks neither apt nor for root" {
    stand_in apt-get <<<'echo "apt-get $*"; exit 1'
    stand_in sudo <<<'echo "sudo $*"; exit 1'
    has_unpacked server witnesses

    PATH=$copy/bin:$PATH run -0 "$copy/tests/setup" check

    [ "$output" = '' ]
}

# Link these directories of the project's build into the copy.
has_unpacked() {
    mkdir -p "$copy/build"
    (cd "$BATS_TEST_DIRNAME/../build" && realpath -e "$@" | xargs -I{} ln -s {} "$copy/build")
}

# Apt provides any package, empty, and dpkg-deb unpacks it. On a call like $at, either interrupts the process $victim.
stand_in_packages() {
    local program
    for program in apt-get dpkg-deb; do
        stand_in $program <<'SCRIPT'
            # shellcheck disable=SC2053 # a pattern
            [[ ! ${at:-} || "$*" != $at ]] || { kill "$(<"$victim")"; exit 1; }
            case $* in
                *' download '*) printf '%s.deb\n' "$@" | sed '1,/^download/d' | xargs -r touch ;;
                -x*) mkdir -p "$3/usr" ;;
            esac
SCRIPT
    done
}

@test "without root and sudo it says what to run" {
    local nobody=()
    [ "$EUID" -ne 0 ] || nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    stand_in dpkg-query <<<'exit 1'
    ln -s "$(command -v bash)" "$(command -v grep)" "$(command -v sort)" "$copy/bin"

    run -1 "${nobody[@]}" env PATH="$copy/bin" "$copy/tests/setup" build

    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[1]} == *': apt-get update; apt-get install -y --no-install-recommends gcc libc6-dev libjson-c-dev uthash-dev' ]]
}

# wants PURPOSE PACKAGE...: on a machine without packages, these are among the installed.
wants() {
    local package
    PATH=$copy/bin:$PATH run -0 "$copy/tests/setup" build "$1"
    for package in "${@:2}"; do
        echo "$1: $package"
        [[ " $(<"$copy/installed") " == *" $package "* ]]
    done
}

@test "what each target needs is installed where there is none of it" {
    stand_in sudo <<<'exec "$@"'
    stand_in dpkg-query <<<'exit 1'
    stand_in apt-get <<SCRIPT
        case \$* in
            *download*) false ;;
            *install*) echo "\$*" >"$copy/installed" ;;
        esac
SCRIPT
    wants build gcc libc6-dev libjson-c-dev uthash-dev
    wants deb build-essential debhelper # dpkg-checkbuilddeps always requires it
    wants fuzz gcc clang
    has_unpacked server
    mkdir "$copy/build/peers" # only benchmarks run them
    wants demo netbase procps # without /etc/protocols the server asks for no buffer size
    wants bench netbase
    run -0 make -s --dry-run -C "$BATS_TEST_DIRNAME/.." fuzz
    [[ ${lines[0]} == 'tests/setup build' ]]
}

@test "of what the server's packages depend on, only missing libraries are installed" {
    stand_in sudo <<<'exec "$@"'
    stand_in dpkg-query <<'SCRIPT'
        printf '%s\n' "${@:4}" | grep -vxE 'adduser|libone1|libpam-runtime|libthree3' | sed 's/.*/ii/'
SCRIPT
    stand_in apt-get <<SCRIPT
        case \$* in
            *download*) dpkg-deb -b "$copy/package" proftpd.deb ;;
            *install*) echo "\$*" >"$copy/installed" ;;
        esac
SCRIPT
    mkdir -p "$copy/package/DEBIAN" "$copy/package/usr/sbin"
    cat >"$copy/package/DEBIAN/control" <<'CONTROL'
Package: proftpd-core
Version: 1
Architecture: all
Maintainer: none
Description: none
Depends: adduser, libone1 (>= 1.0), libpam-runtime, libtwo2 | libthree3, libthree3:any | libone1, libfour4t64, libthree3
CONTROL

    PATH=$copy/bin:$PATH "$copy/tests/setup" demo

    diff "$copy/installed" - <<<'install -y --no-install-recommends libone1 libthree3'
    [ -d "$copy/build/server/usr/sbin" ]
}

@test "what could not be set up in full is not there in half" {
    stand_in apt-get <<<'case $* in *download*) touch half.deb ;; esac'

    PATH=$copy/bin:$PATH run -2 "$copy/tests/setup" demo

    [ "$(ls -A "$copy/build")" = '' ]
}

@test "what was interrupted leaves nothing" {
    stand_in_packages
    interrupted_at '*download proftpd-core *' ''
    has_unpacked server
    interrupted_at '*download pure-ftpd' server
    interrupted_at '-x */pure-ftpd.deb *' server
}

# interrupted_at CALL LEFT: interrupt at a call like CALL; then only LEFT is in build.
interrupted_at() {
    # shellcheck disable=SC2016 # variables of the shell that becomes tests/setup
    PATH=$copy/bin:$PATH at=$1 victim=$copy/victim run -143 \
        bash -c 'echo $$ >"$victim"; exec "$0" check' "$copy/tests/setup"
    echo "$1: $(ls -A "$copy/build")"
    [ "$(ls -A "$copy/build")" = "$2" ]
}
