/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_commands - what people ask for, and how it ended.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMAND_SLACK_MS = 5000 };

static void answer_with(command_on_done *on_done, void *context, bool ok, int http_status,
                        const char *message, const struct reload_changes *changes)
{
    struct command_result result = {.ok = ok, .http_status = http_status, .changes = changes};
    (void)snprintf(result.message, sizeof(result.message), "%s", message);
    if (on_done != NULL)
        on_done(context, &result);
}

static void answer(command_on_done *on_done, void *context, bool ok, int http_status,
                   const char *message)
{
    answer_with(on_done, context, ok, http_status, message, NULL);
}

/* Why the cluster is not settled yet, in words. */
static void explain_unsettled(const struct master *master, int64_t now_ms, char *out, size_t size)
{
    for (int i = 0; i < master->roster->slot_count; i++) {
        const struct slot *slot = &master->roster->slots[i];
        if (!slot->wanted || slot_ready_worker(slot) != NULL)
            continue;
        const struct worker *worker = TAILQ_FIRST(&slot->workers);
        if (worker != NULL && worker->state == WORKER_SUSPECT) {
            char why[WATCH_TEXT_SIZE];
            watch_explain(worker, now_ms, why);
            (void)snprintf(out, size, "the worker of slot %d is suspect: %s", i, why);
            return;
        }
        const struct obituary *last = slot_obituary(slot, 0);
        (void)snprintf(out, size, "slot %d is %s; its last worker: %s", i,
                       slot_state_name(slot_state_now(slot, now_ms)),
                       last != NULL ? last->cause : "none yet");
        return;
    }
    (void)snprintf(out, size, "a worker that is to be replaced has not begun to drain");
}

static void finish(struct pending_command *pending, struct master *master, bool ok, int http_status,
                   const char *message)
{
    TAILQ_REMOVE(&master->pending, pending, entry);
    if (pending->on_done == NULL) /* of a signal; management writes down its own */
        log_notice("change", LOG_STR("who", pending->command.who),
                   LOG_STR("what", command_kind_name(pending->command.kind)),
                   LOG_STR("result", ok ? "done" : "failed"), LOG_STR("message", message));
    answer_with(pending->on_done, pending->context, ok, http_status, message,
                pending->command.kind == COMMAND_RELOAD ? &master->cluster.reload.changes : NULL);
    free(pending);
}

static void success_text(const struct master *master, const struct command *command, char *out,
                         size_t size)
{
    switch (command->kind) {
    case COMMAND_SCALE:
    case COMMAND_SCALE_AUTO:
        (void)snprintf(out, size, "%d workers are ready", master->roster->desired);
        return;
    case COMMAND_RESTART: {
        const struct worker *worker = TAILQ_FIRST(&master->roster->slots[command->slot].workers);
        (void)snprintf(out, size, "slot %d has a new worker, pid %d", command->slot,
                       worker != NULL ? (int)worker->pid : 0);
        return;
    }
    case COMMAND_RELOAD:
    case COMMAND_UPGRADE:
    case COMMAND_DRAIN:
    case COMMAND_KIND_COUNT:
        break;
    }
    (void)snprintf(out, size, "done");
}

void master_finish_commands(struct master *master, int64_t now_ms)
{
    bool settled = policy_settled(master->roster);
    struct pending_command *pending = TAILQ_FIRST(&master->pending);
    while (pending != NULL) {
        struct pending_command *next = TAILQ_NEXT(pending, entry);
        char text[256];
        if (pending->command.kind == COMMAND_RELOAD || pending->command.kind == COMMAND_UPGRADE) {
            pending = next;
            continue;
        }
        if (settled) {
            success_text(master, &pending->command, text, sizeof(text));
            finish(pending, master, true, 200, text);
        } else if (now_ms >= pending->deadline_ms) {
            char why[200];
            explain_unsettled(master, now_ms, why, sizeof(why));
            (void)snprintf(text, sizeof(text), "not finished in time, going on: %s", why);
            finish(pending, master, false, 504, text);
        } else if (master->cluster.state >= CLUSTER_DRAINING) {
            finish(pending, master, false, 503, "the cluster began to stop");
        }
        pending = next;
    }
}

void master_finish_reload_commands(struct master *master, bool ok, const char *message)
{
    struct pending_command *pending = TAILQ_FIRST(&master->pending);
    while (pending != NULL) {
        struct pending_command *next = TAILQ_NEXT(pending, entry);
        if (pending->command.kind == COMMAND_RELOAD &&
            pending->reload_round <= master->reload_round)
            finish(pending, master, ok, ok ? 200 : 500, message);
        pending = next;
    }
}

void master_finish_upgrade_commands(struct master *master, bool ok, const char *message)
{
    struct pending_command *pending = TAILQ_FIRST(&master->pending);
    while (pending != NULL) {
        struct pending_command *next = TAILQ_NEXT(pending, entry);
        if (pending->command.kind == COMMAND_UPGRADE)
            finish(pending, master, ok, ok ? 200 : 500, message);
        pending = next;
    }
}

static struct pending_command *wait_for(struct master *master, const struct command *command,
                                        command_on_done *on_done, void *context)
{
    struct pending_command *pending = calloc(1, sizeof(*pending));
    if (pending == NULL) {
        answer(on_done, context, false, 500, "out of memory");
        return NULL;
    }
    pending->command = *command;
    pending->on_done = on_done;
    pending->context = context;
    pending->deadline_ms = clock_monotonic_ms() + master->rules.start_timeout_ms + COMMAND_SLACK_MS;
    TAILQ_INSERT_TAIL(&master->pending, pending, entry);
    return pending;
}

static void set_desired(struct master *master, int desired)
{
    if (desired != master->roster->desired)
        log_notice("scaling", LOG_INT("from", master->roster->desired), LOG_INT("to", desired),
                   LOG_STR("reason", master->cluster.manual ? master->cluster.manual_reason
                                                            : "configuration"));
    if (desired != master->roster->desired)
        master_event(master, SCALE, EVENT_NO_SLOT, 0, "from %d to %d workers: %s",
                     master->roster->desired, desired,
                     master->cluster.manual ? master->cluster.manual_reason : "configuration");
    roster_set_desired(master->roster, desired);
    master_save_cluster(master);
    master_reconcile_soon(master);
}

void master_end_manual(struct master *master, const char *why)
{
    if (!master->cluster.manual)
        return;
    log_notice("manual scaling ended", LOG_STR("reason", why));
    master->cluster.manual = false;
    master->cluster.manual_until_ms = 0;
    set_desired(master, master->cluster.configured_workers);
}

bool master_raise_to_min(struct master *master)
{
    const struct cluster *cluster = &master->cluster;
    if (!cluster->manual || master->roster->desired >= cluster->min_workers)
        return false;
    log_notice("the number set by hand is below min_workers",
               LOG_INT("workers", master->roster->desired),
               LOG_INT("min_workers", cluster->min_workers));
    set_desired(master, cluster->min_workers);
    return true;
}

static void scale(struct master *master, const struct command *command, command_on_done *on_done,
                  void *context)
{
    struct cluster *cluster = &master->cluster;
    char text[160];
    if (command->instances < cluster->min_workers || command->instances > cluster->max_workers) {
        (void)snprintf(text, sizeof(text),
                       "%d workers are outside of %d (min_workers) to %d "
                       "(max_workers)",
                       command->instances, cluster->min_workers, cluster->max_workers);
        answer(on_done, context, false, 400, text);
        return;
    }
    int64_t now_ms = clock_monotonic_ms();
    cluster->manual = true;
    cluster->manual_until_ms = command->for_ms > 0 ? now_ms + command->for_ms : 0;
    cluster->manual_since_wall_ms = clock_wall_ms();
    (void)snprintf(cluster->manual_reason, sizeof(cluster->manual_reason), "%s", command->reason);
    (void)snprintf(cluster->manual_who, sizeof(cluster->manual_who), "%s", command->who);
    set_desired(master, command->instances);
    (void)wait_for(master, command, on_done, context);
}

void master_scale_by(struct master *master, int change)
{
    struct command command = {
        .kind = COMMAND_SCALE, .instances = master->roster->desired + change, .who = "signal"};
    (void)snprintf(command.reason, sizeof(command.reason), "%s",
                   change > 0 ? "SIGTTIN: one worker more" : "SIGTTOU: one worker fewer");
    if (command.instances < master->cluster.min_workers ||
        command.instances > master->cluster.max_workers) {
        log_warning("signal to scale ignored: at the limit",
                    LOG_INT("workers", master->roster->desired),
                    LOG_INT("min_workers", master->cluster.min_workers),
                    LOG_INT("max_workers", master->cluster.max_workers));
        return;
    }
    command_run(master, &command, NULL, NULL);
}

static void restart(struct master *master, const struct command *command, command_on_done *on_done,
                    void *context)
{
    char text[96];
    if (command->slot < 0 || command->slot >= master->roster->slot_count ||
        !master->roster->slots[command->slot].wanted) {
        (void)snprintf(text, sizeof(text), "there is no worker in slot %d; slots 0 to %d have one",
                       command->slot, master->roster->desired - 1);
        answer(on_done, context, false, 404, text);
        return;
    }
    struct slot *slot = &master->roster->slots[command->slot];
    struct worker *worker;
    master_event(master, RESTART, command->slot, 0, "asked for by %s", command->who);
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker_is_live(worker) && !worker_is_canary(master->roster, worker))
            worker->replace = true;
    slot->start_at_ms = 0; /* a person asked: no back-off */
    (void)wait_for(master, command, on_done, context);
    master_reconcile_soon(master);
}

static void reload(struct master *master, const struct command *command, command_on_done *on_done,
                   void *context)
{
    if (on_done == NULL && master->reload_again) {
        log_info("one more reload is to come already", LOG_STR("who", command->who));
        return; /* nobody waits: signal after signal must not pile up */
    }
    struct pending_command *pending = wait_for(master, command, on_done, context);
    if (pending == NULL)
        return;
    if (master->cluster.reload.running) {
        /* Once more afterwards: the file may have changed since it was read. */
        master->reload_again = true;
        pending->reload_round = master->reload_round + 1;
        return;
    }
    pending->reload_round = master->reload_round + 1;
    char text[CLUSTER_MESSAGE_SIZE];
    if (master_reload(master, text, sizeof(text)) != 0)
        finish(pending, master, false, 409, text);
}

static void upgrade(struct master *master, const struct command *command, command_on_done *on_done,
                    void *context)
{
    char text[CLUSTER_MESSAGE_SIZE];
    struct pending_command *pending = wait_for(master, command, on_done, context);
    if (pending != NULL && master_upgrade(master, command->who, text, sizeof(text)) != 0)
        finish(pending, master, false, 409, text);
}

void command_run(struct master *master, const struct command *command, command_on_done *on_done,
                 void *context)
{
    log_debug("command", LOG_STR("what", command_kind_name(command->kind)),
              LOG_STR("who", command->who), LOG_STR("reason", command->reason));
    if (master->cluster.state >= CLUSTER_DRAINING && command->kind != COMMAND_DRAIN) {
        answer(on_done, context, false, 503, "the cluster is stopping");
        return;
    }
    switch (command->kind) {
    case COMMAND_SCALE:
        scale(master, command, on_done, context);
        break;
    case COMMAND_SCALE_AUTO:
        master_end_manual(master, "somebody asked");
        (void)wait_for(master, command, on_done, context);
        master_reconcile_soon(master);
        break;
    case COMMAND_RESTART:
        restart(master, command, on_done, context);
        break;
    case COMMAND_RELOAD:
        reload(master, command, on_done, context);
        break;
    case COMMAND_UPGRADE:
        upgrade(master, command, on_done, context);
        break;
    case COMMAND_DRAIN:
        answer(on_done, context, true, 202, "draining; the master exits when it is done");
        master_drain(master, command->who);
        break;
    case COMMAND_KIND_COUNT:
        break;
    }
}

void command_forget(struct master *master, void *context)
{
    struct pending_command *pending;
    TAILQ_FOREACH (pending, &master->pending, entry)
        if (pending->context == context)
            pending->on_done = NULL;
}
