/*
 * What the tests of all rooms need: a directory of their own to work in, files of known content, a
 * look at what is mapped, and children for what ends a process.
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

/* For cmocka_run_group_tests(): work in an empty directory, and remove it. What hangs is ended. */
int unit_enter(void **state);
int unit_leave(void **state);

/* The byte at an offset of a test file. Never 0, as the padding of a truncated page is. */
unsigned char content(off64_t offset);

/* (Re)write `length` bytes of a file, made if it is not there, from `offset` on. */
void write_content(const char *name, off64_t offset, size_t length);

/* Make a file anew, with another inode than the former one of that name. */
void make_file(const char *name, size_t size);
void make_text(const char *name, const char *text, size_t length);

/* How many bytes of a file are in this process's memory map, whole pages; 0: it is not mapped. */
size_t mapped_bytes(const char *name);

/* Whether the processor is valgrind's. That takes each bad address for a mistake, and keeps a note
 * of each byte. */
bool under_valgrind(void);

/* Whether the kernel is qemu-user's, which emulates that of another architecture, but not all of
 * it. */
bool under_qemu_user(void);

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

/* Have faults of copies survived, as the library does as it starts. */
void install_guard(void);

/* What the sanitizer asks for; a test may define its own. */
const char *__asan_default_options(void);

/* In a child, instead of cmocka's assertions: it must not run the other tests. */
#define require(holds) require_at((holds), #holds, __FILE__, __LINE__)
void require_at(bool holds, const char *what, const char *file, int line);

/* Whether the file "log" has this in it. */
bool logged(const char *what);

/* A number of /proc/PROCESS/status, "VmLck" for instance. */
long status_number(pid_t process, const char *name);

/* How many descriptors a process or thread, "self" for instance, has open. */
size_t descriptors_of(const char *task);

/* Continue as a user without rights. For a child. */
enum { SOMEBODY = 12345 }; /* a user id that is neither root nor ours */
void become_somebody(void);

#endif
