/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_workers - the messages to and from workers.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/views.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
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

void master_send(struct master *master, const struct worker *worker, const int *fds, int fd_count)
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
        master_send(master, worker, fds, count);
}

void master_send_state(struct master *master)
{
    ipc_begin(&master->message, MESSAGE_STATE);
    ipc_put_u32(&master->message, FIELD_STATE, (uint32_t)master->cluster.state);
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        master_send(master, worker, NULL, 0);
}

void master_send_listeners(struct master *master, const struct worker *worker)
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
            ipc_put_u32(&master->message, FIELD_INHERITED, group->inherited);
            ipc_put_str(&master->message, FIELD_ADDRESS, group->address);
            master_send(master, worker, group->fds + first, count);
        }
        if (group->stopper_fd < 0 || worker->contract < 2)
            continue;
        /* Were it closed with a killed master, the last slot would take its place. */
        ipc_begin(&master->message, MESSAGE_KEEP);
        ipc_put_u32(&master->message, FIELD_GROUP, (uint32_t)g);
        master_send(master, worker, &group->stopper_fd, 1);
    }
}

void master_send_drain(struct master *master, struct worker *worker, int64_t timeout_ms,
                       int64_t grace_ms, bool stopping)
{
    ipc_begin(&master->message, MESSAGE_DRAIN);
    ipc_put_u32(&master->message, FIELD_TIMEOUT_MS, timeout_ms < 0 ? 0 : (uint32_t)timeout_ms);
    ipc_put_u32(&master->message, FIELD_GRACE_MS, (uint32_t)grace_ms);
    ipc_put_u32(&master->message, FIELD_STOPPING, stopping);
    master_send(master, worker, NULL, 0);
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
    /* Started before a reload began, or before it was taken back: it gets the
     * configuration in force, which is not that of its generation. */
    if (hello->phase == WORKER_PHASE_STARTING && worker_is_outdated(master->roster, worker))
        worker->replace = true;
    if (worker->peer != NULL)
        peer_close(worker->peer);
    worker->peer = peer;
    worker->connected = true;
    worker->contract = hello->contract;
    worker->assign_epoch = 0; /* whatever it was told before, tell it again */
    worker->confirmed = hello->slots;
    worker->assigned = hello->slots;
    (void)snprintf(worker->build, sizeof(worker->build), "%s", hello->build);
    if (worker->adopted)
        master_roll_hello(master, worker, hello);
    return worker;
}

static void on_welcome(void *context, struct worker *worker)
{
    struct master *master = context;
    int fds[3], count = 0;
    uint32_t kinds;
    worker->connected_ms = clock_monotonic_ms();
    fds[count++] = master_document_for(master, worker);
    count += log_descriptors(master, fds + 1, &kinds);
    ipc_begin(&master->message, MESSAGE_WELCOME);
    ipc_put_u32(&master->message, FIELD_STATE, (uint32_t)master->cluster.state);
    ipc_put_u32(&master->message, FIELD_LOG_KINDS, kinds);
    master_send(master, worker, fds, count);
    master_send_board(master, worker);
    master_send_listeners(master, worker);
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
    master_save_worker(master, worker, (struct slice){0});
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
    master_dispatch_wake(master); /* its slot may have had another worker */
}

static void on_assigned(void *context, struct worker *worker, uint64_t epoch,
                        const struct slot_set *slots, bool closed)
{
    struct master *master = context;
    worker_confirm(worker, slots, epoch);
    worker->closed_listeners = closed;
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
    worker->leaving = true;
    worker->ending = DEATH_RESTART; /* it may be gone before its successor is ready */
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
    /* What it did while there was no master is not what happened in this second. */
    totals_report(&master->totals, worker->unheard ? now : before, now, now_ms);
    worker->unheard = false;
    worker->metrics = *now;
    worker->last_report_ms = now_ms;
    if (worker->accept_rate > 0 || worker->request_rate > 0)
        master_dispatch_wake(master);
    master_save_worker(master, worker, snapshot);
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
    if (view == VIEW_METRICS)
        command_publish(master);
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
    master_send(master, worker, &fd, fd < 0 ? 0 : 1);
    if (fd >= 0)
        (void)close(fd);
}

static void on_goodbye(void *context, struct worker *worker)
{
    (void)context;
    worker->done = true;
}

/* A worker that sends nonsense is not to be believed any more: steered away
 * from, asked to finish what it has, and replaced. */
static void dismiss(struct master *master, struct worker *worker, const char *why)
{
    int64_t now_ms = clock_monotonic_ms();
    bool canary = worker_is_canary(master->roster, worker);
    log_error("worker sent nonsense, replacing it", LOG_INT("slot", worker->slot),
              LOG_INT("pid", worker->pid), LOG_STR("reason", why));
    if (worker->ending == DEATH_NONE)
        worker->ending = DEATH_PROTOCOL;
    if (worker_is_live(worker)) {
        worker_enter(worker, WORKER_DRAINING, now_ms);
        worker->drain_deadline_ms = now_ms + master->rules.kill_grace_ms;
        /* Its successor starts now, not when it is dead: so does the back-off. A canary has none.
         */
        if (!canary)
            master_book_backoff(master, &master->roster->slots[worker->slot],
                                now_ms - worker->started_ms, worker->ready_ms != 0, false, now_ms);
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
    .on_socket = master_roll_socket,
    .on_goodbye = on_goodbye,
    .on_disconnect = on_disconnect,
};
