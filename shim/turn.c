#include "turn.h"

#include "debug.h"
#include "libc.h"
#include "status.h"

#include <stdatomic.h>
#include <string.h>

/* The first turns are measured, and two in RECHECK afterwards. */
enum { FIRST = 8, RECHECK = 512, STEADY_WEIGHT = 8 };

/* The length of a measured turn, bytes: short, as one of the two ways is slow. Less than half of it
 * is too little to judge. */
enum { MEASURED = 256 << 10, LEAST = MEASURED / 2 };

static enum { CHEAPER, MAP, READ } policy;

void turn_policy(const char *way)
{
    policy = way == NULL                ? CHEAPER
             : strcmp(way, "map") == 0  ? MAP
             : strcmp(way, "read") == 0 ? READ
                                        : CHEAPER;
}

/* Mapped, unless that costs 1 in 20 more. */
static bool mapping_is_cheaper(const struct status_costs *costs)
{
    uint64_t mapped = atomic_load_explicit(&costs->mapped, memory_order_relaxed);
    uint64_t read = atomic_load_explicit(&costs->read, memory_order_relaxed);

    return mapped <= read + read / 20;
}

static void choose(struct turn *turn)
{
    struct status_costs *costs = status_costs();
    uint64_t number = atomic_fetch_add_explicit(&costs->turns, 1, memory_order_relaxed);

    turn->maps = mapping_is_cheaper(costs);
    if (turn->end - turn->start >= MEASURED && (number < FIRST || number % RECHECK < 2)) {
        turn->weight = number < FIRST ? (unsigned)number / 2 + 1 : STEADY_WEIGHT;
        turn->end = turn->start + MEASURED;
        turn->maps = number % 2 == 0;
    }
    if (turn->weight == 0 && !turn->maps)
        status_add(STATUS_COSTLY, 1);
}

void turn_begin(struct turn *turn, off64_t start, size_t length, enum filesystem filesystem)
{
    assert(length > 0);
    *turn = (struct turn){.start = start, .end = start + (off64_t)length, .maps = policy != READ};
    if (policy == CHEAPER && filesystem != FILESYSTEM_FUSE)
        choose(turn);
}

bool turn_covers(const struct turn *turn, off64_t offset, size_t length)
{
    return offset >= turn->start && offset + (off64_t)length <= turn->end;
}

uint64_t turn_clock(const struct turn *turn)
{
    return turn->weight > 0 ? libc_time(CLOCK_THREAD_CPUTIME_ID) : 0;
}

void turn_add(struct turn *turn, uint64_t since, size_t bytes)
{
    if (turn->weight == 0)
        return;
    turn->ns += turn_clock(turn) - since;
    turn->bytes += bytes;
}

/* A moving average, in picoseconds a byte. That sessions may overwrite each other's is harmless. */
static void learn(const struct turn *turn)
{
    struct status_costs *costs = status_costs();
    _Atomic uint64_t *cost = turn->maps ? &costs->mapped : &costs->read;
    uint64_t former = atomic_load_explicit(cost, memory_order_relaxed);
    uint64_t latest = turn->ns * 1000 / turn->bytes;

    atomic_store_explicit(cost, (former * (turn->weight - 1) + latest) / turn->weight,
                          memory_order_relaxed);
}

void turn_end(struct turn *turn, struct mapping *window)
{
    uint64_t since = turn_clock(turn);

    mapping_unmap(window);
    turn_add(turn, since, 0);
    if (turn->weight > 0 && turn->bytes >= LEAST)
        learn(turn);
    *turn = (struct turn){.start = 0};
}
