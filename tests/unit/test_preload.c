#include "preload.h"

#include "log.h"
#include "status.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOMEBODY = 12345, TICK = 20000 /* us, more than the grain of a file's times */ };

/* List these paths, up to NULL, and no others. */
static void load(const char *path, ...)
{
    char *items[8];
    struct config_list list = {items, 0};
    va_list paths;

    va_start(paths, path);
    for (const char *next = path; next != NULL; next = va_arg(paths, const char *))
        items[list.count++] = strdup(next);
    va_end(paths);
    preload_load(&list);
    for (size_t i = 0; i < list.count; i++)
        free(items[i]);
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

static void assert_sum(size_t files, uint64_t bytes)
{
    struct preload_sum sum = preload_sum();

    assert_int_equal(sum.files, files);
    assert_int_equal(sum.bytes, bytes);
}

static bool logged(const char *what)
{
    static char text[64 * KIB];
    FILE *log = fopen("log", "r");
    size_t length;

    if (log == NULL)
        return false;
    length = fread(text, 1, sizeof text - 1, log);
    text[length] = '\0';
    assert_int_equal(fclose(log), 0);
    return strstr(text, what) != NULL;
}

static int begin(void **state)
{
    (void)state;
    (void)unlink("log");
    log_to(LOG_TO_FILE, "log");
    make_file("a", 3 * PAGE + 100);
    make_file("b", 10);
    return 0;
}

static int list_none(void **state)
{
    (void)state;
    load(NULL);
    load(NULL); /* frees what the former one retired */
    return mapped_bytes("a") + mapped_bytes("b") == 0 ? 0 : -1;
}

/* ---- finding ---- */

static void listed_files_are_in_memory(void **state)
{
    struct preload *file;

    (void)state;
    load("a", NULL);
    assert_sum(1, 3 * PAGE + 100);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_false(logged("a"));
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
    assert_sum(0, 0);
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
    assert_int_equal(symlink("a", "soft"), 0);
    load("a", "soft", "a", "./a", NULL);
    assert_sum(1, 3 * PAGE + 100);
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
    assert_int_equal(unlink("soft"), 0);
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
    for (size_t i = 0; i < COUNT(others); i++)
        assert_null(preload_find(&others[i]));
    same.st_atim.tv_sec++; /* reading is no change */
    struct preload *file = preload_find(&same);
    assert_non_null(file);
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
    assert_sum(2, 3 * PAGE + 110);
}

static void loading_again_drops_what_is_unlisted(void **state)
{
    (void)state;
    load("a", "b", NULL);
    load("b", NULL);
    assert_false(is_found("a"));
    assert_int_equal(mapped_bytes("a"), 0);
    assert_true(is_found("b"));
    assert_sum(1, 10);
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
    assert_sum(2, 4 * PAGE + 20);
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
    assert_sum(0, 0);
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

/* ---- what can't be loaded ---- */

static void what_is_no_file_is_told_and_the_others_load(void **state)
{
    (void)state;
    assert_int_equal(mkdir("directory", 0755), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0); /* does not wait for its other end */
    assert_int_equal(symlink("loop", "loop"), 0);
    make_file("empty", 0);
    load("missing", "directory", "fifo", "loop", "empty", "a", NULL);
    assert_sum(1, 3 * PAGE + 100);
    assert_true(is_found("a"));
    assert_true(logged("missing: No such file"));
    assert_true(logged("directory: is no regular file"));
    assert_true(logged("fifo: is no regular file"));
    assert_true(logged("loop: Too many levels"));
    assert_false(is_found("empty"));
    assert_int_equal(rmdir("directory"), 0);
    assert_int_equal(unlink("fifo"), 0);
    assert_int_equal(unlink("loop"), 0);
}

static void load_as_somebody(void)
{
    in_story(chmod(".", 0755) == 0 && chmod("a", 0600) == 0 && chmod("b", 0644) == 0);
    in_story(chown("log", SOMEBODY, SOMEBODY) == 0 && seteuid(SOMEBODY) == 0);
    load("a", "b", NULL);
    in_story(preload_sum().files == 1 && logged("a: Permission denied"));
}

static void what_the_server_may_not_read_is_told(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    make_text("log", "", 0);
    assert_int_equal(ending_of(load_as_somebody), 0);
}

/* ---- wildcards ---- */

static void wildcards(void **state)
{
    (void)state;
    make_file("1.iso", PAGE);
    make_file("2.iso", PAGE);
    make_file("3.txt", PAGE);
    load("*.iso", NULL);
    assert_sum(2, 2 * PAGE);
    assert_true(is_found("1.iso") && is_found("2.iso"));
    assert_false(is_found("3.txt"));
    load("[13].*", NULL);
    assert_sum(2, 2 * PAGE);
    assert_false(is_found("2.iso"));
    load("?.iso", "nothing*", NULL);
    assert_sum(2, 2 * PAGE);
    assert_true(logged("nothing*: No such file"));
}

static void a_name_with_a_bracket_is_found(void **state)
{
    (void)state;
    make_file("x[1].iso", PAGE);
    load("x[1].iso", NULL);
    assert_true(is_found("x[1].iso"));
    load("x\\[1].iso", NULL);
    assert_true(is_found("x[1].iso"));
}

/* ---- unloading ---- */

static void unload(void)
{
    struct preload *used = find("a");

    in_story(used != NULL);
    preload_unload();
    in_story(!is_found("a") && !is_found("b") && preload_sum().files == 0);
    in_story(mapped_bytes("b") == 0 && mapped_bytes("a") == (size_t)4 * PAGE);
    preload_release(used);
    in_story(mapped_bytes("a") == 0);
}

static void a_child_unloads(void **state)
{
    (void)state;
    load("a", "b", NULL);
    assert_int_equal(ending_of(unload), 0);
    assert_true(is_found("a")); /* here */
    assert_int_equal(mapped_bytes("a"), 4 * PAGE);
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
        TEST(what_is_no_file_is_told_and_the_others_load),
        TEST(what_the_server_may_not_read_is_told),
        TEST(wildcards),
        TEST(a_name_with_a_bracket_is_found),
        TEST(a_child_unloads),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
