/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_deaths - a worker has died: what it counted stays, its obituary is
 * written, and its slot is told when it may start the next one.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void master_book_backoff(struct master *master, struct slot *slot, int64_t age_ms, bool was_ready,
                         bool from_outside, int64_t now_ms)
{
    struct policy_backoff next =
        policy_after_death(&master->rules, slot->early_deaths, age_ms, was_ready, from_outside);
    slot->early_deaths = next.early_deaths;
    slot->backoff_ms = next.backoff_ms;
    slot->start_at_ms = now_ms + next.backoff_ms;
    slot->needs_budget = !from_outside;
}

static const char *explain_exit(int code)
{
    switch (code) {
    case WORKER_EXIT_USAGE:
        return "wrong arguments";
    case WORKER_EXIT_INTERNAL:
        return "could not build what it needs";
    case WORKER_EXIT_NO_MASTER:
        return "heard no master";
    case WORKER_EXIT_REFUSED:
        return "the master refused it";
    case WORKER_EXIT_PRIVILEGES:
        return "could not become the configured user";
    case WORKER_EXIT_CONFIG:
        return "the configuration cannot be served";
    case WORKER_EXIT_CUT:
        return "the drain deadline cut connections";
    case 127:
        return "the binary could not be executed";
    default:
        return NULL;
    }
}

static void describe_death(int status, bool said_goodbye, struct obituary *out)
{
    out->exit_code = -1;
    if (status == CHILD_STATUS_UNKNOWN) {
        (void)snprintf(out->cause, sizeof(out->cause), "%s, started by a master before this one",
                       said_goodbye ? "ended its drain" : "ended, how is not known");
        return;
    }
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        out->exit_signal = WTERMSIG(status);
        out->core_dumped = WCOREDUMP(status);
        (void)snprintf(out->cause, sizeof(out->cause), "killed by SIG%s%s",
                       name != NULL ? name : "?", out->core_dumped ? " (core dumped)" : "");
        return;
    }
    out->exit_code = WEXITSTATUS(status);
    const char *text = explain_exit(out->exit_code);
    (void)snprintf(out->cause, sizeof(out->cause), "exited with status %d%s%s", out->exit_code,
                   text != NULL ? ": " : "", text != NULL ? text : "");
}

static bool was_asked(enum death_reason ending)
{
    switch (ending) {
    case DEATH_RESTART:
    case DEATH_RELOAD:
    case DEATH_RECYCLE:
    case DEATH_SCALE_DOWN:
    case DEATH_SHUTDOWN:
        return true;
    case DEATH_NONE:
    case DEATH_CRASH:
    case DEATH_EXIT:
    case DEATH_SPAWN_FAILED:
    case DEATH_START_TIMEOUT:
    case DEATH_HANG:
    case DEATH_PROTOCOL:
    case DEATH_REASON_COUNT:
        break;
    }
    return false;
}

static void write_obituary(const struct worker *worker, int wait_status, int64_t now_ms,
                           struct obituary *out)
{
    *out = (struct obituary){
        .wall_ms = clock_wall_ms(),
        .pid = worker->pid,
        .generation = worker->generation,
        .age_ms = now_ms - worker->started_ms,
        .was_ready = worker->ready_ms != 0,
        .requests = worker->metrics.counter[METRIC_HTTP_REQUESTS],
        .connections = worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE],
        .rss_bytes = worker->proc.rss_bytes,
        .cut_requests = worker->metrics.counter[METRIC_DRAIN_CUT],
        .cut_connections = worker->metrics.counter[METRIC_DRAIN_CUT] +
                           worker->metrics.counter[METRIC_DRAIN_CUT_IDLE],
    };
    memcpy(out->why, worker->why, sizeof(out->why));
    describe_death(wait_status, worker->done, out);
    out->reason = worker->ending;
    bool exited = out->exit_code >= 0 || worker->done;
    if (out->reason == DEATH_NONE)
        out->reason = exited ? DEATH_EXIT : DEATH_CRASH;
}

static void log_death(struct master *master, const struct worker *worker,
                      const struct obituary *obituary, const struct slot *slot, int64_t now_ms)
{
    bool gentle = worker->done || obituary->exit_code == 0 ||
                  obituary->exit_code == WORKER_EXIT_CUT || obituary->exit_signal == SIGTERM;
    if (was_asked(obituary->reason) && gentle) {
        log_info("worker ended", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                 LOG_STR("reason", death_reason_name(obituary->reason)),
                 LOG_STR("cause", obituary->cause), LOG_INT("age_ms", obituary->age_ms),
                 LOG_INT("requests", obituary->requests),
                 LOG_INT("cut_requests", obituary->cut_requests),
                 LOG_INT("cut_connections", obituary->cut_connections),
                 LOG_STR("why", obituary->why[0] != '\0' ? obituary->why : NULL));
        return;
    }
    uint64_t count = death_log_count(&master->deaths, obituary->cause, now_ms);
    if (count == 0)
        return;
    master_event(master, DEATH, worker->slot, worker->pid, "%s after %.1f s (%s)", obituary->cause,
                 (double)obituary->age_ms / 1e3, death_reason_name(obituary->reason));
    log_error(
        "worker died", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
        LOG_STR("cause", obituary->cause), LOG_STR("reason", death_reason_name(obituary->reason)),
        LOG_INT("deaths", count), LOG_INT("age_ms", obituary->age_ms),
        LOG_INT("requests", obituary->requests), LOG_INT("connections", obituary->connections),
        LOG_INT("rss_bytes", obituary->rss_bytes),
        LOG_INT("next_start_ms", slot->start_at_ms > now_ms ? slot->start_at_ms - now_ms : 0));
}

/* Books a death: counters, back-off, obituary. */
void master_book_death(struct master *master, struct slot *slot, const struct obituary *obituary,
                       bool canary, int64_t now_ms)
{
    master->roster->restarts[obituary->reason]++;
    slot_add_obituary(slot, obituary);
    /* A canary is one more: what becomes of it is no matter of the slot's own worker. */
    if (was_asked(obituary->reason) || canary)
        return;
    slot->restarts++;
    if (obituary->reason != DEATH_PROTOCOL)
        master_book_backoff(master, slot, obituary->age_ms, obituary->was_ready,
                            obituary->reason == DEATH_CRASH && obituary->exit_signal == SIGKILL,
                            now_ms);
}

void master_on_child_exit(void *context, struct child *child, int wait_status)
{
    struct master *master = context;
    int64_t now_ms = clock_monotonic_ms();
    struct worker *worker = roster_find_pid(master->roster, child_pid(child));
    CHECK(worker != NULL && worker->child == child);
    if (worker->peer != NULL)
        /* What it managed to report before it died still counts. */
        peer_drain(worker->peer);
    if (worker->peer != NULL)
        peer_close(worker->peer);
    worker->peer = NULL;
    worker->connected = false;

    struct slot *slot = &master->roster->slots[worker->slot];
    struct obituary obituary;
    write_obituary(worker, wait_status, now_ms, &obituary);
    totals_bury(&master->totals, &worker->metrics);
    bool canary = worker_is_canary(master->roster, worker);
    bool ends_roll = !was_asked(obituary.reason) &&
                     policy_death_ends_roll(master->roster, &master->rules, worker, now_ms);
    bool failed_alone = worker->ready_ms == 0 && !was_asked(obituary.reason);
    worker_enter(worker, WORKER_DEAD, now_ms);
    master_book_death(master, slot, &obituary, canary, now_ms);
    log_death(master, worker, &obituary, slot, now_ms);
    if (failed_alone)
        slot->roll_failures++;
    child_free(&worker->child);
    master_drop_board(worker);
    master_forget_worker(master, worker);
    roster_remove(master->roster, worker);
    master_log_slot(master, slot->index);
    if (ends_roll) {
        char reason[sizeof(obituary.cause) + 64];
        (void)snprintf(reason, sizeof(reason), "pid %d %s after %.1f s%s", (int)obituary.pid,
                       obituary.cause, (double)obituary.age_ms / 1e3,
                       obituary.was_ready ? "" : ", before it was ready");
        master_reload_failed(master, reason);
    }
    master_carry_out(master);
}
