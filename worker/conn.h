/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn - the connections of this worker: from accept to close.
 *
 * A set owns its connections, their descriptors, buffers and deadlines, and
 * borrows everything else. Call it from the loop's callbacks only.
 */
#ifndef MUSTER_WORKER_CONN_H
#define MUSTER_WORKER_CONN_H

#include "common/check.h"
#include "common/config.h"
#include "common/metrics.h"
#include "worker/access_log.h"
#include "worker/loop.h"
#include "worker/response.h"
#include "worker/router.h"

#include <stdbool.h>
#include <stdint.h>

struct conns;

struct conns_parts {
    struct loop *loop;
    struct metrics *metrics;
    const struct config *config;
    const struct router *router;
    struct response_common *common;
    struct access_log *access_log;
    /* A connection has been closed: there is room for another one. */
    void (*on_closed)(void *context);
    void *context;
};

MUST_USE struct conns *conns_new(const struct conns_parts *parts); /* NULL without memory */
void conns_free(struct conns **conns);                             /* closes what is open */

/* Takes over an accepted, non-blocking socket. */
void conns_accept(struct conns *conns, int fd, const struct access_remote *remote);
/* Ends a batch of conns_accept() calls: reads what the new connections have
 * sent already. */
void conns_accept_end(struct conns *conns);

/* Sends what the callbacks of this turn of the loop have made. */
void conns_end_turn(struct conns *conns);

int64_t conns_count(const struct conns *conns);

/* From now on answers close their connections (of requests that came in
 * together the last one does), and idle ones are closed after `idle_grace_ms`. */
void conns_drain(struct conns *conns, int64_t idle_grace_ms);
/* Closes everything; returns how many requests in flight (arriving ones
 * included) that cut, and in `idle` how many connections were between two. */
int64_t conns_cut(struct conns *conns, int64_t *idle);

/* Fills the gauges about connections. */
void conns_measure(const struct conns *conns, struct metrics *metrics);

#endif
