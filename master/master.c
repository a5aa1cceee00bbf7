/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master - the supervisor: start, the loop, the tick, signals.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    KILL_GRACE_MS = 2000,
    LAST_RESORT_MS = 2000,
};

void master_reconcile_soon(struct master *master)
{
    if (master->reconcile != NULL) /* not before the roll has been called */
        event_active(master->reconcile, EV_TIMEOUT, 0);
}

void master_set_rules(struct master *master)
{
    const struct config *config = master->config;
    bool stopping = master->rules.stopping;
    int budget = config->restart_budget;
    if (budget == 0)
        budget = 10 + 5 * config_worker_count(config, master->cluster.cpu_count);
    master->cluster.restart_budget = budget;
    master->rules = (struct policy_rules){
        .stopping = stopping,
        .start_timeout_ms = config->start_timeout,
        .report_interval_ms = config->report_interval,
        .suspect_timeout_ms = config->suspect_timeout,
        .stall_timeout_ms = config->stall_timeout,
        .hang_timeout_ms = config->hang_timeout,
        .drain_timeout_ms = config->reload_drain_timeout,
        .scale_drain_timeout_ms = config->scale_drain_timeout,
        .canary_time_ms = config->canary_time,
        .kill_grace_ms = master->cut ? master->rules.kill_grace_ms : KILL_GRACE_MS,
        .backoff_min_ms = config->restart_backoff_min,
        .backoff_max_ms = config->restart_backoff_max,
        .healthy_after_ms = config->restart_healthy_after,
        .budget = budget,
        .budget_interval_ms = config->restart_budget_interval,
        .last_resort_ms = LAST_RESORT_MS,
        .recycle = {.requests = (uint64_t)config->recycle_requests,
                    .lifetime_ms = config->recycle_lifetime,
                    .memory_bytes = (uint64_t)config->recycle_memory,
                    .jitter_percent = config->recycle_jitter,
                    .min_age_ms = config->recycle_min_age},
    };
}

/* ---- logs ---- */

static int open_log_file(const char *path, const struct master *master, char *error, size_t size)
{
    int fd;
    if (strcmp(path, "/dev/stderr") == 0 || strcmp(path, "/dev/stdout") == 0)
        fd = fcntl(strcmp(path, "/dev/stderr") == 0 ? STDERR_FILENO : STDOUT_FILENO,
                   F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    else
        /* Not blocking: opening a pipe that nobody reads would stop the loop. */
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
    if (fd < 0) {
        int err = errno;
        (void)snprintf(error, size, "cannot open the log file %s: %s", path, log_strerror(err));
        return -err;
    }
    if (geteuid() == 0 && master->worker_uid != 0 && fchown(fd, 0, (gid_t)-1) != 0)
        log_debug("log file keeps its owner", LOG_STR("path", path));
    return fd;
}

int master_check_logs(const struct master *master, const struct config *config, char *error,
                      size_t size)
{
    const char *const paths[] = {config->log_file, config->log_access_file};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        if (paths[i][0] == '\0')
            continue;
        int fd = open_log_file(paths[i], master, error, size);
        if (fd < 0)
            return fd;
        (void)close(fd);
    }
    return 0;
}

int master_open_logs(struct master *master, const struct config *config, char *error, size_t size)
{
    if (config->log_file[0] != '\0') {
        int fd = open_log_file(config->log_file, master, error, size);
        if (fd < 0)
            return fd;
        log_set_fd(fd);
    } else {
        log_set_fd(STDERR_FILENO);
    }
    int access_fd = -1;
    if (config->log_access_file[0] != '\0') {
        access_fd = open_log_file(config->log_access_file, master, error, size);
        if (access_fd < 0)
            return access_fd;
    }
    if (master->access_log_fd >= 0)
        (void)close(master->access_log_fd);
    master->access_log_fd = access_fd;
    return 0;
}

/* ---- the tick ---- */

static bool start_is_over(const struct roster *roster)
{
    if (roster_count(roster, WORKER_READY) == 0)
        return false;
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        if (slot->wanted && slot_ready_worker(slot) == NULL && slot->obituary_count == 0)
            return false;
    }
    return true;
}

static void tell_service_manager(struct master *master, int64_t now_ms)
{
    const struct roster *roster = master->roster;
    char text[sizeof(master->status_text)];
    (void)snprintf(text, sizeof(text), "%s: %d of %d workers ready, generation %" PRIu64,
                   view_health_word(&master->cluster, now_ms), roster_count(roster, WORKER_READY),
                   roster->desired, roster->generation);
    if (!master->ready_notified && start_is_over(roster)) {
        master->ready_notified = true;
        notify_ready(text);
        log_notice("ready", LOG_INT("workers", roster_count(roster, WORKER_READY)),
                   LOG_INT("start_ms", now_ms - master->cluster.started_ms));
    } else if (strcmp(text, master->status_text) != 0) {
        notify_status(text);
    }
    memcpy(master->status_text, text, sizeof(text));
    if (master->watchdog_interval_ms > 0 &&
        now_ms - master->watchdog_sent_ms >= master->watchdog_interval_ms / 2 &&
        master_majority_progresses(master)) {
        notify_watchdog();
        master->watchdog_sent_ms = now_ms;
    }
}

static void sample_master(struct master *master, int64_t now_ms)
{
    struct cluster *cluster = &master->cluster;
    struct procfs_sample before = cluster->master_proc;
    int64_t elapsed_ms = now_ms - master->sampled_ms;
    if (procfs_sample(&master->procfs, &cluster->master_proc) != 0)
        return;
    cluster->master_proc.cpu_user_ms += master->cpu_user_before_ms;
    cluster->master_proc.cpu_system_ms += master->cpu_system_before_ms;
    if (master->sampled_ms != 0 && elapsed_ms > 0)
        cluster->master_cpu_percent =
            100.0 *
            (double)(cluster->master_proc.cpu_user_ms + cluster->master_proc.cpu_system_ms -
                     before.cpu_user_ms - before.cpu_system_ms) /
            (double)elapsed_ms;
    master->sampled_ms = now_ms;
}

static void schedule_tick(struct master *master)
{
    int64_t wait_ms = TICK_MS;
    if (master->watchdog_interval_ms > 0 && master->watchdog_interval_ms < wait_ms)
        wait_ms = master->watchdog_interval_ms;
    master->tick_due_ns = clock_monotonic_ns() + wait_ms * 1000000;
    const struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
    (void)event_add(master->tick, &wait);
}

/* As process 1 of a container we inherit processes that nobody else waits for. */
static void reap_orphans(const struct master *master)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           roster_find_pid(master->roster, info.si_pid) == NULL &&
           info.si_pid != master_upgrade_check_pid(master)) {
        (void)waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
}

/* Cleaners of /tmp, and people, remove what they do not know. */
static void restore_run_dir(struct master *master)
{
    int restored = control_restore(master->control);
    if (restored == -ENOENT && make_directory(master->run_dir, geteuid() == 0 ? 0755 : 0700) == 0)
        restored = control_restore(master->control);
    if (restored != 0 && restored != master->restored_before) {
        if (restored > 0)
            log_warning("somebody removed the control socket, it is there again",
                        LOG_STR("path", master->control_path));
        else
            log_error("somebody removed the control socket, and it cannot be made again: no worker "
                      "can be started",
                      LOG_STR("path", master->control_path), LOG_ERR(restored));
    }
    master->restored_before = restored;
    if (master->state_file != NULL && !state_file_is_there(master->state_file))
        state_file_free(&master->state_file, false);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    struct cluster *cluster = &master->cluster;
    int64_t now_ms = clock_monotonic_ms();
    int64_t late_ns = clock_monotonic_ns() - master->tick_due_ns;
    cluster->master_lag_ns = late_ns > 0 ? late_ns : 0;

    sample_master(master, now_ms);
    cluster->control_rejected = master->rejected_before + control_rejected(master->control);
    for (int i = 0; i < cluster->listener_count && i < master->listeners.group_count; i++)
        cluster->listener[i].queue = listeners_queue(&master->listeners.group[i]);
    struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        if (now_ms - worker->sampled_ms > 2 * TICK_MS)
            master_sample_worker(master, worker, now_ms); /* it does not report */
    worker_binary_look(&master->binary);
    if (cluster->manual && cluster->manual_until_ms != 0 && now_ms >= cluster->manual_until_ms)
        master_end_manual(master, "its time is over");
    if (!TAILQ_EMPTY(&master->pending))
        master_finish_commands(master, now_ms);
    master_steer_again(master);
    restore_run_dir(master);
    if (master->state_file == NULL)
        master_open_state(master); /* there may be room by now */
    else if (master->suspected_unsaved)
        master_save_cluster(master);
    tell_service_manager(master, now_ms);
    if (getpid() == 1)
        reap_orphans(master);
    schedule_tick(master);
}

static void on_reconcile(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    master_carry_out(master);
    if (!master->ready_notified)
        tell_service_manager(master, clock_monotonic_ms());
}

/* ---- signals ---- */

static void reopen_logs(struct master *master)
{
    char error[256];
    if (master_open_logs(master, master->config, error, sizeof(error)) != 0) {
        log_error("logs not reopened, the old ones stay", LOG_STR("reason", error));
        return;
    }
    master_send_logs(master);
    log_notice("logs reopened");
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    (void)what;
    struct master *master = context;
    switch (number) {
    case SIGTERM:
    case SIGINT:
        if (master->cluster.state >= CLUSTER_DRAINING)
            master_cut(master);
        else
            master_drain(master, number == SIGTERM ? "SIGTERM" : "SIGINT");
        break;
    case SIGHUP: {
        const struct command command = {.kind = COMMAND_RELOAD, .who = "SIGHUP"};
        command_run(master, &command, NULL, NULL);
        break;
    }
    case SIGUSR1:
        reopen_logs(master);
        break;
    case SIGUSR2: {
        const struct command command = {.kind = COMMAND_UPGRADE, .who = "SIGUSR2"};
        command_run(master, &command, NULL, NULL);
        break;
    }
    case SIGTTIN:
        master_scale_by(master, 1);
        break;
    case SIGTTOU:
        master_scale_by(master, -1);
        break;
    default:
        break;
    }
}

static const int signal_numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};

/* Until they can be handled: a SIGTERM during the roll call is to drain the
 * workers that were adopted, not to leave them alone. */
static void hold_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_COUNT(signal_numbers); i++)
        (void)sigaddset(&set, signal_numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int catch_signals(struct master *master)
{
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_COUNT(signal_numbers); i++) {
        master->signal[i] = evsignal_new(master->base, signal_numbers[i], on_signal, master);
        if (master->signal[i] == NULL || event_add(master->signal[i], NULL) != 0)
            return -ENOMEM;
    }
    /* Held since the start, or since the program before this one ended. */
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    return 0;
}

/* ---- life ---- */

static int start(struct master *master, char *error, size_t size)
{
    int err = master_prepare(master, error, size);
    if (err != 0)
        return err;
    (void)snprintf(error, size, "out of memory");
    master->reconcile = evtimer_new(master->base, on_reconcile, master);
    master->tick = evtimer_new(master->base, on_tick, master);
    if (master->reconcile == NULL || master->tick == NULL || master_watch_init(master) != 0 ||
        catch_signals(master) != 0 || master_dispatch_start(master) != 0)
        return -ENOMEM;
    sample_master(master, clock_monotonic_ms());
    schedule_tick(master);
    master_upgrade_arrived(master);
    return 0;
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void free_children(struct roster *roster)
{
    struct worker *worker;
    if (roster == NULL)
        return;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        child_free(&worker->child);
        master_drop_board(worker);
    }
}

static void clean_up(struct master *master)
{
    master_upgrade_fini(master);
    for (int i = 0; i < master->upgrade_client_count; i++)
        (void)close(master->upgrade_clients[i]);
    management_free(&master->management);
    control_free(&master->control);
    free_children(master->roster);
    if (!master->ran)
        listeners_leave_names(&master->listeners);
    listeners_close(&master->listeners);
    struct pending_command *pending;
    while ((pending = TAILQ_FIRST(&master->pending)) != NULL) {
        TAILQ_REMOVE(&master->pending, pending, entry);
        free(pending);
    }
    for (int i = 0; i < MASTER_SIGNALS; i++)
        free_event(&master->signal[i]);
    free_event(&master->reconcile);
    free_event(&master->tick);
    free_event(&master->watch);
    free_event(&master->stop_timer);
    master_dispatch_stop(master);
    if (master->base != NULL)
        event_base_free(master->base);
    policy_plan_fini(&master->plan);
    /* Who leaves no worker behind leaves nothing to be told. */
    state_file_free(&master->state_file,
                    master->roster != NULL && master->roster->worker_count == 0);
    found_sockets_fini(&master->roll.found);
    roster_free(&master->roster);
    buf_fini(&master->message);
    if (master->config_document >= 0)
        (void)close(master->config_document);
    if (master->access_log_fd >= 0)
        (void)close(master->access_log_fd);
    procfs_close(&master->procfs);
    pid_file_close(&master->pid_fd, master->pid_path);
    pid_file_close(&master->lock_fd, master->lock_path);
    edition_close(&master->trial);
    edition_close(&master->previous);
    worker_binary_close(&master->binary);
    config_free(&master->config);
    free(master);
}

int master_run(struct config **config, const struct master_options *options)
{
    struct master *master = calloc(1, sizeof(*master));
    CHECK(master != NULL);
    master->config = *config;
    *config = NULL;
    master->options = options;
    master->pid_fd = -1;
    master->lock_fd = -1;
    master->config_document = -1;
    worker_binary_init(&master->binary);
    edition_init(&master->trial);
    edition_init(&master->previous);
    master->access_log_fd = -1;
    master->procfs.stat_fd = -1;
    TAILQ_INIT(&master->pending);
    totals_init(&master->totals);
    master->cluster.events = &master->events;
    buf_init(&master->message, CONTRACT_MAX_MESSAGE);
    hold_signals();
    master->base = new_base();

    char error[1024] = "out of memory";
    int status = MASTER_EXIT_OK;
    if (master->base == NULL || start(master, error, sizeof(error)) != 0) {
        log_error("cannot start", LOG_STR("reason", error));
        (void)snprintf(options->failure, options->failure_size, "%s", error);
        status = MASTER_EXIT_FAILED;
    } else {
        log_notice("started", LOG_STR("version", MUSTER_VERSION), LOG_INT("pid", getpid()),
                   LOG_INT("workers", master->roster->desired),
                   LOG_INT("max_workers", master->cluster.max_workers),
                   LOG_INT("processors", master->cluster.cpu_count),
                   LOG_STR("run_dir", master->run_dir));
        master_event(master, START, EVENT_NO_SLOT, getpid(), "musterd %s, %d workers wanted",
                     MUSTER_VERSION, master->roster->desired);
        master->ran = true;
        master_reconcile_soon(master);
        while (!event_base_got_break(master->base) &&
               event_base_loop(master->base, EVLOOP_ONCE) >= 0)
            master->cluster.wakeups++;
        log_notice("stopped",
                   LOG_INT("requests", master->totals.dead.counter[METRIC_HTTP_REQUESTS]),
                   LOG_INT("cut_connections", master->totals.dead.counter[METRIC_DRAIN_CUT]),
                   LOG_INT("uptime_ms", clock_monotonic_ms() - master->cluster.started_ms));
    }
    clean_up(master);
    return status;
}
