/*
 * Doing a step to both twins, and comparing what came of it.
 */
#ifndef CALL_H
#define CALL_H

#include "step.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Do a step.
 * @param difference  out: what differed, a line
 * @return false: something differed
 */
bool call_step(const struct step *step, char *difference, size_t size);

#endif
