/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master - the supervisor: wires listeners, workers, policy and management.
 *
 * One event loop, no threads, nothing on it that blocks, never in the data
 * path. See master/README.md for the life of a worker and of the cluster.
 */
#ifndef MUSTER_MASTER_H
#define MUSTER_MASTER_H

#include "common/config.h"

struct master;
struct succession;

#define MASTER_CONFIG_PATH "/etc/muster/muster.conf"

/* The file to read: the option, else MUSTER_CONFIG, else MASTER_CONFIG_PATH if
 * it exists; NULL: none, built-in defaults. Asked again at each reload. */
const char *master_find_config(const char *option);

struct master_options {
    const char *config_path; /* of the command line, NULL: none */
    char *const *argv;       /* of the process, for the program that comes after this one */
    const struct succession *arrival;
    /* Why it could not start; filled in with MASTER_EXIT_FAILED. */
    char *failure;
    size_t failure_size;
};

enum master_exit {
    MASTER_EXIT_OK = 0,
    MASTER_EXIT_FAILED = 1, /* could not start; the reason is in the log */
    MASTER_EXIT_USAGE = 64,
    MASTER_EXIT_CONFIG = 78, /* the configuration is wrong */
};

/* Runs until the cluster has stopped; an exit status. Takes over *config. */
int master_run(struct config **config, const struct master_options *options);

#endif
