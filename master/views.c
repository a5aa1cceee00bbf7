/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views - the documents about the cluster: which there are, and its health.
 */
#include "master/views.h"

#include "common/clock.h"
#include "common/exposition.h"
#include "master/views_private.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

static const char json_type[] = "application/json";
static const char health_json_type[] = "application/health+json";

int64_t view_gauge(const struct worker *worker, enum metric_gauge id)
{
    const int64_t most = INT64_C(1) << 48;
    int64_t value = worker->metrics.gauge[id];
    if (value < 0)
        return 0;
    return value < most ? value : most;
}

void view_summarise(const struct cluster *cluster, int64_t now_ms, struct view_summary *out)
{
    struct view_summary sum = {0};
    const struct roster *roster = cluster->roster;
    for (int i = 0; i < roster->slot_count; i++) {
        enum slot_state state = slot_state_now(&roster->slots[i], now_ms);
        sum.ready += state == SLOT_READY;
        sum.backoff += state == SLOT_BACKOFF;
    }
    const struct worker *worker = NULL;
    TAILQ_FOREACH (worker, &roster->workers, in_roster) {
        sum.starting += worker->state == WORKER_STARTING;
        sum.suspect += worker->state == WORKER_SUSPECT;
        sum.draining += worker->state == WORKER_DRAINING;
        sum.connections += view_gauge(worker, GAUGE_CONNECTIONS_ACTIVE);
        sum.idle += view_gauge(worker, GAUGE_CONNECTIONS_IDLE);
        sum.in_flight += view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT);
        sum.websockets += view_gauge(worker, GAUGE_WEBSOCKETS);
        sum.rss_bytes += worker->proc.rss_bytes;
        sum.cpu_percent += worker->cpu_percent;
        sum.loop_busy += worker->loop_busy;
        int64_t lag_ns = view_gauge(worker, GAUGE_LOOP_LAG_NS);
        if (lag_ns > sum.loop_lag_ns)
            sum.loop_lag_ns = lag_ns;
    }
    *out = sum;
}

enum view_health view_health_of(const struct cluster *cluster, const struct view_summary *summary)
{
    if (cluster->state == CLUSTER_DRAINING || cluster->state == CLUSTER_STOPPING)
        return VIEW_DRAINING;
    if (summary->ready == 0)
        return VIEW_DOWN;
    return summary->ready < cluster->roster->desired ? VIEW_DEGRADED : VIEW_OK;
}

const char *view_health_text(enum view_health health)
{
    switch (health) {
    case VIEW_OK:
        return "ok";
    case VIEW_DEGRADED:
        return "degraded";
    case VIEW_DRAINING:
        return "draining";
    case VIEW_DOWN:
        return "down";
    }
    return "down";
}

const char *view_health_word(const struct cluster *cluster, int64_t now_ms)
{
    struct view_summary summary;
    view_summarise(cluster, now_ms, &summary);
    return view_health_text(view_health_of(cluster, &summary));
}

const char *view_cluster_state_name(enum cluster_state state)
{
#define STATE_NAME(number, name, text)                                                             \
    case CLUSTER_##name:                                                                           \
        return text;
    switch (state) {
        CLUSTER_STATES(STATE_NAME)
    }
#undef STATE_NAME
    return "unknown";
}

int64_t view_uptime_s(const struct cluster *cluster, int64_t now_ms)
{
    return (now_ms - cluster->started_ms) / 1000;
}

uint64_t view_count_5xx(const struct metrics *metrics)
{
    uint64_t count = 0;
    for (int status = 500; status < 600; status++)
        count += metrics->status[status - METRICS_STATUS_MIN];
    return count;
}

void view_latency(struct doc *doc, const char *key, const struct histogram *histogram)
{
    double mean = histogram->count == 0 ? 0 : (double)histogram->sum_ns / (double)histogram->count;
    doc_object(doc, key);
    doc_uint(doc, "count", histogram->count);
    doc_real(doc, "mean", mean / 1e6, 4);
    doc_real(doc, "p50", histogram_quantile(histogram, 0.50) / 1e6, 4);
    doc_real(doc, "p95", histogram_quantile(histogram, 0.95) / 1e6, 4);
    doc_real(doc, "p99", histogram_quantile(histogram, 0.99) / 1e6, 4);
    doc_object_end(doc);
}

/* ---- /health ---- */

static void render_health(const struct view_summary *summary, enum view_health health,
                          struct buf *out)
{
    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "status", view_health_text(health));
    doc_bool(&doc, "healthy", view_is_healthy(health));
    doc_null(&doc, "redis_connected");
    doc_int(&doc, "active_connections", summary->connections);
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_str(&doc, "version", MUSTER_VERSION);
    doc_int(&doc, "workers_ready", summary->ready);
    doc_object_end(&doc);
    doc_end(&doc);
}

/* The master that writes this lives; that is all that liveness asks. */
static void render_live(const struct cluster *cluster, int64_t now_ms, struct buf *out)
{
    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "status", "ok");
    doc_bool(&doc, "live", true);
    doc_str(&doc, "state", view_cluster_state_name(cluster->state));
    doc_int(&doc, "uptime", view_uptime_s(cluster, now_ms));
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_str(&doc, "version", MUSTER_VERSION);
    doc_object_end(&doc);
    doc_end(&doc);
}

static void render_ready(const struct cluster *cluster, const struct view_summary *summary,
                         enum view_health health, struct buf *out)
{
    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "status", view_health_text(health));
    doc_bool(&doc, "ready", view_is_healthy(health));
    doc_int(&doc, "workers_ready", summary->ready);
    doc_int(&doc, "workers_desired", cluster->roster->desired);
    doc_int(&doc, "timestamp", clock_wall_ms() / 1000);
    doc_object_end(&doc);
    doc_end(&doc);
}

/* ---- the draft health document (draft-inadarei-api-health-check-06) ---- */

static const char *draft_status(enum view_health health)
{
    switch (health) {
    case VIEW_OK:
        return "pass";
    case VIEW_DEGRADED:
        return "warn";
    case VIEW_DRAINING:
    case VIEW_DOWN:
        return "fail";
    }
    return "fail";
}

static void draft_check(struct doc *doc, const char *name, const char *type, const char *status,
                        double value, const char *unit)
{
    doc_array(doc, name);
    doc_object(doc, NULL);
    doc_str(doc, "componentType", type);
    doc_real(doc, "observedValue", value, 4);
    doc_str(doc, "observedUnit", unit);
    if (status != NULL)
        doc_str(doc, "status", status);
    doc_time(doc, "time", clock_wall_ms());
    doc_object_end(doc);
    doc_array_end(doc);
}

static void draft_output(struct doc *doc, const struct cluster *cluster,
                         const struct view_summary *summary, enum view_health health)
{
    char text[96];
    if (health == VIEW_OK)
        return;
    if (health == VIEW_DRAINING)
        snprintf(text, sizeof(text), "the cluster is draining");
    else
        snprintf(text, sizeof(text), "%d of %d workers are ready", summary->ready,
                 cluster->roster->desired);
    doc_str(doc, "output", text);
}

static void render_draft(const struct cluster *cluster, const struct view_summary *summary,
                         enum view_health health, bool with_checks, int64_t now_ms, struct buf *out)
{
    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "status", draft_status(health));
    doc_str(&doc, "version", "1");
    doc_str(&doc, "releaseId", MUSTER_VERSION);
    doc_str(&doc, "description", "Muster cluster");
    draft_output(&doc, cluster, summary, health);
    if (with_checks) {
        struct totals_recent recent;
        totals_recent(cluster->totals, now_ms, cluster->started_ms, &recent);
        doc_object(&doc, "checks");
        draft_check(&doc, "workers:ready", "component", draft_status(health), summary->ready,
                    "workers");
        draft_check(&doc, "http:connections", "component", NULL, (double)summary->connections,
                    "connections");
        draft_check(&doc, "http:responseTime", "component", NULL,
                    histogram_quantile(&recent.duration, 0.95) / 1e6, "ms");
        draft_check(&doc, "http:errorRate", "component", NULL, recent.error_rate, "ratio");
        draft_check(&doc, "uptime", "system", "pass", (double)view_uptime_s(cluster, now_ms), "s");
        doc_object_end(&doc);
    }
    doc_object_end(&doc);
    doc_end(&doc);
}

/* ---- /api/health ---- */

static void render_api_health(const struct cluster *cluster, enum view_health health,
                              int64_t now_ms, struct buf *out)
{
    struct totals_recent recent;
    struct metrics total;
    totals_recent(cluster->totals, now_ms, cluster->started_ms, &recent);
    totals_sum(cluster->totals, cluster->roster, &total);

    /* A quiet service answers with what it knows: the means since the start. */
    const struct histogram *duration = &recent.duration;
    double error_rate = recent.error_rate;
    uint64_t requests = total.counter[METRIC_HTTP_REQUESTS];
    if (duration->count == 0) {
        duration = &total.histogram[HISTOGRAM_REQUEST_DURATION];
        error_rate = requests == 0 ? 0 : (double)view_count_5xx(&total) / (double)requests;
    }
    double mean_ns = duration->count == 0 ? 0 : (double)duration->sum_ns / (double)duration->count;

    struct doc doc;
    doc_begin(&doc, out);
    doc_object(&doc, NULL);
    doc_str(&doc, "status", view_health_text(health));
    doc_object(&doc, "performance");
    doc_real(&doc, "avgResponseTime", mean_ns / 1e6, 3);
    doc_real(&doc, "errorRate", error_rate, 6);
    doc_uint(&doc, "totalRequests", requests);
    doc_object_end(&doc);
    doc_object(&doc, "queue");
    doc_int(&doc, "pending", 0);
    doc_int(&doc, "workers", 0);
    doc_object_end(&doc);
    doc_object_end(&doc);
    doc_end(&doc);
}

/* ---- which document ---- */

static void render_one(const struct cluster *cluster, enum view view, enum view_format format,
                       int64_t now_ms, struct buf *out, struct view_result *result)
{
    struct view_summary summary;
    view_summarise(cluster, now_ms, &summary);
    enum view_health health = view_health_of(cluster, &summary);
    bool draft = format == VIEW_FORMAT_HEALTH_JSON;

    result->status = view_is_healthy(health) ? 200 : 503;
    result->content_type = json_type;
    switch (view) {
    case VIEW_HEALTH:
    case VIEW_HEALTH_READY:
        if (draft) {
            result->content_type = health_json_type;
            render_draft(cluster, &summary, health, view == VIEW_HEALTH, now_ms, out);
        } else if (view == VIEW_HEALTH) {
            render_health(&summary, health, out);
        } else {
            render_ready(cluster, &summary, health, out);
        }
        return;
    case VIEW_HEALTH_LIVE:
        result->status = 200;
        if (draft) {
            result->content_type = health_json_type;
            render_draft(cluster, &summary, VIEW_OK, false, now_ms, out);
        } else {
            render_live(cluster, now_ms, out);
        }
        return;
    case VIEW_HEALTH_PERFORMANCE:
        result->status = 200;
        view_performance(cluster, now_ms, out);
        return;
    case VIEW_API_HEALTH:
        render_api_health(cluster, health, now_ms, out);
        return;
    case VIEW_METRICS:
        result->status = 200;
        result->content_type = exposition_content_type(format == VIEW_FORMAT_OPENMETRICS);
        view_metrics(cluster, now_ms, format == VIEW_FORMAT_OPENMETRICS, out);
        return;
    case VIEW_COUNT:
        break;
    }
    /* A worker of a newer version may ask for what this one does not have. */
    result->status = 404;
    buf_append_str(out, "{\"error\":{\"status\":404,\"message\":\"no such document\"}}\n");
}

void view_render(const struct cluster *cluster, enum view view, enum view_format format,
                 int64_t now_ms, struct buf *out, struct view_result *result)
{
    render_one(cluster, view, format, now_ms, out, result);
    if (buf_failed(out)) {
        buf_reset(out);
        buf_append_str(out, "{\"error\":{\"status\":500,\"message\":\"out of memory\"}}\n");
        result->status = 500;
        result->content_type = json_type;
    }
}
