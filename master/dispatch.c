/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 */
#include "master/dispatch.h"

#include <errno.h>

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

int dispatch_build_even(const struct slot_set *set, int slot_count, struct dispatch_program *out)
{
    uint16_t slots[CONTRACT_MAX_SLOTS];
    unsigned count = 0;
    CHECK(slot_count <= CONTRACT_MAX_SLOTS);
    for (int i = 0; i < slot_count; i++)
        if (slot_set_has(set, (unsigned)i))
            slots[count++] = (uint16_t)i;
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
    if (slots[count - 1] == count - 1) {
        /* Slots 0..count-1: the number is the slot. */
        emit(out, (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0));
        return 0;
    }
    emit_choice(out, slots, 0, count);
    return 0;
}

void dispatch_build_no_new(struct dispatch_program *out)
{
    enum { TCP_FLAGS_OFFSET = 13, FLAG_SYN = 0x02, FLAG_ACK = 0x10 };
    out->count = 0;
    /* A socket filter on TCP sees the segment from its TCP header on. */
    emit(out, (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_OFFSET));
    emit(out, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, FLAG_SYN | FLAG_ACK));
    emit(out, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FLAG_SYN, 0, 1));
    emit_return(out, 0);
    emit_return(out, 0xffffffff);
}
