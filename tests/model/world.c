/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world - the workers and their connections, the story, and how a step is taken.
 */
#include "world_private.h"

#include "common/check.h"

#include <stdarg.h>
#include <string.h>

const char *world_broken;
enum mutation world_mutation;

#define NAME_OF(name, text) text,
static const char *const mail_names[] = {WORLD_MAILS(NAME_OF)};
static const char *const life_names[] = {WORLD_LIVES(NAME_OF)};
static const char *const mutation_names[] = {WORLD_MUTATIONS(NAME_OF)};

const char *mutation_name(enum mutation mutation)
{
    return mutation_names[mutation];
}

void world_set_mutation(enum mutation mutation)
{
    world_mutation = mutation;
}

/* ---- the story ---- */

static FILE *narrator;
static struct {
    char name[WORLD_PROCESSES][8];
    int born[WORLD_SLOTS];
} cast;

void world_narrate(FILE *out)
{
    narrator = out;
    memset(&cast, 0, sizeof(cast));
}

void story(const struct world *world, const char *format, ...)
{
    (void)world;
    if (narrator == NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(narrator, format, arguments);
    va_end(arguments);
    (void)fputc('\n', narrator);
}

const char *story_name(int process)
{
    return cast.name[process];
}

const char *story_slots(uint8_t set)
{
    static char text[4][16];
    static int turn;
    char *out = text[turn++ % 4];
    int length = 0;
    out[length++] = '{';
    for (int i = 0; i < WORLD_SLOTS; i++)
        if (bit_has(set, i))
            out[length++] = (char)('0' + i);
    out[length++] = '}';
    out[length] = '\0';
    return out;
}

static void cast_enters(int process, int slot)
{
    if (narrator != NULL)
        (void)snprintf(cast.name[process], sizeof(cast.name[0]), "%c%d", 'a' + slot,
                       ++cast.born[slot] % 1000);
}

static void cast_leaves(int process)
{
    if (narrator != NULL)
        memmove(cast.name[process], cast.name[process + 1],
                sizeof(cast.name[0]) * (size_t)(WORLD_PROCESSES - process - 1));
}

/* ---- connections and processes ---- */

void post(struct mail *box, int size, struct mail mail)
{
    for (int i = 0; i < size - 1; i++) { /* the last one stays empty */
        if (box[i].kind == MAIL_NONE) {
            box[i] = mail;
            return;
        }
    }
    WORLD_REQUIRE(false, "the model's own bound: too many messages under way on a connection");
}

struct mail take(struct mail *box)
{
    struct mail first = box[0];
    int i = 0;
    for (; box[i + 1].kind != MAIL_NONE; i++)
        box[i] = box[i + 1];
    box[i] = (struct mail){0};
    return first;
}

int process_add(struct world *world, int slot, uint8_t generation)
{
    if (world->process_count == WORLD_PROCESSES) {
        WORLD_REQUIRE(false, "the model's own bound: too many processes");
        return -1;
    }
    int index = world->process_count++;
    world->process[index] = (struct process){.slot = (uint8_t)slot, .generation = generation};
    cast_enters(index, slot);
    return index;
}

void process_remove(struct world *world, int index)
{
    cast_leaves(index);
    world->process_count--;
    memmove(&world->process[index], &world->process[index + 1],
            sizeof(struct process) * (size_t)(world->process_count - index));
    world->process[world->process_count] = (struct process){0};
}

/* ---- what a worker does ---- */

static void tell(struct process *process, enum mail_kind kind)
{
    if (process->link == LINK_UP)
        post(process->outbox, WORLD_OUTBOX,
             (struct mail){.kind = kind, .slots = process->polls, .life = process->life});
}

void process_die(struct world *world, int index)
{
    struct process *process = &world->process[index];
    process->life = LIFE_DEAD;
    process->hung = process->signalled = process->finishing = 0;
    process->entry.probation = 0;
    memset(process->inbox, 0, sizeof(process->inbox));
    if (process->link != LINK_UP)
        process->link = LINK_NONE;
    if (world->seat == SEAT_EMPTY || !process->entry.listed)
        process_remove(world, index);
}

static void connect_to_master(struct world *world, int index)
{
    struct process *process = &world->process[index];
    story(world, "%s (%s, polls %s) connects", story_name(index), life_names[process->life],
          story_slots(process->polls));
    process->link = LINK_UP;
    tell(process, MAIL_HELLO);
}

/* Only who starts ends because of it; the others connect again when there is a new one. */
static void notice_no_master(struct world *world, int index)
{
    story(world, "%s finds that there is no master and exits", story_name(index));
    process_die(world, index);
}

static void drain(struct world *world, int index, bool stop_listening)
{
    struct process *process = &world->process[index];
    if (process->life == LIFE_STARTING) {
        process_die(world, index);
        return;
    }
    process->life = LIFE_DRAINING;
    process->finishing |= stop_listening;
}

static void take_assignment(struct process *process, struct mail mail)
{
    process->polls = mail.slots;
    if (process->life == LIFE_STARTING) {
        process->life = LIFE_SERVING;
        tell(process, MAIL_READY);
    }
    if (process->link == LINK_UP)
        post(process->outbox, WORLD_OUTBOX,
             (struct mail){.kind = MAIL_ASSIGNED, .slots = process->polls, .lag = mail.lag});
}

static void read_message(struct world *world, int index)
{
    struct process *process = &world->process[index];
    struct mail mail = take(process->inbox);
    bool broken = process->link == LINK_BROKEN && process->inbox[0].kind == MAIL_NONE;
    story(world, "%s (%s) reads %s %s", story_name(index), life_names[process->life],
          mail_names[mail.kind], mail.kind == MAIL_ASSIGN ? story_slots(mail.slots) : "");
    if (broken)
        process->link = LINK_NONE;
    switch ((enum mail_kind)mail.kind) {
    case MAIL_ASSIGN:
        take_assignment(process, mail);
        break;
    case MAIL_DRAIN:
        drain(world, index, false);
        break;
    case MAIL_REFUSED:
        process->link = LINK_NONE;
        process->polls = 0;
        drain(world, index, true);
        break;
    case MAIL_NONE:
    case MAIL_HELLO:
    case MAIL_READY:
    case MAIL_ASSIGNED:
    case MAIL_REPORT:
    case MAIL_COUNT:
        break;
    }
}

static void resume(struct world *world, int index, bool probation)
{
    struct process *process = &world->process[index];
    story(world, "%s goes on%s", story_name(index), probation ? ", on probation" : "");
    process->hung = 0;
    process->entry.probation = probation;
    if (process->life != LIFE_STARTING && process->entry.late > 0)
        tell(process, MAIL_REPORT);
}

static void terminate(struct world *world, int index)
{
    story(world, "%s is told to end by somebody else", story_name(index));
    drain(world, index, true);
    if (index < world->process_count)
        tell(&world->process[index], MAIL_REPORT);
}

static void end(struct world *world, int index)
{
    story(world, "%s (polls %s) has finished and exits", story_name(index),
          story_slots(world->process[index].polls));
    tell(&world->process[index], MAIL_REPORT);
    process_die(world, index);
}

static void crash(struct world *world, int index)
{
    story(world, "%s dies", story_name(index));
    process_die(world, index);
}

/* What the dead master had sent is still read; what it had not read is lost. */
static void master_dies(struct world *world)
{
    story(world, "the master is killed");
    world->seat = SEAT_EMPTY;
    for (int i = world->process_count - 1; i >= 0; i--) {
        struct process *process = &world->process[i];
        memset(process->outbox, 0, sizeof(process->outbox));
        if (process->link == LINK_UP)
            process->link = process->inbox[0].kind == MAIL_NONE && process->life != LIFE_STARTING
                                ? LINK_NONE
                                : LINK_BROKEN;
        if (process->life == LIFE_DEAD)
            process_remove(world, i);
    }
}

/* ---- taking a step ---- */

static void hear(struct world *world, int index)
{
    struct process *process = &world->process[index];
    struct mail mail = take(process->outbox);
    story(world, "the master hears %s %s from %s", mail_names[mail.kind],
          mail.kind == MAIL_ASSIGNED || mail.kind == MAIL_HELLO ? story_slots(mail.slots) : "",
          story_name(index));
    master_hears(world, index, mail);
}

static void use_up(struct world *world, enum fault fault)
{
    world->left[fault]--;
    world->left_in_all--;
}

static void take_step(struct world *world, struct event event)
{
    int who = event.who;
    switch ((enum event_kind)event.kind) {
    case EVENT_CONNECT:
        connect_to_master(world, who);
        break;
    case EVENT_READ:
        read_message(world, who);
        break;
    case EVENT_NOTICE:
        notice_no_master(world, who);
        break;
    case EVENT_HEAR:
        hear(world, who);
        break;
    case EVENT_END:
        end(world, who);
        break;
    case EVENT_BURY:
        story(world, "the master learns that %s is dead", story_name(who));
        master_buries(world, who);
        break;
    case EVENT_LATE:
        story(world, "a deadline for %s passes", story_name(who));
        master_deadline(world, who);
        break;
    case EVENT_SIGNAL:
        crash(world, who);
        break;
    case EVENT_PROBATION:
        story(world, "the probation of %s is over", story_name(who));
        master_probation_over(world, who);
        break;
    case EVENT_PROVEN:
        story(world, "%s has been well for long enough", story_name(who));
        master_proven(world, who);
        break;
    case EVENT_OVERDUE:
        story(world, "the canary has had its time");
        master_overdue(world);
        break;
    case EVENT_BACKOFF:
        story(world, "slot %d has waited long enough", who);
        master_backoff_over(world, who);
        break;
    case EVENT_MASTER_STARTS:
        story(world, "a new master starts and calls the roll");
        master_calls_roll(world);
        break;
    case EVENT_CALL_OVER:
        story(world, "the roll call ends");
        master_ends_call(world);
        break;
    case EVENT_RESUME:
        resume(world, who, event.arg != 0);
        break;
    case EVENT_CRASH:
        use_up(world, FAULT_CRASH);
        world->troubled = 1;
        crash(world, who);
        break;
    case EVENT_HANG:
        story(world, "%s hangs", story_name(who));
        use_up(world, FAULT_HANG);
        world->troubled = 1;
        world->process[who].hung = 1;
        break;
    case EVENT_SCALE:
        story(world, "somebody asks for %d workers", event.arg);
        use_up(world, FAULT_SCALE);
        master_scales(world, event.arg);
        break;
    case EVENT_RELOAD:
        story(world, "somebody asks for a reload");
        use_up(world, FAULT_RELOAD);
        master_reloads(world);
        break;
    case EVENT_MASTER_DIES:
        use_up(world, FAULT_MASTER);
        master_dies(world);
        break;
    case EVENT_TERM:
        use_up(world, FAULT_TERM);
        terminate(world, who);
        break;
    case EVENT_COUNT:
        break;
    }
}

const char *world_step(struct world *world, struct event event)
{
    const struct world before = *world;
    world_broken = NULL;
    take_step(world, event);
    check_step(&before, world);
    return world_broken;
}

const char *world_begin(struct world *world)
{
    world_broken = NULL;
    world->generation = world->newest_generation = 1;
    world->seat = SEAT_TAKEN;
    master_begins(world);
    return world_broken;
}
