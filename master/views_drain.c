/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_drain - what a worker on its way out still waits for, in fields and in
 * one sentence.
 *
 * The figures are those of its last report; ages grow with the time since.
 */
#include "master/views_private.h"

#include <inttypes.h>

static double seconds_of(int64_t ms)
{
    return (double)(ms > 0 ? ms : 0) / 1e3;
}

static int64_t oldest_request_ms(const struct worker *worker, int64_t now_ms)
{
    if (view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT) == 0)
        return 0;
    int64_t since_ms = worker->last_report_ms != 0 ? now_ms - worker->last_report_ms : 0;
    return view_gauge(worker, GAUGE_OLDEST_REQUEST_MS) + (since_ms > 0 ? since_ms : 0);
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

/* What else there is: clients that have not closed what is over. */
static int64_t lingering(const struct worker *worker)
{
    int64_t others =
        view_gauge(worker, GAUGE_CONNECTIONS_ACTIVE) - view_gauge(worker, GAUGE_CONNECTIONS_IDLE) -
        view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT) - view_gauge(worker, GAUGE_WEBSOCKETS);
    return others > 0 ? others : 0;
}

/* "waits for 2 requests, the oldest for 14.2 s; 3 idle connections close within
 * 1.0 s; cut in 45.8 s (reload_drain_timeout)" */
static void explain(const struct cluster *cluster, const struct worker *worker, int64_t now_ms,
                    struct buf *out)
{
    int64_t in_flight = view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT);
    int64_t idle = view_gauge(worker, GAUGE_CONNECTIONS_IDLE);
    int64_t websockets = view_gauge(worker, GAUGE_WEBSOCKETS);
    int64_t others = lingering(worker);
    if (worker->last_report_ms == 0)
        buf_printf(out, "has not reported what it waits for");
    else if (in_flight > 0)
        buf_printf(out, "waits for %" PRId64 " request%s, the oldest for %.1f s", in_flight,
                   plural(in_flight), seconds_of(oldest_request_ms(worker, now_ms)));
    else if (idle + websockets + others == 0)
        buf_printf(out, "has nothing left and is about to end");
    else
        buf_printf(out, "waits for no request");
    if (websockets > 0)
        buf_printf(out, "; %" PRId64 " WebSocket%s", websockets, plural(websockets));
    if (idle > 0)
        buf_printf(out, "; %" PRId64 " idle connection%s close%s within %.1f s", idle, plural(idle),
                   idle == 1 ? "s" : "", seconds_of(cluster->config->drain_idle_grace));
    if (others > 0)
        buf_printf(out, "; %" PRId64 " connection%s wait%s for the client to close", others,
                   plural(others), others == 1 ? "s" : "");
    if (worker->drain_deadline_ms == 0)
        return;
    int64_t left_ms = worker->drain_deadline_ms - now_ms;
    if (left_ms > 0)
        buf_printf(out, "; cut in %.1f s", seconds_of(left_ms));
    else
        buf_printf(out, "; past its deadline");
    if (worker->drain_deadline_by != NULL)
        buf_printf(out, " (%s)", worker->drain_deadline_by);
}

static void write_one(struct doc *doc, const struct cluster *cluster, const struct worker *worker,
                      int64_t now_ms)
{
    struct buf text;
    doc_object(doc, NULL);
    doc_int(doc, "pid", worker->pid);
    doc_uint(doc, "generation", worker->generation);
    doc_str(doc, "reason", death_reason_name(worker->ending));
    doc_str(doc, "why", worker->why[0] != '\0' ? worker->why : NULL);
    doc_real(doc, "since", seconds_of(now_ms - worker->state_since_ms), 1);
    doc_int(doc, "connections", view_gauge(worker, GAUGE_CONNECTIONS_ACTIVE));
    doc_int(doc, "idle", view_gauge(worker, GAUGE_CONNECTIONS_IDLE));
    doc_int(doc, "in_flight", view_gauge(worker, GAUGE_REQUESTS_IN_FLIGHT));
    doc_int(doc, "websockets", view_gauge(worker, GAUGE_WEBSOCKETS));
    doc_int(doc, "lingering", lingering(worker));
    doc_int(doc, "oldest_request_ms", oldest_request_ms(worker, now_ms));
    if (worker->drain_deadline_ms != 0)
        doc_real(doc, "deadline_in", seconds_of(worker->drain_deadline_ms - now_ms), 1);
    else
        doc_null(doc, "deadline_in");
    doc_str(doc, "deadline_by", worker->drain_deadline_by);
    doc_bool(doc, "cut", worker->cut);
    buf_init(&text, 1024);
    explain(cluster, worker, now_ms, &text);
    buf_append(&text, "", 1);
    doc_str(doc, "waits_for", buf_failed(&text) ? NULL : text.ptr);
    buf_fini(&text);
    doc_object_end(doc);
}

void view_draining(struct doc *doc, const char *key, const struct cluster *cluster,
                   const struct slot *slot, int64_t now_ms)
{
    doc_array(doc, key);
    const struct worker *worker = NULL;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->state == WORKER_DRAINING)
            write_one(doc, cluster, worker, now_ms);
    doc_array_end(doc);
}
