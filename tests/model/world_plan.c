/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_plan - carries out the plans of the real policy, as master_plan.c and
 * master_reload.c do.
 */
#include "world_desk.h"

#include "common/check.h"

#include <signal.h>

enum { ROUNDS = 8 /* as in master_carry_out() */ };

void send_message(struct process *process, struct mail mail)
{
    if (process->link != LINK_UP || process->life == LIFE_DEAD)
        return;
    if (mail.kind == MAIL_ASSIGN) {
        for (int i = 0; i < WORLD_INBOX; i++)
            process->inbox[i].lag += process->inbox[i].kind == MAIL_ASSIGN;
        for (int i = 0; i < WORLD_OUTBOX; i++)
            process->outbox[i].lag += process->outbox[i].kind == MAIL_ASSIGNED;
    }
    post(process->inbox, WORLD_INBOX, mail);
}

static void assign(const struct desk *desk, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    uint8_t slots = to_bits(&action->slots);
    story(desk->world, "    assign %s to %s", story_slots(slots), story_name(index_of(worker)));
    worker_assign(worker, &action->slots, EPOCH);
    if (world_mutation == MUTATION_TRUST_UNCONFIRMED)
        worker->confirmed = worker->assigned;
    send_message(process_of(desk, worker), (struct mail){.kind = MAIL_ASSIGN, .slots = slots});
}

void send_drain(const struct desk *desk, const struct worker *worker)
{
    struct process *process = process_of(desk, worker);
    if (worker->connected)
        send_message(process, (struct mail){.kind = MAIL_DRAIN});
    else if (process->life == LIFE_STARTING)
        process->signalled = 1; /* SIGTERM */
    else if (process->life == LIFE_SERVING && !process->hung) {
        process->life = LIFE_DRAINING;
        process->finishing = 1;
    }
}

static bool serves(const struct desk *desk, int slot)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &desk->roster->slots[slot].workers, in_slot)
        if (worker->state == WORKER_READY && !worker->leaving && worker->kill_signal == 0)
            return true;
    return false;
}

static void drain(const struct desk *desk, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    story(desk->world, "    drain %s", story_name(index_of(worker)));
    worker->ending = action->reason;
    worker->drain_deadline_ms = NOW_MS + DRAIN_TIMEOUT_MS;
    bool was_ready = worker->state == WORKER_READY;
    desk_note(desk);
    check_drain(desk->world, index_of(worker));
    worker_enter(worker, WORKER_DRAINING, NOW_MS);
    WORLD_REQUIRE(!was_ready || !slot_set_has(&desk->steered, (unsigned)worker->slot) ||
                      serves(desk, worker->slot),
                  "a worker is told to drain while the kernel chooses it and nobody else is there");
    send_drain(desk, worker);
}

void send_signal(struct world *world, int process, int signal)
{
    if (world->process[process].life == LIFE_DEAD)
        return;
    if (signal == SIGKILL)
        process_die(world, process);
    else
        world->process[process].signalled = 1;
}

static void kill_worker(const struct desk *desk, const struct policy_action *action)
{
    struct worker *worker = action->worker;
    story(desk->world, "    kill %s", story_name(index_of(worker)));
    if (worker->ending == DEATH_NONE)
        worker->ending = action->reason;
    worker->kill_signal = action->signal;
    worker->kill_sent_ms = NOW_MS;
    send_signal(desk->world, index_of(worker), action->signal);
}

static void spawn(struct desk *desk, int slot, uint64_t generation)
{
    bool canary = generation == desk->roster->trial.generation;
    desk_note(desk);
    if (!canary)
        check_spawn(desk->world, slot);
    int index = process_add(desk->world, slot, (uint8_t)generation);
    if (index < 0)
        return;
    story(desk->world, "    spawn %s%s", story_name(index), canary ? ", the canary" : "");
    desk->world->process[index].entry.listed = 1;
    desk->of[index] = roster_add(desk->roster, slot, index + 1, NOW_MS);
    WORLD_REQUIRE(desk->of[index] != NULL, "a slot has more workers than may pile up");
    if (desk->of[index] != NULL)
        desk->of[index]->generation = generation;
}

/* ---- reloads, as master_reload.c ---- */

static void set_generation(struct desk *desk, uint8_t generation)
{
    desk->world->generation = generation;
    desk->roster->generation = generation;
}

static void promote(struct desk *desk)
{
    story(desk->world, "    the canary is well, the others follow");
    desk->world->previous_generation = desk->world->generation;
    set_generation(desk, (uint8_t)desk->roster->trial.generation);
    desk->roster->trial.generation = 0;
    desk->roster->rolling = true;
    for (int i = 0; i < desk->roster->slot_count; i++)
        desk->roster->slots[i].start_at_ms = 0;
}

void take_back(struct desk *desk)
{
    story(desk->world, "    the reload is taken back");
    if (desk->roster->trial.generation != 0)
        desk->roster->trial.generation = 0;
    else if (desk->roster->rolling)
        set_generation(desk, desk->world->previous_generation);
    desk->roster->rolling = false;
}

/* ---- the plan ---- */

static void steer(struct desk *desk, const struct slot_set *slots)
{
    story(desk->world, "    steer to %s", story_slots(to_bits(slots)));
    desk->steered = *slots;
    desk->world->program = to_bits(slots);
}

static void carry_out_one(struct desk *desk, const struct policy_action *action)
{
    switch (action->kind) {
    case POLICY_STEER:
        steer(desk, &action->slots);
        break;
    case POLICY_SPAWN:
        spawn(desk, action->slot, action->generation);
        break;
    case POLICY_ASSIGN:
        assign(desk, action);
        break;
    case POLICY_DRAIN:
        drain(desk, action);
        break;
    case POLICY_SUSPECT:
        story(desk->world, "    suspect %s", story_name(index_of(action->worker)));
        worker_enter(action->worker, WORKER_SUSPECT, NOW_MS);
        break;
    case POLICY_TRUST:
        story(desk->world, "    trust %s", story_name(index_of(action->worker)));
        worker_enter(action->worker, WORKER_READY, NOW_MS);
        break;
    case POLICY_KILL:
    case POLICY_CUT:
        kill_worker(desk, action);
        break;
    case POLICY_PROMOTE:
        promote(desk);
        break;
    case POLICY_TAKE_BACK:
        take_back(desk);
        break;
    case POLICY_RECYCLE: /* the rules have no bounds */
    case POLICY_ACTION_COUNT:
        break;
    }
}

/* With nobody who serves, connections wait where they would have gone. */
static void check_program(const struct desk *desk)
{
    bool anybody = false;
    for (int i = 0; i < desk->world->slot_count; i++)
        anybody = anybody || serves(desk, i);
    for (int i = 0; anybody && i < desk->world->slot_count; i++)
        WORLD_REQUIRE(!bit_has(desk->world->program, i) || serves(desk, i),
                      "the kernel chooses a slot that nobody serves");
}

void carry_out(struct desk *desk)
{
    struct policy_plan *plan = &desk->plan;
    for (int round = 0; round < ROUNDS; round++) {
        policy_decide(desk->roster, &desk_rules, &desk->steered, NOW_MS, plan);
        CHECK(!plan->failed);
        if (plan->count == 0) {
            check_program(desk);
            if (policy_settled(desk->roster))
                desk->roster->rolling = false;
            return;
        }
        for (int i = 0; i < plan->count; i++) {
            int next = world_mutation == MUTATION_STEER_LAST ? plan->count - 1 - i : i;
            if (world_mutation != MUTATION_NEVER_SUSPECT ||
                plan->actions[next].kind != POLICY_SUSPECT)
                carry_out_one(desk, &plan->actions[next]);
        }
        if (world_mutation == MUTATION_NEVER_SUSPECT)
            break;
    }
    WORLD_REQUIRE(world_mutation == MUTATION_NEVER_SUSPECT, "the plan never becomes empty");
}
