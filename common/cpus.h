/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpus - how many processors this process may really use.
 *
 * The smaller of the affinity mask (sched_getaffinity) and the cgroup quota
 * (cpu.max of cgroup v2, cpu.cfs_quota_us of v1, of this group and those above
 * it, rounded up); not the number of processors that are online.
 */
#ifndef MUSTER_CPUS_H
#define MUSTER_CPUS_H

/* At least 1. `root` is "" in production and a directory with proc/ and sys/
 * trees in tests. */
int cpus_usable(const char *root);

#endif
