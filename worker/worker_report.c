/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_report - how the worker shows that it lives: a beat on the board, and
 * every few beats a report. The only timer that ticks in an idle worker.
 */
#include "worker/worker_private.h"

#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The master balances by what stands on the board, whatever suspect_timeout is. */
enum { BEAT_LONGEST_MS = 200 };

/* ---- reports ---- */

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

/* ---- beats ---- */

/* Largest lateness of the loop since the last beat. */
static int64_t take_lag(struct worker *worker, uint64_t ticks)
{
    struct loop *loop = &worker->loop;
    int64_t late_ns = loop->now_ns - worker->beat_due_ns;
    worker->beat_due_ns += (int64_t)ticks * worker->beat_ns;
    int64_t lag_ns = late_ns > loop->longest_turn_ns ? late_ns : loop->longest_turn_ns;
    loop->longest_turn_ns = 0;
    return lag_ns;
}

static void write_board(struct worker *worker, int64_t lag_ns)
{
    struct board *board = worker->loop.board;
    const int64_t *gauge = worker->metrics.gauge;
    if (board == NULL)
        return;
    BOARD_SET(board, connections, gauge[GAUGE_CONNECTIONS_ACTIVE]);
    BOARD_SET(board, in_flight, gauge[GAUGE_REQUESTS_IN_FLIGHT]);
    BOARD_SET(board, lag_ns, lag_ns);
    BOARD_SET(board, interval_ns, worker->beat_ns);
    BOARD_SET(board, beat_ns, worker->loop.now_ns);
}

static void on_beat(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    uint64_t ticks = 0;
    if (read(fd, &ticks, sizeof(ticks)) != sizeof(ticks))
        return;
    int64_t lag_ns = take_lag(worker, ticks);
    if (lag_ns > worker->report_lag_ns)
        worker->report_lag_ns = lag_ns;
    conns_measure(worker->conns, &worker->metrics);
    write_board(worker, lag_ns);
    if (ticks < worker->beats_left) {
        worker->beats_left -= (unsigned)ticks;
        return;
    }
    worker->beats_left = worker->beats;
    worker->metrics.gauge[GAUGE_LOOP_LAG_NS] = worker->report_lag_ns;
    worker->report_lag_ns = 0;
    if (worker->access_log.mode != ACCESS_LOG_OFF)
        access_log_flush(&worker->access_log);
    worker_report(worker);
}

/* Several beats fit into suspect_timeout, and a whole number of them into
 * report_interval: a report is a beat, too. Nobody hears a beat without a board. */
static void choose_beat(struct worker *worker)
{
    int64_t report_ns = worker->config->report_interval * 1000000;
    int64_t longest_ns = worker->config->suspect_timeout * 1000000 * 2 / 5;
    if (longest_ns > BEAT_LONGEST_MS * 1000000)
        longest_ns = BEAT_LONGEST_MS * 1000000;
    worker->beats = 1;
    if (worker->loop.board != NULL && longest_ns > 0)
        worker->beats = (unsigned)((report_ns + longest_ns - 1) / longest_ns);
    worker->beats_left = worker->beats;
    worker->beat_ns = report_ns / worker->beats;
}

static int set_timer(struct worker *worker)
{
    choose_beat(worker);
    const struct timespec interval = {worker->beat_ns / 1000000000, worker->beat_ns % 1000000000};
    const struct itimerspec timer = {.it_interval = interval, .it_value = interval};
    worker->beat_due_ns = clock_monotonic_ns() + worker->beat_ns;
    return timerfd_settime(worker->beat_fd, 0, &timer, NULL) == 0 ? 0 : -errno;
}

/* A timerfd and not an event with a time-out: libevent's clock is a coarse one,
 * which would wake an idle worker three times per interval and hide a lag of a
 * few milliseconds. */
int worker_report_start(struct worker *worker)
{
    worker->beat_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (worker->beat_fd < 0)
        return -errno;
    int err = set_timer(worker);
    if (err != 0)
        return err;
    (void)event_assign(&worker->beat_due, worker->loop.base, worker->beat_fd, EV_READ | EV_PERSIST,
                       on_beat, worker);
    write_board(worker, 0); /* the first beat, so that READY is not older than it */
    return event_add(&worker->beat_due, NULL) == 0 ? 0 : -ENOMEM;
}

void worker_report_stop(struct worker *worker)
{
    if (worker->beat_fd >= 0) {
        if (event_initialized(&worker->beat_due))
            (void)event_del(&worker->beat_due);
        (void)close(worker->beat_fd);
        worker->beat_fd = -1;
    }
    board_unmap(worker->loop.board);
    worker->loop.board = NULL;
}

void worker_take_board(struct worker *worker, int fd)
{
    struct board *board = fd >= 0 ? board_map(fd) : NULL;
    if (fd >= 0)
        (void)close(fd);
    if (board == NULL) {
        log_warning("no board to beat on, reports have to do");
        return;
    }
    board_unmap(worker->loop.board);
    worker->loop.board = board;
    BOARD_SET(board, turn_started_ns, worker->loop.turn_started_ns);
    if (worker->beat_fd < 0)
        return; /* the first ASSIGN starts it */
    write_board(worker, 0);
    int err = set_timer(worker);
    if (err != 0)
        log_error("cannot set a timer", LOG_ERR(err));
}
