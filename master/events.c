/* SPDX-License-Identifier: BSD-2-Clause
 *
 * events - the last things that happened to the cluster, for people.
 */
#include "master/events.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>

#define EVENTS_NAME_OF(name, text) text,
static const char *const kind_names[] = {EVENT_KINDS(EVENTS_NAME_OF)};

const char *event_kind_name(enum event_kind kind)
{
    CHECK((unsigned)kind < EVENT_KIND_COUNT);
    return kind_names[kind];
}

void events_add(struct events *events, int64_t wall_ms, enum event_kind kind, int slot, pid_t pid,
                const char *format, ...)
{
    if (events == NULL)
        return;
    struct event_record *record = &events->ring[events->count % EVENTS_KEPT];
    *record = (struct event_record){
        .id = ++events->count, .wall_ms = wall_ms, .kind = kind, .slot = slot, .pid = pid};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(record->text, sizeof(record->text), format, arguments);
    va_end(arguments);
}

const struct event_record *events_at(const struct events *events, size_t n)
{
    if (events == NULL || n >= EVENTS_KEPT || n >= events->count)
        return NULL;
    return &events->ring[(events->count - 1 - n) % EVENTS_KEPT];
}
