# True if the machine is quiet enough for timings. To be sourced.

# Do not use the load average: it still counts what ran a minute ago, such as the compiler.
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

# Ticks of all processors since boot: busy, including other guests of the host, and total.
ticks() {
    awk '/^cpu / { all = $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; print all - $5 - $6, all }' /proc/stat
}
