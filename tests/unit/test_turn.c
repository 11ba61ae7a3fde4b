#include "turn.h"

#include "unit.h"

#include "status.h"

#include <stdatomic.h>
#include <string.h>

enum { WINDOW = 4 << 20, SHORT = 128 << 10, FIRST = 8, RECHECK = 512 };

static struct mapping no_window;

static int anew(void **state)
{
    (void)state;
    turn_policy(NULL);
    memset(status_costs(), 0, sizeof(struct status_costs));
    return 0;
}

/* Make a turn of `length` bytes at a cost for each. @return true: it was mapped */
static bool take_turn(size_t length, uint64_t mapped_ns, uint64_t read_ns)
{
    struct turn turn;

    turn_begin(&turn, 0, length, FILESYSTEM_MAPPED);
    bool maps = turn.maps;
    if (turn.weight > 0) {
        turn.ns = length * (maps ? mapped_ns : read_ns);
        turn.bytes = length;
    }
    turn_end(&turn, &no_window);
    return maps;
}

static int mapped_of(int turns, size_t length, uint64_t mapped_ns, uint64_t read_ns)
{
    int mapped = 0;

    for (int i = 0; i < turns; i++)
        mapped += take_turn(length, mapped_ns, read_ns);
    return mapped;
}

static void both_ways_are_tried_first(void **state)
{
    (void)state;
    assert_int_equal(mapped_of(FIRST, WINDOW, 1, 1), FIRST / 2);
}

static void the_cheaper_way_is_gone_and_what_is_left_out_counted(void **state)
{
    uint64_t before = status_get(STATUS_COSTLY);
    const int left = RECHECK - FIRST;

    (void)state;
    (void)mapped_of(FIRST, WINDOW, 3, 1);
    assert_int_equal(mapped_of(left, WINDOW, 3, 1), 0);
    assert_int_equal(status_get(STATUS_COSTLY), before + (uint64_t)left);
    assert_int_equal(anew(state), 0);
    (void)mapped_of(FIRST, WINDOW, 1, 3);
    assert_int_equal(mapped_of(left, WINDOW, 1, 3), left);
    assert_int_equal(anew(state), 0);
    (void)mapped_of(FIRST, WINDOW, 100, 98); /* practically equal */
    assert_int_equal(mapped_of(left, WINDOW, 100, 98), left);
    assert_int_equal(status_get(STATUS_COSTLY), before + (uint64_t)left);
}

static void it_is_measured_again_now_and_then(void **state)
{
    (void)state;
    (void)mapped_of(FIRST, WINDOW, 3, 1);
    (void)mapped_of(100 * RECHECK, WINDOW, 1, 3);
    assert_int_equal(mapped_of(100, WINDOW, 1, 3), 100);
}

static void short_turns_teach_nothing(void **state)
{
    (void)state;
    assert_int_equal(mapped_of(FIRST, SHORT, 3, 1), FIRST);
    assert_int_equal(atomic_load(&status_costs()->mapped), 0);
    assert_int_equal(anew(state), 0);
    (void)mapped_of(FIRST, WINDOW, 3, 1);
    assert_int_equal(mapped_of(100, SHORT, 1, 3), 0); /* but follow the way that was learned */
}

static void a_measured_turn_is_short(void **state)
{
    struct turn turn;

    (void)state;
    turn_begin(&turn, 4096, WINDOW, FILESYSTEM_MAPPED);
    assert_true(turn_covers(&turn, 4096, 1));
    assert_true(turn.end < WINDOW / 8);
    turn_end(&turn, &no_window);
    (void)mapped_of(FIRST, WINDOW, 1, 3);
    turn_begin(&turn, 4096, WINDOW, FILESYSTEM_MAPPED);
    assert_true(turn_covers(&turn, 4096, WINDOW));
    turn_end(&turn, &no_window);
}

static void on_fuse_all_is_mapped(void **state)
{
    struct turn turn;

    (void)state;
    (void)mapped_of(FIRST, WINDOW, 3, 1);
    turn_begin(&turn, 0, WINDOW, FILESYSTEM_FUSE);
    assert_true(turn.maps && turn.weight == 0);
    turn_end(&turn, &no_window);
}

static void what_is_told_is_done(void **state)
{
    (void)state;
    turn_policy("map");
    assert_int_equal(mapped_of(FIRST, WINDOW, 3, 1), FIRST);
    turn_policy("read");
    assert_int_equal(mapped_of(FIRST, WINDOW, 3, 1), 0);
}

/* Whatever a session writes into the shared memory, it can only cause the dearer way. */
static void any_cost_is_a_cost(void **state)
{
    struct status_costs *costs = status_costs();

    (void)state;
    atomic_store(&costs->turns, UINT64_MAX);
    atomic_store(&costs->mapped, UINT64_MAX);
    atomic_store(&costs->read, UINT64_MAX);
    (void)mapped_of(4 * RECHECK, WINDOW, 1, 3);
}

static void a_read_takes_processor_time(void **state)
{
    struct turn turn;
    volatile unsigned spin = 0;

    (void)state;
    turn_begin(&turn, 0, WINDOW, FILESYSTEM_MAPPED);
    size_t length = (size_t)(turn.end - turn.start);
    assert_true(turn_covers(&turn, 0, length));
    assert_false(turn_covers(&turn, 1, length));
    uint64_t since = turn_clock(&turn);
    while (spin < 10000000)
        spin = spin + 1;
    turn_add(&turn, since, length);
    assert_true(turn.ns > 1000000);
    turn_end(&turn, &no_window);
    assert_false(turn_covers(&turn, 0, 1));
    assert_int_not_equal(atomic_load(&status_costs()->mapped), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, anew, anew)
    static const struct CMUnitTest tests[] = {
        TEST(both_ways_are_tried_first),
        TEST(the_cheaper_way_is_gone_and_what_is_left_out_counted),
        TEST(it_is_measured_again_now_and_then),
        TEST(short_turns_teach_nothing),
        TEST(a_measured_turn_is_short),
        TEST(on_fuse_all_is_mapped),
        TEST(what_is_told_is_done),
        TEST(any_cost_is_a_cost),
        TEST(a_read_takes_processor_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
