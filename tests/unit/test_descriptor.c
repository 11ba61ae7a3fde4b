#include "descriptor.h"

#include "unit.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>

static atomic_int ended; /* streams */
static atomic_int last_ended;
static bool others_are_taken;

void descriptor_on_end(int slot)
{
    ended++;
    last_ended = slot;
    if (others_are_taken) /* nor is this one free before it is cleaned up */
        assert_int_equal(descriptor_take_slot(), NO_SLOT);
}

static int count_anew(void **state)
{
    (void)state;
    ended = 0;
    last_ended = NO_SLOT;
    return 0;
}

static void no_descriptor_has_a_stream_at_first(void **state)
{
    (void)state;
    assert_int_equal(descriptor_highest(), -1);
    for (int fd = 0; fd < DESCRIPTOR_LIMIT; fd++)
        assert_false(descriptor_served(fd));
}

static void a_stream_ends_with_its_last_pin(void **state)
{
    int slot = descriptor_take_slot();

    (void)state;
    assert_int_not_equal(slot, NO_SLOT);
    descriptor_attach(10, slot);
    assert_true(descriptor_served(10));
    assert_int_equal(descriptor_pin(10), slot);
    assert_true(descriptor_detach(10, slot));
    assert_false(descriptor_served(10));
    descriptor_unpin(slot);
    assert_int_equal(ended, 0); /* a call uses it still */
    descriptor_unpin(slot);
    assert_int_equal(ended, 1);
    assert_int_equal(descriptor_pin(10), NO_SLOT);
}

static void descriptors_share_a_stream(void **state)
{
    int slot = descriptor_take_slot();

    (void)state;
    descriptor_attach(10, slot);
    assert_int_equal(descriptor_pin(10), slot);
    descriptor_attach(11, slot); /* the pin is the table's now */
    assert_true(descriptor_is(10, slot) && descriptor_is(11, slot));
    assert_true(descriptor_detach(10, slot));
    descriptor_unpin(slot);
    assert_int_equal(ended, 0);
    assert_false(descriptor_is(10, slot));
    assert_true(descriptor_is(11, slot));
    assert_true(descriptor_detach(11, slot));
    descriptor_unpin(slot);
    assert_int_equal(ended, 1);
}

static void a_descriptor_lets_go_of_its_own_stream_only(void **state)
{
    int former = descriptor_take_slot();
    int slot = descriptor_take_slot();

    (void)state;
    assert_int_not_equal(former, slot);
    descriptor_attach(10, former);
    assert_true(descriptor_detach(10, former));
    descriptor_attach(10, slot);
    assert_int_equal(descriptor_pin(10), slot);
    assert_false(descriptor_detach(10, former)); /* only its own */
    assert_true(descriptor_is(10, slot));
    descriptor_unpin(former);
    assert_int_equal(last_ended, former);
    descriptor_unpin(slot);
    assert_true(descriptor_detach(10, slot));
    descriptor_unpin(slot);
    assert_int_equal(last_ended, slot);
}

static void numbers_out_of_range_have_no_stream(void **state)
{
    static const int numbers[] = {-1, INT_MIN, DESCRIPTOR_LIMIT, INT_MAX};
    int slot = descriptor_take_slot();

    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_false(descriptor_served(numbers[i]));
        assert_int_equal(descriptor_pin(numbers[i]), NO_SLOT);
        assert_false(descriptor_is(numbers[i], slot));
        assert_false(descriptor_is(numbers[i], NO_SLOT));
        assert_false(descriptor_detach(numbers[i], slot));
    }
    descriptor_unpin(slot);
}

static void the_highest_number_is_remembered(void **state)
{
    int slot = descriptor_take_slot();

    (void)state;
    descriptor_attach(DESCRIPTOR_LIMIT - 1, slot);
    assert_int_equal(descriptor_highest(), DESCRIPTOR_LIMIT - 1);
    assert_true(descriptor_is(DESCRIPTOR_LIMIT - 1, slot));
    assert_int_equal(descriptor_pin(DESCRIPTOR_LIMIT - 1), slot);
    descriptor_unpin(slot);
    assert_true(descriptor_detach(DESCRIPTOR_LIMIT - 1, slot));
    assert_int_equal(descriptor_highest(), DESCRIPTOR_LIMIT - 1); /* ever */
    descriptor_unpin(slot);
}

/* ---- slots that pass from one descriptor to another, while others pin them ---- */

enum { OWNERS = 3, THREADS = 6, TURNS = 150000, TURNS_AT_A_TIME = 200 };

static atomic_int owners[STREAM_LIMIT]; /* each slot's descriptor */
static atomic_int owning;               /* threads */
static atomic_bool mistaken;

static void own(int fd)
{
    for (int turn = 0; turn < TURNS; turn++) {
        int slot = descriptor_take_slot();
        atomic_store(&owners[slot], fd);
        descriptor_attach(fd, slot);
        if (turn % TURNS_AT_A_TIME == 0)
            sched_yield();
        if (!descriptor_detach(fd, slot))
            atomic_store(&mistaken, true);
        descriptor_unpin(slot);
    }
    atomic_fetch_sub(&owning, 1);
}

static void pin(int fd)
{
    while (atomic_load(&owning) > 0) {
        int slot = descriptor_pin(fd);
        if (slot == NO_SLOT) {
            sched_yield();
            continue;
        }
        if (atomic_load(&owners[slot]) != fd)
            atomic_store(&mistaken, true);
        descriptor_unpin(slot);
    }
}

static void *own_or_pin(void *argument)
{
    int number = (int)(uintptr_t)argument;

    if (number < OWNERS)
        own(number);
    else
        pin(number - OWNERS);
    return NULL;
}

static void a_pin_holds_the_descriptor_s_own_stream(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    atomic_store(&owning, OWNERS);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, own_or_pin, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(atomic_load(&mistaken));
    assert_int_equal(ended, OWNERS * TURNS);
}

static void slots_run_out_and_come_back(void **state)
{
    bool taken[STREAM_LIMIT] = {false};

    (void)state;
    for (int i = 0; i < STREAM_LIMIT; i++) {
        int slot = descriptor_take_slot();
        assert_true(slot >= 0 && slot < STREAM_LIMIT);
        assert_false(taken[slot]);
        taken[slot] = true;
    }
    assert_int_equal(descriptor_take_slot(), NO_SLOT);
    others_are_taken = true;
    descriptor_unpin(17);
    assert_int_equal(ended, 1);
    assert_int_equal(descriptor_take_slot(), 17);
    assert_int_equal(descriptor_take_slot(), NO_SLOT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, count_anew)
    static const struct CMUnitTest tests[] = {
        TEST(no_descriptor_has_a_stream_at_first),
        TEST(a_stream_ends_with_its_last_pin),
        TEST(descriptors_share_a_stream),
        TEST(a_descriptor_lets_go_of_its_own_stream_only),
        TEST(numbers_out_of_range_have_no_stream),
        TEST(the_highest_number_is_remembered),
        TEST(a_pin_holds_the_descriptor_s_own_stream),
        TEST(slots_run_out_and_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
