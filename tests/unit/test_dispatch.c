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
#include <sys/socket.h>

#include <cmocka.h>

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t load(const uint8_t *packet, uint32_t k, unsigned size)
{
    uint32_t value = 0, at = k - (uint32_t)SKF_NET_OFF;
    CHECK(packet != NULL);
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | packet[at + i];
    return value;
}

/* What the program returns for a packet when the kernel's random number is
 * `random`. Every jump must stay inside, as the kernel checks. */
static uint32_t run(const struct dispatch_program *program, uint32_t random, const uint8_t *packet)
{
    uint32_t a = 0;
    for (unsigned pc = 0; pc < program->count; pc++) {
        const struct sock_filter *in = &program->code[pc];
        switch (in->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = in->k == (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM) ? random : load(packet, in->k, 4);
            break;
        case BPF_LD | BPF_H | BPF_ABS:
            a = load(packet, in->k, 2);
            break;
        case BPF_ALU | BPF_MOD | BPF_K:
            assert_int_not_equal(in->k, 0);
            a %= in->k;
            break;
        case BPF_ALU | BPF_ADD: /* BPF_K is 0 */
            a += in->k;
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

static void check_even_from(const uint16_t *slots, unsigned count, int slot_count, int first_index)
{
    struct slot_set set = {0};
    struct dispatch_program program;
    for (unsigned i = 0; i < count; i++)
        slot_set_add(&set, slots[i]);
    assert_int_equal(dispatch_build_even(&set, slot_count, first_index, &program), 0);
    assert_in_range(program.count, 1, 4096);
    /* Every slot answers to exactly one of `count` consecutive numbers. */
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(run(&program, 7 * count + i, NULL), slots[i] + first_index);
}

static void check_even(const uint16_t *slots, unsigned count, int slot_count)
{
    check_even_from(slots, count, slot_count, 0);
    check_even_from(slots, count, slot_count, 1);
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
    assert_int_equal(dispatch_build_even(&set, 4, 0, &program), -EINVAL);
    /* A slot above slot_count is not in the group. */
    slot_set_add(&set, 9);
    assert_int_equal(dispatch_build_even(&set, 4, 0, &program), -EINVAL);
}

static void test_divert(void **state)
{
    (void)state;
    static const struct {
        int family;
        uint32_t address;
        uint16_t port;
        bool ours;
    } cases[] = {
        {AF_INET, 0x7f000001, 40000, true},   {AF_INET, 0x7f000001, 40001, false},
        {AF_INET, 0x0a000001, 40000, false},  {AF_INET6, 0x00000001, 40000, true},
        {AF_INET6, 0x00000001, 40001, false}, {AF_INET6, 0x00000002, 40000, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        bool v4 = cases[i].family == AF_INET;
        struct slot_set set = {0};
        struct dispatch_program program;
        for (unsigned slot = 0; slot < CONTRACT_MAX_SLOTS; slot += 3)
            slot_set_add(&set, slot);
        assert_int_equal(dispatch_build_even(&set, CONTRACT_MAX_SLOTS, 1, &program), 0);
        dispatch_divert(&program, cases[i].family, v4 ? 0x7f000001 : 1, 40000, 0);
        uint8_t packet[60] = {0};
        put_u32(packet + (v4 ? 12 : 20), cases[i].address);
        packet[v4 ? 20 : 40] = (uint8_t)(cases[i].port >> 8);
        packet[v4 ? 21 : 41] = (uint8_t)cases[i].port;
        assert_int_equal(run(&program, 1, packet), cases[i].ours ? 0 : 4);
    }
    struct dispatch_program program;
    dispatch_build_one(7, &program);
    assert_int_equal(run(&program, 12345, NULL), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),    cmocka_unit_test(test_even_random_sets),
        cmocka_unit_test(test_largest), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_divert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
