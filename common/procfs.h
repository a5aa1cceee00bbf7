/* SPDX-License-Identifier: BSD-2-Clause
 *
 * procfs - processor time, memory and descriptors of a process, from /proc.
 */
#ifndef MUSTER_PROCFS_H
#define MUSTER_PROCFS_H

#include "common/check.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct procfs_sample {
    uint64_t cpu_user_ms;
    uint64_t cpu_system_ms;
    uint64_t rss_bytes;
    int64_t fd_count;     /* -1: not known */
    uint64_t start_ticks; /* start time of the process, clock ticks after boot */
    int thread_count;
    char state; /* R S D T Z … */
};

/* Keeps /proc/<pid>/stat open so that sampling is one pread(2) and one stat(2).
 * Before Linux 6.2 descriptors have to be counted one by one: the more there
 * are, the more seldom that is done, and beyond some thousands not at all. */
struct procfs {
    pid_t pid;
    int stat_fd;
    int64_t fd_count; /* the last that was counted */
    int fd_wait;      /* samples until the next count */
};

MUST_USE int procfs_open(struct procfs *procfs, pid_t pid); /* 0 or -errno */
void procfs_close(struct procfs *procfs);
MUST_USE int procfs_sample(struct procfs *procfs, struct procfs_sample *out);

/* The wait status of a process that is dead and not yet waited for, by whoever
 * is its parent; -EAGAIN when it lives, -EPERM when the kernel does not tell. */
MUST_USE int procfs_exit_status(const struct procfs *procfs, int *out);

/* Pure: parses the content of a stat file (the command may hold spaces and
 * parentheses). 0 or -EPROTO. */
MUST_USE int procfs_parse_stat(const char *text, size_t len, struct procfs_sample *out);

/* The function of the kernel that the process waits in. 0 or -errno; -ENODATA
 * when it waits in none or the kernel does not say. */
MUST_USE int procfs_wait_channel(pid_t pid, char *out, size_t size);

/* Private memory (Private_Clean + Private_Dirty) of a process from
 * smaps_rollup, bytes, or -errno. Costs a walk over its page tables. */
int64_t procfs_private_bytes(pid_t pid);

#endif
