/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_state - what is written down for a master that comes after this one.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COMPLAINT_INTERVAL_MS = 60000 };

/* On a full disk some writes succeed and some do not. */
static void complain(struct master *master, int err)
{
    int64_t now_ms = clock_monotonic_ms();
    if (err == 0 || (master->state_complained_ms != 0 &&
                     now_ms - master->state_complained_ms < COMPLAINT_INTERVAL_MS))
        return;
    log_error("cannot write down the state: a master that comes after a crash of this one "
              "would not know all of its workers",
              LOG_STR("file", master->state_path), LOG_ERR(err));
    master->state_complained_ms = now_ms;
}

static int save_cluster(struct master *master)
{
    const struct cluster *cluster = &master->cluster;
    const struct roster *roster = master->roster;
    struct state_cluster out = {
        .version = MUSTER_VERSION,
        .generation = roster->generation,
        .newest_generation = cluster->newest_generation,
        .config_id = master->config_id,
        .manual = cluster->manual,
        .instances = roster->desired,
        .since_wall_ms = cluster->manual_since_wall_ms,
        .upgrade_pid = cluster->upgrade.running ? getpid() : 0,
        .upgrade_started_wall_ms = cluster->upgrade.started_wall_ms,
        .slot_count = roster->slot_count,
        .sockets_id = master->sockets_id,
        .masters = cluster->masters,
        .wakeups = cluster->wakeups,
        .queries_answered = cluster->queries_answered,
        .control_rejected = cluster->control_rejected,
        .program_swaps = cluster->dispatch.swaps,
        .cpu_user_ms = cluster->master_proc.cpu_user_ms,
        .cpu_system_ms = cluster->master_proc.cpu_system_ms,
        .cpu_user_before_ms = master->cpu_user_before_ms,
        .cpu_system_before_ms = master->cpu_system_before_ms,
    };
    if (cluster->manual && cluster->manual_until_ms != 0)
        out.until_wall_ms = clock_wall_ms() + cluster->manual_until_ms - clock_monotonic_ms();
    memcpy(out.reason, cluster->manual_reason, sizeof(out.reason));
    memcpy(out.who, cluster->manual_who, sizeof(out.who));
    memcpy(out.upgrade_who, cluster->upgrade.who, sizeof(out.upgrade_who));
    memcpy(out.restarts, roster->restarts, sizeof(out.restarts));
    for (int i = 0; i < roster->slot_count; i++) {
        out.slot_restarts[i] = roster->slots[i].restarts;
        out.slot_suspected[i] = roster->slots[i].suspected;
    }
    master->suspected_unsaved = false;
    return state_file_put_cluster(master->state_file, &out, &master->totals.dead);
}

void master_save_cluster(struct master *master)
{
    if (master->state_file != NULL)
        complain(master, save_cluster(master));
}

void master_save_worker(struct master *master, struct worker *worker, struct slice snapshot)
{
    if (master->state_file == NULL || worker->child == NULL)
        return;
    bool new_here = worker->state_cell < 0;
    if (new_here) {
        int cell = state_file_add(master->state_file);
        if (cell < 0)
            return;
        worker->state_cell = cell;
    }
    struct buf encoded;
    buf_init(&encoded, CONTRACT_MAX_MESSAGE / 2);
    if (snapshot.ptr == NULL) {
        metrics_encode(&worker->metrics, &encoded);
        snapshot = buf_slice(&encoded);
    }
    const struct state_worker out = {
        .pid = worker->pid,
        .identity = child_identity(worker->child),
        .slot = worker->slot,
        .generation = worker->generation,
        .state = worker->state,
        .started_wall_ms = clock_wall_ms() - (clock_monotonic_ms() - worker->started_ms),
        .snapshot = snapshot,
    };
    int err = state_file_put_worker(master->state_file, worker->state_cell, &out);
    complain(master, err);
    buf_fini(&encoded);
    if (new_here && err != 0) {
        /* Its place has no record, or that of somebody before it. */
        state_file_drop(master->state_file, worker->state_cell);
        worker->state_cell = -1;
    } else if (new_here) {
        master_save_cluster(master);
    }
}

void master_forget_worker(struct master *master, struct worker *worker)
{
    if (master->state_file == NULL)
        return;
    if (worker->state_cell >= 0)
        state_file_drop(master->state_file, worker->state_cell);
    worker->state_cell = -1;
    master_save_cluster(master);
    /* On a full disk somebody may have waited for the room. */
    struct worker *other;
    TAILQ_FOREACH (other, &master->roster->workers, in_roster)
        if (other->state_cell < 0 && other != worker)
            master_save_worker(master, other, (struct slice){0});
}

/* What somebody has read must never be less afterwards, so it is written down first. */
void command_publish(struct master *master)
{
    master_save_cluster(master);
}

void master_open_state(struct master *master)
{
    struct worker *worker;
    bool whole = true;
    int err = state_file_new(master->state_path, &master->state_file);
    complain(master, err);
    if (err != 0)
        return;
    /* Whoever finds the file finds all of them in it. */
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        worker->state_cell = -1;
        master_save_worker(master, worker, (struct slice){0});
        whole = whole && worker->state_cell >= 0;
    }
    err = save_cluster(master);
    if (err == 0 && whole)
        err = state_file_publish(master->state_file);
    complain(master, err);
    if (err != 0 || !whole) /* what the master before wrote down is better */
        state_file_free(&master->state_file, false);
}

static void restore_upgrade(struct master *master, const struct state_cluster *from)
{
    struct cluster_upgrade *upgrade = &master->cluster.upgrade;
    if (!master->options->arrival->arrived || from->upgrade_pid != getpid())
        return;
    upgrade->started_wall_ms = from->upgrade_started_wall_ms;
    memcpy(upgrade->from_version, from->version, sizeof(upgrade->from_version));
    memcpy(upgrade->who, from->upgrade_who, sizeof(upgrade->who));
    (void)snprintf(upgrade->to_version, sizeof(upgrade->to_version), "%s", MUSTER_VERSION);
}

void master_restore(struct master *master, const struct state *state)
{
    const struct state_cluster *from = &state->cluster;
    struct cluster *cluster = &master->cluster;
    struct roster *roster = master->roster;
    int64_t now_wall_ms = clock_wall_ms();
    master->totals.dead = state->dead;
    memcpy(roster->restarts, from->restarts, sizeof(roster->restarts));
    for (int i = 0; i < roster->slot_count; i++) {
        roster->slots[i].restarts = from->slot_restarts[i];
        roster->slots[i].suspected = from->slot_suspected[i];
    }
    cluster->masters = from->masters + 1;
    cluster->wakeups = from->wakeups;
    cluster->queries_answered = from->queries_answered;
    cluster->control_rejected = from->control_rejected;
    master->rejected_before = from->control_rejected;
    cluster->dispatch.swaps = from->program_swaps;
    bool same_process = master->options->arrival->arrived;
    master->cpu_user_before_ms = same_process ? from->cpu_user_before_ms : from->cpu_user_ms;
    master->cpu_system_before_ms = same_process ? from->cpu_system_before_ms : from->cpu_system_ms;
    /* Until this process is looked at: what is written down before that must not be less. */
    cluster->master_proc.cpu_user_ms = from->cpu_user_ms;
    cluster->master_proc.cpu_system_ms = from->cpu_system_ms;
    cluster->newest_generation = from->newest_generation;
    roster->generation = from->generation;
    /* What stands for the generation is what its workers have. */
    master->roll.outdated = from->config_id != master->config_id && state->worker_count > 0;
    if (master->roll.outdated)
        master->config_id = from->config_id;
    restore_upgrade(master, from);
    if (from->manual && (from->until_wall_ms == 0 || from->until_wall_ms > now_wall_ms) &&
        from->instances >= cluster->min_workers && from->instances <= cluster->max_workers) {
        cluster->manual = true;
        cluster->manual_since_wall_ms = from->since_wall_ms;
        if (from->until_wall_ms != 0)
            cluster->manual_until_ms = clock_monotonic_ms() + from->until_wall_ms - now_wall_ms;
        memcpy(cluster->manual_reason, from->reason, sizeof(cluster->manual_reason));
        memcpy(cluster->manual_who, from->who, sizeof(cluster->manual_who));
        roster_set_desired(roster, from->instances);
    }
}
