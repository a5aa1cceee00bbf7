/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_workers - carries out the plans of policy.c: births, deaths and the
 * messages to and from workers.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/views.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every change of a slot's state is a line; in a crash loop only for the first
 * rounds, then the deaths are counted (death_log). */
void master_log_slot(struct master *master, int index)
{
    struct slot *slot = &master->roster->slots[index];
    int64_t now_ms = clock_monotonic_ms();
    enum slot_state state = slot_state_now(slot, now_ms);
    if (state == slot->shown)
        return;
    enum log_level level = slot->early_deaths > 3 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
    const struct worker *worker = TAILQ_FIRST(&slot->workers);
    LOG_AT(level, "slot changed", LOG_INT("slot", index),
           LOG_STR("from", slot_state_name(slot->shown)), LOG_STR("to", slot_state_name(state)),
           LOG_INT("after_ms", slot->state_since_ms == 0 ? 0 : now_ms - slot->state_since_ms),
           LOG_INT("pid", worker != NULL ? worker->pid : 0),
           LOG_INT("generation", worker != NULL ? (int64_t)worker->generation : 0));
    slot->shown = state;
    slot->state_since_ms = now_ms;
}

/* ---- messages to workers ---- */

static void send_message(struct master *master, const struct worker *worker, const int *fds,
                         int fd_count)
{
    if (worker->peer != NULL)
        peer_send(worker->peer, &master->message, fds, fd_count);
}

static int log_descriptors(const struct master *master, int fds[2], uint32_t *kinds)
{
    int count = 0;
    *kinds = 1U << LOG_KIND_MAIN;
    fds[count++] = log_fd();
    if (master->access_log_fd >= 0) {
        *kinds |= 1U << LOG_KIND_ACCESS;
        fds[count++] = master->access_log_fd;
    }
    return count;
}

void master_send_logs(struct master *master)
{
    int fds[2];
    uint32_t kinds;
    int count = log_descriptors(master, fds, &kinds);
    ipc_begin(&master->message, MESSAGE_LOGS);
    ipc_put_u32(&master->message, FIELD_LOG_KINDS, kinds);
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        send_message(master, worker, fds, count);
}

void master_send_state(struct master *master)
{
    ipc_begin(&master->message, MESSAGE_STATE);
    ipc_put_u32(&master->message, FIELD_STATE, (uint32_t)master->cluster.state);
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        send_message(master, worker, NULL, 0);
}

static void send_listeners(struct master *master, const struct worker *worker)
{
    for (int g = 0; g < master->listeners.group_count; g++) {
        const struct listener_group *group = &master->listeners.group[g];
        for (int first = 0; first < group->fd_count; first += CONTRACT_MAX_FDS) {
            int count = group->fd_count - first;
            if (count > CONTRACT_MAX_FDS)
                count = CONTRACT_MAX_FDS;
            ipc_begin(&master->message, MESSAGE_LISTENERS);
            ipc_put_u32(&master->message, FIELD_GROUP, (uint32_t)g);
            ipc_put_u32(&master->message, FIELD_GROUP_KIND, (uint32_t)group->kind);
            ipc_put_u32(&master->message, FIELD_FIRST_SLOT, (uint32_t)first);
            ipc_put_str(&master->message, FIELD_ADDRESS, group->address);
            send_message(master, worker, group->fds + first, count);
        }
    }
}

void master_send_drain(struct master *master, struct worker *worker, int64_t timeout_ms,
                       int64_t grace_ms, bool stopping)
{
    ipc_begin(&master->message, MESSAGE_DRAIN);
    ipc_put_u32(&master->message, FIELD_TIMEOUT_MS, timeout_ms < 0 ? 0 : (uint32_t)timeout_ms);
    ipc_put_u32(&master->message, FIELD_GRACE_MS, (uint32_t)grace_ms);
    ipc_put_u32(&master->message, FIELD_STOPPING, stopping);
    send_message(master, worker, NULL, 0);
    worker->drain_sent = true;
    if (worker->peer == NULL && worker->child != NULL)
        (void)child_signal(worker->child, SIGTERM);
}

/* ---- messages from workers ---- */

static struct worker *on_hello(void *context, const struct control_hello *hello, struct peer *peer,
                               char *reason, size_t reason_size)
{
    struct master *master = context;
    struct worker *worker = roster_find_pid(master->roster, hello->pid);
    if (worker == NULL) {
        (void)snprintf(reason, reason_size, "process %d is not a worker that this master started",
                       (int)hello->pid);
        return NULL;
    }
    if (hello->slot != (uint32_t)worker->slot || hello->generation != worker->generation) {
        (void)snprintf(reason, reason_size,
                       "process %d was started for slot %d, generation %llu, and says otherwise",
                       (int)hello->pid, worker->slot, (unsigned long long)worker->generation);
        return NULL;
    }
    if (worker->peer != NULL)
        peer_close(worker->peer);
    worker->peer = peer;
    worker->connected = true;
    worker->assign_epoch = 0; /* whatever it was told before, tell it again */
    worker->confirmed = hello->slots;
    worker->assigned = hello->slots;
    (void)snprintf(worker->build, sizeof(worker->build), "%s", hello->build);
    return worker;
}

static void on_welcome(void *context, struct worker *worker)
{
    struct master *master = context;
    int fds[3], count = 0;
    uint32_t kinds;
    fds[count++] = master->config_document;
    count += log_descriptors(master, fds + 1, &kinds);
    ipc_begin(&master->message, MESSAGE_WELCOME);
    ipc_put_u32(&master->message, FIELD_STATE, (uint32_t)master->cluster.state);
    ipc_put_u32(&master->message, FIELD_LOG_KINDS, kinds);
    send_message(master, worker, fds, count);
    send_listeners(master, worker);
    if (worker->state == WORKER_DRAINING)
        master_send_drain(master, worker, worker->drain_deadline_ms - clock_monotonic_ms(), 0,
                          master->rules.stopping);
    master_reconcile_soon(master);
}

static void on_ready(void *context, struct worker *worker)
{
    struct master *master = context;
    int64_t now_ms = clock_monotonic_ms();
    if (worker->state != WORKER_STARTING)
        return;
    worker_enter(worker, WORKER_READY, now_ms);
    worker->last_report_ms = now_ms;
    master_sample_worker(master, worker, now_ms);
    master_log_slot(master, worker->slot);
    log_info("worker ready", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
             LOG_INT("generation", worker->generation),
             LOG_INT("start_ms", now_ms - worker->started_ms));
    if (!master->cluster.was_ready) {
        master->cluster.was_ready = true;
        if (master->cluster.state == CLUSTER_STARTING) {
            master->cluster.state = CLUSTER_RUNNING;
            master_send_state(master);
        }
    }
    /* The kernel must know before anybody else is told. */
    master_carry_out(master);
}

static void on_assigned(void *context, struct worker *worker, uint64_t epoch,
                        const struct slot_set *slots)
{
    struct master *master = context;
    if (epoch < worker->confirmed_epoch)
        return;
    worker->confirmed_epoch = epoch;
    worker->confirmed = *slots;
    master_reconcile_soon(master);
}

void master_sample_worker(struct master *master, struct worker *worker, int64_t now_ms)
{
    (void)master;
    struct procfs_sample before = worker->proc;
    if (worker->child == NULL || child_sample(worker->child, &worker->proc) != 0)
        return;
    int64_t elapsed_ms = now_ms - worker->sampled_ms;
    if (worker->sampled_ms != 0 && elapsed_ms > 0) {
        uint64_t used_ms = worker->proc.cpu_user_ms + worker->proc.cpu_system_ms -
                           before.cpu_user_ms - before.cpu_system_ms;
        worker->cpu_percent = 100.0 * (double)used_ms / (double)elapsed_ms;
    }
    worker->sampled_ms = now_ms;
}

static double rate(uint64_t now, uint64_t before, int64_t elapsed_ms)
{
    return elapsed_ms <= 0 ? 0 : 1000.0 * (double)(now - before) / (double)elapsed_ms;
}

/* Somebody sent SIGTERM to the worker itself: it finishes what it has and will
 * be gone, so its successor starts now, while it still accepts. */
static void on_leaving(struct master *master, struct worker *worker)
{
    if (!worker_is_live(worker) || worker->replace)
        return;
    log_notice("worker was told by somebody else to end, replacing it",
               LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid));
    worker->replace = true;
    master_reconcile_soon(master);
}

static int on_metrics(void *context, struct worker *worker, uint32_t phase, struct slice snapshot)
{
    struct master *master = context;
    struct metrics *now = &master->scratch;
    const struct metrics *before = &worker->metrics;
    if (metrics_decode(snapshot.ptr, snapshot.len, now) != 0 ||
        metrics_check_monotone(now, before) != 0)
        return -EPROTO;
    int64_t now_ms = clock_monotonic_ms();
    int64_t elapsed_ms = now_ms - worker->last_report_ms;
    worker->request_rate =
        rate(now->counter[METRIC_HTTP_REQUESTS], before->counter[METRIC_HTTP_REQUESTS], elapsed_ms);
    worker->accept_rate = rate(now->counter[METRIC_CONNECTIONS_ACCEPTED],
                               before->counter[METRIC_CONNECTIONS_ACCEPTED], elapsed_ms);
    worker->loop_busy =
        rate(now->counter[METRIC_LOOP_BUSY_NS], before->counter[METRIC_LOOP_BUSY_NS], elapsed_ms) /
        1e9;
    totals_report(&master->totals, before, now, now_ms);
    worker->metrics = *now;
    worker->last_report_ms = now_ms;
    master_sample_worker(master, worker, now_ms);
    if (worker->state == WORKER_SUSPECT)
        master_reconcile_soon(master);
    if (phase == WORKER_PHASE_DRAINING)
        on_leaving(master, worker);
    return 0;
}

static void on_query(void *context, struct worker *worker, uint32_t id, uint32_t view,
                     uint32_t format)
{
    struct master *master = context;
    struct view_result result = {.status = 404, .content_type = "text/plain"};
    struct buf document;
    buf_init(&document, CONTRACT_MAX_DOCUMENT);
    if (view < VIEW_COUNT)
        view_render(&master->cluster, (enum view)view, (enum view_format)format,
                    clock_monotonic_ms(), &document, &result);
    if (buf_failed(&document))
        result.status = 503;
    int fd = ipc_document_new("muster-document", buf_slice(&document));
    buf_fini(&document);
    master->cluster.queries_answered++;

    ipc_begin(&master->message, MESSAGE_REPLY);
    ipc_put_u32(&master->message, FIELD_ID, id);
    ipc_put_u32(&master->message, FIELD_STATUS, (uint32_t)(fd < 0 ? 503 : result.status));
    ipc_put_str(&master->message, FIELD_TYPE, result.content_type);
    send_message(master, worker, &fd, fd < 0 ? 0 : 1);
    if (fd >= 0)
        (void)close(fd);
}

static void on_goodbye(void *context, struct worker *worker)
{
    (void)context;
    worker->done = true;
}

static void book_backoff(struct master *master, struct slot *slot, int64_t age_ms, bool was_ready,
                         bool from_outside, int64_t now_ms)
{
    struct policy_backoff next =
        policy_after_death(&master->rules, slot->early_deaths, age_ms, was_ready, from_outside);
    slot->early_deaths = next.early_deaths;
    slot->backoff_ms = next.backoff_ms;
    slot->start_at_ms = now_ms + next.backoff_ms;
    slot->needs_budget = !from_outside;
}

/* A worker that sends nonsense is not to be believed any more: steered away
 * from, asked to finish what it has, and replaced. */
static void dismiss(struct master *master, struct worker *worker, const char *why)
{
    int64_t now_ms = clock_monotonic_ms();
    log_error("worker sent nonsense, replacing it", LOG_INT("slot", worker->slot),
              LOG_INT("pid", worker->pid), LOG_STR("reason", why));
    if (worker->ending == DEATH_NONE)
        worker->ending = DEATH_PROTOCOL;
    if (worker_is_live(worker)) {
        worker_enter(worker, WORKER_DRAINING, now_ms);
        worker->drain_deadline_ms = now_ms + master->rules.kill_grace_ms;
        /* Its successor starts now, not when it is dead: so does the back-off. */
        book_backoff(master, &master->roster->slots[worker->slot], now_ms - worker->started_ms,
                     worker->ready_ms != 0, false, now_ms);
        master_log_slot(master, worker->slot);
    }
    if (worker->child != NULL)
        (void)child_signal(worker->child, SIGTERM);
}

static void on_disconnect(void *context, struct worker *worker, const char *why)
{
    struct master *master = context;
    worker->peer = NULL;
    worker->connected = false;
    if (why != NULL)
        dismiss(master, worker, why);
    master_reconcile_soon(master);
}

const struct control_callbacks master_control_callbacks = {
    .on_hello = on_hello,
    .on_welcome = on_welcome,
    .on_ready = on_ready,
    .on_assigned = on_assigned,
    .on_metrics = on_metrics,
    .on_query = on_query,
    .on_goodbye = on_goodbye,
    .on_disconnect = on_disconnect,
};

/* ---- deaths ---- */

static const char *explain_exit(int code)
{
    switch (code) {
    case WORKER_EXIT_USAGE:
        return "wrong arguments";
    case WORKER_EXIT_INTERNAL:
        return "could not build what it needs";
    case WORKER_EXIT_NO_MASTER:
        return "heard no master";
    case WORKER_EXIT_REFUSED:
        return "the master refused it";
    case WORKER_EXIT_PRIVILEGES:
        return "could not become the configured user";
    case WORKER_EXIT_CONFIG:
        return "the configuration cannot be served";
    case WORKER_EXIT_CUT:
        return "the drain deadline cut connections";
    case 127:
        return "the binary could not be executed";
    default:
        return NULL;
    }
}

static void describe_death(int status, struct obituary *out)
{
    out->exit_code = -1;
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        out->exit_signal = WTERMSIG(status);
        out->core_dumped = WCOREDUMP(status);
        (void)snprintf(out->cause, sizeof(out->cause), "killed by SIG%s%s",
                       name != NULL ? name : "?", out->core_dumped ? " (core dumped)" : "");
        return;
    }
    out->exit_code = WEXITSTATUS(status);
    const char *text = explain_exit(out->exit_code);
    (void)snprintf(out->cause, sizeof(out->cause), "exited with status %d%s%s", out->exit_code,
                   text != NULL ? ": " : "", text != NULL ? text : "");
}

static bool was_asked(enum death_reason ending)
{
    switch (ending) {
    case DEATH_RESTART:
    case DEATH_RELOAD:
    case DEATH_SCALE_DOWN:
    case DEATH_SHUTDOWN:
        return true;
    case DEATH_NONE:
    case DEATH_CRASH:
    case DEATH_EXIT:
    case DEATH_SPAWN_FAILED:
    case DEATH_START_TIMEOUT:
    case DEATH_HANG:
    case DEATH_PROTOCOL:
    case DEATH_REASON_COUNT:
        break;
    }
    return false;
}

static void write_obituary(const struct worker *worker, int wait_status, int64_t now_ms,
                           struct obituary *out)
{
    *out = (struct obituary){
        .wall_ms = clock_wall_ms(),
        .pid = worker->pid,
        .generation = worker->generation,
        .age_ms = now_ms - worker->started_ms,
        .was_ready = worker->ready_ms != 0,
        .requests = worker->metrics.counter[METRIC_HTTP_REQUESTS],
        .connections = worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE],
        .rss_bytes = worker->proc.rss_bytes,
    };
    describe_death(wait_status, out);
    out->reason = worker->ending;
    if (out->reason == DEATH_NONE)
        out->reason = out->exit_signal != 0 ? DEATH_CRASH : DEATH_EXIT;
}

static void log_death(struct master *master, const struct worker *worker,
                      const struct obituary *obituary, const struct slot *slot, int64_t now_ms)
{
    bool gentle = obituary->exit_code == 0 || obituary->exit_code == WORKER_EXIT_CUT ||
                  obituary->exit_signal == SIGTERM;
    if (was_asked(obituary->reason) && gentle) {
        log_info("worker ended", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                 LOG_STR("reason", death_reason_name(obituary->reason)),
                 LOG_STR("cause", obituary->cause), LOG_INT("age_ms", obituary->age_ms),
                 LOG_INT("requests", obituary->requests));
        return;
    }
    uint64_t count = death_log_count(&master->deaths, obituary->cause, now_ms);
    if (count == 0)
        return;
    log_error(
        "worker died", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
        LOG_STR("cause", obituary->cause), LOG_STR("reason", death_reason_name(obituary->reason)),
        LOG_INT("deaths", count), LOG_INT("age_ms", obituary->age_ms),
        LOG_INT("requests", obituary->requests), LOG_INT("connections", obituary->connections),
        LOG_INT("rss_bytes", obituary->rss_bytes),
        LOG_INT("next_start_ms", slot->start_at_ms > now_ms ? slot->start_at_ms - now_ms : 0));
}

/* Books a death: counters, back-off, obituary. */
static void book_death(struct master *master, struct slot *slot, const struct obituary *obituary,
                       int64_t now_ms)
{
    master->roster->restarts[obituary->reason]++;
    slot_add_obituary(slot, obituary);
    if (was_asked(obituary->reason))
        return;
    slot->restarts++;
    if (obituary->reason != DEATH_PROTOCOL)
        book_backoff(master, slot, obituary->age_ms, obituary->was_ready,
                     obituary->reason == DEATH_CRASH && obituary->exit_signal == SIGKILL, now_ms);
}

static void on_child_exit(void *context, struct child *child, int wait_status)
{
    struct master *master = context;
    int64_t now_ms = clock_monotonic_ms();
    struct worker *worker = roster_find_pid(master->roster, child_pid(child));
    CHECK(worker != NULL && worker->child == child);
    if (worker->peer != NULL)
        /* What it managed to report before it died still counts. */
        peer_drain(worker->peer);
    if (worker->peer != NULL)
        peer_close(worker->peer);
    worker->peer = NULL;
    worker->connected = false;

    struct slot *slot = &master->roster->slots[worker->slot];
    struct obituary obituary;
    write_obituary(worker, wait_status, now_ms, &obituary);
    totals_bury(&master->totals, &worker->metrics);
    bool new_generation_failed = worker->ready_ms == 0 && !was_asked(obituary.reason) &&
                                 master->cluster.reload.running &&
                                 worker->generation == master->roster->generation;
    bool failed_alone = worker->ready_ms == 0 && !was_asked(obituary.reason);
    worker_enter(worker, WORKER_DEAD, now_ms);
    book_death(master, slot, &obituary, now_ms);
    log_death(master, worker, &obituary, slot, now_ms);
    if (failed_alone)
        slot->roll_failures++;
    child_free(&worker->child);
    roster_remove(master->roster, worker);
    master_log_slot(master, slot->index);
    if (new_generation_failed)
        master_reload_failed(master, obituary.cause);
    master_carry_out(master);
}

/* ---- carrying out a plan ---- */

static void spawn(struct master *master, struct slot *slot, int64_t now_ms)
{
    if (slot->needs_budget && !policy_spend_budget(master->roster, &master->rules, now_ms)) {
        slot->start_at_ms = master->roster->last_start_ms + 1000;
        if (!master->roster->budget_logged)
            log_warning("restart budget used up, starting one worker a second",
                        LOG_INT("budget", master->rules.budget),
                        LOG_INT("interval_ms", master->rules.budget_interval_ms));
        master->roster->budget_logged = true;
        master_reconcile_soon(master);
        return;
    }
    const struct child_spec spec = {master->worker_path, master->control_path, slot->index,
                                    master->roster->generation};
    struct child *child = NULL;
    int err = child_start(master->base, &spec, on_child_exit, master, &child);
    master->roster->last_start_ms = now_ms;
    if (err != 0) {
        struct obituary obituary = {.wall_ms = clock_wall_ms(),
                                    .generation = master->roster->generation,
                                    .reason = DEATH_SPAWN_FAILED,
                                    .exit_code = 127};
        (void)snprintf(obituary.cause, sizeof(obituary.cause), "cannot execute the worker: %s",
                       log_strerror(err));
        book_death(master, slot, &obituary, now_ms);
        uint64_t count = death_log_count(&master->deaths, obituary.cause, now_ms);
        if (count > 0)
            log_error("cannot start a worker", LOG_INT("slot", slot->index),
                      LOG_STR("path", master->worker_path), LOG_ERR(err), LOG_INT("times", count));
        if (master->cluster.reload.running)
            master_reload_failed(master, obituary.cause);
        master_log_slot(master, slot->index);
        master_reconcile_soon(master);
        return;
    }
    struct worker *worker = roster_add(master->roster, slot->index, child_pid(child), now_ms);
    if (worker == NULL) {
        (void)child_signal(child, SIGKILL);
        child_free(&child);
        return;
    }
    worker->child = child;
    slot->needs_budget = false;
    master_log_slot(master, slot->index);
}

static void assign(struct master *master, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    worker->assigned = action->slots;
    worker->assign_epoch = ++master->assign_epoch;
    ipc_begin(&master->message, MESSAGE_ASSIGN);
    ipc_put_u64(&master->message, FIELD_EPOCH, worker->assign_epoch);
    ipc_put_slots(&master->message, FIELD_SLOTS, &worker->assigned);
    send_message(master, worker, NULL, 0);
}

static void drain(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    worker->ending = action->reason;
    worker->drain_deadline_ms = now_ms + master->rules.drain_timeout_ms;
    worker_enter(worker, WORKER_DRAINING, now_ms);
    log_info("worker draining", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
             LOG_STR("reason", death_reason_name(action->reason)),
             LOG_INT("connections", worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE]));
    master_log_slot(master, worker->slot);
    master_send_drain(master, worker, master->rules.drain_timeout_ms, 0, false);
}

static void kill_worker(const struct policy_action *action, int64_t now_ms)
{
    struct worker *worker = action->worker;
    if (worker->ending == DEATH_NONE)
        worker->ending = action->reason;
    worker->kill_signal = action->signal;
    worker->kill_sent_ms = now_ms;
    if (action->signal == SIGABRT || worker->ending != DEATH_START_TIMEOUT)
        log_warning("killing a worker", LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid),
                    LOG_STR("signal", action->signal == SIGKILL ? "SIGKILL" : "SIGABRT"),
                    LOG_STR("reason", death_reason_name(action->reason)));
    if (worker->child != NULL)
        (void)child_signal(worker->child, action->signal);
}

static void steer(struct master *master, const struct slot_set *slots)
{
    int err = listeners_steer(&master->listeners, slots, master->roster->slot_count);
    if (err != 0)
        log_error("cannot steer new connections", LOG_ERR(err));
    master->steered = *slots;
}

static void carry_out_one(struct master *master, const struct policy_action *action, int64_t now_ms)
{
    switch (action->kind) {
    case POLICY_STEER:
        steer(master, &action->slots);
        break;
    case POLICY_SPAWN:
        spawn(master, &master->roster->slots[action->slot], now_ms);
        break;
    case POLICY_ASSIGN:
        assign(master, action);
        break;
    case POLICY_DRAIN:
        drain(master, action, now_ms);
        break;
    case POLICY_SUSPECT:
        worker_enter(action->worker, WORKER_SUSPECT, now_ms);
        log_warning("worker is late, steering away from it", LOG_INT("slot", action->slot),
                    LOG_INT("pid", action->worker->pid),
                    LOG_INT("silent_ms", now_ms - action->worker->last_report_ms));
        master_log_slot(master, action->slot);
        break;
    case POLICY_TRUST:
        worker_enter(action->worker, WORKER_READY, now_ms);
        master_log_slot(master, action->slot);
        break;
    case POLICY_KILL:
        kill_worker(action, now_ms);
        break;
    case POLICY_ACTION_COUNT:
        break;
    }
}

void master_carry_out(struct master *master)
{
    /* A plan may make the next one possible (SUSPECT, then steer away), so it
     * is made again until it is empty; the bound is against our own mistakes. */
    for (int round = 0; round < 8; round++) {
        int64_t now_ms = clock_monotonic_ms();
        policy_decide(master->roster, &master->rules, &master->steered, now_ms, &master->plan);
        for (int i = 0; i < master->plan.count; i++)
            carry_out_one(master, &master->plan.actions[i], now_ms);
        if (master->plan.count == 0)
            break;
    }
    int64_t now_ms = clock_monotonic_ms();
    int64_t wait_ms = master->plan.wake_at_ms - now_ms;
    if (master->plan.wake_at_ms == INT64_MAX)
        (void)event_del(master->reconcile);
    else {
        if (wait_ms < 1)
            wait_ms = 1;
        const struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
        (void)event_add(master->reconcile, &wait);
    }
    master_reload_check(master);
    master_finish_commands(master, now_ms);
    master_stop_check(master);
}
