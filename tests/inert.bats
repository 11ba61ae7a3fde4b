#!/usr/bin/env bats
# What the library must not change: symbols, other programs, a server without directives.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    big=$server/files/big
    random_bytes 6000000 >"$big"
}

teardown() {
    server_remove
}

# ---- the file itself ----

# The preprocessor expands the table of names as the compiler does. The table lacks execl() and its kind, which call
# execv(), and sigset() and sigignore(), which call sigaction(): they need no next definition.
wrapped_names() {
    printf '#include "%s"\n#undef X\n#define X(result, name, parameters) wrapped name\nLIBC_FUNCTIONS(X)\n' \
        "$project/shim/libc.h" |
        cc -E -P -D_GNU_SOURCE - | grep -oE 'wrapped [A-Za-z_0-9]+' | cut -d ' ' -f 2 |
        grep -vxE 'glob|globfree' # called by the server's own copies, and forwarded
    printf '%s\n' execl execle execlp sigset sigignore
}

@test "the library defines the wrapped functions, and no other name" {
    wrapped_names | sort >"$server/wrapped"
    [[ $(wc -l <"$server/wrapped") -gt 30 ]]
    tr ' ' '\n' <"$project/shim/libxfermmap.map" | sed -nE 's/^([A-Za-z_0-9]+);$/\1/p' | sort | diff "$server/wrapped" -

    # vfork() needs a few instructions of assembly, which some architectures lack
    [[ $(uname -m) =~ ^(x86_64|aarch64)$ ]] || sed -i '/^vfork$/d' "$server/wrapped"
    nm -D --defined-only "$library" | awk '{ print $3 }' | sort | diff "$server/wrapped" -
}

@test "the library needs libc alone" {
    local needed
    needed=$(readelf -dW "$library" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p')
    [[ $needed == libc.so.* && $needed != *$'\n'* ]]
}

@test "the library is hardened" {
    readelf -dW "$library" >"$server/dynamic"
    grep -qE 'BIND_NOW|FLAGS_1.*NOW' "$server/dynamic"
    run ! grep TEXTREL "$server/dynamic"
    readelf -lW "$library" >"$server/segments"
    grep -q GNU_RELRO "$server/segments"
    grep -qE 'GNU_STACK .* RW ' "$server/segments"
}

# ---- other programs ----

# Other programs behave the same with the library as without, byte for byte: output, errors, status.
unaffected() {
    local status=0 actual=0
    "$@" >"$server/expected" 2>"$server/expected.errors" </dev/null || status=$?
    strace -f -y -s 300 -e 'trace=/^(open|mmap|connect)' -o "$server/trace" \
        -E "LD_PRELOAD=$library" -E "XFERMMAP_CONF=$server/preload.conf" \
        "$@" >"$server/actual" 2>"$server/actual.errors" </dev/null || actual=$?
    [[ $actual -eq $status ]]
    cmp "$server/expected" "$server/actual"
    cmp "$server/expected.errors" "$server/actual.errors"
    grep -q "open.*$library" "$server/trace"
    run ! grep -E "^[0-9]+ +mmap.*<$server/files|\"$server/(preload|status)" "$server/trace"
}

@test "other programs neither say nor map anything" {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1' "TransferMMapFile $big"
    git init -q "$server/repository"
    unaffected ls -l "$server/files"
    unaffected ls "$server/absent"
    touch "$server/repository/new"
    unaffected git -C "$server/repository" status --short
    unaffected git -C "$server/repository" log
    unaffected bash -c "cat $big | tail -c 10"
    unaffected cat "$big"
    unaffected python3 -c "import zlib; print(zlib.crc32(open('$big', 'rb').read()))"
}

@test "another program has no file in memory" {
    directives 'TransferMMapEngine on' "TransferMMapFile $big"
    maps() {
        LD_PRELOAD=$library XFERMMAP_CONF=$server/preload.conf "$@" python3 -c \
            "file = open('$big', 'rb'); file.read(1); print(open('/proc/self/maps').read())" 2>&1
    }
    maps env | grep -F "$library"
    run ! grep -F "$big" <(maps env)
    maps env XFERMMAP_PROCESS=proftpd,python3 | grep -F "$big" # proves that a mapping would be seen
}

# ---- the named programs ----

@test "XFERMMAP_PROCESS names the programs it acts in" {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    local reads name
    for name in cat proftpd,cat 'cat,proftpd' '*'; do
        rm -f "$server/status"
        reads=$(reads_of_cat "$name")
        [[ $reads -eq 0 ]]
        [[ $(counter BYTES) -eq 6000000 ]]
        [[ $(counter BYTES_KERNEL) -eq 0 ]]
    done
    for name in '' ca cats 'proftpd,tac' ',,'; do
        rm -f "$server/status"
        reads=$(reads_of_cat "$name")
        [[ $reads -gt 0 ]]
        [[ ! -e $server/status ]]
    done
}

# Count cat's reads by the kernel, which cat must issue in any case.
reads_of_cat() {
    server_settle
    strace -y -s 0 -e 'trace=/^(p?readv?(64)?|sendfile(64)?|copy_file_range)$' -o "$server/trace" \
        -E "LD_PRELOAD=$library" -E "XFERMMAP_CONF=$server/preload.conf" -E "XFERMMAP_PROCESS=$1" \
        cat "$big" | cmp "$big" - >&2
    grep -c "<$big>" "$server/trace" || true
}

@test "any program reads from memory what it would have read from the kernel" {
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    cp "$big" "$server/files/copy"
    served_alike cat "$big"
    alike dd if="$big" bs=4099 skip=3 count=500 status=none
    served_alike tail -c 70001 "$big"
    served_alike head -c 70001 "$big"
    served_alike cmp "$big" "$server/files/copy"
    alike sha256sum "$big"
    printf x >>"$server/files/copy"
    served_alike cmp "$big" "$server/files/copy"
    alike sort "$big"
    alike bash -c "exec 5<$big; read -r -N 1000 a <&5; cat <&5; (tail -c 100) <$big; echo \"\$a\" | wc"
}

served_alike() {
    server_settle
    rm -f "$server/status"
    alike "$@"
    [[ $(counter BYTES) -gt 0 ]]
}

# Through a pipe: between two files, cat uses copy_file_range.
alike() {
    local expected actual
    expected=$(piped "$@")
    actual=$(piped env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS='*' "$@")
    [[ $actual == "$expected" ]]
}

piped() {
    local status
    LC_ALL=C "$@" 2>&1 | sha256sum
    status=${PIPESTATUS[0]}
    echo "exit status $status"
}

# ---- the server without directives ----

# The names that a server passes to the kernel, and what it maps, from its start to its end.
requests() {
    setsid strace -f -y -s 300 -e trace=file,connect,bind,mmap -o "$server/trace" \
        env "$@" "$proftpd" -n -c "$server/proftpd.conf" </dev/null >"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    server_await server_is_up_or_gone
    ftp_get big | cmp "$big" - >&2
    server_stop
    # it looks for shutmsg now and then: more often the longer it runs
    sed -nE -e '/ execve\(/d' -e '/"\/etc\/shutmsg"/d' -e 's/^[0-9]+ +(mmap)\(.*, [0-9]+<([^>]*)>.*/\1 \2/p' \
        -e 's/^[0-9]+ +([a-z0-9_]+)\([^"]*"([^"]+)".*/\1 \2/p' "$server/trace" | sort
}

@test "without a directive file the server is the stock server" {
    local default
    default=$(strings "$library" | grep '/preload.conf$')
    [[ ! -e $default ]] || skip "there is $default"
    requests >"$server/stock"
    requests LD_PRELOAD="$library" >"$server/preloaded"
    [[ $(wc -l <"$server/stock") -gt 100 ]]
    [[ $EUID -ne 0 ]] || grep -qF "$big" "$server/stock" # only root can trace the calls of sessions
    run -0 comm -3 "$server/stock" <(grep -vF "$library" "$server/preloaded")
    echo "$output"
    [[ $output == $'\t'"openat $default" ]]
}
