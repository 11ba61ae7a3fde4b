#include "mapping.h"

#include <sys/mman.h>

bool mapping_map(struct mapping *mapping, int fd, enum filesystem kind, off64_t start,
                 size_t length)
{
    /* MAP_SHARED: a file system whose read() bypasses the page cache refuses it, and should. Not
     * MAP_POPULATE: faults taken as they come, 16 pages each, cost less (docs/design.md). */
    void *memory = mmap64(NULL, length, PROT_READ, MAP_SHARED, fd, start);

    *mapping = (struct mapping){.memory = NULL};
    if (memory == MAP_FAILED)
        return false;
    /* Pages that a touch reads in are then huge ones, and cheaper for the next who maps them. Fails
     * harmlessly where the kernel has none. Not on FUSE: the kernel also reads the next one ahead.
     */
    if (kind != FILESYSTEM_FUSE)
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
