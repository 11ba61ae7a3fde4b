#!/usr/bin/env bats
# Virtual hosts, and the server's own configuration as directive file: one file configures the server and the library.

bats_require_minimum_version 1.5.0
set -o pipefail

setup() {
    source "$BATS_TEST_DIRNAME/observe.bash"
    server_create 'UseSendfile off'
    files=$server/files
    ln -sf proftpd.conf "$server/preload.conf"
    local name
    for name in own second six; do
        random_bytes 9000001 >"$files/$name"
    done
    random_bytes 50000 >"$files/listed"
}

teardown() {
    server_remove
}

# The lines of the server's configuration that are the library's.
ours() {
    echo '<IfModule mod_xfer_mmap.c>'
    printf '    %s\n' "$@"
    echo '</IfModule>'
}

# The server itself, a host at a second address and one at ::1, all on the same port; TransferMMapEngine on in $1 only.
three_hosts() {
    declare -gA address=([own]=$(<"$server/address") [six]=::1)
    address[second]=${address[own]%.*}.$((${address[own]##*.} % 254 + 1))
    sed -i 's/UseIPv6 off/UseIPv6 on/' "$server/proftpd.conf"
    {
        ours "TransferMMapLog $server/preload.log" "TransferMMapStatusFile $server/status" \
            "TransferMMapFile $files/listed"
        echo "Include $server/hosts.d"
    } >>"$server/proftpd.conf"

    mkdir "$server/hosts.d"
    local host
    for host in second six; do
        echo "<VirtualHost ${address[$host]}>"
        echo "    Port $(<"$server/ftp_port")"
        [[ $1 != "$host" ]] || ours 'TransferMMapEngine on'
        echo '</VirtualHost>'
    done >"$server/hosts.d/hosts.conf"
    [[ $1 != own ]] || ours 'TransferMMapEngine on' >>"$server/proftpd.conf"
}

needs_ipv6() {
    grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null || skip 'this machine has no ::1'
}

# Download the file named after the host from that host.
is_downloaded_from() {
    local at=${address[$1]}
    [[ $at != *:* ]] || at=[$at]
    curl -q -sS -g --noproxy '*' --max-time 120 "ftp://$account:$account@$at:$(<"$server/ftp_port")/$1" |
        cmp "$files/$1" -
}

only_its_sessions_map() {
    needs_ipv6
    three_hosts "$1"
    server_start preloaded traced
    local host
    for host in own second six; do
        is_downloaded_from "$host"
    done
    server_stop

    for host in own second six; do
        if [[ $host == "$1" ]]; then
            served_from_memory "$host"
        else
            [[ $(kernel_calls 'mmap2?' "$host") -eq 0 ]]
            [[ $(kernel_calls 'p?read.*' "$host") -gt 0 ]]
        fi
    done
    [[ $(counter BYTES) -eq 9000001 ]]
}

@test "TransferMMapEngine on for the server itself: only its sessions map" {
    only_its_sessions_map own
}

@test "TransferMMapEngine on in a virtual host: only its sessions map" {
    only_its_sessions_map second
}

@test "TransferMMapEngine on in a virtual host at an IPv6 address: only its sessions map" {
    only_its_sessions_map six
}

@test "a Port from the environment: only its host's sessions map" {
    needs_ipv6
    three_hosts second
    XM_PORT=$(<"$server/ftp_port")
    export XM_PORT
    sed -i "s/ Port $XM_PORT\$/ Port %{env:XM_PORT}/" "$server/proftpd.conf" "$server/hosts.d/hosts.conf"
    grep -c 'env:XM_PORT' "$server/proftpd.conf" "$server/hosts.d/hosts.conf"
    server_start preloaded
    is_downloaded_from second
    [[ $(counter BYTES) -eq 9000001 ]]
    is_downloaded_from own
    [[ $(counter BYTES) -eq 9000001 ]]
}

@test "listed files are kept as long as one host has the engine on" {
    needs_insight
    needs_ipv6
    three_hosts second
    server_start preloaded
    is_kept listed
    sed -i 's/Engine on/Engine off/' "$server/hosts.d/hosts.conf"
    reload
    server_await has_no_keeper
    ours 'TransferMMapEngine on' >"$server/hosts.d/own.conf"
    reload
    is_kept listed
}

@test "SIGHUP decides anew for each host" {
    needs_ipv6
    three_hosts second
    server_start preloaded
    is_downloaded_from second
    [[ $(counter BYTES) -eq 9000001 ]]
    sed -i 's/Engine on/Engine off/' "$server/hosts.d/hosts.conf"
    ours 'TransferMMapEngine on' >"$server/hosts.d/own.conf"
    reload
    is_downloaded_from second
    [[ $(counter BYTES) -eq 9000001 ]]
    is_downloaded_from own
    [[ $(counter BYTES) -eq 18000002 ]]
}

@test "the packaged configuration is a directive file, without a complaint" {
    local templates=$project/build/server/usr/share/proftpd/templates
    mkdir -p "$server/etc/conf.d"
    cp "$templates"/*.conf "$server/etc"
    sed -i -e "s,/etc/proftpd/,$server/etc/," -e "s,/var/\(log\|run\)/proftpd/,$server/," \
        -e "s,^ModulePath .*,ModulePath $project/build/server/usr/lib/proftpd," \
        -e "s,^Port .*,Port $(<"$server/ftp_port")," -e "s,^User .*,User $(session_user)," \
        -e "s,^Group .*,Group $(id -gn "$(session_user)")," "$server"/etc/*.conf
    # the same for all servers of these tests; the package loads this module already
    sed '/LoadModule mod_deflate/d' "$server/proftpd.conf" >"$server/etc/conf.d/site.conf"
    ours 'TransferMMapEngine on' "TransferMMapLog $server/preload.log" "TransferMMapStatusFile $server/status" \
        >"$server/etc/conf.d/xfermmap.conf"
    ln -sf etc/proftpd.conf "$server/proftpd.conf"

    server_start preloaded
    ftp_get own | cmp "$files/own" -
    [[ $(counter BYTES) -eq 9000001 ]]
    grep -q 'preload.conf is in force' "$server/preload.log"
    run -1 grep -E '\.conf:[0-9]+: ' "$server/preload.log"
}

# Each sample has our directives in every context that allows them.
@test "check accepts the package's sample configurations as directive files" {
    local sample count=0
    for sample in "$project"/build/server/usr/share/{proftpd/templates,doc/proftpd-core/sample-configurations}/*.conf*; do
        {
            zcat -f "$sample" | awk -v ours="$(ours 'TransferMMapEngine on' "TransferMMapFile $files/listed")" '
                { print }
                /^[ \t]*<VirtualHost / { print ours }'
            echo '<Global>'
            ours 'TransferMMapEngine on'
            echo '</Global>'
            ours 'TransferMMapEngine on' 'TransferMMapMinSize 8 MB' "TransferMMapLog $server/preload.log" \
                "TransferMMapStatusFile $server/status"
        } >"$server/sample.conf"
        echo "$sample"
        "$project/build/xfermmap" check -c "$server/sample.conf" 2>"$server/remarks" || true
        # Debian's configuration includes files that are not in /etc
        run -1 grep -v ': Include: /etc/proftpd/.*: No such file or directory$' "$server/remarks"
        count=$((count + 1))
    done
    [[ $count -ge 14 ]]
}
