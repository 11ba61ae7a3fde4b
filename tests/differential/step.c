#include "step.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned weight;
} operations[OPERATION_COUNT] = {
#define X(name, weight) {#name, weight},
    OPERATIONS(X)
#undef X
};

static const char *const buffers[BUFFER_COUNT] = {
    "good", "cut off",      "read-only", "not mapped",
    "NULL", "noncanonical", "last page", "in the kernel",
};

/* Sebastiano Vigna's splitmix64, as in https://prng.di.unimi.it/splitmix64.c */
uint64_t step_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

uint64_t step_below(uint64_t *state, uint64_t limit)
{
    return step_random(state) % limit;
}

uint64_t step_size(uint64_t *state)
{
    static const uint64_t borders[] = {
        0, 1, 512, 4096, 8192, 65536, 70001, 1 << 20, 4 << 20, 8 << 20, 9000001,
    };
    const size_t count = sizeof borders / sizeof borders[0];

    switch (step_below(state, 8)) {
    case 0:
    case 1:
        return step_below(state, 100);
    case 2:
    case 3:
        return step_below(state, 10000);
    case 4:
        return step_below(state, 100000);
    case 5:
        return step_below(state, 9500000);
    default: {
        uint64_t near = borders[step_below(state, count)] + step_below(state, 5);
        return near > 2 ? near - 2 : near;
    }
    }
}

/* Mostly the flags that servers and tools use. */
static uint64_t draw_count(uint64_t *state)
{
    static const uint64_t odd[] = {
        0, 0x7ffff000, 0x7ffff001, INT64_MAX, UINT64_MAX, (uint64_t)1 << 47,
    };

    switch (step_below(state, 64)) {
    case 0:
        return odd[step_below(state, sizeof odd / sizeof odd[0])];
    case 1:
        return step_size(state);
    case 2:
    case 3:
    case 4:
        return step_below(state, 200000);
    default:
        break;
    }
    switch (step_below(state, 4)) {
    case 0:
        return 16384;
    case 1:
        return step_below(state, 70000);
    default:
        return step_below(state, 9000);
    }
}

static int64_t draw_offset(uint64_t *state)
{
    static const int64_t odd[] = {
        -1, -2, -4096, INT64_MIN, INT64_MAX, INT64_MAX - 4096, (int64_t)1 << 32, (int64_t)1 << 44,
    };

    switch (step_below(state, 16)) {
    case 0:
        return odd[step_below(state, sizeof odd / sizeof odd[0])];
    case 1:
        return -(int64_t)step_size(state);
    case 2:
    case 3:
    case 4:
    case 5:
        return 0;
    default:
        return (int64_t)step_size(state);
    }
}

/* Few descriptors more often than many, so that calls meet. */
static uint8_t draw_slot(uint64_t *state)
{
    uint64_t place = step_below(state, 64);

    if (place < 48)
        return (uint8_t)step_below(state, 4);
    if (place < 57)
        return (uint8_t)(LOW_SLOTS + step_below(state, 3));
    if (place < 60)
        return (uint8_t)step_below(state, LOW_SLOTS);
    if (place < 63)
        return (uint8_t)(LOW_SLOTS + step_below(state, CHOSEN_SLOTS));
    return (uint8_t)(SLOTS + step_below(state, ODD_SLOTS));
}

static uint8_t draw_buffer(uint64_t *state)
{
    if (step_below(state, 20) != 0)
        return GOOD;
    return (uint8_t)(1 + step_below(state, BUFFER_COUNT - 1));
}

/*
 * Exclude O_DIRECT: the kernel itself leaves different bytes in the buffer beyond the end of a
 * file each time.
 */
static uint32_t draw_flags(uint64_t *state)
{
    static const uint32_t odd[] = {
        O_WRONLY,         O_RDWR,      O_WRONLY | O_APPEND,
        O_RDWR | O_CREAT, O_PATH,      O_SYNC,
        O_TRUNC,          O_DIRECTORY, O_CREAT | O_EXCL,
        O_ACCMODE,        O_CREAT,     O_WRONLY | O_TRUNC,
        O_NOATIME,        O_NONBLOCK,  O_RDWR | O_TRUNC,
        O_WRONLY,         O_NOFOLLOW,  O_RDWR,
    };

    if (step_below(state, 8) == 0)
        return odd[step_below(state, sizeof odd / sizeof odd[0])];
    return step_below(state, 2) == 0 ? O_RDONLY : O_RDONLY | O_CLOEXEC;
}

static uint8_t draw_operation(uint64_t *state)
{
    unsigned total = 0;
    size_t i;

    for (i = 0; i < OPERATION_COUNT; i++)
        total += operations[i].weight;
    uint64_t place = step_below(state, total);
    for (i = 0; place >= operations[i].weight; i++)
        place -= operations[i].weight;
    return (uint8_t)i;
}

static int32_t draw_whence(uint64_t *state)
{
    if (step_below(state, 40) == 0)
        return (int32_t)step_below(state, 12) - 4;
    return (int32_t)step_below(state, 5);
}

void step_draw(struct step *steps, size_t count, uint64_t seed)
{
    uint64_t state = seed;
    bool by_child = false;

    state = step_random(&state);
    for (size_t i = 0; i < count; i++) {
        struct step *step = &steps[i];
        /* one by one: the order of evaluation in an initializer is unspecified */
        step->operation = draw_operation(&state);
        by_child ^= step_below(&state, 4) == 0; /* a few steps at a time */
        step->by_child = by_child;
        step->slot = draw_slot(&state);
        step->other = draw_slot(&state);
        step->file = (uint8_t)step_below(&state, FILES);
        step->variant = (uint8_t)step_random(&state);
        step->buffer = draw_buffer(&state);
        step->limited = step_below(&state, 64) == 0;
        step->flags = draw_flags(&state);
        step->whence = draw_whence(&state);
        step->shift = (uint32_t)step_below(&state, 64);
        step->count = draw_count(&state);
        step->offset = draw_offset(&state);
        step->seed = step_random(&state);
    }
}

void step_print(FILE *out, size_t index, const struct step *step)
{
    (void)fprintf(out,
                  "%6zu %-16s %s slot=%d other=%d file=%d variant=%d count=%" PRIu64
                  " offset=%" PRId64 " whence=%d flags=%#o shift=%u buffer=%s%s\n",
                  index, operations[step->operation].name, step->by_child ? "child " : "parent",
                  step->slot, step->other, step->file, step->variant, step->count, step->offset,
                  step->whence, step->flags, step->shift, buffers[step->buffer],
                  step->limited ? " no numbers left" : "");
}
