/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale_memory - what was wanted, what was changed, which rules cool down: in
 * bounded memory, and where it does not suffice, on the side that changes less.
 */
#include "master/autoscale_private.h"

#include <stdio.h>
#include <string.h>

/* Runs are at least this part of the longest window long, so that those there is
 * room for cover it. */
enum { RUN_PARTS = AUTOSCALE_REMEMBERED - 16 };

/* ---- what was wanted ---- */

static struct autoscale_run *run_at(struct autoscale_state *state, int index)
{
    return &state->runs[(state->first_run + index) % AUTOSCALE_REMEMBERED];
}

void autoscale_remember(struct autoscale_state *state, int64_t now_ms, int wanted,
                        int64_t longest_window_ms)
{
    if (state->run_count > 0) {
        struct autoscale_run *last = run_at(state, state->run_count - 1);
        bool is_same = last->low == wanted && last->high == wanted;
        if (is_same || now_ms - last->from_ms < longest_window_ms / RUN_PARTS) {
            last->until_ms = now_ms;
            last->low = at_most(last->low, wanted);
            last->high = at_least(last->high, wanted);
            return;
        }
    }
    if (state->run_count == AUTOSCALE_REMEMBERED) {
        state->first_run = (state->first_run + 1) % AUTOSCALE_REMEMBERED;
        state->run_count--;
    }
    *run_at(state, state->run_count++) = (struct autoscale_run){
        .from_ms = now_ms, .until_ms = now_ms, .low = wanted, .high = wanted};
}

static const struct autoscale_run *run_back(const struct autoscale_state *state, int back)
{
    int index = state->first_run + state->run_count - 1 - back;
    return &state->runs[index % AUTOSCALE_REMEMBERED];
}

int autoscale_least_wanted(const struct autoscale_state *state, int64_t now_ms, int64_t window_ms,
                           int wanted)
{
    if (window_ms == 0)
        return wanted;
    for (int back = 0; back < state->run_count; back++) {
        const struct autoscale_run *run = run_back(state, back);
        if (run->until_ms < now_ms - window_ms)
            break;
        wanted = at_most(wanted, run->low);
    }
    return wanted;
}

int autoscale_most_wanted(const struct autoscale_state *state, int64_t now_ms, int64_t window_ms,
                          int wanted)
{
    if (window_ms == 0)
        return wanted;
    for (int back = 0; back < state->run_count; back++) {
        const struct autoscale_run *run = run_back(state, back);
        if (run->until_ms < now_ms - window_ms)
            break;
        wanted = at_least(wanted, run->high);
    }
    return wanted;
}

/* ---- what was changed ---- */

/* When there are too many, the two oldest become one as young as the younger. */
void autoscale_changed(struct autoscale_changes *changes, int64_t now_ms, int workers)
{
    struct autoscale_change *list = changes->list;
    if (changes->count == AUTOSCALE_CHANGES) {
        list[1].workers = at_most(list[0].workers + list[1].workers, AUTOSCALE_MAX_WORKERS);
        memmove(list, list + 1, (AUTOSCALE_CHANGES - 1) * sizeof(list[0]));
        changes->count--;
    }
    list[changes->count++] = (struct autoscale_change){.at_ms = now_ms, .workers = workers};
}

int autoscale_changes_within(const struct autoscale_changes *changes, int64_t now_ms,
                             int64_t period_ms)
{
    int sum = 0;
    for (int i = changes->count - 1; i >= 0 && changes->list[i].at_ms > now_ms - period_ms; i--)
        sum = at_most(sum + changes->list[i].workers, AUTOSCALE_MAX_WORKERS);
    return sum;
}

/* ---- who cools down ---- */

/* By name, so that changed rules keep their cooldown. Of more names than there is
 * room for, the one that fired longest ago is forgotten. */
void autoscale_fired(struct autoscale_state *state, const char *rule, int64_t now_ms)
{
    int at = 0;
    while (at < state->fired_count && strcmp(state->fired[at].name, rule) != 0)
        at++;
    if (at == AUTOSCALE_MAX_RULES) {
        at = 0;
        for (int i = 1; i < AUTOSCALE_MAX_RULES; i++)
            if (state->fired[i].at_ms < state->fired[at].at_ms)
                at = i;
    } else if (at == state->fired_count) {
        state->fired_count++;
    }
    snprintf(state->fired[at].name, sizeof(state->fired[at].name), "%s", rule);
    state->fired[at].at_ms = now_ms;
}

int64_t autoscale_fired_ms(const struct autoscale_state *state, const char *rule)
{
    for (int i = 0; i < state->fired_count; i++)
        if (strcmp(state->fired[i].name, rule) == 0)
            return state->fired[i].at_ms;
    return INT64_MIN;
}
