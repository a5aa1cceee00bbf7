/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpus - how many processors this process may really use.
 */
#include "common/cpus.h"

#include "common/slice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CGROUP_FILE_SIZE = 8192, MAX_CPUS = 1 << 16 };

static int affinity_count(void)
{
    /* The kernel wants room for every processor that the machine could have. */
    for (int cpus = CPU_SETSIZE; cpus <= MAX_CPUS; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (set == NULL)
            break;
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int err = sched_getaffinity(0, size, set) == 0 ? 0 : errno;
        int count = err == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (err == 0 && count > 0)
            return count;
        if (err != EINVAL)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < MAX_CPUS ? (int)online : 1;
}

/* The text of a small file, NUL-terminated. False: not there or not readable. */
static bool read_file(const char *path, char *text, size_t size)
{
    size_t len = 0;
    ssize_t got = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (len < size - 1 && (got = read(fd, text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    (void)close(fd);
    text[len] = '\0';
    return got >= 0 && len > 0;
}

/* quota / period, rounded up; INT_MAX for "no limit" and for nonsense. */
static int quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return INT_MAX;
    long long cpus = quota / period + (quota % period != 0);
    return cpus > INT_MAX ? INT_MAX : (int)cpus;
}

/* "50000 100000" or "max 100000" in cpu.max. */
static int limit_v2(const char *dir)
{
    char path[PATH_MAX], text[128];
    char *end;

    if (snprintf(path, sizeof(path), "%s/cpu.max", dir) >= (int)sizeof(path) ||
        !read_file(path, text, sizeof(text)) || strncmp(text, "max", 3) == 0)
        return INT_MAX;
    long long quota = strtoll(text, &end, 10);
    if (end == text || *end != ' ')
        return INT_MAX;
    return quota_cpus(quota, strtoll(end, NULL, 10));
}

/* cpu.cfs_quota_us holds -1 when there is no limit. */
static int limit_v1(const char *dir)
{
    static const char *const names[2] = {"cpu.cfs_quota_us", "cpu.cfs_period_us"};
    long long value[2];
    char path[PATH_MAX], text[64];

    for (int i = 0; i < 2; i++) {
        if (snprintf(path, sizeof(path), "%s/%s", dir, names[i]) >= (int)sizeof(path) ||
            !read_file(path, text, sizeof(text)))
            return INT_MAX;
        value[i] = strtoll(text, NULL, 10);
    }
    return quota_cpus(value[0], value[1]);
}

typedef int limit_of_dir(const char *dir);

/* The tightest limit of `group` and every group above it, below `mount`. In a
 * container the path may be the host's and not be there; the groups above it
 * then end at the mount point, which is the container's own group. */
static int limit_upwards(const char *mount, struct slice group, limit_of_dir *limit_of)
{
    char dir[PATH_MAX];
    int limit = INT_MAX;

    /* A process moved out of its namespace's root has a path of "..": only the root is ours. */
    if (memmem(group.ptr, group.len, "/..", 3) != NULL)
        group.len = 0;
    for (;;) {
        while (group.len > 0 && group.ptr[group.len - 1] == '/')
            group.len--;
        if (snprintf(dir, sizeof(dir), "%s%.*s", mount, (int)group.len, group.ptr) <
            (int)sizeof(dir)) {
            int here = limit_of(dir);
            limit = here < limit ? here : limit;
        }
        if (group.len == 0)
            return limit;
        while (group.len > 0 && group.ptr[group.len - 1] != '/')
            group.len--;
    }
}

/* Whether `controllers` ("cpu,cpuacct") has cpu in it. */
static bool has_cpu(struct slice controllers)
{
    while (controllers.len > 0) {
        const char *comma = memchr(controllers.ptr, ',', controllers.len);
        size_t len = comma == NULL ? controllers.len : (size_t)(comma - controllers.ptr);
        if (slice_equal_str(slice_from(controllers.ptr, len), "cpu"))
            return true;
        len += comma != NULL;
        controllers = slice_from(controllers.ptr + len, controllers.len - len);
    }
    return false;
}

/* One line of /proc/self/cgroup: "0::/path" for v2, "4:cpu,cpuacct:/path" for v1. */
static int limit_of_line(const char *root, const char *line, size_t len)
{
    char mount[PATH_MAX];
    const char *first = memchr(line, ':', len);
    if (first == NULL)
        return INT_MAX;
    const char *names = first + 1;
    const char *second = memchr(names, ':', len - (size_t)(names - line));
    if (second == NULL)
        return INT_MAX;
    struct slice controllers = slice_from(names, (size_t)(second - names));
    struct slice group = slice_from(second + 1, len - (size_t)(second + 1 - line));

    if (controllers.len == 0) {
        if (snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root) >= (int)sizeof(mount))
            return INT_MAX;
        return limit_upwards(mount, group, limit_v2);
    }
    if (!has_cpu(controllers) ||
        snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/%.*s", root, (int)controllers.len,
                 controllers.ptr) >= (int)sizeof(mount))
        return INT_MAX;
    int limit = limit_upwards(mount, group, limit_v1);
    if (limit != INT_MAX)
        return limit;
    /* Where the hierarchy is mounted under the controller's own name only. */
    if (snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/cpu", root) >= (int)sizeof(mount))
        return INT_MAX;
    return limit_upwards(mount, group, limit_v1);
}

static int cgroup_limit(const char *root)
{
    char path[PATH_MAX], text[CGROUP_FILE_SIZE];
    int limit = INT_MAX;

    if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path) ||
        !read_file(path, text, sizeof(text)))
        return INT_MAX;
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        int of_line = limit_of_line(root, line, len);
        limit = of_line < limit ? of_line : limit;
        line += len + (line[len] == '\n');
    }
    return limit;
}

int cpus_usable(const char *root)
{
    int affinity = affinity_count();
    int limit = cgroup_limit(root);
    int usable = limit < affinity ? limit : affinity;
    return usable < 1 ? 1 : usable;
}
