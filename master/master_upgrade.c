/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_upgrade - this process becomes the program that is on disk now.
 *
 *   check    the new program reads the configuration in a process of its own
 *   execute  it takes the place of this one (succession.h); the roll call
 *            gives it the workers and the sockets
 *   roll     its workers replace ours, as in a reload, canary first
 *
 * The workers serve all the time. If the check fails nothing has happened; if
 * the new program cannot start it executes this one again; if its canary fails
 * the old workers stay. Whoever asked gets the answer on the connection that he
 * asked on: it is passed on from program to program.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/succession.h"
#include "master/views_json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHECK_TIMEOUT_MS = 20000, OUTPUT_MAX = 400 };

/* The check of the new program, while it runs. */
struct upgrade_check {
    pid_t pid;
    int pidfd;
    int output_fd; /* a memfd: what the program says */
    bool timed_out;
    struct event *exited;
    struct event *timeout;
};

/* ---- the clients that wait ---- */

/* What management answers to a change, written by hand: the connection was begun by
 * another program, whose HTTP server is gone. */
static void answer_client(int fd, bool ok, const char *from, const char *message)
{
    struct buf body, answer;
    struct doc doc;
    buf_init(&body, 0);
    buf_init(&answer, 0);
    doc_begin(&doc, &body);
    doc_object(&doc, NULL);
    if (ok) {
        doc_bool(&doc, "ok", true);
        doc_bool(&doc, "done", true);
        doc_str(&doc, "command", command_kind_name(COMMAND_UPGRADE));
        doc_str(&doc, "from", from);
        doc_str(&doc, "to", "version " MUSTER_VERSION);
        doc_str(&doc, "message", message);
    } else {
        doc_object(&doc, "error");
        doc_int(&doc, "status", 500);
        doc_str(&doc, "message", message);
        doc_object_end(&doc);
    }
    doc_object_end(&doc);
    doc_end(&doc);
    buf_printf(&answer,
               "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
               "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
               ok ? "200 OK" : "500 Internal Server Error", body.len);
    buf_append(&answer, body.ptr, body.len);
    if (!buf_failed(&answer) &&
        send(fd, answer.ptr, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)answer.len)
        log_info("a client did not wait for the end of the upgrade");
    buf_fini(&body);
    buf_fini(&answer);
    (void)shutdown(fd, SHUT_WR);
    (void)close(fd);
}

static void answer_clients(struct master *master, bool ok, const char *message)
{
    char from[64];
    (void)snprintf(from, sizeof(from), "version %s", master->cluster.upgrade.from_version);
    for (int i = 0; i < master->upgrade_client_count; i++)
        answer_client(master->upgrade_clients[i], ok, from, message);
    master->upgrade_client_count = 0;
}

/* ---- how it ended ---- */

static void finish(struct master *master, bool ok, const char *message)
{
    struct cluster_upgrade *upgrade = &master->cluster.upgrade;
    upgrade->running = false;
    upgrade->failed = !ok;
    upgrade->finished_wall_ms = clock_wall_ms();
    (void)snprintf(upgrade->message, sizeof(upgrade->message), "%s", message);
    if (ok)
        log_notice("upgrade finished", LOG_STR("from", upgrade->from_version),
                   LOG_STR("to", MUSTER_VERSION), LOG_STR("who", upgrade->who),
                   LOG_STR("result", message));
    else
        log_error("upgrade failed", LOG_STR("from", upgrade->from_version),
                  LOG_STR("who", upgrade->who), LOG_STR("reason", message));
    master_event(master, UPGRADE, EVENT_NO_SLOT, 0, "%s: %s", ok ? "done" : "failed", message);
    answer_clients(master, ok, message);
    master_finish_upgrade_commands(master, ok, message);
}

void master_upgrade_result(struct master *master, bool failed, const char *message)
{
    char text[CLUSTER_MESSAGE_SIZE];
    if (!master->cluster.upgrade.running)
        return;
    if (failed)
        (void)snprintf(text, sizeof(text),
                       "musterd is version %s now, but its workers could not take over: %s",
                       MUSTER_VERSION, message);
    else
        (void)snprintf(text, sizeof(text), "version %s: %s", MUSTER_VERSION, message);
    finish(master, !failed, text);
}

/* ---- the new program has taken over ---- */

void master_upgrade_arrived(struct master *master)
{
    const struct succession *arrival = master->options->arrival;
    struct cluster_upgrade *upgrade = &master->cluster.upgrade;
    char text[CLUSTER_MESSAGE_SIZE];
    if (!arrival->arrived) {
        if (!master->roll.outdated)
            return;
        log_notice("the configuration has changed while there was no master");
        master_roll_out(master);
        return;
    }
    for (int i = 0; i < arrival->client_count; i++)
        master->upgrade_clients[i] = arrival->clients[i];
    master->upgrade_client_count = arrival->client_count;
    if (arrival->failed) {
        (void)snprintf(text, sizeof(text),
                       "the new program could not start (%s); musterd %s goes on, and its workers "
                       "were not touched",
                       arrival->reason, MUSTER_VERSION);
        finish(master, false, text);
        return;
    }
    upgrade->running = true;
    log_notice("this process is another program now", LOG_STR("from", upgrade->from_version),
               LOG_STR("to", MUSTER_VERSION));
    (void)close(arrival->back_fd);
    if (arrival->sockets_fd[1] >= 0)
        (void)close(arrival->sockets_fd[1]);
    if (arrival->config_fd >= 0) {
        /* Should a worker of the old generation die before the new one is in force,
         * or that fail, it is replaced by one with the configuration that it had. */
        if (master->config_document >= 0)
            (void)close(master->config_document);
        master->config_document = arrival->config_fd;
    }
    if (master->roster->worker_count == 0)
        finish(master, true, "there was no worker to take over");
    else
        master_roll_out(master);
}

/* ---- the old program leaves ---- */

static void keep_clients(struct master *master)
{
    struct pending_command *pending;
    TAILQ_FOREACH (pending, &master->pending, entry) {
        int fd = -1;
        if (pending->command.kind == COMMAND_UPGRADE && pending->on_done != NULL &&
            master->upgrade_client_count < SUCCESSION_CLIENTS)
            fd = management_keep_client(pending->context);
        if (fd >= 0)
            master->upgrade_clients[master->upgrade_client_count++] = fd;
    }
}

static void drop_clients(struct master *master)
{
    for (int i = 0; i < master->upgrade_client_count; i++)
        (void)close(master->upgrade_clients[i]);
    master->upgrade_client_count = 0;
}

static void leave(struct master *master)
{
    char text[CLUSTER_MESSAGE_SIZE];
    if (master->cluster.reload.running) {
        finish(master, false, "a reload was begun meanwhile; try again when it is over");
        return;
    }
    keep_clients(master);
    log_notice("executing the new program in this process", LOG_STR("path", master->program_path));
    master_save_cluster(master);
    struct succession_kept kept = {.config_fd = master->config_document,
                                   .clients = master->upgrade_clients,
                                   .client_count = master->upgrade_client_count};
    for (int i = 0; i < SUCCESSION_SOCKETS; i++)
        kept.sockets_fd[i] = listeners_pass(&master->listeners);
    if (kept.sockets_fd[0] < 0) /* the workers have them, too */
        log_info("the listening sockets cannot be passed on directly",
                 LOG_ERR(-kept.sockets_fd[0]));
    int err = succession_execute(master->program_path, master->options->argv, &kept);
    drop_clients(master); /* they are answered the usual way */
    for (int i = 0; i < SUCCESSION_SOCKETS; i++)
        if (kept.sockets_fd[i] >= 0)
            (void)close(kept.sockets_fd[i]);
    (void)snprintf(text, sizeof(text), "cannot execute %.400s: %s; nothing has changed",
                   master->program_path, log_strerror(err));
    finish(master, false, text);
    master_save_cluster(master);
}

/* ---- the check ---- */

static void check_free(struct master *master)
{
    struct upgrade_check *check = master->upgrade_check;
    if (check == NULL)
        return;
    master->upgrade_check = NULL;
    if (check->exited != NULL)
        event_free(check->exited);
    if (check->timeout != NULL)
        event_free(check->timeout);
    if (check->pidfd >= 0)
        (void)close(check->pidfd);
    if (check->output_fd >= 0)
        (void)close(check->output_fd);
    free(check);
}

void master_upgrade_fini(struct master *master)
{
    if (master->upgrade_check != NULL && master->upgrade_check->pid > 0) {
        (void)kill(master->upgrade_check->pid, SIGKILL);
        (void)waitpid(master->upgrade_check->pid, NULL, 0);
    }
    check_free(master);
}

pid_t master_upgrade_check_pid(const struct master *master)
{
    return master->upgrade_check != NULL ? master->upgrade_check->pid : 0;
}

void master_upgrade_abandon(struct master *master)
{
    master_upgrade_fini(master);
    if (master->cluster.upgrade.running)
        finish(master, false, "the cluster began to stop");
}

/* What the program said last, without the line end. */
static void read_output(const struct upgrade_check *check, char out[OUTPUT_MAX])
{
    off_t size = lseek(check->output_fd, 0, SEEK_END);
    off_t from = size > OUTPUT_MAX - 1 ? size - (OUTPUT_MAX - 1) : 0;
    ssize_t len = pread(check->output_fd, out, OUTPUT_MAX - 1, from);
    len = len > 0 ? len : 0;
    while (len > 0 && (unsigned char)out[len - 1] <= ' ')
        len--;
    out[len] = '\0';
    for (ssize_t i = 0; i < len; i++)
        if ((unsigned char)out[i] < ' ')
            out[i] = out[i] == '\n' ? ';' : '?';
}

/* "musterd VERSION contract OLDEST-NEWEST". False: it cannot take over. */
static bool is_successor(const char *output, char *version, size_t size, char *why, size_t why_size)
{
    static const char name[] = "musterd ", contract[] = " contract ";
    const char *at =
        strncmp(output, name, sizeof(name) - 1) == 0 ? output + sizeof(name) - 1 : NULL;
    const char *end = at != NULL ? strstr(at, contract) : NULL;
    if (end == NULL) {
        (void)snprintf(why, why_size, "it is not a musterd that can take over");
        return false;
    }
    (void)snprintf(version, size, "%.*s", (int)(end - at), at);
    long oldest = strtol(end + sizeof(contract) - 1, NULL, 10);
    if (oldest > CONTRACT_VERSION) {
        (void)snprintf(why, why_size,
                       "it does not understand the workers of this version (contract %d, it takes "
                       "%ld and later): stop and start instead",
                       CONTRACT_VERSION, oldest);
        return false;
    }
    return true;
}

static void on_checked(struct master *master, int status)
{
    struct upgrade_check *check = master->upgrade_check;
    struct cluster_upgrade *upgrade = &master->cluster.upgrade;
    char output[OUTPUT_MAX], why[160] = "", text[CLUSTER_MESSAGE_SIZE];
    bool timed_out = check->timed_out;
    read_output(check, output);
    check_free(master);
    bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (fine &&
        is_successor(output, upgrade->to_version, sizeof(upgrade->to_version), why, sizeof(why))) {
        leave(master);
        return;
    }
    if (timed_out)
        (void)snprintf(why, sizeof(why), "it did not check the configuration within %d s",
                       CHECK_TIMEOUT_MS / 1000);
    else if (WIFSIGNALED(status))
        (void)snprintf(why, sizeof(why),
                       "it was killed by SIG%s while it checked the configuration",
                       sigabbrev_np(WTERMSIG(status)));
    else if (!fine)
        (void)snprintf(why, sizeof(why), "it refused the configuration (status %d)",
                       WEXITSTATUS(status));
    (void)snprintf(text, sizeof(text), "%.400s: %s%s%s; nothing has changed", master->program_path,
                   why, output[0] != '\0' ? ": " : "", output);
    finish(master, false, text);
}

static void on_check_exited(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    int status = 0;
    pid_t got = waitpid(master->upgrade_check->pid, &status, WNOHANG);
    if (got == 0)
        return;
    on_checked(master, got > 0 ? status : -1);
}

static void on_check_timeout(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct upgrade_check *check = context;
    check->timed_out = true;
    (void)kill(check->pid, SIGKILL);
}

static int spawn_check(struct master *master, struct upgrade_check *check)
{
    char name[] = "musterd", option[] = "--upgrade-check", config[] = "-c";
    char *path = (char *)(uintptr_t)master->options->config_path;
    char *argv[] = {name, option, path != NULL ? config : NULL, path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int err = posix_spawnattr_init(&attributes);
    if (err != 0)
        return -err;
    err = posix_spawn_file_actions_init(&actions);
    if (err == 0) {
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETPGROUP);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        err = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (err == 0)
            err = posix_spawn_file_actions_adddup2(&actions, check->output_fd, STDOUT_FILENO);
        if (err == 0)
            err = posix_spawn_file_actions_adddup2(&actions, check->output_fd, STDERR_FILENO);
        if (err == 0)
            err = posix_spawn(&check->pid, master->program_path, &actions, &attributes, argv,
                              environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)posix_spawnattr_destroy(&attributes);
    return -err;
}

static int watch_check(struct master *master, struct upgrade_check *check)
{
    const struct timeval timeout = {CHECK_TIMEOUT_MS / 1000, 0};
    check->pidfd = pidfd_open(check->pid, 0);
    if (check->pidfd < 0)
        return -errno;
    check->exited =
        event_new(master->base, check->pidfd, EV_READ | EV_PERSIST, on_check_exited, master);
    check->timeout = evtimer_new(master->base, on_check_timeout, check);
    if (check->exited == NULL || check->timeout == NULL || event_add(check->exited, NULL) != 0 ||
        event_add(check->timeout, &timeout) != 0)
        return -ENOMEM;
    return 0;
}

static int start_check(struct master *master)
{
    struct upgrade_check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        return -ENOMEM;
    check->pidfd = -1;
    master->upgrade_check = check;
    check->output_fd = memfd_create("muster-upgrade-check", MFD_CLOEXEC);
    int err = check->output_fd < 0 ? -errno : spawn_check(master, check);
    if (err == 0)
        err = watch_check(master, check);
    if (err != 0)
        master_upgrade_fini(master);
    return err;
}

int master_upgrade(struct master *master, const char *who, char *message, size_t size)
{
    struct cluster_upgrade *upgrade = &master->cluster.upgrade;
    if (upgrade->running || master->cluster.reload.running) {
        (void)snprintf(message, size, "%s is under way; try again when it is over",
                       upgrade->running ? "an upgrade" : "a reload");
        return -EBUSY;
    }
    *upgrade = (struct cluster_upgrade){.running = true, .started_wall_ms = clock_wall_ms()};
    (void)snprintf(upgrade->who, sizeof(upgrade->who), "%s", who);
    (void)snprintf(upgrade->from_version, sizeof(upgrade->from_version), "%s", MUSTER_VERSION);
    log_notice("upgrade started", LOG_STR("who", who), LOG_STR("path", master->program_path));
    master_event(master, UPGRADE, EVENT_NO_SLOT, 0, "started by %s", who);
    int err = start_check(master);
    if (err == 0)
        return 0;
    (void)snprintf(message, size, "cannot execute %.400s: %s; nothing has changed",
                   master->program_path, log_strerror(err));
    upgrade->running = false;
    upgrade->failed = true;
    upgrade->finished_wall_ms = clock_wall_ms();
    (void)snprintf(upgrade->message, sizeof(upgrade->message), "%s", message);
    return err;
}
