/* SPDX-License-Identifier: BSD-2-Clause
 *
 * privileges - giving up what a worker does not need, for good.
 */
#ifndef MUSTER_WORKER_PRIVILEGES_H
#define MUSTER_WORKER_PRIVILEGES_H

#include "common/check.h"
#include "common/config.h"

#include <stddef.h>

/* Sets the limits of descriptors (open_files, or what max_connections needs
 * beside `own_files`) and core dumps. What cannot be reached is logged, not an
 * error. Returns how many descriptors the process may have. */
int64_t privileges_limit(const struct config *config, int64_t own_files);

/* As root: becomes config.user and config.group ("muster" if it exists, else
 * "nobody" when not set), with no way back. Always: no_new_privs. 0, or
 * -errno with what failed in `error`. */
MUST_USE int privileges_drop(const struct config *config, char *error, size_t error_size);

#endif
