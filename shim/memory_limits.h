/*
 * What the machine, a control group and this process's limits allow.
 */
#ifndef MEMORY_LIMITS_H
#define MEMORY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The memory that this process can have: the machine's without reserved huge pages, or the least
 * limit of its memory cgroups (v1, or memory.max and memory.high of v2), whichever is less.
 * @return bytes
 * Source: proc(5), cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v{1/memory,2}.rst
 */
uint64_t limits_memory(void);

/* How much this process may lock with mlock(2). @return bytes; UINT64_MAX: no limit */
uint64_t limits_lock(void);

/* Add a file's size, in whole pages, to `taken`. All in bytes; `taken` is no more than `most`.
 * @return false: it would be more than `most`, and `taken` is unchanged */
bool limits_take(uint64_t most, uint64_t *taken, off64_t size);

/* How many mappings the kernel allows a process, vm.max_map_count. */
uint64_t limits_mappings(void);

#endif
