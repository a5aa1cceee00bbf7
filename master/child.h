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

#include <stdbool.h>
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

/* Tells a process from a later one with the same pid. 0 in a field: not known. */
struct child_identity {
    uint64_t start_ticks; /* as procfs_sample says; /proc may not show the process */
    uint64_t inode;       /* of its pidfd, Linux 6.9 and later */
};

/* `wait_status` as waitpid(2) gives it, or CHILD_STATUS_UNKNOWN. The child is
 * not freed by this. */
typedef void child_on_exit(void *context, struct child *child, int wait_status);

/* 0, or -errno (ENOENT, EACCES: the binary; EAGAIN: process limit). */
MUST_USE int child_start(struct event_base *base, const struct child_spec *spec,
                         child_on_exit *on_exit, void *context, struct child **out);
/* Watches a process that somebody else started, or that this process started
 * before it became another program. -ESRCH when it has gone, or the pid is that
 * of another process now. Where that cannot be told it is not signalled before
 * child_prove(). */
MUST_USE int child_adopt(struct event_base *base, pid_t pid, const struct child_identity *identity,
                         child_on_exit *on_exit, void *context, struct child **out);
/* It has shown in another way that it is the one. */
void child_prove(struct child *child);
bool child_is_proven(const struct child *child);
pid_t child_pid(const struct child *child);
/* 0 or -errno; -ESRCH when it is already dead, -EPERM when it may be another. */
int child_signal(const struct child *child, int signal);
/* 0 or -errno. */
MUST_USE int child_sample(struct child *child, struct procfs_sample *out);
struct child_identity child_identity(const struct child *child);
/* Forgets the process; it goes on if it lives. */
void child_free(struct child **child);

#endif
