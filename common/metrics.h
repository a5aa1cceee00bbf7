/* SPDX-License-Identifier: BSD-2-Clause
 *
 * metrics - what a worker counts, and the arithmetic on it.
 *
 * A worker increments plain integers in one `struct metrics`; once per report
 * interval the whole is encoded as a cumulative snapshot and sent to the master,
 * which keeps the last one of every living worker and adds those of the dead to
 * its totals. Counters only grow within one process; gauges are "now".
 *
 * The encoding carries (identifier, value) pairs, so neighbours in version
 * understand each other: what one side does not know it skips. For that reason
 * an identifier is never reused for another meaning and new ones go at the end.
 */
#ifndef MUSTER_METRICS_H
#define MUSTER_METRICS_H

#include "common/buf.h"
#include "common/check.h"
#include "common/histogram.h"

#include <stdint.h>

/* X(id, enum, Prometheus family without "muster_", label or "", help) */
#define METRICS_COUNTERS(X)                                                                        \
    X(0, CONNECTIONS_ACCEPTED, "connections_accepted_total", "", "Connections accepted.")          \
    X(1, CONNECTIONS_CLOSED, "connections_closed_total", "",                                       \
      "Connections closed, for any reason.")                                                       \
    X(2, ACCEPT_ERRORS, "accept_errors_total", "",                                                 \
      "accept(2) calls that failed, but for no connection waiting.")                               \
    X(3, ACCEPT_PAUSES, "accept_pauses_total", "",                                                 \
      "Times accepting was paused at max_connections or for want of descriptors.")                 \
    X(4, BYTES_RECEIVED, "http_received_bytes_total", "", "Bytes read from clients.")              \
    X(5, BYTES_SENT, "http_sent_bytes_total", "", "Bytes written to clients.")                     \
    X(6, HTTP_REQUESTS, "http_requests_answered_total", "",                                        \
      "Requests answered, whatever the status.")                                                   \
    X(7, HTTP_ABORTED, "http_requests_aborted_total", "",                                          \
      "Requests whose client went away before the answer was complete.")                           \
    X(8, TIMEOUT_HEADER, "http_timeouts_total", "phase=\"header\"",                                \
      "Connections cut at a deadline.")                                                            \
    X(9, TIMEOUT_BODY, "http_timeouts_total", "phase=\"body\"", "")                                \
    X(10, TIMEOUT_KEEPALIVE, "http_timeouts_total", "phase=\"keepalive\"", "")                     \
    X(11, TIMEOUT_WRITE, "http_timeouts_total", "phase=\"write\"", "")                             \
    X(12, TIMEOUT_REQUEST, "http_timeouts_total", "phase=\"request\"", "")                         \
    X(13, HTTP_PARSE_ERRORS, "http_parse_errors_total", "",                                        \
      "Requests refused because they were malformed or over a limit.")                             \
    X(14, DRAIN_CUT, "drain_cut_connections_total", "", "Connections cut at a drain deadline.")    \
    X(15, ACCESS_LOG_DROPPED, "access_log_dropped_total", "",                                      \
      "Access log lines dropped because the log could not take them.")                             \
    X(16, LOG_DROPPED, "log_dropped_total", "",                                                    \
      "Log lines dropped because the log could not take them.")                                    \
    X(17, LOOP_TURNS, "loop_turns_total", "", "Turns of the event loop.")                          \
    X(18, LOOP_BUSY_NS, "loop_busy_nanoseconds_total", "",                                         \
      "Time the event loop worked, not waited.")                                                   \
    X(19, WEBSOCKET_MESSAGES_IN, "websocket_messages_total", "direction=\"in\"",                   \
      "WebSocket messages.")                                                                       \
    X(20, WEBSOCKET_MESSAGES_OUT, "websocket_messages_total", "direction=\"out\"", "")             \
    X(21, CPU_USER_US, "cpu_user_microseconds_total", "",                                          \
      "Processor time in user mode, as the process sees it.")                                      \
    X(22, CPU_SYSTEM_US, "cpu_system_microseconds_total", "",                                      \
      "Processor time in kernel mode, as the process sees it.")                                    \
    X(23, DRAIN_CUT_IDLE, "drain_cut_idle_connections_total", "",                                  \
      "Idle connections closed at a drain deadline.")

#define METRICS_GAUGES(X)                                                                          \
    X(0, CONNECTIONS_ACTIVE, "Connections open now.")                                              \
    X(1, CONNECTIONS_IDLE, "Of these, keep-alive connections between two requests.")               \
    X(2, REQUESTS_IN_FLIGHT, "Requests that began to arrive and are not yet answered.")            \
    X(3, WEBSOCKETS, "WebSocket connections open now.")                                            \
    X(4, LOOP_LAG_NS, "Largest lateness of the loop in the last report interval.")                 \
    X(5, ACCEPT_PAUSED, "1 while accepting is paused.")                                            \
    X(6, OLDEST_REQUEST_MS, "Age of the oldest request in flight.")                                \
    X(7, BUFFERS_BORROWED, "Connection buffers in use.")

#define METRICS_HISTOGRAMS(X)                                                                      \
    X(0, REQUEST_DURATION, "http_request_duration_seconds",                                        \
      "From the first byte of a request to the last of its answer.")

#define METRICS_ENUM_COUNTER(id, name, family, label, help) METRIC_##name = (id),
#define METRICS_ENUM_GAUGE(id, name, help) GAUGE_##name = (id),
#define METRICS_ENUM_HISTOGRAM(id, name, family, help) HISTOGRAM_##name = (id),
enum metric_counter { METRICS_COUNTERS(METRICS_ENUM_COUNTER) METRIC_COUNTER_COUNT };
enum metric_gauge { METRICS_GAUGES(METRICS_ENUM_GAUGE) METRIC_GAUGE_COUNT };
enum metric_histogram { METRICS_HISTOGRAMS(METRICS_ENUM_HISTOGRAM) METRIC_HISTOGRAM_COUNT };

enum {
    METRICS_STATUS_MIN = 100,
    METRICS_STATUS_COUNT = 500, /* one counter for each status 100..599 */
    METRICS_SLOT_COUNT = 1024,  /* the largest max_workers */
};

struct metrics {
    uint64_t counter[METRIC_COUNTER_COUNT];
    int64_t gauge[METRIC_GAUGE_COUNT];
    uint64_t status[METRICS_STATUS_COUNT]; /* answers by HTTP status */
    uint64_t
        slot_accepted[METRICS_SLOT_COUNT]; /* connections by the slot whose socket they came from */
    struct histogram histogram[METRIC_HISTOGRAM_COUNT];
};

static inline void metrics_count_status(struct metrics *metrics, int status)
{
    if (status >= METRICS_STATUS_MIN && status < METRICS_STATUS_MIN + METRICS_STATUS_COUNT)
        metrics->status[status - METRICS_STATUS_MIN]++;
}

void metrics_reset(struct metrics *metrics);

/* Appends the snapshot to `out`; zero values are left out. */
void metrics_encode(const struct metrics *metrics, struct buf *out);

/* Overwrites `out` with a decoded snapshot. -EPROTO if the bytes are not a
 * snapshot (`out` is then unspecified). Never reads or writes out of bounds,
 * whatever the bytes are. */
MUST_USE int metrics_decode(const void *data, size_t len, struct metrics *out);

/* Adds the counters, statuses, slots and histograms; gauges only if asked. Of
 * LOOP_LAG_NS and OLDEST_REQUEST_MS the larger one is kept, others are added. */
void metrics_add(struct metrics *into, const struct metrics *from, bool with_gauges);

/* 0 if every counter of `now` is at least what it was in `before` (the sums of
 * histograms may run round 2^64), -ERANGE otherwise: a process whose counters
 * fall is not to be believed. */
MUST_USE int metrics_check_monotone(const struct metrics *now, const struct metrics *before);

#endif
