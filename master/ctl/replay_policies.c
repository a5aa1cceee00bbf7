/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay_policies - who says how many workers there are to be: Muster's autoscaler,
 * and two others for comparison, written from what is published about them.
 *
 *   hpa       The Kubernetes Horizontal Pod Autoscaler, autoscaling/v2, with the
 *             defaults of its behaviour: every 15 s, ceil(replicas * value / target),
 *             tolerance 0.1, up by 4 pods or 100 % in 15 s, whichever is more, down
 *             only to the most that was recommended within the down window (300 s).
 *             Its metric is the mean of the last 15 s.
 *   busyness  uWSGI's cheaper_busyness: the mean over a cycle; above 50 % one worker
 *             more; after so many cycles below 25 % one fewer, more of them when
 *             a worker that left was needed again soon; an extra one for each
 *             second in which more than 33 requests wait. Cycles of 10 s as its
 *             manual advises, else its defaults.
 */
#include "master/ctl/replay.h"

#include <stdio.h>
#include <string.h>

static int limited(const struct trace *trace, int64_t workers)
{
    if (workers < trace->min_workers)
        return (int)trace->min_workers;
    return (int)(workers > trace->max_workers ? trace->max_workers : workers);
}

/* ---- Muster ---- */

enum { MUSTER_WINDOW_S = 20 };

static struct {
    struct autoscale_rules rules;
    struct autoscale_input input;
    struct autoscale_state state;
    struct autoscale_decision decision;
} muster;

/* The shipped rules about metrics that a trace has. */
static void muster_begin(const struct trace *trace)
{
    struct autoscale_rules *rules = &muster.rules;
    memset(&muster, 0, sizeof(muster));
    autoscale_default_rules((int)trace->min_workers, (int)trace->max_workers, rules);
    int kept = 0;
    for (int i = 0; i < rules->rule_count; i++)
        if (strcmp(rules->rules[i].metric, "cpu") == 0)
            rules->rules[kept++] = rules->rules[i];
    rules->rule_count = kept;
    for (int i = 0; i < kept; i++)
        if (rules->rules[i].action == AUTOSCALE_TRACK)
            rules->rules[i].threshold = trace->target;
    rules->down.window_ms = trace->down_window_ms;
}

static void set_metric(struct autoscale_metric *metric, const char *name, bool known, double value,
                       int64_t window_ms)
{
    *metric = (struct autoscale_metric){.known = known, .value = value, .window_ms = window_ms};
    snprintf(metric->name, sizeof(metric->name), "%s", name);
}

static int muster_step(const struct replay_view *view, const char **text)
{
    double busy = 0;
    bool is_alarm = view->queue_percent >= muster.rules.emergency_queue;
    if (view->second % (view->trace->evaluate_ms / 1000) != 0 && !is_alarm)
        return view->wanted;
    bool known = replay_mean_busy(view, MUSTER_WINDOW_S, &busy);
    struct autoscale_input *input = &muster.input;
    input->now_ms = view->second * 1000;
    input->current = view->wanted;
    input->ready = view->ready;
    input->metric_count = 2;
    set_metric(&input->metrics[0], "cpu", known, 100 * busy, MUSTER_WINDOW_S * 1000);
    set_metric(&input->metrics[1], "queue", known, view->queue_percent, 0);
    input->metrics[0].workers = replay_mean_ready(view, MUSTER_WINDOW_S);
    autoscale_decide(&muster.rules, input, &muster.state, &muster.decision);
    *text = muster.decision.text;
    return muster.decision.result;
}

/* ---- the HPA ---- */

enum { HPA_PERIOD_S = 15, HPA_MEMORY = 8192 };

static struct {
    int recommended[HPA_MEMORY]; /* the last ones, by number */
    int64_t count;
} hpa;

static void hpa_begin(const struct trace *trace)
{
    memset(&hpa, 0, sizeof(hpa));
    hpa.recommended[hpa.count++] = (int)trace->min_workers;
}

static int hpa_step(const struct replay_view *view, const char **text)
{
    const struct trace *trace = view->trace;
    double busy;
    (void)text;
    if (view->second % HPA_PERIOD_S != 0)
        return view->wanted;
    /* Without its metric it does nothing. */
    if (!replay_mean_busy(view, HPA_PERIOD_S, &busy))
        return view->wanted;
    double ratio = 100 * busy / trace->target;
    int desired = view->wanted;
    if (ratio > 1.1 || ratio < 0.9) {
        double exact = ratio * view->ready - 1e-9;
        desired = (int)exact;
        desired += exact > desired;
    }
    hpa.recommended[hpa.count++ % HPA_MEMORY] = desired;
    int64_t window = trace->down_window_ms / 1000 / HPA_PERIOD_S;
    int most = desired;
    for (int64_t i = 1; i <= window + 1 && i <= hpa.count && i <= HPA_MEMORY; i++) {
        int past = hpa.recommended[(hpa.count - i) % HPA_MEMORY];
        most = past > most ? past : most;
    }
    if (desired > view->wanted) {
        int limit = view->wanted + (view->wanted > 4 ? view->wanted : 4);
        return limited(trace, desired < limit ? desired : limit);
    }
    return limited(trace, most < view->wanted ? most : view->wanted);
}

/* ---- cheaper_busyness ---- */

enum {
    BUSYNESS_CYCLE_S = 10,
    BUSYNESS_MULTIPLIER = 10,
    BUSYNESS_PENALTY = 2,
    BUSYNESS_BACKLOG = 33,
    BUSYNESS_BACKLOG_MULTIPLIER = 3,
};
static const double BUSYNESS_MAX = 0.50, BUSYNESS_MIN = 0.25;

static struct {
    int64_t multiplier;
    int64_t idle_cycles; /* in a row, but for short interruptions */
    int interruptions;
    int emergency; /* workers that only the queue made come */
    int64_t spawned_s;
    bool was_cheaped; /* since the last one was spawned */
} busyness;

static void busyness_begin(const struct trace *trace)
{
    (void)trace;
    memset(&busyness, 0, sizeof(busyness));
    busyness.multiplier = BUSYNESS_MULTIPLIER;
}

/* A worker is needed again; was it sent away too early? */
static void busyness_spawned(int64_t second)
{
    if (busyness.was_cheaped &&
        second - busyness.spawned_s < busyness.multiplier * BUSYNESS_CYCLE_S)
        busyness.multiplier += BUSYNESS_PENALTY;
    busyness.was_cheaped = false;
    busyness.spawned_s = second;
    busyness.idle_cycles = 0;
    busyness.interruptions = 0;
}

/* A cycle that is neither busy nor idle takes one back; the third in a row all. */
static void busyness_interrupt(void)
{
    if (busyness.idle_cycles == 0)
        return;
    busyness.idle_cycles = ++busyness.interruptions == 3 ? 0 : busyness.idle_cycles - 1;
    if (busyness.idle_cycles == 0)
        busyness.interruptions = 0;
}

static int busyness_idle(const struct replay_view *view)
{
    int64_t needed = busyness.emergency > 0 ? BUSYNESS_BACKLOG_MULTIPLIER : busyness.multiplier;
    busyness.interruptions = 0;
    if (++busyness.idle_cycles < needed || view->wanted <= view->trace->min_workers)
        return view->wanted;
    busyness.idle_cycles = 0;
    if (busyness.emergency > 0)
        busyness.emergency--;
    else
        busyness.was_cheaped = true;
    return view->wanted - 1;
}

static int busyness_step(const struct replay_view *view, const char **text)
{
    const struct trace *trace = view->trace;
    double busy;
    (void)text;
    if (view->queue_requests > BUSYNESS_BACKLOG && view->wanted < trace->max_workers) {
        busyness.emergency++;
        return view->wanted + 1;
    }
    if (view->second % BUSYNESS_CYCLE_S != 0 || !replay_mean_busy(view, BUSYNESS_CYCLE_S, &busy))
        return view->wanted;
    if (busy > BUSYNESS_MAX) {
        busyness_spawned(view->second);
        return limited(trace, (int64_t)view->wanted + 1);
    }
    if (busy < BUSYNESS_MIN)
        return busyness_idle(view);
    busyness_interrupt();
    return view->wanted;
}

const struct replay_policy replay_policies[REPLAY_POLICIES] = {
    {"muster", muster_begin, muster_step},
    {"hpa", hpa_begin, hpa_step},
    {"busyness", busyness_begin, busyness_step},
};
