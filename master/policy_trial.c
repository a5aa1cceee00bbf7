/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_trial - whether a new generation is taken over or taken back.
 *
 * The canary is one worker more: it starts beside the worker of the first slot
 * and takes over its sockets, but the other one stays until the canary has been
 * READY, connected and not SUSPECT for canary_time in one piece. So a canary
 * that dies costs no capacity, and there is nothing to start again. With no
 * worker of the generation in force that ever was READY there is no capacity
 * to protect: the canary's READY is enough then.
 */
#include "master/policy_private.h"

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The generation in force serves, or did. */
static bool has_proven_itself(const struct roster *roster)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        if (worker_is_live(worker) && worker->generation == roster->generation &&
            worker->ready_ms != 0)
            return true;
    return false;
}

static bool take_back(struct policy_plan *plan, const char *why)
{
    policy_add(plan, POLICY_TAKE_BACK)->why = why;
    return true;
}

/* Why a canary that still lives has failed already; NULL: it has not. */
static const char *why_lost(const struct roster *roster)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        if (worker->generation != roster->trial.generation)
            continue;
        if (worker->leaving)
            return "the canary was told to end by somebody else";
        if (worker->state == WORKER_DRAINING && worker->ending == DEATH_PROTOCOL)
            return "the canary sent nonsense";
    }
    return NULL;
}

static bool judge(const struct roster *roster, const struct policy_rules *rules,
                  const struct worker *canary, int64_t now_ms, struct policy_plan *plan)
{
    int64_t deadline_ms = canary->started_ms + rules->start_timeout_ms + rules->canary_time_ms;
    if (canary->state == WORKER_READY && canary->connected && canary->kill_signal == 0) {
        int64_t well_ms = later(canary->state_since_ms, canary->connected_ms);
        int64_t needed_ms = has_proven_itself(roster) ? rules->canary_time_ms : 0;
        if (now_ms - well_ms >= needed_ms) {
            (void)policy_add(plan, POLICY_PROMOTE);
            return true;
        }
        policy_wake_at(plan, well_ms + needed_ms);
    }
    if (canary->state == WORKER_STARTING)
        return false; /* start_timeout kills it, and its death is the verdict */
    if (now_ms >= deadline_ms)
        return take_back(plan, canary->state == WORKER_SUSPECT
                                   ? "the canary hangs"
                                   : "the canary did not stay well for canary_time");
    policy_wake_at(plan, deadline_ms);
    return false;
}

bool policy_plan_trial(const struct roster *roster, const struct policy_rules *rules,
                       int64_t now_ms, struct policy_plan *plan)
{
    if (roster->trial.generation == 0)
        return false;
    const char *why = why_lost(roster);
    if (why != NULL)
        return take_back(plan, why);
    const struct worker *canary = roster_canary(roster);
    if (canary != NULL)
        return judge(roster, rules, canary, now_ms, plan);
    int64_t deadline_ms = roster->trial.since_ms + rules->start_timeout_ms;
    if (now_ms >= deadline_ms)
        return take_back(plan, "no canary could be started within start_timeout");
    policy_wake_at(plan, deadline_ms);
    return false;
}

void policy_plan_canary(const struct roster *roster, struct policy_plan *plan)
{
    if (roster->trial.generation == 0 || roster_canary(roster) != NULL)
        return;
    for (int i = 0; i < roster->slot_count; i++) {
        if (!roster->slots[i].wanted)
            continue;
        policy_start_in(&roster->slots[i], roster->trial.generation, plan);
        return;
    }
}

bool policy_death_ends_roll(const struct roster *roster, const struct policy_rules *rules,
                            const struct worker *worker, int64_t now_ms)
{
    if (roster->trial.generation != 0)
        return worker_is_canary(roster, worker);
    return roster->rolling && worker->generation == roster->generation && !worker->replace &&
           (worker->ready_ms == 0 || now_ms - worker->ready_ms < rules->canary_time_ms);
}
