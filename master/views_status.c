/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_status - the state of the whole cluster, its performance, its scaling.
 */
#include "common/clock.h"
#include "master/views.h"
#include "master/views_private.h"
#include "version.h"

#include <stdio.h>
#include <unistd.h>

enum { EVENTS_IN_STATUS = 20 };

static void write_counts(struct doc *doc, const struct cluster *cluster,
                         const struct view_summary *summary)
{
    doc_object(doc, "worker_counts");
    doc_int(doc, "desired", cluster->roster->desired);
    doc_int(doc, "configured", cluster->configured_workers);
    doc_int(doc, "min", cluster->min_workers);
    doc_int(doc, "max", cluster->max_workers);
    doc_int(doc, "ready", summary->ready);
    doc_int(doc, "starting", summary->starting);
    doc_int(doc, "suspect", summary->suspect);
    doc_int(doc, "draining", summary->draining);
    doc_int(doc, "backoff", summary->backoff);
    doc_object_end(doc);
}

static void write_listeners(struct doc *doc, const struct cluster *cluster)
{
    doc_array(doc, "listeners");
    for (int i = 0; i < cluster->listener_count; i++) {
        const struct cluster_listener *listener = &cluster->listener[i];
        doc_object(doc, NULL);
        doc_str(doc, "name", listener->name);
        doc_str(doc, "address", listener->address);
        doc_str(doc, "kind", listener->kind == LISTENER_PER_SLOT ? "per-slot" : "shared");
        doc_str(doc, "policy", listener->policy);
        doc_str(doc, "mechanism", listener->mechanism);
        doc_int(doc, "slots", listener->slot_count);
        doc_bool(doc, "inherited", listener->inherited);
        if (listener->queue >= 0)
            doc_int(doc, "queue", listener->queue);
        else
            doc_null(doc, "queue");
        doc_object_end(doc);
    }
    doc_array_end(doc);
}

static uint64_t count_unasked_restarts(const struct roster *roster)
{
    uint64_t count = 0;
    for (int i = 0; i < roster->slot_count; i++)
        count += roster->slots[i].restarts;
    return count;
}

static void write_totals(struct doc *doc, const struct cluster *cluster, const struct metrics *sum,
                         const struct view_summary *summary)
{
    const uint64_t *counter = sum->counter;
    doc_object(doc, "totals");
    doc_uint(doc, "requests", counter[METRIC_HTTP_REQUESTS]);
    doc_uint(doc, "errors", view_count_5xx(sum));
    doc_uint(doc, "aborted", counter[METRIC_HTTP_ABORTED]);
    doc_uint(doc, "parse_errors", counter[METRIC_HTTP_PARSE_ERRORS]);
    doc_uint(doc, "connections_accepted", counter[METRIC_CONNECTIONS_ACCEPTED]);
    doc_uint(doc, "connections_closed", counter[METRIC_CONNECTIONS_CLOSED]);
    doc_uint(doc, "bytes_received", counter[METRIC_BYTES_RECEIVED]);
    doc_uint(doc, "bytes_sent", counter[METRIC_BYTES_SENT]);
    doc_uint(doc, "websocket_messages_in", counter[METRIC_WEBSOCKET_MESSAGES_IN]);
    doc_uint(doc, "websocket_messages_out", counter[METRIC_WEBSOCKET_MESSAGES_OUT]);
    doc_uint(doc, "drain_cut_connections", counter[METRIC_DRAIN_CUT]);
    doc_uint(doc, "restarts", count_unasked_restarts(cluster->roster));
    doc_object_end(doc);

    doc_object(doc, "now");
    doc_int(doc, "connections", summary->connections);
    doc_int(doc, "idle", summary->idle);
    doc_int(doc, "in_flight", summary->in_flight);
    doc_int(doc, "websockets", summary->websockets);
    doc_real(doc, "cpu_percent", summary->cpu_percent, 2);
    doc_uint(doc, "rss_bytes", summary->rss_bytes);
    doc_real(doc, "loop_lag_ms", (double)summary->loop_lag_ns / 1e6, 3);
    doc_object_end(doc);
}

static void write_rates(struct doc *doc, const struct totals_recent *recent)
{
    doc_object(doc, "rates");
    doc_real(doc, "window_seconds", recent->seconds, 1);
    doc_real(doc, "requests", recent->request_rate, 2);
    doc_real(doc, "error_rate", recent->error_rate, 6);
    doc_real(doc, "accepts", recent->accept_rate, 2);
    doc_real(doc, "bytes_sent", recent->bytes_sent_rate, 0);
    doc_object_end(doc);
}

static void write_latencies(struct doc *doc, const struct totals_recent *recent,
                            const struct metrics *sum)
{
    doc_object(doc, "latency_ms");
    view_latency(doc, "recent", &recent->duration);
    view_latency(doc, "since_start", &sum->histogram[HISTOGRAM_REQUEST_DURATION]);
    doc_object_end(doc);
}

static void write_binary(struct doc *doc, const struct cluster *cluster)
{
    const struct worker_binary *binary = cluster->binary;
    if (binary == NULL) {
        doc_null(doc, "worker_binary");
        return;
    }
    doc_object(doc, "worker_binary");
    doc_str(doc, "path", binary->path);
    doc_bool(doc, "pinned", worker_binary_is_pinned(binary));
    doc_uint(doc, "size", (uint64_t)binary->size);
    doc_time(doc, "modified_at", binary->known ? (int64_t)binary->changed.tv_sec * 1000 : 0);
    doc_bool(doc, "binary_changed_on_disk", binary->changed_on_disk);
    doc_object_end(doc);
}

static void write_upgrade(struct doc *doc, const struct cluster *cluster)
{
    const struct cluster_upgrade *upgrade = &cluster->upgrade;
    if (upgrade->started_wall_ms == 0) {
        doc_null(doc, "upgrade");
        return;
    }
    doc_object(doc, "upgrade");
    doc_bool(doc, "running", upgrade->running);
    doc_bool(doc, "failed", upgrade->failed);
    doc_str(doc, "from_version", upgrade->from_version);
    doc_str(doc, "to_version", upgrade->to_version[0] != '\0' ? upgrade->to_version : NULL);
    doc_str(doc, "who", upgrade->who);
    doc_time(doc, "started_at", upgrade->started_wall_ms);
    doc_time(doc, "finished_at", upgrade->running ? 0 : upgrade->finished_wall_ms);
    doc_str(doc, "message", upgrade->message);
    doc_object_end(doc);
}

void view_manual(struct doc *doc, const char *key, const struct cluster *cluster, int64_t now_ms)
{
    if (!cluster->manual) {
        doc_null(doc, key);
        return;
    }
    doc_object(doc, key);
    doc_int(doc, "instances", cluster->roster->desired);
    doc_str(doc, "reason", cluster->manual_reason);
    doc_str(doc, "who", cluster->manual_who);
    doc_time(doc, "since", cluster->manual_since_wall_ms);
    if (cluster->manual_until_ms != 0) {
        int64_t left_ms = cluster->manual_until_ms - now_ms;
        left_ms = left_ms > 0 ? left_ms : 0;
        doc_time(doc, "until", clock_wall_ms() + left_ms);
        doc_int(doc, "remaining", (left_ms + 999) / 1000);
    } else {
        doc_null(doc, "until");
        doc_null(doc, "remaining");
    }
    doc_object_end(doc);
}

static void write_master(struct doc *doc, const struct cluster *cluster)
{
    const struct procfs_sample *proc = &cluster->master_proc;
    doc_object(doc, "master");
    doc_int(doc, "pid", getpid());
    doc_real(doc, "cpu_percent", cluster->master_cpu_percent, 2);
    doc_real(doc, "cpu_seconds", (double)(proc->cpu_user_ms + proc->cpu_system_ms) / 1e3, 3);
    doc_uint(doc, "rss_bytes", proc->rss_bytes);
    doc_real(doc, "loop_lag_ms", (double)cluster->master_lag_ns / 1e6, 3);
    doc_uint(doc, "wakeups", cluster->wakeups);
    doc_uint(doc, "queries_answered", cluster->queries_answered);
    doc_uint(doc, "control_rejected", cluster->control_rejected);
    doc_object_end(doc);
}

static void write_budget(struct doc *doc, const struct cluster *cluster, int64_t now_ms)
{
    const struct roster *roster = cluster->roster;
    const struct config *config = cluster->config;
    /* A window that is over has not been closed yet: that happens at the next restart. */
    bool open = now_ms - roster->budget_window_ms < config->restart_budget_interval;
    doc_object(doc, "restart_budget");
    doc_int(doc, "limit", cluster->restart_budget);
    doc_int(doc, "used", open ? roster->budget_used : 0);
    doc_real(doc, "interval", (double)config->restart_budget_interval / 1e3, 3);
    doc_bool(doc, "exhausted", open && roster->budget_exhausted);
    doc_object_end(doc);
}

void view_cluster_status(const struct cluster *cluster, int64_t now_ms, struct buf *out)
{
    struct view_summary summary;
    struct totals_recent recent;
    struct metrics sum;
    view_summarise(cluster, now_ms, &summary);
    totals_recent(cluster->totals, now_ms, cluster->started_ms, &recent);
    totals_sum(cluster->totals, cluster->roster, &sum);

    const struct roster *roster = cluster->roster;
    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "state", view_cluster_state_name(cluster->state));
    doc_str(&doc, "health", view_health_text(view_health_of(cluster, &summary)));
    doc_str(&doc, "version", MUSTER_VERSION);
    doc_uint(&doc, "generation", roster->generation);
    doc_int(&doc, "uptime", view_uptime_s(cluster, now_ms));
    doc_time(&doc, "started_at", cluster->started_wall_ms);
    doc_uint(&doc, "masters_before", cluster->masters);
    doc_int(&doc, "adopted_workers", cluster->adopted);
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_str(&doc, "config_file", cluster->config->file);
    doc_str(&doc, "run_dir", cluster->run_dir);
    doc_int(&doc, "cpus", cluster->cpu_count);
    write_counts(&doc, cluster, &summary);
    write_listeners(&doc, cluster);
    view_dispatch(&doc, cluster, &sum, now_ms);
    write_totals(&doc, cluster, &sum, &summary);
    write_rates(&doc, &recent);
    write_latencies(&doc, &recent, &sum);
    view_reload(&doc, cluster, now_ms);
    write_binary(&doc, cluster);
    write_upgrade(&doc, cluster);
    view_manual(&doc, "manual", cluster, now_ms);
    write_master(&doc, cluster);
    write_budget(&doc, cluster, now_ms);
    doc_array(&doc, "workers");
    for (int i = 0; i < roster->slot_count; i++) {
        const struct slot *slot = &roster->slots[i];
        if (slot->wanted || slot->worker_count > 0)
            view_slot(&doc, NULL, cluster, slot, now_ms, false);
    }
    doc_array_end(&doc);
    view_event_list(&doc, "events", cluster, EVENTS_IN_STATUS);
    doc_object_end(&doc);
    doc_end(&doc);
}

/* ---- /health/performance ---- */

static void write_worker_performance(struct doc *doc, const struct worker *worker)
{
    const struct metrics *metrics = &worker->metrics;
    uint64_t requests = metrics->counter[METRIC_HTTP_REQUESTS];
    uint64_t errors = view_count_5xx(metrics);
    doc_object(doc, NULL);
    doc_int(doc, "slot", worker->slot);
    doc_int(doc, "pid", worker->pid);
    doc_str(doc, "state", worker_state_name(worker->state));
    doc_uint(doc, "requests", requests);
    doc_real(doc, "request_rate", worker->request_rate, 2);
    doc_uint(doc, "errors", errors);
    doc_real(doc, "error_rate", requests == 0 ? 0 : (double)errors / (double)requests, 6);
    view_latency(doc, "latency_ms", &metrics->histogram[HISTOGRAM_REQUEST_DURATION]);
    doc_int(doc, "connections", view_gauge(worker, GAUGE_CONNECTIONS_ACTIVE));
    doc_int(doc, "in_flight", view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT));
    doc_real(doc, "loop_lag_ms", (double)view_gauge(worker, GAUGE_LOOP_LAG_NS) / 1e6, 3);
    doc_real(doc, "cpu_percent", worker->cpu_percent, 2);
    doc_uint(doc, "memory_bytes", worker->proc.rss_bytes);
    doc_object_end(doc);
}

void view_performance(const struct cluster *cluster, int64_t now_ms, struct buf *out)
{
    struct view_summary summary;
    struct totals_recent recent;
    struct metrics sum;
    view_summarise(cluster, now_ms, &summary);
    totals_recent(cluster->totals, now_ms, cluster->started_ms, &recent);
    totals_sum(cluster->totals, cluster->roster, &sum);

    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_int(&doc, "uptime", view_uptime_s(cluster, now_ms));
    doc_object(&doc, "total");
    doc_uint(&doc, "requests", sum.counter[METRIC_HTTP_REQUESTS]);
    doc_uint(&doc, "errors", view_count_5xx(&sum));
    doc_real(&doc, "window_seconds", recent.seconds, 1);
    doc_real(&doc, "request_rate", recent.request_rate, 2);
    doc_real(&doc, "error_rate", recent.error_rate, 6);
    view_latency(&doc, "latency_ms", &recent.duration);
    view_latency(&doc, "latency_since_start_ms", &sum.histogram[HISTOGRAM_REQUEST_DURATION]);
    doc_int(&doc, "connections", summary.connections);
    doc_int(&doc, "websockets", summary.websockets);
    doc_int(&doc, "in_flight", summary.in_flight);
    doc_real(&doc, "loop_lag_ms", (double)summary.loop_lag_ns / 1e6, 3);
    doc_real(&doc, "cpu_percent", summary.cpu_percent, 2);
    doc_uint(&doc, "memory_bytes", summary.rss_bytes + cluster->master_proc.rss_bytes);
    doc_object_end(&doc);
    doc_array(&doc, "workers");
    const struct worker *worker = NULL;
    TAILQ_FOREACH (worker, &cluster->roster->workers, in_roster) {
        write_worker_performance(&doc, worker);
    }
    doc_array_end(&doc);
    doc_object_end(&doc);
    doc_end(&doc);
}

/* ---- /scaling/status ---- */

static double memory_percent(uint64_t bytes)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0)
        return 0;
    return 100.0 * (double)bytes / ((double)pages * (double)page);
}

static void write_scaling_metrics(struct doc *doc, const struct cluster *cluster,
                                  const struct view_summary *summary, int64_t now_ms)
{
    struct totals_recent recent;
    totals_recent(cluster->totals, now_ms, cluster->started_ms, &recent);
    double workers = summary->ready > 0 ? summary->ready : 1;
    doc_object(doc, "metrics");
    doc_real(doc, "cpu", summary->cpu_percent / workers, 2);
    doc_real(doc, "memory", memory_percent(summary->rss_bytes), 2);
    doc_real(doc, "response_time", histogram_quantile(&recent.duration, 0.95) / 1e6, 3);
    doc_real(doc, "error_rate", recent.error_rate, 6);
    doc_real(doc, "connections", (double)summary->connections / workers, 2);
    doc_real(doc, "requests", recent.request_rate / workers, 2);
    doc_real(doc, "loop_busy", 100 * summary->loop_busy / workers, 2);
    doc_object_end(doc);
}

/* The number of workers changes only when a person says so: no rules decide
 * and none have decided. */
void view_scaling_status(const struct cluster *cluster, int64_t now_ms, struct buf *out)
{
    struct view_summary summary;
    view_summarise(cluster, now_ms, &summary);

    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "mode", cluster->manual ? "manual" : "fixed");
    doc_int(&doc, "current", summary.ready);
    doc_int(&doc, "desired", cluster->roster->desired);
    doc_int(&doc, "configured", cluster->configured_workers);
    doc_int(&doc, "min", cluster->min_workers);
    doc_int(&doc, "max", cluster->max_workers);
    write_scaling_metrics(&doc, cluster, &summary, now_ms);
    doc_array(&doc, "rules");
    doc_array_end(&doc);
    view_manual(&doc, "manual", cluster, now_ms);
    doc_array(&doc, "decisions");
    doc_array_end(&doc);
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_object_end(&doc);
    doc_end(&doc);
}
