#include "mapping.h"

#include <sys/mman.h>

bool mapping_map(struct mapping *mapping, int fd, off64_t start, size_t length)
{
    /* MAP_SHARED: a file system whose read() goes past the page cache refuses it, and should. Not
     * MAP_POPULATE: faults taken as they come, 16 pages each, cost less (docs/design.md). */
    void *memory = mmap64(NULL, length, PROT_READ, MAP_SHARED, fd, start);

    *mapping = (struct mapping){.memory = NULL};
    if (memory == MAP_FAILED)
        return false;
    /* What is read in by touching it then comes in huge pages, of which whoever maps it next has
     * less to do, too. Where the kernel has none, that's no matter. */
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
