/* SPDX-License-Identifier: BSD-2-Clause
 *
 * roster - who is in the cluster: the slots and the workers in them.
 */
#include "master/roster.h"

#include "common/check.h"

#include <stdlib.h>

#define ROSTER_NAME_OF(name, text) text,
static const char *const worker_state_names[] = {WORKER_STATES(ROSTER_NAME_OF)};
static const char *const slot_state_names[] = {SLOT_STATES(ROSTER_NAME_OF)};
static const char *const death_reason_names[] = {DEATH_REASONS(ROSTER_NAME_OF)};

const char *worker_state_name(enum worker_state state)
{
    CHECK((unsigned)state < WORKER_STATE_COUNT);
    return worker_state_names[state];
}

const char *slot_state_name(enum slot_state state)
{
    CHECK((unsigned)state < SLOT_STATE_COUNT);
    return slot_state_names[state];
}

const char *death_reason_name(enum death_reason reason)
{
    CHECK((unsigned)reason < DEATH_REASON_COUNT);
    return death_reason_names[reason];
}

struct roster *roster_new(int slot_count)
{
    CHECK(slot_count > 0 && slot_count <= CONTRACT_MAX_SLOTS);
    struct roster *roster = calloc(1, sizeof(*roster));
    if (roster == NULL)
        return NULL;
    roster->slots = calloc((size_t)slot_count, sizeof(*roster->slots));
    if (roster->slots == NULL) {
        free(roster);
        return NULL;
    }
    roster->slot_count = slot_count;
    roster->generation = 1;
    TAILQ_INIT(&roster->workers);
    for (int i = 0; i < slot_count; i++) {
        roster->slots[i].index = i;
        TAILQ_INIT(&roster->slots[i].workers);
    }
    return roster;
}

void roster_free(struct roster **roster_in)
{
    struct roster *roster = *roster_in;
    if (roster == NULL)
        return;
    struct worker *worker;
    while ((worker = TAILQ_FIRST(&roster->workers)) != NULL) {
        TAILQ_REMOVE(&roster->workers, worker, in_roster);
        free(worker);
    }
    free(roster->slots);
    free(roster);
    *roster_in = NULL;
}

void roster_set_desired(struct roster *roster, int desired)
{
    CHECK(desired >= 0 && desired <= roster->slot_count);
    roster->desired = desired;
    for (int i = 0; i < roster->slot_count; i++)
        roster->slots[i].wanted = i < desired;
}

struct worker *roster_add(struct roster *roster, int slot_index, pid_t pid, int64_t now_ms)
{
    CHECK(slot_index >= 0 && slot_index < roster->slot_count);
    struct slot *slot = &roster->slots[slot_index];
    if (slot->worker_count >= ROSTER_WORKERS_PER_SLOT)
        return NULL;
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return NULL;
    worker->slot = slot_index;
    worker->pid = pid;
    worker->generation = roster->generation;
    worker->state = WORKER_STARTING;
    worker->started_ms = now_ms;
    worker->state_since_ms = now_ms;
    worker->state_cell = -1;
    TAILQ_INSERT_TAIL(&roster->workers, worker, in_roster);
    TAILQ_INSERT_HEAD(&slot->workers, worker, in_slot);
    slot->worker_count++;
    roster->worker_count++;
    return worker;
}

struct worker *roster_adopt(struct roster *roster, int slot, pid_t pid, uint64_t generation,
                            enum worker_state state, int64_t started_ms, int64_t now_ms)
{
    CHECK(state == WORKER_STARTING || state == WORKER_READY || state == WORKER_DRAINING);
    struct worker *worker = roster_add(roster, slot, pid, now_ms);
    if (worker == NULL)
        return NULL;
    worker->generation = generation;
    worker->state = state;
    worker->started_ms = started_ms;
    worker->ready_ms = state == WORKER_STARTING ? 0 : started_ms;
    worker->adopted = true;
    worker->unheard = true;
    for (int i = 0; i < roster->slot_count; i++)
        slot_set_add(&worker->assigned, (unsigned)i); /* any of them, until it says which */
    return worker;
}

void roster_remove(struct roster *roster, struct worker *worker)
{
    CHECK(worker->state == WORKER_DEAD);
    struct slot *slot = &roster->slots[worker->slot];
    TAILQ_REMOVE(&roster->workers, worker, in_roster);
    TAILQ_REMOVE(&slot->workers, worker, in_slot);
    slot->worker_count--;
    roster->worker_count--;
    free(worker);
}

struct worker *roster_find_pid(const struct roster *roster, pid_t pid)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        if (worker->pid == pid)
            return worker;
    return NULL;
}

static bool may_enter(enum worker_state from, enum worker_state to)
{
    switch (from) {
    case WORKER_STARTING:
        return to == WORKER_READY || to == WORKER_DRAINING || to == WORKER_DEAD;
    case WORKER_READY:
        return to == WORKER_SUSPECT || to == WORKER_DRAINING || to == WORKER_DEAD;
    case WORKER_SUSPECT:
        return to == WORKER_READY || to == WORKER_DRAINING || to == WORKER_DEAD;
    case WORKER_DRAINING:
        return to == WORKER_DEAD;
    case WORKER_DEAD:
    case WORKER_STATE_COUNT:
        return false;
    }
    return false;
}

void worker_enter(struct worker *worker, enum worker_state state, int64_t now_ms)
{
    CHECK(may_enter(worker->state, state));
    worker->state = state;
    worker->state_since_ms = now_ms;
    if (state == WORKER_READY && worker->ready_ms == 0)
        worker->ready_ms = now_ms;
}

bool worker_is_live(const struct worker *worker)
{
    return worker->state == WORKER_STARTING || worker->state == WORKER_READY ||
           worker->state == WORKER_SUSPECT;
}

static void set_intersect(struct slot_set *set, const struct slot_set *with)
{
    for (size_t i = 0; i < ARRAY_COUNT(set->word); i++)
        set->word[i] &= with->word[i];
}

void worker_assign(struct worker *worker, const struct slot_set *slots, uint64_t epoch)
{
    worker->assigned = *slots;
    worker->assign_epoch = epoch;
    set_intersect(&worker->confirmed, slots);
}

void worker_confirm(struct worker *worker, const struct slot_set *slots, uint64_t epoch)
{
    if (epoch == worker->assign_epoch)
        worker->confirmed = *slots;
    else
        set_intersect(&worker->confirmed, slots);
}

bool worker_is_outdated(const struct roster *roster, const struct worker *worker)
{
    return worker->replace ||
           (worker->generation != roster->generation && !worker_is_canary(roster, worker));
}

bool worker_is_canary(const struct roster *roster, const struct worker *worker)
{
    return roster->trial.generation != 0 && worker->generation == roster->trial.generation &&
           !worker->replace;
}

struct worker *roster_canary(const struct roster *roster)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        if (worker_is_live(worker) && worker_is_canary(roster, worker))
            return worker;
    return NULL;
}

int roster_count_replaced(const struct roster *roster)
{
    int count = 0;
    for (int i = 0; i < roster->slot_count; i++) {
        const struct worker *worker = slot_ready_worker(&roster->slots[i]);
        count += roster->slots[i].wanted && worker != NULL &&
                 worker->generation == roster->generation && !worker->replace;
    }
    return count;
}

struct worker *slot_ready_worker(const struct slot *slot)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->state == WORKER_READY)
            return worker;
    return NULL;
}

enum slot_state slot_state_now(const struct slot *slot, int64_t now_ms)
{
    static const struct {
        enum worker_state worker;
        enum slot_state slot;
    } order[] = {{WORKER_READY, SLOT_READY},
                 {WORKER_SUSPECT, SLOT_SUSPECT},
                 {WORKER_STARTING, SLOT_STARTING},
                 {WORKER_DRAINING, SLOT_DRAINING}};
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        const struct worker *worker;
        TAILQ_FOREACH (worker, &slot->workers, in_slot)
            if (worker->state == order[i].worker)
                return order[i].slot;
    }
    if (slot->wanted && slot->start_at_ms > now_ms)
        return SLOT_BACKOFF;
    return SLOT_EMPTY;
}

int roster_count(const struct roster *roster, enum worker_state state)
{
    int count = 0;
    const struct worker *worker;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        count += worker->state == state;
    return count;
}

int roster_count_slots(const struct roster *roster, enum slot_state state, int64_t now_ms)
{
    int count = 0;
    for (int i = 0; i < roster->slot_count; i++)
        count += slot_state_now(&roster->slots[i], now_ms) == state;
    return count;
}

void slot_add_obituary(struct slot *slot, const struct obituary *obituary)
{
    slot->obituary[slot->obituary_count % ROSTER_OBITUARIES] = *obituary;
    slot->obituary_count++;
}

const struct obituary *slot_obituary(const struct slot *slot, unsigned n)
{
    unsigned kept =
        slot->obituary_count < ROSTER_OBITUARIES ? slot->obituary_count : ROSTER_OBITUARIES;
    if (n >= kept)
        return NULL;
    return &slot->obituary[(slot->obituary_count - 1 - n) % ROSTER_OBITUARIES];
}
