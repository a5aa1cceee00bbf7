/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pid_file - one master per run directory.
 */
#include "master/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static pid_t read_pid(int fd)
{
    char text[24] = "";
    ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
    if (got <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* Whoever had the lock before may have removed the file between our open and
 * our lock: then the next one would lock another file. */
static bool is_still_there(int fd, const char *path)
{
    struct stat ours, there;
    if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
        ours.st_ino == there.st_ino)
        return true;
    (void)close(fd);
    return false;
}

/* A child of a killed master holds its lock, too, from its fork until it executes
 * the worker: who is written in the file is dead then, and it is soon over. */
static int lock(int fd, pid_t *holder)
{
    enum { TRIES = 100, PAUSE_MS = 10 };
    int err = 0;
    for (int i = 0; i < TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        err = errno;
        *holder = read_pid(fd);
        if (err != EWOULDBLOCK || *holder == 0 || kill(*holder, 0) == 0 || errno != ESRCH)
            break;
        (void)poll(NULL, 0, PAUSE_MS);
    }
    return -err;
}

int pid_file_open(const char *path, pid_t *holder)
{
    *holder = 0;
    int fd, err;
    do {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return -errno;
        err = lock(fd, holder);
        if (err != 0) {
            (void)close(fd);
            return err;
        }
    } while (!is_still_there(fd, path));
    char text[24];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        err = errno == 0 ? EIO : errno;
        (void)close(fd);
        return -err;
    }
    return fd;
}

void pid_file_close(int *fd, const char *path)
{
    if (*fd < 0)
        return;
    /* Unlinked while still locked: whoever opens it next makes a new one. */
    (void)unlink(path);
    (void)close(*fd);
    *fd = -1;
}

int make_directory(const char *path, mode_t mode)
{
    char partial[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(partial))
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, i == len ? mode : 0755) != 0 && errno != EEXIST)
            return -errno;
    }
    struct stat st;
    if (stat(path, &st) != 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}
