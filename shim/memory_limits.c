#include "memory_limits.h"

#include "libc.h"

#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's default, include/linux/mm.h, for where /proc is missing. */
enum { DEFAULT_MAX_MAP_COUNT = 65530 };

/* @return the number in the file; `otherwise` where there is none ("max") */
static uint64_t number_in(const char *path, uint64_t otherwise)
{
    char text[64], *end;

    (void)libc_read_file(path, text, sizeof text);
    uint64_t number = strtoull(text, &end, 10);
    return end != text ? number : otherwise;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least limit from this cgroup up to the root of its hierarchy. */
static uint64_t limit_of_cgroup(const char *root, const char *group, const char *name)
{
    char path[PATH_MAX], directory[PATH_MAX];
    uint64_t limit = UINT64_MAX;

    (void)snprintf(directory, sizeof directory, "%s", group);
    for (char *end = directory + strlen(directory); end != NULL; end = strrchr(directory, '/')) {
        *end = '\0';
        if (snprintf(path, sizeof path, "%s%s/%s", root, directory, name) < (int)sizeof path)
            limit = least(limit, number_in(path, UINT64_MAX));
    }
    return limit;
}

static bool has_memory_controller(const char *controllers, const char *end)
{
    for (const char *name = controllers; name < end; name += strcspn(name, ",:") + 1) {
        if (strncmp(name, "memory", 6) == 0 && (name[6] == ',' || name[6] == ':'))
            return true;
    }
    return false;
}

/* Lines of /proc/self/cgroup: "0::/group" is version 2, "9:memory,...:/group" version 1. */
static uint64_t limit_of_cgroups(void)
{
    char text[4096], *rest;
    uint64_t limit = UINT64_MAX;

    (void)libc_read_file("/proc/self/cgroup", text, sizeof text);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        if (group == controllers + 1)
            limit =
                least(limit, least(limit_of_cgroup("/sys/fs/cgroup", group + 1, "memory.max"),
                                   limit_of_cgroup("/sys/fs/cgroup", group + 1, "memory.high")));
        else if (has_memory_controller(controllers + 1, group))
            limit = least(limit, limit_of_cgroup("/sys/fs/cgroup/memory", group + 1,
                                                 "memory.limit_in_bytes"));
    }
    return limit;
}

/* Huge pages of all sizes that are reserved, bytes: Linux 4.16. */
static uint64_t reserved(void)
{
    static const char name[] = "\nHugetlb:";
    char text[4096];

    (void)libc_read_file("/proc/meminfo", text, sizeof text);
    const char *line = strstr(text, name);
    return line != NULL ? strtoull(line + sizeof name - 1, NULL, 10) * 1024 : 0;
}

uint64_t limits_memory(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return least(limit_of_cgroups(), machine - least(reserved(), machine));
}

static bool may_lock_all(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    return syscall(SYS_capget, &header, sets) == 0 &&
           (sets[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

uint64_t limits_lock(void)
{
    struct rlimit allowance;

    if (may_lock_all() || getrlimit(RLIMIT_MEMLOCK, &allowance) == -1 ||
        allowance.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return allowance.rlim_cur;
}

bool limits_take(uint64_t most, uint64_t *taken, off64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t whole = ((uint64_t)size + page - 1) / page * page;

    if (whole > most - *taken)
        return false;
    *taken += whole;
    return true;
}

uint64_t limits_mappings(void)
{
    return number_in("/proc/sys/vm/max_map_count", DEFAULT_MAX_MAP_COUNT);
}
