/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 */
#include "master/dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void emit(struct dispatch_program *program, struct sock_filter instruction)
{
    CHECK(program->count < DISPATCH_MAX_INSTRUCTIONS);
    program->code[program->count++] = instruction;
}

static void emit_return(struct dispatch_program *program, uint32_t value)
{
    emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value));
}

/* Returns slots[lo..hi) by the number in A, as a binary decision tree: the
 * kernel runs log2(n) comparisons for a connection, not n. Conditional jumps
 * reach 255 instructions, so a far right half is reached by BPF_JA. */
static void emit_choice(struct dispatch_program *program, const uint16_t *slots, unsigned lo,
                        unsigned hi)
{
    if (hi - lo == 1) {
        emit_return(program, slots[lo]);
        return;
    }
    unsigned middle = lo + (hi - lo) / 2;
    /* A >= middle: to the jump behind; else over it, into the left half. */
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, middle, 0, 1));
    unsigned short jump = program->count;
    emit(program, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0));
    emit_choice(program, slots, lo, middle);
    program->code[jump].k = (uint32_t)(program->count - jump - 1);
    emit_choice(program, slots, middle, hi);
}

int dispatch_build_even(const struct slot_set *set, int slot_count, int first_index,
                        struct dispatch_program *out)
{
    uint16_t slots[CONTRACT_MAX_SLOTS];
    unsigned count = 0;
    CHECK(slot_count <= CONTRACT_MAX_SLOTS);
    for (int i = 0; i < slot_count; i++)
        if (slot_set_has(set, (unsigned)i))
            slots[count++] = (uint16_t)(i + first_index);
    if (count == 0)
        return -EINVAL;

    out->count = 0;
    if (count == 1) {
        emit_return(out, slots[0]);
        return 0;
    }
    emit(out, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)));
    emit(out, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count));
    if (slots[count - 1] == count - 1 + (unsigned)first_index) {
        /* Slots 0..count-1: the number is the slot. */
        if (first_index > 0)
            emit(out,
                 (struct sock_filter)BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, (uint32_t)first_index));
        emit(out, (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0));
        return 0;
    }
    emit_choice(out, slots, 0, count);
    return 0;
}

void dispatch_build_one(int index, struct dispatch_program *out)
{
    out->count = 0;
    emit_return(out, (uint32_t)index);
}

void dispatch_divert(struct dispatch_program *program, int family, uint32_t address, uint16_t port,
                     int index)
{
    /* Offsets from the network header: the source address (of IPv6 its last
     * four bytes) and, behind a header without options, the source port. */
    enum { V4_SOURCE = 12, V4_PORT = 20, V6_SOURCE = 8 + 12, V6_PORT = 40 };
    bool v4 = family == AF_INET;
    const struct sock_filter prefix[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + (v4 ? V4_SOURCE : V6_SOURCE))),
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
