/*
 * Run a sequence of steps, to its end or to the first difference, in a process with the library
 * preloaded.
 */
#ifndef RUN_H
#define RUN_H

#include "step.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Results of the process that runs a sequence, in a mapping of the file "record". */
struct record {
    atomic_uint done;   /* how many steps were done */
    atomic_bool failed; /* the step after these failed */
    char difference[200];
};

/*
 * The program's role, from the seed: an ordinary one, one whose files are listed, a server, and a
 * session of a server; each with and without a handler that reads at any time.
 */
enum role { ORDINARY, WITH_LISTED_FILES, SERVER, SERVER_SESSION, ROLES };

enum role run_role(uint64_t seed);

/* True if mappings and locks are to be scarce. */
bool run_is_scarce(uint64_t seed);

/*
 * Run the steps in the working directory.
 * @return exit status: 0: the twins agreed; 1: the record has the step that differed
 */
int run_steps(const struct step *steps, size_t count, uint64_t seed, struct record *record);

#endif
