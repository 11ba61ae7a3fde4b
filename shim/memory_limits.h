/*
 * What the machine, a control group and this process's limits allow.
 */
#ifndef MEMORY_LIMITS_H
#define MEMORY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The memory that this process can have: the machine's without reserved huge pages, or its memory
 * cgroup's limit (of v1, or memory.max and memory.high of v2, any level of it) where that is less.
 * @return bytes
 * Source: proc(5), cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v{1/memory,2}.rst
 */
uint64_t limits_memory(void);

/*
 * How much this process may lock with mlock(2): all there is with CAP_IPC_LOCK, else
 * RLIMIT_MEMLOCK. For the calling thread's effective capabilities.
 * @return bytes; UINT64_MAX: no limit
 */
uint64_t limits_lock(void);

/*
 * Take a file's share of an allowance, in whole pages, as it lies in memory.
 * @param most   the allowance, bytes
 * @param taken  of it so far, bytes; no more than `most`
 * @param size   of the file, bytes
 * @return false: it doesn't fit, and nothing was taken
 */
bool limits_take(uint64_t most, uint64_t *taken, off64_t size);

/* How many mappings the kernel allows a process, vm.max_map_count. */
uint64_t limits_mappings(void);

#endif
