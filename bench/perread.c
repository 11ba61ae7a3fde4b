/*
 * What one read costs, nanoseconds of CPU time, by who answers it. To be run with the library
 * preloaded:
 *
 *     LD_PRELOAD=libxfermmap.so XFERMMAP_PROCESS=perread perread FILE ROUNDS
 *
 * FILE is read from end to end in pieces of 16 KiB, by the ways below in turns; it should be larger
 * than the processor's caches, and in the page cache. Prints a line for each round and way.
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

/* libc's own, past the library: what the calls of a program reach without it */
static ssize_t (*libc_read)(int, void *, size_t);
static ssize_t (*libc_pread)(int, void *, size_t, off_t);

static char buffer[PIECE] __attribute__((aligned(4096)));
static const char *path;
static const char *mapping;
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
    int fd = open(path, O_RDONLY);

    if (fd == -1)
        fail(path);
    return fd;
}

static double served(void)
{
    int fd = open_file();
    double start = now();

    for (off_t at = 0; at < size; at += PIECE)
        check(read(fd, buffer, PIECE), PIECE);
    double end = now();
    (void)close(fd);
    return (end - start) / (double)(size / PIECE);
}

static double by_kernel(void)
{
    int fd = open_file();
    double start = now();

    for (off_t at = 0; at < size; at += PIECE)
        check(libc_pread(fd, buffer, PIECE, at), PIECE);
    double end = now();
    (void)close(fd);
    return (end - start) / (double)(size / PIECE);
}

static double bare_copy(void)
{
    double start = now();

    for (off_t at = 0; at < size; at += PIECE) {
        memcpy(buffer, mapping + at, PIECE);
        __asm__ volatile("" ::: "memory");
    }
    return (now() - start) / (double)(size / PIECE);
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
    {"pread", by_kernel},   {"served", served},         {"memcpy", bare_copy},
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
        fail(path);
    size = status.st_size / PIECE * PIECE;
    void *memory = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED)
        fail(path);
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
    path = arguments[1];
    prepare();
    for (int round = 0; round < atoi(arguments[2]); round++) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
            printf("%s\t%.1f\n", ways[i].name, ways[i].measure());
    }
    return 0;
}
