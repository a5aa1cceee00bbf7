/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wheel - the ring of ticks and the bitmap that finds the next occupied one.
 */
#include "worker/wheel.h"

#include <stddef.h>

static unsigned slot_of(int64_t tick)
{
    return (unsigned)((uint64_t)tick % WHEEL_SLOTS);
}

void wheel_init(struct wheel *wheel, int64_t now_ns)
{
    wheel->tick = now_ns >> WHEEL_TICK_BITS;
    for (unsigned i = 0; i < WHEEL_SLOTS / 64; i++)
        wheel->occupied[i] = 0;
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        LIST_INIT(&wheel->slot[i]);
}

void wheel_remove(struct wheel *wheel, struct wheel_node *node)
{
    if (node->tick == 0)
        return;
    unsigned slot = slot_of(node->tick);
    LIST_REMOVE(node, link);
    node->tick = 0;
    if (LIST_EMPTY(&wheel->slot[slot]))
        wheel->occupied[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

void wheel_put(struct wheel *wheel, struct wheel_node *node, int64_t at_ns)
{
    wheel_remove(wheel, node);
    int64_t tick = (at_ns >> WHEEL_TICK_BITS) + 1;
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    if (tick >= wheel->tick + WHEEL_SLOTS)
        tick = wheel->tick + WHEEL_SLOTS - 1;
    unsigned slot = slot_of(tick);
    node->tick = tick;
    LIST_INSERT_HEAD(&wheel->slot[slot], node, link);
    wheel->occupied[slot / 64] |= UINT64_C(1) << (slot % 64);
}

/* The first occupied tick after wheel->tick, or 0. */
static int64_t next_tick(const struct wheel *wheel)
{
    int64_t tick = wheel->tick + 1;
    int64_t end = wheel->tick + WHEEL_SLOTS;
    while (tick < end) {
        unsigned slot = slot_of(tick);
        uint64_t word = wheel->occupied[slot / 64] >> (slot % 64);
        if (word != 0) {
            tick += __builtin_ctzll(word);
            return tick < end ? tick : 0;
        }
        tick += 64 - slot % 64;
    }
    return 0;
}

int64_t wheel_next_ns(const struct wheel *wheel)
{
    int64_t tick = next_tick(wheel);
    return tick == 0 ? -1 : tick << WHEEL_TICK_BITS;
}

void wheel_advance(struct wheel *wheel, int64_t now_ns, wheel_on_due *on_due, void *context)
{
    int64_t now_tick = now_ns >> WHEEL_TICK_BITS;
    for (;;) {
        int64_t tick = next_tick(wheel);
        if (tick == 0 || tick > now_tick)
            break;
        /* One node at a time, from the head: the callback may remove any other. What it
         * puts in goes to a later tick, because this one counts as come up already. */
        wheel->tick = tick;
        unsigned slot = slot_of(tick);
        struct wheel_node *node;
        while ((node = LIST_FIRST(&wheel->slot[slot])) != NULL) {
            wheel_remove(wheel, node);
            on_due(context, node);
        }
    }
    if (now_tick > wheel->tick)
        wheel->tick = now_tick;
}
