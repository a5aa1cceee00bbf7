/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_drain - how a worker ends: finishing what it has, and the deadline.
 */
#include "worker/worker_private.h"

#include "common/log.h"

#include <event2/event.h>

enum { LAST_WORDS_MS = 200, FINISH_AGAIN_MS = 50 };

void worker_end(struct worker *worker, int exit_status)
{
    if (worker->state == WORKER_ENDED)
        return;
    bool served = worker->state != WORKER_STARTING;
    worker->exit_status = exit_status;
    if (served) {
        worker_report(worker);
        if (link_is_connected(worker->link)) {
            ipc_begin(link_message(worker->link), MESSAGE_GOODBYE);
            (void)link_send(worker->link);
            link_flush(worker->link, LAST_WORDS_MS);
        }
    }
    worker_enter(worker, WORKER_ENDED);
}

void worker_check_drained(struct worker *worker)
{
    if (worker->state != WORKER_DRAINING || worker->cutting || conns_count(worker->conns) > 0)
        return;
    static const struct slot_set none;
    bool polls = !worker->listening_ended &&
                 memcmp(listeners_assigned(worker->listeners), &none, sizeof(none)) != 0;
    if (!polls)
        worker_end(worker, worker->exit_status);
}

static void on_grace_over(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    if (worker->state != WORKER_DRAINING || worker->listening_ended)
        return;
    /* Closing would reset what waits for room in here; the deadline ends the waiting. */
    if (!listeners_finish(worker->listeners)) {
        worker_arm(worker, &worker->grace_timer, FINISH_AGAIN_MS);
        return;
    }
    worker->listening_ended = true;
    worker_say_closed(worker);
    worker_check_drained(worker);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    if (worker->state != WORKER_DRAINING)
        return;
    worker->cutting = true;
    int64_t idle;
    int64_t cut = conns_cut(worker->conns, &idle);
    worker->metrics.counter[METRIC_DRAIN_CUT_IDLE] += (uint64_t)idle;
    worker->metrics.counter[METRIC_DRAIN_CUT] += (uint64_t)cut;
    if (cut > 0)
        log_warning("connections cut at the drain deadline", LOG_INT("connections", cut),
                    LOG_INT("idle", idle));
    bool told = worker->exit_status != WORKER_EXIT_OK;
    worker_end(worker, cut > 0 && !told ? WORKER_EXIT_CUT : worker->exit_status);
}

void worker_drain(struct worker *worker, int64_t timeout_ms, int64_t grace_ms, bool stop_listening)
{
    if (worker->state == WORKER_STARTING) {
        worker_end(worker, worker->exit_status);
        return;
    }
    if (worker->state == WORKER_ENDED)
        return;
    if (worker->state == WORKER_SERVING) {
        worker_enter(worker, WORKER_DRAINING);
        worker->drain_deadline_ns = INT64_MAX;
        log_info("draining", LOG_INT("connections", conns_count(worker->conns)),
                 LOG_INT("timeout_ms", timeout_ms), LOG_INT("grace_ms", grace_ms));
        conns_drain(worker->conns, worker->config->drain_idle_grace);
        /* At once: a successor is to be there before we stop accepting, and people ask what it
         * waits for. */
        worker_report(worker);
    }
    /* Told again: the earlier deadline counts. */
    int64_t deadline_ns = worker->loop.now_ns + timeout_ms * 1000000;
    if (deadline_ns < worker->drain_deadline_ns) {
        worker->drain_deadline_ns = deadline_ns;
        worker_arm(worker, &worker->deadline_timer, timeout_ms);
    }
    if (stop_listening && !worker->listening_ended)
        worker_arm(worker, &worker->grace_timer, grace_ms);
    worker_check_drained(worker);
}

void worker_init_drain(struct worker *worker)
{
    (void)evtimer_assign(&worker->grace_timer, worker->loop.base, on_grace_over, worker);
    (void)evtimer_assign(&worker->deadline_timer, worker->loop.base, on_deadline, worker);
}
