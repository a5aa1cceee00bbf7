/* SPDX-License-Identifier: BSD-2-Clause
 *
 * totals - the sums over all workers that ever lived, and recent rates.
 *
 * Sums are exact and never go backwards: the last snapshot of a worker that
 * died is added to `dead` at the moment the worker leaves the roster.
 */
#ifndef MUSTER_TOTALS_H
#define MUSTER_TOTALS_H

#include "common/metrics.h"
#include "master/roster.h"

#include <stdint.h>

enum { TOTALS_WINDOW_S = 10 };

/* What was added in one second of the recent window. */
struct totals_second {
    int64_t second; /* monotonic second it stands for */
    uint64_t requests;
    uint64_t errors; /* answers 500..599 */
    uint64_t accepted;
    uint64_t bytes_sent;
    struct histogram duration;
    uint32_t slot_accepted[METRICS_SLOT_COUNT]; /* connections by the slot they came from */
};

struct totals {
    struct metrics dead;                              /* of workers that have gone */
    struct totals_second window[TOTALS_WINDOW_S + 1]; /* ring by second */
    uint64_t master_cpu_user_ms;
};

struct totals_recent {
    double seconds;      /* how much time the numbers below cover */
    double request_rate; /* per second */
    double error_rate;   /* share of requests, 0..1 */
    double accept_rate;
    double bytes_sent_rate;
    struct histogram duration;
};

void totals_init(struct totals *totals);

/* A worker reported `now` after `before` (all zeros for its first report). */
void totals_report(struct totals *totals, const struct metrics *before, const struct metrics *now,
                   int64_t now_ms);
/* A worker has gone; what it had counted stays. */
void totals_bury(struct totals *totals, const struct metrics *last);
/* dead + living counters; gauges of the living. */
void totals_sum(const struct totals *totals, const struct roster *roster, struct metrics *out);
/* The last TOTALS_WINDOW_S whole seconds (fewer after the start). */
void totals_recent(const struct totals *totals, int64_t now_ms, int64_t started_ms,
                   struct totals_recent *out);
/* The share of the connections accepted in the same time that came over each
 * slot's sockets, 0..1; all 0 when there were none: out[slot_count]. */
void totals_recent_slots(const struct totals *totals, int64_t now_ms, int slot_count, double *out);

#endif
