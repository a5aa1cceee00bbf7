/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dispatch - the classic-BPF program that chooses the slot of a new connection.
 *
 * Pure: a set of slots in, instructions out. The program runs in the kernel
 * for every SYN of a listener group (SO_ATTACH_REUSEPORT_CBPF) and returns the
 * index of a socket, which is the index of a slot.
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
 * connection goes to one of them with the same probability. -EINVAL when the
 * set is empty (keep the program that is there). */
MUST_USE int dispatch_build_even(const struct slot_set *set, int slot_count,
                                 struct dispatch_program *out);

/* For a listener that is to take no more connections: drops the SYN of a new
 * one and lets everything else pass, so that handshakes under way complete.
 * Attach it with SO_ATTACH_FILTER to the listening socket itself. */
void dispatch_build_no_new(struct dispatch_program *out);

#endif
