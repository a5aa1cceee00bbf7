/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_check - what must be true of every state, of some steps, and at the end.
 */
#include "world_private.h"

#include "common/check.h"
#include "master/roster.h"

/* Polls this slot as far as anybody can know: a worker that died or hangs counts
 * until the master has noticed, for until then nothing can be done about it. */
static bool is_poller(const struct process *process, int slot)
{
    const struct entry *entry = &process->entry;
    bool known_bad = entry->listed && (entry->state == WORKER_SUSPECT || entry->killed);
    return bit_has(process->polls, slot) &&
           !(known_bad && (process->hung || process->life == LIFE_DEAD));
}

/* Was told to poll this slot by a message that it will read, or would have if it had not died. */
static bool will_poll(const struct process *process, int slot)
{
    bool will = process->life == LIFE_DEAD && bit_has(process->entry.assigned, slot);
    for (int i = 0; i < WORLD_INBOX; i++)
        if (process->inbox[i].kind == MAIL_ASSIGN)
            will = bit_has(process->inbox[i].slots, slot);
    return will && process->entry.state != WORKER_SUSPECT;
}

static bool is_covered(const struct world *world, int slot)
{
    for (int i = 0; i < world->process_count; i++)
        if (is_poller(&world->process[i], slot) || will_poll(&world->process[i], slot))
            return true;
    return false;
}

static bool has_poller(const struct world *world, int slot, int except)
{
    for (int i = 0; i < world->process_count; i++)
        if (i != except && is_poller(&world->process[i], slot))
            return true;
    return false;
}

/* Whether it polls the slot when it has read what it was sent. */
static bool goes_on_polling(const struct process *process, int slot)
{
    bool polls = bit_has(process->polls, slot);
    for (int i = 0; i < WORLD_INBOX; i++)
        if (process->inbox[i].kind == MAIL_ASSIGN)
            polls = bit_has(process->inbox[i].slots, slot);
    return polls;
}

/* One that has not said READY may poll its own slot by now: it goes on until it is told otherwise.
 * One that was told to give a slot up because of another one, which then died, gives it up. */
void check_drain(const struct world *world, int process)
{
    const struct process *leaving = &world->process[process];
    if (leaving->entry.state == WORKER_STARTING)
        return;
    for (int i = 0; i < world->slot_count; i++)
        WORLD_REQUIRE(!is_poller(leaving, i) || has_poller(world, i, process) ||
                          (world->troubled && !goes_on_polling(leaving, i)),
                      "a worker is told to drain while it alone polls a socket");
}

void check_spawn(const struct world *world, int slot)
{
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        WORLD_REQUIRE(process->slot != slot || process->life != LIFE_SERVING || process->hung ||
                          process->signalled || process->entry.replace ||
                          process->generation != world->generation ||
                          process->entry.state == WORKER_DRAINING,
                      "a worker is started in a slot that has a good one");
    }
}

/* Whether the master in charge has somebody who could poll. */
static bool has_help(const struct world *world)
{
    if (world->seat != SEAT_TAKEN)
        return false;
    for (int i = 0; i < world->process_count; i++) {
        const struct entry *entry = &world->process[i].entry;
        if (entry->listed && entry->state == WORKER_READY && entry->connected && !entry->leaving &&
            !entry->killed)
            return true;
    }
    return false;
}

void check_step(const struct world *before, const struct world *world)
{
    bool help = has_help(world);
    for (int i = 0; i < world->slot_count; i++) {
        WORLD_REQUIRE(!help || is_covered(world, i),
                      "nobody polls a socket, and nobody was told to");
        /* As long as nothing goes wrong, what was polled is polled. */
        WORLD_REQUIRE(world->troubled || !has_poller(before, i, -1) || has_poller(world, i, -1),
                      "nobody polls a socket any more, though nothing went wrong");
    }
}

static int pollers(const struct world *world, int slot)
{
    int count = 0;
    for (int i = 0; i < world->process_count; i++)
        count += bit_has(world->process[i].polls, slot);
    return count;
}

const char *world_check_end(const struct world *world)
{
    world_broken = NULL;
    WORLD_REQUIRE(world->seat == SEAT_TAKEN, "there is no master in the end");
    WORLD_REQUIRE(master_is_settled(world), "the cluster does not settle");
    WORLD_REQUIRE(world->trial == 0 && !world->rolling, "a reload does not end");
    for (int i = 0; i < world->process_count; i++)
        WORLD_REQUIRE(world->process[i].life == LIFE_SERVING,
                      "a worker that is to leave does not end by itself");
    WORLD_REQUIRE(world->process_count == world->desired,
                  "there are not as many workers as wanted");
    for (int i = 0; i < world->slot_count; i++) {
        WORLD_REQUIRE(pollers(world, i) > 0, "nobody polls a socket in the end");
        WORLD_REQUIRE(pollers(world, i) == 1, "two workers poll a socket for good");
        WORLD_REQUIRE(bit_has(world->program, i) == (i < world->desired),
                      "the kernel does not choose exactly the wanted slots in the end");
    }
    for (int i = 0; i < world->process_count; i++)
        WORLD_REQUIRE(bit_has(world->process[i].polls, world->process[i].slot),
                      "a worker does not own the socket of its slot in the end");
    return world_broken;
}
