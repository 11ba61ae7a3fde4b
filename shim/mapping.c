#include "mapping.h"

#include <linux/magic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#ifndef FUSE_SUPER_MAGIC /* not in the headers of Linux 5.10 */
#define FUSE_SUPER_MAGIC 0x65735546
#endif

bool mapping_is_faithful(int fd, const struct stat64 *status)
{
    struct statfs system;

    if (fstatfs(fd, &system) == -1)
        return false;
    switch ((uint32_t)system.f_type) { /* signed, and of 32 or 64 bits */
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case HUGETLBFS_MAGIC:
        return false;
    case TMPFS_MAGIC:
        return status->st_blocks * 512 >= status->st_size;
    default:
        return true;
    }
}

bool mapping_is_of_fuse(int fd)
{
    struct statfs system;

    return fstatfs(fd, &system) == 0 && (uint32_t)system.f_type == FUSE_SUPER_MAGIC;
}

bool mapping_map(struct mapping *mapping, int fd, off64_t start, size_t length)
{
    /* MAP_SHARED: a file system whose read() goes past the page cache refuses it, and should. Not
     * MAP_POPULATE: faults taken as they come, 16 pages each, cost less (docs/design.md). */
    void *memory = mmap64(NULL, length, PROT_READ, MAP_SHARED, fd, start);

    *mapping = (struct mapping){.memory = NULL};
    if (memory == MAP_FAILED)
        return false;
    /* What is read in by touching it then comes in huge pages, of which whoever maps it next has
     * less to do, too. Where the kernel has none, that's no matter. But it reads the next one ahead
     * with it. */
    if (!mapping_is_of_fuse(fd))
        (void)madvise(memory, length, MADV_HUGEPAGE);
    *mapping = (struct mapping){.memory = memory, .start = start, .length = length};
    return true;
}

void mapping_unmap(struct mapping *mapping)
{
    if (mapping->memory != NULL)
        (void)munmap(mapping->memory, mapping->length); /* can't fail on a range that is mapped */
    mapping->memory = NULL;
}

const char *mapping_at(const struct mapping *mapping, off64_t offset, size_t *available)
{
    if (mapping->memory == NULL || offset < mapping->start ||
        (size_t)(offset - mapping->start) >= mapping->length)
        return NULL;
    size_t within = (size_t)(offset - mapping->start);
    *available = mapping->length - within;
    return mapping->memory + within;
}
