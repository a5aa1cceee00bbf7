/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_events - which steps are possible in a state.
 */
#include "world_private.h"

#include "common/check.h"
#include "master/roster.h"

struct event_list {
    struct event *out;
    int count;
};

static void add(struct event_list *list, enum event_kind kind, int who, int arg)
{
    CHECK(list->count < WORLD_EVENTS);
    list->out[list->count++] =
        (struct event){.kind = (uint8_t)kind, .who = (uint8_t)who, .arg = (uint8_t)arg};
}

static void add_messages(const struct world *world, struct event_list *list)
{
    bool listening = world->seat != SEAT_EMPTY;
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        bool runs = process->life != LIFE_DEAD && !process->hung;
        if (listening && (process->outbox[0].kind != MAIL_NONE ||
                          (process->life == LIFE_DEAD && process->entry.connected)))
            add(list, EVENT_HEAR, i, 0);
        if (runs && process->inbox[0].kind != MAIL_NONE)
            add(list, EVENT_READ, i, 0);
        else if (runs &&
                 (process->link == LINK_BROKEN ||
                  (process->life == LIFE_STARTING && process->link == LINK_NONE && !listening)))
            add(list, EVENT_NOTICE, i, 0);
        else if (runs && process->life == LIFE_DRAINING && process->polls == 0)
            add(list, EVENT_END, i, 0);
        else if (runs && process->link == LINK_NONE && listening)
            add(list, EVENT_CONNECT, i, 0);
        if (process->life == LIFE_DEAD && listening)
            add(list, EVENT_BURY, i, 0);
    }
}

/* Whether a deadline of the master for this worker runs and can pass. */
static bool may_be_late(const struct process *process)
{
    if (!process->hung || !process->entry.listed || process->entry.killed)
        return false;
    return process->entry.late < 2;
}

/* Somebody has to hand over the listening sockets, unless nobody is there or all are stuck. */
static bool may_end_call(const struct world *world)
{
    bool all_stuck = true;
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        if (process->entry.connected && process->life != LIFE_DEAD)
            return true;
        all_stuck = all_stuck && (process->hung || !process->entry.listed);
    }
    return all_stuck;
}

static void add_trial(const struct world *world, struct event_list *list)
{
    if (world->seat != SEAT_TAKEN || (world->trial == 0 && !world->rolling))
        return;
    bool waits = true;
    uint8_t generation = world->trial != 0 ? world->trial : world->generation;
    for (int i = 0; i < world->process_count; i++) {
        const struct entry *entry = &world->process[i].entry;
        if (world->process[i].generation != generation || !entry->listed)
            continue;
        if (entry->state == WORKER_READY && entry->connected && !entry->proven)
            add(list, EVENT_PROVEN, i, 0);
        waits = waits && (entry->replace ||
                          (entry->state != WORKER_STARTING && entry->state != WORKER_READY));
    }
    if (waits && world->trial != 0 && !world->trial_overdue)
        add(list, EVENT_OVERDUE, 0, 0);
}

static void add_deadlines(const struct world *world, struct event_list *list)
{
    if (world->seat == SEAT_EMPTY)
        add(list, EVENT_MASTER_STARTS, 0, 0);
    if (world->seat == SEAT_CALLING && may_end_call(world))
        add(list, EVENT_CALL_OVER, 0, 0);
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        if (process->signalled)
            add(list, EVENT_SIGNAL, i, 0);
        if (world->seat == SEAT_TAKEN && may_be_late(process))
            add(list, EVENT_LATE, i, 0);
        if (world->seat == SEAT_TAKEN && process->entry.probation && !process->hung)
            add(list, EVENT_PROBATION, i, 0);
    }
    add_trial(world, list);
    for (int i = 0; i < world->slot_count; i++)
        if (world->seat == SEAT_TAKEN && world->backing_off[i])
            add(list, EVENT_BACKOFF, i, 0);
    /* Who was told to end by somebody else waits long enough for the master to take its sockets. */
    for (int i = 0; i < world->process_count && world->seat == SEAT_TAKEN && list->count == 0; i++)
        if (world->process[i].life == LIFE_DRAINING && world->process[i].finishing &&
            !world->process[i].hung)
            add(list, EVENT_END, i, 0);
}

static void add_faults(const struct world *world, struct event_list *list)
{
    const uint8_t *left = world->left;
    for (int i = 0; i < world->process_count; i++) {
        if (world->process[i].hung) {
            add(list, EVENT_RESUME, i, 0);
            if (world->process[i].entry.late > 0 && world->seat == SEAT_TAKEN)
                add(list, EVENT_RESUME, i, 1);
        }
    }
    if (world->left_in_all == 0)
        return;
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        if (process->life == LIFE_DEAD || process->signalled)
            continue;
        if (left[FAULT_CRASH] > 0)
            add(list, EVENT_CRASH, i, 0);
        if (left[FAULT_HANG] > 0 && !process->hung)
            add(list, EVENT_HANG, i, 0);
        if (left[FAULT_TERM] > 0 && !process->hung && process->life == LIFE_SERVING)
            add(list, EVENT_TERM, i, 0);
    }
    if (world->seat != SEAT_EMPTY && left[FAULT_MASTER] > 0)
        add(list, EVENT_MASTER_DIES, 0, 0);
    if (world->seat != SEAT_TAKEN)
        return;
    for (int i = 1; i <= world->slot_count && left[FAULT_SCALE] > 0; i++)
        if (i != world->desired)
            add(list, EVENT_SCALE, 0, i);
    if (left[FAULT_RELOAD] > 0 && world->trial == 0 && !world->rolling)
        add(list, EVENT_RELOAD, 0, 0);
}

int world_events(const struct world *world, struct event *out)
{
    struct event_list list = {out, 0};
    add_messages(world, &list);
    add_deadlines(world, &list);
    add_faults(world, &list);
    return list.count;
}

bool world_is_calm(struct event event)
{
    return event.kind < EVENT_RESUME;
}
