#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* How much of a file is looked at in one go, bytes. */
#define STEP ((off_t)1 << 30)

/* The kernel tells others that all of it is there: mincore(2), since Linux 5.2. */
static bool may_know(int fd, const struct stat *status)
{
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return status->st_uid == geteuid() || access(path, W_OK) == 0;
}

/* @return false: errno */
static bool count_pages(int fd, off_t offset, size_t length, uint64_t *pages)
{
    static unsigned char present[STEP / 4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);

    if (memory == MAP_FAILED)
        return false;
    bool told = mincore(memory, length, present) == 0;
    for (size_t i = 0; told && i < (length + page - 1) / page; i++)
        *pages += present[i] & 1;
    (void)munmap(memory, length);
    return told;
}

static bool resident(int fd, uint64_t *bytes)
{
    struct stat status;
    uint64_t pages = 0;
    off_t step;

    if (fstat(fd, &status) == -1)
        return false;
    errno = EPERM;
    if (!may_know(fd, &status))
        return false;
    for (off_t offset = 0; offset < status.st_size; offset += step) {
        step = status.st_size - offset < STEP ? status.st_size - offset : STEP;
        if (!count_pages(fd, offset, (size_t)step, &pages))
            return false;
    }
    *bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    if (*bytes > (uint64_t)status.st_size)
        *bytes = (uint64_t)status.st_size; /* the last page is not full */
    return true;
}

bool tool_resident(const char *path, uint64_t *bytes)
{
    struct stat status;

    if (stat(path, &status) == -1)
        return false;
    errno = EINVAL;
    if (!S_ISREG(status.st_mode)) /* opening a device can have effects */
        return false;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd == -1)
        return false;
    bool told = resident(fd, bytes);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return told;
}

struct tool_size tool_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct tool_size size;
    double number = (double)bytes;
    size_t unit = 0;

    while (number >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1024;
        unit++;
    }
    (void)snprintf(size.text, sizeof size.text, "%.*f %s", unit > 0, number, units[unit]);
    return size;
}
