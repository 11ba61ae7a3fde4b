/*
 * Do a step on both twins, and compare the results.
 */
#ifndef CALL_H
#define CALL_H

#include "step.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Do a step.
 * @param difference  out: the difference, one line
 * @return false: something differed
 */
bool call_step(const struct step *step, char *difference, size_t size);

#endif
