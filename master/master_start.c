/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_start - everything that can be refused before the first worker starts:
 * users, directories, locks, limits, sockets.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/cpus.h"
#include "common/log.h"
#include "master/fd_store.h"
#include "master/pid_file.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { DESCRIPTORS_FOR_ITSELF = 256 };

static int find_worker_user(struct master *master, char *error, size_t size)
{
    const char *name = master->config->user;
    master->worker_uid = geteuid();
    if (geteuid() != 0)
        return 0;
    const struct passwd *entry = NULL;
    if (name[0] != '\0') {
        entry = getpwnam(name);
        if (entry == NULL) {
            (void)snprintf(error, size, "user = %s: there is no such user on this machine", name);
            return -ENOENT;
        }
    } else {
        entry = getpwnam("muster");
        if (entry == NULL)
            entry = getpwnam("nobody");
    }
    if (entry != NULL)
        master->worker_uid = entry->pw_uid;
    if (master->config->group[0] != '\0' && getgrnam(master->config->group) == NULL) {
        (void)snprintf(error, size, "group = %s: there is no such group on this machine",
                       master->config->group);
        return -ENOENT;
    }
    return 0;
}

/* Beside musterd, as in a build tree; else where it is installed. */
void master_find_worker_path(const struct config *config, char *out, size_t size)
{
    if (config->worker_path[0] != '\0') {
        (void)snprintf(out, size, "%s", config->worker_path);
        return;
    }
    char self[3900];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
        (void)snprintf(out, size, "%s/muster-worker", self);
        if (access(out, X_OK) == 0)
            return;
    }
    (void)snprintf(out, size, "%s", MUSTER_LIBEXECDIR "/muster-worker");
}

static void open_worker_binary(struct master *master)
{
    char path[WORKER_BINARY_PATH_SIZE];
    master_find_worker_path(master->config, path, sizeof(path));
    int err = worker_binary_open(path, &master->binary);
    if (err != 0) /* it may be put there yet: tried by path, again and again */
        log_error("no worker program", LOG_STR("path", path), LOG_ERR(err));
    master->cluster.binary = &master->binary;
}

static int check_file_limit(struct master *master, int groups, char *error, size_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -errno;
    rlim_t sockets = (rlim_t)groups * (rlim_t)master->cluster.max_workers;
    rlim_t own = sockets + 4 * (rlim_t)master->cluster.max_workers + DESCRIPTORS_FOR_ITSELF;
    rlim_t worker = sockets + (rlim_t)master->config->max_connections + DESCRIPTORS_FOR_ITSELF;
    if ((rlim_t)master->config->open_files > worker)
        worker = (rlim_t)master->config->open_files;
    rlim_t needed = own > worker ? own : worker;
    if (limit.rlim_max < needed && geteuid() == 0) {
        /* root may raise it: workers do the same before they drop privileges. */
        struct rlimit more = {needed, needed};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            limit = more;
    }
    if (limit.rlim_max < needed) {
        int len = snprintf(error, size,
                           "the limit of open files is %" PRIu64 ", and max_connections = %" PRId64
                           " with max_workers = %d needs %" PRIu64
                           ": raise it (ulimit -Hn, LimitNOFILE=), or lower ",
                           (uint64_t)limit.rlim_max, master->config->max_connections,
                           master->cluster.max_workers, (uint64_t)needed);
        int64_t left = master->config->max_connections - (int64_t)(needed - limit.rlim_max);
        if (own > limit.rlim_max || left < 1)
            (void)snprintf(error + len, size - (size_t)len, "max_workers");
        else
            (void)snprintf(error + len, size - (size_t)len, "max_connections to %" PRId64, left);
        return -EMFILE;
    }
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : -errno;
}

static int prepare_run_dir(struct master *master, char *error, size_t size)
{
    const struct config *config = master->config;
    if (config->run_dir[0] != '\0') {
        if (strlen(config->run_dir) >= sizeof(master->run_dir) - 16) {
            (void)snprintf(error, size, "run_dir is too long for a Unix socket in it: %s",
                           config->run_dir);
            return -ENAMETOOLONG;
        }
        (void)snprintf(master->run_dir, sizeof(master->run_dir), "%s", config->run_dir);
    } else {
        config_default_run_dir(environ, master->run_dir, sizeof(master->run_dir) - 16);
    }
    int err = make_directory(master->run_dir, geteuid() == 0 ? 0755 : 0700);
    struct stat st;
    if (err == 0 && stat(master->run_dir, &st) == 0 && st.st_uid != geteuid() && st.st_uid != 0)
        err = -EPERM; /* in /tmp anybody could have made it */
    if (err != 0) {
        (void)snprintf(error, size, "cannot use run_dir = %s: %s", master->run_dir,
                       log_strerror(err));
        return err;
    }
    (void)snprintf(master->control_path, sizeof(master->control_path), "%s/control.sock",
                   master->run_dir);
    if (config->pid_file[0] != '\0')
        (void)snprintf(master->pid_path, sizeof(master->pid_path), "%s", config->pid_file);
    else
        (void)snprintf(master->pid_path, sizeof(master->pid_path), "%s/musterd.pid",
                       master->run_dir);
    (void)snprintf(master->lock_path, sizeof(master->lock_path), "%s/musterd.lock",
                   master->run_dir);
    (void)snprintf(master->state_path, sizeof(master->state_path), "%s/cluster.state",
                   master->run_dir);
    return 0;
}

static int lock_run_dir(struct master *master, char *error, size_t size)
{
    pid_t holder;
    master->lock_fd = pid_file_open(master->lock_path, &holder);
    if (master->lock_fd == -EWOULDBLOCK) {
        (void)snprintf(error, size,
                       "another musterd runs on run_dir = %s (pid %d); stop it, or give this one "
                       "a run_dir of its own",
                       master->run_dir, (int)holder);
        return -EWOULDBLOCK;
    }
    if (master->lock_fd >= 0)
        master->pid_fd = pid_file_open(master->pid_path, &holder);
    int err = master->lock_fd < 0 ? master->lock_fd : master->pid_fd < 0 ? master->pid_fd : 0;
    if (err == -EWOULDBLOCK)
        (void)snprintf(error, size, "the pid file %s is held by pid %d", master->pid_path,
                       (int)holder);
    else if (err != 0)
        (void)snprintf(error, size, "cannot write %s: %s",
                       master->lock_fd < 0 ? master->lock_path : master->pid_path,
                       log_strerror(err));
    return err;
}

static void describe_listeners(struct master *master)
{
    struct cluster *cluster = &master->cluster;
    cluster->listener_count = master->listeners.group_count;
    for (int i = 0; i < cluster->listener_count; i++) {
        const struct listener_group *group = &master->listeners.group[i];
        struct cluster_listener *out = &cluster->listener[i];
        memcpy(out->name, group->name, sizeof(out->name));
        memcpy(out->address, group->address, sizeof(out->address));
        out->kind = group->kind;
        out->slot_count = group->fd_count;
        out->inherited = group->inherited;
        out->policy = group->kind == LISTENER_PER_SLOT
                          ? dispatch_algorithm_name(master->config->balance_algorithm)
                          : "shared";
        out->mechanism = group->kind == LISTENER_PER_SLOT ? "classic BPF" : "shared";
        out->queue = listeners_queue(group);
        log_notice("listening", LOG_STR("name", out->name), LOG_STR("address", out->address),
                   LOG_INT("sockets", out->slot_count), LOG_STR("policy", out->policy),
                   LOG_STR("inherited", out->inherited ? "yes" : "no"));
    }
}

static void fill_cluster(struct master *master)
{
    struct cluster *cluster = &master->cluster;
    cluster->config = master->config;
    cluster->run_dir = master->run_dir;
    cluster->state = CLUSTER_STARTING;
    cluster->totals = &master->totals;
    cluster->cpu_count = cpus_usable("");
    cluster->max_workers = config_max_workers(master->config, cluster->cpu_count);
    cluster->min_workers = master->config->min_workers;
    cluster->configured_workers = config_worker_count(master->config, cluster->cpu_count);
    cluster->started_ms = clock_monotonic_ms();
    cluster->started_wall_ms = clock_wall_ms();
    cluster->newest_generation = 1;
}

static int open_sockets(struct master *master, char *error, size_t size)
{
    int err = listeners_open(&master->listeners, master->config, master->roster->slot_count,
                             master->worker_uid, &master->roll.found, error, size);
    if (err == 0)
        err = check_file_limit(master, master->listeners.group_count, error, size);
    if (err != 0)
        return err;
    master->sockets_id = listeners_id(&master->listeners);
    fd_store_save(&master->listeners);
    master->management = management_new(master->base, &master->cluster, master, error, size);
    return master->management == NULL ? -EADDRINUSE : 0;
}

static int open_control(struct master *master, char *error, size_t size)
{
    int err = control_new(master->base, master->control_path, master->worker_uid,
                          master->roster->slot_count, &master_control_callbacks, master,
                          &master->control);
    if (err == -EADDRINUSE)
        (void)snprintf(error, size,
                       "another musterd answers at %s, though its lock file is gone; stop it, or "
                       "give this one a run_dir of its own",
                       master->control_path);
    else if (err != 0)
        (void)snprintf(error, size, "cannot open %s: %s", master->control_path, log_strerror(err));
    return err;
}

/* What a master before this one wrote down, if it was not stopped in good order. */
static void load_state(const struct master *master, struct state *out)
{
    int err = state_file_load(master->state_path, out);
    if (err == 0 && out->damaged_count > 0)
        log_error("some of what the master before wrote down is damaged; those workers are not "
                  "known and have to leave",
                  LOG_STR("file", master->state_path), LOG_INT("workers", out->damaged_count));
    if (err == 0 || err == -ENOENT || err == -ESTALE)
        return;
    log_error("what the master before wrote down cannot be used; its workers are not known",
              LOG_STR("file", master->state_path),
              LOG_STR("reason", err == -EPERM    ? "another user could have written it"
                                : err == -EPROTO ? "it is damaged"
                                                 : log_strerror(err)));
}

/* Sockets are never taken out of a group: there are as many slots as there were. */
static int count_slots(const struct master *master, const struct state *state)
{
    int most = master->cluster.max_workers;
    return state->cluster.slot_count > most ? state->cluster.slot_count : most;
}

/* From the program before this one in the same process. */
static void take_passed(struct master *master)
{
    int fd = master->options->arrival->sockets_fd[0];
    if (fd < 0)
        return;
    int err = listeners_take_passed(fd, &master->roll.found);
    (void)close(fd);
    if (err != 0)
        log_warning("the sockets of the program before cannot be taken over directly",
                    LOG_ERR(err));
}

static int assemble(struct master *master, const struct state *state, char *error, size_t size)
{
    master->roster = roster_new(count_slots(master, state));
    master->cluster.roster = master->roster;
    if (master->roster == NULL || master_config_document(master, master->config) != 0 ||
        procfs_open(&master->procfs, getpid()) != 0)
        return -ENOMEM;
    roster_set_desired(master->roster, master->cluster.configured_workers);
    /* The limit first: a group of many sockets may need more than the soft one. */
    int err = check_file_limit(master, 2, error, size);
    if (err == 0)
        err = open_control(master, error, size);
    if (err != 0)
        return err;
    take_passed(master);
    if (state->cluster.version[0] != '\0')
        master_call_roll(master, state);
    return open_sockets(master, error, size);
}

int master_prepare(struct master *master, char *error, size_t size)
{
    (void)snprintf(error, size, "out of memory");
    int err = find_worker_user(master, error, size);
    if (err == 0)
        err = master_open_logs(master, master->config, error, size);
    if (err == 0)
        err = prepare_run_dir(master, error, size);
    if (err == 0)
        err = lock_run_dir(master, error, size);
    if (err != 0)
        return err;
    fill_cluster(master);
    succession_find_program(master->options->arrival, master->options->argv[0],
                            master->program_path);
    master_set_rules(master);
    open_worker_binary(master);
    master->watchdog_interval_ms = notify_watchdog_interval_ms();
    struct state state;
    load_state(master, &state);
    err = assemble(master, &state, error, size);
    state_fini(&state);
    if (err != 0)
        return err;
    describe_listeners(master);
    master_end_roll(master);
    master_open_state(master);
    return 0;
}
