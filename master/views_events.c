/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_events - what happened last, the newest first.
 */
#include "master/views.h"
#include "master/views_private.h"

void view_event_list(struct doc *doc, const char *key, const struct cluster *cluster, int limit)
{
    doc_array(doc, key);
    for (int n = 0; n < limit; n++) {
        const struct event_record *record = events_at(cluster->events, (size_t)n);
        if (record == NULL)
            break;
        doc_object(doc, NULL);
        doc_uint(doc, "id", record->id);
        doc_time(doc, "time", record->wall_ms);
        doc_str(doc, "kind", event_kind_name(record->kind));
        if (record->slot != EVENT_NO_SLOT)
            doc_int(doc, "slot", record->slot);
        else
            doc_null(doc, "slot");
        if (record->pid != 0)
            doc_int(doc, "pid", record->pid);
        else
            doc_null(doc, "pid");
        doc_str(doc, "text", record->text);
        doc_object_end(doc);
    }
    doc_array_end(doc);
}

void view_events(const struct cluster *cluster, int limit, struct buf *out)
{
    struct doc doc;
    doc_begin(&doc, out);
    view_event_list(&doc, NULL, cluster, limit);
    doc_end(&doc);
}
