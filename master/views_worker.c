/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_worker - a slot and the workers in it, as JSON objects.
 */
#include "master/views.h"
#include "master/views_private.h"
#include "master/watch.h"

#include <stdlib.h>

static double seconds_of(int64_t ms)
{
    return (double)(ms > 0 ? ms : 0) / 1e3;
}

const struct worker *view_slot_worker(const struct roster *roster, const struct slot *slot)
{
    const struct worker *worker, *other = NULL;
    TAILQ_FOREACH (worker, &slot->workers, in_slot) {
        if (!worker_is_live(worker) || worker_is_canary(roster, worker))
            continue;
        if (worker->state == WORKER_READY)
            return worker;
        if (other == NULL)
            other = worker;
    }
    return other;
}

static void write_obituary(struct doc *doc, const char *key, const struct obituary *obituary,
                           bool full)
{
    if (obituary == NULL) {
        doc_null(doc, key);
        return;
    }
    doc_object(doc, key);
    doc_time(doc, "when", obituary->wall_ms);
    doc_str(doc, "cause", obituary->cause);
    doc_str(doc, "reason", death_reason_name(obituary->reason));
    doc_str(doc, "why", obituary->why[0] != '\0' ? obituary->why : NULL);
    doc_uint(doc, "cut_requests", obituary->cut_requests);
    doc_uint(doc, "cut_connections", obituary->cut_connections);
    doc_int(doc, "pid", obituary->pid);
    doc_int(doc, "age", obituary->age_ms / 1000);
    if (full) {
        doc_uint(doc, "generation", obituary->generation);
        if (obituary->exit_code >= 0)
            doc_int(doc, "exit_code", obituary->exit_code);
        else
            doc_null(doc, "exit_code");
        if (obituary->exit_signal != 0)
            doc_int(doc, "signal", obituary->exit_signal);
        else
            doc_null(doc, "signal");
        doc_bool(doc, "core_dumped", obituary->core_dumped);
        doc_bool(doc, "was_ready", obituary->was_ready);
        doc_uint(doc, "requests", obituary->requests);
        doc_int(doc, "connections", obituary->connections);
        doc_uint(doc, "rss_bytes", obituary->rss_bytes);
    }
    doc_object_end(doc);
}

/* A new worker that is to take over from the one that stands for the slot. */
static void write_replacement(struct doc *doc, const struct roster *roster, const struct slot *slot,
                              const struct worker *current, int64_t now_ms)
{
    const struct worker *worker = NULL;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker != current && (worker->state == WORKER_STARTING ||
                                  (worker_is_live(worker) && worker_is_canary(roster, worker))))
            break;
    if (worker == NULL) {
        doc_null(doc, "replacement");
        return;
    }
    doc_object(doc, "replacement");
    doc_int(doc, "pid", worker->pid);
    doc_uint(doc, "generation", worker->generation);
    doc_str(doc, "state", worker_state_name(worker->state));
    doc_real(doc, "since", seconds_of(now_ms - worker->state_since_ms), 1);
    doc_object_end(doc);
}

/* Slots of others whose sockets this worker polls. */
static void write_adopted(struct doc *doc, const struct cluster *cluster,
                          const struct worker *worker)
{
    doc_array(doc, "adopted_slots");
    for (int i = 0; worker != NULL && i < cluster->roster->slot_count; i++)
        if (i != worker->slot && slot_set_has(&worker->confirmed, (unsigned)i))
            doc_int(doc, NULL, i);
    doc_array_end(doc);
}

/* Only a worker that serves is watched. */
static void write_progress(struct doc *doc, const struct worker *worker, int64_t now_ms)
{
    char why[WATCH_TEXT_SIZE];
    if (worker->state == WORKER_READY || worker->state == WORKER_SUSPECT) {
        doc_int(doc, "beat_age_ms", watch_beat_age_ms(worker, now_ms));
        doc_int(doc, "turn_ms", watch_turn_ms(worker));
    } else {
        doc_null(doc, "beat_age_ms");
        doc_null(doc, "turn_ms");
    }
    if (worker->state == WORKER_SUSPECT) {
        watch_explain(worker, now_ms, why);
        doc_str(doc, "suspect_reason", why);
    } else {
        doc_null(doc, "suspect_reason");
    }
}

static void write_process(struct doc *doc, const struct worker *worker, int64_t now_ms)
{
    doc_int(doc, "pid", worker->pid);
    doc_uint(doc, "generation", worker->generation);
    doc_str(doc, "version", worker->build[0] != '\0' ? worker->build : NULL);
    doc_int(doc, "uptime", (now_ms - worker->started_ms) / 1000);
    doc_bool(doc, "connected", worker->connected);
    if (worker->last_report_ms != 0)
        doc_int(doc, "report_age_ms", now_ms - worker->last_report_ms);
    else
        doc_null(doc, "report_age_ms");
    write_progress(doc, worker, now_ms);
    doc_real(doc, "cpu_percent", worker->cpu_percent, 2);
    doc_uint(doc, "rss_bytes", worker->proc.rss_bytes);
    if (worker->proc.fd_count >= 0)
        doc_int(doc, "fds", worker->proc.fd_count);
    else
        doc_null(doc, "fds");
    doc_int(doc, "connections", view_gauge(worker, GAUGE_CONNECTIONS_ACTIVE));
    doc_int(doc, "idle", view_gauge(worker, GAUGE_CONNECTIONS_IDLE));
    doc_int(doc, "in_flight", view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT));
    doc_int(doc, "websockets", view_gauge(worker, GAUGE_WEBSOCKETS));
    doc_uint(doc, "requests", worker->metrics.counter[METRIC_HTTP_REQUESTS]);
    doc_real(doc, "request_rate", worker->request_rate, 2);
    doc_real(doc, "accept_rate", worker->accept_rate, 2);
    doc_real(doc, "loop_lag_ms", (double)view_gauge(worker, GAUGE_LOOP_LAG_NS) / 1e6, 3);
}

/* The same keys for a slot without a worker, so that a reader need not ask. */
static void write_no_process(struct doc *doc)
{
    static const char *const keys[] = {"pid", "generation", "version", "uptime"};
    static const char *const zeros[] = {"cpu_percent",  "rss_bytes",   "fds",        "connections",
                                        "idle",         "in_flight",   "websockets", "requests",
                                        "request_rate", "accept_rate", "loop_lag_ms"};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        doc_null(doc, keys[i]);
    doc_bool(doc, "connected", false);
    doc_null(doc, "report_age_ms");
    doc_null(doc, "beat_age_ms");
    doc_null(doc, "turn_ms");
    doc_null(doc, "suspect_reason");
    for (size_t i = 0; i < ARRAY_COUNT(zeros); i++)
        doc_int(doc, zeros[i], 0);
}

static void write_counters(struct doc *doc, const struct metrics *metrics)
{
    char code[4] = "";
    doc_object(doc, "http");
    doc_object(doc, "by_status");
    for (int status = METRICS_STATUS_MIN; status < METRICS_STATUS_MIN + METRICS_STATUS_COUNT;
         status++) {
        uint64_t count = metrics->status[status - METRICS_STATUS_MIN];
        if (count == 0)
            continue;
        code[0] = (char)('0' + status / 100);
        code[1] = (char)('0' + status / 10 % 10);
        code[2] = (char)('0' + status % 10);
        doc_uint(doc, code, count);
    }
    doc_object_end(doc);
    doc_uint(doc, "aborted", metrics->counter[METRIC_HTTP_ABORTED]);
    doc_uint(doc, "parse_errors", metrics->counter[METRIC_HTTP_PARSE_ERRORS]);
    doc_uint(doc, "bytes_received", metrics->counter[METRIC_BYTES_RECEIVED]);
    doc_uint(doc, "bytes_sent", metrics->counter[METRIC_BYTES_SENT]);
    doc_uint(doc, "connections_accepted", metrics->counter[METRIC_CONNECTIONS_ACCEPTED]);
    doc_uint(doc, "connections_closed", metrics->counter[METRIC_CONNECTIONS_CLOSED]);
    view_latency(doc, "latency_ms", &metrics->histogram[HISTOGRAM_REQUEST_DURATION]);
    doc_object_end(doc);
}

void view_slot(struct doc *doc, const char *key, const struct cluster *cluster,
               const struct slot *slot, int64_t now_ms, bool full)
{
    const struct worker *worker = view_slot_worker(cluster->roster, slot);
    enum slot_state state = slot_state_now(slot, now_ms);

    doc_object(doc, key);
    doc_int(doc, "slot", slot->index);
    doc_str(doc, "state", slot_state_name(state));
    doc_bool(doc, "wanted", slot->wanted);
    doc_uint(doc, "restarts", slot->restarts);
    doc_uint(doc, "suspected", slot->suspected);
    doc_uint(doc, "drains_cut_for_room", slot->cuts);
    if (worker != NULL)
        write_process(doc, worker, now_ms);
    else
        write_no_process(doc);
    write_adopted(doc, cluster, worker);
    if (state == SLOT_BACKOFF)
        doc_int(doc, "backoff_remaining_ms", slot->start_at_ms - now_ms);
    else
        doc_null(doc, "backoff_remaining_ms");
    write_obituary(doc, "last_exit", slot_obituary(slot, 0), false);
    write_replacement(doc, cluster->roster, slot, worker, now_ms);
    view_draining(doc, "draining", cluster, slot, now_ms);
    if (full) {
        doc_int(doc, "early_deaths", slot->early_deaths);
        if (worker != NULL)
            write_counters(doc, &worker->metrics);
        else
            doc_null(doc, "http");
        doc_array(doc, "obituaries");
        const struct obituary *obituary;
        for (unsigned n = 0; (obituary = slot_obituary(slot, n)) != NULL; n++)
            write_obituary(doc, NULL, obituary, true);
        doc_array_end(doc);
    }
    doc_object_end(doc);
}

bool view_worker(const struct cluster *cluster, int slot, int64_t now_ms, struct buf *out)
{
    struct doc doc;
    if (slot < 0 || slot >= cluster->roster->slot_count)
        return false;
    doc_begin(&doc, out);
    view_slot(&doc, NULL, cluster, &cluster->roster->slots[slot], now_ms, true);
    doc_end(&doc);
    return true;
}
