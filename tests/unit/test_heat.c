#include "heat.h"

#include "set_clock.h"
#include "status.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The table stays for the life of a process, so each test is one. */
#define HEAT_TEST(name) CHILD_TEST_AFTER((void)0, name)

enum { HALF_LIFE = 8 /* seconds, in a debug build */, SIZE = 1000 };

static struct heat_file list[HEAT_FILES];
static size_t count;
static uint64_t all;
static int fd;

/* ---- a user who is not root ---- */

static uid_t user = SOMEBODY;

uid_t __wrap_geteuid(void);

uid_t __wrap_geteuid(void)
{
    return user;
}

/* ---- sessions ---- */

static void begin(void)
{
    make_file("file", SIZE);
    fd = open("file", O_RDONLY | O_CLOEXEC);
    require(fd != -1 && status_share(NULL));
    heat_policy(true);
}

static void open_file(uint64_t inode)
{
    struct stat64 status = {.st_dev = 7, .st_ino = inode, .st_size = SIZE};

    heat_opened(fd, &status);
}

static void download(uint64_t inode, uint64_t bytes)
{
    open_file(inode);
    heat_sent(fd, bytes);
    heat_closing(fd);
}

static void download_times(uint64_t inode, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        download(inode, SIZE);
}

/* ---- the keeper ---- */

static const struct heat_file *find(uint64_t inode)
{
    count = heat_list(list, &all);
    require(count <= HEAT_FILES);
    for (size_t i = 0; i < count; i++) {
        if (list[i].inode == inode && list[i].device == 7)
            return &list[i];
    }
    return NULL;
}

/* Recent downloads, in 1/HEAT_ONE. */
static uint32_t heat(uint64_t inode)
{
    const struct heat_file *file = find(inode);

    return file != NULL ? file->downloads : 0;
}

/* There is no other use for a table where files have no handles. */
static void needs_handles(void)
{
    begin();
    download_times(1, 2);
    if (heat_failure() == EOPNOTSUPP)
        _exit(0);
}

HEAT_TEST(bytes_count_and_not_opens)
{
    needs_handles();
    require(heat(1) == 2 * HEAT_ONE);
    download(1, SIZE / 2);
    require(heat(1) == 2 * HEAT_ONE + HEAT_ONE / 2);
    download(1, SIZE / 100); /* a REST near the end */
    require(heat(1) == 2 * HEAT_ONE + HEAT_ONE / 2 + HEAT_ONE / 100);
    open_file(1);
    heat_closing(fd);
    require(heat(1) == 2 * HEAT_ONE + HEAT_ONE / 2 + HEAT_ONE / 100);
    download(1, UINT64_MAX); /* at most once */
    require(heat(1) == 3 * HEAT_ONE + HEAT_ONE / 2 + HEAT_ONE / 100);
    require(all == heat(1));
}

HEAT_TEST(what_read_moves_the_offset_over_counts)
{
    char bytes[SIZE];

    needs_handles();
    open_file(1);
    require(read(fd, bytes, sizeof bytes) == SIZE);
    heat_closing(fd);
    require(heat(1) == 3 * HEAT_ONE);
    require(lseek(fd, 3 * SIZE / 4, SEEK_SET) == 3 * SIZE / 4);
    open_file(1);
    heat_moved(fd, 3 * SIZE / 4);
    require(read(fd, bytes, sizeof bytes) == SIZE / 4);
    errno = 4711;
    heat_closing(fd);
    require(errno == 4711 && heat(1) == 3 * HEAT_ONE + HEAT_ONE / 4);
    heat_closing(fd); /* only once */
    require(heat(1) == 3 * HEAT_ONE + HEAT_ONE / 4);
}

HEAT_TEST(a_file_downloaded_once_has_no_handle)
{
    needs_handles();
    download(2, SIZE);
    require(find(2) == NULL && all == 3 * HEAT_ONE);
    download(2, SIZE);
    require(heat(2) == 2 * HEAT_ONE);
}

HEAT_TEST(a_process_without_the_policy_counts_nothing)
{
    needs_handles();
    heat_policy(false);
    download_times(1, 5);
    require(heat(1) == 2 * HEAT_ONE);
    heat_policy(true);
    user = 0; /* a file of the server's own */
    download_times(1, 5);
    require(heat(1) == 2 * HEAT_ONE && status_get(STATUS_SENT) == 2 * SIZE);
}

static bool is_about(uint32_t heat, uint32_t expected)
{
    return heat + heat / 50 >= expected && heat <= expected + expected / 50;
}

HEAT_TEST(counts_age)
{
    needs_handles();
    download_times(1, 98);
    require(heat(1) == 100 * HEAT_ONE);
    now += HALF_LIFE;
    require(is_about(heat(1), 50 * HEAT_ONE));
    now += HALF_LIFE / 2;
    require(is_about(heat(1), 35 * HEAT_ONE + HEAT_ONE / 3));
    for (int i = 0; i < HALF_LIFE * 2; i++, now++)
        download(2, SIZE); /* aged many times */
    require(is_about(heat(1), 9 * HEAT_ONE));
    require(heat(2) > 7 * HEAT_ONE && heat(2) < 11 * HEAT_ONE);
    now += 40 * HALF_LIFE;
    require(heat(1) == 0 && heat(2) == 0);
}

HEAT_TEST(a_clock_that_jumps)
{
    needs_handles();
    download_times(1, 98);
    now -= 3600;                       /* up to 4096 steps */
    require(heat(1) >= 99 * HEAT_ONE); /* set back: as they were */
    download(1, SIZE);
    require(heat(1) >= 99 * HEAT_ONE);
    now += HALF_LIFE;
    require(is_about(heat(1), 50 * HEAT_ONE)); /* and from then on they age */
    static const time_t times[] = {0, 1, INT32_MAX, 1700000000, 253402300799, -1, INT64_MAX};
    for (size_t i = 0; i < COUNT(times); i++) {
        now = times[i];
        download_times(3, 10);
        require(heat(3) >= 10 * HEAT_ONE && heat(3) <= 100 * HEAT_ONE);
    }
}

/* ---- bounds ---- */

HEAT_TEST(ten_million_files_do_not_push_out_the_hot_ones)
{
    enum { HOT = 200, TIMES = 500 };
    const uint64_t files = under_valgrind() ? 100000 : 10000000;
    size_t found = 0;

    needs_handles();
    for (uint64_t i = 0; i < files; i++) {
        download(1000000 + i, SIZE);
        if (i % (files / TIMES) == 0) {
            for (uint64_t hot = 0; hot < HOT; hot++)
                download(1000 + hot, SIZE);
        }
    }
    count = heat_list(list, &all);
    for (size_t i = 0; i < count; i++) {
        bool is_hot = list[i].inode >= 1000 && list[i].inode < 1000 + HOT;
        found += is_hot && list[i].downloads > TIMES / 2 * HEAT_ONE;
    }
    require(found >= HOT - HOT / 50);
    require(status_get(STATUS_SENT) >= files * SIZE);
    do
        download(5, SIZE);
    while (find(5) == NULL); /* until it takes over an entry */
    require(heat(5) == 2 * HEAT_ONE);
}

HEAT_TEST(counts_do_not_overflow)
{
    needs_handles();
    download_times(1, 300000);
    require(heat(1) > 200000 * HEAT_ONE);
}

static void lie(unsigned seed)
{
    unsigned char *table = status_heat();

    srandom(seed);
    for (size_t i = 0; i < STATUS_HEAT_BYTES; i++)
        table[i] = (unsigned char)random();
}

HEAT_TEST(a_table_full_of_lies)
{
    struct handle handle;
    size_t handles = 0;

    needs_handles();
    for (unsigned seed = 0; seed < 5; seed++) {
        lie(seed);
        count = heat_list(list, &all);
        require(count <= HEAT_FILES);
        for (size_t i = 0; i < count; i++)
            handles += heat_handle(&list[i], &handle);
        for (unsigned entry = 0; entry < HEAT_FILES; entry += 100) {
            struct heat_file file = {.entry = entry};
            handles += heat_handle(&file, &handle);
            heat_forget(&file);
        }
        for (uint64_t inode = 0; inode < 1000; inode++)
            download_times(inode, 3);
    }
    require(handles == 0);
    memset(status_heat(), 0, STATUS_HEAT_BYTES);
    download_times(1, 2);
    require(heat(1) == 2 * HEAT_ONE);
}

HEAT_TEST(a_record_that_is_half_written)
{
    unsigned char *table = status_heat(), *byte;
    struct handle handle, again;

    needs_handles();
    table = status_heat();
    require(heat_handle(find(1), &handle) && handle.bytes > 0);
    byte = memmem(table, STATUS_HEAT_BYTES, handle.data, handle.bytes);
    require(byte != NULL);
    (*byte)++;
    require(!heat_handle(find(1), &again));
    download(1, SIZE);
    require(!heat_handle(find(1), &again));
    heat_forget(find(1));
    require(find(1) == NULL);
    download(1, SIZE);
    require(heat_handle(find(1), &again) && memcmp(&again, &handle, sizeof handle) == 0);
}

/* As after a session that was killed before it could store the handle. */
HEAT_TEST(a_handle_that_was_not_stored_is_asked_for_again)
{
    unsigned char *table, *data;
    struct handle handle;

    needs_handles();
    table = status_heat();
    require(heat_handle(find(1), &handle));
    data = memmem(table, STATUS_HEAT_BYTES, handle.data, handle.bytes);
    require(data != NULL);
    data[-16]++; /* the record's inode */
    require(find(1) == NULL);
    download(1, SIZE);
    require(heat_handle(find(1), &handle));
}

/* The steps of a count come round again. */
HEAT_TEST(what_has_cooled_down_stays_cold)
{
    needs_handles();
    now += 1000;
    require(heat(1) == 0);
    now += 65536 - 1000 + 5;
    require(heat(1) == 0);
    download_times(1, 2);
    require(heat(1) == 2 * HEAT_ONE);
}

HEAT_TEST(a_descriptor_of_another_file_does_not_count)
{
    needs_handles();
    open_file(1);
    heat_sent(fd, SIZE);
    heat_reused(fd);
    heat_closing(fd);
    require(heat(1) == 2 * HEAT_ONE);
}

HEAT_TEST(a_file_without_a_handle_is_not_listed)
{
    begin();
    require(heat_failure() == 0);
    struct stat64 status = {.st_dev = 7, .st_ino = 1, .st_size = SIZE};
    for (int i = 0; i < 3; i++) {
        heat_opened(1000, &status); /* no open descriptor */
        heat_sent(1000, SIZE);
        heat_closing(1000);
    }
    require(find(1) == NULL && heat_failure() == EBADF && all == 3 * HEAT_ONE);
}

HEAT_TEST(without_shared_memory_nothing_is_counted)
{
    make_file("file", SIZE);
    fd = open("file", O_RDONLY | O_CLOEXEC);
    heat_policy(true);
    download_times(1, 3);
    require(heat_list(list, &all) == 0 && all == 0 && heat_failure() == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test(name)
    static const struct CMUnitTest tests[] = {
        TEST(bytes_count_and_not_opens),
        TEST(what_read_moves_the_offset_over_counts),
        TEST(a_file_downloaded_once_has_no_handle),
        TEST(a_process_without_the_policy_counts_nothing),
        TEST(counts_age),
        TEST(a_clock_that_jumps),
        TEST(ten_million_files_do_not_push_out_the_hot_ones),
        TEST(counts_do_not_overflow),
        TEST(a_table_full_of_lies),
        TEST(a_record_that_is_half_written),
        TEST(a_handle_that_was_not_stored_is_asked_for_again),
        TEST(what_has_cooled_down_stays_cold),
        TEST(a_descriptor_of_another_file_does_not_count),
        TEST(a_file_without_a_handle_is_not_listed),
        TEST(without_shared_memory_nothing_is_counted),
    };

    return cmocka_run_group_tests(tests, unit_enter, unit_leave);
}
