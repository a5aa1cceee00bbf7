/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker - one worker process: wires the parts, which do not know each other.
 */
#ifndef MUSTER_WORKER_WORKER_H
#define MUSTER_WORKER_WORKER_H

#include "worker/handlers.h"

#include <stdint.h>

struct worker_options {
    unsigned slot;
    uint64_t generation;
    const char *control_path;
    route_adder *add_routes; /* NULL: none but the worker's own */
};

/* The program: reads the arguments that musterd gives, then worker_run(). Its
 * exit status. */
int worker_main(int argc, char **argv, route_adder *add_routes);

/* Serves until it is told to stop. Returns an enum worker_exit. */
int worker_run(const struct worker_options *options);

#endif
