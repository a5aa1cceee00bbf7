/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_generation - what the workers of a generation are started with: the
 * configuration, the document they read it from, and the program.
 *
 * The edition in force is spread over struct master (config, config_document,
 * binary); that of the canary is master->trial, and the one to go back to is
 * master->previous.
 */
#include "master/master_private.h"

#include "common/log.h"

#include <stdio.h>
#include <unistd.h>

static int new_document(const struct config *config, uint64_t *id)
{
    struct buf text;
    buf_init(&text, CONTRACT_MAX_DOCUMENT);
    config_print(config, CONFIG_PRINT_WIRE, &text);
    int fd = buf_failed(&text) ? -ENOMEM : ipc_document_new("muster-config", buf_slice(&text));
    if (fd >= 0)
        *id = state_config_id(buf_slice(&text));
    buf_fini(&text);
    return fd;
}

int master_config_document(struct master *master, const struct config *config)
{
    int fd = new_document(config, &master->config_id);
    if (fd < 0)
        return fd;
    if (master->config_document >= 0)
        (void)close(master->config_document);
    master->config_document = fd;
    return 0;
}

int edition_open(struct config *config, const struct config *in_force, struct edition *out,
                 char *message, size_t size)
{
    char path[WORKER_BINARY_PATH_SIZE];
    master_find_worker_path(config != NULL ? config : in_force, path, sizeof(path));
    edition_close(out);
    int err = worker_binary_open(path, &out->binary);
    if (err != 0) {
        (void)snprintf(message, size, "the worker program %s cannot be executed: %s", path,
                       log_strerror(err));
        return err;
    }
    out->document = new_document(config != NULL ? config : in_force, &out->config_id);
    if (out->document < 0) {
        err = out->document;
        edition_close(out);
        (void)snprintf(message, size, "no memory for the configuration");
        return err;
    }
    out->config = config;
    return 0;
}

void edition_init(struct edition *edition)
{
    *edition = (struct edition){.document = -1};
    worker_binary_init(&edition->binary);
}

void edition_close(struct edition *edition)
{
    config_free(&edition->config);
    worker_binary_close(&edition->binary);
    if (edition->document >= 0)
        (void)close(edition->document);
    edition_init(edition);
}

static void apply_config(struct master *master)
{
    struct config *config = master->config;
    master->cluster.config = config;
    master_set_rules(master);
    master_dispatch_configure(master);
    log_init("master", config->log_level, config->log_format);
    char error[CLUSTER_TEXT_SIZE];
    if (master_open_logs(master, config, error, sizeof(error)) != 0)
        log_warning("log file not reopened", LOG_STR("reason", error));
    else
        master_send_logs(master);
    if (master->management != NULL)
        management_reconfigure(master->management, config);
    int desired = config_worker_count(config, master->cluster.cpu_count);
    master->cluster.configured_workers = desired;
    master->cluster.min_workers = config->min_workers;
    if (!master->cluster.manual && desired != master->roster->desired)
        roster_set_desired(master->roster, desired);
}

void master_put_in_force(struct master *master, struct edition *edition, struct edition *out)
{
    edition_close(out);
    out->generation = master->roster->generation;
    out->config_id = master->config_id;
    out->document = master->config_document;
    out->binary = master->binary;
    master->roster->generation = edition->generation;
    master->config_id = edition->config_id;
    master->config_document = edition->document;
    master->binary = edition->binary;
    if (edition->config != NULL) {
        out->config = master->config;
        master->config = edition->config;
    }
    edition_init(edition);
    apply_config(master);
    master_save_cluster(master);
}

static bool is_on_trial(const struct master *master, uint64_t generation)
{
    return master->roster->trial.generation != 0 && generation == master->roster->trial.generation;
}

int master_document_for(const struct master *master, const struct worker *worker)
{
    return is_on_trial(master, worker->generation) ? master->trial.document
                                                   : master->config_document;
}

const struct worker_binary *master_binary_for(const struct master *master, uint64_t generation)
{
    return is_on_trial(master, generation) ? &master->trial.binary : &master->binary;
}
