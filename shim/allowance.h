/*
 * How much memory the listed files may take.
 */
#ifndef ALLOWANCE_H
#define ALLOWANCE_H

#include <stdint.h>

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

/*
 * How many mappings the listed files may take of those that the kernel allows a process
 * (vm.max_map_count): half of them, the rest is the server's.
 */
uint64_t allowance_mappings(void);

#endif
