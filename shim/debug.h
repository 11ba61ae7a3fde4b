/*
 * assert(3) in a debug build (-DXFERMMAP_DEBUG) only. To be included instead of <assert.h>.
 */
#ifndef DEBUG_H
#define DEBUG_H

#if !defined XFERMMAP_DEBUG && !defined NDEBUG
#define NDEBUG
#endif
#include <assert.h>

#endif
