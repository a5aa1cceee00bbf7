/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pid_file - one master per run directory.
 *
 * The lock, not the content, is what counts: it ends with the process, so a
 * file left behind by a killed master is in nobody's way.
 */
#ifndef MUSTER_PID_FILE_H
#define MUSTER_PID_FILE_H

#include "common/check.h"

#include <sys/types.h>

/* Locks `path` and writes our pid. The descriptor to keep, or -errno;
 * -EWOULDBLOCK when another process has it, whose pid is in `holder`. */
MUST_USE int pid_file_open(const char *path, pid_t *holder);
void pid_file_close(int *fd, const char *path);

/* Makes a directory (and those above it). 0 or -errno. */
MUST_USE int make_directory(const char *path, mode_t mode);

#endif
