/*
 * The hot set: choose from the files that clients download most, see heat.h. For a child of the
 * watchdog.
 */
#ifndef HOT_H
#define HOT_H

#include "listed.h"

#include <stdint.h>

struct hot_limits {
    uint64_t hot, memory; /* TransferMMapHot, and TransferMMapMaxMemory, bytes */
    uint64_t fresh;       /* upper bound of what is new, bytes; exceeded by a single larger file */
};

/*
 * Add the hot files to a list.
 * @param held  the former list: its hot files stay unless others are much hotter
 */
void hot_add(struct listed *found, const struct listed *held, const struct hot_limits *limits);

/* Update the downloads of the hot files in a list. The watchdog's parent may call this, too.
 * @param all  out: see heat_list() */
void hot_update(struct listed *held, uint64_t *all);

#endif
