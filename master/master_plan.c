/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_plan - carries out the plans of policy.c.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

static int start_process(struct master *master, const struct slot *slot, uint64_t generation,
                         struct child **out)
{
    const struct worker_binary *binary = master_binary_for(master, generation);
    char buffer[WORKER_BINARY_EXEC_SIZE];
    struct child_spec spec = {worker_binary_exec_path(binary, buffer), master->control_path,
                              slot->index, generation};
    int err = child_start(master->base, &spec, master_on_child_exit, master, out);
    if (err == -ENOENT && worker_binary_is_pinned(binary)) {
        spec.path = binary->path; /* /proc was unmounted */
        err = child_start(master->base, &spec, master_on_child_exit, master, out);
    }
    return err;
}

static void book_failed_start(struct master *master, struct slot *slot, uint64_t generation,
                              int err, int64_t now_ms)
{
    struct roster *roster = master->roster;
    struct obituary obituary = {.wall_ms = clock_wall_ms(),
                                .generation = generation,
                                .reason = DEATH_SPAWN_FAILED,
                                .exit_code = 127};
    (void)snprintf(obituary.cause, sizeof(obituary.cause), "cannot execute the worker: %s",
                   log_strerror(err));
    bool canary = generation == roster->trial.generation;
    master_book_death(master, slot, &obituary, canary, now_ms);
    uint64_t count = death_log_count(&master->deaths, obituary.cause, now_ms);
    if (count > 0)
        log_error("cannot start a worker", LOG_INT("slot", slot->index),
                  LOG_STR("path", master_binary_for(master, generation)->path), LOG_ERR(err),
                  LOG_INT("times", count));
    if (canary || roster->rolling)
        master_reload_failed(master, obituary.cause);
    master_log_slot(master, slot->index);
    master_reconcile_soon(master);
}

static void spawn(struct master *master, struct slot *slot, uint64_t generation, int64_t now_ms)
{
    bool canary = generation == master->roster->trial.generation;
    if (!canary && generation != master->roster->generation)
        return; /* taken back by an action before this one; the next plan knows */
    if (!canary && slot->needs_budget &&
        !policy_spend_budget(master->roster, &master->rules, now_ms)) {
        slot->start_at_ms = master->roster->last_start_ms + 1000;
        if (!master->roster->budget_logged)
            log_warning("restart budget used up, starting one worker a second",
                        LOG_INT("budget", master->rules.budget),
                        LOG_INT("interval_ms", master->rules.budget_interval_ms));
        master->roster->budget_logged = true;
        master_reconcile_soon(master);
        return;
    }
    struct child *child = NULL;
    int err = start_process(master, slot, generation, &child);
    master->roster->last_start_ms = now_ms;
    if (err != 0) {
        book_failed_start(master, slot, generation, err, now_ms);
        return;
    }
    struct worker *worker = roster_add(master->roster, slot->index, child_pid(child), now_ms);
    if (worker == NULL) {
        (void)child_signal(child, SIGKILL);
        child_free(&child);
        return;
    }
    worker->child = child;
    worker->generation = generation;
    if (canary)
        log_notice("the canary starts", LOG_INT("slot", slot->index), LOG_INT("pid", worker->pid),
                   LOG_INT("generation", generation),
                   LOG_INT("canary_time_ms", master->rules.canary_time_ms));
    else
        slot->needs_budget = false;
    master_save_worker(master, worker, (struct slice){0});
    master_log_slot(master, slot->index);
}

static void assign(struct master *master, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    worker_assign(worker, &action->slots, ++master->assign_epoch);
    ipc_begin(&master->message, MESSAGE_ASSIGN);
    ipc_put_u64(&master->message, FIELD_EPOCH, worker->assign_epoch);
    ipc_put_slots(&master->message, FIELD_SLOTS, &worker->assigned);
    master_send(master, worker, NULL, 0);
}

static void drain(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    bool scaled = action->reason == DEATH_SCALE_DOWN;
    int64_t timeout_ms =
        scaled ? master->rules.scale_drain_timeout_ms : master->rules.drain_timeout_ms;
    worker->ending = action->reason;
    worker->drain_deadline_ms = now_ms + timeout_ms;
    worker->drain_deadline_by = scaled ? "scale_drain_timeout" : "reload_drain_timeout";
    worker_enter(worker, WORKER_DRAINING, now_ms);
    master_save_worker(master, worker, (struct slice){0});
    log_info("worker draining", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
             LOG_STR("reason", death_reason_name(action->reason)),
             LOG_INT("connections", worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE]));
    master_log_slot(master, worker->slot);
    master_send_drain(master, worker, timeout_ms, 0, false);
}

/* Reloads that follow each other faster than old workers can finish: somebody
 * has to go, and the oldest had the most time. */
static void cut(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    log_warning("ending the oldest drain, its slot has no room for another worker",
                LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                LOG_INT("generation", worker->generation),
                LOG_INT("workers_in_slot", master->roster->slots[worker->slot].worker_count),
                LOG_INT("connections", worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE]),
                LOG_INT("in_flight", worker->metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT]),
                LOG_INT("drained_ms", now_ms - worker->state_since_ms));
    master_event(master, DEATH, worker->slot, worker->pid,
                 "its drain ends now: %d workers in one slot, and another one is to start",
                 master->roster->slots[worker->slot].worker_count);
    master->roster->slots[worker->slot].cuts++;
    worker->cut = true;
    worker->drain_deadline_ms = now_ms;
    worker->drain_deadline_by = "too many workers in one slot";
    master_send_drain(master, worker, 0, 0, false);
}

static void recycle(struct master *master, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    struct slot *slot = &master->roster->slots[worker->slot];
    policy_recycle_describe(&action->recycle, worker->why, sizeof(worker->why));
    worker->replace = true;
    worker->recycle = true;
    log_notice("recycling a worker", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
               LOG_STR("why", worker->why));
    master_event(master, RECYCLE, worker->slot, worker->pid, "recycled %s", worker->why);
    if (action->recycle.bound == RECYCLE_MEMORY)
        slot->recycled_early = action->recycle.early ? slot->recycled_early + 1 : 0;
    if (slot->recycled_early > 1)
        log_warning("recycle.memory is near what a fresh worker needs, recycling more seldom",
                    LOG_INT("slot", worker->slot), LOG_INT("memory_bytes", action->recycle.limit),
                    LOG_INT("times_in_a_row", slot->recycled_early));
}

static void kill_worker(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    if (worker->ending == DEATH_NONE)
        worker->ending = action->reason;
    worker->kill_signal = action->signal;
    worker->kill_sent_ms = now_ms;
    if (action->reason == DEATH_HANG && action->signal == SIGABRT)
        master_event(master, HANG_KILLED, worker->slot, worker->pid,
                     "no progress for %.1f s, hang_timeout is %.1f s",
                     (double)watch_stuck_ms(worker, now_ms) / 1e3,
                     (double)master->rules.hang_timeout_ms / 1e3);
    if (action->signal == SIGABRT || worker->ending != DEATH_START_TIMEOUT)
        log_warning("killing a worker", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                    LOG_STR("signal", action->signal == SIGKILL ? "SIGKILL" : "SIGABRT"),
                    LOG_STR("reason", death_reason_name(action->reason)));
    if (worker->child != NULL)
        (void)child_signal(worker->child, action->signal);
}

static void carry_out_one(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    switch (action->kind) {
    case POLICY_STEER:
        master_steer(master, &action->slots);
        break;
    case POLICY_SPAWN:
        spawn(master, &master->roster->slots[action->slot], action->generation, now_ms);
        break;
    case POLICY_ASSIGN:
        assign(master, action);
        break;
    case POLICY_DRAIN:
        drain(master, action, now_ms);
        break;
    case POLICY_SUSPECT:
        master_on_suspect(master, action->worker, now_ms);
        break;
    case POLICY_TRUST:
        master_on_trust(master, action->worker, now_ms);
        break;
    case POLICY_KILL:
        kill_worker(master, action, now_ms);
        break;
    case POLICY_CUT:
        cut(master, action, now_ms);
        break;
    case POLICY_RECYCLE:
        recycle(master, action);
        break;
    case POLICY_PROMOTE:
        master_reload_promote(master);
        break;
    case POLICY_TAKE_BACK:
        master_reload_failed(master, action->why);
        break;
    case POLICY_ACTION_COUNT:
        break;
    }
}

enum { AGAIN_MS = 20 };

void master_carry_out(struct master *master)
{
    if (master->reconcile == NULL)
        return; /* the roll has not been called yet */
    /* A plan may make the next one possible (SUSPECT, then steer away), so it
     * is made again until it is empty; the bound is against our own mistakes. */
    for (int round = 0; round < 8; round++) {
        int64_t now_ms = clock_monotonic_ms();
        master_look(master, now_ms);
        policy_decide(master->roster, &master->rules, &master->steered, now_ms, &master->plan);
        for (int i = 0; i < master->plan.count; i++)
            carry_out_one(master, &master->plan.actions[i], now_ms);
        if (master->plan.count == 0)
            break;
    }
    int64_t now_ms = clock_monotonic_ms();
    /* No memory for all of it, or no end in sight: a little later again. */
    if ((master->plan.failed || master->plan.count > 0) &&
        master->plan.wake_at_ms > now_ms + AGAIN_MS)
        master->plan.wake_at_ms = now_ms + AGAIN_MS;
    int64_t wait_ms = master->plan.wake_at_ms - now_ms;
    if (master->plan.wake_at_ms == INT64_MAX)
        (void)event_del(master->reconcile);
    else {
        if (wait_ms < 1)
            wait_ms = 1;
        const struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
        (void)event_add(master->reconcile, &wait);
    }
    master_reload_check(master);
    master_finish_commands(master, now_ms);
    master_stop_check(master);
}
