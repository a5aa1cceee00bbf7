/* SPDX-License-Identifier: BSD-2-Clause
 *
 * board - one page of shared memory in which a worker says, without a system
 * call, that it makes progress and how loaded it is.
 *
 * The master makes one board for each worker (a sealed memfd, so that nobody
 * can shrink it under the reader) and sends it with BOARD; the worker writes,
 * the master reads several times a second. What stands there is a claim of the
 * worker about itself: nobody else's board can be reached, and the master
 * believes no number that it has not limited. Without a board (a worker of
 * contract version 1) the reports are all that is known.
 */
#ifndef MUSTER_BOARD_H
#define MUSTER_BOARD_H

#include "common/check.h"

#include <stdatomic.h>
#include <stdint.h>

/* A field never changes its place or meaning; new ones go at the end. */
struct board {
    _Atomic int64_t beat_ns;         /* CLOCK_MONOTONIC, when the loop last turned */
    _Atomic int64_t turn_started_ns; /* of the turn it is in, 0: waits for something to do */
    _Atomic uint64_t turns;
    _Atomic int64_t connections; /* open now */
    _Atomic int64_t in_flight;   /* requests */
    _Atomic int64_t lag_ns;      /* longest turn, or lateness, of the last beat interval */
    _Atomic int64_t interval_ns; /* how often it beats; 0: as the configuration says */
};

enum { BOARD_SIZE = 4096 };

/* Nobody waits for anybody here, and each field means something by itself. */
#define BOARD_SET(board, field, value)                                                             \
    atomic_store_explicit(&(board)->field, (value), memory_order_relaxed)
#define BOARD_GET(board, field) atomic_load_explicit(&(board)->field, memory_order_relaxed)

/* A new board, all zeros: the memfd (close-on-exec, size sealed), or -errno. */
MUST_USE int board_new(void);
/* Maps it for writing, or for reading only. NULL: not a board, or no memory. */
MUST_USE struct board *board_map(int fd);
MUST_USE const struct board *board_map_readonly(int fd);
void board_unmap(const struct board *board);

#endif
