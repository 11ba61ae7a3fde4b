# A stock ProFTPD on loopback, for the tests and the demo to source. All state of a server is in its directory,
# $server, on which every function acts:
#
#     server_create 'UseSendfile off'     # makes $server; each argument is a line of the server's configuration
#     cp big "$server/files"              # what it serves
#     server_start preloaded              # or plain; followed by "traced", the kernel's side is recorded
#                                         # server_launch doesn't wait until the listed files are in memory
#     ftp_get big >copy                   # or ftps_get, sftp_get, lftp_get
#     server_stop
#     server_remove                       # stops it, too

project=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
library=$project/build/libxfermmap.so
proftpd=$project/build/server/usr/sbin/proftpd
account=visitor

# Serve reads from mappings even on machines where these cost more. Set it before for another way.
export XFERMMAP_WAY=${XFERMMAP_WAY-map}

server_create() {
    umask 022 # the sessions' user reads what we write
    server=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/xfermmap.XXXXXX")")
    chmod 755 "$server"
    mkdir "$server/files"

    # Each server has a separate address and ports, so that any number can run at once.
    local port=$((10000 + RANDOM % 20000))
    local address=127.$((1 + RANDOM % 254)).$((RANDOM % 256)).$((1 + RANDOM % 254))
    echo "$address" >"$server/address"
    echo "$port" >"$server/ftp_port"
    echo "$((port + 1))" >"$server/sftp_port"

    printf '%s\n' "TransferMMapLog $server/preload.log" 'TransferMMapEngine on' 'TransferMMapStatusFile none' \
        >"$server/preload.conf"
    make_credentials
    server_configuration "$@" >"$server/proftpd.conf"
}

# One key for the TLS certificate, the SFTP host and the SFTP user.
make_credentials() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -keyout "$server/key.pem" -out "$server/certificate.pem" 2>"$server/openssl.log"

    local user
    user=$(session_user)
    printf '%s:%s:%s:%s::%s:/bin/false\n' "$account" "$(openssl passwd -6 "$account")" \
        "$(id -u "$user")" "$(id -g "$user")" "$server/files" >"$server/passwd"
    chmod 600 "$server/key.pem" "$server/passwd"
    chown "$user" "$server/files"
}

session_user() {
    if [[ $EUID -eq 0 ]]; then echo nobody; else id -un; fi
}

# A module without a file is compiled into the server; which ones are differs by release.
load_modules() {
    local module
    for module; do
        [[ ! -e $project/build/server/usr/lib/proftpd/mod_$module.so ]] || echo "LoadModule mod_$module.c"
    done
}

# So many, without zeros: after a read that ends with one, the library may have to ask for the file's size.
random_bytes() {
    head -c "$1" /dev/urandom | LC_ALL=C tr '\0' x
}

server_configuration() {
    cat <<CONFIGURATION
        ModulePath $project/build/server/usr/lib/proftpd
        $(load_modules xfer delay facts auth_file ls log site rlimit lang cap tls sftp deflate)

        ServerType standalone
        DefaultAddress $(<"$server/address")
        SocketBindTight on
        Port $(<"$server/ftp_port")
        UseIPv6 off
        User $(session_user)
        Group $(id -gn "$(session_user)")

        PidFile $server/pid
        ScoreboardFile $server/scoreboard
        ControlsEngine off
        <IfModule mod_delay.c>
            DelayTable none
        </IfModule>

        TLSEngine on
        TLSECCertificateFile $server/certificate.pem
        TLSECCertificateKeyFile $server/key.pem
        TLSOptions NoSessionReuseRequired

        <VirtualHost $(<"$server/address")>
            Port $(<"$server/sftp_port")
            SFTPEngine on
            SFTPHostKey $server/key.pem
            SFTPAuthorizedUserKeys file:$server/authorized_keys
        </VirtualHost>

        <Global>
            AuthOrder mod_auth_file.c
            AuthUserFile $server/passwd
            RequireValidShell off
            UseFtpUsers off
            TransferLog none
            WtmpLog off
            $(printf '%s\n' "$@")
        </Global>
CONFIGURATION
}

server_start() {
    server_launch "$@"
    [[ $1 != preloaded ]] || server_await listed_are_in
}

# The keeper maps the listed files while the master serves, and logs when it is done.
listed_are_in() {
    ! grep -qs '^TransferMMapFile' "$server/preload.conf" || [[ ! -e $server/preload.log ]] ||
        awk '/ is in force/ { due = /Engine on/ } / is refused|listed files:|files are not kept/ { due = 0 } END { exit due }' \
            "$server/preload.log"
}

# On overlayfs the library leaves files to the kernel unless they are older than the directives.
server_settle() {
    [[ $(stat -f -c %T "$server") != overlayfs ]] || sleep 1.1
}

# Keep the master in the foreground, so that it and its sessions are one process group, which we started.
server_launch() {
    local command=("$proftpd" -n -c "$server/proftpd.conf")
    if [[ $1 == preloaded ]]; then
        [[ -e $library ]] || { echo "$library is missing: run make first" >&2; return 1; }
        server_settle
        command=(env LD_PRELOAD="$library" XFERMMAP_CONF="$server/preload.conf" "${command[@]}")
    fi
    if [[ ${2:-} == traced ]]; then
        local tracer=(strace -f --seccomp-bpf -y -s 0 -o "$server/trace"
            -e 'trace=/^(p?readv?(64|2)?|sendfile(64)?|mmap2?|fadvise64|[gs]etsockopt|prctl)$')
        # Without this the server's prctl() hides its descriptors' paths from tracers that are not root.
        [[ $EUID -eq 0 ]] || tracer+=(-e inject=prctl:retval=0)
        command=("${tracer[@]}" "${command[@]}")
    fi
    server_run "${command[@]}" || { server_stop; return 1; }
}

# Run a server that stays in the foreground, in a process group of its own. Fail if it exits before it is up.
server_run() {
    # Close descriptor 3: bats waits until no process has it open.
    setsid "$@" </dev/null >>"$server/log" 2>&1 3>&- &
    echo $! >"$server/group"
    # not asked again whether it is up: a list of sockets that change meanwhile may lack one
    server_await server_is_up_or_gone && ! server_is_gone
}

# Ask the kernel: a connection would count as a session.
server_is_up() {
    grep -q "$(printf ':%04X 00000000:0000 0A' "$(<"$server/ftp_port")")" /proc/net/tcp
}

# Check the process as well: its group exists only after setsid. A process may be a zombie for seconds, until process
# 1 reaps it.
server_is_gone() {
    local group
    group=$(<"$server/group")
    ! grep -qs '^State:.[^ZX]' "/proc/$group/status" && ! has_processes "$group"
}

# has_processes GROUP: zombies don't count.
has_processes() {
    pgrep -g "$1" -r D,R,S,T,t >/dev/null
}

server_is_up_or_gone() {
    server_is_up || server_is_gone
}

# Wait at most half a minute. Poll less often with time, to leave the processor to others.
server_await() {
    local turn
    for turn in {1..300}; do
        "$@" && return 0
        if [[ $turn -le 10 ]]; then sleep 0.02; else sleep 0.1; fi
    done
    return 1
}

# Fail, and show the server's log, unless the server was alive and stops when asked to.
server_stop() {
    [[ -e $server/group ]] || return 0
    local problem=
    { kill "$(cat "$server/pid")"; } 2>/dev/null || problem='The server was gone before it was stopped:'
    if ! server_await server_is_gone; then
        problem='The server had to be killed:'
        kill -KILL -- "-$(<"$server/group")"
    fi
    rm -f "$server/group" "$server/pid"
    [[ ! $problem ]] || { echo "$problem"; cat "$server/log"; return 1; } >&2
}

server_remove() {
    [[ ${server:-} ]] || return 0
    local status=0
    server_stop || status=1
    rm -rf "$server"
    unset server
    return $status
}

ftp_url() {
    echo "ftp://$account:$account@$(<"$server/address"):$(<"$server/ftp_port")/$1"
}

# The clients: each writes the file NAME to standard output. Further arguments are options, for lftp settings.
ftp_get() {
    curl -q -sS --noproxy "*" --max-time 120 "$(ftp_url "$1")" "${@:2}"
}

ftps_get() {
    ftp_get "$1" --ssl-reqd --insecure "${@:2}"
}

sftp_get() {
    ssh-keygen -e -f "$server/key.pem" >"$server/authorized_keys"
    sftp -q -F none -i "$server/key.pem" -P "$(<"$server/sftp_port")" "${@:2}" \
        -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR \
        "$account@$(<"$server/address"):$1" "$server/fetched" >"$server/sftp.log" && cat "$server/fetched"
}

lftp_get() {
    lftp --norc -c "set net:max-retries 1; set net:timeout 30; set ftp:ssl-allow no; $(printf 'set %s;' "${@:2}")
        open $(ftp_url ''); cat $1"
}

# Serve the file $1 as disk/broken: from a disk that fails for $3 bytes from $2 on, and takes $4 ms for a request.
# Files in disk/stat, disk/open, disk/statfs and disk/read never answer that request: see faultfs.c.
disk_mount() {
    local options=()
    [[ $EUID -ne 0 ]] || options=(-o allow_other) # the session runs as another user
    mkdir -p "$server/files/disk"
    "$project/build/faultfs" "$@" "$server/files/disk" "${options[@]}" \
        </dev/null >"$server/faultfs.log" 2>&1 3>&- &
    echo $! >"$server/disk"
    server_await test -e "$server/files/disk/broken" || { cat "$server/faultfs.log" >&2; return 1; }
}

disk_unmount() {
    [[ -e ${server:-}/disk ]] || return 0
    kill "$(<"$server/disk")" 2>/dev/null || true
    server_await disk_is_gone
    rm "$server/disk"
}

disk_is_gone() {
    ! kill -0 "$(<"$server/disk")" 2>/dev/null
}

# Count the kernel's calls matching CALL (a pattern) on the file NAME, by all processes of a traced server.
kernel_calls() {
    grep -E "^[0-9]+ +$1\(" "$server/trace" | grep -cF "<$server/files/$2>" || true
}

# The kernel mapped the file NAME, and neither read nor sent it, except for so many reads (none).
served_from_memory() {
    local reads sends maps
    reads=$(kernel_calls 'p?readv?(64)?' "$1")
    sends=$(kernel_calls 'sendfile.*' "$1")
    maps=$(kernel_calls 'mmap2?' "$1")
    echo "The kernel saw $reads reads, $sends sendfiles and $maps mappings of $1."
    [[ $reads -le ${2:-0} && $sends -eq 0 && $maps -gt 0 ]]
}
