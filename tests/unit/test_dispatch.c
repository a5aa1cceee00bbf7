/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_dispatch - the dispatch programs, run by a small interpreter of the
 * classic-BPF instructions that they may use.
 */
#include "common/check.h"
#include "common/config_private.h"
#include "master/consistent.h"
#include "master/dispatch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { PACKET_SIZE = 60 };

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t load(const uint8_t *packet, uint32_t k, unsigned size)
{
    uint32_t value = 0, at = k - (uint32_t)SKF_NET_OFF;
    CHECK(packet != NULL && at + size <= PACKET_SIZE);
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | packet[at + i];
    return value;
}

/* What the program returns for a packet when the kernel's random number is
 * `random`. Every jump must stay inside, as the kernel checks. */
static uint32_t run(const struct dispatch_program *program, uint32_t random, const uint8_t *packet)
{
    uint32_t a = 0, x = 0;
    for (unsigned pc = 0; pc < program->count; pc++) {
        const struct sock_filter *in = &program->code[pc];
        switch (in->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = in->k == (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM) ? random : load(packet, in->k, 4);
            break;
        case BPF_LD | BPF_H | BPF_ABS:
            a = load(packet, in->k, 2);
            break;
        case BPF_LD | BPF_B | BPF_ABS:
            a = load(packet, in->k, 1);
            break;
        case BPF_MISC | BPF_TAX:
            x = a;
            break;
        case BPF_ALU | BPF_XOR | BPF_X:
            a ^= x;
            break;
        case BPF_ALU | BPF_RSH | BPF_K:
            assert_in_range(in->k, 0, 31);
            a >>= in->k;
            break;
        case BPF_ALU | BPF_MUL | BPF_K:
            a *= in->k;
            break;
        case BPF_ALU | BPF_SUB | BPF_K:
            a -= in->k;
            break;
        case BPF_ALU | BPF_DIV | BPF_K:
            assert_int_not_equal(in->k, 0);
            a /= in->k;
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
        uint8_t packet[PACKET_SIZE] = {0};
        put_u32(packet + (v4 ? 12 : 20), cases[i].address);
        packet[v4 ? 20 : 40] = (uint8_t)(cases[i].port >> 8);
        packet[v4 ? 21 : 41] = (uint8_t)cases[i].port;
        assert_int_equal(run(&program, 1, packet), cases[i].ours ? 0 : 4);
    }
    struct dispatch_program program;
    dispatch_build_one(7, &program);
    assert_int_equal(run(&program, 12345, NULL), 7);
}

/* ---- the algorithms ---- */

static uint64_t random_state = 88172645463325252ULL;

static uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

static const enum balance_algorithm all_algorithms[] = {BALANCE_ROUND_ROBIN, BALANCE_WEIGHTED,
                                                        BALANCE_LEAST_CONNECTIONS, BALANCE_IP_HASH,
                                                        BALANCE_CONSISTENT_HASH};

static void v4_packet(uint32_t address, uint8_t *packet)
{
    memset(packet, 0, PACKET_SIZE);
    packet[0] = 0x45;
    put_u32(packet + 12, address);
}

static void v6_packet(uint32_t network_high, uint32_t network_low, uint32_t host, uint8_t *packet)
{
    memset(packet, 0, PACKET_SIZE);
    packet[0] = 0x60;
    put_u32(packet + 8, network_high);
    put_u32(packet + 12, network_low);
    put_u32(packet + 16, host);
    put_u32(packet + 20, ~host);
}

/* A client that nobody has seen before, of one of the families of the group. */
static void new_client(enum dispatch_network network, uint8_t *packet)
{
    bool v6 = network == DISPATCH_IPV6 || (network == DISPATCH_DUAL && random_u32() % 2 == 0);
    if (v6)
        v6_packet(0x20010db8 + random_u32() % 16, random_u32(), random_u32(), packet);
    else
        v4_packet(random_u32(), packet);
}

static void build(const struct dispatch_choice *choice, enum dispatch_network network,
                  int first_index, struct dispatch_program *program)
{
    const struct dispatch_group group = {network, first_index};
    assert_int_equal(dispatch_build(choice, &group, program), 0);
    /* What dispatch_divert() puts before it must fit as well. */
    assert_in_range(program->count, 1, BPF_MAXINSNS - 5);
}

/* The chi-square statistic of `draws` connections against the shares wanted. */
static double chi_square(const struct dispatch_choice *choice, enum dispatch_network network,
                         int draws)
{
    static struct dispatch_program program;
    static double share[CONTRACT_MAX_SLOTS];
    static int got[CONTRACT_MAX_SLOTS];
    uint8_t packet[PACKET_SIZE];
    memset(got, 0, sizeof(got));
    build(choice, network, 1, &program);
    dispatch_shares(choice, share);
    for (int i = 0; i < draws; i++) {
        new_client(network, packet);
        uint32_t slot = run(&program, random_u32(), packet) - 1;
        assert_true(slot < (uint32_t)choice->slot_count);
        assert_true(slot_set_has(&choice->slots, slot));
        assert_true(share[slot] > 0);
        got[slot]++;
    }
    double sum = 0;
    for (int i = 0; i < choice->slot_count; i++)
        if (share[i] > 0)
            sum += (got[i] - draws * share[i]) * (got[i] - draws * share[i]) / (draws * share[i]);
    return sum;
}

static int count_slots(const struct dispatch_choice *choice)
{
    int count = 0;
    for (int i = 0; i < choice->slot_count; i++)
        count += slot_set_has(&choice->slots, (unsigned)i);
    return count;
}

static void check_distribution(const struct dispatch_choice *choice)
{
    static const enum dispatch_network networks[] = {DISPATCH_IPV4, DISPATCH_IPV6, DISPATCH_DUAL};
    int count = count_slots(choice);
    /* The statistic has mean count-1 and variance 2(count-1): this is eight or
     * more standard deviations off. The table of the consistent hash has a grain
     * of its own: a bucket more or less is at most one in `buckets / count`. */
    double draws = 2000.0 * count;
    double most = 2.0 * count + 30;
    if (choice->algorithm == BALANCE_CONSISTENT_HASH) {
        double grain = (double)count / consistent_bucket_count(choice->slot_count);
        most += draws * 4 * grain * grain;
    }
    for (size_t i = 0; i < ARRAY_COUNT(networks); i++) {
        double statistic = chi_square(choice, networks[i], (int)draws);
        if (statistic > most)
            fail_msg("%s over %d of %d slots: %.1f, at most %.1f",
                     dispatch_algorithm_name(choice->algorithm), count, choice->slot_count,
                     statistic, most);
    }
}

static void test_distribution(void **state)
{
    (void)state;
    static const struct {
        int slot_count;
        uint16_t weight[8]; /* 0: not in the set */
    } shapes[] = {
        {1, {1}},          {4, {0, 0, 5}},       {2, {1, 1}},        {4, {3, 1, 1, 1}},
        {4, {1, 0, 1, 1}}, {8, {1, 2, 3, 4, 5}}, {6, {256, 1, 256}}, {8, {2, 2, 2, 0, 4, 4, 0, 2}},
    };
    for (size_t a = 0; a < ARRAY_COUNT(all_algorithms); a++) {
        for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
            struct dispatch_choice choice = {.algorithm = all_algorithms[a],
                                             .slot_count = shapes[i].slot_count};
            for (int n = 0; n < choice.slot_count; n++) {
                choice.weight[n] = shapes[i].weight[n];
                if (shapes[i].weight[n] > 0)
                    slot_set_add(&choice.slots, (unsigned)n);
            }
            check_distribution(&choice);
        }
    }
}

static void test_distribution_of_many_shapes(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct dispatch_choice choice = {.algorithm = all_algorithms[round % 5],
                                         .slot_count = 1 + (int)(random_u32() % 60)};
        for (int n = 0; n < choice.slot_count; n++) {
            choice.weight[n] = (uint16_t)(1 + random_u32() % 3);
            if (n == 0 || random_u32() % 4 != 0)
                slot_set_add(&choice.slots, (unsigned)n);
        }
        check_distribution(&choice);
    }
}

/* A slot in the set with weight 0 gets nothing, unless all have 0. */
static void test_weight_zero(void **state)
{
    (void)state;
    static struct dispatch_program program;
    struct dispatch_choice choice = {
        .algorithm = BALANCE_LEAST_CONNECTIONS, .slot_count = 3, .weight = {10, 0, 30}};
    for (unsigned n = 0; n < 3; n++)
        slot_set_add(&choice.slots, n);
    int got[3] = {0};
    build(&choice, DISPATCH_IPV4, 0, &program);
    for (uint32_t i = 0; i < 400; i++)
        got[run(&program, i, NULL)]++;
    assert_int_equal(got[0], 100);
    assert_int_equal(got[1], 0);
    assert_int_equal(got[2], 300);

    memset(choice.weight, 0, sizeof(choice.weight));
    memset(got, 0, sizeof(got));
    build(&choice, DISPATCH_IPV4, 0, &program);
    for (uint32_t i = 0; i < 300; i++)
        got[run(&program, i, NULL)]++;
    assert_int_equal(got[1], 100);
}

/* Every algorithm fits with as many slots as there can be. */
static void test_limit(void **state)
{
    (void)state;
    static struct dispatch_program program;
    uint8_t packet[PACKET_SIZE];
    for (size_t a = 0; a < ARRAY_COUNT(all_algorithms); a++) {
        struct dispatch_choice choice = {.algorithm = all_algorithms[a],
                                         .slot_count = CONTRACT_MAX_SLOTS};
        for (unsigned n = 0; n < CONTRACT_MAX_SLOTS; n++) {
            choice.weight[n] = (uint16_t)(1 + n % 251);
            if (n % 31 != 3)
                slot_set_add(&choice.slots, n);
        }
        build(&choice, DISPATCH_DUAL, 1, &program);
        for (int i = 0; i < 20000; i++) {
            new_client(DISPATCH_DUAL, packet);
            uint32_t slot = run(&program, random_u32(), packet) - 1;
            assert_true(slot < CONTRACT_MAX_SLOTS && slot_set_has(&choice.slots, slot));
        }
        dispatch_divert(&program, AF_INET6, 1, 1, 0);
    }
}

/* ---- hashing ---- */

static uint32_t slot_of(enum balance_algorithm algorithm, enum dispatch_network network,
                        const uint8_t *packet)
{
    static struct dispatch_program program;
    struct dispatch_choice choice = {.algorithm = algorithm, .slot_count = 64};
    for (unsigned n = 0; n < 64; n++) {
        slot_set_add(&choice.slots, n);
        choice.weight[n] = 1;
    }
    build(&choice, network, 0, &program);
    return run(&program, random_u32(), packet);
}

static void test_hash_by_address(void **state)
{
    (void)state;
    static const enum balance_algorithm hashes[] = {BALANCE_IP_HASH, BALANCE_CONSISTENT_HASH};
    uint8_t packet[PACKET_SIZE], other[PACKET_SIZE];
    for (size_t a = 0; a < ARRAY_COUNT(hashes); a++) {
        int different_network = 0, neighbours = 0;
        for (int i = 0; i < 300; i++) {
            /* The same address, another port, another moment: the same slot. */
            uint32_t address = random_u32(), low = random_u32();
            v4_packet(address, packet);
            memcpy(other, packet, sizeof(other));
            packet[21] = 1;
            assert_int_equal(slot_of(hashes[a], DISPATCH_IPV4, packet),
                             slot_of(hashes[a], DISPATCH_IPV4, other));
            /* An IPv4 client of a dual-stack socket is the same client. */
            assert_int_equal(slot_of(hashes[a], DISPATCH_IPV4, packet),
                             slot_of(hashes[a], DISPATCH_DUAL, packet));
            v4_packet(address + 1, other);
            neighbours += slot_of(hashes[a], DISPATCH_IPV4, packet) ==
                          slot_of(hashes[a], DISPATCH_IPV4, other);

            /* IPv6: the whole of a /64 goes to one slot, the next one does not. */
            v6_packet(0x20010db8, low, random_u32(), packet);
            v6_packet(0x20010db8, low, random_u32(), other);
            uint32_t slot = slot_of(hashes[a], DISPATCH_IPV6, packet);
            assert_int_equal(slot, slot_of(hashes[a], DISPATCH_IPV6, other));
            assert_int_equal(slot, slot_of(hashes[a], DISPATCH_DUAL, other));
            v6_packet(0x20010db8, low + 1, random_u32(), other);
            different_network += slot == slot_of(hashes[a], DISPATCH_IPV6, other);
            v6_packet(0x20010db9, low, random_u32(), other);
            different_network += slot == slot_of(hashes[a], DISPATCH_IPV6, other);
        }
        /* By chance 300 in 64 and 600 in 64. */
        assert_in_range(neighbours, 0, 20);
        assert_in_range(different_network, 0, 35);
    }
}

/* Addresses as they are given out, in a row, spread as well as random ones. */
static void test_hash_of_rows(void **state)
{
    (void)state;
    static struct dispatch_program program;
    static const uint32_t steps[] = {1, 2, 16, 256, 65536, 1 << 24};
    uint8_t packet[PACKET_SIZE];
    struct dispatch_choice choice = {.algorithm = BALANCE_IP_HASH, .slot_count = 4};
    for (unsigned n = 0; n < 4; n++) {
        slot_set_add(&choice.slots, n);
        choice.weight[n] = 1;
    }
    for (int v6 = 0; v6 < 2; v6++) {
        build(&choice, v6 ? DISPATCH_IPV6 : DISPATCH_IPV4, 0, &program);
        for (size_t s = 0; s < ARRAY_COUNT(steps); s++) {
            int got[4] = {0}, draws = steps[s] == 1 << 24 ? 200 : 4000;
            for (uint32_t i = 0; i < (uint32_t)draws; i++) {
                if (v6)
                    v6_packet(0x20010db8, i * steps[s], 0, packet);
                else
                    v4_packet(0x0a000000 + i * steps[s], packet);
                got[run(&program, 0, packet)]++;
            }
            /* Six standard deviations of a binomial. */
            double deviation = draws == 200 ? 37 : 165;
            for (int n = 0; n < 4; n++)
                assert_true(got[n] > draws / 4.0 - deviation && got[n] < draws / 4.0 + deviation);
        }
    }
}

/* ---- moving ---- */

static void choose_first(struct dispatch_choice *choice, int count)
{
    memset(&choice->slots, 0, sizeof(choice->slots));
    for (int n = 0; n < count; n++)
        slot_set_add(&choice->slots, (unsigned)n);
}

enum { CLIENTS = 20000 };

/* The share of clients that go elsewhere, and in `wrongly` those among them
 * that neither left slot `from` nor came to slot `to`. */
static double moved(const struct dispatch_choice *before, const struct dispatch_choice *after,
                    int from, int to, double *wrongly)
{
    static struct dispatch_program a, b;
    uint8_t packet[PACKET_SIZE];
    int count = 0, wrong = 0;
    build(before, DISPATCH_IPV4, 0, &a);
    build(after, DISPATCH_IPV4, 0, &b);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        v4_packet(random_u32(), packet);
        uint32_t was = run(&a, 0, packet), is = run(&b, 0, packet);
        count += was != is;
        wrong += was != is && was != (uint32_t)from && is != (uint32_t)to;
    }
    *wrongly = (double)wrong / CLIENTS;
    return (double)count / CLIENTS;
}

static void test_consistent_moves_least(void **state)
{
    (void)state;
    static const int counts[] = {2, 4, 8, 16, 64};
    const char *print = getenv("MUSTER_PRINT_MOVES");
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int n = counts[i];
        double wrongly;
        struct dispatch_choice before = {.algorithm = BALANCE_CONSISTENT_HASH, .slot_count = 128};
        for (int slot = 0; slot < 128; slot++)
            before.weight[slot] = 1;
        struct dispatch_choice after = before;
        choose_first(&before, n);
        choose_first(&after, n + 1);
        /* The grain of the table, and six standard deviations of the sample. */
        double slack = 1.0 / CONSISTENT_BUCKETS + 6 * 0.5 / 141;
        double grown = moved(&before, &after, -1, n, &wrongly);
        assert_true(wrongly == 0);
        assert_true(grown < 1.0 / (n + 1) + slack && grown > 1.0 / (n + 1) - slack);
        choose_first(&after, n - 1);
        double shrunk = moved(&before, &after, n - 1, -1, &wrongly);
        assert_true(wrongly == 0);
        assert_true(shrunk < 1.0 / n + slack && shrunk > 1.0 / n - slack);
        /* One in the middle is away for a while. */
        choose_first(&after, n);
        slot_set_remove(&after.slots, (unsigned)n / 2 - 1);
        double lent = moved(&before, &after, n / 2 - 1, -1, &wrongly);
        assert_true(wrongly == 0);
        assert_true(lent < 1.0 / n + slack && lent > 1.0 / n - slack);
        if (print != NULL) {
            before.algorithm = after.algorithm = BALANCE_IP_HASH;
            double ip_hash = moved(&before, &after, n / 2 - 1, -1, &wrongly);
            printf("%2d: N+1 %.2f %% (ideal %.2f), N-1 %.2f %% (ideal %.2f), middle %.2f %%, "
                   "ip-hash one away %.1f %%\n",
                   n, 100 * grown, 100.0 / (n + 1), 100 * shrunk, 100.0 / n, 100 * lent,
                   100 * ip_hash);
        }
    }
}

/* Any two sets that differ by one slot, with weights: few clients move without need. */
static void test_consistent_with_holes(void **state)
{
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct dispatch_choice before = {.algorithm = BALANCE_CONSISTENT_HASH, .slot_count = 16};
        int slots = 0;
        for (unsigned n = 0; n < 16; n++) {
            before.weight[n] = (uint16_t)(1 + random_u32() % 4);
            if (random_u32() % 3 != 0 || n == 0) {
                slot_set_add(&before.slots, n);
                slots++;
            }
        }
        struct dispatch_choice after = before;
        unsigned changed = 1 + random_u32() % 15;
        if (slot_set_has(&before.slots, changed))
            slot_set_remove(&after.slots, changed);
        else
            slot_set_add(&after.slots, changed);
        double wrongly;
        (void)moved(&before, &after, (int)changed, (int)changed, &wrongly);
        /* With several away at once what they lent is dealt out anew. */
        assert_true(wrongly < 0.35);
    }
}

static void test_consistent_is_even(void **state)
{
    (void)state;
    for (int count = 1; count <= CONTRACT_MAX_SLOTS; count = count < 70 ? count + 1 : count * 2) {
        static uint16_t owner[CONSISTENT_BUCKETS_MANY], weight[CONTRACT_MAX_SLOTS];
        int have[CONTRACT_MAX_SLOTS] = {0}, least, most;
        struct slot_set set = {0};
        int slot_count = count <= 128 ? 128 : CONTRACT_MAX_SLOTS;
        for (int n = 0; n < slot_count; n++)
            weight[n] = 1;
        for (int n = 0; n < count && n < slot_count; n++)
            slot_set_add(&set, (unsigned)n);
        consistent_assign(&set, weight, slot_count, owner);
        for (int bucket = 0; bucket < consistent_bucket_count(slot_count); bucket++)
            have[owner[bucket]]++;
        least = most = have[0];
        for (int n = 0; n < count && n < slot_count; n++) {
            least = have[n] < least ? have[n] : least;
            most = have[n] > most ? have[n] : most;
        }
        assert_in_range(most - least, 0, 1);
        assert_true(least > 0);
    }
}

static void test_names(void **state)
{
    (void)state;
    /* The words of the configuration, in the order of the enum. */
    char words[256];
    size_t len = 0;
    for (size_t a = 0; a < ARRAY_COUNT(all_algorithms); a++) {
        assert_int_equal(all_algorithms[a], a);
        len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", a == 0 ? "" : " ",
                                dispatch_algorithm_name(all_algorithms[a]));
    }
    assert_string_equal(words, config_keys[KEY_BALANCE_ALGORITHM].choices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_distribution_of_many_shapes),
        cmocka_unit_test(test_weight_zero),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_hash_by_address),
        cmocka_unit_test(test_hash_of_rows),
        cmocka_unit_test(test_consistent_moves_least),
        cmocka_unit_test(test_consistent_with_holes),
        cmocka_unit_test(test_consistent_is_even),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_even_random_sets),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_divert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
