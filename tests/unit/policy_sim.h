/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_sim - a simulated cluster for the tests of the policy.
 *
 * The simulation applies plans the way master.c does; workers answer when a
 * test lets them. Invariants that must hold at every step are checked by
 * check_invariants().
 */
#ifndef MUSTER_TEST_POLICY_SIM_H
#define MUSTER_TEST_POLICY_SIM_H

#include "common/check.h"
#include "master/policy.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sim {
    struct roster *roster;
    struct policy_rules rules;
    struct policy_plan plan;
    struct slot_set steered;
    uint64_t epoch;
    int64_t now_ms;
    pid_t next_pid;
    int spawns, drains, kills, cuts, promotions, take_backs, recycled;
    const char *why;   /* of the last TAKE_BACK */
    uint64_t previous; /* generation to go back to */
    uint64_t newest;   /* generation ever begun */
};

static inline struct policy_rules rules(void)
{
    return (struct policy_rules){.start_timeout_ms = 10000,
                                 .suspect_timeout_ms = 3000,
                                 .hang_timeout_ms = 30000,
                                 .canary_time_ms = 2000,
                                 .drain_timeout_ms = 60000,
                                 .kill_grace_ms = 2000,
                                 .backoff_min_ms = 100,
                                 .backoff_max_ms = 30000,
                                 .healthy_after_ms = 10000,
                                 .budget = 20,
                                 .budget_interval_ms = 10000,
                                 .last_resort_ms = 2000};
}

static inline void sim_init(struct sim *sim, int slots, int desired)
{
    memset(sim, 0, sizeof(*sim));
    sim->roster = roster_new(slots);
    assert_non_null(sim->roster);
    sim->rules = rules();
    sim->now_ms = 1000000;
    sim->next_pid = 100;
    roster_set_desired(sim->roster, desired);
}

static inline void sim_fini(struct sim *sim)
{
    policy_plan_fini(&sim->plan);
    roster_free(&sim->roster);
}

static inline bool is_subset_polled(const struct sim *sim, int slot)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        if (worker_is_live(worker) && worker->connected &&
            slot_set_has(&worker->confirmed, (unsigned)slot))
            return true;
    return false;
}

static inline bool held_by_other(const struct sim *sim, int slot, const struct worker *except)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        if (worker != except && worker_is_live(worker) &&
            slot_set_has(&worker->confirmed, (unsigned)slot))
            return true;
    return false;
}

/* A socket is only given up when somebody else said that it polls it. */
static inline void check_given_up(const struct sim *sim, const struct worker *worker,
                                  const struct slot_set *next)
{
    for (int i = 0; i < sim->roster->slot_count; i++)
        if (slot_set_has(&worker->assigned, (unsigned)i) && !slot_set_has(next, (unsigned)i))
            assert_true(held_by_other(sim, i, worker));
}

/* As master_reload.c does it. */
static inline void sim_begin_trial(struct sim *sim)
{
    if (sim->newest < sim->roster->generation)
        sim->newest = sim->roster->generation;
    sim->roster->trial = (struct roster_trial){++sim->newest, sim->now_ms};
}

static inline void sim_promote(struct sim *sim)
{
    sim->previous = sim->roster->generation;
    sim->roster->generation = sim->roster->trial.generation;
    sim->roster->trial = (struct roster_trial){0};
    sim->roster->rolling = true;
    for (int i = 0; i < sim->roster->slot_count; i++)
        sim->roster->slots[i].start_at_ms = 0;
    sim->promotions++;
}

static inline void sim_take_back(struct sim *sim)
{
    if (sim->roster->trial.generation != 0)
        sim->roster->trial = (struct roster_trial){0};
    else if (sim->roster->rolling)
        sim->roster->generation = sim->previous;
    sim->roster->rolling = false;
    sim->take_backs++;
}

static inline void apply(struct sim *sim, const struct policy_action *action)
{
    struct slot *slot = &sim->roster->slots[action->slot];
    struct worker *worker = action->worker;
    switch (action->kind) {
    case POLICY_STEER:
        for (int i = 0; i < sim->roster->slot_count; i++)
            if (slot_set_has(&action->slots, (unsigned)i))
                assert_non_null(slot_ready_worker(&sim->roster->slots[i]));
        sim->steered = action->slots;
        break;
    case POLICY_SPAWN:
        assert_true(slot->wanted);
        {
            struct worker *added =
                roster_add(sim->roster, action->slot, sim->next_pid++, sim->now_ms);
            assert_non_null(added);
            added->generation = action->generation;
            assert_true(action->generation == sim->roster->generation ||
                        action->generation == sim->roster->trial.generation);
        }
        sim->roster->last_start_ms = sim->now_ms;
        sim->spawns++;
        break;
    case POLICY_ASSIGN:
        check_given_up(sim, worker, &action->slots);
        worker_assign(worker, &action->slots, ++sim->epoch);
        break;
    case POLICY_DRAIN:
        /* Whoever leaves must not be chosen any more, nor hold a socket alone. */
        if (worker->state == WORKER_READY) {
            static const struct slot_set none;
            assert_memory_equal(&worker->assigned, &none, sizeof(none));
        }
        /* Nor leave its slot without anybody. */
        if (worker->state == WORKER_READY && slot->wanted)
            assert_true(slot_ready_worker(slot) != worker || TAILQ_NEXT(worker, in_slot) != NULL);
        worker->ending = action->reason;
        worker->drain_deadline_ms = sim->now_ms + sim->rules.drain_timeout_ms;
        worker_enter(worker, WORKER_DRAINING, sim->now_ms);
        sim->drains++;
        break;
    case POLICY_SUSPECT:
        worker_enter(worker, WORKER_SUSPECT, sim->now_ms);
        break;
    case POLICY_TRUST:
        worker_enter(worker, WORKER_READY, sim->now_ms);
        break;
    case POLICY_KILL:
        worker->kill_signal = action->signal;
        worker->kill_sent_ms = sim->now_ms;
        sim->kills++;
        break;
    case POLICY_CUT:
        assert_int_equal(worker->state, WORKER_DRAINING);
        assert_false(worker->cut);
        assert_int_equal(slot->worker_count, ROSTER_WORKERS_PER_SLOT);
        worker->cut = true;
        worker->drain_deadline_ms = sim->now_ms;
        sim->cuts++;
        break;
    case POLICY_RECYCLE:
        /* Never two at once, and never while anything else changes. */
        assert_true(policy_settled(sim->roster));
        assert_false(sim->roster->rolling);
        assert_int_equal(sim->roster->trial.generation, 0);
        worker->replace = true;
        worker->recycle = true;
        sim->recycled++;
        break;
    case POLICY_PROMOTE:
        sim_promote(sim);
        break;
    case POLICY_TAKE_BACK:
        sim->why = action->why;
        sim_take_back(sim);
        break;
    case POLICY_ACTION_COUNT:
        fail();
    }
}

static inline void decide(struct sim *sim)
{
    for (int round = 0; round < 20; round++) {
        policy_decide(sim->roster, &sim->rules, &sim->steered, sim->now_ms, &sim->plan);
        if (sim->plan.count == 0) {
            if (sim->roster->rolling && policy_settled(sim->roster))
                sim->roster->rolling = false; /* master_reload_check() */
            return;
        }
        for (int i = 0; i < sim->plan.count; i++)
            apply(sim, &sim->plan.actions[i]);
    }
    fail_msg("the plan never becomes empty");
}

static inline void connect_worker(struct sim *sim, struct worker *worker)
{
    worker->connected = true;
    decide(sim);
}

static inline void confirm(struct sim *sim, struct worker *worker)
{
    worker_confirm(worker, &worker->assigned, worker->assign_epoch);
    decide(sim);
}

static inline void say_ready(struct sim *sim, struct worker *worker)
{
    worker_enter(worker, WORKER_READY, sim->now_ms);
    worker->last_report_ms = sim->now_ms;
    decide(sim);
}

static inline void start_worker(struct sim *sim, struct worker *worker)
{
    connect_worker(sim, worker);
    confirm(sim, worker);
    say_ready(sim, worker);
    confirm(sim, worker);
}

static inline void confirm_all(struct sim *sim)
{
    for (int round = 0; round < 4; round++) {
        struct worker *worker;
        TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
            if (worker->connected && worker_is_live(worker))
                confirm(sim, worker);
    }
}

static inline void start_all(struct sim *sim)
{
    decide(sim);
    bool again = true;
    while (again) {
        again = false;
        struct worker *worker;
        TAILQ_FOREACH (worker, &sim->roster->workers, in_roster) {
            if (worker->state == WORKER_STARTING) {
                start_worker(sim, worker);
                again = true;
                break;
            }
        }
    }
    confirm_all(sim);
}

static inline void die(struct sim *sim, struct worker *worker, bool unexpected, int signal)
{
    struct slot *slot = &sim->roster->slots[worker->slot];
    bool canary = worker_is_canary(sim->roster, worker);
    bool ends_roll =
        unexpected && policy_death_ends_roll(sim->roster, &sim->rules, worker, sim->now_ms);
    if (unexpected && !canary) {
        struct policy_backoff next =
            policy_after_death(&sim->rules, slot->early_deaths, sim->now_ms - worker->started_ms,
                               worker->ready_ms != 0, signal == SIGKILL);
        slot->early_deaths = next.early_deaths;
        slot->start_at_ms = sim->now_ms + next.backoff_ms;
    }
    worker_enter(worker, WORKER_DEAD, sim->now_ms);
    roster_remove(sim->roster, worker);
    if (ends_roll)
        sim_take_back(sim);
    decide(sim);
}

static inline void report_all(struct sim *sim)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &sim->roster->workers, in_roster)
        worker->last_report_ms = sim->now_ms;
}

static inline struct worker *ready_in(const struct sim *sim, int slot)
{
    struct worker *worker = slot_ready_worker(&sim->roster->slots[slot]);
    CHECK(worker != NULL);
    return worker;
}

/* What must be true when every message was answered. */
static inline void check_invariants(const struct sim *sim)
{
    bool anybody = roster_count(sim->roster, WORKER_READY) > 0;
    for (int i = 0; i < sim->roster->slot_count; i++) {
        bool steered = slot_set_has(&sim->steered, (unsigned)i);
        bool ready =
            sim->roster->slots[i].wanted && slot_ready_worker(&sim->roster->slots[i]) != NULL;
        if (anybody) {
            assert_int_equal(steered, ready);
            assert_true(is_subset_polled(sim, i));
        }
    }
}

#endif
