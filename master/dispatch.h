/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 *
 * Pure: a set of slots in, instructions out. The program runs in the kernel
 * for every SYN of a listener group (SO_ATTACH_REUSEPORT_CBPF) and returns the
 * index of a socket.
 */
#ifndef MUSTER_DISPATCH_H
#define MUSTER_DISPATCH_H

#include "common/check.h"
#include "common/ipc.h"

#include <linux/filter.h>

/* Three instructions for each slot and a few around them; the kernel takes 4,096. */
enum { DISPATCH_MAX_INSTRUCTIONS = 3 * CONTRACT_MAX_SLOTS + 16 };

struct dispatch_program {
    unsigned short count;
    struct sock_filter code[DISPATCH_MAX_INSTRUCTIONS];
};

/* An even spread over the slots of `set` that are below slot_count: each new
 * connection goes to one of them with the same probability. `first_index` is
 * the index of slot 0 in the kernel's group. -EINVAL when the set is empty
 * (keep the program that is there). */
MUST_USE int dispatch_build_even(const struct slot_set *set, int slot_count, int first_index,
                                 struct dispatch_program *out);

/* Everything to one index. */
void dispatch_build_one(int index, struct dispatch_program *out);

/* A connection of ours, known by its source, goes to `index`; any other one
 * where `program` sends it. `family` is AF_INET or AF_INET6, `address` the last
 * four bytes of the source address and `port` its port, both in host order. */
void dispatch_divert(struct dispatch_program *program, int family, uint32_t address, uint16_t port,
                     int index);

#endif
