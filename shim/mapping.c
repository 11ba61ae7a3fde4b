#include "mapping.h"

#include "debug.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

bool mapping_map(struct mapping *mapping, int fd, enum filesystem kind, off64_t start,
                 size_t length)
{
    assert(length > 0 && start >= 0 && start % sysconf(_SC_PAGESIZE) == 0);
    /* MAP_SHARED: a file system whose read() bypasses the page cache refuses it, and should. Not
     * MAP_POPULATE: faults of 16 pages each cost less (docs/design.md, "Windows"). */
    void *memory = mmap64(NULL, length, PROT_READ, MAP_SHARED, fd, start);

    *mapping = (struct mapping){.memory = NULL};
    if (memory == MAP_FAILED)
        return false;
    /* What a touch reads in is then in huge pages, where the kernel has them. Not on FUSE: the
     * kernel would also read the next one ahead. */
    if (kind != FILESYSTEM_FUSE)
        (void)madvise(memory, length, MADV_HUGEPAGE);
    *mapping = (struct mapping){.memory = memory, .start = start, .length = length};
    return true;
}

const char *mapping_remedy(int failure)
{
    switch (failure) {
    case ENODEV:
        return "its file system caches no files (FUSE with direct I/O: mergerfs cache.files=off, "
               "virtiofs cache=never); have it cache them";
    case EACCES:
        return "a security policy forbids it; SELinux: allow the server \"map\" on files of this "
               "type, see ausearch -m avc";
    case EPERM:
        return "a security module or a seccomp filter forbids it; see the audit log, and "
               "SystemCallFilter in the server's unit";
    case EAGAIN:
        return "what the server maps is locked, and it may lock no more; raise LimitMEMLOCK in "
               "its unit, or ulimit -l";
    case ENOMEM:
        return "raise LimitAS in the server's unit, or ulimit -v, or vm.max_map_count";
    default:
        return "see the kernel's log";
    }
}

void mapping_unmap(struct mapping *mapping)
{
    if (mapping->memory != NULL)
        (void)munmap(mapping->memory, mapping->length); /* can't fail on a range that is mapped */
    *mapping = (struct mapping){.memory = NULL};
}

const char *mapping_at(const struct mapping *mapping, off64_t offset, size_t *available)
{
    if (offset < mapping->start || (size_t)(offset - mapping->start) >= mapping->length)
        return NULL;
    size_t within = (size_t)(offset - mapping->start);
    *available = mapping->length - within;
    return mapping->memory + within;
}
