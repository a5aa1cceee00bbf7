/* SPDX-License-Identifier: BSD-2-Clause
 *
 * explore - visits every state that the cluster of world.h can get into with a
 * bounded number of workers and misfortunes, and checks each.
 *
 *   explore [-c] [-s SLOTS] [-w WORKERS] [-n FAULTS] [-f KIND=MOST]... [-b STATES] [-m MUTATION]
 *
 * Breadth first, so that the story of a violation is as short as it can be. From
 * a cluster of WORKERS workers (with -c from a cold start: they were just spawned)
 * every order of messages and deadlines and of up to FAULTS misfortunes (of one
 * KIND no more than MOST: crash, hang, scale, reload, master, term) is tried.
 * Checked are:
 *
 * - in every state and step, the rules of world_check.c;
 * - where nothing is left to happen by itself, that the cluster is as it is wanted;
 * - from every state, that without more misfortunes it gets there.
 *
 * Exit status 0: every state was visited and none breaks a rule. 1: one does,
 * and its story was told. 2: there are more than STATES states, or the usage is wrong.
 * With -m, a rule of the master is broken on purpose, and 0 means that it was found.
 */
#include "world.h"

#include "common/check.h"

#include <getopt.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { NOWHERE = UINT32_MAX, CODE_SIZE = sizeof(struct world) + 2 * WORLD_PROCESSES };

struct node {
    size_t code; /* where its bytes begin */
    uint32_t code_length;
    uint32_t parent;
    uint32_t calm; /* the state after its first calm step, NOWHERE: none */
    struct event by;
};

struct search {
    struct world start;
    bool cold;
    struct node *nodes;
    uint32_t node_count, node_limit;
    unsigned char *codes;
    size_t codes_used, codes_size;
    uint32_t *table; /* open addressing: number of a node, or NOWHERE */
    size_t table_size;
    uint64_t steps;
    enum mutation mutation;
};

static void *need(void *memory)
{
    if (memory == NULL) {
        (void)fputs("explore: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

/* ---- a state as few bytes ---- */

static size_t encode_box(const struct mail *box, int size, unsigned char *out)
{
    size_t count = 0;
    while (count < (size_t)size && box[count].kind != MAIL_NONE)
        count++;
    out[0] = (unsigned char)count;
    memcpy(out + 1, box, count * sizeof(*box));
    return 1 + count * sizeof(*box);
}

static size_t decode_box(const unsigned char *in, struct mail *box)
{
    memcpy(box, in + 1, in[0] * sizeof(*box));
    return 1 + in[0] * sizeof(*box);
}

enum { HEAD_SIZE = offsetof(struct world, process), BODY_SIZE = offsetof(struct process, inbox) };

static size_t encode(const struct world *world, unsigned char *out)
{
    size_t length = HEAD_SIZE;
    memcpy(out, world, HEAD_SIZE);
    for (int i = 0; i < world->process_count; i++) {
        const struct process *process = &world->process[i];
        memcpy(out + length, process, BODY_SIZE);
        length += BODY_SIZE;
        length += encode_box(process->inbox, WORLD_INBOX, out + length);
        length += encode_box(process->outbox, WORLD_OUTBOX, out + length);
        memcpy(out + length, &process->entry, sizeof(process->entry));
        length += sizeof(process->entry);
    }
    return length;
}

static void decode(const unsigned char *in, struct world *world)
{
    memset(world, 0, sizeof(*world));
    memcpy(world, in, HEAD_SIZE);
    in += HEAD_SIZE;
    for (int i = 0; i < world->process_count; i++) {
        struct process *process = &world->process[i];
        memcpy(process, in, BODY_SIZE);
        in += BODY_SIZE;
        in += decode_box(in, process->inbox);
        in += decode_box(in, process->outbox);
        memcpy(&process->entry, in, sizeof(process->entry));
        in += sizeof(process->entry);
    }
}

/* ---- the states that were seen ---- */

static uint64_t hash(const unsigned char *bytes, size_t length)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        value = (value ^ bytes[i]) * UINT64_C(0x100000001b3);
    return value ^ value >> 29;
}

static void search_init(struct search *search, uint32_t limit)
{
    search->node_limit = limit;
    search->table_size = 1;
    while (search->table_size < (size_t)limit * 2)
        search->table_size *= 2;
    search->nodes = need(calloc(limit, sizeof(*search->nodes)));
    search->table = need(malloc(search->table_size * sizeof(*search->table)));
    memset(search->table, 0xff, search->table_size * sizeof(*search->table));
}

static void search_fini(struct search *search)
{
    free(search->nodes);
    free(search->codes);
    free(search->table);
}

/* The number of this state; NOWHERE when there is no room for a new one. */
static uint32_t find_or_add(struct search *search, const struct world *world, uint32_t parent,
                            struct event by)
{
    unsigned char code[CODE_SIZE];
    size_t length = encode(world, code);
    size_t at = hash(code, length) & (search->table_size - 1);
    for (; search->table[at] != NOWHERE; at = (at + 1) & (search->table_size - 1)) {
        const struct node *node = &search->nodes[search->table[at]];
        if (node->code_length == length && memcmp(search->codes + node->code, code, length) == 0)
            return search->table[at];
    }
    if (search->node_count == search->node_limit)
        return NOWHERE;
    if (search->codes_used + length > search->codes_size) {
        search->codes_size = search->codes_size == 0 ? 1 << 20 : search->codes_size * 2;
        search->codes = need(realloc(search->codes, search->codes_size));
    }
    memcpy(search->codes + search->codes_used, code, length);
    search->nodes[search->node_count] = (struct node){.code = search->codes_used,
                                                      .code_length = (uint32_t)length,
                                                      .parent = parent,
                                                      .calm = NOWHERE,
                                                      .by = by};
    search->codes_used += length;
    search->table[at] = search->node_count;
    return search->node_count++;
}

static void get_state(const struct search *search, uint32_t number, struct world *out)
{
    decode(search->codes + search->nodes[number].code, out);
}

static const char *begin(const struct search *search, struct world *world)
{
    struct event events[WORLD_EVENTS];
    *world = search->start;
    const char *broken = world_begin(world);
    while (!search->cold && broken == NULL && world_events(world, events) > 0 &&
           world_is_calm(events[0]))
        broken = world_step(world, events[0]);
    return broken;
}

/* ---- the story of a violation ---- */

static void tell_story(const struct search *search, uint32_t end, const struct event *last)
{
    uint32_t length = 0;
    for (uint32_t i = end; i != 0; i = search->nodes[i].parent)
        length++;
    struct event *events = need(calloc(length + 1, sizeof(*events)));
    uint32_t count = length;
    for (uint32_t i = end; i != 0; i = search->nodes[i].parent)
        events[--count] = search->nodes[i].by;
    if (last != NULL)
        events[length++] = *last;
    struct world world;
    world_narrate(stdout);
    (void)begin(search, &world);
    for (uint32_t i = 0; i < length; i++)
        (void)world_step(&world, events[i]);
    world_narrate(NULL);
    free(events);
}

/* ---- the search ---- */

/* Takes every step from one state. NULL, or the broken rule after its story. */
static const char *expand(struct search *search, uint32_t number, bool *full)
{
    struct world world;
    struct event events[WORLD_EVENTS];
    get_state(search, number, &world);
    int count = world_events(&world, events);
    const char *broken = NULL;
    if (count == 0 || !world_is_calm(events[0])) {
        broken = world_check_end(&world);
        if (broken != NULL)
            tell_story(search, number, NULL);
    }
    for (int i = 0; i < count && broken == NULL; i++) {
        struct world next = world;
        search->steps++;
        broken = world_step(&next, events[i]);
        if (broken != NULL) {
            tell_story(search, number, &events[i]);
            break;
        }
        uint32_t to = find_or_add(search, &next, number, events[i]);
        *full = *full || to == NOWHERE;
        if (i == 0 && world_is_calm(events[i]))
            search->nodes[number].calm = to;
    }
    return broken;
}

/* From every state the calm steps must lead to an end, not in a circle. */
static const char *check_arrival(const struct search *search)
{
    const char *broken = NULL;
    uint32_t *seen_from = need(calloc((size_t)search->node_count + 1, sizeof(*seen_from)));
    for (uint32_t i = 0; i < search->node_count && broken == NULL; i++) {
        uint32_t at = i;
        for (; at != NOWHERE && seen_from[at] == 0; at = search->nodes[at].calm)
            seen_from[at] = i + 1;
        if (at != NOWHERE && seen_from[at] == i + 1) {
            broken = "the cluster never comes to rest";
            tell_story(search, at, NULL);
        }
    }
    free(seen_from);
    return broken;
}

static int run(struct search *search)
{
    struct world world;
    bool full = false;
    const char *broken = begin(search, &world);
    if (broken == NULL)
        (void)find_or_add(search, &world, NOWHERE, (struct event){0});
    for (uint32_t i = 0; i < search->node_count && broken == NULL && !full; i++)
        broken = expand(search, i, &full);
    if (broken == NULL && !full)
        broken = check_arrival(search);
    if (broken != NULL)
        (void)printf("BROKEN: %s\n", broken);
    (void)printf("%u states, %llu steps%s\n", search->node_count, (unsigned long long)search->steps,
                 full ? ": more than -b allows, not all were visited" : "");
    if (search->mutation != MUTATION_NONE) {
        (void)printf("the mutation \"%s\" was %sfound\n", mutation_name(search->mutation),
                     broken != NULL ? "" : "not ");
        return broken != NULL ? 0 : 1;
    }
    return broken != NULL ? 1 : full ? 2 : 0;
}

/* ---- the command line ---- */

#define FAULT_NAME(name, text) text,
static const char *const fault_names[] = {WORLD_FAULTS(FAULT_NAME)};

static int usage(void)
{
    (void)fputs(
        "usage: explore [-c] [-s SLOTS] [-w WORKERS] [-n FAULTS] [-f KIND=MOST]... [-b STATES] "
        "[-m MUTATION]\n",
        stderr);
    return 2;
}

static bool read_fault(const char *text, struct world *start)
{
    const char *equals = strchr(text, '=');
    for (int i = 0; equals != NULL && i < FAULT_COUNT; i++) {
        size_t length = (size_t)(equals - text);
        if (strlen(fault_names[i]) == length && strncmp(text, fault_names[i], length) == 0) {
            start->left[i] = (uint8_t)strtoul(equals + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

static bool read_mutation(const char *text, struct search *search)
{
    for (int i = 0; i < MUTATION_COUNT; i++) {
        if (strcmp(text, mutation_name((enum mutation)i)) == 0) {
            search->mutation = (enum mutation)i;
            world_set_mutation(search->mutation);
            return true;
        }
    }
    return false;
}

static bool read_options(int argc, char **argv, struct search *search, uint32_t *limit)
{
    struct world *start = &search->start;
    for (int option; (option = getopt(argc, argv, "cs:w:n:f:b:m:")) != -1;) {
        bool good = true;
        switch (option) {
        case 'c':
            search->cold = true;
            break;
        case 's':
            start->slot_count = (uint8_t)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            start->desired = (uint8_t)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            start->left_in_all = (uint8_t)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            good = read_fault(optarg, start);
            break;
        case 'b':
            *limit = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            good = read_mutation(optarg, search);
            break;
        default:
            good = false;
            break;
        }
        if (!good)
            return false;
    }
    return optind == argc && start->slot_count >= 1 && start->slot_count <= WORLD_SLOTS &&
           start->desired >= 1 && start->desired <= start->slot_count && *limit > 0;
}

int main(int argc, char **argv)
{
    struct search search = {.start = {.slot_count = 2, .desired = 2, .left_in_all = 2}};
    uint32_t limit = 1000000;
    memset(search.start.left, 2, sizeof(search.start.left));
    if (!read_options(argc, argv, &search, &limit))
        return usage();
    /* A roster is made and freed for each step of the master: keep its pages. */
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
    search_init(&search, limit);
    int status = run(&search);
    search_fini(&search);
    return status;
}
