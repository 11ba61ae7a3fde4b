#include "residency.h"

#include "libc.h"
#include "unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 3 };

static const size_t sizes[FILES] = {9 * MIB + 5, 3 * PAGE, 4 * MIB};
static const char *const names[FILES] = {"large", "small", "middle"};
static struct residency files[FILES];
static struct residency *const pointers[FILES] = {&files[0], &files[1], &files[2]};
static unsigned pieces, most_pieces;

static void map_all(void)
{
    struct stat64 status;

    for (size_t i = 0; i < FILES; i++) {
        make_file(names[i], sizes[i]);
        int fd = open(names[i], O_RDONLY | O_CLOEXEC);
        in_story(fd != -1 && fstat64(fd, &status) == 0);
        in_story(residency_map(&files[i], fd, FILESYSTEM_MAPPED, &status));
        in_story(close(fd) == 0);
    }
    pieces = 0;
    most_pieces = 1000;
}

int __real_madvise(void *memory, size_t length, int advice);
int __wrap_madvise(void *memory, size_t length, int advice);
static unsigned asked_ahead;

int __wrap_madvise(void *memory, size_t length, int advice)
{
    asked_ahead += advice == MADV_WILLNEED;
    return __real_madvise(memory, length, advice);
}

static bool on_piece(size_t file, uint64_t bytes)
{
    in_story(file < FILES);
    in_story(bytes <= sizes[0] + sizes[1] + sizes[2]);
    return pieces++ < most_pieces;
}

#define STORY(name)                                                                                \
    static void name##_in_child(void);                                                             \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(ending_of(name##_in_child), 0);                                           \
    }                                                                                              \
    static void name##_in_child(void)

STORY(files_are_read_in_and_locked)
{
    install_guard();
    map_all();
    residency_read_in(pointers, FILES, true, on_piece);
    for (size_t i = 0; i < FILES; i++) {
        in_story(files[i].error == 0 && residency_bytes(&files[i]) == sizes[i]);
        in_story(files[i].locked == sizes[i] || files[i].lock_error != 0);
    }
    in_story(pieces == 3 + 1 + 1);
}

STORY(files_are_only_read_in)
{
    long before = status_number(getpid(), "VmLck");

    install_guard();
    map_all();
    residency_read_in(pointers, FILES, false, on_piece);
    for (size_t i = 0; i < FILES; i++)
        in_story(files[i].error == 0 && files[i].locked == 0 && files[i].lock_error == 0);
    in_story(status_number(getpid(), "VmLck") == before);
}

STORY(the_rest_is_left)
{
    install_guard();
    map_all();
    most_pieces = 2;
    residency_read_in(pointers, FILES, false, on_piece);
    in_story(pieces == 3); /* the third was refused */
}

STORY(what_has_no_mapping_is_passed_over)
{
    install_guard();
    map_all();
    mapping_unmap(&files[1].mapping);
    residency_read_in(pointers, FILES, false, on_piece);
    in_story(files[1].error == 0 && residency_bytes(&files[1]) == 0);
    in_story(files[2].error == 0 && pieces == 3 + 1 + 1);
}

/* It shrank since it was mapped: the rest of it can't be read. */
STORY(a_file_that_cannot_be_read_is_told)
{
    install_guard();
    map_all();
    in_story(truncate("large", 5 * MIB) == 0);
    residency_read_in(pointers, FILES, false, on_piece);
    in_story(files[0].error != 0);
    in_story(files[1].error == 0 && files[2].error == 0);
}

STORY(what_may_not_be_locked_is_read_in)
{
    static const struct rlimit limit = {4 * MIB + 64 * KIB, 4 * MIB + 64 * KIB};

    install_guard();
    map_all();
    in_story(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    for (size_t i = 0; i < FILES; i++)
        in_story(chmod(names[i], 0666) == 0);
    become_somebody();
    residency_read_in(pointers, FILES, true, on_piece);
    in_story(files[0].locked == 4 * MIB && files[0].lock_error != 0);
    in_story(files[1].locked == sizes[1]); /* that still fits */
    in_story(files[2].locked == 0 && files[2].lock_error != 0);
    for (size_t i = 0; i < FILES; i++)
        in_story(files[i].error == 0 && residency_bytes(&files[i]) == sizes[i]);
}

/* mincore(2) says "all" to those who may not write to a file. */
STORY(what_is_not_told_is_not_known)
{
    struct stat64 status;

    install_guard();
    make_file("large", 4 * MIB);
    in_story(chmod("large", 0644) == 0 && chmod(".", 0755) == 0);
    become_somebody();
    int fd = open("large", O_RDONLY | O_CLOEXEC);
    in_story(fd != -1 && fstat64(fd, &status) == 0);
    in_story(residency_map(&files[0], fd, FILESYSTEM_MAPPED, &status));
    in_story(residency_bytes(&files[0]) == UINT64_MAX);
    most_pieces = 1000;
    residency_read_in(pointers, 1, false, on_piece);
    in_story(asked_ahead > 0 && files[0].error == 0);
}

static void is_not_mapped(void)
{
    in_story(mapped_bytes("large") == 0);
}

STORY(children_do_not_inherit_it)
{
    if (under_qemu_user())
        return; /* it has no MADV_DONTFORK, see unit.c */
    map_all();
    in_story(mapped_bytes("large") > 0);
    in_story(ending_of(is_not_mapped) == 0);
}

int main(void)
{
    const struct CMUnitTest as_root[] = {
        cmocka_unit_test(files_are_read_in_and_locked),
        cmocka_unit_test(files_are_only_read_in),
        cmocka_unit_test(the_rest_is_left),
        cmocka_unit_test(what_has_no_mapping_is_passed_over),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(children_do_not_inherit_it),
        cmocka_unit_test(what_may_not_be_locked_is_read_in),
        cmocka_unit_test(what_is_not_told_is_not_known),
    };
    const struct CMUnitTest as_user[] = {
        cmocka_unit_test(files_are_read_in_and_locked),
        cmocka_unit_test(files_are_only_read_in),
        cmocka_unit_test(the_rest_is_left),
        cmocka_unit_test(what_has_no_mapping_is_passed_over),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(children_do_not_inherit_it),
    };

    return geteuid() == 0
               ? cmocka_run_group_tests_name("residency", as_root, unit_enter, unit_leave)
               : cmocka_run_group_tests_name("residency", as_user, unit_enter, unit_leave);
}
