/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_stop - the drain of the whole cluster.
 *
 *   RUNNING -> DRAINING: /health says so for drain_delay, so that load
 *              balancers go elsewhere; connections are still taken.
 *   DRAINING -> STOPPING: the kernel ignores the SYN of new connections, so
 *              none is begun that could not be served; handshakes under way
 *              complete, in HANDSHAKE_TIMEOUT_MS if they lost a packet, and are
 *              accepted for GRACE_MS more; then the workers close
 *              their listening sockets and say so, the master closes its own,
 *              and new connections are refused. Workers finish what they have,
 *              for drain_timeout at most.
 */
#include "master/handshakes.h"
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/fd_store.h"

#include <signal.h>
#include <string.h>

/* Long enough for what was completed to be accepted. */
enum { GRACE_MS = 500, CUT_GRACE_MS = 1000 };

/* How long handshakes may take, and how often they are looked at. A packet that
 * was lost is sent again after one second, and after three. */
enum { HANDSHAKE_TIMEOUT_MS = 3500, HANDSHAKE_POLL_MS = 200 };

/* How long to wait for workers to close their listening sockets after that. */
enum { CLOSE_TIMEOUT_MS = 1500, CLOSE_POLL_MS = 20 };

/* What the end of the last worker, killed if need be, may take after drain_timeout. */
enum { KILL_SLACK_MS = 10000 };

/* A second signal this soon is the same one: timeout(1) and some shells signal
 * a process and then its group. */
enum { SAME_SIGNAL_MS = 50 };

static void after(struct master *master, int64_t wait_ms)
{
    const struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
    (void)event_add(master->stop_timer, &wait);
}

static void drain_worker(struct master *master, struct worker *worker, int64_t timeout_ms,
                         int64_t grace_ms)
{
    int64_t now_ms = clock_monotonic_ms();
    if (worker_is_live(worker)) {
        worker_enter(worker, WORKER_DRAINING, now_ms);
        worker->ending = DEATH_SHUTDOWN;
        master_log_slot(master, worker->slot);
    }
    if (worker->drain_deadline_ms == 0 || worker->drain_deadline_ms > now_ms + timeout_ms) {
        worker->drain_deadline_ms = now_ms + timeout_ms;
        worker->drain_deadline_by = master->cut ? "a second signal" : "drain_timeout";
    }
    master_send_drain(master, worker, worker->drain_deadline_ms - now_ms, grace_ms, true);
}

static void drain_all(struct master *master, int64_t timeout_ms, int64_t grace_ms)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        drain_worker(master, worker, timeout_ms, grace_ms);
    master_reconcile_soon(master);
}

/* The workers drain, but go on accepting for a grace period from now. */
static void grant_grace(struct master *master)
{
    int64_t now_ms = clock_monotonic_ms();
    int64_t left_ms = master->config->drain_timeout - (now_ms - master->drain_since_ms);
    master->close_deadline_ms = now_ms + GRACE_MS + CLOSE_TIMEOUT_MS;
    drain_all(master, left_ms > 0 ? left_ms : 0, GRACE_MS);
    after(master, HANDSHAKE_POLL_MS);
}

/* Closing a listening socket resets every handshake that began at it. */
static bool handshakes_need_time(struct master *master)
{
    if (!master->handshakes_done)
        master->handshakes_done =
            master->cut ||
            clock_monotonic_ms() - master->stop_listening_ms >= HANDSHAKE_TIMEOUT_MS ||
            !handshakes_pending(&master->listeners);
    return !master->handshakes_done;
}

static void stop_listening(struct master *master)
{
    log_notice("no new connections from now on",
               LOG_INT("drain_timeout_ms", master->config->drain_timeout));
    master->cluster.state = CLUSTER_STOPPING;
    master->rules.stopping = true;
    listeners_refuse_new(&master->listeners, &master->steered, master->roster->slot_count);
    master->stop_listening_ms = clock_monotonic_ms();
    master_send_state(master);
    grant_grace(master);
}

static bool all_have_closed(const struct master *master)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        if (!worker->closed_listeners)
            return false;
    return true;
}

static void close_listeners(struct master *master)
{
    listeners_close(&master->listeners);
    fd_store_forget(master->roster->slot_count, false);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    if (master->cluster.state == CLUSTER_DRAINING)
        stop_listening(master);
    else if (handshakes_need_time(master))
        grant_grace(master);
    else if (!all_have_closed(master) && clock_monotonic_ms() < master->close_deadline_ms)
        after(master, CLOSE_POLL_MS);
    else
        close_listeners(master);
    master_stop_check(master);
}

void master_drain(struct master *master, const char *who)
{
    if (master->cluster.state >= CLUSTER_DRAINING)
        return;
    master_upgrade_abandon(master);
    log_notice("draining", LOG_STR("who", who), LOG_INT("workers", master->roster->worker_count),
               LOG_INT("drain_delay_ms", master->config->drain_delay),
               LOG_INT("drain_timeout_ms", master->config->drain_timeout));
    master_event(master, STOP, EVENT_NO_SLOT, 0, "draining, asked for by %s", who);
    master->cluster.state = CLUSTER_DRAINING;
    master->drain_since_ms = clock_monotonic_ms();
    notify_stopping(master->config->drain_timeout + KILL_SLACK_MS);
    master_send_state(master);
    if (master->stop_timer == NULL)
        master->stop_timer = evtimer_new(master->base, on_stop_timer, master);
    CHECK(master->stop_timer != NULL);
    if (master->config->drain_delay > 0)
        after(master, master->config->drain_delay);
    else
        stop_listening(master);
    master_reload_abandon(master);
    master_reconcile_soon(master);
}

void master_cut(struct master *master)
{
    if (master->cut || clock_monotonic_ms() - master->drain_since_ms < SAME_SIGNAL_MS)
        return;
    master->cut = true;
    log_warning("drain cut short by a second signal",
                LOG_INT("workers", master->roster->worker_count));
    master_event(master, STOP, EVENT_NO_SLOT, 0, "cut short by a second signal");
    master->cluster.state = CLUSTER_STOPPING;
    master->rules.stopping = true;
    master->rules.kill_grace_ms = CUT_GRACE_MS;
    close_listeners(master);
    drain_all(master, 0, 0);
}

void master_stop_check(struct master *master)
{
    if (master->cluster.state == CLUSTER_STOPPING && master->roster->worker_count == 0 &&
        master->listeners.group_count == 0)
        (void)event_base_loopbreak(master->base);
}
