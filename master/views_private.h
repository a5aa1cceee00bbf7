/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_private - what the view files share; for them and their tests only.
 */
#ifndef MUSTER_VIEWS_PRIVATE_H
#define MUSTER_VIEWS_PRIVATE_H

#include "common/exposition.h"
#include "master/cluster.h"
#include "master/views_json.h"

/* One walk over the roster. */
struct view_summary {
    int ready;    /* slots with a READY worker: the capacity there is */
    int starting; /* workers */
    int suspect;  /* workers */
    int draining; /* workers */
    int backoff;  /* slots that wait to start one */
    int64_t connections;
    int64_t idle;
    int64_t in_flight;
    int64_t websockets;
    uint64_t rss_bytes;  /* of all workers */
    double cpu_percent;  /* of all workers; 100 is one processor */
    double loop_busy;    /* sum over the workers, 1 each at most */
    int64_t loop_lag_ns; /* the largest */
};

/* A worker may say that it has minus a million connections; this is 0 then. */
int64_t view_gauge(const struct worker *worker, enum metric_gauge id);

void view_summarise(const struct cluster *cluster, int64_t now_ms, struct view_summary *out);

enum view_health { VIEW_OK, VIEW_DEGRADED, VIEW_DRAINING, VIEW_DOWN };
enum view_health view_health_of(const struct cluster *cluster, const struct view_summary *summary);
const char *view_health_text(enum view_health health);
/* Serving: ok or degraded. */
static inline bool view_is_healthy(enum view_health health)
{
    return health == VIEW_OK || health == VIEW_DEGRADED;
}

const char *view_cluster_state_name(enum cluster_state state);
int64_t view_uptime_s(const struct cluster *cluster, int64_t now_ms);
uint64_t view_count_5xx(const struct metrics *metrics);
/* "key":{"count":…,"mean":…,"p50":…,"p95":…,"p99":…} in milliseconds. */
void view_latency(struct doc *doc, const char *key, const struct histogram *histogram);
/* "key":{…} about the change by hand, or null. */
void view_manual(struct doc *doc, const char *key, const struct cluster *cluster, int64_t now_ms);

/* "key":[…], the last `limit` events. */
void view_event_list(struct doc *doc, const char *key, const struct cluster *cluster, int limit);
/* "dispatch":{…}: who is to get new connections, and who really got them. */
void view_dispatch(struct doc *doc, const struct cluster *cluster, const struct metrics *sum,
                   int64_t now_ms);
void view_dispatch_metrics(struct exposition *exposition, const struct cluster *cluster,
                           const struct metrics *sum, int64_t now_ms);

/* "reload":{…} about the last one, or null. */
void view_reload(struct doc *doc, const struct cluster *cluster, int64_t now_ms);
/* "key":[{…},…] about the workers of a slot that are on their way out. */
void view_draining(struct doc *doc, const char *key, const struct cluster *cluster,
                   const struct slot *slot, int64_t now_ms);

/* The worker that stands for a slot (never the canary, who is one more): the READY one, else the
 * newest that is not draining; NULL when there is none. */
const struct worker *view_slot_worker(const struct roster *roster, const struct slot *slot);
/* The object of one slot; `full` adds what only /cluster/workers/{slot} tells. */
void view_slot(struct doc *doc, const char *key, const struct cluster *cluster,
               const struct slot *slot, int64_t now_ms, bool full);

void view_performance(const struct cluster *cluster, int64_t now_ms, struct buf *out);
void view_metrics(const struct cluster *cluster, int64_t now_ms, bool openmetrics, struct buf *out);

#endif
