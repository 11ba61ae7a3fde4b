#!/usr/bin/env bats
# Ordinary programs, with the library in all of them and every file mapped, must print the same as without it.
# docs/compatibility.md has the table.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    umask 022
    server=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")")
    directives 'TransferMMapEngine on' 'TransferMMapMinSize 1'
    # Concurrent programs would contend for a status file, and log it.
    sed '/StatusFile/ s/ .*/ none/' "$server/preload.conf" >"$server/uncounted.conf"
    cd "$server" || return
    export LC_ALL=C
    head -c 3000000 /dev/urandom >big
    seq 100000 200000 | tac >text
}

teardown() {
    end_started
    server_remove
}

# Serve and count only the program named $1.
with_library() {
    env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS="$1" "${@:2}"
}

uncounted() {
    env LD_PRELOAD="$library" XFERMMAP_CONF="$server/uncounted.conf" XFERMMAP_PROCESS='*' "$@"
}

# Through a pipe: between two files, cat uses copy_file_range.
said_by() {
    { "$@" 2>&1 </dev/null && echo 'exit status 0' || echo "exit status $?"; } | sha256sum
}

# same COMMAND...: prints the same.
same() {
    local expected actual
    expected=$(said_by "$@")
    actual=$(said_by uncounted "$@")
    [[ $actual == "$expected" ]] || { echo "not the same: $*"; return 1; } >&2
}

# served PROGRAM COMMAND...: prints the same, and PROGRAM, which COMMAND may run, read from memory.
served() {
    same "${@:2}"
    rm -f status
    server_settle
    said_by with_library "$@" >/dev/null
    [[ $(counter BYTES) -gt 0 ]] || { echo "nothing from memory: $*"; return 1; } >&2
}

@test "coreutils" {
    cp big copy
    served cat cat big text
    served cmp cmp big copy
    printf x >>copy
    served cmp cmp big copy
    served head head -c 70001 big
    served tail tail -c 70001 big
    same tail -n 3 text # which seeks
    same tac text
    served wc wc text
    served cp sh -c 'cp big copied; cmp big copied; cp --reflink=never --sparse=always big copied; cmp big copied'
    same sh -c 'split -b 1000003 big part.; sha256sum part.*'
    same dd if=big bs=4099 iflag=fullblock skip=3 count=500 status=none
    same sha256sum big text
    same sort -n text
    same od -A d big
}

@test "tar and gzip" {
    needs_no_overlay # a read of compressed bytes that ends with a zero is left to the kernel
    served tar tar -cf - big text
    tar -cf archive.tar big text
    served tar tar -xOf archive.tar
    served tar tar -tvf archive.tar
    served gzip gzip -nc text
    gzip -n text
    served gzip gzip -dc text.gz
    same sh -c 'tar -czf - big | tar -tzf -; tar -tzf text.gz'
}

@test "git" {
    needs_no_overlay
    git init -q repository
    cp big text repository
    git -C repository add .
    git -C repository -c user.name=x -c user.email=x@localhost commit -q -m x
    git -C repository gc -q
    served git git -C repository fsck --full --strict
    served git sh -c 'rm -rf clone; git clone -q --no-local repository clone; cd clone; git log; git status; sha256sum big text'
    served git sh -c 'cd repository; printf x >>text; git diff --stat; git status --short'
}

@test "python3" {
    cat >reads.py <<'SCRIPT'
import hashlib, io, os
with open("big", "rb") as f:
    print(hashlib.sha256(f.read()).hexdigest())
    f.seek(-1000, io.SEEK_END)
    print(hashlib.sha256(f.read(500) + f.read()).hexdigest(), f.tell())
with open("big", "rb", buffering=0) as f:
    b = bytearray(70001)
    print(f.readinto(b), hashlib.sha256(b).hexdigest())
    print(os.pread(f.fileno(), 10, 2999995), os.lseek(f.fileno(), 0, os.SEEK_CUR))
    with os.fdopen(os.dup(f.fileno()), "rb") as g:
        print(hashlib.sha256(g.read(100000)).hexdigest(), f.tell())
    r, w = os.pipe()
    print(os.sendfile(w, f.fileno(), None, 1000), f.tell())
    if os.fork() == 0:
        f.read(12345)
        os._exit(0)
    os.wait()
    print(f.tell())
print(sum(1 for line in open("text")))
SCRIPT
    served python3 /usr/bin/python3 reads.py
}

@test "sqlite3, reading only" {
    sqlite3 base 'create table t (a integer primary key, b text);
        with recursive n (i) as (values (1) union all select i + 1 from n where i < 20000)
        insert into t select i, hex(i * 7919) from n; create index b on t (b);'
    served sqlite3 sqlite3 -readonly base 'select count(*), sum(length(b)) from t; pragma integrity_check;' \
        'select * from t order by b limit 100'
}

@test "bash, running scripts from files" {
    cat >script <<'SCRIPT'
read -r first <text
echo "$first"
exec 5<text
read -r a <&5
(read -r b <&5; echo "$b")
cat <&5 | sha256sum
exec 5<&-
while read -r line; do [[ $line != *99 ]] || n=$((n + 1)); done < <(tail -n 1000 text)
echo "$n"
source ./more
SCRIPT
    echo 'echo sourced; exit 3' >"more"
    served bash bash script
}

@test "gcc, compiling" {
    cat >program.c <<'SOURCE'
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    printf("%d\n", abs(-42));
    return 7;
}
SOURCE
    served cc1 sh -c 'gcc -O2 -c -o program.o program.c; sha256sum program.o; gcc -o program program.o; ./program'
}

@test "what programs seldom do" {
    local oddity
    for oddity in fork vfork vfork-signals old-signals; do
        same "$project/build/oddities" "$server/big" "$oddity"
        [[ $(uncounted "$project/build/oddities" "$server/big" "$oddity" | wc -l) -gt 0 || $oddity == fork ]]
    done
    printf 'TransferMMapFile %s\n' "$server/big" >>uncounted.conf
    same "$project/build/oddities" "$server/big" _Fork
    [[ $("$project/build/oddities" "$server/big" _Fork | wc -c) -eq 8192 ]]
}

@test "sftp-server of OpenSSH" {
    printf '#!/bin/sh\nexec env LD_PRELOAD=%s XFERMMAP_CONF=%s XFERMMAP_PROCESS=sftp-server %s "$@"\n' \
        "$library" "$server/preload.conf" "$project/build/witnesses/usr/lib/openssh/sftp-server" >sftp-server
    chmod +x sftp-server
    printf 'get big copy\nget text copied\n' >"batch"
    server_settle
    timeout 60 sftp -q -b batch -D "$server/sftp-server"
    cmp big copy
    cmp text copied
    [[ $(counter BYTES) -ge $(($(stat -c %s big) + $(stat -c %s text))) ]]
}

@test "pure-ftpd" {
    needs_namespaces # it needs root, and a directory in /run
    local bin=$project/build/witnesses/usr address port url
    [[ -x $bin/sbin/pure-ftpd ]] || skip 'this release of Debian has none'
    address=127.$((1 + RANDOM % 254)).$((RANDOM % 256)).$((1 + RANDOM % 254))
    port=$((10000 + RANDOM % 20000))
    url=ftp://visitor:visitor@$address:$port
    mkdir files
    cp big text files
    printf 'visitor\nvisitor\n' | "$bin/bin/pure-pw" useradd visitor -f users -u nobody -g nogroup -d "$server/files" -m -F users.pdb
    server_settle
    # shellcheck disable=SC2016 # variables of the inner shell
    unshare --mount sh -c 'mount -t tmpfs tmpfs /run; exec "$@"' - env LD_PRELOAD="$library" \
        XFERMMAP_CONF="$server/preload.conf" XFERMMAP_PROCESS=pure-ftpd "$bin/sbin/pure-ftpd" -S "$address,$port" \
        -l "puredb:$server/users.pdb" -g "$server/pid" -E -u 1 -H </dev/null >log 2>&1 3>&- &
    started+=($!)
    server_await grep -q "$(printf ':%04X 00000000:0000 0A' "$port")" /proc/net/tcp
    curl -q -sS --noproxy '*' --max-time 60 "$url/{big,text}" -o 'got.#1'
    cmp big got.big
    cmp text got.text
    curl -q -sS --noproxy '*' --max-time 60 -C 70001 "$url/big" | cmp -i 70001:0 big -
    [[ $(counter MAPPED) -ge 3 ]]
}
