/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_private - what the files of the policy share.
 *
 *   policy.c          who starts, polls, drains, and is killed
 *   policy_trial.c    whether a new generation is taken over or taken back
 *   policy_recycle.c  which worker has served long enough
 */
#ifndef MUSTER_POLICY_PRIVATE_H
#define MUSTER_POLICY_PRIVATE_H

#include "master/policy.h"

/* A new action at the end of the plan; never NULL. */
struct policy_action *policy_add(struct policy_plan *plan, enum policy_action_kind kind);
void policy_wake_at(struct policy_plan *plan, int64_t at_ms);

/* Starts a worker, or makes room for it by cutting the oldest drain. */
void policy_start_in(const struct slot *slot, uint64_t generation, struct policy_plan *plan);

/* Decides about the generation on trial. True: it did, and nothing else is to
 * be planned before that was carried out. */
bool policy_plan_trial(const struct roster *roster, const struct policy_rules *rules,
                       int64_t now_ms, struct policy_plan *plan);
/* Starts the canary when there is none. */
void policy_plan_canary(const struct roster *roster, struct policy_plan *plan);

#endif
