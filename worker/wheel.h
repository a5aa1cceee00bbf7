/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wheel - many deadlines behind one timer.
 *
 * A ring of lists, one for each tick of 33.6 ms (2^25 ns). Putting a node in,
 * taking it out and finding the next occupied tick cost the same whatever the
 * number of nodes. A node is never early and at most one tick late; deadlines
 * beyond the horizon (137 s) come back at the horizon, and the owner, who
 * knows the real deadline, puts the node in again. The same way an owner may
 * leave a node where it is when its deadline moves later: that is what keeps
 * timers off the hot path.
 *
 * Pure: no clock, no libevent. Nodes belong to the caller.
 */
#ifndef MUSTER_WORKER_WHEEL_H
#define MUSTER_WORKER_WHEEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum { WHEEL_TICK_BITS = 25, WHEEL_SLOTS = 4096 };

struct wheel_node {
    LIST_ENTRY(wheel_node) link;
    int64_t tick; /* when it comes up; 0: not in the wheel */
};

LIST_HEAD(wheel_list, wheel_node);

struct wheel {
    int64_t tick; /* everything up to here has come up */
    uint64_t occupied[WHEEL_SLOTS / 64];
    struct wheel_list slot[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, int64_t now_ns);

/* Whether a node in the wheel will come up no later than `at_ns` (give or take
 * a tick), so that it need not be moved. */
static inline bool wheel_covers(const struct wheel_node *node, int64_t at_ns)
{
    return node->tick != 0 && node->tick <= (at_ns >> WHEEL_TICK_BITS) + 1;
}

/* Puts a node in, or moves it. */
void wheel_put(struct wheel *wheel, struct wheel_node *node, int64_t at_ns);
void wheel_remove(struct wheel *wheel, struct wheel_node *node);

/* When the next node comes up, or -1 when the wheel is empty. */
int64_t wheel_next_ns(const struct wheel *wheel);

/* Takes out every node that is due and calls `on_due` for it, which may put
 * it in again and may remove others. */
typedef void wheel_on_due(void *context, struct wheel_node *node);
void wheel_advance(struct wheel *wheel, int64_t now_ns, wheel_on_due *on_due, void *context);

#endif
