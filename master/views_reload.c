/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_reload - the last reload, as it goes or as it ended.
 */
#include "master/views_private.h"

void doc_changes(struct doc *doc, const char *key, const struct reload_changes *changes)
{
    doc_array(doc, key);
    for (int i = 0; i < changes->listed; i++) {
        const struct reload_change *item = &changes->item[i];
        doc_object(doc, NULL);
        doc_str(doc, "key", item->key);
        doc_str(doc, "from", item->from);
        doc_str(doc, "to", item->to);
        doc_bool(doc, "live", item->live);
        doc_object_end(doc);
    }
    doc_array_end(doc);
}

static void write_canary(struct doc *doc, const struct cluster *cluster, int64_t now_ms)
{
    const struct worker *canary = roster_canary(cluster->roster);
    if (canary == NULL) {
        doc_null(doc, "canary");
        return;
    }
    int64_t since_ms = canary->state_since_ms;
    if (since_ms < canary->connected_ms)
        since_ms = canary->connected_ms;
    int64_t left_ms = since_ms + cluster->reload.canary_time_ms - now_ms;
    doc_object(doc, "canary");
    doc_int(doc, "slot", canary->slot);
    doc_int(doc, "pid", canary->pid);
    doc_str(doc, "state", worker_state_name(canary->state));
    doc_real(doc, "since", (double)(now_ms - canary->state_since_ms) / 1e3, 1);
    /* Its time runs only while it is well. */
    if (canary->state == WORKER_READY && canary->connected)
        doc_real(doc, "remaining", (double)(left_ms > 0 ? left_ms : 0) / 1e3, 1);
    else
        doc_null(doc, "remaining");
    doc_object_end(doc);
}

static const char *phase_of(const struct cluster *cluster)
{
    if (cluster->roster->trial.generation != 0)
        return "canary";
    return cluster->roster->rolling ? "rolling" : "over";
}

static void write_progress(struct doc *doc, const struct cluster *cluster, int64_t now_ms)
{
    const struct cluster_reload *reload = &cluster->reload;
    int64_t duration_ms = reload->running ? now_ms - reload->started_ms : reload->duration_ms;
    int replaced = reload->replaced, of = reload->to_replace;
    if (reload->running) {
        replaced = cluster->roster->rolling ? roster_count_replaced(cluster->roster) : 0;
        of = cluster->roster->desired;
    }
    doc_str(doc, "phase", phase_of(cluster));
    doc_int(doc, "replaced", replaced);
    doc_int(doc, "to_replace", of);
    doc_real(doc, "duration", (double)duration_ms / 1e3, 3);
}

void view_reload(struct doc *doc, const struct cluster *cluster, int64_t now_ms)
{
    const struct cluster_reload *reload = &cluster->reload;
    if (reload->started_wall_ms == 0) {
        doc_null(doc, "reload");
        return;
    }
    doc_object(doc, "reload");
    doc_bool(doc, "running", reload->running);
    doc_bool(doc, "failed", reload->failed);
    doc_uint(doc, "from_generation", reload->from_generation);
    if (reload->to_generation != 0)
        doc_uint(doc, "to_generation", reload->to_generation);
    else
        doc_null(doc, "to_generation");
    doc_time(doc, "started_at", reload->started_wall_ms);
    doc_time(doc, "finished_at", reload->running ? 0 : reload->finished_wall_ms);
    doc_str(doc, "message", reload->message);
    write_progress(doc, cluster, now_ms);
    write_canary(doc, cluster, now_ms);
    doc_int(doc, "change_count", reload->changes.count);
    doc_changes(doc, "changes", &reload->changes);
    doc_object_end(doc);
}
