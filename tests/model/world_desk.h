/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_desk - the master of the world at work: its roster, made of real
 * structures for one step and put away again.
 */
#ifndef MUSTER_TESTS_MODEL_WORLD_DESK_H
#define MUSTER_TESTS_MODEL_WORLD_DESK_H

#include "world_private.h"

#include "master/policy.h"

enum {
    NOW_MS = 1000000,
    START_TIMEOUT_MS = 10000,
    SUSPECT_TIMEOUT_MS = 3000,
    HANG_TIMEOUT_MS = 30000,
    CANARY_TIME_MS = 10000,
    DRAIN_TIMEOUT_MS = 60000,
    KILL_GRACE_MS = 2000,
    BACKOFF_MS = 100,
    EPOCH = 1000, /* of the newest ASSIGN to each worker */
    EARLY_DEATHS = 2,
};

extern const struct policy_rules desk_rules;

struct desk {
    struct world *world;
    struct roster *roster;
    struct worker *of[WORLD_PROCESSES]; /* NULL: not listed */
    struct slot_set steered;
    struct policy_plan plan;
};

/* Makes the roster from the entries of the world, and back. In between the
 * entries are as they were, but for desk_note(). */
void desk_open(struct world *world, struct desk *desk);
void desk_note(const struct desk *desk);
void desk_close(struct desk *desk);

static inline struct slot_set to_set(uint8_t bits)
{
    return (struct slot_set){.word = {bits}};
}

static inline uint8_t to_bits(const struct slot_set *set)
{
    return (uint8_t)set->word[0];
}

static inline int index_of(const struct worker *worker)
{
    return worker->pid - 1;
}

static inline struct process *process_of(const struct desk *desk, const struct worker *worker)
{
    return &desk->world->process[index_of(worker)];
}

/* ---- world_plan.c ---- */

/* Asks the policy and does what it says until it says nothing more. */
void carry_out(struct desk *desk);
void send_drain(const struct desk *desk, const struct worker *worker);
void send_message(struct process *process, struct mail mail);
/* SIGKILL is at once; another one may have to wait until the worker runs again. */
void send_signal(struct world *world, int process, int signal);
void take_back(struct desk *desk);

#endif
