/*
 * Measure the CPU time of one read in nanoseconds, by what answers it. Run it with the library
 * preloaded:
 *
 *     LD_PRELOAD=libxfermmap.so XFERMMAP_PROCESS=perread perread FILE ROUNDS
 *
 * Read the file from end to end in pieces of 16 KiB, in each of the ways below in turn. The file
 * should be larger than the processor's caches, and in the page cache. Print a line for each round
 * and way.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 16 << 10, UNSERVED_READS = 500000 };

/* libc's own functions, which programs reach without the library */
static ssize_t (*libc_read)(int, void *, size_t);
static ssize_t (*libc_pread)(int, void *, size_t, off_t);

static char buffer[PIECE] __attribute__((aligned(4096)));
static const char *file;
static const char *mapping; /* of the file, with all pages present */
static off_t size;
static int zero;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(ssize_t count, size_t expected)
{
    if (count != (ssize_t)expected)
        fail("a read came short");
}

static int open_file(void)
{
    int fd = open(file, O_RDONLY);

    if (fd == -1)
        fail(file);
    return fd;
}

/* The time of the last pass. The first touch of a mapped page fills its page table entry, which is
 * expensive in some virtual machines: a second pass leaves that out. */
static double pass(ssize_t (*reads)(int, void *, size_t, off_t), int passes)
{
    int fd = open_file();
    double start = 0;

    for (int i = 0; i < passes; i++) {
        if (lseek(fd, 0, SEEK_SET) == -1)
            fail(file);
        start = now();
        for (off_t at = 0; at < size; at += PIECE)
            check(reads(fd, buffer, PIECE, at), PIECE);
    }
    double end = now();
    (void)close(fd);
    return (end - start) / (double)(size / PIECE);
}

static ssize_t read_on(int fd, void *to, size_t length, off_t offset)
{
    (void)offset;
    return read(fd, to, length);
}

static double by_windows(void)
{
    return pass(read_on, 1);
}

static double by_kernel(void)
{
    return pass(libc_pread, 1);
}

static ssize_t copy(int fd, void *to, size_t length, off_t offset)
{
    (void)fd;
    memcpy(to, mapping + offset, length);
    __asm__ volatile("" ::: "memory");
    return (ssize_t)length;
}

static double by_copying(void)
{
    return pass(copy, 2);
}

static double unserved(void)
{
    double start = now();

    for (int i = 0; i < UNSERVED_READS; i++)
        check(read(zero, buffer, 1), 1);
    return (now() - start) / UNSERVED_READS;
}

static double plain_call(void)
{
    double start = now();

    for (int i = 0; i < UNSERVED_READS; i++)
        check(libc_read(zero, buffer, 1), 1);
    return (now() - start) / UNSERVED_READS;
}

static const struct way {
    const char *name;
    double (*measure)(void);
} ways[] = {
    {"pread", by_kernel},   {"windows", by_windows},    {"memcpy", by_copying},
    {"unserved", unserved}, {"plain call", plain_call},
};

static void prepare(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    struct stat status;

    if (libc == NULL)
        fail("libc.so.6");
    *(void **)&libc_read = dlsym(libc, "read");
    *(void **)&libc_pread = dlsym(libc, "pread");
    int fd = open_file();
    if (fstat(fd, &status) == -1)
        fail(file);
    size = status.st_size / PIECE * PIECE;
    void *memory = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED)
        fail(file);
    mapping = memory;
    (void)close(fd);
    zero = open("/dev/zero", O_RDONLY);
    if (zero == -1)
        fail("/dev/zero");
}

int main(int count, char **arguments)
{
    if (count != 3) {
        (void)fprintf(stderr, "usage: perread FILE ROUNDS\n");
        return 2;
    }
    file = arguments[1];
    prepare();
    for (int round = 0; round < atoi(arguments[2]); round++) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
            printf("%s\t%.1f\n", ways[i].name, ways[i].measure());
    }
    return 0;
}
