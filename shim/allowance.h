/*
 * How much memory the listed files may take.
 */
#ifndef ALLOWANCE_H
#define ALLOWANCE_H

#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The memory that this process can have: the machine's, or its memory cgroup's limit (v1 or v2, any
 * level of it) where that is less.
 * @return bytes
 * Source: proc(5), cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v{1/memory,2}.rst
 */
uint64_t allowance_memory(void);

/*
 * How much this process may lock with mlock(2): all there is with CAP_IPC_LOCK, else
 * RLIMIT_MEMLOCK. For the calling thread's effective capabilities.
 * @return bytes; UINT64_MAX: no limit
 */
uint64_t allowance_lock(void);

/* What TransferMMapMaxMemory comes to on this machine, bytes. */
uint64_t allowance_listed(const struct config_memory *max);

/*
 * Take a file out of an allowance, in whole pages, as it lies in memory.
 * @param most   the allowance, bytes
 * @param taken  of it so far, bytes; no more than `most`
 * @param size   of the file, bytes
 * @return false: it doesn't fit, and nothing was taken
 */
bool allowance_take(uint64_t most, uint64_t *taken, off64_t size);

/*
 * How many mappings the listed files may take of those that the kernel allows a process
 * (vm.max_map_count): half of them, the rest is the server's.
 */
uint64_t allowance_mappings(void);

#endif
