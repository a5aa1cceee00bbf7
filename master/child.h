/* SPDX-License-Identifier: BSD-2-Clause
 *
 * child - birth and death of one worker process.
 *
 * The process is executed, not only forked: it has an address-space layout of
 * its own and takes the binary that is on disk now. Its death is seen through a
 * pidfd, so a recycled pid can never be signalled by mistake.
 */
#ifndef MUSTER_CHILD_H
#define MUSTER_CHILD_H

#include "common/check.h"
#include "common/procfs.h"

#include <stdint.h>
#include <sys/types.h>

struct child;
struct event_base;

struct child_spec {
    const char *path; /* of muster-worker */
    const char *control_path;
    int slot;
    uint64_t generation;
};

/* `wait_status` as waitpid(2) gives it. The child is not freed by this. */
typedef void child_on_exit(void *context, struct child *child, int wait_status);

/* 0, or -errno (ENOENT, EACCES: the binary; EAGAIN: process limit). */
MUST_USE int child_start(struct event_base *base, const struct child_spec *spec,
                         child_on_exit *on_exit, void *context, struct child **out);
pid_t child_pid(const struct child *child);
/* 0 or -errno; -ESRCH when it is already dead. */
int child_signal(const struct child *child, int signal);
/* 0 or -errno. */
MUST_USE int child_sample(struct child *child, struct procfs_sample *out);
/* Forgets the process; it goes on if it lives. */
void child_free(struct child **child);

#endif
