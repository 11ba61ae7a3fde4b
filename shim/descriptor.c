#include "descriptor.h"

#include "borrowed.h"

/* A slot whose last pin is gone and that is not cleaned up yet. */
#define CLOSING UINT32_MAX

_Atomic uint16_t descriptor_slots[DESCRIPTOR_LIMIT];
static _Atomic uint32_t pins[STREAM_LIMIT];
static atomic_int highest = -1;

int descriptor_take_slot(void)
{
    if (memory_is_borrowed())
        return NO_SLOT;
    for (int slot = 0; slot < STREAM_LIMIT; slot++) {
        uint32_t none = 0;
        if (atomic_compare_exchange_strong(&pins[slot], &none, 1))
            return slot;
    }
    return NO_SLOT;
}

bool descriptor_is(int fd, int slot)
{
    return (unsigned)fd < DESCRIPTOR_LIMIT && atomic_load(&descriptor_slots[fd]) == slot + 1;
}

static bool pin(int slot)
{
    uint32_t count = atomic_load_explicit(&pins[slot], memory_order_relaxed);

    while (count != 0 && count != CLOSING) {
        if (atomic_compare_exchange_weak(&pins[slot], &count, count + 1))
            return true;
    }
    return false;
}

void descriptor_unpin(int slot)
{
    uint32_t left, count = atomic_load(&pins[slot]);

    do {
        left = count > 1 ? count - 1 : CLOSING;
    } while (!atomic_compare_exchange_weak(&pins[slot], &count, left));
    if (left == CLOSING) {
        descriptor_on_end(slot);
        atomic_store(&pins[slot], 0);
    }
}

int descriptor_pin(int fd)
{
    while (descriptor_served(fd) && !memory_is_borrowed()) {
        int slot = atomic_load(&descriptor_slots[fd]) - 1;
        if (slot == NO_SLOT || !pin(slot))
            continue;
        if (descriptor_is(fd, slot))
            return slot;
        descriptor_unpin(slot); /* the number changed hands before the pin held */
    }
    return NO_SLOT;
}

void descriptor_attach(int fd, int slot)
{
    int higher, known = atomic_load(&highest);

    do {
        higher = known > fd ? known : fd;
    } while (!atomic_compare_exchange_weak(&highest, &known, higher));
    atomic_store(&descriptor_slots[fd], (uint16_t)(slot + 1));
}

bool descriptor_detach(int fd, int slot)
{
    uint16_t expected = (uint16_t)(slot + 1);

    return (unsigned)fd < DESCRIPTOR_LIMIT &&
           atomic_compare_exchange_strong(&descriptor_slots[fd], &expected, 0);
}

int descriptor_highest(void)
{
    return atomic_load_explicit(&highest, memory_order_relaxed);
}
