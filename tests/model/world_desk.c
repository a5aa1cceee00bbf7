/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_desk - the roster of the master, out of the world and back.
 *
 * Times become what the policy asks of them: whether a deadline has passed.
 */
#include "world_desk.h"

#include "common/check.h"
#include "master/watch.h"

#include <signal.h>

const struct policy_rules desk_rules = {.start_timeout_ms = START_TIMEOUT_MS,
                                        .suspect_timeout_ms = SUSPECT_TIMEOUT_MS,
                                        .hang_timeout_ms = HANG_TIMEOUT_MS,
                                        .canary_time_ms = CANARY_TIME_MS,
                                        .drain_timeout_ms = DRAIN_TIMEOUT_MS,
                                        .scale_drain_timeout_ms = DRAIN_TIMEOUT_MS,
                                        .kill_grace_ms = KILL_GRACE_MS,
                                        .backoff_min_ms = BACKOFF_MS,
                                        .backoff_max_ms = 300 * BACKOFF_MS,
                                        .healthy_after_ms = 10000,
                                        .budget = 20,
                                        .budget_interval_ms = 10000,
                                        .last_resort_ms = 2000};

static void recall_times(const struct world *world, const struct entry *entry,
                         struct worker *worker)
{
    static const int silent_ms[] = {0, SUSPECT_TIMEOUT_MS, HANG_TIMEOUT_MS};
    bool on_trial = world->trial != 0 && worker->generation == world->trial;
    bool overdue =
        entry->state == WORKER_STARTING ? entry->late > 0 : on_trial && world->trial_overdue;
    worker->started_ms =
        NOW_MS - (overdue ? START_TIMEOUT_MS + (on_trial ? CANARY_TIME_MS : 0) : 1);
    worker->last_report_ms = entry->was_ready ? NOW_MS - silent_ms[entry->late] : 0;
    worker->ready_ms =
        entry->was_ready ? worker->last_report_ms - (entry->proven ? CANARY_TIME_MS : 0) : 0;
    worker->state_since_ms = worker->connected_ms = NOW_MS - (entry->proven ? CANARY_TIME_MS : 0);
    worker->drain_deadline_ms = NOW_MS - (entry->late > 0 ? KILL_GRACE_MS : -DRAIN_TIMEOUT_MS);
    worker->kill_signal = entry->killed ? SIGABRT : 0;
    worker->kill_sent_ms = entry->killed ? NOW_MS : 0;
}

static struct worker *recall(const struct world *world, struct roster *roster, int index)
{
    const struct process *process = &world->process[index];
    const struct entry *entry = &process->entry;
    struct worker *worker = roster_add(roster, process->slot, index + 1, NOW_MS);
    CHECK(worker != NULL);
    worker->generation = process->generation;
    worker->state = (enum worker_state)entry->state;
    recall_times(world, entry, worker);
    worker->watch.probation_ms = entry->probation ? WATCH_PROBATION_MS : 0;
    worker->watch.late_last_ms = NOW_MS;
    worker->connected = entry->connected;
    worker->replace = entry->replace;
    worker->leaving = entry->leaving;
    worker->ending = (enum death_reason)entry->ending;
    worker->assigned = to_set(entry->assigned);
    worker->confirmed = to_set(entry->confirmed);
    worker->assign_epoch = entry->told ? EPOCH : 0;
    return worker;
}

void desk_open(struct world *world, struct desk *desk)
{
    *desk = (struct desk){.world = world, .steered = to_set(world->steered)};
    desk->roster = roster_new(world->slot_count);
    CHECK(desk->roster != NULL);
    desk->roster->generation = world->generation;
    desk->roster->trial.generation = world->trial;
    desk->roster->trial.since_ms = NOW_MS - (world->trial_overdue ? START_TIMEOUT_MS : 0);
    desk->roster->rolling = world->rolling;
    desk->roster->last_start_ms = NOW_MS;
    roster_set_desired(desk->roster, world->desired);
    for (int i = 0; i < world->slot_count; i++) {
        desk->roster->slots[i].early_deaths = world->early_deaths[i];
        desk->roster->slots[i].start_at_ms = world->backing_off[i] ? NOW_MS + BACKOFF_MS : 0;
    }
    for (int i = 0; i < world->process_count; i++)
        if (world->process[i].entry.listed)
            desk->of[i] = recall(world, desk->roster, i);
}

static void write_down(const struct worker *worker, struct entry *entry)
{
    if (entry->state != worker->state && worker->state != WORKER_SUSPECT)
        entry->late = 0;
    if (worker->state != WORKER_READY || !worker->connected)
        entry->proven = 0;
    entry->state = (uint8_t)worker->state;
    entry->connected = worker->connected;
    entry->replace = worker->replace;
    entry->leaving = worker->leaving;
    entry->ending = (uint8_t)worker->ending;
    entry->killed = worker->kill_signal != 0;
    entry->assigned = to_bits(&worker->assigned);
    entry->confirmed = to_bits(&worker->confirmed);
    entry->told = worker->assign_epoch != 0;
    entry->was_ready = worker->ready_ms != 0;
}

void desk_note(const struct desk *desk)
{
    for (int i = 0; i < desk->world->process_count; i++)
        if (desk->of[i] != NULL)
            write_down(desk->of[i], &desk->world->process[i].entry);
}

void desk_close(struct desk *desk)
{
    struct world *world = desk->world;
    desk_note(desk);
    for (int i = 0; i < world->slot_count; i++) {
        const struct slot *slot = &desk->roster->slots[i];
        world->early_deaths[i] =
            (uint8_t)(slot->early_deaths < EARLY_DEATHS ? slot->early_deaths : EARLY_DEATHS);
        world->backing_off[i] = slot->start_at_ms > NOW_MS;
    }
    world->steered = to_bits(&desk->steered);
    world->generation = (uint8_t)desk->roster->generation;
    world->trial = (uint8_t)desk->roster->trial.generation;
    world->rolling = desk->roster->rolling;
    world->trial_overdue = world->trial != 0 && world->trial_overdue;
    for (int i = 0; i < world->process_count; i++)
        if (world->trial == 0 && !world->rolling)
            world->process[i].entry.proven = 0;
    policy_plan_fini(&desk->plan);
    roster_free(&desk->roster);
}
