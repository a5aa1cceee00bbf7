/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handlers - the routes of this worker and what answers them.
 *
 * Builds the router from the configuration and the built-in routes. A
 * configured route takes the place of a built-in one with the same path.
 * Owns the router, the prepared pages and the directories of files.
 */
#ifndef MUSTER_WORKER_HANDLERS_H
#define MUSTER_WORKER_HANDLERS_H

#include "common/check.h"
#include "common/config.h"
#include "common/contract.h"
#include "common/metrics.h"
#include "worker/documents.h"
#include "worker/loop.h"
#include "worker/response.h"
#include "worker/router.h"

struct handlers;

/* Adds the routes of a program that is built around the worker (tests do that).
 * 0 or -errno; the context of a route must live as long as the worker. */
typedef int route_adder(struct router *router, struct loop *loop);

struct handlers_parts {
    const struct config *config;
    struct loop *loop;
    const struct metrics *metrics; /* for the little that a worker knows by itself */
    struct response_common *common;
    struct documents *documents;
    const enum cluster_state *cluster_state;
    unsigned slot;
    uint64_t generation;
    route_adder *add_routes; /* NULL: none */
};

/* NULL when a route cannot be served, with the reason in `error`. */
MUST_USE struct handlers *handlers_new(const struct handlers_parts *parts, char *error,
                                       size_t error_size);
void handlers_free(struct handlers **handlers);

const struct router *handlers_router(const struct handlers *handlers);

#endif
