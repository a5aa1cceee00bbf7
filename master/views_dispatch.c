/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_dispatch - who is to get new connections, and who really got them.
 *
 * What a slot is to get is a wish; what it got is counted by whoever accepted
 * from its sockets, which may have been a worker that stood in.
 */
#include "master/dispatch.h"
#include "master/views_private.h"

#include <stdio.h>

#define LAST ((const char *)NULL)

static uint64_t count_accepted(const struct metrics *sum, int slot_count)
{
    uint64_t count = 0;
    for (int i = 0; i < slot_count; i++)
        count += sum->slot_accepted[i];
    return count;
}

void view_dispatch(struct doc *doc, const struct cluster *cluster, const struct metrics *sum,
                   int64_t now_ms)
{
    double recent[CONTRACT_MAX_SLOTS];
    const struct cluster_dispatch *dispatch = &cluster->dispatch;
    const struct roster *roster = cluster->roster;
    uint64_t total = count_accepted(sum, roster->slot_count);
    totals_recent_slots(cluster->totals, now_ms, roster->slot_count, recent);

    doc_object(doc, "dispatch");
    doc_str(doc, "algorithm", dispatch_algorithm_name(dispatch->algorithm));
    doc_uint(doc, "program_swaps", dispatch->swaps);
    doc_array(doc, "slots");
    for (int i = 0; i < roster->slot_count; i++) {
        uint64_t accepted = sum->slot_accepted[i];
        doc_object(doc, NULL);
        doc_int(doc, "slot", i);
        doc_real(doc, "weight", dispatch->share[i], 4);
        doc_real(doc, "share", recent[i], 4);
        doc_real(doc, "share_since_start", total == 0 ? 0 : (double)accepted / (double)total, 4);
        doc_uint(doc, "connections", accepted);
        doc_object_end(doc);
    }
    doc_array_end(doc);
    doc_object_end(doc);
}

static void write_per_slot(struct exposition *exposition, int slot_count, const double *values)
{
    for (int i = 0; i < slot_count; i++) {
        char slot[12];
        (void)snprintf(slot, sizeof(slot), "%d", i);
        exposition_real(exposition, values[i], "slot", slot, LAST);
    }
}

void view_dispatch_metrics(struct exposition *exposition, const struct cluster *cluster,
                           const struct metrics *sum, int64_t now_ms)
{
    double recent[CONTRACT_MAX_SLOTS];
    int slot_count = cluster->roster->slot_count;
    totals_recent_slots(cluster->totals, now_ms, slot_count, recent);

    exposition_family(exposition, "muster_dispatch_info", EXPOSITION_INFO,
                      "How the worker of a new connection is chosen.");
    for (int i = 0; i < cluster->listener_count; i++)
        exposition_u64(exposition, 1, "listener", cluster->listener[i].name, "policy",
                       cluster->listener[i].policy, "mechanism", cluster->listener[i].mechanism,
                       LAST);
    exposition_family(exposition, "muster_dispatch_connections_total", EXPOSITION_COUNTER,
                      "Connections accepted from the sockets of a slot.");
    for (int i = 0; i < slot_count; i++) {
        char slot[12];
        (void)snprintf(slot, sizeof(slot), "%d", i);
        exposition_u64(exposition, sum->slot_accepted[i], "slot", slot, LAST);
    }
    exposition_family(exposition, "muster_dispatch_weight", EXPOSITION_GAUGE,
                      "Share of new connections that a slot is to get.");
    write_per_slot(exposition, slot_count, cluster->dispatch.share);
    exposition_family(exposition, "muster_dispatch_share", EXPOSITION_GAUGE,
                      "Share of new connections that a slot got in the last seconds.");
    write_per_slot(exposition, slot_count, recent);
    exposition_family(exposition, "muster_dispatch_program_swaps_total", EXPOSITION_COUNTER,
                      "Times the kernel was told anew who gets new connections.");
    exposition_u64(exposition, cluster->dispatch.swaps, LAST);
}
