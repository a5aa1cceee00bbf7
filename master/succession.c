/* SPDX-License-Identifier: BSD-2-Clause
 *
 * succession - one master program takes the place of another in the same process.
 */
#include "master/succession.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char pid_variable[] = "MUSTER_UPGRADE_PID";
static const char back_variable[] = "MUSTER_UPGRADE_BACK";
static const char program_variable[] = "MUSTER_UPGRADE_PROGRAM";
static const char clients_variable[] = "MUSTER_UPGRADE_CLIENTS";
static const char config_variable[] = "MUSTER_UPGRADE_CONFIG";
static const char sockets_variable[] = "MUSTER_UPGRADE_SOCKETS";
static const char failed_variable[] = "MUSTER_UPGRADE_FAILED";

/* ---- arriving ---- */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A descriptor number that is open; -1: the text is none. */
static int read_descriptor(const char *text, char **end)
{
    errno = 0;
    long fd = strtol(text, end, 10);
    if (errno != 0 || *end == text || fd <= STDERR_FILENO || fd > 1 << 24 || !is_open((int)fd))
        return -1;
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

/* How many there are. */
static int read_descriptors(const char *text, int *out, int most)
{
    char *end;
    int count = 0;
    while (text != NULL && *text != '\0' && count < most) {
        int fd = read_descriptor(text, &end);
        if (fd >= 0)
            out[count++] = fd;
        if (end == text)
            break;
        text = *end == ',' ? end + 1 : end;
    }
    return count;
}

static void forget_variables(void)
{
    static const char *const all[] = {pid_variable,     back_variable,    program_variable,
                                      clients_variable, sockets_variable, config_variable,
                                      failed_variable};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        (void)unsetenv(all[i]);
}

/* The variables are meant for this process only, not for one that was started
 * with them in its environment. */
static bool is_succession(void)
{
    const char *text = getenv(pid_variable);
    return text != NULL && strtol(text, NULL, 10) == (long)getpid();
}

static void put_pid(void)
{
    char number[16];
    (void)snprintf(number, sizeof(number), "%ld", (long)getpid());
    (void)setenv(pid_variable, number, 1);
}

void succession_arrive(struct succession *out)
{
    char *end;
    *out = (struct succession){.back_fd = -1, .config_fd = -1, .sockets_fd = {-1, -1}};
    if (!is_succession())
        forget_variables();
    const char *config = getenv(config_variable);
    const char *back = getenv(back_variable);
    const char *failed = getenv(failed_variable);
    const char *program = getenv(program_variable);
    if (back != NULL)
        out->back_fd = read_descriptor(back, &end);
    if (config != NULL)
        out->config_fd = read_descriptor(config, &end);
    out->failed = failed != NULL;
    out->arrived = out->back_fd >= 0 || out->failed;
    if (failed != NULL)
        (void)snprintf(out->reason, sizeof(out->reason), "%s", failed);
    if (out->arrived && program != NULL)
        (void)snprintf(out->program, sizeof(out->program), "%s", program);
    if (out->arrived) {
        out->client_count =
            read_descriptors(getenv(clients_variable), out->clients, SUCCESSION_CLIENTS);
        (void)read_descriptors(getenv(sockets_variable), out->sockets_fd, SUCCESSION_SOCKETS);
    }
    forget_variables();
}

/* ---- which program ---- */

/* Whether this process executes the file at `path`. */
static bool is_this_program(const char *path)
{
    struct stat self, there;
    return stat("/proc/self/exe", &self) == 0 && stat(path, &there) == 0 &&
           self.st_dev == there.st_dev && self.st_ino == there.st_ino;
}

static bool from_directory(const char *directory, size_t len, const char *name,
                           char out[SUCCESSION_PATH_SIZE])
{
    int size =
        snprintf(out, SUCCESSION_PATH_SIZE, "%.*s/%s", (int)len, len > 0 ? directory : ".", name);
    return size > 0 && size < SUCCESSION_PATH_SIZE && out[0] == '/' && is_this_program(out);
}

static bool from_search_path(const char *name, char out[SUCCESSION_PATH_SIZE])
{
    const char *at = getenv("PATH");
    while (at != NULL) {
        const char *end = strchrnul(at, ':');
        if (from_directory(at, (size_t)(end - at), name, out))
            return true;
        at = *end == ':' ? end + 1 : NULL;
    }
    return false;
}

void succession_find_program(const struct succession *arrival, const char *argv0,
                             char out[SUCCESSION_PATH_SIZE])
{
    char directory[SUCCESSION_PATH_SIZE / 2];
    if (arrival->program[0] != '\0') {
        memcpy(out, arrival->program, SUCCESSION_PATH_SIZE);
        return;
    }
    if (argv0[0] == '/' && is_this_program(argv0)) {
        (void)snprintf(out, SUCCESSION_PATH_SIZE, "%s", argv0);
        return;
    }
    if (strchr(argv0, '/') != NULL && getcwd(directory, sizeof(directory)) != NULL &&
        from_directory(directory, strlen(directory), argv0, out))
        return;
    if (strchr(argv0, '/') == NULL && from_search_path(argv0, out))
        return;
    /* It was started under a name that says nothing. */
    ssize_t len = readlink("/proc/self/exe", out, SUCCESSION_PATH_SIZE - 1);
    out[len > 0 ? len : 0] = '\0';
}

/* ---- leaving ---- */

static void block_signals(bool block, sigset_t *before)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, block ? &all : before, block ? before : NULL);
}

static void keep_open(int fd, bool open)
{
    (void)fcntl(fd, F_SETFD, open ? 0 : FD_CLOEXEC);
}

static void put_descriptors(const char *variable, const int *fds, int count)
{
    char text[16 * SUCCESSION_CLIENTS] = "";
    size_t len = 0;
    for (int i = 0; i < count && i < SUCCESSION_CLIENTS; i++) {
        if (fds[i] < 0)
            continue;
        keep_open(fds[i], true);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%d", len > 0 ? "," : "", fds[i]);
    }
    (void)setenv(variable, text, 1);
}

static void put_descriptor(const char *variable, int fd)
{
    char number[16];
    keep_open(fd, true);
    (void)snprintf(number, sizeof(number), "%d", fd);
    (void)setenv(variable, number, 1);
}

int succession_execute(const char *program, char *const argv[], const struct succession_kept *kept)
{
    sigset_t before;
    int self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (self < 0)
        return -errno;
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    put_descriptors(clients_variable, kept->clients, kept->client_count);
    put_descriptors(sockets_variable, kept->sockets_fd, SUCCESSION_SOCKETS);
    put_descriptor(back_variable, self);
    put_descriptor(config_variable, kept->config_fd);
    (void)setenv(program_variable, program, 1);
    put_pid();
    block_signals(true, &before);
    (void)execve(program, argv, environ);

    int err = -errno;
    block_signals(false, &before);
    forget_variables();
    (void)close(self);
    keep_open(kept->config_fd, false);
    for (int i = 0; i < kept->client_count; i++)
        keep_open(kept->clients[i], false);
    for (int i = 0; i < SUCCESSION_SOCKETS; i++)
        keep_open(kept->sockets_fd[i], false);
    return err;
}

void succession_go_back(const struct succession *arrival, char *const argv[], const char *reason)
{
    sigset_t before;
    if (!arrival->arrived || arrival->failed || arrival->back_fd < 0)
        return;
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    put_descriptors(clients_variable, arrival->clients, arrival->client_count);
    put_descriptors(sockets_variable, &arrival->sockets_fd[SUCCESSION_SOCKETS - 1], 1);
    (void)setenv(program_variable, arrival->program, 1);
    (void)setenv(failed_variable, reason, 1);
    put_pid();
    if (arrival->config_fd >= 0)
        put_descriptor(config_variable, arrival->config_fd);
    block_signals(true, &before);
    (void)fexecve(arrival->back_fd, argv, environ);
}
