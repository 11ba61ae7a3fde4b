#!/usr/bin/env bats
# tests/setup in a copy of the project, where there is no server yet, and mostly with stand-ins for the programs that
# would change the machine.

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

# A program of the name given, whose script is what comes in.
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

# What dpkg knows, what lies where a service has its files, and who listens on port 21.
traces_of_a_server() {
    dpkg-query -W -f '${Package} ${Version}\n' '*proftpd*' 2>/dev/null || true
    find /etc /lib/systemd /run /var/lib -name '*proftpd*' 2>/dev/null | sort
    grep -h ':0015 0*:0000 0A' /proc/net/tcp /proc/net/tcp6 || true
}

@test "setting up again says nothing, and asks neither apt nor for root" {
    stand_in apt-get <<<'echo "apt-get $*"; exit 1'
    stand_in sudo <<<'echo "sudo $*"; exit 1'

    PATH=$copy/bin:$PATH run -0 "$BATS_TEST_DIRNAME/setup" check

    [ "$output" = '' ]
}

@test "where apt has no library for another architecture, it says so once" {
    mkdir "$copy/build"
    ln -s "$(realpath "$BATS_TEST_DIRNAME/../build")"/{server,witnesses} "$copy/build"
    stand_in apt-get <<<'exit 100'

    PATH=$copy/bin:$PATH run -0 "$copy/tests/setup" check
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[0]} == *' arm64: its unit tests are left out'* && ${lines[1]} == *' armhf: '* ]]

    PATH=$copy/bin:$PATH run -0 "$copy/tests/setup" check
    [ "$output" = '' ]
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
