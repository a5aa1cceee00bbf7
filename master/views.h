/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views - the documents about the cluster: health, metrics, status, scaling.
 *
 * Pure: they read the model and append text. The management port and the
 * workers (for the public port) serve the same documents.
 */
#ifndef MUSTER_VIEWS_H
#define MUSTER_VIEWS_H

#include "common/buf.h"
#include "common/contract.h"
#include "master/cluster.h"

struct view_result {
    int status;               /* an HTTP status */
    const char *content_type; /* static */
};

/* The documents that workers may ask for, too. */
void view_render(const struct cluster *cluster, enum view view, enum view_format format,
                 int64_t now_ms, struct buf *out, struct view_result *result);

/* Documents of the management port only (application/json). */
void view_cluster_status(const struct cluster *cluster, int64_t now_ms, struct buf *out);
/* False when there is no such slot (`out` is then untouched). */
bool view_worker(const struct cluster *cluster, int slot, int64_t now_ms, struct buf *out);
/* A list of the last `limit` events, the newest first. */
void view_events(const struct cluster *cluster, int limit, struct buf *out);
void view_scaling_status(const struct cluster *cluster, int64_t now_ms, struct buf *out);

/* Whether the cluster is "ok", "degraded", "draining" or "down". */
const char *view_health_word(const struct cluster *cluster, int64_t now_ms);

#endif
