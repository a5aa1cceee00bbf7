/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay - what a policy would have made of a trace.
 *
 * A simulation in steps of one second: load arrives, ready workers do as much of
 * it as they can, the rest waits in a queue with a limit. A policy sees how busy
 * the workers were and how long the queue is, and says how many workers there are
 * to be; a new one serves after a while, one that is too many leaves at once.
 */
#ifndef MUSTER_CTL_REPLAY_H
#define MUSTER_CTL_REPLAY_H

#include "master/autoscale.h"
#include "master/ctl/trace.h"

enum { REPLAY_MEMORY = 64, REPLAY_MAX_STARTING = 4096 };

/* How things stood in one second, and in some before it. */
struct replay_view {
    const struct trace *trace;
    int64_t second;                  /* 1 is the end of the first one */
    double busy[REPLAY_MEMORY];      /* by second modulo; 0..1, negative: not measured */
    double served_by[REPLAY_MEMORY]; /* ready workers in that second */
    double queue_requests;
    double queue_percent;
    int wanted, ready;
};

/* Of the last seconds that were measured; false: none was, or not the last one. */
bool replay_mean_busy(const struct replay_view *view, int seconds, double *out);

double replay_mean_ready(const struct replay_view *view, int seconds);

struct replay_policy {
    const char *name;
    /* Begins anew; `step` is called once for each second and returns how many
     * workers there are to be. The text says why, or is empty. */
    void (*begin)(const struct trace *trace);
    int (*step)(const struct replay_view *view, const char **text);
};

enum { REPLAY_POLICIES = 3 };
extern const struct replay_policy replay_policies[REPLAY_POLICIES]; /* Muster is the first */

struct replay_change {
    int64_t second;
    int from, to;
    char *text; /* owned, or NULL */
};

struct replay_result {
    int64_t seconds_above;
    double worker_seconds;
    double lost_requests;
    int most_workers;
    struct replay_change *changes; /* owned */
    size_t change_count, change_capacity;
};

/* 0 or -ENOMEM. */
MUST_USE int replay_run(const struct trace *trace, const struct replay_policy *policy,
                        struct replay_result *out);
void replay_result_fini(struct replay_result *result);

#endif
