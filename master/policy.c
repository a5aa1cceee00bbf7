/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy - what the master does next: (roster, rules, now) -> a plan.
 */
#include "master/policy_private.h"

#include "common/check.h"
#include "master/watch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define POLICY_NAME_OF(name, text) text,
static const char *const action_names[] = {POLICY_ACTIONS(POLICY_NAME_OF)};

const char *policy_action_name(enum policy_action_kind kind)
{
    CHECK((unsigned)kind < POLICY_ACTION_COUNT);
    return action_names[kind];
}

void policy_plan_fini(struct policy_plan *plan)
{
    free(plan->actions);
    *plan = (struct policy_plan){0};
}

struct policy_action *policy_add(struct policy_plan *plan, enum policy_action_kind kind)
{
    static struct policy_action spare;
    if (plan->count == plan->capacity) {
        int capacity = plan->capacity == 0 ? 16 : 2 * plan->capacity;
        struct policy_action *grown =
            realloc(plan->actions, (size_t)capacity * sizeof(*plan->actions));
        if (grown == NULL) {
            plan->failed = true;
            return &spare;
        }
        plan->actions = grown;
        plan->capacity = capacity;
    }
    struct policy_action *action = &plan->actions[plan->count++];
    memset(action, 0, sizeof(*action));
    action->kind = kind;
    return action;
}

static void add_worker_action(struct policy_plan *plan, enum policy_action_kind kind,
                              struct worker *worker, enum death_reason reason, int signal)
{
    struct policy_action *action = policy_add(plan, kind);
    action->slot = worker->slot;
    action->worker = worker;
    action->reason = reason;
    action->signal = signal;
}

void policy_wake_at(struct policy_plan *plan, int64_t at_ms)
{
    if (at_ms < plan->wake_at_ms)
        plan->wake_at_ms = at_ms;
}

/* ---- the life of workers: timeouts and signals ---- */

static void kill_after_grace(const struct policy_rules *rules, struct worker *worker,
                             int64_t since_ms, int64_t now_ms, enum death_reason reason,
                             struct policy_plan *plan)
{
    if (worker->kill_signal == SIGKILL)
        return;
    if (now_ms >= since_ms + rules->kill_grace_ms)
        add_worker_action(plan, POLICY_KILL, worker, reason, SIGKILL);
    else
        policy_wake_at(plan, since_ms + rules->kill_grace_ms);
}

static void watch_progress(const struct policy_rules *rules, struct worker *worker, bool holds,
                           int64_t now_ms, struct policy_plan *plan)
{
    if (worker->kill_signal != 0) {
        kill_after_grace(rules, worker, worker->kill_sent_ms, now_ms, DEATH_HANG, plan);
        return;
    }
    switch (watch_judge(worker, rules, holds, now_ms)) {
    case WATCH_KEEP:
        policy_wake_at(plan, watch_wake_ms(worker, rules, now_ms));
        break;
    case WATCH_SUSPECT:
        add_worker_action(plan, POLICY_SUSPECT, worker, DEATH_NONE, 0);
        break;
    case WATCH_TRUST:
        add_worker_action(plan, POLICY_TRUST, worker, DEATH_NONE, 0);
        break;
    case WATCH_HUNG:
        /* SIGABRT, so that its last words show where it hung. */
        add_worker_action(plan, POLICY_KILL, worker, DEATH_HANG, SIGABRT);
        break;
    }
}

static void watch_worker(const struct policy_rules *rules, struct worker *worker, bool holds,
                         int64_t now_ms, struct policy_plan *plan)
{
    switch (worker->state) {
    case WORKER_STARTING:
        if (worker->kill_signal != 0)
            break;
        if (now_ms - worker->started_ms >= rules->start_timeout_ms)
            add_worker_action(plan, POLICY_KILL, worker, DEATH_START_TIMEOUT, SIGKILL);
        else
            policy_wake_at(plan, worker->started_ms + rules->start_timeout_ms);
        break;
    case WORKER_READY:
    case WORKER_SUSPECT:
        watch_progress(rules, worker, holds, now_ms, plan);
        break;
    case WORKER_DRAINING:
        kill_after_grace(rules, worker, worker->drain_deadline_ms, now_ms, worker->ending, plan);
        break;
    case WORKER_DEAD:
    case WORKER_STATE_COUNT:
        break;
    }
}

/* ---- what a slot has ---- */

/* Accepts, and will go on doing so. A worker may have said READY just before it was killed for
 * being too slow. */
static bool is_serving(const struct worker *worker)
{
    return worker->state == WORKER_READY && !worker->leaving && worker->kill_signal == 0;
}

/* The READY worker of a slot that will go on accepting, and longest: the canary,
 * else the newest that is up to date, else the newest. */
static struct worker *serving_worker(const struct roster *roster, const struct slot *slot)
{
    struct worker *worker, *best = NULL;
    TAILQ_FOREACH (worker, &slot->workers, in_slot) {
        if (!is_serving(worker))
            continue;
        if (worker_is_canary(roster, worker))
            return worker;
        if (best == NULL ||
            (worker_is_outdated(roster, best) && !worker_is_outdated(roster, worker)))
            best = worker;
    }
    return best;
}

/* Apart from the canary, who is one more. */
struct slot_view {
    struct worker *fresh;       /* newest live worker that is up to date */
    struct worker *fresh_ready; /* newest READY one of these */
    struct worker *ready;       /* newest READY one at all */
    bool any_live;
};

static struct slot_view look_at(const struct roster *roster, const struct slot *slot)
{
    struct slot_view view = {0};
    struct worker *worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot) {
        if (!worker_is_live(worker) || worker_is_canary(roster, worker))
            continue;
        view.any_live = true;
        bool serving = is_serving(worker);
        if (view.ready == NULL && serving)
            view.ready = worker;
        if (worker_is_outdated(roster, worker))
            continue;
        if (view.fresh == NULL)
            view.fresh = worker;
        if (view.fresh_ready == NULL && serving)
            view.fresh_ready = worker;
    }
    return view;
}

/* ---- who owns which socket ---- */

/* The worker of this slot that should poll its sockets, or NULL. */
static struct worker *own_owner(const struct roster *roster, const struct slot *slot)
{
    if (!slot->wanted)
        return NULL;
    struct worker *serving = serving_worker(roster, slot);
    if (serving != NULL)
        return serving;
    /* A worker that starts takes its socket the moment it can: it says READY
     * right after. */
    struct worker *worker = TAILQ_FIRST(&slot->workers);
    return worker != NULL && worker->state == WORKER_STARTING && worker->connected ? worker : NULL;
}

struct ownership {
    struct worker *owner[CONTRACT_MAX_SLOTS]; /* who should poll each slot's sockets, or NULL */
};

/* Workers that may poll sockets of other slots, one of each slot; those that
 * are to leave only while there is nobody else. */
static int find_adopters(const struct roster *roster, bool also_unwanted, struct worker **out)
{
    int count = 0;
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        struct worker *serving = serving_worker(roster, slot);
        if (serving != NULL && serving->connected && (also_unwanted || slot->wanted))
            out[count++] = serving;
    }
    return count;
}

static void decide_owners(const struct roster *roster, struct ownership *out)
{
    struct worker *adopters[CONTRACT_MAX_SLOTS];
    int adopter_count = find_adopters(roster, false, adopters);
    if (adopter_count == 0)
        adopter_count = find_adopters(roster, true, adopters);
    for (int i = 0; i < roster->slot_count; i++) {
        struct worker *owner = own_owner(roster, &roster->slots[i]);
        bool serving = owner != NULL && owner->state == WORKER_READY;
        /* Until the slot's own worker is READY a survivor stands in. */
        if (!serving && adopter_count > 0)
            owner = adopters[i % adopter_count];
        out->owner[i] = owner;
    }
}

static bool holds(const struct worker *worker, int slot)
{
    return slot_set_has(&worker->confirmed, (unsigned)slot);
}

/* Someone who will go on being there polls this slot, and said so. */
static bool is_held_without(const struct ownership *ownership, const struct worker *leaving,
                            int slot)
{
    const struct worker *owner = ownership->owner[slot];
    return owner != NULL && owner != leaving && holds(owner, slot);
}

/* What `worker` should poll: what it owns, and what it holds until the new
 * owner has said that it polls it. */
static struct slot_set wanted_slots(const struct roster *roster, const struct ownership *ownership,
                                    const struct worker *worker)
{
    struct slot_set set = {0};
    for (int i = 0; i < roster->slot_count; i++) {
        bool own = ownership->owner[i] == worker ||
                   (worker->state == WORKER_STARTING && worker->slot == i &&
                    roster->slots[i].wanted && TAILQ_FIRST(&roster->slots[i].workers) == worker);
        bool keep =
            slot_set_has(&worker->assigned, (unsigned)i) && !is_held_without(ownership, worker, i);
        if (own || keep)
            slot_set_add(&set, (unsigned)i);
    }
    return set;
}

static bool set_equal(const struct slot_set *a, const struct slot_set *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool set_empty(const struct slot_set *set)
{
    static const struct slot_set none;
    return set_equal(set, &none);
}

static void plan_assignments(const struct roster *roster, const struct ownership *ownership,
                             struct policy_plan *plan)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        /* One that was told to drain before it said READY may have begun to poll: it ends when
         * nothing is left that it polls, and keeps until then what nobody else has. */
        if (!worker->connected || worker->state == WORKER_DEAD)
            continue;
        struct slot_set set = wanted_slots(roster, ownership, worker);
        /* The first assignment, even an empty one, tells a worker to begin. */
        bool begin = worker->assign_epoch == 0 && worker->state != WORKER_DRAINING;
        if (!begin && set_equal(&set, &worker->assigned))
            continue;
        struct policy_action *action = policy_add(plan, POLICY_ASSIGN);
        action->slot = worker->slot;
        action->worker = worker;
        action->slots = set;
    }
}

static struct slot_set steerable(const struct roster *roster, bool also_unwanted)
{
    struct slot_set set = {0};
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        if ((also_unwanted || slot->wanted) && serving_worker(roster, slot) != NULL)
            slot_set_add(&set, (unsigned)i);
    }
    return set;
}

static void plan_steering(const struct roster *roster, const struct slot_set *steered,
                          struct policy_plan *plan)
{
    struct slot_set ready = steerable(roster, false);
    if (set_empty(&ready))
        ready = steerable(roster, true);
    /* With nobody ready connections wait where they would have gone. */
    if (set_empty(&ready) || set_equal(&ready, steered))
        return;
    policy_add(plan, POLICY_STEER)->slots = ready;
}

/* ---- starting and draining ---- */

static bool anybody_serves(const struct roster *roster)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        if (worker_is_live(worker) && !worker->leaving && roster->slots[worker->slot].wanted)
            return true;
    return false;
}

/* The worker that has been draining longest. */
static struct worker *oldest_drain(const struct slot *slot)
{
    struct worker *worker;
    TAILQ_FOREACH_REVERSE (worker, &slot->workers, worker_list, in_slot)
        if (worker->state == WORKER_DRAINING)
            return worker;
    return NULL;
}

static bool is_making_room(const struct slot *slot)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->state == WORKER_DRAINING && worker->cut)
            return true;
    return false;
}

void policy_start_in(const struct slot *slot, uint64_t generation, struct policy_plan *plan)
{
    if (slot->worker_count < ROSTER_WORKERS_PER_SLOT) {
        struct policy_action *action = policy_add(plan, POLICY_SPAWN);
        action->slot = slot->index;
        action->generation = generation;
        return;
    }
    struct worker *oldest = oldest_drain(slot);
    if (oldest != NULL && !is_making_room(slot))
        add_worker_action(plan, POLICY_CUT, oldest, oldest->ending, 0);
}

static void plan_spawn(const struct roster *roster, const struct policy_rules *rules,
                       const struct slot *slot, bool last_resort, int64_t now_ms,
                       struct policy_plan *plan)
{
    int64_t at_ms = slot->start_at_ms;
    if (last_resort && roster->last_start_ms != 0) {
        int64_t soonest = roster->last_start_ms + rules->last_resort_ms;
        if (soonest < at_ms)
            at_ms = soonest;
    }
    if (now_ms >= at_ms)
        policy_start_in(slot, roster->generation, plan);
    else
        policy_wake_at(plan, at_ms);
}

/* One replacement of a worker that still serves is under way. */
static bool roll_under_way(const struct roster *roster)
{
    for (int i = 0; i < roster->slot_count; i++) {
        struct slot_view view = look_at(roster, &roster->slots[i]);
        if (view.fresh == NULL || view.fresh->state != WORKER_STARTING)
            continue;
        const struct worker *worker;
        TAILQ_FOREACH (worker, &roster->slots[i].workers, in_slot)
            if (worker_is_live(worker) && worker_is_outdated(roster, worker))
                return true;
    }
    return false;
}

static void plan_starts(const struct roster *roster, const struct policy_rules *rules,
                        int64_t now_ms, struct policy_plan *plan)
{
    bool nobody = !anybody_serves(roster);
    bool rolling = roll_under_way(roster);
    const struct slot *soonest = NULL;
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        if (!slot->wanted)
            continue;
        struct slot_view view = look_at(roster, slot);
        if (view.fresh != NULL)
            continue;
        if (!view.any_live) {
            if (soonest == NULL || slot->start_at_ms < soonest->start_at_ms)
                soonest = slot;
            plan_spawn(roster, rules, slot, false, now_ms, plan);
        } else if (!rolling) {
            int before = plan->count;
            plan_spawn(roster, rules, slot, false, now_ms, plan);
            rolling = plan->count != before;
        }
    }
    if (nobody && soonest != NULL && soonest->start_at_ms > now_ms)
        plan_spawn(roster, rules, soonest, true, now_ms, plan);
}

static enum death_reason drain_reason(const struct roster *roster, const struct slot *slot,
                                      const struct worker *worker)
{
    if (!slot->wanted)
        return DEATH_SCALE_DOWN;
    if (worker->recycle)
        return DEATH_RECYCLE;
    return worker->generation != roster->generation ? DEATH_RELOAD : DEATH_RESTART;
}

static bool is_newer(const struct worker *candidate, const struct worker *than)
{
    for (; than != NULL; than = TAILQ_NEXT(than, in_slot))
        if (than == candidate)
            return false;
    return true;
}

/* Whether another worker of the slot does this one's work. */
static bool is_replaced(const struct roster *roster, const struct slot *slot,
                        const struct worker *worker)
{
    struct slot_view view = look_at(roster, slot);
    bool outdated = worker_is_outdated(roster, worker);
    if (view.fresh_ready == worker || worker_is_canary(roster, worker))
        return false;
    if (view.fresh_ready != NULL)
        return outdated || worker->state != WORKER_SUSPECT;
    /* Reloads that overtake each other: of several outdated workers one is enough. */
    return outdated && view.ready != NULL && view.ready != worker &&
           (worker->state == WORKER_STARTING || is_newer(view.ready, worker));
}

/* Drains workers that are not needed once somebody else holds their sockets. */
static void plan_drains(const struct roster *roster, const struct ownership *ownership,
                        struct policy_plan *plan)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        const struct slot *slot = &roster->slots[worker->slot];
        if (!worker_is_live(worker) || (slot->wanted && !is_replaced(roster, slot, worker)))
            continue;
        struct slot_set left = wanted_slots(roster, ownership, worker);
        if (worker->state != WORKER_STARTING && !set_empty(&left))
            continue; /* a new owner has not confirmed yet */
        add_worker_action(plan, POLICY_DRAIN, worker, drain_reason(roster, slot, worker), 0);
    }
}

static bool recycled_one_drains(const struct roster *roster)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        if (worker->state == WORKER_DRAINING && worker->ending == DEATH_RECYCLE)
            return true;
    return false;
}

/* One at a time, the end of the old one included, or a bound on memory that all reach together
 * would double the workers. And only in peace: everybody READY, nothing being rolled out. */
static void plan_recycling(const struct roster *roster, const struct policy_rules *rules,
                           int64_t now_ms, struct policy_plan *plan)
{
    const struct recycle_rules *recycle = &rules->recycle;
    if (recycle->requests == 0 && recycle->lifetime_ms == 0 && recycle->memory_bytes == 0)
        return;
    if (roster->rolling || roster->trial.generation != 0 || !policy_settled(roster) ||
        recycled_one_drains(roster))
        return;
    /* Requests and memory grow without anything happening here. */
    if (recycle->requests != 0 || recycle->memory_bytes != 0)
        policy_wake_at(plan, now_ms + RECYCLE_LOOK_MS);
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        if (worker->state != WORKER_READY || worker->leaving)
            continue;
        struct recycle_verdict verdict;
        policy_recycle_judge(recycle, &roster->slots[worker->slot], worker, now_ms, &verdict);
        policy_wake_at(plan, verdict.not_before_ms);
        if (verdict.bound == RECYCLE_NONE)
            continue;
        struct policy_action *action = policy_add(plan, POLICY_RECYCLE);
        action->slot = worker->slot;
        action->worker = worker;
        action->reason = DEATH_RECYCLE;
        action->recycle = verdict;
        return;
    }
}

void policy_decide(const struct roster *roster, const struct policy_rules *rules,
                   const struct slot_set *steered, int64_t now_ms, struct policy_plan *plan)
{
    plan->count = 0;
    plan->failed = false;
    plan->wake_at_ms = INT64_MAX;

    bool holds = watch_probation_holds(roster, rules, now_ms);
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        watch_worker(rules, worker, holds, now_ms, plan);
    /* Who may be relied on has changed: what follows from it is the next plan. */
    if (rules->stopping || plan->count > 0 || policy_plan_trial(roster, rules, now_ms, plan))
        return;

    struct ownership ownership;
    decide_owners(roster, &ownership);
    plan_steering(roster, steered, plan);
    plan_assignments(roster, &ownership, plan);
    plan_drains(roster, &ownership, plan);
    plan_starts(roster, rules, now_ms, plan);
    policy_plan_canary(roster, plan);
    plan_recycling(roster, rules, now_ms, plan);
}

struct policy_backoff policy_after_death(const struct policy_rules *rules, int early_deaths,
                                         int64_t age_ms, bool was_ready, bool killed_from_outside)
{
    if (killed_from_outside && was_ready)
        /* Not quicker than once per backoff_min, whoever keeps killing it. */
        return (struct policy_backoff){early_deaths,
                                       age_ms < rules->backoff_min_ms ? rules->backoff_min_ms : 0};
    if (was_ready && age_ms >= rules->healthy_after_ms)
        return (struct policy_backoff){0, 0};

    struct policy_backoff out = {early_deaths + 1, 0};
    if (out.early_deaths == 1)
        return out;
    out.backoff_ms = rules->backoff_min_ms;
    for (int i = 2; i < out.early_deaths && out.backoff_ms < rules->backoff_max_ms; i++)
        out.backoff_ms *= 2;
    if (out.backoff_ms > rules->backoff_max_ms)
        out.backoff_ms = rules->backoff_max_ms;
    return out;
}

bool policy_spend_budget(struct roster *roster, const struct policy_rules *rules, int64_t now_ms)
{
    if (now_ms - roster->budget_window_ms >= rules->budget_interval_ms) {
        roster->budget_window_ms = now_ms;
        roster->budget_used = 0;
        roster->budget_exhausted = false;
        roster->budget_logged = false;
    }
    if (roster->budget_used < rules->budget) {
        roster->budget_used++;
        return true;
    }
    roster->budget_exhausted = true;
    if (now_ms - roster->last_start_ms < 1000)
        return false;
    roster->budget_used++;
    return true;
}

/* It has a worker that serves, if only those that it has: on probation it goes on. */
static bool is_served(const struct slot *slot)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->state == WORKER_READY ||
            (worker->state == WORKER_SUSPECT && worker->connected &&
             worker->watch.probation_ms != 0 && !worker->watch.late))
            return true;
    return false;
}

bool policy_settled(const struct roster *roster)
{
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        const struct worker *worker;
        TAILQ_FOREACH (worker, &slot->workers, in_slot)
            if (worker_is_live(worker) && (!slot->wanted || worker_is_outdated(roster, worker)))
                return false;
        if (slot->wanted && !is_served(slot))
            return false;
    }
    return true;
}
