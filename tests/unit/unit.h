/*
 * Common to all unit tests: a working directory, files of known content, a view of the mappings,
 * and children for code that ends a process.
 */
#ifndef UNIT_H
#define UNIT_H

/* cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <sys/types.h>

enum { PAGE = 4096, KIB = 1 << 10, MIB = 1 << 20 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* For cmocka_run_group_tests(): work in an empty directory, and remove it. Tests that hang are
 * killed. */
int unit_enter(void **state);
int unit_leave(void **state);

/* The byte at an offset of a test file. Never 0, as the padding of a truncated page is. */
unsigned char content(off64_t offset);

/* (Re)write `length` bytes of a file from `offset` on; create it if it is missing. */
void write_content(const char *name, off64_t offset, size_t length);

/* Replace a file by a new one with another inode. */
void make_file(const char *name, size_t size);
void make_text(const char *name, const char *text, size_t length);

/* Return the bytes of a file in this process's memory map, whole pages; 0: not mapped. */
size_t mapped_bytes(const char *name);

/* True if valgrind runs the program. It reports each bad address as an error, and tracks each
 * byte. */
bool under_valgrind(void);

/* Take mounts of one's own, for a child: fails without CAP_SYS_ADMIN, and in a chroot whose root is
 * no mount point. */
void own_mounts(void);

/* Run a function in a child. @return its wait status, waitpid(2); 0: it returned */
int run_in_child(void (*function)(void));

/* A test whose body runs in a child. `before` is done first, in the parent. */
#define CHILD_TEST_AFTER(before, name)                                                             \
    static void name##_in_child(void);                                                             \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        before;                                                                                    \
        assert_int_equal(run_in_child(name##_in_child), 0);                                        \
    }                                                                                              \
    static void name##_in_child(void)
#define CHILD_TEST(name) CHILD_TEST_AFTER((void)0, name)

/* Make copies survive faults, as the library does as it starts. */
void install_guard(void);

/* The options of the sanitizer; a test may define others. */
const char *__asan_default_options(void);

/* Instead of cmocka's assertions, in a child: it must not run the other tests. */
#define require(holds) require_at((holds), #holds, __FILE__, __LINE__)
void require_at(bool holds, const char *what, const char *file, int line);

/* True if the file "log" has this text. */
bool logged(const char *what);

/* Return a number from /proc/PROCESS/status, for example "VmLck". */
long status_number(pid_t process, const char *name);

/* Return how many descriptors a process or thread, for example "self", has open. */
size_t descriptors_of(const char *task);

/* Continue as an unprivileged user. For a child. */
enum { SOMEBODY = 12345 }; /* a user id that is neither root nor ours */
void become_somebody(void);

#endif
