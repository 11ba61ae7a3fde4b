/*
 * The hot set: the files that clients download most, by heat.h, and which of them to keep. For a
 * child of the watchdog.
 */
#ifndef HOT_H
#define HOT_H

#include "listed.h"

#include <stdint.h>

struct hot_limits {
    uint64_t hot, memory; /* TransferMMapHot, and TransferMMapMaxMemory, bytes */
    uint64_t fresh;       /* how much may be new, bytes; a single larger file may */
};

/*
 * Add the hot files to a list.
 * @param held  the former list: a file that is hot in it stays unless others are much hotter
 */
void hot_add(struct listed *found, const struct listed *held, const struct hot_limits *limits);

/* Set the downloads of the hot files in a list, and of all files that are counted. The parent may
 * call this, too. */
void hot_update(struct listed *held, uint64_t *all);

#endif
