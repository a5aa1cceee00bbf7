/* SPDX-License-Identifier: BSD-2-Clause
 *
 * consistent - which slot owns each bucket of the consistent hash.
 *
 * Pure, and a function of its arguments alone: a master that takes over from
 * another one, and every listener group, come to the same table. Clients are
 * hashed to buckets. The table grows slot by slot: a new slot takes its share
 * from those that have most and nothing else moves, so N -> N+1 moves 1/(N+1)
 * of the clients, which is the least there can be. A slot in the middle that
 * may not be chosen for a while lends its buckets to those that have least,
 * and gets the same ones back.
 */
#ifndef MUSTER_CONSISTENT_H
#define MUSTER_CONSISTENT_H

#include "common/contract.h"
#include "common/ipc.h"

#include <stdint.h>

enum {
    /* Divided without remainder by most small numbers; as a program it stays
     * under the 20 KB of memory that older kernels allow it. */
    CONSISTENT_BUCKETS = 720,
    CONSISTENT_BUCKETS_MANY = 1920, /* for more slots than the other one is good for */
    CONSISTENT_FEW_SLOTS = 180,
};

/* How many buckets a group of so many slots has. */
int consistent_bucket_count(int slot_count);

/* Fills owner[consistent_bucket_count(slot_count)]. `weight` of each slot is 1
 * or more, whether it is in `set` or not. `set` has at least one slot below
 * slot_count. */
void consistent_assign(const struct slot_set *set, const uint16_t *weight, int slot_count,
                       uint16_t *owner);

#endif
