/* SPDX-License-Identifier: BSD-2-Clause
 *
 * procfs - processor time, memory and descriptors of a process, from /proc.
 */
#include "common/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Positions in /proc/<pid>/stat, counted from 1 as proc(5) does. */
enum stat_field {
    STAT_STATE = 3,
    STAT_UTIME = 14,
    STAT_STIME = 15,
    STAT_THREADS = 20,
    STAT_START = 22,
    STAT_RSS = 24,
};

enum { PATH_SIZE = 48 };

static void path_of(char path[PATH_SIZE], pid_t pid, const char *file)
{
    (void)snprintf(path, PATH_SIZE, "/proc/%d/%s", (int)pid, file);
}

int procfs_open(struct procfs *procfs, pid_t pid)
{
    char path[PATH_SIZE];

    path_of(path, pid, "stat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *procfs = (struct procfs){.pid = pid, .stat_fd = fd};
    return 0;
}

void procfs_close(struct procfs *procfs)
{
    if (procfs->stat_fd >= 0)
        (void)close(procfs->stat_fd);
    procfs->stat_fd = -1;
}

/* ---- stat ---- */

/* A decimal number that is all of the token. */
static bool parse_u64(const char *token, size_t len, uint64_t *out)
{
    uint64_t value = 0;

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (token[i] < '0' || token[i] > '9')
            return false;
        unsigned digit = (unsigned)(token[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static uint64_t ticks_to_ms(uint64_t ticks)
{
    static uint64_t per_second; /* cannot change while the system runs */
    if (per_second == 0) {
        long hz = sysconf(_SC_CLK_TCK);
        per_second = hz > 0 ? (uint64_t)hz : 100;
    }
    return ticks / per_second * 1000 + ticks % per_second * 1000 / per_second;
}

static uint64_t pages_to_bytes(uint64_t pages)
{
    static uint64_t page_size;
    if (page_size == 0) {
        long size = sysconf(_SC_PAGESIZE);
        page_size = size > 0 ? (uint64_t)size : 4096;
    }
    return pages * page_size;
}

int procfs_parse_stat(const char *text, size_t len, struct procfs_sample *out)
{
    /* The command is between the first and the last parenthesis and may hold anything. */
    const char *end = text + len;
    const char *at = len == 0 ? NULL : memrchr(text, ')', len);
    if (at == NULL || memchr(text, '(', (size_t)(at - text)) == NULL)
        return -EPROTO;
    at++;

    struct procfs_sample sample = {.fd_count = -1};
    uint64_t utime = 0, stime = 0, threads = 0, rss = 0;
    for (int field = STAT_STATE; field <= STAT_RSS; field++) {
        if (at == end || *at != ' ')
            return -EPROTO;
        const char *token = ++at;
        while (at < end && *at != ' ' && *at != '\n')
            at++;
        size_t token_len = (size_t)(at - token);
        bool ok = token_len > 0;
        switch (field) {
        case STAT_STATE:
            sample.state = ok ? *token : '?';
            ok = token_len == 1;
            break;
        case STAT_UTIME:
            ok = parse_u64(token, token_len, &utime);
            break;
        case STAT_STIME:
            ok = parse_u64(token, token_len, &stime);
            break;
        case STAT_THREADS:
            ok = parse_u64(token, token_len, &threads) && threads <= INT32_MAX;
            break;
        case STAT_START:
            ok = parse_u64(token, token_len, &sample.start_ticks);
            break;
        case STAT_RSS:
            ok = parse_u64(token, token_len, &rss);
            break;
        default:
            break;
        }
        if (!ok)
            return -EPROTO;
    }
    sample.cpu_user_ms = ticks_to_ms(utime);
    sample.cpu_system_ms = ticks_to_ms(stime);
    sample.rss_bytes = pages_to_bytes(rss);
    sample.thread_count = (int)threads;
    *out = sample;
    return 0;
}

/* ---- descriptors ---- */

/* Counting costs about a microsecond for each descriptor, in the loop of the
 * master. So at most FD_COUNT_MAX are counted, and a count of many is kept for
 * a while: FD_PER_SAMPLE is what a sample costs on average. */
enum { FD_COUNT_MAX = 2048, FD_PER_SAMPLE = 32 };

static int64_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -1;
    int64_t count = 0;
    const struct dirent *entry;
    while (count <= FD_COUNT_MAX && (entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static int64_t count_fds(struct procfs *procfs)
{
    char path[PATH_SIZE];
    struct stat st;

    path_of(path, procfs->pid, "fd");
    if (stat(path, &st) != 0)
        return -1;
    if (st.st_size > 0) /* since Linux 6.2 the size is the number of descriptors */
        return st.st_size;
    if (procfs->fd_wait > 0) {
        procfs->fd_wait--;
        return procfs->fd_count;
    }
    int64_t count = count_entries(path);
    procfs->fd_wait = (int)(count / FD_PER_SAMPLE);
    procfs->fd_count = count > FD_COUNT_MAX ? -1 : count;
    return procfs->fd_count;
}

int procfs_sample(struct procfs *procfs, struct procfs_sample *out)
{
    char text[1024];

    ssize_t len = pread(procfs->stat_fd, text, sizeof(text), 0);
    if (len < 0)
        return -errno;
    struct procfs_sample sample;
    int err = procfs_parse_stat(text, (size_t)len, &sample);
    if (err != 0)
        return err;
    sample.fd_count = count_fds(procfs);
    *out = sample;
    return 0;
}

int procfs_exit_status(const struct procfs *procfs, int *out)
{
    char text[1024];
    struct procfs_sample sample;
    ssize_t len = pread(procfs->stat_fd, text, sizeof(text) - 1, 0);
    if (len <= 0)
        return len < 0 ? -errno : -ESRCH;
    if (procfs_parse_stat(text, (size_t)len, &sample) != 0)
        return -EPROTO;
    if (sample.state != 'Z' && sample.state != 'X')
        return -EAGAIN;
    /* The last number of the line; without the right to know it is 0. */
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    text[len] = '\0';
    const char *last = strrchr(text, ' ');
    uint64_t status = 0;
    if (last == NULL || !parse_u64(last + 1, strlen(last + 1), &status) || status > 0xffff)
        return -EPROTO;
    if (status == 0)
        return -EPERM;
    *out = (int)status;
    return 0;
}

/* ---- where it waits ---- */

int procfs_wait_channel(pid_t pid, char *out, size_t size)
{
    char path[PATH_SIZE], text[64];
    path_of(path, pid, "wchan");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    int err = len < 0 ? -errno : 0;
    (void)close(fd);
    if (err != 0)
        return err;
    text[len] = '\0';
    if (text[0] == '\0' || strcmp(text, "0") == 0)
        return -ENODATA;
    (void)snprintf(out, size, "%s", text);
    return 0;
}

/* ---- private memory ---- */

/* The number of kilobytes in a line such as "Private_Dirty:      124 kB". */
static int64_t line_kb(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return 0;
    at += strlen(key);
    at += strspn(at, " \t");
    uint64_t kb;
    if (!parse_u64(at, strspn(at, "0123456789"), &kb) || kb > INT64_MAX / 4096)
        return 0;
    return (int64_t)kb;
}

int64_t procfs_private_bytes(pid_t pid)
{
    char path[PATH_SIZE], text[4096];
    size_t len = 0;
    ssize_t got;

    path_of(path, pid, "smaps_rollup");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while ((got = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)got;
    int err = got < 0 ? errno : 0;
    (void)close(fd);
    if (err != 0)
        return -err;
    if (len == 0) /* a process that is no more, or a zombie */
        return -ESRCH;
    text[len] = '\0';
    return (line_kb(text, "\nPrivate_Clean:") + line_kb(text, "\nPrivate_Dirty:")) * 1024;
}
