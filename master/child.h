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

/* How a process ended that a master before this one had started may be unknown. */
enum { CHILD_STATUS_UNKNOWN = -1 };

/* `wait_status` as waitpid(2) gives it, or CHILD_STATUS_UNKNOWN. The child is
 * not freed by this. */
typedef void child_on_exit(void *context, struct child *child, int wait_status);

/* 0, or -errno (ENOENT, EACCES: the binary; EAGAIN: process limit). */
MUST_USE int child_start(struct event_base *base, const struct child_spec *spec,
                         child_on_exit *on_exit, void *context, struct child **out);
/* Watches a process that somebody else started, or that this process started
 * before it became another program. -ESRCH when it has gone, or the pid is that
 * of another process now (it started at another time). */
MUST_USE int child_adopt(struct event_base *base, pid_t pid, uint64_t start_ticks,
                         child_on_exit *on_exit, void *context, struct child **out);
pid_t child_pid(const struct child *child);
/* 0 or -errno; -ESRCH when it is already dead. */
int child_signal(const struct child *child, int signal);
/* 0 or -errno. */
MUST_USE int child_sample(struct child *child, struct procfs_sample *out);
/* When the process started, as procfs_sample says; 0: not known. */
uint64_t child_start_ticks(const struct child *child);
/* Forgets the process; it goes on if it lives. */
void child_free(struct child **child);

#endif
