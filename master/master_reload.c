/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_reload - a new configuration: checked first, then rolled out worker by
 * worker, taken back when the first new worker cannot start.
 *
 * A reload is a new generation. Every worker of another generation is outdated,
 * and the policy replaces outdated workers one by one, the new one READY before
 * the old one drains. Taking it back is the same: the generation before is put
 * in force again, and what was already replaced is outdated.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int master_config_document(struct master *master, const struct config *config)
{
    struct buf text;
    buf_init(&text, CONTRACT_MAX_DOCUMENT);
    config_print(config, CONFIG_PRINT_WIRE, &text);
    int fd = buf_failed(&text) ? -1 : ipc_document_new("muster-config", buf_slice(&text));
    if (fd >= 0)
        master->config_id = state_config_id(buf_slice(&text));
    buf_fini(&text);
    if (fd < 0)
        return fd;
    if (master->config_document >= 0)
        (void)close(master->config_document);
    master->config_document = fd;
    return 0;
}

struct comparison {
    struct buf refused;
    int changed;
};

static void on_change(void *context, const char *key, const char *before, const char *after,
                      bool live)
{
    struct comparison *comparison = context;
    comparison->changed++;
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

static void put_in_force(struct master *master, struct config *config)
{
    master->config = config;
    master->cluster.config = config;
    master_set_rules(master);
    log_init("master", config->log_level, config->log_format);
    master_find_worker_binary(master);
    if (master->management != NULL)
        management_reconfigure(master->management, config);
    int desired = config_worker_count(config, master->cluster.cpu_count);
    master->cluster.configured_workers = desired;
    master->cluster.min_workers = config->min_workers;
    if (!master->cluster.manual && desired != master->roster->desired)
        roster_set_desired(master->roster, desired);
}

static void result(struct master *master, bool failed, const char *message)
{
    struct cluster_reload *reload = &master->cluster.reload;
    reload->running = false;
    reload->failed = failed;
    reload->finished_wall_ms = clock_wall_ms();
    notify_ready(master->status_text);
    (void)snprintf(reload->message, sizeof(reload->message), "%s", message);
    master_event(master, RELOAD, EVENT_NO_SLOT, 0, "%s: %s", failed ? "failed" : "done", message);
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

    struct comparison comparison = {0};
    buf_init(&comparison.refused, 4096);
    (void)config_compare(master->config, config, on_change, &comparison);
    if (comparison.refused.len > 0) {
        (void)snprintf(message, size,
                       "these keys cannot change without a restart of the master: %.*s",
                       (int)comparison.refused.len, comparison.refused.ptr);
        config_free(&config);
    } else if (!fits_slots(master, config, message, size)) {
        config_free(&config);
    }
    buf_fini(&comparison.refused);
    return config;
}

int master_reload(struct master *master, char *message, size_t message_size)
{
    master->reload_round++;
    struct config *config = check(master, message, message_size);
    if (config == NULL) {
        log_error("reload refused", LOG_STR("reason", message));
        master->cluster.reload.started_wall_ms = clock_wall_ms();
        result(master, true, message);
        return -1;
    }
    char error[256];
    if (master_open_logs(master, config, error, sizeof(error)) != 0)
        log_warning("log file not reopened", LOG_STR("reason", error));
    if (master_config_document(master, config) != 0) {
        (void)snprintf(message, message_size, "no memory for the configuration");
        config_free(&config);
        result(master, true, message);
        return -1;
    }
    config_free(&master->previous_config);
    master->previous_config = master->config;
    master->previous_generation = master->roster->generation;
    master->roster->generation = ++master->cluster.newest_generation;
    master->cluster.reload = (struct cluster_reload){.running = true,
                                                     .from_generation = master->previous_generation,
                                                     .started_wall_ms = clock_wall_ms()};
    for (int i = 0; i < master->roster->slot_count; i++)
        master->roster->slots[i].start_at_ms = 0; /* a new build deserves a new chance */
    put_in_force(master, config);
    log_notice("reload started", LOG_INT("from_generation", master->previous_generation),
               LOG_INT("to_generation", master->roster->generation));
    master_event(master, RELOAD, EVENT_NO_SLOT, 0,
                 "started, from generation %" PRIu64 " to %" PRIu64, master->previous_generation,
                 master->roster->generation);
    notify_reloading(clock_monotonic_ns() / 1000);
    master_reconcile_soon(master);
    return 0;
}

static void reload_again(struct master *master)
{
    if (!master->reload_again || master->cluster.state >= CLUSTER_DRAINING)
        return;
    master->reload_again = false;
    char text[480];
    if (master_reload(master, text, sizeof(text)) != 0)
        master_finish_reload_commands(master, false, text);
}

void master_reload_failed(struct master *master, const char *reason)
{
    if (!master->cluster.reload.running || master->previous_config == NULL)
        return;
    char text[CLUSTER_TEXT_SIZE];
    (void)snprintf(text, sizeof(text),
                   "a worker of generation %" PRIu64 " could not start (%s); generation %" PRIu64
                   " stays",
                   master->roster->generation, reason, master->previous_generation);
    log_error("reload failed, going back", LOG_STR("reason", text));
    struct config *bad = master->config;
    master->roster->generation = master->previous_generation;
    put_in_force(master, master->previous_config);
    master->previous_config = NULL;
    config_free(&bad);
    if (master_config_document(master, master->config) != 0)
        log_error("no memory for the configuration");
    char error[CLUSTER_TEXT_SIZE];
    if (master_open_logs(master, master->config, error, sizeof(error)) != 0)
        log_error("log file not reopened", LOG_STR("reason", error));
    result(master, true, text);
    master_finish_reload_commands(master, false, text);
    reload_again(master);
}

void master_reload_check(struct master *master)
{
    if (!master->cluster.reload.running || !policy_settled(master->roster))
        return;
    char text[CLUSTER_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%d workers are ready on generation %" PRIu64,
                   master->roster->desired, master->roster->generation);
    config_free(&master->previous_config);
    result(master, false, text);
    log_notice("reload finished", LOG_STR("result", text));
    master_finish_reload_commands(master, true, text);
    reload_again(master);
}
