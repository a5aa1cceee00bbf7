/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_recycle - which worker has served long enough: bounds on requests,
 * lifetime and memory, each put off by a jitter of the worker's own.
 *
 * Pure. The jitter comes from the slot and the pid, so a worker has the same
 * bound whenever it is asked, and whichever master asks.
 *
 * No worker is recycled younger than min_age: a bound that is too small costs
 * a start now and then, not a storm of them. For memory, where the bound may be
 * below what a fresh worker needs, min_age doubles each time that its successor
 * reaches the bound again at once, up to RECYCLE_MAX_DOUBLINGS times.
 */
#ifndef MUSTER_POLICY_RECYCLE_H
#define MUSTER_POLICY_RECYCLE_H

#include "master/roster.h"

enum { RECYCLE_MAX_DOUBLINGS = 6, RECYCLE_LOOK_MS = 1000 };

struct recycle_rules {
    uint64_t requests;     /* 0: no bound */
    int64_t lifetime_ms;   /* 0: no bound */
    uint64_t memory_bytes; /* 0: no bound */
    int jitter_percent;    /* a bound is larger by 0 to so many per cent */
    int64_t min_age_ms;
};

enum recycle_bound { RECYCLE_NONE, RECYCLE_REQUESTS, RECYCLE_LIFETIME, RECYCLE_MEMORY };

struct recycle_verdict {
    enum recycle_bound bound; /* the one it is past; NONE: goes on */
    uint64_t figure;          /* requests, milliseconds or bytes */
    uint64_t limit;           /* as configured */
    double jitter_percent;    /* this worker's */
    bool early;               /* memory: past the bound as soon as it may be recycled */
    int64_t not_before_ms;    /* too young still: ask again then. INT64_MAX: nothing to wait for */
};

/* What the bounds say about a worker. */
void policy_recycle_judge(const struct recycle_rules *rules, const struct slot *slot,
                          const struct worker *worker, int64_t now_ms, struct recycle_verdict *out);

/* "after 1,000,123 requests (bound 1,000,000 + 3.1 % jitter)" */
void policy_recycle_describe(const struct recycle_verdict *verdict, char *out, size_t size);

#endif
