# Common to the measurements of listed files: a slow disk, cold files, medians. To be sourced.

source "${BASH_SOURCE[0]%/*}/../tests/observe.bash"

groups=() # the control groups that we made, and removed again

not_measured() {
    echo "Not measured: $1." >&2
    exit 0
}

# Make a version 1 group of a controller. It applies to processes started between group_enter and group_leave.
group_create() {
    local root=/sys/fs/cgroup/$1
    [[ $EUID -eq 0 && -w $root/cgroup.procs ]] || not_measured "this takes root, and the control group $root (version 1)"
    group=$root/xfermmap.$$
    mkdir "$group"
    groups+=("$group")
}

group_enter() {
    local group
    for group in "${groups[@]}"; do
        echo $$ >"$group/cgroup.procs"
    done
}

group_leave() {
    local group controller
    for group in "${groups[@]}"; do
        controller=$(basename "$(dirname "$group")")
        echo $$ >"/sys/fs/cgroup/$controller/cgroup.procs"
    done
}

groups_remove() {
    [[ ${#groups[@]} -gt 0 ]] || return 0
    group_leave
    server_await rmdir "${groups[@]}" 2>/dev/null
}

# Limit the group's reads from the device of a file to so many bytes a second.
throttle_reads() {
    local device
    device=$(stat -c '%Hd:%Ld' "$1")
    [[ -e /sys/dev/block/$device ]] || not_measured "$1 is on no block device; set TMPDIR"
    # a partition's whole disk
    [[ ! -e /sys/dev/block/$device/partition ]] || device=$(<"$(realpath "/sys/dev/block/$device")/../dev")
    group_create blkio
    echo "$device $2" >"$group/blkio.throttle.read_bps_device"
}

# For bench/measure.py: a way's times in a scenario, milliseconds in one argument.
record() {
    [[ ${RESULTS:-} ]] || return 0
    tr ' ' '\n' <<<"${3# }" | awk -v OFS='\t' -v scenario="$1" -v way="$2" '{ print scenario, way, "wall", $1 / 1000 }' \
        >>"$RESULTS"
}

# Print the first way's time as a share of the second's. Each argument has a way's times, taken in turns.
ratio() {
    PYTHONPATH=$project/bench python3 -B - "$@" <<'PYTHON'
import sys
from report import ratio
ours, theirs = ([float(time) for time in times.split()] for times in sys.argv[1:])
print(f'{ratio(ours, theirs)[0]:.3f}')
PYTHON
}

# Of milliseconds in one argument: "median (least to most)".
summary() {
    tr ' ' '\n' <<<"${1# }" | sort -n | awk '{ v[NR] = $1 }
        END { printf "%.1f ms (%.1f to %.1f)", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }'
}
