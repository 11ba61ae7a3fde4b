#include "stream.h"

#include "guard.h"
#include "libc.h"
#include "log.h"
#include "readahead.h"
#include "reading.h"
#include "sending.h"
#include "served.h"
#include "status.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNTOUCHED = 1234 /* an errno that no call sets */, LARGEST_WINDOW = 4 * MIB };

static char *none; /* NONE inaccessible bytes */
static char *page; /* readable and writable; `none` follows it */
static char *read_only;
static char *large; /* LARGE bytes */
enum { LARGE = 8 * MIB, NONE = MIB };

static char *map(size_t length, int protection)
{
    char *memory = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static int enter(void **state)
{
    page = map(PAGE + NONE, PROT_READ | PROT_WRITE);
    none = page + PAGE;
    read_only = map(NONE, PROT_READ);
    large = map(LARGE, PROT_READ | PROT_WRITE);
    log_to(LOG_TO_NOWHERE);
    return mprotect(none, NONE, PROT_NONE) == 0 ? unit_enter(state) : -1;
}

/* In each test: cmocka installs handlers before it, and removes them after it. */
static void start(void)
{
    install_guard();
    guard_mask_changed();
    turn_policy("map");
    stream_serve(0);
}

static int finish(void **state)
{
    int left = 0; /* streams of a test that failed */

    (void)state;
    stream_serve_none();
    for (int fd = 0; fd < STREAM_LIMIT; fd++) {
        if (stream_is_served(fd)) {
            stream_closing(fd);
            (void)close(fd);
            left++;
        }
    }
    return left == 0 ? 0 : -1;
}

/* ---- calls as the wrappers make them ---- */

static int open_served(const char *name, int flags)
{
    int fd = open64(name, flags | O_CLOEXEC);

    assert_int_not_equal(fd, -1);
    stream_opened(fd, flags);
    return fd;
}

static void close_served(int fd)
{
    stream_closing(fd);
    assert_int_equal(close(fd), 0);
}

/* Like the wrapper: the kernel serves both from here on. */
static int duplicate_served(int fd)
{
    stream_hand_over(fd, STREAM_DUP);
    int duplicate = dup(fd);

    assert_int_not_equal(duplicate, -1);
    stream_forget(duplicate);
    return duplicate;
}

static ssize_t readv_served(int fd, const struct iovec *parts, int count, off64_t offset)
{
    struct reading reading = reading_readv(fd, parts, count, offset);

    if (reading.answered)
        return reading.bytes;
    return offset == READING_MOVES ? readv(fd, parts, count) : preadv64(fd, parts, count, offset);
}

static off64_t seek_served(int fd, off64_t offset, int whence)
{
    off64_t result;

    return stream_seek(fd, offset, whence, &result) ? result : lseek64(fd, offset, whence);
}

/* The kernel's offset. */
static off64_t kernel_offset(int fd)
{
    return lseek64(fd, 0, SEEK_CUR);
}

static void assert_content(const char *buffer, off64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)buffer[i] != content(offset + (off64_t)i))
            fail_msg("byte %zu is not that of offset %lld", i, (long long)offset + (long long)i);
    }
}

static void assert_reads(int fd, size_t count, off64_t offset)
{
    assert_true(count <= LARGE);
    assert_int_equal(read_served(fd, large, count), count);
    assert_content(large, offset, count);
}

/* ---- two opens of one file: the library's, and the kernel's to compare with ---- */

struct twins {
    int served;
    int plain;
};

static struct twins open_twins(const char *name)
{
    struct twins twins = {open_served(name, O_RDONLY), open64(name, O_RDONLY | O_CLOEXEC)};

    assert_int_not_equal(twins.plain, -1);
    return twins;
}

static void close_twins(const struct twins *twins)
{
    close_served(twins->served);
    assert_int_equal(close(twins->plain), 0);
}

static void assert_same(off64_t ours, int our_errno, off64_t kernels, int kernels_errno)
{
    assert_int_equal(ours, kernels);
    assert_int_equal(our_errno, kernels_errno);
    assert_int_equal(our_errno == UNTOUCHED, ours >= 0);
}

/* Read through both into the same buffer. @return the count, or -1 with errno */
static ssize_t read_same(const struct twins *twins, void *buffer, size_t count)
{
    char *copy = NULL;

    errno = UNTOUCHED;
    ssize_t kernels = read(twins->plain, buffer, count);
    int kernels_errno = errno;
    if (kernels > 0) {
        copy = malloc((size_t)kernels);
        assert_non_null(copy);
        memcpy(copy, buffer, (size_t)kernels);
        memset(buffer, 0, (size_t)kernels);
    }
    errno = UNTOUCHED;
    ssize_t ours = read_served(twins->served, buffer, count);
    assert_same(ours, errno, kernels, kernels_errno);
    if (kernels > 0)
        assert_memory_equal(buffer, copy, (size_t)kernels);
    free(copy);
    errno = kernels_errno;
    return kernels;
}

static off64_t seek_same(const struct twins *twins, off64_t offset, int whence)
{
    errno = UNTOUCHED;
    off64_t kernels = lseek64(twins->plain, offset, whence);
    int kernels_errno = errno;
    errno = UNTOUCHED;
    off64_t ours = seek_served(twins->served, offset, whence);
    assert_same(ours, errno, kernels, kernels_errno);
    errno = kernels_errno;
    return kernels;
}

static ssize_t pread_same(const struct twins *twins, size_t count, off64_t offset)
{
    static char kernels_buffer[64 * KIB], our_buffer[64 * KIB];

    assert_true(count <= sizeof our_buffer);
    errno = UNTOUCHED;
    ssize_t kernels = pread64(twins->plain, kernels_buffer, count, offset);
    int kernels_errno = errno;
    errno = UNTOUCHED;
    ssize_t ours = pread_served(twins->served, our_buffer, count, offset);
    assert_same(ours, errno, kernels, kernels_errno);
    if (kernels > 0)
        assert_memory_equal(our_buffer, kernels_buffer, (size_t)kernels);
    return kernels;
}

static void assert_same_offset(const struct twins *twins)
{
    (void)seek_same(twins, 0, SEEK_CUR);
}

/* ---- sequential reads ---- */

static void read_in_odd_sizes(void **state)
{
    static const size_t sizes[] = {1, 7, 4095, 4097, 16384, 100003, 300000, 1 << 20, 5 * MIB};
    enum { SIZE = 13 * MIB + 1234 };
    uint64_t before;

    (void)state;
    start();
    make_file("file", SIZE);
    before = status_get(STATUS_BYTES);
    struct twins twins = open_twins("file");
    ssize_t count = 1;
    for (size_t i = 0; count > 0; i++)
        count = read_same(&twins, large, sizes[i % COUNT(sizes)]);
    assert_int_equal(count, 0);
    assert_int_equal(status_get(STATUS_BYTES) - before, SIZE); /* none of it by the kernel */
    assert_same_offset(&twins);
    close_twins(&twins);
}

static void one_byte_at_a_time(void **state)
{
    enum { SIZE = 3 * PAGE + 5 };

    (void)state;
    start();
    make_file("file", SIZE);
    int fd = open_served("file", O_RDONLY);
    for (off64_t i = 0; i < SIZE; i++)
        assert_reads(fd, 1, i);
    assert_int_equal(read_served(fd, large, 1), 0);
    close_served(fd);
}

static void the_window_is_bounded_and_goes_away(void **state)
{
    size_t most = 0;

    (void)state;
    start();
    make_file("file", (size_t)40 * MIB);
    int fd = open_served("file", O_RDONLY);
    assert_int_equal(mapped_bytes("file"), 0); /* nothing was read yet */
    for (off64_t offset = 0; offset < 40 * MIB; offset += 123457) {
        (void)read_served(fd, large, 123457);
        size_t mapped = mapped_bytes("file");
        most = mapped > most ? mapped : most;
    }
    assert_true(most >= LARGEST_WINDOW && most <= LARGEST_WINDOW + PAGE);
    close_served(fd);
    assert_int_equal(mapped_bytes("file"), 0);
}

static void the_end_is_asked_for_each_time(void **state)
{
    (void)state;
    start();
    make_file("file", 5000);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, 10000), 5000);
    assert_int_equal(read_same(&twins, large, 10000), 0);
    assert_int_equal(read_same(&twins, large, 10000), 0);
    write_content("file", 5000, 100);
    assert_int_equal(read_same(&twins, large, 10000), 100);
    assert_content(large, 5000, 100);
    write_content("file", 5100, MIB);
    assert_int_equal(read_same(&twins, large, 2 * MIB), MIB);
    assert_content(large, 5100, MIB);
    assert_int_equal(read_same(&twins, large, 1), 0);
    close_twins(&twins);
}

static void what_is_written_is_seen(void **state)
{
    (void)state;
    start();
    make_file("file", 5 * PAGE);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0); /* all of it is mapped now */
    int writer = open("file", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite64(writer, "changed", 7, 2 * PAGE), 7);
    assert_int_equal(close(writer), 0);
    assert_int_equal(read_served(fd, large, LARGE), 5 * PAGE - 100);
    assert_memory_equal(large + 2 * PAGE - 100, "changed", 7);
    close_served(fd);
}

static void beyond_four_gibibytes(void **state)
{
    static const off64_t four = (off64_t)4 << 30;
    static const off64_t places[] = {0, ((off64_t)2 << 30) - 300000, four - 300000, four,
                                     four + 300000};

    (void)state;
    start();
    make_file("sparse", 0);
    for (size_t i = 0; i < COUNT(places); i++)
        write_content("sparse", places[i], 600000);
    struct twins twins = open_twins("sparse");
    for (size_t i = 0; i < COUNT(places); i++) {
        assert_int_equal(seek_same(&twins, places[i], SEEK_SET), places[i]);
        for (int piece = 0; piece < 6; piece++)
            assert_int_equal(read_same(&twins, large, 100000), 100000);
        assert_content(large, places[i] + 500000, 100000);
        (void)pread_same(&twins, 10000, places[i] + 5);
        assert_same_offset(&twins);
    }
    (void)seek_same(&twins, -100, SEEK_END);
    assert_int_equal(read_same(&twins, large, 1000), 100);
    close_twins(&twins);
    assert_int_equal(unlink("sparse"), 0);
}

/* ---- files that shrink ---- */

/* Read `before` bytes, which maps the file, truncate it to `size`, and read on. */
static void truncate_and_read(size_t before, off64_t size, size_t count)
{
    make_file("file", 5 * PAGE + 100);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, before), before);
    assert_true(mapped_bytes("file") > 0);
    assert_int_equal(truncate64("file", size), 0);
    ssize_t expected = size > (off64_t)before ? (ssize_t)(size - (off64_t)before) : 0;
    if (expected > (ssize_t)count)
        expected = (ssize_t)count;
    assert_int_equal(read_same(&twins, large, count), expected);
    assert_content(large, (off64_t)before, (size_t)expected);
    assert_same_offset(&twins);
    (void)read_same(&twins, large, count);
    assert_same_offset(&twins);
    write_content("file", size, (size_t)3 * PAGE); /* it grows again */
    (void)read_same(&twins, large, count);
    assert_same_offset(&twins);
    close_twins(&twins);
}

static void a_shrunken_file_ends_where_it_ends(void **state)
{
    static const off64_t lengths[] = {0,        1,        50,           99,           100,
                                      101,      PAGE - 1, PAGE,         PAGE + 1,     5000,
                                      2 * PAGE, 5 * PAGE, 5 * PAGE + 1, 5 * PAGE + 99};
    static const size_t counts[] = {1, 200, 5000, 5 * PAGE, MIB};

    (void)state;
    start();
    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (size_t j = 0; j < COUNT(counts); j++) {
            truncate_and_read(100, lengths[i], counts[j]);
            truncate_and_read(PAGE, lengths[i], counts[j]);
        }
    }
}

static void padding_within_a_page_is_not_content(void **state)
{
    (void)state;
    start();
    make_file("file", 2 * PAGE);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0);
    assert_int_equal(truncate("file", 5000), 0);
    assert_int_equal(read_served(fd, large, 2 * PAGE - 100), 4900); /* no page of it faults */
    assert_int_equal(read_served(fd, large, 1), 0);
    assert_int_equal(seek_served(fd, 0, SEEK_CUR), 5000);
    close_served(fd);
}

/* Not even the zeros that pad the page are copied to the buffer. */
static void beyond_what_is_read_the_buffer_stays(void **state)
{
    unsigned char expected[2 * PAGE];

    (void)state;
    start();
    make_file("file", 2 * PAGE);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0);
    assert_int_equal(truncate("file", 5000), 0);
    memset(large, 0xaa, sizeof expected);
    memset(expected, 0xaa, sizeof expected);
    assert_int_equal(pread_served(fd, large, 2 * PAGE, 0), 5000);
    assert_memory_equal(large + 5000, expected, 2 * PAGE - 5000);
    close_served(fd);
}

static void padding_is_not_read_at_a_place_either(void **state)
{
    (void)state;
    start();
    make_file("file", 2 * PAGE);
    struct twins twins = open_twins("file");
    assert_int_equal(pread_same(&twins, 100, 0), 100);
    assert_int_equal(truncate("file", 5000), 0);
    assert_int_equal(pread_same(&twins, 2 * PAGE - 100, 100), 4900);
    assert_int_equal(pread_same(&twins, 50, 4999), 1);
    assert_int_equal(pread_same(&twins, 50, 5000), 0);
    assert_int_equal(pread_same(&twins, 50, 2 * PAGE), 0);
    close_twins(&twins);
}

static void zeros_at_the_end_are_content(void **state)
{
    enum { SIZE = 2 * PAGE };
    uint64_t before;

    (void)state;
    start();
    make_file("file", 5000);
    assert_int_equal(truncate("file", SIZE), 0); /* 3192 zeros */
    before = status_get(STATUS_BYTES);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, 5100), 5100);
    assert_int_equal(read_same(&twins, large, LARGE), SIZE - 5100);
    assert_int_equal(read_same(&twins, large, LARGE), 0);
    assert_int_equal(status_get(STATUS_BYTES) - before, SIZE);
    close_twins(&twins);
}

static void zeros_that_are_cut_off_are_not(void **state)
{
    (void)state;
    start();
    make_file("file", 5000);
    assert_int_equal(truncate("file", 2 * PAGE), 0);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, 100), 100);
    assert_int_equal(truncate("file", 6000), 0);
    assert_int_equal(read_same(&twins, large, LARGE), 5900);
    assert_int_equal(read_same(&twins, large, LARGE), 0);
    close_twins(&twins);
}

/* ---- the offset ---- */

static void all_kinds_of_seeks(void **state)
{
    static const struct {
        off64_t offset;
        int whence;
    } seeks[] = {
        {0, SEEK_CUR},
        {1000, SEEK_SET},
        {500, SEEK_CUR},
        {-100, SEEK_CUR},
        {-1, SEEK_SET},
        {-5000, SEEK_CUR},
        {0, SEEK_END},
        {-10, SEEK_END},
        {100, SEEK_END},
        {-1000000, SEEK_END},
        {0, SEEK_DATA},
        {0, SEEK_HOLE},
        {300000, SEEK_DATA},
        {300000, SEEK_HOLE},
        {2000000, SEEK_DATA},
        {3000000, SEEK_HOLE},
        {INT64_MAX, SEEK_SET},
        {INT64_MAX, SEEK_CUR},
        {INT64_MAX, SEEK_END},
        {INT64_MIN, SEEK_SET},
        {0, 99},
        {0, -1},
        {1000000, SEEK_SET},
        {1 << 30, SEEK_SET},
    };

    (void)state;
    start();
    make_file("file", 200000);
    write_content("file", 1000000, 100000); /* a hole before it */
    struct twins twins = open_twins("file");
    for (size_t i = 0; i < COUNT(seeks); i++) {
        (void)seek_same(&twins, seeks[i].offset, seeks[i].whence);
        assert_same_offset(&twins);
        (void)read_same(&twins, large, 100);
        (void)read_same(&twins, large, 5000);
        assert_same_offset(&twins);
    }
    close_twins(&twins);
}

static void seeking_to_a_hole(void **state)
{
    (void)state;
    start();
    make_file("file", 200000);
    write_content("file", MIB, 1000);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, 1000), 1000);
    assert_true(seek_same(&twins, 0, SEEK_HOLE) >= 200000);
    assert_int_equal(seek_same(&twins, 500000, SEEK_DATA), MIB);
    assert_int_equal(read_same(&twins, large, 5000), 1000);
    close_twins(&twins);
}

static void beyond_the_end_there_is_nothing(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    struct twins twins = open_twins("file");
    assert_int_equal(seek_same(&twins, 50000, SEEK_SET), 50000);
    assert_int_equal(read_same(&twins, large, 100), 0);
    assert_int_equal(seek_same(&twins, 0, SEEK_CUR), 50000);
    write_content("file", 49000, 2000); /* until there is content */
    assert_int_equal(read_same(&twins, large, 5000), 1000);
    assert_content(large, 50000, 1000);
    close_twins(&twins);
}

static void who_jumps_and_reads_on_is_served_again(void **state)
{
    uint64_t before;

    (void)state;
    start();
    make_file("file", (size_t)16 * MIB);
    before = status_get(STATUS_BYTES);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 1000, 0);
    assert_int_equal(seek_served(fd, 10 * MIB, SEEK_SET), 10 * MIB);
    assert_reads(fd, 1000, 10 * MIB); /* by the kernel: mapping would not pay for this one */
    assert_int_equal(status_get(STATUS_BYTES) - before, 1000);
    assert_reads(fd, 1000, 10 * MIB + 1000);
    assert_reads(fd, 1000, 10 * MIB + 2000);
    assert_int_equal(status_get(STATUS_BYTES) - before, 3000);
    close_served(fd);
}

static void reading_at_a_place_leaves_the_offset_alone(void **state)
{
    uint64_t before;

    (void)state;
    start();
    make_file("file", 300000);
    before = status_get(STATUS_BYTES);
    struct twins twins = open_twins("file");
    assert_int_equal(read_same(&twins, large, 1000), 1000);
    assert_int_equal(pread_same(&twins, 50000, 1000), 50000);
    assert_int_equal(pread_same(&twins, 50000, 51000), 50000);
    assert_int_equal(pread_same(&twins, 50000, 290000), 10000);
    assert_int_equal(pread_same(&twins, 50000, 300000), 0);
    assert_int_equal(seek_same(&twins, 0, SEEK_CUR), 1000);
    assert_int_equal(read_same(&twins, large, 1000), 1000);
    assert_int_equal(status_get(STATUS_BYTES) - before, 112000);
    close_twins(&twins);
}

static void handing_over_sets_the_kernel_s_offset(void **state)
{
    (void)state;
    start();
    make_file("file", 100000);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 12345, 0);
    assert_int_equal(kernel_offset(fd), 0); /* not updated yet */
    errno = UNTOUCHED;
    stream_hand_over(fd, STREAM_DUP);
    assert_int_equal(errno, UNTOUCHED);
    assert_int_equal(kernel_offset(fd), 12345);
    assert_false(stream_is_served(fd));
    assert_int_equal(mapped_bytes("file"), 0);
    assert_reads(fd, 1000, 12345); /* by the kernel */
    assert_int_equal(kernel_offset(fd), 13345);
    stream_hand_over(fd, STREAM_DUP);
    stream_hand_over(-1, STREAM_DUP);
    stream_hand_over(STREAM_LIMIT, STREAM_DUP);
    assert_int_equal(kernel_offset(fd), 13345);
    close_served(fd);
}

static void handing_over_a_range(void **state)
{
    int fds[4];

    (void)state;
    start();
    make_file("file", 100000);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = open_served("file", O_RDONLY);
        assert_reads(fds[i], 1000 * (i + 1), 0);
    }
    stream_hand_over_range((unsigned)fds[1], (unsigned)fds[2], STREAM_FORK);
    assert_true(stream_is_served(fds[0]));
    assert_false(stream_is_served(fds[1]));
    assert_false(stream_is_served(fds[2]));
    assert_true(stream_is_served(fds[3]));
    stream_hand_over_range(0, UINT32_MAX, STREAM_FORK);
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_false(stream_is_served(fds[i]));
        assert_int_equal(kernel_offset(fds[i]), 1000 * (i + 1));
        close_served(fds[i]);
    }
}

/* ---- duplicates ---- */

static void duplicates_are_the_kernel_s(void **state)
{
    (void)state;
    start();
    make_file("file", 100000);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 1000, 0);
    int duplicate = duplicate_served(fd);
    assert_false(stream_is_served(fd));
    assert_false(stream_is_served(duplicate));
    assert_int_equal(mapped_bytes("file"), 0);
    assert_reads(duplicate, 2000, 1000);
    assert_reads(fd, 3000, 3000);
    assert_int_equal(seek_served(duplicate, 0, SEEK_CUR), 6000);
    close_served(fd);
    assert_reads(duplicate, 1000, 6000);
    close_served(duplicate);
}

static void a_replaced_descriptor_is_the_new_file_s(void **state)
{
    (void)state;
    start();
    make_file("file", 100000);
    make_file("other", 5000);
    int fd = open_served("file", O_RDONLY);
    int target = open_served("other", O_RDONLY);
    assert_reads(fd, 1000, 0);
    assert_reads(target, 10, 0);
    stream_hand_over(fd, STREAM_DUP);
    stream_hand_over(target, STREAM_DUP);
    assert_int_equal(dup2(fd, target), target);
    assert_int_equal(mapped_bytes("other"), 0);
    assert_reads(target, 1000, 1000);
    assert_reads(fd, 1000, 2000);
    close_served(fd);
    close_served(target);
}

/* ---- parts ---- */

static void reading_into_several_parts(void **state)
{
    char a[10], b[PAGE], c[1];
    const struct iovec parts[] = {{a, 0}, {a, 10}, {NULL, 0}, {b, PAGE}, {large, 300000}, {c, 1}};
    const size_t total = 10 + PAGE + 300000 + 1;
    uint64_t before;

    (void)state;
    start();
    make_file("file", 500000);
    before = status_get(STATUS_BYTES);
    int fd = open_served("file", O_RDONLY);
    for (off64_t offset = 0; offset < 20; offset += 20) {
        assert_int_equal(readv_served(fd, parts, COUNT(parts), READING_MOVES), total);
        assert_content(a, 0, 10);
        assert_content(b, 10, PAGE);
        assert_content(large, 10 + PAGE, 300000);
        assert_content(c, (off64_t)total - 1, 1);
    }
    assert_int_equal(readv_served(fd, parts, COUNT(parts), (off64_t)total), 500000 - total);
    assert_content(a, (off64_t)total, 10);
    assert_content(large, (off64_t)total + 10 + PAGE, 500000 - total - 10 - PAGE);
    assert_int_equal(status_get(STATUS_BYTES) - before, 500000);
    assert_int_equal(seek_served(fd, 0, SEEK_CUR), total);
    close_served(fd);
}

static void many_parts(void **state)
{
    struct iovec parts[1024];

    (void)state;
    start();
    make_file("file", 500000);
    for (size_t i = 0; i < COUNT(parts); i++)
        parts[i] = (struct iovec){large + 10 * i, 10};
    int fd = open_served("file", O_RDONLY);
    for (int count = 1; count <= 1024; count = count < 64 ? count + 1 : count * 2) {
        (void)seek_served(fd, 5, SEEK_SET);
        assert_int_equal(readv_served(fd, parts, count, READING_MOVES), 10 * count);
        assert_content(large, 5, 10 * (size_t)count);
    }
    close_served(fd);
}

/* ---- bad arguments: each on a new stream, after a read of `before` bytes ---- */

static void readv_alike(size_t before, const struct iovec *parts, int count)
{
    struct twins twins = open_twins("file");

    (void)read_same(&twins, large, before);
    errno = UNTOUCHED;
    ssize_t kernels = readv(twins.plain, parts, count);
    int kernels_errno = errno;
    errno = UNTOUCHED;
    ssize_t ours = readv_served(twins.served, parts, count, READING_MOVES);
    assert_same(ours, errno, kernels, kernels_errno);
    assert_same_offset(&twins);

    errno = UNTOUCHED;
    kernels = preadv64(twins.plain, parts, count, (off64_t)before + 10);
    kernels_errno = errno;
    errno = UNTOUCHED;
    ours = readv_served(twins.served, parts, count, (off64_t)before + 10);
    assert_same(ours, errno, kernels, kernels_errno);
    assert_same_offset(&twins);
    close_twins(&twins);
}

static void read_alike(size_t before, void *buffer, size_t count)
{
    struct twins twins = open_twins("file");

    (void)read_same(&twins, large, before);
    (void)read_same(&twins, buffer, count);
    assert_same_offset(&twins);
    (void)read_same(&twins, large, 100);
    assert_same_offset(&twins);
    close_twins(&twins);
    readv_alike(before, &(struct iovec){buffer, count}, 1);
}

static void bad_buffers(void **state)
{
    void *const buffers[] = {
        NULL,     (void *)16, none, none - 100, /* straddles the end of the page */
        none - 1, read_only,
    };
    static const size_t counts[] = {1, 64, 100, 101, 5000, 100000};

    (void)state;
    if (under_valgrind())
        skip();
    start();
    make_file("file", 50000);
    for (size_t i = 0; i < COUNT(buffers); i++) {
        for (size_t j = 0; j < COUNT(counts); j++) {
            read_alike(0, buffers[i], counts[j]);
            read_alike(10000, buffers[i], counts[j]);
            read_alike(49990, buffers[i], counts[j]);
        }
    }
}

/* The kernel refuses addresses in its half before it checks the file. */
static void buffers_beyond_user_space(void **state)
{
    void *const buffers[] = {(void *)(UINT64_C(1) << 63), (void *)UINT64_C(0xffff800000001000),
                             (void *)(UINTPTR_MAX - PAGE)};
    static const size_t counts[] = {0, 1, 32}; /* larger ones fail in the sanitizer */

    (void)state;
    if (under_valgrind() || UINTPTR_MAX == UINT32_MAX)
        skip(); /* for 32 bits the end of user space depends on the kernel */
    start();
    make_file("file", 50000);
    for (size_t i = 0; i < COUNT(buffers); i++) {
        for (size_t j = 0; j < COUNT(counts); j++) {
            read_alike(0, buffers[i], counts[j]);
            read_alike(10000, buffers[i], counts[j]);
            read_alike(50000, buffers[i], counts[j]); /* at the end of the file, too */
        }
    }
}

static void no_bytes_at_all(void **state)
{
    (void)state;
    start();
    make_file("file", 50000);
    read_alike(0, large, 0);
    read_alike(0, NULL, 0);
    read_alike(100, none, 0);
    read_alike(50000, NULL, 0);
}

static void huge_counts(void **state)
{
    static const size_t counts[] = {
        INT32_MAX, 0x7ffff000, 0x7fffefff, UINT32_MAX, (size_t)UINT32_MAX + 1, SSIZE_MAX, SIZE_MAX};

    (void)state;
    if (under_valgrind())
        skip();
    start();
    make_file("file", 50000);
    for (size_t i = 0; i < COUNT(counts); i++) {
        read_alike(0, large, counts[i]);
        read_alike(123, large, counts[i]);
        read_alike(50000, large, counts[i]);
    }
}

/* One call reads at most 0x7ffff000 bytes, read(2). Each part into the same buffer. */
static void the_most_that_one_call_reads(void **state)
{
    enum { PARTS = 16, PART = 128 * MIB };
    struct iovec parts[PARTS];
    char *memory = map(PART, PROT_READ | PROT_WRITE);

    (void)state;
    if (sysconf(_SC_AVPHYS_PAGES) < ((off64_t)4 << 30) / PAGE)
        skip(); /* the page cache takes half of it */
    start();
    make_file("sparse", 0);
    assert_int_equal(truncate64("sparse", (off64_t)3 << 30), 0);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){memory, PART};
    parts[PARTS - 1].iov_len--; /* INT_MAX in all */
    int fd = open_served("sparse", O_RDONLY);
    assert_int_equal(readv_served(fd, parts, PARTS, READING_MOVES), 0x7ffff000);
    assert_int_equal(seek_served(fd, 0, SEEK_CUR), 0x7ffff000);
    close_served(fd);
    assert_int_equal(unlink("sparse"), 0);
    assert_int_equal(munmap(memory, PART), 0);
}

/* The library sends in pieces, with the same total limit as one call of the kernel, sendfile(2).
 * */
static void the_most_that_one_call_sends(void **state)
{
    const size_t most = 0x7ffff000;
    off64_t offset = 0;

    (void)state;
    if (sysconf(_SC_AVPHYS_PAGES) < ((off64_t)4 << 30) / PAGE)
        skip(); /* the page cache takes half of it */
    start();
    readahead_policy(8 * MIB);
    make_file("sparse", 0);
    assert_int_equal(truncate64("sparse", (off64_t)3 << 30), 0);
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC), in = open_served("sparse", O_RDONLY);
    assert_int_equal(sending_send(out, in, &offset, (size_t)3 << 30), most);
    assert_int_equal(offset, most);
    close_served(in);
    assert_int_equal(close(out), 0);
    assert_int_equal(unlink("sparse"), 0);
    readahead_policy(0);
}

/* Ignored signals interrupt neither a call of the kernel nor one made of several. */
static void an_ignored_signal_ends_no_send(void **state)
{
    const pid_t self = getpid();

    (void)state;
    start();
    readahead_policy(8 * MIB);
    make_file("file", 32 * MIB);
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t sender = fork();
    if (sender == 0) {
        while (kill(self, SIGWINCH) == 0)
            ;
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        off64_t offset = 0;
        int in = open_served("file", O_RDONLY);
        assert_int_equal(sending_send(out, in, &offset, 32 * MIB), 32 * MIB);
        close_served(in);
    }
    assert_int_equal(kill(sender, SIGKILL), 0);
    assert_int_equal(waitpid(sender, NULL, 0), sender);
    assert_int_equal(close(out), 0);
    readahead_policy(0);
}

static void bad_parts(void **state)
{
    const struct iovec good = {large, 100};
    const struct iovec good_then_bad[] = {{large, 100}, {none, 100}, {large, 100}};
    const struct iovec good_then_kernels[] = {{large, 100}, {(void *)(UINT64_C(1) << 63), 32}};
    const struct iovec too_long[] = {{large, 100}, {large, SIZE_MAX}};
    const struct iovec long_in_all[] = {{large, SSIZE_MAX}, {large, SSIZE_MAX}};
    struct iovec *const straddling = (struct iovec *)none - 1;

    (void)state;
    if (under_valgrind())
        skip();
    start();
    make_file("file", 50000);
    *straddling = good;
    for (size_t before = 0; before <= 50000; before += 49950) {
        readv_alike(before, NULL, 1);
        readv_alike(before, (struct iovec *)none, 1);
        readv_alike(before, (struct iovec *)(UINT64_C(1) << 63), 1);
        readv_alike(before, straddling, 1);
        readv_alike(before, straddling, 2);
        readv_alike(before, &good, 0);
        readv_alike(before, &good, -1);
        readv_alike(before, &good, INT32_MIN);
        readv_alike(before, &good, INT32_MAX);
        readv_alike(before, NULL, 0);
        readv_alike(before, good_then_bad, COUNT(good_then_bad));
        readv_alike(before, good_then_kernels, COUNT(good_then_kernels));
        readv_alike(before, too_long, COUNT(too_long));
        readv_alike(before, long_in_all, COUNT(long_in_all));
    }
}

static void places_that_no_file_has(void **state)
{
    static const off64_t offsets[] = {50000, 1 << 20, INT64_MAX - 1000, INT64_MAX - 10, INT64_MAX};

    (void)state;
    start();
    make_file("file", 50000);
    struct twins twins = open_twins("file");
    for (size_t i = 0; i < COUNT(offsets); i++) {
        (void)pread_same(&twins, 100, offsets[i]);
        (void)pread_same(&twins, 100, offsets[i]); /* now it looks like a sequential reader */
    }
    close_twins(&twins);
}

static void what_is_not_open(void **state)
{
    static const int fds[] = {-1, 1000, STREAM_LIMIT - 1, STREAM_LIMIT, INT32_MAX, INT32_MIN};
    struct iovec part = {large, 10};
    off64_t offset;

    (void)state;
    start();
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_false(reading_read(fds[i], &part, 1, READING_MOVES).answered);
        assert_false(reading_read(fds[i], &part, 1, 0).answered);
        assert_false(stream_seek(fds[i], 0, SEEK_CUR, &offset));
        stream_forget(fds[i]);
        stream_hand_over(fds[i], STREAM_DUP);
        stream_closing(fds[i]);
        stream_opened(fds[i], O_RDONLY);
        assert_false(stream_is_served(fds[i]));
    }
}

/* ---- out of memory ---- */

static void without_the_guard_the_kernel_reads(void **state)
{
    sigset_t faults;
    uint64_t before;

    (void)state;
    start();
    make_file("file", 100000);
    struct twins twins = open_twins("file");
    (void)read_same(&twins, large, 1000);
    sigemptyset(&faults);
    sigaddset(&faults, SIGBUS);
    assert_int_equal(libc_next(pthread_sigmask)(SIG_BLOCK, &faults, NULL), 0);
    guard_mask_changed();
    before = status_get(STATUS_BYTES);
    (void)read_same(&twins, large, 1000);
    (void)pread_same(&twins, 1000, 500);
    assert_int_equal(truncate("file", 50000), 0);
    assert_int_equal(read_same(&twins, large, 100000), 48000);
    assert_int_equal(status_get(STATUS_BYTES), before);
    assert_int_equal(libc_next(pthread_sigmask)(SIG_UNBLOCK, &faults, NULL), 0);
    guard_mask_changed();
    (void)seek_same(&twins, 500, SEEK_SET);
    (void)read_same(&twins, large, 1000);
    assert_int_equal(status_get(STATUS_BYTES), before); /* released */
    assert_same_offset(&twins);
    close_twins(&twins);
}

/* In a child: the sanitizer may need memory, too. */
static void read_without_address_space(void)
{
    static const struct rlimit little = {MIB, MIB}; /* less than is in use */
    int fd = open_served("file", O_RDONLY);

    require(setrlimit(RLIMIT_AS, &little) == 0);
    for (int i = 0; i < 10; i++) {
        errno = UNTOUCHED;
        require(read_served(fd, large, 1000) == 1000 && errno == UNTOUCHED);
        require((unsigned char)large[999] == content(1000 * i + 999));
        require(kernel_offset(fd) == 1000 * (i + 1));
    }
    require(status_get(STATUS_REFUSED) == 1 && !stream_is_served(fd));
}

static void without_address_space_the_kernel_reads(void **state)
{
    (void)state;
    start();
    make_file("file", 100000);
    assert_int_equal(run_in_child(read_without_address_space), 0);
}

static void allow(rlim_t descriptors)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = descriptors;
    if (limit.rlim_max < descriptors)
        limit.rlim_max = descriptors;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        skip();
}

static void numbers_beyond_the_table(void **state)
{
    uint64_t full = status_get(STATUS_FULL);

    (void)state;
    start();
    allow(STREAM_LIMIT + 100);
    make_file("file", 10000);
    int low = open_served("file", O_RDONLY);
    int last = fcntl(low, F_DUPFD_CLOEXEC, STREAM_LIMIT - 1);
    int high = fcntl(low, F_DUPFD_CLOEXEC, STREAM_LIMIT);
    assert_int_equal(last, STREAM_LIMIT - 1);
    assert_int_equal(high, STREAM_LIMIT);
    stream_opened(last, O_RDONLY);
    assert_true(stream_is_served(last));
    assert_int_equal(status_get(STATUS_FULL), full);
    stream_opened(high, O_RDONLY);
    assert_false(stream_is_served(high));
    assert_int_equal(status_get(STATUS_FULL), full + 1);
    assert_int_equal(lseek64(high, 0, SEEK_SET), 0);
    assert_reads(high, 100, 0);
    close_served(high);
    close_served(last);
    close_served(low);
    assert_int_equal(mapped_bytes("file"), 0);
}

/* ---- reused descriptors ---- */

static void a_number_is_used_again(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    make_text("other", "other content", 13);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0);
    close_served(fd);
    assert_false(stream_is_served(fd));
    assert_int_equal(open_served("other", O_RDONLY), fd);
    assert_int_equal(read_served(fd, large, 100), 13);
    assert_memory_equal(large, "other content", 13);
    close_served(fd);
}

static void an_unseen_close(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    make_text("other", "other content", 13);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0);
    assert_int_equal(close(fd), 0); /* by a system call that bypasses the library */
    assert_int_equal(open_served("other", O_RDONLY), fd);
    assert_int_equal(mapped_bytes("file"), 0);
    assert_int_equal(read_served(fd, large, 100), 13);
    assert_memory_equal(large, "other content", 13);
    close_served(fd);
}

static void unseen_close_then(const char *name, int flags)
{
    int fd = open_served("file", O_RDONLY);

    assert_reads(fd, 100, 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(open_served(name, flags), fd);
    assert_int_equal(read_served(fd, large, 100), 7);
    assert_memory_equal(large, "content", 7);
    close_served(fd);
}

static void an_unseen_close_before_what_is_not_served(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    make_text("unserved", "content", 7);
    unseen_close_then("unserved", O_RDWR);
    stream_serve(1000);
    unseen_close_then("unserved", O_RDONLY);
}

static void an_unseen_close_before_a_duplicate(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    make_text("unserved", "content", 7);
    int other = open("unserved", O_RDWR | O_CLOEXEC);
    int fd = open_served("file", O_RDONLY);
    assert_reads(fd, 100, 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(duplicate_served(other), fd);
    assert_int_equal(read_served(fd, large, 100), 7);
    assert_memory_equal(large, "content", 7);
    close_served(fd);
    assert_int_equal(close(other), 0);
}

/* ---- served files, and others ---- */

static void use_standard_input(void)
{
    require(close(STDIN_FILENO) == 0);
    require(open_served("file", O_RDONLY) == STDIN_FILENO && !stream_is_served(STDIN_FILENO));
    int fd = open_served("file", O_RDONLY);
    require(stream_is_served(fd) && read_served(fd, large, 100) == 100);
    stream_hand_over(fd, STREAM_DUP);
    require(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    require(!stream_is_served(fd) && kernel_offset(STDIN_FILENO) == 100);
}

static void standard_descriptors_are_not_served(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    assert_int_equal(run_in_child(use_standard_input), 0);
}

static bool serves(const char *name, int flags)
{
    int fd = open(name, flags | O_NONBLOCK | O_CLOEXEC);

    if (fd == -1) {
        print_message("# %s can't be opened here: %s\n", name, strerror(errno));
        return false;
    }
    errno = UNTOUCHED;
    stream_opened(fd, flags);
    assert_int_equal(errno, UNTOUCHED);
    bool served = stream_is_served(fd);
    close_served(fd);
    return served;
}

static void regular_files_that_are_read_only_are_served(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    make_file("empty", 0);
    assert_int_equal(mkdir("directory", 0755), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0);
    assert_true(serves("file", O_RDONLY));
    assert_true(serves("file", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_APPEND));
    assert_false(serves("file", O_WRONLY));
    assert_false(serves("file", O_RDWR));
    assert_false(serves("file", O_PATH));
    assert_false(serves("file", O_RDONLY | O_DIRECT));
    assert_false(serves("directory", O_RDONLY));
    assert_false(serves("directory", O_RDONLY | O_DIRECTORY));
    assert_false(serves("fifo", O_RDONLY));
    assert_false(serves("empty", O_RDONLY));
    assert_false(serves("/dev/null", O_RDONLY));
    assert_false(serves("/dev/zero", O_RDONLY));
}

static void pseudo_files_are_not_served(void **state)
{
    static const char *const names[] = {
        "/proc/self/maps",
        "/proc/version",
        "/proc/kcore",
        "/proc/config.gz",
        "/sys/devices/system/cpu/online",
        "/sys/kernel/notes",
        "/sys/fs/cgroup/cgroup.procs",
    };

    (void)state;
    start();
    for (size_t i = 0; i < COUNT(names); i++)
        assert_false(serves(names[i], O_RDONLY));
}

static void the_policy_says_which(void **state)
{
    (void)state;
    start();
    make_file("file", 10000);
    stream_serve(10000);
    assert_true(serves("file", O_RDONLY));
    stream_serve(10001);
    assert_false(serves("file", O_RDONLY));
    stream_serve_none();
    assert_false(serves("file", O_RDONLY));
}

/* ---- listed files ---- */

static void list(const char *name)
{
    struct stat64 status;

    assert_int_equal(stat64(name, &status), 0);
    struct status_identity identity = status_identity_of(&status);
    status_files_begin();
    unsigned slot = status_file_take(name);
    assert_int_not_equal(slot, STATUS_NO_SLOT);
    status_file_set(slot, 0, &identity, 0, 0);
    status_files_end();
}

/* Listing a file changes only the counts, not how it is read. */
static void listed_files_are_counted(void **state)
{
    (void)state;
    start();
    assert_true(status_share(NULL));
    make_file("file", 10 * PAGE + 7);
    list("file");
    uint64_t listed = status_get(STATUS_LISTED), changed = status_get(STATUS_CHANGED);
    stream_serve(10 * PAGE + 7);
    struct twins twins = open_twins("file");
    assert_true(stream_is_served(twins.served));
    assert_int_equal(read_same(&twins, large, 10000), 10000);
    close_twins(&twins);
    stream_serve(10 * PAGE + 8);
    twins = open_twins("file");
    assert_false(stream_is_served(twins.served)); /* too small, although listed */
    close_twins(&twins);
    assert_int_equal(status_get(STATUS_LISTED), listed + 2);
    assert_int_equal(status_get(STATUS_CHANGED), changed);

    write_content("file", 0, 10 * PAGE + 8);
    twins = open_twins("file");
    close_twins(&twins);
    make_file("other", 10 * PAGE + 8);
    twins = open_twins("other");
    close_twins(&twins);
    assert_int_equal(status_get(STATUS_LISTED), listed + 2);
    assert_int_equal(status_get(STATUS_CHANGED), changed + 1);
}

/* ---- random operations ---- */

enum { TWINS = 4, STEPS = 20000 };

static uint64_t random_state;

static size_t at_random(size_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random_state >> 33) % below;
}

static void change_file(void)
{
    struct stat64 status;

    assert_int_equal(stat64("file", &status), 0);
    off64_t size = status.st_size;
    switch (at_random(3)) {
    case 0:
        assert_int_equal(truncate64("file", (off64_t)at_random((size_t)size + 1)), 0);
        break;
    case 1:
        write_content("file", size, at_random(700000));
        break;
    default: /* zeros */
        assert_int_equal(truncate64("file", size + (off64_t)at_random(20000)), 0);
    }
}

static void read_parts_same(const struct twins *twins, off64_t offset)
{
    static char ours[3][70000], kernels[3][70000];
    struct iovec our_parts[3], kernels_parts[3];

    for (size_t i = 0; i < COUNT(our_parts); i++) {
        size_t length = at_random(2) == 0 ? at_random(100) : at_random(sizeof ours[i]);
        our_parts[i] = (struct iovec){ours[i], length};
        kernels_parts[i] = (struct iovec){kernels[i], length};
    }
    ssize_t kernel_count =
        offset == READING_MOVES
            ? readv(twins->plain, kernels_parts, COUNT(kernels_parts))
            : preadv64(twins->plain, kernels_parts, COUNT(kernels_parts), offset);
    ssize_t count = readv_served(twins->served, our_parts, COUNT(our_parts), offset);
    assert_int_equal(count, kernel_count);
    for (size_t i = 0; i < COUNT(our_parts) && count > 0; i++) {
        size_t length = our_parts[i].iov_len < (size_t)count ? our_parts[i].iov_len : (size_t)count;
        assert_memory_equal(ours[i], kernels[i], length);
        count -= (ssize_t)length;
    }
}

/* Make `target` a duplicate, or open the file again. */
static void reopen(struct twins *target, const struct twins *source)
{
    close_twins(target);
    if (at_random(2) == 0 && target != source) {
        target->served = duplicate_served(source->served);
        target->plain = dup(source->plain);
        assert_int_not_equal(target->plain, -1);
    } else {
        *target = open_twins("file");
    }
}

static void replace(const struct twins *target, const struct twins *source)
{
    if (target == source)
        return;
    stream_hand_over(source->served, STREAM_DUP);
    stream_hand_over(target->served, STREAM_DUP);
    assert_int_equal(dup2(source->served, target->served), target->served);
    assert_int_equal(dup2(source->plain, target->plain), target->plain);
}

static void step(struct twins *all)
{
    struct twins *one = &all[at_random(TWINS)];

    switch (at_random(40)) {
    case 0:
        reopen(one, &all[at_random(TWINS)]);
        break;
    case 1:
        replace(one, &all[at_random(TWINS)]);
        break;
    case 2:
        stream_hand_over(one->served, STREAM_DUP);
        break;
    case 3:
    case 4:
        change_file();
        break;
    case 5:
    case 6:
        (void)seek_same(one, (off64_t)at_random(2000000) - 10000, (int)at_random(5));
        break;
    case 7:
        assert_same_offset(one);
        break;
    case 8:
        assert_same(read_served(one->served, none - 100, 5000), UNTOUCHED,
                    read(one->plain, none - 100, 5000), UNTOUCHED);
        break;
    case 9:
    case 10:
    case 11:
        (void)pread_same(one, at_random(64 * KIB), (off64_t)at_random(2000000));
        break;
    case 12:
    case 13:
        read_parts_same(one, READING_MOVES);
        break;
    case 14:
        read_parts_same(one, (off64_t)at_random(2000000));
        break;
    default:
        (void)read_same(one, large, at_random(at_random(10) == 0 ? MIB : 20000));
    }
}

static void anything_at_all(void **state)
{
    struct twins all[TWINS];
    uint64_t before = status_get(STATUS_BYTES);

    (void)state;
    start();
    for (uint64_t seed = 1; seed <= 4; seed++) {
        random_state = seed;
        make_file("file", 500000);
        for (size_t i = 0; i < TWINS; i++)
            all[i] = open_twins("file");
        for (int i = 0; i < STEPS / 4; i++)
            step(all);
        for (size_t i = 0; i < TWINS; i++)
            close_twins(&all[i]);
        assert_int_equal(mapped_bytes("file"), 0);
    }
    assert_true(status_get(STATUS_BYTES) - before > 10 * MIB); /* it was exercised, on tmpfs too */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, finish)
    static const struct CMUnitTest tests[] = {
        TEST(read_in_odd_sizes),
        TEST(one_byte_at_a_time),
        TEST(the_window_is_bounded_and_goes_away),
        TEST(the_end_is_asked_for_each_time),
        TEST(what_is_written_is_seen),
        TEST(beyond_four_gibibytes),
        TEST(a_shrunken_file_ends_where_it_ends),
        TEST(padding_within_a_page_is_not_content),
        TEST(beyond_what_is_read_the_buffer_stays),
        TEST(padding_is_not_read_at_a_place_either),
        TEST(zeros_at_the_end_are_content),
        TEST(zeros_that_are_cut_off_are_not),
        TEST(all_kinds_of_seeks),
        TEST(seeking_to_a_hole),
        TEST(beyond_the_end_there_is_nothing),
        TEST(who_jumps_and_reads_on_is_served_again),
        TEST(reading_at_a_place_leaves_the_offset_alone),
        TEST(handing_over_sets_the_kernel_s_offset),
        TEST(handing_over_a_range),
        TEST(duplicates_are_the_kernel_s),
        TEST(a_replaced_descriptor_is_the_new_file_s),
        TEST(reading_into_several_parts),
        TEST(many_parts),
        TEST(bad_buffers),
        TEST(buffers_beyond_user_space),
        TEST(no_bytes_at_all),
        TEST(huge_counts),
        TEST(the_most_that_one_call_reads),
        TEST(the_most_that_one_call_sends),
        TEST(an_ignored_signal_ends_no_send),
        TEST(bad_parts),
        TEST(places_that_no_file_has),
        TEST(what_is_not_open),
        TEST(without_the_guard_the_kernel_reads),
        TEST(without_address_space_the_kernel_reads),
        TEST(numbers_beyond_the_table),
        TEST(a_number_is_used_again),
        TEST(an_unseen_close),
        TEST(an_unseen_close_before_what_is_not_served),
        TEST(an_unseen_close_before_a_duplicate),
        TEST(standard_descriptors_are_not_served),
        TEST(regular_files_that_are_read_only_are_served),
        TEST(pseudo_files_are_not_served),
        TEST(the_policy_says_which),
        TEST(listed_files_are_counted),
        TEST(anything_at_all),
    };

    return cmocka_run_group_tests(tests, enter, unit_leave);
}
