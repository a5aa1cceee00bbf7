/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_report - what the worker tells the master every report_interval: the
 * only timer that ticks in an idle worker.
 */
#include "worker/worker_private.h"

#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

static uint64_t microseconds(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

static void measure(struct worker *worker)
{
    struct metrics *metrics = &worker->metrics;
    struct loop *loop = &worker->loop;
    conns_measure(worker->conns, metrics);
    metrics->counter[METRIC_LOOP_TURNS] = loop->turns;
    metrics->counter[METRIC_LOOP_BUSY_NS] = loop->busy_ns;
    metrics->counter[METRIC_LOG_DROPPED] = log_dropped_count();
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metrics->counter[METRIC_CPU_USER_US] = microseconds(&usage.ru_utime);
        metrics->counter[METRIC_CPU_SYSTEM_US] = microseconds(&usage.ru_stime);
    }
}

static void send_snapshot(struct worker *worker)
{
    /* They are cumulative: while the master does not read, the next one will do. */
    if (!link_is_connected(worker->link) || link_is_backed_up(worker->link))
        return;
    buf_reset(&worker->snapshot);
    metrics_encode(&worker->metrics, &worker->snapshot);
    if (buf_failed(&worker->snapshot))
        return;
    struct buf *message = link_message(worker->link);
    ipc_begin(message, MESSAGE_METRICS);
    ipc_put_u32(message, FIELD_STATE,
                worker->state == WORKER_DRAINING ? WORKER_PHASE_DRAINING : WORKER_PHASE_SERVING);
    ipc_put_bytes(message, FIELD_SNAPSHOT, worker->snapshot.ptr, worker->snapshot.len);
    int err = link_send(worker->link);
    if (err != 0)
        log_debug("report not sent", LOG_ERR(err));
}

void worker_report(struct worker *worker)
{
    measure(worker);
    send_snapshot(worker);
}

static void on_report_due(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct worker *worker = context;
    struct loop *loop = &worker->loop;
    loop_enter(loop);
    uint64_t ticks = 0;
    if (read(fd, &ticks, sizeof(ticks)) != sizeof(ticks))
        return;
    int64_t interval_ns = worker->config->report_interval * 1000000;
    int64_t late_ns = loop->now_ns - worker->report_due_ns;
    worker->report_due_ns += (int64_t)ticks * interval_ns;
    int64_t lag_ns = late_ns > loop->longest_turn_ns ? late_ns : loop->longest_turn_ns;
    loop->longest_turn_ns = 0;
    worker->metrics.gauge[GAUGE_LOOP_LAG_NS] = lag_ns;
    if (worker->access_log.mode != ACCESS_LOG_OFF)
        access_log_flush(&worker->access_log);
    worker_report(worker);
}

/* A timerfd and not an event with a time-out: libevent's clock is a coarse one,
 * which would wake an idle worker three times per interval and hide a lag of a
 * few milliseconds. */
int worker_report_start(struct worker *worker)
{
    int64_t interval_ms = worker->config->report_interval;
    const struct timespec interval = {interval_ms / 1000, interval_ms % 1000 * 1000000};
    const struct itimerspec timer = {.it_interval = interval, .it_value = interval};
    worker->report_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (worker->report_fd < 0)
        return -errno;
    worker->report_due_ns = clock_monotonic_ns() + interval_ms * 1000000;
    if (timerfd_settime(worker->report_fd, 0, &timer, NULL) != 0)
        return -errno;
    (void)event_assign(&worker->report_due, worker->loop.base, worker->report_fd,
                       EV_READ | EV_PERSIST, on_report_due, worker);
    return event_add(&worker->report_due, NULL) == 0 ? 0 : -ENOMEM;
}

void worker_report_stop(struct worker *worker)
{
    if (worker->report_fd < 0)
        return;
    if (event_initialized(&worker->report_due))
        (void)event_del(&worker->report_due);
    (void)close(worker->report_fd);
    worker->report_fd = -1;
}
