/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_metrics - everything that is counted and measured, for Prometheus.
 *
 * Whatever is a counter here comes from sums that keep the share of dead
 * workers, so it never falls. The processor time of a single worker would fall
 * when it is replaced: that is a gauge, and the counter is of all workers.
 */
#include "common/exposition.h"
#include "master/views_private.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

/* Ends a list of labels. */
#define LAST ((const char *)NULL)

/* Counters that are written under another name or unit further down. */
static bool has_own_family(unsigned counter)
{
    return counter == METRIC_LOOP_BUSY_NS || counter == METRIC_CPU_USER_US ||
           counter == METRIC_CPU_SYSTEM_US;
}

static void write_counters(struct exposition *exposition, const struct metrics *sum)
{
    static const struct {
        unsigned id;
        const char *family;
        const char *label;
        const char *help;
    } counters[] = {
#define COUNTER_ROW(id, name, family, label, help) {(id), "muster_" family, label, help},
        METRICS_COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
    };
    const char *family = "";
    for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
        if (has_own_family(counters[i].id))
            continue;
        if (strcmp(family, counters[i].family) != 0) {
            family = counters[i].family;
            exposition_family(exposition, family, EXPOSITION_COUNTER, counters[i].help);
        }
        exposition_u64_labels(exposition, sum->counter[counters[i].id], counters[i].label);
    }
    exposition_family(exposition, "muster_loop_busy_seconds_total", EXPOSITION_COUNTER,
                      "Time the event loops of workers worked, not waited.");
    exposition_real(exposition, (double)sum->counter[METRIC_LOOP_BUSY_NS] / 1e9, LAST);
}

static void write_http(struct exposition *exposition, const struct metrics *sum)
{
    static const struct {
        const char *family;
        const char *help;
    } histograms[] = {
#define HISTOGRAM_ROW(id, name, family, help) [(id)] = {"muster_" family, help},
        METRICS_HISTOGRAMS(HISTOGRAM_ROW)
#undef HISTOGRAM_ROW
    };
    exposition_family(exposition, "muster_http_requests_total", EXPOSITION_COUNTER,
                      "Requests answered, by HTTP status.");
    for (int status = METRICS_STATUS_MIN; status < METRICS_STATUS_MIN + METRICS_STATUS_COUNT;
         status++) {
        uint64_t count = sum->status[status - METRICS_STATUS_MIN];
        char code[12];
        /* 200 is always there, so that a rate exists from the first scrape on. */
        if (count == 0 && status != 200)
            continue;
        snprintf(code, sizeof(code), "%d", status);
        exposition_u64(exposition, count, "code", code, LAST);
    }
    for (size_t i = 0; i < ARRAY_COUNT(histograms); i++) {
        exposition_family(exposition, histograms[i].family, EXPOSITION_HISTOGRAM,
                          histograms[i].help);
        exposition_histogram(exposition, &sum->histogram[i], "");
    }
}

static void write_gauge(struct exposition *exposition, const char *family, double value,
                        const char *help)
{
    exposition_family(exposition, family, EXPOSITION_GAUGE, help);
    exposition_real(exposition, value, LAST);
}

static void write_connections(struct exposition *exposition, const struct cluster *cluster,
                              const struct view_summary *summary)
{
    int64_t http = summary->connections - summary->websockets;
    exposition_family(exposition, "muster_connections_active", EXPOSITION_GAUGE,
                      "Connections open now.");
    exposition_u64(exposition, http > 0 ? (uint64_t)http : 0, "kind", "http", LAST);
    exposition_u64(exposition, (uint64_t)summary->websockets, "kind", "websocket", LAST);
    write_gauge(exposition, "muster_connections_idle", (double)summary->idle,
                "Keep-alive connections between two requests.");
    write_gauge(exposition, "muster_http_requests_in_flight", (double)summary->in_flight,
                "Requests received and not yet answered.");
    write_gauge(exposition, "muster_websocket_connections", (double)summary->websockets,
                "WebSocket connections open now.");

    exposition_family(exposition, "muster_listener_queue_length", EXPOSITION_GAUGE,
                      "Connections that wait to be accepted.");
    for (int i = 0; i < cluster->listener_count; i++)
        if (cluster->listener[i].queue >= 0)
            exposition_real(exposition, (double)cluster->listener[i].queue, "listener",
                            cluster->listener[i].name, LAST);
}

static void write_workers(struct exposition *exposition, const struct cluster *cluster,
                          const struct view_summary *summary, int64_t now_ms)
{
    const struct roster *roster = cluster->roster;
    const struct {
        const char *state;
        int count;
    } states[] = {{"starting", summary->starting},
                  {"ready", summary->ready},
                  {"suspect", summary->suspect},
                  {"draining", summary->draining},
                  {"backoff", summary->backoff}};
    exposition_family(exposition, "muster_workers", EXPOSITION_GAUGE, "Workers by state.");
    for (size_t i = 0; i < ARRAY_COUNT(states); i++)
        exposition_u64(exposition, (uint64_t)states[i].count, "state", states[i].state, LAST);

    exposition_family(exposition, "muster_worker_restarts_total", EXPOSITION_COUNTER,
                      "Workers that ended, by reason.");
    for (int reason = DEATH_NONE + 1; reason < DEATH_REASON_COUNT; reason++)
        exposition_u64(exposition, roster->restarts[reason], "reason",
                       death_reason_name((enum death_reason)reason), LAST);

    exposition_family(exposition, "muster_worker_suspected_total", EXPOSITION_COUNTER,
                      "Times that a worker was late and steered away from, by slot.");
    for (int i = 0; i < roster->slot_count; i++) {
        char slot[12];
        snprintf(slot, sizeof(slot), "%d", i);
        exposition_u64(exposition, roster->slots[i].suspected, "slot", slot, LAST);
    }

    const struct config *config = cluster->config;
    bool open = now_ms - roster->budget_window_ms < config->restart_budget_interval;
    write_gauge(exposition, "muster_restart_budget_exhausted",
                open && roster->budget_exhausted ? 1 : 0,
                "1 while restarts are slowed down because there were too many.");
    write_gauge(exposition, "muster_generation", (double)roster->generation,
                "Generation of the configuration that new workers get.");
    write_gauge(exposition, "muster_reload_failed", cluster->reload.failed ? 1 : 0,
                "1 when the last reload failed.");
}

static void write_scaling(struct exposition *exposition, const struct cluster *cluster)
{
    write_gauge(exposition, "muster_scaling_desired_workers", cluster->roster->desired,
                "Workers wanted now.");
    write_gauge(exposition, "muster_scaling_min_workers", cluster->min_workers,
                "Fewest workers allowed.");
    write_gauge(exposition, "muster_scaling_max_workers", cluster->max_workers,
                "Most workers allowed.");
    write_gauge(exposition, "muster_scaling_manual", cluster->manual ? 1 : 0,
                "1 while the number of workers is the one a person set.");
    /* Nothing decides by itself, so nothing has been decided. */
    exposition_family(exposition, "muster_scaling_decisions_total", EXPOSITION_COUNTER,
                      "Automatic changes of the number of workers.");
    exposition_u64(exposition, 0, "action", "scale-up", LAST);
    exposition_u64(exposition, 0, "action", "scale-down", LAST);
}

/* ---- families with a sample for the master and one for each occupied slot ---- */

/* Several generations in one slot are one sample. */
struct slot_sample {
    double cpu_ratio;
    double rss_bytes;
    double fds;
    double loop_lag;
};

static struct slot_sample sample_slot(const struct slot *slot)
{
    struct slot_sample sample = {0};
    const struct worker *worker = NULL;
    TAILQ_FOREACH (worker, &slot->workers, in_slot) {
        double lag = (double)view_gauge(worker, GAUGE_LOOP_LAG_NS) / 1e9;
        sample.cpu_ratio += worker->cpu_percent / 100;
        sample.rss_bytes += (double)worker->proc.rss_bytes;
        sample.fds += worker->proc.fd_count > 0 ? (double)worker->proc.fd_count : 0;
        if (lag > sample.loop_lag)
            sample.loop_lag = lag;
    }
    return sample;
}

static void write_per_process(struct exposition *exposition, const struct cluster *cluster,
                              const char *family, const char *help, const double *master,
                              double (*value_of)(const struct slot_sample *))
{
    exposition_family(exposition, family, EXPOSITION_GAUGE, help);
    if (master != NULL)
        exposition_real(exposition, *master, "process", "master", LAST);
    for (int i = 0; i < cluster->roster->slot_count; i++) {
        const struct slot *slot = &cluster->roster->slots[i];
        if (slot->worker_count == 0)
            continue;
        char process[24];
        struct slot_sample sample = sample_slot(slot);
        snprintf(process, sizeof(process), "worker-%d", i);
        exposition_real(exposition, value_of(&sample), "process", process, LAST);
    }
}

static double cpu_of(const struct slot_sample *sample)
{
    return sample->cpu_ratio;
}

static double rss_of(const struct slot_sample *sample)
{
    return sample->rss_bytes;
}

static double fds_of(const struct slot_sample *sample)
{
    return sample->fds;
}

static double lag_of(const struct slot_sample *sample)
{
    return sample->loop_lag;
}

static void write_processes(struct exposition *exposition, const struct cluster *cluster,
                            const struct metrics *sum)
{
    const struct procfs_sample *proc = &cluster->master_proc;
    uint64_t workers_us = sum->counter[METRIC_CPU_USER_US] + sum->counter[METRIC_CPU_SYSTEM_US];
    exposition_family(exposition, "muster_process_cpu_seconds_total", EXPOSITION_COUNTER,
                      "Processor time used, of the master and of all workers ever.");
    exposition_real(exposition, (double)(proc->cpu_user_ms + proc->cpu_system_ms) / 1e3, "process",
                    "master", LAST);
    exposition_real(exposition, (double)workers_us / 1e6, "process", "workers", LAST);

    double cpu = cluster->master_cpu_percent / 100;
    double rss = (double)proc->rss_bytes;
    double lag = (double)cluster->master_lag_ns / 1e9;
    write_per_process(exposition, cluster, "muster_process_cpu_usage_ratio",
                      "Processors kept busy in the last report interval.", &cpu, cpu_of);
    write_per_process(exposition, cluster, "muster_process_resident_memory_bytes",
                      "Resident memory.", &rss, rss_of);
    write_per_process(exposition, cluster, "muster_process_open_fds", "Open file descriptors.",
                      NULL, fds_of);
    write_per_process(exposition, cluster, "muster_loop_lag_seconds",
                      "Largest lateness of the event loop in the last report interval.", &lag,
                      lag_of);
}

static void write_master(struct exposition *exposition, const struct cluster *cluster,
                         int64_t now_ms)
{
    exposition_family(exposition, "muster_build_info", EXPOSITION_INFO, "What is running.");
    exposition_u64(exposition, 1, "version", MUSTER_VERSION, LAST);
    exposition_family(exposition, "muster_cluster_state", EXPOSITION_GAUGE,
                      "1 for the state the cluster is in.");
#define STATE_SAMPLE(number, name, text)                                                           \
    exposition_u64(exposition, cluster->state == CLUSTER_##name, "state", text, LAST);
    CLUSTER_STATES(STATE_SAMPLE)
#undef STATE_SAMPLE
    write_gauge(exposition, "muster_uptime_seconds", (double)(now_ms - cluster->started_ms) / 1e3,
                "Time since the master started.");
    exposition_family(exposition, "muster_master_wakeups_total", EXPOSITION_COUNTER,
                      "Turns of the master's event loop.");
    exposition_u64(exposition, cluster->wakeups, LAST);
    exposition_family(exposition, "muster_master_queries_answered_total", EXPOSITION_COUNTER,
                      "Documents rendered for workers.");
    exposition_u64(exposition, cluster->queries_answered, LAST);
    exposition_family(exposition, "muster_master_control_rejected_total", EXPOSITION_COUNTER,
                      "Control connections closed for what they sent.");
    exposition_u64(exposition, cluster->control_rejected, LAST);
}

/* Names that dashboards of the predecessors use; they break the conventions. */
static void write_aliases(struct exposition *exposition, const struct metrics *sum,
                          const struct view_summary *summary)
{
    uint64_t messages =
        sum->counter[METRIC_WEBSOCKET_MESSAGES_IN] + sum->counter[METRIC_WEBSOCKET_MESSAGES_OUT];
    write_gauge(exposition, "active_websocket_connections", (double)summary->websockets,
                "Same as muster_websocket_connections.");
    write_gauge(exposition, "websocket_active_connections", (double)summary->websockets,
                "Same as muster_websocket_connections.");
    exposition_family(exposition, "messages_total", EXPOSITION_COUNTER,
                      "WebSocket messages in both directions.");
    exposition_u64(exposition, messages, LAST);
    /* No counter may be called so without "_total"; rate() takes a gauge as well. */
    exposition_family(exposition, "messages_per_second", EXPOSITION_GAUGE,
                      "Same as messages_total, for use inside rate().");
    exposition_u64(exposition, messages, LAST);
}

void view_metrics(const struct cluster *cluster, int64_t now_ms, bool openmetrics, struct buf *out)
{
    struct exposition exposition;
    struct view_summary summary;
    struct metrics sum;
    view_summarise(cluster, now_ms, &summary);
    totals_sum(cluster->totals, cluster->roster, &sum);

    exposition_begin(&exposition, out, openmetrics);
    write_master(&exposition, cluster, now_ms);
    write_workers(&exposition, cluster, &summary, now_ms);
    write_scaling(&exposition, cluster);
    write_counters(&exposition, &sum);
    write_http(&exposition, &sum);
    write_connections(&exposition, cluster, &summary);
    view_dispatch_metrics(&exposition, cluster, &sum, now_ms);
    write_processes(&exposition, cluster, &sum);
    write_aliases(&exposition, &sum, &summary);
    exposition_end(&exposition);
}
