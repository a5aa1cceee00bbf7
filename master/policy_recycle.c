/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_recycle - which worker has served long enough.
 */
#include "master/policy_recycle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* 0..1, spread evenly (the finaliser of SplitMix64). */
static double fraction_of(const struct worker *worker)
{
    uint64_t x = ((uint64_t)(unsigned)worker->slot << 32 | (uint32_t)worker->pid) +
                 UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return (double)(x >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t with_jitter(uint64_t limit, double percent)
{
    return limit + (uint64_t)((double)limit * percent / 100);
}

static void find_bound(const struct recycle_rules *rules, const struct worker *worker,
                       int64_t age_ms, struct recycle_verdict *out)
{
    const struct {
        enum recycle_bound bound;
        uint64_t figure, limit;
    } bounds[] = {
        {RECYCLE_REQUESTS, worker->metrics.counter[METRIC_HTTP_REQUESTS], rules->requests},
        {RECYCLE_LIFETIME, (uint64_t)age_ms, (uint64_t)rules->lifetime_ms},
        {RECYCLE_MEMORY, worker->proc.rss_bytes, rules->memory_bytes},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        if (bounds[i].limit == 0 ||
            bounds[i].figure < with_jitter(bounds[i].limit, out->jitter_percent))
            continue;
        out->bound = bounds[i].bound;
        out->figure = bounds[i].figure;
        out->limit = bounds[i].limit;
        return;
    }
}

void policy_recycle_judge(const struct recycle_rules *rules, const struct slot *slot,
                          const struct worker *worker, int64_t now_ms, struct recycle_verdict *out)
{
    *out = (struct recycle_verdict){.not_before_ms = INT64_MAX};
    out->jitter_percent = rules->jitter_percent * fraction_of(worker);
    int64_t age_ms = now_ms - worker->started_ms;
    find_bound(rules, worker, age_ms, out);
    if (out->bound == RECYCLE_NONE) {
        if (rules->lifetime_ms > 0)
            out->not_before_ms =
                worker->started_ms +
                (int64_t)with_jitter((uint64_t)rules->lifetime_ms, out->jitter_percent);
        return;
    }
    int64_t min_age_ms = rules->min_age_ms;
    if (out->bound == RECYCLE_MEMORY) {
        int doublings = slot->recycled_early < RECYCLE_MAX_DOUBLINGS ? slot->recycled_early
                                                                     : RECYCLE_MAX_DOUBLINGS;
        min_age_ms <<= doublings;
        out->early = age_ms < 2 * min_age_ms;
    }
    if (age_ms < min_age_ms) {
        out->bound = RECYCLE_NONE;
        out->not_before_ms = worker->started_ms + min_age_ms;
    }
}

/* 1234567 -> "1,234,567" */
static void with_commas(uint64_t number, char out[28])
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

void policy_recycle_describe(const struct recycle_verdict *verdict, char *out, size_t size)
{
    char figure[28], limit[28];
    out[0] = '\0';
    switch (verdict->bound) {
    case RECYCLE_NONE:
        return;
    case RECYCLE_REQUESTS:
        with_commas(verdict->figure, figure);
        with_commas(verdict->limit, limit);
        (void)snprintf(out, size, "after %s requests (bound %s + %.1f %% jitter)", figure, limit,
                       verdict->jitter_percent);
        return;
    case RECYCLE_LIFETIME:
        (void)snprintf(out, size, "after %.1f s (bound %.1f s + %.1f %% jitter)",
                       (double)verdict->figure / 1e3, (double)verdict->limit / 1e3,
                       verdict->jitter_percent);
        return;
    case RECYCLE_MEMORY:
        (void)snprintf(out, size, "at %.1f MiB of memory (bound %.1f MiB + %.1f %% jitter)",
                       (double)verdict->figure / 1048576, (double)verdict->limit / 1048576,
                       verdict->jitter_percent);
        return;
    }
}
