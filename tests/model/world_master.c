/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_master - what happens to the master: messages, deaths, deadlines, what
 * people ask for, and the roll call; as master_workers.c, master_deaths.c and
 * master_roll.c have it, without sockets and processes.
 */
#include "world_desk.h"

#include <signal.h>
#include <string.h>

/* ---- messages, as master_workers.c ---- */

static void end_start(const struct desk *desk, struct worker *worker)
{
    worker->ending = DEATH_RESTART;
    worker->kill_signal = SIGKILL;
    send_signal(desk->world, index_of(worker), SIGKILL);
}

static void on_hello(struct desk *desk, struct worker *worker, struct mail mail)
{
    if (mail.life == LIFE_STARTING && worker_is_outdated(desk->roster, worker))
        worker->replace = true;
    worker->connected = true;
    worker->assign_epoch = 0;
    worker->assigned = worker->confirmed = to_set(mail.slots);
    if (world_mutation == MUTATION_FORGET_HELLO_SLOTS)
        worker->assigned = worker->confirmed = to_set(0);
    if (mail.life == LIFE_DRAINING && worker_is_live(worker)) {
        worker->ending = DEATH_RESTART;
        worker->drain_deadline_ms = NOW_MS + DRAIN_TIMEOUT_MS;
        worker_enter(worker, WORKER_DRAINING, NOW_MS);
    }
    /* As master_roll_hello(), for who was started by a master before this one. */
    if (worker->state == WORKER_STARTING && mail.life == LIFE_SERVING) {
        worker->ending = DEATH_NONE;
        worker_enter(worker, WORKER_READY, NOW_MS);
    } else if (worker->state == WORKER_STARTING && desk->world->seat == SEAT_CALLING)
        end_start(desk, worker);
    if (worker->state == WORKER_DRAINING)
        send_drain(desk, worker);
}

static void on_assigned(struct worker *worker, struct mail mail)
{
    const struct slot_set slots = to_set(mail.slots);
    if (world_mutation == MUTATION_BELIEVE_LATE_REPLY)
        worker->confirmed = slots;
    worker_confirm(worker, &slots, EPOCH - mail.lag);
}

/* Somebody else told it to end: as on_leaving(). */
static void on_leaving(struct worker *worker)
{
    if (!worker_is_live(worker) || worker->replace)
        return;
    worker->replace = true;
    worker->leaving = true;
    worker->ending = DEATH_RESTART;
}

static void on_report(struct worker *worker, struct entry *entry, struct mail mail)
{
    worker->last_report_ms = NOW_MS;
    if (worker->state == WORKER_READY || worker->state == WORKER_SUSPECT)
        entry->late = 0;
    if (mail.life == LIFE_DRAINING || mail.life == LIFE_DEAD)
        on_leaving(worker);
}

static void on_message(struct desk *desk, int index, struct mail mail)
{
    struct worker *worker = desk->of[index];
    switch ((enum mail_kind)mail.kind) {
    case MAIL_HELLO:
        on_hello(desk, worker, mail);
        if (mail.life != LIFE_STARTING) /* METRICS follows at once */
            on_report(worker, &desk->world->process[index].entry, mail);
        break;
    case MAIL_READY:
        if (worker->state == WORKER_STARTING) {
            worker_enter(worker, WORKER_READY, NOW_MS);
            worker->last_report_ms = NOW_MS;
        }
        break;
    case MAIL_ASSIGNED:
        on_assigned(worker, mail);
        break;
    case MAIL_REPORT:
        on_report(worker, &desk->world->process[index].entry, mail);
        break;
    case MAIL_NONE: /* the end of a connection */
        worker->connected = false;
        break;
    case MAIL_ASSIGN:
    case MAIL_DRAIN:
    case MAIL_REFUSED:
    case MAIL_COUNT:
        break;
    }
}

void master_hears(struct world *world, int process, struct mail mail)
{
    struct desk desk;
    if (!world->process[process].entry.listed) {
        if (mail.kind == MAIL_HELLO) {
            send_message(&world->process[process], (struct mail){.kind = MAIL_REFUSED});
            memset(world->process[process].outbox, 0, sizeof(world->process[process].outbox));
        }
        return;
    }
    desk_open(world, &desk);
    on_message(&desk, process, mail);
    if (world->seat == SEAT_TAKEN)
        carry_out(&desk);
    desk_close(&desk);
}

/* ---- deaths, as master_deaths.c ---- */

static bool was_asked(enum death_reason ending)
{
    return ending == DEATH_RESTART || ending == DEATH_RELOAD || ending == DEATH_RECYCLE ||
           ending == DEATH_SCALE_DOWN || ending == DEATH_SHUTDOWN;
}

static void book_death(struct desk *desk, const struct worker *worker)
{
    struct slot *slot = &desk->roster->slots[worker->slot];
    if (was_asked(worker->ending))
        return;
    if (!worker_is_canary(desk->roster, worker)) {
        struct policy_backoff next =
            policy_after_death(&desk_rules, slot->early_deaths, 1, worker->ready_ms != 0, false);
        slot->early_deaths = next.early_deaths;
        slot->start_at_ms = next.backoff_ms > 0 ? NOW_MS + next.backoff_ms : 0;
    }
    if (policy_death_ends_roll(desk->roster, &desk_rules, worker, NOW_MS))
        take_back(desk);
}

void master_buries(struct world *world, int process)
{
    struct desk desk;
    desk_open(world, &desk);
    /* What it managed to say before it died still counts. */
    while (world->process[process].outbox[0].kind != MAIL_NONE)
        on_message(&desk, process, take(world->process[process].outbox));
    struct worker *worker = desk.of[process];
    book_death(&desk, worker);
    worker_enter(worker, WORKER_DEAD, NOW_MS);
    roster_remove(desk.roster, worker);
    process_remove(world, process);
    for (int i = process; i < WORLD_PROCESSES - 1; i++) {
        desk.of[i] = desk.of[i + 1];
        if (desk.of[i] != NULL)
            desk.of[i]->pid = i + 1;
    }
    desk.of[WORLD_PROCESSES - 1] = NULL;
    if (world->seat == SEAT_TAKEN)
        carry_out(&desk);
    desk_close(&desk);
}

/* ---- what time and people want ---- */

static void decide(struct world *world)
{
    struct desk desk;
    desk_open(world, &desk);
    carry_out(&desk);
    desk_close(&desk);
}

void master_deadline(struct world *world, int process)
{
    world->process[process].entry.late++;
    decide(world);
}

void master_backoff_over(struct world *world, int slot)
{
    world->backing_off[slot] = 0;
    decide(world);
}

void master_scales(struct world *world, int desired)
{
    world->desired = (uint8_t)desired;
    decide(world);
}

void master_probation_over(struct world *world, int process)
{
    world->process[process].entry.probation = 0;
    decide(world);
}

void master_proven(struct world *world, int process)
{
    world->process[process].entry.proven = 1;
    decide(world);
}

void master_overdue(struct world *world)
{
    world->trial_overdue = 1;
    decide(world);
}

void master_reloads(struct world *world)
{
    world->trial = ++world->newest_generation;
    decide(world);
}

void master_begins(struct world *world)
{
    decide(world);
}

/* ---- the roll call, as master_roll.c ---- */

static void adopt(struct world *world, int index)
{
    struct entry *entry = &world->process[index].entry;
    uint8_t state = entry->state == WORKER_SUSPECT ? WORKER_READY : entry->state;
    if (world_mutation == MUTATION_NO_STATE_FILE)
        entry->listed = 0;
    *entry = (struct entry){.listed = entry->listed,
                            .state = state,
                            .ending = state == WORKER_READY ? DEATH_NONE : DEATH_RESTART,
                            .assigned = all_slots(world), /* until it says which */
                            .was_ready = state != WORKER_STARTING};
}

void master_calls_roll(struct world *world)
{
    world->seat = SEAT_CALLING;
    world->steered = 0;
    world->trial = world->trial_overdue = world->rolling = 0;
    memset(world->early_deaths, 0, sizeof(world->early_deaths));
    memset(world->backing_off, 0, sizeof(world->backing_off));
    for (int i = 0; i < world->process_count; i++)
        adopt(world, i);
}

static void kill_the_stuck(struct world *world)
{
    for (int i = world->process_count - 1; i >= 0; i--) {
        story(world, "    kill %s", story_name(i));
        world->process[i].entry.killed = 1;
        world->process[i].entry.ending = DEATH_HANG;
        send_signal(world, i, SIGKILL);
    }
}

static void suspect_the_silent(struct world *world)
{
    for (int i = 0; i < world->process_count; i++) {
        struct entry *entry = &world->process[i].entry;
        if (entry->listed && entry->state == WORKER_STARTING) {
            story(world, "    kill %s", story_name(i));
            entry->killed = 1;
            entry->ending = DEATH_RESTART;
            /* Ten tries were not enough for it to say that it serves: as good as hung. */
            world->troubled = 1;
            send_signal(world, i, SIGKILL);
        }
        if (!entry->listed || entry->connected || entry->state != WORKER_READY)
            continue;
        story(world, "    suspect %s", story_name(i));
        entry->state = WORKER_SUSPECT;
        entry->late = 1;
    }
}

void master_ends_call(struct world *world)
{
    bool heard = false, anybody = false;
    for (int i = 0; i < world->process_count; i++) {
        heard = heard || world->process[i].entry.connected;
        anybody = anybody || world->process[i].entry.listed;
    }
    if (anybody && !heard) {
        kill_the_stuck(world);
        return;
    }
    suspect_the_silent(world);
    world->seat = SEAT_TAKEN;
    decide(world);
}

bool master_is_settled(const struct world *world)
{
    struct world copy = *world;
    struct desk desk;
    desk_open(&copy, &desk);
    bool settled = policy_settled(desk.roster);
    desk_close(&desk);
    return settled;
}
