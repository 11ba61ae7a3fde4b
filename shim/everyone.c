#include "everyone.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#ifndef XFS_SUPER_MAGIC /* headers of Linux 5.10 and older */
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef EROFS_SUPER_MAGIC_V1
#define EROFS_SUPER_MAGIC_V1 0xE0F5E1E2
#endif

static bool goes_by_mode(const char *path)
{
    struct statfs system;

    if (statfs(path, &system) == -1)
        return false;
    switch ((uint32_t)system.f_type) { /* signed, and of 32 or 64 bits */
    case EXT4_SUPER_MAGIC:             /* 2 and 3, too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC: /* directories, in a container */
    case SQUASHFS_MAGIC:
    case EROFS_SUPER_MAGIC_V1:
    case ISOFS_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

static bool has_acl(const char *path)
{
    return getxattr(path, "system.posix_acl_access", NULL, 0) >= 0 ||
           (errno != ENODATA && errno != EOPNOTSUPP);
}

static bool everyone_may(mode_t wanted, const char *path, mode_t mode)
{
    return (mode & wanted) == wanted && goes_by_mode(path) && !has_acl(path);
}

bool everyone_may_read(const char *path, mode_t mode)
{
    char above[PATH_MAX];
    struct stat64 status;

    if (path[0] != '/' || snprintf(above, sizeof above, "%s", path) >= (int)sizeof above ||
        !everyone_may(S_IRUSR | S_IRGRP | S_IROTH, path, mode))
        return false;
    for (char *slash = strrchr(above, '/'); slash != NULL; slash = strrchr(above, '/')) {
        slash[slash == above] = '\0'; /* of the root directory, the slash stays */
        if (stat64(above, &status) == -1 ||
            !everyone_may(S_IXUSR | S_IXGRP | S_IXOTH, above, status.st_mode))
            return false;
        if (slash == above)
            break;
    }
    return true;
}
