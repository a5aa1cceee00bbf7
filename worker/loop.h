/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loop - the clock and the account of the worker's event loop.
 *
 * Every callback of the loop starts with loop_enter(), which reads the clock
 * once per turn. Whatever takes long (a system call that sends) reads it again
 * with loop_touch(), so that `now_ns` is always fresh and a request that is
 * answered at once costs one reading. Turns are said on the board, where the
 * master sees that they go on (common/board.h). Borrows base and board.
 */
#ifndef MUSTER_WORKER_LOOP_H
#define MUSTER_WORKER_LOOP_H

#include "common/board.h"
#include "common/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;

struct loop {
    struct event_base *base;
    struct board *board; /* NULL: the master gave none */
    int64_t now_ns;      /* monotonic, valid inside a turn */
    int64_t turn_started_ns;
    bool in_turn;
    uint64_t turns;
    uint64_t busy_ns;        /* time between the first callback of a turn and its end */
    int64_t longest_turn_ns; /* since it was last taken */
};

static inline void loop_enter(struct loop *loop)
{
    if (loop->in_turn)
        return;
    loop->in_turn = true;
    loop->now_ns = clock_monotonic_ns();
    loop->turn_started_ns = loop->now_ns;
    if (loop->board != NULL)
        BOARD_SET(loop->board, turn_started_ns, loop->now_ns);
}

static inline int64_t loop_touch(struct loop *loop)
{
    loop->now_ns = clock_monotonic_ns();
    return loop->now_ns;
}

static inline void loop_leave(struct loop *loop)
{
    loop->turns++;
    if (!loop->in_turn)
        return;
    loop->in_turn = false;
    if (loop->board != NULL) {
        BOARD_SET(loop->board, turns, loop->turns);
        BOARD_SET(loop->board, turn_started_ns, 0);
    }
    int64_t took = clock_monotonic_ns() - loop->turn_started_ns;
    loop->busy_ns += (uint64_t)took;
    if (took > loop->longest_turn_ns)
        loop->longest_turn_ns = took;
}

#endif
