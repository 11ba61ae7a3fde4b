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
        require(fd != -1 && fstat64(fd, &status) == 0);
        require(residency_map(&files[i], fd, FILESYSTEM_MAPPED, &status));
        require(close(fd) == 0);
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
    require(file < FILES);
    require(bytes <= sizes[0] + sizes[1] + sizes[2]);
    return pieces++ < most_pieces;
}

CHILD_TEST(files_are_read_in_and_locked)
{
    install_guard();
    map_all();
    residency_read_in(pointers, FILES, RESIDENCY_LOCK, on_piece);
    for (size_t i = 0; i < FILES; i++) {
        require(files[i].error == 0 && residency_bytes(&files[i]) == sizes[i]);
        require(files[i].locked == sizes[i] || files[i].lock_error != 0);
    }
    require(pieces == 3 + 1 + 1 + 2); /* two files are looked at before */
}

CHILD_TEST(files_are_only_read_in)
{
    long before = status_number(getpid(), "VmLck");

    install_guard();
    map_all();
    residency_read_in(pointers, FILES, RESIDENCY_READ, on_piece);
    for (size_t i = 0; i < FILES; i++)
        require(files[i].error == 0 && files[i].locked == 0 && files[i].lock_error == 0);
    require(status_number(getpid(), "VmLck") == before);
}

CHILD_TEST(the_rest_is_left)
{
    install_guard();
    map_all();
    most_pieces = 2;
    residency_read_in(pointers, FILES, RESIDENCY_READ, on_piece);
    require(pieces == 3); /* the third was refused */
}

CHILD_TEST(what_has_no_mapping_is_passed_over)
{
    install_guard();
    map_all();
    mapping_unmap(&files[1].mapping);
    residency_read_in(pointers, FILES, RESIDENCY_READ, on_piece);
    require(files[1].error == 0 && residency_bytes(&files[1]) == 0);
    require(files[2].error == 0 && pieces == 3 + 1 + 1 + 2);
}

/* The file shrank since it was mapped: its end can't be read. */
CHILD_TEST(a_file_that_cannot_be_read_is_told)
{
    install_guard();
    map_all();
    require(truncate("large", 5 * MIB) == 0);
    residency_read_in(pointers, FILES, RESIDENCY_READ, on_piece);
    require(files[0].error != 0);
    require(files[1].error == 0 && files[2].error == 0);
}

CHILD_TEST(what_may_not_be_locked_is_read_in)
{
    static const struct rlimit limit = {4 * MIB + 64 * KIB, 4 * MIB + 64 * KIB};

    install_guard();
    map_all();
    require(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    for (size_t i = 0; i < FILES; i++)
        require(chmod(names[i], 0666) == 0);
    become_somebody();
    residency_read_in(pointers, FILES, RESIDENCY_LOCK, on_piece);
    require(files[0].locked == 4 * MIB && files[0].lock_error != 0);
    require(files[1].locked == sizes[1]); /* that still fits */
    require(files[2].locked == 0 && files[2].lock_error != 0);
    for (size_t i = 0; i < FILES; i++)
        require(files[i].error == 0 && residency_bytes(&files[i]) == sizes[i]);
}

/* mincore(2) reports all pages resident if the process may not write to the file. */
CHILD_TEST(what_is_not_told_is_not_known)
{
    struct stat64 status;

    install_guard();
    make_file("large", 4 * MIB);
    require(chmod("large", 0644) == 0 && chmod(".", 0755) == 0);
    become_somebody();
    int fd = open("large", O_RDONLY | O_CLOEXEC);
    require(fd != -1 && fstat64(fd, &status) == 0);
    require(residency_map(&files[0], fd, FILESYSTEM_MAPPED, &status));
    require(residency_bytes(&files[0]) == UINT64_MAX);
    most_pieces = 1000;
    residency_read_in(pointers, 1, RESIDENCY_READ, on_piece);
    require(asked_ahead > 0 && files[0].error == 0);
}

static void is_not_mapped(void)
{
    require(mapped_bytes("large") == 0);
}

CHILD_TEST(children_do_not_inherit_it)
{
    map_all();
    require(mapped_bytes("large") > 0);
    require(run_in_child(is_not_mapped) == 0);
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
