/* SPDX-License-Identifier: BSD-2-Clause
 *
 * child - birth and death of one worker process.
 */
#include "master/child.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    pid_t pid;
    struct child_identity identity;
    bool proven;
    int pidfd;
    struct procfs procfs;
    struct event *exited;
    child_on_exit *on_exit;
    void *context;
};

/* What a worker may inherit: nothing that could hold a secret. */
static const char *const kept_variables[] = {
    "PATH=",
    "TZ=",
    "LANG=",
    "LC_ALL=",
    "HOME=",
    "TMPDIR=",
    "ASAN_OPTIONS=",
    "UBSAN_OPTIONS=",
    "LSAN_OPTIONS=",
    "JOURNAL_STREAM=",
    "MALLOC_ARENA_MAX=",
};

enum { KEPT_MAX = sizeof(kept_variables) / sizeof(kept_variables[0]) };

static void filter_environment(char *out[KEPT_MAX + 1])
{
    int count = 0;
    for (size_t k = 0; k < KEPT_MAX; k++) {
        size_t len = strlen(kept_variables[k]);
        for (char **variable = environ; *variable != NULL; variable++) {
            if (strncmp(*variable, kept_variables[k], len) == 0) {
                out[count++] = *variable;
                break;
            }
        }
    }
    out[count] = NULL;
}

static int spawn(const struct child_spec *spec, pid_t *out)
{
    char slot[16], generation[24];
    (void)snprintf(slot, sizeof(slot), "%d", spec->slot);
    (void)snprintf(generation, sizeof(generation), "%" PRIu64, spec->generation);
    char name[] = "muster-worker", arg_slot[] = "--slot", arg_generation[] = "--generation",
         arg_control[] = "--control";
    char *const argv[] = {name,
                          arg_slot,
                          slot,
                          arg_generation,
                          generation,
                          arg_control,
                          (char *)(uintptr_t)spec->control_path,
                          NULL};
    char *environment[KEPT_MAX + 1];
    filter_environment(environment);

    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int err = posix_spawnattr_init(&attributes);
    if (err != 0)
        return -err;
    err = posix_spawn_file_actions_init(&actions);
    if (err != 0) {
        (void)posix_spawnattr_destroy(&attributes);
        return -err;
    }
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    /* A process group of its own: a Ctrl-C at the terminal is for the master. */
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    err = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    if (err == 0)
        err = posix_spawn(out, spec->path, &actions, &attributes, argv, environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return -err;
}

/* What PIDFD_GET_INFO fills in, Linux 6.15 and later; libc knows it from 2.42 on. */
struct exit_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define EXIT_INFO_REQUEST _IOWR(0xFF, 11, struct exit_info)
#define EXIT_INFO_MASK (UINT64_C(1) << 3)

/* How a process ended that is not our child: the kernel tells once it has been
 * waited for, /proc until then. */
static int status_of_stranger(const struct child *child)
{
    struct exit_info info = {.mask = EXIT_INFO_MASK};
    int status;
    if (ioctl(child->pidfd, EXIT_INFO_REQUEST, &info) == 0 && (info.mask & EXIT_INFO_MASK) != 0)
        return info.exit_code;
    if (child->procfs.stat_fd >= 0 && procfs_exit_status(&child->procfs, &status) == 0)
        return status;
    return CHILD_STATUS_UNKNOWN;
}

static void on_pidfd(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct child *child = context;
    int status = 0;
    pid_t got = waitpid(child->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return;
    (void)event_del(child->exited);
    child->on_exit(child->context, child, got < 0 ? status_of_stranger(child) : status);
}

/* Before Linux 6.9 all pidfds had the same one. */
static uint64_t inode_of(int pidfd)
{
    enum { PIDFS = 0x50494446 };
    struct statfs fs;
    struct stat st;
    return fstatfs(pidfd, &fs) == 0 && fs.f_type == PIDFS && fstat(pidfd, &st) == 0 ? st.st_ino : 0;
}

static int watch(struct event_base *base, struct child *child)
{
    child->pidfd = pidfd_open(child->pid, 0);
    if (child->pidfd < 0)
        return -errno;
    (void)fcntl(child->pidfd, F_SETFD, FD_CLOEXEC);
    child->identity.inode = inode_of(child->pidfd);
    child->exited = event_new(base, child->pidfd, EV_READ | EV_PERSIST, on_pidfd, child);
    if (child->exited == NULL || event_add(child->exited, NULL) != 0)
        return -ENOMEM;
    /* Statistics need it, and a new master to know the process again. */
    struct procfs_sample sample;
    if (procfs_open(&child->procfs, child->pid) != 0)
        child->procfs.stat_fd = -1;
    else if (procfs_sample(&child->procfs, &sample) == 0)
        child->identity.start_ticks = sample.start_ticks;
    return 0;
}

static struct child *child_new(child_on_exit *on_exit, void *context)
{
    struct child *child = calloc(1, sizeof(*child));
    if (child == NULL)
        return NULL;
    child->on_exit = on_exit;
    child->context = context;
    child->pidfd = -1;
    child->procfs.stat_fd = -1;
    return child;
}

int child_start(struct event_base *base, const struct child_spec *spec, child_on_exit *on_exit,
                void *context, struct child **out)
{
    struct child *child = child_new(on_exit, context);
    if (child == NULL)
        return -ENOMEM;
    int err = spawn(spec, &child->pid);
    if (err != 0) {
        free(child);
        return err;
    }
    child->proven = true;
    err = watch(base, child);
    if (err != 0) {
        (void)kill(child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
        child_free(&child);
        return err;
    }
    *out = child;
    return 0;
}

/* 1: they are the same, -1: they differ, 0: not known. */
static int compare(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return 0;
    return a == b ? 1 : -1;
}

int child_adopt(struct event_base *base, pid_t pid, const struct child_identity *identity,
                child_on_exit *on_exit, void *context, struct child **out)
{
    struct child *child = child_new(on_exit, context);
    if (child == NULL)
        return -ENOMEM;
    child->pid = pid;
    int err = watch(base, child);
    int start = compare(child->identity.start_ticks, identity->start_ticks);
    int inode = compare(child->identity.inode, identity->inode);
    child->proven = start > 0 || inode > 0;
    if (err == 0 && (start < 0 || inode < 0))
        err = -ESRCH;
    if (err != 0) {
        child_free(&child);
        return err;
    }
    *out = child;
    return 0;
}

void child_prove(struct child *child)
{
    child->proven = true;
}

bool child_is_proven(const struct child *child)
{
    return child->proven;
}

struct child_identity child_identity(const struct child *child)
{
    return child->identity;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

int child_signal(const struct child *child, int signal)
{
    if (!child->proven)
        return -EPERM;
    return pidfd_send_signal(child->pidfd, signal, NULL, 0) == 0 ? 0 : -errno;
}

int child_sample(struct child *child, struct procfs_sample *out)
{
    if (child->procfs.stat_fd < 0)
        return -EBADF;
    return procfs_sample(&child->procfs, out);
}

void child_free(struct child **child_in)
{
    struct child *child = *child_in;
    if (child == NULL)
        return;
    if (child->exited != NULL)
        event_free(child->exited);
    if (child->pidfd >= 0)
        (void)close(child->pidfd);
    if (child->procfs.stat_fd >= 0)
        procfs_close(&child->procfs);
    free(child);
    *child_in = NULL;
}
