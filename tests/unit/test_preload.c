#include "preload.h"

#include "status.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TICK = 20000 /* us, more than the grain of a file's times */, MANY = 150 };

static struct preload *list(const char *name, enum preload_way way)
{
    struct stat64 status;
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fstat64(fd, &status), 0);
    struct preload *file = preload_list(fd, &status, way, STATUS_FILES);
    int error = errno;
    assert_int_equal(close(fd), 0); /* it is mapped for good */
    errno = error;
    return file;
}

/* List these files, up to NULL, to be mapped, and no others. */
static void load(const char *name, ...)
{
    va_list names;

    preload_begin();
    va_start(names, name);
    for (const char *next = name; next != NULL; next = va_arg(names, const char *))
        assert_non_null(list(next, PRELOAD_MAPPED));
    va_end(names);
    preload_retire_unlisted();
}

static struct preload *find(const char *name)
{
    struct stat64 status;

    assert_int_equal(stat64(name, &status), 0);
    return preload_find(&status);
}

static bool is_found(const char *name)
{
    struct preload *file = find(name);

    preload_release(file);
    return file != NULL;
}

/* As listed. */
static struct mapping mapping_of(const char *name)
{
    struct preload *file = find(name);

    assert_non_null(file);
    preload_release(file);
    return *preload_mapping(file);
}

static int begin(void **state)
{
    (void)state;
    make_file("a", 3 * PAGE + 100);
    make_file("b", 10);
    return 0;
}

static int list_none(void **state)
{
    (void)state;
    load(NULL);
    return mapped_bytes("a") + mapped_bytes("b") == 0 ? 0 : -1;
}

/* ---- finding ---- */

static void listed_files_are_in_memory(void **state)
{
    struct preload *file;

    (void)state;
    load("a", NULL);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_false(is_found("b"));
    file = find("a");
    assert_non_null(file);
    assert_int_equal(preload_mapping(file)->start, 0);
    assert_int_equal(preload_mapping(file)->length, 3 * PAGE + 100);
    for (off64_t i = 0; i < 3 * PAGE + 100; i++)
        assert_int_equal((unsigned char)preload_mapping(file)->memory[i], content(i));
    preload_release(file);
    preload_release(NULL);
}

static void nothing_is_found_where_nothing_is_listed(void **state)
{
    (void)state;
    load(NULL);
    assert_false(is_found("a"));
}

static void a_file_is_found_by_any_name(void **state)
{
    (void)state;
    assert_int_equal(symlink("a", "soft"), 0);
    assert_int_equal(link("a", "hard"), 0);
    load("hard", NULL);
    assert_true(is_found("hard"));
    assert_true(is_found("a"));
    assert_true(is_found("soft"));
    load("soft", NULL);
    assert_true(is_found("a"));
    assert_int_equal(unlink("soft"), 0);
    assert_int_equal(unlink("hard"), 0);
}

static void a_file_listed_twice_is_mapped_once(void **state)
{
    (void)state;
    assert_int_equal(link("a", "hard"), 0);
    load("a", NULL);
    struct preload *first = list("a", PRELOAD_MAPPED);
    assert_null(first);
    assert_int_equal(errno, EEXIST);
    assert_null(list("hard", PRELOAD_INHERITED));
    assert_int_equal(errno, EEXIST);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    first = find("a");
    assert_false(preload_is_inherited(first));
    preload_release(first);
    load("hard", NULL);
    assert_null(list("a", PRELOAD_KNOWN));
    assert_true(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_int_equal(unlink("hard"), 0);
}

static void each_mark_of_a_file_counts(void **state)
{
    struct stat64 same, others[7];

    (void)state;
    load("a", "b", NULL);
    assert_int_equal(stat64("a", &same), 0);
    for (size_t i = 0; i < COUNT(others); i++)
        others[i] = same;
    others[0].st_dev++;
    others[1].st_ino += 1000000;
    others[2].st_size++;
    others[3].st_mtim.tv_nsec ^= 1;
    others[4].st_mtim.tv_sec++;
    others[5].st_ctim.tv_nsec ^= 1;
    others[6].st_ctim.tv_sec++;
    same.st_atim.tv_sec++; /* reading is no change */
    struct preload *file = preload_find(&same);
    assert_non_null(file);
    assert_true(preload_is(file, &same));
    for (size_t i = 0; i < COUNT(others); i++) {
        assert_null(preload_find(&others[i]));
        assert_false(preload_is(file, &others[i]));
    }
    preload_release(file);
}

static void a_replaced_file_is_not_found(void **state)
{
    (void)state;
    load("a", NULL);
    make_file("new", 3 * PAGE + 100);
    assert_int_equal(rename("new", "a"), 0);
    assert_false(is_found("a"));
}

static void a_file_changed_in_place_is_not_found(void **state)
{
    uint64_t changes = status_get(STATUS_CHANGED);

    (void)state;
    load("a", "b", NULL);
    (void)usleep(TICK);
    write_content("a", 0, 1); /* neither its size nor its content */
    assert_false(is_found("a"));
    assert_int_equal(status_get(STATUS_CHANGED), changes + 1);
    assert_true(is_found("b"));
    assert_int_equal(truncate("b", 5), 0);
    assert_false(is_found("b"));
    assert_int_equal(status_get(STATUS_CHANGED), changes + 2);
}

/* ---- loading again ---- */

static void loading_again_keeps_what_is_unchanged(void **state)
{
    const char *memory;

    (void)state;
    load("a", NULL);
    memory = mapping_of("a").memory;
    load("b", "a", NULL);
    assert_ptr_equal(mapping_of("a").memory, memory);
    assert_true(is_found("b"));
}

static void loading_again_drops_what_is_unlisted(void **state)
{
    (void)state;
    load("a", "b", NULL);
    load("b", NULL);
    assert_false(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 0);
    assert_true(is_found("b"));
    load("a", NULL);
    assert_true(is_found("a"));
    assert_int_equal(mapped_bytes("b"), 0);
}

static void loading_again_maps_what_has_changed(void **state)
{
    (void)state;
    load("a", "b", NULL);
    (void)usleep(TICK);
    write_content("a", 0, 4 * PAGE);
    make_file("b", 20);
    assert_false(is_found("a"));
    load("a", "b", NULL);
    assert_int_equal(mapping_of("b").length, 20);
    assert_int_equal(mapping_of("a").length, 4 * PAGE);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE); /* the former mapping is gone */
}

static void a_file_in_use_stays_mapped(void **state)
{
    struct preload *first, *second;

    (void)state;
    load("a", "b", NULL);
    first = find("a");
    second = find("a");
    assert_non_null(first);
    assert_ptr_equal(first, second);
    load(NULL);
    assert_false(is_found("a"));
    load("b", NULL); /* whatever is freed now, it is not the one in use */
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    preload_release(first);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_int_equal((unsigned char)preload_mapping(second)->memory[PAGE], content(PAGE));
    preload_release(second);
    assert_int_equal(mapped_bytes("a"), 0);
}

static void a_file_in_use_is_mapped_anew_beside(void **state)
{
    struct preload *former;

    (void)state;
    load("a", NULL);
    former = find("a");
    (void)usleep(TICK);
    write_content("a", 0, 1);
    load("a", NULL);
    assert_ptr_not_equal(mapping_of("a").memory, preload_mapping(former)->memory);
    assert_int_equal(mapped_bytes("a"), 8 * PAGE);
    preload_release(former);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_true(is_found("a"));
}

static void one_file_is_retired(void **state)
{
    struct preload *used;

    (void)state;
    load("a", "b", NULL);
    used = find("a");
    preload_retire(used);
    assert_false(is_found("a"));
    assert_true(is_found("b"));
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    preload_release(used);
    assert_int_equal(mapped_bytes("a"), 0);
    preload_retire(list("a", PRELOAD_MAPPED));
    assert_false(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 0);
}

static void a_note_stays_with_its_file(void **state)
{
    struct preload *file;

    (void)state;
    preload_begin();
    file = list("a", PRELOAD_MAPPED);
    assert_non_null(file);
    assert_false(preload_kept(file)->read_in || preload_kept(file)->locked);
    *preload_kept(file) = (struct preload_kept){.read_in = true, .locked = true};
    preload_begin();
    assert_ptr_equal(list("a", PRELOAD_MAPPED), file);
    assert_true(preload_kept(file)->read_in && preload_kept(file)->locked);
    (void)usleep(TICK);
    write_content("a", 0, 1);
    preload_begin();
    file = list("a", PRELOAD_MAPPED);
    assert_non_null(file);
    assert_false(preload_kept(file)->read_in || preload_kept(file)->locked);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE); /* in the place of the former */
    preload_retire_unlisted();
}

static void many_files(void **state)
{
    char name[20];

    (void)state;
    preload_begin();
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many-%d", i);
        make_file(name, 1);
        assert_non_null(list(name, i % 2 == 0 ? PRELOAD_MAPPED : PRELOAD_KNOWN));
    }
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many-%d", i);
        assert_true(is_found(name));
        assert_int_equal(mapped_bytes(name), i % 2 == 0 ? PAGE : 0);
    }
    load(NULL);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many-%d", i);
        assert_false(is_found(name));
        assert_int_equal(mapped_bytes(name), 0);
    }
}

/* ---- what can't be mapped ---- */

static void what_cannot_be_mapped_is_an_error(void **state)
{
    struct stat64 status;

    (void)state;
    preload_begin();
    assert_int_equal(stat64("a", &status), 0);
    errno = 0;
    assert_null(preload_list(-1, &status, PRELOAD_MAPPED, STATUS_FILES));
    assert_int_equal(errno, EBADF);
    assert_false(is_found("a"));
    make_file("empty", 0);
    errno = 0;
    assert_null(list("empty", PRELOAD_INHERITED));
    assert_int_equal(errno, EINVAL);
    assert_non_null(list("a", PRELOAD_MAPPED)); /* another time */
    preload_retire_unlisted();
}

/* What is known of a file that has changed and can't be mapped any more is out of date: it stays,
 * and is not found. */
static void a_changed_file_that_cannot_be_mapped(void **state)
{
    struct stat64 status;

    (void)state;
    load("a", NULL);
    (void)usleep(TICK);
    write_content("a", 0, 1);
    assert_int_equal(stat64("a", &status), 0);
    preload_begin();
    assert_null(preload_list(-1, &status, PRELOAD_MAPPED, STATUS_FILES));
    preload_retire_unlisted();
    assert_false(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 0);
}

/* ---- known, mapped, inherited ---- */

static void a_file_that_is_only_known(void **state)
{
    struct stat64 status;
    struct preload *file;

    (void)state;
    assert_int_equal(stat64("a", &status), 0);
    preload_begin();
    assert_non_null(preload_list(-1, &status, PRELOAD_KNOWN, STATUS_FILES));
    assert_int_equal(mapped_bytes("a"), 0);
    file = find("a");
    assert_non_null(file);
    assert_null(preload_mapping(file)->memory);
    preload_release(file);
    load("a", NULL);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    preload_begin();
    assert_non_null(list("a", PRELOAD_KNOWN));
    preload_retire_unlisted();
    assert_true(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 0);
}

static void look_at_inheritance(void)
{
    struct preload *mapped = find("a"), *inherited = find("b"), *known = find("c");

    preload_forked();
    in_story(mapped != NULL && inherited != NULL && known != NULL);
    in_story(mapped_bytes("a") == 0 && preload_mapping(mapped)->memory == NULL);
    in_story(mapped_bytes("b") == PAGE && preload_mapping(inherited)->length == 10);
    in_story((unsigned char)preload_mapping(inherited)->memory[9] == content(9));
    in_story(mapped_bytes("c") == 0 && preload_mapping(known)->memory == NULL);
    preload_release(mapped);
    preload_release(inherited);
    preload_release(known);
    in_story(mapped_bytes("b") == PAGE);
}

static void children_have_what_is_inherited(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it passes over MADV_DONTFORK */
    make_file("c", PAGE);
    preload_begin();
    assert_false(preload_is_inherited(list("a", PRELOAD_MAPPED)));
    assert_true(preload_is_inherited(list("b", PRELOAD_INHERITED)));
    assert_false(preload_is_inherited(list("c", PRELOAD_KNOWN)));
    assert_int_equal(ending_of(look_at_inheritance), 0);
}

static void what_is_inherited_changes_and_the_pages_stay(void **state)
{
    const char *a, *b;

    (void)state;
    if (under_qemu_user())
        skip(); /* it passes over MADV_DONTFORK */
    make_file("c", PAGE);
    preload_begin();
    assert_non_null(list("a", PRELOAD_INHERITED));
    assert_non_null(list("b", PRELOAD_MAPPED));
    a = mapping_of("a").memory;
    b = mapping_of("b").memory;
    preload_begin();
    assert_false(preload_is_inherited(list("a", PRELOAD_MAPPED)));
    assert_true(preload_is_inherited(list("b", PRELOAD_INHERITED)));
    assert_non_null(list("c", PRELOAD_KNOWN));
    preload_retire_unlisted();
    assert_ptr_equal(mapping_of("a").memory, a);
    assert_ptr_equal(mapping_of("b").memory, b);
    assert_int_equal(ending_of(look_at_inheritance), 0);
}

/* ---- opening ---- */

static void what_is_no_file_is_not_opened(void **state)
{
    char byte;

    (void)state;
    int fd = preload_open("a");
    assert_int_equal(read(fd, &byte, 1), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(preload_open("missing"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(mkfifo("fifo", 0644), 0);
    fd = preload_open("fifo");
    assert_int_not_equal(fd, -1);
    assert_int_equal(open("fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1); /* nobody reads */
    assert_int_equal(errno, ENXIO);
    assert_int_equal(close(fd), 0);
}

static void what_is_large_is_opened(void **state)
{
    (void)state;
    make_file("large", 0);
    assert_int_equal(truncate64("large", (off64_t)3 << 30), 0);
    int fd = preload_open("large");
    assert_int_not_equal(fd, -1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink("large"), 0);
}

/* ---- unloading ---- */

static char *mapping_of_a;

static void list_and_unload(void)
{
    load("a", "b", NULL);
    struct preload *used = find("a");

    in_story(used != NULL);
    preload_unload();
    in_story(!is_found("a") && !is_found("b"));
    in_story(mapped_bytes("b") == 0 && mapped_bytes("a") == (size_t)4 * PAGE);
    preload_release(used);
    in_story(mapped_bytes("a") == 0);
}

static void a_process_unloads(void **state)
{
    (void)state;
    assert_int_equal(ending_of(list_and_unload), 0);
}

/* A session with the engine off; and one that becomes a master itself. */
static void unload_after_fork(void)
{
    preload_forked();
    void *there =
        mmap(mapping_of_a, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    in_story(there == mapping_of_a); /* not the library's, in the place of what was not inherited */
    preload_unload();
    in_story(!is_found("a") && !is_found("b"));
    in_story(mapped_bytes("b") == 0);
    in_story(*(volatile char *)there == 0); /* still there */
    load("a", NULL);
    in_story(mapped_bytes("a") == (size_t)4 * PAGE && mapping_of("a").memory != NULL);
}

static void a_child_unloads(void **state)
{
    (void)state;
    if (under_qemu_user())
        skip(); /* it passes over MADV_DONTFORK */
    preload_begin();
    assert_non_null(list("a", PRELOAD_MAPPED));
    assert_non_null(list("b", PRELOAD_INHERITED));
    mapping_of_a = mapping_of("a").memory;
    assert_int_equal(ending_of(unload_after_fork), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, list_none)
    static const struct CMUnitTest tests[] = {
        TEST(listed_files_are_in_memory),
        TEST(nothing_is_found_where_nothing_is_listed),
        TEST(a_file_is_found_by_any_name),
        TEST(a_file_listed_twice_is_mapped_once),
        TEST(each_mark_of_a_file_counts),
        TEST(a_replaced_file_is_not_found),
        TEST(a_file_changed_in_place_is_not_found),
        TEST(loading_again_keeps_what_is_unchanged),
        TEST(loading_again_drops_what_is_unlisted),
        TEST(loading_again_maps_what_has_changed),
        TEST(a_file_in_use_stays_mapped),
        TEST(a_file_in_use_is_mapped_anew_beside),
        TEST(one_file_is_retired),
        TEST(a_note_stays_with_its_file),
        TEST(many_files),
        TEST(what_cannot_be_mapped_is_an_error),
        TEST(a_changed_file_that_cannot_be_mapped),
        TEST(a_file_that_is_only_known),
        TEST(children_have_what_is_inherited),
        TEST(what_is_inherited_changes_and_the_pages_stay),
        TEST(what_is_no_file_is_not_opened),
        TEST(what_is_large_is_opened),
        TEST(a_process_unloads),
        TEST(a_child_unloads),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
