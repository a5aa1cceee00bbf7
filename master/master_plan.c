/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_plan - carries out the plans of policy.c.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <signal.h>
#include <stdio.h>

static void spawn(struct master *master, struct slot *slot, int64_t now_ms)
{
    if (slot->needs_budget && !policy_spend_budget(master->roster, &master->rules, now_ms)) {
        slot->start_at_ms = master->roster->last_start_ms + 1000;
        if (!master->roster->budget_logged)
            log_warning("restart budget used up, starting one worker a second",
                        LOG_INT("budget", master->rules.budget),
                        LOG_INT("interval_ms", master->rules.budget_interval_ms));
        master->roster->budget_logged = true;
        master_reconcile_soon(master);
        return;
    }
    const struct child_spec spec = {master->worker_path, master->control_path, slot->index,
                                    master->roster->generation};
    struct child *child = NULL;
    int err = child_start(master->base, &spec, master_on_child_exit, master, &child);
    master->roster->last_start_ms = now_ms;
    if (err != 0) {
        struct obituary obituary = {.wall_ms = clock_wall_ms(),
                                    .generation = master->roster->generation,
                                    .reason = DEATH_SPAWN_FAILED,
                                    .exit_code = 127};
        (void)snprintf(obituary.cause, sizeof(obituary.cause), "cannot execute the worker: %s",
                       log_strerror(err));
        master_book_death(master, slot, &obituary, now_ms);
        uint64_t count = death_log_count(&master->deaths, obituary.cause, now_ms);
        if (count > 0)
            log_error("cannot start a worker", LOG_INT("slot", slot->index),
                      LOG_STR("path", master->worker_path), LOG_ERR(err), LOG_INT("times", count));
        if (master->cluster.reload.running)
            master_reload_failed(master, obituary.cause);
        master_log_slot(master, slot->index);
        master_reconcile_soon(master);
        return;
    }
    struct worker *worker = roster_add(master->roster, slot->index, child_pid(child), now_ms);
    if (worker == NULL) {
        (void)child_signal(child, SIGKILL);
        child_free(&child);
        return;
    }
    worker->child = child;
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
    worker->ending = action->reason;
    worker->drain_deadline_ms = now_ms + master->rules.drain_timeout_ms;
    worker_enter(worker, WORKER_DRAINING, now_ms);
    master_save_worker(master, worker, (struct slice){0});
    log_info("worker draining", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
             LOG_STR("reason", death_reason_name(action->reason)),
             LOG_INT("connections", worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE]));
    master_log_slot(master, worker->slot);
    master_send_drain(master, worker, master->rules.drain_timeout_ms, 0, false);
}

static void kill_worker(const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    if (worker->ending == DEATH_NONE)
        worker->ending = action->reason;
    worker->kill_signal = action->signal;
    worker->kill_sent_ms = now_ms;
    if (action->signal == SIGABRT || worker->ending != DEATH_START_TIMEOUT)
        log_warning("killing a worker", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                    LOG_STR("signal", action->signal == SIGKILL ? "SIGKILL" : "SIGABRT"),
                    LOG_STR("reason", death_reason_name(action->reason)));
    if (worker->child != NULL)
        (void)child_signal(worker->child, action->signal);
}

static void steer(struct master *master, const struct slot_set *slots)
{
    int err = listeners_steer(&master->listeners, slots, master->roster->slot_count);
    if (err != 0)
        log_error("cannot steer new connections, trying again in a second", LOG_ERR(err));
    /* Recorded all the same, or every plan would try again; the tick does. */
    master->steered = *slots;
    master->steer_failed = err != 0;
}

static void carry_out_one(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    switch (action->kind) {
    case POLICY_STEER:
        steer(master, &action->slots);
        break;
    case POLICY_SPAWN:
        spawn(master, &master->roster->slots[action->slot], now_ms);
        break;
    case POLICY_ASSIGN:
        assign(master, action);
        break;
    case POLICY_DRAIN:
        drain(master, action, now_ms);
        break;
    case POLICY_SUSPECT:
        worker_enter(action->worker, WORKER_SUSPECT, now_ms);
        log_warning("worker is late, steering away from it", LOG_INT("slot", action->slot),
                    LOG_INT("pid", action->worker->pid),
                    LOG_INT("silent_ms", now_ms - action->worker->last_report_ms));
        master_log_slot(master, action->slot);
        break;
    case POLICY_TRUST:
        worker_enter(action->worker, WORKER_READY, now_ms);
        master_log_slot(master, action->slot);
        break;
    case POLICY_KILL:
        kill_worker(action, now_ms);
        break;
    case POLICY_ACTION_COUNT:
        break;
    }
}

void master_carry_out(struct master *master)
{
    if (master->reconcile == NULL)
        return; /* the roll has not been called yet */
    /* A plan may make the next one possible (SUSPECT, then steer away), so it
     * is made again until it is empty; the bound is against our own mistakes. */
    for (int round = 0; round < 8; round++) {
        int64_t now_ms = clock_monotonic_ms();
        policy_decide(master->roster, &master->rules, &master->steered, now_ms, &master->plan);
        for (int i = 0; i < master->plan.count; i++)
            carry_out_one(master, &master->plan.actions[i], now_ms);
        if (master->plan.count == 0)
            break;
    }
    int64_t now_ms = clock_monotonic_ms();
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
