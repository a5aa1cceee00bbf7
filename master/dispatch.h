/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 *
 * Pure: a choice (slots, weights, algorithm) in, instructions out. The program
 * runs in the kernel for every SYN of a listener group
 * (SO_ATTACH_REUSEPORT_CBPF) and returns the index of a socket.
 *
 * Every program is a number and a tree. The number is random, or a hash of the
 * client's address; each slot owns a range of numbers as wide as its weight.
 */
#ifndef MUSTER_DISPATCH_H
#define MUSTER_DISPATCH_H

#include "common/check.h"
#include "common/config.h"
#include "common/ipc.h"

#include <linux/filter.h>

enum { DISPATCH_MAX_INSTRUCTIONS = BPF_MAXINSNS };

struct dispatch_program {
    unsigned short count;
    struct sock_filter code[DISPATCH_MAX_INSTRUCTIONS];
};

/* What the packets of a group look like. */
enum dispatch_network {
    DISPATCH_IPV4,
    DISPATCH_IPV6,
    DISPATCH_DUAL, /* an IPv6 socket that takes IPv4, too */
};

struct dispatch_group {
    enum dispatch_network network;
    int first_index; /* of slot 0 in the kernel's group */
};

/* Who is to get new connections. */
struct dispatch_choice {
    enum balance_algorithm algorithm;
    int slot_count;
    struct slot_set slots; /* those that may be chosen */
    /* Of each slot: what it is to get in relation to the others. 0: nothing,
     * unless all of them are 0. CONSISTENT_HASH needs the weights of slots that
     * may not be chosen, too, and takes 0 for 1. ROUND_ROBIN does not look. */
    uint16_t weight[CONTRACT_MAX_SLOTS];
};

/* "round-robin": the word of the configuration. */
const char *dispatch_algorithm_name(enum balance_algorithm algorithm);

/* The program for a choice. -EINVAL when no slot may be chosen (keep the
 * program that is there). */
MUST_USE int dispatch_build(const struct dispatch_choice *choice,
                            const struct dispatch_group *group, struct dispatch_program *out);

/* An even spread over the slots of `set` that are below slot_count: each new
 * connection goes to one of them with the same probability. -EINVAL as above. */
MUST_USE int dispatch_build_even(const struct slot_set *set, int slot_count, int first_index,
                                 struct dispatch_program *out);

/* The share of new connections, 0..1, that each slot is to get: out[slot_count].
 * Of the algorithms that hash: with many different clients. */
void dispatch_shares(const struct dispatch_choice *choice, double *out);

/* Everything to one index. */
void dispatch_build_one(int index, struct dispatch_program *out);

/* A connection of ours, known by its source, goes to `index`; any other one
 * where `program` sends it. `family` is AF_INET or AF_INET6, `address` the last
 * four bytes of the source address and `port` its port, both in host order. */
void dispatch_divert(struct dispatch_program *program, int family, uint32_t address, uint16_t port,
                     int index);

#endif
