/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_private - what the files of the world tell each other.
 */
#ifndef MUSTER_TESTS_MODEL_WORLD_PRIVATE_H
#define MUSTER_TESTS_MODEL_WORLD_PRIVATE_H

#include "world.h"

/* The first rule that was broken in this step, or NULL. */
extern const char *world_broken;
extern enum mutation world_mutation;

#define WORLD_REQUIRE(condition, rule)                                                             \
    do {                                                                                           \
        if (!(condition) && world_broken == NULL)                                                  \
            world_broken = (rule);                                                                 \
    } while (0)

static inline bool bit_has(uint8_t set, int bit)
{
    return (set >> bit & 1) != 0;
}

static inline uint8_t all_slots(const struct world *world)
{
    return (uint8_t)((1U << world->slot_count) - 1);
}

/* ---- world.c ---- */

__attribute__((format(printf, 2, 3))) void story(const struct world *world, const char *format,
                                                 ...);
/* A name for people: "b2" is the second worker of slot 1 that this story has seen. */
const char *story_name(int process);
const char *story_slots(uint8_t set);

void post(struct mail *box, int size, struct mail mail);
struct mail take(struct mail *box);
int process_add(struct world *world, int slot, uint8_t generation);
/* Who is not in a roster is gone at once, and the others move up. */
void process_die(struct world *world, int index);
void process_remove(struct world *world, int index);

/* ---- world_master.c: what the master does ---- */

void master_hears(struct world *world, int process, struct mail mail);
void master_buries(struct world *world, int process);
void master_deadline(struct world *world, int process);
void master_scales(struct world *world, int desired);
void master_reloads(struct world *world);
void master_probation_over(struct world *world, int process);
void master_proven(struct world *world, int process);
void master_overdue(struct world *world);
void master_backoff_over(struct world *world, int slot);
void master_calls_roll(struct world *world);
void master_ends_call(struct world *world);
void master_begins(struct world *world);
bool master_is_settled(const struct world *world);

/* ---- world_check.c ---- */

/* Before a worker is told to drain. */
void check_drain(const struct world *world, int process);
/* Before a worker of the generation in force is started in a slot. */
void check_spawn(const struct world *world, int slot);
/* After every step; `before` is the state that it was taken in. */
void check_step(const struct world *before, const struct world *world);

#endif
