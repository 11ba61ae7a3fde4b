#include "keep.h"

#include "guard.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PIECE = 4 * MIB }; /* what it does between two questions whether to give up */

static unsigned questions, answers_no;
static unsigned shrinks; /* the question at which file "b" is truncated; 0: none */

static bool give_up(void)
{
    if (++questions == shrinks && truncate("b", PAGE) != 0)
        return true;
    return questions > answers_no;
}

static bool keep(struct kept *files, size_t count, unsigned questions_before)
{
    guard_start(); /* cmocka has handlers of its own in each test */
    questions = 0;
    answers_no = questions_before;
    return keep_files(files, count, give_up);
}

static struct kept to_keep(const char *name, size_t size, bool lock)
{
    struct kept file = {.index = 7, .lock = lock};
    int fd;

    make_file(name, size);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    assert_true(mapping_map(&file.mapping, fd, 0, size));
    assert_int_equal(close(fd), 0);
    return file;
}

/* Pages of the file in memory, by whomever. */
static size_t resident_pages(const struct kept *file)
{
    unsigned char *pages = calloc(file->mapping.length / PAGE + 1, 1);
    size_t found = 0;

    assert_non_null(pages);
    assert_int_equal(mincore(file->mapping.memory, file->mapping.length, pages), 0);
    for (size_t i = 0; i * PAGE < file->mapping.length; i++)
        found += pages[i] & 1;
    free(pages);
    return found;
}

static int begin(void **state)
{
    (void)state;
    shrinks = 0;
    return 0;
}

static void release(struct kept *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mapping_unmap(&files[i].mapping);
}

static void files_are_read_in(void **state)
{
    struct kept files[] = {to_keep("a", 9 * MIB + 1, false), to_keep("b", 10, false),
                           to_keep("c", PAGE, false)};

    (void)state;
    if (resident_pages(&files[0]) > 0)
        skip(); /* a file system that keeps them in memory anyhow */
    assert_true(keep(files, COUNT(files), 100));
    for (size_t i = 0; i < COUNT(files); i++) {
        assert_int_equal(files[i].error, 0);
        assert_int_equal(files[i].index, 7);
        assert_int_equal(resident_pages(&files[i]), (files[i].mapping.length + PAGE - 1) / PAGE);
    }
    assert_int_equal(status_number(getpid(), "VmLck"), 0);
    release(files, COUNT(files));
}

static void files_are_locked(void **state)
{
    struct kept files[] = {to_keep("a", 5 * MIB, true), to_keep("b", 10, false),
                           to_keep("c", PAGE + 1, true)};

    (void)state;
    assert_true(keep(files, COUNT(files), 100));
    for (size_t i = 0; i < COUNT(files); i++) {
        assert_int_equal(files[i].error, 0);
        assert_int_equal(resident_pages(&files[i]), (files[i].mapping.length + PAGE - 1) / PAGE);
    }
    assert_int_equal(status_number(getpid(), "VmLck"), (5 * MIB + 2 * PAGE) / KIB);
    release(files, COUNT(files));
}

static void nothing_is_kept_at_once(void **state)
{
    struct kept unused = {.index = 0};

    (void)state;
    assert_true(keep(&unused, 0, 0));
}

static void what_failed_before_stays_so(void **state)
{
    struct kept files[] = {{.error = ENOENT, .lock = true}, to_keep("b", PAGE, true)};

    (void)state;
    assert_true(keep(files, COUNT(files), 100));
    assert_int_equal(files[0].error, ENOENT);
    assert_int_equal(files[1].error, 0);
    assert_int_equal(status_number(getpid(), "VmLck"), PAGE / KIB);
    release(files, COUNT(files));
}

/* In one piece after the other, and it can be given up before each. */
static void it_is_given_up(void **state)
{
    struct kept files[] = {to_keep("a", PIECE + PAGE, true), to_keep("b", PAGE, true)};

    (void)state;
    assert_false(keep(files, COUNT(files), 0));
    assert_int_equal(status_number(getpid(), "VmLck"), 0);
    assert_false(keep(files, COUNT(files), 1));
    assert_int_equal(status_number(getpid(), "VmLck"), PIECE / KIB);
    assert_false(keep(files, COUNT(files), 2));
    assert_int_equal(status_number(getpid(), "VmLck"), (PIECE + PAGE) / KIB);
    assert_true(keep(files, COUNT(files), 3));
    assert_int_equal(status_number(getpid(), "VmLck"), (PIECE + 2 * PAGE) / KIB);
    release(files, COUNT(files));
}

static void a_file_shrinks_meanwhile(void **state)
{
    (void)state;
    for (int lock = 0; lock <= 1; lock++) {
        struct kept files[] = {to_keep("a", PAGE, lock != 0), to_keep("b", PIECE + MIB, lock != 0),
                               to_keep("c", PAGE, lock != 0)};
        shrinks = 3; /* its first piece is done, not the second */
        assert_true(keep(files, COUNT(files), 100));
        assert_int_equal(questions, 4);
        assert_int_equal(files[0].error, 0);
        assert_int_equal(files[1].error, EIO);
        assert_int_equal(files[2].error, 0);
        assert_int_equal(resident_pages(&files[2]), 1);
        release(files, COUNT(files));
    }
}

static void beyond_the_allowance(void)
{
    static const struct rlimit allowance = {64 * KIB, 64 * KIB};
    struct kept files[] = {to_keep("a", 10 * PAGE, true), to_keep("b", 10 * PAGE, true),
                           to_keep("c", 10 * PAGE, false)};

    in_story(setrlimit(RLIMIT_MEMLOCK, &allowance) == 0);
    if (geteuid() == 0)
        become_somebody();
    in_story(keep(files, COUNT(files), 100));
    in_story(files[0].error == 0 && files[2].error == 0);
    in_story(files[1].error == ENOMEM);
    in_story(status_number(getpid(), "VmLck") == 10 * PAGE / KIB);
}

static void no_more_is_locked_than_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(ending_of(beyond_the_allowance), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
    static const struct CMUnitTest tests[] = {
        TEST(files_are_read_in),
        TEST(files_are_locked),
        TEST(nothing_is_kept_at_once),
        TEST(what_failed_before_stays_so),
        TEST(it_is_given_up),
        TEST(a_file_shrinks_meanwhile),
        TEST(no_more_is_locked_than_is_allowed),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
