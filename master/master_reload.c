/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_reload - a new configuration: checked first, tried out by one worker,
 * then rolled out to the others, and taken back when a new worker fails.
 *
 *   refused  <- check -> trial (the canary) -> roll (one by one) -> finished
 *                          |                     |
 *                          v                     v
 *                 taken back: nothing    taken back: the generation before is
 *                 was put in force       in force again, and rolled out
 *
 * A reload is a new generation. Until the canary has proven itself everything
 * else stays as it was, the master's own settings included. Then every worker
 * of another generation is outdated, and the policy replaces outdated workers
 * one by one, the new one READY before the old one drains.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- the check ---- */

struct comparison {
    struct buf refused;
    struct reload_changes *changes;
};

static void on_change(void *context, const char *key, const char *before, const char *after,
                      bool live)
{
    struct comparison *comparison = context;
    reload_changes_add(comparison->changes, key, before, after, live);
    log_notice("configuration changed", LOG_STR("key", key), LOG_STR("from", before),
               LOG_STR("to", after), LOG_STR("live", live ? "yes" : "no"));
    if (!live)
        buf_printf(&comparison->refused, "%s%s (%s -> %s)", comparison->refused.len > 0 ? ", " : "",
                   key, before, after);
}

/* The listener groups were made for so many slots, for good. */
static bool fits_slots(const struct master *master, const struct config *config, char *message,
                       size_t size)
{
    int workers = config_worker_count(config, master->cluster.cpu_count);
    int most = workers > config->min_workers ? workers : config->min_workers;
    if (most <= master->roster->slot_count)
        return true;
    (void)snprintf(message, size,
                   "%d workers are asked for, and this master was started for at most %d; set "
                   "max_workers = %d and restart it",
                   most, master->roster->slot_count, most);
    return false;
}

const char *master_find_config(const char *option)
{
    if (option != NULL)
        return option;
    const char *variable = getenv("MUSTER_CONFIG");
    if (variable != NULL && variable[0] != '\0')
        return variable;
    return access(MASTER_CONFIG_PATH, F_OK) == 0 ? MASTER_CONFIG_PATH : NULL;
}

static struct config *check(struct master *master, char *message, size_t size)
{
    const char *path = master_find_config(master->options->config_path);
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config = config_load(path, environ, &errors);
    if (config == NULL) {
        log_error("configuration refused, nothing changes", LOG_STR("file", path),
                  LOG_INT("mistakes", errors.count));
        (void)snprintf(message, size, "the configuration is wrong: %.*s",
                       (int)(errors.text.len > 0 ? errors.text.len - 1 : 0), errors.text.ptr);
    }
    config_errors_fini(&errors);
    if (config == NULL)
        return NULL;

    struct comparison comparison = {.changes = &master->cluster.reload.changes};
    buf_init(&comparison.refused, 4096);
    (void)config_compare(master->config, config, on_change, &comparison);
    if (comparison.refused.len > 0) {
        (void)snprintf(message, size,
                       "these keys cannot change without a restart of the master: %.*s",
                       (int)comparison.refused.len, comparison.refused.ptr);
        config_free(&config);
    } else if (!fits_slots(master, config, message, size) ||
               master_check_logs(master, config, message, size) != 0) {
        config_free(&config);
    }
    buf_fini(&comparison.refused);
    return config;
}

/* ---- how it ended ---- */

static void result(struct master *master, bool failed, const char *message)
{
    struct cluster_reload *reload = &master->cluster.reload;
    reload->running = false;
    reload->failed = failed;
    reload->finished_wall_ms = clock_wall_ms();
    reload->duration_ms = clock_monotonic_ms() - reload->started_ms;
    reload->replaced = roster_count_replaced(master->roster);
    reload->to_replace = master->roster->desired;
    if (failed)
        reload->replaced = 0;
    notify_ready(master->status_text);
    (void)snprintf(reload->message, sizeof(reload->message), "%s", message);
    master_event(master, RELOAD, EVENT_NO_SLOT, 0, "%s: %s", failed ? "failed" : "done", message);
    master_upgrade_result(master, failed, message);
}

static void reload_again(struct master *master)
{
    if (!master->reload_again || master->cluster.state >= CLUSTER_DRAINING)
        return;
    master->reload_again = false;
    char text[CLUSTER_MESSAGE_SIZE];
    if (master_reload(master, text, sizeof(text)) != 0)
        master_finish_reload_commands(master, false, text);
}

/* ---- the beginning ---- */

static void describe_file(const struct worker_binary *binary, char *out, size_t size)
{
    struct tm tm;
    char when[32] = "?";
    if (gmtime_r(&binary->changed.tv_sec, &tm) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)snprintf(out, size, "%lld bytes of %s", (long long)binary->size, when);
}

/* Another file at the same path: nothing in the configuration tells of it. */
static void note_binary(struct master *master, const struct worker_binary *next)
{
    const struct worker_binary *now = &master->binary;
    char from[RELOAD_VALUE_SIZE], to[RELOAD_VALUE_SIZE];
    if (strcmp(now->path, next->path) != 0 || worker_binary_same(now, next))
        return;
    describe_file(now, from, sizeof(from));
    describe_file(next, to, sizeof(to));
    reload_changes_add(&master->cluster.reload.changes, "(worker program)", from, to, true);
    log_notice("worker program changed", LOG_STR("path", next->path), LOG_STR("from", from),
               LOG_STR("to", to));
}

int master_begin_generation(struct master *master, struct config *config, char *message,
                            size_t message_size)
{
    struct cluster_reload *reload = &master->cluster.reload;
    struct roster *roster = master->roster;
    if (edition_open(config, master->config, &master->trial, message, message_size) != 0)
        return -1;
    note_binary(master, &master->trial.binary);
    master->trial.generation = ++master->cluster.newest_generation;
    master->rules.canary_time_ms = (config != NULL ? config : master->config)->canary_time;
    roster->trial = (struct roster_trial){.generation = master->trial.generation,
                                          .since_ms = clock_monotonic_ms()};
    reload->running = true;
    reload->failed = false;
    reload->from_generation = roster->generation;
    reload->to_generation = master->trial.generation;
    reload->canary_time_ms = master->rules.canary_time_ms;
    reload->message[0] = '\0';
    log_notice("reload started", LOG_INT("from_generation", roster->generation),
               LOG_INT("to_generation", reload->to_generation),
               LOG_INT("changes", reload->changes.count),
               LOG_INT("canary_time_ms", reload->canary_time_ms));
    master_event(master, RELOAD, EVENT_NO_SLOT, 0,
                 "started, from generation %" PRIu64 " to %" PRIu64 ", %d changes",
                 roster->generation, reload->to_generation, reload->changes.count);
    notify_reloading(clock_monotonic_ns() / 1000);
    master_reconcile_soon(master);
    return 0;
}

static void begin_report(struct master *master)
{
    master->reload_round++;
    master->cluster.reload = (struct cluster_reload){.from_generation = master->roster->generation,
                                                     .started_ms = clock_monotonic_ms(),
                                                     .started_wall_ms = clock_wall_ms()};
}

int master_reload(struct master *master, char *message, size_t message_size)
{
    begin_report(master);
    struct config *config = check(master, message, message_size);
    if (config != NULL && master_begin_generation(master, config, message, message_size) == 0)
        return 0;
    config_free(&config);
    log_error("reload refused", LOG_STR("reason", message));
    result(master, true, message);
    return -1;
}

void master_roll_out(struct master *master)
{
    char message[CLUSTER_MESSAGE_SIZE];
    begin_report(master);
    if (master_begin_generation(master, NULL, message, sizeof(message)) == 0)
        return;
    log_error("the workers stay as they are", LOG_STR("reason", message));
    result(master, true, message);
}

/* ---- forward ---- */

void master_reload_promote(struct master *master)
{
    struct roster *roster = master->roster;
    const struct worker *canary = roster_canary(roster);
    log_notice("the canary is well, the others follow",
               LOG_INT("pid", canary != NULL ? canary->pid : 0),
               LOG_INT("generation", master->trial.generation));
    master_event(master, RELOAD, EVENT_NO_SLOT, canary != NULL ? canary->pid : 0,
                 "the canary of generation %" PRIu64 " is well, the others follow",
                 master->trial.generation);
    roster->trial = (struct roster_trial){0};
    roster->rolling = true;
    for (int i = 0; i < roster->slot_count; i++)
        roster->slots[i].start_at_ms = 0; /* a new build deserves a new chance */
    master_put_in_force(master, &master->trial, &master->previous);
    master_reconcile_soon(master);
}

static void count_changes(const struct reload_changes *changes, char *out, size_t size)
{
    if (changes->count == 0)
        (void)snprintf(out, size, "no key has changed");
    else
        (void)snprintf(out, size, "%d change%s", changes->count, changes->count == 1 ? "" : "s");
}

void master_reload_check(struct master *master)
{
    if (!master->roster->rolling || !policy_settled(master->roster))
        return;
    /* Only now: what is taken back changes nothing. */
    if (master_raise_to_min(master))
        return;
    char text[CLUSTER_TEXT_SIZE], changes[48];
    count_changes(&master->cluster.reload.changes, changes, sizeof(changes));
    (void)snprintf(text, sizeof(text), "%d workers are ready on generation %" PRIu64 "; %s",
                   master->roster->desired, master->roster->generation, changes);
    master->roster->rolling = false;
    edition_close(&master->previous);
    result(master, false, text);
    log_notice("reload finished", LOG_STR("result", text),
               LOG_INT("duration_ms", master->cluster.reload.duration_ms));
    master_finish_reload_commands(master, true, text);
    reload_again(master);
}

/* ---- back ---- */

/* The canary is outdated without its trial; the policy replaces it by the
 * worker that was there before it. */
static void end_trial(struct master *master)
{
    master->roster->trial = (struct roster_trial){0};
    edition_close(&master->trial);
    master_set_rules(master);
}

void master_reload_failed(struct master *master, const char *reason)
{
    struct roster *roster = master->roster;
    bool trial = roster->trial.generation != 0;
    if (!trial && !roster->rolling)
        return;
    char text[CLUSTER_MESSAGE_SIZE];
    if (trial)
        (void)snprintf(text, sizeof(text),
                       "the canary of generation %" PRIu64
                       " failed: %s; nothing was changed, generation %" PRIu64 " stays",
                       roster->trial.generation, reason, roster->generation);
    else
        (void)snprintf(text, sizeof(text),
                       "a worker of generation %" PRIu64 " failed early: %s; %d of %d had been "
                       "replaced, going back to generation %" PRIu64,
                       roster->generation, reason, roster_count_replaced(roster), roster->desired,
                       master->previous.generation);
    log_error("reload failed, going back", LOG_STR("reason", text));
    if (trial) {
        end_trial(master);
    } else {
        struct edition bad;
        edition_init(&bad);
        roster->rolling = false;
        master_put_in_force(master, &master->previous, &bad);
        edition_close(&bad);
    }
    result(master, true, text);
    master_finish_reload_commands(master, false, text);
    master_reconcile_soon(master);
    reload_again(master);
}

void master_reload_abandon(struct master *master)
{
    static const char text[] = "the cluster began to stop";
    master->reload_again = false;
    if (master->roster->trial.generation != 0)
        end_trial(master);
    master->roster->rolling = false;
    edition_close(&master->previous);
    if (master->cluster.reload.running)
        result(master, true, text);
    master->reload_round++; /* the one that was to come is answered, too */
    master_finish_reload_commands(master, false, text);
}
