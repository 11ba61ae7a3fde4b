# For tests/matrix and tests/machines: fresh systems, each in a directory.

# system DIRECTORY RELEASE [OPTION...]: a release of Debian or Ubuntu, with mmdebstrap's options. Debian's packages
# come from this machine's mirror.
system() {
    local directory=$1 release=$2 from=() options=()
    rm -rf --one-file-system "${directory:?}" # in case something is mounted there
    mkdir -p "${directory%/*}"
    if is_ubuntu "$release"; then
        options=("--components=main,universe" --keyring="$PWD/build/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg")
        [[ -d build/keyring ]] || system build/keyring trixie --variant=extract --include=ubuntu-keyring
    else
        # shellcheck disable=SC2016 # apt expands it
        from=("$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' | head -n 1)")
    fi
    # it may lag behind, and nothing of this system is kept
    mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" "${@:3}" "$release" "$directory" "${from[@]}"
    printf '%s\n' "127.0.0.1 localhost machine $(hostname)" '::1 localhost' >"$directory/etc/hosts" # the server looks up its address
}

is_ubuntu() {
    [[ $1 == noble ]]
}

# copy_project DIRECTORY
copy_project() {
    mkdir -p "$1"
    git ls-files -z | xargs -0 cp --parents -t "$1"
}
