#include "everyone.h"

#include "unit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char here[PATH_MAX];

static bool is_public(const char *name)
{
    char path[2 * PATH_MAX];
    struct stat status;

    (void)snprintf(path, sizeof path, "%s/%s", here, name);
    assert_int_equal(stat(path, &status), 0);
    return everyone_may_read(path, status.st_mode);
}

static int enter(void **state)
{
    if (unit_enter(state) != 0 || getcwd(here, sizeof here) == NULL)
        return -1;
    make_file("file", PAGE);
    return chmod(".", 0755) == 0 && mkdir("inner", 0755) == 0 && link("file", "inner/file") == 0
               ? 0
               : -1;
}

static void all_three_may_read_the_file(void **state)
{
    static const mode_t closed[] = {0600, 0640, 0604, 0044, 0444 & ~S_IRGRP, 0311};

    (void)state;
    for (size_t i = 0; i < COUNT(closed); i++) {
        assert_int_equal(chmod("file", closed[i]), 0);
        assert_false(is_public("file"));
    }
    assert_int_equal(chmod("file", 0444), 0);
    assert_true(is_public("file"));
}

static void all_three_may_enter_each_directory(void **state)
{
    static const mode_t closed[] = {0700, 0750, 0705, 0744};

    (void)state;
    for (size_t i = 0; i < COUNT(closed); i++) {
        assert_int_equal(chmod("inner", closed[i]), 0);
        assert_false(is_public("inner/file")); /* by this name; it has another */
        assert_true(is_public("file"));
    }
    assert_int_equal(chmod("inner", 0711), 0);
    assert_true(is_public("inner/file"));
    assert_int_equal(chmod(".", 0700), 0);
    assert_false(is_public("inner/file"));
    assert_int_equal(chmod(".", 0755), 0);
}

static void where_there_are_other_rules_nobody_knows(void **state)
{
    (void)state;
    assert_false(everyone_may_read("/proc/version", 0444));
    assert_false(everyone_may_read("/missing", 0444));
    assert_false(everyone_may_read("", 0444));
    assert_false(everyone_may_read("file", 0444));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_three_may_read_the_file),
        cmocka_unit_test(all_three_may_enter_each_directory),
        cmocka_unit_test(where_there_are_other_rules_nobody_knows),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
