/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker - one worker process: wires the parts, which do not know each other.
 */
#ifndef MUSTER_WORKER_WORKER_H
#define MUSTER_WORKER_WORKER_H

#include <stdint.h>

struct worker_options {
    unsigned slot;
    uint64_t generation;
    const char *control_path;
};

/* Serves until it is told to stop. Returns an enum worker_exit. */
int worker_run(const struct worker_options *options);

#endif
