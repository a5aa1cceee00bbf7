/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 */
#include "master/dispatch.h"

#include "master/consistent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

const char *dispatch_algorithm_name(enum balance_algorithm algorithm)
{
    switch (algorithm) {
    case BALANCE_ROUND_ROBIN:
        return "round-robin";
    case BALANCE_WEIGHTED:
        return "weighted";
    case BALANCE_LEAST_CONNECTIONS:
        return "least-connections";
    case BALANCE_IP_HASH:
        return "ip-hash";
    case BALANCE_CONSISTENT_HASH:
        return "consistent-hash";
    }
    return "unknown";
}

static void emit(struct dispatch_program *program, struct sock_filter instruction)
{
    CHECK(program->count < DISPATCH_MAX_INSTRUCTIONS);
    program->code[program->count++] = instruction;
}

static void emit_op(struct dispatch_program *program, unsigned code, uint32_t k)
{
    emit(program, (struct sock_filter)BPF_STMT((unsigned short)code, k));
}

static void emit_return(struct dispatch_program *program, uint32_t value)
{
    emit_op(program, BPF_RET | BPF_K, value);
}

/* ---- the number ---- */

enum {
    IP_VERSION = 0,
    V4_SOURCE = 12,
    V6_SOURCE = 8,
};

static void emit_load(struct dispatch_program *program, unsigned size, unsigned offset)
{
    emit_op(program, BPF_LD | size | BPF_ABS, (uint32_t)SKF_NET_OFF + offset);
}

/* A ^= A >> shift */
static void emit_fold(struct dispatch_program *program, uint32_t shift)
{
    emit_op(program, BPF_MISC | BPF_TAX, 0);
    emit_op(program, BPF_ALU | BPF_RSH | BPF_K, shift);
    emit_op(program, BPF_ALU | BPF_XOR | BPF_X, 0);
}

static void emit_multiply(struct dispatch_program *program, uint32_t factor)
{
    emit_op(program, BPF_ALU | BPF_MUL | BPF_K, factor);
}

/* The first 64 bits of the source address, one half mixed into the other: what
 * a household or a host chooses for itself is in the last 64. */
static void emit_v6_prefix(struct dispatch_program *program)
{
    emit_load(program, BPF_W, V6_SOURCE);
    emit_multiply(program, 0x9e3779b1);
    emit_fold(program, 15);
    emit_multiply(program, 0x85ebca77);
    emit_op(program, BPF_MISC | BPF_TAX, 0);
    emit_load(program, BPF_W, V6_SOURCE + 4);
    emit_op(program, BPF_ALU | BPF_XOR | BPF_X, 0);
}

/* A hash of the client's address. Multiplying by an odd number and folding are
 * reversible, so different addresses have different hashes; two rounds are
 * enough for neighbours to have nothing in common. */
static void emit_hash(struct dispatch_program *program, enum dispatch_network network)
{
    switch (network) {
    case DISPATCH_IPV4:
        emit_load(program, BPF_W, V4_SOURCE);
        break;
    case DISPATCH_IPV6:
        emit_v6_prefix(program);
        break;
    case DISPATCH_DUAL: {
        emit_load(program, BPF_B, IP_VERSION);
        emit_op(program, BPF_ALU | BPF_RSH | BPF_K, 4);
        /* IPv4: the next two instructions, the second of which jumps over the others. */
        emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 2));
        emit_load(program, BPF_W, V4_SOURCE);
        unsigned short jump = program->count;
        emit_op(program, BPF_JMP | BPF_JA, 0);
        emit_v6_prefix(program);
        program->code[jump].k = (uint32_t)(program->count - jump - 1);
        break;
    }
    }
    emit_fold(program, 16);
    emit_multiply(program, 0x7feb352d);
    emit_fold(program, 15);
    emit_multiply(program, 0x846ca68b);
    emit_fold(program, 16);
}

static void emit_number(struct dispatch_program *program, enum balance_algorithm algorithm,
                        enum dispatch_network network)
{
    switch (algorithm) {
    case BALANCE_ROUND_ROBIN:
    case BALANCE_WEIGHTED:
    case BALANCE_LEAST_CONNECTIONS:
        emit_op(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
        break;
    case BALANCE_IP_HASH:
    case BALANCE_CONSISTENT_HASH:
        emit_hash(program, network);
        break;
    }
}

/* ---- the tree ---- */

/* Slots slot, slot+1, ... own `width` numbers each, from `start` on. */
struct run {
    uint32_t start;
    uint32_t width;
    uint16_t slot;
    uint16_t count;
};

struct tree {
    struct run run[CONSISTENT_BUCKETS_MANY];
    int run_count;
    uint32_t total; /* numbers are 0..total-1 */
    int first_index;
};

/* Gives the next `width` numbers to a slot. */
static void add_range(struct tree *tree, uint32_t width, uint16_t slot, bool may_widen)
{
    struct run *last = tree->run_count > 0 ? &tree->run[tree->run_count - 1] : NULL;
    if (last != NULL && may_widen && last->count == 1 && last->slot == slot) {
        last->width += width;
    } else if (last != NULL && !may_widen && last->width == width &&
               last->slot + last->count == slot) {
        last->count++;
    } else {
        CHECK(tree->run_count < (int)ARRAY_COUNT(tree->run));
        tree->run[tree->run_count++] = (struct run){tree->total, width, slot, 1};
    }
    tree->total += width;
}

enum { ADD_K = BPF_ALU | BPF_ADD }; /* BPF_K is 0, as BPF_ADD is */

static unsigned leaf_size(const struct run *run)
{
    if (run->count == 1)
        return 1;
    return run->width == 1 ? 2 : 4;
}

static void emit_leaf(struct dispatch_program *program, const struct run *run, int first_index)
{
    uint32_t index = run->slot + (uint32_t)first_index;
    if (run->count == 1) {
        emit_return(program, index);
        return;
    }
    if (run->width == 1) {
        emit_op(program, ADD_K, index - run->start);
    } else {
        emit_op(program, BPF_ALU | BPF_SUB | BPF_K, run->start);
        emit_op(program, BPF_ALU | BPF_DIV | BPF_K, run->width);
        emit_op(program, ADD_K, index);
    }
    emit_op(program, BPF_RET | BPF_A, 0);
}

enum { LONGEST_BRANCH = 255 }; /* how far a conditional jump reaches */

static unsigned tree_size(const struct tree *tree, int lo, int hi)
{
    if (hi - lo == 1)
        return leaf_size(&tree->run[lo]);
    int middle = lo + (hi - lo) / 2;
    unsigned left = tree_size(tree, lo, middle);
    return (left > LONGEST_BRANCH ? 2 : 1) + left + tree_size(tree, middle, hi);
}

/* Returns the slot that owns the number in A: log2(n) comparisons for a
 * connection, not n. */
static void emit_tree(struct dispatch_program *program, const struct tree *tree, int lo, int hi)
{
    if (hi - lo == 1) {
        emit_leaf(program, &tree->run[lo], tree->first_index);
        return;
    }
    int middle = lo + (hi - lo) / 2;
    uint32_t start = tree->run[middle].start;
    unsigned left = tree_size(tree, lo, middle);
    if (left <= LONGEST_BRANCH) {
        emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, start,
                                                   (unsigned char)left, 0));
    } else {
        emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, start, 0, 1));
        emit_op(program, BPF_JMP | BPF_JA, left);
    }
    emit_tree(program, tree, lo, middle);
    emit_tree(program, tree, middle, hi);
}

/* ---- the weights ---- */

static bool all_zero(const struct dispatch_choice *choice)
{
    for (int i = 0; i < choice->slot_count; i++)
        if (slot_set_has(&choice->slots, (unsigned)i) && choice->weight[i] > 0)
            return false;
    return true;
}

/* The weight of one slot as the algorithm takes it, 0 for one that is not in the set. */
static unsigned weight_of(const struct dispatch_choice *choice, int slot, bool even)
{
    if (!slot_set_has(&choice->slots, (unsigned)slot))
        return 0;
    return even ? 1 : choice->weight[slot];
}

static bool is_even(const struct dispatch_choice *choice)
{
    return choice->algorithm == BALANCE_ROUND_ROBIN || all_zero(choice);
}

static unsigned common_divisor(unsigned a, unsigned b)
{
    while (b != 0) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void spread_by_weight(const struct dispatch_choice *choice, struct tree *tree)
{
    bool even = is_even(choice);
    unsigned divisor = 0;
    for (int i = 0; i < choice->slot_count; i++)
        divisor = common_divisor(divisor, weight_of(choice, i, even));
    for (int i = 0; i < choice->slot_count; i++) {
        unsigned weight = weight_of(choice, i, even);
        if (weight > 0)
            add_range(tree, weight / divisor, (uint16_t)i, false);
    }
}

static void spread_by_table(const struct dispatch_choice *choice, struct tree *tree)
{
    uint16_t owner[CONSISTENT_BUCKETS_MANY], weight[CONTRACT_MAX_SLOTS];
    for (int i = 0; i < choice->slot_count; i++)
        weight[i] = choice->weight[i] > 0 ? choice->weight[i] : 1;
    consistent_assign(&choice->slots, weight, choice->slot_count, owner);
    int count = consistent_bucket_count(choice->slot_count);
    for (int bucket = 0; bucket < count; bucket++)
        add_range(tree, 1, owner[bucket], true);
}

static bool is_empty(const struct dispatch_choice *choice)
{
    for (int i = 0; i < choice->slot_count; i++)
        if (slot_set_has(&choice->slots, (unsigned)i))
            return false;
    return true;
}

int dispatch_build(const struct dispatch_choice *choice, const struct dispatch_group *group,
                   struct dispatch_program *out)
{
    CHECK(choice->slot_count <= CONTRACT_MAX_SLOTS);
    if (is_empty(choice))
        return -EINVAL;
    struct tree tree;
    tree.run_count = 0;
    tree.total = 0;
    tree.first_index = group->first_index;
    if (choice->algorithm == BALANCE_CONSISTENT_HASH)
        spread_by_table(choice, &tree);
    else
        spread_by_weight(choice, &tree);

    CHECK(tree.run_count > 0);
    out->count = 0;
    if (tree.run_count > 1 || tree.run[0].count > 1) {
        emit_number(out, choice->algorithm, group->network);
        emit_op(out, BPF_ALU | BPF_MOD | BPF_K, tree.total);
    }
    emit_tree(out, &tree, 0, tree.run_count);
    return 0;
}

int dispatch_build_even(const struct slot_set *set, int slot_count, int first_index,
                        struct dispatch_program *out)
{
    const struct dispatch_choice choice = {
        .algorithm = BALANCE_ROUND_ROBIN, .slot_count = slot_count, .slots = *set};
    const struct dispatch_group group = {DISPATCH_IPV4, first_index};
    return dispatch_build(&choice, &group, out);
}

void dispatch_shares(const struct dispatch_choice *choice, double *out)
{
    bool even = is_even(choice);
    double total = 0;
    for (int i = 0; i < choice->slot_count; i++) {
        out[i] = weight_of(choice, i, even);
        total += out[i];
    }
    for (int i = 0; i < choice->slot_count && total > 0; i++)
        out[i] /= total;
}

void dispatch_build_one(int index, struct dispatch_program *out)
{
    out->count = 0;
    emit_return(out, (uint32_t)index);
}

void dispatch_divert(struct dispatch_program *program, int family, uint32_t address, uint16_t port,
                     int index)
{
    /* Offsets from the network header: the last four bytes of the source
     * address and, behind a header without options, the source port. */
    enum { V4_PORT = 20, V6_LAST = V6_SOURCE + 12, V6_PORT = 40 };
    bool v4 = family == AF_INET;
    const struct sock_filter prefix[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + (v4 ? V4_SOURCE : V6_LAST))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, address, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)(SKF_NET_OFF + (v4 ? V4_PORT : V6_PORT))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, (uint32_t)index),
    };
    CHECK(program->count + ARRAY_COUNT(prefix) <= DISPATCH_MAX_INSTRUCTIONS);
    /* Jumps are relative: what is there can be moved. */
    memmove(program->code + ARRAY_COUNT(prefix), program->code,
            program->count * sizeof(program->code[0]));
    memcpy(program->code, prefix, sizeof(prefix));
    program->count = (unsigned short)(program->count + ARRAY_COUNT(prefix));
}
