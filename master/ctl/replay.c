/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay - the simulation.
 */
#include "master/ctl/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim {
    struct replay_view view;
    double waiting; /* worker-seconds of work */
    double most_waiting;
    int64_t starting[REPLAY_MAX_STARTING]; /* when each will be ready, the first one first */
    int starting_count;
};

bool replay_mean_busy(const struct replay_view *view, int seconds, double *out)
{
    double sum = 0, workers = 0;
    if (view->busy[view->second % REPLAY_MEMORY] < 0)
        return false;
    for (int64_t i = 0; i < seconds && i < view->second && i < REPLAY_MEMORY; i++) {
        double busy = view->busy[(view->second - i) % REPLAY_MEMORY];
        if (busy < 0)
            continue;
        double served_by = view->served_by[(view->second - i) % REPLAY_MEMORY];
        sum += busy * served_by;
        workers += served_by;
    }
    *out = sum / workers;
    return true;
}

double replay_mean_ready(const struct replay_view *view, int seconds)
{
    double sum = 0;
    int count = 0;
    for (int64_t i = 0; i < seconds && i < view->second && i < REPLAY_MEMORY; i++) {
        if (view->busy[(view->second - i) % REPLAY_MEMORY] < 0)
            continue;
        sum += view->served_by[(view->second - i) % REPLAY_MEMORY];
        count++;
    }
    return count > 0 ? sum / count : 0;
}

static void pass_second(struct sim *sim, const struct trace_run *run, struct replay_result *result)
{
    struct replay_view *view = &sim->view;
    view->second++;
    int due = 0;
    while (due < sim->starting_count && sim->starting[due] < view->second)
        due++;
    view->ready += due;
    sim->starting_count -= due;
    memmove(sim->starting, sim->starting + due, (size_t)sim->starting_count * sizeof(int64_t));

    double work = sim->waiting + run->load;
    double done = work < view->ready ? work : view->ready;
    double busy = done / view->ready;
    sim->waiting = work - done;
    double request_s = (double)view->trace->request_ms / 1000;
    if (sim->waiting > sim->most_waiting) {
        result->lost_requests += (sim->waiting - sim->most_waiting) / request_s;
        sim->waiting = sim->most_waiting;
    }
    view->busy[view->second % REPLAY_MEMORY] = run->measured ? busy : -1;
    view->served_by[view->second % REPLAY_MEMORY] = view->ready;
    view->queue_requests = sim->waiting / request_s;
    view->queue_percent = 100 * sim->waiting / sim->most_waiting;
    result->seconds_above += 100 * busy > view->trace->threshold + 1e-6;
    result->worker_seconds += view->wanted;
}

static int note_change(struct replay_result *result, int64_t second, int from, int to,
                       const char *text)
{
    if (result->change_count == result->change_capacity) {
        size_t capacity = result->change_capacity > 0 ? 2 * result->change_capacity : 64;
        struct replay_change *changes =
            reallocarray(result->changes, capacity, sizeof(result->changes[0]));
        if (changes == NULL)
            return -ENOMEM;
        result->changes = changes;
        result->change_capacity = capacity;
    }
    char *copy = text[0] != '\0' ? strdup(text) : NULL;
    if (text[0] != '\0' && copy == NULL)
        return -ENOMEM;
    result->changes[result->change_count++] =
        (struct replay_change){.second = second, .from = from, .to = to, .text = copy};
    return 0;
}

/* Who is still starting leaves first. */
static void carry_out(struct sim *sim, int wanted)
{
    struct replay_view *view = &sim->view;
    int64_t ready_at = view->second + view->trace->start_time_ms / 1000;
    while (view->ready + sim->starting_count < wanted && sim->starting_count < REPLAY_MAX_STARTING)
        sim->starting[sim->starting_count++] = ready_at;
    while (view->ready + sim->starting_count > wanted) {
        if (sim->starting_count > 0)
            sim->starting_count--;
        else
            view->ready--;
    }
    view->wanted = wanted;
}

int replay_run(const struct trace *trace, const struct replay_policy *policy,
               struct replay_result *out)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    int failed = 0;
    if (sim == NULL)
        return -ENOMEM;
    *out = (struct replay_result){0};
    sim->view.trace = trace;
    sim->view.wanted = sim->view.ready = (int)trace->min_workers;
    sim->most_waiting = (double)(trace->queue_requests * trace->request_ms) / 1000;
    policy->begin(trace);
    for (size_t i = 0; i < trace->run_count && failed == 0; i++) {
        const struct trace_run *run = &trace->runs[i];
        int64_t seconds = run->steps * (trace->step_ms / 1000);
        for (int64_t s = 0; s < seconds && failed == 0; s++) {
            const char *text = "";
            pass_second(sim, run, out);
            int before = sim->view.wanted, wanted = policy->step(&sim->view, &text);
            if (wanted == before)
                continue;
            failed = note_change(out, sim->view.second, before, wanted, text);
            carry_out(sim, wanted);
            if (wanted > out->most_workers)
                out->most_workers = wanted;
        }
    }
    if (out->most_workers < trace->min_workers)
        out->most_workers = (int)trace->min_workers;
    free(sim);
    return failed;
}

void replay_result_fini(struct replay_result *result)
{
    for (size_t i = 0; i < result->change_count; i++)
        free(result->changes[i].text);
    free(result->changes);
    *result = (struct replay_result){0};
}
