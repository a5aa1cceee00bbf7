/* SPDX-License-Identifier: BSD-2-Clause
 *
 * actions - what each command of musterctl does: requests, and what is printed.
 */
#ifndef MUSTER_CTL_ACTIONS_H
#define MUSTER_CTL_ACTIONS_H

#include "master/ctl/client.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit statuses. */
enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_UNREACHABLE = 3,
};

struct options {
    struct client client;
    char socket_path[512];
    bool json;
    bool no_wait;
    int64_t timeout_ms; /* 0: the default of the command */
    const char *reason;
    const char *hold; /* --for */
};

/* "musterctl: ..." on standard error; STATUS_FAILED. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; STATUS_USAGE. */
int fail_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `argument` is NULL for those that take none. All return an exit status. */
int action_status(const struct options *options, const char *argument);
int action_workers(const struct options *options, const char *argument);
int action_events(const struct options *options, const char *argument);
int action_health(const struct options *options, const char *argument);
int action_metrics(const struct options *options, const char *argument);
int action_scale(const struct options *options, const char *argument);
int action_restart(const struct options *options, const char *argument);
int action_reload(const struct options *options, const char *argument);
int action_upgrade(const struct options *options, const char *argument);
int action_drain(const struct options *options, const char *argument);

#endif
