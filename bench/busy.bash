# Whether a machine is quiet enough to take times. To be sourced.

# The load average would not do: it still has what ran a minute ago, such as the compiler.
warn_if_busy() {
    local before after
    before=$(ticks)
    sleep 1
    after=$(ticks)
    awk -v before="$before" -v after="$after" 'BEGIN {
        split(before, was); split(after, is)
        share = (is[1] - was[1]) / (is[2] - was[2])
        if (share > 0.1)
            printf "Other programs use %.0f %% of the processors, so the times below are unreliable.\n", 100 * share
    }'
}

# Of all processors since the start: busy, with other guests of the host too, and in all.
ticks() {
    awk '/^cpu / { all = $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; print all - $5 - $6, all }' /proc/stat
}
