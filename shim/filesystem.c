#include "filesystem.h"

#include <linux/magic.h>
#include <stdint.h>
#include <sys/vfs.h>

#ifndef FUSE_SUPER_MAGIC /* not in the headers of Linux 5.10 */
#define FUSE_SUPER_MAGIC 0x65735546
#endif

enum filesystem filesystem_of(int fd, const struct stat64 *status)
{
    struct statfs system;

    if (fstatfs(fd, &system) == -1)
        return FILESYSTEM_UNMAPPED;
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
        return FILESYSTEM_UNMAPPED;
    case TMPFS_MAGIC:
        return status->st_blocks * 512 >= status->st_size ? FILESYSTEM_MAPPED : FILESYSTEM_UNMAPPED;
    case FUSE_SUPER_MAGIC:
        return FILESYSTEM_FUSE;
    default:
        return FILESYSTEM_MAPPED;
    }
}
