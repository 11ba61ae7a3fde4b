/*
 * Whether mapping a file is cheaper than reading it on this machine. With a large transfer buffer
 * read() costs little more than its copy; what a mapping costs depends on the processor, the
 * kernel, the size of the pages in the page cache, and above all on the hypervisor: we have seen
 * from a tenth to seven times of what read() costs.
 */
#ifndef CALIBRATION_H
#define CALIBRATION_H

#include <stdbool.h>

/*
 * Read and map up to 1 MiB of the program's own file, which is in memory, and compare. Takes some
 * milliseconds. @return false, too, if it can't be tried
 */
bool calibration_mapping_pays(void);

#endif
