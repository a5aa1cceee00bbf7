/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_dispatch - the dispatch programs, run by a small interpreter of the
 * classic-BPF instructions that they may use.
 */
#include "common/check.h"
#include "master/dispatch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What the program returns when the kernel's random number is `random`, or for
 * the bytes of a segment. Every jump must stay inside, as the kernel checks. */
static uint32_t run(const struct dispatch_program *program, uint32_t random, const uint8_t *segment)
{
    uint32_t a = 0;
    for (unsigned pc = 0; pc < program->count; pc++) {
        const struct sock_filter *in = &program->code[pc];
        switch (in->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_int_equal(in->k, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
            a = random;
            break;
        case BPF_LD | BPF_B | BPF_ABS:
            a = segment[in->k];
            break;
        case BPF_ALU | BPF_MOD | BPF_K:
            assert_int_not_equal(in->k, 0);
            a %= in->k;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= in->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= in->k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == in->k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JA:
            pc += in->k;
            break;
        case BPF_RET | BPF_A:
            return a;
        case BPF_RET | BPF_K:
            return in->k;
        default:
            fail_msg("instruction %x is not one we emit", in->code);
        }
    }
    fail_msg("the program runs off its end");
    return 0;
}

static void check_even(const uint16_t *slots, unsigned count, int slot_count)
{
    struct slot_set set = {0};
    struct dispatch_program program;
    for (unsigned i = 0; i < count; i++)
        slot_set_add(&set, slots[i]);
    assert_int_equal(dispatch_build_even(&set, slot_count, &program), 0);
    assert_in_range(program.count, 1, 4096);
    /* Every slot answers to exactly one of `count` consecutive numbers. */
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(run(&program, 7 * count + i, NULL), slots[i]);
}

static void test_even(void **state)
{
    (void)state;
    static const struct {
        unsigned count;
        int slot_count;
        uint16_t slots[8];
    } cases[] = {
        {1, 1, {0}},
        {1, 4, {3}},
        {2, 2, {0, 1}},
        {2, 4, {1, 3}},
        {3, 4, {0, 1, 3}},
        {4, 8, {0, 2, 4, 6}},
        {5, 8, {1, 2, 3, 6, 7}},
        {8, 8, {0, 1, 2, 3, 4, 5, 6, 7}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check_even(cases[i].slots, cases[i].count, cases[i].slot_count);
}

static void test_even_random_sets(void **state)
{
    (void)state;
    unsigned random = 1;
    for (int round = 0; round < 200; round++) {
        uint16_t slots[CONTRACT_MAX_SLOTS];
        unsigned count = 0;
        int slot_count = 1 + rand_r(&random) % CONTRACT_MAX_SLOTS;
        for (int i = 0; i < slot_count; i++)
            if (rand_r(&random) % 3 != 0)
                slots[count++] = (uint16_t)i;
        if (count > 0)
            check_even(slots, count, slot_count);
    }
}

static void test_largest(void **state)
{
    (void)state;
    /* Every slot but the first: no shortcut, the longest program there is. */
    uint16_t slots[CONTRACT_MAX_SLOTS];
    for (int i = 1; i < CONTRACT_MAX_SLOTS; i++)
        slots[i - 1] = (uint16_t)i;
    check_even(slots, CONTRACT_MAX_SLOTS - 1, CONTRACT_MAX_SLOTS);
}

static void test_empty(void **state)
{
    (void)state;
    struct slot_set set = {0};
    struct dispatch_program program;
    assert_int_equal(dispatch_build_even(&set, 4, &program), -EINVAL);
    /* A slot above slot_count is not in the group. */
    slot_set_add(&set, 9);
    assert_int_equal(dispatch_build_even(&set, 4, &program), -EINVAL);
}

static void test_no_new(void **state)
{
    (void)state;
    static const struct {
        uint8_t flags;
        bool passes;
    } cases[] = {
        {0x02, false}, /* SYN */
        {0xc2, false}, /* SYN with ECN */
        {0x12, true},  /* SYN and ACK */
        {0x10, true},  /* ACK: the end of a handshake */
        {0x18, true},  /* data */
        {0x11, true},  /* FIN */
        {0x04, true},  /* RST */
    };
    struct dispatch_program program;
    dispatch_build_no_new(&program);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t segment[20] = {0};
        segment[13] = cases[i].flags;
        assert_int_equal(run(&program, 0, segment) != 0, cases[i].passes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),    cmocka_unit_test(test_even_random_sets),
        cmocka_unit_test(test_largest), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_no_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
